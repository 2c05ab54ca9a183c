//! Conditions as text, parsed once and then computed on rows or on samples.
//!
//! `winnow` reads the words; a loop of our own orders the operators, since chains such as `0 < x < 10` do not fit a table of
//! binary ones.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};
use winnow::ascii::float;
use winnow::combinator::{alt, delimited};
use winnow::prelude::*;
use winnow::token::{one_of, take_till, take_while};

use crate::data::{Column, Contents, Table};
use crate::error::{Error, Result};

/// Deepest nesting: reading, computing and dropping are recursive.
const DEEPEST: usize = 200;

// How tight operators bind, as in Python.
const OR: u8 = 1;
const AND: u8 = 2;
const NOT: u8 = 3;
const COMPARISON: u8 = 4;
const PIPE: u8 = 5;
const AMPERSAND: u8 = 6;
const SUM: u8 = 7;
const PRODUCT: u8 = 8;
const UNARY: u8 = 9;
const POWER: u8 = 10;

// What should stand where a text cannot be understood.
const OPERAND: &str = "a column, a number, a function or an opening parenthesis is expected there";
const OPERATOR: &str =
    "an operator (such as < <= > >= == != and or), a comma or the end is expected there";
const CLOSING: &str = "an operator or a closing parenthesis is expected there";
const COMMA: &str = "an operator or a comma is expected there: isclose takes two values";
const SHALLOWER: &str = "this is nested too deep";
const FLAGS: &str = "& | ~ join conditions and bind tighter than comparisons: put each comparison in parentheses, as in \
                     (x > 1) & (y > 2), or write `and`, `or`, `not`";
const ROW_FUNCTIONS: &str =
    "the functions are abs, sqrt, exp, log, isfinite, isnan, isclose, each also with np. before it";
const SAMPLE_FUNCTIONS: &str = "the functions are all, any, min, max, mean, std of a column or expression, and abs, sqrt, exp, log, \
                                isfinite, isnan, isclose, each also with np. before it";
const AGGREGATED: &str = "sample_size may stand there, or a column within all(..), any(..), min(..), max(..), mean(..), std(..)";

/// The conditions of a step: texts all of which must hold, on rows or (`SAMPLES`) on samples.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Texts", into = "Texts")]
pub(super) struct Conditions<const SAMPLES: bool> {
    texts: Vec<String>,
    parsed: Result<Vec<Parsed>, Problem>,
}

/// Conditions as recipes have them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged, expecting = "a condition has to be text, or a list of texts")]
enum Texts {
    One(String),
    Several(Vec<String>),
}

impl<const SAMPLES: bool> From<Texts> for Conditions<SAMPLES> {
    fn from(texts: Texts) -> Self {
        Self::new(match texts {
            Texts::One(text) => vec![text],
            Texts::Several(texts) => texts,
        })
    }
}

impl<const SAMPLES: bool> From<Conditions<SAMPLES>> for Texts {
    fn from(conditions: Conditions<SAMPLES>) -> Self {
        let mut texts = conditions.texts;
        match texts.pop() {
            Some(text) if texts.is_empty() => Self::One(text),
            last => {
                texts.extend(last);
                Self::Several(texts)
            }
        }
    }
}

impl<const SAMPLES: bool> fmt::Debug for Conditions<SAMPLES> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.texts.as_slice() {
            [text] => fmt::Debug::fmt(text, f),
            texts => fmt::Debug::fmt(texts, f),
        }
    }
}

impl<const SAMPLES: bool> Conditions<SAMPLES> {
    /// Parses all of them.
    pub(super) fn new(texts: Vec<String>) -> Self {
        let parsed = if texts.is_empty() {
            Err(Problem {
                text: String::new(),
                position: 0,
                expected: OPERAND,
            })
        } else {
            texts.iter().map(|text| parse(text, SAMPLES)).collect()
        };
        Self { texts, parsed }
    }

