//! Bars and curves as SVG, readable on light and on dark ground.

use std::fmt::Write;

const WIDTH: f64 = 860.0;
const LABELS: f64 = 230.0;
const BAR: f64 = 16.0;

/// How a bar stands out.
#[derive(Clone, Copy)]
pub(super) enum Tone {
    Ours,
    Ceiling,
    Other,
}

impl Tone {
    fn class(self) -> &'static str {
        match self {
            Tone::Ours => "ours",
            Tone::Ceiling => "ceiling",
            Tone::Other => "other",
        }
    }
}

/// One value.
pub(super) struct Bar<'a> {
    /// Bars of a group have a heading and a scale of their own.
    pub(super) group: &'a str,
    pub(super) label: &'a str,
    pub(super) value: f64,
    pub(super) tone: Tone,
}

/// Groups one below the other; bars of a group are next to each other in the slice.
pub(super) fn bars(title: &str, bars: &[Bar<'_>]) -> String {
    let mut marks = String::new();
    let mut y = 44.0;
    let mut group = "";
    for bar in bars {
        if bar.group != group {
            group = bar.group;
            y += 14.0;
            let _ = writeln!(marks, r#"<text x="0" y="{:.0}" class="group">{group}</text>"#, y + 12.0);
            y += 20.0;
        }
        let of_group = bars.iter().filter(|other| other.group == group).map(|other| other.value);
        let most = of_group.fold(f64::MIN_POSITIVE, f64::max);
        let length = (bar.value / most * (WIDTH - LABELS - 60.0)).max(1.0);
        let base = y + BAR - 4.0;
        let _ = writeln!(
            marks,
            r#"<text x="{:.0}" y="{base:.0}" text-anchor="end">{}</text><rect x="{LABELS}" y="{:.0}" width="{length:.1}" height="{:.0}" class="{}"/><text x="{:.0}" y="{base:.0}">{:.*}</text>"#,
            LABELS - 8.0,
            bar.label,
            y + 1.0,
            BAR - 3.0,
            bar.tone.class(),
            LABELS + length + 6.0,
            usize::from(bar.value < 10.0),
            bar.value,
        );
        y += BAR;
    }
    document(title, y + 12.0, &marks)
}

/// A curve: its name, and its points from left to right.
pub(super) struct Curve<'a> {
    pub(super) name: &'a str,
    pub(super) tone: Tone,
    pub(super) points: Vec<(f64, f64)>,
}

/// Curves over one axis; both axes begin at zero.
pub(super) fn curves(title: &str, across: &str, curves: &[Curve<'_>]) -> String {
    const LEFT: f64 = 56.0;
    const TOP: f64 = 44.0;
    const TALL: f64 = 260.0;
    let most = |pick: fn(&(f64, f64)) -> f64| {
        curves.iter().flat_map(|curve| &curve.points).map(pick).fold(f64::MIN_POSITIVE, f64::max)
    };
    let (right, top) = (most(|point| point.0), most(|point| point.1));
    let x = |value: f64| LEFT + value / right * (WIDTH - LEFT - 150.0);
    let y = |value: f64| TOP + TALL - value / top * TALL;
    let mut marks = String::new();
    for part in 0..=4 {
        let (across, up) = (right * f64::from(part) / 4.0, top * f64::from(part) / 4.0);
        let _ = writeln!(
            marks,
            r#"<path d="M{LEFT} {0:.1}H{1:.1}" class="grid"/><text x="{2}" y="{3:.1}" text-anchor="end">{up:.0}</text><text x="{4:.1}" y="{5}" text-anchor="middle">{across:.1}</text>"#,
            y(up),
            x(right),
            LEFT - 8.0,
            y(up) + 4.0,
            x(across),
            TOP + TALL + 18.0,
        );
    }
    // Names stand at the ends of their curves, one below the other where these are close.
    let ends = curves.iter().map(|curve| curve.points.last().map_or(0.0, |(_, last)| y(*last) + 4.0));
    let mut names: Vec<(f64, usize)> = ends.zip(0..).collect();
    names.sort_unstable_by(|(one, _), (other, _)| other.total_cmp(one));
    let mut below = f64::INFINITY;
    for (end, at) in names {
        let (curve, end) = (&curves[at], end.min(below - 14.0));
        below = end;
        let path: Vec<String> =
            curve.points.iter().map(|(at, value)| format!("{:.1} {:.1}", x(*at), y(*value))).collect();
        let _ = writeln!(
            marks,
            r#"<path d="M{}" class="{1} line"/><text x="{2:.1}" y="{end:.1}" class="{1} name">{3}</text>"#,
            path.join("L"),
            curve.tone.class(),
            x(right) + 8.0,
            curve.name,
        );
    }
    let _ = writeln!(marks, r#"<text x="{LEFT}" y="{:.0}">{across}</text>"#, TOP + TALL + 38.0);
    document(title, TOP + TALL + 50.0, &marks)
}

fn document(title: &str, height: f64, marks: &str) -> String {
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">
<title>{title}</title>
<style>
svg {{ background: #ffffff; }}
text {{ font: 12px sans-serif; fill: #222222; }}
.head {{ font-size: 15px; font-weight: bold; }}
.group {{ font-weight: bold; }}
.ours {{ fill: #1a7f5a; stroke: #1a7f5a; }}
.ceiling {{ fill: #5b6b7f; stroke: #5b6b7f; }}
.other {{ fill: #b8c2cc; stroke: #b8c2cc; }}
.line {{ fill: none; stroke-width: 2; }}
.name {{ stroke: none; }}
.grid {{ stroke: #e3e7eb; }}
</style>
<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>
<text x="0" y="20" class="head">{title}</text>
{marks}</svg>
"##
    )
}
