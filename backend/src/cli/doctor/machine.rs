//! What the machine has: fonts, ffmpeg, free ports, a clock that is right.

use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::time::{Duration, SystemTime};

use super::Finding;
use crate::clock::{Clock, rfc3339};
use crate::config::Config;
use crate::render::find_ffmpeg;
use crate::run;

/// Nobody runs this version before it was made (2026-11-01, Unix milliseconds).
const MADE_MS: u64 = 1_793_491_200_000;
/// Files from further ahead than this mean that the clock has been set back.
const AHEAD: Duration = Duration::from_secs(120);

pub(super) fn look(config: &Config) -> Vec<Finding> {
    let mut findings = vec![clock(config), ffmpeg(config)];
    findings.extend(fonts());
    let running = run::is_in_use(&config.data_dir);
    findings.push(port("port api", config.http.listen, running));
    findings.push(port("port ops", config.http.operations_listen, running));
    findings.extend(config.dashboard_listen().map(|address| port("port pages", address, running)));
    findings
}

fn clock(config: &Config) -> Finding {
    let now_ms = Clock::default().now_ms();
    let mend = "set the clock and let NTP keep it: receivers refuse webhooks that are five minutes off";
    if now_ms < MADE_MS {
        return Finding::fail("clock", format!("it says {}, before this version was made", rfc3339(now_ms)), mend);
    }
    let written = std::fs::metadata(config.data_dir.join("snaphook.db")).and_then(|database| database.modified());
    if written.is_ok_and(|at| at > SystemTime::now() + AHEAD) {
        return Finding::warn("clock", "the database was written in the future: the clock has been set back", mend);
    }
    Finding::ok("clock", rfc3339(now_ms))
}

fn ffmpeg(config: &Config) -> Finding {
    let mend = "install ffmpeg, or say with [render] ffmpeg where it is";
    let without = "so /animate and /v1/screencast are refused";
    let Some(path) = find_ffmpeg(&config.render.ffmpeg) else {
        return Finding::warn("ffmpeg", format!("there is none, {without}"), mend);
    };
    match Command::new(&path).arg("-version").output() {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout);
            let version = text.lines().next().unwrap_or_default().split(" Copyright").next().unwrap_or_default();
            Finding::ok("ffmpeg", format!("{version} ({})", path.display()))
        }
        Ok(output) => {
            Finding::warn("ffmpeg", format!("{} ended with {}, {without}", path.display(), output.status), mend)
        }
        Err(error) => Finding::warn("ffmpeg", format!("{}: {error}, {without}", path.display()), mend),
    }
}

/// A script, a character of it, and the package that brings it.
const SCRIPTS: [(&str, &str, &str, &str); 5] = [
    ("font latin", "41", "A", "fonts-dejavu-core or fonts-liberation"),
    ("font emoji", "1f600", "😀", "fonts-noto-color-emoji"),
    ("font chinese", "4e2d", "中", "fonts-noto-cjk"),
    ("font japanese", "3042", "あ", "fonts-noto-cjk"),
    ("font korean", "d55c", "한", "fonts-noto-cjk"),
];

/// One finding for each script that has no font, or one for all.
fn fonts() -> Vec<Finding> {
    let ask = |charset: &str| Command::new("fc-list").arg(format!(":charset={charset}")).arg("family").output();
    let mut missing = Vec::new();
    for (name, charset, character, package) in SCRIPTS {
        match ask(charset) {
            Ok(output) if output.stdout.iter().any(u8::is_ascii_alphanumeric) => {}
            Ok(_) => {
                let mend = format!("install {package}");
                missing.push(Finding::warn(name, format!("no font has {character}: pages will show boxes"), mend));
            }
            Err(_) => {
                let says = "fc-list is not there to be asked which scripts have a font";
                return vec![Finding::warn("fonts", says, "install fontconfig")];
            }
        }
    }
    match missing.is_empty() {
        true => vec![Finding::ok("fonts", "Latin, emoji, Chinese, Japanese and Korean have one")],
        false => missing,
    }
}

fn port(name: &'static str, address: SocketAddr, running: bool) -> Finding {
    match TcpListener::bind(address) {
        Ok(_) => Finding::ok(name, format!("{address} is free")),
        Err(error) if running && error.kind() == std::io::ErrorKind::AddrInUse => {
            Finding::ok(name, format!("{address} is taken, by the service that is running as it seems"))
        }
        Err(error) => Finding::fail(name, format!("{address}: {error}"), "end what listens there, or change [http]"),
    }
}
