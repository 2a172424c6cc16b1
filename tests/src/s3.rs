//! An S3 server that checks signatures, with its buckets in a folder: in this process, or as a program that can be killed.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
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
    parts: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl S3 {
    /// One with an empty bucket.
    pub fn start(bucket: &str) -> S3 {
        let (buckets, port, parts) = (Buckets::with(bucket), Port::reserve(), Arc::default());
        let url = format!("http://{}", port.address);
        S3 { url, task: serve(buckets.0.path(), port, &parts), buckets, parts }
    }

    /// How many parts of large files have come so far.
    pub fn parts(&self) -> usize {
        self.parts.load(Ordering::Relaxed)
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

/// Serves the buckets of a folder, and counts the parts of large files that come.
pub fn serve(folder: &Path, port: Port, parts: &Arc<AtomicUsize>) -> JoinHandle<()> {
    let mut builder = S3ServiceBuilder::new(FileSystem::new(folder).expect("a file system"));
    builder.set_auth(SimpleAuth::from_single(ACCESS_KEY_ID, SECRET_ACCESS_KEY));
    let (service, listener, parts) = (builder.build(), port.listen(), parts.clone());
    runtime().spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let (service, parts) = (service.clone(), parts.clone());
            let service = service_fn(move |request: Request<Incoming>| {
                let is_part = request.uri().query().is_some_and(|query| query.contains("partNumber="));
                parts.fetch_add(usize::from(is_part), Ordering::Relaxed);
                Service::call(&service, request)
            });
            connections.spawn(async move {
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
            while connections.try_join_next().is_some() {}
        }
    })
}
