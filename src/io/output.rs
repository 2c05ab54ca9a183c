use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// A file that appears under its name when it is whole: written beside it, then renamed.
#[derive(Debug)]
pub struct Output {
    path: PathBuf,
    file: BufWriter<tempfile::NamedTempFile>,
}

impl Output {
    /// Starts a file that [`finish`](Self::finish) will put at `path`.
    ///
    /// # Errors
    /// [`Error::Io`] if nothing can be written there.
    pub fn create(path: &Path) -> Result<Self> {
        if path.is_dir() {
            let source = std::io::Error::new(std::io::ErrorKind::IsADirectory, "is a directory");
            return Err(Error::Io {
                action: "write",
                path: path.to_owned(),
                source,
            });
        }
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let mut builder = tempfile::Builder::new();
        builder.prefix(".pept-");
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666)); // less the umask, as any file
        let file = builder.tempfile_in(folder).map_err(|error| {
            // tempfile's message names its own random file; the user's file says more.
            let text = match error.kind() {
                std::io::ErrorKind::NotFound => {
                    format!("the folder {} does not exist", folder.display())
                }
                kind => kind.to_string(),
            };
            Error::writing(path)(std::io::Error::new(error.kind(), text))
        })?;
        Ok(Self {
            path: path.to_owned(),
            file: BufWriter::new(file),
        })
    }

    /// Puts the whole file in its place.
    ///
    /// # Errors
    /// [`Error::Io`], for example on a full disk; nothing is then left behind.
    pub fn finish(self) -> Result<()> {
        let file = self
            .file
            .into_inner()
            .map_err(|error| Error::writing(&self.path)(error.into_error()))?;
        file.as_file()
            .sync_all()
            .map_err(Error::writing(&self.path))?;
        file.persist(&self.path)
            .map_err(|error| Error::writing(&self.path)(error.error))?;
        Ok(())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// For what is known only in the end.
impl Seek for Output {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.file.seek(to)
    }
}

/// Finds out whether a file could be written, before the work that would fill it. Leaves nothing behind.
///
/// # Errors
/// [`Error::Io`] if not.
pub fn check_writable(path: &Path) -> Result<()> {
    Output::create(path).map(drop)
}
