use std::path::PathBuf;

use crate::data::Kind;
use crate::kernels::KernelError;

/// What can go wrong, where, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// `"read"` or `"write"`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file's contents are not what they should be.
    #[error("{}:{line}: {problem}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// What is wrong there.
        problem: String,
    },
    /// A file as a whole is not what it should be.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// A recipe that cannot be used.
    #[error("recipe {name}, line {line}: {problem}")]
    Recipe {
        /// Its name or file.
        name: String,
        /// Line number, from 1.
        line: usize,
        /// What is wrong there.
        problem: String,
    },
    /// A scene that cannot be simulated.
    #[error("scene {name}{}: {problem}", line.map_or(String::new(), |line| format!(", line {line}")))]
    Scene {
        /// Its name or file.
        name: String,
        /// Line number, from 1, if it has a text.
        line: Option<usize>,
        /// What is wrong there.
        problem: String,
    },
    /// A table cannot be cut into such samples.
    #[error("{0}")]
    Sampling(String),
    /// Columns that are missing, too few or different.
    #[error("{0}")]
    Columns(String),
    /// A step got another kind of data than it takes.
    #[error("{needed} needed, {found} found")]
    Kind {
        /// What the step takes.
        needed: Kind,
        /// What it got.
        found: Kind,
    },
    /// A parameter that makes no sense.
    #[error("{name} = {value}: {needed}")]
    Parameter {
        /// The parameter.
        name: &'static str,
        /// What was given.
        value: String,
        /// What it has to be.
        needed: &'static str,
    },
    /// A step of a pipeline failed, or cannot stand where it stands.
    #[error("step {number} ({name}): {source}")]
    Step {
        /// Its place in the pipeline, from 1.
        number: usize,
        /// Its name.
        name: String,
        /// What happened.
        source: Box<Self>,
    },
    /// A value of a sample that is NaN or infinite.
    #[error("row {row} of sample {sample} has a NaN or infinite value; remove it first")]
    NotFinite {
        /// The sample's number in the run, from 0.
        sample: usize,
        /// The row within the sample, from 0.
        row: usize,
    },
    /// A kernel failed.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

impl Error {
    /// [`Error::Parameter`], as the end of a check.
    pub(crate) fn parameter<T>(
        name: &'static str,
        value: impl ToString,
        needed: &'static str,
    ) -> Result<T> {
        Err(Self::Parameter {
            name,
            value: value.to_string(),
            needed,
        })
    }

    /// For `map_err` on reading a file.
    pub(crate) fn reading(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action: "read",
            path,
            source,
        }
    }

    /// For `map_err` on writing a file.
    pub(crate) fn writing(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action: "write",
            path,
            source,
        }
    }
}

/// `std::result::Result` with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
