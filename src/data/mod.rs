//! Tables of lines and points, and how they are cut into samples.
//!
//! A [`LineData`] or [`PointData`] is one table of `f64` rows with named columns, free attributes and a rule that
//! cuts it into samples. Tables are cheap to clone and samples are *views*: they share the rows.

mod attributes;
mod cells;
mod column;
mod cutter;
mod sampling;
mod table;

pub use attributes::{Attribute, Attributes};
pub(crate) use cells::check_memory;
pub use cells::{Cells, Pixels, Voxels};
pub use column::Column;
pub(crate) use cutter::Cutter;
pub use sampling::Sampling;
pub(crate) use sampling::{Overlap, SampleSize};
pub use table::{Contents, LineData, Lines, PointData, Points, Table};
pub(crate) use table::{Stacker, array_of_rows, check_times};

use std::ops::Range;

use crate::error::{Error, Result};

/// What a table or a step holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Lines of response.
    Lines,
    /// Points.
    Points,
    /// Counts of lines in voxels.
    Voxels,
    /// Any of them.
    Any,
    /// Several tables.
    List,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Lines => "lines",
            Self::Points => "points",
            Self::Voxels => "voxels",
            Self::Any => "any data",
            Self::List => "a list of tables",
        })
    }
}

/// What flows between the steps of a pipeline: a table, or a list of what a filter made of each sample.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Data {
    /// A table of lines.
    Lines(LineData),
    /// A table of points.
    Points(PointData),
    /// Counts of lines in voxels: one sample, and one row where rows are counted.
    Voxels(Voxels),
    /// What a filter made of several samples, or several tables that it made of one.
    List(Vec<Self>),
}

impl Data {
    /// Rows of all tables in it.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        match self {
            Self::Lines(table) => table.n_rows(),
            Self::Points(table) => table.n_rows(),
            Self::Voxels(_) => 1,
            Self::List(list) => list.iter().map(Self::n_rows).sum(),
        }
    }

    /// The samples `range` of a table as a table, or those members of a list.
    pub(crate) fn select(&self, range: Range<usize>) -> Self {
        match self {
            Self::Lines(table) => Self::Lines(table.select_samples(range)),
            Self::Points(table) => Self::Points(table.select_samples(range)),
            Self::Voxels(voxels) => Self::Voxels(voxels.clone()),
            Self::List(list) => Self::List(list[range].to_vec()),
        }
    }

    /// The number of the first sample in a run.
    pub(crate) fn first_sample(&self) -> usize {
        match self {
            Self::Lines(table) => table.first_sample(),
            Self::Points(table) => table.first_sample(),
            Self::Voxels(_) | Self::List(_) => 0,
        }
    }

    /// No rows, the same columns.
    pub(crate) fn empty(&self) -> Self {
        match self {
            Self::Lines(table) => Self::Lines(table.empty()),
            Self::Points(table) => Self::Points(table.empty()),
            Self::Voxels(voxels) => Self::Voxels(voxels.smallest()),
            Self::List(_) => Self::List(Vec::new()),
        }
    }

    /// The same kind of data without rows: as many samples or members, two at most.
    pub(crate) fn without_rows(&self) -> Result<Self> {
        let samples = || Sampling::Ranges(vec![Range::default(); self.n_samples().min(2)]);
        Ok(match self {
            Self::Lines(table) => table.empty().with_sampling(samples())?.into(),
            Self::Points(table) => table.empty().with_sampling(samples())?.into(),
            Self::Voxels(_) => self.empty(),
            Self::List(list) => {
                let members = list.iter().take(2).map(Self::without_rows);
                Self::List(members.collect::<Result<_>>()?)
            }
        })
    }

    /// Rows of all samples: a row counts as often as samples have it.
    pub(crate) fn sample_rows(&self) -> usize {
        match self {
            Self::Lines(table) => table.sample_rows(),
            Self::Points(table) => table.sample_rows(),
            Self::Voxels(_) => 1,
            Self::List(list) => list.iter().map(Self::n_rows).sum(),
        }
    }

    /// The smallest and the largest time (ms) of a table; `None` without rows, for voxels and for lists.
    #[must_use]
    pub fn time_span(&self) -> Option<(f64, f64)> {
        match self {
            Self::Lines(table) => table.time_span(),
            Self::Points(table) => table.time_span(),
            Self::Voxels(_) | Self::List(_) => None,
        }
    }

    /// Number of samples of a table, or of members of a list.
    #[must_use]
    pub fn n_samples(&self) -> usize {
        match self {
            Self::Lines(table) => table.n_samples(),
            Self::Points(table) => table.n_samples(),
            Self::Voxels(_) => 1,
            Self::List(list) => list.len(),
        }
    }

    /// The tables in it, without nesting, in order.
    #[must_use]
    pub fn flatten(self) -> Vec<Self> {
        match self {
            Self::List(list) => list.into_iter().flat_map(Self::flatten).collect(),
            table => vec![table],
        }
    }

    /// The kind of its tables; [`Kind::List`] for a list that has none.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Lines(_) => Kind::Lines,
            Self::Points(_) => Kind::Points,
            Self::Voxels(_) => Kind::Voxels,
            Self::List(list) => list.first().map_or(Kind::List, Self::kind),
        }
    }

    /// All tables in it as one, each of them a sample; a table, or the voxels of one sample, as they are.
    ///
    /// # Errors
    /// [`Error::Kind`] if it holds lines and points, or voxels of several samples; [`Error::Columns`] if the tables have different
    /// columns.
    pub fn into_table(self) -> Result<Self> {
        let mut tables = self.flatten();
        if let [Self::Voxels(_)] = tables.as_slice() {
            return Ok(tables.remove(0));
        }
        Ok(match tables.first() {
            Some(Self::Lines(_)) => LineData::stack(typed(tables)?)?.into(),
            _ => PointData::stack(typed(tables)?)?.into(),
        })
    }

    /// All points in it as one table.
    ///
    /// # Errors
    /// [`Error::Kind`] if it holds lines, [`Error::Columns`] if the tables have different columns.
    pub fn into_points(self) -> Result<PointData> {
        PointData::stack(typed(self.flatten())?)
    }
}

