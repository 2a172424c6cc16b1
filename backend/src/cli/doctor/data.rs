//! What is kept: the data directory, the root key, the database, the store.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use futures::TryStreamExt;
use rustix::fs::{Access, access};

use super::Finding;
use super::clock::OtherClock;
use crate::config::Config;
use crate::disk::{self, ROOM_NEEDED, ROOM_WANTED, Room};
use crate::domain::ports::{FileStore, QueueError};
use crate::queue::secrets::{RootKey, RootKeyError};
use crate::queue::sqlite::{Inspection, inspect};
use crate::queue::{Versions, postgres};
use crate::run;
use crate::store::Store;

/// How long a server may take to tell the time.
const CLOCK_LIMIT: Duration = Duration::from_secs(5);

/// What was found, and the clocks of those who were asked.
pub(super) async fn look(config: &Config) -> (Vec<Finding>, Vec<OtherClock>) {
    let mut clocks = Vec::new();
    let mut findings = vec![directory(&config.data_dir), room(config)];
    let found_key = run::existing_root_key(config);
    let key = found_key.as_ref().ok().and_then(Option::as_ref);
    let (of_database, fits) = match config.database_url() {
        Some(url) => {
            let found = postgres::inspect(&run::postgres_settings(config, url), key).await;
            clocks.extend(found.iter().map(|found| OtherClock::now("the database server", found.time_ms)));
            let fits = found.as_ref().ok().and_then(|found| found.root_key_fits);
            (judge_postgres(found), fits)
        }
        None => database(&config.data_dir, key),
    };
    findings.push(root_key(config, &found_key, fits));
    findings.push(of_database);
    if !config.store.url.is_empty() {
        findings.push(bucket(config).await);
        clocks.extend(bucket_clock(config).await);
    }
    (findings, clocks)
}

/// The folder, or the nearest above it that is there.
fn existing(path: &Path) -> &Path {
    let mut ancestors = path.ancestors().filter(|path| !path.as_os_str().is_empty());
    ancestors.find(|path| path.is_dir()).unwrap_or(Path::new("."))
}

fn directory(path: &Path) -> Finding {
    let there = existing(path);
    let may_write = access(there, Access::WRITE_OK | Access::EXEC_OK);
    match (may_write, there == path) {
        (Ok(()), true) => Finding::ok("data", format!("{} can be written", path.display())),
        (Ok(()), false) => Finding::ok("data", format!("{} will be made at the first start", path.display())),
        (Err(error), _) => {
            let mend = format!("chown {} to the user that snaphook runs as, or change data_dir", there.display());
            Finding::fail("data", format!("{}: {error}", there.display()), mend)
        }
    }
}

fn room(config: &Config) -> Finding {
    let there = existing(&config.data_dir);
    judge_room(there, disk::room(there), config.disk_free_min().unwrap_or_default())
}

/// Below `free_min` nothing new is accepted.
fn judge_room(path: &Path, room: io::Result<Room>, free_min: u64) -> Finding {
    let mend = "make room, or shorten [store] file_lifetime_seconds";
    match room {
        Ok(Room { free, .. }) => {
            let says = format!("{:.1} GB are free below {}", free as f64 / 1e9, path.display());
            match free {
                free if free < free_min => {
                    let says = format!("{says}, and nothing new is accepted below {:.1} GB", free_min as f64 / 1e9);
                    Finding::fail("disk", says, format!("{mend}, or lower [queue] disk_free_min_mb"))
                }
                0..ROOM_NEEDED => Finding::fail("disk", says, mend),
                ROOM_NEEDED..ROOM_WANTED => Finding::warn("disk", says, mend),
                _ => Finding::ok("disk", says),
            }
        }
        Err(error) => Finding::warn("disk", format!("{}: {error}", path.display()), mend),
    }
}

fn root_key(config: &Config, found: &Result<Option<RootKey>, RootKeyError>, fits: Option<bool>) -> Finding {
    let path = RootKey::file(&config.data_dir);
    let mend = "bring the key back from where you keep a copy: without it the secrets in the database are lost";
    match (found, fits) {
        (Err(error), _) => return Finding::fail("root key", error.to_string(), mend),
        (Ok(_), Some(false)) => return Finding::fail("root key", "the database was sealed with another one", mend),
        (Ok(None), _) => {
            return Finding::ok("root key", format!("{} will be made at the first start", path.display()));
        }
        (Ok(Some(_)), _) => {}
    }
    if !config.root_key().is_empty() {
        return Finding::ok("root key", "from the settings");
    }
    match std::fs::metadata(&path).map(|file| file.permissions().mode() & 0o777) {
        Ok(mode) if mode & 0o077 == 0 => Finding::ok("root key", format!("{} is its owner's alone", path.display())),
        Ok(mode) => {
            let says = format!("{} can be read by others (mode {mode:03o})", path.display());
            Finding::fail("root key", says, format!("chmod 600 {}", path.display()))
        }
        Err(error) => Finding::fail("root key", format!("{}: {error}", path.display()), "see why it cannot be read"),
    }
}

