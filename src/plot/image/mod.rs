//! Images of figures without a browser: what plotly.js would draw of their JSON, as SVG or PNG.
//!
//! Drawn are the traces that this crate makes: `scatter`, `scattergl`, `bar`, `box` (of given quartiles), `heatmap`, `contour` and
//! `image` in a plane, `scatter3d`, `surface`, `mesh3d` and `cone` in space; of the layout axes, titles, legend, colour bars and
//! annotations that are placed on the paper. Space is seen in a parallel projection.

mod axes;
mod flat;
mod paper;
mod shapes;
mod space;

use std::io::Write;
use std::path::Path;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::io::Output;
use paper::Paper;
use shapes::Sheet;

/// Most pixels of a side, more than any printer has dots.
const MAX_SIDE: f64 = 20_000.0;

/// Size of an image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ImageOptions {
    /// Width, in the pixels that sizes of fonts and markers are given in.
    pub width: u32,
    /// Height.
    pub height: u32,
    /// Pixels of a PNG file for each of those.
    pub scale: f64,
}

impl Default for ImageOptions {
    fn default() -> Self {
        Self {
            width: 900,
            height: 700,
            scale: 2.0,
        }
    }
}

impl ImageOptions {
    fn check(&self) -> Result<()> {
        let sides = [self.width, self.height].map(f64::from);
        let fits = |side: f64| (1.0..=MAX_SIDE).contains(&(side * self.scale.max(1.0)));
        if self.scale > 0.0 && sides.into_iter().all(|side| side >= 100.0 && fits(side)) {
            return Ok(());
        }
        Err(Error::Parameter {
            name: "image size",
            value: format!("{} x {} times {}", self.width, self.height, self.scale),
            needed: "at least 100 x 100, and at most 20,000 pixels a side",
        })
    }
}

/// The JSON of a figure as SVG.
///
/// # Errors
/// [`Error::Parameter`] for a size that makes no sense, and for traces of another type.
pub fn svg(figure: &Value, options: &ImageOptions) -> Result<String> {
    Ok(sheet(figure, options)?.svg())
}

/// The JSON of a figure as PNG.
///
/// # Errors
/// As [`svg`].
pub fn png(figure: &Value, options: &ImageOptions) -> Result<Vec<u8>> {
    Ok(sheet(figure, options)?.png(options.scale))
}

/// Checks that a name ends with `.svg` or `.png`.
///
/// # Errors
/// [`Error::File`] for another ending.
pub fn check_name(path: &Path) -> Result<()> {
    is_svg(path).map(|_| ())
}

fn is_svg(path: &Path) -> Result<bool> {
    let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
    match ending.to_str() {
        Some("svg") => Ok(true),
        Some("png") => Ok(false),
        _ => Err(Error::File {
            path: path.to_owned(),
            problem: "unknown ending; images are .svg or .png".to_owned(),
        }),
    }
}

/// Writes the JSON of a figure as `.svg` or `.png`.
///
/// # Errors
/// [`Error::File`] for another ending; [`Error::Io`]; as [`svg`].
pub fn write(path: &Path, figure: &Value, options: &ImageOptions) -> Result<()> {
    let bytes = if is_svg(path)? {
        svg(figure, options)?.into_bytes()
    } else {
        png(figure, options)?
    };
    let mut output = Output::create(path)?;
    output.write_all(&bytes).map_err(Error::writing(path))?;
    output.finish()
}

/// Writes each frame of the JSON of a figure as `frame_00000.png`, ..., in place of those of an earlier film. Gives the command that makes
/// a film of them.
///
/// # Errors
/// [`Error::Parameter`] without frames; [`Error::Io`]; as [`svg`].
pub fn write_frames(folder: &Path, figure: &Value, options: &ImageOptions) -> Result<String> {
    let frames = figure["frames"].as_array().map_or(&[][..], Vec::as_slice);
    if frames.is_empty() {
        return Err(Error::Parameter {
            name: "frames",
            value: "none".to_owned(),
            needed: "a figure with frames",
        });
    }
    std::fs::create_dir_all(folder).map_err(Error::writing(folder))?;
    let mut shown = figure.clone();
    let path = |n: usize| folder.join(format!("frame_{n:05}.png"));
    for (n, frame) in frames.iter().enumerate() {
        show_frame(&mut shown, frame, n);
        write(&path(n), &shown, options)?;
    }
    // The rest of a longer film that was there before.
    for old in (frames.len()..).map(path).take_while(|old| old.exists()) {
        std::fs::remove_file(&old).map_err(Error::writing(&old))?;
    }
    Ok(format!(
        "ffmpeg -framerate 10 -i \"{}\" -vf \"pad=ceil(iw/2)*2:ceil(ih/2)*2\" -pix_fmt yuv420p \"{}\"",
        folder.join("frame_%05d.png").display(),
        folder.join("film.mp4").display()
    ))
}

/// Puts the traces of a frame in the place of those that it replaces, as plotly.js does.
fn show_frame(figure: &mut Value, frame: &Value, n: usize) {
    let traces = frame["data"].as_array().map_or(&[][..], Vec::as_slice);
    for (k, trace) in traces.iter().enumerate() {
        let place = frame["traces"][k].as_u64().unwrap_or(k as u64);
        let place = usize::try_from(place).unwrap_or(usize::MAX);
        if let (Some(Value::Object(shown)), Value::Object(trace)) =
            (figure["data"].get_mut(place), trace)
        {
            for (key, value) in trace {
                shown.insert(key.clone(), value.clone());
            }
        }
    }
    if let Some(slider) = figure["layout"]["sliders"].get_mut(0) {
        slider["active"] = n.into();
    }
}

fn sheet(figure: &Value, options: &ImageOptions) -> Result<Sheet> {
    options.check()?;
    let mut paper = Paper::new(figure, f64::from(options.width), f64::from(options.height));
    for scene in paper.scenes() {
        space::draw(&mut paper, &scene)?;
    }
    for axes in paper.axes() {
        flat::draw(&mut paper, &axes)?;
    }
    paper.draw_surroundings();
    Ok(paper.into_sheet())
}
