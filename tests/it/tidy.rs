//! What the source promises about itself: arrows between layers, a word on every module, settings that exist.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use snaphook_tests::repository;

/// All Rust files below a folder of the repository, with their text.
fn sources(folder: &str) -> Vec<(String, String)> {
    let root = repository(folder);
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(path) = folders.pop() {
        let entries = std::fs::read_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = format!("{folder}/{}", below(&root, &path).display());
                found.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(!found.is_empty(), "{folder} has no source");
    found
}

fn below(root: &Path, path: &Path) -> PathBuf {
    path.strip_prefix(root).unwrap().to_owned()
}

/// The lines of code that hold a word, comments left out.
fn lines_with<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = &'a str> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).filter(move |line| {
        line.match_indices(word)
            .any(|(at, _)| !line[..at].ends_with(is_part) && !line[at + word.len()..].starts_with(is_part))
    })
}

#[test]
fn each_tool_is_known_to_one_layer() {
    for (tool, home) in [
        ("warp", "backend/src/http/"),
        ("chromiumoxide", "backend/src/render/"),
        ("object_store", "backend/src/store"),
        ("rusqlite", "backend/src/queue/"),
        ("sqlx", "backend/src/queue/"),
    ] {
        let mut at_home = 0;
        for (file, text) in sources("backend/src") {
            let lines: Vec<&str> = lines_with(&text, tool).collect();
            if file.starts_with(home) {
                at_home += lines.len();
            } else {
                assert!(lines.is_empty(), "{file} names {tool}, which is the business of {home}: {lines:?}");
            }
        }
        assert!(at_home > 0, "{tool} is not even in {home}; is this test out of date?");
    }
}

