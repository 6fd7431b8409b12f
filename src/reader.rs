//! The independent reader: a table opened by the `deltalake` crate, which shares no code with the vault's own
//! reading of the log. A table that it opens has a second witness; one that it refuses may still be good, because it
//! does not know every feature.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use deltalake::{DeltaTable, DeltaTableBuilder, DeltaTableError, ensure_table_uri};
use futures::{FutureExt as _, TryStreamExt as _};

use self::shared_store::SharedStore;
use crate::ids::Version;
use crate::store::{ReadStore, RestoreStore};

mod shared_store;

/// Live files are counted up to this many: opening a version reads little more than its protocol and schema, counting
/// reads every add of every checkpoint.
const COUNTED_AT_MOST: u64 = 20_000;

/// The URI under which `deltalake` opens a table in one of our stores.
const SHARED_ROOT: &str = "memory:///";

/// Where `deltalake` finds a table.
#[derive(Debug, Clone)]
pub enum TableStore {
    /// In a folder, which it opens itself.
    Folder(PathBuf),
    /// At the root of a store that it may only read.
    ReadOnly(Arc<dyn ReadStore>),
    /// At the root of a store that it may also write to.
    Writable(Arc<dyn RestoreStore>),
}

impl From<&TableStore> for TableStore {
    fn from(store: &TableStore) -> Self {
        store.clone()
    }
}

impl<P: AsRef<Path> + ?Sized> From<&P> for TableStore {
    fn from(folder: &P) -> Self {
        Self::Folder(folder.as_ref().to_owned())
    }
}

impl TableStore {
    fn builder(&self) -> Result<DeltaTableBuilder, ReaderError> {
        let shared = match self {
            Self::Folder(folder) => {
                let uri = ensure_table_uri(folder.to_string_lossy())?;
                return Ok(DeltaTableBuilder::from_url(uri)?);
            }
            Self::ReadOnly(store) => SharedStore::read_only(Arc::clone(store)),
            Self::Writable(store) => SharedStore::writable(Arc::clone(store)),
        };
        let uri = ensure_table_uri(SHARED_ROOT)?;
        let builder = DeltaTableBuilder::from_url(uri.clone())?;
        Ok(builder.with_storage_backend(Arc::new(shared), uri))
    }

    /// A table that is still to be made there.
    ///
    /// # Errors
    /// [`ReaderError`].
    pub(crate) fn build(&self) -> Result<DeltaTable, ReaderError> {
        Ok(self.builder()?.build()?)
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

impl From<DeltaTableError> for ReaderError {
    fn from(error: DeltaTableError) -> Self {
        Self::Refused(Box::new(error))
    }
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
        /// What they are about.
        about: RefusalCause,
    },
}

/// What a refusal of the reader is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalCause {
    /// The table uses something that this reader does not know: that says nothing about the table.
    Features,
    /// The reader panicked: that says nothing about the table either.
    Reader,
    /// The log cannot be read as it is.
    Log,
}

/// Opens the table at `store`, at a version or the newest.
///
/// # Errors
/// [`ReaderError`].
pub(crate) async fn open(
    store: &TableStore,
    version: Option<Version>,
) -> Result<DeltaTable, ReaderError> {
    // deltalake makes the folder of a local table that is not there.
    if let TableStore::Folder(folder) = store
        && !folder.is_dir()
    {
        return Err(ReaderError::NoFolder {
            folder: folder.display().to_string(),
        });
    }
    let builder = match version {
        Some(Version(version)) => store.builder()?.with_version(version),
        None => store.builder()?,
    };
    Ok(builder.load().await?)
}

/// Lets `deltalake` open the table at `store` at a version, which has about so many live files, and count them where
/// that does not take long.
pub async fn judge(store: impl Into<TableStore>, version: Version, about: u64) -> Verdict {
    match list(&store.into(), version, about).await {
        Ok((version, files)) => Verdict::Opens {
            version,
            files: files.map(|files| files.len() as u64),
        },
        Err(refusal) => refusal,
    }
}

/// A live file as `deltalake` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedFile {
    /// Its path in the log, percent-decoded.
    pub path: String,
    /// Its rows by its statistics, without those that its deletion vector deletes.
    pub rows: Option<u64>,
}

/// Whether the live files of a table that has about so many are listed.
pub fn is_counted(about: u64) -> bool {
    about <= COUNTED_AT_MOST
}

/// Lets `deltalake` open the table at `store` at a version, which has about so many live files, and list them where that
/// does not take long.
///
/// # Errors
/// [`Verdict::Refuses`].
pub async fn list(
    store: &TableStore,
    version: Version,
    about: u64,
) -> Result<(Version, Option<Vec<ListedFile>>), Verdict> {
    caught(list_files(store, version, about)).await
}

/// Readers at work in this process.
static AT_WORK: AtomicUsize = AtomicUsize::new(0);

/// Whether `deltalake` is reading something now. Its panics are caught and reported as reasons, so a panic hook should
/// print nothing then.
pub fn is_at_work() -> bool {
    AT_WORK.load(Ordering::SeqCst) > 0
}

struct AtWork;

