//! How tracers move.

use std::f64::consts::PI;
use std::fmt;
use std::sync::Arc;

use rayon::prelude::*;
use serde::Deserialize;

use super::formula::Formula;
use super::random::{Purpose, Random, turned};
use super::scene::Problem;
use super::vector::{add, basis, dot, scaled, unit};
use crate::data::PointData;
use crate::error::{Error, Result};

const MS_PER_MINUTE: f64 = 60_000.0;
const MS_PER_SECOND: f64 = 1_000.0;
/// Steps of a random walk that have a stream of random numbers of their own.
const CHUNK: u64 = 1024;
/// More steps of a random walk than this take too long.
const MOST_STEPS: f64 = 1e10;
/// Rows of the truth in a turn or a period, at least.
const ROWS_PER_PERIOD: f64 = 256.0;

/// How a tracer moves: its position (mm) at any time (ms).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Motion {
    /// It does not.
    Static([f64; 3]),
    /// Straight on.
    Line(Line),
    /// On a circle or, with a rise, on a helix.
    Circle(Circle),
    /// To and fro at constant speed.
    Triangle(Triangle),
    /// A random walk.
    Walk(Walk),
    /// Three formulas: x, y, z.
    Formula(Box<[Formula; 3]>),
    /// Rows `t x y z` in the order of time, linear in between; the tracer is there from the first to the last of them.
    Table(Arc<[[f64; 4]]>),
    /// A function of your own.
    Own(Own<dyn Fn(f64) -> [f64; 3] + Send + Sync>),
}

/// Straight on at constant velocity.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Position at time 0 (mm).
    pub from: [f64; 3],
    /// Velocity (mm/ms, which is m/s).
    pub velocity: [f64; 3],
}

/// On a circle or, with a rise, on a helix.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Circle {
    /// Centre (mm).
    pub centre: [f64; 3],
    /// Radius (mm).
    pub radius: f64,
    /// Turns a minute; negative ones turn clockwise.
    pub rpm: f64,
    /// Angle at time 0 (degrees): with the axis z, from x towards y.
    #[serde(default)]
    pub phase: f64,
    /// Axis, of any length.
    #[serde(default = "along_z")]
    pub axis: [f64; 3],
    /// What a turn adds along the axis (mm).
    #[serde(default)]
    pub rise: f64,
}

/// To and fro at constant speed: a triangle wave.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Triangle {
    /// The middle (mm), where the tracer is at time 0 with phase 0.
    pub centre: [f64; 3],
    /// Largest distance from the middle (mm): the speed is 4 times amplitude times frequency.
    pub amplitude: f64,
    /// Periods a second (Hz).
    pub frequency: f64,
    /// Direction, of any length.
    #[serde(default = "along_x")]
    pub axis: [f64; 3],
    /// Place in the period at time 0 (degrees).
    #[serde(default)]
    pub phase: f64,
}

/// A random walk: every `tau` a normal step along each axis, linear in between.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Walk {
    /// Position at time 0 (mm).
    pub from: [f64; 3],
    /// Standard deviation of a step along each axis (mm).
    pub step: f64,
    /// Time between two steps (ms).
    pub tau: f64,
    /// A box that reflects: x, y, z, from and to (mm).
    #[serde(default)]
    pub within: Option<[[f64; 2]; 3]>,
}

fn along_x() -> [f64; 3] {
    [1.0, 0.0, 0.0]
}

fn along_z() -> [f64; 3] {
    [0.0, 0.0, 1.0]
}

/// A user's function; equal only to itself and its clones.
pub struct Own<F: ?Sized>(pub Arc<F>);

impl<F: ?Sized> Clone for Own<F> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<F: ?Sized> fmt::Debug for Own<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Own(..)")
    }
}

impl<F: ?Sized> PartialEq for Own<F> {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::addr_eq(Arc::as_ptr(&self.0), Arc::as_ptr(&other.0))
    }
}

