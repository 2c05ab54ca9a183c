//! Traces without a figure: what plotly.js calls a trace, made from tables and grids.
//!
//! Functions that give several do so because each label has its own, or because WebGL takes only so many markers at once.

use ndarray::ArrayView3;
use serde_json::{Value, json};

use super::array::{self, coordinates, finite_range};
use super::color::{self, Coloring, Default, PALETTE};
use super::rows::Rows;
use super::style::Style;
use super::vectors;
use crate::data::{Pixels, Voxels};
use crate::error::{Error, Result};
use crate::kernels::voxels::Plane;
use crate::statistics::quantile;

/// Markers of a 3-D trace: some hundred thousand more, and WebGL draws nothing, without a word.
const MAX_MARKERS: usize = 400_000;
/// More markers than this are squares in space: a disc has 99 vertices, a square 14, of 52 bytes each.
const FEW_DISCS: usize = 50_000;
/// Segments of a 3-D trace, each of which takes three vertices.
const MAX_SEGMENTS: usize = 100_000;
/// Points shown by default.
const MAX_POINTS: usize = 1_000_000;
/// Lines shown by default.
const MAX_LINES: usize = 50_000;
/// More markers of a 2-D trace are drawn by WebGL.
const FEW_MARKERS: usize = 5_000;
/// Cubes that can be seen through each other.
const MAX_CUBES: usize = 100;
/// Ellipsoids of one call.
const MAX_ELLIPSOIDS: usize = 500;

/// Columns of points, and of lines.
pub(super) const POINTS: &[&str] = &["t", "x", "y", "z"];
pub(super) const LINES: &[&str] = &["t", "x1", "y1", "z1", "x2", "y2", "z2"];

/// Corners of a cube and the triangles of its faces.
const CORNERS: [[f64; 3]; 8] = [
    [-0.5, -0.5, -0.5],
    [0.5, -0.5, -0.5],
    [0.5, 0.5, -0.5],
    [-0.5, 0.5, -0.5],
    [-0.5, -0.5, 0.5],
    [0.5, -0.5, 0.5],
    [0.5, 0.5, 0.5],
    [-0.5, 0.5, 0.5],
];
const TRIANGLES: [[usize; 3]; 12] = [
    [0, 2, 1],
    [0, 3, 2],
    [4, 5, 6],
    [4, 6, 7],
    [0, 1, 5],
    [0, 5, 4],
    [2, 3, 7],
    [2, 7, 6],
    [0, 4, 7],
    [0, 7, 3],
    [1, 2, 6],
    [1, 6, 5],
];

/// A plotly.js trace: its JSON, and what a figure has to know of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    json: Value,
    pub(super) bounds: [Option<(f64, f64)>; 3],
    /// What the figure says below.
    pub(super) note: Option<String>,
    /// The figure gives it its next colour.
    pub(super) colorless: bool,
    /// Axes end where it ends, without a margin.
    pub(super) fills: bool,
}

impl Trace {
    /// Its JSON.
    #[must_use]
    pub fn json(&self) -> &Value {
        &self.json
    }

    /// Its JSON, to be changed.
    #[must_use]
    pub fn json_mut(&mut self) -> &mut Value {
        &mut self.json
    }

    fn new(json: Value, bounds: [Option<(f64, f64)>; 3]) -> Self {
        Self {
            json,
            bounds,
            note: None,
            colorless: false,
            fills: false,
        }
    }
}

impl From<Value> for Trace {
    /// A trace of one's own, in plotly.js's words.
    fn from(json: Value) -> Self {
        let bounds = ["x", "y", "z"].map(|axis| finite_range(&array::numbers(&json[axis])?));
        Self::new(json, bounds)
    }
}

/// Which layer of voxels, or which sum of layers, is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    axis: usize,
    index: usize,
    width: usize,
}

impl Slice {
    /// The layer `ix`, a plane of y and z.
    #[must_use]
    pub fn x(ix: usize) -> Self {
        Self::new(0, ix)
    }

    /// The layer `iy`, a plane of x and z.
    #[must_use]
    pub fn y(iy: usize) -> Self {
        Self::new(1, iy)
    }

    /// The layer `iz`, a plane of x and y.
    #[must_use]
    pub fn z(iz: usize) -> Self {
        Self::new(2, iz)
    }

    fn new(axis: usize, index: usize) -> Self {
        Self {
            axis,
            index,
            width: 0,
        }
    }

    /// Adds up so many more layers on each side; default 0.
    #[must_use]
    pub fn width(self, width: usize) -> Self {
        Self { width, ..self }
    }

    /// The plane that it lies in.
    pub(super) fn plane(self) -> Plane {
        match self.axis {
            0 => Plane::Yz,
            1 => Plane::Xz,
            _ => Plane::Xy,
        }
    }

    fn of<T: Copy + Into<f64>>(self, voxels: &Voxels<T>) -> Result<Pixels<f64>> {
        voxels
            .map(Into::into)
            .slice(self.axis, self.index, self.width)
    }
}

