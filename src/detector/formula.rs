//! Formulas of time: `302 + 86 * cos(2 * pi * t / 1400)`.

use std::collections::BTreeMap;
use std::f64::consts::PI;

use winnow::ascii::{float, multispace0};
use winnow::combinator::{
    Infix, Prefix, alt, delimited, dispatch, expression, fail, preceded, separated,
};
use winnow::prelude::*;
use winnow::token::{any, one_of, take_while};

use super::scene_text::unknown;

/// Deepest stack of a computation.
const DEEPEST: usize = 32;
/// The parser is recursive: nesting is limited before it starts.
const LONGEST: usize = 200;
const FUNCTIONS: &[(&str, Function)] = &[
    ("sin", Function::One(libm::sin)),
    ("cos", Function::One(libm::cos)),
    ("tan", Function::One(libm::tan)),
    ("asin", Function::One(libm::asin)),
    ("acos", Function::One(libm::acos)),
    ("atan", Function::One(libm::atan)),
    ("sqrt", Function::One(f64::sqrt)),
    ("exp", Function::One(libm::exp)),
    ("log", Function::One(libm::log)),
    ("abs", Function::One(f64::abs)),
    ("floor", Function::One(f64::floor)),
    ("atan2", Function::Two(libm::atan2)),
    ("min", Function::Two(f64::min)),
    ("max", Function::Two(f64::max)),
    ("mod", Function::Two(modulo)),
];

/// A formula of `t` (ms), ready to be computed: numbers, `t`, `pi`, `+ - * / ^`, parentheses and functions.
#[derive(Clone, Debug)]
pub struct Formula {
    text: String,
    steps: Vec<Step>,
}

impl PartialEq for Formula {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// On a stack of numbers.
#[derive(Clone, Copy, Debug)]
enum Step {
    Number(f64),
    Time,
    Negate,
    Add,
    Subtract,
    Multiply,
    Divide,
    One(fn(f64) -> f64),
    Two(fn(f64, f64) -> f64),
}

#[derive(Clone, Copy)]
enum Function {
    One(fn(f64) -> f64),
    Two(fn(f64, f64) -> f64),
}

#[derive(Clone, Debug)]
enum Node {
    Number(f64),
    Name(String),
    Call(String, Vec<Self>),
    Negated(Box<Self>),
    Combined(char, Box<Self>, Box<Self>),
}

fn modulo(a: f64, b: f64) -> f64 {
    a - b * (a / b).floor()
}

impl Formula {
    /// Understands a formula, or says why not.
    pub(super) fn new(text: &str, constants: &BTreeMap<String, f64>) -> Result<Self, String> {
        let mut steps = Vec::new();
        compile(&tree(text)?, Some("t"), constants, &mut steps)?;
        if deepest(&steps) > DEEPEST {
            return Err(format!("the formula \"{text}\" is nested too deep"));
        }
        let text = text.trim().to_owned();
        Ok(Self { text, steps })
    }

