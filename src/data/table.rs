use std::fmt;
use std::marker::PhantomData;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;

use ndarray::{ArcArray2, Array2, ArrayView2, s};

use super::{Attribute, Attributes, Column, Sampling};
use crate::error::{Error, Result};
use crate::kernels::LineSlice;

/// What the rows of a [`Table`] are.
pub trait Contents: Copy + fmt::Debug + PartialEq + Send + Sync + 'static {
    /// What a row is called.
    const NAME: &'static str;
    /// The columns that every such table starts with.
    const COLUMNS: &'static [&'static str];
}

/// Rows are lines `t x1 y1 z1 x2 y2 z2` (ms, mm).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lines;

impl Contents for Lines {
    const NAME: &'static str = "LineData";
    const COLUMNS: &'static [&'static str] = &["t", "x1", "y1", "z1", "x2", "y2", "z2"];
}

/// Rows are points `t x y z` (ms, mm).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Points;

impl Contents for Points {
    const NAME: &'static str = "PointData";
    const COLUMNS: &'static [&'static str] = &["t", "x", "y", "z"];
}

/// Lines of response: rows `t x1 y1 z1 x2 y2 z2 ...` (ms, mm).
pub type LineData = Table<Lines>;
/// Points: rows `t x y z ...` (ms, mm).
pub type PointData = Table<Points>;

/// Rows of `f64` with named columns, attributes, and a rule that cuts them into samples.
///
/// Clones and samples share the rows. Tables are equal if rows, columns, attributes and samples are.
#[derive(Clone, Debug)]
pub struct Table<C> {
    rows: ArcArray2<f64>,
    columns: Arc<[String]>,
    attributes: Attributes,
    sampling: Sampling,
    samples: Arc<[Range<usize>]>,
    /// The number that the first sample had in the table that it was selected from.
    first_sample: usize,
    contents: PhantomData<C>,
}

impl<C> PartialEq for Table<C> {
    fn eq(&self, other: &Self) -> bool {
        // Where a table was cut from does not matter.
        self.rows == other.rows
            && self.columns == other.columns
            && self.attributes == other.attributes
            && self.sampling == other.sampling
            && self.samples == other.samples
    }
}

impl<C: Contents> Table<C> {
    /// A table of `rows` (n x columns, row-major), as one sample. Columns beyond the standard ones are named
    /// `col7`, `col8`, ... by position.
    ///
    /// # Errors
    /// [`Error::Columns`] if there are fewer columns than lines (7) or points (4) have.
    pub fn new(rows: Array2<f64>) -> Result<Self> {
        let extra: Vec<String> = (C::COLUMNS.len()..rows.ncols())
            .map(|n| format!("col{n}"))
            .collect();
        Self::with_columns(rows, &extra)
    }

    /// A table whose columns beyond the standard ones have the names `extra`.
    ///
    /// # Errors
    /// [`Error::Columns`] if the number of columns does not fit the names.
    pub fn with_columns<S: AsRef<str>>(rows: Array2<f64>, extra: &[S]) -> Result<Self> {
        let standard = C::COLUMNS.iter().copied();
        let columns: Vec<String> = standard
            .chain(extra.iter().map(AsRef::as_ref))
            .map(str::to_owned)
            .collect();
        Self::with_all_columns(rows, columns)
    }

    /// A table with all its column names, the standard ones first.
    pub(crate) fn with_all_columns(
        rows: Array2<f64>,
        columns: impl Into<Arc<[String]>>,
    ) -> Result<Self> {
        let columns = columns.into();
        if rows.ncols() != columns.len() {
            return Err(Error::Columns(format!(
                "{} needs the columns {}, but the rows have {} values",
                C::NAME,
                columns.join(" "),
                rows.ncols()
            )));
        }
        let n_rows = rows.nrows();
        Ok(Self {
            rows: if rows.is_standard_layout() {
                rows.into_shared()
            } else {
                rows.as_standard_layout().into_owned().into_shared()
            },
            columns,
            attributes: Attributes::new(),
            sampling: Sampling::Whole,
            samples: one_sample(n_rows),
            first_sample: 0,
            contents: PhantomData,
        })
    }

