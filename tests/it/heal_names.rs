//! `restore --heal` under a newer live table that uses a name of the old version for another file: the live table keeps
//! its bytes, and the old version is had elsewhere.

use std::fs;

use serde_json::{Value, json};

use super::told_live::{Lake, all_of, none_of};

const A: &str = "r=a/1.parquet";
const OLD: &[u8] = b"12345678";

fn add(size: usize, modification_time: u64) -> Value {
    json!({"add": {"path": A, "partitionValues": {"r": "a"}, "size": size,
        "modificationTime": modification_time, "dataChange": true, "stats": "{\"numRecords\":10}"}})
}

fn remove() -> Value {
    json!({"remove": {"path": A, "deletionTimestamp": 1, "dataChange": true}})
}

/// A table whose v1 is held, and whose v3 has other bytes under the name of a file of v1.
fn named_again(bytes: &[u8], modification_time: u64) -> Lake {
    let mut lake = Lake::with_snapshot();
    lake.commit("UPDATE", vec![remove()]);
    fs::write(lake.table().join(A), bytes).unwrap();
    lake.commit("WRITE", vec![add(bytes.len(), modification_time)]);
    lake
}

const HEAL: [&str; 6] = ["restore", "lake/t", "--version", "1", "--heal", "--yes"];

#[test]
fn a_name_that_a_newer_version_gives_another_file_is_not_filled() {
    for bytes in [&b"abcdefgh"[..], b"abc"] {
        let lake = named_again(bytes, 2);
        lake.remove(A);
        for words in [&HEAL[..], &HEAL[..4]] {
            let said = lake.ends(words, 4);
            all_of(
                &said,
                &[
                    "live v3 NOT WHOLE: r=a/1.parquet is gone",
                    "TAKEN   v1 cannot be put back here for the names of 1 file, first r=a/1.parquet: v3 uses that \
                     name for another file",
                    "--to ",
                ],
            );
            none_of(&said, &["--heal --yes\n", "v1 is whole", "v3 is whole"]);
            assert!(!lake.table().join(A).exists());
        }
    }
}

#[test]
fn bytes_of_a_newer_version_stay_under_their_name_and_it_is_healthy() {
    for bytes in [&b"abcdefgh"[..], b"abc"] {
        for is_held in [false, true] {
            let lake = named_again(bytes, 2);
            if is_held {
                lake.ends(&["snapshot", "lake/t"], 0);
            }
            let said = lake.ends(&HEAL, 4);
            all_of(
                &said,
                &["live v3 healthy", "1 has other bytes", "TAKEN ", "--to "],
            );
            none_of(&said, &["v1-v3", "RESTORE TABLE", "is whole"]);
            assert_eq!(fs::read(lake.table().join(A)).unwrap(), bytes);
        }
    }
}

#[test]
fn a_file_that_came_back_as_it_was_is_put_and_is_replaced_once_a_newer_snapshot_holds_it() {
    let lake = named_again(OLD, 1);
    lake.remove(A);
    lake.ends(&HEAL, 0);
    all_of(&lake.ends(&["restore", "lake/t"], 0), &["live v3 healthy"]);
    assert_eq!(fs::read(lake.table().join(A)).unwrap(), OLD);
    lake.ends(&["snapshot", "lake/t"], 0);
    fs::write(lake.table().join(A), "87654321").unwrap();
    lake.ends(&HEAL, 0);
    assert_eq!(fs::read(lake.table().join(A)).unwrap(), OLD);
}

#[test]
fn bytes_of_a_file_that_was_added_again_without_a_removal_stay() {
    let mut lake = Lake::with_snapshot();
    fs::write(lake.table().join(A), "abcdefgh").unwrap();
    lake.commit("WRITE", vec![add(8, 1)]);
    for is_held in [false, true] {
        if is_held {
            lake.ends(&["snapshot", "lake/t"], 3);
        }
        all_of(&lake.ends(&HEAL, 4), &["TAKEN ", "--to "]);
        assert_eq!(fs::read(lake.table().join(A)).unwrap(), b"abcdefgh");
    }
}

