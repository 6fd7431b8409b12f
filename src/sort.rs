//! An external sort for rows of any type: what does not fit in memory waits in sorted runs on disk.
//!
//! Rows come back in the order of their `Ord`, exactly as many as were pushed: a run that lost its end on disk is
//! an error, never a shorter answer. Memory holds one run of rows at a time while pushing, and one row a run while
//! reading. The runs are files without a name that matters: they live in a folder of their own below the one that
//! the caller passes, and go with it when the sorter or its iterator is dropped.

use std::cmp::Ordering;
use std::fmt;
use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use extsort::{ExternalSorter, PushExternalSorter, Sortable, SortedIterator};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;

/// Rows held in memory before they go to disk as one sorted run.
///
/// A row of a live set is some 400 bytes with its strings, so a run stays near 32 MiB, far below the 512 MiB that
/// planning may take even with keys at their longest. Each run is one open file while reading: a million rows make
/// 16, and the usual limit of 1,024 open files is reached at sixty million.
const RUN_ROWS: usize = 64 * 1024;

/// Runs from which a heap merges them; fewer are merged faster by looking at each.
const HEAP_FROM_RUNS: usize = 16;

/// An encoded row longer than this is taken for a damaged run: no row of ours comes near it.
const ROW_LIMIT: u32 = 256 * 1024 * 1024;

