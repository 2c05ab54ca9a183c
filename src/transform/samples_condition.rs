use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Stack;
use super::condition_expression::Conditions;
use crate::data::{Contents, Data, Element, Sampling, Table, with_table};
use crate::error::Result;
use crate::pipeline::{Context, Reducer};

/// Keeps whole samples for which a condition holds, in order; each stays one sample.
///
/// A condition is text as for [`Condition`](super::Condition), with `sample_size` (the number of rows), and columns within `all(..)`,
/// `any(..)`, `min(..)`, `max(..)`, `mean(..)` and `std(..)` (of the population): `"sample_size > 30, all(error < 20)"`. In a sample
/// without rows `all` holds, `any` does not, and the others are NaN.
///
/// Tables are put together first, as [`Stack`] does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplesCondition {
    condition: Conditions<true>,
}

impl SamplesCondition {
    /// Samples for which the text holds. One that is no condition is an error of `check` and of `reduce`.
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

    /// Samples for which a closure says `true`.
    ///
    /// ```
    /// use pept::{PointData, transform::SamplesCondition};
    ///
    /// let long = SamplesCondition::by(|sample: &PointData| sample.n_rows() > 30);
    /// # let _ = long;
    /// ```
    #[must_use]
    pub fn by<C: Contents>(
        holds: impl Fn(&Table<C>) -> bool + Send + Sync + 'static,
    ) -> SamplesConditionFn<C> {
        SamplesConditionFn {
            holds: Arc::new(holds),
        }
    }
}

impl Reducer for SamplesCondition {
    type Input = Data;
    type Output = Data;

    fn stacks(&self) -> bool {
        true
    }

    fn check(&self) -> Result<()> {
        self.condition.check()
    }

    fn reduce(&self, tables: Vec<Data>, context: &Context<'_>) -> Result<Data> {
        let stacked = Stack::new().reduce(tables, context)?;
        if matches!(stacked, Data::List(_)) {
            return Ok(stacked);
        }
        Ok(with_table!(stacked, table => {
            let holds = self.condition.samples(&table)?;
            keep(&table, &holds)?
        }))
    }
}

/// Whether a sample is kept.
type Holds<C> = Arc<dyn Fn(&Table<C>) -> bool + Send + Sync>;

/// A [`SamplesCondition`] as a closure, made by [`SamplesCondition::by`].
#[derive(Clone)]
pub struct SamplesConditionFn<C> {
    holds: Holds<C>,
}

impl<C> fmt::Debug for SamplesConditionFn<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SamplesCondition { condition: a closure }")
    }
}

impl<C: Contents> Reducer for SamplesConditionFn<C>
where
    Table<C>: Element,
{
    type Input = Table<C>;
    type Output = Table<C>;

    fn stacks(&self) -> bool {
        true
    }

    fn name(&self) -> &'static str {
        "SamplesCondition"
    }

    fn reduce(&self, tables: Vec<Table<C>>, _: &Context<'_>) -> Result<Table<C>> {
        let table = Table::stack(tables)?;
        let holds: Vec<bool> = table
            .samples()
            .map(|sample| (self.holds)(&sample))
            .collect();
        keep(&table, &holds)
    }
}

/// The samples for which `holds`, one after another, and no other rows.
fn keep<C: Contents>(table: &Table<C>, holds: &[bool]) -> Result<Table<C>> {
    let mut rows = Vec::new();
    let mut ranges = Vec::new();
    for (range, _) in table.sample_ranges().iter().zip(holds).filter(|s| *s.1) {
        let start = rows.len();
        rows.extend(range.clone());
        ranges.push(start..rows.len());
    }
    table.take(&rows).with_sampling(Sampling::Ranges(ranges))
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;
    use crate::data::{LineData, PointData};
    use crate::error::Error;

    /// `n` points at x = `x`, x + 1, ...
    fn points(n: usize, x: f64) -> PointData {
        PointData::new(Array2::from_shape_fn((n, 4), |(row, column)| {
            if column == 1 { x + row as f64 } else { 0.0 }
        }))
        .unwrap()
    }

    fn kept(step: &impl Reducer<Input = Data, Output = Data>, tables: Vec<Data>) -> PointData {
        let out = step.reduce(tables, &Context::FIRST).unwrap();
        out.into_points().unwrap()
    }

    #[test]
    fn kept_samples_stay_samples_and_other_rows_go() {
        let tables: Vec<Data> = vec![
            points(3, 0.0).into(),
            points(1, 50.0).into(),
            points(2, 100.0).into(),
        ];
        let out = kept(&SamplesCondition::new("sample_size > 1"), tables.clone());
        assert_eq!(out.sample_ranges(), [0..3, 3..5]);
        assert_eq!(out.column(1), [0.0, 1.0, 2.0, 100.0, 101.0]);
        let step = SamplesCondition::new("sample_size > 1").and("all(x >= 100)");
        assert_eq!(kept(&step, tables.clone()).column(1), [100.0, 101.0]);
        let none = kept(&SamplesCondition::new("sample_size > 9"), tables);
        assert_eq!((none.n_rows(), none.n_samples()), (0, 0));
    }

    #[test]
    fn samples_of_one_table_count_too_and_may_overlap() {
        let table = points(5, 0.0)
            .with_sampling(Sampling::count(3).overlap(2))
            .unwrap();
        let out = kept(&SamplesCondition::new("max(x) > 2"), vec![table.into()]);
        assert_eq!(out.sample_ranges(), [0..3, 3..6]);
        assert_eq!(out.column(1), [1.0, 2.0, 3.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn a_closure_sees_each_sample() {
        let step = SamplesCondition::by(|sample: &PointData| sample.values()[1] > 10.0);
        let out = step
            .reduce(vec![points(3, 0.0), points(2, 11.0)], &Context::FIRST)
            .unwrap();
        assert_eq!(out.column(1), [11.0, 12.0]);
        assert_eq!(step.name(), "SamplesCondition");
    }

    #[test]
    fn lines_pass_and_nothing_gives_nothing() {
        let lines = LineData::new(Array2::zeros((2, 7))).unwrap();
        let step = SamplesCondition::new("any(x2 == 0)");
        let out = step.reduce(vec![lines.clone().into()], &Context::FIRST);
        assert_eq!(out.unwrap().n_rows(), 2);
        let out = step.reduce(Vec::new(), &Context::FIRST);
        assert_eq!(out.unwrap(), Data::List(Vec::new()));
        let out =
            SamplesCondition::new("any(label == 0)").reduce(vec![lines.into()], &Context::FIRST);
        assert!(matches!(out, Err(Error::Columns(_))));
    }
}
