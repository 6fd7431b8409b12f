//! What a snapshot and a restore say of commits of the live log that are empty, cut or missing, and how far the vault helps.

use std::fs;

use serde_json::json;

use super::told_live::{DATA, Lake, all_of, in_order, none_of};

#[test]
fn a_commit_without_a_byte_is_named_and_the_table_is_not_called_healthy() {
    let mut lake = Lake::with_snapshot();
    (0..3).for_each(|_| lake.append());
    for empty in [3, 4] {
        let commit = fs::read(lake.commit_file(empty)).unwrap();
        fs::write(lake.commit_file(empty), "").unwrap();
        for (which, code) in [
            (&["restore", "lake/t"][..], 3),
            (&["restore", "lake/t", "--latest"], 4),
        ] {
            let said = lake.ends(which, code);
            all_of(
                &said,
                &[&format!("LOG     commit {empty} is empty (0 bytes)")],
            );
            none_of(&said, &["healthy"]);
        }
        fs::write(lake.commit_file(empty), commit).unwrap();
    }
}

#[test]
fn an_empty_commit_that_a_snapshot_holds_is_named_all_the_same() {
    let mut lake = Lake::with_snapshot();
    lake.append();
    fs::write(lake.commit_file(2), "").unwrap();
    lake.ends(&["snapshot", "lake/t"], 3);
    for words in [
        &["restore", "lake/t"][..],
        &["restore", "lake/t", "--latest", "--yes"],
    ] {
        let said = lake.ends(words, 3);
        in_order(
            &said,
            &["live v2 DOUBTFUL", "LOG     commit 2 is empty (0 bytes)"],
        );
        none_of(&said, &["healthy"]);
    }
}

#[test]
fn after_a_night_that_saw_an_empty_commit_restore_still_puts_it_back() {
    let mut lake = Lake::with_snapshot();
    lake.append();
    lake.ends(&["snapshot", "lake/t"], 0);
    lake.append();
    let commit = fs::read(lake.commit_file(2)).unwrap();
    fs::write(lake.commit_file(2), "").unwrap();
    for _ in 0..2 {
        // The doubt stays as long as the commit is empty.
        let said = lake.ends(&["snapshot", "lake/t"], 3);
        all_of(&said, &["commit 2 "]);
        let said = lake.ends(&["restore", "lake/t"], 4);
        all_of(&said, &[" --heal "]);
        lake.append();
    }
    lake.ends(&["snapshot", "lake/t"], 3);
    let said = lake.ends(&["restore", "lake/t"], 4);
    let heal = said.lines().find(|line| line.contains(" --heal "));
    let heal: Vec<_> = heal.unwrap().split_whitespace().skip(3).collect();
    lake.ends(&heal, 0);
    assert_eq!(fs::read(lake.commit_file(2)).unwrap(), commit);
    let said = lake.ends(&["restore", "lake/t"], 0);
    all_of(
        &said,
        &["live v5 healthy", "of v5 was passed over: commit 2"],
    );
    // What the next night holds is not in doubt: the commit is as it was before.
    lake.append();
    let said = lake.ends(&["snapshot", "lake/t"], 3);
    all_of(
        &said,
        &["commit 2 was empty when snapshot", "has its bytes again"],
    );
    let said = lake.ends(&["restore", "lake/t"], 0);
    all_of(&said, &["live v6 healthy", "NEWEST GOOD HELD"]);
    none_of(&said, &["DOUBT "]);
}

