//! The playground of the dashboard: what its form renders, what it says is wrong, and that the code which it shows is the same
//! request, in every language that is at hand.

use std::path::Path;
use std::process::Command;

use http::Method;
use serde_json::{Value as Json, json};
use snaphook_tests::client::Client;
use snaphook_tests::operator::{Operator, form, new_password};
use snaphook_tests::site::Site;
use snaphook_tests::stack::Stack;
use snaphook_tests::wait::s;
use snaphook_tests::{repository, run};

use crate::dashboard_browser::browser;
use crate::programs;

/// Texts that quoting gets wrong easily. They are one line each, as the items of a list are in the form.
const NASTY: [&str; 7] = [
    "it's \"quoted\" 'twice' \\ \\n \\\" \\' \\\\",
    "$HOME ${HOME} $(id) `id` {$x} #{x} ${'x'} %s %n 100%25 %%",
    "!history !! ~ * ? [a] {a,b} ; & | < > # \\$ ^ +",
    "é ü ☃ 👩‍👩‍👧 漢字 \u{202e}turned\u{202c} \u{2028} \u{feff} \u{7f} \u{1b}[0m",
    "</script><!-- ?> <?php --> JSON EOF &amp; &lt;",
    "@/etc/passwd",
    "['a', \"b\"]",
];

/// How a snippet is run, once it is in a file.
struct Language {
    name: &'static str,
    /// Says by its exit code whether the language is there.
    probe: &'static str,
    file: &'static str,
    command: &'static [&'static str],
}

const LANGUAGES: [Language; 5] = [
    Language { name: "curl", probe: "command -v curl", file: "main.sh", command: &["sh", "main.sh"] },
    Language { name: "JavaScript", probe: "command -v node", file: "main.mjs", command: &["node", "main.mjs"] },
    Language { name: "Python", probe: "command -v python3", file: "main.py", command: &["python3", "main.py"] },
    Language { name: "Go", probe: "command -v go", file: "main.go", command: &["go", "run", "main.go"] },
    Language { name: "PHP", probe: "php -m | grep -qi '^curl$'", file: "main.php", command: &["php", "main.php"] },
];

impl Language {
    fn is_at_hand(&self) -> bool {
        Command::new("sh").args(["-c", self.probe]).output().is_ok_and(|output| output.status.success())
    }

    /// Runs the code in a folder of its own, and gives what it has said.
    fn run(&self, code: &str, access_key: &str, folder: &Path) -> String {
        std::fs::write(folder.join(self.file), code).unwrap();
        let mut command = Command::new(self.command[0]);
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
            command.env_remove(name);
        }
        let output = command
            .args(&self.command[1..])
            .current_dir(folder)
            .env("SNAPHOOK_ACCESS_KEY", access_key)
            .env("GOCACHE", folder.join("cache"))
            .env("LC_ALL", "C.UTF-8")
            .output()
            .unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{}: {out}{err}\n{code}", self.name);
        out.into_owned()
    }
}

/// A text of a page as a browser reads it.
fn unescape(html: &str) -> String {
    html.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
}

/// The code that a page shows for a language.
#[track_caller]
fn code(page: &str, label: &str) -> String {
    let start = format!("aria-label=\"Code: {label}\">");
    let rest = page.split_once(&start).unwrap_or_else(|| panic!("no {label}: {page}")).1;
    unescape(rest.split_once("</pre>").unwrap().0)
}

/// What a page says beside a field; empty if it says nothing.
#[track_caller]
fn beside(page: &str, parameter: &str) -> String {
    let rest = page.split_once(&format!("id=\"wrong-{parameter}\"")).unwrap_or_else(|| panic!("no {parameter}")).1;
    let text = rest.split_once('>').unwrap().1.split_once("</p>").unwrap().0;
    unescape(&text.replace("<span>", "").replace("</span>", "")).trim().to_owned()
}

/// The id of the request that a page is about.
#[track_caller]
fn request_id(page: &str) -> String {
    let (_, result) = page.split_once("id=\"result\"").unwrap();
    let (_, rest) = result.split_once("/dashboard/requests/").unwrap_or_else(|| panic!("no request: {result}"));
    rest.split('"').next().unwrap().to_owned()
}

/// The hash of all that was asked for, as the service keeps it.
fn fingerprint(stack: &Stack, id: &str) -> String {
    let database = rusqlite::Connection::open(stack.data_dir().join("snaphook.db")).unwrap();
    let find = "SELECT fingerprint FROM requests WHERE id = ?";
    database.query_row(find, [id], |row| row.get(0)).unwrap_or_else(|error| panic!("{id}: {error}"))
}