/// How the bars of a histogram are counted.
#[derive(Clone, Copy, Debug, std::default::Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Norm {
    /// Per cent of all values.
    #[default]
    Percent,
    /// Number of values.
    Count,
}

/// 3-D points `t x y z ...`: markers, coloured by the last column, if there are more than four.
///
/// # Errors
/// [`Error::Columns`] for missing columns; [`Error::Parameter`] for a style that makes no sense.
pub fn points<'a>(rows: impl Into<Rows<'a>>, style: &Style) -> Result<Vec<Trace>> {
    let rows = rows.into().named(POINTS)?;
    let errors = style.errors.then(|| deviations(&rows)).transpose()?;
    Markers {
        axes: &[1, 2, 3],
        default: Default::LastBeyond(POINTS.len()),
        size: 2.0,
        errors,
        ..Markers::of(&rows, style)
    }
    .traces()
}

/// 2-D points `t x y ...`, or a plane of points `t x y z ...` (see [`Style::plane`]).
///
/// # Errors
/// As [`points`].
pub fn points_2d<'a>(rows: impl Into<Rows<'a>>, style: &Style) -> Result<Vec<Trace>> {
    let rows = rows.into();
    let rows = match style.plane {
        Plane::Xy => rows.named(&["t", "x", "y"])?,
        Plane::Xz | Plane::Yz => rows.named(POINTS)?,
    };
    let axes = match style.plane {
        Plane::Xy => [1, 2],
        Plane::Xz => [1, 3],
        Plane::Yz => [3, 2],
    };
    let is_3d = rows.columns().get(3).is_some_and(|name| name == "z");
    let errors = style.errors.then(|| deviations(&rows)).transpose()?;
    let errors = errors.map(|mut all| {
        let [horizontal, vertical] = axes.map(|column| std::mem::take(&mut all[column - 1]));
        [horizontal, vertical, Vec::new()]
    });
    Markers {
        axes: &axes,
        default: Default::LastBeyond(if is_3d { 4 } else { 3 }),
        size: 6.0,
        errors,
        ..Markers::of(&rows, style)
    }
    .traces()
}

/// A coordinate (0: x, 1: y, 2: z) of points `t x y z ...` against time.
///
/// # Errors
/// As [`points`]; [`Error::Parameter`] for another axis.
pub fn timeseries<'a>(rows: impl Into<Rows<'a>>, axis: usize, style: &Style) -> Result<Vec<Trace>> {
    if axis > 2 {
        return Err(Error::Parameter {
            name: "axis",
            value: axis.to_string(),
            needed: "0, 1 or 2",
        });
    }
    let rows = rows.into().named(POINTS)?;
    let errors = style.errors.then(|| deviations(&rows)).transpose()?;
    let errors = errors.map(|mut all| {
        let of_axis = std::mem::take(&mut all[axis]);
        [Vec::new(), of_axis, Vec::new()]
    });
    Markers {
        axes: &[0, axis + 1],
        default: Default::LastBeyond(POINTS.len()),
        size: 6.0,
        errors,
        ..Markers::of(&rows, style)
    }
    .traces()
}

/// Lines of response `t x1 y1 z1 x2 y2 z2 ...`: segments in 3-D, coloured by time.
///
/// # Errors
/// As [`points`].
pub fn lines<'a>(rows: impl Into<Rows<'a>>, style: &Style) -> Result<Vec<Trace>> {
    let rows = rows.into().named(LINES)?;
    let ends = [[1, 4], [2, 5], [3, 6]];
    segments(&rows, style, &ends, Default::Column(0))
}

/// Lines `t x1 y1 x2 y2 ...` in a plane, or lines of response in a plane that is not xy (see [`Style::plane`]).
///
/// # Errors
/// As [`points`].
pub fn lines_2d<'a>(rows: impl Into<Rows<'a>>, style: &Style) -> Result<Vec<Trace>> {
    let rows = rows.into().named(&["t"])?;
    let is_3d = rows.columns().get(3).is_some_and(|name| name == "z1");
    let ends = match (style.plane, is_3d) {
        (Plane::Xy, false) => {
            let rows = rows.named(&["t", "x1", "y1", "x2", "y2"])?;
            return segments(&rows, style, &[[1, 3], [2, 4]], Default::One);
        }
        (Plane::Xy, true) => [[1, 4], [2, 5]],
        (Plane::Xz, _) => [[1, 4], [3, 6]],
        (Plane::Yz, _) => [[3, 6], [2, 5]],
    };
    segments(&rows.named(LINES)?, style, &ends, Default::One)
}

