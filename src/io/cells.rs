//! Voxels and pixels in any of the formats, by the ending of the file's name.
//!
//! | ending | format | keeps |
//! |---|---|---|
//! | `.npy` | NumPy array of shape (nx, ny, nz) | values |
//! | `.vti` | ParaView image with the cell data `value`, only written | values, limits |
//! | `.arrow`, `.feather` | Arrow file (feature `arrow`) with the column `value`, the last axis running fastest | everything |

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::Path;

use ndarray::{Array2, Array3, Dimension, ShapeBuilder};

use super::{Output, npy};
use crate::data::{Cells, Pixels, Voxels, check_memory};
use crate::error::{Error, Result};
use crate::kernels::voxels::Plane;

/// Values turned into bytes, or back, at a time.
const CHUNK: usize = 8192;
/// Layers of constant z turned round together, so that each cache line of values is read once.
const LAYERS: usize = 16;
/// Values turned round together at most, where a layer has fewer.
const TURNED: usize = 1 << 24;

/// A type of values that files can hold: `u32` or `f64`.
pub trait Value: Copy + Default + 'static {
    /// How NumPy calls it.
    const NPY: &'static str;
    /// How VTK calls it.
    const VTK: &'static str;

    /// Appends its bytes, little endian.
    fn push_bytes(self, bytes: &mut Vec<u8>);

    /// A value of its bytes, little endian.
    fn of_bytes(bytes: &[u8]) -> Self;

    /// A column of values.
    #[cfg(feature = "arrow")]
    #[doc(hidden)]
    fn arrow_column(values: &[Self]) -> arrow_array::ArrayRef;

    /// The values of a column, if it is of this type and none is missing.
    #[cfg(feature = "arrow")]
    #[doc(hidden)]
    fn arrow_values(column: &dyn arrow_array::Array) -> Option<&[Self]>;
}

macro_rules! value {
    ($type:ty, $npy:literal, $vtk:literal, $arrow:ident) => {
        impl Value for $type {
            const NPY: &'static str = $npy;
            const VTK: &'static str = $vtk;

            fn push_bytes(self, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&self.to_le_bytes());
            }

            fn of_bytes(bytes: &[u8]) -> Self {
                Self::from_le_bytes(npy::array(bytes))
            }

            #[cfg(feature = "arrow")]
            fn arrow_column(values: &[Self]) -> arrow_array::ArrayRef {
                let values = values.iter().copied();
                std::sync::Arc::new(
                    arrow_array::PrimitiveArray::<arrow_array::types::$arrow>::from_iter_values(
                        values,
                    ),
                )
            }

            #[cfg(feature = "arrow")]
            fn arrow_values(column: &dyn arrow_array::Array) -> Option<&[Self]> {
                let column = column
                    .as_any()
                    .downcast_ref::<arrow_array::PrimitiveArray<arrow_array::types::$arrow>>()?;
                let missing = arrow_array::Array::null_count(column);
                (missing == 0).then(|| &column.values()[..])
            }
        }
    };
}
value!(u32, "<u4", "UInt32", UInt32Type);
value!(f64, "<f8", "Float64", Float64Type);

/// Writes voxels or pixels.
///
/// # Errors
/// [`Error::File`] for an unknown ending; [`Error::Io`]. No file is then left under that name.
pub fn write_cells<T: Value, D: Dimension>(
    path: impl AsRef<Path>,
    cells: &Cells<T, D>,
) -> Result<()> {
    let path = path.as_ref();
    match Format::of(path)? {
        Format::Npy => write_whole(path, |output| write_npy(output, cells)),
        Format::Vti => write_whole(path, |output| write_vti(output, cells)),
        #[cfg(feature = "arrow")]
        Format::Arrow => in_arrow::write(path, cells),
    }
}

/// Reads voxels from an Arrow file of this crate.
///
/// # Errors
/// [`Error::Io`]; [`Error::File`] for another format, another type of values, pixels, or a damaged file.
pub fn read_voxels<T: Value>(path: impl AsRef<Path>) -> Result<Voxels<T>> {
    let path = path.as_ref();
    match Format::of(path)? {
        Format::Npy => Err(without_limits(path, "read_npy_voxels")),
        Format::Vti => Err(only_written(path)),
        #[cfg(feature = "arrow")]
        Format::Arrow => {
            let stored = in_arrow::read::<T, 3, 6>(path, in_arrow::VOXELS)?;
            let voxels = Array3::from_shape_vec(stored.shape, stored.values)
                .map_err(|error| file_error(path, &error))?;
            let voxels =
                Voxels::new(voxels, stored.limits).map_err(|error| file_error(path, &error))?;
            let attributes = stored.attributes.into_iter();
            Ok(attributes.fold(voxels, |voxels, (name, value)| {
                voxels.with_attribute(name, value)
            }))
        }
    }
}

