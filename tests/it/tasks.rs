//! Scheduled tasks: kept, shown and changed by their owner, and run once when their time has come, whatever happens to the
//! process meanwhile. The calendar itself is tested in the backend, on a clock that is moved; here a task's time is moved.

use std::path::Path;

use http::Method;
use rusqlite::Connection;
use serde_json::{Value as Json, json};
use snaphook_shared::secret::Secret;
use snaphook_shared::signing::verify_hex;
use snaphook_tests::client::{Answer, Client};
use snaphook_tests::faults::Faults;
use snaphook_tests::picture::Picture;
use snaphook_tests::receiver::Receiver;
use snaphook_tests::run;
use snaphook_tests::site::Site;
use snaphook_tests::stack::Stack;
use snaphook_tests::wait::{self, s};

use crate::programs;

/// A minute that is far away from every test.
const NEW_YEARS_DAY: &str = "0 0 1 1 *";

async fn call(client: &Client, method: Method, path: &str, body: &Json) -> Answer {
    let headers = [("x-access-key", client.key.access_key.as_str()), ("content-type", "application/json")];
    client.send(method, path, &headers, Some(body.to_string().into_bytes())).await
}

async fn show(client: &Client, id: &Json) -> Json {
    client.get_with_key(&format!("/v1/tasks/{id}")).await.expect(200).json()
}

/// A task that runs on New Year's Day, and gives its id.
async fn add(client: &Client, query: &str) -> Json {
    let body = json!({ "name": "test", "api": "screenshot", "query": query, "crontab": NEW_YEARS_DAY });
    client.post("/v1/tasks", &body).await.expect(201).json()["id"].clone()
}

/// What tasks have made, newest first.
async fn made(client: &Client, id: &Json) -> Vec<Json> {
    let page = client.get_with_key(&format!("/v1/requests?task={id}")).await.expect(200).json();
    page["requests"].as_array().unwrap().clone()
}

fn database(data_dir: &Path) -> Connection {
    let database = Connection::open(data_dir.join("snaphook.db")).unwrap();
    database.busy_timeout(s(10)).unwrap();
    database
}

/// Makes a task due: its time was so many seconds ago.
fn make_due(data_dir: &Path, id: &Json, seconds_ago: i64) {
    let sql = "UPDATE tasks SET due_ms = (unixepoch() - ?2) * 1000 WHERE id = ?1";
    assert_eq!(database(data_dir).execute(sql, (id.as_u64().unwrap(), seconds_ago)).unwrap(), 1);
}