#[test]
fn what_the_form_asks_for_is_rendered_and_counts_for_its_key() {
    run(async {
        let stack = Stack::builder().start();
        let (site, operator) = (Site::start(), Operator::new(&stack).await);
        let key = stack.new_key();
        stack.keys(&["limits", &key.access_key, "--quota", "2", "--json"]);
        let caller = Client::new(&stack.api, &key);
        let page = site.url("/colors.html");
        let fields = [
            ("endpoint", "/take"),
            ("key", &key.access_key),
            ("url", &page),
            ("format", "png"),
            ("viewport_width", "120"),
            ("viewport_height", "80"),
        ];
        let said = operator.post("/dashboard/playground", &fields).await.expect(200).text();
        let picture = said.split_once("img src=\"/files/").unwrap().1.split('"').next().unwrap().to_owned();
        let file = caller.get(&format!("/files/{picture}")).await.expect(200);
        assert_eq!(file.header("content-type"), "image/png");
        assert!(said.contains("120 × 80") && said.contains("Took"), "{said}");
        let view = caller.request(&request_id(&said)).await;
        assert_eq!((&view["state"], &view["target"]), (&json!("done"), &json!(page)));
        assert!(operator.page(&format!("/dashboard/requests/{}", request_id(&said))).await.contains(" synchronous"));
        assert!(said.contains(&format!("value=\"{page}\"")), "the form keeps what was filled in");

        // What is accepted is rendered later, and what fails is explained.
        let later = [&fields[..], &[("async", "true")]].concat();
        let said = operator.post("/dashboard/playground", &later).await.expect(200).text();
        caller.done(&request_id(&said), s(30)).await;
        let limited = operator.post("/dashboard/playground", &fields).await.expect(400).text();
        assert!(limited.contains("screenshots_limit_reached") && limited.contains("/docs/errors/usage-quota-exceeded"));
        let missing = site.url("/status/404");
        let failing = [("key", stack.key.access_key.as_str()), ("url", &missing)];
        let said = operator.post("/dashboard/playground", &failing).await.expect(200).text();
        assert!(said.contains("host_returned_error") && said.contains("/docs/errors/host-returned-error"), "{said}");
        assert_eq!(stack.client().request(&request_id(&said)).await["state"], "failed");

        // A key that takes signed links only is no obstacle to the operator, and nothing shows its secret.
        stack.keys(&["import", "--access-key", "strict", "--secret-key", "hush-hush", "--require-signed", "--json"]);
        let strict = [("key", "strict"), ("html", "<p>x"), ("viewport_width", "20"), ("viewport_height", "20")];
        let said = operator.post("/dashboard/playground", &strict).await.expect(200).text();
        assert!(said.contains("img src=\"/files/") && !said.contains("hush"), "{said}");
        let file = stack.client().get(&code(&said, "Signed link")).await.expect(200);
        assert_eq!(file.header("content-type"), "image/jpeg");
        // A link to the page fills in its form, and renders nothing.
        let filled =
            operator.page("/dashboard/playground?endpoint=/v1/pdf&url=https://example.com/&pdf_landscape=true").await;
        assert!(
            filled.contains("value=\"https://example.com/\"")
                && code(&filled, "curl").contains("\"pdf_landscape\": true")
        );
        assert!(!filled.contains("href=\"/dashboard/requests/req_"));
    });
}

