//! Which settings hold, and who said so; secrets stay secret.

use std::path::Path;

use toml::{Table, Value};

use super::{ConfigError, merge, override_from, read};

/// Settings that are never shown.
const SECRETS: [&str; 5] =
    ["root_key", "edge.secrets", "queue.database_url", "store.secret_access_key", "telemetry.otlp_endpoint"];
/// Variables with our prefix that are no settings.
const NO_SETTINGS: [&str; 8] = [
    "SNAPHOOK_ACCESS_KEY",
    "SNAPHOOK_CONFIG",
    "SNAPHOOK_FAULTS",
    "SNAPHOOK_IMPORT_SECRET_KEY",
    "SNAPHOOK_SERVER",
    "SNAPHOOK_WEBHOOK_SECRET",
    "SNAPHOOK_WITHOUT",
    "SNAPHOOK_ZONE",
];
const REDACTED: &str = "(secret)";

/// One setting as it holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Effective {
    /// Its path: `http.listen`.
    pub name: String,
    /// As TOML writes it; a secret that is set is not shown.
    pub value: String,
    /// The default, a file or a variable.
    pub origin: String,
}

/// All settings, sorted by name, whether or not they are valid together.
///
/// # Errors
/// When the file cannot be read, or a variable has another type than its setting.
pub fn effective(
    file: Option<&Path>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<Effective>, ConfigError> {
    let (mut settings, over) = read(file)?;
    if let Some((_, over)) = &over {
        merge(&mut settings, over.clone());
    }
    override_from(&mut settings, "SNAPHOOK", environment)?;
    let origin = |name: &str| {
        let variable = variable(name);
        if environment(&variable).is_some() {
            return variable;
        }
        let file = over.as_ref().filter(|(_, table)| is_set(table, name));
        file.map_or_else(|| "default".to_owned(), |(path, _)| path.display().to_string())
    };
    let mut all = Vec::new();
    for_each(&settings, "", &mut |name, value| {
        let is_empty = matches!(value, Value::String(text) if text.is_empty())
            || matches!(value, Value::Array(items) if items.is_empty());
        let value = match SECRETS.contains(&name) && !is_empty {
            true => REDACTED.to_owned(),
            false => value.to_string(),
        };
        all.push(Effective { name: name.to_owned(), value, origin: origin(name) });
    });
    Ok(all)
}

/// Variables that look like settings of ours and are none, so that they change nothing.
pub fn unknown_variables(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut known: Vec<String> = NO_SETTINGS.map(str::to_owned).to_vec();
    if let Ok((defaults, _)) = read(Some(Path::new("/dev/null"))) {
        for_each(&defaults, "", &mut |name, _| known.push(variable(name)));
    }
    // Kubernetes gives these to every container beside a Service of our name.
    let of_a_cluster = |name: &str| {
        name == "SNAPHOOK_PORT" || ["SNAPHOOK_PORT_", "SNAPHOOK_SERVICE_"].iter().any(|start| name.starts_with(start))
    };
    names.filter(|name| name.starts_with("SNAPHOOK_") && !known.contains(name) && !of_a_cluster(name)).collect()
}

fn variable(name: &str) -> String {
    format!("SNAPHOOK_{}", name.replace('.', "_").to_uppercase())
}

fn is_set(table: &Table, name: &str) -> bool {
    match name.split_once('.') {
        Some((first, rest)) => table.get(first).and_then(Value::as_table).is_some_and(|inner| is_set(inner, rest)),
        None => table.contains_key(name),
    }
}

fn for_each(table: &Table, prefix: &str, each: &mut impl FnMut(&str, &Value)) {
    for (key, value) in table {
        let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            Value::Table(inner) => for_each(inner, &name, each),
            value => each(&name, value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_has_its_origin_and_no_secret_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("test.toml");
        let secret = "0123456789abcdef0123456789abcdef";
        std::fs::write(
            &file,
            format!("root_key = \"{secret}\"\n[queue]\ndatabase_url = \"{secret}\"\n[store]\nsecret_access_key = \"{secret}\"\nregion = \"x\"\n"),
        )
        .unwrap();
        let environment = |name: &str| match name {
            "SNAPHOOK_EDGE_SECRETS" => Some(format!("a:{secret}")),
            "SNAPHOOK_HTTP_LISTEN" => Some("127.0.0.1:9".to_owned()),
            "SNAPHOOK_TELEMETRY_OTLP_ENDPOINT" => Some(format!("https://otlp.example.com/{secret}")),
            _ => None,
        };
        let all = effective(Some(&file), &environment).unwrap();
        let find = |name: &str| all.iter().find(|one| one.name == name).unwrap();
        assert_eq!(
            (find("http.listen").value.as_str(), find("http.listen").origin.as_str()),
            ("\"127.0.0.1:9\"", "SNAPHOOK_HTTP_LISTEN")
        );
        assert_eq!(find("store.region").origin, file.display().to_string());
        assert_eq!(find("queue.capacity").origin, "default");
        for name in SECRETS {
            assert_eq!(find(name).value, REDACTED, "{name}");
        }
        assert!(!format!("{all:?}").contains(secret));
        // Whatever is a Secret in the settings must be in the list.
        let source = include_str!("mod.rs");
        let secrets = source.lines().filter(|line| {
            line.starts_with("    ") && line.contains(": ") && line.contains("Secret") && line.ends_with(',')
        });
        assert_eq!(secrets.count(), SECRETS.len());
    }

    #[test]
    fn a_variable_with_a_slip_is_found() {
        let names = ["SNAPHOOK_HTTP_LISTEN", "SNAPHOOK_HTPP_LISTEN", "SNAPHOOK_CONFIG", "PATH"].map(str::to_owned);
        assert_eq!(unknown_variables(names.into_iter()), ["SNAPHOOK_HTPP_LISTEN"]);
    }
}
