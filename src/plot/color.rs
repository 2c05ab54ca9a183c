//! Colours: scales by name, a palette for labels, and what the rows of a trace get.

use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};

use super::array::finite_range;
use super::rows::Rows;
use super::style::Style;
use crate::error::{Error, Result};

/// Fewer distinct values than this are labels: a trace and a colour for each.
const LABELS: usize = 10;
/// The share of a scale that markers and lines use where its end is nearly white, as the paper is.
const DARK_SHARE: f64 = 0.9;

/// Colours that also colour-blind people tell apart (Okabe and Ito's, darkest first, with three more).
pub(super) const PALETTE: [&str; 9] = [
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#6A3D9A", "#8C564B",
    "#4D4D4D",
];
/// What belongs to nothing: label -1.
const NOISE: &str = "#B0B4BA";

/// Names of common colours.
const NAMES: [(&str, [u8; 3]); 16] = [
    ("black", [0, 0, 0]),
    ("white", [255, 255, 255]),
    ("gray", [128, 128, 128]),
    ("grey", [128, 128, 128]),
    ("silver", [192, 192, 192]),
    ("red", [255, 0, 0]),
    ("green", [0, 128, 0]),
    ("blue", [0, 0, 255]),
    ("yellow", [255, 255, 0]),
    ("orange", [255, 165, 0]),
    ("purple", [128, 0, 128]),
    ("brown", [165, 42, 42]),
    ("pink", [255, 192, 203]),
    ("cyan", [0, 255, 255]),
    ("magenta", [255, 0, 255]),
    ("navy", [0, 0, 128]),
];

/// A continuous scale of colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ColorScale {
    /// Black, purple, orange, pale yellow.
    #[default]
    Magma,
    /// Black, red, yellow.
    Inferno,
    /// Blue, purple, yellow.
    Plasma,
    /// Purple, green, yellow.
    Viridis,
    /// Blue to yellow, made for the colour-blind.
    Cividis,
    /// A rainbow of even steps.
    Turbo,
    /// White to black.
    Greys,
    /// Blue, white, red: for values on both sides of 0.
    Rdbu,
}

