//! Bars as SVG, readable on light and on dark ground.

use std::fmt::Write;

use super::contender;
use super::report::Row;

const WIDTH: f64 = 860.0;
const LABELS: f64 = 230.0;
const BAR: f64 = 16.0;

/// A group of bars for each page, a bar for each contender.
pub(super) fn bars(title: &str, rows: &[Row], callers: usize, value: fn(&Row) -> f64) -> String {
    let rows: Vec<&Row> = rows.iter().filter(|row| row.callers == callers).collect();
    let mut marks = String::new();
    let mut y = 44.0;
    let mut page = "";
    for row in &rows {
        if row.page != page {
            page = row.page;
            y += 14.0;
            let _ = writeln!(marks, r#"<text x="0" y="{:.0}" class="page">{page}</text>"#, y + 12.0);
            y += 20.0;
        }
        // Each page has a scale of its own: what is compared is contenders.
        let of_page = rows.iter().filter(|other| other.page == page).map(|other| value(other));
        let most = of_page.fold(f64::MIN_POSITIVE, f64::max);
        let length = (value(row) / most * (WIDTH - LABELS - 60.0)).max(1.0);
        let class = match row.contender {
            name if name.starts_with("snaphook") => "ours",
            contender::ISOLATED => "ceiling",
            _ => "other",
        };
        let base = y + BAR - 4.0;
        let _ = writeln!(
            marks,
            r#"<text x="{:.0}" y="{base:.0}" text-anchor="end">{}</text><rect x="{LABELS}" y="{:.0}" width="{length:.1}" height="{:.0}" class="{class}"/><text x="{:.0}" y="{base:.0}">{:.*}</text>"#,
            LABELS - 8.0,
            row.contender,
            y + 1.0,
            BAR - 3.0,
            LABELS + length + 6.0,
            usize::from(value(row) < 10.0),
            value(row),
        );
        y += BAR;
    }
    let height = y + 12.0;
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">
<title>{title}</title>
<style>
svg {{ background: #ffffff; }}
text {{ font: 12px sans-serif; fill: #222222; }}
.head {{ font-size: 15px; font-weight: bold; }}
.page {{ font-weight: bold; }}
.ours {{ fill: #1a7f5a; }}
.ceiling {{ fill: #5b6b7f; }}
.other {{ fill: #b8c2cc; }}
</style>
<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>
<text x="0" y="20" class="head">{title}</text>
{marks}</svg>
"##
    )
}
