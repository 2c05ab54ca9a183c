//! How something is drawn, and where in a figure.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use super::array::finite_range;
use super::color::{self, ColorScale};
use super::rows::Rows;
use crate::data::Column;
use crate::error::{Error, Result};
use crate::kernels::voxels::Plane;

/// How something is drawn, and in which subplot. What is not set is the default of each method.
///
/// ```
/// use pept::plot::Style;
/// let style = Style::new().at(2, 1).color_by("error").color_bar_title("error (mm)").max_points(100_000);
/// # let _ = style;
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Style {
    pub(super) row: Option<usize>,
    pub(super) col: Option<usize>,
    pub(super) color: Option<String>,
    pub(super) color_values: Option<Vec<f64>>,
    pub(super) color_by: Option<Column>,
    pub(super) color_scale: ColorScale,
    pub(super) color_bar_title: Option<String>,
    pub(super) size: Option<f64>,
    pub(super) opacity: Option<f64>,
    pub(super) max_points: Option<usize>,
    pub(super) seed: u64,
    pub(super) name: Option<String>,
    pub(super) plane: Plane,
    pub(super) errors: bool,
    pub(super) cubes: bool,
    pub(super) contour: bool,
    pub(super) joined: bool,
    pub(super) range: Option<ColorRange>,
}

/// Colours that several traces share.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ColorRange {
    pub(super) low: f64,
    pub(super) high: f64,
    /// Set if the values are labels.
    pub(super) labels: Option<Vec<f64>>,
}

impl Style {
    /// All defaults, in the first subplot.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// In the subplot of this row and column, counted from 1.
    #[must_use]
    pub fn at(self, row: usize, col: usize) -> Self {
        Self {
            row: Some(row),
            col: Some(col),
            ..self
        }
    }

    /// One colour: `#rrggbb`, `rgb(r, g, b)` or a common name. Wins over values and columns.
    #[must_use]
    pub fn color(self, color: impl Into<String>) -> Self {
        Self {
            color: Some(color.into()),
            ..self
        }
    }

    /// A value for each row, which gives its colour. Wins over columns.
    #[must_use]
    pub fn color_values(self, values: impl Into<Vec<f64>>) -> Self {
        Self {
            color_values: Some(values.into()),
            ..self
        }
    }

    /// A column, by name or position, whose values give the colours.
    #[must_use]
    pub fn color_by(self, column: impl Into<Column>) -> Self {
        Self {
            color_by: Some(column.into()),
            ..self
        }
    }

    /// The scale of colours.
    #[must_use]
    pub fn color_scale(self, color_scale: ColorScale) -> Self {
        Self {
            color_scale,
            ..self
        }
    }

    /// Values that get the first and the last colour, instead of the smallest and the largest.
    #[must_use]
    pub fn color_limits(self, low: f64, high: f64) -> Self {
        Self {
            range: Some(ColorRange {
                low,
                high,
                labels: None,
            }),
            ..self
        }
    }

    /// Shows the scale, with this title.
    #[must_use]
    pub fn color_bar_title(self, title: impl Into<String>) -> Self {
        Self {
            color_bar_title: Some(title.into()),
            ..self
        }
    }

    /// The diameter of markers, or the width of lines, in pixels; of vectors a factor.
    #[must_use]
    pub fn size(self, size: f64) -> Self {
        Self {
            size: Some(size),
            ..self
        }
    }

    /// The width of lines in pixels: another name of [`size`](Self::size).
    #[must_use]
    pub fn width(self, width: f64) -> Self {
        self.size(width)
    }

    /// From 0, invisible, to 1.
    #[must_use]
    pub fn opacity(self, opacity: f64) -> Self {
        Self {
            opacity: Some(opacity),
            ..self
        }
    }

    /// At most this many rows, chosen at random; the figure says so. Default: 1,000,000 points, 50,000 lines.
    #[must_use]
    pub fn max_points(self, max_points: usize) -> Self {
        Self {
            max_points: Some(max_points),
            ..self
        }
    }

    /// The seed of that choice; default 0.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// A name in the legend.
    #[must_use]
    pub fn name(self, name: impl Into<String>) -> Self {
        Self {
            name: Some(name.into()),
            ..self
        }
    }

    /// The plane in which 3-D points are shown in a 2-D figure.
    #[must_use]
    pub fn plane(self, plane: Plane) -> Self {
        Self { plane, ..self }
    }

    /// Draws one standard deviation as error bars, from the columns `sigma_xx`, `sigma_yy`, `sigma_zz` (variances, mm^2), else
    /// `error_x`, `error_y`, `error_z`, else `error` (mm).
    #[must_use]
    pub fn errors(self, errors: bool) -> Self {
        Self { errors, ..self }
    }

