//! What the dashboard shows and does: requests, deliveries, keys, figures; and that nothing of it is taken for markup.

use http::Method;
use serde_json::json;
use snaphook_tests::client::Client;
use snaphook_tests::operator::{Operator, hidden};
use snaphook_tests::receiver::{Behaviour, Receiver};
use snaphook_tests::run;
use snaphook_tests::site::Site;
use snaphook_tests::stack::{KeyPair, Stack};
use snaphook_tests::wait::{self, s};

/// Where a form has led, without its query.
fn led_to(answer: &snaphook_tests::client::Answer) -> String {
    answer.header("location").split('?').next().unwrap_or_default().to_owned()
}

/// Ids of a list's entries, in their order.
fn ids(page: &str, of: &str) -> Vec<String> {
    let before = format!("class=\"target\" href=\"/dashboard/{of}/");
    page.split(&before).skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
}

#[test]
fn requests_are_filtered_and_paged() {
    run(async {
        let stack = Stack::builder().start();
        let (client, other, site) = (stack.client(), Client::new(&stack.api, &stack.new_key()), Site::start());
        let good = client.enqueue("/take", &json!({ "url": site.url("/colors.html"), "format": "png" })).await;
        client.done(&good, s(30)).await;
        let bad = other.enqueue("/v1/screenshot", &json!({ "url": site.url("/status/404") })).await;
        other.request_when(&bad, "an end", s(30), |view| view["finished_at"].is_string()).await;
        let operator = Operator::new(&stack).await;
        let list = async |query: &str| ids(&operator.page(&format!("/dashboard/requests{query}")).await, "requests");
        assert_eq!(list("").await, [bad.clone(), good.clone()]);
        let page = operator.page("/dashboard/requests").await;
        let thumb = page.split_once("<img class=\"thumb\" src=\"").unwrap().1.split('"').next().unwrap();
        assert_eq!(operator.get(thumb).await.expect(200).header("content-type"), "image/png");
        assert_eq!(page.matches("class=\"thumb\"").count(), 1, "what failed has none: {page}");
        assert_eq!(list("?state=failed").await, [bad.as_str()]);
        assert_eq!(list(&format!("?key={}", client.key.access_key)).await, [good.as_str()]);
        assert_eq!(list("?text=COLORS").await, [good.as_str()]);
        assert_eq!(list("?text=COLORS&state=failed").await, Vec::<String>::new());
        assert_eq!(
            list("?since=2020-01-01T00:00&until=2099-01-01T00:00&text=127.0.0.1").await,
            [bad.clone(), good.clone()]
        );
        assert_eq!(list("?until=2020-01-01T00:00").await, Vec::<String>::new());
        assert_eq!(list(&format!("?before={bad}")).await, [good.as_str()]);
        operator.get("/dashboard/requests?since=yesterday").await.expect(400);
        for (list, search) in [("requests", "text=x"), ("deliveries", "url=http://x")] {
            for (query, stands_still) in [(search, true), ("state=failed", false)] {
                let page = operator.page(&format!("/dashboard/{list}?{query}")).await;
                let (said, live) = (page.contains("reload the page"), page.contains("data-live"));
                assert_eq!((said, live), (stands_still, !stands_still), "{list}?{query}");
            }
        }

        for number in 0..55 {
            client
                .enqueue(
                    "/take",
                    &json!({ "html": format!("<p>{number}"), "viewport_width": 20, "viewport_height": 20 }),
                )
                .await;
        }
        let first = operator.page("/dashboard/requests").await;
        assert_eq!(ids(&first, "requests").len(), 50);
        let older = first.split_once("class=\"next\" href=\"").unwrap().1.split('"').next().unwrap().to_owned();
        let second = operator.page(&older.replace("&amp;", "&")).await;
        assert_eq!(ids(&second, "requests").len(), 7);
        assert!(second.contains("Newest") && !second.contains("Older"));
    });
}

