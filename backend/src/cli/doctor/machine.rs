//! What the machine has: fonts, ffmpeg, free ports.

use std::net::{SocketAddr, TcpListener};
use std::process::Command;

use super::Finding;
use crate::config::Config;
use crate::render::find_ffmpeg;
use crate::run;

pub(super) fn look(config: &Config) -> Vec<Finding> {
    let mut findings = vec![ffmpeg(config)];
    findings.extend(judge_fonts(scripts_with_a_font()));
    let running = run::is_in_use(&config.data_dir);
    findings.push(port("port api", config.http.listen, running));
    findings.push(port("port ops", config.http.operations_listen, running));
    findings.extend(config.dashboard_listen().map(|address| port("port pages", address, running)));
    findings
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

/// The names of the scripts that a font has; None if nobody can be asked.
fn scripts_with_a_font() -> Option<Vec<&'static str>> {
    let mut found = Vec::new();
    for (name, charset, _, _) in SCRIPTS {
        let asked = Command::new("fc-list").arg(format!(":charset={charset}")).arg("family").output().ok()?;
        if asked.stdout.iter().any(u8::is_ascii_alphanumeric) {
            found.push(name);
        }
    }
    Some(found)
}

/// One finding for each script that has no font, or one for all.
fn judge_fonts(found: Option<Vec<&str>>) -> Vec<Finding> {
    let Some(found) = found else {
        let says = "fc-list is not there to be asked which scripts have a font";
        return vec![Finding::warn("fonts", says, "install fontconfig")];
    };
    let missing = SCRIPTS.iter().filter(|(name, ..)| !found.contains(name));
    let missing: Vec<Finding> = missing
        .map(|(name, _, character, package)| {
            let mend = format!("install {package}");
            Finding::warn(name, format!("no font has {character}: pages will show boxes"), mend)
        })
        .collect();
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

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn each_script_without_a_font_is_told_with_its_package() {
        let all: Vec<&str> = SCRIPTS.iter().map(|(name, ..)| *name).collect();
        let found = judge_fonts(Some(all.clone()));
        assert!(matches!(found.as_slice(), [Finding { name: "fonts", state: State::Ok, .. }]), "{found:?}");
        let found = judge_fonts(Some(all[..2].to_vec()));
        let names: Vec<&str> = found.iter().map(|finding| finding.name).collect();
        assert_eq!(names, ["font chinese", "font japanese", "font korean"]);
        for finding in &found {
            assert_eq!(finding.state, State::Warn);
            assert_eq!(finding.mend.as_deref(), Some("install fonts-noto-cjk"));
        }
        let found = judge_fonts(None);
        assert!(found.len() == 1 && found[0].mend.as_deref() == Some("install fontconfig"), "{found:?}");
    }
}