impl AtWork {
    fn begin() -> Self {
        AT_WORK.fetch_add(1, Ordering::SeqCst);
        Self
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        AT_WORK.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Lets `deltalake` work; what it fails with, and a panic, is a refusal.
async fn caught<T>(work: impl Future<Output = Result<T, ReaderError>>) -> Result<T, Verdict> {
    let _at_work = AtWork::begin();
    // It panics on some tables that it does not know; that says nothing about the table.
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => {
            let reason = reasons(&error);
            Err(Verdict::Refuses {
                about: refusal_cause(&reason),
                reason,
            })
        }
        Err(panic) => {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            let said = said.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(Verdict::Refuses {
                reason: match said {
                    Some(said) => format!("the reader panicked: {}", one_line(said)),
                    None => "the reader panicked".to_owned(),
                },
                about: RefusalCause::Reader,
            })
        }
    }
}

/// Tells a table that the reader does not know from one that is damaged. Its own types for that are not public, their
/// texts are what there is.
fn refusal_cause(reason: &str) -> RefusalCause {
    let of_features = [
        "Unsupported: ",
        "Max catalog version",
        "Invalid column mapping mode",
    ];
    if of_features.iter().any(|text| reason.contains(text)) {
        RefusalCause::Features
    } else {
        RefusalCause::Log
    }
}

async fn list_files(
    store: &TableStore,
    version: Version,
    about: u64,
) -> Result<(Version, Option<Vec<ListedFile>>), ReaderError> {
    let table = open(store, Some(version)).await?;
    let files = if is_counted(about) {
        let files = table.get_active_add_actions_by_partitions(&[]);
        let shown = files.map_ok(|file| {
            let rows = file.num_records().and_then(|rows| u64::try_from(rows).ok());
            // It panics on the descriptor of an invalid vector, which readers of the table never ask for.
            let vector = catch_unwind(AssertUnwindSafe(|| file.deletion_vector_descriptor()));
            let deleted = match vector {
                Ok(Some(vector)) => u64::try_from(vector.cardinality).ok(),
                Ok(None) => Some(0),
                Err(_) => None,
            };
            ListedFile {
                path: file.path().into_owned(),
                rows: rows
                    .zip(deleted)
                    .map(|(rows, deleted)| rows.saturating_sub(deleted)),
            }
        });
        Some(shown.try_collect().await?)
    } else {
        None
    };
    let opened = table.version().ok_or(DeltaTableError::NotInitialized)?;
    Ok((Version(opened), files))
}

/// The innermost reasons of an error, each once, on one line.
fn reasons(error: &ReaderError) -> String {
    let first: &dyn std::error::Error = error;
    let mut said: Vec<String> = Vec::new();
    for error in std::iter::successors(Some(first), |error| error.source()) {
        let text = one_line(&error.to_string());
        // Many of its errors repeat their cause in their own text.
        if said.last().is_none_or(|last| !last.contains(&text)) {
            said.push(text);
        }
    }
    said.join(": ")
}

/// A text on one line, without the stack that some errors print behind it where `RUST_BACKTRACE` is set.
fn one_line(text: &str) -> String {
    let is_frame = |line: &str| {
        let number = line.trim_start().split_once(": ").map(|(number, _)| number);
        number.is_some_and(|number| number.parse::<u32>().is_ok())
    };
    let lines = text.lines().take_while(|line| !is_frame(line));
    let lines = lines.map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::make_table;

    #[tokio::test]
    async fn a_version_that_is_there_opens_and_one_that_is_not_is_refused_with_a_reason() {
        let folder = tempfile::tempdir().unwrap();
        let newest = make_table(folder.path()).await.unwrap();
        let version = newest;
        for (about, files) in [(7, Some(7)), (COUNTED_AT_MOST + 1, None)] {
            let opens = judge(folder.path(), newest, about).await;
            assert_eq!(opens, Verdict::Opens { version, files });
        }
        let Verdict::Refuses { reason, .. } = judge(folder.path(), newest.next(), 7).await else {
            panic!("a version that does not exist was opened");
        };
        assert!(!reason.is_empty() && !reason.contains('\n'), "{reason}");
    }

    #[tokio::test]
    async fn a_log_that_is_damaged_and_a_feature_that_is_not_known_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let version = make_table(folder.path()).await.unwrap();
        let log = folder.path().join("_delta_log");
        for file in std::fs::read_dir(&log).unwrap() {
            let path = file.unwrap().path();
            if path.to_string_lossy().contains("checkpoint") {
                std::fs::remove_file(path).unwrap();
            }
        }
        let commit = log.join("00000000000000000001.json");
        let good = std::fs::read_to_string(&commit).unwrap();
        let catalog = r#"{"protocol":{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":["catalogManaged"],"writerFeatures":["catalogManaged"]}}"#;
        let newer = r#"{"protocol":{"minReaderVersion":9,"minWriterVersion":9}}"#;
        for (bytes, wanted) in [
            (format!("{good}\n{catalog}\n"), RefusalCause::Features),
            (format!("{good}\n{newer}\n"), RefusalCause::Features),
            (good.replace('{', "\u{1}"), RefusalCause::Log),
            ("PAR1".to_owned(), RefusalCause::Log),
        ] {
            std::fs::write(&commit, &bytes).unwrap();
            let judged = judge(folder.path(), version, 7).await;
            let Verdict::Refuses { about, reason } = judged else {
                panic!("{bytes:?} opens");
            };
            assert_eq!(about, wanted, "{reason}");
            assert!(!reason.contains('\n'), "{reason}");
        }
        assert!(!is_at_work());
    }

    #[test]
    fn a_stack_behind_an_error_is_cut_off() {
        let text = "Invalid JSON\nat line 1\n   0: std::backtrace::Backtrace::create\n             at /rustc/a.rs:1:5\n  \
                    17: main\n";
        assert_eq!(one_line(text), "Invalid JSON at line 1");
        assert_eq!(
            one_line("no stack: 12: is a part"),
            "no stack: 12: is a part"
        );
    }

    #[tokio::test]
    async fn a_panic_of_the_reader_is_a_refusal_with_its_words() {
        let judged = caught::<()>(async { panic!("index out of\nbounds") }).await;
        let Err(Verdict::Refuses { reason, about }) = judged else {
            panic!("a panic went through");
        };
        assert_eq!(reason, "the reader panicked: index out of bounds");
        assert_eq!(about, RefusalCause::Reader);
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