    /// The same table, cut into samples by `sampling`.
    ///
    /// # Errors
    /// [`Error::Sampling`] if the rule cannot cut this table.
    pub fn with_sampling(mut self, sampling: Sampling) -> Result<Self> {
        self.samples = if sampling.is_by_time() {
            sampling.ranges_of(&self.column(0))?
        } else {
            sampling.ranges(self.n_rows())?
        }
        .into();
        self.first_sample = 0;
        self.sampling = sampling;
        Ok(self)
    }

    /// The same table with an attribute set.
    #[must_use]
    pub fn with_attribute(mut self, name: impl Into<String>, value: Attribute) -> Self {
        self.attributes.insert(name.into(), value);
        self
    }

    /// The same table with these attributes and no others: `Attributes::new()` removes all.
    #[must_use]
    pub fn with_attributes(mut self, attributes: Attributes) -> Self {
        self.attributes = attributes;
        self
    }

    /// Other rows with the same columns and attributes, as one sample.
    ///
    /// # Errors
    /// [`Error::Columns`] if they have more or fewer columns.
    pub fn with_rows(&self, rows: Array2<f64>) -> Result<Self> {
        let table = Self::with_all_columns(rows, Arc::clone(&self.columns))?;
        Ok(table.with_attributes(self.attributes.clone()))
    }

