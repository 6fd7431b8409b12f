//! The machine that it runs on: who may read what it writes, whatever the umask.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::cli::small_lake;

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

/// All that is below a folder.
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()) {
        if path.is_dir() {
            found.extend(below(&path));
        }
        found.push(path);
    }
    found
}

/// Runs the tool under a umask.
fn under(umask: &str, folder: &Path, words: &[&str]) {
    let output = Command::new("sh")
        .args(["-c", &format!("umask {umask}; exec \"$0\" \"$@\"")])
        .arg(env!("CARGO_BIN_EXE_deltavault"))
        .args(["--vault", "vault"])
        .args(words)
        .current_dir(folder)
        .env_clear()
        .env("XDG_CACHE_HOME", folder.join("cache"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{words:?}: {output:?}");
}

#[test]
fn a_vault_is_its_owner_s_whatever_the_umask_and_as_open_as_a_folder_that_was_there() {
    // Of the vault's folder before `init`, the umask, then: the folder, folders in it, files in it, the lock file.
    let cases = [
        (None, "000", 0o700, 0o700, 0o400, 0o600),
        (None, "022", 0o700, 0o700, 0o400, 0o600),
        (None, "077", 0o700, 0o700, 0o400, 0o600),
        (Some(0o755), "000", 0o755, 0o755, 0o444, 0o600),
        (Some(0o755), "077", 0o755, 0o700, 0o400, 0o600),
        (Some(0o750), "022", 0o750, 0o750, 0o440, 0o600),
        (Some(0o2770), "007", 0o2770, 0o2770, 0o440, 0o660),
    ];
    for (before, umask, root, folders, files, lock) in cases {
        let lake = small_lake();
        let vault = lake.path().join("vault");
        fs::remove_dir_all(&vault).unwrap();
        if let Some(before) = before {
            fs::create_dir(&vault).unwrap();
            fs::set_permissions(&vault, fs::Permissions::from_mode(before)).unwrap();
        }
        for words in [
            &["init"][..],
            &["snapshot", "lake/orders"],
            &["snapshots"],
            &["show", "latest"],
            &["ls", "latest"],
            &["prune", "--yes"],
        ] {
            under(umask, lake.path(), words);
        }
        let told = format!("{before:?} {umask}");
        assert_eq!(mode(&vault), root, "{told}");
        for path in below(&vault) {
            let expected = match (path.is_dir(), path.ends_with(".deltavault-lock")) {
                (true, _) => folders,
                (false, true) => lock,
                (false, false) => files,
            };
            assert_eq!(mode(&path), expected, "{told} {}", path.display());
        }
        let cached = below(&lake.path().join("cache"));
        assert!(cached.len() > 2, "{cached:?}");
        for path in cached {
            let expected = if path.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(mode(&path), expected, "{told} {}", path.display());
        }
    }
}

#[test]
fn a_lock_file_that_readers_could_open_is_closed_to_them() {
    let lake = small_lake();
    let lock = lake.path().join("vault/.deltavault-lock");
    fs::write(&lock, "").unwrap();
    fs::set_permissions(&lock, fs::Permissions::from_mode(0o666)).unwrap();
    fs::set_permissions(lake.path().join("vault"), fs::Permissions::from_mode(0o755)).unwrap();
    under("000", lake.path(), &["snapshot", "lake/orders"]);
    assert_eq!(mode(&lock), 0o600);
}