/// Reads pixels from an Arrow file of this crate.
///
/// # Errors
/// [`Error::Io`]; [`Error::File`] for another format, another type of values, voxels, or a damaged file.
pub fn read_pixels<T: Value>(path: impl AsRef<Path>) -> Result<Pixels<T>> {
    let path = path.as_ref();
    match Format::of(path)? {
        Format::Npy => Err(without_limits(path, "read_npy_pixels")),
        Format::Vti => Err(only_written(path)),
        #[cfg(feature = "arrow")]
        Format::Arrow => {
            let stored = in_arrow::read::<T, 2, 4>(path, in_arrow::PIXELS)?;
            let pixels = Array2::from_shape_vec(stored.shape, stored.values)
                .map_err(|error| file_error(path, &error))?;
            let pixels =
                Pixels::new(pixels, stored.limits).map_err(|error| file_error(path, &error))?;
            let pixels = pixels.with_plane(stored.plane.unwrap_or_default());
            let attributes = stored.attributes.into_iter();
            Ok(attributes.fold(pixels, |pixels, (name, value)| {
                pixels.with_attribute(name, value)
            }))
        }
    }
}

/// Reads voxels from a NumPy file, an array of shape (nx, ny, nz), within `limits` = `[xmin, xmax, ymin, ymax, zmin, zmax]` (mm).
///
/// # Errors
/// [`Error::Io`]; [`Error::File`] for another kind of file or array, a length that is not the header's, and what makes no grid.
pub fn read_npy_voxels<T: Value>(path: impl AsRef<Path>, limits: [f64; 6]) -> Result<Voxels<T>> {
    let path = path.as_ref();
    let array = read_npy::<T, 3>(path)?;
    let shape = array.shape.set_f(array.by_column);
    let values =
        Array3::from_shape_vec(shape, array.values).map_err(|error| file_error(path, &error))?;
    Voxels::new(values, limits).map_err(|error| file_error(path, &error))
}

/// Reads pixels from a NumPy file, an array of two axes, within `limits` = `[min, max, min, max]` (mm); in the plane xy.
///
/// # Errors
/// As [`read_npy_voxels`].
pub fn read_npy_pixels<T: Value>(path: impl AsRef<Path>, limits: [f64; 4]) -> Result<Pixels<T>> {
    let path = path.as_ref();
    let array = read_npy::<T, 2>(path)?;
    let shape = array.shape.set_f(array.by_column);
    let values =
        Array2::from_shape_vec(shape, array.values).map_err(|error| file_error(path, &error))?;
    Pixels::new(values, limits).map_err(|error| file_error(path, &error))
}

/// Checks that a name has one of the endings.
///
/// # Errors
/// [`Error::File`] for an unknown ending.
pub fn check_name(path: impl AsRef<Path>) -> Result<()> {
    Format::of(path.as_ref()).map(|_| ())
}

enum Format {
    Npy,
    Vti,
    #[cfg(feature = "arrow")]
    Arrow,
}

impl Format {
    fn of(path: &Path) -> Result<Self> {
        let ending = path.extension().unwrap_or_default();
        let ending = ending.to_string_lossy().to_ascii_lowercase();
        let problem = match ending.as_str() {
            "npy" => return Ok(Self::Npy),
            "vti" => return Ok(Self::Vti),
            #[cfg(feature = "arrow")]
            "arrow" | "feather" => return Ok(Self::Arrow),
            #[cfg(not(feature = "arrow"))]
            "arrow" | "feather" => {
                "this program was built without Arrow files (feature `arrow`); use .npy or .vti"
            }
            "" => {
                "the name needs an ending that says the format: .npy, .vti (ParaView), .arrow or .feather"
            }
            _ => "unknown ending; voxels and pixels are .npy, .vti (ParaView), .arrow or .feather",
        };
        Err(file_error(path, problem))
    }
}

fn file_error(path: &Path, problem: impl ToString) -> Error {
    Error::File {
        path: path.to_owned(),
        problem: problem.to_string(),
    }
}

fn without_limits(path: &Path, function: &str) -> Error {
    let problem = format!("a NumPy file does not say the limits; use {function}, or an Arrow file");
    file_error(path, problem)
}

fn only_written(path: &Path) -> Error {
    file_error(
        path,
        "ParaView's files are only written; read an Arrow file",
    )
}