impl ColorScale {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Magma,
        Self::Inferno,
        Self::Plasma,
        Self::Viridis,
        Self::Cividis,
        Self::Turbo,
        Self::Greys,
        Self::Rdbu,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Magma => "Magma",
            Self::Inferno => "Inferno",
            Self::Plasma => "Plasma",
            Self::Viridis => "Viridis",
            Self::Cividis => "Cividis",
            Self::Turbo => "Turbo",
            Self::Greys => "Greys",
            Self::Rdbu => "RdBu",
        }
    }

    /// Evenly spaced colours, the lowest value's first. Those of matplotlib (CC0) and Google's Turbo (Apache-2.0).
    fn stops(self) -> &'static [u32] {
        match self {
            Self::Magma => &[
                0x00_0004, 0x18_0f3d, 0x44_0f76, 0x72_1f81, 0x9e_2f7f, 0xcd_4071, 0xf1_605d,
                0xfd_9668, 0xfe_ca8d, 0xfc_fdbf,
            ],
            Self::Inferno => &[
                0x00_0004, 0x1b_0c41, 0x4a_0c6b, 0x78_1c6d, 0xa5_2c60, 0xcf_4446, 0xed_6925,
                0xfb_9b06, 0xf7_d13d, 0xfc_ffa4,
            ],
            Self::Plasma => &[
                0x0d_0887, 0x46_039f, 0x72_01a8, 0x9c_179e, 0xbd_3786, 0xd8_576b, 0xed_7953,
                0xfb_9f3a, 0xfd_ca26, 0xf0_f921,
            ],
            Self::Viridis => &[
                0x44_0154, 0x48_2878, 0x3e_4989, 0x31_688e, 0x26_828e, 0x1f_9e89, 0x35_b779,
                0x6e_ce58, 0xb5_de2b, 0xfd_e725,
            ],
            Self::Cividis => &[
                0x00_224e, 0x12_3570, 0x3b_496c, 0x57_5d6d, 0x70_7173, 0x8a_8678, 0xa5_9c74,
                0xc3_b369, 0xe1_cc55, 0xfe_e838,
            ],
            Self::Turbo => &[
                0x30_123b, 0x46_62d7, 0x36_aaf9, 0x1a_e4b6, 0x72_fe5e, 0xc7_ef34, 0xfa_ba39,
                0xf6_6b19, 0xca_2a04, 0x7a_0403,
            ],
            Self::Greys => &[0xff_ffff, 0x96_9696, 0x00_0000],
            Self::Rdbu => &[
                0x05_3061, 0x43_93c3, 0xd1_e5f0, 0xf7_f7f7, 0xfd_dbc7, 0xd6_604d, 0x67_001f,
            ],
        }
    }

    /// As plotly.js takes it.
    pub(super) fn json(self) -> Value {
        self.part(1.0)
    }

    /// For markers and lines, without the end that cannot be seen on paper.
    pub(super) fn json_on_paper(self) -> Value {
        self.part(match self {
            Self::Magma | Self::Inferno => DARK_SHARE,
            _ => 1.0,
        })
    }

    fn part(self, share: f64) -> Value {
        let stops = self.stops();
        let last = (stops.len() - 1) as f64;
        let colors: Vec<_> = stops
            .iter()
            .map(|&stop| {
                let [_, r, g, b] = stop.to_be_bytes();
                [r, g, b]
            })
            .collect();
        let scale = Scale(
            (0..)
                .zip(&colors)
                .map(|(n, &color)| (f64::from(n) / last, color))
                .collect(),
        );
        let steps = (0..colors.len()).map(|n| {
            let at = n as f64 / last;
            json!([at, hex(scale.at(at * share))])
        });
        steps.collect()
    }
}

impl fmt::Display for ColorScale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ColorScale {
    type Err = Error;

    /// By its name, in any case.
    fn from_str(name: &str) -> Result<Self> {
        let known = Self::ALL
            .into_iter()
            .find(|scale| scale.name().eq_ignore_ascii_case(name.trim()));
        known.ok_or_else(|| Error::Parameter {
            name: "color_scale",
            value: name.to_owned(),
            needed: "Magma, Inferno, Plasma, Viridis, Cividis, Turbo, Greys or RdBu",
        })
    }
}

/// A scale as the JSON of a figure has it.
#[derive(Clone, Debug)]
pub(super) struct Scale(Vec<(f64, [u8; 3])>);

impl Scale {
    /// The figure's, or Viridis for what is not understood.
    pub(super) fn of_json(scale: &Value) -> Self {
        let stop = |stop: &Value| Some((stop[0].as_f64()?, rgb(stop[1].as_str()?)?));
        let stops: Option<Vec<_>> = scale
            .as_array()
            .and_then(|stops| stops.iter().map(stop).collect());
        match stops.filter(|stops| !stops.is_empty()) {
            Some(stops) => Self(stops),
            None => {
                let name = scale.as_str().and_then(|name| name.parse().ok());
                Self::of_json(&name.unwrap_or(ColorScale::Viridis).json())
            }
        }
    }

    /// The colour at a share of the range; grey for NaN.
    pub(super) fn at(&self, share: f64) -> [u8; 3] {
        if share.is_nan() {
            return [176, 180, 186];
        }
        let above = self.0.iter().position(|&(at, _)| at >= share);
        let above = above.unwrap_or(self.0.len() - 1);
        let ((from, a), (to, b)) = (self.0[above.saturating_sub(1)], self.0[above]);
        let part = if to > from {
            ((share - from) / (to - from)).clamp(0.0, 1.0)
        } else {
            1.0
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between two bytes"
        )]
        let between =
            |k: usize| (f64::from(a[k]) + part * (f64::from(b[k]) - f64::from(a[k]))).round() as u8;
        [between(0), between(1), between(2)]
    }
}

