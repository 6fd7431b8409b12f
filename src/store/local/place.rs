//! Creates, replaces and removes files.
//!
//! A file is written under a reserved name in its folder, checked against its digest while it is written, synced, and
//! only then given its final name by an operation that never replaces. The folder is synced before success is returned. A
//! killed run leaves a file under a reserved name and nothing else, which the next run that puts something into the same
//! folder [sweeps](sweep).
//!
//! **The window of replace and remove.** No file system offers "rename if still this file". The tag is checked
//! under an exclusive `flock` on the file itself, so that one of several processes of this program wins; a writer
//! that does not take the lock can still write between the check and the rename.

use std::fs::{self, File, FileTimes, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use tempfile::{NamedTempFile, TempPath};

use super::mode;
use super::root::{Named, RESERVED, Root, sync_parent};
use crate::ids::{Digest, ETag, ObjectKey, Timestamp};
use crate::leftover;
use crate::store::{Had, Obstacle, Payload, PayloadData, StoreErrorKind, Written};

/// How many bytes are read or written at a time.
pub(super) const CHUNK: usize = 1024 * 1024;

/// The attributes of a new file.
#[derive(Debug, Clone, Copy)]
pub(super) struct New {
    /// Whether it is read-only, as in a vault. A file of a table gets the mode that it had, else that of its neighbours.
    pub(super) read_only: bool,
    /// What it had before, if it is put back.
    pub(super) had: Had,
}

/// Creates the object, whole or not at all.
pub(super) fn put_new(
    root: &Root,
    key: &ObjectKey,
    payload: &Payload,
    new: New,
) -> Result<Written, StoreErrorKind> {
    let place = root.make_place(key, new.read_only)?;
    // Saves writing bytes for nothing; what decides is the operation that takes the name.
    refuse_taken(root, &place)?;
    let file = write_beside(root, &place, payload, |folder| match new.had.mode {
        // Nobody else may read it before it has the mode that it had.
        Some(_) => 0o600,
        None => mode::of_new_file(folder, new.read_only),
    })?;
    // It stays open, and so locked, until it has its name: nobody may take it for abandoned.
    let (file, path) = file.into_parts();
    if new.read_only {
        let mode = file.metadata()?.mode() & 0o444;
        file.set_permissions(Permissions::from_mode(mode))?;
    } else if let Some(had) = new.had.mode {
        mode::as_before(&file, had);
    } else if let Some(folder) = place.parent() {
        mode::like_neighbours(&file, folder);
    }
    set_time(&file, new.had.modified)?;
    file.sync_all()?;
    let etag = etag_of(&file.metadata()?);
    match take_name(path, &place) {
        Err(StoreErrorKind::AlreadyExists) => {
            refuse_taken(root, &place)?;
            // The other file vanished again: for the caller the race is lost all the same.
            Err(StoreErrorKind::AlreadyExists)
        }
        taken => {
            taken?;
            sync_parent(&place)?;
            Ok(Written {
                version: None,
                etag,
            })
        }
    }
}

/// Sets the time of writing before the file has its name, so that a reader that finds a commit finds its time.
fn set_time(file: &File, taken: Option<Timestamp>) -> io::Result<()> {
    match taken {
        Some(taken) => file.set_times(FileTimes::new().set_modified(taken.into())),
        None => Ok(()),
    }
}

/// Replaces the object whose `ETag` is still `seen`; the new file gets the permissions that it had, else those of the old
/// one.
pub(super) fn replace(
    root: &Root,
    key: &ObjectKey,
    payload: &Payload,
    seen: &ETag,
    had: Had,
) -> Result<Written, StoreErrorKind> {
    let Named { name, file: old } = root.find_named(key).map_err(gone_is_changed)?;
    let before = unchanged(&old, seen)?;
    let mut file = write_beside(root, &name, payload, |_| 0o600)?;
    if let Some(had) = had.mode {
        mode::as_before(file.as_file(), had);
    } else {
        let mode = before.permissions().mode() & 0o7777;
        file.as_file()
            .set_permissions(Permissions::from_mode(mode))?;
    }
    set_time(file.as_file(), had.modified)?;
    file.as_file().sync_all()?;
    let etag = etag_of(&file.as_file().metadata()?);

    let lock = lock_file(&old)?;
    unchanged(&old, seen)?;
    fs::rename(file.path(), &name)?;
    drop(lock);
    file.disable_cleanup(true);
    sync_parent(&name)?;
    Ok(Written {
        version: None,
        etag,
    })
}

/// Removes the object whose `ETag` is still `seen`. Its folders stay.
pub(super) fn remove(root: &Root, key: &ObjectKey, seen: &ETag) -> Result<(), StoreErrorKind> {
    let Named { name, file } = root.find_named(key).map_err(gone_is_changed)?;
    let lock = lock_file(&file)?;
    unchanged(&file, seen)?;
    fs::remove_file(&name)?;
    drop(lock);
    sync_parent(&name)?;
    remove_empty_folders(root, &name);
    Ok(())
}

/// Deletes what stands under the key, a link and no folder, if anything does. The folder is not synced: an object that a
/// crash brings back can be deleted again.
pub(super) fn delete(root: &Root, key: &ObjectKey) -> Result<(), StoreErrorKind> {
    let delete = || {
        let name = root.name(key)?;
        if fs::symlink_metadata(&name)?.is_dir() {
            return Err(StoreErrorKind::NotFound);
        }
        fs::remove_file(&name)?;
        Ok(name)
    };
    match delete() {
        Ok(name) => {
            remove_empty_folders(root, &name);
            Ok(())
        }
        Err(StoreErrorKind::NotFound) => Ok(()),
        Err(kind) => Err(kind),
    }
}

/// Removes the folders that are empty without the object, because an object store has none. A folder that is in use
/// stays.
fn remove_empty_folders(root: &Root, place: &Path) {
    let above = place.ancestors().skip(1);
    for folder in
        above.take_while(|folder| folder.starts_with(&root.path) && *folder != root.path.as_path())
    {
        if fs::remove_dir(folder).is_err() {
            break;
        }
        root.forget(folder);
    }
}

/// The `ETag` of a file: inode, size and time of writing.
pub(super) fn etag_of(metadata: &fs::Metadata) -> ETag {
    ETag(format!(
        "{:x}-{:x}-{}.{:09}",
        metadata.ino(),
        metadata.size(),
        metadata.mtime(),
        metadata.mtime_nsec()
    ))
}

/// Opens a file by its real path. Should a pipe have taken its place, this does not wait for a writer.
pub(super) fn open_file(place: &Path) -> Result<File, StoreErrorKind> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let file = File::options()
        .read(true)
        .custom_flags(flags.cast_signed())
        .open(place)?;
    refuse_non_file(place, file.metadata()?.file_type())?;
    Ok(file)
}