/// What is to be said of it, and whether its secrets are this key's.
fn database(data_dir: &Path, key: Option<&RootKey>) -> (Finding, Option<bool>) {
    let path = data_dir.join(run::DATABASE);
    if !path.exists() {
        return (Finding::ok("database", format!("{} will be made at the first start", path.display())), None);
    }
    let found = inspect(&path, key);
    let fits = found.as_ref().ok().and_then(|found| found.root_key_fits);
    let finding = match found {
        Ok(Inspection { problems, .. }) if !problems.is_empty() => {
            let mend =
                "end the service, keep a copy of the file, and restore a backup or recover it with sqlite3's .recover";
            Finding::fail("database", format!("it is damaged: {}", problems.join("; ")), mend)
        }
        Ok(Inspection { versions, .. }) => judge_versions("whole", versions),
        Err(error) => Finding::fail("database", format!("{}: {error}", path.display()), "see whether it is a database"),
    };
    (finding, fits)
}

fn judge_versions(what: &str, versions: Versions) -> Finding {
    let Versions { newest, needed, known } = versions;
    if needed > known {
        let says =
            format!("it is of version {newest}, for programs that know {needed} or more, and this one knows {known}");
        return Finding::fail("database", says, "run the newer snaphook that changed it");
    }
    match newest > known {
        true => {
            Finding::ok("database", format!("{what}, version {newest}, which this program ({known}) can work with"))
        }
        false => Finding::ok("database", format!("{what}, version {newest}")),
    }
}

fn judge_postgres(found: Result<postgres::Inspection, QueueError>) -> Finding {
    match found {
        Ok(found) if found.versions.newest == 0 => Finding::ok(
            "database",
            format!("PostgreSQL {} answers; tables will be made at the first start", found.server),
        ),
        Ok(found) => judge_versions(&format!("PostgreSQL {}", found.server), found.versions),
        Err(error) => {
            let mend = "check [queue] database_url, that the server runs, and that it lets this user in";
            Finding::fail("database", error.to_string(), mend)
        }
    }
}

/// A file is put there, read and removed.
async fn bucket(config: &Config) -> Finding {
    let mend = "check [store] url, endpoint, region and credentials, and that they may put, get and delete";
    match try_bucket(config).await {
        Ok(()) => Finding::ok("bucket", format!("{}: put, get and delete work", config.store.url)),
        Err(error) => Finding::fail("bucket", format!("{}: {error}", config.store.url), mend),
    }
}

/// What the store's server calls the time, in the head of an answer. It need not know who asks.
async fn bucket_clock(config: &Config) -> Option<OtherClock> {
    let address = match config.store.endpoint.as_str() {
        "" => format!("https://s3.{}.amazonaws.com/", config.store.region),
        endpoint => endpoint.to_owned(),
    };
    let answer = client().ok()?.get(address).timeout(CLOCK_LIMIT).send().await.ok()?;
    let date = httpdate::parse_http_date(answer.headers().get("date")?.to_str().ok()?).ok()?;
    let theirs = date.duration_since(UNIX_EPOCH).ok()?.as_millis();
    Some(OtherClock::now("the bucket's server", u64::try_from(theirs).ok()?))
}

fn client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build()
}

async fn try_bucket(config: &Config) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let store = Store::open(config, client().map_err(|error| text(&error))?).map_err(|error| text(&error))?;
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| text(&error))?;
    let name = format!("doctor-{}.txt", hex::encode(random));
    store
        .put(&name, "text/plain", Bytes::from_static(b"snaphook"))
        .await
        .map_err(|failure| format!("put: {}", failure.cause))?;
    let read = async {
        let stream = store.get(&name, None).await?;
        stream.try_fold(Vec::new(), |all, chunk| async move { Ok([all, chunk.to_vec()].concat()) }).await
    };
    let read = read.await.map_err(|error| format!("get: {error}"));
    store.delete(&name).await.map_err(|error| format!("delete: {error}"))?;
    match read?.as_slice() {
        b"snaphook" => Ok(()),
        _ => Err("get: not what was put".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn a_disk_that_fills_up_is_found_before_it_is_full() {
        let judged = |free| judge_room(Path::new("/data"), Ok(Room { free, total: 10 * ROOM_WANTED }), 0);
        for (free, state) in [
            (0, State::Fail),
            (ROOM_NEEDED - 1, State::Fail),
            (ROOM_NEEDED, State::Warn),
            (ROOM_WANTED - 1, State::Warn),
            (ROOM_WANTED, State::Ok),
        ] {
            let found = judged(free);
            assert_eq!((found.state, found.mend.is_some()), (state, state != State::Ok), "{free}: {found:?}");
        }
        let bounded = judge_room(Path::new("/data"), Ok(Room { free: ROOM_WANTED, total: u64::MAX }), ROOM_WANTED + 1);
        assert!(bounded.state == State::Fail && bounded.says.contains("nothing new is accepted"), "{bounded:?}");
        let unknown = judge_room(Path::new("/data"), Err(io::Error::other("odd")), 1);
        assert!(unknown.state == State::Warn && unknown.says == "/data: odd", "{unknown:?}");
    }

    #[test]
    fn a_database_of_a_newer_version_is_found() {
        let judged = |newest, needed| {
            let versions = Versions { newest, needed, known: 2 };
            let server = "17.1".to_owned();
            judge_postgres(Ok(postgres::Inspection { server, versions, root_key_fits: None, time_ms: 0 }))
        };
        assert_eq!(judged(3, 3).state, State::Fail);
        assert_eq!((judged(3, 2).state, judged(2, 2).state, judged(0, 0).state), (State::Ok, State::Ok, State::Ok));
        assert_eq!(judge_postgres(Err(QueueError("away".to_owned()))).state, State::Fail);
    }
}
