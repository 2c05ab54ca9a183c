//! Arrow IPC files (Feather version 2): pandas and polars read them in one line, and nothing of a table is lost.
//!
//! The schema's metadata hold what is no column: `pept.version` (of this crate), `pept.kind` (`lines` or `points`),
//! `pept.sampling` (such as `count 400 300`) and `pept.attributes` (JSON; numbers as text, so that NaN and infinities survive).

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io::{Cursor, Write};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::str::{FromStr, SplitAsciiWhitespace};
use std::sync::Arc;

use arrow_array::types::{
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, Float64Array, PrimitiveArray, RecordBatch};
use arrow_ipc::reader::FileReader;
use arrow_ipc::writer::FileWriter;
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use serde::{Deserialize, Serialize};

use super::Output;
use crate::data::{Attribute, Attributes, Contents, Lines, Points, Sampling, Table, array_of_rows};
use crate::error::{Error, Result};

/// How every Arrow file starts and ends.
pub(super) const MAGIC: &[u8] = b"ARROW1";
/// The magic at the start is padded to this.
pub(super) const START: usize = 8;
/// Most rows of a record batch.
pub(super) const BATCH: usize = 65_536;
/// Most bytes of metadata: readers refuse more than about 1 GiB, and the file holds them twice.
pub(super) const MAX_METADATA: usize = 256 << 20;

pub(super) const VERSION: &str = "pept.version";
pub(super) const KIND: &str = "pept.kind";
const SAMPLING: &str = "pept.sampling";
pub(super) const ATTRIBUTES: &str = "pept.attributes";

/// Writes a table with its names, sampling and attributes.
///
/// # Errors
/// [`Error::Io`]; [`Error::File`] for more than 256 MiB of attributes. No file is then left under that name.
pub fn write<C: Contents>(path: impl AsRef<Path>, table: &Table<C>) -> Result<()> {
    let path = path.as_ref();
    let schema = schema_of(table).map_err(|problem| Error::File {
        path: path.to_owned(),
        problem,
    })?;
    let mut output = Output::create(path)?;
    write_to(&mut output, &Arc::new(schema), table).map_err(Error::writing(path))?;
    output.finish()
}

