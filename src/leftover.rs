//! What a killed run leaves behind, and how the next one knows that nobody uses it any more.
//!
//! A temporary file is locked (`flock`) from before anybody could take it for abandoned until it is gone or has its final
//! name; the kernel ends the lock with the process, however that ends. Its name says which machine made it, because a
//! lock may not reach another machine through a network file system. [`claim`] takes only what this machine and this
//! user made, what nobody has locked, and what was not written to for [`PATIENCE`].

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use rustix::fs::OFlags;

use crate::ids::Digest;

/// How long a file must not have been written to, whatever its lock says: a file server that restarts may lose locks.
pub(crate) const PATIENCE: Duration = Duration::from_hours(1);

/// How many hex digits stand for a machine.
const MACHINE_DIGITS: usize = 16;

/// This machine in the names of temporary files: digits made of its name and its id. Empty where it has no name: what is
/// made there is never swept.
pub(crate) fn machine() -> &'static str {
    static MACHINE: OnceLock<String> = OnceLock::new();
    MACHINE.get_or_init(|| {
        let Ok(name) = whoami::hostname() else {
            return String::new();
        };
        // Of two machines of one name, containers above all.
        let id = fs::read_to_string("/etc/machine-id").unwrap_or_default();
        let mut digits = Digest::of(format!("{name}\n{}", id.trim()).as_bytes()).to_string();
        digits.truncate(MACHINE_DIGITS);
        digits
    })
}

/// Locks a file that was just made. False where the file system has no locks; an error where it was swept before it
/// could be locked.
pub(crate) fn hold(file: &File) -> io::Result<bool> {
    let swept = || io::ErrorKind::NotFound.into();
    match file.try_lock() {
        Err(TryLockError::Error(_)) => Ok(false),
        Err(TryLockError::WouldBlock) => Err(swept()),
        Ok(()) if file.metadata()?.nlink() == 0 => Err(swept()),
        Ok(()) => Ok(true),
    }
}

/// Locks a file that a process of this user left, if no process uses it. `now` is the file system's time.
pub(crate) fn claim(path: &Path, now: SystemTime) -> Option<File> {
    if machine().is_empty() {
        return None;
    }
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let file = File::options()
        .read(true)
        .custom_flags(flags.cast_signed())
        .open(path)
        .ok()?;
    let found = file.metadata().ok()?;
    let age = now.duration_since(found.modified().ok()?).ok()?;
    let is_left =
        found.is_file() && found.uid() == rustix::process::geteuid().as_raw() && age >= PATIENCE;
    // Whoever had it may have given it its final name, or swept it, in between.
    let is_still_there = || fs::symlink_metadata(path).is_ok_and(|it| it.ino() == found.ino());
    (is_left && file.try_lock().is_ok() && is_still_there()).then_some(file)
}

/// What lies in a folder under names that begin like this. What cannot be read is passed over.
pub(crate) fn named(folder: &Path, begins: &str) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(move |entry| {
        let name = entry.file_name();
        let is_ours = name.to_str().is_some_and(|name| name.starts_with(begins));
        is_ours.then(|| entry.path())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn old() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000)
    }

    /// A file that was last written at [`old`].
    fn made(folder: &Path, name: &str) -> (PathBuf, File) {
        let path = folder.join(name);
        let file = File::create_new(&path).unwrap();
        file.set_modified(old()).unwrap();
        (path, file)
    }

    #[test]
    fn only_what_nobody_uses_and_nobody_wrote_to_for_an_hour_is_claimed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, file) = made(folder.path(), "x");
        let later = old() + PATIENCE;
        assert!(hold(&file).unwrap());
        assert!(claim(&path, later).is_none(), "a process uses it");
        drop(file);
        assert!(claim(&path, old() + PATIENCE / 2).is_none(), "too young");
        assert!(claim(&path, old() - PATIENCE).is_none(), "from the future");
        let claimed = claim(&path, later);
        assert!(claimed.is_some());
        assert!(claim(&path, later).is_none(), "another process sweeps it");
        drop(claimed);
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(claim(&link, later).is_none());
        assert!(claim(folder.path(), SystemTime::UNIX_EPOCH + Duration::MAX / 4).is_none());
        assert!(claim(&folder.path().join("gone"), later).is_none());
    }

    #[test]
    fn whoever_is_swept_before_the_lock_learns_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let (path, file) = made(folder.path(), "x");
        let claimed = claim(&path, old() + PATIENCE).unwrap();
        assert!(hold(&file).is_err(), "it is being swept");
        fs::remove_file(&path).unwrap();
        drop(claimed);
        assert!(hold(&file).is_err(), "it was swept");
    }

    #[test]
    fn a_machine_has_one_name_that_a_file_can_have() {
        assert_eq!(machine().len(), MACHINE_DIGITS);
        assert!(machine().bytes().all(|it| it.is_ascii_hexdigit()));
        assert_eq!(machine(), machine());
    }
}
