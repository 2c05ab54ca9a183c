use serde::{Deserialize, Serialize};

use super::likelihood::{Lors, Mixture, Model, Widths};
use crate::data::{Attribute, PointData, array_of_rows};
use crate::error::{Error, Result};
use crate::pipeline::{Context, Filter};

/// Moves points that another step found to the maximum of the likelihood of their sample's lines, all points of a sample together.
///
/// The lines are the attribute `_sample`, all lines of the sample, or else `_lines`, those that the points come from (of
/// `Cutpoints` or `Minpoints` with indices): there fewer lines say less, and the background is not seen.
/// See [`PeptEm`](super::PeptEm) for the likelihood and the columns, which are replaced or appended; other columns stay. Points that go
/// nowhere, by which the likelihood gains too little, or of which nothing is known are left out; of points that go to the same
/// place one stays. Both attributes are dropped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Refine {
    order: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    widths: Option<[f64; 2]>,
    narrow_share: f64,
    lean: f64,
    fit_widths: bool,
    min_gain: f64,
    max_error: f64,
}

impl Default for Refine {
    fn default() -> Self {
        Self {
            order: 1,
            widths: None,
            narrow_share: Widths::USUAL.narrow_share,
            lean: Widths::USUAL.lean,
            fit_widths: false,
            min_gain: 12.0,
            max_error: 10.0,
        }
    }
}

impl Refine {
    /// Tracers that move evenly (order 1).
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The order of motion within a sample: 0 at rest, 1 with a velocity (the default), 2 with an acceleration.
    #[must_use]
    pub fn order(self, order: usize) -> Self {
        Self { order, ..self }
    }

    /// How a tracer's lines lie around it, see [`PeptEm::widths`](super::PeptEm::widths); learned by default.
    #[must_use]
    pub fn widths(self, widths: [f64; 2], narrow_share: f64) -> Self {
        Self {
            widths: Some(widths),
            narrow_share,
            ..self
        }
    }

    /// In a ring, by how much (as a share) the squares of widths grow, across the line and the axis, for a line that leans all the way:
    /// they are times `1 + lean sin^2`, with the angle between the line and the normal of the crystals across the axis, since the depth
    /// at which a photon is absorbed is not known. Learned with the widths; 0 by default where these are given.
    #[must_use]
    pub fn lean(self, lean: f64) -> Self {
        Self { lean, ..self }
    }

    /// Whether widths and share are fitted to each sample: for samples of some thousand lines.
    #[must_use]
    pub fn fit_widths(self, fit_widths: bool) -> Self {
        Self { fit_widths, ..self }
    }

    /// What the log likelihood must gain by a tracer at rest (12 by default: less than where places are searched for), and 6 more
    /// for each order of motion.
    #[must_use]
    pub fn min_gain(self, min_gain: f64) -> Self {
        Self { min_gain, ..self }
    }

    /// Points with a larger `error` (mm; 10 by default) are left out.
    #[must_use]
    pub fn max_error(self, max_error: f64) -> Self {
        Self { max_error, ..self }
    }

    fn model(&self) -> Model {
        Model::new(
            self.order,
            Widths::given(self.widths, self.narrow_share, self.lean),
            self.min_gain,
            self.max_error,
        )
        .fit_widths(self.fit_widths)
    }
}

/// A sample's lines: an attribute.
fn lors_of(points: &PointData) -> Option<Lors> {
    let attribute = |name: &str| match points.attributes().get(name) {
        Some(Attribute::Lines(lines)) => Some(lines),
        _ => None,
    };
    if let Some(lines) = attribute("_sample") {
        return Some(Lors::new(lines));
    }
    let lines = attribute("_lines")?;
    // Those of points may repeat.
    Some(match lines.column_index("row") {
        Some(_) => Lors::of_distinct(lines),
        None => Lors::new(lines),
    })
}

