//! The edge with everything bound to it, in workerd, and the real backend: killed, away, slow, and come back.

use std::collections::HashSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::StreamExt;
use serde_json::{Value as Json, json};
use snaphook_shared::id::request_id;
use snaphook_tests::client::Client;
use snaphook_tests::receiver::Receiver;
use snaphook_tests::run;
use snaphook_tests::site::Site;
use snaphook_tests::stack::{Builder, KeyPair, Stack};
use snaphook_tests::wait::{self, s};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// Queues that do not wait for company, and a rate that no test reaches; the names stay wrangler.full.toml's.
fn hurried(dead_after: u32) -> Json {
    json!({ "queueConsumers": {
        "snaphook-outbox": {
            "maxBatchSize": 50, "maxBatchTimeout": 0.05, "maxRetries": dead_after, "deadLetterQueue": "snaphook-outbox-dead",
        },
        "snaphook-outbox-dead": { "maxBatchSize": 10, "maxBatchTimeout": 0.05, "maxRetries": 100 },
    }, "ratelimits": { "LIMITER": { "namespace_id": "1", "simple": { "limit": 100_000, "period": 60 } } } })
}

fn full(options: &Json) -> Builder {
    Stack::builder().full_edge().edge_with("EDGE_OPTIONS", options)
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn revoke(stack: &Stack, key: &KeyPair) {
    assert!(stack.run_keys(&["revoke", &key.access_key]).status.success());
}

async fn all_requests(client: &Client) -> Vec<Json> {
    let (mut all, mut before) = (Vec::new(), String::new());
    loop {
        let page = client.get_with_key(&format!("/v1/requests?limit=100{before}")).await.expect(200).json();
        all.extend(page["requests"].as_array().unwrap().iter().cloned());
        match page["next"].as_str() {
            Some(next) => before = format!("&before={next}"),
            None => return all,
        }
    }
}

/// A thousand, of which the first that end are looked at: SNAPHOOK_OUTAGE_DONE says how many; `make soak` waits for all, which
/// takes minutes.
#[test]
fn of_all_accepted_requests_none_is_lost_while_the_backend_is_killed_and_restarted() {
    let wanted = 1000;
    let looked_at = std::env::var("SNAPHOOK_OUTAGE_DONE").ok().map_or(250, |text| text.parse().unwrap());
    run(async {
        let mut stack = full(&hurried(100)).start();
        let (edge, backend) = (stack.edge_client(), stack.client());
        let options = json!({ "html": "<p>kept", "format": "html", "async": true });
        // The isolate and the key store know the key from now on.
        let first = edge.take(&options).await.expect(202).header("x-snaphook-request-id").to_owned();

        let accepting = tokio::spawn({
            let (edge, options) = (edge.clone(), options.clone());
            async move {
                let calls = futures::stream::iter(0..wanted).map(|_| edge.take(&options));
                calls.buffer_unordered(16).collect::<Vec<_>>().await
            }
        });
        // Twice: while it is busy with them, and while it takes up what it had.
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_millis(150)).await;
            stack.kill9();
            tokio::time::sleep(Duration::from_millis(300)).await;
            stack.restart();
        }
        let answers = accepting.await.unwrap();
        let refused: Vec<_> =
            answers.iter().filter(|answer| answer.status != 202).map(|answer| answer.text()).collect();
        assert!(refused.is_empty(), "{} refused: {:?}", refused.len(), refused.first());
        let mut ids: HashSet<String> =
            answers.iter().map(|answer| answer.header("x-snaphook-request-id").to_owned()).collect();
        assert_eq!(ids.len(), wanted, "each has an id of its own");
        for answer in &answers {
            assert_eq!(answer.json()["id"], answer.header("x-snaphook-request-id"));
        }
        let outbox = stack.edge_log().matches("kept in the outbox").count();
        assert!(outbox > 0, "the backend was away, and something was accepted all the same");
        ids.insert(first);

        // None is lost that the backend knows, which has it on its disk.
        let all = wait::until("all to be known", s(300), async || {
            let all = all_requests(&backend).await;
            (all.len() >= ids.len()).then_some(all)
        })
        .await;
        let known: HashSet<String> = all.iter().map(|view| view["id"].as_str().unwrap().to_owned()).collect();
        let lost: Vec<_> = ids.difference(&known).collect();
        assert!(lost.is_empty(), "{} lost: {lost:?}", lost.len());
        assert_eq!(known.len(), all.len(), "each is there once");
        // One that the backend committed before it was killed, and could not answer, came again under its id.
        assert_eq!(all.len(), ids.len(), "and nothing that nobody asked for");
        let ended = wait::until("enough of them to end", s(600), async || {
            let mut ended = all_requests(&backend).await;
            ended.retain(|view| view["finished_at"].is_string());
            (ended.len() >= looked_at).then_some(ended)
        })
        .await;
        let failed = ended.iter().find(|view| view["state"] != "done");
        assert!(failed.is_none(), "{failed:?}");
        eprintln!("{wanted} accepted, {outbox} of them while the backend was away; 0 lost");
    });
}

