//! A full copy that is asked for again: whoever did not read how the first run ended learns whether the copy is whole.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::support::world::files;
use super::told_live::{Lake, all_of};

const COPY: [&str; 6] = ["restore", "lake/t", "--latest", "--to", "copy", "--yes"];

const WHOLE: [&str; 3] = [
    "holds the copy already, every file as the snapshot has it",
    "0 put back (0 B), 4 kept",
    "CHECKED v1 opens with deltalake, 2 files",
];

fn copied() -> Lake {
    let lake = Lake::with_snapshot();
    all_of(&lake.ends(&COPY, 0), &["4 put back"]);
    lake
}

fn refused(lake: &Lake, copy: &Path) {
    let before = files(copy);
    all_of(&lake.ends(&COPY, 1), &["copy is not empty"]);
    assert_eq!(files(copy), before);
}

#[test]
fn a_copy_that_is_whole_is_said_to_be_and_nothing_is_written() {
    let lake = copied();
    let copy = lake.folder().join("copy");
    let before = files(&copy);
    all_of(&lake.ends(&COPY, 0), &WHOLE);
    all_of(&lake.ends(&COPY[..5], 0), &WHOLE);
    assert_eq!(files(&copy), before);
}

#[test]
fn a_run_that_was_killed_after_its_last_file_is_finished_by_the_next() {
    let lake = copied();
    let copy = lake.folder().join("copy");
    let before = files(&copy);
    let rows = lake.ends(&["snapshots", "--json"], 0);
    let row: serde_json::Value = serde_json::from_str(rows.lines().next().unwrap()).unwrap();
    let claim = json!({"by": "somebody@somewhere", "renewed": 0, "run": "a".repeat(32), "seconds": 300,
        "since": "2025-11-20T00:00:00Z", "snapshot": row["snapshot"]});
    let place = copy.join("_deltavault/claim-1");
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::write(&place, claim.to_string()).unwrap();
    let long_ago = std::time::SystemTime::UNIX_EPOCH;
    fs::File::options()
        .write(true)
        .open(&place)
        .unwrap()
        .set_modified(long_ago)
        .unwrap();
    all_of(&lake.ends(&COPY, 0), &WHOLE);
    assert_eq!(files(&copy), before, "its claim went with it");
}

#[test]
fn a_place_that_lacks_a_file_or_has_another_one_is_somebody_elses() {
    let lake = copied();
    let copy = lake.folder().join("copy");
    let data = copy.join("r=a/1.parquet");
    fs::write(&data, "87654321").unwrap();
    refused(&lake, &copy);
    fs::remove_file(&data).unwrap();
    refused(&lake, &copy);
    fs::write(&data, "12345678").unwrap();
    lake.ends(&COPY, 0);
    // It has gone on, as a table of its own.
    let log = copy.join("_delta_log");
    fs::copy(
        log.join(format!("{:020}.json", 1)),
        log.join(format!("{:020}.json", 2)),
    )
    .unwrap();
    refused(&lake, &copy);
}
