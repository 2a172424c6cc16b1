//! snaphook as it is run: the backend with a data directory of its own and, on request, the Worker in workerd before it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use tempfile::TempDir;

use crate::client::Client;
use crate::faults::Faults;
use crate::part::Part;
use crate::{random_hex, repository, wait};

/// Chromium's first start on a busy machine takes its time.
const START_LIMIT: Duration = Duration::from_secs(60);

/// For a line of a log that was written to be read here.
const LOG_LIMIT: Duration = Duration::from_secs(5);

/// An access key and its secret.
#[derive(Clone, Debug)]
pub struct KeyPair {
    pub access_key: String,
    pub secret_key: String,
}

impl KeyPair {
    pub fn random() -> KeyPair {
        KeyPair { access_key: format!("AK{}", random_hex(6)), secret_key: format!("SK-{}", random_hex(12)) }
    }
}

/// Where the data is.
enum DataDir {
    /// Goes with the stack.
    Temporary(TempDir),
    Kept(PathBuf),
}

/// How a [`Stack`] is to be.
pub struct Builder {
    data_dir: Option<PathBuf>,
    listen: SocketAddr,
    operations_listen: SocketAddr,
    development: bool,
    edge_port: Option<u16>,
    edge_environment: Vec<(String, String)>,
    environment: Vec<(String, String)>,
    key: Option<KeyPair>,
    user: Option<u32>,
    under: Vec<String>,
    program: Option<PathBuf>,
}

/// A running snaphook.
pub struct Stack {
    /// What a client of the backend itself talks to.
    pub api: String,
    pub operations: String,
    /// The key pair that was imported before the start.
    pub key: KeyPair,
    data_dir: DataDir,
    environment: Vec<(String, String)>,
    program: PathBuf,
    backend: Option<Part>,
    edge: Option<(Part, String)>,
}

/// One more Worker.
pub struct Edge {
    pub url: String,
    _part: Part,
}

impl Stack {
    pub fn builder() -> Builder {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Builder {
            data_dir: None,
            listen: any,
            operations_listen: any,
            development: true,
            edge_port: None,
            edge_environment: Vec::new(),
            environment: Vec::new(),
            key: None,
            user: None,
            under: Vec::new(),
            program: None,
        }
    }

    /// A stack in development mode that tests share, edge included: for tests that change nothing in it but their own
    /// requests. It ends with its last user.
    pub fn shared() -> Shared {
        static CURRENT: Mutex<Weak<Stack>> = Mutex::new(Weak::new());
        let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
        Shared(current.upgrade().unwrap_or_else(|| {
            let started = Arc::new(Stack::builder().edge().start());
            *current = Arc::downgrade(&started);
            started
        }))
    }

    pub fn data_dir(&self) -> &Path {
        match &self.data_dir {
            DataDir::Temporary(directory) => directory.path(),
            DataDir::Kept(path) => path,
        }
    }

    /// The address of the Worker.
    ///
    /// # Panics
    /// If the stack was built without one.
    pub fn edge_url(&self) -> &str {
        self.edge.as_ref().map(|(_, url)| url.as_str()).expect("built with .edge()")
    }

    /// Starts one more Worker before the same backend, with these variables (edge/dev.mjs says which there are). It ends with
    /// what is given back.
    pub fn another_edge(&self, variables: &[(&str, &str)]) -> Edge {
        let secret = self.setting("SNAPHOOK_EDGE_SECRETS").unwrap_or_default();
        let variables: Vec<(String, String)> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let development = self.setting("SNAPHOOK_DEVELOPMENT") == Some("true");
        let started = start_edge(0, &self.api, secret, development, &variables);
        let (part, url) = started.unwrap_or_else(|error| panic!("{error}"));
        Edge { url, _part: part }
    }

    /// The names of what the Worker's bucket holds.
    pub fn edge_bucket(&mut self) -> Vec<String> {
        let listed = self.tell_edge("r2 BODIES");
        let names = listed["names"].as_array().unwrap_or_else(|| panic!("{listed}"));
        names.iter().filter_map(Json::as_str).map(str::to_owned).collect()
    }