/// What the edge has said 202 to is rendered, although the backend would refuse the same now.
#[test]
fn what_was_accepted_in_an_outage_outlives_limits_links_and_secrets() {
    run(async {
        let mut stack = full(&hurried(100)).start();
        let (limited, signing) = (stack.new_key(), stack.new_key());
        stack.keys(&["limits", &limited.access_key, "--requests-per-minute", "3", "--json"]);
        let (own, edge) = (stack.client(), stack.edge_client());
        let (limited, signing) = (edge.with_key(&limited), edge.with_key(&signing));
        for client in [&limited, &signing] {
            // The edge knows them from now on, and nothing of theirs was counted.
            client.take(&json!({})).await.expect(400);
        }
        stack.kill9();

        let options = json!({ "html": "<p>kept", "format": "png", "async": true });
        let mut of_limited = Vec::new();
        // Of the dialect that answers a limit with 400.
        for _ in 0..5 {
            of_limited.push(limited.take(&options).await.expect(202).header("x-snaphook-request-id").to_owned());
        }
        let link = format!("html=%3Cp%3Ekept&format=png&async=true&expires={}", now_s() + 2);
        let mut of_signing = Vec::new();
        for path in ["/take", "/v1/screenshot"] {
            let accepted = signing.get(&signing.signed(path, &link)).await.expect(202);
            of_signing.push(accepted.header("x-snaphook-request-id").to_owned());
        }
        // The secret that signed them is good no longer, from a later second on.
        tokio::time::sleep(s(1)).await;
        stack.keys(&["rotate", &signing.key.access_key, "--overlap-hours", "0", "--json"]);
        tokio::time::sleep(s(2)).await;
        // They come in one minute, so that they meet its limit.
        let second = now_s() % 60;
        if second >= 45 {
            tokio::time::sleep(s(60 - second)).await;
        }
        stack.restart();

        for (client, ids) in [(&signing, &of_signing), (&limited, &of_limited)] {
            let client = own.with_key(&client.key);
            for id in ids {
                // A minute may have to go by.
                wait::until(id, s(120), async || {
                    (client.get_with_key(&format!("/v1/requests/{id}")).await.status == 200).then_some(())
                })
                .await;
                client.done(id, s(60)).await;
            }
        }
        assert!(stack.edge_log().contains("status 400"), "no limit was met");
        assert_eq!(stack.edge_bucket(), Vec::<String>::new(), "nothing was refused");
        // Whoever sends the link now, to either, is refused.
        for base in [stack.edge_url(), stack.api.as_str()] {
            signing.at(base).get(&signing.signed("/take", &link)).await.expect(400);
        }
    });
}

#[test]
fn a_body_over_the_message_limit_waits_in_the_bucket() {
    run(async {
        let mut stack = full(&hurried(100)).start();
        let (edge, backend) = (stack.edge_client(), stack.client());
        edge.screenshot(&json!({ "html": "<p>known" })).await.expect(200);
        stack.kill9();
        let large =
            json!({ "html": format!("<p>large<!--{}-->", "x".repeat(300_000)), "async": true, "format": "png" });
        let id = edge.take(&large).await.expect(202).header("x-snaphook-request-id").to_owned();
        // Who waits cannot be kept in a queue.
        edge.take(&json!({ "html": "<p>now" })).await.expect(503);
        stack.restart();
        wait::until("it to arrive", s(60), async || {
            (backend.get_with_key(&format!("/v1/requests/{id}")).await.status == 200).then_some(())
        })
        .await;
        backend.done(&id, s(60)).await;
    });
}

