//! From rounds to a table, a file of figures, and plots.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value as Json, json};
use snaphook_tests::repository;

use super::contender::{self, Contender, Machine};
use crate::figures::{ms, quantile, quantile_ms};
use crate::plot::{self, Bar, Tone};

/// So many pictures of a page by a contender.
pub(super) struct Round {
    pub(super) contender: &'static str,
    pub(super) page: &'static str,
    pub(super) callers: usize,
    pub(super) round: usize,
    pub(super) pictures: usize,
    pub(super) wall: Duration,
    pub(super) cpu: Duration,
    pub(super) latencies: Vec<Duration>,
    /// Of the last picture; 0 if it is not known.
    pub(super) bytes: usize,
    pub(super) failures: Vec<String>,
}

impl Round {
    pub(super) fn named(self, round: usize) -> Round {
        Round { round, ..self }
    }

    fn cpu_ms(&self) -> f64 {
        ms(self.cpu) / self.pictures as f64
    }

    fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.wall.as_secs_f64()
    }

    fn median_ms(&self) -> f64 {
        quantile_ms(&self.latencies, 0.5)
    }
}

/// Everything of a run.
pub(super) struct Run {
    pub(super) rounds: Vec<Round>,
    /// Peaks by contender and page.
    pub(super) memory: Vec<(&'static str, &'static str, u64)>,
    /// Resident memory of the backend's own process, without Chromium, before the rounds.
    pub(super) idle: Option<u64>,
    contenders: Vec<(&'static str, &'static str)>,
    method: &'static str,
    chromium: Vec<String>,
    load: [String; 2],
}

/// One row of the table: the medians of its rounds.
pub(super) struct Row {
    pub(super) contender: &'static str,
    pub(super) page: &'static str,
    pub(super) callers: usize,
    pub(super) cpu_ms: f64,
    /// Against the ceiling, round by round.
    cpu_ratio: f64,
    pub(super) median_ms: f64,
    median_ratio: f64,
    p95_ms: f64,
    pub(super) rate: f64,
    rate_ratio: f64,
    memory: Option<u64>,
    bytes: usize,
    failures: usize,
}

impl Row {
    fn bar(&self, value: fn(&Row) -> f64) -> Bar<'_> {
        let tone = match self.contender {
            name if name.starts_with("snaphook") => Tone::Ours,
            contender::ISOLATED => Tone::Ceiling,
            _ => Tone::Other,
        };
        Bar { group: self.page, label: self.contender, value: value(self), tone }
    }
}

impl Run {
    pub(super) fn new(machine: &Machine, contenders: &[Contender]) -> Run {
        let chromium = std::iter::once(&machine.shell).chain(&machine.full);
        Run {
            rounds: Vec::new(),
            memory: Vec::new(),
            idle: None,
            contenders: contenders.iter().map(|contender| (contender.name, contender.isolation)).collect(),
            method: contenders.first().map_or("", |contender| contender.meter.method()),
            chromium: chromium.map(|path| format!("{path}: {}", contender::version(path))).collect(),
            load: [load(), String::new()],
        }
    }

    pub(super) fn finish(&mut self) {
        self.load[1] = load();
    }

    pub(super) fn first_failure(&self) -> Option<(&str, &str, &String)> {
        self.rounds.iter().find_map(|round| Some((round.contender, round.page, round.failures.first()?)))
    }

    /// The table, page by page, in the order of the contenders.
    pub(super) fn rows(&self) -> Vec<Row> {
        let mut cases: Vec<(&str, usize)> = Vec::new();
        for round in &self.rounds {
            if !cases.contains(&(round.page, round.callers)) {
                cases.push((round.page, round.callers));
            }
        }
        let contenders = self.contenders.iter().map(|(name, _)| *name);
        let pairs = cases.iter().flat_map(|case| contenders.clone().map(move |contender| (*case, contender)));
        pairs.filter_map(|((page, callers), contender)| self.row(contender, page, callers)).collect()
    }

    fn row(&self, contender: &'static str, page: &str, callers: usize) -> Option<Row> {
        let of = |name: &str| -> BTreeMap<usize, &Round> {
            let mine = |round: &&Round| round.contender == name && round.page == page && round.callers == callers;
            self.rounds.iter().filter(mine).map(|round| (round.round, round)).collect()
        };
        let (own, ceiling) = (of(contender), of(contender::ISOLATED));
        let first = own.values().next()?;
        let median = |value: fn(&Round) -> f64| quantile(own.values().map(|round| value(round)).collect(), 0.5);
        let ratio = |value: fn(&Round) -> f64| {
            let ratios = own.iter().filter_map(|(at, round)| Some(value(round) / value(ceiling.get(at)?)));
            quantile(ratios.collect(), 0.5)
        };
        let latencies = own.values().flat_map(|round| &round.latencies).map(|latency| ms(*latency));
        let peak = self.memory.iter().find(|(name, at, _)| *name == contender && *at == page);
        Some(Row {
            contender,
            page: first.page,
            callers,
            cpu_ms: median(Round::cpu_ms),
            cpu_ratio: ratio(Round::cpu_ms),
            median_ms: median(Round::median_ms),
            median_ratio: ratio(Round::median_ms),
            p95_ms: quantile(latencies.collect(), 0.95),
            rate: median(Round::rate),
            rate_ratio: ratio(Round::rate),
            memory: peak.map(|(_, _, bytes)| *bytes),
            bytes: own.values().map(|round| round.bytes).max().unwrap_or(0),
            failures: own.values().map(|round| round.failures.len()).sum(),
        })
    }
}

