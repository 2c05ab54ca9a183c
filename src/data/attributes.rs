use std::collections::BTreeMap;

use super::{LineData, PointData};

/// Metadata of a table by name. Names that start with `_` are hidden: they do not survive stacking.
pub type Attributes = BTreeMap<String, Attribute>;

/// A value in [`Attributes`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Attribute {
    /// A number.
    Number(f64),
    /// Text.
    Text(String),
    /// Several numbers.
    Array(Vec<f64>),
    /// A table of lines.
    Lines(LineData),
    /// A table of points.
    Points(PointData),
}