#[test]
fn an_empty_commit_that_later_ones_did_again_is_not_put_back() {
    for heal in [false, true] {
        let mut lake = Lake::with_snapshot();
        // As an optimize does; it is lost, and run again.
        let compact = |lake: &mut Lake| {
            let path = format!("all-{}.parquet", lake.versions());
            fs::write(lake.table().join(&path), DATA).unwrap();
            let mut actions: Vec<_> = ["r=a/1.parquet", "r=b/1.parquet"]
                .map(|path| json!({"remove": {"path": path, "deletionTimestamp": 1, "dataChange": false}}))
                .into();
            actions.push(
                json!({"add": {"path": path, "partitionValues": {}, "size": DATA.len(),
                "modificationTime": 1, "dataChange": false, "stats": "{\"numRecords\":20}"}}),
            );
            lake.commit("OPTIMIZE", actions);
        };
        compact(&mut lake);
        lake.ends(&["snapshot", "lake/t"], 0);
        fs::write(lake.commit_file(2), "").unwrap();
        compact(&mut lake);
        lake.append();
        let words = ["restore", "lake/t", "--version", "2", "--heal", "--yes"];
        let said = lake.run(if heal { &words } else { &words[..4] }).1;
        all_of(
            &said,
            &[
                "commit 2 is empty (0 bytes)",
                "commit 2 is not put back: v3 may have been written without it",
            ],
        );
        none_of(&said, &["healthy", "put the log of live"]);
        assert_eq!(fs::read(lake.commit_file(2)).unwrap(), b"", "{said}");
    }
}

#[test]
fn an_empty_commit_below_an_overwrite_is_put_back_only_where_that_knew_it() {
    for knew in [false, true] {
        let mut lake = Lake::with_snapshot();
        lake.append();
        lake.ends(&["snapshot", "lake/t"], 0);
        let commit = fs::read(lake.commit_file(2)).unwrap();
        fs::write(lake.commit_file(2), "").unwrap();
        let mut gone = vec!["r=a/1.parquet", "r=b/1.parquet"];
        if knew {
            gone.extend(["r=a/2.parquet", "r=b/2.parquet"]);
        }
        let removes = gone.into_iter().map(
            |path| json!({"remove": {"path": path, "deletionTimestamp": 1, "dataChange": true}}),
        );
        lake.commit("WRITE", removes.collect());
        let words = ["restore", "lake/t", "--version", "2", "--heal", "--yes"];
        let said = lake.run(&words).1;
        let now = fs::read(lake.commit_file(2)).unwrap();
        assert_eq!(now == commit, knew, "{said}");
    }
}

#[test]
fn a_commit_that_was_cut_and_that_nobody_holds_comes_with_what_can_be_done() {
    let mut lake = Lake::with_snapshot();
    lake.append();
    lake.append();
    let text = fs::read_to_string(lake.commit_file(3)).unwrap();
    fs::write(lake.commit_file(3), &text[..text.len() / 2]).unwrap();
    let said = lake.ends(&["restore", "lake/t"], 4);
    let moved = "move _delta_log/00000000000000000003.json out of the log: the table is at v2 then";
    all_of(&said, &["BROKEN", "no snapshot holds commit 3", moved]);
    // As it says.
    fs::rename(lake.commit_file(3), lake.folder().join("cut.json")).unwrap();
    lake.ends(&["snapshot", "lake/t"], 0);
    fs::rename(lake.folder().join("cut.json"), lake.commit_file(3)).unwrap();
    // Later versions were written on top of it.
    lake.append();
    let said = lake.ends(&["restore", "lake/t"], 4);
    all_of(
        &said,
        &["no snapshot holds commit 3", "v4 and later need it"],
    );
    none_of(&said, &["out of the log"]);
}

#[test]
fn what_stands_above_a_gap_by_mistake_can_be_passed_over() {
    let mut lake = Lake::with_snapshot();
    lake.append();
    fs::copy(lake.commit_file(2), lake.commit_file(50)).unwrap();
    let said = lake.ends(&["snapshot", "lake/t"], 1);
    all_of(&said, &["commit 3 is missing", "--accept-tip 2"]);
    let said = lake.ends(&["snapshot", "lake/t", "--accept-tip", "2"], 0);
    all_of(&said, &["lake-t v2 "]);
    // No gap lies above this one.
    let said = lake.ends(&["snapshot", "lake/t", "--accept-tip", "1"], 1);
    all_of(&said, &["commit 3 is missing"]);
}