impl Motion {
    /// Linear between the rows of a table, such as the points of a trajectory.
    ///
    /// # Errors
    /// [`Error::Scene`] without rows, for rows that are not in the order of time, and for NaN or infinity.
    pub fn table(points: &PointData) -> Result<Self> {
        let problem = |problem: String| Error::Scene {
            name: "a table of positions".into(),
            line: None,
            problem,
        };
        let rows: Vec<[f64; 4]> = points
            .values()
            .chunks_exact(points.columns().len())
            .map(|row| [row[0], row[1], row[2], row[3]])
            .collect();
        if rows.is_empty() {
            return Err(problem("it has no rows".into()));
        }
        if let Some(n) = rows
            .iter()
            .position(|row| !row.iter().all(|x| x.is_finite()))
        {
            return Err(problem(format!(
                "row {n} (from 0) has a NaN or infinite value"
            )));
        }
        if let Some(n) = rows.windows(2).position(|pair| pair[0][0] >= pair[1][0]) {
            return Err(problem(format!(
                "the time of row {} (from 0), {}, is not after {}; sort the table by t, a row for each time",
                n + 1,
                rows[n + 1][0],
                rows[n][0]
            )));
        }
        Ok(Self::Table(rows.into()))
    }

    /// A function of the time (ms) that gives the position (mm).
    pub fn own(position: impl Fn(f64) -> [f64; 3] + Send + Sync + 'static) -> Self {
        Self::Own(Own(Arc::new(position)))
    }

    /// Moves along three formulas of `t` (ms): numbers, `t`, `pi`, `+ - * / ^`, parentheses, and functions such as `sin`.
    ///
    /// # Errors
    /// [`Error::Scene`] for a text that is no formula.
    pub fn formula(x: &str, y: &str, z: &str) -> Result<Self> {
        let formula = |text: &str| {
            Formula::new(text, &std::collections::BTreeMap::new()).map_err(|problem| Error::Scene {
                name: "a formula".into(),
                line: None,
                problem,
            })
        };
        Ok(Self::Formula(Box::new([
            formula(x)?,
            formula(y)?,
            formula(z)?,
        ])))
    }

