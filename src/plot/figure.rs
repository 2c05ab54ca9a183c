use std::marker::PhantomData;
use std::path::Path;

use ndarray::ArrayView3;
use serde_json::{Map, Value, json};

use super::color::PALETTE;
use super::html::{Page, Script};
use super::image::{self, ImageOptions};
use super::rows::Rows;
use super::style::Style;
use super::trace::{self, Norm, Slice, Trace};
use crate::data::{Contents, Pixels, Table, Voxels};
use crate::error::{Error, Result};
use crate::kernels::voxels::Plane;

/// Milliseconds of a frame of an animation.
const FRAME_TIME: f64 = 100.0;
/// Free space around points, as a share of their range.
const MARGIN: f64 = 0.04;
/// The shorter of two equal axes, as a share of the longer, at least.
const THINNEST: f64 = 0.3;
/// Width of a colour bar with its numbers, as a share of the figure's.
const BAR: f64 = 0.09;
/// Distance from the origin of the camera, in sides of the cube.
const CAMERA_DISTANCE: f64 = 2.4;
/// Lines, numbers and words; grid; walls.
const INK: &str = "#2B2F36";
const GRID: &str = "#DDE1E6";
const WALL: &str = "#F7F8FA";
/// Fonts, the first that there is.
pub(super) const FONT: &str = "\"Open Sans\", \"DejaVu Sans\", Verdana, Arial, sans-serif";

/// What the axes of a [`Figure`] are: [`Space`] or [`Flat`].
pub trait Dimensions: Copy + std::fmt::Debug + 'static {
    /// Number of axes.
    const AXES: usize;
    /// What they are called.
    const LABELS: [&'static str; 3];
}

/// Three axes.
#[derive(Clone, Copy, Debug)]
pub struct Space;

impl Dimensions for Space {
    const AXES: usize = 3;
    const LABELS: [&'static str; 3] = ["x (mm)", "y (mm)", "z (mm)"];
}

/// Two axes.
#[derive(Clone, Copy, Debug)]
pub struct Flat;

impl Dimensions for Flat {
    const AXES: usize = 2;
    const LABELS: [&'static str; 3] = ["x (mm)", "y (mm)", ""];
}

/// Subplots in space: `y` is up, `z` goes from screen to screen.
///
/// ```
/// use ndarray::array;
/// use pept::plot::{Figure3d, Script, Style};
/// use pept::{LineData, PointData};
///
/// let lines = LineData::new(array![[0.0, 100.0, 250.0, 0.0, 400.0, 260.0, 712.0]])?;
/// let points = PointData::new(array![[0.0, 250.0, 255.0, 356.0], [1.0, 252.0, 255.0, 350.0]])?;
/// let mut figure = Figure3d::with_subplots(1, 2);
/// figure.subplot_titles(["lines of response", "tracer"]);
/// figure.add_lines(&lines, &Style::new())?;
/// figure.add_points(&points, &Style::new().at(1, 2).size(4.0))?;
/// let page = figure.html(Script::Cdn)?;
/// assert!(page.contains("scatter3d"));
/// # Ok::<(), pept::Error>(())
/// ```
pub type Figure3d = Figure<Space>;

/// Subplots in a plane.
///
/// ```
/// use ndarray::array;
/// use pept::PointData;
/// use pept::plot::{Figure2d, ImageOptions, Style};
///
/// let points = PointData::new(array![[0.0, 1.0, 2.0, 3.0], [1.0, 2.0, 2.0, 3.0]])?;
/// let mut figure = Figure2d::new();
/// figure.add_timeseries(&points, &Style::new())?;
/// assert!(figure.svg(&ImageOptions::default())?.contains("t (ms)"));
/// # Ok::<(), pept::Error>(())
/// ```
pub type Figure2d = Figure<Flat>;

/// Rows and columns of subplots: [`Figure3d`] or [`Figure2d`].
#[derive(Clone, Debug)]
pub struct Figure<D> {
    rows: usize,
    cols: usize,
    title: Option<String>,
    limits: [Option<[f64; 2]>; 3],
    equal_axes: bool,
    /// Azimuth and elevation (degrees).
    camera: [f64; 2],
    /// Row after row.
    subplots: Vec<Subplot>,
    traces: Vec<Placed>,
    frames: Vec<Frame>,
    /// Traces that frames replace.
    animated: Vec<usize>,
    /// What the user changed of the layout.
    changes: Map<String, Value>,
    dimensions: PhantomData<D>,
}

#[derive(Clone, Debug, Default)]
struct Subplot {
    title: Option<String>,
    /// The user's labels, and those of what is drawn.
    labels: [Option<String>; 3],
    usual_labels: [Option<&'static str>; 3],
    equal_axes: Option<bool>,
    is_unequal: bool,
    /// The first row is at the top.
    is_image: bool,
    /// Shares the horizontal axis with the others that do.
    shares_time: bool,
    has_marginal: bool,
    /// z is a value, and up.
    has_heights: bool,
}

#[derive(Clone, Debug)]
struct Placed {
    trace: Trace,
    subplot: usize,
    is_marginal: bool,
}

/// What an animation shows at one time.
#[derive(Clone, Debug)]
pub struct Frame {
    /// What the time slider says.
    pub name: String,
    /// The traces that are shown.
    pub traces: Vec<Trace>,
}

/// A frame for each sample of a table, named by its mean time (ms), in the colours of the whole table.
///
/// ```
/// use ndarray::Array2;
/// use pept::plot::{Figure3d, Style, frames, trace};
/// use pept::{PointData, Sampling};
///
/// let points = Array2::from_shape_fn((60, 4), |(row, column)| (row * (column + 1)) as f64);
/// let points = PointData::new(points)?.with_sampling(Sampling::count(20))?;
/// let mut figure = Figure3d::new();
/// figure.add_frames(frames(&points, &Style::new().size(4.0), |sample, style| trace::points(sample, style))?, &Style::new())?;
/// assert_eq!(figure.json()["frames"][2]["name"], "t = 49.5 ms");
/// # Ok::<(), pept::Error>(())
/// ```
///
/// # Errors
/// Those of `draw`.
pub fn frames<C: Contents>(
    table: &Table<C>,
    style: &Style,
    draw: impl for<'a> Fn(&'a Table<C>, &Style) -> Result<Vec<Trace>>,
) -> Result<Vec<Frame>> {
    let style = style.clone().with_colors_of(table.into(), C::COLUMNS)?;
    let frame = |sample: Table<C>| {
        let time = sample.column(0).iter().sum::<f64>() / sample.n_rows().max(1) as f64;
        Ok(Frame {
            name: format!("t = {time:.1} ms"),
            traces: draw(&sample, &style)?,
        })
    };
    table.samples().map(frame).collect()
}

impl<D: Dimensions> Default for Figure<D> {
    fn default() -> Self {
        Self::new()
    }
}

impl<D: Dimensions> Figure<D> {
    /// One subplot.
    #[must_use]
    pub fn new() -> Self {
        Self::with_subplots(1, 1)
    }

