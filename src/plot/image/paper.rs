//! The sheet of a figure: where things stand, and what surrounds the plots.

use serde_json::Value;

use super::super::array::numbers;
use super::super::color::{Scale, rgb};
use super::axes;
use super::shapes::{Align, Ink, Raster, Shape, Sheet, Text, text_width};
use crate::error::{Error, Result};

/// Words and lines.
pub(super) const INK: Ink = Ink([43, 47, 54], 1.0);
/// Lines behind what is drawn.
pub(super) const GRID: Ink = Ink([221, 225, 230], 1.0);
/// The sides of a colour bar's numbers and of legends.
const SMALL: f64 = 11.0;
const NORMAL: f64 = 13.0;
/// Types that are drawn.
const IN_SPACE: [&str; 4] = ["scatter3d", "surface", "mesh3d", "cone"];
const IN_A_PLANE: [&str; 7] = [
    "scatter",
    "scattergl",
    "bar",
    "box",
    "heatmap",
    "contour",
    "image",
];

/// Left, top, width, height in pixels.
pub(super) type Rectangle = [f64; 4];

#[derive(Debug)]
pub(super) struct Paper<'a> {
    pub(super) figure: &'a Value,
    pub(super) sheet: Sheet,
    /// The part that positions as shares mean.
    inner: Rectangle,
}

impl<'a> Paper<'a> {
    pub(super) fn new(figure: &'a Value, width: f64, height: f64) -> Self {
        let sheet = Sheet {
            width,
            height,
            shapes: Vec::new(),
        };
        let mut paper = Self {
            figure,
            sheet,
            inner: [0.0; 4],
        };
        let margin =
            |side: &str, usual: f64| figure["layout"]["margin"][side].as_f64().unwrap_or(usual);
        let (left, top) = (margin("l", 80.0), margin("t", 80.0));
        let right = margin("r", 80.0) + paper.legend_width();
        let bottom = margin("b", 80.0);
        paper.inner = [
            left,
            top,
            (width - left - right).max(20.0),
            (height - top - bottom).max(20.0),
        ];
        paper
    }

    pub(super) fn into_sheet(self) -> Sheet {
        self.sheet
    }

    pub(super) fn push(&mut self, shape: Shape) {
        self.sheet.shapes.push(shape);
    }

    pub(super) fn line(&mut self, points: Vec<[f64; 2]>, width: f64, ink: Ink) {
        self.push(Shape::Path(points, width, ink));
    }

    /// A text; `<br>` starts a line, other tags are left out.
    pub(super) fn text(
        &mut self,
        text: &str,
        at: [f64; 2],
        size: f64,
        align: [Align; 2],
        ink: Ink,
    ) {
        self.write(text, at, size, align, ink, false);
    }

    /// A text that is read from below.
    pub(super) fn turned_text(&mut self, text: &str, at: [f64; 2], size: f64, align: [Align; 2]) {
        self.write(text, at, size, align, INK, true);
    }

    fn write(
        &mut self,
        text: &str,
        at: [f64; 2],
        size: f64,
        [horizontal, vertical]: [Align; 2],
        ink: Ink,
        is_turned: bool,
    ) {
        let lines: Vec<String> = text.split("<br>").map(without_tags).collect();
        let height = 1.35 * size;
        let above = match vertical {
            Align::Start => 0.0,
            Align::Middle => 0.5,
            Align::End => 1.0,
        } * (lines.len() - 1) as f64;
        for (n, text) in lines.into_iter().enumerate() {
            let down = (n as f64 - above) * height;
            let at = if is_turned {
                [at[0] + down, at[1]]
            } else {
                [at[0], at[1] + down]
            };
            self.push(Shape::Text(Text {
                text,
                at,
                size,
                ink,
                horizontal,
                vertical,
                is_turned,
            }));
        }
    }

    /// A rectangle of shares (left, right, bottom, top) in pixels.
    pub(super) fn rectangle(&self, [left, right, bottom, top]: [f64; 4]) -> Rectangle {
        let [x, y, width, height] = self.inner;
        [
            x + left * width,
            y + (1.0 - top) * height,
            (right - left) * width,
            (top - bottom) * height,
        ]
    }

    /// The `domain` of an axis or a scene.
    pub(super) fn domain(&self, x: &Value, y: &Value) -> Rectangle {
        let share = |value: &Value, usual: f64| value.as_f64().unwrap_or(usual);
        self.rectangle([
            share(&x[0], 0.0),
            share(&x[1], 1.0),
            share(&y[0], 0.0),
            share(&y[1], 1.0),
        ])
    }

    /// Names of the scenes that there are.
    pub(super) fn scenes(&self) -> Vec<String> {
        self.keys("scene")
    }

    /// What follows `xaxis` in the names of axes: nothing, 2, 3, ...
    pub(super) fn axes(&self) -> Vec<String> {
        let names = self.keys("xaxis").into_iter();
        names.map(|name| name["xaxis".len()..].to_owned()).collect()
    }