#[test]
fn all_that_is_wrong_is_said_beside_its_field() {
    run(async {
        let stack = Stack::builder().without_development().start();
        let operator = Operator::new(&stack).await;
        let say = async |path: &str, fields: &[(&str, &str)], status: u16| {
            operator.post(path, fields).await.expect(status).text()
        };
        let wrong = [
            ("url", "ftp://example.com"),
            ("viewport_width", "0"),
            ("viewport_height", "tall"),
            ("external_identifier", "a-b"),
            ("pdf_margin", "<b>wide"),
            ("geolocation_latitude", "5"),
        ];
        for (path, status) in [("/dashboard/playground", 400), ("/dashboard/playground/code", 200)] {
            let page = say(path, &wrong, status).await;
            for (parameter, part) in [
                ("url", "http|https"),
                ("viewport_width", "greater than or equal to 1"),
                ("viewport_height", "must be a number"),
                ("external_identifier", "alpha-numeric"),
                ("pdf_margin", "CSS length"),
                ("geolocation_longitude", "is required"),
            ] {
                let said = beside(&page, parameter);
                assert!(said.contains(part), "{parameter}: {said:?}");
                assert!(page.split(&format!("id=\"in-{parameter}\"")).nth(1).unwrap()[..400].contains("aria-invalid"));
            }
            assert_eq!(beside(&page, "format"), "");
            assert!(!page.contains("<b>wide"));
        }
        // The rules of where pages may lead hold here too, and what no field is to blame for is said above.
        let page = say("/dashboard/playground", &[("url", "http://127.0.0.1:1/")], 400).await;
        assert!(beside(&page, "url").contains("\"url\": "), "{}", beside(&page, "url"));
        let page = say("/dashboard/playground", &[("format", "png")], 400).await;
        assert!(page.contains("at least one of [html, url, markdown]"), "{page}");
        let page = say("/dashboard/playground/code", &[], 200).await;
        assert!(!page.contains("at least one of"), "an empty form is no mistake yet");
        let page = say("/dashboard/playground", &[("key", "nobody"), ("html", "x")], 400).await;
        assert!(page.contains("access_key_invalid"));
        let list = stack.client().get_with_key("/v1/requests").await.expect(200).json();
        assert_eq!(list["requests"], json!([]), "nothing of that was taken");
    });
}

#[test]
fn what_a_page_holds_is_shown_and_not_run() {
    run(async {
        let stack = Stack::builder().start();
        let (site, operator) = (Site::start(), Operator::new(&stack).await);
        let url = site.url("/evil.html");
        let evil = "\"><script src=//evil.example></script><img src=x onerror=alert(1)>'</textarea></pre>";
        for fields in [
            vec![("endpoint", "/v1/scrape"), ("url", &url), ("js_enabled", "false")],
            vec![("endpoint", "/take"), ("html", evil), ("format", "html"), ("styles", evil), ("hide_selectors", evil)],
            vec![("endpoint", evil), ("key", evil), ("language", evil), ("url", evil), ("delay", evil)],
        ] {
            for path in ["/dashboard/playground", "/dashboard/playground/code"] {
                let page = operator.post(path, &fields).await.text();
                let (scripts, ours) =
                    (page.matches("<script").count(), page.matches("<script src=\"/dashboard/assets/").count());
                assert_eq!((scripts, ours), (2, 2), "{page}");
                assert!(
                    !page.contains("<img src=x") && !page.contains("onerror=alert(1)>'</textarea></pre>"),
                    "{page}"
                );
            }
        }
        let page = operator.post("/dashboard/playground", &[("endpoint", "/v1/scrape"), ("url", &url)]).await.text();
        assert!(page.contains("class=\"content\"") && page.contains("&lt;body&gt;"), "as text: {page}");
        // A large request is taken as by the API, but only from a session.
        let long = "x".repeat(200_000);
        operator.post("/dashboard/playground/code", &[("html", &long)]).await.expect(200);
        let origin = stack.api.clone();
        let body = form(&[("html", &long)]);
        let answer =
            stack.client().send(Method::POST, "/dashboard/playground", &[("origin", &origin)], Some(body)).await;
        answer.expect(401);
    });
}

