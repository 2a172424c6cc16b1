//! `snaphook migrate`, `backup` and `restore`: the database as a whole.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use snaphook_shared::secret::Secret;

use super::{CliError, say, say_json};
use crate::config::{Config, is_postgres_url};
use crate::domain::operator::Operator;
use crate::domain::ports::JobQueue;
use crate::queue::sqlite::{back_up, restore};
use crate::queue::transfer;
use crate::run::{self, StartError};

pub(super) const MIGRATE_HELP: &str = "\
Examples:
  snaphook migrate --to 'postgres://snaphook:…@db.example.com/snaphook?sslmode=verify-full'
  SNAPHOOK_QUEUE_DATABASE_URL='postgres://…' snaphook migrate   # keeps the password out of the list of processes

The service must have ended, and the PostgreSQL database must be empty. Everything is moved in one transaction: requests,
webhooks with their attempts, keys, tasks, figures, the password of the dashboard. The root key is not: the service needs the
same one afterwards. The SQLite file stays as it is; start the service with [queue] database_url from then on.";

#[derive(Args)]
pub(super) struct MigrateCommand {
    /// The PostgreSQL database. Left out: [queue] database_url.
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    #[arg(long)]
    json: bool,
}

pub(super) async fn migrate(config: Config, command: MigrateCommand) -> Result<(), CliError> {
    let url = command.to.map(Secret::new).or_else(|| config.database_url().cloned());
    let url = url.filter(|url| is_postgres_url(url.expose()));
    let url = url.ok_or_else(|| CliError::Refused("say with --to postgres://… where it is to go".to_owned()))?;
    let _lock = run::lock(&config.data_dir)?;
    let file = existing(&config)?;
    // Brings its schema up to date, and finds out whether this is the root key that it was sealed with.
    let queue = run::open_embedded(&config)?;
    for key in queue.keys().await? {
        queue.key(&key.access_key).await?;
    }
    drop(queue);
    let settings = run::postgres_settings(&config, &url);
    let moved = transfer::to_postgres(&file, &settings, &run::root_key(&config)?).await?;
    if command.json {
        return say_json(&json!(moved));
    }
    for transfer::Moved { table, rows } in moved {
        say(&format!("{table:<18} {rows}"))?;
    }
    say("all of it is in PostgreSQL: start the service with [queue] database_url, and with the same root key")
}

pub(super) const BACKUP_HELP: &str = "\
Example: snaphook backup /var/backups/snaphook-$(date +%F).db

The service may go on meanwhile: the copy is of one moment. It holds what is in the database, and neither the root key (keep
a copy of data_dir/root.key elsewhere) nor the files of pictures. For PostgreSQL take pg_dump.";

pub(super) fn copy(config: &Config, file: &Path, as_json: bool) -> Result<(), CliError> {
    only_embedded(config, "pg_dump")?;
    back_up(&existing(config)?, file)?;
    match as_json {
        true => say_json(&json!({ "backup": file })),
        false => say(&format!("{} holds the database; the root key is not in it", file.display())),
    }
}

pub(super) const RESTORE_HELP: &str = "\
Example: snaphook restore /var/backups/snaphook-2026-11-21.db

The service must have ended. The database that is there is kept beside the restored one. What was rendered or sent since the
backup was made is rendered and sent again; receivers see by the webhook-id what they have had already.";

pub(super) fn bring_back(config: &Config, file: &Path, as_json: bool) -> Result<(), CliError> {
    only_embedded(config, "pg_restore")?;
    let failed = |error| CliError::Failed(format!("{}: {error}", config.data_dir.display()));
    std::fs::create_dir_all(&config.data_dir).map_err(failed)?;
    let _lock = run::lock(&config.data_dir)?;
    // One that is yet to be brought back cannot be asked; the service will.
    let root_key = run::existing_root_key(config).map_err(StartError::from)?;
    let earlier = restore(file, &config.data_dir.join(run::DATABASE), root_key.as_ref())?;
    if as_json {
        return say_json(&json!({ "restored": file, "replaced": earlier }));
    }
    let kept = earlier.map_or_else(String::new, |path| format!("; the one before is {}", path.display()));
    say(&format!("the database is that of {}{kept}", file.display()))
}

fn only_embedded(config: &Config, instead: &str) -> Result<(), CliError> {
    match config.database_url() {
        Some(_) => Err(CliError::Refused(format!("the database is PostgreSQL's: take {instead}"))),
        None => Ok(()),
    }
}

fn existing(config: &Config) -> Result<PathBuf, CliError> {
    let file = config.data_dir.join(run::DATABASE);
    match file.exists() {
        true => Ok(file),
        false => Err(CliError::Refused(format!("there is no {}", file.display()))),
    }
}
