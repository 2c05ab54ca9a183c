use serde::{Deserialize, Serialize};

use super::Stack;
use crate::data::{Column, Contents, Data, Sampling, Table, with_table};
use crate::error::Result;
use crate::pipeline::{Context, Reducer};

/// Puts all tables into one and makes one sample of each distinct value of a column, ascending: -1 (noise) comes before 0, NaN last.
///
/// The column stays, and the rows of a sample keep their order. On lines and on points.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupBy {
    column: Column,
}

impl GroupBy {
    /// By a column's name or index.
    #[must_use]
    pub fn new(column: impl Into<Column>) -> Self {
        Self {
            column: column.into(),
        }
    }

    fn grouped<C: Contents>(&self, table: &Table<C>) -> Result<Table<C>> {
        let values = table.column(table.find_column(&self.column)?);
        // One zero and one NaN, the latter after all numbers.
        let key = |value: f64| {
            if value.is_nan() {
                f64::NAN
            } else {
                value + 0.0
            }
        };
        let mut rows: Vec<(f64, usize)> = values.into_iter().map(key).zip(0..).collect();
        rows.sort_by(|a, b| a.0.total_cmp(&b.0)); // stable: rows of a value keep their order
        let mut start = 0;
        let ranges = rows
            .chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq())
            .map(|group| {
                let range = start..start + group.len();
                start = range.end;
                range
            })
            .collect();
        let order: Vec<usize> = rows.iter().map(|&(_, row)| row).collect();
        table.take(&order).with_sampling(Sampling::Ranges(ranges))
    }
}

impl Reducer for GroupBy {
    type Input = Data;
    type Output = Data;

    fn stacks(&self) -> bool {
        true
    }

    fn reduce(&self, tables: Vec<Data>, context: &Context<'_>) -> Result<Data> {
        let stacked = Stack::new().reduce(tables, context)?;
        if matches!(stacked, Data::List(_)) {
            return Ok(stacked);
        }
        Ok(with_table!(stacked, table => self.grouped(&table)?))
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;
    use crate::data::{LineData, PointData};
    use crate::error::Error;

    /// Points at t = `start`, start + 1, ... with these labels.
    fn points(start: usize, labels: &[f64]) -> PointData {
        PointData::new(Array2::from_shape_fn((labels.len(), 4), |(row, _)| {
            (start + row) as f64
        }))
        .unwrap()
        .with_column("label", labels)
    }

    #[test]
    fn values_make_samples_in_ascending_order() {
        let tables: Vec<Data> = vec![
            points(0, &[1.0, f64::NAN, 0.0, -1.0]).into(),
            points(4, &[-0.0, 1.0, -1.0, -f64::NAN]).into(),
        ];
        for column in [
            Column::from("label"),
            Column::from(-1_isize),
            Column::from(4_isize),
        ] {
            let out = GroupBy::new(column)
                .reduce(tables.clone(), &Context::FIRST)
                .unwrap()
                .into_points()
                .unwrap();
            assert_eq!(out.column(0), [3.0, 6.0, 2.0, 4.0, 0.0, 5.0, 1.0, 7.0]);
            assert_eq!(out.sample_ranges(), [0..2, 2..4, 4..6, 6..8]);
            assert_eq!(out.columns(), ["t", "x", "y", "z", "label"]);
        }
    }

    #[test]
    fn no_rows_make_no_samples_and_lines_are_grouped_too() {
        let step = GroupBy::new("t");
        let out = step.reduce(vec![points(0, &[]).into()], &Context::FIRST);
        assert_eq!(out.unwrap().n_samples(), 0);
        let lines = LineData::new(Array2::from_shape_fn((3, 7), |(row, _)| -(row as f64))).unwrap();
        let Data::Lines(out) = step.reduce(vec![lines.into()], &Context::FIRST).unwrap() else {
            panic!("lines should stay lines")
        };
        assert_eq!(out.column(0), [-2.0, -1.0, 0.0]);
        assert_eq!(out.n_samples(), 3);
        let out = step.reduce(Vec::new(), &Context::FIRST);
        assert_eq!(out.unwrap(), Data::List(Vec::new()));
    }

    #[test]
    fn an_unknown_column_is_an_error() {
        let out = GroupBy::new("lable").reduce(vec![points(0, &[0.0]).into()], &Context::FIRST);
        let error = out.unwrap_err();
        assert!(matches!(error, Error::Columns(_)));
        assert!(error.to_string().contains("t x y z label"), "{error}");
    }
}
