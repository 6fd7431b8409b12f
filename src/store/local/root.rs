//! The root folder of a local store, and the paths of keys below it.
//!
//! **Symbolic links.** The path of the root may have links; it is resolved once, on opening. Below the root a link is
//! followed when its target is below the root too; reads, listings and writes refuse any other link. What replaces or
//! removes an object whose own name is a link replaces or removes the link, never its target, which may be another
//! object. Paths are resolved just before they are used: a process that can write into the root can still redirect a
//! call by replacing a folder with a link in between. A folder does not protect against its own writers.
//!
//! **Reserved names.** Names that begin with [`RESERVED`] belong to the store (unfinished files, its lock file). No key
//! may have them, and no listing shows them.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;

use super::mode::{self, Home};
use crate::ids::ObjectKey;
use crate::store::{Obstacle, StoreErrorKind};

/// The beginning of reserved names.
pub(super) const RESERVED: &str = ".deltavault-";

/// The longest name that Linux file systems take, in bytes.
const LONGEST_NAME: usize = 255;

/// The longest path that the kernel takes, in bytes, less the name of a temporary file.
const LONGEST_PATH: usize = 4095 - 64;

/// How many folders are remembered before a set is cleared: a few megabytes at most.
const FOLDERS_REMEMBERED: usize = 16_384;

/// An existing file, and the name by which it was asked for.
#[derive(Debug)]
pub(super) struct Named {
    /// Where the name stands: what is replaced or removed.
    pub(super) name: PathBuf,
    /// The real path of the file: what is read and locked.
    pub(super) file: PathBuf,
}

/// A root folder, by its real path.
#[derive(Debug)]
pub(super) struct Root {
    /// The real path.
    pub(super) path: PathBuf,
    /// `file://` and the real path.
    pub(super) uri: String,
    /// Folders whose names are known to be on disk, so that each is synced once and not for every object.
    durable: Mutex<HashSet<PathBuf>>,
    /// Folders in which what killed runs left was looked for.
    swept: Mutex<HashSet<PathBuf>>,
    /// Held while a folder is made: files that are put into it take their modes from its mode.
    making: Mutex<()>,
}

impl Root {
    /// Finds the real path of `path`, which may be absent.
    pub(super) fn find(path: &Path) -> Result<Self, StoreErrorKind> {
        let path = real_path(path)?;
        let unusable = |reason: &str| StoreErrorKind::Unsupported {
            reason: reason.to_owned(),
        };
        let text = path
            .to_str()
            .ok_or_else(|| unusable("the path of the folder is not UTF-8"))?;
        if path.parent().is_none() {
            return Err(unusable("the root of the file system cannot be a store"));
        }
        if path.exists() && !path.is_dir() {
            return Err(unusable("there is a file where the folder should be"));
        }
        Ok(Self {
            uri: format!("file://{text}"),
            path,
            durable: Mutex::default(),
            swept: Mutex::default(),
            making: Mutex::default(),
        })
    }

    /// Makes the root folder, of a vault or a table, and the folders above it, where they are absent.
    pub(super) fn create(&self, of_vault: bool) -> Result<(), StoreErrorKind> {
        let absent: Vec<&Path> = self
            .path
            .ancestors()
            .take_while(|folder| !folder.exists())
            .collect();
        for folder in absent.into_iter().rev() {
            let home = match of_vault {
                false => Home::Table,
                true if folder == self.path => Home::Vault,
                true => Home::AboveVault,
            };
            make_folder(folder, home)?;
        }
        Ok(())
    }

    /// The real path of an existing file or folder that a key names.
    pub(super) fn real(&self, key: &ObjectKey) -> Result<PathBuf, StoreErrorKind> {
        check_key(key)?;
        self.resolve(&self.path.join(key.as_str()))
    }

    /// Finds an existing file that a key names, and the name itself, which may be a link to it.
    pub(super) fn find_named(&self, key: &ObjectKey) -> Result<Named, StoreErrorKind> {
        let name = self.name(key)?;
        let file = self.resolve(&name)?;
        Ok(Named { name, file })
    }

