//! Transcripts of the command line: what is typed, what is printed, how it ends. Only the wiring; what commands
//! do is tested below them.
//!
//! `TRYCMD=overwrite` in the environment writes what is printed into the transcripts.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use deltavault::store::local::LocalStore;

use crate::support::world::{copy_folder, files};

#[test]
fn transcripts_are_as_recorded() {
    let clean_env = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/clean-env");
    trycmd::TestCases::new()
        .register_bin("deltavault", clean_env)
        .register_bin("sh", Path::new("/bin/sh"))
        .env("DELTAVAULT_BIN", env!("CARGO_BIN_EXE_deltavault"))
        .insert_var("[DELTAVAULT]", env!("CARGO_BIN_EXE_deltavault"))
        .unwrap()
        .case("tests/cli/*.trycmd");
}

#[test]
fn a_reader_that_has_gone_away_is_not_an_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Command::new(env!("CARGO_BIN_EXE_deltavault"))
        .args(["completions", "bash"])
        .env_clear()
        .stdout(writer)
        .output()
        .unwrap();
    assert!(output.status.success(), "{:?}", output.status);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn an_interrupted_command_ends_with_130_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_deltavault"))
        .args(["demo", "--dir"])
        .arg(folder.path())
        .env_clear()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Its folder is made once it is at work.
    while !folder.path().join("lake").exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let process = rustix::process::Pid::from_child(&demo);
    rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
    let status = demo.wait().unwrap();
    assert_eq!(status.code(), Some(130));
    let mut said = String::new();
    demo.stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert_eq!(said, "error: interrupted\n");
}

/// Copies the small tables and the empty vault that the transcripts begin with.
pub(crate) fn small_lake() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/snapshot.in");
    copy_folder(&from, folder.path());
    folder
}

pub(crate) fn deltavault(
    folder: &Path,
    words: &[&str],
) -> (Option<i32>, Vec<serde_json::Value>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_deltavault"))
        .args(["--vault", "vault"])
        .args(words)
        .current_dir(folder)
        .env_clear()
        .output()
        .unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let rows = lines
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), rows.collect(), said)
}

#[test]
fn one_table_that_fails_stops_no_other_and_ends_with_5() {
    let folder = small_lake();
    let tables = [
        "snapshot",
        "lake/orders",
        "lake/plain",
        "lake/people",
        "--json",
    ];
    let (code, rows, said) = deltavault(folder.path(), &tables);
    assert_eq!((code, said.as_str()), (Some(5), ""));
    let of_type = |wanted: &str| {
        let found = rows.iter().filter(|row| row["message_type"] == wanted);
        found.collect::<Vec<_>>()
    };
    assert_eq!(of_type("snapshot_taken").len(), 2, "{rows:?}");
    let failed = of_type("table_failed");
    assert_eq!(failed.len(), 1, "{rows:?}");
    assert_eq!(failed[0]["table"], "lake/plain");
    assert_eq!(failed[0]["code"], 1);
    let last = rows.last().unwrap();
    assert_eq!(last["message_type"], "exit_error");
    assert_eq!(last["message"], "1 of 3 tables failed: lake/plain");
}

