//! A sheet of simple shapes, in pixels from the upper left corner, and how it becomes SVG or PNG.

use std::fmt::Write;
use std::sync::Once;

use plotters::prelude::{BitMapBackend, DrawingBackend, SVGBackend};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{
    FontStyle, FontTransform, IntoFont, RGBAColor, ShapeStyle, TextStyle, register_font,
};

use super::super::png;

/// `DejaVu Sans`, Latin and Greek: 33 kB.
const FONT: &[u8] = include_bytes!("../vendor/DejaVuSans-subset.ttf");
const FAMILY: &str = "DejaVu Sans";
/// Fonts that a viewer of SVG may have.
const FAMILIES: &str = "'DejaVu Sans', Verdana, 'Open Sans', sans-serif";
/// plotters' size of a font, per em.
const PLOTTERS_EM: f64 = 1.2;
/// Where plotters has the baseline of a text below its top, per em: in SVG and in bitmaps.
const SVG_BASELINE: f64 = 0.76 * PLOTTERS_EM / 1.24;
const BITMAP_BASELINE: f64 = 0.5 * PLOTTERS_EM;
/// Height of capitals and depth of letters below the baseline, per em.
const CAPITALS: f64 = 0.73;
const DEPTH: f64 = 0.2;
/// plotters counts in whole units: so many of them to a pixel of an SVG file.
const SVG_UNITS: f64 = 20.0;
/// Each pixel of a PNG file is the mean of this number squared.
const SUPERSAMPLING: usize = 2;

/// Red, green, blue, and opacity from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ink(pub(super) [u8; 3], pub(super) f64);

#[derive(Clone, Debug)]
pub(super) enum Shape {
    Path(Vec<[f64; 2]>, f64, Ink),
    Disc([f64; 2], f64, Ink),
    Polygon(Vec<[f64; 2]>, Ink),
    Text(Text),
    Raster(Raster),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    /// Left, top.
    Start,
    Middle,
    /// Right, bottom.
    End,
}

#[derive(Clone, Debug)]
pub(super) struct Text {
    pub(super) text: String,
    pub(super) at: [f64; 2],
    /// Pixels of an em.
    pub(super) size: f64,
    pub(super) ink: Ink,
    pub(super) horizontal: Align,
    pub(super) vertical: Align,
    /// Read from below; horizontal and vertical are the text's own.
    pub(super) is_turned: bool,
}

/// An image: bytes red, green, blue, opacity by rows from the top.
#[derive(Clone, Debug)]
pub(super) struct Raster {
    pub(super) at: [f64; 2],
    pub(super) size: [f64; 2],
    pub(super) cells: [usize; 2],
    pub(super) bytes: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Sheet {
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) shapes: Vec<Shape>,
}

/// Width of a text in pixels.
pub(super) fn text_width(text: &str, size: f64) -> f64 {
    register();
    // Measured large: plotters rounds to whole pixels.
    let measured = (FAMILY, 100.0 * PLOTTERS_EM).into_font().box_size(text);
    measured.map_or(0.6 * text.chars().count() as f64, |(width, _)| {
        f64::from(width) / 100.0
    }) * size
}

fn register() {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        // The bytes are ours: they are a font.
        let _ = register_font(FAMILY, FontStyle::Normal, FONT);
    });
}

impl Sheet {
    pub(super) fn svg(&self) -> String {
        register();
        let units = |length: f64| positive(length * SVG_UNITS);
        let size = (units(self.width), units(self.height));
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" viewBox=\"0 0 {} {}\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
            self.width, self.height, size.0, size.1
        );
        for shapes in self
            .shapes
            .chunk_by(|_, next| !matches!(next, Shape::Raster(_)))
        {
            let mut shapes = shapes;
            if let [Shape::Raster(raster), others @ ..] = shapes {
                shapes = others;
                let [x, y] = raster.at.map(|v| v * SVG_UNITS);
                let [width, height] = raster.size.map(|v| v * SVG_UNITS);
                let uri = png::data_uri(&raster.bytes, raster.cells, true);
                // Written to text: that cannot fail.
                let _ = writeln!(
                    svg,
                    "<image x=\"{x:.0}\" y=\"{y:.0}\" width=\"{width:.0}\" height=\"{height:.0}\" preserveAspectRatio=\"none\" href=\"{uri}\"/>"
                );
            }
            let mut part = String::new();
            let mut backend = SVGBackend::with_string(&mut part, size);
            // So is this.
            let _ = draw(shapes, &mut backend, SVG_UNITS, SVG_BASELINE);
            let _ = backend.present();
            drop(backend);
            // Without plotters' own frame.
            let inner = part.split_once(">\n").map_or("", |(_, inner)| inner);
            svg += inner.trim_end().trim_end_matches("</svg>");
        }
        svg += "</svg>\n";
        svg.replace(
            &format!("font-family=\"{FAMILY}\""),
            &format!("font-family=\"{FAMILIES}\""),
        )
    }

    pub(super) fn png(&self, scale: f64) -> Vec<u8> {
        register();
        let side = |length: f64| positive(length * scale) as usize;
        let (width, height) = (side(self.width), side(self.height));
        let (fine_width, fine_height) = (width * SUPERSAMPLING, height * SUPERSAMPLING);
        let fine_scale = scale * SUPERSAMPLING as f64;
        let mut fine = vec![255; fine_width * fine_height * 3];
        for shapes in self
            .shapes
            .chunk_by(|_, next| !matches!(next, Shape::Raster(_)))
        {
            let mut shapes = shapes;
            if let [Shape::Raster(raster), others @ ..] = shapes {
                shapes = others;
                raster.blend(&mut fine, [fine_width, fine_height], fine_scale);
            }
            let size = (positive(fine_width as f64), positive(fine_height as f64));
            let mut backend = BitMapBackend::with_buffer(&mut fine, size);
            // Into memory: the only error could be a missing font, which is there.
            let _ = draw(shapes, &mut backend, fine_scale, BITMAP_BASELINE);
            let _ = backend.present();
        }
        let mut bytes = Vec::with_capacity(width * height * 3);
        for row in 0..height {
            for column in 0..width {
                for channel in 0..3 {
                    let mut sum = 0_usize;
                    for y in 0..SUPERSAMPLING {
                        let first = (row * SUPERSAMPLING + y) * fine_width + column * SUPERSAMPLING;
                        for x in 0..SUPERSAMPLING {
                            sum += usize::from(fine[(first + x) * 3 + channel]);
                        }
                    }
                    let n = SUPERSAMPLING * SUPERSAMPLING;
                    #[expect(clippy::cast_possible_truncation, reason = "the mean of bytes")]
                    bytes.push(((sum + n / 2) / n) as u8);
                }
            }
        }
        png::encode(&bytes, [width, height], false)
    }
}

