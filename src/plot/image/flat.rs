//! Plots in a plane.

use serde_json::Value;

use super::super::array::{finite_range, numbers, shape};
use super::super::color::rgb;
use super::super::png;
use super::axes;
use super::paper::{Colors, GRID, INK, Paper, Rectangle, main_color, of_values, text_of};
use super::shapes::{Align, Ink, Raster, Shape, text_width};
use crate::error::Result;

/// Pixels of heat maps for each of the sheet.
const FINE: f64 = 3.0;
/// Lines of equal value.
const CONTOURS: f64 = 12.0;

/// One axis: pixels of its ends, and their values (logarithms if it has them).
#[derive(Clone, Copy, Debug)]
struct Axis {
    pixels: [f64; 2],
    range: [f64; 2],
    is_log: bool,
}

impl Axis {
    fn at(&self, value: f64) -> f64 {
        let value = if self.is_log { value.log10() } else { value };
        let share = (value - self.range[0]) / (self.range[1] - self.range[0]);
        self.pixels[0] + share * (self.pixels[1] - self.pixels[0])
    }

    fn value(&self, pixel: f64) -> f64 {
        let share = (pixel - self.pixels[0]) / (self.pixels[1] - self.pixels[0]);
        let value = self.range[0] + share * (self.range[1] - self.range[0]);
        if self.is_log {
            10_f64.powf(value)
        } else {
            value
        }
    }

    fn ticks(&self, wanted: f64) -> Vec<(f64, String)> {
        let [low, high] = self.range;
        let ticks = if self.is_log {
            axes::decades(low, high)
        } else {
            axes::ticks(low, high, wanted)
        };
        let share = |value: f64| (value - low) / (high - low);
        ticks
            .into_iter()
            .map(|(value, text)| {
                let pixel = self.pixels[0] + share(value) * (self.pixels[1] - self.pixels[0]);
                (pixel, text)
            })
            .collect()
    }
}

/// The plot of the axes `xaxis{suffix}` and `yaxis{suffix}`.
pub(super) fn draw(paper: &mut Paper<'_>, suffix: &str) -> Result<()> {
    let layout = &paper.figure["layout"];
    let x_json = &layout[format!("xaxis{suffix}")];
    let y_json = &layout[format!("yaxis{suffix}")];
    let traces = paper.traces("xaxis", &format!("x{suffix}"), "x")?;
    let domain = paper.domain(&x_json["domain"], &y_json["domain"]);
    let shared = x_json["matches"]
        .as_str()
        .and_then(|name| name.strip_prefix('x'));
    let x_range = range_of(x_json)
        .or_else(|| range_of(&layout[format!("xaxis{}", shared?)]))
        .unwrap_or_else(|| range_of_traces(&traces, "x"));
    let y_range = range_of(y_json).unwrap_or_else(|| range_of_traces(&traces, "y"));
    let is_log = |json: &Value| json["type"] == "log";
    let frame = if y_json["scaleanchor"].is_string() {
        shrunk(domain, [x_range, y_range], [x_json, y_json])
    } else {
        domain
    };
    let [left, top, width, height] = frame;
    let x = Axis {
        pixels: [left, left + width],
        range: x_range,
        is_log: is_log(x_json),
    };
    let y = Axis {
        pixels: [top + height, top],
        range: y_range,
        is_log: is_log(y_json),
    };
    draw_axes(paper, [&x, &y], [x_json, y_json], frame);
    let plot = Plot { x, y, frame };
    for (n, trace) in traces {
        plot.draw(paper, trace, n);
    }
    if x_json["mirror"] == true {
        let corners = [
            [left, top],
            [left + width, top],
            [left + width, top + height],
            [left, top + height],
            [left, top],
        ];
        paper.line(corners.to_vec(), 1.0, INK);
    }
    Ok(())
}

fn range_of(axis: &Value) -> Option<[f64; 2]> {
    Some([axis["range"][0].as_f64()?, axis["range"][1].as_f64()?])
}