    fn keys(&self, start: &str) -> Vec<String> {
        let layout = self.figure["layout"].as_object();
        let is_one = |key: &&String| {
            key.strip_prefix(start)
                .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
        };
        layout
            .into_iter()
            .flat_map(|layout| layout.keys())
            .filter(is_one)
            .cloned()
            .collect()
    }

    /// The traces whose `key` is `name`, which is the one of those that say nothing.
    pub(super) fn traces(
        &self,
        key: &str,
        name: &str,
        usual: &str,
    ) -> Result<Vec<(usize, &'a Value)>> {
        let traces = self.figure["data"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        let mut found = Vec::new();
        for (n, trace) in traces.iter().enumerate() {
            let kind = trace["type"].as_str().unwrap_or("scatter");
            let is_3d = IN_SPACE.contains(&kind);
            if !is_3d && !IN_A_PLANE.contains(&kind) {
                return Err(Error::Parameter {
                    name: "trace type",
                    value: kind.to_owned(),
                    needed: "one that images know (see pept::plot::image); write a page instead",
                });
            }
            let is_shown = trace["visible"] != false && trace["visible"] != "legendonly";
            if is_shown && is_3d == (key == "scene") && trace[key].as_str().unwrap_or(usual) == name
            {
                found.push((n, trace));
            }
        }
        Ok(found)
    }

    /// Title, legend, colour bars, annotations, time slider.
    pub(super) fn draw_surroundings(&mut self) {
        let layout = &self.figure["layout"];
        let [x, y, width, height] = self.inner;
        if let Some(title) = text_of(&layout["title"]) {
            let at = [0.5 * self.sheet.width, 20.0];
            self.text(title, at, 17.0, [Align::Middle, Align::Start], INK);
        }
        for note in layout["annotations"].as_array().into_iter().flatten() {
            if note["xref"] != "paper" || note["yref"] != "paper" {
                continue;
            }
            let number = |key: &str| note[key].as_f64().unwrap_or(0.0);
            let at = [
                x + number("x") * width + number("xshift"),
                y + (1.0 - number("y")) * height - number("yshift"),
            ];
            let align = [&note["xanchor"], &note["yanchor"]].map(|anchor| match anchor.as_str() {
                Some("left" | "top") => Align::Start,
                Some("right" | "bottom") => Align::End,
                _ => Align::Middle,
            });
            let size = note["font"]["size"].as_f64().unwrap_or(NORMAL);
            let ink = note["font"]["color"].as_str().and_then(rgb);
            let ink = ink.map_or(INK, |color| Ink(color, 1.0));
            self.text(
                note["text"].as_str().unwrap_or_default(),
                at,
                size,
                align,
                ink,
            );
        }
        self.draw_legend();
        for trace in self.figure["data"].as_array().into_iter().flatten() {
            for part in [&trace["marker"], &trace["line"], trace] {
                if part["showscale"] == true {
                    self.draw_bar(part);
                }
            }
        }
        if let Some(slider) = layout["sliders"].get(0) {
            self.draw_slider(slider);
        }
    }

    fn legend(&self) -> Vec<(&'a str, Ink)> {
        if self.figure["layout"]["showlegend"] == false {
            return Vec::new();
        }
        let traces = self.figure["data"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        let entry = |(n, trace): (usize, &'a Value)| {
            let name = trace["name"].as_str()?;
            (trace["showlegend"] == true).then(|| (name, Ink(main_color(trace, n), 1.0)))
        };
        traces.iter().enumerate().filter_map(entry).collect()
    }

    fn legend_width(&self) -> f64 {
        let widths = self
            .legend()
            .into_iter()
            .map(|(name, _)| text_width(name, 12.0));
        widths.reduce(f64::max).map_or(0.0, |width| width + 34.0)
    }

    fn draw_legend(&mut self) {
        let [x, y, width, _] = self.inner;
        for (n, (name, ink)) in self.legend().into_iter().enumerate() {
            let at = [x + width + 22.0, y + 10.0 + 20.0 * n as f64];
            self.push(Shape::Disc(at, 4.5, ink));
            let at = [at[0] + 11.0, at[1]];
            self.text(name, at, 12.0, [Align::Start, Align::Middle], INK);
        }
    }

    /// A scale of colours with its numbers and its title.
    fn draw_bar(&mut self, part: &Value) {
        const THICKNESS: f64 = 12.0;
        let bar = &part["colorbar"];
        let [x, y, width, height] = self.inner;
        let share = |key: &str, usual: f64| bar[key].as_f64().unwrap_or(usual);
        let length = share("len", 1.0) * height;
        let left = x + share("x", 1.02) * width;
        let top = y + (1.0 - share("y", 0.5)) * height - 0.5 * length;
        let ends = match (color_end(part, "min"), color_end(part, "max")) {
            (Some(low), Some(high)) if high > low => [low, high],
            _ => return,
        };
        let scale = Scale::of_json(&part["colorscale"]);
        let steps = 128;
        let bytes = (0..steps).flat_map(|step| {
            let [r, g, b] = scale.at(1.0 - (f64::from(step) + 0.5) / f64::from(steps));
            [r, g, b, 255]
        });
        self.push(Shape::Raster(Raster {
            at: [left, top],
            size: [THICKNESS, length],
            cells: [1, 128],
            bytes: bytes.collect(),
        }));
        let mut widest: f64 = 0.0;
        for (value, text) in axes::ticks(ends[0], ends[1], (length / 50.0).clamp(2.0, 10.0)) {
            let at = top + length * (ends[1] - value) / (ends[1] - ends[0]);
            let right = left + THICKNESS;
            self.line(vec![[right, at], [right + 3.0, at]], 1.0, INK);
            self.text(
                &text,
                [right + 6.0, at],
                SMALL,
                [Align::Start, Align::Middle],
                INK,
            );
            widest = widest.max(text_width(&text, SMALL));
        }
        if let Some(title) = text_of(&bar["title"]) {
            let at = [left + THICKNESS + 12.0 + widest, top + 0.5 * length];
            self.turned_text(title, at, 12.0, [Align::Middle, Align::Start]);
        }
    }

    /// A time slider that stands still.
    fn draw_slider(&mut self, slider: &Value) {
        let [x, y, width, height] = self.inner;
        let steps = slider["steps"].as_array().map_or(&[][..], Vec::as_slice);
        let active = slider["active"]
            .as_u64()
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(0);
        let (Some(step), last) = (steps.get(active), steps.len().saturating_sub(1).max(1)) else {
            return;
        };
        let below = slider["pad"]["t"].as_f64().unwrap_or(0.0);
        let at = y + height + below + 42.0;
        let [from, to] = [x + 0.12 * width, x + 0.98 * width];
        let now = from + (to - from) * active as f64 / last as f64;
        self.line(vec![[from, at], [to, at]], 4.0, GRID);
        self.line(vec![[from, at], [now, at]], 4.0, Ink([107, 113, 123], 1.0));
        self.push(Shape::Disc([now, at], 6.0, INK));
        let name = step["label"].as_str().unwrap_or_default();
        self.text(
            name,
            [from, at - 22.0],
            NORMAL,
            [Align::Start, Align::Middle],
            INK,
        );
    }
}

/// The text of a title, which may be one alone.
pub(super) fn text_of(title: &Value) -> Option<&str> {
    let text = title.as_str().or(title["text"].as_str())?;
    (!text.is_empty()).then_some(text)
}

fn without_tags(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, tag)) = rest.split_once('<') {
        out += before;
        rest = tag.split_once('>').map_or("", |(_, after)| after);
    }
    out + rest
}