impl Raster {
    fn blend(&self, fine: &mut [u8], [width, height]: [usize; 2], scale: f64) {
        let [left, top] = self.at.map(|v| v * scale);
        let [w, h] = self.size.map(|v| v * scale);
        let within = |from: f64, length: f64, most: usize| {
            let end = (positive((from + length).round()) as usize).min(most);
            (positive(from.round()) as usize).min(end)..end
        };
        let cell = |at: usize, from: f64, length: f64, n: usize| {
            (positive((at as f64 + 0.5 - from) / length * n as f64) as usize).min(n - 1)
        };
        for y in within(top, h, height) {
            let row = cell(y, top, h, self.cells[1]);
            for x in within(left, w, width) {
                let column = cell(x, left, w, self.cells[0]);
                let pixel = &self.bytes[(row * self.cells[0] + column) * 4..][..4];
                let opacity = u32::from(pixel[3]);
                for channel in 0..3 {
                    let below = &mut fine[(y * width + x) * 3 + channel];
                    let sum =
                        u32::from(pixel[channel]) * opacity + u32::from(*below) * (255 - opacity);
                    #[expect(clippy::cast_possible_truncation, reason = "the mean of bytes")]
                    {
                        *below = (sum / 255) as u8;
                    }
                }
            }
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "`as` saturates")]
fn whole(value: f64) -> i32 {
    value.round() as i32
}

/// Towards 0; what is negative becomes 0.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates"
)]
fn positive(value: f64) -> u32 {
    value as u32
}

/// `None` where plotters fails.
fn draw<B: DrawingBackend>(
    shapes: &[Shape],
    backend: &mut B,
    scale: f64,
    baseline: f64,
) -> Option<()> {
    let place = |[x, y]: [f64; 2]| (whole(x * scale), whole(y * scale));
    let style = |&Ink([r, g, b], opacity): &Ink, width: f64| ShapeStyle {
        color: RGBAColor(r, g, b, opacity),
        filled: true,
        stroke_width: positive((width * scale).round()).max(1),
    };
    for shape in shapes {
        match shape {
            Shape::Path(points, width, ink) => {
                let points: Vec<_> = points.iter().copied().map(place).collect();
                backend.draw_path(points, &style(ink, *width)).ok()?;
            }
            Shape::Disc(center, radius, ink) => {
                let radius = positive((radius * scale).round()).max(1);
                backend
                    .draw_circle(place(*center), radius, &style(ink, 0.0), true)
                    .ok()?;
            }
            Shape::Polygon(points, ink) => {
                let points: Vec<_> = points.iter().copied().map(place).collect();
                backend.fill_polygon(points, &style(ink, 0.0)).ok()?;
            }
            Shape::Text(text) => {
                let down = match text.vertical {
                    Align::Start => CAPITALS,
                    Align::Middle => 0.5 * CAPITALS,
                    Align::End => -DEPTH,
                };
                let down = (down - baseline) * text.size;
                let [x, y] = text.at;
                let at = if text.is_turned {
                    [x + down, y]
                } else {
                    [x, y + down]
                };
                let horizontal = match text.horizontal {
                    Align::Start => HPos::Left,
                    Align::Middle => HPos::Center,
                    Align::End => HPos::Right,
                };
                let Ink([r, g, b], opacity) = text.ink;
                let color = RGBAColor(r, g, b, opacity);
                let font = (FAMILY, text.size * PLOTTERS_EM * scale).into_font();
                let font = if text.is_turned {
                    font.transform(FontTransform::Rotate270)
                } else {
                    font
                };
                let style = TextStyle::from(font)
                    .color(&color)
                    .pos(Pos::new(horizontal, VPos::Top));
                backend.draw_text(&text.text, &style, place(at)).ok()?;
            }
            Shape::Raster(_) => (), // drawn before
        }
    }
    Some(())
}
