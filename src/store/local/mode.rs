//! The permissions of new folders and files.
//!
//! **In a table** a file that is put back has the permissions that it had. Those of folders, and of files of which the vault
//! holds none (they come from S3), are those of their neighbours, whatever the umask of the restore is. Otherwise a restored table
//! could no longer be written by its group, or read by a service of another user. Bits are only added, and never the
//! right of everybody to write. The mode of a folder with the sticky bit (`/tmp`) is not passed on.
//!
//! **In a vault** nothing is more open than the folder that it is in, nor than the umask allows, and nobody but the owner
//! may write. A vault's own folder is the owner's alone, unless it was there before: whoever made it chose who may read.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use crate::ids::FileMode;

const STICKY: u32 = 0o1000;

/// What a folder passes on to folders in it: everything but the sticky bit and writing by others.
const TO_FOLDERS: u32 = 0o2775;

/// What a folder passes on to files in it: reading, and writing by user and group.
const TO_FILES: u32 = 0o664;

/// The mode of a new folder or file that would have `own` by the umask, in a folder of mode `above`.
fn joined(own: u32, above: u32, passed_on: u32) -> u32 {
    if above & STICKY == 0 {
        (own | above & passed_on) & 0o7777
    } else {
        own & 0o7777
    }
}

/// Gives a new folder the mode of its parent. Where the file system has no modes or refuses, it stays as it is.
fn like_above(folder: &Path) {
    let Some(above) = folder.parent().and_then(|above| fs::metadata(above).ok()) else {
        return;
    };
    if let Ok(own) = fs::metadata(folder) {
        let mode = joined(own.mode(), above.mode(), TO_FOLDERS);
        if mode != own.mode() & 0o7777 {
            fs::set_permissions(folder, Permissions::from_mode(mode)).ok();
        }
    }
}

/// Gives a new file the mode that files have in its folder.
pub(super) fn like_neighbours(file: &File, folder: &Path) {
    let (Ok(own), Ok(above)) = (file.metadata(), fs::metadata(folder)) else {
        return;
    };
    let mode = joined(own.mode(), above.mode(), TO_FILES);
    if mode != own.mode() & 0o7777 {
        file.set_permissions(Permissions::from_mode(mode)).ok();
    }
}

/// Gives a file of a table the mode that it had, whatever the umask is. Where the file system has no modes or refuses, it
/// stays as it is.
pub(super) fn as_before(file: &File, had: FileMode) {
    file.set_permissions(Permissions::from_mode(had.bits()))
        .ok();
}

/// The mode of a folder that a vault is made in.
const OF_VAULT: u32 = 0o700;

/// The mode to make a folder in a vault with, as far as the umask allows it.
fn of_vault_folder(above: u32) -> u32 {
    OF_VAULT | above & 0o077
}

/// The mode to make a file in a vault with, as far as the umask allows it; it is read-only once it has its name.
fn of_vault_file(above: u32) -> u32 {
    0o600 | above & 0o044
}

/// The mode of a vault's lock file. Whoever may open it can keep everybody else away: that is for those who may write into
/// the vault's folder. Its group is that of the folder only where one group has both.
fn of_lock(above: u32, is_same_group: bool) -> u32 {
    let group = if above & 0o020 == 0 || !is_same_group {
        0
    } else {
        0o060
    };
    let others = if above & 0o002 == 0 { 0 } else { 0o006 };
    0o600 | group | others
}

/// The mode of a folder. One that cannot be looked at counts as the owner's alone.
fn mode_of(folder: &Path) -> u32 {
    fs::metadata(folder).map_or(OF_VAULT, |found| found.mode())
}

/// A new folder's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Home {
    /// A table, or above one.
    Table,
    /// Above a vault.
    AboveVault,
    /// A vault's own folder.
    Vault,
    /// A folder in a vault.
    InVault,
}

/// Makes a folder with its mode.
pub(super) fn make(folder: &Path, home: Home) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    match home {
        Home::Table | Home::AboveVault => {}
        Home::Vault => {
            builder.mode(OF_VAULT);
        }
        Home::InVault => {
            builder.mode(of_vault_folder(folder.parent().map_or(OF_VAULT, mode_of)));
        }
    }
    builder.create(folder)?;
    if home == Home::Table {
        like_above(folder);
    }
    Ok(())
}

/// The mode to make a file in `folder` with, which is in a vault or not.
pub(super) fn of_new_file(folder: &Path, in_vault: bool) -> u32 {
    if in_vault {
        of_vault_file(mode_of(folder))
    } else {
        0o666
    }
}

/// Gives the lock file in `folder` its mode, whatever the umask was when it was made. Another user's file stays as it is.
pub(super) fn restrict_lock(file: &File, folder: &Path) {
    let (Ok(own), Ok(above)) = (file.metadata(), fs::metadata(folder)) else {
        return;
    };
    let mode = of_lock(above.mode(), own.gid() == above.gid());
    if own.mode() & 0o7777 != mode {
        file.set_permissions(Permissions::from_mode(mode)).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_come_from_the_folder_and_others_never_get_to_write() {
        // By the umask, of the folder above, expected for a folder, expected for a file of that umask.
        let cases = [
            (0o755, 0o2775, 0o2775, 0o664),
            (0o700, 0o755, 0o755, 0o644),
            (0o700, 0o2770, 0o2770, 0o660),
            (0o755, 0o700, 0o755, 0o644),
            (0o755, 0o777, 0o775, 0o664),
            (0o755, 0o1777, 0o755, 0o644),
            (0o700, 0o1777, 0o700, 0o600),
        ];
        for (own, above, folder, file) in cases {
            let own_folder = 0o040_000 | own;
            let above = 0o040_000 | above;
            assert_eq!(joined(own_folder, above, TO_FOLDERS), folder, "{above:o}");
            let own_file = 0o100_000 | own & 0o666;
            assert_eq!(joined(own_file, above, TO_FILES), file, "{above:o}");
        }
    }

    #[test]
    fn nothing_in_a_vault_is_more_open_than_its_folder() {
        // Of the folder above, expected for a folder, a file, the lock file.
        let cases = [
            (0o700, 0o700, 0o600, 0o600),
            (0o750, 0o750, 0o640, 0o600),
            (0o2770, 0o770, 0o640, 0o660),
            (0o755, 0o755, 0o644, 0o600),
            (0o777, 0o777, 0o644, 0o666),
            (0o500, 0o700, 0o600, 0o600),
        ];
        for (above, folder, file, lock) in cases {
            let above = 0o040_000 | above;
            assert_eq!(of_vault_folder(above), folder, "{above:o}");
            assert_eq!(of_vault_file(above), file, "{above:o}");
            assert_eq!(of_lock(above, true), lock, "{above:o}");
            assert_eq!(of_lock(above, false), lock & !0o060, "{above:o}");
        }
    }
}