/// A sort that could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum SortError {
    /// The folder for the runs could not be made.
    #[error("create a folder for sorting below {}", folder.display())]
    Folder {
        /// Where it was to be.
        folder: std::path::PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// A run could not be written.
    #[error("write rows that are being sorted to disk")]
    Write(#[source] io::Error),
    /// A run could not be read back.
    #[error("read rows that are being sorted from disk")]
    Read(#[source] io::Error),
    /// Fewer rows came back than went in.
    #[error("{missing} rows that were being sorted have vanished from disk")]
    Lost {
        /// How many.
        missing: u64,
    },
}

/// Whether a disk had no room.
pub(crate) fn is_disk_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

impl SortError {
    /// Whether the disk had no room.
    pub(crate) fn is_of_a_full_disk(&self) -> bool {
        match self {
            Self::Folder { source, .. } | Self::Write(source) => is_disk_full(source),
            Self::Read(_) | Self::Lost { .. } => false,
        }
    }
}

/// Takes rows in any order; see [`Sorter::finish`].
pub struct Sorter<T: Row> {
    rows: PushExternalSorter<Spilled<T>, Compare<T>>,
    pushed: u64,
    run_rows: u64,
    // Dropped after `rows`, whose files lie in it.
    folder: TempDir,
}

/// A type whose values can be sorted: anything with an order that can be written and read back.
pub trait Row: Serialize + DeserializeOwned + Ord + Send {}

impl<T: Serialize + DeserializeOwned + Ord + Send> Row for T {}

type Compare<T> = fn(&Spilled<T>, &Spilled<T>) -> Ordering;

impl<T: Row> Sorter<T> {
    /// Starts a sort whose runs go into a fresh folder below `spill`.
    ///
    /// # Errors
    /// [`SortError::Folder`].
    pub fn new(spill: &Path) -> Result<Self, SortError> {
        Self::with_run_rows(spill, RUN_ROWS)
    }

    fn with_run_rows(spill: &Path, run_rows: usize) -> Result<Self, SortError> {
        let folder = tempfile::Builder::new()
            .prefix("sort-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(spill)
            .map_err(|source| SortError::Folder {
                folder: spill.to_owned(),
                source,
            })?;
        let compare: Compare<T> = |a, b| a.0.cmp(&b.0);
        let rows = ExternalSorter::new()
            .with_segment_size(run_rows)
            .with_heap_iter_segment_count(HEAP_FROM_RUNS)
            .with_sort_dir(folder.path().to_owned())
            .pushed_by(compare);
        Ok(Self {
            rows,
            pushed: 0,
            run_rows: run_rows as u64,
            folder,
        })
    }

    /// Makes the files of the next runs, which the sorter would make as the umask says.
    fn make_runs(&self) -> io::Result<()> {
        let next = self.pushed / self.run_rows;
        for run in [next.saturating_sub(1), next] {
            File::options()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(self.folder.path().join(run.to_string()))?;
        }
        Ok(())
    }

    /// Adds a row.
    ///
    /// # Errors
    /// [`SortError::Write`] when a run had to go to disk and could not.
    pub fn push(&mut self, row: T) -> Result<(), SortError> {
        self.rows
            .push(Spilled(Some(row)))
            .map_err(SortError::Write)?;
        self.pushed += 1;
        // Before the sorter writes one: it does so above this number of rows.
        if self.pushed.is_multiple_of(self.run_rows) {
            self.make_runs().map_err(SortError::Write)?;
        }
        Ok(())
    }

    /// How many rows were pushed.
    pub fn len(&self) -> u64 {
        self.pushed
    }

    /// Whether no row was pushed.
    pub fn is_empty(&self) -> bool {
        self.pushed == 0
    }

    /// Ends the pushing and returns the rows in order. Rows that compare equal come in any order.
    ///
    /// # Errors
    /// [`SortError::Write`] and [`SortError::Read`], as the last run goes out and the first rows come back.
    pub fn finish(mut self) -> Result<Sorted<T>, SortError> {
        // A sorter of which all rows have just gone to disk forgets them: it reads runs only beside rows in memory.
        if self.pushed > 0 && self.pushed.is_multiple_of(self.run_rows + 1) {
            self.rows.push(Spilled(None)).map_err(SortError::Write)?;
        }
        Ok(Sorted {
            rows: self.rows.done().map_err(SortError::Write)?,
            left: self.pushed,
            failed: false,
            _folder: self.folder,
        })
    }
}

impl<T: Row> fmt::Debug for Sorter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sorter")
            .field("pushed", &self.pushed)
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

/// The rows of a [`Sorter`], in order. Ends after the first error.
pub struct Sorted<T: Row> {
    rows: SortedIterator<Spilled<T>, Compare<T>>,
    left: u64,
    failed: bool,
    _folder: TempDir,
}

impl<T: Row> Iterator for Sorted<T> {
    type Item = Result<T, SortError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let row = match self.rows.find(|row| !matches!(row, Ok(Spilled(None)))) {
            Some(Ok(Spilled(Some(row)))) => {
                self.left = self.left.saturating_sub(1);
                return Some(Ok(row));
            }
            Some(Err(error)) => Err(SortError::Read(error)),
            None if self.left > 0 => Err(SortError::Lost { missing: self.left }),
            Some(Ok(Spilled(None))) | None => return None,
        };
        self.failed = true;
        Some(row)
    }
}

impl<T: Row> fmt::Debug for Sorted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sorted")
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

/// A row as a run holds it: the length of its JSON in four bytes, then the JSON. None is no row, of no bytes.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Spilled<T>(Option<T>);

impl<T: Row> Sortable for Spilled<T> {
    fn encode<W: Write>(&self, writer: &mut W) -> io::Result<()> {
        let json = match &self.0 {
            Some(row) => serde_json::to_vec(row)?,
            None => Vec::new(),
        };
        let length = u32::try_from(json.len())
            .ok()
            .filter(|&length| length <= ROW_LIMIT)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a row is too long"))?;
        writer.write_all(&length.to_le_bytes())?;
        writer.write_all(&json)
    }

    fn decode<R: Read>(reader: &mut R) -> io::Result<Self> {
        // The sorter takes `UnexpectedEof` for the end of a run, which is right only between rows.
        let mut length = [0; 4];
        reader.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length);
        if length > ROW_LIMIT {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a run is damaged",
            ));
        }
        if length == 0 {
            return Ok(Self(None));
        }
        let mut json = Vec::new();
        reader.take(u64::from(length)).read_to_end(&mut json)?;
        serde_json::from_slice(&json)
            .map(|row| Self(Some(row)))
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: u64) -> impl Iterator<Item = (u64, String)> {
        (0..count).map(move |n| ((n * 7919) % count, format!("row {n}")))
    }

    fn sorted(spill: &Path, run_rows: usize, count: u64) -> Sorted<(u64, String)> {
        let mut sorter = Sorter::with_run_rows(spill, run_rows).unwrap();
        for row in numbers(count) {
            sorter.push(row).unwrap();
        }
        assert_eq!(sorter.len(), count);
        sorter.finish().unwrap()
    }

    #[test]
    fn rows_come_back_in_order_from_memory_few_runs_and_many() {
        let spill = tempfile::tempdir().unwrap();
        for run_rows in [10_000, 400, 13] {
            let rows: Result<Vec<_>, _> = sorted(spill.path(), run_rows, 2000).collect();
            let mut expected: Vec<_> = numbers(2000).collect();
            expected.sort();
            assert_eq!(rows.unwrap(), expected, "{run_rows}");
        }
    }

    #[test]
    fn folder_is_gone_once_the_rows_are_dropped_and_two_sorts_do_not_meet() {
        let spill = tempfile::tempdir().unwrap();
        let one = sorted(spill.path(), 10, 100);
        let two = sorted(spill.path(), 10, 50);
        assert_eq!(one.count(), 100);
        assert_eq!(two.count(), 50);
        assert_eq!(std::fs::read_dir(spill.path()).unwrap().count(), 0);
    }

    #[test]
    fn as_many_rows_as_just_fill_runs_are_all_there() {
        let spill = tempfile::tempdir().unwrap();
        for (run_rows, count) in [(10, 11), (10, 22), (1, 2), (1, 4), (3, 80)] {
            let rows: Result<Vec<_>, _> = sorted(spill.path(), run_rows, count).collect();
            assert_eq!(rows.unwrap().len() as u64, count, "{run_rows}");
        }
    }

    #[test]
    fn runs_are_their_owner_s_alone_however_many_there_are() {
        let spill = tempfile::tempdir().unwrap();
        for (run_rows, count) in [(10, 11), (10, 12), (10, 100), (1, 7), (2, 6), (10, 109)] {
            let sorted = sorted(spill.path(), run_rows, count);
            let folder = std::fs::read_dir(spill.path()).unwrap().next().unwrap();
            let folder = folder.unwrap().path();
            let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(&folder), 0o700);
            let runs: Vec<_> = std::fs::read_dir(&folder).unwrap().flatten().collect();
            assert!(!runs.is_empty());
            for run in runs {
                assert_eq!(
                    mode(&run.path()),
                    0o600,
                    "{run_rows} {count} {:?}",
                    run.file_name()
                );
            }
            assert_eq!(sorted.count() as u64, count);
        }
    }

    #[test]
    fn run_that_lost_its_end_is_an_error() {
        for keep in [0, 3, 100] {
            let spill = tempfile::tempdir().unwrap();
            let rows = sorted(spill.path(), 600, 2000);
            let folder = std::fs::read_dir(spill.path()).unwrap().next().unwrap();
            let run = folder.unwrap().path().join("1");
            // Shorter than what the first buffer of the reader has taken in is not seen; cut and look again.
            let file = std::fs::OpenOptions::new().write(true).open(run).unwrap();
            file.set_len(9000 + keep).unwrap();
            let rows: Vec<_> = rows.collect();
            assert!(rows.len() < 2000, "{keep}");
            assert!(rows.last().unwrap().is_err(), "{keep}");
            assert_eq!(rows.iter().filter(|row| row.is_err()).count(), 1);
        }
    }

    #[test]
    fn spill_folder_that_is_not_there_is_named() {
        let error = Sorter::<u64>::new(Path::new("/nowhere/at/all")).unwrap_err();
        assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
    }
}