fn range_of_traces(traces: &[(usize, &Value)], axis: &str) -> [f64; 2] {
    let values = traces
        .iter()
        .filter_map(|(_, trace)| numbers(&trace[axis]))
        .flatten();
    let (low, high) = finite_range(&values.collect::<Vec<_>>()).unwrap_or((0.0, 1.0));
    let margin = if high > low { 0.04 * (high - low) } else { 0.5 };
    [low - margin, high + margin]
}

/// The largest rectangle within another in which a unit is as long along both axes.
fn shrunk(frame: Rectangle, ranges: [[f64; 2]; 2], json: [&Value; 2]) -> Rectangle {
    let [left, top, width, height] = frame;
    let [x, y] = ranges.map(|[low, high]| (high - low).abs());
    let unit = (width / x).min(height / y);
    if !(unit > 0.0 && unit.is_finite()) {
        return frame;
    }
    let [w, h] = [x * unit, y * unit];
    // The share of what is left that lies before it.
    let [across, down] = json.map(|json| match json["constraintoward"].as_str() {
        Some("left" | "top") => 0.0,
        Some("right" | "bottom") => 1.0,
        _ => 0.5,
    });
    [left + across * (width - w), top + down * (height - h), w, h]
}

fn draw_axes(
    paper: &mut Paper<'_>,
    [x, y]: [&Axis; 2],
    [x_json, y_json]: [&Value; 2],
    frame: Rectangle,
) {
    let [left, top, width, height] = frame;
    let bottom = top + height;
    let shows_numbers = |json: &Value| json["showticklabels"] != false;
    let shows_grid = |json: &Value| json["showgrid"] != false;
    for (at, text) in x.ticks((width / 75.0).clamp(2.0, 12.0)) {
        if shows_grid(x_json) {
            paper.line(vec![[at, top], [at, bottom]], 1.0, GRID);
        }
        if x_json["ticks"] == "outside" {
            paper.line(vec![[at, bottom], [at, bottom + 4.0]], 1.0, INK);
        }
        if shows_numbers(x_json) {
            paper.text(
                &text,
                [at, bottom + 8.0],
                12.0,
                [Align::Middle, Align::Start],
                INK,
            );
        }
    }
    let mut widest: f64 = 0.0;
    for (at, text) in y.ticks((height / 45.0).clamp(2.0, 12.0)) {
        if shows_grid(y_json) {
            paper.line(vec![[left, at], [left + width, at]], 1.0, GRID);
        }
        if y_json["ticks"] == "outside" {
            paper.line(vec![[left - 4.0, at], [left, at]], 1.0, INK);
        }
        if shows_numbers(y_json) {
            paper.text(
                &text,
                [left - 8.0, at],
                12.0,
                [Align::End, Align::Middle],
                INK,
            );
            widest = widest.max(text_width(&text, 12.0));
        }
    }
    if let Some(title) = text_of(&x_json["title"]) {
        let at = [left + 0.5 * width, bottom + 28.0];
        paper.text(title, at, 13.0, [Align::Middle, Align::Start], INK);
    }
    if let Some(title) = text_of(&y_json["title"]) {
        let at = [left - 16.0 - widest, top + 0.5 * height];
        paper.turned_text(title, at, 13.0, [Align::Middle, Align::End]);
    }
}

struct Plot {
    x: Axis,
    y: Axis,
    frame: Rectangle,
}

impl Plot {
    fn draw(&self, paper: &mut Paper<'_>, trace: &Value, n: usize) {
        match trace["type"].as_str().unwrap_or("scatter") {
            "bar" => self.bars(paper, trace, n),
            "box" => self.boxes(paper, trace, n),
            "heatmap" => self.heat_map(paper, trace),
            "contour" => {
                self.heat_map(paper, trace);
                self.contours(paper, trace);
            }
            "image" => self.image(paper, trace),
            _ => self.scatter(paper, trace, n),
        }
    }

    fn place(&self, x: f64, y: f64) -> [f64; 2] {
        [self.x.at(x), self.y.at(y)]
    }

    fn contains(&self, [x, y]: [f64; 2]) -> bool {
        let [left, top, width, height] = self.frame;
        let slack = 0.01;
        (left - slack..=left + width + slack).contains(&x)
            && (top - slack..=top + height + slack).contains(&y)
    }