    /// Its text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The value at a time (ms).
    #[must_use]
    pub fn at(&self, t: f64) -> f64 {
        let mut stack = [0.0; DEEPEST];
        let mut n = 0;
        for step in &self.steps {
            let top = n.max(1) - 1;
            match *step {
                Step::Number(value) => {
                    stack[n] = value;
                    n += 1;
                    continue;
                }
                Step::Time => {
                    stack[n] = t;
                    n += 1;
                    continue;
                }
                Step::Negate => {
                    stack[top] = -stack[top];
                    continue;
                }
                Step::One(function) => {
                    stack[top] = function(stack[top]);
                    continue;
                }
                _ => {}
            }
            let (a, b) = (stack[top - 1], stack[top]);
            stack[top - 1] = match *step {
                Step::Add => a + b,
                Step::Subtract => a - b,
                Step::Multiply => a * b,
                Step::Divide => a / b,
                Step::Two(function) => function(a, b),
                _ => b,
            };
            n -= 1;
        }
        stack[0]
    }
}

/// The value of an expression of constants.
pub(super) fn evaluate(text: &str, constants: &BTreeMap<String, f64>) -> Result<f64, String> {
    let mut steps = Vec::new();
    compile(&tree(text)?, None, constants, &mut steps)?;
    if deepest(&steps) > DEEPEST {
        return Err(format!("\"{text}\" is nested too deep"));
    }
    let value = Formula {
        text: String::new(),
        steps,
    }
    .at(0.0);
    if value.is_finite() {
        Ok(value)
    } else {
        Err(format!("\"{text}\" gives {value}"))
    }
}

fn tree(text: &str) -> Result<Node, String> {
    let text = text.trim();
    if text.matches(['(', '-', '+', '^']).count() > LONGEST {
        return Err(format!("the formula \"{text}\" is too long"));
    }
    sum.parse(text).map_err(|error| {
        let rest = &text[error.char_span().start..];
        let functions: Vec<&str> = FUNCTIONS.iter().map(|(name, _)| *name).collect();
        format!(
            "cannot understand \"{text}\" from \"{rest}\" on; numbers, names, + - * / ^, parentheses and the functions {} may stand here",
            functions.join(" ")
        )
    })
}

fn compile(
    node: &Node,
    time: Option<&str>,
    constants: &BTreeMap<String, f64>,
    steps: &mut Vec<Step>,
) -> Result<(), String> {
    match node {
        Node::Number(value) => steps.push(Step::Number(*value)),
        Node::Name(name) if Some(name.as_str()) == time => steps.push(Step::Time),
        Node::Name(name) => {
            let value = match (constants.get(name), name.as_str()) {
                (Some(value), _) => *value,
                (None, "pi") => PI,
                (None, _) => {
                    let known = constants.keys().map(String::as_str);
                    return Err(unknown("name", name, known.chain(time).chain(["pi"])));
                }
            };
            steps.push(Step::Number(value));
        }
        Node::Call(name, arguments) => {
            let known = || FUNCTIONS.iter().map(|(known, _)| *known);
            let Some((_, function)) = FUNCTIONS.iter().find(|(known, _)| known == name) else {
                return Err(unknown("function", name, known()));
            };
            let (step, needed) = match *function {
                Function::One(function) => (Step::One(function), 1),
                Function::Two(function) => (Step::Two(function), 2),
            };
            if arguments.len() != needed {
                return Err(format!(
                    "{name} takes {needed} value(s), not {}",
                    arguments.len()
                ));
            }
            for argument in arguments {
                compile(argument, time, constants, steps)?;
            }
            steps.push(step);
        }
        Node::Negated(inner) => {
            compile(inner, time, constants, steps)?;
            steps.push(Step::Negate);
        }
        Node::Combined(operator, a, b) => {
            compile(a, time, constants, steps)?;
            compile(b, time, constants, steps)?;
            steps.push(match operator {
                '+' => Step::Add,
                '-' => Step::Subtract,
                '*' => Step::Multiply,
                '/' => Step::Divide,
                _ => Step::Two(libm::pow),
            });
        }
    }
    Ok(())
}

/// The deepest stack that steps need.
fn deepest(steps: &[Step]) -> usize {
    let (mut n, mut deepest) = (0, 0);
    for step in steps {
        match step {
            Step::Number(_) | Step::Time => n += 1,
            Step::Negate | Step::One(_) => {}
            _ => n -= 1,
        }
        deepest = deepest.max(n);
    }
    deepest
}

fn sum(input: &mut &str) -> ModalResult<Node> {
    fn combined(operator: char) -> impl Fn(Node, Node) -> Node {
        move |a, b| Node::Combined(operator, Box::new(a), Box::new(b))
    }
    let operator = alt((
        "**".map(|_| {
            Infix::Right(11, |_: &mut &str, a, b| {
                Ok::<_, winnow::error::ErrMode<_>>(combined('^')(a, b))
            })
        }),
        dispatch! {any;
            '^' => Infix::Right(11, |_: &mut &str, a, b| Ok(combined('^')(a, b))),
            '+' => Infix::Left(5, |_: &mut &str, a, b| Ok(combined('+')(a, b))),
            '-' => Infix::Left(5, |_: &mut &str, a, b| Ok(combined('-')(a, b))),
            '*' => Infix::Left(7, |_: &mut &str, a, b| Ok(combined('*')(a, b))),
            '/' => Infix::Left(7, |_: &mut &str, a, b| Ok(combined('/')(a, b))),
            _ => fail,
        },
    ));
    delimited(
        multispace0,
        expression(operand)
            .prefix(preceded(
                multispace0,
                dispatch! {any;
                    '-' => Prefix(9, |_: &mut &str, x| Ok(Node::Negated(Box::new(x)))),
                    '+' => Prefix(9, |_: &mut &str, x| Ok(x)),
                    _ => fail,
                },
            ))
            .infix(operator),
        multispace0,
    )
    .parse_next(input)
}

fn operand(input: &mut &str) -> ModalResult<Node> {
    let name = || {
        (
            one_of(|c: char| c.is_ascii_alphabetic() || c == '_'),
            take_while(0.., |c: char| c.is_ascii_alphanumeric() || c == '_'),
        )
            .take()
            .map(str::to_owned)
    };
    let call = (
        name(),
        delimited((multispace0, '('), separated(1.., sum, ','), ')'),
    )
        .map(|(name, arguments): (String, Vec<Node>)| Node::Call(name, arguments));
    // Names before numbers, or `inf` and `nan` would be numbers.
    delimited(
        multispace0,
        alt((
            delimited('(', sum, ')'),
            call,
            name().map(Node::Name),
            float.map(Node::Number),
        )),
        multispace0,
    )
    .parse_next(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn constants() -> BTreeMap<String, f64> {
        BTreeMap::from([("radius".into(), 86.0)])
    }

    fn at(text: &str, t: f64) -> f64 {
        Formula::new(text, &constants()).unwrap().at(t)
    }

    #[test]
    fn formulas_bind_as_usual() {
        for (text, expected) in [
            ("t", 3.0),
            ("2 - t - 4", -5.0),
            ("2 * t + 1 / 4", 6.25),
            ("-t ^ 2", -9.0),
            ("2 ** 3 ^ 2", 512.0),
            ("2 ^ -1", 0.5),
            ("-(1 + t) * 2", -8.0),
            ("radius * cos(0) + sin ( 0 )", 86.0),
            ("max(t, 2) + min(t, 2)", 5.0),
            ("mod(-1, t)", 2.0),
            ("atan2(0, -1) - pi", 0.0),
            ("sqrt(abs(-t * t))", 3.0),
            ("log(exp(t))", 3.0),
            ("floor(t / 2)", 1.0),
            ("1e1 + .5", 10.5),
        ] {
            assert_eq!(at(text, 3.0), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_formula_is_an_error_with_the_nearest_name() {
        for (text, expected) in [
            ("", "cannot understand"),
            ("1 +", "from \"\""),
            ("2 3", "from \"3\""),
            ("(1", "cannot understand"),
            ("sine(t)", "did you mean \"sin\"?"),
            ("radios + 1", "did you mean \"radius\"?"),
            ("nan", "unknown name \"nan\""),
            ("sin(1, 2)", "takes 1"),
            ("min(1)", "takes 2"),
            ("sin()", "cannot understand"),
            (&"(".repeat(10_000), "too long"),
            (
                &format!("{}t{}", "(t + ".repeat(60), ")".repeat(60)),
                "too deep",
            ),
        ] {
            let error = Formula::new(text, &constants()).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert!(evaluate("t", &constants()).unwrap_err().contains("\"t\""));
        assert!(evaluate("1 / 0", &constants()).unwrap_err().contains("inf"));
        assert_eq!(evaluate("radius / 2", &constants()), Ok(43.0));
    }
}