/// The voxels whose value meets a condition: square markers at their centres, or cubes ([`Style::cubes`]).
///
/// # Errors
/// [`Error::Parameter`] for more than 100 cubes, and for a style that makes no sense.
pub fn voxels<T: Copy + Into<f64>>(
    voxels: &Voxels<T>,
    condition: impl Fn(f64) -> bool,
    style: &Style,
) -> Result<Vec<Trace>> {
    style.check()?;
    let cells: Vec<[f64; 5]> = voxels
        .iter()
        .map(|([x, y, z], value)| [0.0, x, y, z, value.into()])
        .filter(|cell| condition(cell[4]))
        .collect();
    let values: Vec<f64> = cells.iter().map(|cell| cell[4]).collect();
    if style.cubes {
        return Ok(vec![cubes(&cells, &values, &voxels.cell_size(), style)?]);
    }
    let (low, high) = ends_of(style, &values);
    let style = Style {
        color_values: style.color.is_none().then_some(values),
        ..style.clone().color_limits(low, high)
    };
    let rows = Rows::from(&cells).named(&["t", "x", "y", "z", "value"])?;
    Markers {
        axes: &[1, 2, 3],
        size: 4.0,
        opacity: 0.4,
        symbol: Some("square"),
        ..Markers::of(&rows, &style)
    }
    .traces()
}

/// A slice of voxels as a heat map.
///
/// # Errors
/// [`Error::Parameter`] for a layer that is not there, or a style that makes no sense.
pub fn slice<T: Copy + Into<f64>>(
    voxels: &Voxels<T>,
    slice: Slice,
    style: &Style,
) -> Result<Vec<Trace>> {
    pixels_2d(&slice.of(voxels)?, style)
}

/// A slice of voxels as a coloured plane where it lies.
///
/// # Errors
/// As [`slice()`].
pub fn slice_3d<T: Copy + Into<f64>>(
    voxels: &Voxels<T>,
    slice: Slice,
    style: &Style,
) -> Result<Vec<Trace>> {
    let pixels = slice.of(voxels)?;
    let at = voxels.centers(slice.axis)[slice.index];
    let [a, b] = [pixels.grid_lines(0), pixels.grid_lines(1)];
    // A surface has its values at corners: each is that of the cell that ends there.
    let (rows, columns) = (a.len(), b.len());
    let cells = pixels.values();
    let mut values = Vec::with_capacity(rows * columns);
    let mut places = [Vec::new(), Vec::new()];
    for i in 0..rows {
        for j in 0..columns {
            values.push(cells[[i.min(rows - 2), j.min(columns - 2)]]);
            places[0].push(a[i]);
            places[1].push(b[j]);
        }
    }
    let [first, second] = places;
    let constant = vec![at; values.len()];
    let axes = match slice.axis {
        0 => [constant, first, second],
        1 => [first, constant, second],
        _ => [first, second, constant],
    };
    style.check()?;
    let bounds = [0, 1, 2].map(|axis| finite_range(&axes[axis]));
    let [x, y, z] = axes.map(|places| array::matrix(&places, columns));
    let mut json = json!({
        "type": "surface",
        "x": x, "y": y, "z": z,
        "surfacecolor": array::matrix(&values, columns),
        "opacity": style.opacity.unwrap_or(1.0),
        "contours": {"x": {"highlight": false}, "y": {"highlight": false}, "z": {"highlight": false}},
        "lighting": {"ambient": 1.0, "diffuse": 0.0, "specular": 0.0, "fresnel": 0.0},
    });
    scale_of(&mut json, style, &values);
    named(&mut json, style);
    Ok(vec![Trace::new(json, bounds)])
}

/// Pixels as a surface whose height is their value, where that is above 0.
///
/// # Errors
/// [`Error::Parameter`] for a style that makes no sense.
pub fn pixels<T: Copy + Into<f64>>(pixels: &Pixels<T>, style: &Style) -> Result<Vec<Trace>> {
    style.check()?;
    let (values, horizontal, vertical) = as_seen(pixels);
    let above: Vec<f64> = values
        .iter()
        .map(|&value| if value > 0.0 { value } else { f64::NAN })
        .collect();
    let bounds = [
        finite_range(&horizontal),
        finite_range(&vertical),
        Some(finite_range(&above).map_or((0.0, 1.0), |(low, high)| (low.min(0.0), high))),
    ];
    let mut json = json!({
        "type": "surface",
        "x": coordinates(&horizontal), "y": coordinates(&vertical),
        "z": array::matrix(&above, horizontal.len()),
        "opacity": style.opacity.unwrap_or(0.9),
    });
    scale_of(&mut json, style, &above);
    named(&mut json, style);
    Ok(vec![Trace::new(json, bounds)])
}

