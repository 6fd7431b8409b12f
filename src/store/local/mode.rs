//! The permissions of new folders and files in a table: those of their neighbours, whatever the umask of the restore is.
//! Otherwise a restored table could no longer be written by its group, or read by a service of another user.
//!
//! Bits are only added, and never the right of everybody to write. The mode of a folder with the sticky bit (`/tmp`) is
//! not passed on. Vaults are left out: a vault must not be more open than its owner's other files.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

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
pub(super) fn like_above(folder: &Path) {
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
}