/// As a Queue delivers: at least once.
#[test]
fn a_message_that_comes_twice_is_one_request() {
    run(async {
        let mut stack = full(&hurried(100)).start();
        let (backend, receiver) = (stack.client(), Receiver::start());
        let body = json!({ "html": "<p>twice", "format": "png", "async": true, "webhook_url": receiver.url() });
        let message = |id: &str| {
            let envelope = json!({
                "request_id": id, "received_at_ms": now_s() * 1000, "access_key": stack.key.access_key, "method": "POST",
                "path": "/v1/screenshot", "query": "", "content_type": "application/json", "body": body.to_string(),
            });
            envelope.to_string()
        };
        let ids: Vec<String> = (0..5).map(|number| request_id(now_s() * 1000, [number; 10])).collect();
        let messages: Vec<String> = ids.iter().map(|id| message(id)).collect();
        // In one batch or in two, before the first was acknowledged and after it had ended.
        for message in messages.iter().chain(&messages) {
            stack.send_to_outbox(message);
        }
        for id in &ids {
            wait::until(id, s(60), async || {
                (backend.get_with_key(&format!("/v1/requests/{id}")).await.status == 200).then_some(())
            })
            .await;
            backend.delivered(id, s(60)).await;
        }
        for message in &messages {
            stack.send_to_outbox(message);
        }
        // Behind them in the queue; once it has arrived they have.
        let last = request_id(now_s() * 1000, [9; 10]);
        stack.send_to_outbox(&messages[0].replace(&ids[0], &last));
        wait::until(&last, s(60), async || {
            (backend.get_with_key(&format!("/v1/requests/{last}")).await.status == 200).then_some(())
        })
        .await;
        backend.delivered(&last, s(60)).await;
        let all = all_requests(&backend).await;
        assert_eq!(all.len(), ids.len() + 1, "one row each: {all:#?}");
        assert!(all.iter().all(|view| view["state"] == "done" && view["attempts"] == 1), "one render each: {all:#?}");
        assert_eq!(receiver.all().len(), all.len(), "one webhook each");
        assert_eq!(stack.edge_bucket(), Vec::<String>::new(), "none of them was refused");
    });
}

#[test]
fn without_a_bucket_a_large_body_is_put_off_in_its_dialect() {
    run(async {
        let mut options = hurried(100);
        options["r2Buckets"] = json!({});
        let mut stack = full(&options).start();
        let edge = stack.edge_client();
        edge.screenshot(&json!({ "html": "<p>known" })).await.expect(200);
        stack.kill9();
        let large = json!({ "html": "x".repeat(300_000), "async": true });
        assert_eq!(edge.take(&large).await.expect(503).json()["error_code"], "temporary_unavailable");
        let refused = edge.screenshot(&large).await.expect(503);
        assert_eq!((&refused.json()["code"], refused.header("retry-after")), (&json!("temporary_unavailable"), "5"));
        edge.take(&json!({ "html": "<p>small", "async": true })).await.expect(202);
    });
}

#[test]
fn what_cannot_be_delivered_for_days_is_kept_and_delivered_in_the_end() {
    run(async {
        // The days are over after the first attempt here.
        let mut stack = full(&hurried(0)).edge_with("EDGE_CLOCK_SECONDS", 1).start();
        let (edge, backend) = (stack.edge_client(), stack.client());
        edge.screenshot(&json!({ "html": "<p>known" })).await.expect(200);
        stack.kill9();
        let id = edge.enqueue("/v1/screenshot", &json!({ "html": "<p>patient", "format": "png" })).await;
        let parked = format!("{id}: could not be handed over for days, kept under undelivered/");
        wait::for_it("it to be parked", s(30), || stack.edge_log().contains(&parked).then_some(())).await;
        let name = format!("undelivered/{id}");
        wait::for_it("it in the bucket", s(10), || (stack.edge_bucket() == [name.as_str()]).then_some(())).await;
        stack.restart();
        wait::until("it to arrive", s(60), async || {
            (backend.get_with_key(&format!("/v1/requests/{id}")).await.status == 200).then_some(())
        })
        .await;
        backend.done(&id, s(60)).await;
    });
}