/// The colour of a text: `#rrggbb`, `#rgb`, `rgb(r, g, b)` or a common name.
pub(super) fn rgb(text: &str) -> Option<[u8; 3]> {
    let text = text.trim();
    if let Some(digits) = text.strip_prefix('#') {
        let digit = |n: usize| u8::from_str_radix(digits.get(n..=n)?, 16).ok();
        let pair = |n: usize| u8::from_str_radix(digits.get(n..n + 2)?, 16).ok();
        return match digits.len() {
            3 => Some([digit(0)? * 17, digit(1)? * 17, digit(2)? * 17]),
            6 => Some([pair(0)?, pair(2)?, pair(4)?]),
            _ => None,
        };
    }
    if let Some(numbers) = text.strip_prefix("rgb(").or(text.strip_prefix("rgba(")) {
        let mut numbers = numbers.trim_end_matches(')').split(',').map(str::trim);
        let mut byte = || numbers.next()?.parse().ok();
        return Some([byte()?, byte()?, byte()?]);
    }
    let known = NAMES
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(text));
    known.map(|&(_, color)| color)
}

pub(super) fn hex([r, g, b]: [u8; 3]) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// The colours of rows.
#[derive(Debug)]
pub(super) enum Coloring {
    /// One for all; `None`: the figure's next.
    One(Option<String>),
    /// Some rows each.
    Groups(Vec<Group>),
    /// By value.
    Scale {
        values: Vec<f64>,
        low: f64,
        high: f64,
    },
}

/// Rows of one colour.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) color: String,
    pub(super) rows: Vec<usize>,
}

/// What rows are coloured by where the style does not say.
#[derive(Clone, Copy, Debug)]
pub(super) enum Default {
    /// One colour.
    One,
    /// The last column, if there are more than this many.
    LastBeyond(usize),
    /// This column.
    Column(usize),
}

/// Finds the colours of rows; a style's own colours and values come first, then its column, then the default.
pub(super) fn coloring(rows: &Rows<'_>, style: &Style, default: Default) -> Result<Coloring> {
    if let Some(color) = &style.color {
        return Ok(Coloring::One(Some(color.clone())));
    }
    let n_columns = rows.columns().len();
    let column = match (&style.color_by, default) {
        (Some(column), _) => Some(rows.find_column(column)?),
        (None, Default::LastBeyond(n)) if n_columns > n => Some(n_columns - 1),
        (None, Default::Column(n)) => Some(n),
        (None, _) => None,
    };
    let (values, column) = match (&style.color_values, column) {
        (Some(values), _) if values.len() == rows.len() => (values.clone(), None),
        (Some(values), _) => {
            return Err(Error::Columns(format!(
                "{} colour values for {} rows",
                values.len(),
                rows.len()
            )));
        }
        (None, Some(column)) => (rows.column(column), Some(column)),
        (None, None) => return Ok(by_member(rows)),
    };
    let name = column.map_or("", |column| rows.columns()[column].as_str());
    let of_all = style.range.as_ref();
    let labels = match of_all {
        Some(range) => range.labels.clone(),
        None => labels(&values),
    };
    if let Some(labels) = labels {
        return Ok(Coloring::Groups(groups(&values, &labels, name)));
    }
    let (low, high) = match of_all {
        Some(range) => (range.low, range.high),
        None => finite_range(&values).unwrap_or((0.0, 1.0)),
    };
    Ok(Coloring::Scale { values, low, high })
}

/// A colour for each member of a short list.
fn by_member(rows: &Rows<'_>) -> Coloring {
    let members = rows.members();
    if !(2..LABELS).contains(&members.len()) {
        return Coloring::One(None);
    }
    let group = |(n, rows): (usize, std::ops::Range<usize>)| Group {
        name: format!("{n}"),
        color: PALETTE[n].to_owned(),
        rows: rows.collect(),
    };
    Coloring::Groups(members.into_iter().enumerate().map(group).collect())
}

