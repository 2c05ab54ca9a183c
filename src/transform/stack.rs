use serde::{Deserialize, Serialize};

use crate::data::{Contents, Data, Element, Lines, Points, Sampling, Table, typed};
use crate::error::{Error, Result};
use crate::pipeline::{Context, Reducer};

/// Puts all tables into one, in order.
///
/// Without a sample size every table stays one sample of the whole. With one, the whole is sampled anew; fewer rows
/// than one sample give no samples, and a warning.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Stack {
    sample_size: Option<usize>,
    overlap: isize,
}

impl Stack {
    /// Every table stays one sample.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Samples of `sample_size` rows, each sharing `overlap` with the one before.
    #[must_use]
    pub fn samples(sample_size: usize, overlap: isize) -> Self {
        Self {
            sample_size: Some(sample_size),
            overlap,
        }
    }

    fn sampling(&self) -> Option<Sampling> {
        self.sample_size
            .map(|size| Sampling::count(size).overlap(self.overlap))
    }

    fn stack<C: Contents>(&self, tables: Vec<Table<C>>) -> Result<Data>
    where
        Table<C>: Element,
    {
        let table = Table::stack(tables)?;
        let Some(sampling) = self.sampling() else {
            return Ok(table.into());
        };
        let table = table.with_sampling(sampling)?;
        if table.n_samples() == 0 {
            tracing::warn!(
                "Stack: {} rows are fewer than one sample ({}), so nothing follows",
                table.n_rows(),
                table.sampling()
            );
        }
        Ok(table.into())
    }
}

impl Reducer for Stack {
    type Input = Data;
    type Output = Data;

    fn check(&self) -> Result<()> {
        match self.sampling() {
            Some(sampling) => sampling.check(),
            None if self.overlap != 0 => {
                Err(Error::Sampling("an overlap needs a sample_size".into()))
            }
            None => Ok(()),
        }
    }

    fn reduce(&self, tables: Vec<Data>, _: &Context<'_>) -> Result<Data> {
        match tables.first() {
            Some(Data::Lines(_)) => self.stack::<Lines>(typed(tables)?),
            Some(_) => self.stack::<Points>(typed(tables)?),
            None => Ok(Data::List(Vec::new())),
        }
    }
}