    /// Sends a message to the Worker's outbox.
    pub fn send_to_outbox(&mut self, message: &str) {
        self.tell_edge(&format!("queue OUTBOX {message}"));
    }

    fn tell_edge(&mut self, line: &str) -> Json {
        let (part, _) = self.edge.as_mut().expect("built with .edge()");
        part.tell(line).and_then(|()| part.json_line(LOG_LIMIT)).unwrap_or_else(|error| panic!("{error}"))
    }

    /// A client that talks to the backend itself, with the stack's key.
    pub fn client(&self) -> Client {
        Client::new(&self.api, &self.key)
    }

    /// A client that talks to the Worker, with the stack's key.
    pub fn edge_client(&self) -> Client {
        Client::new(self.edge_url(), &self.key)
    }

    /// Makes one more key.
    pub fn new_key(&self) -> KeyPair {
        let made = self.keys(&["create", "--json"]);
        KeyPair { access_key: text(&made, "access_key"), secret_key: text(&made, "secret_key") }
    }

    /// Runs `snaphook keys …` on this stack's data and reads its JSON.
    ///
    /// # Panics
    /// If the command fails.
    pub fn keys(&self, arguments: &[&str]) -> Json {
        let output = self.run_keys(arguments);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "keys {arguments:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("keys {arguments:?}: {said}: {error}"))
    }

    /// As [`Stack::keys`], whatever it says and however it ends.
    pub fn run_keys(&self, arguments: &[&str]) -> Output {
        self.run_command(&[&["keys"], arguments].concat())
    }