    /// Its key in a scene.
    pub(super) fn key(&self) -> &'static str {
        match self {
            Self::Static(_) => "position",
            Self::Line(_) => "line",
            Self::Circle(_) => "circle",
            Self::Triangle(_) => "triangle",
            Self::Walk(_) => "walk",
            Self::Formula(_) => "formula",
            Self::Table(_) => "table",
            Self::Own(_) => "own",
        }
    }

    pub(super) fn check(&self, duration: f64) -> Result<(), Problem> {
        let finite = |key: &'static str, values: &[f64]| {
            let all = values.iter().all(|value| value.is_finite());
            all.then_some(())
                .ok_or_else(|| Problem::new(key, "all numbers have to be finite"))
        };
        let not_negative = |key: &'static str, value: f64| {
            if value >= 0.0 && value.is_finite() {
                Ok(())
            } else {
                Err(Problem::new(key, format!("{value} is no number from 0 on")))
            }
        };
        let direction = |key: &'static str, axis: [f64; 3]| {
            unit(axis).map(|_| ()).ok_or_else(|| {
                Problem::new(
                    key,
                    "a direction needs three finite numbers that are not all 0",
                )
            })
        };
        match self {
            Self::Static(position) => finite("position", position),
            Self::Line(line) => {
                finite("line.from", &line.from)?;
                finite("line.velocity", &line.velocity)
            }
            Self::Circle(circle) => {
                finite("circle.centre", &circle.centre)?;
                not_negative("circle.radius", circle.radius)?;
                finite("circle.rpm", &[circle.rpm])?;
                finite("circle.phase", &[circle.phase])?;
                finite("circle.rise", &[circle.rise])?;
                direction("circle.axis", circle.axis)
            }
            Self::Triangle(triangle) => {
                finite("triangle.centre", &triangle.centre)?;
                not_negative("triangle.amplitude", triangle.amplitude)?;
                not_negative("triangle.frequency", triangle.frequency)?;
                finite("triangle.phase", &[triangle.phase])?;
                direction("triangle.axis", triangle.axis)
            }
            Self::Walk(walk) => {
                finite("walk.from", &walk.from)?;
                not_negative("walk.step", walk.step)?;
                if !(walk.tau > 0.0 && walk.tau.is_finite()) {
                    let text = format!("{} is no time in ms above 0", walk.tau);
                    return Err(Problem::new("walk.tau", text));
                }
                if duration / walk.tau > MOST_STEPS {
                    return Err(Problem::new(
                        "walk.tau",
                        format!(
                            "{} steps are more than can be simulated",
                            duration / walk.tau
                        ),
                    ));
                }
                let Some(within) = walk.within else {
                    return Ok(());
                };
                let holds = |[from, to]: [f64; 2], x: f64| from < to && from <= x && x <= to;
                let inside = within
                    .iter()
                    .zip(walk.from)
                    .all(|(&side, x)| holds(side, x));
                if inside && within.as_flattened().iter().all(|x| x.is_finite()) {
                    return Ok(());
                }
                Err(Problem::new(
                    "walk.within",
                    "a box is [[x from, x to], [y from, y to], [z from, z to]], lower numbers first, and the walk starts in it",
                ))
            }
            // Checked when it was made.
            Self::Formula(_) | Self::Table(_) | Self::Own(_) => Ok(()),
        }
    }

    /// A box that the tracer does not leave between two times, if one is known; it need not be the smallest one.
    pub(super) fn extent(&self, from: f64, to: f64) -> Option<[[f64; 2]; 3]> {
        let around = |centre: [f64; 3], reach: f64| centre.map(|x| [x - reach, x + reach]);
        let of_two = |a: [f64; 3], b: [f64; 3]| {
            Some(std::array::from_fn(|k| [a[k].min(b[k]), a[k].max(b[k])]))
        };
        match self {
            Self::Static(position) => Some(around(*position, 0.0)),
            Self::Line(line) => of_two(line.at(from), line.at(to)),
            Self::Circle(circle) => {
                let turns = (from.abs().max(to.abs()) / MS_PER_MINUTE * circle.rpm).abs() + 1.0;
                let reach = circle.radius + circle.rise.abs() * turns;
                Some(around(circle.centre, reach))
            }
            Self::Triangle(triangle) => Some(around(triangle.centre, triangle.amplitude)),
            Self::Walk(walk) => walk.within,
            Self::Table(rows) => Some(std::array::from_fn(|k| {
                let column = rows.iter().map(|row| row[k + 1]);
                let least = column.clone().fold(f64::INFINITY, f64::min);
                [least, column.fold(f64::NEG_INFINITY, f64::max)]
            })),
            Self::Formula(_) | Self::Own(_) => None,
        }
    }

    /// A step (ms) between rows of the truth that shows the motion.
    pub(super) fn truth_step(&self) -> f64 {
        let period = match self {
            Self::Circle(circle) => MS_PER_MINUTE / circle.rpm.abs(),
            Self::Triangle(triangle) => MS_PER_SECOND / triangle.frequency,
            Self::Walk(walk) => return walk.tau,
            _ => f64::INFINITY,
        };
        period / ROWS_PER_PERIOD
    }

    /// The time of the first and the last position.
    pub(super) fn span(&self) -> [f64; 2] {
        match self {
            Self::Table(rows) => {
                let time = |row: Option<&[f64; 4]>| row.map_or(0.0, |row| row[0]);
                [time(rows.first()), time(rows.last())]
            }
            _ => [f64::NEG_INFINITY, f64::INFINITY],
        }
    }

    /// Ready to be computed from time 0 to `duration`, as this tracer of a scene with this seed.
    pub(super) fn prepare(&self, seed: u64, tracer: usize, duration: f64) -> Prepared {
        match self {
            Self::Static(position) => Prepared::Static(*position),
            Self::Line(line) => Prepared::Line(*line),
            Self::Circle(circle) => {
                let axis = unit(circle.axis).unwrap_or(along_z());
                let [first, second] = basis(axis);
                Prepared::Circle {
                    centre: circle.centre,
                    first: scaled(first, circle.radius),
                    second: scaled(second, circle.radius),
                    rise: scaled(axis, circle.rise),
                    phase: circle.phase / 360.0,
                    turns_per_ms: circle.rpm / MS_PER_MINUTE,
                }
            }
            Self::Triangle(triangle) => Prepared::Triangle {
                centre: triangle.centre,
                reach: scaled(unit(triangle.axis).unwrap_or(along_x()), triangle.amplitude),
                phase: triangle.phase / 360.0,
                periods_per_ms: triangle.frequency / MS_PER_SECOND,
            },
            Self::Walk(walk) => Prepared::Walk(PreparedWalk::new(*walk, seed, tracer, duration)),
            Self::Formula(formulas) => Prepared::Formula(formulas.clone()),
            Self::Table(rows) => Prepared::Table(Arc::clone(rows)),
            Self::Own(own) => Prepared::Own(own.clone()),
        }
    }
}