#[test]
fn a_request_shows_its_story_and_can_be_retried_and_cancelled() {
    run(async {
        let stack = Stack::builder().start();
        let (client, site) = (stack.client(), Site::start());
        let options = json!({
            "url": site.url("/status/404"), "authorization": "Bearer open-sesame", "cookies": ["a=open-sesame"],
            "viewport_width": 321
        });
        let id = client.enqueue("/take", &options).await;
        client.request_when(&id, "an end", s(30), |view| view["finished_at"].is_string()).await;
        let operator = Operator::new(&stack).await;
        let page = operator.page(&format!("/dashboard/requests/{id}")).await;
        for part in [
            "host_returned_error",
            "/docs/errors/host-returned-error",
            "viewport.width",
            "321",
            "attempt 1",
            "accepted",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
        assert!(!page.contains("sesame"), "a secret is shown");
        let again = operator.post(&format!("/dashboard/requests/{id}/retry"), &[]).await.expect(303);
        let new = led_to(&again).rsplit('/').next().unwrap().to_owned();
        assert_ne!(new, id);
        let view = client.request_when(&new, "an end", s(30), |view| view["finished_at"].is_string()).await;
        assert_eq!(view["target"], json!(site.url("/status/404")));
        let said = operator.post(&format!("/dashboard/requests/{id}/cancel"), &[]).await.expect(409).text();
        assert!(said.contains("it is failed"), "{said}");

        let slow = client.enqueue("/take", &json!({ "url": site.url("/never"), "timeout": 60 })).await;
        operator.post(&format!("/dashboard/requests/{slow}/cancel"), &[]).await.expect(303);
        assert_eq!(client.request(&slow).await["state"], "cancelled");
        operator.get("/dashboard/requests/req_0").await.expect(404);
        operator.post("/dashboard/requests/req_0/retry", &[]).await.expect(404);

        let good = client.enqueue("/take", &json!({ "html": "<p>x", "format": "png" })).await;
        client.done(&good, s(30)).await;
        let page = operator.page(&format!("/dashboard/requests/{good}")).await;
        let picture = page.split_once("img src=\"").unwrap().1.split('"').next().unwrap().to_owned();
        let file = operator.get(&picture).await.expect(200);
        assert_eq!(file.header("content-type"), "image/png");
        assert!(file.header("content-security-policy").contains("sandbox"));
        let download = page.split_once("class=\"button\" href=\"").unwrap().1.split('"').next().unwrap().to_owned();
        assert_eq!(operator.get(&download).await.expect(200).body, file.body, "the download is the picture");
        assert!(!page.contains("was not kept"));
        let paper = client.enqueue("/take", &json!({ "html": "<p>x", "format": "pdf" })).await;
        client.done(&paper, s(30)).await;
        let page = operator.page(&format!("/dashboard/requests/{paper}")).await;
        assert!(page.contains("Open the pdf file") && !page.contains("<img"), "{page}");

        let blocked = json!({ "html": "<img src=http://169.254.169.254/latest/meta-data>" });
        let answer = client.take(&blocked).await.expect(200);
        let id = answer.header("x-snaphook-request-id");
        let page = operator.page(&format!("/dashboard/requests/{id}")).await;
        for part in
            ["It went to its caller and was not kept.", "Refused connections", "169.254.169.254:80", "not allowed ("]
        {
            assert!(page.contains(part), "{part}: {page}");
        }
        operator
            .post(&format!("/dashboard/access/{}/revoke", client.key.access_key), &[("sure", "yes")])
            .await
            .expect(303);
        operator.post(&format!("/dashboard/requests/{good}/retry"), &[]).await.expect(409);
    });
}

#[test]
fn what_strangers_write_is_shown_and_not_run() {
    run(async {
        let evil = "\"><script src=//evil.example></script><img src=x onerror=alert(1)>'";
        let stack = Stack::builder().set("SNAPHOOK_WEBHOOK_SCHEDULE_SECONDS", "0").start();
        let (client, receiver) = (stack.client(), Receiver::start());
        receiver.behave(Behaviour::Status(500));
        let options = json!({
            "html": format!("<p>{evil}"), "webhook_url": format!("{}?x=%22%3E%3Cscript%3E'<b>", receiver.url()),
            "styles": evil, "response_type": "json",
        });
        let id = client.enqueue("/take", &options).await;
        client.request_when(&id, "given up", s(30), |view| view["webhook"]["state"] == "dead").await;
        let operator = Operator::new(&stack).await;
        let created = operator.post("/dashboard/access/create", &[("name", evil)]).await.expect(200).text();
        let missing = operator.get("/dashboard/requests/%3Cscript%3E").await.expect(404).text();
        let odd = operator.get("/dashboard/requests?since=%3Cscript%3E").await.expect(400).text();
        let mut pages = vec![created, missing, odd];
        let query = "?state=%3Cscript%3E&key=%22%3E%3Cscript%3E&text=%22%3E%3Cscript%3E&url=%22%3E%3Cscript%3E&before=zzz&said=%3Cscript%3E&range=%3Cscript%3E";
        for path in ["requests", "deliveries", "access", "usage", "storage", "health"] {
            pages.push(operator.page(&format!("/dashboard/{path}")).await);
            pages.push(operator.page(&format!("/dashboard/{path}{query}")).await);
        }
        pages.push(operator.page(&format!("/dashboard/requests/{id}")).await);
        pages.push(operator.page(&format!("/dashboard/deliveries/{}", id.replace("req_", "msg_"))).await);
        for page in &pages {
            let (scripts, ours) =
                (page.matches("<script").count(), page.matches("<script src=\"/dashboard/assets/live.js").count());
            assert!(scripts == ours && !page.contains("<img src=x"), "{page}");
        }
        assert!(pages.iter().any(|page| page.contains("&lt;script src=//evil.example&gt;")), "it is shown as text");
    });
}

#[test]
fn deliveries_are_shown_with_what_was_sent_and_replayed() {
    run(async {
        let stack = Stack::builder().set("SNAPHOOK_WEBHOOK_SCHEDULE_SECONDS", "0").start();
        let (client, receiver) = (stack.client(), Receiver::start());
        receiver.behave(Behaviour::Status(500));
        let mut made = Vec::new();
        for _ in 0..2 {
            let id = client.enqueue("/v1/screenshot", &json!({ "html": "<p>x", "webhook_url": receiver.url() })).await;
            client.request_when(&id, "given up", s(30), |view| view["webhook"]["state"] == "dead").await;
            made.insert(0, id.replace("req_", "msg_"));
        }
        let operator = Operator::new(&stack).await;
        let dead = operator.page("/dashboard/deliveries?state=dead").await;
        assert_eq!(ids(&dead, "deliveries"), made);
        assert!(dead.contains("Replay all dead"));
        let page = operator.page(&format!("/dashboard/deliveries/{}", made[0])).await;
        for part in ["the schedule is over", ">500<", "application/json", "&quot;created&quot;"] {
            assert!(page.contains(part), "{part}: {page}");
        }
        // And what the attempt alone had, as it came to the receiver.
        let first = receiver.all().into_iter().find(|webhook| webhook.header("webhook-id") == made[0]).unwrap();
        for name in ["webhook-timestamp", "webhook-signature", "x-screenshotone-signature"] {
            assert!(
                page.contains(&format!("<code>{name}</code>")) && page.contains(first.header(name)),
                "{name}: {page}"
            );
        }
        assert!(!page.contains(&client.key.secret_key));
        let listed = client.get_with_key("/v1/deliveries").await.expect(200).json();
        let shown = stack.run_command(&["webhooks", "show", &made[0], "--json"]);
        let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
        for delivery in [&listed["deliveries"][0], &shown] {
            assert_eq!(delivery["attempts"][0]["headers"]["webhook-signature"], first.header("webhook-signature"));
        }
        receiver.behave(Behaviour::Status(204));
        operator.post(&format!("/dashboard/deliveries/{}/replay", made[0]), &[]).await.expect(303);
        receiver.wait_for(3, s(15)).await;
        let none = operator.post("/dashboard/deliveries/replay", &[("key", "somebody")]).await.expect(303);
        assert_eq!(none.header("location"), "/dashboard/deliveries?replayed=0");
        let one = operator.post("/dashboard/deliveries/replay", &[("url", &receiver.url())]).await.expect(303);
        assert_eq!(one.header("location"), "/dashboard/deliveries?replayed=1");
        receiver.wait_for(4, s(15)).await;
        wait::until("all delivered", s(15), async || {
            (ids(&operator.page("/dashboard/deliveries?state=delivered").await, "deliveries").len() == 2).then_some(())
        })
        .await;
        operator.post("/dashboard/deliveries/msg_0/replay", &[]).await.expect(404);
    });
}

/// The secret on a page that shows one.
fn secret(page: &str) -> KeyPair {
    let codes: Vec<&str> = page.split("<code>").skip(1).map(|rest| rest.split('<').next().unwrap()).collect();
    KeyPair { access_key: codes[0].to_owned(), secret_key: codes[1].to_owned() }
}

#[test]
fn keys_are_made_imported_limited_rotated_and_revoked() {
    run(async {
        let stack = Stack::builder().start();
        let operator = Operator::new(&stack).await;
        let page = operator
            .post("/dashboard/access/create", &[("name", "shop"), ("monthly_quota", "1")])
            .await
            .expect(200)
            .text();
        let made = Client::new(&stack.api, &secret(&page));
        let html = "html=%3Cp%3Ex&format=png&viewport_width=20&viewport_height=20";
        made.get(&made.signed("/take", html)).await.expect(200);
        assert!(!operator.page("/dashboard/access").await.contains(&made.key.secret_key), "shown once");
        let path = format!("/dashboard/access/{}", made.key.access_key);
        let of_key = |action: &str| format!("{path}/{action}");
        made.take(&json!({ "html": "<p>y" })).await.expect(400);
        operator.post(&of_key("limits"), &[("monthly_quota", "x")]).await.expect(400);
        operator.post(&of_key("limits"), &[("monthly_quota", ""), ("concurrency", "3")]).await.expect(303);
        made.take(&json!({ "html": "<p>y" })).await.expect(200);
        let page = operator.page(&path).await;
        assert!(page.contains("name=\"concurrency\" value=\"3\"") && page.contains("shop"), "{page}");

        made.get(&format!("/take?access_key={}&{html}", made.key.access_key)).await.expect(200);
        operator.post(&of_key("signing"), &[("require_signed", "yes")]).await.expect(303);
        made.get(&format!("/take?access_key={}&{html}", made.key.access_key)).await.expect(400);

        let page = operator.post(&of_key("rotate"), &[("overlap_hours", "1")]).await.expect(200).text();
        let rotated = made.with_key(&secret(&page));
        assert_eq!(rotated.key.access_key, made.key.access_key);
        for client in [&made, &rotated] {
            client.get(&client.signed("/take", html)).await.expect(200);
        }
        operator.post(&of_key("rotate"), &[("overlap_hours", "-1")]).await.expect(400);
        operator.post(&of_key("rotate"), &[("overlap_hours", "0")]).await.expect(200);
        rotated.get(&rotated.signed("/take", html)).await.expect(400);

        operator.post(&of_key("revoke"), &[]).await.expect(400);
        operator.post(&of_key("revoke"), &[("sure", "yes")]).await.expect(303);
        made.get_with_key("/v1/requests").await.expect(401);
        operator.post(&of_key("revoke"), &[("sure", "yes")]).await.expect(404);

        let pair = [("access_key", "from-a-vendor"), ("secret_key", "its secret"), ("name", "")];
        operator.post("/dashboard/access/import", &pair).await.expect(303);
        operator.post("/dashboard/access/import", &pair).await.expect(409);
        operator.post("/dashboard/access/import", &[("access_key", "a b"), ("secret_key", "x")]).await.expect(400);
        for odd in ["", &"x".repeat(513)] {
            operator.post("/dashboard/access/import", &[("access_key", "ab"), ("secret_key", odd)]).await.expect(400);
        }
        let key = KeyPair { access_key: "from-a-vendor".to_owned(), secret_key: "its secret".to_owned() };
        let imported = Client::new(&stack.api, &key);
        imported.get(&imported.signed("/take", html)).await.expect(200);
    });
}

#[test]
fn usage_and_health_show_what_was_done_and_what_is_kept() {
    run(async {
        let stack = Stack::builder().start();
        let (client, site, receiver) = (stack.client(), Site::start(), Receiver::start());
        receiver.behave(Behaviour::Status(410));
        let options = json!({ "html": "<p>x", "webhook_url": receiver.url() });
        let id = client.enqueue("/v1/screenshot", &options).await;
        client.request_when(&id, "given up", s(30), |view| view["webhook"]["state"] == "dead").await;
        client.take(&json!({ "html": "<p>x" })).await.expect(200);
        client.take(&json!({ "url": site.url("/status/404") })).await.expect(500);
        let operator = Operator::new(&stack).await;
        for range in ["day", "week", "month"] {
            let page = operator.page(&format!("/dashboard/usage?range={range}")).await;
            for part in [
                "<dt>Requests</dt><dd>3</dd>",
                "<dt>Done</dt><dd>2</dd>",
                "33.3 %",
                "<dt>Renders</dt><dd>2",
                "3 came, 2 done, 1 failed, 0 cancelled; 2 renders",
                "<path class=\"renders\"",
                "data-label=\"Renders\">2<",
                "<path class=\"came\"",
                "<circle class=\"p95\"",
            ] {
                assert!(page.contains(part), "{range}: {part}: {page}");
            }
        }
        let nobody = operator.page("/dashboard/usage?key=nobody").await;
        assert!(nobody.contains("<dt>Requests</dt><dd>0</dd>") && nobody.contains(&client.key.access_key));

        let health = operator.page("/dashboard/health").await;
        for part in [
            "Work can be done",
            env!("CARGO_PKG_VERSION"),
            "Chrom",
            "href=\"/dashboard/storage\">1, ",
            "disabled",
            &receiver.url(),
        ] {
            assert!(health.contains(part), "{part}: {health}");
        }
        let storage = operator.page("/dashboard/storage").await;
        let files = stack.data_dir().join("files").display().to_string();
        for part in [
            "<dt>Files</dt><dd>1</dd>",
            &files,
            " free of ",
            "7 days",
            "30 days",
            &client.key.access_key,
            &id,
            "in 6 days",
        ] {
            assert!(storage.contains(part), "{part}: {storage}");
        }
        assert!(!storage.contains(&client.key.secret_key));
        let (url, key) = (hidden(&health, "url").unwrap(), hidden(&health, "key").unwrap());
        operator.post("/dashboard/health/enable", &[("url", &url), ("key", &key)]).await.expect(303);
        operator.post("/dashboard/health/enable", &[("url", &url), ("key", &key)]).await.expect(409);
        assert!(operator.page("/dashboard/health").await.contains("every receiver took its last webhook"));
    });
}

#[test]
fn assets_may_be_kept_and_need_no_session() {
    run(async {
        let stack = Stack::builder().start();
        let client = stack.client();
        let login = client.get("/dashboard/login").await.expect(200).text();
        let style = login.split_once("rel=\"stylesheet\" href=\"").unwrap().1.split('"').next().unwrap().to_owned();
        for (path, kind) in [
            (style.as_str(), "text/css"),
            ("/dashboard/assets/live.js", "text/javascript"),
            ("/dashboard/assets/icon.svg", "image/svg+xml"),
        ] {
            let answer = client.get(path).await.expect(200);
            assert!(
                answer.header("content-type").starts_with(kind) && answer.header("cache-control").contains("immutable")
            );
            assert!(!answer.text().contains("http://") || path.ends_with("svg"), "nothing from elsewhere");
        }
        client.get("/dashboard/assets/mod.rs").await.expect(404);
        client.send(Method::POST, "/dashboard/assets/live.js", &[], None).await.expect(403);
    });
}
