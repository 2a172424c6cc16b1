//! From what was measured and what is assumed to what it takes: the sums of docs/scale.md, so that nobody has to trust
//! a sum that was made by hand. `--name=value` replaces an input.

/// An input of the model.
struct Input {
    name: &'static str,
    value: f64,
    unit: &'static str,
    from: &'static str,
}

const fn input(name: &'static str, value: f64, unit: &'static str, from: &'static str) -> Input {
    Input { name, value, unit, from }
}

const MEASURED: &str = "measured: docs/performance.md";
const DATABASE: &str = "measured: queue jobs, queue rows";
const ASSUMED: &str = "assumed";

/// Pages by class: share, processor time, what a slot is taken for without the network, bytes of the result.
pub(super) const CLASSES: [Class; 5] = [
    Class { name: "trivial", cpu_ms: 119.0, spread: 0.10, kilobytes: 24.0 },
    Class { name: "text", cpu_ms: 143.0, spread: 0.02, kilobytes: 406.0 },
    Class { name: "images", cpu_ms: 304.0, spread: 0.04, kilobytes: 2264.0 },
    Class { name: "tall", cpu_ms: 879.0, spread: 0.03, kilobytes: 4573.0 },
    Class { name: "pdf", cpu_ms: 134.0, spread: 0.07, kilobytes: 48.0 },
];

/// A class of pages, as the row "until the webhook" of docs/performance.md has it.
pub(super) struct Class {
    pub(super) name: &'static str,
    pub(super) cpu_ms: f64,
    /// Deviation of the logarithm of its times, from their median and 95th percentile.
    pub(super) spread: f64,
    kilobytes: f64,
}

const INPUTS: [Input; 33] = [
    input("share_trivial", 0.10, "of the shots", ASSUMED),
    input("share_text", 0.45, "of the shots", ASSUMED),
    input("share_images", 0.30, "of the shots", ASSUMED),
    input("share_tall", 0.05, "of the shots", ASSUMED),
    input("share_pdf", 0.10, "of the shots", ASSUMED),
    input("peak", 1.8, "of the day's mean, in the busiest hour", ASSUMED),
    input("load", 0.7, "of the render cores taken in that hour", "chosen: queue ages below"),
    input("page_wait", 1.0, "s that a page's hosts take, mean", ASSUMED),
    input("page_memory", 384.0, "MB for each open page", "backend/config.default.toml"),
    input("service_memory", 512.0, "MB for each service", "backend/config.default.toml"),
    input("cores_each", 16.0, "cores of a render machine", ASSUMED),
    input("db_cpu_ms", 2.19, "ms of PostgreSQL's processor time for a shot", DATABASE),
    input("db_load", 0.4, "of PostgreSQL's cores taken in the busiest hour", "chosen"),
    input("db_wal", 7_910.0, "bytes of write-ahead log for a shot", DATABASE),
    input("db_row", 2_752.0, "bytes for a shot, indexes included", DATABASE),
    input("db_slack", 1.4, "of that, for bloat and pages that are not full", ASSUMED),
    input("db_numbers", 4.2, "transaction numbers for a shot", DATABASE),
    input("db_trips", 12.7, "round trips to PostgreSQL for a shot", DATABASE),
    input("record_days", 30.0, "days that a request stays listed", "default: request_lifetime_seconds"),
    input("file_days", 7.0, "days that a file stays", "default: file_lifetime_seconds"),
    input(
        "edge_cpu_us",
        453.0,
        "µs of the Worker's processor time for a request",
        "measured: docs/performance-edge.md",
    ),
    input("edge_calls", 2.0, "requests at the edge for a shot: the call, its file", ASSUMED),
    input("usd_core", 31.03, "$ for a core and month", "0.085 $/h for 2 vCPU (c5.large), 730 h"),
    input("usd_db_core", 62.05, "$ for a database core and month", "assumed: twice that"),
    input("usd_db_gb", 0.115, "$ for a GB of database storage and month", ASSUMED),
    input("db_copies", 2.0, "primary and standby", ASSUMED),
    input("usd_bucket_gb", 0.015, "$ for a GB and month", "R2, standard storage"),
    input("usd_put", 4.50, "$ for a million writes", "R2, class A"),
    input("usd_get", 0.36, "$ for a million reads", "R2, class B"),
    input("reads", 1.0, "reads of a file from the bucket", ASSUMED),
    input("usd_edge_call", 0.30, "$ for a million requests", "Workers, paid plan"),
    input("usd_edge_cpu", 0.02, "$ for a million ms", "Workers, paid plan"),
    input("days", 30.0, "days of a month", ""),
];