fn schema_of<C: Contents>(table: &Table<C>) -> Result<Schema, String> {
    let fields: Vec<Field> = table
        .columns()
        .iter()
        .map(|name| Field::new(name.as_str(), DataType::Float64, false))
        .collect();
    let attributes = serde_json::to_string(&stored_attributes(table.attributes()))
        .map_err(|error| format!("the attributes cannot be written: {error}"))?;
    let sampling = stored_sampling(table);
    let length = attributes.len().saturating_add(sampling.len());
    if length > MAX_METADATA {
        return Err(format!(
            "{} MiB of attributes and samples are too many for an Arrow file; remove large attributes",
            length >> 20
        ));
    }
    let metadata: HashMap<String, String> = [
        (VERSION, env!("CARGO_PKG_VERSION").to_owned()),
        (KIND, kind::<C>().to_owned()),
        (SAMPLING, sampling),
        (ATTRIBUTES, attributes),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect();
    Ok(Schema::new_with_metadata(fields, metadata))
}

fn write_to<C: Contents>(
    output: &mut impl Write,
    schema: &SchemaRef,
    table: &Table<C>,
) -> std::io::Result<()> {
    let io_error = |error: ArrowError| match error {
        ArrowError::IoError(_, source) => source,
        other => std::io::Error::other(other.to_string()),
    };
    let n_columns = table.columns().len();
    let mut writer = FileWriter::try_new(output, schema).map_err(io_error)?;
    for rows in table.values().chunks(BATCH * n_columns) {
        let columns = (0..n_columns).map(|column| {
            let values: Vec<f64> = rows
                .iter()
                .skip(column)
                .step_by(n_columns)
                .copied()
                .collect();
            Arc::new(Float64Array::from(values)) as ArrayRef
        });
        let batch =
            RecordBatch::try_new(Arc::clone(schema), columns.collect()).map_err(io_error)?;
        writer.write(&batch).map_err(io_error)?;
    }
    writer.finish().map_err(io_error)
}

/// Reads a table, also one of another program: columns of floats or whole numbers in any order, of which the standard ones
/// have to be there. A missing value is NaN.
///
/// # Errors
/// [`Error::Io`]; [`Error::File`] for another kind of file or table, a damaged or a compressed one.
pub fn read<C: Contents>(path: impl AsRef<Path>) -> Result<Table<C>> {
    let path = path.as_ref();
    let bytes = std::fs::read(path).map_err(Error::reading(path))?;
    parse(&bytes).map_err(|problem| Error::File {
        path: path.to_owned(),
        problem,
    })
}

fn parse<C: Contents>(bytes: &[u8]) -> Result<Table<C>, String> {
    let footer = footer(bytes)?;
    // The one seam where a panic becomes an error: the reader indexes by the numbers in a file. What it would allocate
    // has been checked before.
    let contents = catch_unwind(AssertUnwindSafe(|| decode::<C>(bytes, footer)))
        .unwrap_or_else(|_| Err("the Arrow file is damaged".into()))?;
    let Decoded {
        columns,
        values,
        metadata,
    } = contents;
    let sampling = match metadata.get(SAMPLING) {
        Some(text) => parse_sampling(text)?,
        None => Sampling::Whole,
    };
    let attributes = match metadata.get(ATTRIBUTES) {
        Some(text) => {
            let stored = serde_json::from_str(text)
                .map_err(|error| format!("{ATTRIBUTES} in the metadata: {error}"))?;
            parse_attributes(stored)?
        }
        None => Attributes::new(),
    };
    table(columns, values, attributes, sampling)
}

/// A table of parts that may not fit together.
fn table<C: Contents>(
    columns: Vec<String>,
    values: Vec<f64>,
    attributes: Attributes,
    sampling: Sampling,
) -> Result<Table<C>, String> {
    let rows = array_of_rows(values, columns.len());
    Table::with_all_columns(rows, columns)
        .and_then(|table| table.with_attributes(attributes).with_sampling(sampling))
        .map_err(|error| error.to_string())
}

/// The footer's bytes, when both ends of the file are those of an Arrow file.
fn footer(bytes: &[u8]) -> Result<&[u8], String> {
    if bytes.starts_with(&[0xff; 4]) {
        return Err("an Arrow stream; an Arrow file is needed".into());
    }
    if bytes.starts_with(b"FEA1") {
        return Err("a Feather file of version 1; version 2 is needed".into());
    }
    if !bytes.starts_with(MAGIC) {
        return Err("not an Arrow file".into());
    }
    let body = bytes
        .strip_suffix(MAGIC)
        .ok_or("the Arrow file is cut off: its end is missing")?;
    let (body, length) = body
        .split_last_chunk::<4>()
        .ok_or("the Arrow file is cut off")?;
    usize::try_from(i32::from_le_bytes(*length))
        .ok()
        .and_then(|length| body.len().checked_sub(length))
        .filter(|&start| start >= START)
        .map(|start| &body[start..])
        .ok_or_else(|| "the Arrow file is damaged: its footer does not fit the file".into())
}

/// What the reader finds in a file.
struct Decoded {
    columns: Vec<String>,
    /// Row after row.
    values: Vec<f64>,
    metadata: HashMap<String, String>,
}

/// May panic if the file is damaged.
fn decode<C: Contents>(bytes: &[u8], footer: &[u8]) -> Result<Decoded, String> {
    let footer = arrow_ipc::root_as_footer(footer)
        .map_err(|error| format!("the Arrow file is damaged: {error}"))?;
    if footer
        .dictionaries()
        .is_some_and(|blocks| !blocks.is_empty())
    {
        return Err("the Arrow file has columns of categories; only numbers can be read".into());
    }
    // The reader allocates what the blocks say.
    let mut total = 0_u64;
    for block in footer.recordBatches().iter().flatten() {
        let length = length_of_block(
            block.offset(),
            block.metaDataLength().into(),
            block.bodyLength(),
            bytes.len() as u64,
        );
        total = length
            .and_then(|length| total.checked_add(length))
            .filter(|&total| total <= bytes.len() as u64)
            .ok_or("the Arrow file is damaged: its parts do not fit the file")?;
    }

    let reader = FileReader::try_new(Cursor::new(bytes), None).map_err(reader_error)?;
    let schema = reader.schema();
    let metadata = schema.metadata().clone();
    if let Some(found) = metadata.get(KIND)
        && found != kind::<C>()
    {
        return Err(format!("the file holds {found}, not {}", kind::<C>()));
    }
    let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    let order = order::<C>(&names)?;
    for field in schema.fields() {
        let data_type = field.data_type();
        if !data_type.is_integer() && !matches!(data_type, DataType::Float32 | DataType::Float64) {
            return Err(format!(
                "column \"{}\" holds {data_type:?}; only floats of 4 or 8 bytes and whole numbers can be read",
                field.name()
            ));
        }
    }
    let mut values = Vec::new();
    for batch in reader {
        let batch = batch.map_err(reader_error)?;
        let columns: Vec<Vec<f64>> = order
            .iter()
            .map(|&column| to_f64(batch.column(column)))
            .collect::<Result<_, _>>()?;
        values.reserve(batch.num_rows() * columns.len());
        for row in 0..batch.num_rows() {
            values.extend(columns.iter().map(|column| column[row]));
        }
    }
    Ok(Decoded {
        columns: order.iter().map(|&n| names[n].to_owned()).collect(),
        values,
        metadata: metadata.into(),
    })
}

/// The length of a block that lies within the file.
pub(super) fn length_of_block(offset: i64, metadata: i64, body: i64, file: u64) -> Option<u64> {
    let offset = u64::try_from(offset).ok()?;
    let length = u64::try_from(metadata)
        .ok()?
        .checked_add(u64::try_from(body).ok()?)?;
    offset
        .checked_add(length)
        .filter(|&end| end <= file)
        .map(|_| length)
}

pub(super) fn reader_error(error: ArrowError) -> String {
    let text = error.to_string();
    if text.contains("compress") || text.contains("feature") {
        return format!(
            "compressed Arrow files cannot be read; write it with compression=\"uncompressed\" ({text})"
        );
    }
    format!("the Arrow file cannot be read: {text}")
}

/// Where the columns are in the file: the standard ones, then the others as they come.
fn order<C: Contents>(names: &[&str]) -> Result<Vec<usize>, String> {
    let mut order = Vec::with_capacity(names.len());
    for standard in C::COLUMNS {
        let found = names.iter().position(|name| name == standard);
        order.push(found.ok_or_else(|| {
            format!(
                "{} needs the columns {}, but the file has {}",
                C::NAME,
                C::COLUMNS.join(" "),
                if names.is_empty() {
                    "none".to_owned()
                } else {
                    names.join(" ")
                }
            )
        })?);
    }
    let others: Vec<usize> = (0..names.len()).filter(|n| !order.contains(n)).collect();
    order.extend(others);
    Ok(order)
}

fn to_f64(array: &ArrayRef) -> Result<Vec<f64>, String> {
    let array: &dyn Array = array.as_ref();
    Ok(match array.data_type() {
        DataType::Float64 => numbers::<Float64Type>(array, |value| value),
        DataType::Float32 => numbers::<Float32Type>(array, f64::from),
        DataType::Int8 => numbers::<Int8Type>(array, f64::from),
        DataType::Int16 => numbers::<Int16Type>(array, f64::from),
        DataType::Int32 => numbers::<Int32Type>(array, f64::from),
        DataType::Int64 => numbers::<Int64Type>(array, |value| value as f64),
        DataType::UInt8 => numbers::<UInt8Type>(array, f64::from),
        DataType::UInt16 => numbers::<UInt16Type>(array, f64::from),
        DataType::UInt32 => numbers::<UInt32Type>(array, f64::from),
        DataType::UInt64 => numbers::<UInt64Type>(array, |value| value as f64),
        other => return Err(format!("a column of {other:?}")),
    })
}

/// The values of an array of a known type.
fn numbers<T: ArrowPrimitiveType>(
    array: &dyn Array,
    convert: impl Fn(T::Native) -> f64,
) -> Vec<f64> {
    let array = array
        .as_any()
        .downcast_ref::<PrimitiveArray<T>>()
        .expect("an array should be of its own type");
    array
        .iter()
        .map(|value| value.map_or(f64::NAN, &convert))
        .collect()
}

fn kind<C: Contents>() -> &'static str {
    if C::COLUMNS == Lines::COLUMNS {
        "lines"
    } else if C::COLUMNS == Points::COLUMNS {
        "points"
    } else {
        C::NAME
    }
}

