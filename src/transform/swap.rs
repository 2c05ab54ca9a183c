use serde::{Deserialize, Deserializer, Serialize};

use super::condition_expression::find_named;
use crate::data::{Contents, Data, Table, with_table};
use crate::error::{Error, Result};
use crate::pipeline::{Context, Filter};

/// Exchanges the values of two columns, or of several pairs one after another; the names stay. On lines and on points.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Swap {
    #[serde(deserialize_with = "one_or_several")]
    columns: Vec<String>,
}

fn one_or_several<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(
        untagged,
        expecting = "columns have to be a pair such as \"y, z\", or a list of pairs"
    )]
    enum Pairs {
        One(String),
        Several(Vec<String>),
    }
    Ok(match Pairs::deserialize(deserializer)? {
        Pairs::One(pair) => vec![pair],
        Pairs::Several(pairs) => pairs,
    })
}

impl Swap {
    /// Two columns by name or index, with a comma between them: `"y, z"`.
    #[must_use]
    pub fn new(pair: impl Into<String>) -> Self {
        Self {
            columns: vec![pair.into()],
        }
    }

    /// One more pair, exchanged after the others.
    #[must_use]
    pub fn and(mut self, pair: impl Into<String>) -> Self {
        self.columns.push(pair.into());
        self
    }

    fn pairs(&self) -> Result<Vec<(&str, &str)>> {
        let refused = |text: &str| Error::Parameter {
            name: "columns",
            value: format!("\"{text}\""),
            needed: "two columns with a comma between them, such as \"y, z\"",
        };
        if self.columns.is_empty() {
            return Err(refused(""));
        }
        let is_one = |name: &str| !name.is_empty() && !name.contains(',');
        let mut pairs = Vec::with_capacity(self.columns.len());
        for text in &self.columns {
            let (a, b) = text.split_once(',').ok_or_else(|| refused(text))?;
            let (a, b) = (a.trim(), b.trim());
            if !is_one(a) || !is_one(b) {
                return Err(refused(text));
            }
            pairs.push((a, b));
        }
        Ok(pairs)
    }

    fn swapped<C: Contents>(&self, table: &Table<C>) -> Result<Table<C>> {
        // Where the value of each column comes from.
        let mut sources: Vec<usize> = (0..table.columns().len()).collect();
        for (a, b) in self.pairs()? {
            sources.swap(find_named(table, a)?, find_named(table, b)?);
        }
        let mut values = Vec::with_capacity(table.values().len());
        for row in table.values().chunks_exact(sources.len()) {
            values.extend(sources.iter().map(|&source| row[source]));
        }
        Ok(table.with_values(values))
    }
}

impl Filter for Swap {
    type Input = Data;
    type Output = Data;

    fn check(&self) -> Result<()> {
        self.pairs().map(|_| ())
    }

    fn filter(&self, sample: Data, _: &Context<'_>) -> Result<Data> {
        Ok(with_table!(sample, table => self.swapped(&table)?))
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;
    use crate::data::{LineData, PointData};

    fn swapped(step: &Swap) -> Vec<f64> {
        let points = array![[0.0, 1.0, 2.0, 3.0, 4.0]];
        let points = PointData::with_columns(points, &["label"]).unwrap();
        let out = step.filter(points.clone().into(), &Context::FIRST);
        let out = out.unwrap().into_points().unwrap();
        assert_eq!(out.columns(), points.columns());
        out.values().to_vec()
    }

    #[test]
    fn values_move_and_names_stay() {
        assert_eq!(swapped(&Swap::new("y, z")), [0.0, 1.0, 3.0, 2.0, 4.0]);
        assert_eq!(
            swapped(&Swap::new("y, z").and("label,x")),
            [0.0, 4.0, 3.0, 2.0, 1.0]
        );
        assert_eq!(swapped(&Swap::new("-1, 0")), [4.0, 1.0, 2.0, 3.0, 0.0]);
        assert_eq!(swapped(&Swap::new("x, x")), [0.0, 1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn pairs_are_exchanged_one_after_another() {
        // x takes the y that z holds by then.
        let step = Swap::new("y, z").and("z, x");
        assert_eq!(swapped(&step), [0.0, 2.0, 3.0, 1.0, 4.0]);
    }

    #[test]
    fn what_is_no_pair_and_unknown_columns_are_errors() {
        for text in ["", "y", "y,", ", z", "x, y, z"] {
            assert!(Filter::check(&Swap::new(text)).is_err(), "{text}");
        }
        assert!(Filter::check(&Swap::new("y, z").and("x")).is_err());
        let lines = LineData::new(ndarray::Array2::zeros((1, 7))).unwrap();
        let out = Swap::new("y1, y").filter(lines.into(), &Context::FIRST);
        let error = out.unwrap_err();
        assert!(matches!(error, Error::Columns(_)));
        assert!(error.to_string().contains("x2 y2 z2"), "{error}");
    }
}
