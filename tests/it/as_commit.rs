//! `restore --as-commit`: the files come back, an engine's own RESTORE makes the commit, and what it made is checked.

use std::fs;

use serde_json::{Value, json};

use crate::told_live::{DATA, Lake, all_of};

const RESTORE: [&str; 5] = ["restore", "lake-t", "--version", "1", "--as-commit"];

/// Version 2 takes a file of version 1 out, which a VACUUM removes.
fn vacuumed() -> Lake {
    let mut lake = Lake::with_snapshot();
    lake.delete_partition_a();
    lake.remove("r=a/1.parquet");
    lake
}

/// A commit that adds files, ready to be moved into the log as version 3.
fn prepared(lake: &Lake, adds: &[&str]) -> String {
    let lines = adds.iter().map(|path| {
        let region = &path[2..3];
        json!({"add": {"path": path, "partitionValues": {"r": region}, "size": DATA.len(), "modificationTime": 1,
            "dataChange": true}})
    });
    let info = json!({"commitInfo": {"timestamp": 1, "operation": "RESTORE"}});
    let lines: Vec<String> = std::iter::once(info)
        .chain(lines)
        .map(|it| it.to_string())
        .collect();
    fs::write(lake.folder().join("prepared"), lines.join("\n") + "\n").unwrap();
    let commit = lake.commit_file(3);
    format!("env > got; cp prepared '{}'; echo noise", commit.display())
}

#[test]
fn statements_are_printed_whether_or_not_a_file_is_gone() {
    let lake = vacuumed();
    for back in ["1 put back", "0 put back"] {
        let said = lake.ends(&[&RESTORE[..], &["--yes"]].concat(), 0);
        all_of(&said, &[back, "RESTORE TABLE delta.", ".restore(1)"]);
    }
    assert!(!lake.commit_file(3).exists());
}

#[test]
fn what_the_command_commits_is_compared_file_by_file() {
    for (adds, code, says) in [
        (
            &["r=a/1.parquet"][..],
            0,
            "v3 has exactly the 2 files of v1",
        ),
        (
            &[],
            3,
            "v3 is not v1: it lacks 1 of its 2 files and has 0 others",
        ),
        (
            &["r=a/1.parquet", "r=b/9.parquet"],
            3,
            "it lacks 0 of its 2 files and has 1 others, first r=b/9.parquet",
        ),
    ] {
        let lake = vacuumed();
        let command = prepared(&lake, adds);
        let words = [&RESTORE[..], &["--exec", &command, "--yes"]].concat();
        let said = lake.ends(&words, code);
        all_of(&said, &[says, "noise"]);
        let got = fs::read_to_string(lake.folder().join("got")).unwrap();
        all_of(
            &got,
            &[
                "DELTAVAULT_SQL=RESTORE TABLE delta.",
                "DELTAVAULT_PYTHON=from deltalake import DeltaTable",
                "DELTAVAULT_RESTORE_VERSION=1",
            ],
        );
    }
}

#[test]
fn a_command_that_fails_or_commits_nothing_is_said_and_the_files_stay() {
    for (command, says) in [
        ("exit 7", "`exit 7` failed: exit status: 7"),
        (
            "true",
            "`true` has committed nothing: the live table is still at v2",
        ),
    ] {
        let lake = vacuumed();
        let words = [&RESTORE[..], &["--exec", command, "--yes"]].concat();
        let said = lake.ends(&words, 1);
        all_of(&said, &[says, "before the next VACUUM"]);
        assert!(lake.table().join("r=a/1.parquet").exists());
    }
}

#[test]
fn nothing_is_run_without_a_yes_or_where_no_newer_version_is() {
    let lake = vacuumed();
    let exec = ["--exec", "touch ran"];
    let said = lake.ends(&[&RESTORE[..], &exec].concat(), 4);
    assert!(
        said.contains("--as-commit --exec 'touch ran' --yes"),
        "{said}"
    );
    lake.ends(&[&RESTORE[..], &exec, &["--dry-run"]].concat(), 0);
    let lake = Lake::with_snapshot();
    lake.remove("r=a/1.parquet");
    let said = lake.ends(&[&RESTORE[..], &exec, &["--yes"]].concat(), 0);
    assert!(said.contains("was not run"), "{said}");
    assert!(!lake.folder().join("ran").exists());
    lake.ends(&["restore", "lake-t", "--latest", "--exec", "true"], 2);
}

#[test]
fn the_line_of_json_has_its_shape() {
    let lake = vacuumed();
    let command = prepared(&lake, &["r=a/1.parquet"]);
    let words = [&RESTORE[..], &["--exec", &command, "--yes", "--json"]].concat();
    let said = lake.ends(&words, 0);
    let mut rows = said
        .lines()
        .filter_map(|it| serde_json::from_str::<Value>(it).ok());
    let row = rows.next_back().unwrap();
    assert_eq!(
        (&row["message_type"], &row["committed"]),
        (&json!("committed"), &json!(3))
    );
    crate::messages::assert_shape(&row);
}
