//! Who may see the dashboard: sign-in, sessions, forms, headers. What the pages show is in `dashboard_pages`.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::json;
use snaphook_tests::client::{Answer, Client};
use snaphook_tests::operator::{Operator, form, new_password, try_password};
use snaphook_tests::stack::Stack;
use snaphook_tests::{repository, run};

/// Every route of the dashboard, as its source lists them: methods, and paths with an id put in.
fn routes() -> Vec<(Method, String)> {
    let source = std::fs::read_to_string(repository("backend/src/dashboard/mod.rs")).unwrap();
    let list = source.split_once("ROUTES: &[(&str, &str)] = &[").unwrap().1.split_once("];").unwrap().0;
    let words: Vec<&str> = list.split('"').skip(1).step_by(2).collect();
    let routes: Vec<_> = words
        .chunks(2)
        .map(|pair| {
            (
                pair[0].parse().unwrap(),
                format!("/dashboard{}", pair[1].replace('*', "req_1")).trim_end_matches('/').to_owned(),
            )
        })
        .collect();
    assert!(routes.len() > 15, "{list}");
    // A route that is answered and not listed would escape the tests.
    let is_arm = |line: &&str| line.trim_start().starts_with('[') && line.contains("] => ");
    assert_eq!(source.lines().filter(is_arm).count(), routes.len());
    routes
}

/// Whether a tag has an attribute such as `onclick=`.
fn has_handler(page: &str) -> bool {
    page.split(" on").skip(1).any(|rest| {
        let after = rest.trim_start_matches(|c: char| c.is_ascii_lowercase());
        after.len() < rest.len() && after.starts_with('=')
    })
}

/// What every answer must have, whatever it says.
#[track_caller]
fn assert_guarded(answer: &Answer, what: &str) {
    let policy = answer.header("content-security-policy");
    for part in [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'self'",
    ] {
        assert!(policy.contains(part), "{what}: {policy}");
    }
    assert!(!policy.contains("unsafe"), "{what}: {policy}");
    assert_eq!(answer.header("x-content-type-options"), "nosniff", "{what}");
    assert_eq!(answer.header("cache-control"), "no-store", "{what}");
    assert_eq!(answer.header("referrer-policy"), "same-origin", "{what}");
    assert_eq!(answer.header("access-control-allow-origin"), "", "{what}: no other origin may read it");
    let page = answer.text();
    assert!(!page.contains("style=") && !page.contains("<style") && !has_handler(&page), "{what}: something inline");
    assert!(page.matches("<script").count() == page.matches("<script src=\"/dashboard/assets/").count(), "{what}");
}

#[test]
fn every_route_asks_for_a_session_and_every_form_for_its_token() {
    run(async {
        let stack = Stack::builder().start();
        let client = stack.client();
        let ended = Operator::new(&stack).await;
        ended.post("/dashboard/logout", &[]).await.expect(303);
        // Two sessions of one password: neither's forms are the other's.
        let password = new_password(&stack);
        let (operator, other) =
            (Operator::sign_in(&client, &password).await, Operator::sign_in(&client, &password).await);
        assert_ne!(operator.form_token, other.form_token);
        let origin = stack.api.clone();
        let invented = format!("snaphook-admin={}", "A".repeat(43));
        let cookies =
            ["", "snaphook-admin=", "snaphook-admin=x", &invented, "other=1; snaphook-admin=\"\"", &ended.cookie];
        for (method, path) in routes() {
            let what = format!("{method} {path}");
            let send = async |cookie: &str, origin: &str, body: Vec<u8>| {
                let headers: Vec<(&str, &str)> = [("cookie", cookie), ("origin", origin)]
                    .into_iter()
                    .filter(|(_, value)| !value.is_empty())
                    .collect();
                let body = (method == Method::POST).then_some(body);
                client.send(method.clone(), &path, &headers, body).await
            };
            let right = form(&[("form_token", &operator.form_token)]);
            for cookie in cookies {
                let answer = send(cookie, &origin, right.clone()).await;
                assert_guarded(&answer, &what);
                match method == Method::POST {
                    true => assert_eq!(answer.status, 401, "{what} with {cookie:?}"),
                    false => {
                        assert_eq!(
                            (answer.status.as_u16(), answer.header("location")),
                            (303, "/dashboard/login"),
                            "{what} with {cookie:?}"
                        );
                        assert!(answer.body.is_empty(), "{what}");
                    }
                }
            }
            if method == Method::GET {
                let answer = send(&operator.cookie, "", Vec::new()).await;
                assert!([200, 303, 404].contains(&answer.status.as_u16()), "{what}: {}", answer.status);
                assert_ne!(answer.header("location"), "/dashboard/login", "{what}");
                assert_guarded(&answer, &what);
                continue;
            }
            let half = form(&[("form_token", &operator.form_token[..32])]);
            let foreign = form(&[("form_token", &other.form_token)]);
            for body in [Vec::new(), form(&[("form_token", "")]), half, foreign, b"\xff\xfe".to_vec()] {
                let answer = send(&operator.cookie, &origin, body.clone()).await.expect(403);
                assert_guarded(&answer, &what);
                assert!(answer.text().contains("not of this session"), "{what}: {body:?}");
            }
            for origin in ["", "null", "https://evil.example", "http://127.0.0.1:1"] {
                let answer = send(&operator.cookie, origin, right.clone()).await.expect(403);
                assert!(answer.text().contains("not come from a page of ours"), "{what} from {origin:?}");
            }
        }
        // None of all that did anything.
        assert!(operator.page("/dashboard/access").await.contains(&client.key.access_key));
        assert_eq!(client.get_with_key("/v1/requests").await.expect(200).json()["requests"], json!([]));
        for method in [Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS] {
            let answer = client.send(method, "/dashboard/requests", &[("cookie", &operator.cookie)], None).await;
            assert_guarded(&answer.expect(405), "another method");
        }
    });
}

