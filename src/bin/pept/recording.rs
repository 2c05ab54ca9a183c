//! A recording as it is read, or as it is written.

use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pept::io::csv::Appender;
use pept::io::source::{Files, LineSource, Progress};
use pept::pipeline::{Live, Pipeline};
use pept::{Data, Error, LineData, Sampling};

use crate::common::Failure;
use crate::interrupt;

/// Between two looks at a file that may have grown.
const PAUSE: Duration = Duration::from_millis(50);

/// How a file that is still being written is followed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Follow {
    /// Ends when nothing has come for so long.
    pub(crate) patience: Option<Duration>,
    /// Ends with the first end, that of standard input.
    pub(crate) once: bool,
}

impl Follow {
    fn is_over(&self, grown: Instant) -> bool {
        let is_late = |patience| grown.elapsed() > patience;
        self.once || interrupt::is_wanted() || self.patience.is_some_and(is_late)
    }
}

/// A recording that is tracked as it is read.
#[derive(Debug)]
pub(crate) struct Recording<'a> {
    pub(crate) blocks: Blocks,
    pub(crate) sampling: Sampling,
    /// All, or only some.
    pub(crate) samples: Option<Range<usize>>,
    pub(crate) live: Option<&'a mut LiveFiles>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Reading,
    Following(Follow),
    /// What is left at the end, such as a last line without its end.
    Ending,
}

/// The blocks of a recording until its end, or that of its growth, or Ctrl-C.
#[derive(Debug)]
pub(crate) struct Blocks {
    files: Files,
    state: State,
    /// No rows, the recording's columns.
    empty: Option<LineData>,
    /// When rows came last.
    grown: Instant,
    /// Whether Ctrl-C was the end.
    pub(crate) interrupted: bool,
}

impl Blocks {
    /// Opens files. Those that are followed may not have their first rows yet.
    pub(crate) fn open(
        follow: Option<Follow>,
        inputs: &[PathBuf],
        open: impl Fn() -> Result<Files, Failure>,
    ) -> Result<Self, Failure> {
        interrupt::watch()?;
        let started = Instant::now();
        let mut is_told = false;
        let mut files = loop {
            match (open(), follow) {
                (Err(Failure::Failed(problem)), Some(follow))
                    if inputs.iter().all(|input| has_just_begun(input))
                        && !follow.is_over(started) =>
                {
                    if !is_told {
                        tracing::warn!("waiting: {problem}");
                        is_told = true;
                    }
                    std::thread::sleep(PAUSE);
                }
                (files, _) => break files?,
            }
        };
        if follow.is_some() && !files.set_follow(true) {
            return Err(Failure::Failed(
                "this recording cannot be followed: it is compressed, or a table that is read as a whole, or an ADAC recording without \
                 --clock-rate"
                    .into(),
            ));
        }
        Ok(Self {
            files,
            state: follow.map_or(State::Reading, State::Following),
            empty: None,
            grown: Instant::now(),
            interrupted: false,
        })
    }

    /// How far reading is.
    pub(crate) fn progress(&self) -> Progress {
        self.files.progress()
    }

    /// The next one; one without rows while there is nothing new.
    pub(crate) fn next(&mut self) -> pept::Result<Option<LineData>> {
        loop {
            match self.state {
                State::Reading if interrupt::is_wanted() => {
                    self.interrupted = true;
                    return Ok(None);
                }
                State::Reading | State::Ending => return self.files.next_block(),
                State::Following(follow) => {
                    if !interrupt::is_wanted()
                        && let Some(block) = self.files.next_block()?
                    {
                        self.grown = Instant::now();
                        if self.empty.is_none() {
                            self.empty = Some(block.slice_rows(0..0)?);
                        }
                        return Ok(Some(block));
                    }
                    if follow.is_over(self.grown) {
                        self.interrupted = interrupt::is_wanted();
                        self.files.set_follow(false);
                        self.state = State::Ending;
                        continue;
                    }
                    std::thread::sleep(PAUSE);
                    if let Some(empty) = &self.empty {
                        return Ok(Some(empty.clone()));
                    }
                }
            }
        }
    }
}

/// Whether a file may yet become a recording.
fn has_just_begun(path: &Path) -> bool {
    const FEW: u64 = 1 << 16;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() < FEW)
}

/// Points as they come, with provisional labels, and which of these turn out to be one: beside the output, until it is there.
#[derive(Debug)]
pub(crate) struct LiveFiles {
    live: Live,
    points: Appender,
    joins: File,
    paths: [PathBuf; 2],
}

impl LiveFiles {
    /// `OUT.live.csv` and `OUT.live-joins.csv`.
    pub(crate) fn paths(output: &Path) -> [PathBuf; 2] {
        ["live.csv", "live-joins.csv"].map(|ending| output.with_extension(ending))
    }

    pub(crate) fn create(pipeline: &Pipeline, output: &Path) -> pept::Result<Self> {
        let paths = Self::paths(output);
        let points = Appender::create(&paths[0])?;
        let joins = File::create(&paths[1]).and_then(|mut file| {
            file.write_all(b"t,label,into\n")?;
            Ok(file)
        });
        Ok(Self {
            live: Live::new(pipeline)?,
            points,
            joins: joins.map_err(writing(&paths[1]))?,
            paths,
        })
    }

    pub(crate) fn push(&mut self, data: &Data) -> pept::Result<()> {
        let (tables, joins) = self.live.push(data)?;
        for table in &tables {
            self.points.append(table)?;
        }
        let mut text = String::new();
        for join in joins {
            text += &format!("{},{},{}\n", join.time, join.label, join.into);
        }
        self.joins
            .write_all(text.as_bytes())
            .map_err(writing(&self.paths[1]))
    }

    /// The output is there.
    pub(crate) fn remove(self) {
        for path in &self.paths {
            // They did their duty; one that somebody took away is no problem.
            let _ = std::fs::remove_file(path);
        }
    }
}

fn writing(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io {
        action: "write",
        path,
        source,
    }
}
