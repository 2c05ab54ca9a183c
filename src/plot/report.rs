use super::figure::{Figure2d, Figure3d};
use super::html::Page;
use super::style::{Style, grouped};
use super::trace::Norm;
use crate::data::PointData;
use crate::error::Result;

/// Bars of the histogram of errors.
const BINS: usize = 50;
/// Points that a report shows, of all trajectories.
const MAX_POINTS: usize = 200_000;

/// What a report says of a run; what is empty is left out.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Facts in order, each with its name: input, numbers, accuracy, speed, machine.
    pub facts: Vec<(String, String)>,
    /// The recipe, as its file has it.
    pub recipe: String,
    /// The steps, in order.
    pub steps: Vec<StepSummary>,
    /// The points of all trajectories.
    pub points: Option<PointData>,
    /// Distances from the truth (mm). Empty: the histogram shows the points' own column `error`, if they have it.
    pub errors: Vec<f64>,
    /// Points shown at most; 0: 200,000.
    pub max_points: usize,
}

/// What a step did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepSummary {
    /// Its name.
    pub name: String,
    /// Where its kernel ran.
    pub backend: String,
    /// Busy time, summed over threads (s).
    pub seconds: f64,
    /// Rows that it got.
    pub rows_in: usize,
    /// Rows that it gave.
    pub rows_out: usize,
}

/// A page on a run: facts, trajectories in space and against time, errors, steps, recipe.
///
/// ```
/// use ndarray::array;
/// use pept::PointData;
/// use pept::plot::{Script, Summary, report};
///
/// let rows = array![[0.0, 1.0, 2.0, 3.0, 0.2, 0.0], [1.0, 1.5, 2.0, 3.0, 0.3, 0.0]];
/// let summary = Summary {
///     facts: vec![("LoRs".into(), "80,000".into())],
///     recipe: "[[step]]\nname = \"Cutpoints\"\n".into(),
///     points: Some(PointData::with_columns(rows, &["error", "label"])?),
///     ..Summary::default()
/// };
/// let page = report("Two tracers at 42 rpm", &summary)?;
/// assert!(page.html(Script::Cdn)?.contains("Trajectories"));
/// # Ok::<(), pept::Error>(())
/// ```
///
/// # Errors
/// Those of figures, which such data do not cause.
pub fn report(title: &str, summary: &Summary) -> Result<Page> {
    let mut page = Page::new(title);
    if !summary.facts.is_empty() {
        let facts = summary.facts.iter();
        page.table(
            &[],
            facts.map(|(name, value)| [name.as_str(), value.as_str()]),
        );
    }
    let points = summary.points.as_ref().filter(|points| points.n_rows() > 0);
    if let Some(points) = points {
        let most = if summary.max_points == 0 {
            MAX_POINTS
        } else {
            summary.max_points
        };
        let style = colored(points, Style::new().max_points(most));
        let mut figure = Figure3d::new();
        figure.add_points(points, &style)?;
        page.heading("Trajectories").figure(&figure, 620);
        let mut figure = Figure2d::new();
        figure.add_timeseries(points, &style.size(3.5))?;
        page.heading("Against time").figure(&figure, 640);
    }
    let own = points.and_then(|points| Some(points.column(points.column_index("error")?)));
    let (heading, label, errors) = if summary.errors.is_empty() {
        let text = "Spread of the points behind each position";
        (text, "error (mm)", own.unwrap_or_default())
    } else {
        let text = "Errors against the truth";
        (text, "distance from the truth (mm)", summary.errors.clone())
    };
    if errors.iter().any(|error| error.is_finite()) {
        let mut figure = Figure2d::new();
        figure.histogram(&errors, BINS, Norm::Percent, &Style::new())?;
        figure.xlabel(label, 1, 1)?;
        figure.ylabel("share of points (%)", 1, 1)?;
        page.heading(heading).figure(&figure, 420);
    }
    if !summary.steps.is_empty() {
        let cells = |step: &StepSummary| {
            [
                step.name.clone(),
                step.backend.clone(),
                format!("{:.3}", step.seconds),
                grouped(step.rows_in),
                grouped(step.rows_out),
            ]
        };
        let head = ["step", "backend", "seconds", "rows in", "rows out"];
        page.heading("Steps")
            .table(&head, summary.steps.iter().map(cells));
    }
    if !summary.recipe.is_empty() {
        page.heading("Recipe").code(summary.recipe.trim_end());
    }
    Ok(page)
}

/// By label where there are labels and few of them; else by time.
fn colored(points: &PointData, style: Style) -> Style {
    match points.column_index("label") {
        Some(_) => style.color_by("label"),
        None => style.color_by("t"),
    }
    .color_bar_title(if points.column_index("label").is_some() {
        "label"
    } else {
        "t (ms)"
    })
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::super::html::Script;
    use super::*;

    #[test]
    fn a_report_has_what_it_is_given_and_nothing_else() {
        let html = |summary: &Summary| {
            let page = report("A run", summary).unwrap();
            page.html(Script::Cdn).unwrap()
        };
        let empty = html(&Summary::default());
        assert!(empty.contains("<h1>A run</h1>") && !empty.contains("<h2>"));
        let rows = Array2::from_shape_fn((30, 6), |(row, column)| (row * column % 7) as f64);
        let step = StepSummary {
            name: "Cutpoints".into(),
            rows_in: 80_000,
            ..StepSummary::default()
        };
        let full = html(&Summary {
            recipe: "[input]\n".into(),
            steps: vec![step],
            points: Some(PointData::with_columns(rows, &["error", "label"]).unwrap()),
            errors: vec![0.5, 0.7],
            ..Summary::default()
        });
        for part in [
            "Trajectories",
            "Against time",
            "Errors against the truth",
            "Steps",
            "80,000",
            "Recipe",
        ] {
            assert!(full.contains(part), "{part}");
        }
        assert_eq!(full.matches("data-target=").count(), 3);
    }
}
