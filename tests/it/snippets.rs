//! The functions of docs/verify-webhooks.md, each in its language, asked about a webhook that is good and about some that are not.

use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use snaphook_shared::secret::Secret;
use snaphook_shared::signing::webhook_headers;
use snaphook_tests::repository;

const SECRET: &str = "MW2vfkkgLTzGGw";
const BODY: &str = "{\"id\":\"req_1\",\"title\":\"☃\"}";

/// A language of the document, and the program around its function: it takes the webhook from the environment and says `true` or
/// `false`.
struct Language {
    name: &'static str,
    /// What runs it; the test is for those that are at hand.
    tool: &'static str,
    /// Where the function is written, and where the program.
    files: [&'static str; 2],
    program: &'static str,
    /// To be run one after the other.
    commands: &'static [&'static [&'static str]],
}

const LANGUAGES: [Language; 6] = [
    Language {
        name: "js",
        tool: "node",
        files: ["verify.mjs", "main.mjs"],
        program: "import { verify } from './verify.mjs';
            const { BODY, SECRET, ID, TIMESTAMP, SIGNATURE } = process.env;
            const headers = { 'webhook-id': ID, 'webhook-timestamp': TIMESTAMP, 'webhook-signature': SIGNATURE };
            console.log(verify(Buffer.from(BODY), headers, SECRET));",
        commands: &[&["node", "main.mjs"]],
    },
    Language {
        name: "python",
        tool: "python3",
        files: ["verify.py", "main.py"],
        program: "from os import environ as e
from verify import verify
headers = {'webhook-id': e['ID'], 'webhook-timestamp': e['TIMESTAMP'], 'webhook-signature': e['SIGNATURE']}
print(str(verify(e['BODY'].encode(), headers, e['SECRET'])).lower())",
        commands: &[&["python3", "main.py"]],
    },
    Language {
        name: "go",
        tool: "go",
        files: ["webhooks/verify.go", "main.go"],
        program: "package main
            import (\"fmt\"; \"net/http\"; \"os\"; \"snippet/webhooks\")
            func main() {
                header := http.Header{}
                header.Set(\"webhook-id\", os.Getenv(\"ID\"))
                header.Set(\"webhook-timestamp\", os.Getenv(\"TIMESTAMP\"))
                header.Set(\"webhook-signature\", os.Getenv(\"SIGNATURE\"))
                fmt.Println(webhooks.Verify([]byte(os.Getenv(\"BODY\")), header, os.Getenv(\"SECRET\")))
            }",
        commands: &[&["sh", "-c", "test -f go.mod || go mod init snippet"], &["go", "run", "."]],
    },
    Language {
        name: "php",
        tool: "php",
        files: ["verify.php", "main.php"],
        program: "<?php require 'verify.php';
            $headers = ['webhook-id' => getenv('ID'), 'webhook-timestamp' => getenv('TIMESTAMP'),
                'webhook-signature' => getenv('SIGNATURE')];
            echo verify(getenv('BODY'), $headers, getenv('SECRET')) ? 'true' : 'false';",
        commands: &[&["php", "main.php"]],
    },
    Language {
        name: "ruby",
        tool: "ruby",
        files: ["verify.rb", "main.rb"],
        program: "require_relative 'verify'
            headers = { 'webhook-id' => ENV['ID'], 'webhook-timestamp' => ENV['TIMESTAMP'],
                'webhook-signature' => ENV['SIGNATURE'] }
            puts verify(ENV['BODY'], headers, ENV['SECRET'])",
        commands: &[&["ruby", "main.rb"]],
    },
    Language {
        name: "java",
        tool: "javac",
        files: ["Webhooks.java", "Main.java"],
        program: "class Main {
                public static void main(String[] arguments) throws Exception {
                    var header = java.util.Map.of(\"webhook-id\", \"ID\", \"webhook-timestamp\", \"TIMESTAMP\",
                        \"webhook-signature\", \"SIGNATURE\");
                    byte[] body = System.getenv(\"BODY\").getBytes(java.nio.charset.StandardCharsets.UTF_8);
                    System.out.println(Webhooks.verify(body, name -> System.getenv(header.get(name)), System.getenv(\"SECRET\")));
                }
            }",
        commands: &[
            &["sh", "-c", "test -f Main.class || javac -encoding UTF-8 Webhooks.java Main.java"],
            &["java", "-Dfile.encoding=UTF-8", "-Dsun.jnu.encoding=UTF-8", "Main"],
        ],
    },
];

impl Language {
    fn is_at_hand(&self) -> bool {
        Command::new("sh")
            .args(["-c", &format!("command -v {}", self.tool)])
            .output()
            .is_ok_and(|output| output.status.success())
    }

    fn write(&self, document: &str, folder: &Path) {
        let fence = format!("```{}\n", self.name);
        let function = document.split_once(&fence).unwrap_or_else(|| panic!("no {} in the document", self.name)).1;
        for (file, text) in self.files.iter().zip([function.split_once("```").unwrap().0, self.program]) {
            let path = folder.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
    }

    fn says(&self, folder: &Path, webhook: &[(&str, String)]) -> String {
        let mut said = String::new();
        for command in self.commands {
            let output = Command::new(command[0])
                .args(&command[1..])
                .current_dir(folder)
                .env("GOCACHE", folder.join("cache"))
                .env("LC_ALL", "C.UTF-8")
                .envs(webhook.iter().map(|(name, value)| (*name, value)))
                .output()
                .unwrap();
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{}: {error}", self.name);
            said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        }
        said
    }
}

/// A webhook as it leaves, at a time.
fn webhook(timestamp: u64, secrets: &[&str]) -> Vec<(&'static str, String)> {
    let secrets: Vec<Secret> = secrets.iter().map(|secret| Secret::new(*secret)).collect();
    let headers = webhook_headers(&secrets, "msg_1", timestamp, BODY.as_bytes());
    let header = |name: &str| headers.iter().find(|(own, _)| *own == name).unwrap().1.clone();
    vec![
        ("BODY", BODY.to_owned()),
        ("SECRET", SECRET.to_owned()),
        ("ID", header("webhook-id")),
        ("TIMESTAMP", header("webhook-timestamp")),
        ("SIGNATURE", header("webhook-signature")),
    ]
}

#[test]
fn the_functions_of_the_document_tell_a_good_webhook_from_a_bad_one() {
    let document = std::fs::read_to_string(repository("docs/verify-webhooks.md")).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let other = |name: &str, value: &str| {
        let mut webhook = webhook(now, &[SECRET]);
        webhook.iter_mut().find(|(own, _)| *own == name).unwrap().1 = value.to_owned();
        webhook
    };
    let cases = [
        ("good", webhook(now, &[SECRET]), "true"),
        ("rotated", webhook(now, &["the new one", SECRET]), "true"),
        ("of another secret", webhook(now, &["another"]), "false"),
        ("another body", other("BODY", "{}"), "false"),
        ("another id", other("ID", "msg_2"), "false"),
        ("no signature", other("SIGNATURE", ""), "false"),
        ("no timestamp", other("TIMESTAMP", ""), "false"),
        ("too old", webhook(now - 1000, &[SECRET]), "false"),
        ("of tomorrow", webhook(now + 86_400, &[SECRET]), "false"),
    ];
    let mut tried = 0;
    for language in LANGUAGES.iter().filter(|language| language.is_at_hand()) {
        let folder = tempfile::tempdir().unwrap();
        language.write(&document, folder.path());
        for (what, webhook, expected) in &cases {
            assert_eq!(&language.says(folder.path(), webhook), expected, "{}: {what}", language.name);
        }
        tried += 1;
    }
    let needed = if crate::programs::every_language() { LANGUAGES.len() } else { 2 };
    assert!(tried >= needed, "{tried} of {needed} were tried; Node.js and Python are always at hand");
}