/// A rule as text that [`parse_sampling`] reads; the ranges themselves where the rule would give others.
fn stored_sampling<C: Contents>(table: &Table<C>) -> String {
    let again = table.clone().with_sampling(table.sampling().clone());
    let same = again.is_ok_and(|again| again.sample_ranges() == table.sample_ranges());
    let ranges;
    let sampling = if same {
        table.sampling()
    } else {
        ranges = Sampling::Ranges(table.sample_ranges().to_vec());
        &ranges
    };
    match sampling {
        Sampling::Whole => "whole".to_owned(),
        Sampling::Count { size, overlap } => format!("count {size} {overlap}"),
        Sampling::List(sizes) => {
            let sizes: Vec<String> = sizes.iter().map(usize::to_string).collect();
            format!("list {}", sizes.join(" "))
        }
        Sampling::Time { window, overlap } => format!("time {window:?} {overlap:?}"),
        Sampling::Adaptive {
            window,
            overlap,
            max_rows,
        } => format!("adaptive {window:?} {overlap:?} {max_rows}"),
        Sampling::Ranges(ranges) => {
            let ranges: Vec<String> = ranges
                .iter()
                .map(|range| format!("{}..{}", range.start, range.end))
                .collect();
            format!("ranges {}", ranges.join(" "))
        }
    }
}

