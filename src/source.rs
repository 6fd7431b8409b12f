//! Reads a live table through [`ReadStore`]: its log listing and its files, each hashed while it is read.
//!
//! Only reads. What a listing or a file says is not believed here; the planner compares it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use futures::TryStreamExt;

use crate::ids::{Location, ObjectKey, Version};
use crate::spool::{self, IN_MEMORY_LIMIT};
use crate::store::{Attributes, ObjectReader, Payload, ReadStore, StoreError};

/// The folder of a table's log.
pub const LOG_PREFIX: &str = "_delta_log/";

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

    /// The store at the table's root.
    pub fn root(&self) -> &Arc<dyn ReadStore> {
        &self.root
    }

    /// The table's URI.
    pub fn uri(&self) -> &str {
        self.root.uri()
    }

    /// Lists the log, from the files of version `from` on or all of it.
    ///
    /// # Errors
    /// What the store says.
    pub async fn list_log(&self, from: Option<Version>) -> Result<Vec<Attributes>, StoreError> {
        let start = from.map(|version| format!("{LOG_PREFIX}{:020}", version.0));
        self.root
            .list(LOG_PREFIX, start.as_deref())
            .try_collect()
            .await
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