    /// One more that must hold.
    pub(super) fn and(self, text: String) -> Self {
        let mut texts = self.texts;
        texts.push(text);
        Self::new(texts)
    }

    /// Whether all could be parsed.
    pub(super) fn check(&self) -> Result<()> {
        self.parsed().map(|_| ())
    }

    fn parsed(&self) -> Result<&[Parsed]> {
        match &self.parsed {
            Ok(parsed) => Ok(parsed),
            Err(problem) => Err(problem.error()),
        }
    }

    fn bound<C: Contents>(&self, table: &Table<C>) -> Result<Vec<Bound<'_>>> {
        self.parsed()?
            .iter()
            .map(|parsed| parsed.bind(table))
            .collect()
    }
}

impl Conditions<false> {
    /// The rows of a table for which all hold, in order.
    pub(super) fn rows<C: Contents>(&self, table: &Table<C>) -> Result<Vec<usize>> {
        let bound = self.bound(table)?;
        Ok(table
            .values()
            .chunks_exact(table.columns().len())
            .enumerate()
            .filter(|(_, row)| bound.iter().all(|bound| bound.holds_for_row(row)))
            .map(|(index, _)| index)
            .collect())
    }
}

impl Conditions<true> {
    /// For each sample of a table whether all hold.
    pub(super) fn samples<C: Contents>(&self, table: &Table<C>) -> Result<Vec<bool>> {
        let bound = self.bound(table)?;
        let n_columns = table.columns().len();
        let holds = |range: &std::ops::Range<usize>| {
            let rows = &table.values()[range.start * n_columns..range.end * n_columns];
            bound
                .iter()
                .all(|bound| bound.holds_for_sample(rows, n_columns))
        };
        Ok(table.sample_ranges().iter().map(holds).collect())
    }
}

/// The position of the column called `text` or, if there is none and it is a whole number, of the column with this index.
pub(super) fn find_named<C: Contents>(table: &Table<C>, text: &str) -> Result<usize> {
    if let Some(position) = table.column_index(text) {
        return Ok(position);
    }
    match text.parse::<isize>() {
        Ok(index) => table.find_column(&Column::Index(index)),
        Err(_) => table.find_column(&Column::Name(text.to_owned())),
    }
}

/// Why a text is no condition, and where.
#[derive(Clone, Debug, PartialEq)]
struct Problem {
    text: String,
    /// In bytes.
    position: usize,
    expected: &'static str,
}

impl Problem {
    fn error(&self) -> Error {
        /// Characters shown of what could not be understood.
        const SHOWN: usize = 20;
        let (before, rest) = self.text.split_at(self.position);
        let place = if rest.is_empty() {
            "at its end".to_owned()
        } else {
            let rest: String = rest.chars().take(SHOWN).collect();
            format!("at character {} (\"{rest}\")", before.chars().count() + 1)
        };
        Error::Parameter {
            name: "condition",
            value: format!("\"{}\" {place}", self.text),
            needed: self.expected,
        }
    }
}

/// A parsed text.
#[derive(Clone, Debug, PartialEq)]
struct Parsed {
    /// All must hold.
    conditions: Vec<Expression>,
    /// What is computed over the rows of a sample, the innermost first.
    aggregates: Vec<(Aggregate, Expression)>,
    /// The columns it asks for.
    names: Vec<String>,
}

/// A parsed text with the positions of its columns in a table.
struct Bound<'a> {
    parsed: &'a Parsed,
    positions: Vec<usize>,
}

