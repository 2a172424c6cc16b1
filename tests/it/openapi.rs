//! The service against its own description, by Schemathesis: whatever it makes up, no answer is a fault of the service's, and
//! every answer is one that the description knows.
//!
//! `SNAPHOOK_API_PHASES=examples,coverage,fuzzing` tries every bound of every parameter too, which takes minutes (`make soak`).

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::{Value as Json, json};
use snaphook_tests::stack::Stack;
use snaphook_tests::wait::s;
use snaphook_tests::{repository, run};

#[test]
fn the_service_is_as_it_describes_itself() {
    run(async {
        let stack = Stack::builder().without_development().set("SNAPHOOK_WEBHOOK_SCHEDULE_SECONDS", "0").start();
        // Lists have something in them: requests that ended in every way, a webhook with its attempt, an address that fails.
        let client = stack.client();
        let (blocked, nowhere) = ("<p>x<img src=http://169.254.169.254/>", "https://no-such-name.example/");
        let hook = json!({ "html": "<p>x", "webhook_url": nowhere });
        let with_webhook = client.enqueue("/v1/screenshot", &hook).await;
        client.request_when(&with_webhook, "given up", s(60), |view| view["webhook"]["state"] == "dead").await;
        client.take(&json!({ "html": blocked })).await.expect(200);
        client.take(&json!({ "url": nowhere })).await.expect(400);
        let one = client.get_with_key(&format!("/v1/requests/{with_webhook}")).await.expect(200).json();
        let endpoints = client.get_with_key("/v1/deliveries/endpoints").await.expect(200).json();
        assert_eq!(endpoints["endpoints"].as_array().map(Vec::len), Some(1), "{endpoints}");
        let program = repository("tests/sdk/.venv/bin/schemathesis");
        assert!(program.exists(), "the Python packages are missing: run `sh deploy/setup.sh test` first");
        let checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,response_headers_conformance";
        let phases = std::env::var("SNAPHOOK_API_PHASES").unwrap_or_else(|_| "examples,fuzzing".to_owned());
        let seed = std::env::var("SNAPHOOK_API_SEED").unwrap_or_else(|_| "1".to_owned());
        let tell = |arguments: &[&str]| {
            // It keeps notes where it is started.
            let folder = tempfile::tempdir().unwrap();
            let output = Command::new(&program)
                .arg("run")
                .arg(format!("{}/openapi.json", stack.api))
                .args(["--checks", checks, "--workers", "4", "--seed", &seed, "--request-timeout", "60", "--no-color"])
                .args(arguments)
                .current_dir(folder.path())
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "seed {seed}\n{said}{}", String::from_utf8_lossy(&output.stderr));
            said
        };
        let key = format!("X-Access-Key: {}", stack.key.access_key);
        let with_key = tell(&["--header", &key, "--phases", &phases, "--max-examples", "10"]);
        // Whoever has no key is refused in the same words that are described.
        let without_key = tell(&["--phases", "examples,fuzzing", "--max-examples", "2"]);
        // What it makes up is the id of no request.
        let document = client.get("/openapi.json").await.expect(200).json();
        let detail = &document["components"]["schemas"]["RequestDetail"]["properties"];
        let names = |object: &Json| object.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
        assert_eq!(names(&one), names(detail));
        assert_eq!(names(&one["attempt_log"][0]), names(&detail["attempt_log"]["items"]["properties"]));
        for said in [with_key, without_key] {
            let tested = said.lines().find_map(|line| line.trim().strip_prefix("Tested: ")).unwrap_or_default();
            assert!(tested.parse::<usize>().is_ok_and(|tested| tested > 30), "operations tested: {tested:?}\n{said}");
        }
    });
}