    /// Rows and columns of subplots, at least one.
    #[must_use]
    pub fn with_subplots(rows: usize, cols: usize) -> Self {
        let (rows, cols) = (rows.max(1), cols.max(1));
        Self {
            rows,
            cols,
            title: None,
            limits: [None; 3],
            equal_axes: true,
            camera: [-55.0, 20.0],
            subplots: vec![Subplot::default(); rows * cols],
            traces: Vec::new(),
            frames: Vec::new(),
            animated: Vec::new(),
            changes: Map::new(),
            dimensions: PhantomData,
        }
    }

    /// A title of the whole figure.
    pub fn title(&mut self, title: impl Into<String>) -> &mut Self {
        self.title = Some(title.into());
        self
    }

    /// Titles of the subplots, row after row.
    pub fn subplot_titles<S: Into<String>>(
        &mut self,
        titles: impl IntoIterator<Item = S>,
    ) -> &mut Self {
        for (subplot, title) in self.subplots.iter_mut().zip(titles) {
            subplot.title = Some(title.into());
        }
        self
    }

    /// Limits of x in every subplot.
    pub fn xlim(&mut self, low: f64, high: f64) -> &mut Self {
        self.limits[0] = Some([low, high]);
        self
    }

    /// Limits of y in every subplot.
    pub fn ylim(&mut self, low: f64, high: f64) -> &mut Self {
        self.limits[1] = Some([low, high]);
        self
    }

    /// Whether a mm is as long along each axis; it is by default, unless limits are set or what is drawn has other units.
    pub fn equal_axes(&mut self, equal_axes: bool) -> &mut Self {
        self.equal_axes = equal_axes;
        self
    }

    /// The label of x in a subplot.
    ///
    /// # Errors
    /// [`Error::Parameter`] if there is no such subplot.
    pub fn xlabel(&mut self, label: &str, row: usize, col: usize) -> Result<&mut Self> {
        self.label(0, label, row, col)
    }

    /// The label of y in a subplot.
    ///
    /// # Errors
    /// As [`xlabel`](Self::xlabel).
    pub fn ylabel(&mut self, label: &str, row: usize, col: usize) -> Result<&mut Self> {
        self.label(1, label, row, col)
    }

    fn label(&mut self, axis: usize, label: &str, row: usize, col: usize) -> Result<&mut Self> {
        let subplot = self.place(row, col)?;
        self.subplots[subplot].labels[axis] = Some(label.to_owned());
        Ok(self)
    }

    /// Number of rows and columns.
    #[must_use]
    pub fn subplots(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    /// Adds a trace of one's own: a [`Trace`], or JSON in plotly.js's words.
    ///
    /// # Errors
    /// [`Error::Parameter`] if there is no such subplot.
    pub fn add_trace(
        &mut self,
        trace: impl Into<Trace>,
        row: usize,
        col: usize,
    ) -> Result<&mut Self> {
        self.add_traces([trace], row, col)
    }

    /// Adds several traces.
    ///
    /// # Errors
    /// As [`add_trace`](Self::add_trace).
    pub fn add_traces<T: Into<Trace>>(
        &mut self,
        traces: impl IntoIterator<Item = T>,
        row: usize,
        col: usize,
    ) -> Result<&mut Self> {
        let subplot = self.place(row, col)?;
        for trace in traces {
            self.push(trace.into(), subplot, false);
        }
        Ok(self)
    }

    /// Adds frames of an animation in the subplot of `style`; those of a second call are shown together with those of the first.
    ///
    /// # Errors
    /// [`Error::Parameter`] if there is no such subplot, no frame, or another number of frames than before.
    pub fn add_frames(&mut self, frames: Vec<Frame>, style: &Style) -> Result<&mut Self> {
        let subplot = self.place_of(style)?;
        if frames.is_empty() || (!self.frames.is_empty() && frames.len() != self.frames.len()) {
            return Err(Error::Parameter {
                name: "frames",
                value: frames.len().to_string(),
                needed: "as many frames as the figure has, and at least one",
            });
        }
        // Each frame replaces the same traces: what a frame lacks is there without points.
        let n = frames.iter().map(|frame| frame.traces.len()).max();
        let n = n.unwrap_or_default();
        let model = |k: usize| {
            let trace = frames.iter().find_map(|frame| frame.traces.get(k));
            let kind = trace.map_or(json!("scatter"), |trace| trace.json()["type"].clone());
            Trace::from(json!({"type": kind, "x": [], "y": [], "z": [], "showlegend": false}))
        };
        let mut padded: Vec<Frame> = Vec::with_capacity(frames.len());
        let color = self.next_color();
        for frame in &frames {
            let mut frame = frame.clone();
            for k in frame.traces.len()..n {
                frame.traces.push(model(k));
            }
            for trace in &mut frame.traces {
                give_color(trace, color);
            }
            padded.push(frame);
        }
        let first = self.traces.len();
        for trace in padded[0].traces.clone() {
            self.push(trace, subplot, false);
        }
        self.animated.extend(first..first + n);
        if self.frames.is_empty() {
            self.frames = padded;
        } else {
            for (frame, more) in self.frames.iter_mut().zip(padded) {
                frame.traces.extend(more.traces);
            }
        }
        Ok(self)
    }

    /// The traces in the figure, to be read.
    pub fn traces(&self) -> impl Iterator<Item = &Trace> {
        self.traces.iter().map(|placed| &placed.trace)
    }

    /// The traces in the figure, to be changed.
    pub fn traces_mut(&mut self) -> impl Iterator<Item = &mut Trace> {
        self.traces.iter_mut().map(|placed| &mut placed.trace)
    }

    /// Changes the layout, in plotly.js's words: objects are merged, other values replaced.
    ///
    /// ```
    /// use pept::plot::Figure2d;
    /// let mut figure = Figure2d::new();
    /// figure.update_layout(serde_json::json!({"xaxis": {"type": "log"}}));
    /// assert_eq!(figure.json()["layout"]["xaxis"]["type"], "log");
    /// ```
    pub fn update_layout(&mut self, changes: Value) -> &mut Self {
        if let Value::Object(changes) = changes {
            merge(&mut self.changes, changes);
        }
        self
    }

    /// The figure as plotly.js takes it: `data`, `layout`, and `frames` if there are some.
    ///
    /// [`Page::json`] and [`image`](super::image)'s functions take it back, changed or not.
    #[must_use]
    pub fn json(&self) -> Value {
        let Value::Object(mut layout) = self.layout() else {
            return Value::Null;
        };
        merge(&mut layout, self.changes.clone());
        let bars = self.bars();
        let data: Vec<Value> = self
            .traces
            .iter()
            .enumerate()
            .map(|(n, placed)| {
                let mut json = self.in_place(placed);
                if let Some((_, bar)) = bars.iter().find(|(of, _)| *of == n) {
                    place_bar(&mut json, bar);
                }
                json
            })
            .collect();
        let mut figure = json!({"data": data, "layout": layout});
        if !self.frames.is_empty() {
            figure["frames"] = self
                .frames
                .iter()
                .map(|frame| self.frame_json(frame))
                .collect();
        }
        figure
    }

    /// A page with this figure.
    #[must_use]
    pub fn page(&self) -> Page {
        let mut page = Page::new(self.title.clone().unwrap_or_else(|| "pept".to_owned()));
        page.json(self.json());
        page
    }

    /// The page as text.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be made.
    pub fn html(&self, script: Script) -> Result<String> {
        self.page().html(script)
    }

    /// Writes a page with this figure: [`Script::Embedded`] works without a network, [`Script::Cdn`] is small.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_html(&self, path: impl AsRef<Path>, script: Script) -> Result<()> {
        self.page().write(path, script)
    }