#[test]
fn a_key_that_was_revoked_meanwhile_renders_nothing() {
    run(async {
        let mut stack = full(&hurried(100)).edge_with("KEY_FRESH_SECONDS", 2).start();
        let key = stack.new_key();
        let edge = stack.edge_client().with_key(&key);
        edge.screenshot(&json!({ "html": "<p>known" })).await.expect(200);

        // With the backend there, a revocation counts at once, whatever the edge remembers.
        let other = stack.new_key();
        let others = stack.edge_client().with_key(&other);
        others.screenshot(&json!({ "html": "<p>known" })).await.expect(200);
        revoke(&stack, &other);
        let revoked = Instant::now();
        others.screenshot(&json!({ "html": "<p>no" })).await.expect(401);
        others.take(&json!({ "html": "<p>no", "async": true })).await.expect(400);
        assert!(revoked.elapsed() < s(2), "{:?}", revoked.elapsed());

        // With the backend away the edge can only go by what it was told; the backend then looks again.
        stack.kill9();
        revoke(&stack, &key);
        let accepted = edge.screenshot(&json!({ "html": "<p>too late", "async": true })).await.expect(202);
        let id = accepted.header("x-snaphook-request-id").to_owned();
        stack.restart();
        let said = format!("{id}: refused by the backend after it was accepted here: status 401");
        wait::for_it("the refusal", s(60), || stack.edge_log().contains(&said).then_some(())).await;
        let name = format!("refused/{id}");
        wait::for_it("it in the bucket", s(10), || (stack.edge_bucket() == [name.as_str()]).then_some(())).await;
        assert!(!stack.backend_log().contains(&id), "it was never rendered");
    });
}

#[test]
fn a_key_has_the_rate_that_is_bound() {
    run(async {
        let mut options = hurried(100);
        options["ratelimits"] = json!({ "LIMITER": { "namespace_id": "1", "simple": { "limit": 3, "period": 60 } } });
        let stack = full(&options).start();
        let (edge, other) = (stack.edge_client(), stack.new_key());
        let mut refused = Vec::new();
        for _ in 0..6 {
            let answer = edge.take(&json!({ "html": "<p>x", "async": true })).await;
            if answer.status != 202 {
                refused.push(answer);
            }
        }
        // A window may have ended in between.
        assert!(!refused.is_empty() && refused.len() <= 3, "{}", refused.len());
        assert_eq!(refused[0].json()["error_code"], "concurrency_limit_reached");
        assert_eq!((refused[0].status.as_u16(), refused[0].header("retry-after")), (400, "5"));
        edge.with_key(&other).take(&json!({ "html": "<p>x", "async": true })).await.expect(202);
    });
}

#[test]
fn a_render_that_outlasts_the_connection_goes_on_as_a_job() {
    run(async {
        let stack = Stack::builder().edge_with("SYNC_WAIT_SECONDS", 3).start();
        let (edge, site) = (stack.edge_client(), Site::start());
        for (path, code) in [("/take", "error_code"), ("/v1/screenshot", "code")] {
            let options = json!({ "url": site.url("/slow?6000"), "format": "png" });
            let started = Instant::now();
            let answer = edge.post(path, &options).await.expect(504);
            assert!(started.elapsed() < s(6), "{:?}", started.elapsed());
            let (body, id) = (answer.json(), answer.header("x-snaphook-request-id").to_owned());
            assert_eq!((&body[code], &body["id"]), (&json!("still_rendering"), &json!(id)), "{body}");
            let status_url = body["status_url"].as_str().unwrap();
            assert_eq!(
                (status_url, answer.header("location")),
                (format!("{}/v1/requests/{id}", stack.api).as_str(), status_url)
            );
            assert!(body["documentation_url"].as_str().unwrap().ends_with("/docs/errors/still-rendering"));
            let view = edge.done(&id, s(30)).await;
            assert_eq!(view["async"], true);
            let file = view["file"]["url"].as_str().unwrap();
            edge.get(file).await.expect(200);
        }
        // It was counted once, when it began: that was all that this key may have.
        let only = stack.new_key();
        let limits = ["--quota", "1", "--requests-per-minute", "1", "--concurrency", "1"];
        stack.keys(&[&["limits", only.access_key.as_str(), "--json"], &limits[..]].concat());
        let only = edge.with_key(&only);
        let options = json!({ "url": site.url("/slow?6000"), "format": "png" });
        let answer = only.take(&options).await.expect(504);
        only.done(answer.header("x-snaphook-request-id"), s(30)).await;
        // What is fast enough is answered as ever.
        edge.take(&json!({ "html": "<p>fast", "format": "png" })).await.expect(200);
    });
}

