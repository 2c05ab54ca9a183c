//! Plots in space, in a parallel projection.

use serde_json::Value;

use super::super::array::{finite_range, numbers, shape};
use super::axes;
use super::flat::marker_shape;
use super::paper::{Colors, GRID, INK, Paper, Rectangle, main_color, of_values, text_of};
use super::shapes::{Align, Ink, Shape, text_width};
use crate::error::Result;

const WALL: Ink = Ink([247, 248, 250], 1.0);
/// Pixels around the cube for numbers and labels.
const AROUND: f64 = 52.0;

/// A box seen from a camera.
struct View {
    /// Values at the ends of each axis.
    ranges: [[f64; 2]; 3],
    /// Sides of the box.
    sides: [f64; 3],
    /// Right, up and towards the camera.
    right: [f64; 3],
    up: [f64; 3],
    towards: [f64; 3],
    middle: [f64; 2],
    scale: f64,
}

impl View {
    fn new(scene: &Value, ranges: [[f64; 2]; 3], frame: Rectangle) -> Self {
        let vector = |json: &Value, usual: [f64; 3]| {
            let mut vector = usual;
            for (value, key) in vector.iter_mut().zip(["x", "y", "z"]) {
                *value = json[key].as_f64().unwrap_or(*value);
            }
            vector
        };
        let camera = &scene["camera"];
        let towards = unit(vector(&camera["eye"], [1.25, 1.25, 1.25]));
        let vertical = vector(&camera["up"], [0.0, 0.0, 1.0]);
        let mut right = cross(vertical, towards);
        if dot(right, right) < 1e-12 {
            right = cross([vertical[2], vertical[0], vertical[1]], towards); // seen along the vertical
        }
        let right = unit(right);
        let up = cross(towards, right);
        let sides = match scene["aspectmode"].as_str() {
            Some("manual") => vector(&scene["aspectratio"], [1.0; 3]),
            Some("data") => {
                let lengths = ranges.map(|[low, high]| high - low);
                let longest = lengths.into_iter().fold(f64::MIN_POSITIVE, f64::max);
                lengths.map(|length| length / longest)
            }
            _ => [1.0; 3],
        };
        let mut view = Self {
            ranges,
            sides,
            right,
            up,
            towards,
            middle: [0.0; 2],
            scale: 1.0,
        };
        let corners: Vec<[f64; 2]> = view.corners().iter().map(|&at| view.flat(at)).collect();
        let side = |axis: usize| {
            let values: Vec<f64> = corners.iter().map(|corner| corner[axis]).collect();
            finite_range(&values).unwrap_or((0.0, 1.0))
        };
        let [(x0, x1), (y0, y1)] = [side(0), side(1)];
        let [left, top, width, height] = frame;
        let fits = ((width - 2.0 * AROUND) / (x1 - x0)).min((height - 1.7 * AROUND) / (y1 - y0));
        view.scale = fits.max(1.0);
        view.middle = [
            left + 0.5 * width - 0.5 * (x0 + x1) * view.scale,
            top + 0.5 * height - 0.2 * AROUND - 0.5 * (y0 + y1) * view.scale,
        ];
        view
    }

    fn corners(&self) -> [[f64; 3]; 8] {
        std::array::from_fn(|n| {
            std::array::from_fn(|axis| self.sides[axis] * (((n >> axis) & 1) as f64 - 0.5))
        })
    }

    /// A point of the box, whose centre is 0, in units of its sides.
    fn flat(&self, at: [f64; 3]) -> [f64; 2] {
        [
            self.middle[0] + self.scale * dot(at, self.right),
            self.middle[1] - self.scale * dot(at, self.up),
        ]
    }

    fn depth(&self, at: [f64; 3]) -> f64 {
        dot(at, self.towards)
    }

    /// Values in the box; `None` outside it, or for NaN.
    fn within(&self, values: [f64; 3]) -> Option<[f64; 3]> {
        let at = self.boxed(values);
        let is_in = (0..3).all(|axis| at[axis].abs() <= self.sides[axis] * 0.500_001);
        is_in.then_some(at)
    }

    fn boxed(&self, values: [f64; 3]) -> [f64; 3] {
        std::array::from_fn(|axis| {
            let [low, high] = self.ranges[axis];
            self.sides[axis] * ((values[axis] - low) / (high - low) - 0.5)
        })
    }