/// Does something with the table in [`Data`], whatever its rows are; the result is [`Data`] of the same kind.
///
/// `with_table!(data, table => expression)`; the expression may use `?`. A list is an [`Error::Kind`].
macro_rules! with_table {
    ($data:expr, $table:ident => $body:expr) => {
        match $data {
            $crate::data::Data::Lines($table) => $crate::data::Data::Lines($body),
            $crate::data::Data::Points($table) => $crate::data::Data::Points($body),
            other @ ($crate::data::Data::Voxels(_) | $crate::data::Data::List(_)) => {
                return Err($crate::error::Error::Kind {
                    needed: $crate::data::Kind::Points,
                    found: other.kind(),
                });
            }
        }
    };
}
pub(crate) use with_table;

/// A type that steps take and give: a table, or [`Data`] for any.
pub trait Element: Into<Data> + Send + Sync + Sized {
    /// Which kind it is.
    const KIND: Kind;

    /// Takes it out of [`Data`] that is no list.
    ///
    /// # Errors
    /// [`Error::Kind`] if it is another kind.
    fn from_data(data: Data) -> Result<Self>;

    /// Its samples, in order.
    fn into_samples(self) -> Vec<Self>;
}

/// Tables of one type out of [`Data`].
pub(crate) fn typed<T: Element>(tables: Vec<Data>) -> Result<Vec<T>> {
    tables.into_iter().map(T::from_data).collect()
}

impl Element for LineData {
    const KIND: Kind = Kind::Lines;

    fn from_data(data: Data) -> Result<Self> {
        match data {
            Data::Lines(table) => Ok(table),
            other => Err(Error::Kind {
                needed: Kind::Lines,
                found: other.kind(),
            }),
        }
    }

    fn into_samples(self) -> Vec<Self> {
        self.samples().collect()
    }
}

impl Element for PointData {
    const KIND: Kind = Kind::Points;

    fn from_data(data: Data) -> Result<Self> {
        match data {
            Data::Points(table) => Ok(table),
            other => Err(Error::Kind {
                needed: Kind::Points,
                found: other.kind(),
            }),
        }
    }

    fn into_samples(self) -> Vec<Self> {
        self.samples().collect()
    }
}

impl Element for Voxels {
    const KIND: Kind = Kind::Voxels;

    fn from_data(data: Data) -> Result<Self> {
        match data {
            Data::Voxels(voxels) => Ok(voxels),
            other => Err(Error::Kind {
                needed: Kind::Voxels,
                found: other.kind(),
            }),
        }
    }

    fn into_samples(self) -> Vec<Self> {
        vec![self]
    }
}

impl Element for Data {
    const KIND: Kind = Kind::Any;

    fn from_data(data: Data) -> Result<Self> {
        Ok(data)
    }

    fn into_samples(self) -> Vec<Self> {
        match self {
            Self::Lines(table) => table.samples().map(Self::Lines).collect(),
            Self::Points(table) => table.samples().map(Self::Points).collect(),
            Self::Voxels(_) => vec![self],
            Self::List(list) => list,
        }
    }
}

impl From<LineData> for Data {
    fn from(table: LineData) -> Self {
        Self::Lines(table)
    }
}

impl From<PointData> for Data {
    fn from(table: PointData) -> Self {
        Self::Points(table)
    }
}

impl From<Voxels> for Data {
    fn from(voxels: Voxels) -> Self {
        Self::Voxels(voxels)
    }
}

impl<T: Into<Self>> From<Vec<T>> for Data {
    fn from(list: Vec<T>) -> Self {
        Self::List(list.into_iter().map(Into::into).collect())
    }
}