    /// Shows the figure in the default browser.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::File`] if there is no browser.
    pub fn show(&self) -> Result<()> {
        self.page().show()
    }

    /// The figure as SVG, drawn without a browser: in space a parallel projection.
    ///
    /// # Errors
    /// [`Error::Parameter`] for traces of one's own that are of no type that images know.
    pub fn svg(&self, options: &ImageOptions) -> Result<String> {
        image::svg(&self.json(), options)
    }

    /// The figure as PNG, drawn without a browser.
    ///
    /// # Errors
    /// As [`svg`](Self::svg).
    pub fn png(&self, options: &ImageOptions) -> Result<Vec<u8>> {
        image::png(&self.json(), options)
    }

    /// Writes the figure as `.svg` or `.png`, without a browser.
    ///
    /// # Errors
    /// [`Error::File`] for another ending; [`Error::Io`]; as [`svg`](Self::svg).
    pub fn write_image(&self, path: impl AsRef<Path>, options: &ImageOptions) -> Result<()> {
        image::write(path.as_ref(), &self.json(), options)
    }

    /// Writes each frame as `frame_00000.png`, ... into a folder, which is made if need be. Gives the command that makes a film of them.
    ///
    /// # Errors
    /// [`Error::Parameter`] without frames; [`Error::Io`]; as [`svg`](Self::svg).
    pub fn write_frames(&self, folder: impl AsRef<Path>, options: &ImageOptions) -> Result<String> {
        image::write_frames(folder.as_ref(), &self.json(), options)
    }

    /// The subplot of a row and a column from 1.
    fn place(&self, row: usize, col: usize) -> Result<usize> {
        if (1..=self.rows).contains(&row) && (1..=self.cols).contains(&col) {
            return Ok((row - 1) * self.cols + col - 1);
        }
        Err(Error::Parameter {
            name: "row, col",
            value: format!("{row}, {col} of {} x {}", self.rows, self.cols),
            needed: "a subplot of the figure, counted from 1",
        })
    }

    fn place_of(&self, style: &Style) -> Result<usize> {
        self.place(style.row.unwrap_or(1), style.col.unwrap_or(1))
    }

    fn add(&mut self, traces: Vec<Trace>, style: &Style) -> Result<usize> {
        let subplot = self.place_of(style)?;
        let color = self.next_color();
        for mut trace in traces {
            give_color(&mut trace, color);
            self.push(trace, subplot, false);
        }
        Ok(subplot)
    }

    /// The first colour of the palette that no trace has.
    fn next_color(&self) -> &'static str {
        let is_used = |color: &&&str| {
            self.traces.iter().any(|placed| {
                let json = placed.trace.json();
                [&json["marker"]["color"], &json["line"]["color"]].contains(&&json!(color))
            })
        };
        PALETTE
            .iter()
            .find(|color| !is_used(color))
            .unwrap_or(&PALETTE[0])
    }

    fn push(&mut self, trace: Trace, subplot: usize, is_marginal: bool) {
        self.traces.push(Placed {
            trace,
            subplot,
            is_marginal,
        });
    }