/// The distinct values, in order, if they are few enough to be labels.
pub(super) fn labels(values: &[f64]) -> Option<Vec<f64>> {
    let mut found: Vec<f64> = Vec::new();
    for &value in values.iter().filter(|value| !value.is_nan()) {
        if let Err(place) = found.binary_search_by(|known| known.total_cmp(&value)) {
            found.insert(place, value);
            if found.len() == LABELS {
                return None;
            }
        }
    }
    (!found.is_empty()).then_some(found)
}

fn groups(values: &[f64], labels: &[f64], column: &str) -> Vec<Group> {
    // Label -1 is noise and takes no colour of the palette.
    let is_noise = |value: f64| column == "label" && value < 0.0;
    let mut colors = PALETTE.iter();
    let group = |&label: &f64| {
        let rows = (0..values.len()).filter(|&row| values[row].total_cmp(&label).is_eq());
        let (name, color) = if is_noise(label) {
            ("none (label \u{2212}1)".to_owned(), NOISE)
        } else {
            let color = colors.next().copied().unwrap_or(PALETTE[0]);
            (format!("{column} {}", short(label)), color)
        };
        Group {
            name: name.trim().to_owned(),
            color: color.to_owned(),
            rows: rows.collect(),
        }
    };
    labels.iter().map(group).collect()
}

/// A number with at most four digits after the point.
fn short(value: f64) -> String {
    let text = format!("{value:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text.is_empty() || text == "-0" {
        "0".to_owned()
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_understood_and_scales_found_by_name() {
        assert_eq!(rgb("#0072B2"), Some([0, 0x72, 0xb2]));
        assert_eq!(rgb(" #fff"), Some([255; 3]));
        assert_eq!(rgb("rgb(1, 2, 3)"), Some([1, 2, 3]));
        assert_eq!(rgb("Orange"), Some([255, 165, 0]));
        for wrong in ["", "#12", "#12345g", "#ää", "rgb(1, 2)", "reddish"] {
            assert_eq!(rgb(wrong), None, "{wrong}");
        }
        for scale in ColorScale::ALL {
            assert_eq!(
                scale.name().to_lowercase().parse::<ColorScale>().unwrap(),
                scale
            );
        }
        assert!("Jet2".parse::<ColorScale>().is_err());
    }

    #[test]
    fn a_scale_goes_through_its_stops() {
        let scale = Scale::of_json(&ColorScale::Viridis.json());
        assert_eq!(hex(scale.at(0.0)), "#440154");
        assert_eq!(hex(scale.at(1.0)), "#fde725");
        assert_eq!(hex(scale.at(7.0)), "#fde725");
        assert_eq!(hex(scale.at(-1.0)), "#440154");
        assert_eq!(hex(scale.at(1.0 / 9.0)), "#482878");
        let grey = Scale::of_json(&json!([[0.0, "#000000"], [1.0, "#ffffff"]]));
        assert_eq!(grey.at(0.5), [128; 3]);
    }

    #[test]
    fn few_distinct_values_are_labels_and_noise_is_grey() {
        assert_eq!(labels(&[1.0, -1.0, f64::NAN, 1.0]), Some(vec![-1.0, 1.0]));
        assert_eq!(labels(&(0..10).map(f64::from).collect::<Vec<_>>()), None);
        let groups = groups(&[1.0, -1.0, 0.0, 1.0], &[-1.0, 0.0, 1.0], "label");
        let names: Vec<_> = groups.iter().map(|group| group.name.as_str()).collect();
        assert_eq!(names, ["none (label \u{2212}1)", "label 0", "label 1"]);
        assert_eq!(groups[0].color, NOISE);
        assert_eq!(
            (groups[1].color.as_str(), &groups[2].rows[..]),
            (PALETTE[0], &[0, 3][..])
        );
    }
}
