//! Small plots as SVG. Colours are classes of the style sheet, so that they follow light and dark.

use maud::{Markup, html};

use super::html::{duration, number};

/// One span of time.
pub(super) struct Column {
    pub(super) label: String,
    /// Requests that came, whenever they end.
    pub(super) came: u64,
    /// Stacked from the bottom: done, failed, cancelled.
    pub(super) parts: [u64; 3],
    /// Renders that succeeded; what a cache answers is done without one.
    pub(super) renders: u64,
    /// Milliseconds: p50, p95.
    pub(super) lines: [Option<u64>; 2],
}

const PARTS: [&str; 3] = ["done", "failed", "cancelled"];
const LINES: [&str; 2] = ["p50", "p95"];

const WIDTH: f64 = 512.0;
const HEIGHT: f64 = 200.0;
const LEFT: f64 = 4.0;
const RIGHT: f64 = 8.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 24.0;

/// How many came, as an outline, how many ended, and how, and a mark at how many renders there were.
pub(super) fn bars(columns: &[Column]) -> Markup {
    let highest = |column: &Column| column.came.max(column.renders).max(column.parts.iter().sum());
    let top = ceiling(columns.iter().map(highest).max().unwrap_or(0));
    let width = column_width(columns);
    let ended = |index: usize| columns.iter().map(|column| column.parts[index]).sum::<u64>();
    let came: u64 = columns.iter().map(|column| column.came).sum();
    let renders: u64 = columns.iter().map(|column| column.renders).sum();
    let summary = format!(
        "Bars over time: {came} came, {} done, {} failed, {} cancelled; {renders} renders",
        ended(0),
        ended(1),
        ended(2)
    );
    frame(
        columns,
        &summary,
        top,
        number,
        html! {
            @for (index, column) in columns.iter().enumerate() {
                g {
                    title { (column.label) ": " (column.came) " came, " (column.parts[0]) " done, " (column.parts[1]) " failed, " (column.parts[2]) " cancelled; " (column.renders) " renders" }
                    @for (part, class) in PARTS.iter().enumerate() {
                        @let below: u64 = column.parts[..part].iter().sum();
                        @let height = height(column.parts[part], top);
                        @if height > 0.0 {
                            rect class=(class) x=(round(x(index, width) + width * 0.14)) y=(round(y(below + column.parts[part], top)))
                                width=(round(width * 0.72)) height=(round(height)) rx="1.5" {}
                        }
                    }
                    @if column.renders > 0 {
                        path .renders d={ "M" (round(x(index, width) + width * 0.04)) " " (round(y(column.renders, top))) "h" (round(width * 0.92)) } {}
                    }
                }
            }
            @if came > 0 { path .came d=(outline(columns, width, top)) {} }
        },
    )
}

/// A line of steps along what came.
fn outline(columns: &[Column], width: f64, top: u64) -> String {
    let mut path = format!("M{} {}", round(LEFT), round(y(0, top)));
    for (index, column) in columns.iter().enumerate() {
        path.push_str(&format!("V{}H{}", round(y(column.came, top)), round(x(index + 1, width))));
    }
    path + &format!("V{}", round(y(0, top)))
}

/// How long renders took. A span without renders is a gap.
pub(super) fn lines(columns: &[Column]) -> Markup {
    let top = ceiling(columns.iter().flat_map(|column| column.lines).flatten().max().unwrap_or(0));
    let width = column_width(columns);
    let worst = columns.iter().filter_map(|column| column.lines[1]).max();
    let summary = match worst {
        Some(worst) => {
            format!("Lines over time: median and 95th percentile of the render time, at most {}", duration(worst))
        }
        None => "Lines over time: nothing was rendered".to_owned(),
    };
    frame(
        columns,
        &summary,
        top,
        duration,
        html! {
            @for (line, class) in LINES.iter().enumerate() {
                @for run in runs(columns, line) {
                    @let points: Vec<String> = run.iter().map(|(index, ms)| format!("{},{}", round(x(*index, width) + width / 2.0), round(y(*ms, top)))).collect();
                    polyline class=(class) points=(points.join(" ")) {}
                    @for (index, ms) in run {
                        circle class=(class) cx=(round(x(index, width) + width / 2.0)) cy=(round(y(ms, top))) r="2.6" {
                            title { (columns[index].label) ": " (class) " " (duration(ms)) }
                        }
                    }
                }
            }
        },
    )
}