#[test]
fn a_picture_that_only_waits_for_its_record_is_not_given_up() {
    run(async {
        let stack = Stack::builder().edge_with("SYNC_WAIT_SECONDS", 10).start();
        let (edge, site) = (stack.edge_client(), Site::start());
        // The backend has a second less than the Worker.
        let (turns_over_after, frees_the_database_after) = (s(9), Duration::from_millis(9_200));
        let started = Instant::now();
        let options = json!({ "url": site.url("/slow?1000"), "format": "png" });
        let asked = edge.take(&options);
        let nothing_can_be_kept = async {
            wait::for_it("the page to be asked for", s(5), || (site.count("/slow") > 0).then_some(())).await;
            let database = rusqlite::Connection::open(stack.data_dir().join("snaphook.db")).unwrap();
            database.busy_timeout(s(5)).unwrap();
            database.execute_batch("BEGIN IMMEDIATE").unwrap();
            tokio::time::sleep_until((started + frees_the_database_after).into()).await;
            database.execute_batch("ROLLBACK").unwrap();
        };
        let (answer, ()) = tokio::join!(asked, nothing_can_be_kept);
        let answer = answer.expect(200);
        assert!(started.elapsed() > turns_over_after, "{:?}", started.elapsed());
        assert!(answer.body.starts_with(b"\x89PNG"));
        assert_eq!(edge.done(answer.header("x-snaphook-request-id"), s(5)).await["state"], "done");
    });
}

#[test]
fn a_caller_who_goes_away_ends_the_render_that_they_waited_for() {
    run(async {
        let stack = Stack::builder().set("SNAPHOOK_RENDER_CONCURRENCY", 1).edge().start();
        let site = Site::start();
        for (number, base) in [stack.edge_url(), stack.api.as_str()].into_iter().enumerate() {
            let key = &stack.key.access_key;
            let request =
                format!("GET /take?access_key={key}&url={}&timeout=60 HTTP/1.1\r\nhost: x\r\n\r\n", site.url("/never"));
            let mut stream = TcpStream::connect(base.trim_start_matches("http://")).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            wait::for_it("the page to be asked for", s(20), || (site.count("/never") > number).then_some(())).await;
            // A reset: workerd takes a mere end of what is sent for a caller who still listens.
            #[expect(deprecated, reason = "zero does not wait, which is what the warning is about")]
            stream.set_linger(Some(Duration::ZERO)).unwrap();
            drop(stream);
            // There is one page to render on, and it would be taken for a minute.
            let started = Instant::now();
            let free = stack.client().take(&json!({ "html": "<p>next", "format": "png" })).await.expect(200);
            assert!(started.elapsed() < s(15), "{base}: {:?}", started.elapsed());
            assert!(!free.body.is_empty());
        }
    });
}

#[test]
fn the_secret_of_the_edge_changes_without_a_gap() {
    const OLD: &str = "old:a-secret-of-some-length";
    const NEW: &str = "new:another-one-of-such-length";
    run(async {
        let mut stack = Stack::builder().set("SNAPHOOK_EDGE_SECRETS", OLD).edge_with("EDGE_SECRET", OLD).start();
        let options = json!({ "html": "<p>x", "format": "html" });
        let old = stack.edge_client();
        old.take(&options).await.expect(200);
        // Both are good side by side, for as long as the Worker is deployed anew from place to place.
        stack.try_restart_with(&[("SNAPHOOK_EDGE_SECRETS", &format!("{NEW},{OLD}"))]).unwrap();
        let another = stack.another_edge(&[("EDGE_SECRET", NEW)]);
        let new = old.at(&another.url);
        for edge in [&old, &new, &old] {
            edge.take(&options).await.expect(200);
        }
        stack.try_restart_with(&[("SNAPHOOK_EDGE_SECRETS", NEW)]).unwrap();
        new.take(&options).await.expect(200);
        // An edge that was forgotten is refused, and the caller reads that of an outage, not of a wrong key.
        assert_eq!(old.take(&options).await.expect(503).json()["error_code"], "temporary_unavailable");
        assert!(stack.edge_says("refused the seal").await);
        new.take(&options).await.expect(200);
    });
}