    /// The rows, n x columns.
    #[must_use]
    pub fn rows(&self) -> ArrayView2<'_, f64> {
        self.rows.view()
    }

    /// All values, row after row.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        contiguous(&self.rows)
    }

    /// Number of rows.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.rows.nrows()
    }

    /// The names of the columns.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The position of a column.
    #[must_use]
    pub fn column_index(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column == name)
    }

    /// The attributes.
    #[must_use]
    pub fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    /// The rule that cuts the table into samples.
    #[must_use]
    pub fn sampling(&self) -> &Sampling {
        &self.sampling
    }

    /// The samples, as ranges of rows.
    #[must_use]
    pub fn sample_ranges(&self) -> &[Range<usize>] {
        &self.samples
    }

    /// Number of samples.
    #[must_use]
    pub fn n_samples(&self) -> usize {
        self.samples.len()
    }

    /// Rows of all samples: a row counts as often as samples have it.
    pub(crate) fn sample_rows(&self) -> usize {
        self.samples.iter().map(ExactSizeIterator::len).sum()
    }

    /// The smallest and the largest time (ms); `None` without rows.
    #[must_use]
    pub fn time_span(&self) -> Option<(f64, f64)> {
        let times = self.values().iter().step_by(self.columns.len()).copied();
        times.fold(None, |span, t| {
            let (first, last) = span.unwrap_or((t, t));
            Some((t.min(first), t.max(last)))
        })
    }

    /// A sample: a table of its own with the same attributes, which shares this table's rows.
    ///
    /// # Panics
    /// If there are not that many samples.
    #[must_use]
    pub fn sample(&self, index: usize) -> Self {
        self.view(self.samples[index].clone())
    }

    /// The samples, one after another.
    pub fn samples(&self) -> impl ExactSizeIterator<Item = Self> + '_ {
        self.samples.iter().map(|range| self.view(range.clone()))
    }

    /// The samples `range` as explicit ranges over just the rows that they need; negative numbers count from the end. Shares the rows.
    ///
    /// In a pipeline the samples keep their numbers, and with them their random numbers.
    ///
    /// ```
    /// use pept::{PointData, Sampling};
    /// let table = PointData::new(ndarray::Array2::zeros((10, 4)))?.with_sampling(Sampling::count(2))?;
    /// assert_eq!(table.select(..2)?.n_rows(), 4);
    /// assert_eq!(table.select(-1..)?, table.select(4..5)?);
    /// # Ok::<(), pept::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Sampling`] if there are not that many samples.
    pub fn select<I: Copy + TryInto<i128>>(&self, range: impl RangeBounds<I>) -> Result<Self> {
        let range = from_end("samples", &range, self.samples.len())?;
        Ok(self.select_samples(range))
    }

    /// As [`select`](Self::select), of a range within the samples.
    pub(crate) fn select_samples(&self, range: Range<usize>) -> Self {
        let chosen = &self.samples[range.clone()];
        let start = chosen.iter().map(|r| r.start).min().unwrap_or(0);
        let end = chosen.iter().map(|r| r.end).max().unwrap_or(0);
        let ranges: Vec<_> = chosen
            .iter()
            .map(|r| r.start - start..r.end - start)
            .collect();
        Self {
            samples: ranges.as_slice().into(),
            sampling: Sampling::Ranges(ranges),
            first_sample: self.first_sample + range.start,
            ..self.view(start..end)
        }
    }

    /// Some consecutive rows as one sample, with the same attributes; negative numbers count from the end. Shares the rows.
    ///
    /// # Errors
    /// [`Error::Sampling`] if there are not that many rows.
    pub fn slice_rows<I: Copy + TryInto<i128>>(&self, rows: impl RangeBounds<I>) -> Result<Self> {
        Ok(self.view(from_end("rows", &rows, self.n_rows())?))
    }

    /// The same rows, samples and attributes with only some columns; the standard ones always stay, and stand first.
    ///
    /// # Errors
    /// [`Error::Columns`] for a column that is not there.
    pub fn select_columns<K: Into<Column>>(
        &self,
        columns: impl IntoIterator<Item = K>,
    ) -> Result<Self> {
        let mut kept: Vec<usize> = (0..C::COLUMNS.len()).collect();
        for column in columns {
            let index = self.find_column(&column.into())?;
            if !kept.contains(&index) {
                kept.push(index);
            }
        }
        Ok(self.with_only(&kept))
    }

    /// The number of the first sample in a run.
    pub(crate) fn first_sample(&self) -> usize {
        self.first_sample
    }

    fn view(&self, rows: Range<usize>) -> Self {
        Self {
            samples: one_sample(rows.len()),
            rows: self.rows.clone().slice_move(s![rows, ..]),
            columns: Arc::clone(&self.columns),
            attributes: self.attributes.clone(),
            sampling: Sampling::Whole,
            first_sample: 0,
            contents: PhantomData,
        }
    }

    /// The same table with a further column, as its last, or with the values of a column of that name replaced.
    ///
    /// # Panics
    /// If there are not as many values as rows.
    #[must_use]
    pub fn with_column(&self, name: &str, values: &[f64]) -> Self {
        assert_eq!(
            values.len(),
            self.n_rows(),
            "a column should have a value for each row"
        );
        let found = self.column_index(name);
        let n_columns = self.columns.len() + usize::from(found.is_none());
        let mut rows = Vec::with_capacity(self.n_rows() * n_columns);
        for (row, &value) in self.values().chunks_exact(self.columns.len()).zip(values) {
            rows.extend_from_slice(row);
            match found {
                Some(index) => {
                    let start = rows.len() - n_columns;
                    rows[start + index] = value;
                }
                None => rows.push(value),
            }
        }
        let rows = array_of_rows(rows, n_columns);
        let mut columns = self.columns.to_vec();
        if found.is_none() {
            columns.push(name.to_owned());
        }
        Self {
            rows: rows.into_shared(),
            columns: columns.into(),
            ..self.clone()
        }
    }

    /// The same table without a column.
    pub(crate) fn without_column(&self, index: usize) -> Self {
        let kept: Vec<usize> = (0..self.columns.len()).filter(|&n| n != index).collect();
        self.with_only(&kept)
    }

    /// The same table with only some columns, in the given order. The standard ones should stay first.
    pub(crate) fn with_only(&self, kept: &[usize]) -> Self {
        let columns: Vec<String> = kept.iter().map(|&n| self.columns[n].clone()).collect();
        let mut values = Vec::with_capacity(self.n_rows() * columns.len());
        for row in self.values().chunks_exact(self.columns.len()) {
            values.extend(kept.iter().map(|&n| row[n]));
        }
        Self {
            rows: array_of_rows(values, columns.len()).into_shared(),
            columns: columns.into(),
            ..self.clone()
        }
    }

    /// The same table, samples and attributes with other values (as many columns and rows).
    pub(crate) fn with_values(&self, values: Vec<f64>) -> Self {
        Self {
            rows: array_of_rows(values, self.columns.len()).into_shared(),
            ..self.clone()
        }
    }

    /// The values of a column, by its name or its position; negative positions count from the end.
    ///
    /// # Errors
    /// [`Error::Columns`] with the columns that there are.
    pub fn values_of(&self, column: impl Into<Column>) -> Result<Vec<f64>> {
        Ok(self.column(self.find_column(&column.into())?))
    }

    /// The values of a column, by its position.
    ///
    /// # Panics
    /// If there are not that many columns.
    #[must_use]
    pub fn column(&self, index: usize) -> Vec<f64> {
        assert!(
            index < self.columns.len(),
            "column {index} should be one of {}",
            self.columns.len()
        );
        let values = self.values().iter().skip(index);
        values.step_by(self.columns.len()).copied().collect()
    }

    /// The rows of the given indices, as one sample.
    pub(crate) fn take(&self, indices: &[usize]) -> Self {
        let (all, n_columns) = (self.values(), self.columns.len());
        let mut values = Vec::with_capacity(indices.len() * n_columns);
        for &index in indices {
            values.extend_from_slice(&all[index * n_columns..][..n_columns]);
        }
        Self {
            rows: array_of_rows(values, n_columns).into_shared(),
            ..self.view(0..0)
        }
        .into_one_sample()
    }

    /// The rows in the order of time, ties in the order in which they stand, as one sample.
    #[must_use]
    pub fn sorted_by_time(&self) -> Self {
        let times = self.column(0);
        let mut order: Vec<usize> = (0..self.n_rows()).collect();
        order.sort_by(|&a, &b| times[a].total_cmp(&times[b])); // stable
        self.take(&order)
    }

    /// The same, without a copy where the rows are in order already.
    pub(crate) fn into_sorted_by_time(self) -> Self {
        let times = self.values().iter().step_by(self.columns.len());
        if times.is_sorted_by(|a, b| a.total_cmp(b).is_le()) {
            self.into_one_sample()
        } else {
            self.sorted_by_time()
        }
    }

    /// No rows, the same columns.
    pub(crate) fn empty(&self) -> Self {
        self.take(&[])
    }

    pub(crate) fn into_one_sample(mut self) -> Self {
        self.sampling = Sampling::Whole;
        self.samples = one_sample(self.n_rows());
        self
    }

    /// One table of the rows of several, each of which stays one sample. One table passes unchanged; of plain attributes
    /// those stay that are equal in all.
    ///
    /// # Errors
    /// [`Error::Columns`] if the columns differ.
    pub fn stack(tables: Vec<Self>) -> Result<Self> {
        let mut stacker = Stacker::default();
        let n_values = tables.iter().map(|table| table.values().len()).sum();
        if tables.len() > 1 {
            stacker.values.reserve(n_values);
        }
        for table in tables {
            stacker.push(table)?;
        }
        stacker.finish()
    }

    /// The same table, whose first sample has a number in a run.
    pub(crate) fn with_first_sample(self, first_sample: usize) -> Self {
        Self {
            first_sample,
            ..self
        }
    }
}

