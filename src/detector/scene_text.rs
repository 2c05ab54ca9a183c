//! Scenes as TOML text.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::camera::FORTE;
use super::formula::{Formula, evaluate};
use super::motion::{Circle, Line, Motion, Triangle, Walk};
use super::random::{Purpose, Random};
use super::scene::{Detector, Problem, Ring, Scene, Screens, Tracer, forte_background};
use super::simulator::Simulator;
use super::spread::{Cylinder, Isotope, Offsets, Shape, Sphere};
use super::vector::{add, dot, scaled};
use crate::error::{Error, Result};
use crate::io;

macro_rules! examples {
    ($($name:literal),+ $(,)?) => {
        /// The scenes that the library brings, by name.
        pub(super) const EXAMPLES: &[(&str, &str)] = &[
            $(($name, include_str!(concat!("scenes/", $name, ".toml")))),+
        ];
    };
}
examples![
    "static",
    "scatter-60",
    "scatter-85",
    "fov",
    "velocity-screens-x",
    "velocity-screens-z",
    "velocity-ring-x",
    "velocity-ring-z",
    "pair-in-plane",
    "pair-weak-axis",
    "linking",
    "many",
    "close-packed-4",
    "close-packed-8",
    "close-packed-16",
    "walk",
    "circle",
    "circle-low-activity",
];

/// More tracers than this make no sense.
const MOST_TRACERS: usize = 10_000;
/// Places that are tried for each tracer, until one is far enough from all others.
const MOST_TRIES: usize = 10_000;

/// A scene as text, before it is understood.
///
/// ```toml
/// duration = 1000.0            # ms
/// rate = 30.0                  # LoRs per ms, random ones included
/// background = 0.2             # share of random LoRs
/// screens = { separation = 600.0 }
///
/// [parameters]
/// rpm = 42
///
/// [[tracer]]
/// circle = { centre = [302, 302, 300], radius = 86, rpm = "= rpm" }
/// count = 2
/// ```
///
/// | key | is |
/// |---|---|
/// | `duration`, `rate`, `reference`, `background`, `scattered`, `acollinearity`, `blur`, `seed`, `truth_step` | as the fields of [`Scene`] |
/// | `screens`, `ring` | the detector, one of them: the fields of [`Screens`] or [`Ring`], whose defaults are the ADAC Forte and the HR++ |
/// | `offsets` | `"measured"` (the default for screens), `"none"`, or the fields of [`Offsets`] |
/// | `parameters` | numbers that may be set from outside; a value `"= 2 * rpm"` is computed from them |
/// | `tracer` | one or more of them |
///
/// A tracer has one motion: `position = [x, y, z]`, `positions` (several that share the rest), `line`, `circle`, `triangle`, `walk` (the
/// fields of [`Line`], [`Circle`], [`Triangle`], [`Walk`]), `formula = { x, y, z }` (texts, functions of `t` in ms), `table` (a file of
/// `t x y z`, found from the scene's folder) or `random = { count, centre, radius, height, apart }` (static, anywhere in a cylinder about
/// z, `apart` or more from each other). `count` makes several: evenly spaced on a circle, or that many walks. Further keys: `activity`,
/// `enter`, `leave`, `gaps`, `sphere` or `cylinder` ([`Sphere`], [`Cylinder`]), `isotope` (`"F-18"`, `"Ga-68"`, `"Cu-64"`, `"O-15"`,
/// `"C-11"`, or `{ endpoint = MEV }`), `emissions` (a file whose first column holds their times), `may_leave`.
///
/// Without a rate, activities in Bq decide: on screens by the rates and the background that were measured with the ADAC Forte, scaled by
/// its sensitivity, in a ring by geometry and its `efficiency`.
#[derive(Clone, Debug, PartialEq)]
pub struct SceneText {
    name: String,
    text: String,
    folder: PathBuf,
    /// Lines that were put before the text.
    inserted: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    duration: f64,
    rate: Option<f64>,
    reference: Option<[f64; 3]>,
    background: Option<f64>,
    #[serde(default)]
    scattered: f64,
    offsets: Option<OffsetsText>,
    #[serde(default)]
    acollinearity: f64,
    #[serde(default)]
    blur: f64,
    #[serde(default)]
    seed: u64,
    truth_step: Option<f64>,
    screens: Option<Screens>,
    ring: Option<Ring>,
    #[serde(default)]
    parameters: BTreeMap<String, f64>,
    #[serde(default)]
    tracer: Vec<TracerText>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "offsets are \"measured\", \"none\", or { core_share = 0.45, core = 2.25, tail = 3.5 }"
)]
enum OffsetsText {
    Named(NamedOffsets),
    Own(Offsets),
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum NamedOffsets {
    Measured,
    None,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TracerText {
    position: Option<[f64; 3]>,
    positions: Option<Vec<[f64; 3]>>,
    random: Option<Places>,
    line: Option<Line>,
    circle: Option<Circle>,
    triangle: Option<Triangle>,
    walk: Option<Walk>,
    formula: Option<FormulaText>,
    table: Option<PathBuf>,
    count: Option<usize>,
    activity: Option<f64>,
    #[serde(default)]
    enter: f64,
    leave: Option<f64>,
    #[serde(default)]
    gaps: Vec<[f64; 2]>,
    sphere: Option<Sphere>,
    cylinder: Option<Cylinder>,
    isotope: Option<IsotopeText>,
    emissions: Option<PathBuf>,
    #[serde(default)]
    may_leave: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FormulaText {
    x: String,
    y: String,
    z: String,
}

/// Static tracers anywhere in a cylinder about z.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Places {
    count: usize,
    centre: [f64; 3],
    radius: f64,
    height: f64,
    /// Least distance of two of them (mm).
    #[serde(default)]
    apart: f64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "an isotope is \"F-18\", \"Ga-68\", \"Cu-64\", \"O-15\", \"C-11\", or { endpoint = MEV }"
)]
enum IsotopeText {
    Named(String),
    Own(OwnIsotope),
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnIsotope {
    endpoint: f64,
    daughter: Option<f64>,
    positrons: Option<f64>,
    matter: Option<[f64; 2]>,
    mean_range: Option<f64>,
}

/// What may stand at the top of a scene.
const KEYS: &[&str] = &[
    "duration",
    "rate",
    "reference",
    "background",
    "scattered",
    "offsets",
    "acollinearity",
    "blur",
    "seed",
    "truth_step",
    "screens",
    "ring",
    "parameters",
    "tracer",
];

impl SceneText {
    /// A scene from its text; `name` is for messages. Files that it names are found from the current folder.
    #[must_use]
    pub fn new(name: &str, text: &str) -> Self {
        Self {
            name: name.to_owned(),
            text: text.to_owned(),
            folder: PathBuf::new(),
            inserted: 0,
        }
    }