/// A number; what is true or false is 1 or 0.
#[derive(Clone, Debug, PartialEq)]
enum Expression {
    Number(f64),
    /// By its place in `names`.
    Column(usize),
    SampleSize,
    /// By its place in `aggregates`.
    Aggregate(usize),
    Not(Box<Self>),
    Negated(Box<Self>),
    Function(Function, Box<Self>),
    IsClose(Box<Self>, Box<Self>),
    /// Operators that bind equally tight, from left to right.
    Chain(Box<Self>, Vec<(Operator, Self)>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Operator {
    Or,
    And,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Equal,
    NotEqual,
    Pipe,
    Ampersand,
    Plus,
    Minus,
    Times,
    Over,
    Power,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Function {
    Abs,
    Sqrt,
    Exp,
    Log,
    IsFinite,
    IsNan,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Aggregate {
    All,
    Any,
    Min,
    Max,
    Mean,
    Std,
}

/// What an expression is computed from.
struct Scene<'a> {
    row: &'a [f64],
    positions: &'a [usize],
    aggregates: &'a [f64],
    sample_size: f64,
}

impl Parsed {
    fn bind<C: Contents>(&self, table: &Table<C>) -> Result<Bound<'_>> {
        let positions = self.names.iter().map(|name| find_named(table, name));
        Ok(Bound {
            parsed: self,
            positions: positions.collect::<Result<_>>()?,
        })
    }

    fn holds(&self, scene: &Scene<'_>) -> bool {
        self.conditions
            .iter()
            .all(|condition| truth(condition.value(scene)))
    }
}

impl Bound<'_> {
    fn holds_for_row(&self, row: &[f64]) -> bool {
        self.parsed.holds(&Scene {
            row,
            positions: &self.positions,
            aggregates: &[],
            sample_size: 1.0,
        })
    }

    fn holds_for_sample(&self, rows: &[f64], n_columns: usize) -> bool {
        let sample_size = (rows.len() / n_columns) as f64;
        let mut aggregates: Vec<f64> = Vec::with_capacity(self.parsed.aggregates.len());
        for (aggregate, expression) in &self.parsed.aggregates {
            let value = |row| {
                expression.value(&Scene {
                    row,
                    positions: &self.positions,
                    aggregates: &aggregates,
                    sample_size,
                })
            };
            let values: Vec<f64> = rows.chunks_exact(n_columns).map(value).collect();
            aggregates.push(aggregate.of(&values));
        }
        self.parsed.holds(&Scene {
            row: &[],
            positions: &self.positions,
            aggregates: &aggregates,
            sample_size,
        })
    }
}

/// As in Python, NaN is true: it is not 0.
fn truth(value: f64) -> bool {
    value != 0.0
}

fn equal(a: f64, b: f64) -> bool {
    a.partial_cmp(&b).is_some_and(Ordering::is_eq)
}

fn is_close(a: f64, b: f64) -> bool {
    const RELATIVE: f64 = 1e-5;
    const ABSOLUTE: f64 = 1e-8;
    if a.is_finite() && b.is_finite() {
        (a - b).abs() <= ABSOLUTE + RELATIVE * b.abs()
    } else {
        equal(a, b)
    }
}

impl Expression {
    fn value(&self, scene: &Scene<'_>) -> f64 {
        match self {
            Self::Number(value) => *value,
            Self::Column(slot) => scene.row[scene.positions[*slot]],
            Self::SampleSize => scene.sample_size,
            Self::Aggregate(slot) => scene.aggregates[*slot],
            Self::Not(inner) => f64::from(!truth(inner.value(scene))),
            Self::Negated(inner) => -inner.value(scene),
            Self::Function(function, inner) => function.of(inner.value(scene)),
            Self::IsClose(a, b) => f64::from(is_close(a.value(scene), b.value(scene))),
            Self::Chain(first, rest) => {
                let mut left = first.value(scene);
                if !self.compares() {
                    return rest.iter().fold(left, |left, (operator, right)| {
                        operator.apply(left, right.value(scene))
                    });
                }
                for (operator, right) in rest {
                    let right = right.value(scene);
                    if !truth(operator.apply(left, right)) {
                        return 0.0;
                    }
                    left = right;
                }
                1.0
            }
        }
    }

    fn compares(&self) -> bool {
        self.level() == Some(COMPARISON)
    }

