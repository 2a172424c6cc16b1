//! Where an installation keeps things, as its operator is told.

use std::time::Duration;

use super::DATABASE;
use crate::config::Config;
use crate::dashboard::Places;

/// Without credentials.
pub(super) fn places(config: &Config) -> Places {
    // What is before an `@` in a URL is a user and a password.
    let bare = |url: &str| match url.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", rest.rsplit('@').next().unwrap_or_default()),
        None => url.to_owned(),
    };
    let (url, endpoint) = (&config.store.url, &config.store.endpoint);
    let files = match (url.is_empty(), endpoint.is_empty()) {
        (true, _) => config.data_dir.join("files").display().to_string(),
        (false, true) => bare(url),
        (false, false) => format!("{} at {}", bare(url), bare(endpoint)),
    };
    let database = match config.database_url() {
        Some(_) => "PostgreSQL".to_owned(),
        None => config.data_dir.join(DATABASE).display().to_string(),
    };
    Places {
        data_dir: config.data_dir.clone(),
        files,
        database,
        file_lifetime: Duration::from_secs(config.store.file_lifetime_seconds),
        request_lifetime: Duration::from_secs(config.queue.request_lifetime_seconds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_things_are_is_told_without_credentials() {
        let told = |settings: &[(&str, &str)]| {
            let of =
                |name: &str| settings.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
            places(&Config::load(None, &of).unwrap())
        };
        let local = told(&[("SNAPHOOK_DATA_DIR", "/var/lib/snaphook")]);
        assert_eq!(
            (local.files.as_str(), local.database.as_str()),
            ("/var/lib/snaphook/files", "/var/lib/snaphook/snaphook.db")
        );
        let away = told(&[
            ("SNAPHOOK_STORE_URL", "s3://shots/files"),
            ("SNAPHOOK_STORE_ENDPOINT", "http://who:open-sesame@127.0.0.1:9000"),
            ("SNAPHOOK_STORE_SECRET_ACCESS_KEY", "open-sesame"),
            ("SNAPHOOK_QUEUE_DATABASE_URL", "postgres://who:open-sesame@127.0.0.1/shots"),
        ]);
        assert_eq!(
            (away.files.as_str(), away.database.as_str()),
            ("s3://shots/files at http://127.0.0.1:9000", "PostgreSQL")
        );
        assert!(!format!("{away:?}").contains("sesame"));
    }
}