#[test]
fn the_first_start_tells_a_password_once_and_keeps_its_hash() {
    run(async {
        let mut stack = Stack::builder().start();
        let log = stack.backend_log();
        let told: Vec<&str> = log.lines().filter(|line| line.contains("shown this once")).collect();
        assert_eq!(told.len(), 1, "{log}");
        let password = told[0].split_once("password=\"").unwrap().1.split('"').next().unwrap().to_owned();
        assert!(password.len() >= 24, "{password}");
        let operator = Operator::sign_in(&stack.client(), &password).await;
        let token = operator.cookie.split_once('=').unwrap().1.to_owned();
        assert_eq!(token.len(), 43, "256 bits");
        stack.restart();
        assert!(!stack.backend_log().contains(&password) && !stack.backend_log().contains("shown this once"));
        operator.get("/dashboard/requests").await.expect(200);
        stack.terminate();
        for file in std::fs::read_dir(stack.data_dir()).unwrap() {
            let path = file.unwrap().path();
            let bytes = if path.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
            for secret in [&password, &token] {
                let kept = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!kept, "{} holds a secret", path.display());
            }
        }
        let database = rusqlite::Connection::open(stack.data_dir().join("snaphook.db")).unwrap();
        let hash: String = database.query_row("SELECT password_hash FROM admin", [], |row| row.get(0)).unwrap();
        assert!(hash.starts_with("$argon2id$"), "{hash}");
    });
}

#[test]
fn a_new_password_ends_all_sessions_and_so_do_their_times() {
    run(async {
        let stack = Stack::builder()
            .set("SNAPHOOK_DASHBOARD_SESSION_SECONDS", 100_000)
            .set("SNAPHOOK_DASHBOARD_SESSION_IDLE_SECONDS", 1_000)
            .start();
        let client = stack.client();
        let is_open = async |operator: &Operator| operator.get("/dashboard/requests").await.status == 200;
        let first = Operator::new(&stack).await;
        assert!(is_open(&first).await);
        let password = new_password(&stack);
        assert!(!is_open(&first).await, "a new password ends it");

        let database = rusqlite::Connection::open(stack.data_dir().join("snaphook.db")).unwrap();
        database.busy_timeout(Duration::from_secs(10)).unwrap();
        let now_ms = |add: i64| jiff::Timestamp::now().as_millisecond() + add;
        let read = |column: &str| -> i64 {
            database.query_row(&format!("SELECT {column} FROM sessions"), [], |row| row.get(0)).unwrap()
        };
        let session = Operator::sign_in(&client, &password).await;
        assert!((99_000_000..=100_000_000).contains(&(read("ends_ms") - now_ms(0))));
        assert!((990_000..=1_000_000).contains(&(read("idle_until_ms") - now_ms(0))));
        // Used by a person it is prolonged, and by the page's own script it is not.
        database.execute("UPDATE sessions SET idle_until_ms = ?", [now_ms(500_000)]).unwrap();
        let live = [("cookie", session.cookie.as_str()), ("x-snaphook-live", "1")];
        client.send(Method::GET, "/dashboard/requests", &live, None).await.expect(200);
        assert!(read("idle_until_ms") < now_ms(500_001));
        assert!(is_open(&session).await);
        assert!(read("idle_until_ms") > now_ms(900_000));
        database.execute("UPDATE sessions SET idle_until_ms = ?", [now_ms(-1)]).unwrap();
        assert!(!is_open(&session).await, "idle for too long");
        let session = Operator::sign_in(&client, &password).await;
        database.execute("UPDATE sessions SET ends_ms = ?", [now_ms(-1)]).unwrap();
        assert!(!is_open(&session).await, "its time is over");
    });
}