/// Refuses what is not a file: a folder is not an object, as on S3; anything else cannot be backed up.
pub(super) fn refuse_non_file(place: &Path, kind: fs::FileType) -> Result<(), StoreErrorKind> {
    if kind.is_file() {
        return Ok(());
    }
    Err(if kind.is_dir() {
        StoreErrorKind::NotFound
    } else {
        Obstacle::Special.at(place)
    })
}

fn refuse_taken(root: &Root, place: &Path) -> Result<(), StoreErrorKind> {
    let found = match fs::symlink_metadata(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if found.is_symlink() {
        root.resolve_link(place)?;
    }
    if found.is_dir() {
        return Err(Obstacle::Folder.at(place));
    }
    // The caller may rely on the object; its writer may not have synced the folder yet.
    sync_parent(place)?;
    Err(StoreErrorKind::AlreadyExists)
}

/// How the names of unfinished files begin that were made on this machine and are locked.
fn unfinished() -> String {
    format!("{RESERVED}tmp-{}-", leftover::machine())
}

/// Makes an empty file under a reserved name, locked where the file system has locks.
fn make_unfinished(folder: &Path, mode: u32) -> io::Result<NamedTempFile> {
    let make = |begins: &str, open: &dyn Fn(&Path) -> io::Result<File>| {
        let mut builder = tempfile::Builder::new();
        builder.prefix(begins).rand_bytes(24).make_in(folder, open)
    };
    let open = |path: &Path| {
        let mut options = File::options();
        options.write(true).create_new(true).mode(mode).open(path)
    };
    let file = make(&unfinished(), &open)?;
    match leftover::hold(file.as_file()) {
        Ok(true) => Ok(file),
        // Under a name that nobody sweeps.
        Ok(false) | Err(_) => make(&format!("{RESERVED}tmp-"), &open),
    }
}

/// Removes what killed runs of this user left in a folder. `own` is a file that was just made there.
fn sweep(folder: &Path, own: &File) {
    let Ok(now) = own.metadata().and_then(|it| it.modified()) else {
        return;
    };
    for path in leftover::named(folder, &unfinished()) {
        if let Some(claimed) = leftover::claim(&path, now) {
            tracing::info!(file = %path.display(), "what a killed run left is removed");
            fs::remove_file(&path).ok();
            drop(claimed);
        }
    }
}

/// Writes the payload under a reserved name in the folder of `place`. Dropping the result removes the file.
fn write_beside(
    root: &Root,
    place: &Path,
    payload: &Payload,
    mode: impl FnOnce(&Path) -> u32,
) -> Result<NamedTempFile, StoreErrorKind> {
    let folder = place.parent().ok_or(StoreErrorKind::NotFound)?;
    // The temporary file's own methods are not used, because their errors have no errno, which distinguishes a full disk
    // from a broken one.
    let mut file = make_unfinished(folder, mode(folder))?;
    if root.is_first_put(folder) {
        sweep(folder, file.as_file());
    }
    let spooled = |error: io::Error| StoreErrorKind::Io {
        detail: format!("read the spooled bytes: {error}"),
    };
    let mut source: Box<dyn Read + '_> = match &payload.data {
        PayloadData::Bytes(bytes) => Box::new(bytes.as_ref()),
        PayloadData::File(path) => Box::new(File::open(path.as_ref()).map_err(spooled)?),
    };
    let mut buffer = vec![0; CHUNK];
    let mut hasher = Sha256::new();
    let mut size = 0_u64;
    loop {
        let read = match source.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read.map_err(spooled)?,
        };
        let chunk = buffer.get(..read).unwrap_or_default();
        if chunk.is_empty() {
            break;
        }
        hasher.update(chunk);
        file.as_file_mut().write_all(chunk)?;
        size = size.saturating_add(chunk.len() as u64);
    }
    payload.check(Digest::from_hasher(hasher), size)?;
    Ok(file)
}