    /// Runs any command of snaphook on this stack's data.
    pub fn run_command(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).output().expect("snaphook starts")
    }

    /// Snaphook with this stack's settings, to be given arguments.
    pub fn command(&self) -> Command {
        command(&self.program, &self.environment, self.data_dir())
    }

    /// A shell of an operator: it has this stack's settings and finds `snaphook`.
    pub fn shell(&self, script: &str) -> Command {
        let binary = snaphook_binary().expect("built");
        let mut shell = command(Path::new("sh"), &self.environment, self.data_dir());
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = binary.parent().map(Path::to_owned).into_iter().chain(std::env::split_paths(&path));
        shell.args(["-c", script]).env("PATH", std::env::join_paths(folders).expect("folders without colons"));
        shell
    }

    /// What the backend was given for a setting, by its environment variable.
    pub fn setting(&self, variable: &str) -> Option<&str> {
        self.environment.iter().rfind(|(name, _)| name == variable).map(|(_, value)| value.as_str())
    }

    /// Ends the backend as a crash would, and leaves everything else as it is.
    pub fn kill9(&mut self) {
        if let Some(backend) = &mut self.backend {
            backend.kill9();
        }
    }

    /// Sends SIGTERM to the backend and waits for its end.
    pub fn terminate(&mut self) -> Option<ExitStatus> {
        self.backend.as_mut()?.stop()
    }

    /// Sends SIGTERM to the backend and does not wait.
    pub fn start_to_terminate(&mut self) {
        if let Some(backend) = &mut self.backend {
            backend.terminate();
        }
    }

    /// Starts the backend again with the same data on the same ports, so that links and the edge stay good.
    pub fn restart(&mut self) {
        self.try_restart_with(&[]).unwrap_or_else(|error| panic!("{error}"));
    }

    /// As [`Stack::restart`], with more settings for this start only.
    ///
    /// # Errors
    /// With what the backend said when it ended before it was ready.
    pub fn try_restart_with(&mut self, settings: &[(&str, &str)]) -> Result<(), String> {
        self.print_log_if_panicking();
        self.backend = None;
        let (mut environment, data_dir) = (self.environment.clone(), self.data_dir().to_owned());
        environment.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        // Between the two starts another process may have been given the port for a moment.
        let deadline = Instant::now() + START_LIMIT;
        let (backend, _) = loop {
            match start_backend(&self.program, &[], &environment, &data_dir, None) {
                Ok(started) => break started,
                Err(error) if error.contains("cannot listen") && Instant::now() < deadline => {}
                Err(error) => return Err(error),
            }
        };
        self.backend = Some(backend);
        Ok(())
    }

    /// The backend's process id; it leads to its children.
    pub fn backend_pid(&self) -> u32 {
        self.backend.as_ref().map_or(0, Part::pid)
    }

    /// Whether the backend stands still.
    pub fn is_suspended(&self) -> bool {
        self.backend.as_ref().is_some_and(Part::is_suspended)
    }

    /// Lets a backend that stands still go on.
    pub fn resume(&mut self) {
        if let Some(backend) = &mut self.backend {
            backend.resume();
        }
    }

    /// Everything that the backend has said since its last start.
    pub fn backend_log(&self) -> String {
        self.backend.as_ref().map(Part::log).unwrap_or_default()
    }

    /// Everything that the edge has said.
    pub fn edge_log(&self) -> String {
        self.edge.as_ref().map(|(part, _)| part.log()).unwrap_or_default()
    }

    /// Whether the backend has logged this; a line that was written may still be on its way here.
    pub async fn backend_says(&self, text: &str) -> bool {
        wait::within(LOG_LIMIT, || self.backend_log().contains(text)).await
    }

    /// The same of the edge.
    pub async fn edge_says(&self, text: &str) -> bool {
        wait::within(LOG_LIMIT, || self.edge_log().contains(text)).await
    }

    /// The first part that has ended by itself, with its log.
    pub fn ended_part(&mut self) -> Option<String> {
        let parts = [self.backend.as_mut(), self.edge.as_mut().map(|(part, _)| part)];
        parts.into_iter().flatten().find_map(|part| {
            let status = part.status()?;
            Some(format!("{status}\n{}", part.log()))
        })
    }

    fn print_log_if_panicking(&self) {
        if std::thread::panicking() {
            self.print_log();
        }
    }

    /// Shows what the parts have said.
    pub fn print_log(&self) {
        for part in self.backend.iter().chain(self.edge.iter().map(|(part, _)| part)) {
            part.print_log();
        }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.print_log_if_panicking();
        // The edge first: it would only complain about a backend that is gone.
        self.edge = None;
        self.backend = None;
    }
}

/// A user of a stack that others use too.
pub struct Shared(Arc<Stack>);

impl std::ops::Deref for Shared {
    type Target = Stack;

    fn deref(&self) -> &Stack {
        &self.0
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Others may hold the stack for longer than this failure should stay unexplained.
        if Arc::strong_count(&self.0) > 1 {
            self.0.print_log_if_panicking();
        }
    }
}

impl Builder {
    /// With the Worker in workerd in front.
    pub fn edge(self) -> Builder {
        self.edge_at(0)
    }

    /// With the Worker on this port.
    pub fn edge_at(mut self, port: u16) -> Builder {
        self.edge_port = Some(port);
        self
    }

    /// With the Worker in front, and this variable for it (edge/dev.mjs says which there are).
    pub fn edge_with(mut self, variable: &str, value: impl ToString) -> Builder {
        self.edge_environment.push((variable.to_owned(), value.to_string()));
        self.edge_port.get_or_insert(0);
        self
    }

    /// With the Worker in front, and everything bound to it that can be.
    pub fn full_edge(self) -> Builder {
        self.edge_with("WRANGLER_CONFIG", repository("edge/wrangler.full.toml").display())
    }

    /// As it would run for strangers: no page and no webhook on this machine.
    pub fn without_development(mut self) -> Builder {
        self.development = false;
        self
    }

    /// At these places it dies, or stands still.
    pub fn faults(mut self, faults: &Faults) -> Builder {
        // No setting: a release build knows nothing of it.
        self.environment.push(("SNAPHOOK_FAULTS".to_owned(), faults.folder().display().to_string()));
        self
    }