/// The tracers that points go to.
fn settled<'a>(points: &PointData, lors: &'a Lors, model: Model) -> Mixture<'a> {
    let mut mixture = Mixture::new(lors, model);
    for (n, row) in points.rows().rows().into_iter().enumerate() {
        mixture.add(n, lors.path(row[0], [row[1], row[2], row[3]], [0.0; 3]));
    }
    mixture.settle();
    mixture
}

impl Filter for Refine {
    type Input = PointData;
    type Output = PointData;

    fn check(&self) -> Result<()> {
        if self.learns() {
            Widths::given(self.widths, self.narrow_share, self.lean).check_learned()?;
        }
        self.model().check()
    }

    fn learns(&self) -> bool {
        self.widths.is_none() && !self.fit_widths
    }

    fn learn(&self, samples: Vec<PointData>) -> Result<Option<Self>> {
        let with_lines = |points: PointData| {
            // Lines of points alone lie too near to them.
            let has_all = points.attributes().contains_key("_sample");
            let lors = lors_of(&points).filter(|_| has_all && points.n_rows() > 0)?;
            Some((points, lors))
        };
        let samples: Vec<(PointData, Lors)> = samples.into_iter().filter_map(with_lines).collect();
        let locate = |n: usize, model| settled(&samples[n].0, &samples[n].1, model);
        let learned = self.model().learned_widths(samples.len(), locate);
        Ok(learned.map(|found| {
            self.clone()
                .widths(found.widths, found.narrow_share)
                .lean(found.lean)
        }))
    }

    fn filter(&self, sample: PointData, context: &Context<'_>) -> Result<PointData> {
        let model = self.model();
        let mut columns: Vec<&str> = sample.columns().iter().map(String::as_str).collect();
        // Where the values of the model's columns go.
        let mut places = Vec::new();
        for name in model.columns() {
            let place = columns.iter().position(|column| *column == name);
            places.push(place.unwrap_or(columns.len()));
            if place.is_none() {
                columns.push(name);
            }
        }
        let mut rows = Vec::new();
        if sample.n_rows() > 0 {
            let Some(lors) = lors_of(&sample) else {
                return Err(Error::Columns(
                    "no lines to refine points with: Cutpoints with indices (append_indices = true) keep them".into(),
                ));
            };
            let mixture = settled(&sample, &lors, model);
            let (mut known, _) = mixture.estimates();
            let n_left_out = sample.n_rows() - known.len();
            if n_left_out > 0 {
                tracing::debug!(
                    sample = context.sample,
                    n_left_out,
                    "points of which nothing is known are left out"
                );
            }
            known.sort_by_key(|&(origin, _)| origin);
            for (origin, estimate) in known {
                let first = rows.len();
                rows.extend(sample.rows().row(origin));
                rows.resize(first + columns.len(), 0.0);
                for (&place, value) in places.iter().zip(estimate.row(&model)) {
                    rows[first + place] = value;
                }
            }
        }
        let mut attributes = sample.attributes().clone();
        attributes.retain(|name, _| name != "_sample" && name != "_lines");
        let points = PointData::with_columns(array_of_rows(rows, columns.len()), &columns[4..])?;
        Ok(points.with_attributes(attributes))
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array};

    use super::*;
    use crate::data::LineData;
    use crate::tracking::PeptEm;
    use crate::tracking::likelihood::simulated::{Tracer, lines};

    const TRACERS: [[f64; 3]; 2] = [[260.0, 300.0, 356.0], [340.0, 320.0, 340.0]];

    fn both(seed: u64) -> LineData {
        lines(seed, &TRACERS.map(|x| Tracer::at_rest(x, 0.35)), 400, 8.0)
    }

    fn refined(points: PointData) -> PointData {
        Refine::new().filter(points, &Context::FIRST).unwrap()
    }

    /// Points a few mm off, with a column of their own.
    fn rough() -> PointData {
        let rows = array![
            [4.0, 263.0, 298.0, 364.0, 9.0, 0.1],
            [4.0, 337.0, 323.0, 331.0, 8.0, 0.2],
        ];
        PointData::with_columns(rows, &["error", "mark"]).unwrap()
    }