/// Pixels as a heat map: x is horizontal, and in the plane yz z.
///
/// # Errors
/// [`Error::Parameter`] for a style that makes no sense.
pub fn pixels_2d<T: Copy + Into<f64>>(pixels: &Pixels<T>, style: &Style) -> Result<Vec<Trace>> {
    style.check()?;
    let (values, horizontal, vertical) = as_seen(pixels);
    let [a, b] = [0, 1].map(|axis| {
        let limits = pixels.limits();
        Some((limits[2 * axis], limits[2 * axis + 1]))
    });
    let bounds = if is_turned(pixels) { [b, a] } else { [a, b] };
    let (kind, step) = if style.contour {
        ("contour", "contours")
    } else {
        ("heatmap", "zsmooth")
    };
    let how = if style.contour {
        json!({"coloring": "heatmap"})
    } else {
        json!(false)
    };
    let cell = |places: &[f64], limits: Option<(f64, f64)>| {
        let (low, high) = limits.unwrap_or((0.0, 1.0));
        (high - low) / places.len() as f64
    };
    let mut json = json!({
        "type": kind,
        "x0": horizontal[0], "dx": cell(&horizontal, bounds[0]),
        "y0": vertical[0], "dy": cell(&vertical, bounds[1]),
        "z": array::matrix(&values, horizontal.len()),
        "opacity": style.opacity.unwrap_or(1.0),
        "hovertemplate": "%{x:.2f}, %{y:.2f} mm: %{z:.6~g}<extra></extra>",
    });
    json[step] = how;
    if style.contour {
        json["line"] = json!({"color": "rgba(255, 255, 255, 0.75)", "width": 1});
    }
    scale_of(&mut json, style, &values);
    json["colorscale"] = style.color_scale.json(); // dark paper: nothing is lost in it
    named(&mut json, style);
    Ok(vec![Trace {
        fills: true,
        ..Trace::new(json, [bounds[0], bounds[1], None])
    }])
}

/// An image: rows from the top, columns, and three or four values (red, green, blue, opacity) each.
///
/// # Errors
/// [`Error::Parameter`] for another number of values, or no pixels.
pub fn image(values: ArrayView3<'_, u8>) -> Result<Vec<Trace>> {
    let (height, width, channels) = values.dim();
    if !(channels == 3 || channels == 4) || width * height == 0 {
        return Err(Error::Parameter {
            name: "image",
            value: format!("{height} x {width} x {channels} values"),
            needed: "rows x columns x 3 or 4 values",
        });
    }
    let bytes: Vec<u8> = values.iter().copied().collect();
    let json = json!({
        "type": "image",
        "source": super::png::data_uri(&bytes, [width, height], channels == 4),
        "hoverinfo": "x+y+color",
    });
    let side = |n: usize| Some((-0.5, n as f64 - 0.5));
    Ok(vec![Trace {
        fills: true,
        ..Trace::new(json, [side(width), side(height), None])
    }])
}

/// Arrows `x y u v ...` from (x, y) along (u, v), in one colour; the longest is as long as the mean distance of arrows, times
/// [`Style::size`].
///
/// # Errors
/// As [`points`].
pub fn vectors_2d<'a>(rows: impl Into<Rows<'a>>, style: &Style) -> Result<Vec<Trace>> {
    style.check()?;
    let rows = rows.into().named(&["x", "y", "u", "v"])?;
    let (chosen, note) = all_or_some(style, rows.len(), MAX_LINES, "vectors");
    let factor = style.size.unwrap_or(1.0);
    let [x, y] = vectors::arrows(&rows.take(&chosen), factor);
    let bounds = [finite_range(&x), finite_range(&y), None];
    let mut json = json!({
        "type": if x.len() > FEW_MARKERS { "scattergl" } else { "scatter" },
        "mode": "lines",
        "x": coordinates(&x), "y": coordinates(&y),
        "line": {"width": 1.5},
        "opacity": style.opacity.unwrap_or(1.0),
        "hoverinfo": "skip",
    });
    named(&mut json, style);
    if let Some(color) = &style.color {
        json["line"]["color"] = json!(color);
    }
    Ok(vec![Trace {
        note,
        colorless: style.color.is_none(),
        ..Trace::new(json, bounds)
    }])
}

/// Cones at (x, y, z) along (u, v, w), rows `x y z u v w ...`, coloured by their length.
///
/// # Errors
/// As [`points`].
pub fn vectors<'a>(rows: impl Into<Rows<'a>>, style: &Style) -> Result<Vec<Trace>> {
    style.check()?;
    let rows = rows.into().named(&["x", "y", "z", "u", "v", "w"])?;
    let (chosen, note) = all_or_some(style, rows.len(), MAX_LINES, "vectors");
    let rows = rows.take(&chosen);
    let columns: Vec<Vec<f64>> = (0..6).map(|column| rows.column(column)).collect();
    // Cones reach beyond where they stand, about as far as they are apart.
    let side = |axis: usize| {
        let (low, high) = finite_range(&columns[axis])?;
        let apart = (high - low) / (rows.len() as f64).cbrt();
        Some((low - apart, high + apart))
    };
    let bounds = [side(0), side(1), side(2)];
    let norms: Vec<f64> = (0..rows.len())
        .map(|row| {
            rows.row(row)[3..6]
                .iter()
                .map(|v| v * v)
                .sum::<f64>()
                .sqrt()
        })
        .collect();
    let mut json = json!({
        "type": "cone",
        "x": coordinates(&columns[0]), "y": coordinates(&columns[1]), "z": coordinates(&columns[2]),
        "u": array::values(&columns[3]), "v": array::values(&columns[4]), "w": array::values(&columns[5]),
        "sizemode": "scaled", "sizeref": 0.7 * style.size.unwrap_or(1.0), "anchor": "tail",
        "opacity": style.opacity.unwrap_or(1.0),
    });
    scale_of(&mut json, style, &norms);
    if let Some(color) = &style.color {
        json["colorscale"] = json!([[0.0, color], [1.0, color]]);
    }
    json["cmin"] = json!(0.0); // as long as their colours are bright
    named(&mut json, style);
    Ok(vec![Trace {
        note,
        ..Trace::new(json, bounds)
    }])
}