    /// A scene that the library brings: one of [`Scene::examples`].
    ///
    /// # Errors
    /// [`Error::Scene`] with the nearest name for an unknown one.
    pub fn example(name: &str) -> Result<Self> {
        match EXAMPLES.iter().find(|(known, _)| *known == name) {
            Some((name, text)) => Ok(Self::new(name, text)),
            None => Err(Error::Scene {
                name: name.to_owned(),
                line: None,
                problem: unknown("scene", name, EXAMPLES.iter().map(|(known, _)| *known)),
            }),
        }
    }

    /// A scene file. Files that it names are found from its folder.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(Error::reading(path))?;
        Ok(Self {
            folder: path.parent().unwrap_or(Path::new("")).to_owned(),
            ..Self::new(&path.display().to_string(), &text)
        })
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Sets a parameter, or any value: `rate`, `screens.separation`, `tracer.0.circle.rpm`. The value is TOML, or text without quotes.
    ///
    /// Where there are several parts, the value has to be there already.
    ///
    /// # Errors
    /// [`Error::Scene`] if the scene has no such value.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let value = match DeValue::parse(value) {
            Ok(_) => value.trim().to_owned(),
            Err(_) => toml::Value::String(value.to_owned()).to_string(),
        };
        let document = self.document(&self.text)?;
        let document = document.get_ref();
        let parts: Vec<&str> = key.split('.').collect();
        let parameter = find(document, &["parameters", key]);
        let span = match (parameter, find(document, &parts)) {
            (Some(found), _) | (None, Some(found)) => found,
            (None, None) if parts.len() == 1 && KEYS.contains(&key) => {
                self.text.insert_str(0, &format!("{key} = {value}\n"));
                self.inserted += 1;
                return Ok(());
            }
            (None, None) => {
                let parameters = match document.get("parameters").map(Spanned::get_ref) {
                    Some(DeValue::Table(table)) => names(table),
                    _ => Vec::new(),
                };
                let known = parameters.iter().map(String::as_str);
                return Err(self.error(
                    None,
                    unknown("value", key, known.chain(KEYS.iter().copied())),
                ));
            }
        };
        self.text.replace_range(span, &value);
        Ok(())
    }