    /// What stands at an axis where the user says nothing.
    fn usually(&mut self, subplot: usize, labels: [&'static str; 3]) {
        self.subplots[subplot].usual_labels = labels.map(Some);
    }

    /// Whether a mm is as long along each axis of a subplot.
    fn is_equal(&self, subplot: usize) -> bool {
        let settings = &self.subplots[subplot];
        let wanted = settings.equal_axes.unwrap_or(self.equal_axes);
        wanted && !settings.is_unequal && self.limits.iter().all(Option::is_none)
    }

    /// The JSON of a trace, with the axes of its subplot.
    fn in_place(&self, placed: &Placed) -> Value {
        let mut json = placed.trace.json().clone();
        if D::AXES == 3 {
            json["scene"] = json!(numbered("scene", placed.subplot));
        } else {
            let axes = if placed.is_marginal {
                placed.subplot + self.subplots.len()
            } else {
                placed.subplot
            };
            json["xaxis"] = json!(numbered("x", axes));
            json["yaxis"] = json!(numbered("y", axes));
        }
        json
    }

    fn frame_json(&self, frame: &Frame) -> Value {
        let data: Vec<Value> = self
            .animated
            .iter()
            .zip(&frame.traces)
            .map(|(&n, trace)| {
                self.in_place(&Placed {
                    trace: trace.clone(),
                    ..self.traces[n].clone()
                })
            })
            .collect();
        json!({"name": frame.name, "data": data, "traces": self.animated})
    }

    /// Traces that show a colour bar, and where: `[x, y, length]` as shares of the figure.
    fn bars(&self) -> Vec<(usize, [f64; 3])> {
        let mut found = Vec::new();
        let mut so_far = vec![0.0; self.subplots.len()];
        for (n, placed) in self.traces.iter().enumerate() {
            if shows_bar(placed.trace.json()) {
                let [_, right, bottom, top] = self.domain(placed.subplot);
                let x = right + 0.012 + so_far[placed.subplot] * BAR;
                so_far[placed.subplot] += 1.0;
                found.push((n, [x, 0.5 * (bottom + top), (top - bottom).min(0.9)]));
            }
        }
        found
    }

    fn has_bar(&self, subplot: usize) -> bool {
        let mut traces = self.traces.iter();
        traces.any(|placed| placed.subplot == subplot && shows_bar(placed.trace.json()))
    }

    /// Where a subplot is: left, right, bottom, top as shares of the figure.
    fn domain(&self, subplot: usize) -> [f64; 4] {
        let bars_of_column = |col: usize| {
            let bars = (0..self.rows).map(|row| {
                let at = row * self.cols + col;
                let of_subplot =
                    |placed: &&Placed| placed.subplot == at && shows_bar(placed.trace.json());
                self.traces.iter().filter(of_subplot).count()
            });
            bars.max().unwrap_or(0) as f64 * BAR
        };
        let (row, col) = (subplot / self.cols, subplot % self.cols);
        let shares_time = self.subplots.iter().all(|subplot| subplot.shares_time);
        let [gap_x, gap_y] = match D::AXES {
            3 => [0.03, 0.06],
            _ if shares_time => [0.08, 0.03],
            _ => [0.1, 0.16],
        };
        let gap_x = gap_x / (self.cols as f64).sqrt();
        let gap_y = gap_y / (self.rows as f64).sqrt();
        let all_bars: f64 = (0..self.cols).map(bars_of_column).sum();
        let width = (1.0 - all_bars - gap_x * (self.cols - 1) as f64) / self.cols as f64;
        let width = width.max(0.05);
        let height = (1.0 - gap_y * (self.rows - 1) as f64) / self.rows as f64;
        let left = (0..col)
            .map(|col| width + gap_x + bars_of_column(col))
            .sum::<f64>();
        let top = 1.0 - row as f64 * (height + gap_y);
        [left, left + width, top - height, top].map(|share: f64| share.clamp(0.0, 1.0))
    }

    /// The range of what is drawn in a subplot, and whether something fills it.
    fn bounds(&self, subplot: usize) -> ([Option<(f64, f64)>; 3], bool) {
        let mut all = [None; 3];
        let mut fills = false;
        let shown = self
            .traces
            .iter()
            .filter(|placed| placed.subplot == subplot && !placed.is_marginal)
            .map(|placed| &placed.trace);
        let is_animated = self
            .animated
            .first()
            .is_some_and(|&n| self.traces[n].subplot == subplot);
        let in_frames = self.frames.iter().filter(|_| is_animated);
        for trace in shown.chain(in_frames.flat_map(|frame| &frame.traces)) {
            fills |= trace.fills;
            for (all, of_trace) in all.iter_mut().zip(trace.bounds) {
                if let Some((low, high)) = of_trace {
                    let (least, most) = all.unwrap_or((low, high));
                    *all = Some((low.min(least), high.max(most)));
                }
            }
        }
        (all, fills)
    }

    /// Ranges of the axes: the limits, else what is drawn with some space around, equally long where axes are equal.
    fn ranges(&self, subplot: usize) -> [Option<[f64; 2]>; 3] {
        let (bounds, fills) = self.bounds(subplot);
        let widest = bounds
            .iter()
            .flatten()
            .map(|(low, high)| high - low)
            .fold(0.0, f64::max);
        let mut ranges = [None; 3];
        for axis in 0..D::AXES {
            let range = bounds[axis].map(|(low, high)| {
                let middle = 0.5 * (low + high);
                let mut length = high - low;
                if self.is_equal(subplot) && !fills {
                    // A cube; in a plane thin things get some space.
                    let least = if D::AXES == 3 { 1.0 } else { THINNEST };
                    length = length.max(least * widest);
                }
                if length <= 0.0 {
                    length = if widest > 0.0 && self.is_equal(subplot) {
                        widest
                    } else {
                        1.0
                    };
                }
                let margin = if fills { 1.0 } else { 1.0 + 2.0 * MARGIN };
                let half = 0.5 * length * margin;
                [middle - half, middle + half]
            });
            ranges[axis] = self.limits[axis].or(range);
        }
        if self.subplots[subplot].is_image {
            ranges[1] = ranges[1].map(|[low, high]| [high, low]);
        }
        ranges
    }

    fn axis_label(&self, subplot: usize, axis: usize) -> String {
        let settings = &self.subplots[subplot];
        let usual = settings.usual_labels[axis].unwrap_or(D::LABELS[axis]);
        settings.labels[axis]
            .clone()
            .unwrap_or_else(|| usual.to_owned())
    }

    fn notes(&self) -> Vec<&str> {
        let notes = self
            .traces
            .iter()
            .filter_map(|placed| placed.trace.note.as_deref());
        let mut notes: Vec<&str> = notes.collect();
        notes.dedup();
        notes
    }

    fn layout(&self) -> Value {
        let notes = self.notes();
        let has_titles = self.subplots.iter().any(|subplot| subplot.title.is_some());
        let below = if D::AXES == 3 { 20 } else { 60 };
        let slider = if self.frames.is_empty() { 0 } else { 90 };
        let mut layout = json!({
            "font": {"family": FONT, "size": 13, "color": INK},
            "paper_bgcolor": "white",
            "plot_bgcolor": "white",
            "hoverlabel": {"font": {"family": FONT}},
            "uirevision": "kept", // the camera stays while frames change
            "showlegend": self.traces.iter().any(|placed| placed.trace.json()["showlegend"] == true),
            "legend": {"itemsizing": "constant", "x": 1.01, "xanchor": "left", "y": 1, "yanchor": "top", "tracegroupgap": 0},
            "margin": {
                "l": if D::AXES == 3 { 20 } else { 75 },
                "r": 25,
                "t": 36 + if self.title.is_some() { 35 } else { 0 } + if has_titles { 22 } else { 0 },
                "b": f64::from(below) + 17.0 * notes.len() as f64 + f64::from(slider),
            },
        });
        if let Some(title) = &self.title {
            layout["title"] =
                json!({"text": title, "x": 0.5, "xanchor": "center", "font": {"size": 17}});
        }
        let mut annotations = Vec::new();
        for (n, subplot) in self.subplots.iter().enumerate() {
            if D::AXES == 3 {
                layout[numbered("scene", n)] = self.scene(n);
            } else {
                self.flat_axes(n, &mut layout);
            }
            if let Some(title) = &subplot.title {
                let [left, right, _, top] = self.domain(n);
                annotations.push(json!({
                    "text": title, "x": 0.5 * (left + right), "y": top, "xref": "paper", "yref": "paper",
                    "xanchor": "center", "yanchor": "bottom", "yshift": 4, "showarrow": false, "font": {"size": 14},
                }));
            }
        }
        if !notes.is_empty() {
            annotations.push(json!({
                "text": notes.join("<br>"), "x": 0, "y": 0, "xref": "paper", "yref": "paper", "xanchor": "left", "yanchor": "top",
                "yshift": 12.0 - f64::from(below) - f64::from(slider), "align": "left", "showarrow": false, "font": {"size": 11, "color": "#6B717B"},
            }));
        }
        layout["annotations"] = json!(annotations);
        if !self.frames.is_empty() {
            self.add_slider(&mut layout);
        }
        layout
    }

    fn scene(&self, subplot: usize) -> Value {
        let [left, right, bottom, top] = self.domain(subplot);
        let ranges = self.ranges(subplot);
        let mut scene = json!({
            "domain": {"x": [left, right], "y": [bottom, top]},
            "aspectmode": "cube",
            "camera": self.seen_from(self.subplots[subplot].has_heights),
            "dragmode": "orbit",
        });
        for (axis, name) in ["xaxis", "yaxis", "zaxis"].into_iter().enumerate() {
            let mut json = json!({
                "title": {"text": self.axis_label(subplot, axis), "font": {"size": 13}},
                "tickfont": {"size": 11}, "tickangle": 0,
                "gridcolor": GRID, "linecolor": INK, "zeroline": false, "showline": true,
                "showbackground": true, "backgroundcolor": WALL, "showspikes": false, "nticks": 6,
            });
            if let Some(range) = ranges[axis] {
                json["range"] = json!(range);
            }
            scene[name] = json;
        }
        scene
    }

    /// The camera, with y up, or z where it is a height.
    fn seen_from(&self, z_is_up: bool) -> Value {
        let [azimuth, elevation] = self.camera.map(f64::to_radians);
        let round = |value: f64| (value * 1e4).round() / 1e4;
        let axes = |[x, y, z]: [f64; 3]| {
            // y up becomes z up when each axis takes the place of the next.
            let [x, y, z] = if z_is_up { [z, x, y] } else { [x, y, z] };
            json!({"x": round(x), "y": round(y), "z": round(z)})
        };
        let eye = [
            elevation.cos() * azimuth.sin(),
            elevation.sin(),
            elevation.cos() * azimuth.cos(),
        ];
        json!({
            "up": axes([0.0, 1.0, 0.0]),
            "center": axes([0.0, -0.06, 0.0]), // numbers need space below
            "eye": axes(eye.map(|share| share * CAMERA_DISTANCE)),
            "projection": {"type": "perspective"},
        })
    }

    fn flat_axes(&self, subplot: usize, layout: &mut Value) {
        let settings = &self.subplots[subplot];
        let [left, right, bottom, mut top] = self.domain(subplot);
        if settings.has_marginal {
            let above = top;
            top = bottom + 0.84 * (top - bottom);
            let marginal = subplot + self.subplots.len();
            layout[numbered("xaxis", marginal)] = json!({
                "domain": [left, right], "anchor": numbered("y", marginal), "matches": numbered("x", subplot),
                "showticklabels": false, "gridcolor": GRID, "zeroline": false,
            });
            layout[numbered("yaxis", marginal)] = json!({
                "domain": [bottom + 0.88 * (above - bottom), above], "anchor": numbered("x", marginal), "range": [-0.6, 0.6],
                "showticklabels": false, "showgrid": false, "zeroline": false, "fixedrange": true,
            });
        }
        let axis = |name: &str, other: &str, domain: [f64; 2], label: String| {
            json!({
                "domain": domain, "anchor": numbered(other, subplot),
                "title": {"text": label, "font": {"size": 13}, "standoff": if name == "x" { 8 } else { 6 }},
                "gridcolor": GRID, "linecolor": INK, "tickcolor": INK, "showline": true, "mirror": true,
                "ticks": "outside", "ticklen": 4, "zeroline": false, "automargin": true,
            })
        };
        let mut x = axis("x", "y", [left, right], self.axis_label(subplot, 0));
        let mut y = axis("y", "x", [bottom, top], self.axis_label(subplot, 1));
        let ranges = self.ranges(subplot);
        for (json, range) in [&mut x, &mut y].into_iter().zip(ranges) {
            if let Some(range) = range {
                json["range"] = json!(range);
            }
        }
        if self.is_equal(subplot) {
            x["constrain"] = json!("domain");
            y["constrain"] = json!("domain");
            y["scaleanchor"] = json!(numbered("x", subplot));
            if settings.title.is_some() {
                y["constraintoward"] = json!("top"); // below its title
            }
            if self.has_bar(subplot) {
                x["constraintoward"] = json!("right"); // beside its colour bar
            }
        }
        if settings.shares_time {
            if subplot > 0 && self.subplots[0].shares_time {
                x["matches"] = json!("x");
            }
            let is_last = !self
                .subplots
                .iter()
                .skip(subplot + 1)
                .any(|other| other.shares_time);
            if !is_last && self.cols == 1 {
                x["showticklabels"] = json!(false);
                x["title"] = json!({"text": ""});
            }
        }
        layout[numbered("xaxis", subplot)] = x;
        layout[numbered("yaxis", subplot)] = y;
    }

    /// A time slider, and buttons to play and to stop.
    fn add_slider(&self, layout: &mut Value) {
        let below = if D::AXES == 3 { 10 } else { 55 };
        let at_once = |redraw: bool| json!({"mode": "immediate", "frame": {"duration": 0, "redraw": redraw}, "transition": {"duration": 0}});
        let steps = self.frames.iter().map(|frame| {
            json!({"label": frame.name, "method": "animate", "args": [[frame.name], at_once(true)]})
        });
        let steps: Vec<Value> = steps.collect();
        layout["sliders"] = json!([{
            "active": 0, "steps": steps, "x": 0.12, "len": 0.86, "y": 0, "yanchor": "top", "pad": {"t": below},
            "currentvalue": {"xanchor": "left", "font": {"size": 13, "color": INK}}, "ticklen": 0, "minorticklen": 0,
            "font": {"color": "rgba(0,0,0,0)"}, "transition": {"duration": 0},
        }]);
        let play = json!({
            "fromcurrent": true, "mode": "immediate", "frame": {"duration": FRAME_TIME, "redraw": true}, "transition": {"duration": 0},
        });
        layout["updatemenus"] = json!([{
            "type": "buttons", "direction": "left", "showactive": false, "x": 0.1, "xanchor": "right", "y": 0, "yanchor": "top",
            "pad": {"t": below + 18, "r": 8},
            "buttons": [
                {"label": "\u{25b6}", "method": "animate", "args": [null, play]},
                {"label": "\u{25a0}", "method": "animate", "args": [[null], at_once(false)]},
            ],
        }]);
    }
}

impl Figure3d {
    /// Limits of z in every subplot.
    pub fn zlim(&mut self, low: f64, high: f64) -> &mut Self {
        self.limits[2] = Some([low, high]);
        self
    }