/// How often values fall into `bins` equal bins, and their box plot (quartiles, and the furthest values within 1.5 of their distance).
/// Values that are NaN or infinite are left out, and said to be.
///
/// # Errors
/// [`Error::Parameter`] for no bins, no finite values, or a style that makes no sense.
pub fn histogram(values: &[f64], bins: usize, norm: Norm, style: &Style) -> Result<[Trace; 2]> {
    style.check()?;
    let mut finite: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    let Some((low, high)) = finite_range(&finite).filter(|_| bins > 0) else {
        return Err(Error::Parameter {
            name: "values",
            value: format!("{} finite values in {bins} bins", finite.len()),
            needed: "at least one finite value and one bin",
        });
    };
    // Equal values are one bin wide.
    let width = if high > low {
        (high - low) / bins as f64
    } else {
        1.0
    };
    let mut counts = vec![0_u32; bins];
    for value in &finite {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "`as` saturates"
        )]
        let bin = ((value - low) / width) as usize;
        counts[bin.min(bins - 1)] += 1;
    }
    let (factor, unit, digits) = match norm {
        Norm::Percent => (100.0 / finite.len() as f64, " %", ".2f"),
        Norm::Count => (1.0, "", "d"),
    };
    let heights: Vec<f64> = counts.iter().map(|&n| f64::from(n) * factor).collect();
    let centers: Vec<f64> = (0..bins)
        .map(|bin| low + (bin as f64 + 0.5) * width)
        .collect();
    let largest = heights.iter().copied().fold(0.0, f64::max);
    let color = style.color.as_deref().unwrap_or(PALETTE[0]);
    let mut bars = json!({
        "type": "bar",
        "x": coordinates(&centers), "y": array::values(&heights), "width": width,
        "marker": {"color": color, "line": {"width": 0.5, "color": "white"}},
        "opacity": style.opacity.unwrap_or(0.9),
        "hovertemplate": format!("%{{x:.4~g}}: %{{y:{digits}}}{unit}<extra></extra>"),
    });
    named(&mut bars, style);
    let bounds = [
        Some((low, low + width * bins as f64)),
        Some((0.0, largest * 1.05)),
        None,
    ];
    let mut bars = Trace {
        fills: true,
        ..Trace::new(bars, bounds)
    };
    if finite.len() < values.len() {
        bars.note = Some(format!(
            "{} of {} values are NaN or infinite and left out",
            values.len() - finite.len(),
            values.len()
        ));
    }
    let [q1, median, q3] = [0.25, 0.5, 0.75].map(|q| quantile(&mut finite, q));
    let reach = 1.5 * (q3 - q1);
    let within = finite
        .iter()
        .copied()
        .filter(|&v| v >= q1 - reach && v <= q3 + reach);
    let (low, high) = finite_range(&within.collect::<Vec<_>>()).unwrap_or((q1, q3));
    let summary = json!({
        "type": "box", "orientation": "h", "y": [0],
        "q1": [q1], "median": [median], "q3": [q3], "lowerfence": [low], "upperfence": [high],
        "line": {"color": color, "width": 1.5}, "showlegend": false,
        "hoverinfo": "x",
    });
    let summary = Trace::new(summary, [Some((low, high)), Some((-0.5, 0.5)), None]);
    Ok([bars, summary])
}

/// Ellipsoids of one standard deviation, times `scale`, from the columns `sigma_xx sigma_xy sigma_xz sigma_yy sigma_yz sigma_zz`
/// (covariances, mm^2) of points.
///
/// # Errors
/// As [`points`]; [`Error::Columns`] without those columns.
pub fn ellipsoids<'a>(rows: impl Into<Rows<'a>>, scale: f64, style: &Style) -> Result<Vec<Trace>> {
    style.check()?;
    let rows = rows.into().named(POINTS)?;
    let names = ["xx", "xy", "xz", "yy", "yz", "zz"].map(|axes| format!("sigma_{axes}"));
    let mut covariances = Vec::with_capacity(6);
    for name in &names {
        covariances.push(rows.column(rows.find_column(&name.as_str().into())?));
    }
    let (chosen, note) = all_or_some(style, rows.len(), MAX_ELLIPSOIDS, "ellipsoids");
    let mut corners: [Vec<f64>; 3] = std::default::Default::default();
    let mut faces: [Vec<u32>; 3] = std::default::Default::default();
    for &row in &chosen {
        let of_row: Vec<f64> = covariances.iter().map(|values| values[row]).collect();
        let center = &rows.row(row)[1..4];
        vectors::ellipsoid(center, &of_row, scale, &mut corners, &mut faces);
    }
    let bounds = [0, 1, 2].map(|axis| finite_range(&corners[axis]));
    let [x, y, z] = corners.map(|values| coordinates(&values));
    let [i, j, k] = faces;
    let mut json = json!({
        "type": "mesh3d",
        "x": x, "y": y, "z": z, "i": i, "j": j, "k": k,
        "color": style.color.as_deref().unwrap_or("#56B4E9"),
        "opacity": style.opacity.unwrap_or(0.3),
        "hoverinfo": "skip",
    });
    named(&mut json, style);
    Ok(vec![Trace {
        note,
        ..Trace::new(json, bounds)
    }])
}

