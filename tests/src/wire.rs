//! A way to a server that can be cut: then nothing passes and nobody is told, as where packets are dropped. What was under way
//! arrives when it is whole again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::runtime;
use crate::serve::Port;

/// Ends with all that goes through it when this is dropped.
pub struct Wire {
    is_whole: Arc<watch::Sender<bool>>,
    task: JoinHandle<()>,
    _folder: Option<TempDir>,
}

impl Wire {
    /// To an `http://` server of this machine; gives the URL to use instead.
    pub fn to_url(url: &str) -> (Wire, String) {
        Wire::to_distant_url(url, Duration::ZERO)
    }

    /// The same, where each way takes so long: half a round trip.
    pub fn to_distant_url(url: &str, each_way: Duration) -> (Wire, String) {
        let target = url.trim_start_matches("http://").to_owned();
        let port = Port::reserve();
        let here = format!("http://{}", port.address);
        let listener = port.listen();
        let (is_whole, whole) = watch::channel(true);
        let task = runtime().spawn(async move {
            let mut passages = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (target, whole) = (target.clone(), whole.clone());
                passages.spawn(async move {
                    if let Ok(server) = TcpStream::connect(target).await {
                        pass(stream, server, whole, each_way).await;
                    }
                });
            }
        });
        (Wire { is_whole: Arc::new(is_whole), task, _folder: None }, here)
    }

    /// To a PostgreSQL server that listens in a folder (`…?host=/folder`); gives the URL to use instead.
    pub fn to_postgres(url: &str) -> (Wire, String) {
        let (rest, host) = url.split_once("?host=").expect("the URL of a socket");
        let port = rest.rsplit_once('/').and_then(|(authority, _)| authority.rsplit_once(':')).expect("a port").1;
        let name = format!(".s.PGSQL.{port}");
        let target: PathBuf = Path::new(host).join(&name);
        let folder = tempfile::tempdir().expect("a folder");
        let _inside = runtime().enter();
        let listener = UnixListener::bind(folder.path().join(name)).expect("a socket");
        let (is_whole, whole) = watch::channel(true);
        let task = runtime().spawn(async move {
            let mut passages = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (target, whole) = (target.clone(), whole.clone());
                passages.spawn(async move {
                    if let Ok(server) = UnixStream::connect(target).await {
                        pass(stream, server, whole, Duration::ZERO).await;
                    }
                });
            }
        });
        let here = format!("{rest}?host={}", folder.path().display());
        (Wire { is_whole: Arc::new(is_whole), task, _folder: Some(folder) }, here)
    }

    pub fn cut(&self) {
        self.is_whole.send_replace(false);
    }

    pub fn mend(&self) {
        self.is_whole.send_replace(true);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Both ways, until either end is gone.
async fn pass<A, B>(one: A, other: B, whole: watch::Receiver<bool>, each_way: Duration)
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let (from_one, to_one) = tokio::io::split(one);
    let (from_other, to_other) = tokio::io::split(other);
    tokio::select! {
        () = carry(from_one, to_other, whole.clone(), each_way) => {}
        () = carry(from_other, to_one, whole, each_way) => {}
    }
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut whole: watch::Receiver<bool>,
    each_way: Duration,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        // Of what is longer than the buffer each piece takes as long: it is for short messages.
        if !each_way.is_zero() {
            tokio::time::sleep(each_way).await;
        }
        if whole.wait_for(|whole| *whole).await.is_err() || to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
    // Also the news that one end is gone does not pass.
    let _ = whole.wait_for(|whole| *whole).await;
}
