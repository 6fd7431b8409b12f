//! `restore --rewind`, `restore --replace` and `undo`, as a person types them.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use super::support::world::files;
use super::told_live::{Lake, all_of, in_order, none_of};

/// The name that the vault gives the table.
const T: &str = "lake-t";

type Files = BTreeMap<String, Vec<u8>>;

/// Runs a command that must end so, at the time that it is, without the wait for late writers.
fn ends(lake: &Lake, words: &[&str], code: i32) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_deltavault"))
        .args(["--vault", "vault"])
        .args(words)
        .current_dir(lake.folder())
        .env_clear()
        .env("DELTAVAULT_NOW", super::support::s3::now().to_string())
        .output()
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let said = format!("{stdout}{}", String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
    said
}

/// A snapshot of version 1, then an append and a deletion.
fn bad_write() -> Lake {
    let mut lake = Lake::with_snapshot();
    lake.append();
    lake.delete_partition_a();
    lake
}

/// What is in the table, without what restores keep beside it.
fn table(lake: &Lake) -> Files {
    let mut files = files(&lake.table());
    files.retain(|name, _| !name.starts_with("_deltavault/"));
    files
}

fn log(files: &Files) -> Vec<&str> {
    let names = files.keys().map(String::as_str);
    names
        .filter_map(|name| name.strip_prefix("_delta_log/"))
        .collect()
}

/// The id of the newest snapshot.
fn newest(lake: &Lake) -> String {
    let said = ends(lake, &["--json", "snapshots", T, "--latest", "1"], 0);
    let row: Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
    row["snapshot"].as_str().unwrap()[..8].to_owned()
}

#[test]
fn a_bad_write_is_rewound_and_the_rewind_is_undone() {
    let lake = bad_write();
    let before = table(&lake);
    let said = ends(&lake, &["restore", T, "--latest"], 4);
    all_of(
        &said,
        &["the log itself goes back to v1", " --rewind --yes"],
    );

    let said = ends(&lake, &["restore", T, "--latest", "--rewind"], 4);
    in_order(
        &said,
        &[
            "LOSES   going back to v1 loses v2-v3: ",
            "REMOVES 2 files of the log",
            "READERS stop the writers first",
            "NOTHING CHANGED. Next:",
            " --rewind --yes",
            "error: not confirmed",
        ],
    );
    assert_eq!(table(&lake), before);

    let said = ends(&lake, &["restore", T, "--latest", "--rewind", "--yes"], 0);
    let safety = newest(&lake);
    in_order(
        &said,
        &[
            "CHECKED v1 opens with deltalake",
            "REMOVED 2 files of the log",
            "UNDO    ",
            &format!("undo lake-t (safety snapshot {safety}, kept until "),
        ],
    );
    let back = table(&lake);
    let commits = ["00000000000000000000.json", "00000000000000000001.json"];
    assert_eq!(log(&back), commits);
    // No data file was removed.
    for (name, bytes) in &before {
        assert!(
            name.starts_with("_delta_log/") || back.get(name) == Some(bytes),
            "{name}"
        );
    }
    // Asked for again, there is nothing to do, and no other safety snapshot is taken. What the table was turned away from is
    // not what anybody means by the newest.
    let by_version = ["--version", "1", "--rewind"];
    for which in [&by_version[..], &["--latest", "--rewind"], &["--latest"]] {
        let words = [&["restore", T, "--yes"], which].concat();
        let said = ends(&lake, &words, 0);
        all_of(&said, &["live v1 healthy, nothing missing"]);
        assert_eq!(newest(&lake), safety);
    }
    let said = ends(&lake, &["restore", T], 0);
    all_of(&said, &["live v1 healthy, nothing missing"]);

    let said = ends(&lake, &["undo", T], 4);
    in_order(
        &said,
        &[
            "WANTED  v3, snapshot ",
            "NOTHING CHANGED. Next:",
            "undo lake-t --yes",
        ],
    );
    let said = ends(&lake, &["undo", T, "--yes"], 0);
    all_of(&said, &["CHECKED v3 opens with deltalake"]);
    none_of(&said, &["UNDO"]);
    assert_eq!(table(&lake), before);
    let said = ends(&lake, &["undo", T, "--yes"], 4);
    all_of(
        &said,
        &["lake-t has no rewind or replacement to take back: the last one was taken back at"],
    );
    ends(&lake, &["verify"], 0);
}

#[test]
fn an_undo_takes_nothing_away_that_was_committed_since() {
    let mut lake = bad_write();
    ends(&lake, &["restore", T, "--latest", "--rewind", "--yes"], 0);
    let safety = newest(&lake);
    lake.next = 2;
    lake.append();
    let after = table(&lake);
    let said = ends(&lake, &["undo", T, "--yes"], 4);
    in_order(
        &said,
        &[
            "ANOTHER HISTORY",
            "_delta_log/00000000000000000002.json",
            "NOTHING CHANGED. Choose:",
            "first take away what was committed since",
            " --version 1 --rewind",
            "then go forward to v3",
            &format!("restore lake-t --snapshot {safety}"),
        ],
    );
    assert_eq!(table(&lake), after);
    // What it says works.
    ends(
        &lake,
        &["restore", T, "--version", "1", "--rewind", "--yes"],
        0,
    );
    ends(&lake, &["restore", T, "--snapshot", &safety, "--yes"], 0);
    assert!(lake.commit_file(3).exists());
}