    /// The label of z in a subplot.
    ///
    /// # Errors
    /// As [`xlabel`](Self::xlabel).
    pub fn zlabel(&mut self, label: &str, row: usize, col: usize) -> Result<&mut Self> {
        self.label(2, label, row, col)
    }

    /// From where it is seen, in degrees: the azimuth around y, from z towards x, and the elevation above the plane of x and z.
    pub fn camera(&mut self, azimuth: f64, elevation: f64) -> &mut Self {
        self.camera = [azimuth, elevation];
        self
    }

    /// Points `t x y z ...`: see [`trace::points`].
    ///
    /// # Errors
    /// [`Error::Parameter`] for a subplot that is not there; as [`trace::points`].
    pub fn add_points<'a>(
        &mut self,
        points: impl Into<Rows<'a>>,
        style: &Style,
    ) -> Result<&mut Self> {
        self.add(trace::points(points, style)?, style)?;
        Ok(self)
    }

    /// Lines of response `t x1 y1 z1 x2 y2 z2 ...`: see [`trace::lines`].
    ///
    /// # Errors
    /// As [`add_points`](Self::add_points).
    pub fn add_lines<'a>(
        &mut self,
        lines: impl Into<Rows<'a>>,
        style: &Style,
    ) -> Result<&mut Self> {
        self.add(trace::lines(lines, style)?, style)?;
        Ok(self)
    }

    /// Voxels above 0, as markers or cubes: see [`trace::voxels`].
    ///
    /// # Errors
    /// As [`add_points`](Self::add_points); [`Error::Parameter`] for more than 100 cubes.
    pub fn add_voxels<T: Copy + Into<f64>>(
        &mut self,
        voxels: &Voxels<T>,
        style: &Style,
    ) -> Result<&mut Self> {
        self.add_voxels_where(voxels, |value| value > 0.0, style)
    }

    /// Voxels whose value meets a condition.
    ///
    /// # Errors
    /// As [`add_voxels`](Self::add_voxels).
    pub fn add_voxels_where<T: Copy + Into<f64>>(
        &mut self,
        voxels: &Voxels<T>,
        condition: impl Fn(f64) -> bool,
        style: &Style,
    ) -> Result<&mut Self> {
        self.add(trace::voxels(voxels, condition, style)?, style)?;
        Ok(self)
    }