    /// The scene.
    ///
    /// # Errors
    /// [`Error::Scene`] with the line of the first thing that makes no sense; what reading a table says.
    pub fn scene(&self) -> Result<Scene> {
        let text = self.computed()?;
        let contents: Contents =
            toml::from_str(&text).map_err(|error| self.toml_error(&text, &error))?;
        let (scene, entries) = self.understood(&contents, &text)?;
        // What cannot be simulated has a line as long as the text is at hand.
        Simulator::prepare(scene.clone())
            .map_err(|problem| self.located(problem, &entries, &text))?;
        Ok(scene)
    }

    /// The text with its expressions computed.
    fn computed(&self) -> Result<String> {
        let document = self.document(&self.text)?;
        let document = document.get_ref();
        let mut constants = BTreeMap::new();
        if let Some(DeValue::Table(table)) = document.get("parameters").map(Spanned::get_ref) {
            for (name, value) in table {
                if let Some(value) = number(value.get_ref()) {
                    constants.insert(name.get_ref().to_string(), value);
                }
            }
        }
        let mut found = Vec::new();
        for value in document.values() {
            expressions(value, &mut found);
        }
        found.sort_by_key(|(span, _)| span.start);
        let mut text = self.text.clone();
        for (span, expression) in found.into_iter().rev() {
            let value = evaluate(&expression, &constants)
                .map_err(|problem| self.error(Some((&self.text, span.start)), problem))?;
            text.replace_range(span, &toml_number(value));
        }
        Ok(text)
    }

    fn document<'t>(&self, text: &'t str) -> Result<Spanned<DeTable<'t>>> {
        DeTable::parse(text).map_err(|error| self.toml_error(text, &error))
    }

    fn toml_error(&self, text: &str, error: &toml::de::Error) -> Error {
        let start = error.span().map_or(0, |span| span.start);
        self.error(Some((text, start)), error.message().trim_end().to_owned())
    }

    fn error(&self, place: Option<(&str, usize)>, problem: String) -> Error {
        Error::Scene {
            name: self.name.clone(),
            line: place.map(|(text, position)| self.line_at(text, position)),
            problem,
        }
    }

    /// The line (from 1) of a position in the text, without inserted ones.
    fn line_at(&self, text: &str, position: usize) -> usize {
        let before = text
            .bytes()
            .take(position)
            .filter(|&byte| byte == b'\n')
            .count();
        (before + 1).saturating_sub(self.inserted).max(1)
    }

    /// A problem with its line. `entries`: which entry of the text each tracer comes from.
    fn located(&self, problem: Problem, entries: &[usize], text: &str) -> Error {
        let tracer = problem.tracer.and_then(|tracer| entries.get(tracer));
        let entry = tracer.map(ToString::to_string);
        let mut parts: Vec<&str> = Vec::new();
        if let Some(entry) = &entry {
            parts.extend(["tracer", entry]);
        }
        parts.extend(problem.key.split('.'));
        let document = DeTable::parse(text).ok();
        let line = document.and_then(|document| {
            // The key itself may be a default that the text leaves out.
            let found = (1..=parts.len())
                .rev()
                .find_map(|n| find(document.get_ref(), &parts[..n]));
            Some(self.line_at(text, found?.start))
        });
        problem.error(&self.name, line)
    }

    fn understood(&self, contents: &Contents, text: &str) -> Result<(Scene, Vec<usize>)> {
        let problem = |key, problem: &str| self.located(Problem::new(key, problem), &[], text);
        let detector = match (contents.screens, contents.ring) {
            (Some(screens), None) => Detector::Screens(screens),
            (None, Some(ring)) => Detector::Ring(ring),
            (Some(_), Some(_)) => {
                return Err(problem("ring", "a scene has screens or a ring, not both"));
            }
            (None, None) => {
                let text = "a scene needs a detector: screens = { separation = 600 } or ring = {}";
                return Err(problem("screens", text));
            }
        };
        let offsets = match (contents.offsets, &detector) {
            (Some(OffsetsText::Own(offsets)), _) => Some(offsets),
            (Some(OffsetsText::Named(NamedOffsets::Measured)), _)
            | (None, Detector::Screens(_)) => Some(Offsets::MEASURED),
            (Some(OffsetsText::Named(NamedOffsets::None)), _) | (None, Detector::Ring(_)) => None,
        };
        let mut tracers = Vec::new();
        let mut entries = Vec::new();
        for (number, entry) in contents.tracer.iter().enumerate() {
            // Located by the entry: the problem's tracer is the first one it would have made.
            let place = tracers.len();
            let at = |problem: Problem| {
                let mut entries = entries.clone();
                entries.push(number);
                self.located(problem.of_tracer(place), &entries, text)
            };
            let motions = entry.motions(contents, number, |path| self.folder.join(path));
            for motion in motions.map_err(|error| error.or(at))? {
                let tracer = entry.tracer(motion, |path| self.folder.join(path));
                tracers.push(tracer.map_err(|error| error.or(at))?);
            }
            if tracers.len() > MOST_TRACERS {
                let text = format!("{} are too many", tracers.len());
                return Err(problem("tracer", &text));
            }
            entries.resize(tracers.len(), number);
        }
        let mut scene = Scene {
            rate: contents.rate,
            reference: contents.reference,
            scattered: contents.scattered,
            offsets,
            acollinearity: contents.acollinearity,
            blur: contents.blur,
            seed: contents.seed,
            truth_step: contents.truth_step,
            tracers,
            ..Scene::new(detector, contents.duration)
        };
        scene.background = match (contents.background, scene.rate, &scene.detector) {
            (Some(background), _, _) => background,
            (None, None, Detector::Screens(screens)) => {
                forte_background(scene.megabecquerel() * FORTE.beside(screens))
            }
            (None, _, _) => 0.0,
        };
        Ok((scene, entries))
    }
}

