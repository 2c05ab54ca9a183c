use serde::{Deserialize, Deserializer, Serialize};

use super::condition_expression::find_named;
use crate::data::{Column, Contents, Data, Table, with_table};
use crate::error::{Error, Result};
use crate::pipeline::{Context, Filter};

/// Removes columns by name, by pattern (`*` stands for any characters, `?` for one) or by index; on lines and on points.
///
/// The columns that all lines or points have (`t x y z`) cannot be removed. A name that no column has is an error, a pattern that fits
/// none is not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remove {
    #[serde(deserialize_with = "one_or_several")]
    columns: Vec<Column>,
}

fn one_or_several<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Column>, D::Error> {
    #[derive(Deserialize)]
    #[serde(
        untagged,
        expecting = "columns have to be a name, a pattern or an index, or a list of them"
    )]
    enum Columns {
        One(Column),
        Several(Vec<Column>),
    }
    Ok(match Columns::deserialize(deserializer)? {
        Columns::One(column) => vec![column],
        Columns::Several(columns) => columns,
    })
}

impl Remove {
    /// Names, patterns or indices (negative ones count from the end); a text may hold several with commas between them.
    ///
    /// ```
    /// use pept::{data::Column, transform::Remove};
    ///
    /// let by_pattern = Remove::new(["line_index*, error"]);
    /// let by_both = Remove::new([Column::from("line_index*"), Column::from(-1)]);
    /// # let _ = (by_pattern, by_both);
    /// ```
    #[must_use]
    pub fn new<C: Into<Column>>(columns: impl IntoIterator<Item = C>) -> Self {
        Self {
            columns: columns.into_iter().map(Into::into).collect(),
        }
    }

    fn remaining<C: Contents>(&self, table: &Table<C>) -> Result<Table<C>> {
        let mut removed = vec![false; table.columns().len()];
        for column in &self.columns {
            for position in positions(table, column)? {
                if position < C::COLUMNS.len() {
                    return Err(Error::Columns(format!(
                        "column \"{}\" cannot be removed: {} needs {}",
                        table.columns()[position],
                        C::NAME,
                        C::COLUMNS.join(" ")
                    )));
                }
                removed[position] = true;
            }
        }
        let kept: Vec<usize> = (0..removed.len()).filter(|&n| !removed[n]).collect();
        Ok(table.with_only(&kept))
    }
}

impl Filter for Remove {
    type Input = Data;
    type Output = Data;

    fn check(&self) -> Result<()> {
        let nothing = |text: &str| {
            Err(Error::Parameter {
                name: "columns",
                value: format!("\"{text}\""),
                needed: "names, patterns or indices of columns",
            })
        };
        if self.columns.is_empty() {
            return nothing("");
        }
        for column in &self.columns {
            if let Column::Name(text) = column
                && text.split(',').any(|part| part.trim().is_empty())
            {
                return nothing(text);
            }
        }
        Ok(())
    }

    fn filter(&self, sample: Data, _: &Context<'_>) -> Result<Data> {
        Filter::check(self)?;
        Ok(with_table!(sample, table => self.remaining(&table)?))
    }
}

/// The columns of a table that are meant.
fn positions<C: Contents>(table: &Table<C>, column: &Column) -> Result<Vec<usize>> {
    let Column::Name(text) = column else {
        return Ok(vec![table.find_column(column)?]);
    };
    if let Some(position) = table.column_index(text) {
        return Ok(vec![position]);
    }
    let mut positions = Vec::new();
    for part in text.split(',').map(str::trim) {
        if part.contains(['*', '?']) {
            let names = (0..).zip(table.columns());
            positions.extend(names.filter(|n| fits(part, n.1)).map(|n| n.0));
        } else {
            positions.push(find_named(table, part)?);
        }
    }
    Ok(positions)
}

/// Whether a name fits a pattern with `*` and `?`.
fn fits(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut p, mut n) = (0, 0);
    // The last `*`, and where what it stands for ends so far.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&c) if c == '?' || c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((at, end)) = star else {
                    return false;
                };
                star = Some((at, end + 1));
                p = at + 1;
                n = end + 1;
            }
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;
    use crate::data::{LineData, PointData};

    fn points() -> PointData {
        let rows = Array2::from_shape_fn((2, 8), |(row, column)| (10 * row + column) as f64);
        let extra = ["line_index1", "line_index2", "error", "label"];
        PointData::with_columns(rows, &extra).unwrap()
    }

    fn remaining<C: Into<Column>>(columns: impl IntoIterator<Item = C>) -> Result<Vec<String>> {
        let out = Remove::new(columns).filter(points().into(), &Context::FIRST)?;
        Ok(out.into_points()?.columns()[4..].to_vec())
    }

    #[test]
    fn columns_go_by_name_pattern_and_index() {
        assert_eq!(remaining(["line_index*"]).unwrap(), ["error", "label"]);
        assert_eq!(
            remaining(["*_index?", "error"]).unwrap(),
            ["label"],
            "two patterns"
        );
        assert_eq!(
            remaining(["error , line_index2"]).unwrap(),
            ["line_index1", "label"]
        );
        assert_eq!(
            remaining([Column::from("line*"), Column::from(-1_isize)]).unwrap(),
            ["error"]
        );
        assert_eq!(remaining(["nothing*"]).unwrap().len(), 4);
    }

    #[test]
    fn values_and_samples_of_the_other_columns_stay() {
        let out = Remove::new(["error", "line_index1"])
            .filter(points().into(), &Context::FIRST)
            .unwrap()
            .into_points()
            .unwrap();
        assert_eq!(out.column(4), [5.0, 15.0]);
        assert_eq!(out.column(5), [7.0, 17.0]);
        assert_eq!(out.sample_ranges(), points().sample_ranges());
    }

    #[test]
    fn standard_and_unknown_columns_are_errors() {
        for columns in [["x"], ["?"], ["*"], ["-8"], ["lable"], ["12"]] {
            let error = remaining(columns).unwrap_err();
            assert!(matches!(error, Error::Columns(_)), "{columns:?}: {error}");
        }
        let error = remaining(["lable"]).unwrap_err().to_string();
        assert!(error.contains("line_index2 error label"), "{error}");
        let lines = LineData::new(Array2::zeros((1, 8))).unwrap();
        let filter = |name: &str| Remove::new([name]).filter(lines.clone().into(), &Context::FIRST);
        assert!(filter("z2").is_err());
        assert!(filter("col7").is_ok());
        assert!(Filter::check(&Remove::new([""])).is_err());
        assert!(Filter::check(&Remove::new(["error,"])).is_err());
        assert!(Filter::check(&Remove::new(Vec::<Column>::new())).is_err());
    }

    #[test]
    fn patterns_fit_whole_names() {
        for (pattern, name, expected) in [
            ("a*c", "abbc", true),
            ("a*c", "abcd", false),
            ("a*b*c", "aXbXbc", true),
            ("*", "", true),
            ("?", "", false),
            ("a?", "aµ", true),
            ("a", "ab", false),
            ("**b", "aab", true),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }
}