impl Line {
    fn at(&self, t: f64) -> [f64; 3] {
        add(self.from, scaled(self.velocity, t))
    }
}

/// A motion with all that does not depend on the time computed.
#[derive(Clone, Debug)]
pub(super) enum Prepared {
    Static([f64; 3]),
    Line(Line),
    Circle {
        centre: [f64; 3],
        first: [f64; 3],
        second: [f64; 3],
        rise: [f64; 3],
        phase: f64,
        turns_per_ms: f64,
    },
    Triangle {
        centre: [f64; 3],
        reach: [f64; 3],
        phase: f64,
        periods_per_ms: f64,
    },
    Walk(PreparedWalk),
    Formula(Box<[Formula; 3]>),
    Table(Arc<[[f64; 4]]>),
    Own(Own<dyn Fn(f64) -> [f64; 3] + Send + Sync>),
}

/// A motion between two times.
#[derive(Debug)]
pub(super) enum Piece<'a> {
    Whole(&'a Prepared),
    /// Positions at `first * step`, `(first + 1) * step`, ...
    Nodes {
        first: f64,
        step: f64,
        nodes: Vec<[f64; 3]>,
    },
}

impl Prepared {
    pub(super) fn between(&self, from: f64, to: f64) -> Piece<'_> {
        match self {
            Self::Walk(walk) => walk.between(from, to),
            other => Piece::Whole(other),
        }
    }

    pub(super) fn at(&self, t: f64) -> [f64; 3] {
        match self {
            Self::Static(position) => *position,
            Self::Line(line) => line.at(t),
            Self::Circle {
                centre,
                first,
                second,
                rise,
                phase,
                turns_per_ms,
            } => {
                let turns = t * turns_per_ms;
                let [cos, sin] = turned(phase + turns);
                std::array::from_fn(|k| {
                    centre[k] + cos * first[k] + sin * second[k] + turns * rise[k]
                })
            }
            Self::Triangle {
                centre,
                reach,
                phase,
                periods_per_ms,
            } => {
                // 0 at phase 0, then 1, 0, -1 after a quarter each.
                let periods = phase + t * periods_per_ms + 0.75;
                let height = 4.0 * (periods - periods.floor() - 0.5).abs() - 1.0;
                add(*centre, scaled(*reach, height))
            }
            Self::Walk(walk) => walk.between(t, t).at(t),
            Self::Formula(formulas) => std::array::from_fn(|k| formulas[k].at(t)),
            Self::Table(rows) => in_table(rows, t),
            Self::Own(own) => (own.0)(t),
        }
    }

    /// The first time at which a random walk is where it must not be.
    pub(super) fn leaves(&self, is_inside: impl Fn([f64; 3]) -> bool + Sync) -> Option<f64> {
        match self {
            Self::Walk(walk) => walk.leaves(is_inside),
            _ => None,
        }
    }

    /// Times between two others at which a motion of rows has one.
    pub(super) fn times(&self, from: f64, to: f64) -> &[[f64; 4]] {
        match self {
            Self::Table(rows) => {
                let start = rows.partition_point(|row| row[0] < from);
                let end = rows.partition_point(|row| row[0] < to);
                &rows[start..end.max(start)]
            }
            _ => &[],
        }
    }
}

