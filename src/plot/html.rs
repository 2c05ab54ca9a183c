use std::io::Write;
use std::path::Path;

use serde_json::Value;

use super::figure::{Dimensions, Figure};
use crate::error::{Error, Result};
use crate::io::Output;

/// plotly.js 4.1.2, the distribution `plotly.js-dist-min`: 4.8 MB.
const PLOTLY: &str = include_str!("vendor/plotly.min.js");
/// The same file, and its hash, which browsers check.
const PLOTLY_URL: &str = "https://cdn.jsdelivr.net/npm/plotly.js-dist-min@4.1.2/plotly.min.js";
const PLOTLY_HASH: &str = "sha384-hHv6D3tTUUBpp4tVv6t2Dc3oGuRhphmWOTKUR8jWyN0Pnon1g3iebKCNDNmKmxo8";
/// What draws the figures, and how the page looks.
const DRAW: &str = include_str!("page.js");
const LOOK: &str = include_str!("page.css");

/// Where a page has plotly.js from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Script {
    /// In the page, which works without a network and is 4.8 MB larger.
    #[default]
    Embedded,
    /// From a public server.
    Cdn,
}

/// A page of headings, texts, tables and figures.
///
/// ```
/// use pept::plot::{Figure3d, Page, Script};
/// let mut page = Page::new("Two tracers");
/// page.heading("Trajectories").figure(&Figure3d::new(), 500).code("[[step]]");
/// page.table(&["step", "seconds"], [["Cutpoints", "0.4"]]);
/// assert!(page.html(Script::Cdn)?.contains("<td>Cutpoints</td>"));
/// # Ok::<(), pept::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Page {
    title: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    Heading(String),
    Text(String),
    Code(String),
    Table(Vec<String>, Vec<Vec<String>>),
    Figure(Value, u32),
    /// Fills the page.
    Alone(Value),
}

impl Page {
    /// A page without contents; its title is shown unless a figure stands alone.
    #[must_use]
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            parts: Vec::new(),
        }
    }

    /// A heading.
    pub fn heading(&mut self, text: impl Into<String>) -> &mut Self {
        self.parts.push(Part::Heading(text.into()));
        self
    }

    /// A paragraph.
    pub fn text(&mut self, text: impl Into<String>) -> &mut Self {
        self.parts.push(Part::Text(text.into()));
        self
    }

    /// Text as it is, line by line.
    pub fn code(&mut self, text: impl Into<String>) -> &mut Self {
        self.parts.push(Part::Code(text.into()));
        self
    }

    /// A table; numbers stand to the right. No head: no first line.
    pub fn table<S: Into<String>>(
        &mut self,
        head: &[&str],
        rows: impl IntoIterator<Item = impl IntoIterator<Item = S>>,
    ) -> &mut Self {
        let head = head.iter().map(|&text| text.to_owned()).collect();
        let row = |row: &mut dyn Iterator<Item = S>| row.map(Into::into).collect();
        let rows = rows.into_iter().map(|cells| row(&mut cells.into_iter()));
        self.parts.push(Part::Table(head, rows.collect()));
        self
    }

    /// A figure, so many pixels high.
    pub fn figure<D: Dimensions>(&mut self, figure: &Figure<D>, height: u32) -> &mut Self {
        self.parts.push(Part::Figure(figure.json(), height));
        self
    }

    /// A figure's JSON, changed or one's own, that fills the window.
    pub fn json(&mut self, figure: Value) -> &mut Self {
        self.parts.push(Part::Alone(figure));
        self
    }

    /// The page as text.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be made.
    pub fn html(&self, script: Script) -> Result<String> {
        let mut bytes = Vec::new();
        let written = self.write_to(&mut bytes, script);
        match (written, String::from_utf8(bytes)) {
            (Ok(()), Ok(text)) => Ok(text),
            (Err(error), _) => Err(self.problem(error)),
            (_, Err(error)) => Err(self.problem(error)),
        }
    }

    /// Writes the page.
    ///
    /// # Errors
    /// [`Error::Io`]. No file is then left under that name.
    pub fn write(&self, path: impl AsRef<Path>, script: Script) -> Result<()> {
        let path = path.as_ref();
        let mut output = Output::create(path)?;
        self.write_to(&mut output, script)
            .map_err(Error::writing(path))?;
        output.finish()
    }

    /// Shows the page in the default browser.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::File`] if there is no browser.
    pub fn show(&self) -> Result<()> {
        let folder = std::env::temp_dir();
        let mut builder = tempfile::Builder::new();
        let named = builder.prefix("pept-").suffix(".html").tempfile_in(&folder);
        // The browser reads it later: it stays.
        let path = named
            .and_then(|file| Ok(file.into_temp_path().keep()?))
            .map_err(Error::writing(&folder))?;
        self.write(&path, Script::Embedded)?;
        open_in_browser(&path)
    }

    fn problem(&self, error: impl ToString) -> Error {
        Error::File {
            path: self.title.clone().into(),
            problem: error.to_string(),
        }
    }

    fn write_to(&self, out: &mut impl Write, script: Script) -> std::io::Result<()> {
        let is_alone = matches!(self.parts.as_slice(), [Part::Alone(_)]);
        let title = escaped(&self.title);
        write!(
            out,
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"generator\" content=\"pept {}\">\n<title>{title}</title>\n<style>\n{LOOK}</style>\n",
            env!("CARGO_PKG_VERSION"),
        )?;
        match script {
            Script::Embedded => write!(out, "<script>{PLOTLY}</script>\n</head>\n")?,
            Script::Cdn => write!(
                out,
                "<script src=\"{PLOTLY_URL}\" integrity=\"{PLOTLY_HASH}\" crossorigin=\"anonymous\"></script>\n</head>\n"
            )?,
        }
        let class = if is_alone { " class=\"one\"" } else { "" };
        write!(
            out,
            "<body>\n<pre id=\"pept-status\" hidden></pre>\n<pre id=\"pept-problem\"></pre>\n<main{class}>\n"
        )?;
        if !is_alone {
            writeln!(out, "<h1>{title}</h1>")?;
        }
        for (n, part) in self.parts.iter().enumerate() {
            part.write_to(out, n)?;
        }
        writeln!(out, "</main>\n<script>\n{DRAW}</script>\n</body>\n</html>")
    }
}

