use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::condition_expression::Conditions;
use crate::data::{Contents, Data, Element, Table, with_table};
use crate::error::{Error, Result};
use crate::pipeline::{Context, Filter};

/// Keeps the rows for which a condition holds, in order; on lines and on points.
///
/// A condition is text such as `"error < 15, y > 100"`: names of columns, or names and indices in quotes (`'0' < 150`), numbers,
/// `+ - * / **`, comparisons, `and`, `or`, `not`, also `& | ~` (which bind tighter than comparisons, as in Python), and the functions
/// `abs`, `sqrt`, `exp`, `log`, `isfinite`, `isnan`, `isclose(a, b)`, each also as `np.abs` and so on. A comma is `and`.
///
/// ```
/// use pept::{PointData, pipeline::Pipeline, transform::Condition};
///
/// let points = PointData::new(ndarray::array![[0.0, 1.0, 0.0, 0.0], [1.0, 2.0, 0.0, 0.0]])?;
/// let kept = Pipeline::new()
///     .then(Condition::new("x > 1, isfinite(y)"))
///     .fit(points)?
///     .into_points()?;
/// assert_eq!(kept.values(), [1.0, 2.0, 0.0, 0.0]);
/// # Ok::<(), pept::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    condition: Conditions<false>,
}

impl Condition {
    /// Rows for which the text holds. One that is no condition is an error of `check` and of `filter`.
    #[must_use]
    pub fn new(condition: impl Into<String>) -> Self {
        Self {
            condition: Conditions::new(vec![condition.into()]),
        }
    }

    /// One more condition that must hold.
    #[must_use]
    pub fn and(self, condition: impl Into<String>) -> Self {
        Self {
            condition: self.condition.and(condition.into()),
        }
    }

    /// Rows for which a closure says `true`: it gets the whole sample and gives a value for each row.
    ///
    /// ```
    /// use pept::{PointData, transform::Condition};
    ///
    /// let above = Condition::by(|points: &PointData| {
    ///     points.positions().iter().map(|[_, y, _]| *y > 100.0).collect()
    /// });
    /// # let _ = above;
    /// ```
    #[must_use]
    pub fn by<C: Contents>(
        holds: impl Fn(&Table<C>) -> Vec<bool> + Send + Sync + 'static,
    ) -> ConditionFn<C> {
        ConditionFn {
            holds: Arc::new(holds),
        }
    }
}

impl Filter for Condition {
    type Input = Data;
    type Output = Data;

    fn check(&self) -> Result<()> {
        self.condition.check()
    }

    fn filter(&self, sample: Data, _: &Context<'_>) -> Result<Data> {
        Ok(with_table!(sample, table => {
            let kept = self.condition.rows(&table)?;
            table.take(&kept)
        }))
    }
}

/// Which rows of a table are kept.
type Holds<C> = Arc<dyn Fn(&Table<C>) -> Vec<bool> + Send + Sync>;

/// A [`Condition`] as a closure, made by [`Condition::by`].
#[derive(Clone)]
pub struct ConditionFn<C> {
    holds: Holds<C>,
}

impl<C> fmt::Debug for ConditionFn<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Condition { condition: a closure }")
    }
}

impl<C: Contents> Filter for ConditionFn<C>
where
    Table<C>: Element,
{
    type Input = Table<C>;
    type Output = Table<C>;

    fn name(&self) -> &'static str {
        "Condition"
    }

    fn filter(&self, sample: Table<C>, _: &Context<'_>) -> Result<Table<C>> {
        let holds = (self.holds)(&sample);
        if holds.len() != sample.n_rows() {
            return Err(Error::Parameter {
                name: "condition",
                value: format!(
                    "a closure that gives {} values for {} rows",
                    holds.len(),
                    sample.n_rows()
                ),
                needed: "a value for each row",
            });
        }
        let kept: Vec<usize> = (0..)
            .zip(holds)
            .filter(|row| row.1)
            .map(|row| row.0)
            .collect();
        Ok(sample.take(&kept))
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array};

    use super::*;
    use crate::data::{Attribute, LineData, PointData};

    fn points() -> PointData {
        let rows = array![
            [2.0, 1.0, 0.0, 0.0, 20.0],
            [1.0, 2.0, 0.0, 0.0, 10.0],
            [0.0, 3.0, 0.0, 0.0, f64::NAN],
            [3.0, 4.0, 0.0, 0.0, 5.0],
        ];
        PointData::with_columns(rows, &["error"])
            .unwrap()
            .with_attribute("_hidden", Attribute::Number(1.0))
    }

    fn times(step: &Condition) -> Vec<f64> {
        let out = step.filter(points().into(), &Context::FIRST).unwrap();
        out.into_points().unwrap().column(0)
    }

    #[test]
    fn rows_stay_in_order_with_their_columns_and_attributes() {
        let out = Condition::new("error < 15")
            .filter(points().into(), &Context::FIRST)
            .unwrap()
            .into_points()
            .unwrap();
        assert_eq!(out, points().take(&[1, 3]));
        assert_eq!(out.columns(), points().columns());
        assert_eq!(out.attributes(), points().attributes());
    }

    #[test]
    fn several_conditions_must_all_hold() {
        assert_eq!(times(&Condition::new("error < 15, x > 3")), [3.0]);
        assert_eq!(times(&Condition::new("error < 15").and("x < 3")), [1.0]);
        assert!(times(&Condition::new("x > 100")).is_empty());
    }

    #[test]
    fn lines_pass_as_points_do() {
        let lines = LineData::new(Array2::from_shape_fn((3, 7), |(row, _)| row as f64)).unwrap();
        let out = Condition::new("x2 >= 1").filter(lines.clone().into(), &Context::FIRST);
        assert_eq!(out.unwrap(), Data::Lines(lines.take(&[1, 2])));
    }

    #[test]
    fn a_closure_gives_a_value_for_each_row() {
        let step =
            Condition::by(|points: &PointData| points.column(1).iter().map(|x| *x > 2.5).collect());
        let out = step.filter(points(), &Context::FIRST).unwrap();
        assert_eq!(out.column(0), [0.0, 3.0]);
        assert_eq!(step.name(), "Condition");
        let short = Condition::by(|_: &PointData| vec![true]);
        assert!(matches!(
            short.filter(points(), &Context::FIRST),
            Err(Error::Parameter { .. })
        ));
    }

    #[test]
    fn what_is_no_condition_is_found_by_check_and_by_filter() {
        let step = Condition::new("error <");
        assert!(Filter::check(&step).is_err());
        assert!(step.filter(points().into(), &Context::FIRST).is_err());
        let step = Condition::new("eror < 1");
        assert!(Filter::check(&step).is_ok());
        let empty = points().take(&[]);
        let error = step.filter(empty.into(), &Context::FIRST).unwrap_err();
        assert!(matches!(error, Error::Columns(_)), "{error}");
    }
}