/// Writes the table, the figures and the plots; gives their folder.
pub(super) fn write(run: &Run) -> std::io::Result<PathBuf> {
    let folder = repository("target/bench");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("render.md"), markdown(run))?;
    std::fs::write(folder.join("render.json"), format!("{:#}\n", figures(run)))?;
    let rows = run.rows();
    for (name, title, callers, value) in plots() {
        let bars: Vec<Bar> = rows.iter().filter(|row| row.callers == callers).map(|row| row.bar(value)).collect();
        std::fs::write(folder.join(name), plot::bars(title, &bars))?;
    }
    folder.canonicalize()
}

type Plot = (&'static str, &'static str, usize, fn(&Row) -> f64);

fn plots() -> [Plot; 3] {
    [
        ("render-cpu.svg", "Processor time per picture, ms (less is better)", 1, |row| row.cpu_ms),
        ("render-latency.svg", "Median time to the picture, one caller, ms (less is better)", 1, |row| row.median_ms),
        ("render-rate.svg", "Pictures per second, four callers (more is better)", 4, |row| row.rate),
    ]
}

/// What a reader wants: the machine, then a table for each page.
pub(super) fn markdown(run: &Run) -> String {
    let mut text = String::new();
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let _ = writeln!(text, "Taken at {seconds} (Unix time). {}.", machine());
    let _ = writeln!(text, "Load at the beginning {}, at the end {}.", run.load[0], run.load[1]);
    let _ = writeln!(text, "{}. Processor time by {}.", run.chromium.join("; "), run.method);
    if let Some(idle) = run.idle {
        let _ = writeln!(text, "Resident memory of the idle backend, without Chromium: {} MB.", idle / 1_000_000);
    }
    let _ = writeln!(text, "\n| contender | between pictures |\n|---|---|");
    for (name, isolation) in &run.contenders {
        let _ = writeln!(text, "| {name} | {isolation} |");
    }
    let mut last = ("", 0);
    for row in run.rows() {
        if last != (row.page, row.callers) {
            last = (row.page, row.callers);
            let _ = writeln!(text, "\n**{}**, {} at a time\n", row.page, row.callers);
            let _ = writeln!(
                text,
                "| contender | CPU ms | of the ceiling | p50 ms | of the ceiling | p95 ms | per second | of the ceiling | peak MB | KB | failed |\n\
                 |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
            );
        }
        let _ = writeln!(
            text,
            "| {} | {:.0} | {:.2} | {:.0} | {:.2} | {:.0} | {:.1} | {:.2} | {} | {} | {} |",
            row.contender,
            row.cpu_ms,
            row.cpu_ratio,
            row.median_ms,
            row.median_ratio,
            row.p95_ms,
            row.rate,
            row.rate_ratio,
            row.memory.map_or_else(|| "–".to_owned(), |bytes| (bytes / 1_000_000).to_string()),
            if row.bytes == 0 { "–".to_owned() } else { (row.bytes / 1000).to_string() },
            row.failures,
        );
    }
    text
}

/// Every round as it was.
fn figures(run: &Run) -> Json {
    let rounds = run.rounds.iter().map(|round| {
        json!({
            "contender": round.contender,
            "page": round.page,
            "callers": round.callers,
            "round": round.round,
            "pictures": round.pictures,
            "wall_ms": ms(round.wall),
            "cpu_ms_per_picture": round.cpu_ms(),
            "latencies_ms": round.latencies.iter().map(|latency| ms(*latency)).collect::<Vec<_>>(),
            "bytes": round.bytes,
            "failures": round.failures,
        })
    });
    let memory = run
        .memory
        .iter()
        .map(|(contender, page, bytes)| json!({ "contender": contender, "page": page, "peak_bytes": bytes }));
    json!({
        "machine": machine(),
        "load": run.load,
        "chromium": run.chromium,
        "processor_time_by": run.method,
        "backend_idle_bytes": run.idle,
        "memory": memory.collect::<Vec<_>>(),
        "rounds": rounds.collect::<Vec<_>>(),
    })
}

fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let (cpu, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let kilobytes = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or_default();
    let kilobytes: u64 = kilobytes.trim().trim_end_matches(" kB").parse().unwrap_or(0);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{cores} cores ({model}), {} GB, Linux {}", kilobytes / 1_000_000, kernel.trim())
}

fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("?").to_owned()
}