/// Gives a finished file its name, and never replaces another file.
fn take_name(mut from: TempPath, to: &Path) -> Result<(), StoreErrorKind> {
    match renameat_with(CWD, &*from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => {
            // Its old name is gone, and another file may have it by now.
            from.disable_cleanup(true);
            Ok(())
        }
        // Older kernels and network file systems do not know the flag; a hard link never replaces either.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => take_name_by_link(&from, to),
        Err(errno) => Err(errno.into()),
    }
}

fn take_name_by_link(from: &Path, to: &Path) -> Result<(), StoreErrorKind> {
    match rustix::fs::link(from, to) {
        Ok(()) => Ok(()),
        // On a network file system the answer to a successful link can be lost. The repeated request then finds the name
        // taken, by this file.
        Err(Errno::EXIST) if is_same_file(from, to) => Ok(()),
        Err(Errno::PERM | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::MLINK) => {
            Err(StoreErrorKind::Unsupported {
                reason: "this file system can neither link nor rename a file without replacing"
                    .to_owned(),
            })
        }
        Err(errno) => Err(errno.into()),
    }
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| {
        fs::symlink_metadata(path)
            .ok()
            .map(|found| (found.dev(), found.ino()))
    };
    identity(one).is_some_and(|one| identity(other) == Some(one))
}