    /// A slice of voxels, where it lies.
    ///
    /// # Errors
    /// As [`add_points`](Self::add_points); [`Error::Parameter`] for a layer that is not there.
    pub fn add_slice<T: Copy + Into<f64>>(
        &mut self,
        voxels: &Voxels<T>,
        slice: Slice,
        style: &Style,
    ) -> Result<&mut Self> {
        self.add(trace::slice_3d(voxels, slice, style)?, style)?;
        Ok(self)
    }

    /// Pixels as a surface whose height is their value.
    ///
    /// # Errors
    /// As [`add_points`](Self::add_points).
    pub fn add_pixels<T: Copy + Into<f64>>(
        &mut self,
        pixels: &Pixels<T>,
        style: &Style,
    ) -> Result<&mut Self> {
        let subplot = self.add(trace::pixels(pixels, style)?, style)?;
        let [a, b] = labels_of(pixels.grid().plane().unwrap_or_default());
        self.usually(subplot, [a, b, "value"]);
        self.subplots[subplot].is_unequal = true;
        self.subplots[subplot].has_heights = true;
        Ok(self)
    }

    /// Cones of rows `x y z u v w ...`: see [`trace::vectors`].
    ///
    /// # Errors
    /// As [`add_points`](Self::add_points).
    pub fn add_vectors<'a>(
        &mut self,
        vectors: impl Into<Rows<'a>>,
        style: &Style,
    ) -> Result<&mut Self> {
        self.add(trace::vectors(vectors, style)?, style)?;
        Ok(self)
    }

    /// Ellipsoids of `scale` standard deviations around points: see [`trace::ellipsoids`].
    ///
    /// # Errors
    /// As [`add_points`](Self::add_points).
    pub fn add_ellipsoids<'a>(
        &mut self,
        points: impl Into<Rows<'a>>,
        scale: f64,
        style: &Style,
    ) -> Result<&mut Self> {
        self.add(trace::ellipsoids(points, scale, style)?, style)?;
        Ok(self)
    }
}

impl Figure2d {
    /// Whether a mm is as long along both axes of one subplot.
    ///
    /// # Errors
    /// [`Error::Parameter`] if there is no such subplot.
    pub fn equal_axes_of(&mut self, equal: bool, row: usize, col: usize) -> Result<&mut Self> {
        let subplot = self.place(row, col)?;
        self.subplots[subplot].equal_axes = Some(equal);
        Ok(self)
    }

    /// Points `t x y ...`, or a plane of points `t x y z ...`: see [`trace::points_2d`].
    ///
    /// # Errors
    /// [`Error::Parameter`] for a subplot that is not there; as [`trace::points_2d`].
    pub fn add_points<'a>(
        &mut self,
        points: impl Into<Rows<'a>>,
        style: &Style,
    ) -> Result<&mut Self> {
        let subplot = self.add(trace::points_2d(points, style)?, style)?;
        let [a, b] = labels_of(style.plane);
        self.usually(subplot, [a, b, ""]);
        Ok(self)
    }

    /// Lines `t x1 y1 x2 y2 ...`, or a plane of lines of response: see [`trace::lines_2d`].
    ///
    /// # Errors
    /// As [`add_points`](Self::add_points).
    pub fn add_lines<'a>(
        &mut self,
        lines: impl Into<Rows<'a>>,
        style: &Style,
    ) -> Result<&mut Self> {
        let subplot = self.add(trace::lines_2d(lines, style)?, style)?;
        let [a, b] = labels_of(style.plane);
        self.usually(subplot, [a, b, ""]);
        Ok(self)
    }

    /// A slice of voxels as a heat map.
    ///
    /// # Errors
    /// As [`add_points`](Self::add_points); [`Error::Parameter`] for a layer that is not there.
    pub fn add_voxels<T: Copy + Into<f64>>(
        &mut self,
        voxels: &Voxels<T>,
        slice: Slice,
        style: &Style,
    ) -> Result<&mut Self> {
        let subplot = self.add(trace::slice(voxels, slice, style)?, style)?;
        let [a, b] = labels_of(slice.plane());
        self.usually(subplot, [a, b, ""]);
        Ok(self)
    }

    /// Pixels as a heat map.
    ///
    /// # Errors
    /// As [`add_points`](Self::add_points).
    pub fn add_pixels<T: Copy + Into<f64>>(
        &mut self,
        pixels: &Pixels<T>,
        style: &Style,
    ) -> Result<&mut Self> {
        let subplot = self.add(trace::pixels_2d(pixels, style)?, style)?;
        let [a, b] = labels_of(pixels.grid().plane().unwrap_or_default());
        self.usually(subplot, [a, b, ""]);
        Ok(self)
    }

    /// x, y and z of points `t x y z ...` against time, one below the other; the figure grows if it has fewer rows.
    ///
    /// The subplots are (1, 1), (2, 1) and (3, 1), or those of the column that the style gives.
    ///
    /// # Errors
    /// As [`add_points`](Self::add_points).
    pub fn add_timeseries<'a>(
        &mut self,
        points: impl Into<Rows<'a>>,
        style: &Style,
    ) -> Result<&mut Self> {
        let rows = points.into();
        let col = style.col.unwrap_or(1);
        while self.rows < 3 {
            self.rows += 1;
            self.subplots
                .resize(self.rows * self.cols, Subplot::default());
        }
        for axis in 0..3 {
            let mut style = style.clone().at(axis + 1, col);
            if axis > 0 {
                style.color_bar_title = None; // one bar for all three
            }
            let mut traces = trace::timeseries(rows.clone(), axis, &style)?;
            for trace in &mut traces {
                if axis > 0 {
                    trace.json_mut()["showlegend"] = json!(false);
                }
            }
            // One colour for the three of them.
            let color = match self.traces.last() {
                Some(last) if axis > 0 => last.trace.json()["marker"]["color"].clone(),
                _ => json!(self.next_color()),
            };
            for trace in &mut traces {
                if trace.colorless
                    && let Some(color) = color.as_str()
                {
                    give_color(trace, color);
                }
            }
            let subplot = self.add(traces, &style)?;
            self.usually(
                subplot,
                ["t (ms)", ["x (mm)", "y (mm)", "z (mm)"][axis], ""],
            );
            let settings = &mut self.subplots[subplot];
            settings.is_unequal = true;
            settings.shares_time = true;
        }
        Ok(self)
    }

    /// An image: rows from the top, columns, and three or four values each.
    ///
    /// # Errors
    /// As [`add_points`](Self::add_points); [`Error::Parameter`] for another number of values.
    pub fn add_image(&mut self, values: ArrayView3<'_, u8>, style: &Style) -> Result<&mut Self> {
        let subplot = self.add(trace::image(values)?, style)?;
        self.usually(subplot, ["column", "row", ""]);
        self.subplots[subplot].is_image = true;
        Ok(self)
    }

    /// Arrows of rows `x y u v ...`: see [`trace::vectors_2d`].
    ///
    /// # Errors
    /// As [`add_points`](Self::add_points).
    pub fn add_vectors<'a>(
        &mut self,
        vectors: impl Into<Rows<'a>>,
        style: &Style,
    ) -> Result<&mut Self> {
        self.add(trace::vectors_2d(vectors, style)?, style)?;
        Ok(self)
    }

    /// A histogram with a box plot above: see [`trace::histogram`].
    ///
    /// # Errors
    /// As [`add_points`](Self::add_points); as [`trace::histogram`].
    pub fn histogram(
        &mut self,
        values: &[f64],
        bins: usize,
        norm: Norm,
        style: &Style,
    ) -> Result<&mut Self> {
        let [bars, summary] = trace::histogram(values, bins, norm, style)?;
        let subplot = self.add(vec![bars], style)?;
        self.push(summary, subplot, true);
        let unit = match norm {
            Norm::Percent => "share (%)",
            Norm::Count => "number",
        };
        self.usually(subplot, ["value", unit, ""]);
        let settings = &mut self.subplots[subplot];
        settings.is_unequal = true;
        settings.has_marginal = true;
        Ok(self)
    }
}