#[test]
fn each_snippet_makes_the_same_request() {
    run(async {
        let stack = Stack::builder().start();
        let (client, operator) = (stack.client(), Operator::new(&stack).await);
        let nasty = NASTY.join("\n\t");
        let lines = NASTY.join("\r\n");
        let fields = [
            ("endpoint", "/take"),
            ("key", client.key.access_key.as_str()),
            ("html", "<p>x"),
            ("styles", &nasty),
            ("user_agent", NASTY[0]),
            ("hide_selectors", &lines),
            ("cookies", NASTY[6]),
            ("wait_until.load", "on"),
            ("device_scale_factor", "1.5"),
            ("delay", "0"),
            ("block_ads", "false"),
            ("dark_mode", "true"),
            ("async", "true"),
        ];
        let options = json!({
            "html": "<p>x", "styles": nasty, "user_agent": NASTY[0], "hide_selectors": NASTY, "cookies": [NASTY[6]],
            "wait_until": ["load"], "device_scale_factor": 1.5, "delay": 0, "block_ads": false, "dark_mode": true,
        });
        let wanted = fingerprint(&stack, &client.enqueue("/take", &options).await);
        let page = operator.post("/dashboard/playground", &fields).await.expect(200).text();
        assert_eq!(fingerprint(&stack, &request_id(&page)), wanted, "the playground's own request");

        let at_hand: Vec<&Language> = LANGUAGES.iter().filter(|language| language.is_at_hand()).collect();
        let needed = if crate::programs::every_language() { LANGUAGES.len() } else { 3 };
        assert!(at_hand.len() >= needed, "curl, Node.js and Python are always at hand, and {needed} are needed");
        for language in &at_hand {
            let folder = tempfile::tempdir().unwrap();
            let code = code(&page, language.name);
            let said = language.run(&code, &client.key.access_key, folder.path());
            let accepted: Json = serde_json::from_str(said.trim()).unwrap_or_else(|error| panic!("{error}: {said}"));
            let id = accepted["id"].as_str().unwrap_or_else(|| panic!("{}: {said}", language.name));
            assert_eq!(fingerprint(&stack, id), wanted, "{}: {code}", language.name);
        }
        let link = code(&page, "Signed link");
        assert!(link.starts_with(&stack.api) && link.contains("signature=") && !page.contains(&client.key.secret_key));
        let accepted = client.send(Method::GET, &link, &[], None).await.expect(202);
        assert_eq!(fingerprint(&stack, accepted.header("x-snaphook-request-id")), wanted, "{link}");
        let changed = link.replace("dark_mode=true", "dark_mode=false");
        client.send(Method::GET, &changed, &[], None).await.expect(400);

        // The file of a request that is waited for; both dialects.
        for endpoint in ["/take", "/v1/screenshot"] {
            let fields = [("endpoint", endpoint), ("html", "<p>x"), ("format", "png"), ("viewport_width", "64")];
            let page = operator.post("/dashboard/playground/code", &fields).await.expect(200).text();
            for language in &at_hand {
                let folder = tempfile::tempdir().unwrap();
                language.run(&code(&page, language.name), &client.key.access_key, folder.path());
                let file = std::fs::read(folder.path().join("result.png")).unwrap();
                assert!(file.starts_with(b"\x89PNG"), "{} {endpoint}", language.name);
            }
        }
    });
}

#[test]
fn an_operator_plays() {
    run(async {
        let stack = Stack::builder().start();
        let site = Site::start();
        let said = programs::ask(
            "node",
            "playground.mjs",
            &json!({
                "base": stack.api,
                "password": new_password(&stack),
                "executable": browser(),
                "sandbox": !rustix::process::geteuid().is_root(),
                "pictures": repository("target/test-artefacts/dashboard"),
                "page": site.url("/article.html"),
                "missing": site.url("/status/404"),
            }),
        );
        assert_eq!(said["violations"], json!([]), "axe: {:#}", said["violations"]);
        assert_eq!((&said["console"], &said["overflowing"]), (&json!([]), &json!([])));
        assert_eq!(said["pages"].as_array().unwrap().len(), 8, "done and wrong, in light and dark, wide and narrow");
        let text = |name: &str| said[name].as_str().unwrap_or_else(|| panic!("{name}: {said:#}")).to_owned();
        assert!(
            text("curl").contains("\"format\": \"png\"") && text("curl").contains("$HOME \\\\ `id`"),
            "{}",
            text("curl")
        );
        assert!(text("python").contains("urllib.request") && said["languageKept"] == true);
        for (tab, part) in [("JavaScript", "await fetch("), ("PHP", "curl_init("), ("Signed link", "&signature=")] {
            assert!(said["tabs"][tab].as_str().is_some_and(|code| code.contains(part)), "{tab}: {}", said["tabs"]);
        }
        assert_eq!((&said["size"], &said["stayed"]), (&json!([1280, 1024]), &json!("/dashboard/playground")));
        assert!(text("request").starts_with("/dashboard/requests/req_"));
        assert!(said["wrong"][0].as_str().unwrap().contains("less than or equal to 16384"), "{}", said["wrong"]);
        assert!(said["wrong"][1].as_str().unwrap().contains("http|https"), "{}", said["wrong"]);
        assert_eq!((&said["described"], &said["focused"]), (&json!(["true", true]), &json!("in-url")));
        assert_eq!((&said["set"], &said["live"]), (&json!("1 set"), &json!([640, 333])));
        assert!(text("failed").contains("host_returned_error"));
        assert_eq!(text("explained"), "/docs/errors/host-returned-error");
        assert_eq!(text("kept"), "333");
        assert!(text("text").contains("<html"), "{}", text("text"));
        assert_eq!(said["fitting"], json!(["user_agent"]));
        assert!(text("plainWrong").contains("\"full_page_scroll\" is not allowed"));
        assert_eq!(said["plainSize"], json!(["320", "200"]));
        assert!(text("plainGo").contains("package main"));
    });
}
