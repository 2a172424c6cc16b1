//! `docs/configuration.md`: every setting with its default, its variable and its reason, made of the commented default file.

use std::fmt::Write;

use super::DEFAULTS;

/// A table for each section, as Markdown.
pub fn reference() -> String {
    let mut text = String::from(
        "# Configuration\n\n\
         Made of [`backend/config.default.toml`](../backend/config.default.toml) by `snaphook config reference > docs/configuration.md`;\n\
         a test keeps it up to date. A file given with `--config` (or `./snaphook.toml`, if it is there) changes what it names, and a\n\
         variable changes one setting over that. `snaphook config print` shows what holds, and `snaphook config check` whether it can.\n",
    );
    let mut section = None;
    for setting in all_settings() {
        if section.as_ref() != Some(&setting.section) {
            if !setting.section.is_empty() {
                let _ = write!(text, "\n## [{}]\n", setting.section);
            }
            text.push_str(HEAD);
            section = Some(setting.section.clone());
        }
        let meaning = if setting.is_as_above { "as above".to_owned() } else { setting.meaning.replace('|', "\\|") };
        let _ = writeln!(text, "| `{}` | `{}` | `{}` | {meaning} |", setting.key, setting.default, setting.variable());
    }
    text
}

/// One entry of the default file.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Empty for those before the first.
    pub section: String,
    pub key: String,
    /// As it is written in the file.
    pub default: String,
    pub meaning: String,
    /// Whether it shares the meaning of the one before.
    is_as_above: bool,
}

impl Setting {
    /// `render.concurrency`
    pub fn name(&self) -> String {
        self.path().join(".")
    }

    /// `SNAPHOOK_RENDER_CONCURRENCY`
    pub fn variable(&self) -> String {
        format!("SNAPHOOK_{}", self.path().join("_").to_uppercase())
    }

    fn path(&self) -> Vec<&str> {
        [self.section.as_str(), &self.key].into_iter().filter(|part| !part.is_empty()).collect()
    }
}

/// Every setting there is, in the order of the default file.
pub fn all_settings() -> Vec<Setting> {
    let mut found = Vec::new();
    let (mut section, mut comment, mut is_new) = (String::new(), String::new(), true);
    // What stands before the first setting is about the file.
    let body = DEFAULTS.split_once("\n\n").map_or(DEFAULTS, |(_, body)| body);
    for line in body.lines().map(str::trim) {
        if let Some(words) = line.strip_prefix('#') {
            // A comment after a setting begins another one; one setting may follow another below the same comment.
            if !is_new {
                comment.clear();
                is_new = true;
            }
            comment = format!("{comment} {}", words.trim()).trim().to_owned();
        } else if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_owned();
            comment.clear();
        } else if let Some((key, default)) = line.split_once(" = ") {
            found.push(Setting {
                section: section.clone(),
                key: key.to_owned(),
                default: default.to_owned(),
                meaning: comment.clone(),
                is_as_above: !is_new,
            });
            is_new = false;
        }
    }
    found
}

const HEAD: &str = "\n| setting | default | variable | meaning |\n|---|---|---|---|\n";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::effective;

    #[test]
    fn the_reference_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
        let kept = std::fs::read_to_string(path).unwrap_or_default();
        assert!(kept == reference(), "run: cargo run -p snaphook -- config reference > docs/configuration.md");
    }

    #[test]
    fn every_setting_is_there_and_says_what_it_is() {
        let text = reference();
        for setting in effective(None, &|_| None).unwrap() {
            let (section, key) = setting.name.rsplit_once('.').unwrap_or(("", &setting.name));
            let part = match section {
                "" => text.split("\n## ").next(),
                section => text.split("\n## ").find(|part| part.starts_with(&format!("[{section}]"))),
            };
            let row = part.and_then(|part| part.lines().find(|line| line.starts_with(&format!("| `{key}` |"))));
            assert!(row.is_some_and(|row| !row.ends_with("|  |")), "{}: {row:?}", setting.name);
        }
    }
}
