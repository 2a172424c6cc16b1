//! A server that speaks as Azure Blob Storage does (Azurite), with one container in a folder of its own.

use std::process::Command;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use tempfile::TempDir;

use crate::part::Part;
use crate::{repository, runtime, wait};

/// The account that every Azurite has.
pub const ACCOUNT: &str = "devstoreaccount1";
pub const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A running server; it and its blobs end when this is dropped.
pub struct Azure {
    /// With the account, as clients want it.
    pub endpoint: String,
    _server: Part,
    _folder: TempDir,
}

impl Azure {
    /// One with an empty container.
    pub fn start(container: &str) -> Azure {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = Command::new("node");
        command
            .arg(repository("tests/sdk/node_modules/azurite/dist/src/blob/main.js"))
            .args(["--blobHost", "127.0.0.1", "--blobPort", "0", "--skipApiVersionCheck", "--disableTelemetry"])
            .arg("--location")
            .arg(folder.path());
        let server = Part::start("azurite", &mut command).unwrap_or_else(|error| panic!("{error}"));
        let mut endpoint = String::new();
        let listens = wait::blocking(Duration::from_secs(60), || {
            let log = server.log();
            let url = log.lines().find_map(|line| line.split_once("successfully listens on ")).map(|(_, url)| url);
            endpoint = url.map_or_else(String::new, |url| format!("{}/{ACCOUNT}", url.trim()));
            !endpoint.is_empty()
        });
        assert!(listens, "{}", server.log());
        let azure = Azure { endpoint, _server: server, _folder: folder };
        azure.make(container);
        azure
    }

    /// `PUT <container>?restype=container`, signed by Shared Key.
    fn make(&self, container: &str) {
        let date = httpdate::fmt_http_date(SystemTime::now());
        let version = "2021-08-06";
        // The method, eleven headers that there are not, those of the protocol, and what it is about.
        let text = format!(
            "PUT{}x-ms-date:{date}\nx-ms-version:{version}\n/{ACCOUNT}/{ACCOUNT}/{container}\nrestype:container",
            "\n".repeat(12)
        );
        let key = BASE64.decode(KEY).expect("base64");
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key);
        let signature = BASE64.encode(ring::hmac::sign(&key, text.as_bytes()));
        let url = format!("{}/{container}?restype=container", self.endpoint);
        let request = reqwest::Client::new()
            .put(url)
            .header("x-ms-date", date)
            .header("x-ms-version", version)
            .header("authorization", format!("SharedKey {ACCOUNT}:{signature}"))
            .header("content-length", 0);
        let made = std::thread::scope(|scope| {
            scope.spawn(|| runtime().block_on(async { request.send().await })).join().expect("a thread")
        });
        let made = made.expect("an answer");
        assert_eq!(made.status(), 201, "{made:?}");
    }
}