    /// How tight a chain's operators bind.
    fn level(&self) -> Option<u8> {
        match self {
            Self::Chain(_, rest) => rest.first().map(|(operator, _)| operator.level()),
            _ => None,
        }
    }

    /// Whether it is certainly a quantity, and nothing that is true or false.
    fn is_quantity(&self) -> bool {
        match self {
            Self::Number(value) => ![0.0, 1.0].contains(value),
            Self::Negated(_) | Self::SampleSize => true,
            Self::Function(function, _) => {
                !matches!(function, Function::IsFinite | Function::IsNan)
            }
            Self::Chain(first, rest) => {
                self.level().is_some_and(|level| level >= SUM)
                    && (first.is_quantity() || rest.iter().any(|(_, right)| right.is_quantity()))
            }
            Self::Column(_) | Self::Aggregate(_) | Self::Not(_) | Self::IsClose(..) => false,
        }
    }
}

impl Operator {
    fn level(self) -> u8 {
        match self {
            Self::Or => OR,
            Self::And => AND,
            Self::Less
            | Self::LessEqual
            | Self::Greater
            | Self::GreaterEqual
            | Self::Equal
            | Self::NotEqual => COMPARISON,
            Self::Pipe => PIPE,
            Self::Ampersand => AMPERSAND,
            Self::Plus | Self::Minus => SUM,
            Self::Times | Self::Over => PRODUCT,
            Self::Power => POWER,
        }
    }

    fn apply(self, a: f64, b: f64) -> f64 {
        match self {
            Self::Or | Self::Pipe => f64::from(truth(a) || truth(b)),
            Self::And | Self::Ampersand => f64::from(truth(a) && truth(b)),
            Self::Less => f64::from(a < b),
            Self::LessEqual => f64::from(a <= b),
            Self::Greater => f64::from(a > b),
            Self::GreaterEqual => f64::from(a >= b),
            Self::Equal => f64::from(equal(a, b)),
            Self::NotEqual => f64::from(!equal(a, b)),
            Self::Plus => a + b,
            Self::Minus => a - b,
            Self::Times => a * b,
            Self::Over => a / b,
            Self::Power => a.powf(b),
        }
    }
}

impl Function {
    fn of(self, value: f64) -> f64 {
        match self {
            Self::Abs => value.abs(),
            Self::Sqrt => value.sqrt(),
            Self::Exp => value.exp(),
            Self::Log => value.ln(),
            Self::IsFinite => f64::from(value.is_finite()),
            Self::IsNan => f64::from(value.is_nan()),
        }
    }
}

impl Aggregate {
    /// Of no values: `all` holds, `any` does not, the others are NaN. One NaN makes min, max, mean and std NaN.
    fn of(self, values: &[f64]) -> f64 {
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let extreme = |wanted: Ordering| {
            let values = values.iter().copied();
            values
                .reduce(|a, b| {
                    if a.is_nan() || a.partial_cmp(&b) == Some(wanted) {
                        a
                    } else {
                        b
                    }
                })
                .unwrap_or(f64::NAN)
        };
        match self {
            Self::All => f64::from(values.iter().all(|&value| truth(value))),
            Self::Any => f64::from(values.iter().any(|&value| truth(value))),
            Self::Min => extreme(Ordering::Less),
            Self::Max => extreme(Ordering::Greater),
            Self::Mean => mean(values),
            Self::Std => {
                let centre = mean(values);
                let squares: Vec<f64> = values
                    .iter()
                    .map(|value| (value - centre) * (value - centre))
                    .collect();
                mean(&squares).sqrt()
            }
        }
    }
}

/// A text of one or several conditions, with a comma between them.
fn parse(text: &str, samples: bool) -> Result<Parsed, Problem> {
    let mut reader = Reader {
        text,
        rest: text,
        samples,
        columns: !samples,
        aggregates: Vec::new(),
        names: Vec::new(),
    };
    match reader.conditions() {
        Ok(conditions) => Ok(Parsed {
            conditions,
            aggregates: reader.aggregates,
            names: reader.names,
        }),
        Err(Stop { position, expected }) => Err(Problem {
            text: text.to_owned(),
            position,
            expected,
        }),
    }
}

/// Where reading stopped.
struct Stop {
    position: usize,
    expected: &'static str,
}

struct Reader<'t> {
    text: &'t str,
    rest: &'t str,
    /// Whether samples are to be judged, not rows.
    samples: bool,
    /// Whether columns may stand here.
    columns: bool,
    aggregates: Vec<(Aggregate, Expression)>,
    names: Vec<String>,
}

