//! What can be drawn: tables, samples, lists of them, plain arrays.

use std::borrow::Cow;
use std::ops::Range;

use ndarray::{Array2, ArrayView2};

use crate::data::{Column, Contents, Table};
use crate::error::{Error, Result};

/// Rows to be drawn, made `From` a table (or a sample, which is one), a list of tables, or a plain array.
///
/// Columns of plain arrays have the names that a table of the kind would have.
#[derive(Clone, Debug)]
pub struct Rows<'a> {
    values: Cow<'a, [f64]>,
    n_columns: usize,
    /// Names; those of a plain array come when it is known what it is.
    columns: Vec<String>,
    /// Where the members of a list end.
    ends: Vec<usize>,
    /// Whether the members of a list have the same columns.
    equal: bool,
}

impl<'a> Rows<'a> {
    fn array(values: Cow<'a, [f64]>, n_columns: usize) -> Self {
        Self {
            values,
            n_columns,
            columns: Vec::new(),
            ends: Vec::new(),
            equal: true,
        }
    }

    fn list<C: Contents>(tables: &'a [Table<C>]) -> Self {
        let Some(first) = tables.first() else {
            let names = C::COLUMNS.iter().map(|&name| name.to_owned()).collect();
            return Self {
                columns: names,
                ..Self::array(Cow::Borrowed(&[]), C::COLUMNS.len())
            };
        };
        let mut values = Vec::with_capacity(tables.iter().map(|table| table.values().len()).sum());
        let mut ends = Vec::with_capacity(tables.len());
        for table in tables {
            values.extend_from_slice(table.values());
            ends.push(values.len() / first.columns().len());
        }
        Self {
            values: values.into(),
            n_columns: first.columns().len(),
            columns: first.columns().to_vec(),
            ends,
            equal: tables
                .iter()
                .all(|table| table.columns() == first.columns()),
        }
    }

    /// The same with names, if there are columns enough.
    pub(super) fn named(mut self, standard: &[&str]) -> Result<Self> {
        if !self.equal {
            return Err(Error::Columns(
                "the tables of the list have different columns".into(),
            ));
        }
        if self.n_columns < standard.len() {
            return Err(Error::Columns(format!(
                "the columns {} are needed, but rows have {} values",
                standard.join(" "),
                self.n_columns
            )));
        }
        if self.columns.is_empty() {
            self.columns = standard.iter().map(|&name| name.to_owned()).collect();
            let further = standard.len()..self.n_columns;
            self.columns.extend(further.map(|n| format!("col{n}")));
        }
        Ok(self)
    }

    /// Number of rows.
    pub(super) fn len(&self) -> usize {
        self.values.len().checked_div(self.n_columns).unwrap_or(0)
    }

    pub(super) fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.n_columns..][..self.n_columns]
    }

    pub(super) fn columns(&self) -> &[String] {
        &self.columns
    }

    pub(super) fn column(&self, column: usize) -> Vec<f64> {
        let values = self.values.iter().skip(column);
        values.step_by(self.n_columns).copied().collect()
    }

    /// The values of a column by name, if there is one.
    pub(super) fn column_named(&self, name: &str) -> Option<Vec<f64>> {
        let column = self.columns.iter().position(|known| known == name)?;
        Some(self.column(column))
    }

    pub(super) fn find_column(&self, column: &Column) -> Result<usize> {
        let n = self.columns.len();
        let found = match column {
            Column::Name(name) => self.columns.iter().position(|known| known == name),
            Column::Index(index) if *index < 0 => n.checked_add_signed(*index),
            Column::Index(index) => usize::try_from(*index).ok().filter(|&index| index < n),
        };
        found.ok_or_else(|| {
            Error::Columns(format!(
                "no column {column}, only {}",
                self.columns.join(" ")
            ))
        })
    }

    /// The rows of each member of a list.
    pub(super) fn members(&self) -> Vec<Range<usize>> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(self.ends.iter().copied())
            .map(|(start, end)| start..end)
            .collect()
    }

    /// Some of the rows, as one table.
    pub(super) fn take(&self, rows: &[usize]) -> Self {
        let values: Vec<f64> = rows
            .iter()
            .flat_map(|&row| self.row(row))
            .copied()
            .collect();
        let place = |end: &usize| rows.partition_point(|row| row < end);
        Self {
            values: values.into(),
            ends: self.ends.iter().map(place).collect(),
            columns: self.columns.clone(),
            ..*self
        }
    }
}