/// What markers have in common.
struct Markers<'a> {
    rows: &'a Rows<'a>,
    style: &'a Style,
    /// Columns of the two or three axes.
    axes: &'a [usize],
    default: Default,
    size: f64,
    opacity: f64,
    symbol: Option<&'a str>,
    /// One standard deviation along each axis; none where empty.
    errors: Option<[Vec<f64>; 3]>,
}

impl<'a> Markers<'a> {
    fn of(rows: &'a Rows<'a>, style: &'a Style) -> Self {
        Self {
            rows,
            style,
            axes: &[],
            default: Default::One,
            size: 6.0,
            opacity: 0.8,
            symbol: None,
            errors: None,
        }
    }

    fn traces(self) -> Result<Vec<Trace>> {
        self.style.check()?;
        let coloring = color::coloring(self.rows, self.style, self.default)?;
        let n = self.rows.len();
        let (chosen, note) = all_or_some(self.style, n, MAX_POINTS, "points");
        let is_3d = self.axes.len() == 3;
        let most = if is_3d { MAX_MARKERS } else { usize::MAX };
        let kind = match (is_3d, chosen.len() > FEW_MARKERS) {
            (true, _) => "scatter3d",
            (false, true) => "scattergl",
            (false, false) => "scatter",
        };
        let columns: Vec<Vec<f64>> = self.axes.iter().map(|&a| self.rows.column(a)).collect();
        let mut traces = Vec::new();
        for part in parts(&coloring, &chosen, n, most) {
            let pick = |values: &[f64]| part.rows.iter().map(|&r| values[r]).collect::<Vec<_>>();
            let mut json = json!({
                "type": kind,
                "mode": if self.style.joined { "lines+markers" } else { "markers" },
                "marker": {"size": self.style.size.unwrap_or(self.size), "line": {"width": 0}},
                "opacity": self.style.opacity.unwrap_or(self.opacity),
                "hovertemplate": self.hover(&coloring),
            });
            let mut bounds = [None; 3];
            for (axis, (name, values)) in ["x", "y", "z"].into_iter().zip(&columns).enumerate() {
                let values = pick(values);
                bounds[axis] = finite_range(&values);
                json[name] = coordinates(&values);
                let errors = self.errors.as_ref().map(|errors| &errors[axis]);
                if let Some(errors) = errors.filter(|errors| !errors.is_empty()) {
                    let errors = pick(errors);
                    // Bars have ends, too.
                    let ends = values
                        .iter()
                        .zip(&errors)
                        .filter(|(_, error)| !error.is_nan());
                    let ends: Vec<f64> =
                        ends.flat_map(|(x, error)| [x - error, x + error]).collect();
                    let (of_points, of_ends) = (bounds[axis], finite_range(&ends));
                    bounds[axis] = match (of_points, of_ends) {
                        (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
                        (points, ends) => points.or(ends),
                    };
                    json[format!("error_{name}")] = json!({
                        "type": "data", "array": coordinates(&errors), "thickness": 1, "width": 0,
                    });
                }
            }
            let small = (is_3d && chosen.len() > FEW_DISCS).then_some("square");
            if let Some(symbol) = self.symbol.or(small) {
                json["marker"]["symbol"] = json!(symbol);
            }
            paint(&mut json, "marker", &coloring, &part, self.style, 1);
            named(&mut json, self.style);
            part.name_in(&mut json);
            traces.push(Trace {
                colorless: part.color.is_none() && part.values.is_none(),
                ..Trace::new(json, bounds)
            });
        }
        if let Some(first) = traces.first_mut() {
            first.note = note;
        }
        Ok(traces)
    }

    fn hover(&self, coloring: &Coloring) -> String {
        let mut text = String::new();
        for (name, &column) in ["x", "y", "z"].into_iter().zip(self.axes) {
            let label = &self.rows.columns()[column];
            text += &format!("{label} %{{{name}:.3f}}<br>");
        }
        if let Coloring::Scale { .. } = coloring {
            text += "%{marker.color:.6~g}";
        }
        text.trim_end_matches("<br>").to_owned()
    }
}

/// Rows that one trace shows.
struct Part<'a> {
    name: Option<&'a str>,
    color: Option<&'a str>,
    values: Option<&'a [f64]>,
    rows: Vec<usize>,
    /// Shows the legend or the scale of all parts like it.
    is_first: bool,
}

