//! A vault whose ledgers are set back as a whole: its newest snapshots are gone with everything that vouched for them. Only
//! what was written down elsewhere can show it.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::world::copy_folder;
use crate::told_live::Lake;

/// Runs a command with an index of its own; returns stdout, stderr and how it ended.
fn run(lake: &Lake, words: &[&str]) -> (String, String, i32) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_deltavault"));
    let command = command.current_dir(lake.folder()).env_clear();
    let command = command.env("XDG_CACHE_HOME", lake.folder().join("cache"));
    let output = command.args(["--vault", "vault"]).args(words).output();
    let output = output.unwrap();
    (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
        output.status.code().unwrap(),
    )
}

/// Whether `sha256sum -c` finds all that it reads in the vault.
fn sha256sum_agrees(vault: &Path, heads: &str) -> bool {
    fs::write(vault.with_file_name("sums"), heads).unwrap();
    let sums = vault.with_file_name("sums");
    let mut check = Command::new("sha256sum");
    let check = check.arg("-c").arg(sums).current_dir(vault);
    check.stdout(Stdio::null()).status().unwrap().success()
}

#[test]
fn vault_that_was_set_back_is_found_by_its_heads_and_by_the_index() {
    let mut lake = Lake::with_snapshot();
    let vault = lake.folder().join("vault");
    let then = lake.folder().join("then");
    copy_folder(&vault.join("tables"), &then);
    lake.append();
    assert_eq!(run(&lake, &["snapshot", "lake/t"]).2, 0);
    let (heads, _, code) = run(&lake, &["snapshots", "--heads"]);
    assert_eq!((code, heads.lines().count()), (0, 1), "{heads}");
    assert!(sha256sum_agrees(&vault, &heads), "{heads}");
    fs::write(lake.folder().join("heads"), &heads).unwrap();
    assert_eq!(run(&lake, &["verify", "--heads", "heads"]).2, 0);
    // What is written down stays true however many follow.
    lake.append();
    assert_eq!(run(&lake, &["snapshot", "lake/t"]).2, 0);
    let (said, _, code) = run(&lake, &["verify", "--heads", "heads"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(run(&lake, &["snapshots"]).2, 0);

    fs::remove_dir_all(vault.join("tables")).unwrap();
    copy_folder(&then, &vault.join("tables"));
    assert!(!sha256sum_agrees(&vault, &heads));
    let id = &heads[..8];
    let (said, _, code) = run(&lake, &["verify", "--heads", "heads"]);
    assert_eq!(code, 12, "{said}");
    let says = format!("no longer has snapshot {id} in this slot: it ends with ");
    assert!(said.contains(&says), "{said}");
    // Of its own, this machine knows the newest that it saw.
    for _ in 0..2 {
        let (_, noted, code) = run(&lake, &["snapshots"]);
        assert_eq!(code, 0);
        let says = "in slot 3, and the vault no longer has it";
        assert!(noted.contains(says), "{noted}");
    }
    assert_eq!(run(&lake, &["index", "rebuild"]).2, 0);
    let (_, noted, _) = run(&lake, &["snapshots"]);
    assert!(!noted.contains("no longer has it"), "{noted}");

    // The next night takes the slot of the lost one.
    lake.append();
    assert_eq!(run(&lake, &["snapshot", "lake/t"]).2, 0);
    let (said, _, code) = run(&lake, &["verify", "--heads", "heads"]);
    assert_eq!(code, 12, "{said}");

    fs::remove_dir_all(vault.join("tables")).unwrap();
    let (said, _, code) = run(&lake, &["verify", "--heads", "heads"]);
    assert_eq!(code, 12, "{said}");
    assert!(said.contains("in this slot: it is empty"), "{said}");
}

#[test]
fn file_of_heads_that_cannot_be_used_is_refused_before_anything_is_verified() {
    let lake = Lake::with_snapshot();
    fs::write(lake.folder().join("heads"), "\nno head\n").unwrap();
    fs::write(lake.folder().join("empty"), "\n").unwrap();
    for (file, says) in [
        ("heads", "heads is not usable at line 2: "),
        ("none", "none is not usable: "),
        ("empty", "it names no snapshot"),
    ] {
        let (said, error, code) = run(&lake, &["verify", "--heads", file]);
        assert_eq!((said.as_str(), code), ("", 2), "{error}");
        assert!(
            error.contains(says) && error.contains("snapshots --heads"),
            "{error}"
        );
    }
}