    /// The part of a segment within the box.
    fn clip(&self, a: [f64; 3], b: [f64; 3]) -> Option<[[f64; 3]; 2]> {
        let (a, b) = (self.boxed(a), self.boxed(b));
        let (mut from, mut to) = (0.0_f64, 1.0_f64);
        for axis in 0..3 {
            let half = 0.500_001 * self.sides[axis];
            let step = b[axis] - a[axis];
            if step.is_nan() {
                return None;
            }
            if step.abs() < 1e-12 {
                if a[axis].abs() > half {
                    return None;
                }
                continue;
            }
            let ends = [(-half - a[axis]) / step, (half - a[axis]) / step];
            from = from.max(ends[0].min(ends[1]));
            to = to.min(ends[0].max(ends[1]));
        }
        let at = |part: f64| std::array::from_fn(|axis| a[axis] + part * (b[axis] - a[axis]));
        (from <= to).then(|| [at(from), at(to)])
    }
}

/// Shapes with their depth, drawn from the furthest on.
struct Depths(Vec<(f64, Shape)>);

pub(super) fn draw(paper: &mut Paper<'_>, name: &str) -> Result<()> {
    let scene = &paper.figure["layout"][name];
    let traces = paper.traces("scene", name, "scene")?;
    let frame = paper.domain(&scene["domain"]["x"], &scene["domain"]["y"]);
    let ranges = ["x", "y", "z"].map(|axis| range_of(&scene[format!("{axis}axis")], &traces, axis));
    let view = View::new(scene, ranges, frame);
    draw_box(paper, &view, scene);
    let mut shapes = Depths(Vec::new());
    for (n, trace) in traces {
        match trace["type"].as_str().unwrap_or_default() {
            "surface" => shapes.surface(&view, trace),
            "mesh3d" => shapes.mesh(&view, trace, n),
            "cone" => shapes.arrows(&view, trace),
            _ => shapes.scatter(&view, trace, n),
        }
    }
    shapes.0.sort_by(|(a, _), (b, _)| a.total_cmp(b)); // stable
    for (_, shape) in shapes.0 {
        paper.push(shape);
    }
    Ok(())
}

fn range_of(axis: &Value, traces: &[(usize, &Value)], name: &str) -> [f64; 2] {
    if let (Some(low), Some(high)) = (axis["range"][0].as_f64(), axis["range"][1].as_f64()) {
        return [low, high];
    }
    let values = traces
        .iter()
        .filter_map(|(_, trace)| numbers(&trace[name]))
        .flatten();
    let (low, high) = finite_range(&values.collect::<Vec<_>>()).unwrap_or((0.0, 1.0));
    let margin = if high > low { 0.0 } else { 0.5 };
    [low - margin, high + margin]
}