    /// Changes a setting, by its environment variable.
    pub fn set(mut self, variable: &str, value: impl ToString) -> Builder {
        self.environment.push((variable.to_owned(), value.to_string()));
        self
    }

    /// Keeps the data there, over the end of the stack.
    pub fn data_dir(mut self, path: &Path) -> Builder {
        self.data_dir = Some(path.to_owned());
        self
    }

    pub fn listen(mut self, api: SocketAddr, operations: SocketAddr) -> Builder {
        (self.listen, self.operations_listen) = (api, operations);
        self
    }

    /// Imports this pair instead of a new one; it may be known already.
    pub fn key(mut self, key: KeyPair) -> Builder {
        self.key = Some(key);
        self
    }

    /// Runs the backend as this user, which takes root, and with Chromium's sandbox on.
    pub fn sandboxed_as(mut self, user: u32) -> Builder {
        self.user = Some(user);
        self.set("SNAPHOOK_RENDER_ALLOW_NO_SANDBOX", false)
    }

    /// Starts the backend by this command, which gets the real one as its arguments and must end as that process. Not for
    /// a restart.
    pub fn under(mut self, command: &[&str]) -> Builder {
        self.under = command.iter().map(|part| (*part).to_owned()).collect();
        self
    }

    /// Runs this snaphook instead of the one that was built with the tests.
    pub fn program(mut self, path: &Path) -> Builder {
        self.program = Some(path.to_owned());
        self
    }