fn parse_sampling(text: &str) -> Result<Sampling, String> {
    let (rule, rest) = text.split_once(' ').unwrap_or((text, ""));
    let words = &mut rest.split_ascii_whitespace();
    let sampling =
        match rule {
            "whole" => Some(Sampling::Whole),
            "count" => word(words)
                .zip(word(words))
                .map(|(size, overlap)| Sampling::Count { size, overlap }),
            "list" => words
                .by_ref()
                .map(|word| word.parse().ok())
                .collect::<Option<Vec<usize>>>()
                .map(Sampling::List),
            "time" => word(words)
                .zip(word(words))
                .map(|(window, overlap)| Sampling::Time { window, overlap }),
            "adaptive" => word(words).zip(word(words)).zip(word(words)).map(
                |((window, overlap), max_rows)| Sampling::Adaptive {
                    window,
                    overlap,
                    max_rows,
                },
            ),
            "ranges" => words
                .by_ref()
                .map(range)
                .collect::<Option<Vec<Range<usize>>>>()
                .map(Sampling::Ranges),
            _ => None,
        };
    sampling.filter(|_| words.next().is_none()).ok_or_else(|| {
        let start: String = text.chars().take(40).collect();
        format!("{SAMPLING} in the metadata, {start:?}, is no rule that this version knows")
    })
}

fn word<T: FromStr>(words: &mut SplitAsciiWhitespace<'_>) -> Option<T> {
    words.next()?.parse().ok()
}

fn range(word: &str) -> Option<Range<usize>> {
    let (start, end) = word.split_once("..")?;
    Some(start.parse().ok()?..end.parse().ok()?)
}

/// An attribute in JSON. Numbers are text, separated by blanks.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Stored {
    Number(String),
    Text(String),
    Array(String),
    Lines(StoredTable),
    Points(StoredTable),
}

