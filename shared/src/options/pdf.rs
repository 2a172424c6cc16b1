//! Paper: its formats, its margins and CSS lengths.

use serde::{Deserialize, Serialize};

use super::number;

/// Names that both vendors know.
pub(super) const PAPERS: &[&str] = &["a0", "a1", "a2", "a3", "a4", "a5", "a6", "legal", "letter", "tabloid"];
/// ScreenshotMAX knows one more.
pub(super) const PAPERS_AND_LEDGER: &[&str] =
    &["letter", "legal", "tabloid", "ledger", "a0", "a1", "a2", "a3", "a4", "a5", "a6"];

const CSS_PIXELS_PER_INCH: f64 = 96.0;
const MILLIMETRES_PER_INCH: f64 = 25.4;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pdf {
    /// One of the names above. None: the size that the page's own `@page` rule gives, else [`Pdf::PAPER`].
    pub paper: Option<String>,
    pub landscape: bool,
    pub print_background: bool,
    /// One page as tall as the content.
    pub fit_one_page: bool,
    pub margin: Margins,
}

/// CSS lengths as the caller wrote them; a side that is not given is `all`, and that is none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Margins {
    pub all: Option<String>,
    pub top: Option<String>,
    pub right: Option<String>,
    pub bottom: Option<String>,
    pub left: Option<String>,
}

impl Pdf {
    /// Where nobody says what paper. The vendors' documents name letter more often than A4.
    pub const PAPER: &'static str = "letter";

    /// Width and height of the paper in inches, as it lies.
    pub fn paper_inches(&self) -> (f64, f64) {
        let (width, height) = paper_inches(self.paper.as_deref().unwrap_or(Pdf::PAPER));
        if self.landscape { (height, width) } else { (width, height) }
    }
}

impl Margins {
    /// Top, right, bottom and left in inches.
    pub fn inches(&self) -> [f64; 4] {
        [&self.top, &self.right, &self.bottom, &self.left].map(|side| {
            let text = side.as_deref().or(self.all.as_deref());
            text.and_then(length_inches).unwrap_or(0.0)
        })
    }

    /// Parameters whose text is no length.
    pub(super) fn invalid(&self) -> impl Iterator<Item = &'static str> {
        let sides = [
            ("pdf_margin", &self.all),
            ("pdf_margin_top", &self.top),
            ("pdf_margin_right", &self.right),
            ("pdf_margin_bottom", &self.bottom),
            ("pdf_margin_left", &self.left),
        ];
        sides.into_iter().filter_map(|(name, text)| (text.as_deref().map(length_inches) == Some(None)).then_some(name))
    }
}

/// Portrait, except the ledger, which is a tabloid that lies.
fn paper_inches(name: &str) -> (f64, f64) {
    let millimetres = |width: f64, height: f64| (width / MILLIMETRES_PER_INCH, height / MILLIMETRES_PER_INCH);
    match name {
        "a0" => millimetres(841.0, 1189.0),
        "a1" => millimetres(594.0, 841.0),
        "a2" => millimetres(420.0, 594.0),
        "a3" => millimetres(297.0, 420.0),
        "a4" => millimetres(210.0, 297.0),
        "a5" => millimetres(148.0, 210.0),
        "a6" => millimetres(105.0, 148.0),
        "legal" => (8.5, 14.0),
        "tabloid" => (11.0, 17.0),
        "ledger" => (17.0, 11.0),
        _ => (8.5, 11.0),
    }
}

/// `20px`, `1.5cm`, `1in`; a number alone is pixels, as everywhere at the vendors. None for what is no length, or too long
/// for any paper.
fn length_inches(text: &str) -> Option<f64> {
    let text = text.trim().to_ascii_lowercase();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let per_inch = match unit.trim() {
        "" | "px" => CSS_PIXELS_PER_INCH,
        "in" => 1.0,
        "cm" => MILLIMETRES_PER_INCH / 10.0,
        "mm" => MILLIMETRES_PER_INCH,
        "q" => MILLIMETRES_PER_INCH * 4.0,
        "pt" => 72.0,
        "pc" => 6.0,
        _ => return None,
    };
    number::read(number).map(|number| number / per_inch).filter(|inches| (0.0..=100.0).contains(inches))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths() {
        for (text, inches) in
            [("96", 1.0), ("48px", 0.5), (" 2.54cm ", 1.0), ("25.4MM", 1.0), ("36pt", 0.5), ("0", 0.0)]
        {
            let read = length_inches(text).unwrap();
            assert!((read - inches).abs() < 1e-9, "{text}: {read}");
        }
        for text in ["", "px", "-1px", "1em", "10%", "1e9px", "999999px", "1.2.3px"] {
            assert_eq!(length_inches(text), None, "{text}");
        }
    }

    #[test]
    fn a_side_wins_over_all_of_them() {
        let margins = Margins { all: Some("1in".into()), left: Some("0".into()), ..Margins::default() };
        assert_eq!(margins.inches(), [1.0, 1.0, 1.0, 0.0]);
        let wrong = Margins { top: Some("x".into()), ..margins };
        assert_eq!(wrong.invalid().collect::<Vec<_>>(), ["pdf_margin_top"]);
    }

    #[test]
    fn every_paper_has_a_size_of_its_own_and_turns() {
        let size = |name: &&str| paper_inches(name);
        for name in PAPERS_AND_LEDGER.iter().filter(|name| **name != "letter") {
            assert_ne!(size(name), size(&"letter"), "{name}");
        }
        let lying = Pdf { landscape: true, ..Pdf::default() };
        assert_eq!(lying.paper_inches(), (11.0, 8.5));
    }
}