    fn scatter(&self, paper: &mut Paper<'_>, trace: &Value, n: usize) {
        let (Some(x), Some(y)) = (numbers(&trace["x"]), numbers(&trace["y"])) else {
            return;
        };
        let points: Vec<[f64; 2]> = x.iter().zip(&y).map(|(&x, &y)| self.place(x, y)).collect();
        let opacity = trace["opacity"].as_f64().unwrap_or(1.0);
        let mode = trace["mode"].as_str().unwrap_or("lines");
        if mode.contains("lines") {
            let ink = Ink(Colors::of(&trace["line"], trace, n).at(0), opacity);
            let width = trace["line"]["width"].as_f64().unwrap_or(2.0);
            for piece in points.split(|point| point.iter().any(|v| v.is_nan())) {
                self.clipped(paper, piece, width, ink);
            }
        }
        if mode.contains("markers") {
            let marker = &trace["marker"];
            let colors = Colors::of(marker, trace, n);
            let radius = 0.5 * marker["size"].as_f64().unwrap_or(6.0);
            self.error_bars(paper, trace, [&x, &y], &colors, opacity);
            for (k, &point) in points.iter().enumerate() {
                if self.contains(point) {
                    paper.push(marker_shape(
                        marker,
                        point,
                        radius,
                        Ink(colors.at(k), opacity),
                    ));
                }
            }
        }
    }

    fn error_bars(
        &self,
        paper: &mut Paper<'_>,
        trace: &Value,
        [x, y]: [&[f64]; 2],
        colors: &Colors,
        opacity: f64,
    ) {
        for (axis, key) in ["error_x", "error_y"].into_iter().enumerate() {
            let Some(errors) = numbers(&trace[key]["array"]) else {
                continue;
            };
            for (k, error) in errors
                .into_iter()
                .enumerate()
                .filter(|(_, error)| error.is_finite())
            {
                let [dx, dy] = if axis == 0 {
                    [error, 0.0]
                } else {
                    [0.0, error]
                };
                let ends = [
                    self.place(x[k] - dx, y[k] - dy),
                    self.place(x[k] + dx, y[k] + dy),
                ];
                self.clipped(paper, &ends, 1.0, Ink(colors.at(k), opacity));
            }
        }
    }

    /// The parts of a path within the frame.
    fn clipped(&self, paper: &mut Paper<'_>, points: &[[f64; 2]], width: f64, ink: Ink) {
        let mut path: Vec<[f64; 2]> = Vec::new();
        for pair in points.windows(2) {
            let Some([a, b]) = self.clip(pair[0], pair[1]) else {
                continue;
            };
            if path.last() != Some(&a) {
                if path.len() > 1 {
                    paper.line(std::mem::take(&mut path), width, ink);
                }
                path = vec![a];
            }
            path.push(b);
        }
        if path.len() > 1 {
            paper.line(path, width, ink);
        }
    }

    /// The part of a segment within the frame.
    fn clip(&self, a: [f64; 2], b: [f64; 2]) -> Option<[[f64; 2]; 2]> {
        let [left, top, width, height] = self.frame;
        let (mut from, mut to) = (0.0_f64, 1.0_f64);
        for (axis, [low, high]) in [[left, left + width], [top, top + height]]
            .into_iter()
            .enumerate()
        {
            let step = b[axis] - a[axis];
            if step.abs() < 1e-12 {
                if a[axis] < low || a[axis] > high {
                    return None;
                }
                continue;
            }
            let ends = [(low - a[axis]) / step, (high - a[axis]) / step];
            from = from.max(ends[0].min(ends[1]));
            to = to.min(ends[0].max(ends[1]));
        }
        let at = |part: f64| [a[0] + part * (b[0] - a[0]), a[1] + part * (b[1] - a[1])];
        (from <= to).then(|| {
            [
                if from > 0.0 { at(from) } else { a },
                if to < 1.0 { at(to) } else { b },
            ]
        })
    }