#[test]
fn another_table_of_that_name_makes_room_and_comes_back() {
    let mut lake = Lake::with_snapshot();
    let first = table(&lake);
    fs::remove_dir_all(lake.table()).unwrap();
    lake.next = 0;
    lake.commit(
        "CREATE TABLE",
        vec![
            json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}),
            json!({"metaData": {"id": "other", "format": {"provider": "parquet", "options": {}},
                "schemaString": json!({"type": "struct", "fields": [
                    {"name": "id", "type": "long", "nullable": true, "metadata": {}}]}).to_string(),
                "partitionColumns": [], "configuration": {}}}),
        ],
    );
    let second = table(&lake);
    let said = ends(&lake, &["restore", T, "--latest"], 4);
    all_of(
        &said,
        &["ANOTHER TABLE lives there now", " --replace --yes"],
    );
    let said = ends(&lake, &["restore", T, "--latest", "--replace", "--yes"], 0);
    all_of(&said, &["CHECKED v1 opens with deltalake", "UNDO    "]);
    assert_eq!(table(&lake), first);
    for flags in [&["--replace", "--yes"][..], &["--yes"]] {
        let words = [&["restore", T, "--latest"], flags].concat();
        all_of(
            &ends(&lake, &words, 0),
            &["live v1 healthy, nothing missing"],
        );
        assert_eq!(table(&lake), first);
    }
    lake.next = 2;
    lake.append();
    let said = ends(&lake, &["undo", T, "--yes"], 4);
    all_of(
        &said,
        &["somebody has committed to lake-t since: 1 file that snapshot"],
    );
    fs::remove_file(lake.commit_file(2)).unwrap();
    ends(&lake, &["undo", T, "--yes"], 0);
    let back = table(&lake);
    assert_eq!(log(&back), log(&second));
    for (name, bytes) in &second {
        assert_eq!(back.get(name), Some(bytes), "{name}");
    }
}

#[test]
fn a_table_whose_newest_version_is_not_whole_is_rewound_only_with_consent() {
    let lake = bad_write();
    lake.remove("r=b/2.parquet");
    let before = table(&lake);
    let said = ends(
        &lake,
        &["restore", T, "--version", "1", "--rewind", "--yes"],
        4,
    );
    in_order(
        &said,
        &[
            "error: no safety snapshot of ",
            "caused by: ",
            "r=b/2.parquet",
            "hint: nothing was changed",
        ],
    );
    assert_eq!(table(&lake), before);
    let words = [
        "restore",
        T,
        "--version",
        "1",
        "--rewind",
        "--accept-damaged",
        "--yes",
    ];
    let said = ends(&lake, &words, 3);
    all_of(
        &said,
        &[
            "kept in _deltavault/aside",
            "UNDO    none: no safety snapshot",
        ],
    );
    let aside = files(&lake.table().join("_deltavault/aside"));
    assert!(
        aside
            .values()
            .any(|bytes| *bytes == before["_delta_log/00000000000000000003.json"])
    );
    let said = ends(&lake, &["undo", T, "--yes"], 4);
    all_of(&said, &["the vault does not hold what lake-t was before"]);
}

#[test]
fn what_a_late_writer_leaves_is_readable_again_once_the_commits_below_it_are_back() {
    let mut lake = bad_write();
    let before = table(&lake);
    ends(
        &lake,
        &["restore", T, "--version", "1", "--rewind", "--yes"],
        0,
    );
    let safety = newest(&lake);
    // It had read version 3.
    lake.append();
    let said = ends(
        &lake,
        &["restore", T, "--snapshot", &safety, "--heal", "--yes"],
        0,
    );
    all_of(&said, &["2 put back"]);
    let back = table(&lake);
    assert_eq!(log(&back).len(), 5);
    for (name, bytes) in &before {
        assert_eq!(back.get(name), Some(bytes), "{name}");
    }
    ends(&lake, &["snapshot", "lake/t"], 0);
}

#[test]
fn a_rewind_is_about_one_table_and_says_which_version() {
    let lake = bad_write();
    for flag in ["--rewind", "--replace"] {
        let said = ends(&lake, &["restore", T, "u", "--latest", flag], 2);
        all_of(&said, &[flag, "it is about one table"]);
        ends(&lake, &["restore", T, "--heal", flag], 2);
    }
    let before = table(&lake);
    let said = ends(&lake, &["restore", T, "--rewind", "--yes"], 4);
    all_of(&said, &["NOTHING CHANGED", "--rewind --yes"]);
    let said = ends(&lake, &["restore", T, "--latest", "--replace", "--yes"], 4);
    all_of(&said, &["--rewind --yes"]);
    let said = ends(&lake, &["undo", T, "--yes"], 4);
    all_of(&said, &["lake-t has no rewind or replacement to take back"]);
    assert_eq!(table(&lake), before);
}

#[test]
fn what_a_table_was_turned_away_from_does_not_stand_in_for_a_snapshot_in_doubt() {
    let mut lake = bad_write();
    let held = newest(&lake);
    ends(&lake, &["restore", T, "--latest", "--rewind", "--yes"], 0);
    lake.next = 2;
    lake.append();
    fs::write(lake.commit_file(1), "").unwrap();
    ends(&lake, &["snapshot", "lake/t"], 3);
    let said = ends(&lake, &["restore", T], 4);
    all_of(&said, &[&held, "commit 1 is empty (0 bytes)"]);
}
