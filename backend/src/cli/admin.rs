//! `snaphook admin`: who may see the dashboard. Works beside a running service.

use clap::Subcommand;
use serde_json::json;

use super::{CliError, say};
use crate::clock::Clock;
use crate::config::Config;
use crate::dashboard::password;
use crate::run;

#[derive(Subcommand)]
pub(super) enum AdminCommand {
    /// Make a new password for the dashboard, in the place of the one before. Ends all sessions.
    #[command(after_help = "Example: snaphook admin reset-password")]
    ResetPassword {
        /// For programs.
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn execute(config: Config, command: AdminCommand) -> Result<(), CliError> {
    let queue = run::open_queue(&config).await?;
    match command {
        AdminCommand::ResetPassword { json } => {
            let (password, hash) = password::make().map_err(|error| CliError::Refused(error.to_string()))?;
            queue.reset_password(&hash, Clock::default().now_ms()).await?;
            match json {
                true => say(&json!({ "password": password.expose() }).to_string()),
                false => say(&format!("password  {}  (shown this once; all sessions have ended)", password.expose())),
            }
        }
    }
}