    fn bars(&self, paper: &mut Paper<'_>, trace: &Value, n: usize) {
        let (Some(x), Some(y)) = (numbers(&trace["x"]), numbers(&trace["y"])) else {
            return;
        };
        let ink = Ink(
            main_color(trace, n),
            trace["opacity"].as_f64().unwrap_or(1.0),
        );
        let width = trace["width"].as_f64().unwrap_or(0.8);
        let line = trace["marker"]["line"]["width"].as_f64().unwrap_or(0.0);
        let [left, top, frame_width, frame_height] = self.frame;
        for (x, y) in x.into_iter().zip(y) {
            let [x0, y0] = self.place(x - 0.5 * width, 0.0);
            let [x1, y1] = self.place(x + 0.5 * width, y);
            let [x0, x1] = [x0 + line, x1 - line].map(|x| x.clamp(left, left + frame_width));
            let [y0, y1] = [y0, y1].map(|y| y.clamp(top, top + frame_height));
            paper.push(Shape::Polygon(
                vec![[x0, y0], [x1, y0], [x1, y1], [x0, y1]],
                ink,
            ));
        }
    }

    /// A lying box of given quartiles.
    fn boxes(&self, paper: &mut Paper<'_>, trace: &Value, n: usize) {
        let number = |key: &str| trace[key][0].as_f64().unwrap_or(f64::NAN);
        let at = number("y");
        let [low, q1, median, q3, high] =
            ["lowerfence", "q1", "median", "q3", "upperfence"].map(|key| self.x.at(number(key)));
        let [middle, above, below] = [at, at + 0.3, at - 0.3].map(|y| self.y.at(y));
        let color = main_color(trace, n);
        let ink = Ink(color, 1.0);
        let corners = [
            [q1, above],
            [q3, above],
            [q3, below],
            [q1, below],
            [q1, above],
        ];
        paper.push(Shape::Polygon(corners[..4].to_vec(), Ink(color, 0.35)));
        paper.line(corners.to_vec(), 1.5, ink);
        for line in [
            [[low, middle], [q1, middle]],
            [[q3, middle], [high, middle]],
            [[median, above], [median, below]],
            [[low, 0.5 * (middle + above)], [low, 0.5 * (middle + below)]],
            [
                [high, 0.5 * (middle + above)],
                [high, 0.5 * (middle + below)],
            ],
        ] {
            paper.line(line.to_vec(), 1.5, ink);
        }
    }