#[test]
fn an_id_is_understood_by_its_first_digits_and_snapshots_of_one_run_share_a_set() {
    let folder = small_lake();
    let tables = ["snapshot", "lake/orders", "lake/people", "--json"];
    let (code, rows, _) = deltavault(folder.path(), &tables);
    assert_eq!(code, Some(0));
    let of_orders = rows.iter().find(|row| row["table"] == "lake-orders");
    let id = of_orders.unwrap()["snapshot"].as_str().unwrap();
    let words = ["restore", "lake/orders", "--snapshot", &id[..12], "--json"];
    let (code, rows, _) = deltavault(folder.path(), &words);
    assert_eq!(code, Some(0), "nothing is missing: {rows:?}");
    assert_eq!(rows.last().unwrap()["snapshot"], id);

    let records = files(&folder.path().join("vault/tables"));
    let sets: Vec<String> = records
        .values()
        .filter(|body| !body.is_empty())
        .map(|body| serde_json::from_slice::<serde_json::Value>(body).unwrap())
        .map(|record| record["set"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(sets.len(), 2);
    assert_eq!(sets[0], sets[1]);
}

#[test]
fn while_a_prune_has_the_vault_no_snapshot_is_taken() {
    let folder = small_lake();
    let vault = LocalStore::open(&folder.path().join("vault")).unwrap();
    let lock = vault.try_lock_exclusive().unwrap();
    let (code, _, said) = deltavault(folder.path(), &["snapshot", "lake/orders"]);
    assert_eq!(code, Some(1));
    assert!(
        said.contains("error: a prune is at work in file://"),
        "{said}"
    );
    let (code, ..) = deltavault(folder.path(), &["snapshot", "lake/orders", "--dry-run"]);
    assert_eq!(code, Some(0), "a plan disturbs nobody");
    drop(lock);
    let (code, ..) = deltavault(folder.path(), &["snapshot", "lake/orders"]);
    assert_eq!(code, Some(0));
}

#[test]
fn while_a_prune_has_the_vault_nothing_changes_what_is_kept() {
    let folder = small_lake();
    let taken = ["snapshot", "lake/orders", "--json"];
    let (_, rows, _) = deltavault(folder.path(), &taken);
    let id = rows[0]["snapshot"].as_str().unwrap();
    let vault = LocalStore::open(&folder.path().join("vault")).unwrap();
    let commands: [&[&str]; 3] = [
        &["hold", id],
        &["release", id],
        &["retire", "lake-orders", "--yes"],
    ];
    for words in commands {
        let lock = vault.try_lock_exclusive().unwrap();
        let (code, _, said) = deltavault(folder.path(), words);
        assert_eq!(code, Some(1), "{words:?}");
        assert!(said.contains("a prune is at work"), "{words:?}: {said}");
        drop(lock);
        let (code, _, said) = deltavault(folder.path(), words);
        assert_eq!(code, Some(0), "{words:?}: {said}");
    }
}

#[test]
fn a_plan_makes_nothing_where_a_table_was_dropped() {
    let folder = small_lake();
    deltavault(folder.path(), &["snapshot", "lake/orders"]);
    std::fs::remove_dir_all(folder.path().join("lake")).unwrap();
    let (code, ..) = deltavault(folder.path(), &["restore", "lake/orders", "--latest"]);
    assert_eq!(code, Some(4));
    assert!(!folder.path().join("lake").exists());
    let words = ["restore", "lake/orders", "--latest", "--yes"];
    assert_eq!(deltavault(folder.path(), &words).0, Some(0));
    assert!(folder.path().join("lake/orders/a.parquet").exists());
}

#[test]
fn a_table_that_was_reached_through_a_link_is_the_same_table() {
    let folder = small_lake();
    std::os::unix::fs::symlink("lake", folder.path().join("link")).unwrap();
    let through_link = ["snapshot", "link/orders", "--json"];
    let (_, rows, _) = deltavault(folder.path(), &through_link);
    assert_eq!(rows[0]["table"], "lake-orders");
    let (_, rows, _) = deltavault(folder.path(), &["snapshot", "lake/orders", "--json"]);
    assert_eq!(rows[0]["sequence"], 2);
}

#[test]
fn a_table_under_several_spellings_is_taken_once() {
    let folder = small_lake();
    let path = folder.path();
    std::os::unix::fs::symlink("lake", path.join("link")).unwrap();
    let words = "snapshot lake/orders lake/orders/ lake/../lake/orders link/orders --json";
    let (code, rows, _) = deltavault(path, &words.split(' ').collect::<Vec<_>>());
    assert_eq!(code, Some(0), "{rows:?}");
    let taken = rows
        .iter()
        .filter(|row| row["message_type"] == "snapshot_taken");
    assert_eq!(taken.count(), 1, "{rows:?}");
}

#[test]
fn a_vault_inside_its_table_is_refused() {
    let folder = small_lake();
    let inside = folder.path().join("lake/orders/_vault");
    copy_folder(&folder.path().join("vault"), &inside);
    let vault = inside.to_str().unwrap();
    let words = ["snapshot", "lake/orders", "--vault", vault];
    let output = Command::new(env!("CARGO_BIN_EXE_deltavault"))
        .args(words)
        .current_dir(folder.path())
        .env_clear()
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("would take the vault along"), "{said}");
}
