//! The independent reader: a local table opened by the `deltalake` crate, which shares no code with the vault's own
//! reading of the log. What it opens is proven by somebody else; what it refuses may still be a good table, because
//! it does not know every feature.

use std::panic::AssertUnwindSafe;
use std::path::Path;

use deltalake::{DeltaTable, DeltaTableBuilder, DeltaTableError, ensure_table_uri};
use futures::{FutureExt as _, TryStreamExt as _};

use crate::ids::Version;

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
        /// Live files.
        files: u64,
    },
    /// It did not, and says why.
    Refuses {
        /// Its reasons, from the outermost to the innermost.
        reason: String,
    },
}

/// Opens the table at `folder`, at a version or the newest.
///
/// # Errors
/// [`ReaderError`].
pub(crate) async fn open(
    folder: &Path,
    version: Option<Version>,
) -> Result<DeltaTable, ReaderError> {
    // deltalake makes the folder of a local table that is not there.
    if !folder.is_dir() {
        return Err(ReaderError::NoFolder {
            folder: folder.display().to_string(),
        });
    }
    let refused = |error| ReaderError::Refused(Box::new(error));
    let uri = ensure_table_uri(folder.to_string_lossy()).map_err(refused)?;
    let builder = DeltaTableBuilder::from_url(uri).map_err(refused)?;
    let builder = match version {
        Some(Version(version)) => builder.with_version(version),
        None => builder,
    };
    builder.load().await.map_err(refused)
}

/// Lets `deltalake` open the table at `folder` at a version, and list the files of it.
pub async fn judge(folder: &Path, version: Version) -> Verdict {
    // It panics on some tables that it does not know; that says nothing about the table.
    let opened = AssertUnwindSafe(count_files(folder, version)).catch_unwind();
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

async fn count_files(folder: &Path, version: Version) -> Result<(Version, u64), ReaderError> {
    let refused = |error| ReaderError::Refused(Box::new(error));
    let table = open(folder, Some(version)).await?;
    let files = table
        .get_active_add_actions_by_partitions(&[])
        .try_fold(0, async |files, _| Ok(files + 1));
    let files = files.await.map_err(refused)?;
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
        let opens = judge(folder.path(), newest).await;
        let files = 7;
        let version = newest;
        assert_eq!(opens, Verdict::Opens { version, files });
        let Verdict::Refuses { reason } = judge(folder.path(), newest.next()).await else {
            panic!("a version that does not exist was opened");
        };
        assert!(!reason.is_empty() && !reason.contains('\n'), "{reason}");
    }

    #[tokio::test]
    async fn a_folder_that_is_not_there_is_refused_and_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let absent = folder.path().join("orders");
        let verdict = judge(&absent, Version(0)).await;
        assert!(
            matches!(verdict, Verdict::Refuses { .. }) && !absent.exists(),
            "{verdict:?}"
        );
    }
}