/// The three far walls with their grid; numbers and labels at edges that are seen against the paper.
fn draw_box(paper: &mut Paper<'_>, view: &View, scene: &Value) {
    let half = view.sides.map(|side| 0.5 * side);
    let sign = |axis: usize| if view.towards[axis] > 0.0 { -1.0 } else { 1.0 };
    let ticks: Vec<Vec<(f64, String)>> = (0..3)
        .map(|axis| {
            let [low, high] = view.ranges[axis];
            let ticks = axes::ticks(low, high, 5.0).into_iter();
            ticks
                .map(|(value, text)| {
                    (
                        view.sides[axis] * ((value - low) / (high - low) - 0.5),
                        text,
                    )
                })
                .collect()
        })
        .collect();
    for axis in 0..3 {
        let (b, c) = ((axis + 1) % 3, (axis + 2) % 3);
        let on_wall = |at_b: f64, at_c: f64| {
            let mut at = [0.0; 3];
            at[axis] = sign(axis) * half[axis];
            at[b] = at_b;
            at[c] = at_c;
            view.flat(at)
        };
        let corners = [
            [-1.0, -1.0],
            [1.0, -1.0],
            [1.0, 1.0],
            [-1.0, 1.0],
            [-1.0, -1.0],
        ]
        .map(|[s, t]| on_wall(s * half[b], t * half[c]));
        paper.push(Shape::Polygon(corners[..4].to_vec(), WALL));
        for (at, _) in &ticks[b] {
            paper.line(
                vec![on_wall(*at, -half[c]), on_wall(*at, half[c])],
                1.0,
                GRID,
            );
        }
        for (at, _) in &ticks[c] {
            paper.line(
                vec![on_wall(-half[b], *at), on_wall(half[b], *at)],
                1.0,
                GRID,
            );
        }
        paper.line(corners.to_vec(), 1.0, Ink([176, 180, 186], 1.0));
    }
    let center = view.flat([0.0; 3]);
    for axis in 0..3 {
        let Some(edge) = silhouette(view, axis) else {
            continue; // seen end on
        };
        let at = |along: f64| {
            let mut at = edge;
            at[axis] = along;
            view.flat(at)
        };
        let middle = at(0.0);
        let [from, to] = [at(-half[axis]), at(half[axis])];
        paper.line(vec![from, to], 1.0, INK);
        // Away from the box, square to the edge.
        let along = [to[0] - from[0], to[1] - from[1]];
        let length = along[0].hypot(along[1]).max(1e-9);
        let mut out = [-along[1] / length, along[0] / length];
        if out[0] * (middle[0] - center[0]) + out[1] * (middle[1] - center[1]) < 0.0 {
            out = out.map(|v| -v);
        }
        let moved = |[x, y]: [f64; 2], by: f64| [x + by * out[0], y + by * out[1]];
        let horizontal = if out[0] > 0.4 {
            Align::Start
        } else if out[0] < -0.4 {
            Align::End
        } else {
            Align::Middle
        };
        for (along, text) in &ticks[axis] {
            paper.line(vec![at(*along), moved(at(*along), 4.0)], 1.0, INK);
            paper.text(
                text,
                moved(at(*along), 11.0),
                11.0,
                [horizontal, Align::Middle],
                INK,
            );
        }
        let title = &scene[["xaxis", "yaxis", "zaxis"][axis]]["title"];
        if let Some(title) = text_of(title) {
            let widths = ticks[axis].iter().map(|(_, text)| text_width(text, 11.0));
            let widest = widths.fold(0.0, f64::max);
            // Beyond the numbers.
            let beyond = 25.0 + widest * out[0].abs() + 8.0 * out[1].abs();
            if along[0].abs() < 0.35 * length {
                let vertical = if out[0] < 0.0 {
                    Align::End
                } else {
                    Align::Start
                };
                let at = moved(middle, beyond - 4.0);
                paper.turned_text(title, at, 13.0, [Align::Middle, vertical]);
            } else {
                let at = moved(middle, beyond);
                paper.text(title, at, 13.0, [horizontal, Align::Middle], INK);
            }
        }
    }
}

/// The edge along an axis that has one seen and one hidden side: the lowest, of upright ones the leftmost.
fn silhouette(view: &View, axis: usize) -> Option<[f64; 3]> {
    let (b, c) = ((axis + 1) % 3, (axis + 2) % 3);
    let mut along = [0.0; 3];
    along[axis] = 1.0;
    let step = [dot(along, view.right), dot(along, view.up)];
    let is_upright = step[1].abs() > 1.5 * step[0].abs();
    let is_seen = |axis: usize, sign: f64| sign * view.towards[axis] > 0.0;
    let mut best: Option<(f64, [f64; 3])> = None;
    for (s, t) in [(-1.0, -1.0), (-1.0, 1.0), (1.0, -1.0), (1.0, 1.0)] {
        if is_seen(b, s) == is_seen(c, t) {
            continue;
        }
        let mut at = [0.0; 3];
        at[b] = 0.5 * s * view.sides[b];
        at[c] = 0.5 * t * view.sides[c];
        let [x, y] = view.flat(at);
        let badness = if is_upright { x } else { -y };
        if best.is_none_or(|(least, _)| badness < least) {
            best = Some((badness, at));
        }
    }
    best.map(|(_, at)| at)
}

impl Depths {
    fn push(&mut self, depth: f64, shape: Shape) {
        self.0.push((depth, shape));
    }