/// A problem that is yet to be located, or an error that says where already.
enum Trouble {
    Problem(Problem),
    Error(Error),
}

impl Trouble {
    fn or(self, locate: impl FnOnce(Problem) -> Error) -> Error {
        match self {
            Self::Problem(problem) => locate(problem),
            Self::Error(error) => error,
        }
    }
}

impl From<Problem> for Trouble {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl TracerText {
    fn motions(
        &self,
        contents: &Contents,
        number: usize,
        file: impl Fn(&Path) -> PathBuf,
    ) -> Result<Vec<Motion>, Trouble> {
        let mut found: Vec<(&'static str, Vec<Motion>)> = Vec::new();
        let count = self.count.unwrap_or(1);
        let limited = |key, count: usize| {
            let text = format!("{count} is not from 1 to {MOST_TRACERS}");
            let is_possible = (1..=MOST_TRACERS).contains(&count);
            is_possible
                .then_some(())
                .ok_or_else(|| Problem::new(key, text))
        };
        limited("count", count)?;
        if let Some(position) = self.position {
            found.push(("position", vec![Motion::Static(position)]));
        }
        if let Some(positions) = &self.positions {
            limited("positions", positions.len())?;
            let motions = positions.iter().map(|position| Motion::Static(*position));
            found.push(("positions", motions.collect()));
        }
        if let Some(random) = &self.random {
            limited("random.count", random.count)?;
            let places = random.places(contents.seed, number as u64)?;
            found.push(("random", places.into_iter().map(Motion::Static).collect()));
        }
        if let Some(line) = self.line {
            found.push(("line", vec![Motion::Line(line)]));
        }
        if let Some(circle) = self.circle {
            let on_circle = |n: usize| {
                let phase = circle.phase + 360.0 * (n as f64 / count as f64);
                Motion::Circle(Circle { phase, ..circle })
            };
            found.push(("circle", (0..count).map(on_circle).collect()));
        }
        if let Some(triangle) = self.triangle {
            found.push(("triangle", vec![Motion::Triangle(triangle)]));
        }
        if let Some(walk) = self.walk {
            found.push(("walk", vec![Motion::Walk(walk); count]));
        }
        if let Some(FormulaText { x, y, z }) = &self.formula {
            let formula = |key, text: &str| {
                let formula = Formula::new(text, &contents.parameters);
                formula.map_err(|problem| Problem::new(key, problem))
            };
            let formulas = [
                formula("formula.x", x)?,
                formula("formula.y", y)?,
                formula("formula.z", z)?,
            ];
            found.push(("formula", vec![Motion::Formula(Box::new(formulas))]));
        }
        if let Some(table) = &self.table {
            let path = file(table);
            let motion = match Motion::table(&io::table::read_points(&path)?) {
                Err(Error::Scene { problem, .. }) => {
                    return Err(Error::File { path, problem }.into());
                }
                other => other?,
            };
            found.push(("table", vec![motion]));
        }
        let names: Vec<&str> = found.iter().map(|(name, _)| *name).collect();
        let Some((name, motions)) = found.pop().filter(|_| names.len() == 1) else {
            let text = match names[..] {
                [] => "a tracer needs a motion: one of position, positions, random, line, circle, triangle, walk, formula, table".to_owned(),
                _ => format!("a tracer has one motion, not {}", names.join(" and ")),
            };
            return Err(Problem::new("motion", text).into());
        };
        if self.count.is_some() && !["circle", "walk"].contains(&name) {
            let text = "only circles and walks can be counted; write another [[tracer]]";
            return Err(Problem::new("count", text).into());
        }
        Ok(motions)
    }

    fn tracer(&self, motion: Motion, file: impl Fn(&Path) -> PathBuf) -> Result<Tracer, Trouble> {
        let shape = match (self.sphere, self.cylinder) {
            (None, None) => Shape::Point,
            (Some(sphere), None) => Shape::Sphere(sphere),
            (None, Some(cylinder)) => Shape::Cylinder(cylinder),
            (Some(_), Some(_)) => {
                let text = "a tracer is a sphere or a cylinder, not both";
                return Err(Problem::new("cylinder", text).into());
            }
        };
        let isotope = match &self.isotope {
            None => None,
            Some(IsotopeText::Named(name)) => Some(Isotope::named(name).ok_or_else(|| {
                let known = Isotope::KNOWN.iter().map(|(name, _)| *name);
                Problem::new("isotope", unknown("isotope", name, known))
            })?),
            Some(IsotopeText::Own(own)) => {
                let default = Isotope::new(own.endpoint);
                Some(Isotope {
                    daughter: own.daughter.unwrap_or(default.daughter),
                    positrons: own.positrons.unwrap_or(default.positrons),
                    matter: own.matter.unwrap_or(default.matter),
                    mean_range: own.mean_range,
                    ..default
                })
            }
        };
        let emissions = match &self.emissions {
            None => None,
            Some(path) => {
                let rows = io::table::read_points(file(path))?;
                Some(rows.column(0).into())
            }
        };
        Ok(Tracer {
            activity: self.activity.unwrap_or(1.0),
            enter: self.enter,
            leave: self.leave.unwrap_or(f64::INFINITY),
            gaps: self.gaps.clone(),
            shape,
            isotope,
            emissions,
            may_leave: self.may_leave,
            ..Tracer::new(motion)
        })
    }
}

impl Places {
    fn places(&self, seed: u64, entry: u64) -> Result<Vec<[f64; 3]>, Problem> {
        for (key, size) in [
            ("random.radius", self.radius),
            ("random.height", self.height),
            ("random.apart", self.apart),
        ] {
            if !(size >= 0.0 && size.is_finite()) {
                return Err(Problem::new(
                    key,
                    format!("{size} is no size in mm from 0 on"),
                ));
            }
        }
        let mut random = Random::stream(seed, Purpose::Places, entry, 0);
        let shape = Shape::Cylinder(Cylinder {
            radius: self.radius,
            height: self.height,
            axis: [0.0, 0.0, 1.0],
        });
        let mut places: Vec<[f64; 3]> = Vec::new();
        while places.len() < self.count {
            let is_far = |place: &[f64; 3]| {
                places.iter().all(|other| {
                    let between = add(*place, scaled(*other, -1.0));
                    dot(between, between) >= self.apart * self.apart
                })
            };
            let place = (0..MOST_TRIES)
                .map(|_| add(self.centre, shape.offset(&mut random)))
                .find(is_far);
            places.push(place.ok_or_else(|| {
                let text = format!(
                    "no place was found for tracer {} of {}; use a larger cylinder, or a smaller distance than {} mm",
                    places.len() + 1,
                    self.count,
                    self.apart
                );
                Problem::new("random.apart", text)
            })?);
        }
        Ok(places)
    }
}

/// Where a value stands in the text: names of keys, and numbers of entries from 0.
fn find(table: &DeTable<'_>, parts: &[&str]) -> Option<Range<usize>> {
    let (first, rest) = parts.split_first()?;
    let mut value = table.get(*first)?;
    for part in rest {
        value = match value.get_ref() {
            DeValue::Table(table) => table.get(*part)?,
            DeValue::Array(values) => values.get(part.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    Some(value.span())
}

fn names(table: &DeTable<'_>) -> Vec<String> {
    table
        .keys()
        .map(|name| name.get_ref().to_string())
        .collect()
}

/// All texts that start with `=`.
fn expressions(value: &Spanned<DeValue<'_>>, found: &mut Vec<(Range<usize>, String)>) {
    match value.get_ref() {
        DeValue::String(text) => {
            if let Some(expression) = text.trim_start().strip_prefix('=') {
                found.push((value.span(), expression.to_owned()));
            }
        }
        DeValue::Array(values) => values.iter().for_each(|value| expressions(value, found)),
        DeValue::Table(table) => table.values().for_each(|value| expressions(value, found)),
        _ => {}
    }
}

fn number(value: &DeValue<'_>) -> Option<f64> {
    match value {
        DeValue::Integer(value) => value.as_str().replace('_', "").parse().ok(),
        DeValue::Float(value) => value.as_str().replace('_', "").parse().ok(),
        _ => None,
    }
}

/// A number as TOML has it: whole ones are integers.
fn toml_number(value: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "whole and small")]
    if value.fract() == 0.0 && value.abs() < 1e15 {
        (value as i64).to_string()
    } else {
        toml::Value::Float(value).to_string()
    }
}

/// "unknown scene "statik"; did you mean ..." and the names that there are.
pub(super) fn unknown<'a>(
    what: &str,
    name: &str,
    known: impl Iterator<Item = &'a str> + Clone,
) -> String {
    /// Names this similar are worth a suggestion.
    const SIMILAR: f64 = 0.75;
    let similarity = |a: &str| strsim::jaro_winkler(&a.to_lowercase(), &name.to_lowercase());
    let nearest = known
        .clone()
        .max_by(|a, b| similarity(a).total_cmp(&similarity(b)));
    let list = known.collect::<Vec<_>>().join(", ");
    match nearest {
        None => format!("unknown {what} \"{name}\"; there are none"),
        Some(nearest) if similarity(nearest) > SIMILAR => {
            format!("unknown {what} \"{name}\"; did you mean \"{nearest}\"? Known: {list}")
        }
        Some(_) => format!("unknown {what} \"{name}\"; known: {list}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_scenes_whose_first_line_says_what_they_are() {
        for name in Scene::examples() {
            let text = SceneText::example(name).unwrap();
            assert!(text.text().starts_with("# "), "{name}");
            let scene = text.scene().unwrap();
            let rates = Simulator::new(scene.clone()).unwrap().rates().clone();
            assert_eq!(rates.tracers.len(), scene.tracers.len());
            match scene.rate {
                Some(_) if scene.reference.is_some() => assert!(rates.total() < 300.0),
                Some(rate) => assert!((rates.total() / rate - 1.0).abs() < 1e-9, "{name}"),
                None => assert!((0.02..0.1).contains(&rates.total()), "{}", rates.total()),
            }
        }
        // But for the camera of that recording.
        let circle = Scene::example("circle").unwrap();
        let Detector::Screens(screens) = &circle.detector else {
            panic!("{:?}", circle.detector);
        };
        assert!(screens.slips.is_some());
        // Lists of factors may be shorter.
        let text = "duration = 1\n[screens]\nseparation = 1\ndistortion = [[1, 2], [], [3], []]\n[[tracer]]\nposition = [302, 302, 0.5]";
        let Detector::Screens(short) = SceneText::new("my.toml", text).scene().unwrap().detector
        else {
            panic!("{text}");
        };
        assert_eq!(short.distortion[0][..3], [1.0, 2.0, 0.0]);
        assert_eq!(short.distortion.as_flattened().iter().sum::<f64>(), 6.0);
        assert_eq!(circle.tracers, Scene::default().tracers);
        assert_eq!(circle.offsets, Scene::default().offsets);
        let error = Scene::example("cirkle").unwrap_err().to_string();
        assert!(error.contains("did you mean \"circle\"?"), "{error}");
    }

    #[test]
    fn parameters_and_values_can_be_set() {
        let mut text = SceneText::example("pair-in-plane").unwrap();
        text.set("distance", "8").unwrap();
        text.set("ratio", "3").unwrap();
        text.set("duration", "100").unwrap();
        text.set("screens.separation", "400.5").unwrap();
        text.set("tracer.1.position", "[310, \"= 300 + ratio\", 200]")
            .unwrap();
        text.set("seed", "7").unwrap();
        text.set("offsets", "none").unwrap();
        let scene = text.scene().unwrap();
        assert_eq!((scene.duration, scene.seed), (100.0, 7));
        assert_eq!(scene.offsets, None);
        assert_eq!(scene.detector, Detector::Screens(Screens::new(400.5)));
        let expected = [
            Tracer {
                activity: 3.0,
                ..Tracer::at([298.0, 302.0, 300.0])
            },
            Tracer::at([310.0, 303.0, 200.0]),
        ];
        assert_eq!(scene.tracers, expected);
        for unknown in ["distanze", "screens.depht", "tracer.2.position", "tracer.x"] {
            let error = text.set(unknown, "1").unwrap_err().to_string();
            assert!(error.contains("unknown value"), "{error}");
        }
        assert!(
            text.set("distanze", "1")
                .unwrap_err()
                .to_string()
                .contains("did you mean \"distance\"?")
        );
        // Lines are still those of the scene as it was written.
        text.set("activity", "1").unwrap_err();
        text.set("rate", "-3").unwrap();
        let error = text.scene().unwrap_err().to_string();
        assert!(
            error.starts_with("scene pair-in-plane, line 3: rate: -3"),
            "{error}"
        );
    }

    fn problem(text: &str) -> String {
        let error = SceneText::new("my.toml", text).scene().unwrap_err();
        error.to_string()
    }

    const HEAD: &str = "duration = 100\nrate = 30\nscreens = { separation = 600 }\n";

    #[test]
    fn mistakes_are_found_with_their_line() {
        let tracer = format!("{HEAD}[[tracer]]\nposition = [302, 302, 300]\n");
        assert!(SceneText::new("my.toml", &tracer).scene().is_ok());
        let cases = [
            ("", "line 1: missing field `duration`"),
            ("duration = 1\n", "screens: a scene needs a detector"),
            (
                &format!("{HEAD}ring = {{}}\n"),
                "line 4: ring: a scene has screens or a ring",
            ),
            (HEAD, "tracer: a scene needs at least one"),
            (
                &format!("{HEAD}rat = 3\n"),
                "line 4: unknown field `rat`, expected one of `duration`, `rate`",
            ),
            (
                "duration = 1\nscreens = { separation = 1, sep = 3 }\n",
                "line 2: unknown field `sep`",
            ),
            (
                &format!(
                    "duration = 1\n[screens]\nseparation = 1\ndistortion = [[1], [], [2, 3], [{}]]\n",
                    "0,".repeat(21)
                ),
                "line 4: a list of 21 factors; there are 20 terms",
            ),
            (
                &format!("{tracer}colour = 1\n"),
                "line 6: unknown field `colour`",
            ),
            (
                &format!("{tracer}circle = {{ center = [1, 2, 3] }}\n"),
                "line 6: unknown field `center`",
            ),
            (
                &format!("{tracer}activity = -1\n"),
                "line 6: tracer 0 (from 0), activity: -1",
            ),
            (
                &format!("{tracer}[[tracer]]\nposition = [302, 302, 700]\n"),
                "line 7: tracer 1 (from 0), position: it is outside",
            ),
            (
                &format!("{tracer}[[tracer]]\nactivity = 1\n"),
                "line 6: tracer 1 (from 0), motion: a tracer needs a motion",
            ),
            (
                &format!("{tracer}line = {{ from = [302, 302, 300], velocity = [0, 0, 1] }}\n"),
                "one motion, not position and line",
            ),
            (
                &format!("{tracer}count = 3\n"),
                "line 6: tracer 0 (from 0), count: only circles",
            ),
            (
                &format!("{tracer}isotope = \"F-81\"\n"),
                "line 6: tracer 0 (from 0), isotope: unknown isotope \"F-81\"; did you mean \"F-18\"",
            ),
            (
                &format!("{tracer}isotope = \"F-18\"\n"),
                "line 6: tracer 0 (from 0), isotope: the measured offsets contain",
            ),
            (&format!("{tracer}isotope = 18\n"), "line 6: an isotope is"),
            (
                &format!("offsets = \"some\"\n{HEAD}"),
                "line 1: offsets are",
            ),
            (
                &format!("{tracer}enter = 100\n"),
                "line 6: tracer 0 (from 0), enter: 100 is after",
            ),
            (
                &format!(
                    "{HEAD}[[tracer]]\nline = {{ from = [302, 302, 300], velocity = [0, 9, 0] }}\n"
                ),
                "line 5: tracer 0 (from 0), line: it leaves the field of view: at",
            ),
            (
                &format!("{HEAD}[[tracer]]\nformula = {{ x = \"sin(t\", y = \"1\", z = \"1\" }}\n"),
                "line 5: tracer 0 (from 0), formula.x: cannot understand",
            ),
            (
                &format!(
                    "{HEAD}[[tracer]]\nformula = {{ x = \"300 / (t - t)\", y = \"300\", z = \"300\" }}\n"
                ),
                "line 5: tracer 0 (from 0), formula: it is at (inf, 300, 300) at 0 ms",
            ),
            (
                &format!("{HEAD}[[tracer]]\nposition = [302, \"= 2 * x\", 300]\n"),
                "line 5: unknown name \"x\"",
            ),
            (
                &format!("{HEAD}[[tracer]]\nposition = [302, 302]\n"),
                "line 5: ",
            ),
            (
                &format!(
                    "{HEAD}[[tracer]]\nrandom = {{ count = 50, centre = [302, 302, 300], radius = 10, height = 0, apart = 9 }}\n"
                ),
                "line 5: tracer 0 (from 0), random.apart: no place",
            ),
            (
                &format!(
                    "{HEAD}[[tracer]]\nwalk = {{ from = [302, 302, 300], step = 50, tau = 0.01 }}\n"
                ),
                "line 5: tracer 0 (from 0), walk: it leaves",
            ),
            (
                &format!("{HEAD}[[tracer]]\nposition = [302, 302, 300\n"),
                "line 5: unclosed array",
            ),
        ];
        for (text, expected) in cases {
            let message = problem(text);
            assert!(message.contains(expected), "{message}\n---\n{expected}");
            assert!(message.starts_with("scene my.toml"), "{message}");
        }
    }

    #[test]
    fn files_are_found_from_the_scenes_folder_and_say_what_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let scene = file(
            "scene.toml",
            &format!("{HEAD}[[tracer]]\ntable = \"path.csv\"\nemissions = \"path.csv\"\n"),
        );
        let problem = || Scene::read(&scene).unwrap_err().to_string();
        assert!(problem().contains("cannot read"), "{}", problem());
        file("path.csv", "t,x,y,z\n0,300,300,300\n0,310,300,300\n");
        let unsorted = problem();
        assert!(
            unsorted.contains("path.csv: the time of row 1"),
            "{unsorted}"
        );
        file("path.csv", "t,x,y,z\n0,300,nonsense,300\n");
        assert!(problem().contains("path.csv:2: \"nonsense\""));
        file("path.csv", "t,x,y,z\n200,300,300,300\n300,310,300,300\n");
        assert!(
            problem().contains("line 5: tracer 0 (from 0), table: its times, 200 to 300 ms"),
            "{}",
            problem()
        );
        file("path.csv", "t,x,y,z\n0,300,300,300\n90,310,300,300\n");
        let scene = Scene::read(&scene).unwrap();
        assert_eq!(
            scene.tracers[0].emissions.as_deref(),
            Some(&[0.0, 90.0][..])
        );
        assert_eq!(scene.tracers[0].present(100.0), [[0.0, 90.0]]);
        assert!(matches!(
            Scene::read(folder.path().join("none.toml")),
            Err(Error::Io { .. })
        ));
    }

    #[test]
    fn without_a_rate_activities_decide() {
        let rates = |text: &str| {
            let scene = SceneText::new("my.toml", text).scene().unwrap();
            (
                Simulator::new(scene.clone()).unwrap().rates().clone(),
                scene.background,
            )
        };
        let forte = |activity: &str| {
            rates(&format!(
                "duration = 10\nscreens = {{ separation = 525 }}\n[[tracer]]\nposition = [302, 302, 262.5]\nactivity = {activity}\n"
            ))
        };
        for (activity, total, background) in [
            ("1e6", 8.3, 0.16),
            ("37e6", 114.0, 0.3857),
            ("50e6", 109.0, 0.44),
        ] {
            let (rates, share) = forte(activity);
            assert!((rates.total() - total).abs() < 1e-6, "{rates:?}");
            assert!((share - background).abs() < 1e-3, "{share}");
            assert!((rates.random / rates.total() - share).abs() < 1e-9);
        }
        let (ring, _) = rates(
            "duration = 10\nring = { efficiency = 0.5 }\n[[tracer]]\nposition = [0, 0, 0]\nactivity = 1e6\n",
        );
        assert!((ring.total() - 500.0 * 117.0 / 117.0_f64.hypot(420.0)).abs() < 1e-6);
    }
}