impl<'a, C: Contents> From<&'a Table<C>> for Rows<'a> {
    fn from(table: &'a Table<C>) -> Self {
        Self {
            columns: table.columns().to_vec(),
            ..Self::array(Cow::Borrowed(table.values()), table.columns().len())
        }
    }
}

impl<'a, C: Contents> From<&'a [Table<C>]> for Rows<'a> {
    fn from(tables: &'a [Table<C>]) -> Self {
        Self::list(tables)
    }
}

impl<'a, C: Contents> From<&'a Vec<Table<C>>> for Rows<'a> {
    fn from(tables: &'a Vec<Table<C>>) -> Self {
        Self::list(tables)
    }
}

impl<'a, const N: usize> From<&'a [[f64; N]]> for Rows<'a> {
    fn from(rows: &'a [[f64; N]]) -> Self {
        Self::array(Cow::Borrowed(rows.as_flattened()), N)
    }
}

impl<'a, const N: usize> From<&'a Vec<[f64; N]>> for Rows<'a> {
    fn from(rows: &'a Vec<[f64; N]>) -> Self {
        rows.as_slice().into()
    }
}

impl<'a, const N: usize, const M: usize> From<&'a [[f64; N]; M]> for Rows<'a> {
    fn from(rows: &'a [[f64; N]; M]) -> Self {
        rows.as_slice().into()
    }
}

impl<'a> From<ArrayView2<'a, f64>> for Rows<'a> {
    fn from(rows: ArrayView2<'a, f64>) -> Self {
        let n_columns = rows.ncols();
        let values = match rows.to_slice() {
            Some(values) => Cow::Borrowed(values),
            None => Cow::Owned(rows.iter().copied().collect()),
        };
        Self::array(values, n_columns)
    }
}

impl<'a> From<&'a Array2<f64>> for Rows<'a> {
    fn from(rows: &'a Array2<f64>) -> Self {
        rows.view().into()
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;
    use crate::data::PointData;

    #[test]
    fn tables_lists_and_arrays_give_rows() {
        let table = PointData::new(array![[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0]]).unwrap();
        let rows = Rows::from(&table);
        assert_eq!((rows.len(), rows.row(1)[2]), (2, 6.0));
        let list = [table.clone(), table.clone()];
        let rows = Rows::from(&list[..]).named(&["t", "x", "y", "z"]).unwrap();
        assert_eq!((rows.len(), rows.members()), (4, vec![0..2, 2..4]));
        assert_eq!(rows.take(&[1, 3]).members(), [0..1, 1..2]);
        let plain = Rows::from(&[[1.0, 2.0, 3.0]; 2])
            .named(&["t", "x"])
            .unwrap();
        assert_eq!(plain.columns(), ["t", "x", "col2"]);
        assert_eq!(plain.find_column(&Column::from(-1)).unwrap(), 2);
        assert!(plain.find_column(&Column::from("y")).is_err());
        assert!(Rows::from(&[[1.0]; 2]).named(&["t", "x"]).is_err());
        let other = table.with_column("error", &[0.0; 2]);
        let list = vec![table, other];
        assert!(Rows::from(&list).named(&["t"]).is_err());
        let turned = array![[0.0, 1.0], [2.0, 3.0]].reversed_axes();
        assert_eq!(Rows::from(&turned).column(1), [2.0, 3.0]);
    }
}