impl<'t> Reader<'t> {
    fn conditions(&mut self) -> Result<Vec<Expression>, Stop> {
        let mut conditions = vec![self.expression(OR, DEEPEST)?];
        while self.symbol(",") {
            conditions.push(self.expression(OR, DEEPEST)?);
        }
        if self.rest.trim_start().is_empty() {
            Ok(conditions)
        } else {
            Err(self.stop(self.rest, OPERATOR))
        }
    }

    /// What operators join that bind at least as tight as `least`.
    fn expression(&mut self, least: u8, depth: usize) -> Result<Expression, Stop> {
        let Some(deeper) = depth.checked_sub(1) else {
            return Err(self.stop(self.rest, SHALLOWER));
        };
        let mut left = self.operand(least, deeper)?;
        // The level of `left` if it is a chain that the next operator may go on with: one in parentheses ends there.
        let mut chained = None;
        loop {
            let before = self.rest;
            let Some(operator) = self.token(operator) else {
                return Ok(left);
            };
            let level = operator.level();
            if level < least {
                self.rest = before;
                return Ok(left);
            }
            // Powers bind from right to left.
            let tighter = if level == POWER { POWER } else { level + 1 };
            let right = self.expression(tighter, deeper)?;
            if (level == PIPE || level == AMPERSAND) && (left.is_quantity() || right.is_quantity())
            {
                return Err(self.stop(before, FLAGS));
            }
            left = match left {
                Expression::Chain(first, mut rest) if chained == Some(level) => {
                    rest.push((operator, right));
                    Expression::Chain(first, rest)
                }
                first => Expression::Chain(Box::new(first), vec![(operator, right)]),
            };
            chained = Some(level);
        }
    }

    fn operand(&mut self, least: u8, depth: usize) -> Result<Expression, Stop> {
        let start = self.rest;
        if self.symbol("(") {
            let inner = self.expression(OR, depth)?;
            self.close()?;
            return Ok(inner);
        }
        if self.symbol("-") {
            let inner = self.expression(UNARY, depth)?;
            return Ok(Expression::Negated(Box::new(inner)));
        }
        if self.symbol("+") {
            return self.expression(UNARY, depth);
        }
        if self.symbol("~") {
            let inner = self.expression(UNARY, depth)?;
            if inner.is_quantity() {
                return Err(self.stop(start, FLAGS));
            }
            return Ok(Expression::Not(Box::new(inner)));
        }
        if let Some(name) = self.token(quoted) {
            return self.column(name, start);
        }
        let number_starts = |c: char| c.is_ascii_digit() || c == '.';
        if self.rest.trim_start().starts_with(number_starts) {
            return match self.token(number) {
                Some(value) => Ok(Expression::Number(value)),
                None => Err(self.stop(start, OPERAND)),
            };
        }
        match self.token(word) {
            Some("not") if least <= NOT => {
                let inner = self.expression(NOT, depth)?;
                Ok(Expression::Not(Box::new(inner)))
            }
            None | Some("not" | "and" | "or") => Err(self.stop(start, OPERAND)),
            Some("np") if self.symbol(".") => match self.token(word) {
                Some(name) if self.symbol("(") => self.call(name, start, depth),
                _ => Err(self.stop(start, self.functions())),
            },
            Some(name) if self.symbol("(") => self.call(name, start, depth),
            Some("sample_size") if self.samples => Ok(Expression::SampleSize),
            Some(name) => self.column(name, start),
        }
    }