fn write_whole(path: &Path, write: impl FnOnce(&mut Output) -> std::io::Result<()>) -> Result<()> {
    let mut output = Output::create(path)?;
    write(&mut output).map_err(Error::writing(path))?;
    output.finish()
}

/// Values as bytes, little endian.
fn write_values<T: Value>(output: &mut impl Write, values: &[T]) -> std::io::Result<()> {
    let mut bytes = Vec::with_capacity(CHUNK * size_of::<T>());
    for chunk in values.chunks(CHUNK) {
        bytes.clear();
        for &value in chunk {
            value.push_bytes(&mut bytes);
        }
        output.write_all(&bytes)?;
    }
    Ok(())
}

fn write_npy<T: Value, D: Dimension>(
    output: &mut impl Write,
    cells: &Cells<T, D>,
) -> std::io::Result<()> {
    let shape: Vec<u64> = cells.shape().iter().map(|&n| n as u64).collect();
    output.write_all(&npy::header(T::NPY, &shape, 0))?;
    write_values(output, cells.as_slice())
}

/// An array as it lies in a file.
#[derive(Debug)]
struct NpyArray<T, const N: usize> {
    values: Vec<T>,
    shape: [usize; N],
    /// The first axis runs fastest.
    by_column: bool,
}

fn read_npy<T: Value, const N: usize>(path: &Path) -> Result<NpyArray<T, N>> {
    let file = File::open(path).map_err(Error::reading(path))?;
    let length = file.metadata().map_err(Error::reading(path))?.len();
    parse_npy(&mut BufReader::new(file), length).map_err(|problem| file_error(path, problem))
}

/// Reads an array of a file of `length` bytes.
fn parse_npy<T: Value, const N: usize>(
    file: &mut impl Read,
    length: u64,
) -> Result<NpyArray<T, N>, String> {
    let mut start = [0; npy::BEFORE_HEADER];
    let has_start = file.read_exact(&mut start).is_ok();
    if !has_start || !start.starts_with(npy::MAGIC) {
        return Err("not a NumPy file (.npy)".into());
    }
    let [.., version, _, low, high] = start;
    if version != 1 {
        return Err(format!(
            "version {version} of the NumPy format; plain arrays are version 1"
        ));
    }
    let header_length = usize::from(u16::from_le_bytes([low, high]));
    let mut header = vec![0; header_length];
    file.read_exact(&mut header).map_err(|_| npy::CUT_OFF)?;
    let header = std::str::from_utf8(&header)
        .ok()
        .and_then(npy::Header::parse)
        .ok_or("the header is damaged, or the array holds records instead of numbers")?;
    if header.descr != T::NPY {
        let found: String = header.descr.chars().take(20).collect();
        return Err(format!(
            "an array of type {found:?}, but {:?} was asked for",
            T::NPY
        ));
    }
    let shape: [usize; N] = header.shape.as_slice().try_into().map_err(|_| {
        let n = header.shape.len();
        format!("an array of {n} dimensions, but {N} were asked for")
    })?;
    // Before anything is allocated: the header's numbers may be anything.
    let n_bytes = length.saturating_sub((npy::BEFORE_HEADER + header_length) as u64);
    let n_values = shape
        .iter()
        .try_fold(size_of::<T>(), |n, &m| n.checked_mul(m))
        .filter(|&n| n as u64 == n_bytes)
        .map(|n| n / size_of::<T>())
        .ok_or_else(|| {
            format!(
                "the header says {shape:?} values of {} bytes, but {n_bytes} bytes follow it",
                size_of::<T>()
            )
        })?;
    check_memory(n_values, size_of::<T>()).map_err(|error| error.to_string())?;
    let values = read_values(file, n_values).map_err(|error| error.to_string())?;
    Ok(NpyArray {
        values,
        shape,
        by_column: header.fortran_order,
    })
}

fn read_values<T: Value>(file: &mut impl Read, n: usize) -> std::io::Result<Vec<T>> {
    let mut values: Vec<T> = Vec::with_capacity(n);
    let mut bytes = vec![0; CHUNK * size_of::<T>()];
    while values.len() < n {
        let n_next = CHUNK.min(n - values.len());
        let next = &mut bytes[..n_next * size_of::<T>()];
        file.read_exact(next)?;
        values.extend(next.chunks_exact(size_of::<T>()).map(T::of_bytes));
    }
    Ok(values)
}

/// An axis of an image: number of cells, where they begin and how long each is (mm).
type ImageAxis = (usize, f64, f64);