#[test]
fn sql_for_postgresql_names_its_columns() {
    // A prepared statement fails from then on when a newer program adds a column to what `*` stands for.
    let schema: String = std::fs::read_dir(repository("backend/src/queue/postgres"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sql"))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    let tables: Vec<&str> =
        schema.split("CREATE TABLE ").skip(1).filter_map(|rest| rest.split_whitespace().next()).collect();
    assert!(tables.len() > 15, "{tables:?}");
    for (file, text) in sources("backend/src/queue/postgres") {
        for all in
            tables.iter().copied().chain(["claim_request", "claim_deliveries"]).map(|table| format!("* FROM {table}"))
        {
            let lines: Vec<&str> = lines_with(&text, &all).collect();
            assert!(lines.is_empty(), "{file}: {lines:?}");
        }
        assert!(!text.contains("RETURNING *"), "{file}");
    }
}

#[test]
fn the_domain_knows_no_adapter() {
    let adapters =
        ["http", "render", "store", "queue", "notify", "egress", "worker", "run", "config", "cli", "telemetry"];
    for (file, text) in sources("backend/src/domain") {
        for adapter in adapters {
            let import = format!("crate::{adapter}");
            let lines: Vec<&str> = lines_with(&text, &import).collect();
            assert!(lines.is_empty(), "{file}: {lines:?}");
        }
        for tool in ["reqwest", "hyper", "tokio::net", "tokio::fs", "std::fs", "std::net"] {
            let lines: Vec<&str> = lines_with(&text, tool).collect();
            assert!(lines.is_empty(), "{file}: {lines:?}");
        }
    }
}

#[test]
fn the_dashboard_knows_the_domain_and_no_adapter() {
    for (file, text) in sources("backend/src/dashboard") {
        for adapter in ["http", "render", "store", "queue", "notify", "egress", "worker", "run", "config", "cli"] {
            let import = format!("crate::{adapter}");
            let lines: Vec<&str> = lines_with(&text, &import).collect();
            assert!(lines.is_empty(), "{file}: {lines:?}");
        }
        // Texts of strangers come into a page by way of maud, which escapes them.
        let lines: Vec<&str> = lines_with(&text, "PreEscaped").collect();
        assert!(lines.is_empty(), "{file}: {lines:?}");
    }
}

#[test]
fn what_is_shared_touches_no_clock_and_no_outside() {
    for (file, text) in sources("shared/src") {
        for forbidden in [
            "SystemTime",
            "Instant",
            "TcpStream",
            "UdpSocket",
            "std::fs",
            "std::env",
            "std::process",
            "getrandom",
            "tokio",
        ] {
            let lines: Vec<&str> = lines_with(&text, forbidden).collect();
            assert!(lines.is_empty(), "{file} uses {forbidden}: {lines:?}");
        }
    }
}

/// What outlives its answer at the edge is lost with the isolate, so nothing may hang on it: a cache, and a copy of a record.
#[test]
fn the_edge_leaves_two_things_for_after_its_answer() {
    let platform = std::fs::read_to_string(repository("edge/src/platform.js")).unwrap();
    let entry = std::fs::read_to_string(repository("edge/src/worker.js")).unwrap();
    let mut callers = Vec::new();
    for (file, text) in sources("edge/src") {
        for word in ["waitUntil", "wait_until"] {
            assert_eq!(lines_with(&text, word).count(), 0, "{file} names {word}");
        }
        callers.extend(lines_with(&text, "platform::afterwards").map(|_| file.clone()));
    }
    callers.sort();
    assert_eq!(callers, ["edge/src/authenticate.rs", "edge/src/files.rs"]);
    assert_eq!((platform.matches("waitUntil").count(), entry.matches("waitUntil").count()), (1, 0));
}

#[test]
fn every_module_says_what_it_is_for() {
    for folder in ["backend/src", "edge/src", "edge/verify/src", "shared/src", "shared/tests", "tests/src", "tests/it"]
    {
        for (file, text) in sources(folder) {
            let first = text.lines().next().unwrap_or_default();
            assert!(first.starts_with("//! ") && first.len() > 20, "{file} begins with: {first}");
        }
    }
}

#[test]
fn every_module_is_part_of_the_build() {
    for folder in ["backend/src", "edge/src", "shared/src", "tests/src", "tests/it"] {
        let all = sources(folder);
        for (file, _) in &all {
            let path = Path::new(file);
            let stem = path.file_stem().unwrap().to_str().unwrap();
            let name = if stem == "mod" { path.parent().unwrap().file_name().unwrap().to_str().unwrap() } else { stem };
            let declared = all.iter().any(|(_, text)| lines_with(text, &format!("mod {name}")).next().is_some());
            let is_root = ["lib", "main"].contains(&stem) || file.contains("/bin/");
            assert!(declared || is_root, "{file} is declared nowhere");
        }
    }
}

/// Every setting there is, as an environment variable.
pub(crate) fn settings() -> Vec<String> {
    let defaults: toml::Table =
        std::fs::read_to_string(repository("backend/config.default.toml")).unwrap().parse().unwrap();
    let mut known = Vec::new();
    for (name, value) in &defaults {
        match value.as_table() {
            Some(table) => known.extend(table.keys().map(|key| format!("SNAPHOOK_{name}_{key}").to_uppercase())),
            None => known.push(format!("SNAPHOOK_{name}").to_uppercase()),
        }
    }
    known
}

#[test]
fn every_setting_that_the_tests_use_exists() {
    let known = settings();
    // Settings are given to a stack by `.set(…)`, and by the stack itself in a list of pairs, one on a line.
    for (file, text) in sources("tests/src").into_iter().chain(sources("tests/it")) {
        for before in [".set(\"", "\n            (\""] {
            for (at, _) in text.match_indices(&format!("{before}SNAPHOOK_")) {
                let name = text[at + before.len()..].split('"').next().unwrap();
                assert!(known.iter().any(|one| one == name), "{file}: {name}");
            }
        }
    }
}

#[test]
fn the_tests_know_every_fault_point() {
    let all: String = sources("backend/src").into_iter().map(|(_, text)| text).collect();
    let marked = ["point", "within"].map(|mark| {
        let mark = format!("fault::{mark}(\"");
        all.split(&mark).skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect::<BTreeSet<_>>()
    });
    let known: BTreeSet<String> = snaphook_tests::faults::POINTS.map(str::to_owned).into();
    assert_eq!(&marked[0] | &marked[1], known);
}

#[test]
fn every_test_that_a_document_names_exists() {
    let tests: String = ["backend/src", "edge/src", "shared/src", "shared/tests", "tests/it", "fuzz/src"]
        .map(sources)
        .concat()
        .into_iter()
        .map(|(_, text)| text)
        .collect();
    for document in ["SECURITY.md", "docs/delivery.md", "docs/faq.md"] {
        let text = std::fs::read_to_string(repository(document)).unwrap();
        // In tables, and in brackets of their own.
        let rows = text.lines().filter(|line| line.starts_with('|'));
        let brackets = text.match_indices("(`").map(|(at, _)| text[at..].split(')').next().unwrap());
        let named = rows.chain(brackets).flat_map(|part| part.split('`').skip(1).step_by(2));
        let mut seen = 0;
        for name in named {
            // `module::a_test` or `a_test`; `module::a_te…` stands for one that begins so.
            let test = name.rsplit("::").next().unwrap();
            let (test, end) = test.strip_suffix('…').map_or((test, "("), |beginning| (beginning, ""));
            let is_name = test.len() > 10 && test.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
            if is_name && test.matches('_').count() >= 3 {
                seen += 1;
                assert!(tests.contains(&format!("fn {test}{end}")), "{document} names {name}, which is nowhere");
            }
        }
        assert!(seen > 10, "{document} names {seen} tests; is this test out of date?");
    }
}

#[test]
fn what_is_bold_in_a_document_ends_in_its_paragraph() {
    let folder = std::fs::read_dir(repository("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut bold = 0;
    for path in folder.filter(|path| path.extension().is_some_and(|extension| extension == "md")) {
        let text = std::fs::read_to_string(&path).unwrap();
        // Blocks of code have stars of their own.
        let prose: Vec<&str> = text.split("\n```").step_by(2).collect();
        for paragraph in prose.iter().flat_map(|part| part.split("\n\n")) {
            let outside_code: String = paragraph.split('`').step_by(2).collect();
            let marks = outside_code.matches("**").count();
            assert!(marks.is_multiple_of(2), "{}: {paragraph}", path.display());
            bold += marks / 2;
        }
    }
    assert!(bold > 40, "{bold}; is this test out of date?");
}

#[test]
fn what_a_document_names_is_there_and_no_merge_was_left_open() {
    let is_document = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "md");
    let folders = ["", "docs", "docs/errors", "tests", "edge/verify/npm"];
    let entries = folders.iter().flat_map(|folder| std::fs::read_dir(repository(folder)).unwrap());
    let mut seen = 0;
    for path in entries.map(|entry| entry.unwrap().path()).filter(is_document) {
        let text = std::fs::read_to_string(&path).unwrap();
        let is_mark = |line: &&str| ["<<<<<<< ", ">>>>>>> "].iter().any(|mark| line.starts_with(mark));
        assert_eq!(text.lines().find(is_mark), None, "{}", path.display());
        for named in text.split('`').skip(1).step_by(2) {
            let is_path = named.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte));
            let of_source = ["backend/", "edge/src/", "shared/", "tests/", "docs/", "deploy/", "fuzz/"];
            if is_path && of_source.iter().any(|folder| named.starts_with(folder)) {
                seen += 1;
                assert!(repository(named).exists(), "{} names {named}", path.display());
            }
        }
    }
    assert!(seen > 100, "{seen}; is this test out of date?");
}
