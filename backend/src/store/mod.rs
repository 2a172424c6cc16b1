//! Files in an object store: a local folder by default, a bucket by configuration. The only module that knows object_store.

mod place;
mod upload;

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, PutMultipartOptions,
    PutOptions, WriteMultipart,
};
use snaphook_shared::code::Code;

use crate::config::Config;
use crate::domain::failure::Failure;
use crate::domain::pipeline::is_file_name;
use crate::domain::ports::FileStore;
pub use upload::Uploader;

/// What is larger is sent to a bucket in parts, each of which is tried again by itself.
const PARTS_FROM_BYTES: usize = 16 * 1024 * 1024;
const PART_BYTES: usize = 8 * 1024 * 1024;
const PARTS_AT_ONCE: usize = 4;
const PUT_LIMIT: Duration = Duration::from_secs(60);
const PUT_BYTES_PER_SECOND_MIN: usize = 128 * 1024;

pub struct Store {
    backend: Arc<dyn ObjectStore>,
    prefix: Path,
    /// Local files have no attributes, and asking for them is an error there.
    keeps_attributes: bool,
}

/// Why the store of the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("[store] url must be empty, or s3://bucket/prefix, gs://bucket/prefix or az://container/prefix, not {0}")]
    Url(String),
    #[error("the local store {path}: {source}")]
    Folder { path: String, source: io::Error },
    #[error("the store: {0}")]
    Backend(#[from] object_store::Error),
}

impl Store {
    /// `client` is used for buckets; it follows no redirects.
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
        let (backend, prefix) = place::open(&config.store, client)?;
        Ok(Store { backend, prefix, keeps_attributes: true })
    }

    fn path(&self, name: &str) -> Path {
        self.prefix.clone().join(name)
    }
}

#[async_trait]
impl FileStore for Store {
    async fn put(&self, name: &str, content_type: &str, bytes: Bytes) -> Result<(), Failure> {
        let mut attributes = Attributes::default();
        if self.keeps_attributes {
            attributes = Attributes::from_iter([(Attribute::ContentType, content_type.to_owned())]);
        }
        let (path, length) = (self.path(name), bytes.len());
        let put = async {
            if !self.keeps_attributes || bytes.len() < PARTS_FROM_BYTES {
                let options = PutOptions { attributes, ..PutOptions::default() };
                return self.backend.put_opts(&path, bytes.into(), options).await.map(|_| ());
            }
            let options = PutMultipartOptions { attributes, ..PutMultipartOptions::default() };
            let upload = self.backend.put_multipart_opts(&path, options).await?;
            let mut parts = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
            for part in bytes.chunks(PART_BYTES) {
                if let Err(error) = parts.wait_for_capacity(PARTS_AT_ONCE).await {
                    // Parts that are left are paid for. `finish` does the same.
                    let _ = parts.abort().await;
                    return Err(error);
                }
                parts.put(bytes.slice_ref(part));
            }
            parts.finish().await.map(|_| ())
        };
        // A request holds its place while its file is put, and its lease as long as the database is well: so a bucket that takes
        // the bytes and says nothing has a time, after which the request is tried again, here or elsewhere.
        match tokio::time::timeout(put_limit(length), put).await {
            Ok(result) => result.map_err(put_failure),
            Err(_) => {
                Err(Failure::of_ours(Code::StorageReturnedTransientError, "the store did not take the file in time"))
            }
        }
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

/// How long a file of so many bytes may take: time for the store's client to try again, and for a slow way out.
fn put_limit(bytes: usize) -> Duration {
    PUT_LIMIT + Duration::from_secs((bytes / PUT_BYTES_PER_SECOND_MIN) as u64)
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
