//! Plots: [`Figure3d`] and [`Figure2d`] of tables and grids, as pages for a browser, PNG and SVG.
//!
//! Figures are made of traces, in the words of [plotly.js](https://plotly.com/javascript/reference/): [`Figure::json`] shows
//! them and [`Figure::update_layout`] changes them. Pages have plotly.js in them and need no network. Images are drawn here, without a
//! browser; both come from the same JSON.
//!
//! | method | in space | in a plane |
//! |---|---|---|
//! | `add_points` | `t x y z ...` | `t x y ...`, or a plane of points in space |
//! | `add_lines` | `t x1 y1 z1 x2 y2 z2 ...` | `t x1 y1 x2 y2 ...`, or a plane of those in space |
//! | `add_voxels` | markers or cubes | a slice as a heat map |
//! | `add_slice` | a slice where it lies | |
//! | `add_pixels` | a surface | a heat map, contours |
//! | `add_vectors` | cones | arrows |
//! | `add_ellipsoids` | one standard deviation around points | |
//! | `add_timeseries` | | x, y and z against time |
//! | `add_image`, `histogram` | | an image; bars with a box plot |
//! | `add_trace`, `add_traces`, `add_frames` | anything | anything |

mod array;
mod color;
mod figure;
mod html;
pub mod image;
mod png;
mod report;
mod rows;
mod style;
pub mod trace;
mod vectors;

pub use color::ColorScale;
pub use figure::{Dimensions, Figure, Figure2d, Figure3d, Flat, Frame, Space, frames};
pub use html::{Page, Script, open_in_browser};
pub use image::ImageOptions;
pub use report::{StepSummary, Summary, report};
pub use rows::Rows;
pub use style::Style;
pub use trace::{Norm, Slice, Trace};
pub use vectors::{vector_rows, vector_rows_2d};