fn write_vti<T: Value, D: Dimension>(
    output: &mut impl Write,
    cells: &Cells<T, D>,
) -> std::io::Result<()> {
    let axes = image_axes(cells);
    output.write_all(vti_header(axes, T::VTK).as_bytes())?;
    let n_bytes = (cells.n_cells() * size_of::<T>()) as u64;
    output.write_all(&n_bytes.to_le_bytes())?;
    write_turned(output, cells.as_slice(), axes.map(|(n, _, _)| n))?;
    output.write_all(b"\n</AppendedData>\n</VTKFile>\n")
}

/// The axes x, y and z; pixels are one cell of 1 mm along the one that their plane lacks.
fn image_axes<T, D: Dimension>(cells: &Cells<T, D>) -> [ImageAxis; 3] {
    let (shape, limits, size) = (cells.shape(), cells.limits(), cells.cell_size());
    let axis = |n: usize| (shape[n], limits[2 * n], size[n]);
    let lacking = (1, 0.0, 1.0);
    match cells.grid().plane() {
        None => [axis(0), axis(1), axis(2)],
        Some(Plane::Xy) => [axis(0), axis(1), lacking],
        Some(Plane::Xz) => [axis(0), lacking, axis(1)],
        Some(Plane::Yz) => [lacking, axis(0), axis(1)],
    }
}

/// All that comes before the number of bytes and the values.
fn vti_header(axes: [ImageAxis; 3], value: &str) -> String {
    let extent = axes.map(|(n, _, _)| format!("0 {n}")).join(" ");
    let origin = axes.map(|(_, origin, _)| origin.to_string()).join(" ");
    let spacing = axes.map(|(_, _, size)| size.to_string()).join(" ");
    format!(
        r#"<?xml version="1.0"?>
<VTKFile type="ImageData" version="1.0" byte_order="LittleEndian" header_type="UInt64">
<ImageData WholeExtent="{extent}" Origin="{origin}" Spacing="{spacing}">
<Piece Extent="{extent}">
<CellData Scalars="value">
<DataArray type="{value}" Name="value" format="appended" offset="0"/>
</CellData>
</Piece>
</ImageData>
<AppendedData encoding="raw">
_"#
    )
}

/// Values as bytes, x running fastest instead of z.
fn write_turned<T: Value>(
    output: &mut impl Write,
    values: &[T],
    [nx, ny, nz]: [usize; 3],
) -> std::io::Result<()> {
    let layer_cells = nx * ny;
    let n_together = (TURNED / layer_cells).clamp(1, LAYERS);
    let mut turned = Vec::new();
    for first in (0..nz).step_by(n_together) {
        let layers = first..(first + n_together).min(nz);
        turned.clear();
        turned.resize(layer_cells * layers.len(), T::default());
        for (n, along_z) in values.chunks_exact(nz).enumerate() {
            let (x, y) = (n / ny, n % ny);
            for (layer, &value) in along_z[layers.clone()].iter().enumerate() {
                turned[layer * layer_cells + y * nx + x] = value;
            }
        }
        write_values(output, &turned)?;
    }
    Ok(())
}

/// The schema's metadata hold what is no value: `pept.kind` (`voxels` or `pixels`), `pept.shape`, `pept.limits`, `pept.plane` of
/// pixels, and version and attributes as in a table's file.
#[cfg(feature = "arrow")]
mod in_arrow {
    use std::fs::File;
    use std::io::{BufReader, Read, Seek, SeekFrom, Write};
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::path::Path;
    use std::sync::Arc;

    use arrow_array::RecordBatch;
    use arrow_ipc::reader::FileReader;
    use arrow_ipc::writer::FileWriter;
    use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
    use ndarray::Dimension;

    use super::super::Output;
    use super::super::arrow::{
        ATTRIBUTES, BATCH, KIND, MAGIC, MAX_METADATA, START, VERSION, length_of_block,
        numbers_of_text, numbers_to_text, parse_attributes, reader_error, stored_attributes,
    };
    use super::{Value, file_error};
    use crate::data::{Attributes, Cells, check_memory};
    use crate::error::{Error, Result};
    use crate::kernels::voxels::Plane;

    pub(super) const VOXELS: &str = "voxels";
    pub(super) const PIXELS: &str = "pixels";

    const COLUMN: &str = "value";
    const SHAPE: &str = "pept.shape";
    const LIMITS: &str = "pept.limits";
    const PLANE: &str = "pept.plane";
    const PLANES: &[(Plane, &str)] = &[(Plane::Xy, "xy"), (Plane::Xz, "xz"), (Plane::Yz, "yz")];
    /// Bytes at the end of a file: the footer's length and the magic.
    const END: usize = 4 + MAGIC.len();
    const DAMAGED: &str = "the Arrow file is damaged";

