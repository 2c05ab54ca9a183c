use serde::{Deserialize, Serialize};

use super::table::{Contents, Table};
use crate::error::{Error, Result};

/// A column by its name, or by its position from 0; negative positions count from the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "a column is its name, or its position as a whole number"
)]
pub enum Column {
    /// By position.
    Index(isize),
    /// By name.
    Name(String),
}

impl From<&str> for Column {
    fn from(name: &str) -> Self {
        Self::Name(name.to_owned())
    }
}

impl From<isize> for Column {
    fn from(index: isize) -> Self {
        Self::Index(index)
    }
}

impl From<i32> for Column {
    fn from(index: i32) -> Self {
        Self::Index(index as isize)
    }
}

impl std::fmt::Display for Column {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Index(index) => write!(f, "{index}"),
            Self::Name(name) => write!(f, "\"{name}\""),
        }
    }
}

impl<C: Contents> Table<C> {
    /// The position of a column.
    ///
    /// # Errors
    /// [`Error::Columns`] with the columns that there are.
    pub fn find_column(&self, column: &Column) -> Result<usize> {
        let n = self.columns().len();
        let found = match column {
            Column::Name(name) => self.column_index(name),
            Column::Index(index) => {
                let position = if *index < 0 {
                    n.checked_add_signed(*index)
                } else {
                    usize::try_from(*index).ok()
                };
                position.filter(|&position| position < n)
            }
        };
        found.ok_or_else(|| {
            let columns = self.columns().join(" ");
            Error::Columns(format!("no column {column}, only {columns}"))
        })
    }
}
