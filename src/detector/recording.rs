//! Simulated recordings as files.

use std::io::Write;
use std::path::Path;

use super::scene::Detector;
use super::simulator::{Block, Simulator, Source};
use crate::data::{Contents, Lines, Points};
use crate::error::{Error, Result};
use crate::io::{self, Output, adac_forte, csv::push_row, npy};

/// What [`Simulator::write`] wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// All LoRs.
    pub lors: u64,
    /// Those that join two unrelated photons.
    pub random: u64,
    /// Those of tracers one of whose photons was scattered.
    pub scattered: u64,
    /// Rows of the truth.
    pub truth_rows: u64,
}

/// How the LoRs are written.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Format {
    /// Text of two parallel screens, this far apart.
    Screens(f64),
    /// ADAC Forte list mode, with screens this far apart.
    Adac(i32),
    /// A table as text.
    Csv,
    /// A table as a NumPy array.
    Npy,
    /// A table that is held in memory until it is whole.
    Table,
}

impl Simulator {
    /// Checks that [`write`](Self::write) knows the files' endings.
    ///
    /// # Errors
    /// [`Error::File`] for an unknown ending.
    pub fn check_names(&self, lors: &Path, truth: Option<&Path>) -> Result<()> {
        self.format(lors)?;
        truth.map_or(Ok(()), io::table::check_name)
    }

    /// Writes the recording and, if wanted, the truth.
    ///
    /// Screens as `.csv` or `.txt`: parallel-screens text, which [`io::parallel_screens::read`] understands. A ring as `.csv`: a table of
    /// lines. Screens as `.da01`: [ADAC Forte](io::adac_forte) list mode, with its rounding of places and times. Both as `.npy`: a NumPy
    /// array of lines. All are written as they are made, and need no more memory than a few blocks; so does a truth as `.csv`. Other
    /// tables (LoRs as `.arrow`, a truth that is not `.csv`) are held in memory. `progress` gets the time (ms) up to which LoRs are written.
    ///
    /// # Errors
    /// As [`check_names`](Self::check_names), and [`Error::Io`]; no file is then left under either name.
    pub fn write(
        &self,
        lors: &Path,
        truth: Option<&Path>,
        progress: &(dyn Fn(f64) + Sync),
    ) -> Result<Written> {
        let format = self.format(lors)?;
        if let Some(truth) = truth {
            io::table::check_name(truth)?;
            io::check_writable(truth)?;
        }
        let mut written = Written::default();
        match format {
            Format::Table => {
                io::check_writable(lors)?;
                self.write_table(lors, &mut written, progress)?;
            }
            Format::Adac(separation) => {
                self.write_adac(lors, separation, &mut written, progress)?;
            }
            Format::Npy => self.write_npy(lors, &mut written, progress)?,
            format => self.write_text(lors, format, &mut written, progress)?,
        }
        if let Some(truth) = truth {
            written.truth_rows = self.write_truth(truth).inspect_err(|_| {
                // One without the other would look like success.
                let _ = std::fs::remove_file(lors);
            })?;
        }
        Ok(written)
    }

    fn format(&self, path: &Path) -> Result<Format> {
        let ending = path.extension().unwrap_or_default().to_string_lossy();
        match (&self.scene().detector, ending.to_ascii_lowercase().as_str()) {
            (Detector::Screens(screens), "csv" | "txt") => Ok(Format::Screens(screens.separation)),
            (Detector::Screens(screens), ending) if adac_forte::is_ending(ending) => Ok(
                Format::Adac(adac_forte::whole_separation(screens.separation)?),
            ),
            (Detector::Ring(_), ending) if adac_forte::is_ending(ending) => Err(Error::File {
                path: path.to_owned(),
                problem:
                    "an ADAC Forte has screens, not a ring: use .csv, .npy, .arrow or .feather"
                        .into(),
            }),
            (Detector::Ring(_), "csv") => Ok(Format::Csv),
            (_, "npy") => Ok(Format::Npy),
            (Detector::Ring(_), "txt") => Err(Error::File {
                path: path.to_owned(),
                problem: "a ring's LoRs are a table: use .csv, .npy, .arrow or .feather".into(),
            }),
            _ => io::table::check_name(path).map(|()| Format::Table),
        }
    }

    fn write_text(
        &self,
        path: &Path,
        format: Format,
        written: &mut Written,
        progress: &(dyn Fn(f64) + Sync),
    ) -> Result<()> {
        let mut output = Output::create(path)?;
        let header = match format {
            Format::Screens(separation) => format!(
                "Simulated by pept {}\nEach row is t (ms), x1, y1, x2, y2 (mm).\nSeparation= {separation}\n",
                env!("CARGO_PKG_VERSION")
            ),
            _ => format!("{}\n", Lines::COLUMNS.join(",")),
        };
        output
            .write_all(header.as_bytes())
            .map_err(Error::writing(path))?;
        // Numbers become text in parallel, too.
        let text = |block: Block| {
            let mut text = Vec::new();
            for row in &block.rows {
                match format {
                    Format::Screens(_) => {
                        let [t, x1, y1, _, x2, y2, _] = *row;
                        push_row(&mut text, &[t, x1, y1, x2, y2], b'\t');
                    }
                    _ => push_row(&mut text, row, b','),
                }
            }
            (text, block.sources, block.end)
        };
        self.for_each_mapped(text, |(text, sources, end)| {
            output.write_all(&text).map_err(Error::writing(path))?;
            written.count(&sources);
            progress(end);
            Ok(())
        })?;
        output.finish()
    }

