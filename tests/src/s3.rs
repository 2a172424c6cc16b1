//! An S3 server that checks signatures, with its buckets in a folder. It can go away and come back.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::task::{JoinHandle, JoinSet};

use crate::runtime;
use crate::serve::Port;

pub const ACCESS_KEY_ID: &str = "AKID";
pub const SECRET_ACCESS_KEY: &str = "s3-secret";

/// A running server; it and its objects end when this is dropped.
pub struct S3 {
    pub url: String,
    address: SocketAddr,
    folder: TempDir,
    task: JoinHandle<()>,
}

impl S3 {
    /// One with an empty bucket.
    pub fn start(bucket: &str) -> S3 {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join(bucket)).expect("a bucket");
        let port = Port::reserve();
        let (address, task) = (port.address, serve(folder.path(), port));
        S3 { url: format!("http://{address}"), address, folder, task }
    }

    /// Goes away with all its connections.
    pub async fn stop(&mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }

    /// Comes back, as it was.
    pub fn restart(&mut self) {
        self.task = serve(self.folder.path(), Port::at(self.address));
    }

    /// How many objects are in a bucket.
    pub fn count(&self, bucket: &str) -> usize {
        let entries = std::fs::read_dir(self.path(bucket)).expect("the bucket's folder");
        // The server keeps notes of its own beside the objects, in files whose names begin with a dot.
        entries.flatten().filter(|entry| !entry.file_name().to_string_lossy().starts_with('.')).count()
    }

    /// Where an object lies: `shots/a.png`.
    pub fn path(&self, object: &str) -> PathBuf {
        Path::new(self.folder.path()).join(object)
    }
}

fn serve(folder: &Path, port: Port) -> JoinHandle<()> {
    let mut builder = S3ServiceBuilder::new(FileSystem::new(folder).expect("a file system"));
    builder.set_auth(SimpleAuth::from_single(ACCESS_KEY_ID, SECRET_ACCESS_KEY));
    let (service, listener) = (builder.build(), port.listen());
    runtime().spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let service = service.clone();
            connections.spawn(async move {
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
            while connections.try_join_next().is_some() {}
        }
    })
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.task.abort();
    }
}