    /// Starts everything.
    ///
    /// # Panics
    /// With what the part said that did not start.
    pub fn start(self) -> Stack {
        self.try_start().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Starts everything.
    ///
    /// # Errors
    /// With what the part said that did not start.
    pub fn try_start(self) -> Result<Stack, String> {
        let data_dir = match self.data_dir {
            Some(path) => DataDir::Kept(path),
            None => DataDir::Temporary(tempfile::tempdir().map_err(|error| error.to_string())?),
        };
        let directory = match &data_dir {
            DataDir::Temporary(directory) => directory.path().to_owned(),
            DataDir::Kept(path) => path.clone(),
        };
        let edge_secret = format!("tests:{}", random_hex(24));
        let mut environment: Vec<(String, String)> = [
            ("SNAPHOOK_DATA_DIR", directory.display().to_string()),
            ("SNAPHOOK_HTTP_LISTEN", self.listen.to_string()),
            ("SNAPHOOK_HTTP_OPERATIONS_LISTEN", self.operations_listen.to_string()),
            ("SNAPHOOK_HTTP_DRAIN_SECONDS", "10".to_owned()),
            ("SNAPHOOK_DEVELOPMENT", self.development.to_string()),
            ("SNAPHOOK_EDGE_SECRETS", edge_secret.clone()),
            // As root there is no sandbox to be had; for anybody else it stays on.
            ("SNAPHOOK_RENDER_ALLOW_NO_SANDBOX", rustix::process::geteuid().is_root().to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec();
        environment.extend(self.environment);

        let key = self.key.unwrap_or_else(KeyPair::random);
        let program = self.program.map_or_else(snaphook_binary, Ok)?;
        import_key(&program, &key, &environment, &directory)?;
        if let Some(user) = self.user {
            give_to(&directory, user).map_err(|error| error.to_string())?;
        }
        let (backend, addresses) = start_backend(&program, &self.under, &environment, &directory, self.user)?;
        let (api, operations) = (text(&addresses, "api"), text(&addresses, "operations"));
        // For a restart.
        let listeners = [("SNAPHOOK_HTTP_LISTEN", &api), ("SNAPHOOK_HTTP_OPERATIONS_LISTEN", &operations)];
        // Not every role has an API.
        for (name, url) in listeners.into_iter().filter(|(_, url)| !url.is_empty()) {
            environment.push((name.to_owned(), url.trim_start_matches("http://").to_owned()));
        }
        let edge = match self.edge_port {
            Some(port) => Some(start_edge(port, &api, &edge_secret, self.development, &self.edge_environment)?),
            None => None,
        };
        Ok(Stack { api, operations, key, data_dir, environment, program, backend: Some(backend), edge })
    }
}

/// The binary that cargo built next to this one.
///
/// # Errors
/// Says how to build it.
pub fn snaphook_binary() -> Result<PathBuf, String> {
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let found = this.ancestors().skip(1).take(2).map(|folder| folder.join("snaphook")).find(|file| file.is_file());
    found.ok_or_else(|| "there is no snaphook binary next to this one: run `cargo build -p snaphook` first".to_owned())
}

/// Runs snaphook with these settings and no others, wherever the tests themselves were started.
fn command(program: &Path, environment: &[(String, String)], directory: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        // Where Chromium is, is a matter of the machine; everything else is the test's.
        if name.to_string_lossy().starts_with("SNAPHOOK_") && name != "SNAPHOOK_RENDER_CHROMIUM" {
            command.env_remove(name);
        }
    }
    command.envs(environment.iter().map(|(name, value)| (name, value))).current_dir(directory);
    command
}

/// Snaphook in a folder, in development mode and without a service: for commands that need none.
///
/// # Panics
/// If it is not built.
pub fn snaphook(folder: &Path) -> Command {
    let root = rustix::process::geteuid().is_root();
    let settings =
        [("SNAPHOOK_DEVELOPMENT", "true".to_owned()), ("SNAPHOOK_RENDER_ALLOW_NO_SANDBOX", root.to_string())];
    let environment: Vec<(String, String)> = settings.map(|(name, value)| (name.to_owned(), value)).to_vec();
    command(&snaphook_binary().expect("built"), &environment, folder)
}

fn import_key(program: &Path, key: &KeyPair, environment: &[(String, String)], directory: &Path) -> Result<(), String> {
    let output = command(program, environment, directory)
        .args(["keys", "import", "--name", "tests", "--access-key", &key.access_key, "--secret-key", &key.secret_key])
        .output()
        .map_err(|error| format!("snaphook keys import: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    match output.status.success() || said.contains("already") {
        true => Ok(()),
        false => Err(format!("snaphook keys import: {said}")),
    }
}

/// Hands a directory and what is in it over to a user.
fn give_to(directory: &Path, user: u32) -> std::io::Result<()> {
    std::os::unix::fs::chown(directory, Some(user), Some(user))?;
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        match path.is_dir() {
            true => give_to(&path, user)?,
            false => std::os::unix::fs::chown(path, Some(user), Some(user))?,
        }
    }
    Ok(())
}

fn start_backend(
    binary: &Path,
    under: &[String],
    environment: &[(String, String)],
    directory: &Path,
    user: Option<u32>,
) -> Result<(Part, Json), String> {
    use std::os::unix::process::CommandExt;

    let mut command = match under {
        [] => command(binary, environment, directory),
        [program, arguments @ ..] => {
            let mut wrapped = command(Path::new(program), environment, directory);
            wrapped.args(arguments).arg(binary);
            wrapped
        }
    };
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    let mut backend = Part::start("backend", command.arg("serve"))?;
    let addresses = backend.json_line(START_LIMIT)?;
    Ok((backend, addresses))
}

fn start_edge(
    port: u16,
    backend: &str,
    secret: &str,
    development: bool,
    more: &[(String, String)],
) -> Result<(Part, String), String> {
    let mut command = Command::new("node");
    command
        .arg(repository("edge/dev.mjs"))
        .env("EDGE_PORT", port.to_string())
        .env("BACKEND_URL", backend)
        .env("EDGE_SECRET", secret)
        .env("DEVELOPMENT", development.to_string())
        .env("PUBLIC_URL", "")
        .envs(more.iter().map(|(name, value)| (name, value)));
    let mut edge = Part::start("edge", &mut command)?;
    let url = text(&edge.json_line(START_LIMIT)?, "url");
    Ok((edge, url))
}

fn text(json: &Json, name: &str) -> String {
    json[name].as_str().unwrap_or_default().to_owned()
}