    /// Draws voxels as cubes instead of markers; 100 at most.
    #[must_use]
    pub fn cubes(self, cubes: bool) -> Self {
        Self { cubes, ..self }
    }

    /// Draws pixels of a 2-D figure with lines of equal value.
    #[must_use]
    pub fn contour(self, contour: bool) -> Self {
        Self { contour, ..self }
    }

    /// Joins points by lines, in the order of rows.
    #[must_use]
    pub fn joined(self, joined: bool) -> Self {
        Self { joined, ..self }
    }

    /// The same colours for parts of `rows` as for all of them; such rows start with the columns `standard`.
    pub(super) fn with_colors_of(self, rows: Rows<'_>, standard: &[&str]) -> Result<Self> {
        let rows = rows.named(standard)?;
        let n = rows.columns().len();
        let column = match &self.color_by {
            Some(column) => rows.find_column(column)?,
            None if standard.len() == 7 => 0, // lines: by time
            None if n > standard.len() => n - 1,
            None => return Ok(self),
        };
        let values = rows.column(column);
        let (low, high) = finite_range(&values).unwrap_or((0.0, 1.0));
        let labels = color::labels(&values);
        Ok(Self {
            range: Some(ColorRange { low, high, labels }),
            ..self
        })
    }

    /// Checks what can be checked without data.
    pub(super) fn check(&self) -> Result<()> {
        let bad = |name, value: String, needed| {
            Err(Error::Parameter {
                name,
                value,
                needed,
            })
        };
        if let Some(color) = &self.color
            && color::rgb(color).is_none()
        {
            let needed = "#rrggbb, rgb(r, g, b) or the name of a common colour";
            return bad("color", color.clone(), needed);
        }
        match self.size {
            Some(size) if !(size > 0.0 && size.is_finite()) => {
                return bad("size", size.to_string(), "a number above 0");
            }
            _ => (),
        }
        match self.opacity {
            Some(opacity) if !(0.0..=1.0).contains(&opacity) => {
                return bad("opacity", opacity.to_string(), "a number from 0 to 1");
            }
            _ => (),
        }
        if self.max_points == Some(0) {
            return bad("max_points", "0".to_owned(), "at least 1");
        }
        Ok(())
    }

    /// Which of `n` rows are drawn, of `most` by default; `None`: all. With what the figure says of it.
    pub(super) fn choice(&self, n: usize, most: usize, what: &str) -> Option<(Vec<usize>, String)> {
        let most = self.max_points.unwrap_or(most);
        if n <= most {
            return None;
        }
        // Each row in turn, with the chance that leaves every choice equally likely: rows stay in order.
        let mut rng = Pcg64::seed_from_u64(self.seed);
        let mut chosen = Vec::with_capacity(most);
        for row in 0..n {
            let wanted = (most - chosen.len()) as f64;
            if rng.random::<f64>() * ((n - row) as f64) < wanted {
                chosen.push(row);
            }
        }
        let note = format!(
            "{} of {} {what} shown, chosen at random (seed {})",
            grouped(chosen.len()),
            grouped(n),
            self.seed
        );
        Some((chosen, note))
    }
}

/// A count with commas: 1,000,000.
pub(super) fn grouped(n: usize) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_of_the_size_asked_for_in_order_and_of_the_seed() {
        let style = Style::new().max_points(1000);
        let (rows, note) = style.choice(100_000, 7, "points").unwrap();
        assert_eq!(rows.len(), 1000);
        assert!(rows.is_sorted() && rows[999] < 100_000);
        assert_eq!(
            note,
            "1,000 of 100,000 points shown, chosen at random (seed 0)"
        );
        assert_eq!(style.choice(100_000, 7, "points").unwrap().0, rows);
        assert_ne!(
            style.clone().seed(1).choice(100_000, 7, "").unwrap().0,
            rows
        );
        assert!(style.choice(1000, 7, "").is_none());
        let below = rows.iter().filter(|&&row| row < 50_000).count();
        assert!((400..600).contains(&below), "{below}");
    }

    #[test]
    fn senseless_styles_are_errors() {
        let problem = |style: Style| style.check().unwrap_err().to_string();
        assert!(problem(Style::new().color("reddish")).contains("color = reddish"));
        assert!(problem(Style::new().size(-1.0)).contains("size"));
        assert!(problem(Style::new().opacity(f64::NAN)).contains("opacity"));
        assert!(problem(Style::new().max_points(0)).contains("max_points"));
        assert!(Style::new().color("red").size(2.0).check().is_ok());
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(12), "12");
    }
}