#[test]
fn a_file_that_came_back_and_was_cut_off_is_replaced() {
    let lake = named_again(OLD, 1);
    fs::write(lake.table().join(A), "1234").unwrap();
    lake.ends(&HEAL, 0);
    assert_eq!(fs::read(lake.table().join(A)).unwrap(), OLD);
}

#[test]
fn bytes_of_the_same_size_and_time_may_be_another_file_and_stay() {
    // A writer that gives every file the same time.
    let lake = named_again(b"abcdefgh", 1);
    let said = lake.ends(&HEAL, 4);
    all_of(
        &said,
        &[
            "live v3 DOUBTFUL",
            "TAKEN ",
            "other bytes are there, and v3 may need them",
            "--to ",
        ],
    );
    assert_eq!(fs::read(lake.table().join(A)).unwrap(), b"abcdefgh");
}

#[test]
fn what_a_newer_snapshot_holds_decides_where_the_log_does_not_tell() {
    // A writer that gives every file the same time.
    let lake = named_again(b"abcdefgh", 1);
    lake.ends(&["snapshot", "lake/t"], 3);
    lake.remove(A);
    let said = lake.ends(&HEAL, 4);
    all_of(
        &said,
        &[
            "TAKEN ",
            "the snapshot of v3 holds other bytes under that name",
        ],
    );
    assert!(!lake.table().join(A).exists());
}

#[test]
fn under_a_log_that_cannot_be_read_nothing_is_put() {
    let mut lake = named_again(b"abcdefgh", 2);
    lake.commit("WRITE", vec![]);
    fs::remove_file(lake.commit_file(3)).unwrap();
    let said = lake.ends(&HEAL, 4);
    all_of(&said, &["TAKEN ", "the live log cannot be read", "--to "]);
    assert_eq!(fs::read(lake.table().join(A)).unwrap(), b"abcdefgh");
}

#[test]
fn files_that_the_newest_version_needs_are_said_to_be_its_own() {
    let mut lake = Lake::with_snapshot();
    lake.append();
    lake.remove(A);
    let plan = lake.ends(&["restore", "lake/t", "--version", "1"], 4);
    all_of(
        &plan,
        &["put back what live v2 needs of it", "--heal --yes"],
    );
    let done = lake.ends(&HEAL, 0);
    for said in [&plan, &done] {
        none_of(said, &["VACUUM", "LOSES"]);
    }
}

#[test]
fn a_log_that_leads_to_the_old_version_no_more_gets_what_its_newest_version_needs() {
    let mut lake = Lake::with_snapshot();
    lake.append();
    lake.commit("UPDATE", vec![remove()]);
    let adds = ["r=b/1.parquet", "r=a/2.parquet", "r=b/2.parquet"].map(|path| {
        json!({"add": {"path": path, "partitionValues": {"r": &path[2..3]}, "size": 8, "modificationTime": 1,
            "dataChange": true}})
    });
    let head = fs::read_to_string(lake.commit_file(0)).unwrap();
    let head = head.lines().skip(1).map(str::to_owned);
    let top = std::iter::once(json!({"checkpointMetadata": {"version": 3}}).to_string());
    let lines = top.chain(head).chain(adds.map(|add| add.to_string()));
    let name = "00000000000000000003.checkpoint.80a083e8-7026-4e79-81be-64bd76c43a11.json";
    let checkpoint = lake.table().join("_delta_log").join(name);
    fs::write(checkpoint, lines.collect::<Vec<_>>().join("\n")).unwrap();
    (0..3).for_each(|version| fs::remove_file(lake.commit_file(version)).unwrap());
    // Nothing that v3 needs is gone.
    lake.remove(A);
    let said = lake.ends(&HEAL, 4);
    all_of(&said, &["files put back under it cannot be read"]);
    lake.remove("r=b/1.parquet");
    lake.ends(&HEAL, 0);
    assert_eq!(fs::read(lake.table().join("r=b/1.parquet")).unwrap(), OLD);
    assert!(!lake.table().join(A).exists(), "nobody could read it");
}