#[derive(Serialize, Deserialize)]
pub(super) struct StoredTable {
    columns: Vec<String>,
    sampling: String,
    attributes: BTreeMap<String, Stored>,
    rows: Vec<String>,
}

pub(super) fn stored_attributes(attributes: &Attributes) -> BTreeMap<String, Stored> {
    let stored = |value: &Attribute| match value {
        Attribute::Number(number) => Stored::Number(numbers_to_text(&[*number])),
        Attribute::Text(text) => Stored::Text(text.clone()),
        Attribute::Array(numbers) => Stored::Array(numbers_to_text(numbers)),
        Attribute::Lines(table) => Stored::Lines(stored_table(table)),
        Attribute::Points(table) => Stored::Points(stored_table(table)),
    };
    attributes
        .iter()
        .map(|(name, value)| (name.clone(), stored(value)))
        .collect()
}

fn stored_table<C: Contents>(table: &Table<C>) -> StoredTable {
    StoredTable {
        columns: table.columns().to_vec(),
        sampling: stored_sampling(table),
        attributes: stored_attributes(table.attributes()),
        rows: table
            .values()
            .chunks_exact(table.columns().len())
            .map(numbers_to_text)
            .collect(),
    }
}

pub(super) fn parse_attributes(stored: BTreeMap<String, Stored>) -> Result<Attributes, String> {
    stored
        .into_iter()
        .map(|(name, value)| {
            let value = match value {
                Stored::Number(text) => match numbers_of_text(&text)?[..] {
                    [number] => Attribute::Number(number),
                    _ => return Err(format!("attribute {name:?} is no number")),
                },
                Stored::Text(text) => Attribute::Text(text),
                Stored::Array(text) => Attribute::Array(numbers_of_text(&text)?),
                Stored::Lines(table) => Attribute::Lines(parse_table::<Lines>(table)?),
                Stored::Points(table) => Attribute::Points(parse_table::<Points>(table)?),
            };
            Ok((name, value))
        })
        .collect()
}

fn parse_table<C: Contents>(stored: StoredTable) -> Result<Table<C>, String> {
    let names = stored.columns.iter().take(C::COLUMNS.len());
    if !names.eq(C::COLUMNS) {
        return Err(format!("an attribute that should be {}", kind::<C>()));
    }
    let mut values = Vec::new();
    for row in &stored.rows {
        let numbers = numbers_of_text(row)?;
        if numbers.len() != stored.columns.len() {
            return Err("an attribute with rows of different lengths".into());
        }
        values.extend(numbers);
    }
    let attributes = parse_attributes(stored.attributes)?;
    let sampling = parse_sampling(&stored.sampling)?;
    table(stored.columns, values, attributes, sampling)
}

/// Text that reads back as the same numbers.
pub(super) fn numbers_to_text(numbers: &[f64]) -> String {
    let mut text = String::new();
    for (n, number) in numbers.iter().enumerate() {
        let separator = if n == 0 { "" } else { " " };
        write!(text, "{separator}{number:?}").expect("writing to memory should not fail");
    }
    text
}