#[test]
fn a_commit_that_is_missing_above_the_snapshot_is_a_hole_and_no_clean_up() {
    let mut lake = Lake::with_snapshot();
    (0..4).for_each(|_| lake.append());
    let commit = fs::read(lake.commit_file(3)).unwrap();
    fs::remove_file(lake.commit_file(3)).unwrap();
    for words in [&["--latest"][..], &["--latest", "--heal"]] {
        let said = lake.ends(&[&["restore", "lake/t"], words].concat(), 4);
        all_of(
            &said,
            &[
                "live v5 BROKEN: its log cannot be read",
                "LOG     commit 3 is missing and later ones are there, so no reader opens the live table",
                "_delta_log/00000000000000000003.json",
                "still readable at its place: v0-v2",
                "a full copy elsewhere",
            ],
        );
        none_of(&said, &["cleaned out", "RESTORE TABLE"]);
    }
    // A later snapshot holds the commit, and puts it back.
    fs::write(lake.commit_file(3), commit).unwrap();
    lake.ends(&["snapshot", "lake/t"], 0);
    lake.append();
    fs::remove_file(lake.commit_file(3)).unwrap();
    let said = lake.ends(&["restore", "lake/t", "--version", "1"], 4);
    all_of(&said, &["is of v5: what of the log it puts right"]);
    lake.ends(
        &["restore", "lake/t", "--version", "5", "--heal", "--yes"],
        0,
    );
    all_of(&lake.ends(&["restore", "lake/t"], 0), &["live v6 healthy"]);
}

#[test]
fn a_newest_version_that_stands_alone_is_told_until_somebody_accepts_it() {
    let mut lake = Lake::with_snapshot();
    // A checkpoint that rebuilds it, so that readers take it for the newest.
    let schema = json!({"type": "struct", "fields": []}).to_string();
    let actions = [
        json!({"checkpointMetadata": {"version": 1_000_000}}),
        json!({"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["v2Checkpoint"],
            "writerFeatures": ["v2Checkpoint"]}}),
        json!({"metaData": {"id": "t", "format": {"provider": "parquet", "options": {}}, "schemaString": schema,
            "partitionColumns": [], "configuration": {}, "createdTime": 1}}),
    ];
    let text = actions.map(|action| action.to_string()).join("\n");
    let name = "00000000000001000000.checkpoint.80a083e8-7026-4e79-81be-64bd76c43a11.json";
    fs::write(lake.table().join("_delta_log").join(name), text).unwrap();
    lake.next = 1_000_000;
    lake.commit("WRITE", Vec::new());
    for words in [
        &["restore", "lake/t"][..],
        &["restore", "lake/t", "--latest"],
    ] {
        let output = lake.run(words).1;
        all_of(
            &output,
            &[
                "LOG     v1000000 stands alone, far above v1",
                "_delta_log/00000000000001000000.*",
            ],
        );
    }
    none_of(&lake.run(&["restore", "lake/t"]).1, &["FILES GONE"]);
    lake.ends(&["snapshot", "lake/t", "--accept-tip", "1000000"], 0);
    none_of(&lake.run(&["restore", "lake/t"]).1, &["stands alone"]);
}

#[test]
fn where_the_log_went_on_another_way_a_copy_brings_back_what_an_emptied_commit_did() {
    let mut lake = Lake::with_snapshot();
    lake.append();
    lake.append();
    lake.ends(&["snapshot", "lake/t"], 0);
    // The newest commit is lost, too, and another one takes its place.
    fs::write(lake.commit_file(2), "").unwrap();
    fs::remove_file(lake.commit_file(3)).unwrap();
    lake.next = 3;
    lake.append();
    lake.ends(&["snapshot", "lake/t"], 3);
    lake.append();
    lake.ends(&["snapshot", "lake/t"], 3);
    let said = lake.ends(&["restore", "lake/t"], 3);
    all_of(&said, &["which has what commit 2 did"]);
    let copy = said.lines().find(|line| line.contains(" --to ")).unwrap();
    let copy: Vec<_> = copy.split_whitespace().skip(3).collect();
    let said = lake.ends(&copy, 0);
    all_of(&said, &["CHECKED v3 opens with deltalake, 6 files"]);
}