    /// A function of which the name (from `start` on) and the opening parenthesis were read.
    fn call(&mut self, name: &str, start: &'t str, depth: usize) -> Result<Expression, Stop> {
        let aggregate = match name {
            "all" => Some(Aggregate::All),
            "any" => Some(Aggregate::Any),
            "min" => Some(Aggregate::Min),
            "max" => Some(Aggregate::Max),
            "mean" => Some(Aggregate::Mean),
            "std" => Some(Aggregate::Std),
            _ => None,
        };
        if let Some(aggregate) = aggregate
            && self.samples
        {
            let outside = std::mem::replace(&mut self.columns, true);
            let inner = self.expression(OR, depth)?;
            self.columns = outside;
            self.close()?;
            self.aggregates.push((aggregate, inner));
            return Ok(Expression::Aggregate(self.aggregates.len() - 1));
        }
        if name == "isclose" {
            let a = self.expression(OR, depth)?;
            if !self.symbol(",") {
                return Err(self.stop(self.rest, COMMA));
            }
            let b = self.expression(OR, depth)?;
            self.close()?;
            return Ok(Expression::IsClose(Box::new(a), Box::new(b)));
        }
        let function = match name {
            "abs" => Function::Abs,
            "sqrt" => Function::Sqrt,
            "exp" => Function::Exp,
            "log" => Function::Log,
            "isfinite" => Function::IsFinite,
            "isnan" => Function::IsNan,
            _ => return Err(self.stop(start, self.functions())),
        };
        let inner = self.expression(OR, depth)?;
        self.close()?;
        Ok(Expression::Function(function, Box::new(inner)))
    }

    fn functions(&self) -> &'static str {
        if self.samples {
            SAMPLE_FUNCTIONS
        } else {
            ROW_FUNCTIONS
        }
    }

    fn column(&mut self, name: &str, start: &'t str) -> Result<Expression, Stop> {
        if !self.columns {
            return Err(self.stop(start, AGGREGATED));
        }
        let known = self.names.iter().position(|known| known == name);
        Ok(Expression::Column(known.unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        })))
    }

    fn close(&mut self) -> Result<(), Stop> {
        if self.symbol(")") {
            Ok(())
        } else {
            Err(self.stop(self.rest, CLOSING))
        }
    }

    /// Reads a symbol if it comes next.
    fn symbol(&mut self, symbol: &str) -> bool {
        match self.rest.trim_start().strip_prefix(symbol) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Reads a token if it comes next.
    fn token<T>(&mut self, token: impl FnOnce(&mut &'t str) -> ModalResult<T>) -> Option<T> {
        let mut rest = self.rest.trim_start();
        let found = token(&mut rest).ok()?;
        self.rest = rest;
        Some(found)
    }

    /// Reading cannot go on where `rest` starts.
    fn stop(&self, rest: &str, expected: &'static str) -> Stop {
        Stop {
            position: self.text.len() - rest.trim_start().len(),
            expected,
        }
    }
}

fn word<'t>(input: &mut &'t str) -> ModalResult<&'t str> {
    (
        one_of(|c: char| c.is_alphabetic() || c == '_'),
        take_while(0.., |c: char| c.is_alphanumeric() || c == '_'),
    )
        .take()
        .parse_next(input)
}

fn quoted<'t>(input: &mut &'t str) -> ModalResult<&'t str> {
    alt((
        delimited('\'', take_till(0.., '\''), '\''),
        delimited('"', take_till(0.., '"'), '"'),
    ))
    .parse_next(input)
}

fn number(input: &mut &str) -> ModalResult<f64> {
    float.parse_next(input)
}