/// Labels of the horizontal and the vertical axis of a plane.
fn labels_of(plane: Plane) -> [&'static str; 2] {
    match plane {
        Plane::Xy => ["x (mm)", "y (mm)"],
        Plane::Xz => ["x (mm)", "z (mm)"],
        Plane::Yz => ["z (mm)", "y (mm)"],
    }
}

/// plotly.js numbers axes x, x2, x3, ...
fn numbered(name: &str, index: usize) -> String {
    match index {
        0 => name.to_owned(),
        n => format!("{name}{}", n + 1),
    }
}

fn give_color(trace: &mut Trace, color: &str) {
    if std::mem::take(&mut trace.colorless) {
        let json = trace.json_mut();
        for part in ["marker", "line"] {
            if json[part].is_object() {
                json[part]["color"] = json!(color);
            }
        }
    }
}

/// Whether a trace shows a colour bar.
fn shows_bar(json: &Value) -> bool {
    [&json["marker"], &json["line"], json]
        .iter()
        .any(|part| part["showscale"] == true)
}

fn place_bar(json: &mut Value, &[x, y, length]: &[f64; 3]) {
    let of = ["marker", "line"]
        .into_iter()
        .find(|part| json[*part]["showscale"] == true);
    let part = match of {
        Some(part) => &mut json[part],
        None => json,
    };
    for (key, value) in [("x", x), ("y", y), ("len", length)] {
        part["colorbar"][key] = json!(value);
    }
    part["colorbar"]["xanchor"] = json!("left");
}