    fn scatter(&mut self, view: &View, trace: &Value, n: usize) {
        let [Some(x), Some(y), Some(z)] = ["x", "y", "z"].map(|axis| numbers(&trace[axis])) else {
            return;
        };
        let points: Vec<[f64; 3]> = x
            .iter()
            .zip(&y)
            .zip(&z)
            .map(|((&x, &y), &z)| [x, y, z])
            .collect();
        let opacity = trace["opacity"].as_f64().unwrap_or(1.0);
        let mode = trace["mode"].as_str().unwrap_or("lines+markers");
        if mode.contains("lines") {
            let colors = Colors::of(&trace["line"], trace, n);
            let width = 0.6 * trace["line"]["width"].as_f64().unwrap_or(2.0); // as WebGL draws it
            for (k, pair) in points.windows(2).enumerate() {
                self.segment(view, [pair[0], pair[1]], width, Ink(colors.at(k), opacity));
            }
        }
        if mode.contains("markers") {
            let marker = &trace["marker"];
            let colors = Colors::of(marker, trace, n);
            let radius = 0.5 * marker["size"].as_f64().unwrap_or(6.0);
            for (axis, key) in ["error_x", "error_y", "error_z"].into_iter().enumerate() {
                let errors = numbers(&trace[key]["array"]).unwrap_or_default();
                for (k, (error, &point)) in errors.into_iter().zip(&points).enumerate() {
                    let (mut a, mut b) = (point, point);
                    a[axis] -= error;
                    b[axis] += error;
                    self.segment(view, [a, b], 1.0, Ink(colors.at(k), opacity));
                }
            }
            for (k, &point) in points.iter().enumerate() {
                if let Some(at) = view.within(point) {
                    let shape =
                        marker_shape(marker, view.flat(at), radius, Ink(colors.at(k), opacity));
                    self.push(view.depth(at), shape);
                }
            }
        }
    }

    fn segment(&mut self, view: &View, [a, b]: [[f64; 3]; 2], width: f64, ink: Ink) {
        if let Some([a, b]) = view.clip(a, b) {
            let depth = 0.5 * (view.depth(a) + view.depth(b));
            self.push(
                depth,
                Shape::Path(vec![view.flat(a), view.flat(b)], width, ink),
            );
        }
    }