/// A task's runs and its next time, whether anybody can be asked or not.
fn kept(data_dir: &Path, id: &Json) -> (u64, Option<u64>) {
    let sql = "SELECT runs, due_ms FROM tasks WHERE id = ?";
    database(data_dir).query_row(sql, [id.as_u64().unwrap()], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
}

/// Waits until the scheduler has looked at all tasks once more: it has then run one that was not there before.
async fn look_again(stack: &Stack, client: &Client) {
    let id = add(client, "html=x").await;
    make_due(stack.data_dir(), &id, 1);
    wait::until("the next look", s(20), async || (kept(stack.data_dir(), &id).0 == 1).then_some(())).await;
}

#[test]
fn a_task_is_made_shown_changed_paused_and_removed() {
    run(async {
        let stack = Stack::shared();
        for base in [stack.api.as_str(), stack.edge_url()] {
            let client = Client::new(base, &stack.new_key());
            assert_eq!(client.get_with_key("/v1/tasks").await.expect(200).json(), json!({ "tasks": [] }));
            let body = json!({
                "name": "front page", "api": "screenshot", "query": "url=https%3A%2F%2Fexample.com&format=png",
                "frequency": "custom", "crontab": "30  2 * * *", "timezone": "europe/berlin",
            });
            let task = client.post("/v1/tasks", &body).await.expect(201).json();
            let id = task["id"].clone();
            assert!((1 << 52..1 << 53).contains(&id.as_u64().unwrap()), "{id}: JavaScript can hold it");
            for (name, value) in [
                ("name", json!("front page")),
                ("api", json!("screenshot")),
                ("query", json!("url=https%3A%2F%2Fexample.com&format=png")),
                ("frequency", json!("custom")),
                ("crontab", json!("30 2 * * *")),
                ("timezone", json!("Europe/Berlin")),
                ("enabled", json!(true)),
                ("last_run", Json::Null),
                ("runs", json!(0)),
            ] {
                assert_eq!(task[name], value, "{name}");
            }
            let (created, next) = (task["created"].as_u64().unwrap(), task["next_run"].as_u64().unwrap());
            assert!(next > created && next - created <= 25 * 3600, "{task:#}");
            assert_eq!(show(&client, &id).await, task);
            assert_eq!(client.get_with_key("/v1/tasks").await.expect(200).json(), json!({ "tasks": [task] }));
            client.get_with_key(&format!("/v1/tasks/{id}?foo=1")).await.expect(400);

            let path = format!("/v1/tasks/{id}");
            let renamed = call(&client, Method::PATCH, &path, &json!({ "name": "renamed" })).await.expect(200).json();
            assert_eq!((&renamed["name"], &renamed["next_run"]), (&json!("renamed"), &task["next_run"]));
            let paused = call(&client, Method::PATCH, &path, &json!({ "enabled": false })).await.expect(200).json();
            assert_eq!((&paused["enabled"], &paused["next_run"]), (&json!(false), &Json::Null));
            let change = json!({ "enabled": true, "frequency": "every_hour", "api": "pdf", "query": "html=x" });
            let changed = call(&client, Method::PATCH, &path, &change).await.expect(200).json();
            assert_eq!((&changed["api"], &changed["query"]), (&json!("pdf"), &json!("html=x")));
            assert!(changed["crontab"].as_str().unwrap().ends_with(" * * * *"), "{changed:#}");
            assert!(changed["next_run"].as_u64().unwrap() <= created + 2 * 3600, "{changed:#}");
            assert_eq!(show(&client, &id).await, changed);

            let removed = call(&client, Method::DELETE, &path, &Json::Null).await.expect(204);
            assert!(removed.body.is_empty());
            call(&client, Method::DELETE, &path, &Json::Null).await.expect(404);
            client.get_with_key(&path).await.expect(404);
        }
    });
}

#[test]
fn what_is_wrong_with_a_task_is_said_all_at_once() {
    run(async {
        let stack = Stack::shared();
        for client in [stack.client(), stack.edge_client()] {
            let body = json!({
                "name": "x".repeat(101), "api": "take", "query": "format=bmp", "crontab": "61 * * * *",
                "timezone": "Europe/Atlantis", "enabled": "perhaps", "foo": 1,
            });
            let error = client.post("/v1/tasks", &body).await.expect(400).json();
            assert_eq!((&error["code"], &error["statusCode"]), (&json!("request_not_valid"), &json!(400)));
            let mut paths: Vec<&str> =
                error["details"].as_array().unwrap().iter().map(|detail| detail["path"][0].as_str().unwrap()).collect();
            paths.sort_unstable();
            assert_eq!(paths, ["api", "crontab", "enabled", "foo", "name", "timezone"]);

            // The options are checked as a direct call's are.
            let with =
                |query: &str| json!({ "name": "n", "api": "screenshot", "query": query, "frequency": "every_day" });
            let answer =
                client.post("/v1/tasks", &with("url=https://example.com&delay=99&fulpage=1")).await.expect(400);
            let messages = answer.json()["message"].as_str().unwrap().to_owned();
            assert!(messages.contains("\"query\": \"delay\" must be less than or equal to 30"), "{messages}");
            assert!(messages.contains("\"query\": \"fulpage\" is not allowed"), "{messages}");
            let answer = client.post("/v1/tasks", &with("url=http://169.254.169.254/")).await.expect(400);
            assert_eq!(answer.json()["code"], "target_not_allowed");
            let answer = client.post("/v1/tasks", &with("html=x&access_key=other")).await.expect(400);
            assert!(answer.text().contains("must not contain"), "{}", answer.text());
            let answer = client.post("/v1/tasks", &json!({})).await.expect(400);
            assert_eq!(answer.json()["details"].as_array().unwrap().len(), 4);

            for (method, path, body, status, code) in [
                (Method::POST, "/v1/tasks", "[1]", 400, "request_not_valid"),
                (Method::POST, "/v1/tasks", "{", 400, "request_not_valid"),
                (Method::POST, "/v1/tasks", r#"{"name":{}}"#, 400, "request_not_valid"),
                (Method::PATCH, "/v1/tasks", "{}", 405, "method_not_allowed"),
                (Method::POST, "/v1/tasks/1", "{}", 405, "method_not_allowed"),
                (Method::PUT, "/v1/tasks/1", "{}", 405, "method_not_allowed"),
                (Method::PATCH, "/v1/tasks/1", "{}", 404, "not_found"),
                (Method::PATCH, "/v1/tasks/abc", "{}", 404, "not_found"),
                (Method::DELETE, "/v1/tasks/99999999999999999999", "", 404, "not_found"),
            ] {
                let headers = [("x-access-key", client.key.access_key.as_str())];
                let sent = client.send(method.clone(), path, &headers, Some(body.as_bytes().to_vec()));
                let answer = sent.await.expect(status);
                assert_eq!(answer.json()["code"], code, "{method} {path} {body}");
            }
            let headers = [("x-access-key", client.key.access_key.as_str()), ("content-type", "text/plain")];
            client.send(Method::PATCH, "/v1/tasks/1", &headers, Some(b"{}".to_vec())).await.expect(415);
            assert_eq!(client.get("/v1/tasks").await.expect(401).json()["code"], "access_key_required");
            let answer = client.get("/v1/tasks?access_key=nobody").await.expect(401);
            assert_eq!(answer.json()["code"], "access_key_invalid");
        }
        let odd = stack.client().get_with_key("/v1/requests?task=x").await.expect(400).json();
        assert_eq!(odd["code"], "request_not_valid");
    });
}

#[test]
fn what_belongs_to_another_key_is_not_there() {
    run(async {
        let stack = Stack::shared();
        let (owner, stranger) = (Client::new(&stack.api, &stack.new_key()), Client::new(&stack.api, &stack.new_key()));
        let id = add(&owner, "html=x").await;
        let path = format!("/v1/tasks/{id}");
        let foreign = stranger.get_with_key(&path).await.expect(404);
        assert_eq!(foreign.body, stranger.get_with_key("/v1/tasks/4503599627370497").await.expect(404).body);
        call(&stranger, Method::PATCH, &path, &json!({ "enabled": false })).await.expect(404);
        call(&stranger, Method::DELETE, &path, &Json::Null).await.expect(404);
        assert_eq!(stranger.get_with_key("/v1/tasks").await.expect(200).json(), json!({ "tasks": [] }));
        assert_eq!(show(&owner, &id).await["enabled"], true);
        // The key in the body is good for those who send none in the header.
        let body = json!({ "access_key": owner.key.access_key, "name": "mine" });
        let headers = [("content-type", "application/json")];
        let answer = owner.send(Method::PATCH, &path, &headers, Some(body.to_string().into_bytes())).await.expect(200);
        assert_eq!(answer.json()["name"], "mine");
    });
}

#[test]
fn a_run_is_a_request_with_a_file_and_a_signed_webhook() {
    run(async {
        let stack = Stack::shared();
        let (site, receiver) = (Site::start(), Receiver::start());
        let client = Client::new(&stack.api, &stack.new_key());
        let query = format!(
            "url={}&format=png&viewport_width=200&viewport_height=100&webhook_url={}",
            site.url("/colors.html"),
            receiver.url()
        );
        let id = add(&client, &query).await;
        make_due(stack.data_dir(), &id, 2);
        let webhook = receiver.first(s(40)).await;
        assert!(verify_hex(
            &Secret::new(&client.key.secret_key),
            &webhook.body,
            webhook.header("x-screenshotmax-webhook-signature")
        ));
        let file = client.get(webhook.json()["file"].as_str().unwrap()).await.expect(200);
        let picture = Picture::decode(&file.body);
        assert_eq!((picture.size(), picture.pixel(100, 50)), ((200, 100), 0x204080));
        let made = made(&client, &id).await;
        assert_eq!((made.len(), &made[0]["id"], &made[0]["task_id"]), (1, &webhook.json()["id"], &id));
        let task = show(&client, &id).await;
        assert_eq!((&task["runs"], &task["last_request_id"]), (&json!(1), &webhook.json()["id"]));
        assert_eq!((&task["last_status"], &task["last_error"]), (&json!("done"), &Json::Null));
        assert!(task["last_run"].as_u64() >= task["created"].as_u64(), "{task:#}");
        assert!(task["next_run"].as_u64() > task["last_run"].as_u64(), "{task:#}");
        // It goes, and what it made stays.
        call(&client, Method::DELETE, &format!("/v1/tasks/{id}"), &Json::Null).await.expect(204);
        assert_eq!(client.request(made[0]["id"].as_str().unwrap()).await["state"], "done");
        assert_eq!(self::made(&client, &id).await.len(), 1);
    });
}

#[test]
fn a_run_that_fails_or_is_refused_is_seen_in_its_task() {
    run(async {
        let stack = Stack::shared();
        let site = Site::start();
        let key = stack.new_key();
        let client = Client::new(&stack.api, &key);
        let id = add(&client, &format!("url={}", site.url("/status/500"))).await;
        let status = async |wanted: &str| {
            wait::until(wanted, s(40), async || {
                Some(show(&client, &id).await).filter(|task| task["last_status"] == wanted)
            })
            .await
        };
        make_due(stack.data_dir(), &id, 1);
        let task = status("failed").await;
        assert_eq!(task["last_error"]["code"], "host_returned_error", "{task:#}");
        stack.keys(&["limits", &key.access_key, "--quota", "0", "--json"]);
        make_due(stack.data_dir(), &id, 1);
        let task = status("refused").await;
        assert_eq!(task["last_error"]["code"], "screenshots_limit_reached", "{task:#}");
        assert_eq!((&task["runs"], &task["last_request_id"]), (&json!(1), &Json::Null));
        assert!(task["next_run"].is_u64(), "it will be tried at its next time: {task:#}");
    });
}

#[test]
fn a_crash_around_the_commit_of_a_run_loses_and_doubles_nothing() {
    run(async {
        let faults = Faults::new();
        let mut stack = Stack::builder().faults(&faults).start();
        let client = stack.client();
        for point in ["before-commit", "after-commit"] {
            let id = add(&client, "html=%3Cp%3Ex&block_annoyance=none").await;
            stack.kill9();
            make_due(stack.data_dir(), &id, 3 * 86_400);
            // Killed at every commit of a start, one after the other, up to the one that fires the task.
            let mut crashes = 0;
            while kept(stack.data_dir(), &id).0 == 0 {
                crashes += 1;
                assert!(crashes < 30, "no run after {crashes} crashes");
                faults.kill_at(point, crashes);
                if stack.try_restart_with(&[]).is_ok() {
                    wait::for_it("the crash", s(20), || stack.ended_part()).await;
                }
            }
            faults.forget(point);
            stack.restart();
            let run = made(&client, &id).await.pop().expect("what was committed is there");
            client.done(run["id"].as_str().unwrap(), s(30)).await;
            look_again(&stack, &client).await;
            assert_eq!((made(&client, &id).await.len(), kept(stack.data_dir(), &id).0), (1, 1), "{point}");
        }
    });
}

#[test]
fn a_backend_that_was_away_makes_up_for_all_that_it_missed_by_one_run() {
    run(async {
        let mut stack = Stack::builder().start();
        let client = stack.client();
        let body =
            json!({ "name": "often", "api": "scrape", "query": "url=https://example.com", "frequency": "every_day" });
        let often = client.post("/v1/tasks", &body).await.expect(201).json()["id"].clone();
        let paused = add(&client, "html=x").await;
        stack.terminate();
        make_due(stack.data_dir(), &often, 30 * 86_400);
        stack.restart();
        wait::until("the run", s(20), async || made(&client, &often).await.pop()).await;
        look_again(&stack, &client).await;
        let task = show(&client, &often).await;
        assert_eq!((task["runs"].as_u64(), made(&client, &often).await.len()), (Some(1), 1));
        let ahead = task["next_run"].as_u64().unwrap() - task["last_run"].as_u64().unwrap();
        assert!((1..=86_400).contains(&ahead), "and from then on as ever: {task:#}");

        // A paused one misses nothing, and nothing is made up when it is resumed.
        let path = format!("/v1/tasks/{paused}");
        call(&client, Method::PATCH, &path, &json!({ "enabled": false })).await.expect(200);
        call(&client, Method::PATCH, &path, &json!({ "enabled": true })).await.expect(200);
        look_again(&stack, &client).await;
        assert!(made(&client, &paused).await.is_empty());
        // A revoked key's task stops.
        let other = Client::new(&stack.api, &stack.new_key());
        let orphan = add(&other, "html=x").await;
        stack.keys(&["revoke", &other.key.access_key, "--json"]);
        make_due(stack.data_dir(), &orphan, 5);
        look_again(&stack, &client).await;
        assert_eq!(kept(stack.data_dir(), &orphan), (0, None));
    });
}

#[test]
fn a_task_waits_for_room_on_the_disk() {
    run(async {
        // More than any disk has.
        let mut stack = Stack::builder().set("SNAPHOOK_QUEUE_DISK_FREE_MIN_MB", 1_000_000_000_000_u64).start();
        let client = stack.client();
        let id = add(&client, "html=x").await;
        let ready = format!("{}/readyz", stack.operations);
        wait::until("a look at the disk", s(10), async || (client.get(&ready).await.status == 503).then_some(())).await;
        make_due(stack.data_dir(), &id, 60);
        // It would be looked for every second.
        tokio::time::sleep(s(3)).await;
        assert_eq!((made(&client, &id).await.len(), kept(stack.data_dir(), &id).0), (0, 0));
        stack.kill9();
        stack.try_restart_with(&[("SNAPHOOK_QUEUE_DISK_FREE_MIN_MB", "1")]).unwrap();
        wait::until("its run", s(20), async || made(&stack.client(), &id).await.pop()).await;
    });
}

#[test]
fn the_screenshotmax_pypi_sdk_keeps_tasks() {
    run(async {
        let stack = Stack::shared();
        let key = stack.new_key();
        let given = json!({ "base": stack.edge_url(), "access_key": key.access_key, "secret_key": key.secret_key });
        let said = programs::ask(programs::python(), "screenshotmax_tasks.py", &given);
        let (created, shown, updated) = (&said["created"], &said["shown"], &said["updated"]);
        assert_eq!(created["name"], "test", "{said:#}");
        assert_eq!(shown, created);
        assert_eq!(said["listed"], json!({ "tasks": [created] }));
        assert_eq!((&updated["enabled"], &updated["frequency"]), (&json!(false), &json!("every_month")));
        assert_eq!(said["left"], json!({ "tasks": [] }));
        // The SDK reads JSON from the empty body that its vendor documents.
        assert_eq!(said["deleted"], "JSONDecodeError");
        assert_eq!(said["invalid"]["code"], "request_not_valid");
    });
}