    /// Colours of the frame's pixels, from a function of the place.
    fn raster(
        &self,
        paper: &mut Paper<'_>,
        opacity: f64,
        pixel: impl Fn(f64, f64) -> Option<[u8; 4]>,
    ) {
        let [left, top, width, height] = self.frame;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "`as` saturates"
        )]
        let [columns, rows] =
            [width, height].map(|side| ((side * FINE).round() as usize).clamp(1, 4000));
        let mut bytes = vec![0; columns * rows * 4];
        let values = |axis: &Axis, n: usize, from: f64, length: f64| -> Vec<f64> {
            (0..n)
                .map(|k| axis.value(from + (k as f64 + 0.5) / n as f64 * length))
                .collect()
        };
        let x = values(&self.x, columns, left, width);
        let y = values(&self.y, rows, top, height);
        for (row, &y) in y.iter().enumerate() {
            for (column, &x) in x.iter().enumerate() {
                if let Some(mut color) = pixel(x, y) {
                    #[expect(
                        clippy::cast_possible_truncation,
                        clippy::cast_sign_loss,
                        reason = "a share of a byte"
                    )]
                    {
                        color[3] = (f64::from(color[3]) * opacity).round() as u8;
                    }
                    bytes[(row * columns + column) * 4..][..4].copy_from_slice(&color);
                }
            }
        }
        paper.push(Shape::Raster(Raster {
            at: [left, top],
            size: [width, height],
            cells: [columns, rows],
            bytes,
        }));
    }

    fn heat_map(&self, paper: &mut Paper<'_>, trace: &Value) {
        let (Some(values), Some([rows, columns])) = (numbers(&trace["z"]), shape(&trace["z"]))
        else {
            return;
        };
        let colors = of_values(&values, trace);
        let [x, y] = [cells(trace, "x"), cells(trace, "y")];
        let opacity = trace["opacity"].as_f64().unwrap_or(1.0);
        self.raster(paper, opacity, |at_x, at_y| {
            let (column, row) = (cell(x, at_x, columns)?, cell(y, at_y, rows)?);
            let n = row * columns + column;
            let [r, g, b] = *colors.get(n)?;
            (!values[n].is_nan()).then_some([r, g, b, 255])
        });
    }

    /// Lines of equal value: through each square of four neighbouring centres.
    fn contours(&self, paper: &mut Paper<'_>, trace: &Value) {
        let (Some(values), Some([rows, columns])) = (numbers(&trace["z"]), shape(&trace["z"]))
        else {
            return;
        };
        let Some((low, high)) = finite_range(&values) else {
            return;
        };
        let [(x0, dx), (y0, dy)] = [cells(trace, "x"), cells(trace, "y")];
        let color = trace["line"]["color"].as_str().and_then(rgb);
        let color = color.unwrap_or([43, 47, 54]);
        for (level, _) in axes::ticks(low, high, CONTOURS) {
            for row in 0..rows.saturating_sub(1) {
                for column in 0..columns.saturating_sub(1) {
                    let corner = |k: usize| {
                        let (r, c) = [(0, 0), (0, 1), (1, 1), (1, 0)][k % 4];
                        let (r, c) = (row + r, column + c);
                        (
                            values[r * columns + c],
                            [x0 + c as f64 * dx, y0 + r as f64 * dy],
                        )
                    };
                    let mut crossings = Vec::new();
                    for k in 0..4 {
                        let ((a, from), (b, to)) = (corner(k), corner(k + 1));
                        if (a < level) != (b < level) {
                            let part = (level - a) / (b - a);
                            crossings.push(self.place(
                                from[0] + part * (to[0] - from[0]),
                                from[1] + part * (to[1] - from[1]),
                            ));
                        }
                    }
                    for pair in crossings.chunks_exact(2) {
                        self.clipped(paper, pair, 0.8, Ink(color, 0.75));
                    }
                }
            }
        }
    }

    fn image(&self, paper: &mut Paper<'_>, trace: &Value) {
        let image = trace["source"].as_str().and_then(png::decode_uri);
        let Some((bytes, [columns, rows])) = image else {
            return;
        };
        let [x, y] = [cells(trace, "x"), cells(trace, "y")];
        self.raster(paper, 1.0, |at_x, at_y| {
            let (column, row) = (cell(x, at_x, columns)?, cell(y, at_y, rows)?);
            let pixel = bytes.get((row * columns + column) * 4..)?;
            pixel.first_chunk().copied()
        });
    }
}

/// The centre of the first cell and the size of all.
fn cells(trace: &Value, axis: &str) -> (f64, f64) {
    let centers = numbers(&trace[axis]);
    let given = centers.as_deref().and_then(|centers| match centers {
        [first, second, ..] => Some((*first, second - first)),
        _ => None,
    });
    given.unwrap_or_else(|| {
        let number = |key: String, usual: f64| trace[key].as_f64().unwrap_or(usual);
        (
            number(format!("{axis}0"), 0.0),
            number(format!("d{axis}"), 1.0),
        )
    })
}

fn cell((first, size): (f64, f64), at: f64, n: usize) -> Option<usize> {
    let place = (at - first) / size + 0.5;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative"
    )]
    (place >= 0.0 && place < n as f64).then_some(place as usize)
}

/// A disc or a square.
pub(super) fn marker_shape(marker: &Value, [x, y]: [f64; 2], radius: f64, ink: Ink) -> Shape {
    if marker["symbol"] == "square" {
        let (a, b) = (radius, -radius);
        return Shape::Polygon(
            vec![
                [x + b, y + b],
                [x + a, y + b],
                [x + a, y + a],
                [x + b, y + a],
            ],
            ink,
        );
    }
    Shape::Disc([x, y], radius, ink)
}