    pub(super) fn write<T: Value, D: Dimension>(path: &Path, cells: &Cells<T, D>) -> Result<()> {
        let schema = schema_of(cells).map_err(|problem| file_error(path, problem))?;
        let mut output = Output::create(path)?;
        write_to(&mut output, &Arc::new(schema), cells.as_slice()).map_err(Error::writing(path))?;
        output.finish()
    }

    fn data_type<T: Value>() -> DataType {
        T::arrow_column(&[]).data_type().clone()
    }

    fn schema_of<T: Value, D: Dimension>(cells: &Cells<T, D>) -> Result<Schema, String> {
        let attributes = serde_json::to_string(&stored_attributes(cells.attributes()))
            .map_err(|error| format!("the attributes cannot be written: {error}"))?;
        if attributes.len() > MAX_METADATA {
            return Err(format!(
                "{} MiB of attributes are too many for an Arrow file; remove large attributes",
                attributes.len() >> 20
            ));
        }
        let plane = cells.grid().plane();
        let kind = if plane.is_some() { PIXELS } else { VOXELS };
        let shape: Vec<String> = cells.shape().iter().map(usize::to_string).collect();
        let mut metadata = vec![
            (VERSION, env!("CARGO_PKG_VERSION").to_owned()),
            (KIND, kind.to_owned()),
            (SHAPE, shape.join(" ")),
            (LIMITS, numbers_to_text(cells.limits())),
            (ATTRIBUTES, attributes),
        ];
        if let Some((_, name)) = PLANES.iter().find(|(known, _)| Some(*known) == plane) {
            metadata.push((PLANE, (*name).to_owned()));
        }
        let metadata = metadata
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect::<std::collections::HashMap<String, String>>();
        let field = Field::new(COLUMN, data_type::<T>(), false);
        Ok(Schema::new_with_metadata(vec![field], metadata))
    }

    fn write_to<T: Value>(
        output: &mut impl Write,
        schema: &SchemaRef,
        values: &[T],
    ) -> std::io::Result<()> {
        let io_error = |error: ArrowError| match error {
            ArrowError::IoError(_, source) => source,
            other => std::io::Error::other(other.to_string()),
        };
        let mut writer = FileWriter::try_new(output, schema).map_err(io_error)?;
        for values in values.chunks(BATCH) {
            let columns = vec![T::arrow_column(values)];
            let batch = RecordBatch::try_new(Arc::clone(schema), columns).map_err(io_error)?;
            writer.write(&batch).map_err(io_error)?;
        }
        writer.finish().map_err(io_error)
    }

    /// What a file holds, of a grid of N axes with M limits.
    #[derive(Debug)]
    pub(super) struct Stored<T, const N: usize, const M: usize> {
        pub(super) values: Vec<T>,
        pub(super) shape: [usize; N],
        pub(super) limits: [f64; M],
        pub(super) plane: Option<Plane>,
        pub(super) attributes: Attributes,
    }

    pub(super) fn read<T: Value, const N: usize, const M: usize>(
        path: &Path,
        kind: &str,
    ) -> Result<Stored<T, N, M>> {
        let mut file = File::open(path).map_err(Error::reading(path))?;
        let length = file.metadata().map_err(Error::reading(path))?.len();
        let footer = footer(&mut file, length).map_err(|problem| file_error(path, problem))?;
        // As for tables, a panic of the reader becomes an error; what it would allocate has been checked before.
        let contents = || decode(file, length, &footer, kind);
        catch_unwind(AssertUnwindSafe(contents))
            .unwrap_or_else(|_| Err(DAMAGED.into()))
            .map_err(|problem| file_error(path, problem))
    }

    /// The footer's bytes, when both ends of the file are those of an Arrow file.
    fn footer(file: &mut File, length: u64) -> Result<Vec<u8>, String> {
        const CUT_OFF: &str = "the Arrow file is cut off";
        let mut start = [0; MAGIC.len()];
        if file.read_exact(&mut start).is_err() || start != *MAGIC {
            return Err("not an Arrow file".into());
        }
        let before_end = length.checked_sub(END as u64).ok_or(CUT_OFF)?;
        let [a, b, c, d, magic @ ..] = read_at::<END>(file, before_end)?;
        if magic != *MAGIC {
            return Err(CUT_OFF.into());
        }
        let footer_length = usize::try_from(i32::from_le_bytes([a, b, c, d])).ok();
        let (start, footer_length) = footer_length
            .and_then(|length| Some((before_end.checked_sub(length as u64)?, length)))
            .filter(|&(start, _)| start >= START as u64)
            .ok_or("the Arrow file is damaged: its footer does not fit the file")?;
        let mut footer = vec![0; footer_length];
        file.seek(SeekFrom::Start(start))
            .and_then(|_| file.read_exact(&mut footer))
            .and_then(|()| file.rewind())
            .map_err(|error| error.to_string())?;
        Ok(footer)
    }