    #[test]
    fn points_go_where_the_likelihood_of_all_lines_is_largest() {
        for seed in 0..10 {
            let lines = both(seed);
            let found = PeptEm::new(2)
                .filter(lines.clone(), &Context::FIRST)
                .unwrap();
            let out = refined(rough().with_attribute("_sample", Attribute::Lines(lines.clone())));
            assert_eq!(out.columns()[..6], ["t", "x", "y", "z", "error", "mark"]);
            assert_eq!(out.columns().len(), 18);
            assert_eq!(out.column(5), [0.1, 0.2]);
            assert!(out.attributes().is_empty());
            let same = out
                .select_columns(found.columns().iter().map(String::as_str))
                .unwrap();
            for row in same.rows().rows() {
                let nearest = |other: ndarray::ArrayView1<'_, f64>| {
                    row.iter()
                        .zip(other)
                        .map(|(a, b)| (a - b).abs())
                        .fold(0.0, f64::max)
                };
                let nearest = found
                    .rows()
                    .rows()
                    .into_iter()
                    .map(nearest)
                    .fold(f64::INFINITY, f64::min);
                assert!(nearest < 0.02, "{nearest}");
            }
            // Without `_sample`, the lines of the points, all or by row.
            let plain = refined(rough().with_attribute("_lines", Attribute::Lines(lines.clone())));
            assert_eq!(plain, out);
            let twice = LineData::stack(vec![lines.clone(), lines]).unwrap();
            let row: Vec<f64> = (0..800).map(|n| f64::from(n / 400)).collect();
            let twice = twice.with_column("row", &row);
            assert_eq!(
                refined(rough().with_attribute("_lines", Attribute::Lines(twice))),
                out
            );
        }
    }

    #[test]
    fn points_of_nothing_are_left_out_and_of_equal_ones_one_stays() {
        let with = |rows: Array2<f64>, lines: LineData| {
            let points = PointData::new(rows).unwrap();
            refined(points.with_attribute("_sample", Attribute::Lines(lines)))
        };
        let rows = || {
            array![
                [4.0, 150.0, 500.0, 100.0],
                [4.0, 262.0, 300.0, 350.0],
                [4.0, 258.0, 301.0, 362.0]
            ]
        };
        let out = with(rows(), both(1));
        assert_eq!(out.n_rows(), 1);
        assert!((out.values()[1] - 260.0).abs() < 2.0);
        for hopeless in [
            lines(2, &[], 300, 8.0),
            lines(3, &[], 1, 8.0),
            lines(4, &[], 0, 8.0),
        ] {
            assert_eq!(with(rows(), hopeless).n_rows(), 0);
        }
        let same = LineData::new(Array2::from(vec![
            [
                1.0, 260.0, 300.0, 0.0, 260.0, 300.0, 712.0
            ];
            50
        ]))
        .unwrap();
        assert_eq!(with(rows(), same).n_rows(), 0);
        let nowhere = array![
            [4.0, f64::NAN, 1.0, 1.0],
            [f64::NAN, 260.0, 300.0, 356.0],
            [4.0, 1e300, 1.0, 1.0]
        ];
        assert_eq!(with(nowhere, both(1)).n_rows(), 0);
    }

    #[test]
    fn without_points_only_the_columns_change_and_without_lines_it_is_an_error() {
        let empty = PointData::new(Array2::zeros((0, 4))).unwrap();
        let out = Refine::new()
            .order(0)
            .filter(empty, &Context::FIRST)
            .unwrap();
        assert_eq!((out.n_rows(), out.columns().len()), (0, 14));
        let error = Refine::new().filter(rough(), &Context::FIRST).unwrap_err();
        assert!(error.to_string().contains("append_indices"), "{error}");
        assert!(Refine::new().order(3).check().is_err());
        assert!(toml::from_str::<Refine>("max_tracers = 2").is_err());
        assert_eq!(
            toml::from_str::<Refine>("order = 0").unwrap(),
            Refine::new().order(0)
        );
    }
}
