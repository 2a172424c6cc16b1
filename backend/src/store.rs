//! Files in an object store: a local folder by default, S3 by configuration. The only module that knows object_store.

mod upload;

use std::io;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::aws::AmazonS3Builder;
use object_store::client::{HttpClient, HttpConnector};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, ClientOptions, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, PutOptions,
};
use snaphook_shared::code::Code;

use crate::config::Config;
use crate::domain::failure::Failure;
use crate::domain::pipeline::is_file_name;
use crate::domain::ports::FileStore;
pub use upload::Uploader;

pub struct Store {
    backend: Arc<dyn ObjectStore>,
    prefix: Path,
    /// Local files have no attributes, and asking for them is an error there.
    keeps_attributes: bool,
}

/// Why the store of the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("[store] url must be empty or s3://bucket/prefix, not {0}")]
    Url(String),
    #[error("the local store {path}: {source}")]
    Folder { path: String, source: io::Error },
    #[error("the store: {0}")]
    Backend(#[from] object_store::Error),
}

impl Store {
    /// `client` is used for S3; it follows no redirects.
    pub fn open(config: &Config, client: reqwest::Client) -> Result<Store, StoreError> {
        let url = config.store.url.as_str();
        if url.is_empty() {
            let folder = config.data_dir.join("files");
            let failed = |source| StoreError::Folder { path: folder.display().to_string(), source };
            std::fs::create_dir_all(&folder).map_err(failed)?;
            remove_staged(&folder).map_err(failed)?;
            // A row that says "done" is on the disk; so must be what it points to.
            let backend = LocalFileSystem::new_with_prefix(&folder)?.with_fsync(true);
            return Ok(Store { backend: Arc::new(backend), prefix: Path::default(), keeps_attributes: false });
        }
        let place = url.strip_prefix("s3://").ok_or_else(|| StoreError::Url(url.to_owned()))?;
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(&config.store.region)
            .with_http_connector(SharedClient(client));
        if !config.store.access_key_id.is_empty() {
            builder = builder
                .with_access_key_id(&config.store.access_key_id)
                .with_secret_access_key(config.store.secret_access_key.expose());
        }
        if !config.store.endpoint.is_empty() {
            builder = builder.with_endpoint(&config.store.endpoint).with_allow_http(true);
        }
        Ok(Store { backend: Arc::new(builder.build()?), prefix: Path::from(prefix), keeps_attributes: true })
    }

    fn path(&self, name: &str) -> Path {
        self.prefix.clone().join(name)
    }
}

#[async_trait]
impl FileStore for Store {
    async fn put(&self, name: &str, content_type: &str, bytes: Bytes) -> Result<(), Failure> {
        let mut options = PutOptions::default();
        if self.keeps_attributes {
            options.attributes = Attributes::from_iter([(Attribute::ContentType, content_type.to_owned())]);
        }
        self.backend.put_opts(&self.path(name), bytes.into(), options).await.map(|_| ()).map_err(put_failure)
    }

    async fn get(&self, name: &str, range: Option<Range<u64>>) -> io::Result<BoxStream<'static, io::Result<Bytes>>> {
        let options = GetOptions { range: range.map(GetRange::Bounded), ..GetOptions::default() };
        let found = self.backend.get_opts(&self.path(name), options).await.map_err(io_error)?;
        Ok(found.into_stream().map_err(io_error).boxed())
    }

    fn names(&self, put_before_ms: u64) -> BoxStream<'_, io::Result<String>> {
        let prefix = Some(&self.prefix).filter(|prefix| prefix.parts().next().is_some());
        let old = move |meta: ObjectMeta| async move {
            let put_ms = u64::try_from(meta.last_modified.timestamp_millis()).unwrap_or(0);
            let name = meta.location.filename().unwrap_or_default().to_owned();
            Ok((put_ms < put_before_ms && is_file_name(&name)).then_some(name))
        };
        self.backend.list(prefix).map_err(io_error).try_filter_map(old).boxed()
    }

    async fn delete(&self, name: &str) -> io::Result<()> {
        match self.backend.delete(&self.path(name)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(io_error(error)),
        }
    }
}

/// Removes what a crash has left of files that were being written: `name#1`, which object_store itself never lists.
fn remove_staged(folder: &std::path::Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let staged = name.to_str().and_then(|name| name.split_once('#'));
        if staged.is_some_and(|(_, number)| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn put_failure(error: object_store::Error) -> Failure {
    match error {
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
            Failure::of_ours(Code::StorageAccessDenied, error.to_string())
        }
        other => Failure::of_ours(Code::StorageReturnedTransientError, other.to_string()),
    }
}

fn io_error(error: object_store::Error) -> io::Error {
    match error {
        object_store::Error::NotFound { .. } => io::Error::new(io::ErrorKind::NotFound, error),
        other => io::Error::other(other),
    }
}

/// One client for all stores: object_store's own follows redirects, and building one costs milliseconds.
#[derive(Debug)]
struct SharedClient(reqwest::Client);

impl HttpConnector for SharedClient {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_crash_left_half_written_is_gone_at_the_next_start() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().display().to_string();
        let config = Config::load(None, &|name| (name == "SNAPHOOK_DATA_DIR").then(|| data_dir.clone())).unwrap();
        let open = || Store::open(&config, reqwest::Client::new()).unwrap();
        let name = format!("{}.png", "a".repeat(48));
        open().put(&name, "image/png", Bytes::from_static(b"whole")).await.unwrap();
        let files = folder.path().join("files");
        std::fs::write(files.join("b.png#1"), b"ha").unwrap();
        // It is the store's own way to write that is meant: nothing else looks like it, and nothing else is removed.
        std::fs::write(files.join("c#x"), b"other").unwrap();
        let store = open();
        let mut left: Vec<String> =
            std::fs::read_dir(&files).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        assert_eq!(left, [name.as_str(), "c#x"]);
        let listed: Vec<String> = store.names(u64::MAX).try_collect().await.unwrap();
        assert_eq!(listed, [name]);
    }
}