/// Neighbours that have a value, as places and values.
fn runs(columns: &[Column], line: usize) -> Vec<Vec<(usize, u64)>> {
    let mut runs = vec![Vec::new()];
    for (index, column) in columns.iter().enumerate() {
        match (column.lines[line], runs.last_mut()) {
            (Some(ms), Some(run)) => run.push((index, ms)),
            _ => runs.push(Vec::new()),
        }
    }
    runs.retain(|run| !run.is_empty());
    runs
}

/// Axes and labels around what is plotted.
fn frame(columns: &[Column], summary: &str, top: u64, unit: fn(u64) -> String, inside: Markup) -> Markup {
    let width = column_width(columns);
    let step = columns.len().div_ceil(6).max(1);
    let values = [0, top / 2, top];
    html! {
        div .plot tabindex="0" role="group" aria-label="Plot, can be scrolled" {
            div .canvas {
                // Stays where it is while the plot is scrolled. Its lengths are shares of the plot's height.
                div .scale aria-hidden="true" {
                    svg {
                        @for value in values {
                            text .axis x="100%" y={ (round(y(value, top) * 100.0 / HEIGHT)) "%" } dy="0.35em" text-anchor="end" {
                                (unit(value))
                            }
                        }
                    }
                }
                svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label=(summary) {
                    @for value in values {
                        line .grid x1=(LEFT) x2=(WIDTH - RIGHT) y1=(round(y(value, top))) y2=(round(y(value, top))) {}
                    }
                    @for (index, column) in columns.iter().enumerate().skip(step / 2).step_by(step) {
                        text .axis x=(round(x(index, width) + width / 2.0)) y=(HEIGHT - 6.0) text-anchor="middle" {
                            (column.label)
                        }
                    }
                    (inside)
                }
            }
        }
    }
}

fn column_width(columns: &[Column]) -> f64 {
    (WIDTH - LEFT - RIGHT) / columns.len().max(1) as f64
}

fn x(index: usize, width: f64) -> f64 {
    LEFT + index as f64 * width
}

fn height(value: u64, top: u64) -> f64 {
    (HEIGHT - TOP - BOTTOM) * value as f64 / top as f64
}

fn y(value: u64, top: u64) -> f64 {
    HEIGHT - BOTTOM - height(value, top)
}

/// The next round figure, never zero.
fn ceiling(value: u64) -> u64 {
    let mut power = 1;
    loop {
        for factor in [2, 4, 6, 10] {
            let round = power * factor;
            if round >= value || power > u64::MAX / 100 {
                return round;
            }
        }
        power *= 10;
    }
}

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(parts: [u64; 3], lines: [Option<u64>; 2]) -> Column {
        Column { label: "<b>".to_owned(), came: 6, parts, renders: parts[0].saturating_sub(1), lines }
    }

    #[test]
    fn axes_end_at_round_figures() {
        assert_eq!([0, 1, 3, 7, 11, 61, 1_000, 1_001].map(ceiling), [2, 2, 4, 10, 20, 100, 1_000, 2_000]);
        assert!(ceiling(u64::MAX) > 0);
    }

    #[test]
    fn plots_hold_what_they_are_given_and_gaps_break_lines() {
        let columns = [
            column([4, 0, 0], [Some(10), Some(20)]),
            column([0, 0, 0], [None, None]),
            column([1, 2, 0], [Some(30), Some(90)]),
        ];
        let svg = bars(&columns).into_string();
        assert_eq!(svg.matches("<rect").count(), 3, "{svg}");
        assert!(!svg.contains("<b>"), "labels are escaped");
        assert_eq!(svg.matches("<path class=\"renders\"").count(), 1, "a span without renders has no mark: {svg}");
        assert!(
            svg.contains("18 came, 5 done, 2 failed, 0 cancelled; 3 renders") && svg.contains(">6</text>"),
            "what came counts for the height: {svg}"
        );
        assert_eq!(outline(&columns, 10.0, 6), "M4 176V10H14V10H24V10H34V176");
        assert!(!bars(&[]).into_string().contains("<path"));
        let svg = lines(&columns).into_string();
        assert_eq!((svg.matches("<polyline").count(), svg.matches("<circle").count()), (4, 4));
        assert!(lines(&[]).into_string().contains("nothing was rendered"));
    }
}
