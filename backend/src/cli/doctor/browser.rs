//! Chromium: found, started, kept in, and able to take a picture.

use serde_json::{Map, json};
use snaphook_shared::request::Policies;

use super::Finding;
use crate::cli::{CliError, shot};
use crate::config::Config;
use crate::render::find_chromium;
use crate::run::Engine;

const INSTALL: &str = "install chromium-headless-shell (or chromium), or say with [render] chromium where it is";

pub(super) async fn look(config: &Config) -> Result<Vec<Finding>, CliError> {
    let Some(executable) = find_chromium(&config.render.chromium) else {
        return Ok(vec![Finding::fail("chromium", "there is none", INSTALL)]);
    };
    if !executable.is_file() {
        return Ok(vec![Finding::fail("chromium", format!("{} is not there", executable.display()), INSTALL)]);
    }
    let mut findings = Vec::new();
    let tried = shot::with_engine(config, 1, async |engine: &Engine| {
        let mut findings = vec![Finding::ok(
            "chromium",
            format!("{} ({})", engine.renderer.product().await.unwrap_or_default(), executable.display()),
        )];
        findings.push(Finding::ok("ways out", "its self-test found all closed but the egress proxy"));
        findings.push(sandbox(config));
        findings.push(picture(engine).await);
        Ok(findings)
    });
    match tried.await {
        Ok(found) => findings.extend(found),
        Err(CliError::Interrupted) => return Err(CliError::Interrupted),
        Err(error) => {
            findings.push(Finding::fail(
                "chromium",
                format!("{}: {error}", executable.display()),
                mend(&error.to_string()),
            ));
        }
    }
    Ok(findings)
}

/// What usually helps with what Chromium says when it does not start.
fn mend(said: &str) -> String {
    let namespaces = "allow unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1, on Ubuntu also \
                      kernel.apparmor_restrict_unprivileged_userns=0); in a container, give it a seccomp profile that \
                      allows them; only where that cannot be: [render] allow_no_sandbox = true";
    if said.contains("as root") {
        return "run snaphook as another user; only where that cannot be: [render] allow_no_sandbox = true".to_owned();
    }
    if said.contains("sandbox") || said.contains("namespace") {
        return namespaces.to_owned();
    }
    if said.contains("went past") || said.contains("self-test") {
        return "use another version of Chromium: this one does not obey the switches that keep it in".to_owned();
    }
    if said.contains("error while loading shared libraries") {
        return "install the libraries that it names (the package of your distribution brings them)".to_owned();
    }
    INSTALL.to_owned()
}

/// With its sandbox, Chromium's processes are in a namespace of their own.
fn sandbox(config: &Config) -> Finding {
    if config.render.allow_no_sandbox {
        let mend = "run as a user other than root, with user namespaces, and remove [render] allow_no_sandbox";
        return Finding::warn(
            "sandbox",
            "off by [render] allow_no_sandbox: a page that breaks out is on this machine",
            mend,
        );
    }
    let own = depth(std::process::id());
    let apart = children(std::process::id()).into_iter().any(|pid| depth(pid) > own);
    match apart {
        true => Finding::ok("sandbox", "engaged: its processes are in a namespace of their own"),
        false => Finding::warn(
            "sandbox",
            "it started without complaint, but no process of it was seen in a namespace of its own",
            "look at chrome://sandbox in the same Chromium as the same user",
        ),
    }
}

/// All processes below one.
fn children(ancestor: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids: Vec<u32> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    let parents: Vec<(u32, u32)> = pids.into_iter().filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut found = vec![ancestor];
    let mut next = 0;
    while let Some(&pid) = found.get(next) {
        found.extend(parents.iter().filter(|(_, parent)| *parent == pid).map(|(child, _)| *child));
        next += 1;
    }
    found
}

/// The name of a process is in parentheses and may hold anything; state and parent come after it.
fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// How many nested namespaces a process has a number in.
fn depth(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    numbers.map_or(0, |numbers| numbers.split_whitespace().count())
}

async fn picture(engine: &Engine) -> Finding {
    let parameters = Map::from_iter([("html".to_owned(), json!("<p>snaphook")), ("format".to_owned(), json!("png"))]);
    let failed =
        |says: String| Finding::fail("picture", says, "run `snaphook take` with [log] level = \"debug\" to see more");
    let checked = match shot::check(parameters, &Policies::default()) {
        Ok(checked) => checked,
        Err(problem) => return failed(problem.message()),
    };
    match shot::render(engine, &checked.options).await {
        Ok(artifact) => Finding::ok("picture", format!("one was taken ({} bytes)", artifact.bytes.len())),
        Err(failure) => failed(failure.to_string()),
    }
}
