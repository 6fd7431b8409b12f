//! Checkpoints of 3 and 4 KiB that unfold to 100 MiB in one page, and to 200 GiB by a dictionary: `tests/data/bombs`. What
//! a file may unfold to is tested where it is decided, in `delta/checkpoint/limits.rs`.

use std::fs;
use std::path::Path;

use crate::told_live::Lake;

const BOMBS: [&str; 2] = ["page", "dictionary"];

fn plant(table: &Path, bomb: &str, version: u64) {
    let bombs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/bombs");
    let log = table.join("_delta_log");
    fs::create_dir_all(&log).unwrap();
    let name = format!("{version:020}.checkpoint.parquet");
    fs::copy(
        bombs.join(format!("{bomb}.checkpoint.parquet")),
        log.join(name),
    )
    .unwrap();
}

#[test]
fn table_whose_log_is_a_bomb_fails_alone() {
    for bomb in BOMBS {
        let mut lake = Lake::with_snapshot();
        let table = lake.folder().join("lake/bomb");
        plant(&table, bomb, 1);
        let commit = table.join("_delta_log/00000000000000000001.json");
        fs::write(commit, r#"{"commitInfo":{}}"#).unwrap();
        lake.append();
        let said = lake.ends(&["snapshot", "lake/bomb", "lake/t"], 5);
        assert!(said.contains("lake-t v2 is snapshot"), "{said}");
        assert!(said.contains("a file of this size may have"), "{said}");
    }
}

#[test]
fn bomb_in_the_log_of_a_table_that_is_held_stops_neither_night_nor_restore() {
    for bomb in BOMBS {
        let mut lake = Lake::with_snapshot();
        lake.append();
        plant(&lake.table(), bomb, 2);
        let said = lake.ends(&["snapshot", "lake/t"], 3);
        assert!(said.contains("v2 is snapshot"), "{said}");
        assert!(said.contains("a file of this size may have"), "{said}");
        let copy = ["restore", "lake/t", "--latest", "--to", "copy", "--yes"];
        lake.ends(&copy, 0);
        // A commit is lost under it.
        fs::remove_file(lake.commit_file(2)).unwrap();
        fs::remove_file(lake.table().join("r=a/1.parquet")).unwrap();
        let said = lake.ends(&["restore", "lake/t", "--latest", "--heal", "--yes"], 0);
        assert!(lake.table().join("r=a/1.parquet").exists(), "{said}");
        assert!(lake.commit_file(2).exists(), "{said}");
    }
}