    fn read_at<const N: usize>(file: &mut File, place: u64) -> Result<[u8; N], String> {
        let mut bytes = [0; N];
        file.seek(SeekFrom::Start(place))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|error| error.to_string())?;
        Ok(bytes)
    }

    /// May panic if the file is damaged.
    fn decode<T: Value, const N: usize, const M: usize>(
        file: File,
        length: u64,
        footer: &[u8],
        kind: &str,
    ) -> Result<Stored<T, N, M>, String> {
        check_blocks(footer, length)?;
        let reader = FileReader::try_new(BufReader::new(file), None).map_err(reader_error)?;
        let schema = reader.schema();
        let metadata = |key: &str| {
            let text = schema.metadata().get(key).map(String::as_str);
            text.ok_or_else(|| format!("no {kind}: the metadata have no {key}"))
        };
        let found = metadata(KIND)?;
        if found != kind {
            return Err(format!("the file holds {found}, not {kind}"));
        }
        let shape: [usize; N] = numbers(metadata(SHAPE)?).ok_or_else(|| bad(SHAPE))?;
        let limits = numbers_of_text(metadata(LIMITS)?)?;
        let limits: [f64; M] = limits.try_into().map_err(|_| bad(LIMITS))?;
        let plane = match metadata(PLANE) {
            Ok(name) => {
                let known = PLANES.iter().find(|(_, known)| *known == name);
                Some(known.ok_or_else(|| bad(PLANE))?.0)
            }
            Err(_) => None,
        };
        let attributes = serde_json::from_str(metadata(ATTRIBUTES)?)
            .map_err(|error| format!("{ATTRIBUTES} in the metadata: {error}"))?;
        let attributes = parse_attributes(attributes)?;

        let column = schema
            .index_of(COLUMN)
            .map_err(|_| format!("no column \"{COLUMN}\""))?;
        let found = schema.field(column).data_type();
        if *found != data_type::<T>() {
            return Err(format!(
                "the values are {found:?}, but {:?} were asked for",
                data_type::<T>()
            ));
        }
        // Before anything is allocated: the numbers may be anything.
        let n_cells = shape
            .iter()
            .try_fold(1_usize, |n, &m| n.checked_mul(m))
            .filter(|&n| n as u64 <= length / size_of::<T>() as u64)
            .ok_or_else(|| format!("{DAMAGED}: its values do not fill the grid"))?;
        check_memory(n_cells, size_of::<T>()).map_err(|error| error.to_string())?;
        let mut values = Vec::with_capacity(n_cells);
        for batch in reader {
            let batch = batch.map_err(reader_error)?;
            let some = T::arrow_values(batch.column(column).as_ref());
            values.extend_from_slice(some.ok_or("there are missing values")?);
        }
        if values.len() != n_cells {
            return Err(format!("{DAMAGED}: its values do not fill the grid"));
        }
        Ok(Stored {
            values,
            shape,
            limits,
            plane,
            attributes,
        })
    }

    /// Checks that the blocks lie within the file: the reader allocates what they say.
    fn check_blocks(footer: &[u8], length: u64) -> Result<(), String> {
        let footer =
            arrow_ipc::root_as_footer(footer).map_err(|error| format!("{DAMAGED}: {error}"))?;
        if footer
            .dictionaries()
            .is_some_and(|blocks| !blocks.is_empty())
        {
            return Err(
                "the Arrow file has columns of categories; only numbers can be read".into(),
            );
        }
        let mut total = 0_u64;
        for block in footer.recordBatches().iter().flatten() {
            let block = length_of_block(
                block.offset(),
                block.metaDataLength().into(),
                block.bodyLength(),
                length,
            );
            total = block
                .and_then(|block| total.checked_add(block))
                .filter(|&total| total <= length)
                .ok_or_else(|| format!("{DAMAGED}: its parts do not fit the file"))?;
        }
        Ok(())
    }

    fn bad(key: &str) -> String {
        format!("{key} in the metadata is not what it should be")
    }

    fn numbers<const N: usize>(text: &str) -> Option<[usize; N]> {
        let words = text.split_ascii_whitespace();
        let numbers: Option<Vec<usize>> = words.map(|word| word.parse().ok()).collect();
        numbers?.try_into().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: [f64; 6] = [-1.0, 1.0, 0.0, 6.0, 10.0, 11.0];

    /// 2 x 3 x 4 cells with the value `xyz` in digits.
    fn voxels() -> Voxels {
        let values = Array3::from_shape_fn((2, 3, 4), |(x, y, z)| (100 * x + 10 * y + z) as u32);
        Voxels::new(values, LIMITS).unwrap()
    }

    fn pixels() -> Pixels<f64> {
        let values = Array2::from_shape_fn((3, 2), |(a, b)| a as f64 + 0.1 * b as f64);
        Pixels::new(values, [0.0, 3.0, -0.5, 0.5]).unwrap()
    }

    fn problem<T: std::fmt::Debug>(result: Result<T>) -> String {
        match result {
            Err(Error::File { problem, .. }) => problem,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn npy_starts_with_numpys_header_and_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("voxels.npy");
        write_cells(&path, &voxels()).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes[..8], *b"\x93NUMPY\x01\x00");
        assert_eq!(bytes.len() % npy::ALIGNMENT, (24 * 4) % npy::ALIGNMENT);
        let header = b"{'descr': '<u4', 'fortran_order': False, 'shape': (2, 3, 4), }  ";
        assert_eq!(bytes[10..10 + header.len()], *header);
        let values = &bytes[bytes.len() - 24 * 4..];
        assert_eq!(values[..8], [0, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(values[24 * 4 - 4..], [123, 0, 0, 0]);
        assert_eq!(read_npy_voxels::<u32>(&path, LIMITS).unwrap(), voxels());

        assert!(problem(read_npy_voxels::<f64>(&path, LIMITS)).contains("<u4"));
        assert!(
            problem(read_npy_pixels::<u32>(&path, [0.0, 1.0, 0.0, 1.0])).contains("3 dimensions")
        );
        assert!(problem(read_npy_voxels::<u32>(&path, [0.0; 6])).contains("limits"));
        assert!(problem(read_voxels::<u32>(&path)).contains("read_npy_voxels"));

        let path = folder.path().join("pixels.NPY");
        write_cells(&path, &pixels()).unwrap();
        let again = read_npy_pixels::<f64>(&path, [0.0, 3.0, -0.5, 0.5]);
        assert_eq!(again.unwrap(), pixels());
    }

    #[test]
    fn npy_by_columns_is_understood_and_damaged_ones_are_errors() {
        let parse = |bytes: &[u8]| parse_npy::<u32, 2>(&mut &bytes[..], bytes.len() as u64);
        let file = |order: &str, shape: &str| {
            let header =
                format!("{{'descr': '<u4', 'fortran_order': {order}, 'shape': ({shape}), }}\n");
            let length = u16::try_from(header.len()).unwrap().to_le_bytes();
            let mut bytes = [npy::MAGIC, &[1, 0], &length, header.as_bytes()].concat();
            bytes.extend((0..6_u32).flat_map(u32::to_le_bytes));
            bytes
        };
        let array = parse(&file("True", "2, 3")).unwrap();
        assert!(array.by_column);
        assert_eq!(
            (array.shape, array.values),
            ([2, 3], vec![0, 1, 2, 3, 4, 5])
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("by_column.npy");
        std::fs::write(&path, file("True", "2, 3")).unwrap();
        let pixels = read_npy_pixels::<u32>(&path, [0.0, 1.0, 0.0, 1.0]).unwrap();
        assert_eq!(pixels.as_slice(), [0, 2, 4, 1, 3, 5]);

        for shape in ["3, 3", "2, 2", "4611686018427387904, 4"] {
            let error = parse(&file("False", shape)).unwrap_err();
            assert!(error.contains("but 24 bytes follow"));
        }
        let bytes = file("False", "2, 3");
        for n in 0..bytes.len() {
            assert!(parse(&bytes[..n]).is_err());
        }
        let mut other = bytes;
        other[6] = 2;
        assert!(parse(&other).unwrap_err().contains("version 2"));
    }

    #[test]
    fn vti_has_one_cell_for_each_voxel_and_x_runs_fastest() {
        let mut bytes = Vec::new();
        write_vti(&mut bytes, &voxels()).unwrap();
        let header = r#"<?xml version="1.0"?>
<VTKFile type="ImageData" version="1.0" byte_order="LittleEndian" header_type="UInt64">
<ImageData WholeExtent="0 2 0 3 0 4" Origin="-1 0 10" Spacing="1 2 0.25">
<Piece Extent="0 2 0 3 0 4">
<CellData Scalars="value">
<DataArray type="UInt32" Name="value" format="appended" offset="0"/>
</CellData>
</Piece>
</ImageData>
<AppendedData encoding="raw">
_"#;
        let rest = bytes.strip_prefix(header.as_bytes()).unwrap();
        let rest = rest
            .strip_suffix(b"\n</AppendedData>\n</VTKFile>\n")
            .unwrap();
        let (length, values) = rest.split_at(8);
        assert_eq!(length, 96_u64.to_le_bytes());
        let values: Vec<u32> = values.chunks_exact(4).map(u32::of_bytes).collect();
        let mut expected = Vec::new();
        for z in 0..4 {
            for y in 0..3 {
                expected.extend([10 * y + z, 100 + 10 * y + z]);
            }
        }
        assert_eq!(values, expected);
    }

    #[test]
    fn vti_of_many_layers_and_of_pixels() {
        let turned = |values: &[u32], shape| {
            let mut bytes = Vec::new();
            write_turned(&mut bytes, values, shape).unwrap();
            let values = bytes.chunks_exact(4).map(u32::of_bytes);
            values.collect::<Vec<u32>>()
        };
        let nz = 2 * LAYERS + 3;
        let values: Vec<u32> = (0..).take(4 * nz).collect();
        let found = turned(&values, [2, 2, nz]);
        for (n, &value) in found.iter().enumerate() {
            let (x, y, z) = (n % 2, n / 2 % 2, n / 4);
            assert_eq!(value as usize, (2 * x + y) * nz + z);
        }
        assert_eq!(turned(&[0, 1, 2, 3, 4, 5], [3, 1, 2]), [0, 2, 4, 1, 3, 5]);
        let axes = |plane| image_axes(&pixels().with_plane(plane)).map(|(n, _, _)| n);
        assert_eq!(axes(Plane::Xy), [3, 2, 1]);
        assert_eq!(axes(Plane::Xz), [3, 1, 2]);
        assert_eq!(axes(Plane::Yz), [1, 3, 2]);
        assert!(vti_header(image_axes(&pixels()), f64::VTK).contains(r#"Origin="0 -0.5 0""#));
    }

    #[cfg(feature = "arrow")]
    #[test]
    fn arrow_keeps_everything() {
        use crate::data::Attribute;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cells.arrow");
        let voxels = voxels()
            .with_attribute("note", Attribute::Text("größe \"a\"".into()))
            .with_attribute("number", Attribute::Number(f64::INFINITY))
            .with_attribute("several", Attribute::Array(vec![0.1, -0.0]));
        write_cells(&path, &voxels).unwrap();
        assert_eq!(read_voxels::<u32>(&path).unwrap(), voxels);
        assert!(problem(read_voxels::<f64>(&path)).contains("UInt32"));
        assert!(problem(read_pixels::<u32>(&path)).contains("holds voxels, not pixels"));
        for plane in [Plane::Xy, Plane::Xz, Plane::Yz] {
            let pixels = pixels().with_plane(plane);
            write_cells(&path, &pixels).unwrap();
            assert_eq!(read_pixels::<f64>(&path).unwrap(), pixels);
        }
        // More than one batch.
        let many = Voxels::<u32>::empty([100, 80, 9], LIMITS).unwrap();
        let mut n = 0_u32;
        let many = many.map(|_| {
            n += 1;
            n
        });
        write_cells(&path, &many).unwrap();
        assert_eq!(read_voxels::<u32>(&path).unwrap(), many);
    }

    #[cfg(feature = "arrow")]
    #[test]
    fn damaged_and_foreign_arrow_files_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cells.arrow");
        write_cells(&path, &voxels()).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for n in (0..bytes.len()).step_by(11) {
            std::fs::write(&path, &bytes[..n]).unwrap();
            problem(read_voxels::<u32>(&path));
        }
        std::fs::write(&path, b"t,x,y,z\n").unwrap();
        assert_eq!(problem(read_voxels::<u32>(&path)), "not an Arrow file");
        let lines = crate::data::LineData::new(Array2::zeros((2, 7))).unwrap();
        crate::io::arrow::write(&path, &lines).unwrap();
        let found = problem(read_voxels::<u32>(&path));
        assert_eq!(found, "the file holds lines, not voxels");
        let missing = folder.path().join("missing.arrow");
        assert!(matches!(read_voxels::<u32>(missing), Err(Error::Io { .. })));
    }

    #[test]
    fn unknown_endings_name_the_known_ones_and_leave_nothing() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["cells", "cells.txt", "cells.vtk"] {
            let path = folder.path().join(name);
            assert!(problem(write_cells(&path, &voxels())).contains(".npy, .vti (ParaView)"));
            assert!(check_name(&path).is_err());
            assert!(!path.exists());
        }
        assert!(check_name("cells.VTI").is_ok());
        assert!(problem(read_pixels::<u32>("cells.vti")).contains("only written"));
    }
}