/// Checks that all times are finite.
///
/// # Errors
/// [`Error::NotFinite`] with the sample and its row.
pub(crate) fn check_times<C: Contents>(tables: &[Table<C>]) -> Result<()> {
    let samples = tables.iter().flat_map(Table::samples);
    for (sample, table) in samples.enumerate() {
        let times = table.values().iter().step_by(table.columns.len());
        if let Some(row) = times.into_iter().position(|t| !t.is_finite()) {
            return Err(Error::NotFinite { sample, row });
        }
    }
    Ok(())
}

/// [`Table::stack`] of tables that come one after another.
#[derive(Debug)]
pub(crate) struct Stacker<C> {
    /// Its columns count, of several tables also those of its attributes that are left.
    first: Option<Table<C>>,
    values: Vec<f64>,
    ranges: Vec<Range<usize>>,
}

impl<C> Default for Stacker<C> {
    fn default() -> Self {
        Self {
            first: None,
            values: Vec::new(),
            ranges: Vec::new(),
        }
    }
}

impl<C: Contents> Stacker<C> {
    pub(crate) fn push(&mut self, table: Table<C>) -> Result<()> {
        let Some(first) = &mut self.first else {
            self.first = Some(table);
            return Ok(());
        };
        if table.columns != first.columns {
            return Err(Error::Columns(format!(
                "cannot stack tables with different columns: {} and {}",
                first.columns.join(" "),
                table.columns.join(" ")
            )));
        }
        if self.ranges.is_empty() {
            self.values.extend_from_slice(first.values());
            self.ranges.push(0..first.n_rows());
            first.attributes.retain(|name, _| !name.starts_with('_'));
            *first = first.empty();
        }
        first
            .attributes
            .retain(|name, value| table.attributes.get(name) == Some(value));
        self.values.extend_from_slice(table.values());
        let start = self.ranges.last().map_or(0, |range| range.end);
        self.ranges.push(start..start + table.n_rows());
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<Table<C>> {
        match self.first {
            None => Table::new(Array2::zeros((0, C::COLUMNS.len())))?
                .with_sampling(Sampling::Ranges(Vec::new())),
            Some(first) if self.ranges.is_empty() => Ok(first),
            Some(first) => first
                .with_rows(array_of_rows(self.values, first.columns.len()))?
                .with_sampling(Sampling::Ranges(self.ranges)),
        }
    }
}

/// A range whose negative numbers count from the end of `n`.
fn from_end<I: Copy + TryInto<i128>>(
    of: &str,
    range: &impl RangeBounds<I>,
    n: usize,
) -> Result<Range<usize>> {
    let n = n as i128;
    let place = |place: I| match place.try_into() {
        Ok(place) if place < 0 => place.saturating_add(n),
        Ok(place) => place,
        Err(_) => i128::MAX,
    };
    let start = match range.start_bound() {
        Bound::Unbounded => 0,
        Bound::Included(&start) => place(start),
        Bound::Excluded(&start) => place(start).saturating_add(1),
    };
    let end = match range.end_bound() {
        Bound::Unbounded => n,
        Bound::Included(&end) => place(end).saturating_add(1),
        Bound::Excluded(&end) => place(end),
    };
    match (usize::try_from(start), usize::try_from(end)) {
        (Ok(first), Ok(last)) if start <= end && end <= n => Ok(first..last),
        _ => Err(Error::Sampling(format!(
            "there are no {of} {start}..{end}, only 0..{n}"
        ))),
    }
}

/// All rows as one sample.
fn one_sample(n_rows: usize) -> Arc<[Range<usize>]> {
    Arc::from([Range {
        start: 0,
        end: n_rows,
    }])
}

fn contiguous(rows: &ArcArray2<f64>) -> &[f64] {
    rows.as_slice()
        .expect("whole rows of a standard layout should be contiguous")
}

/// Rows one after another, as an array of as many rows as they fill.
pub(crate) fn array_of_rows(values: Vec<f64>, n_columns: usize) -> Array2<f64> {
    Array2::from_shape_vec((values.len() / n_columns, n_columns), values)
        .expect("the values should fill whole rows")
}

fn lines_of(table: &LineData) -> LineSlice<'_> {
    LineSlice::new(table.values(), table.columns.len())
        .expect("line data should have at least seven columns: checked in `new`")
}