/// The end of a scale of colours: `cmin` or `zmin`, else that of the values.
pub(super) fn color_end(part: &Value, end: &str) -> Option<f64> {
    let given = part[format!("c{end}")]
        .as_f64()
        .or(part[format!("z{end}")].as_f64());
    given.or_else(|| {
        let values = ["color", "intensity", "surfacecolor", "z"]
            .iter()
            .find_map(|key| numbers(&part[key]))?;
        let (low, high) = super::super::array::finite_range(&values)?;
        Some(if end == "min" { low } else { high })
    })
}

/// The one colour of a trace.
pub(super) fn main_color(trace: &Value, n: usize) -> [u8; 3] {
    let given = [
        &trace["marker"]["color"],
        &trace["line"]["color"],
        &trace["color"],
    ]
    .iter()
    .find_map(|color| rgb(color.as_str()?));
    given.unwrap_or_else(|| {
        let palette = super::super::color::PALETTE;
        rgb(palette[n % palette.len()]).unwrap_or_default()
    })
}

/// Colours of single points.
#[derive(Debug)]
pub(super) enum Colors {
    One([u8; 3]),
    Each(Vec<[u8; 3]>),
}

impl Colors {
    /// Those of markers or lines.
    pub(super) fn of(part: &Value, trace: &Value, n: usize) -> Self {
        if let Some(values) = numbers(&part["color"]) {
            if let Some(names) = part["color"].as_array()
                && names.iter().all(Value::is_string)
            {
                let color = |name: &Value| name.as_str().and_then(rgb).unwrap_or_default();
                return Self::Each(names.iter().map(color).collect());
            }
            return Self::Each(of_values(&values, part));
        }
        Self::One(
            part["color"]
                .as_str()
                .and_then(rgb)
                .unwrap_or_else(|| main_color(trace, n)),
        )
    }

    pub(super) fn at(&self, point: usize) -> [u8; 3] {
        match self {
            Self::One(color) => *color,
            Self::Each(colors) => colors.get(point).copied().unwrap_or_default(),
        }
    }
}

/// Colours of values on the scale of a trace or of a part of it.
pub(super) fn of_values(values: &[f64], part: &Value) -> Vec<[u8; 3]> {
    let scale = Scale::of_json(&part["colorscale"]);
    let low = color_end(part, "min").unwrap_or(0.0);
    let span = color_end(part, "max").unwrap_or(1.0) - low;
    let share = |value: &f64| {
        if span > 0.0 {
            (value - low) / span
        } else {
            0.5
        }
    };
    values.iter().map(|value| scale.at(share(value))).collect()
}