/// Inputs, some of them replaced.
pub(super) struct Plan(Vec<Input>);

impl Plan {
    /// With `--name=value` for what is to be replaced.
    ///
    /// # Panics
    /// If there is no such input, or its value is no number.
    pub(super) fn with(replaced: &[&str]) -> Plan {
        let mut inputs = Vec::from(INPUTS);
        for option in replaced {
            let (name, value) = option.trim_start_matches("--").split_once('=').expect("--name=value");
            let found = inputs.iter_mut().find(|input| input.name == name);
            let input = found.unwrap_or_else(|| panic!("there is no input {name}"));
            (input.value, input.from) = (value.parse().expect("a number"), "given");
        }
        Plan(inputs)
    }

    pub(super) fn get(&self, name: &str) -> f64 {
        self.0.iter().find(|input| input.name == name).map_or(f64::NAN, |input| input.value)
    }

    /// Parts of the classes, which sum up to 1.
    pub(super) fn shares(&self) -> Vec<f64> {
        let shares: Vec<f64> = CLASSES.iter().map(|class| self.get(&format!("share_{}", class.name))).collect();
        let sum: f64 = shares.iter().sum();
        shares.into_iter().map(|share| share / sum).collect()
    }

    fn mean(&self, of: fn(&Class) -> f64) -> f64 {
        self.shares().iter().zip(&CLASSES).map(|(share, class)| share * of(class)).sum()
    }

    /// Seconds of processor time for a shot.
    pub(super) fn cpu_s(&self) -> f64 {
        self.mean(|class| class.cpu_ms) / 1000.0
    }

    /// Cores that render so many shots a second.
    pub(super) fn cores(&self, shots_per_second: f64) -> f64 {
        (shots_per_second * self.cpu_s() / self.get("load")).ceil()
    }

    /// What it takes for so many shots a day: name, value, unit, how it is found.
    fn outputs(&self, per_day: f64) -> Vec<(&'static str, f64, &'static str, &'static str)> {
        let get = |name| self.get(name);
        let month = per_day * get("days");
        let mean = per_day / 86_400.0;
        let peak = mean * get("peak");
        let cores = self.cores(peak);
        let pages = (peak * (self.cpu_s() + get("page_wait")) / get("load")).ceil();
        let machines = (cores / get("cores_each")).ceil();
        let memory = (pages * get("page_memory") + machines * get("service_memory")) / 1024.0;
        let db_cores = (peak * get("db_cpu_ms") / 1000.0 / get("db_load")).ceil();
        let db_gb = per_day * get("record_days") * get("db_row") * get("db_slack") / 1e9;
        let kilobytes = self.mean(|class| class.kilobytes);
        let bucket_gb = per_day * get("file_days") * kilobytes / 1e6;
        let usd_render = machines * get("cores_each") * get("usd_core");
        let usd_db = (db_cores * get("usd_db_core") + db_gb * get("usd_db_gb")) * get("db_copies");
        let usd_bucket =
            bucket_gb * get("usd_bucket_gb") + month / 1e6 * (get("usd_put") + get("reads") * get("usd_get"));
        let usd_edge = month / 1e6
            * get("edge_calls")
            * (get("usd_edge_call") + get("edge_cpu_us") / 1000.0 * get("usd_edge_cpu"));
        let usd = usd_render + usd_db + usd_bucket + usd_edge;
        vec![
            ("shots a second, the day's mean", mean, "/s", "shots a day / 86,400"),
            ("shots a second, busiest hour", peak, "/s", "mean x peak"),
            ("processor time of a shot", self.cpu_s() * 1000.0, "ms", "classes by their shares"),
            ("render cores", cores, "", "busiest hour x processor time / load"),
            ("render machines", machines, "", "cores / cores_each"),
            ("pages open at once", pages, "", "busiest hour x (processor time + page_wait) / load"),
            ("pages for each core", pages / cores, "", "[render] concurrency is that times the cores"),
            ("memory of all render machines", memory, "GB", "pages x page_memory + machines x service_memory"),
            ("PostgreSQL cores", db_cores, "", "busiest hour x db_cpu_ms / db_load"),
            ("round trips to PostgreSQL", peak * get("db_trips"), "/s", "busiest hour x db_trips"),
            ("write-ahead log", peak * get("db_wal") / 1e6, "MB/s", "busiest hour x db_wal"),
            ("write-ahead log of a day", per_day * get("db_wal") / 1e9, "GB", "shots a day x db_wal"),
            ("database", db_gb / 1000.0, "TB", "shots a day x record_days x db_row x db_slack"),
            ("rows removed", mean, "requests/s", "as many as come"),
            (
                "transaction numbers: days until 200 million are used",
                200e6 / (per_day * get("db_numbers")),
                "days",
                "autovacuum_freeze_max_age / (shots a day x db_numbers)",
            ),
            ("bucket", bucket_gb / 1000.0, "TB", "shots a day x file_days x bytes of a file"),
            ("writes to the bucket, busiest hour", peak, "/s", "one for each shot, and as many deletes"),
            ("edge: processor time", peak * get("edge_calls") * get("edge_cpu_us") / 1e6, "cores", "at Cloudflare"),
            ("$ a month: rendering", usd_render, "$", "machines x cores_each x usd_core"),
            ("$ a month: PostgreSQL", usd_db, "$", "(cores x usd_db_core + GB x usd_db_gb) x db_copies"),
            ("$ a month: bucket", usd_bucket, "$", "GB x usd_bucket_gb + millions x (usd_put + reads x usd_get)"),
            ("$ a month: edge", usd_edge, "$", "millions x edge_calls x (usd_edge_call + CPU ms x usd_edge_cpu)"),
            ("$ a month", usd, "$", "all of these"),
            ("$ for a million shots", usd / (month / 1e6), "$", ""),
        ]
    }
}