impl LineData {
    /// The lines, as kernels take them.
    #[must_use]
    pub fn line_slice(&self) -> LineSlice<'_> {
        lines_of(self)
    }
}

impl PointData {
    /// Coordinates of the points.
    #[must_use]
    pub fn positions(&self) -> Vec<[f64; 3]> {
        self.values()
            .chunks_exact(self.columns.len())
            .map(|row| [row[1], row[2], row[3]])
            .collect()
    }
}

impl<C: Contents> fmt::Display for Table<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Rows shown at the start and at the end.
        const SHOWN: usize = 3;
        let n = self.n_rows();
        writeln!(
            f,
            "{}: {n} rows x {} columns, {} samples ({})",
            C::NAME,
            self.columns.len(),
            self.n_samples(),
            self.sampling
        )?;
        writeln!(f, "{}", self.columns.join(" "))?;
        for (index, row) in self.rows.rows().into_iter().enumerate() {
            if index == SHOWN && n > 2 * SHOWN {
                writeln!(f, "...")?;
            }
            if index < SHOWN || index + SHOWN >= n {
                writeln!(
                    f,
                    "{}",
                    row.iter().map(f64::to_string).collect::<Vec<_>>().join(" ")
                )?;
            }
        }
        let names: Vec<&str> = self.attributes.keys().map(String::as_str).collect();
        write!(
            f,
            "attributes: {}",
            if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(" ")
            }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(n: usize) -> PointData {
        PointData::new(Array2::from_shape_fn((n, 5), |(row, column)| {
            (row * 10 + column) as f64
        }))
        .unwrap()
    }

    #[test]
    fn samples_share_the_rows_of_their_table() {
        let table = points(10)
            .with_sampling(Sampling::count(5).overlap(2))
            .unwrap();
        let sample = table.sample(1);
        assert_eq!(sample.rows(), table.rows().slice(s![3..8, ..]));
        assert!(std::ptr::eq(
            &raw const sample.values()[0],
            &raw const table.values()[15]
        ));
    }

    #[test]
    fn too_few_columns_are_an_error_and_unnamed_ones_are_named_by_position() {
        assert!(matches!(
            PointData::new(Array2::zeros((2, 3))),
            Err(Error::Columns(_))
        ));
        assert!(matches!(
            LineData::new(Array2::zeros((2, 6))),
            Err(Error::Columns(_))
        ));
        assert_eq!(points(1).columns(), ["t", "x", "y", "z", "col4"]);
    }

    #[test]
    fn a_column_is_appended_once_and_then_replaced() {
        let once = points(2).with_column("label", &[1.0, 2.0]);
        let twice = once.with_column("label", &[3.0, 4.0]);
        assert_eq!(once.columns(), twice.columns());
        assert_eq!(twice.rows().column(5).to_vec(), [3.0, 4.0]);
        assert_eq!(twice.without_column(5), points(2));
    }

    #[test]
    fn stacking_keeps_tables_as_samples_and_equal_plain_attributes() {
        let table = |n: usize, shared: f64| {
            points(n)
                .with_attribute("same", Attribute::Number(1.0))
                .with_attribute("other", Attribute::Number(shared))
                .with_attribute("_hidden", Attribute::Number(1.0))
        };
        let stacked = PointData::stack(vec![table(2, 1.0), table(0, 2.0), table(3, 1.0)]).unwrap();
        assert_eq!(stacked.sample_ranges(), [0..2, 2..2, 2..5]);
        assert_eq!(stacked.attributes().keys().collect::<Vec<_>>(), ["same"]);
        assert_eq!(PointData::stack(Vec::new()).unwrap().n_rows(), 0);
        let other = points(1).with_column("label", &[0.0]);
        assert!(matches!(
            PointData::stack(vec![points(1), other]),
            Err(Error::Columns(_))
        ));
    }

    #[test]
    fn rows_can_be_sliced_and_columns_found_by_name_or_position() {
        let table = points(10).with_attribute("kept", Attribute::Number(1.0));
        let some = table.slice_rows(3..5).unwrap();
        assert_eq!(
            (some.column(0), some.attributes().len()),
            (vec![30.0, 40.0], 1)
        );
        assert_eq!(table.slice_rows(-2..).unwrap().column(0), [80.0, 90.0]);
        assert_eq!(table.slice_rows(..=-9).unwrap().column(0), [0.0, 10.0]);
        for wrong in [9..11, -11..2] {
            assert!(table.slice_rows(wrong).is_err());
        }
        let some = table.with_column("label", &[7.0; 10]);
        let some = some.select_columns(["label", "x"]).unwrap();
        assert_eq!(some.columns(), ["t", "x", "y", "z", "label"]);
        assert!(some.select_columns([-6]).is_err());
        assert_eq!(some.values_of("x").unwrap(), some.values_of(-4).unwrap());
        assert!(some.values_of("w").is_err());
        let find = |column: Column| table.find_column(&column);
        assert_eq!(find("y".into()).unwrap(), 2);
        assert_eq!(
            (find(0.into()).unwrap(), find((-1).into()).unwrap()),
            (0, 4)
        );
        for missing in ["w".into(), 5.into(), (-6).into()] {
            assert!(
                find(missing)
                    .unwrap_err()
                    .to_string()
                    .contains("t x y z col4")
            );
        }
    }

    #[test]
    fn selecting_samples_keeps_only_their_rows() {
        let table = points(10)
            .with_sampling(Sampling::count(3).overlap(1))
            .unwrap();
        let some = table.select(1..3).unwrap();
        assert_eq!(
            (some.n_rows(), some.sample_ranges()),
            (5, &[0..3, 2..5][..])
        );
        assert_eq!(some.sample(1), table.sample(2));
        assert_eq!(table.select(-3..-1).unwrap(), table.select(1..3).unwrap());
        assert!(table.select(3..9).is_err());
    }

    #[test]
    fn a_copy_may_have_other_rows_and_no_attributes() {
        let table = points(10).with_attribute("kept", Attribute::Number(1.0));
        let other = table.with_rows(Array2::zeros((2, 5))).unwrap();
        assert_eq!((other.n_rows(), other.attributes().len()), (2, 1));
        assert!(table.with_rows(Array2::zeros((2, 4))).is_err());
        let bare = table.clone().with_attributes(Attributes::new());
        assert!(bare.attributes().is_empty() && bare != table);
    }
}
