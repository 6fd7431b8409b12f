//! Reads a live table through [`ReadStore`]: its log listing and its files, each hashed while it is read.
//!
//! Only reads. What a listing or a file says is not believed here; the planner compares it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use futures::TryStreamExt;

use self::outside::Outside;
use crate::ids::{Location, ObjectKey, Version};
use crate::spool::{self, IN_MEMORY_LIMIT};
use crate::store::{Attributes, ObjectReader, Payload, ReadStore, StoreError, StoreErrorKind};

pub mod outside;

/// The folder of a table's log.
pub const LOG_PREFIX: &str = "_delta_log/";

/// The most bytes of a log file, which is read whole into the temporary folder first: the checkpoint of a table of fifty million
/// files in one file, or a commit of as many.
pub(crate) const LOG_FILE_MAX: u64 = 16 * 1024 * 1024 * 1024;

/// The most files of a log that are listed: some 400 bytes of memory each. A log of two million commits has not been cleaned up for
/// weeks of one a second.
const LOG_FILES_MAX: usize = 2_000_000;

/// Opens the store that holds a file outside the table's root: its URI in, the store and the key out.
pub type OpenOutside =
    Arc<dyn Fn(&str) -> Result<(Arc<dyn ReadStore>, ObjectKey), StoreError> + Send + Sync>;

/// A table as it lives.
#[derive(Clone)]
pub struct Source {
    root: Arc<dyn ReadStore>,
    outside: OpenOutside,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Source").field(&self.root.uri()).finish()
    }
}

/// A file that was read whole.
#[derive(Debug)]
pub struct Fetched {
    /// What the store said of it when it was opened.
    pub attributes: Attributes,
    /// Its bytes and their digest.
    pub payload: Payload,
}

impl Source {
    /// A table below `root`; `outside` opens the files that its log names elsewhere.
    pub fn new(root: Arc<dyn ReadStore>, outside: OpenOutside) -> Self {
        Self { root, outside }
    }

    /// The same, that opens files outside the root only where they are listed.
    #[must_use]
    pub fn limited_to(&self, listed: &Outside) -> Self {
        let (open, listed) = (Arc::clone(&self.outside), listed.clone());
        let outside: OpenOutside = Arc::new(move |uri| {
            if listed.place_of(uri).is_some() {
                return open(uri);
            }
            let reason = "it lies outside the table's folder, where its owner lists no place";
            Err(StoreError {
                action: "open",
                uri: uri.to_owned(),
                kind: StoreErrorKind::Unsupported {
                    reason: reason.to_owned(),
                },
            })
        });
        Self {
            root: Arc::clone(&self.root),
            outside,
        }
    }

    /// The store at the table's root.
    pub fn root(&self) -> &Arc<dyn ReadStore> {
        &self.root
    }

    /// The table's URI.
    pub fn uri(&self) -> &str {
        self.root.uri()
    }

    /// Lists those files of the log's folder that are wanted, from the files of version `from` on or all of it.
    ///
    /// # Errors
    /// What the store says; [`StoreErrorKind::Unsupported`] for more than two million.
    pub async fn list_log(
        &self,
        from: Option<Version>,
        is_wanted: fn(&ObjectKey) -> bool,
    ) -> Result<Vec<Attributes>, StoreError> {
        let start = from.map(|version| format!("{LOG_PREFIX}{:020}", version.0));
        let mut listed = self.root.list(LOG_PREFIX, start.as_deref());
        let mut files = Vec::new();
        while let Some(file) = listed.try_next().await? {
            if !is_wanted(&file.key) {
                continue;
            }
            if files.len() == LOG_FILES_MAX {
                let reason = format!("it holds more than {LOG_FILES_MAX} files of the log");
                return Err(StoreError {
                    action: "list",
                    uri: format!("{}/{LOG_PREFIX}", self.uri()),
                    kind: StoreErrorKind::Unsupported { reason },
                });
            }
            files.push(file);
        }
        Ok(files)
    }

    /// Finds the store and the key of a file.
    ///
    /// # Errors
    /// A file outside the root that cannot be reached.
    pub fn locate(&self, file: &Location) -> Result<(Arc<dyn ReadStore>, ObjectKey), StoreError> {
        match file {
            Location::Inside(key) => Ok((Arc::clone(&self.root), key.clone())),
            Location::Outside(uri) => (self.outside)(uri),
        }
    }

    /// Reads one file whole: in memory when it is small, else into `folder`.
    ///
    /// # Errors
    /// What the store says; a body that ends early or runs on is an error, too.
    pub async fn fetch(&self, file: &Location, folder: &Path) -> Result<Fetched, StoreError> {
        let (store, key) = self.locate(file)?;
        let reader = store.open(&key, None, None).await?;
        collect(store.as_ref(), reader, IN_MEMORY_LIMIT, folder).await
    }

    /// As [`Source::fetch`], for a file of the log: nothing is read of one that is larger than such a file may be.
    ///
    /// # Errors
    /// As [`Source::fetch`]; [`StoreErrorKind::TooLarge`].
    pub async fn fetch_log(&self, file: &Location, folder: &Path) -> Result<Fetched, StoreError> {
        let (store, key) = self.locate(file)?;
        let reader = store.open(&key, None, None).await?;
        let (size, limit) = (reader.attributes.size, LOG_FILE_MAX);
        if size > limit {
            let kind = StoreErrorKind::TooLarge { size, limit };
            return Err(StoreError::below("read", store.uri(), key.as_str(), kind));
        }
        collect(store.as_ref(), reader, IN_MEMORY_LIMIT, folder).await
    }

    /// Asks for one file's attributes.
    ///
    /// # Errors
    /// What the store says.
    pub async fn attributes(&self, file: &Location) -> Result<Attributes, StoreError> {
        let (store, key) = self.locate(file)?;
        store.attributes(&key, None).await
    }
}

/// Reads an opened file to its end: in memory up to `limit` bytes, else into `folder`.
pub(crate) async fn collect(
    store: &dyn ReadStore,
    reader: ObjectReader,
    limit: u64,
    folder: &Path,
) -> Result<Fetched, StoreError> {
    let attributes = reader.attributes.clone();
    let uri = || format!("{}/{}", store.uri(), attributes.key);
    let payload = spool::collect(reader, limit, folder, uri).await?;
    Ok(Fetched {
        attributes,
        payload,
    })
}