impl Part<'_> {
    fn name_in(&self, json: &mut Value) {
        if let Some(name) = self.name {
            json["name"] = json!(name);
            json["legendgroup"] = json!(name);
            json["showlegend"] = json!(self.is_first);
        } else if !self.is_first {
            json["showlegend"] = json!(false);
        }
    }
}

/// The chosen rows of each colour, at most so many in each part.
fn parts<'a>(coloring: &'a Coloring, chosen: &[usize], n: usize, most: usize) -> Vec<Part<'a>> {
    let mut parts = Vec::new();
    let mut push = |name, color, values, rows: &[usize]| {
        // Also a label without rows has its trace: frames need as many each.
        let mut chunks = rows.chunks(most).peekable();
        let none: &[usize] = &[];
        let first = chunks.next().unwrap_or(none);
        for (place, rows) in std::iter::once(first).chain(chunks).enumerate() {
            parts.push(Part {
                name,
                color,
                values,
                rows: rows.to_vec(),
                is_first: place == 0,
            });
        }
    };
    match coloring {
        Coloring::One(color) => push(None, color.as_deref(), None, chosen),
        Coloring::Scale { values, .. } => push(None, None, Some(values.as_slice()), chosen),
        Coloring::Groups(groups) => {
            let mut is_chosen = vec![false; n];
            for &row in chosen {
                is_chosen[row] = true;
            }
            for group in groups {
                let rows = group.rows.iter().copied().filter(|&row| is_chosen[row]);
                let rows: Vec<usize> = rows.collect();
                push(
                    Some(group.name.as_str()),
                    Some(group.color.as_str()),
                    None,
                    &rows,
                );
            }
        }
    }
    parts
}

/// Sets the colours of markers or lines; each row has `repeats` vertices.
fn paint(
    json: &mut Value,
    what: &str,
    coloring: &Coloring,
    part: &Part<'_>,
    style: &Style,
    repeats: usize,
) {
    if let Some(color) = part.color {
        json[what]["color"] = json!(color);
    }
    if let (Some(values), Coloring::Scale { low, high, .. }) = (part.values, coloring) {
        let values: Vec<f64> = part
            .rows
            .iter()
            .flat_map(|&row| std::iter::repeat_n(values[row], repeats))
            .collect();
        let scale = &mut json[what];
        scale["color"] = array::values(&values);
        scale["colorscale"] = style.color_scale.json_on_paper();
        scale["cmin"] = json!(low);
        scale["cmax"] = json!(high);
        bar(scale, style, part.is_first);
    }
}

/// The bar beside a plot that shows the scale, if its title is given.
fn bar(scale: &mut Value, style: &Style, is_first: bool) {
    let title = style.color_bar_title.as_ref().filter(|_| is_first);
    scale["showscale"] = json!(title.is_some());
    if let Some(title) = title {
        scale["colorbar"] = json!({
            "title": {"text": title, "side": "right", "font": {"size": 13}}, "tickfont": {"size": 11}, "thickness": 12, "outlinewidth": 0,
        });
    }
}

/// Colours of surfaces, heat maps and cones.
fn scale_of(json: &mut Value, style: &Style, values: &[f64]) {
    let (low, high) = ends_of(style, values);
    let is_flat = ["heatmap", "contour"].contains(&json["type"].as_str().unwrap_or_default());
    let [least, largest] = if is_flat {
        ["zmin", "zmax"]
    } else {
        ["cmin", "cmax"]
    };
    json[least] = json!(low);
    json[largest] = json!(high);
    json["colorscale"] = style.color_scale.json_on_paper();
    bar(json, style, true);
}

/// Values of the first and the last colour.
fn ends_of(style: &Style, values: &[f64]) -> (f64, f64) {
    match &style.range {
        Some(range) => (range.low, range.high),
        None => finite_range(values).unwrap_or((0.0, 1.0)),
    }
}

/// The name that the style gives, if it does: only what has one is in the legend.
fn named(json: &mut Value, style: &Style) {
    json["showlegend"] = json!(style.name.is_some());
    if let Some(name) = &style.name {
        json["name"] = json!(name);
    }
}

/// The chosen rows, all by default, and what the figure says of the choice.
fn all_or_some(style: &Style, n: usize, most: usize, what: &str) -> (Vec<usize>, Option<String>) {
    match style.choice(n, most, what) {
        Some((chosen, note)) => (chosen, Some(note)),
        None => ((0..n).collect(), None),
    }
}