    /// The path of a key's name, in the real folder that it is in. Nothing has to stand there.
    pub(super) fn name(&self, key: &ObjectKey) -> Result<PathBuf, StoreErrorKind> {
        check_key(key)?;
        let path = self.path.join(key.as_str());
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(StoreErrorKind::NotFound);
        };
        Ok(self.resolve(folder)?.join(name))
    }

    /// Resolves links, and refuses a path that leaves the root.
    pub(super) fn resolve(&self, path: &Path) -> Result<PathBuf, StoreErrorKind> {
        let real = path.canonicalize()?;
        if real.starts_with(&self.path) {
            Ok(real)
        } else {
            Err(Obstacle::LinkOut.at(&self.link_out(path)))
        }
    }

    /// The first link in a path that leaves the root.
    fn link_out(&self, path: &Path) -> PathBuf {
        let mut below: Vec<&Path> = path.ancestors().collect();
        below.reverse();
        let leaves = |folder: &Path| {
            let real = folder.canonicalize();
            folder.is_symlink() && real.is_ok_and(|real| !real.starts_with(&self.path))
        };
        let below_root = below.into_iter().filter(|it| it.starts_with(&self.path));
        let mut links = below_root.filter(|it| leaves(it));
        links.next().unwrap_or(path).to_owned()
    }

    /// As [`Root::resolve`], for a link; one without a target is [`Obstacle::LinkNowhere`].
    pub(super) fn resolve_link(&self, link: &Path) -> Result<PathBuf, StoreErrorKind> {
        self.resolve(link).map_err(|kind| {
            if matches!(kind, StoreErrorKind::NotFound) {
                Obstacle::LinkNowhere.at(link)
            } else {
                kind
            }
        })
    }

    /// Forgets a folder that is gone: should it come back, its name needs another sync.
    pub(super) fn forget(&self, folder: &Path) {
        self.lock().remove(folder);
    }

    /// Makes the folders that `key` needs, each durable before anything is put into it, and returns the path at
    /// which the object has to appear.
    pub(super) fn make_place(
        &self,
        key: &ObjectKey,
        in_vault: bool,
    ) -> Result<PathBuf, StoreErrorKind> {
        check_key(key)?;
        // A root that vanished (an unmounted disk) must not be made again on the disk below.
        if !self.path.is_dir() {
            return Err(StoreErrorKind::Unsupported {
                reason: "the root folder does not exist".to_owned(),
            });
        }
        let (folders, name) = key.as_str().rsplit_once('/').unwrap_or(("", key.as_str()));
        let home = if in_vault { Home::InVault } else { Home::Table };
        let mut folder = self.path.clone();
        for segment in folders.split('/').filter(|segment| !segment.is_empty()) {
            folder = self.enter_or_make(&folder.join(segment), home)?;
        }
        Ok(folder.join(name))
    }

    fn enter_or_make(&self, folder: &Path, home: Home) -> Result<PathBuf, StoreErrorKind> {
        let making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let found = match fs::symlink_metadata(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_folder(folder, home)?;
                self.remember(folder);
                return Ok(folder.to_owned());
            }
            found => found?,
        };
        drop(making);
        let real = if found.is_symlink() {
            self.resolve_link(folder)?
        } else {
            folder.to_owned()
        };
        if !real.is_dir() {
            return Err(Obstacle::File.at(folder));
        }
        // Another process may have made the folder a moment ago and not have synced it yet.
        if !self.lock().contains(&real) {
            sync_parent(&real)?;
            self.remember(&real);
        }
        Ok(real)
    }

    fn remember(&self, folder: &Path) {
        insert_bounded(&mut self.lock(), folder);
    }

    /// Whether nothing was put into the folder by this process so far.
    pub(super) fn is_first_put(&self, folder: &Path) -> bool {
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        insert_bounded(&mut swept, folder)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<PathBuf>> {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Inserts a folder; whether it is new.
fn insert_bounded(folders: &mut HashSet<PathBuf>, folder: &Path) -> bool {
    if folders.len() >= FOLDERS_REMEMBERED {
        folders.clear();
    }
    folders.insert(folder.to_owned())
}

/// Whether a key, or a prefix's folder, can be a path below the root.
pub(super) fn is_path(key: &str) -> bool {
    key.split('/')
        .all(|segment| !matches!(segment, "" | "." | "..") && !segment.starts_with(RESERVED))
}

fn check_key(key: &ObjectKey) -> Result<(), StoreErrorKind> {
    odd(key).map_or(Ok(()), |reason| Err(StoreErrorKind::InvalidKey { reason }))
}

fn odd(key: &ObjectKey) -> Option<&'static str> {
    if key.has_odd_segment() {
        return Some("a path has no empty segment, no `.` and no `..`");
    }
    (!is_path(key.as_str())).then_some("names that begin with `.deltavault-` are reserved")
}

/// Why no file of that key can lie below `root`.
pub(super) fn refuses(root: &Path, key: &ObjectKey) -> Option<&'static str> {
    let mut segments = key.as_str().split('/');
    let whole = root.as_os_str().len() + 1 + key.as_str().len();
    if segments.any(|segment| segment.len() > LONGEST_NAME) {
        Some("a name in a folder has 255 bytes at most")
    } else if whole > LONGEST_PATH {
        Some("a path has 4,095 bytes at most")
    } else {
        odd(key)
    }
}

/// Makes a folder, unless another process was first, and syncs its name.
fn make_folder(folder: &Path, home: Home) -> Result<(), StoreErrorKind> {
    match mode::make(folder, home) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
        _ => {}
    }
    sync_parent(folder)
}

/// Syncs the folder of `path`, so that its name is on disk.
pub(super) fn sync_parent(path: &Path) -> Result<(), StoreErrorKind> {
    let Some(parent) = path.parent() else {
        return Ok(());
    };
    match File::open(parent)?.sync_all() {
        // The answer of file systems that cannot sync a folder; they write names through.
        Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => Ok(()),
        synced => Ok(synced?),
    }
}

/// The real path of `path`, of which the last part may be absent.
fn real_path(path: &Path) -> Result<PathBuf, StoreErrorKind> {
    let path = std::path::absolute(path)?;
    let mut absent = Vec::new();
    for folder in path.ancestors() {
        match folder.canonicalize() {
            Ok(real) => return Ok(absent.iter().rev().fold(real, |real, name| real.join(name))),
            // A link without a target is not a folder that could be made.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !folder.is_symlink() => {}
            Err(error) => return Err(error.into()),
        }
        match folder.components().next_back() {
            Some(Component::Normal(name)) => absent.push(name.to_owned()),
            _ => {
                return Err(StoreErrorKind::InvalidKey {
                    reason: "the path goes up from a folder that does not exist",
                });
            }
        }
    }
    Err(StoreErrorKind::NotFound)
}
