//! An S3 server that checks signatures, with its buckets in a folder: in this process, or as a program that can be killed.

use std::ops::Deref;
use std::path::{Path, PathBuf};

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::task::{JoinHandle, JoinSet};

use crate::program::Program;
use crate::runtime;
use crate::serve::Port;

pub const ACCESS_KEY_ID: &str = "AKID";
pub const SECRET_ACCESS_KEY: &str = "s3-secret";

/// A server in this process; it and its objects end when this is dropped.
pub struct S3 {
    pub url: String,
    buckets: Buckets,
    task: JoinHandle<()>,
}

impl S3 {
    /// One with an empty bucket.
    pub fn start(bucket: &str) -> S3 {
        let (buckets, port) = (Buckets::with(bucket), Port::reserve());
        S3 { url: format!("http://{}", port.address), task: serve(buckets.0.path(), port), buckets }
    }
}

impl Deref for S3 {
    type Target = Buckets;

    fn deref(&self) -> &Buckets {
        &self.buckets
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A server that can be killed, and come back with what it had.
pub struct MortalS3 {
    pub url: String,
    // Before its folder: it ends first.
    program: Program,
    buckets: Buckets,
}

impl MortalS3 {
    /// One with an empty bucket.
    pub fn start(bucket: &str) -> MortalS3 {
        let buckets = Buckets::with(bucket);
        let program = Program::start("s3", &[buckets.0.path().into()]);
        MortalS3 { url: program.url(), program, buckets }
    }

    pub fn kill9(&mut self) {
        self.program.kill9();
    }

    pub fn start_again(&mut self) {
        self.program.start_again();
    }
}

impl Deref for MortalS3 {
    type Target = Buckets;

    fn deref(&self) -> &Buckets {
        &self.buckets
    }
}

/// What a server keeps.
pub struct Buckets(TempDir);

impl Buckets {
    fn with(bucket: &str) -> Buckets {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join(bucket)).expect("a bucket");
        Buckets(folder)
    }

    /// How many objects are in a bucket.
    pub fn count(&self, bucket: &str) -> usize {
        let entries = std::fs::read_dir(self.path(bucket)).expect("the bucket's folder");
        // The server keeps notes of its own beside the objects, in files whose names begin with a dot.
        entries.flatten().filter(|entry| !entry.file_name().to_string_lossy().starts_with('.')).count()
    }

    /// Where an object lies: `shots/a.png`.
    pub fn path(&self, object: &str) -> PathBuf {
        self.0.path().join(object)
    }
}

/// Serves the buckets of a folder.
pub fn serve(folder: &Path, port: Port) -> JoinHandle<()> {
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