pub(super) fn numbers_of_text(text: &str) -> Result<Vec<f64>, String> {
    text.split_ascii_whitespace()
        .map(|word| {
            let number = word.parse();
            number.map_err(|_| format!("{word:?} in an attribute is no number"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{LineData, PointData};
    use arrow_array::builder::PrimitiveBuilder;

    /// An Arrow file of another program.
    fn foreign(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut bytes = Vec::new();
        let mut writer = FileWriter::try_new(&mut bytes, &batch.schema()).unwrap();
        writer.write(&batch).unwrap();
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
        drop(writer);
        bytes
    }

    fn column<T: ArrowPrimitiveType>(values: Vec<Option<T::Native>>) -> ArrayRef {
        let mut builder = PrimitiveBuilder::<T>::new();
        for value in values {
            builder.append_option(value);
        }
        Arc::new(builder.finish())
    }

    fn problem(bytes: &[u8]) -> String {
        parse::<Points>(bytes).unwrap_err()
    }

    #[test]
    fn foreign_columns_are_found_by_name_and_turned_into_numbers() {
        let bytes = foreign(vec![
            ("label", column::<Int64Type>(vec![Some(-1), None])),
            ("z", column::<Float64Type>(vec![Some(0.1), None])),
            ("t", column::<UInt64Type>(vec![Some(1), Some(2)])),
            ("x", column::<Float32Type>(vec![Some(0.5), Some(1.5)])),
            ("y", column::<UInt8Type>(vec![Some(7), Some(255)])),
        ]);
        let points: PointData = parse(&bytes).unwrap();
        assert_eq!(points.columns(), ["t", "x", "y", "z", "label"]);
        assert_eq!(points.n_rows(), 4);
        for rows in points.values().chunks_exact(10) {
            assert_eq!(rows[..8], [1.0, 0.5, 7.0, 0.1, -1.0, 2.0, 1.5, 255.0]);
            assert!(rows[8].is_nan() && rows[9].is_nan());
        }
        assert_eq!(*points.sampling(), Sampling::Whole);
    }

    #[test]
    fn other_tables_and_files_say_what_is_wrong() {
        let number = || column::<Float64Type>(vec![Some(1.0)]);
        let bytes = foreign(vec![("t", number()), ("x", number()), ("a", number())]);
        assert!(problem(&bytes).contains("t x y z, but the file has t x a"));
        let text: ArrayRef = Arc::new(arrow_array::StringArray::from(vec!["a"]));
        let bytes = foreign(vec![
            ("t", number()),
            ("x", number()),
            ("y", number()),
            ("z", number()),
            ("name", text),
        ]);
        assert!(problem(&bytes).contains("column \"name\" holds Utf8"));
        assert_eq!(problem(b""), "not an Arrow file");
        assert!(problem(b"t,x,y,z\n").contains("not an Arrow file"));
        assert!(problem(&[0xff; 20]).contains("stream"));
        assert!(problem(b"ARROW1").contains("cut off"));
        assert!(problem(b"ARROW1\0\0\xff\xff\xff\x7fARROW1").contains("footer"));
        let lines = LineData::new(ndarray::Array2::zeros((2, 7))).unwrap();
        let mut bytes = Vec::new();
        write_to(&mut bytes, &Arc::new(schema_of(&lines).unwrap()), &lines).unwrap();
        assert_eq!(problem(&bytes), "the file holds lines, not points");
    }

    #[test]
    fn every_rule_of_sampling_is_text_that_reads_back() {
        let rows = ndarray::Array2::from_shape_fn((9, 4), |(row, _)| row as f64);
        let table = PointData::new(rows).unwrap();
        for sampling in [
            Sampling::Whole,
            Sampling::count(3).overlap(-2),
            Sampling::List(vec![2, 0, 3]),
            Sampling::List(Vec::new()),
            Sampling::time(2.5).overlap_time(0.1),
            Sampling::adaptive(1e-3, 7).overlap_time(-0.5),
            Sampling::Ranges(vec![2..5, 0..0]),
            Sampling::Ranges(Vec::new()),
        ] {
            let table = table.clone().with_sampling(sampling.clone()).unwrap();
            assert_eq!(parse_sampling(&stored_sampling(&table)).unwrap(), sampling);
        }
        for bad in [
            "",
            "count 3",
            "count 3 0 0",
            "count -3 0",
            "ranges 1",
            "spiral 3",
        ] {
            assert!(parse_sampling(bad).unwrap_err().contains(SAMPLING));
        }
    }

    #[test]
    fn blocks_have_to_lie_within_the_file() {
        assert_eq!(length_of_block(8, 10, 20, 38), Some(30));
        for (offset, metadata, body) in [(9, 10, 20), (-1, 10, 20), (8, -1, 0), (8, 0, i64::MAX)] {
            assert_eq!(length_of_block(offset, metadata, body, 38), None);
        }
    }
}
