//! Arithmetic in recipes: numbers, names of parameters, `+ - * /` and parentheses.

use std::collections::BTreeMap;

use winnow::ascii::{float, multispace0};
use winnow::combinator::{Infix, Prefix, alt, delimited, dispatch, expression, fail, preceded};
use winnow::prelude::*;
use winnow::token::{any, one_of, take_while};

use super::recipe::unknown;

/// A parsed expression.
#[derive(Clone, Debug)]
enum Expression {
    Number(f64),
    Parameter(String),
    Negated(Box<Self>),
    Combined(char, Box<Self>, Box<Self>),
}

/// The value of an expression.
pub(super) fn evaluate(text: &str, parameters: &BTreeMap<String, f64>) -> Result<f64, String> {
    /// The parser is recursive: nesting is limited before it starts.
    const DEEPEST: usize = 100;
    let text = text.trim();
    if text.matches(['(', '-', '+']).count() > DEEPEST {
        return Err("the expression is too long".into());
    }
    let parsed = parse.parse(text).map_err(|error| {
        format!("cannot understand \"{text}\" from \"{}\" on; numbers, parameters, + - * / and parentheses may stand here", &text[error.char_span().start..])
    })?;
    let value = parsed.value(parameters)?;
    if value.is_finite() {
        Ok(value)
    } else {
        Err(format!("\"{text}\" gives {value}"))
    }
}

impl Expression {
    fn value(&self, parameters: &BTreeMap<String, f64>) -> Result<f64, String> {
        Ok(match self {
            Self::Number(value) => *value,
            Self::Parameter(name) => *parameters
                .get(name)
                .ok_or_else(|| unknown("parameter", name, parameters.keys().map(String::as_str)))?,
            Self::Negated(inner) => -inner.value(parameters)?,
            Self::Combined(operator, a, b) => {
                let (a, b) = (a.value(parameters)?, b.value(parameters)?);
                match operator {
                    '+' => a + b,
                    '-' => a - b,
                    '*' => a * b,
                    _ => a / b,
                }
            }
        })
    }
}

fn parse(input: &mut &str) -> ModalResult<Expression> {
    fn combined(operator: char) -> impl Fn(Expression, Expression) -> Expression {
        move |a, b| Expression::Combined(operator, Box::new(a), Box::new(b))
    }
    delimited(
        multispace0,
        expression(operand)
            .prefix(preceded(
                multispace0,
                dispatch! {any;
                    '-' => Prefix(9, |_: &mut &str, x| Ok(Expression::Negated(Box::new(x)))),
                    '+' => Prefix(9, |_: &mut &str, x| Ok(x)),
                    _ => fail,
                },
            ))
            .infix(dispatch! {any;
                '+' => Infix::Left(5, |_: &mut &str, a, b| Ok(combined('+')(a, b))),
                '-' => Infix::Left(5, |_: &mut &str, a, b| Ok(combined('-')(a, b))),
                '*' => Infix::Left(7, |_: &mut &str, a, b| Ok(combined('*')(a, b))),
                '/' => Infix::Left(7, |_: &mut &str, a, b| Ok(combined('/')(a, b))),
                _ => fail,
            }),
        multispace0,
    )
    .parse_next(input)
}

fn operand(input: &mut &str) -> ModalResult<Expression> {
    let name = (
        one_of(|c: char| c.is_ascii_alphabetic() || c == '_'),
        take_while(0.., |c: char| c.is_ascii_alphanumeric() || c == '_'),
    )
        .take()
        .map(|name: &str| Expression::Parameter(name.to_owned()));
    // Names before numbers, or `inf` and `nan` would be numbers.
    let number = float.map(Expression::Number);
    delimited(
        multispace0,
        alt((delimited('(', parse, ')'), name, number)),
        multispace0,
    )
    .parse_next(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Result<f64, String> {
        evaluate(
            text,
            &BTreeMap::from([("tracers".into(), 2.0), ("max_distance".into(), 0.5)]),
        )
    }

    #[test]
    fn arithmetic_binds_as_usual() {
        for (text, expected) in [
            ("30 * tracers - 1", 59.0),
            ("30*tracers-1", 59.0),
            ("2 - 3 - 4", -5.0),
            ("-(1 + tracers) * 2", -6.0),
            ("1 + 2 * 3 / 4", 2.5),
            ("2 * -max_distance", -1.0),
            (" 1.5e1 ", 15.0),
        ] {
            assert_eq!(value(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_an_error() {
        for text in [
            "",
            "1 +",
            "2 3",
            "(1",
            "1 / 0",
            "nan",
            "1 ** 2",
            &"(".repeat(10_000),
            "1; 2",
        ] {
            assert!(value(text).is_err(), "{text}");
        }
        assert!(value("2 * tracer").unwrap_err().contains("tracers"));
    }
}