/// The object's metadata, if it still has the `ETag`.
fn unchanged(place: &Path, seen: &ETag) -> Result<fs::Metadata, StoreErrorKind> {
    let found = fs::symlink_metadata(place).map_err(|error| gone_is_changed(error.into()))?;
    if found.is_file() && etag_of(&found) == *seen {
        Ok(found)
    } else {
        Err(StoreErrorKind::Changed)
    }
}

fn gone_is_changed(kind: StoreErrorKind) -> StoreErrorKind {
    if matches!(kind, StoreErrorKind::NotFound) {
        StoreErrorKind::Changed
    } else {
        kind
    }
}

/// Locks the file until the result is dropped. Best effort: where the file may not be read or the file system has no
/// locks, the check of the `ETag` has to do.
fn lock_file(place: &Path) -> Result<Option<File>, StoreErrorKind> {
    match open_file(place) {
        Ok(file) => Ok(file.lock().ok().map(|()| file)),
        Err(StoreErrorKind::Denied { .. }) => Ok(None),
        Err(kind) => Err(gone_is_changed(kind)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a process left here that was killed long ago.
    fn abandoned(folder: &Path) -> std::path::PathBuf {
        let (file, path) = make_unfinished(folder, 0o600).unwrap().into_parts();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
        path.keep().unwrap()
    }

    #[test]
    fn the_next_put_into_a_folder_sweeps_what_killed_runs_left_there_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let put = |root: &Root, key: &str| {
            let new = New {
                read_only: true,
                had: Had::default(),
            };
            put_new(root, &key.parse().unwrap(), &Payload::from_bytes("x"), new).unwrap();
        };
        let gone = abandoned(folder);
        let living = make_unfinished(folder, 0o600).unwrap();
        living
            .as_file()
            .set_modified(std::time::UNIX_EPOCH)
            .unwrap();
        let (_, young) = make_unfinished(folder, 0o600).unwrap().into_parts();
        let foreign = folder.join(format!("{RESERVED}tmp-0123456789abcdef-x"));
        let unlocked = folder.join(format!("{RESERVED}tmp-x"));
        for kept in [&foreign, &unlocked] {
            fs::rename(abandoned(folder), kept).unwrap();
        }
        let elsewhere = folder.join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        let elsewhere = abandoned(&elsewhere);

        let root = Root::find(folder).unwrap();
        put(&root, "a");
        assert!(!gone.exists());
        let kept = [living.path(), &young, &foreign, &unlocked, &elsewhere];
        assert!(kept.iter().all(|path| path.exists()), "{kept:?}");
        put(&root, "elsewhere/a");
        assert!(!elsewhere.exists());
        // A folder is read once, however much is put into it.
        let later = abandoned(folder);
        put(&root, "b");
        assert!(later.exists());
        put(&Root::find(folder).unwrap(), "c");
        assert!(!later.exists());
    }

    #[test]
    fn a_link_never_replaces_and_knows_its_own_lost_answer() {
        let folder = tempfile::tempdir().unwrap();
        let [mine, theirs, name] = ["mine", "theirs", "name"].map(|name| folder.path().join(name));
        fs::write(&mine, "mine").unwrap();
        fs::write(&theirs, "theirs").unwrap();
        take_name_by_link(&mine, &name).unwrap();
        take_name_by_link(&mine, &name).unwrap();
        assert!(matches!(
            take_name_by_link(&theirs, &name),
            Err(StoreErrorKind::AlreadyExists)
        ));
        assert_eq!(fs::read(&name).unwrap(), b"mine");
    }
}