impl Piece<'_> {
    /// A box that the tracer does not leave between these times, which are the piece's, if one is known.
    pub(super) fn extent(&self, from: f64, to: f64) -> Option<[[f64; 2]; 3]> {
        let ends = [self.at(from), self.at(to)];
        // No further from both ends than this.
        let around = |reach: f64| hull(ends).map(|[from, to]| [from - reach, to + reach]);
        Some(match self {
            Self::Whole(Prepared::Static(_) | Prepared::Line(_)) => hull(ends),
            Self::Whole(Prepared::Circle {
                first,
                rise,
                turns_per_ms,
                ..
            }) => {
                let radius = dot(*first, *first).sqrt();
                let turns = (turns_per_ms * (to - from)).abs();
                let way = turns * dot(*rise, *rise).sqrt();
                around(radius * (PI * turns).min(2.0) + way)
            }
            Self::Whole(Prepared::Triangle {
                reach,
                periods_per_ms,
                ..
            }) => {
                let way = 2.0 * (periods_per_ms * (to - from)).abs();
                let share = way.min(2.0);
                let ends = hull(ends);
                std::array::from_fn(|k| {
                    let way = share * reach[k].abs();
                    [ends[k][0] - way, ends[k][1] + way]
                })
            }
            Self::Whole(Prepared::Table(rows)) => {
                let within = rows.partition_point(|row| row[0] < from)
                    ..rows.partition_point(|row| row[0] < to);
                let rows = rows.get(within).unwrap_or_default();
                hull(rows.iter().map(|&[_, x, y, z]| [x, y, z]).chain(ends))
            }
            Self::Whole(Prepared::Walk(_) | Prepared::Formula(_) | Prepared::Own(_)) => {
                return None;
            }
            Self::Nodes { nodes, .. } => hull(nodes.iter().copied()),
        })
    }

    #[inline]
    pub(super) fn at(&self, t: f64) -> [f64; 3] {
        match self {
            Self::Whole(Prepared::Static(position)) => *position,
            Self::Whole(motion) => motion.at(t),
            Self::Nodes { first, step, nodes } => {
                let place = (t / step - first).clamp(0.0, (nodes.len() - 2) as f64);
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "clamped"
                )]
                let before = place as usize;
                let share = (t / step - first) - before as f64;
                between(nodes[before], nodes[before + 1], share.clamp(0.0, 1.0))
            }
        }
    }
}

/// A box around some places.
fn hull(places: impl IntoIterator<Item = [f64; 3]>) -> [[f64; 2]; 3] {
    let none = [[f64::INFINITY, f64::NEG_INFINITY]; 3];
    places.into_iter().fold(none, |all, place| {
        std::array::from_fn(|k| [all[k][0].min(place[k]), all[k][1].max(place[k])])
    })
}

fn between(a: [f64; 3], b: [f64; 3], share: f64) -> [f64; 3] {
    std::array::from_fn(|k| a[k] + share * (b[k] - a[k]))
}

/// Linear between rows; the first and the last of them before and after.
fn in_table(rows: &[[f64; 4]], t: f64) -> [f64; 3] {
    let position = |row: &[f64; 4]| [row[1], row[2], row[3]];
    let after = rows.partition_point(|row| row[0] < t);
    match (after.checked_sub(1).map(|n| &rows[n]), rows.get(after)) {
        (Some(a), Some(b)) => {
            let share = (t - a[0]) / (b[0] - a[0]);
            between(position(a), position(b), share)
        }
        (Some(row), None) | (None, Some(row)) => position(row),
        (None, None) => [f64::NAN; 3],
    }
}