/// A number with as many digits as say something.
fn short(value: f64) -> String {
    let digits = match value {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        value if value >= 0.1 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    let (whole, part) = text.split_once('.').map_or((text.as_str(), None), |(whole, part)| (whole, Some(part)));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    part.filter(|part| part.bytes().any(|digit| digit != b'0'))
        .map_or(grouped.clone(), |part| format!("{grouped}.{part}"))
}

pub(super) fn print(replaced: &[&str]) {
    let plan = Plan::with(replaced);
    println!("| input | value | unit | from |\n|---|--:|---|---|");
    for class in &CLASSES {
        println!("| cpu_ms, kB: {} | {}, {} | ms, kB | {MEASURED} |", class.name, class.cpu_ms, short(class.kilobytes));
    }
    for Input { name, value, unit, from } in &plan.0 {
        println!("| {name} | {} | {unit} | {from} |", short(*value));
    }
    let sizes = [1e6, 10e6, 1e9 / 30.0];
    let [one, ten, month] = sizes.map(|per_day| plan.outputs(per_day));
    println!("\n| what it takes | 1 M a day | 10 M a day | 1 B a month | unit | how |\n|---|--:|--:|--:|---|---|");
    for ((one, ten), month) in one.iter().zip(&ten).zip(&month) {
        println!("| {} | {} | {} | {} | {} | {} |", one.0, short(one.1), short(ten.1), short(month.1), one.2, one.3);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(plan: &Plan, per_day: f64, name: &str) -> f64 {
        plan.outputs(per_day).into_iter().find(|output| output.0 == name).unwrap().1
    }

    #[test]
    fn outputs_are_the_sums_that_they_say() {
        let only_text = ["--share_trivial=0", "--share_text=1", "--share_images=0", "--share_tall=0", "--share_pdf=0"];
        let more = ["--load=0.5", "--peak=1", "--cores_each=1", "--usd_core=10"];
        let plan = Plan::with(&[&only_text[..], &more].concat());
        // 100 a second with so many seconds each, at half a load twice as many cores.
        let (per_day, seconds) = (8_640_000.0, CLASSES[1].cpu_ms / 1000.0);
        let cores = (100.0 * seconds / 0.5).ceil();
        assert_eq!(output(&plan, per_day, "render cores"), cores);
        assert_eq!(output(&plan, per_day, "$ a month: rendering"), cores * 10.0);
        assert_eq!(output(&plan, per_day, "pages open at once"), (100.0 * (1.0 + seconds) / 0.5).ceil());
        assert!((output(&plan, per_day, "bucket") - per_day * 7.0 * 406e3 / 1e12).abs() < 1e-9);
        let parts: f64 = ["rendering", "PostgreSQL", "bucket", "edge"]
            .map(|part| output(&plan, per_day, &format!("$ a month: {part}")))
            .iter()
            .sum();
        assert!((output(&plan, per_day, "$ a month") - parts).abs() < 1e-6);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([1_234_567.4, 12.0, 0.5, 99.94, 0.015].map(short), ["1,234,567", "12", "0.50", "99.9", "0.015"]);
    }
}