fn operator(input: &mut &str) -> ModalResult<Operator> {
    // Whole words, or `order` would be an operator.
    let keyword = word.verify_map(|word: &str| match word {
        "and" => Some(Operator::And),
        "or" => Some(Operator::Or),
        _ => None,
    });
    alt((
        alt((
            "<=".value(Operator::LessEqual),
            "<".value(Operator::Less),
            ">=".value(Operator::GreaterEqual),
            ">".value(Operator::Greater),
            "==".value(Operator::Equal),
            "!=".value(Operator::NotEqual),
        )),
        alt((
            "**".value(Operator::Power),
            "*".value(Operator::Times),
            "/".value(Operator::Over),
            "+".value(Operator::Plus),
            "-".value(Operator::Minus),
            "|".value(Operator::Pipe),
            "&".value(Operator::Ampersand),
        )),
        keyword,
    ))
    .parse_next(input)
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;
    use crate::data::{PointData, Sampling};

    /// t = 0, x = 1, y = 2, z = 3, error = NaN, order = 1, `and_x` = 4, "odd name" = 5.
    fn table() -> PointData {
        PointData::with_columns(
            array![[0.0, 1.0, 2.0, 3.0, f64::NAN, 1.0, 4.0, 5.0]],
            &["error", "order", "and_x", "odd name"],
        )
        .unwrap()
    }

    fn holds(text: &str) -> Result<bool> {
        let conditions = Conditions::<false>::new(vec![text.to_owned()]);
        Ok(!conditions.rows(&table())?.is_empty())
    }

    #[test]
    fn operators_bind_as_in_python() {
        for (text, expected) in [
            ("2 + 3 * 4 == 14", true),
            ("10 - 3 - 2 == 5", true),
            ("100 / 10 / 5 == 2", true),
            ("2 ** 3 ** 2 == 512", true),
            ("-2 ** 2 == -4", true),
            ("2 ** -1 == .5", true),
            ("2 ** -1 * 4 == 2", true),
            ("- - 1 == +1", true),
            ("1 or 0 and 0", true),
            ("(1 or 0) and 0", false),
            ("not 0 and 0", false),
            ("not y == 1", true),
            ("~y == 1", false),
            ("not not x", true),
            ("~~x == 1", true),
            ("3 > 2 > 1", true),
            ("(3 > 2) > 1", false),
            ("x < y < z", true),
            ("x < z < y", false),
            ("1 < 3 == 1", false),
            ("(1 < 3) == 1", true),
            ("x == 1 & y == 2", false),
            ("(x == 1) & (y == 2)", true),
            ("0 | 1 & 0", false),
            ("1 | 1 & 0", true),
            ("(1 | 1) & 0", false),
            ("0 == 1 | 1", false),
            ("not x == 2 and y == 2", true),
            ("x == 1, y == 3", false),
            ("x == 1 or 0, y == 2", true),
        ] {
            assert_eq!(holds(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn names_numbers_and_functions_are_understood() {
        for (text, expected) in [
            ("order == 1 and and_x == 4", true),
            ("order or 0", true),
            ("0or order", true),
            ("'odd name' == 5 and \"odd name\" == 5", true),
            ("'0' == 0 and '-1' == 5 and '1' == x", true),
            (" 1e3==1000 and .5==1/2 and 5.==5 and 1.5E-1 == 0.15 ", true),
            ("isnan(error) and not isfinite(error)", true),
            ("np.isnan(error), np.abs(-x) == 1", true),
            ("error == error or error < 1 or error >= 1", false),
            ("error != error", true),
            ("isclose(x, 1.000001)", true),
            ("isclose(x, 1.1)", false),
            ("isclose(0, 1e-9) and not isclose(0, 1e-7)", true),
            (
                "isclose(1 / 0, 1 / 0) and not np.isclose(error, error)",
                true,
            ),
            ("sqrt(and_x) == 2 and abs(x - y) == 1", true),
            ("log(exp(y)) == 2", true),
            ("x\n==\t1", true),
        ] {
            assert_eq!(holds(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_condition_is_refused_with_its_place() {
        for (text, place, expected) in [
            ("x < < 5", "character 5", OPERAND),
            ("x > 1 y", "character 7", OPERATOR),
            ("x = 1", "character 3", OPERATOR),
            ("(x > 1", "at its end", CLOSING),
            ("x > 1)", "character 6", OPERATOR),
            ("x > 1,", "at its end", OPERAND),
            ("", "at its end", OPERAND),
            ("x > 'y", "character 5", OPERAND),
            ("x == not y", "character 6", OPERAND),
            ("x < 15 & y > 1", "character 8", FLAGS),
            ("~5 > x", "character 1", FLAGS),
            ("sin(x) > 1", "character 1", ROW_FUNCTIONS),
            ("np.sin(x) > 1", "character 1", ROW_FUNCTIONS),
            ("max(x) > 1", "character 1", ROW_FUNCTIONS),
            ("isclose(x)", "character 10", COMMA),
            ("x > 2e", "character 5", OPERAND),
            ("é > 1 §", "character 7", OPERATOR),
        ] {
            let error = holds(text).unwrap_err().to_string();
            assert!(error.contains(place), "{text}: {error}");
            assert!(error.ends_with(expected), "{text}: {error}");
        }
        let error = holds("eror < 5").unwrap_err().to_string();
        assert!(
            error.contains("\"eror\"") && error.contains("t x y z error"),
            "{error}"
        );
        let error = holds("'17' < 5").unwrap_err().to_string();
        assert!(error.contains("17"), "{error}");
        assert!(Conditions::<false>::new(Vec::new()).check().is_err());
    }

    #[test]
    fn depth_is_limited_and_length_is_not() {
        for deep in ["(", "not ", "-", "~", "2 ** ", "abs(", "1 or (", "x == -("] {
            let error = holds(&deep.repeat(20_000)).unwrap_err().to_string();
            assert!(error.ends_with(SHALLOWER), "{deep}");
        }
        let nested = format!("{}x{} == 1", "(".repeat(100), ")".repeat(100));
        assert!(holds(&nested).unwrap());
        for long in ["1 + ", "x == 1 and ", "0 or ", "x == ", "x == 1, "] {
            let text = format!("{}1", long.repeat(20_000));
            assert!(holds(&text).unwrap(), "{long}");
        }
    }

    #[test]
    fn samples_are_judged_as_a_whole() {
        let rows = array![
            [0.0, 1.0, 0.0, f64::NAN],
            [1.0, 3.0, 0.0, 5.0],
            [2.0, 10.0, 0.0, 1.0]
        ];
        let points = PointData::new(rows)
            .unwrap()
            .with_sampling(Sampling::Ranges(vec![0..2, 2..3, 3..3]))
            .unwrap();
        for (text, expected) in [
            ("sample_size > 1", [true, false, false]),
            ("all(x < 5)", [true, false, true]),
            ("any(x > 2)", [true, true, false]),
            ("min(x) == 1, max(x) == 3", [true, false, false]),
            ("mean(x) == 2 and std(x) == 1", [true, false, false]),
            ("np.mean(x + '0') > 5", [false, true, false]),
            ("isnan(min(z)) and isnan(max(z))", [true, false, true]),
            ("all(abs(x - mean(x)) <= std(x))", [true, true, true]),
            ("all(t < sample_size)", [true, false, true]),
            ("isnan(mean(x))", [false, false, true]),
        ] {
            let conditions = Conditions::<true>::new(vec![text.to_owned()]);
            assert_eq!(conditions.samples(&points).unwrap(), expected, "{text}");
        }
        for (text, expected) in [
            ("x > 1", AGGREGATED),
            ("all(x > 1) and x > 1", AGGREGATED),
            ("sum(x) > 1", SAMPLE_FUNCTIONS),
        ] {
            let conditions = Conditions::<true>::new(vec![text.to_owned()]);
            let error = conditions.check().unwrap_err().to_string();
            assert!(error.ends_with(expected), "{text}: {error}");
        }
    }
}