fn segments(
    rows: &Rows<'_>,
    style: &Style,
    ends: &[[usize; 2]],
    default: Default,
) -> Result<Vec<Trace>> {
    style.check()?;
    let coloring = color::coloring(rows, style, default)?;
    let (chosen, note) = all_or_some(style, rows.len(), MAX_LINES, "lines");
    let is_3d = ends.len() == 3;
    let most = if is_3d { MAX_SEGMENTS } else { usize::MAX };
    let kind = match (is_3d, chosen.len() > FEW_MARKERS) {
        (true, _) => "scatter3d",
        (false, true) => "scattergl",
        (false, false) => "scatter",
    };
    let mut traces = Vec::new();
    // Lines in a plane have one colour each: only 3-D ones can have a scale.
    let coloring = match coloring {
        Coloring::Scale { .. } if !is_3d => {
            return Err(Error::Parameter {
                name: "color",
                value: "a value for each line".to_owned(),
                needed: "one colour, or fewer than 10 distinct values, for lines in a plane",
            });
        }
        coloring => coloring,
    };
    for part in parts(&coloring, &chosen, rows.len(), most) {
        let mut json = json!({
            "type": kind,
            "mode": "lines",
            "line": {"width": style.size.unwrap_or(2.0)},
            "opacity": style.opacity.unwrap_or(0.6),
            "hoverinfo": "skip",
        });
        let mut bounds = [None; 3];
        for (axis, (name, &[from, to])) in ["x", "y", "z"].into_iter().zip(ends).enumerate() {
            let mut values = Vec::with_capacity(3 * part.rows.len());
            for &row in &part.rows {
                let row = rows.row(row);
                values.extend([row[from], row[to], f64::NAN]); // a gap before the next
            }
            bounds[axis] = finite_range(&values);
            json[name] = coordinates(&values);
        }
        paint(&mut json, "line", &coloring, &part, style, 3);
        named(&mut json, style);
        part.name_in(&mut json);
        traces.push(Trace {
            colorless: part.color.is_none() && part.values.is_none(),
            ..Trace::new(json, bounds)
        });
    }
    if let Some(first) = traces.first_mut() {
        first.note = note;
    }
    Ok(traces)
}

/// One mesh of all cubes.
fn cubes(cells: &[[f64; 5]], values: &[f64], size: &[f64], style: &Style) -> Result<Trace> {
    if cells.len() > MAX_CUBES {
        return Err(Error::Parameter {
            name: "cubes",
            value: format!("{} cells", cells.len()),
            needed: "100 at most; narrow the condition, or draw markers",
        });
    }
    let mut corners: [Vec<f64>; 3] = std::default::Default::default();
    let mut faces: [Vec<usize>; 3] = std::default::Default::default();
    for (n, cell) in cells.iter().enumerate() {
        for corner in CORNERS {
            for axis in 0..3 {
                corners[axis].push(cell[axis + 1] + corner[axis] * size[axis]);
            }
        }
        for triangle in TRIANGLES {
            for (list, corner) in faces.iter_mut().zip(triangle) {
                list.push(n * CORNERS.len() + corner);
            }
        }
    }
    let of_faces: Vec<f64> = values
        .iter()
        .flat_map(|&value| std::iter::repeat_n(value, TRIANGLES.len()))
        .collect();
    let bounds = [0, 1, 2].map(|axis| finite_range(&corners[axis]));
    let [x, y, z] = corners.map(|values| coordinates(&values));
    let [i, j, k] = faces;
    let mut json = json!({
        "type": "mesh3d",
        "x": x, "y": y, "z": z, "i": i, "j": j, "k": k,
        "intensity": array::values(&of_faces), "intensitymode": "cell", "flatshading": true,
        "opacity": style.opacity.unwrap_or(0.4),
        "hoverinfo": "skip",
    });
    scale_of(&mut json, style, values);
    if let Some(color) = &style.color {
        json["colorscale"] = json!([[0.0, color], [1.0, color]]);
    }
    named(&mut json, style);
    Ok(Trace::new(json, bounds))
}

/// Whether the second axis of pixels is horizontal: z, in the plane yz.
fn is_turned<T>(pixels: &Pixels<T>) -> bool {
    pixels.grid().plane() == Some(Plane::Yz)
}

/// Values by rows from the lowest, and the places of columns and rows.
fn as_seen<T: Copy + Into<f64>>(pixels: &Pixels<T>) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let values = pixels.values();
    let [a, b] = [pixels.centers(0), pixels.centers(1)];
    if is_turned(pixels) {
        let values = values.iter().map(|&value| value.into()).collect();
        return (values, b, a);
    }
    let values = values.t().iter().map(|&value| value.into()).collect();
    (values, a, b)
}

/// One standard deviation along x, y and z (mm).
fn deviations(rows: &Rows<'_>) -> Result<[Vec<f64>; 3]> {
    let three = |names: [&str; 3]| {
        let [x, y, z] = names.map(|name| rows.column_named(name));
        Some([x?, y?, z?])
    };
    if let Some(variances) = three(["sigma_xx", "sigma_yy", "sigma_zz"]) {
        return Ok(variances.map(|values| values.into_iter().map(f64::sqrt).collect()));
    }
    if let Some(errors) = three(["error_x", "error_y", "error_z"]) {
        return Ok(errors);
    }
    let error = rows.column_named("error").ok_or_else(|| {
        Error::Columns(format!(
            "errors need columns sigma_xx sigma_yy sigma_zz, error_x error_y error_z, or error; there are only {}",
            rows.columns().join(" ")
        ))
    })?;
    Ok([error.clone(), error.clone(), error])
}