#[test]
fn the_cookie_is_for_the_dashboard_alone_and_goes_at_the_end() {
    run(async {
        for (public_url, name, secure) in
            [("", "snaphook-admin", false), ("https://shots.example", "__Secure-snaphook-admin", true)]
        {
            let stack = Stack::builder().set("SNAPHOOK_PUBLIC_URL", public_url).start();
            let client = stack.client();
            let answer = try_password(&client, &new_password(&stack)).await.expect(303);
            let cookie = answer.header("set-cookie").to_owned();
            let (pair, attributes) = cookie.split_once("; ").unwrap();
            assert_eq!(pair.split_once('=').unwrap().0, name);
            let mut attributes: Vec<&str> = attributes.split("; ").collect();
            attributes.retain(|attribute| *attribute != "Secure");
            assert_eq!(attributes, ["HttpOnly", "SameSite=Strict", "Path=/dashboard"]);
            assert_eq!(cookie.contains("; Secure"), secure);
            let operator = Operator::sign_in(&client, &new_password(&stack)).await;
            let answer = operator.post("/dashboard/logout", &[]).await.expect(303);
            assert!(
                answer.header("set-cookie").starts_with(&format!("{name}=; "))
                    && answer.header("set-cookie").contains("Max-Age=0")
            );
            operator.get("/dashboard/requests").await.expect(303);
        }
    });
}

#[test]
fn failures_look_alike_and_are_slowed_down() {
    run(async {
        let stack = Stack::builder().start();
        let (client, password) = (stack.client(), new_password(&stack));
        let mut answers = Vec::new();
        for wrong in ["", "wrong", &password[1..], &"x".repeat(10_000)] {
            answers.push(try_password(&client, wrong).await.expect(401));
        }
        for answer in &answers {
            assert_guarded(answer, "a wrong password");
            assert_eq!((&answer.body, answer.header("set-cookie")), (&answers[0].body, ""));
        }
        try_password(&client, "the fifth").await.expect(401);
        let paused = try_password(&client, &password).await.expect(429);
        assert_eq!((paused.header("retry-after"), paused.header("set-cookie")), ("1", ""), "not even the right one");
        snaphook_tests::wait::until("the end of the pause", Duration::from_secs(10), async || {
            let answer = try_password(&client, &password).await;
            (answer.status == 303).then_some(())
        })
        .await;
        let log = stack.backend_log();
        assert!(log.contains("sign-in to the dashboard failed") && log.contains("127.0.0.1"), "{log}");
        assert!(!log.contains(&password), "a password is in the log");
    });
}

#[test]
fn many_at_the_door_do_not_keep_the_service_from_its_work() {
    run(async {
        let stack = Stack::builder().start();
        let client = stack.client();
        let started = Instant::now();
        let tries = (0..200).map(|number| {
            let client = client.clone();
            tokio::spawn(async move { try_password(&client, &format!("guess {number}")).await.status.as_u16() })
        });
        let tries: Vec<_> = tries.collect();
        let health = client.get_with_key("/v1/requests").await.expect(200);
        let statuses: Vec<u16> =
            futures::future::join_all(tries).await.into_iter().map(|status| status.unwrap()).collect();
        let checked = statuses.iter().filter(|status| **status == 401).count();
        // Five without a pause, and one after each pause that has passed meanwhile: 1, 2, 4, … seconds.
        let pauses = (1..20).take_while(|count| (1 << count) - 1 <= started.elapsed().as_secs()).count();
        assert!(checked <= 6 + pauses, "at most so many are checked: {checked}");
        assert!(statuses.iter().all(|status| [401, 429].contains(status)), "{statuses:?}");
        assert!(health.status == 200 && started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
    });
}

#[test]
fn it_can_be_turned_off_or_moved_to_a_listener_of_its_own() {
    run(async {
        let stack = Stack::builder().set("SNAPHOOK_DASHBOARD_ENABLED", false).start();
        stack.client().get("/dashboard").await.expect(404);
        stack.client().get("/dashboard/login").await.expect(404);
        assert!(!stack.backend_log().contains("shown this once"));
        drop(stack);

        let stack = Stack::builder().set("SNAPHOOK_DASHBOARD_LISTEN", "127.0.0.1:0").start();
        stack.client().get("/dashboard/login").await.expect(404);
        let log = stack.backend_log();
        let url =
            log.split_once("\"dashboard\":\"").unwrap().1.split('"').next().unwrap().trim_end_matches("/dashboard");
        let there = Client::new(url, &stack.key);
        let operator = Operator::sign_in(&there, &new_password(&stack)).await;
        let id = stack.client().enqueue("/take", &json!({ "html": "<p>x", "format": "png" })).await;
        let view = stack.client().done(&id, Duration::from_secs(30)).await;
        let name = view["file"]["url"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        assert!(operator.page(&format!("/dashboard/requests/{id}")).await.contains(&format!("src=\"/files/{name}\"")));
        assert!(
            there
                .get(&format!("/files/{name}"))
                .await
                .expect(200)
                .header("content-security-policy")
                .contains("sandbox")
        );
        there.get("/docs/errors").await.expect(200);
        there.get("/v1/requests").await.expect(404);
    });
}