    /// A polygon, unless a corner is outside the box.
    fn face(
        &mut self,
        view: &View,
        corners: &[[f64; 3]],
        color: [u8; 3],
        opacity: f64,
        light: bool,
    ) {
        let boxed: Option<Vec<[f64; 3]>> =
            corners.iter().map(|&corner| view.within(corner)).collect();
        let Some(boxed) = boxed else {
            return;
        };
        let depth = boxed.iter().map(|&at| view.depth(at)).sum::<f64>() / boxed.len() as f64;
        let mut color = color;
        if light {
            let [a, b, c] = [boxed[0], boxed[1], boxed[2]];
            let normal = unit(cross(minus(b, a), minus(c, a)));
            let brightness = 0.7 + 0.3 * dot(normal, view.towards).abs();
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a share of a byte"
            )]
            {
                color = color.map(|v| (f64::from(v) * brightness).round() as u8);
            }
        }
        let corners = boxed.into_iter().map(|at| view.flat(at)).collect();
        self.push(depth, Shape::Polygon(corners, Ink(color, opacity)));
    }

    fn surface(&mut self, view: &View, trace: &Value) {
        let (Some(z), Some([rows, columns])) = (numbers(&trace["z"]), shape(&trace["z"])) else {
            return;
        };
        let grid = |axis: &str, by_column: bool| -> Vec<f64> {
            let values = numbers(&trace[axis]).unwrap_or_default();
            if values.len() == rows * columns {
                return values;
            }
            let pick = |n: usize| if by_column { n % columns } else { n / columns };
            (0..rows * columns)
                .map(|n| values.get(pick(n)).copied().unwrap_or(pick(n) as f64))
                .collect()
        };
        let [x, y] = [grid("x", true), grid("y", false)];
        let given = numbers(&trace["surfacecolor"]);
        let is_plane = given.is_some();
        let colors = of_values(given.as_deref().unwrap_or(&z), trace);
        let opacity = trace["opacity"].as_f64().unwrap_or(1.0);
        for row in 0..rows.saturating_sub(1) {
            for column in 0..columns.saturating_sub(1) {
                let corner = |r: usize, c: usize| (row + r) * columns + column + c;
                let corners = [corner(0, 0), corner(0, 1), corner(1, 1), corner(1, 0)];
                let places = corners.map(|n| [x[n], y[n], z[n]]);
                let color = if is_plane {
                    colors[corners[0]]
                } else {
                    mean(corners.map(|n| colors[n]))
                };
                self.face(view, &places, color, opacity, !is_plane);
            }
        }
    }

    fn mesh(&mut self, view: &View, trace: &Value, n: usize) {
        let [Some(x), Some(y), Some(z)] = ["x", "y", "z"].map(|axis| numbers(&trace[axis])) else {
            return;
        };
        let [Some(i), Some(j), Some(k)] = ["i", "j", "k"].map(|key| numbers(&trace[key])) else {
            return;
        };
        let intensity = numbers(&trace["intensity"]).unwrap_or_default();
        let colors = of_values(&intensity, trace);
        let opacity = trace["opacity"].as_f64().unwrap_or(1.0);
        for (face, ((&i, &j), &k)) in i.iter().zip(&j).zip(&k).enumerate() {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "`as` saturates"
            )]
            let corners = [i, j, k].map(|corner| corner as usize);
            if corners.iter().any(|&corner| corner >= x.len()) {
                continue;
            }
            let color = match colors.get(face) {
                Some(&color) if trace["intensitymode"] == "cell" => color,
                _ => colors
                    .get(corners[0])
                    .copied()
                    .unwrap_or_else(|| main_color(trace, n)),
            };
            self.face(
                view,
                &corners.map(|corner| [x[corner], y[corner], z[corner]]),
                color,
                opacity,
                true,
            );
        }
    }

    /// Cones, as arrows whose heads are as wide as cones would be.
    fn arrows(&mut self, view: &View, trace: &Value) {
        let columns =
            ["x", "y", "z", "u", "v", "w"].map(|key| numbers(&trace[key]).unwrap_or_default());
        let n = columns.iter().map(Vec::len).min().unwrap_or(0);
        let norms: Vec<f64> = (0..n)
            .map(|row| {
                columns[3..]
                    .iter()
                    .map(|values| values[row].powi(2))
                    .sum::<f64>()
                    .sqrt()
            })
            .collect();
        let colors = of_values(&norms, trace);
        let longest = norms
            .iter()
            .copied()
            .filter(|norm| norm.is_finite())
            .fold(0.0, f64::max);
        let sides = view.ranges.map(|[low, high]| (high - low).abs());
        let apart = (sides.iter().product::<f64>() / n.max(1) as f64).cbrt();
        let factor =
            trace["sizeref"].as_f64().unwrap_or(1.0) * apart / longest.max(f64::MIN_POSITIVE);
        let opacity = trace["opacity"].as_f64().unwrap_or(1.0);
        for row in (0..n).filter(|&row| norms[row] > 0.0) {
            let at = [columns[0][row], columns[1][row], columns[2][row]];
            let step = [3, 4, 5].map(|column| columns[column][row] * factor);
            let tip = [at[0] + step[0], at[1] + step[1], at[2] + step[2]];
            let Some([from, to]) = view.clip(at, tip) else {
                continue;
            };
            let (a, b) = (view.flat(from), view.flat(to));
            let along = [b[0] - a[0], b[1] - a[1]];
            let side = [-0.18 * along[1], 0.18 * along[0]];
            let ink = Ink(colors[row], opacity);
            let depth = 0.5 * (view.depth(from) + view.depth(to));
            let triangle = vec![
                b,
                [a[0] + side[0], a[1] + side[1]],
                [a[0] - side[0], a[1] - side[1]],
            ];
            self.push(depth, Shape::Polygon(triangle, ink));
        }
    }
}

fn mean(colors: [[u8; 3]; 4]) -> [u8; 3] {
    std::array::from_fn(|k| {
        let sum: u16 = colors.iter().map(|color| u16::from(color[k])).sum();
        #[expect(clippy::cast_possible_truncation, reason = "the mean of bytes")]
        {
            (sum / 4) as u8
        }
    })
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn cross(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [
        a[1] * b[2] - a[2] * b[1],
        a[2] * b[0] - a[0] * b[2],
        a[0] * b[1] - a[1] * b[0],
    ]
}

fn minus(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

fn unit(a: [f64; 3]) -> [f64; 3] {
    let length = dot(a, a).sqrt();
    if length > 0.0 {
        a.map(|v| v / length)
    } else {
        a
    }
}
