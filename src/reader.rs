//! The independent reader: a table opened by the `deltalake` crate, which shares no code with the vault's own
//! reading of the log. What it opens is proven by somebody else; what it refuses may still be a good table, because
//! it does not know every feature.

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use deltalake::{DeltaTable, DeltaTableBuilder, DeltaTableError, ensure_table_uri};
use futures::{FutureExt as _, TryStreamExt as _};

use self::lent::Lent;
use crate::ids::Version;
use crate::store::{ReadStore, RestoreStore};

mod lent;

/// Live files are counted up to this many: opening a version reads little more than its protocol and schema, counting
/// reads every add of every checkpoint.
const COUNTED_AT_MOST: u64 = 20_000;

/// What `deltalake` calls the place of a table that is reached through one of our stores.
const LENT_ROOT: &str = "memory:///";

/// Where `deltalake` finds a table.
#[derive(Debug, Clone)]
pub enum Lake {
    /// In a folder, which it opens itself.
    Folder(PathBuf),
    /// At the root of a store that is lent to it for reading.
    Store(Arc<dyn ReadStore>),
    /// At the root of a store that it may also write to.
    Writable(Arc<dyn RestoreStore>),
}

impl From<&Lake> for Lake {
    fn from(lake: &Lake) -> Self {
        lake.clone()
    }
}

impl From<&Path> for Lake {
    fn from(folder: &Path) -> Self {
        Self::Folder(folder.to_owned())
    }
}

impl From<&PathBuf> for Lake {
    fn from(folder: &PathBuf) -> Self {
        Self::Folder(folder.clone())
    }
}

impl Lake {
    fn builder(&self) -> Result<DeltaTableBuilder, ReaderError> {
        let refused = |error| ReaderError::Refused(Box::new(error));
        let lent = match self {
            Self::Folder(folder) => {
                let uri = ensure_table_uri(folder.to_string_lossy()).map_err(refused)?;
                return DeltaTableBuilder::from_url(uri).map_err(refused);
            }
            Self::Store(store) => Lent::to_read(Arc::clone(store)),
            Self::Writable(store) => Lent::to_write(Arc::clone(store)),
        };
        let uri = ensure_table_uri(LENT_ROOT).map_err(refused)?;
        let builder = DeltaTableBuilder::from_url(uri.clone()).map_err(refused)?;
        Ok(builder.with_storage_backend(Arc::new(lent), uri))
    }

    /// A table that is still to be made there.
    ///
    /// # Errors
    /// [`ReaderError`].
    pub(crate) fn build(&self) -> Result<DeltaTable, ReaderError> {
        let refused = |error| ReaderError::Refused(Box::new(error));
        self.builder()?.build().map_err(refused)
    }
}

/// A table that `deltalake` did not open.
#[derive(Debug, thiserror::Error)]
pub enum ReaderError {
    /// There is no such folder.
    #[error("there is no folder {folder}")]
    NoFolder {
        /// The folder.
        folder: String,
    },
    /// It refused.
    #[error("open the table")]
    Refused(#[source] Box<DeltaTableError>),
}

/// What `deltalake` made of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It opened it.
    Opens {
        /// The version.
        version: Version,
        /// Live files, where they were counted.
        files: Option<u64>,
    },
    /// It did not, and says why.
    Refuses {
        /// Its reasons, from the outermost to the innermost.
        reason: String,
    },
}

/// Opens the table at `lake`, at a version or the newest.
///
/// # Errors
/// [`ReaderError`].
pub(crate) async fn open(lake: &Lake, version: Option<Version>) -> Result<DeltaTable, ReaderError> {
    // deltalake makes the folder of a local table that is not there.
    if let Lake::Folder(folder) = lake
        && !folder.is_dir()
    {
        return Err(ReaderError::NoFolder {
            folder: folder.display().to_string(),
        });
    }
    let refused = |error| ReaderError::Refused(Box::new(error));
    let builder = match version {
        Some(Version(version)) => lake.builder()?.with_version(version),
        None => lake.builder()?,
    };
    builder.load().await.map_err(refused)
}

/// Lets `deltalake` open the table at `lake` at a version, which has about so many live files, and count them where
/// that does not take long.
pub async fn judge(lake: impl Into<Lake>, version: Version, about: u64) -> Verdict {
    let lake = &lake.into();
    // It panics on some tables that it does not know; that says nothing about the table.
    let opened = AssertUnwindSafe(count_files(lake, version, about)).catch_unwind();
    match opened.await {
        Ok(Ok((version, files))) => Verdict::Opens { version, files },
        Ok(Err(error)) => Verdict::Refuses {
            reason: reasons(&error),
        },
        Err(_) => Verdict::Refuses {
            reason: "it gave up in the middle".to_owned(),
        },
    }
}

async fn count_files(
    lake: &Lake,
    version: Version,
    about: u64,
) -> Result<(Version, Option<u64>), ReaderError> {
    let refused = |error| ReaderError::Refused(Box::new(error));
    let table = open(lake, Some(version)).await?;
    let files = if about > COUNTED_AT_MOST {
        None
    } else {
        let files = table.get_active_add_actions_by_partitions(&[]);
        let count = files.try_fold(0, async |files, _| Ok(files + 1));
        Some(count.await.map_err(refused)?)
    };
    let opened = table.version().ok_or(DeltaTableError::NotInitialized);
    Ok((Version(opened.map_err(refused)?), files))
}

/// The innermost reasons of an error, each once, on one line.
fn reasons(error: &ReaderError) -> String {
    let first: &dyn std::error::Error = error;
    let mut said: Vec<String> = Vec::new();
    for error in std::iter::successors(Some(first), |error| error.source()) {
        let text = error.to_string().replace('\n', " ");
        // Many of its errors repeat their cause in their own text.
        if said.last().is_none_or(|last| !last.contains(&text)) {
            said.push(text);
        }
    }
    said.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::table::make_table;

    #[tokio::test]
    async fn a_version_that_is_there_opens_and_one_that_is_not_is_refused_with_a_reason() {
        let folder = tempfile::tempdir().unwrap();
        let newest = make_table(folder.path()).await.unwrap();
        let version = newest;
        for (about, files) in [(7, Some(7)), (COUNTED_AT_MOST + 1, None)] {
            let opens = judge(folder.path(), newest, about).await;
            assert_eq!(opens, Verdict::Opens { version, files });
        }
        let Verdict::Refuses { reason } = judge(folder.path(), newest.next(), 7).await else {
            panic!("a version that does not exist was opened");
        };
        assert!(!reason.is_empty() && !reason.contains('\n'), "{reason}");
    }

    #[tokio::test]
    async fn a_folder_that_is_not_there_is_refused_and_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let absent = folder.path().join("orders");
        let verdict = judge(&absent, Version(0), 0).await;
        assert!(
            matches!(verdict, Verdict::Refuses { .. }) && !absent.exists(),
            "{verdict:?}"
        );
    }
}
