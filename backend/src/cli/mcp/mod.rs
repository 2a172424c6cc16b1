//! `snaphook mcp`: tools for agents, by the Model Context Protocol over standard input and output. Standard output is the
//! protocol's alone; logs go to standard error.

mod answer;
mod files;
mod own;
mod service;
mod stdin;
mod tools;

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData, Implementation, ListToolsResult,
    PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::{QuitReason, RequestContext, RoleServer, ServerInitializeError};
use rmcp::{ServerHandler, ServiceExt};
use snaphook_shared::code::Problem;
use snaphook_shared::secret::Secret;

use super::{CliError, shot, take};
use crate::config::Config;
use answer::Bounds;
use files::Folder;
use own::Own;
use service::Service;
use tools::{Call, Job};

pub(super) const HELP: &str = "\
Examples:
  snaphook mcp                                             # renders with a Chromium of its own
  snaphook mcp --output-dir shots                          # tools may write files there
  SNAPHOOK_ACCESS_KEY=AK snaphook mcp --server http://127.0.0.1:8400

A client starts it and speaks to it over standard input and output; docs/mcp.md has the lines for common clients.
Without --server, Chromium, egress rules and settings are those of `snaphook serve`. With it, the service renders, and the
limits of the access key hold.
Exit codes: 0 the client is done, 1 failed, 2 wrong usage, 78 wrong settings, 130 interrupted.";

/// Of a result, as base64 where it is a picture. Common clients take no result of more than 1,048,576 bytes.
const RESULT_BYTES_MAX: usize = 1_000_000;

#[derive(Args)]
pub(super) struct McpCommand {
    /// A running service that renders, as http://127.0.0.1:8400. Left away: a Chromium started here.
    #[arg(long, env = "SNAPHOOK_SERVER", value_name = "URL")]
    server: Option<reqwest::Url>,
    /// The access key for --server.
    #[arg(long, env = "SNAPHOOK_ACCESS_KEY", hide_env_values = true, allow_hyphen_values = true, value_name = "KEY")]
    access_key: Option<String>,
    /// Lets tools write new files into this folder. Left away: they write none.
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
    /// Bytes that a picture or document may have in a result, as base64.
    #[arg(long, value_name = "BYTES", default_value_t = RESULT_BYTES_MAX)]
    result_bytes_max: usize,
}

/// Who does the work.
enum Source {
    Own(Box<Own>),
    Service(Service),
}

/// Why a tool call came to nothing, for the agent to read.
struct Refusal(String);

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Refusal {
        Refusal(take::explain(&problem))
    }
}

struct Server {
    source: Source,
    folder: Option<Folder>,
    bounds: Bounds,
}

pub(super) async fn execute(config: Config, command: McpCommand) -> Result<(), CliError> {
    let source = match (command.server, command.access_key) {
        (Some(url), Some(key)) => Source::Service(Service::new(url, Secret::new(key))?),
        (Some(_), None) => {
            return Err(CliError::Refused("--server needs an access key, in SNAPHOOK_ACCESS_KEY".to_owned()));
        }
        (None, _) => Source::Own(Box::new(Own::new(config)?)),
    };
    let folder = command.output_dir.map(|path| Folder::open(&path)).transpose()?;
    let bounds = Bounds { result_bytes_max: command.result_bytes_max };
    let server = Arc::new(Server { source, folder, bounds });
    let result = tokio::select! {
        result = converse(server.clone()) => result,
        () = shot::interrupted() => Err(CliError::Interrupted),
    };
    if let Source::Own(own) = &server.source {
        own.stop().await;
    }
    result
}

/// Ends with the client's side of the conversation.
async fn converse(server: Arc<Server>) -> Result<(), CliError> {
    let running = match Handler(server).serve((stdin::reader()?, tokio::io::stdout())).await {
        Ok(running) => running,
        // A client that changed its mind.
        Err(ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
        Err(error) => return Err(CliError::Failed(error.to_string())),
    };
    match running.waiting().await {
        Ok(QuitReason::JoinError(error)) | Err(error) => Err(CliError::Failed(error.to_string())),
        Ok(_) => Ok(()),
    }
}

impl Server {
    fn tools(&self) -> Vec<Tool> {
        tools::list(matches!(self.source, Source::Service(_)), self.folder.is_some())
    }

    /// What the tool gives, or why it gives nothing; None for a tool that there is not.
    async fn call(&self, request: CallToolRequestParams) -> Option<Result<Vec<ContentBlock>, Refusal>> {
        let has_service = matches!(self.source, Source::Service(_));
        let job = Job::named(&request.name, has_service)?;
        Some(match job.read(request.arguments.unwrap_or_default()) {
            Ok(call) => self.perform(job, call).await,
            Err(problem) => Err(problem.into()),
        })
    }

    async fn perform(&self, job: Job, call: Call) -> Result<Vec<ContentBlock>, Refusal> {
        // A render for a file that cannot be written would be in vain.
        let file = match &call.file {
            Some(name) => Some(files::place(self.folder.as_ref(), name)?),
            None => None,
        };
        let parameters = call.parameters;
        let taken = match (job, &self.source) {
            (Job::Check, Source::Own(own)) => return Ok(answer::json(&own.check(&call.id).await?)),
            (Job::Check, Source::Service(service)) => return Ok(answer::json(&service.check(&call.id).await?)),
            (Job::Enqueue, Source::Service(service)) => return Ok(answer::json(&service.enqueue(parameters).await?)),
            (_, Source::Own(own)) => own.take(parameters).await?,
            (_, Source::Service(service)) => service.take(parameters).await?,
        };
        match file {
            Some(file) => {
                let written = tokio::task::spawn_blocking(move || file.write(&taken.bytes).map(|path| (path, taken)));
                let written = written.await.map_err(|error| Refusal(error.to_string()))?;
                let (path, taken) = written.map_err(|error| Refusal(format!("the file was not written: {error}")))?;
                Ok(answer::file(&taken, &path))
            }
            None => self.bounds.answer(&taken, call.first_character, self.folder.is_some()),
        }
    }
}

#[derive(Clone)]
struct Handler(Arc<Server>);

impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        let implementation = Implementation::new("snaphook", env!("CARGO_PKG_VERSION"));
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(implementation)
            .with_instructions(tools::INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.0.tools()))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.0.tools().into_iter().find(|tool| tool.name == name)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let name = request.name.clone();
        let called = tokio::select! {
            called = self.0.call(request) => called,
            // With the future goes its page, or its connection to the service, which ends the page there.
            () = context.ct.cancelled() => Some(Err(Refusal("cancelled".to_owned()))),
        };
        match called {
            Some(Ok(content)) => Ok(CallToolResult::success(content).into()),
            Some(Err(Refusal(why))) => Ok(CallToolResult::error(vec![ContentBlock::text(why)]).into()),
            None => Err(ErrorData::invalid_params(format!("there is no tool {name}"), None)),
        }
    }
}