    /// Hands over the rows of all blocks, which are counted.
    fn for_all_rows(
        &self,
        written: &mut Written,
        progress: &(dyn Fn(f64) + Sync),
        mut take: impl FnMut(Vec<[f64; 7]>) -> Result<()> + Send,
    ) -> Result<()> {
        self.for_each_block(|block| {
            take(block.rows)?;
            written.count(&block.sources);
            progress(block.end);
            Ok(())
        })
    }

    fn write_adac(
        &self,
        path: &Path,
        separation: i32,
        written: &mut Written,
        progress: &(dyn Fn(f64) + Sync),
    ) -> Result<()> {
        let mut writer = adac_forte::Writer::create(path, separation)?;
        self.for_all_rows(written, progress, |rows| {
            writer.write(&self.table(rows.into_flattened())?)
        })?;
        writer.finish()
    }

    fn write_npy(
        &self,
        path: &Path,
        written: &mut Written,
        progress: &(dyn Fn(f64) + Sync),
    ) -> Result<()> {
        let mut writer = npy::Writer::create(path, Lines::COLUMNS.len())?;
        self.for_all_rows(written, progress, |rows| writer.push(rows.as_flattened()))?;
        writer.finish()
    }

    fn write_table(
        &self,
        path: &Path,
        written: &mut Written,
        progress: &(dyn Fn(f64) + Sync),
    ) -> Result<()> {
        let mut all = Vec::new();
        self.for_all_rows(written, progress, |rows| {
            all.extend_from_slice(rows.as_flattened());
            Ok(())
        })?;
        io::table::write_table(path, &self.table(all)?)
    }

    fn write_truth(&self, path: &Path) -> Result<u64> {
        let is_text = path
            .extension()
            .is_some_and(|ending| ending.eq_ignore_ascii_case("csv"));
        if !is_text {
            let truth = self.truth()?;
            io::table::write_table(path, &truth)?;
            return Ok(truth.n_rows() as u64);
        }
        let mut output = Output::create(path)?;
        let mut n_rows = 0;
        let mut text = format!("{},label\n", Points::COLUMNS.join(",")).into_bytes();
        self.for_each_truth(|rows| {
            rows.iter().for_each(|row| push_row(&mut text, row, b','));
            n_rows += rows.len() as u64;
            output.write_all(&text).map_err(Error::writing(path))?;
            text.clear();
            Ok(())
        })?;
        output.finish()?;
        Ok(n_rows)
    }
}

impl Written {
    fn count(&mut self, sources: &[Source]) {
        let count = |is: fn(&Source) -> bool| sources.iter().filter(|source| is(source)).count();
        self.lors += sources.len() as u64;
        self.random += count(|source| *source == Source::Random) as u64;
        self.scattered += count(|source| matches!(source, Source::Scattered(_))) as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::super::Scene;
    use super::*;

    fn simulator(name: &str) -> Simulator {
        let scene = Scene::example(name).unwrap();
        Simulator::new(Scene {
            duration: 30.0,
            ..scene
        })
        .unwrap()
    }

    #[test]
    fn files_hold_what_run_gives() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for (scene, names) in [
            ("circle", &["a.csv", "a.txt", "a.npy"][..]),
            ("linking", &["b.csv", "b.npy"]),
        ] {
            let simulator = simulator(scene);
            let expected = simulator.run().unwrap();
            for name in names {
                let (lors, truth) = (path(name), path("truth.csv"));
                let last = std::sync::Mutex::new(0.0);
                let written = simulator
                    .write(&lors, Some(&truth), &|t| *last.lock().unwrap() = t)
                    .unwrap();
                assert_eq!(written.lors, expected.lors.n_rows() as u64);
                assert!(written.random > 0 && written.random < written.lors / 2);
                assert_eq!(written.truth_rows, expected.truth.n_rows() as u64);
                assert_eq!(*last.lock().unwrap(), 30.0);
                let found = if scene == "circle" && !name.ends_with(".npy") {
                    io::parallel_screens::read(&lors, None).unwrap()
                } else {
                    io::table::read_lines(&lors).unwrap()
                };
                assert_eq!(found.values(), expected.lors.values(), "{name}");
                assert_eq!(io::table::read_points(&truth).unwrap(), expected.truth);
            }
        }
    }

    #[test]
    fn screens_may_be_those_of_an_adac_forte() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.da01");
        let simulator = simulator("circle");
        let expected = simulator.run().unwrap().lors;
        let written = simulator.write(&path, None, &|_| {}).unwrap();
        let found = adac_forte::read(&path).unwrap();
        assert_eq!(written.lors, found.n_rows() as u64);
        for (found, expected) in found.rows().rows().into_iter().zip(expected.rows().rows()) {
            assert!((found[0] - expected[0]).abs() < 0.01);
            // Half a step of 0.59 mm; the ends lie 10 mm behind the screens, on the same line.
            let share = 10.0 / 712.0;
            let end = expected[1] + share * (expected[1] - expected[4]);
            assert!((found[1] - end).abs() < 0.3, "{} {end}", found[1]);
        }
    }

    #[test]
    fn nothing_is_left_when_something_fails() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let circle = simulator("circle");
        let write = |lors: &str, truth: &str| {
            let truth = path(truth);
            circle
                .write(&path(lors), Some(&truth), &|_| {})
                .unwrap_err()
        };
        for (lors, truth) in [
            ("lors.xyz", "truth.csv"),
            ("lors.csv", "truth.txt"),
            ("lors.csv", "none/truth.csv"),
            ("lors.npy", "none/truth.csv"),
            ("none/lors.npy", "truth.csv"),
            ("none/lors.csv", "truth.csv"),
        ] {
            write(lors, truth);
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        }
        let linking = simulator("linking").write(&path("a.txt"), None, &|_| {});
        assert!(linking.unwrap_err().to_string().contains("a ring's LoRs"));
    }
}