impl Part {
    fn write_to(&self, out: &mut impl Write, n: usize) -> std::io::Result<()> {
        match self {
            Self::Heading(text) => writeln!(out, "<h2>{}</h2>", escaped(text)),
            Self::Text(text) => writeln!(out, "<p>{}</p>", escaped(text)),
            Self::Code(text) => writeln!(out, "<pre>{}</pre>", escaped(text)),
            Self::Table(head, rows) => {
                // A column of numbers has nothing else, head aside.
                let is_number = |column: usize| {
                    let mut cells = rows.iter().filter_map(|row| row.get(column));
                    rows.len() > 1 && cells.all(|cell| looks_like_number(cell))
                };
                let cell = |tag: &str, column: usize, text: &str| {
                    let class = if is_number(column) && !head.is_empty() {
                        " class=\"number\""
                    } else {
                        ""
                    };
                    format!("<{tag}{class}>{}</{tag}>", escaped(text))
                };
                let line = |tag: &str, cells: &[String]| {
                    let cells = cells.iter().enumerate();
                    let cells: String = cells.map(|(n, text)| cell(tag, n, text)).collect();
                    format!("<tr>{cells}</tr>")
                };
                writeln!(out, "<table>")?;
                if !head.is_empty() {
                    writeln!(out, "{}", line("th", head))?;
                }
                for row in rows {
                    writeln!(out, "{}", line("td", row))?;
                }
                writeln!(out, "</table>")
            }
            Self::Figure(json, height) => {
                let style = format!(" style=\"height: {height}px\"");
                write_figure(out, json, n, &style)
            }
            Self::Alone(json) => write_figure(out, json, n, ""),
        }
    }
}

fn write_figure(out: &mut impl Write, json: &Value, n: usize, style: &str) -> std::io::Result<()> {
    writeln!(
        out,
        "<div class=\"figure\" id=\"pept-figure-{n}\"{style}></div>"
    )?;
    write!(
        out,
        "<script type=\"application/json\" data-target=\"pept-figure-{n}\">"
    )?;
    serde_json::to_writer(InScript(out), json)?;
    writeln!(out, "</script>")
}

/// JSON in a script: `<`, which could end it, stands only in strings, where `\u003c` means the same.
struct InScript<'a, W>(&'a mut W);

impl<W: Write> Write for InScript<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut parts = bytes.split(|&byte| byte == b'<');
        self.0.write_all(parts.next().unwrap_or_default())?;
        for part in parts {
            self.0.write_all(b"\\u003c")?;
            self.0.write_all(part)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

fn looks_like_number(text: &str) -> bool {
    let text = text.trim_end_matches(['%', ' ']);
    text.is_empty() || text == "-" || text.replace(',', "").parse::<f64>().is_ok()
}

/// Text as it has to stand in HTML.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

/// Shows a file in the default browser.
///
/// # Errors
/// [`Error::File`] if there is none.
pub fn open_in_browser(path: &Path) -> Result<()> {
    open::that_detached(path).map_err(|error| Error::File {
        path: path.to_owned(),
        problem: format!("is written, but no browser can be started ({error}); open it by hand"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_in_a_page_ends_its_scripts() {
        assert!(!PLOTLY.contains("</script"));
        let mut page = Page::new("a < b & \"c\"");
        page.json(json!({"data": [{"name": "</script><b>"}], "layout": {}}));
        let html = page.html(Script::Cdn).unwrap();
        assert!(html.contains("<title>a &lt; b &amp; &quot;c&quot;</title>"));
        assert!(html.contains("\\u003c/script>\\u003cb>"));
        assert_eq!(html.matches("</script>").count(), 3);
        assert!(html.contains(PLOTLY_URL) && html.len() < 10_000);
        let embedded = page.html(Script::Embedded).unwrap();
        assert!(embedded.len() > PLOTLY.len() && !embedded.contains(PLOTLY_URL));
    }

    #[test]
    fn columns_of_numbers_stand_to_the_right() {
        let mut page = Page::new("");
        page.table(&["step", "n"], [["a", "1,000"], ["b", "2"]]);
        let html = page.html(Script::Cdn).unwrap();
        assert!(html.contains("<tr><td>a</td><td class=\"number\">1,000</td></tr>"));
        assert!(html.contains("<th class=\"number\">n</th>"));
    }
}