/// Takes over `changes`; objects in objects are merged.
fn merge(target: &mut Map<String, Value>, changes: Map<String, Value>) {
    for (key, value) in changes {
        match (target.get_mut(&key), value) {
            (Some(Value::Object(inner)), Value::Object(value)) => merge(inner, value),
            (_, value) => {
                target.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, Array3, array};

    use super::super::array::numbers;
    use super::*;
    use crate::data::{LineData, PointData, Sampling};

    fn points(n: usize) -> PointData {
        let rows = Array2::from_shape_fn((n, 5), |(row, column)| match column {
            4 => f64::from(u8::from(row % 2 == 1)) - f64::from(u8::from(row % 5 == 0)),
            column => (row * (column + 1)) as f64,
        });
        PointData::with_columns(rows, &["label"]).unwrap()
    }

    #[test]
    fn labels_are_traces_with_a_legend_and_other_columns_a_scale() {
        let mut figure = Figure3d::new();
        figure.add_points(&points(40), &Style::new()).unwrap();
        let json = figure.json();
        let names: Vec<_> = json["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|t| &t["name"])
            .collect();
        assert_eq!(names, ["none (label \u{2212}1)", "label 0", "label 1"]);
        assert_eq!(json["layout"]["showlegend"], true);
        assert_eq!(json["data"][1]["marker"]["size"], 2.0);
        assert_eq!(json["data"][1]["opacity"], 0.8);

        let mut figure = Figure3d::new();
        let style = Style::new().color_by("t").color_bar_title("t (ms)");
        figure.add_points(&points(40), &style).unwrap();
        let json = figure.json();
        let marker = &json["data"][0]["marker"];
        assert_eq!(
            (&marker["cmin"], &marker["cmax"]),
            (&json!(0.0), &json!(39.0))
        );
        assert_eq!(marker["showscale"], true);
        assert!(json["layout"]["scene"]["domain"]["x"][1].as_f64() < Some(0.95));
    }

    #[test]
    fn axes_are_a_cube_unless_limits_are_set() {
        let mut figure = Figure3d::new();
        figure.add_points(&points(11), &Style::new()).unwrap();
        let length = |json: &Value, axis: &str| {
            let range = &json["layout"]["scene"][axis]["range"];
            range[1].as_f64().unwrap() - range[0].as_f64().unwrap()
        };
        let json = figure.json();
        assert!((length(&json, "xaxis") - length(&json, "zaxis")).abs() < 1e-9);
        figure.xlim(0.0, 5.0);
        let json = figure.json();
        assert_eq!(json["layout"]["scene"]["xaxis"]["range"], json!([0.0, 5.0]));
        assert!(length(&json, "yaxis") < length(&json, "zaxis"));
    }

    #[test]
    fn huge_traces_are_split_and_choices_are_said() {
        let rows: Vec<[f64; 4]> = (0..900_001)
            .map(|n| [f64::from(n), 0.0, 1.0, 2.0])
            .collect();
        let mut figure = Figure3d::new();
        figure.add_points(&rows, &Style::new()).unwrap();
        assert_eq!(figure.traces().count(), 3);
        let n: usize = figure
            .traces()
            .map(|t| numbers(&t.json()["x"]).unwrap().len())
            .sum();
        assert_eq!(n, rows.len());
        let is_square = |t: &Trace| t.json()["marker"]["symbol"] == "square";
        assert!(figure.traces().all(is_square));
        let mut figure = Figure3d::new();
        figure
            .add_points(&rows, &Style::new().max_points(10))
            .unwrap();
        let json = figure.json().to_string();
        assert!(json.contains("10 of 900,001 points shown, chosen at random (seed 0)"));
    }

    #[test]
    fn lines_are_segments_with_gaps() {
        let lines =
            LineData::new(Array2::from_shape_fn((12, 7), |(r, c)| (r * 7 + c) as f64)).unwrap();
        let mut figure = Figure3d::with_subplots(1, 2);
        figure.add_lines(&lines, &Style::new().at(1, 2)).unwrap();
        let json = figure.json();
        let z = numbers(&json["data"][0]["z"]).unwrap();
        assert_eq!((z.len(), z[0], z[1]), (36, 3.0, 6.0));
        assert!(z[2].is_nan());
        assert_eq!(json["data"][0]["scene"], "scene2");
        assert!(figure.add_lines(&lines, &Style::new().at(2, 1)).is_err());
        assert!(
            Figure2d::new()
                .add_lines(&[[0.0, 1.0, 2.0, 3.0, 4.0]], &Style::new())
                .is_ok()
        );
    }

    #[test]
    fn time_series_make_three_rows_and_share_time() {
        let mut figure = Figure2d::new();
        figure.add_timeseries(&points(20), &Style::new()).unwrap();
        assert_eq!(figure.subplots(), (3, 1));
        let json = figure.json();
        assert_eq!(json["data"].as_array().unwrap().len(), 9);
        assert_eq!(json["layout"]["xaxis3"]["title"]["text"], "t (ms)");
        assert_eq!(json["layout"]["yaxis2"]["title"]["text"], "y (mm)");
        assert_eq!(json["layout"]["xaxis2"]["matches"], "x");
        assert!(json["layout"]["yaxis"]["scaleanchor"].is_null());
        let shown = |t: &&Value| t["showlegend"] == true;
        assert_eq!(
            json["data"]
                .as_array()
                .unwrap()
                .iter()
                .filter(shown)
                .count(),
            3
        );
    }

    #[test]
    fn heat_maps_have_x_horizontal_and_z_in_the_plane_yz() {
        let values = Array3::from_shape_fn((2, 3, 4), |(i, j, k)| (100 * i + 10 * j + k) as f64);
        let voxels = Voxels::new(values, [0.0, 2.0, 0.0, 3.0, 0.0, 4.0]).unwrap();
        let first_rows = |slice: Slice, n: usize| {
            let mut figure = Figure2d::new();
            figure.add_voxels(&voxels, slice, &Style::new()).unwrap();
            let json = figure.json();
            let label = json["layout"]["xaxis"]["title"]["text"].clone();
            (label, numbers(&json["data"][0]["z"]).unwrap()[..n].to_vec())
        };
        assert_eq!(
            first_rows(Slice::x(1), 5),
            (json!("z (mm)"), vec![100., 101., 102., 103., 110.])
        );
        assert_eq!(
            first_rows(Slice::y(0), 3),
            (json!("x (mm)"), vec![0., 100., 1.])
        );
        assert_eq!(
            first_rows(Slice::z(3), 3),
            (json!("x (mm)"), vec![3., 103., 13.])
        );
        assert_eq!(first_rows(Slice::z(1).width(1), 1).1, [3.0]);
        assert!(
            Figure2d::new()
                .add_voxels(&voxels, Slice::x(2), &Style::new())
                .is_err()
        );
        let mut figure = Figure3d::new();
        figure
            .add_voxels_where(&voxels, |value| value >= 121.0, &Style::new().cubes(true))
            .unwrap();
        assert_eq!(figure.json()["data"][0]["i"].as_array().unwrap().len(), 36);
        figure
            .add_slice(&voxels, Slice::x(1), &Style::new())
            .unwrap();
        figure
            .add_pixels(&voxels.slice(2, 0, 0).unwrap(), &Style::new())
            .unwrap();
        assert_eq!(
            figure.json()["layout"]["scene"]["zaxis"]["title"]["text"],
            "value"
        );
    }

    #[test]
    fn frames_replace_the_same_traces_in_the_same_colours() {
        let points = points(40).with_sampling(Sampling::count(10)).unwrap();
        let mut figure = Figure3d::new();
        let frames = frames(&points, &Style::new(), |sample, style| {
            trace::points(sample, style)
        })
        .unwrap();
        figure.add_frames(frames.clone(), &Style::new()).unwrap();
        assert!(
            figure
                .add_frames(frames[1..].to_vec(), &Style::new())
                .is_err()
        );
        let json = figure.json();
        assert_eq!(json["frames"].as_array().unwrap().len(), 4);
        assert_eq!(json["frames"][3]["traces"], json!([0, 1, 2]));
        assert_eq!(
            json["frames"][3]["data"][2]["marker"]["color"],
            json["data"][2]["marker"]["color"]
        );
        assert_eq!(
            json["layout"]["sliders"][0]["steps"]
                .as_array()
                .unwrap()
                .len(),
            4
        );
        let range = &json["layout"]["scene"]["zaxis"]["range"];
        assert!(range[1].as_f64() > Some(156.0), "{range}"); // of all frames
    }

    #[test]
    fn histograms_count_every_value_and_own_traces_pass_through() {
        let mut figure = Figure2d::with_subplots(1, 2);
        let values: Vec<f64> = (0..=100).map(f64::from).chain([f64::NAN]).collect();
        figure
            .histogram(&values, 10, Norm::Count, &Style::new())
            .unwrap();
        figure
            .add_trace(json!({"type": "scatter", "x": [1, 2], "y": [30, 4]}), 1, 2)
            .unwrap();
        let json = figure.json();
        let counts = numbers(&json["data"][0]["y"]).unwrap();
        assert_eq!((counts.iter().sum::<f64>(), counts[9]), (101.0, 11.0));
        assert_eq!(json["data"][1]["median"], json!([50.0]));
        assert!(json.to_string().contains("1 of 102 values"));
        assert_eq!(json["data"][2]["xaxis"], "x2");
        assert!(json["layout"]["yaxis2"]["range"][1].as_f64() > Some(30.0));
        assert!(
            figure
                .histogram(&[], 10, Norm::Percent, &Style::new())
                .is_err()
        );
    }

    #[test]
    fn errors_and_images_and_vectors() {
        let rows = array![[0.0, 1.0, 2.0, 3.0, 4.0, 0.0, 0.0, 9.0, 0.0, 1.0]];
        let names = [
            "sigma_xx", "sigma_xy", "sigma_xz", "sigma_yy", "sigma_yz", "sigma_zz",
        ];
        let points = PointData::with_columns(rows, &names).unwrap();
        let style = Style::new().errors(true);
        let mut figure = Figure3d::new();
        figure.add_points(&points, &style).unwrap();
        figure.add_ellipsoids(&points, 2.0, &Style::new()).unwrap();
        let json = figure.json();
        assert_eq!(
            numbers(&json["data"][0]["error_y"]["array"]).unwrap(),
            [3.0]
        );
        let mut figure = Figure2d::new();
        figure
            .add_points(&points, &style.clone().plane(Plane::Yz))
            .unwrap();
        let json = figure.json();
        assert_eq!(
            numbers(&json["data"][0]["error_x"]["array"]).unwrap(),
            [1.0]
        );
        assert_eq!(numbers(&json["data"][0]["x"]).unwrap(), [3.0]);
        let bare = points.select_columns::<&str>([]).unwrap();
        assert!(figure.add_points(&bare, &style).is_err());

        let mut figure = Figure2d::new();
        figure
            .add_image(Array3::zeros((2, 3, 3)).view(), &Style::new())
            .unwrap();
        assert_eq!(
            figure.json()["layout"]["yaxis"]["range"],
            json!([1.5, -0.5])
        );
        assert!(
            figure
                .add_image(Array3::zeros((2, 3, 2)).view(), &Style::new())
                .is_err()
        );
        assert!(
            Figure2d::new()
                .add_vectors(&[[0.0, 0.0, 1.0, 1.0]], &Style::new())
                .is_ok()
        );
        assert!(
            Figure3d::new()
                .add_vectors(&[[0.0; 6]], &Style::new())
                .is_ok()
        );
    }
}
