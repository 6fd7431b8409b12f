//! Walks the folders below a root in the byte order of full keys, as S3 lists: `a.b` before `a/b` before `a0`.
//!
//! In memory are the names of one folder for each level of depth, never the tree. A walk goes straight to the folder of
//! its prefix, and skips folders that the prefix or `start_after` rule out.
//!
//! Names that no key can express (not UTF-8, above 1,024 bytes) are skipped, and so is what vanishes during the walk.
//!
//! In a table, pipes, sockets, devices and links without a target are not objects and are skipped; a link that leads out of
//! the root or in a circle ends the walk, because files of the table may lie behind it. In a vault, whose objects are
//! plain files, all of these are listed as objects that cannot be read: nobody can stop every command with one link, and
//! what stands in the place of an object is seen.

use std::fs::{self, DirEntry, FileType};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::attributes_of;
use super::root::{RESERVED, Root, is_path};
use crate::ids::ObjectKey;
use crate::store::{Attributes, StoreErrorKind};

/// How many objects are returned at a time.
const BATCH: usize = 512;

/// A walk that is under way.
#[derive(Debug)]
pub(super) struct Walk {
    root: Arc<Root>,
    is_vault: bool,
    prefix: String,
    start_after: Option<String>,
    /// From the folder of the prefix down to the current one.
    levels: Vec<Level>,
    begun: bool,
}

/// One folder that is being walked.
#[derive(Debug)]
struct Level {
    real: PathBuf,
    /// What is still to be visited, last first.
    entries: Vec<Entry>,
}

/// A file, or a folder when the key ends in a slash.
#[derive(Debug)]
struct Entry {
    key: String,
    real: PathBuf,
}

impl Walk {
    pub(super) fn new(
        root: Arc<Root>,
        is_vault: bool,
        prefix: &str,
        start_after: Option<&str>,
    ) -> Self {
        Self {
            root,
            is_vault,
            prefix: prefix.to_owned(),
            start_after: start_after.map(str::to_owned),
            levels: Vec::new(),
            begun: false,
        }
    }

    /// The next objects; none at the end.
    pub(super) fn next_batch(&mut self) -> Result<Vec<Attributes>, StoreErrorKind> {
        if !self.begun {
            self.begun = true;
            self.begin()?;
        }
        let mut batch = Vec::new();
        while batch.len() < BATCH {
            let Some(level) = self.levels.last_mut() else {
                break;
            };
            let Some(entry) = level.entries.pop() else {
                self.levels.pop();
                continue;
            };
            if entry.key.ends_with('/') {
                self.enter(&entry.key, entry.real)?;
            } else if let Some(attributes) = look_at(&entry)? {
                batch.push(attributes);
            }
        }
        Ok(batch)
    }

    fn begin(&mut self) -> Result<(), StoreErrorKind> {
        let Some((folder, _)) = self.prefix.rsplit_once('/') else {
            return self.enter("", self.root.path.clone());
        };
        if !is_path(folder) {
            return Ok(());
        }
        let real = match self.root.resolve(&self.root.path.join(folder)) {
            Err(StoreErrorKind::NotFound) => return Ok(()),
            real => real?,
        };
        let key = format!("{folder}/");
        self.enter(&key, real)
    }

    fn enter(&mut self, key: &str, real: PathBuf) -> Result<(), StoreErrorKind> {
        let mut entries = self.read_folder(key, &real)?;
        entries.sort_unstable_by(|one, other| other.key.cmp(&one.key));
        self.levels.push(Level { real, entries });
        Ok(())
    }

    fn read_folder(&self, folder_key: &str, folder: &Path) -> Result<Vec<Entry>, StoreErrorKind> {
        let listing = match fs::read_dir(folder) {
            Err(error) if is_gone(&error) => return Ok(Vec::new()),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let detail = format!("the folder {} cannot be read: {error}", folder.display());
                return Err(StoreErrorKind::Denied { detail });
            }
            listing => listing?,
        };
        let mut entries = Vec::new();
        for found in listing {
            let found = found?;
            let file_name = found.file_name();
            let Some(name) = file_name.to_str() else {
                continue;
            };
            let mut key = format!("{folder_key}{name}");
            if name.starts_with(RESERVED) || !key.starts_with(&self.prefix) {
                continue;
            }
            let (real, kind) = match self.follow(folder, &found) {
                Ok(Some((real, kind))) => (real, Some(kind)),
                Ok(None) if self.is_vault => (found.path(), None),
                Ok(None) => continue,
                Err(error) if self.is_vault && is_about_a_link(&error) => (found.path(), None),
                Err(error) => return Err(error),
            };
            let is_folder = kind.is_some_and(|kind| kind.is_dir());
            if is_folder {
                key.push('/');
            } else if !self.is_vault && !kind.is_some_and(|kind| kind.is_file()) {
                continue;
            }
            if self.may_hold_wanted(&key) {
                entries.push(Entry { key, real });
            }
        }
        Ok(entries)
    }

    /// What stands in a folder under a name, and what it is; `None` for what is gone and for a link without a target.
    fn follow(
        &self,
        folder: &Path,
        found: &DirEntry,
    ) -> Result<Option<(PathBuf, FileType)>, StoreErrorKind> {
        let mut real = found.path();
        let mut kind = match found.file_type() {
            Err(error) if is_gone(&error) => return Ok(None),
            kind => kind?,
        };
        if kind.is_symlink() {
            real = match self.root.resolve(&real) {
                Err(StoreErrorKind::NotFound) => return Ok(None),
                real => real?,
            };
            kind = match fs::symlink_metadata(&real) {
                Err(error) if is_gone(&error) => return Ok(None),
                found => found?.file_type(),
            };
        }
        if kind.is_dir() {
            self.refuse_circle(folder, &real)?;
        }
        Ok(Some((real, kind)))
    }

    /// Whether a file of that key, or anything in a folder of that key, sorts after `start_after`.
    fn may_hold_wanted(&self, key: &str) -> bool {
        self.start_after
            .as_deref()
            .is_none_or(|after| key > after || key.ends_with('/') && after.starts_with(key))
    }

    /// Refuses a link to a folder that the walk is in, which would never end.
    fn refuse_circle(&self, inside: &Path, entering: &Path) -> Result<(), StoreErrorKind> {
        let mut walked = self.levels.iter().map(|level| level.real.as_path());
        if inside.starts_with(entering) || walked.any(|walked| walked.starts_with(entering)) {
            return Err(StoreErrorKind::InvalidKey {
                reason: "symbolic links lead in a circle",
            });
        }
        Ok(())
    }
}

fn look_at(entry: &Entry) -> Result<Option<Attributes>, StoreErrorKind> {
    let Ok(key) = entry.key.parse::<ObjectKey>() else {
        return Ok(None);
    };
    match fs::symlink_metadata(&entry.real) {
        Err(error) if is_gone(&error) => Ok(None),
        found => attributes_of(key, &found?).map(Some),
    }
}

/// Whether a link leads where no walk may go.
fn is_about_a_link(error: &StoreErrorKind) -> bool {
    matches!(
        error,
        StoreErrorKind::InTheWay { .. } | StoreErrorKind::InvalidKey { .. }
    )
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}