/// A random walk whose place is known at the start of each chunk, so that any time can be looked up.
#[derive(Clone, Debug)]
pub(super) struct PreparedWalk {
    walk: Walk,
    seed: u64,
    tracer: u64,
    /// Without reflections.
    starts: Vec<[f64; 3]>,
}

impl PreparedWalk {
    fn new(walk: Walk, seed: u64, tracer: usize, duration: f64) -> Self {
        let mut prepared = Self {
            walk,
            seed,
            tracer: tracer as u64,
            starts: Vec::new(),
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive, and limited by `check`"
        )]
        let n_chunks = (duration / walk.tau) as u64 / CHUNK + 1;
        let moves: Vec<[f64; 3]> = (0..n_chunks)
            .into_par_iter()
            .map(|chunk| prepared.steps(chunk).fold([0.0; 3], add))
            .collect();
        let mut start = walk.from;
        for step in moves {
            prepared.starts.push(start);
            start = add(start, step);
        }
        prepared.starts.push(start);
        prepared
    }

    fn steps(&self, chunk: u64) -> impl Iterator<Item = [f64; 3]> + use<> {
        let mut random = Random::stream(self.seed, Purpose::Walk, self.tracer, chunk);
        let step = self.walk.step;
        (0..CHUNK).map(move |_| scaled(random.three_normals(), step))
    }

    /// The positions at the start of a chunk and after each of its steps but the last.
    fn nodes(&self, chunk: usize) -> impl Iterator<Item = [f64; 3]> + '_ {
        let mut place = self.starts[chunk.min(self.starts.len() - 1)];
        self.steps(chunk as u64).map(move |step| {
            let node = self.reflected(place);
            place = add(place, step);
            node
        })
    }

    fn reflected(&self, place: [f64; 3]) -> [f64; 3] {
        let Some(within) = self.walk.within else {
            return place;
        };
        std::array::from_fn(|k| {
            let [from, to] = within[k];
            let widths = (place[k] - from) / (to - from);
            let folded = widths - 2.0 * (0.5 * widths).floor();
            from + (to - from) * folded.min(2.0 - folded)
        })
    }

    fn between(&self, from: f64, to: f64) -> Piece<'_> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "times are positive, and limited by `check`"
        )]
        let chunk = |t: f64| ((t / self.walk.tau).max(0.0) as u64 / CHUNK) as usize;
        let last = self.starts.len() - 2;
        let (first, end) = (chunk(from).min(last), chunk(to).min(last));
        let mut nodes: Vec<[f64; 3]> = (first..=end).flat_map(|chunk| self.nodes(chunk)).collect();
        nodes.push(self.reflected(self.starts[end + 1]));
        Piece::Nodes {
            first: (first as u64 * CHUNK) as f64,
            step: self.walk.tau,
            nodes,
        }
    }

    fn leaves(&self, is_inside: impl Fn([f64; 3]) -> bool + Sync) -> Option<f64> {
        let found = (0..self.starts.len() - 1)
            .into_par_iter()
            .find_map_first(|chunk| {
                let outside = self.nodes(chunk).position(|node| !is_inside(node))?;
                Some((chunk as u64 * CHUNK + outside as u64) as f64)
            });
        found.map(|node| node * self.walk.tau)
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    fn at(motion: &Motion, t: f64) -> [f64; 3] {
        motion.prepare(0, 0, 1000.0).at(t)
    }

    fn assert_near(a: [f64; 3], b: [f64; 3]) {
        let near = a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-9);
        assert!(near, "{a:?} {b:?}");
    }

    #[test]
    fn circles_triangles_lines_and_helices_are_where_they_should_be() {
        let circle = Circle {
            centre: [1.0, 2.0, 3.0],
            radius: 10.0,
            rpm: 60.0,
            phase: 90.0,
            axis: [0.0, 0.0, 2.0],
            rise: 8.0,
        };
        let flat = Motion::Circle(Circle {
            rise: 0.0,
            ..circle
        });
        assert_near(at(&flat, 0.0), [1.0, 12.0, 3.0]);
        assert_near(at(&flat, 250.0), [-9.0, 2.0, 3.0]);
        assert_near(at(&flat, 7_250.0), [-9.0, 2.0, 3.0]);
        assert_near(at(&Motion::Circle(circle), 250.0), [-9.0, 2.0, 5.0]);
        // Any axis: a circle about x lies in the plane of y and z.
        let about_x = Motion::Circle(Circle {
            axis: [1.0, 0.0, 0.0],
            ..circle
        });
        for t in [0.0, 130.0, 777.0] {
            let [x, y, z] = at(&about_x, t);
            assert!((x - 1.0 - 8.0 * t / 1000.0).abs() < 1e-9);
            assert!(((y - 2.0).powi(2) + (z - 3.0).powi(2) - 100.0).abs() < 1e-9);
        }
        let triangle = Motion::Triangle(Triangle {
            centre: [1.0, 2.0, 3.0],
            amplitude: 10.0,
            frequency: 2.0,
            axis: [0.0, 3.0, 0.0],
            phase: 0.0,
        });
        for (t, y) in [
            (0.0, 2.0),
            (62.5, 7.0),
            (125.0, 12.0),
            (250.0, 2.0),
            (375.0, -8.0),
        ] {
            assert_near(at(&triangle, t), [1.0, y, 3.0]);
        }
        let line = Motion::Line(Line {
            from: [0.0, 1.0, 2.0],
            velocity: [0.5, 0.0, -0.25],
        });
        assert_near(at(&line, 4.0), [2.0, 1.0, 1.0]);
        assert_near(
            at(&Motion::formula("t", "2 * t", "-t").unwrap(), 4.0),
            [4.0, 8.0, -4.0],
        );
        assert_near(at(&Motion::own(|t| [t, 0.0, 1.0]), 4.0), [4.0, 0.0, 1.0]);
    }

    #[test]
    fn no_motion_leaves_its_box() {
        let circle = Circle {
            centre: [1.0, 2.0, 3.0],
            radius: 10.0,
            rpm: -190.0,
            phase: 30.0,
            axis: [1.0, 0.0, 2.0],
            rise: 8.0,
        };
        let triangle = Triangle {
            centre: [1.0, 2.0, 3.0],
            amplitude: 10.0,
            frequency: 7.0,
            axis: [1.0, -3.0, 0.0],
            phase: 70.0,
        };
        let line = Line {
            from: [0.0, 1.0, 2.0],
            velocity: [0.5, 0.0, -0.25],
        };
        let walk = Walk {
            from: [1.0, 2.0, 3.0],
            step: 0.5,
            tau: 0.25,
            within: None,
        };
        let rows = (0..60).map(|n: i32| {
            let n = f64::from(n);
            [17.0 * n, n * n % 11.0, n * n % 7.0, -(n * n) % 13.0]
        });
        let rows: Vec<[f64; 4]> = rows.collect();
        let table = PointData::new(ndarray::Array2::from(rows)).unwrap();
        let mut random = Random::stream(1, Purpose::Block, 0, 0);
        for motion in [
            Motion::Circle(circle),
            Motion::Triangle(triangle),
            Motion::Line(line),
            Motion::Walk(walk),
            Motion::table(&table).unwrap(),
        ] {
            let prepared = motion.prepare(0, 0, 1000.0);
            for _ in 0..200 {
                let from = random.between(0.0, 990.0);
                let to = from + random.between(0.0, [0.5, 30.0, 1000.0 - from][from as usize % 3]);
                let to = to.min(1000.0);
                let piece = prepared.between(from, to);
                let extent = piece.extent(from, to).unwrap();
                for n in 0..=100 {
                    let place = piece.at(from + (to - from) * f64::from(n) / 100.0);
                    let is_inside =
                        |(x, [low, high]): (f64, [f64; 2])| low - 1e-9 <= x && x <= high + 1e-9;
                    assert!(
                        place.into_iter().zip(extent).all(is_inside),
                        "{motion:?} {from} {to}: {place:?} {extent:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn tables_are_linear_between_rows_and_bad_ones_name_the_row() {
        let points = PointData::new(array![
            [0.0, 0.0, 0.0, 0.0],
            [2.0, 4.0, 0.0, -2.0],
            [4.0, 4.0, 2.0, 0.0]
        ])
        .unwrap();
        let motion = Motion::table(&points).unwrap();
        assert_near(at(&motion, 0.5), [1.0, 0.0, -0.5]);
        assert_near(at(&motion, 2.0), [4.0, 0.0, -2.0]);
        assert_near(at(&motion, 3.0), [4.0, 1.0, -1.0]);
        assert_eq!(motion.span(), [0.0, 4.0]);
        let problem = |rows| {
            let points = PointData::new(rows).unwrap();
            Motion::table(&points).unwrap_err().to_string()
        };
        let twice = problem(array![[1.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]]);
        assert!(
            twice.contains("row 1 (from 0), 1, is not after 1"),
            "{twice}"
        );
        let nan = problem(array![[1.0, f64::NAN, 0.0, 0.0]]);
        assert!(nan.contains("row 0 (from 0)"), "{nan}");
        assert!(problem(ndarray::Array2::zeros((0, 4))).contains("no rows"));
    }

    #[test]
    fn a_walk_has_its_steps_and_is_the_same_from_everywhere() {
        let walk = Walk {
            from: [1.0, 2.0, 3.0],
            step: 0.5,
            tau: 0.25,
            within: None,
        };
        let whole = Motion::Walk(walk).prepare(3, 1, 1500.0);
        assert_eq!(whole.at(0.0), [1.0, 2.0, 3.0]);
        let piece = whole.between(0.0, 1500.0);
        let mut variance = 0.0;
        for n in 0..5_990 {
            let t = f64::from(n) * 0.25;
            assert_eq!(piece.at(t), whole.at(t), "{t}");
            assert_eq!(piece.at(t + 0.1), whole.between(t, t + 1.0).at(t + 0.1));
            let (a, b) = (piece.at(t), piece.at(t + 0.25));
            variance += (0..3).map(|k| (b[k] - a[k]).powi(2)).sum::<f64>() / 3.0 / 5_990.0;
        }
        assert!((variance - 0.25).abs() < 0.25 * 5.0 * (2.0 / 3.0 / 5_990.0_f64).sqrt());
        // Another tracer walks elsewhere.
        assert_ne!(
            Motion::Walk(walk).prepare(3, 2, 1500.0).at(700.0),
            whole.at(700.0)
        );
        let left = whole.leaves(|[x, _, _]| (x - 1.0).abs() < 5.0).unwrap();
        assert!((whole.at(left)[0] - 1.0).abs() >= 5.0);
        let before = piece.at(left - 0.25);
        assert!((before[0] - 1.0).abs() < 5.0);
    }

    #[test]
    fn a_box_reflects_a_walk() {
        let walk = Motion::Walk(Walk {
            from: [0.0, 0.0, 0.0],
            step: 1.0,
            tau: 1.0,
            within: Some([[-3.0, 2.0], [-1.0, 1.0], [0.0, 0.5]]),
        });
        walk.check(5_000.0).unwrap();
        let prepared = walk.prepare(0, 0, 5_000.0);
        let inside = |[x, y, z]: [f64; 3]| {
            (-3.0..=2.0).contains(&x) && (-1.0..=1.0).contains(&y) && (0.0..=0.5).contains(&z)
        };
        assert_eq!(prepared.leaves(inside), None);
        let mean: f64 = (0..5_000)
            .map(|n| prepared.at(f64::from(n) + 0.5)[0])
            .sum::<f64>()
            / 5_000.0;
        assert!((mean + 0.5).abs() < 0.3, "{mean}");
    }
}
