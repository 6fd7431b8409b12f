//! The demo: a small real table is destroyed twice and comes back twice, and every step is proven by reading its
//! rows with the `deltalake` crate.
//!
//! The story is told here; what takes snapshots and restores is passed in, so that it is the same code that the
//! commands run. Nothing is printed: the story goes to `say`, line by line.

use deltalake::{DeltaTableError, ObjectStoreError};
use indicatif::{HumanBytes, HumanCount};

use deltavault::demo::{
    Rows, TableError, append_night, make_table, read_rows, update_region, vacuum_now,
};
use deltavault::ids::{SnapshotId, Version};
use deltavault::reader::TableStore;
use deltavault::shell::quoted;
use deltavault::vault::restore::RestoreDone;

use super::stage::Stage;
use crate::cli::error::CommandError;
use crate::cli::output::counted;

/// A snapshot, as the story tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken {
    /// The version that it holds.
    pub(crate) version: Version,
    /// Its id.
    pub(crate) snapshot: SnapshotId,
    /// Files that it holds.
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// Files that the vault had to take in.
    pub(crate) new_files: u64,
    /// Their bytes.
    pub(crate) new_bytes: u64,
}

/// What the story wants back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// That version's missing data files, under the live table.
    Heal(Version),
    /// The newest snapshot, in place.
    Newest,
}

/// A step of the demo did not come out as it must.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    /// The table itself could not be worked on.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A folder of the demo could not be worked on.
    #[error("{action} {path}")]
    Folder {
        /// What was tried.
        action: &'static str,
        /// The folder.
        path: String,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// A version that was put back has other rows than before.
    #[error(
        "version {} came back with {} rows, checksum {}, and had {} rows, checksum {}",
        before.version, after.count, after.checksum, before.count, before.checksum
    )]
    OtherRows {
        /// What it had.
        before: Rows,
        /// What it has.
        after: Rows,
    },
    /// A version that should have been lost can still be read.
    #[error("version {version} should not be readable here, and is")]
    StillReadable { version: Version },
}

/// Tells the story on `stage`, with a vault that stands there.
///
/// `snapshot` takes one of the demo's table, `restore` puts it back; `program` is how the tool is called in the
/// commands that the story ends with.
///
/// # Errors
/// Whatever fails, and [`DemoError`] when a step does not prove what it should.
pub(crate) async fn tell<S, R>(
    stage: &Stage,
    program: &str,
    snapshot: S,
    restore: R,
    say: &mut dyn FnMut(&str) -> Result<(), CommandError>,
) -> Result<(), CommandError>
where
    S: AsyncFn() -> Result<Taken, CommandError>,
    R: AsyncFn(Wish) -> Result<(Version, RestoreDone), CommandError>,
{
    let table = stage.store();
    let name = stage.name();
    say(stage.set_out())?;

    say("\nThree nights")?;
    make_table(&table).await.map_err(DemoError::from)?;
    let first_rows = rows(&table, None).await?;
    say(&format!(
        "  {name} is made by deltalake: partitioned by region, an UPDATE, a checkpoint: {}",
        told(&first_rows)
    ))?;
    let first = snapshot().await?;
    say(&format!("  night 1  {}", told_snapshot(&first)))?;

    append_night(&table, 4).await.map_err(DemoError::from)?;
    update_region(&table, "south")
        .await
        .map_err(DemoError::from)?;
    let second = snapshot().await?;
    say(&format!(
        "  night 2  after an append and an UPDATE: {}",
        told_snapshot(&second)
    ))?;

    append_night(&table, 5).await.map_err(DemoError::from)?;
    let third_rows = rows(&table, None).await?;
    let third = snapshot().await?;
    say(&format!(
        "  night 3  after an append: {}",
        told_snapshot(&third)
    ))?;

    say("\nVACUUM RETAIN 0 HOURS")?;
    let vacuumed = vacuum_now(&table).await.map_err(DemoError::from)?;
    say(&format!(
        "  deletes {} data files that only older versions need; the live table is v{}",
        vacuumed.deleted.len(),
        vacuumed.version
    ))?;
    let lost = unreadable(&table, first.version).await?;
    say(&format!(
        "  deltalake cannot read v{} any more: {lost}",
        first.version
    ))?;
    let (_, healed) = restore(Wish::Heal(first.version)).await?;
    say(&format!(
        "  restore --version {} --heal: {}",
        first.version,
        told_restore(&healed)
    ))?;
    let again = rows(&table, Some(first.version)).await?;
    same(&first_rows, &again)?;
    say(&format!(
        "  deltalake reads {}: the same rows as on night 1",
        told(&again)
    ))?;
    let live = rows(&table, None).await?;
    say(&format!("  the live table is untouched: {}", told(&live)))?;

    say("\nDROP TABLE")?;
    stage.drop_table().await?;
    say(&format!("  {name} is deleted: data, log and all"))?;
    let (version, restored) = restore(Wish::Newest).await?;
    say(&format!(
        "  restore --latest: v{version}, {}",
        told_restore(&restored)
    ))?;
    let back = rows(&table, None).await?;
    same(&third_rows, &back)?;
    say(&format!(
        "  deltalake reads {}: the same rows as on night 3",
        told(&back)
    ))?;

    say("\nLook around")?;
    let first = first.snapshot.short();
    let third = third.snapshot.short();
    if let Some(export) = stage.export() {
        say(&format!("  {export}"))?;
    }
    for command in [
        "snapshots".to_owned(),
        format!("show {third}"),
        format!("ls {third}"),
        format!("diff {first} {third}"),
        "verify --read all".to_owned(),
        format!(
            "restore {} --version {} --to {}",
            quoted(&stage.table()),
            second.version,
            quoted(&stage.copy())
        ),
    ] {
        say(&format!("  {program} {command}"))?;
    }
    say(&format!("When you are done: {}", stage.clean_up()))
}

async fn rows(table: &TableStore, version: Option<Version>) -> Result<Rows, CommandError> {
    Ok(read_rows(table, version).await.map_err(DemoError::from)?)
}

/// Makes sure that a version cannot be read, and returns why not.
async fn unreadable(table: &TableStore, version: Version) -> Result<String, CommandError> {
    match read_rows(table, Some(version)).await {
        Ok(_) => Err(DemoError::StillReadable { version }.into()),
        Err(TableError::Delta { source, .. }) if is_file_gone(&source) => {
            Ok("a data file is gone".to_owned())
        }
        Err(error) => Ok(error.to_string()),
    }
}

fn is_file_gone(error: &DeltaTableError) -> bool {
    let DeltaTableError::ObjectStore { source } = error else {
        return false;
    };
    matches!(source, ObjectStoreError::NotFound { .. })
}

fn same(before: &Rows, after: &Rows) -> Result<(), DemoError> {
    if before == after {
        return Ok(());
    }
    Err(DemoError::OtherRows {
        before: before.clone(),
        after: after.clone(),
    })
}

fn told(rows: &Rows) -> String {
    let checksum: String = rows.checksum.chars().take(8).collect();
    format!(
        "v{}, {} rows, checksum {checksum}",
        rows.version,
        HumanCount(rows.count)
    )
}

fn told_snapshot(taken: &Taken) -> String {
    format!(
        "v{} is snapshot {}: {}, {}; {} of them new, {}",
        taken.version,
        taken.snapshot.short(),
        counted(taken.files, "file"),
        HumanBytes(taken.bytes),
        HumanCount(taken.new_files),
        HumanBytes(taken.new_bytes)
    )
}

fn told_restore(back: &RestoreDone) -> String {
    format!(
        "{} put back, {}; {} right already",
        counted(back.files_written, "file"),
        HumanBytes(back.bytes_written),
        HumanCount(back.files_kept)
    )
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::sync::Mutex;

    use super::*;
    use deltavault::ids::Digest;

    /// Keeps whole copies of the table's folder, which is what the vault must be as good as.
    struct Copies {
        table: PathBuf,
        kept: Mutex<Vec<(Version, tempfile::TempDir)>>,
    }

    impl Copies {
        fn copy(from: &Path, to: &Path) -> u64 {
            std::fs::create_dir_all(to).unwrap();
            let copied = std::fs::read_dir(from).unwrap().map(|entry| {
                let entry = entry.unwrap();
                let to = to.join(entry.file_name());
                if entry.path().is_dir() {
                    return Self::copy(&entry.path(), &to);
                }
                if to.exists() {
                    return 0;
                }
                std::fs::copy(entry.path(), to).unwrap();
                1
            });
            copied.sum()
        }

        async fn take(&self) -> Taken {
            let copy = tempfile::tempdir().unwrap();
            let files = Self::copy(&self.table, copy.path());
            let version = read_rows(&self.table, None).await.unwrap().version;
            self.kept.lock().unwrap().push((version, copy));
            Taken {
                version,
                snapshot: SnapshotId(Digest::of(&version.0.to_le_bytes())),
                files,
                bytes: 0,
                new_files: files,
                new_bytes: 0,
            }
        }

        fn put_back(&self, wish: Wish) -> (Version, RestoreDone) {
            let kept = self.kept.lock().unwrap();
            let (version, copy) = match wish {
                Wish::Heal(wanted) => kept.iter().find(|(version, _)| *version == wanted).unwrap(),
                Wish::Newest => kept.last().unwrap(),
            };
            let done = RestoreDone {
                files_written: Self::copy(copy.path(), &self.table),
                ..RestoreDone::default()
            };
            (*version, done)
        }
    }

    async fn story(breaks: bool) -> (Result<(), CommandError>, String) {
        let folder = tempfile::tempdir().unwrap();
        let stage = Stage::in_folder(folder.path()).unwrap();
        let copies = Copies {
            table: stage.table().into(),
            kept: Mutex::default(),
        };
        let mut text = String::new();
        let outcome = tell(
            &stage,
            "deltavault",
            async || Ok(copies.take().await),
            async |wish| {
                let wish = if breaks && wish == Wish::Newest {
                    Wish::Heal(Version(6))
                } else {
                    wish
                };
                Ok(copies.put_back(wish))
            },
            &mut |line| {
                text.push_str(line);
                text.push('\n');
                Ok(())
            },
        )
        .await;
        (outcome, text)
    }

    #[tokio::test]
    async fn the_story_ends_well_with_anything_that_keeps_every_file() {
        let (outcome, text) = story(false).await;
        outcome.unwrap();
        assert!(text.lines().count() <= 40, "{text}");
        for told in [
            "the same rows as on night 1",
            "the same rows as on night 3",
            "diff ",
        ] {
            assert!(text.contains(told), "{told} in {text}");
        }
    }

    #[tokio::test]
    async fn a_restore_that_brings_other_rows_fails_the_demo() {
        let (outcome, _) = story(true).await;
        let error = outcome.unwrap_err();
        assert!(
            matches!(error, CommandError::Demo(ref error) if matches!(**error, DemoError::OtherRows { .. })),
            "{error}"
        );
    }

    #[test]
    fn a_folder_with_something_in_it_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("mine"), "x").unwrap();
        assert!(matches!(
            Stage::in_folder(folder.path()),
            Err(CommandError::Library(error)) if matches!(*error, deltavault::Error::TargetNotEmpty { .. })
        ));
        assert!(Stage::in_folder(&folder.path().join("new/one")).is_ok());
    }
}
