//! Commits that lost their bytes below a checkpoint, from which readers start.

use std::fs;

use serde_json::{Value, json};

use super::support::parquet::parquet;
use super::told_live::{Lake, all_of, none_of};

/// Writes a checkpoint of the newest version: what its commits lead to, without those in `without`.
fn checkpoint(lake: &Lake, without: &[u64]) {
    let newest = lake.versions() - 1;
    let mut lines = Vec::new();
    for version in (0..=newest).filter(|version| !without.contains(version)) {
        let text = fs::read_to_string(lake.commit_file(version)).unwrap();
        let actions = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.extend(actions.filter(|action| action.get("commitInfo").is_none()));
    }
    let (removes, mut lines): (Vec<Value>, Vec<Value>) =
        lines.into_iter().partition(|it| it.get("remove").is_some());
    let is_removed = |add: &Value| {
        let mut paths = removes.iter().map(|it| &it["remove"]["path"]);
        paths.any(|path| *path == add["add"]["path"])
    };
    lines.retain(|line| !is_removed(line));
    let name = format!("_delta_log/{newest:020}.checkpoint.parquet");
    fs::write(lake.table().join(name), parquet(&lines)).unwrap();
    let hint = json!({"version": newest, "size": lines.len()});
    fs::write(
        lake.table().join("_delta_log/_last_checkpoint"),
        hint.to_string(),
    )
    .unwrap();
}

/// The table after an append was lost, and others followed: with a checkpoint of version 3 whose writer did not know the
/// lost commit, or did.
fn lost_below_a_checkpoint(knew: bool) -> (Lake, Vec<u8>) {
    let mut lake = Lake::with_snapshot();
    lake.append();
    lake.ends(&["snapshot", "lake/t"], 0);
    let commit = fs::read(lake.commit_file(2)).unwrap();
    lake.append();
    checkpoint(&lake, if knew { &[] } else { &[2] });
    fs::write(lake.commit_file(2), "").unwrap();
    (lake, commit)
}

fn heal(lake: &Lake, said: &str) {
    let heal = said.lines().find(|line| line.contains(" --heal "));
    let heal: Vec<_> = heal.unwrap().split_whitespace().skip(3).collect();
    lake.ends(&heal, 0);
}

#[test]
fn a_checkpoint_that_was_written_while_a_commit_was_empty_goes_with_the_heal() {
    let (mut lake, commit) = lost_below_a_checkpoint(false);
    for _ in 0..2 {
        // Also where nothing has changed, and with commits since: the checkpoint hides the commit from readers, not from us.
        for _ in 0..2 {
            let said = lake.ends(&["snapshot", "lake/t"], 3);
            all_of(&said, &["commit 2 is ", "empty", "holds its bytes"]);
        }
        lake.append();
    }
    let said = lake.ends(&["restore", "lake/t"], 4);
    all_of(
        &said,
        &[
            "live v5 DOUBTFUL",
            "_delta_log/00000000000000000002.json has 0 bytes",
            "checkpoint 3 was written while commit 2 was empty, and lacks what that did",
            "ASIDE   _delta_log/_last_checkpoint and 1 more",
        ],
    );
    heal(&lake, &said);
    assert_eq!(fs::read(lake.commit_file(2)).unwrap(), commit);
    let said = lake.ends(&["restore", "lake/t"], 0);
    // All the rows of five appends, the lost one too.
    all_of(&said, &["live v5 healthy", "of 100 rows", "snapshot"]);
    none_of(&said, &["LOST FROM THE LIVE LOG"]);
    let said = lake.ends(&["snapshot", "lake/t"], 3);
    all_of(
        &said,
        &["commit 2 was empty when snapshot", "has its bytes again"],
    );
    let said = lake.ends(&["restore", "lake/t"], 0);
    all_of(&said, &["live v5 healthy", "NEWEST GOOD HELD"]);
    none_of(&said, &["DOUBT ", "LOST FROM THE LIVE LOG", "NOTE "]);
    lake.append();
    lake.ends(&["snapshot", "lake/t"], 0);
}

#[test]
fn a_checkpoint_that_knew_the_commit_stays_where_it_is() {
    let (lake, commit) = lost_below_a_checkpoint(true);
    lake.ends(&["snapshot", "lake/t"], 3);
    let said = lake.ends(&["restore", "lake/t"], 4);
    none_of(&said, &["ASIDE"]);
    heal(&lake, &said);
    assert_eq!(fs::read(lake.commit_file(2)).unwrap(), commit);
    let name = "_delta_log/00000000000000000003.checkpoint.parquet";
    assert!(lake.table().join(name).exists());
    let said = lake.ends(&["restore", "lake/t"], 0);
    all_of(&said, &["live v3 healthy", "of 60 rows"]);
    // Nothing has changed from the checkpoint on, and what was in doubt is below it.
    let said = lake.ends(&["snapshot", "lake/t"], 3);
    all_of(&said, &["has its bytes again"]);
    none_of(&said, &["is empty", "still empty"]);
}

#[test]
fn nobody_is_invited_to_remove_a_checkpoint_that_may_be_all_that_is_left_of_a_commit() {
    let (mut lake, _) = lost_below_a_checkpoint(true);
    fs::remove_dir_all(lake.folder().join("vault")).unwrap();
    lake.ends(&["init"], 0);
    let keep = "commit 2 is empty, so keep the checkpoint";
    all_of(&lake.ends(&["snapshot", "lake/t"], 3), &[keep]);
    lake.append();
    all_of(&lake.ends(&["snapshot", "lake/t"], 3), &[keep]);
    none_of(
        &lake.ends(&["restore", "lake/t"], 3),
        &["--without-checkpoint"],
    );
    let said = lake.ends(&["restore", "lake/t", "--latest"], 3);
    all_of(
        &said,
        &["keep the checkpoint: it may be all that is left of commit 2"],
    );
    none_of(&said, &["--without-checkpoint"]);
    fs::remove_dir_all(lake.table()).unwrap();
    let said = lake.ends(&["restore", "lake/t", "--latest", "--yes"], 3);
    none_of(&said, &["--without-checkpoint"]);
}

#[test]
fn a_commit_that_was_emptied_below_the_checkpoint_is_named_when_the_next_one_enters() {
    let mut lake = Lake::with_snapshot();
    lake.append();
    checkpoint(&lake, &[]);
    lake.append();
    lake.ends(&["snapshot", "lake/t"], 0);
    fs::write(lake.commit_file(1), "").unwrap();
    lake.append();
    lake.ends(&["snapshot", "lake/t"], 0);
    // Its writer started from the older one.
    checkpoint(&lake, &[]);
    let said = lake.ends(&["snapshot", "lake/t"], 3);
    all_of(
        &said,
        &["commit 1 is empty now (0 bytes)", "holds its bytes"],
    );
    none_of(&said, &["a writer overwrote"]);
}

#[test]
fn a_checkpoint_with_files_that_no_commit_names_stays_and_comes_back() {
    let mut lake = Lake::with_snapshot();
    fs::remove_dir_all(lake.folder().join("vault")).unwrap();
    lake.ends(&["init"], 0);
    lake.append();
    lake.append();
    checkpoint(&lake, &[]);
    // A stray copy overwrites a commit below it.
    fs::copy(lake.commit_file(1), lake.commit_file(2)).unwrap();
    let said = lake.ends(&["snapshot", "lake/t"], 3);
    all_of(&said, &["no commit names 2 files, so keep the checkpoint"]);
    none_of(
        &lake.ends(&["restore", "lake/t"], 3),
        &["--without-checkpoint"],
    );
    // It is lost, and readers see what is left of the commits.
    let log = lake.table().join("_delta_log");
    let name = "00000000000000000003.checkpoint.parquet";
    for lost in [name, "_last_checkpoint"] {
        fs::remove_file(log.join(lost)).unwrap();
    }
    let said = lake.ends(&["restore", "lake/t"], 4);
    none_of(&said, &["healthy", "LEFT OUT"]);
    lake.ends(&["restore", "lake/t", "--latest", "--yes"], 3);
    assert!(log.join(name).exists());
}

#[test]
fn a_table_in_doubt_is_healthy_only_where_its_own_log_s_files_are_there() {
    let mut lake = Lake::with_snapshot();
    fs::remove_dir_all(lake.folder().join("vault")).unwrap();
    lake.ends(&["init"], 0);
    lake.delete_partition_a();
    lake.append();
    checkpoint(&lake, &[]);
    lake.remove("r=a/1.parquet");
    // The commit that removed it is overwritten: without the checkpoint, readers need it again.
    fs::copy(lake.commit_file(1), lake.commit_file(2)).unwrap();
    lake.ends(&["snapshot", "lake/t"], 3);
    let restore = ["restore", "lake/t"];
    none_of(&lake.ends(&restore, 3), &["--without-checkpoint"]);
    let out = ["--latest", "--without-checkpoint", "3", "--yes"];
    lake.ends(&[&restore, &out[..]].concat(), 3);
    let (ended, said) = lake.run(&restore);
    assert_ne!(ended, Some(0), "{said}");
    none_of(&said, &["healthy"]);
}

#[test]
fn a_checkpoint_above_the_newest_commit_is_named() {
    for held in [false, true] {
        let mut lake = Lake::with_snapshot();
        lake.append();
        checkpoint(&lake, &[]);
        lake.append();
        if held {
            lake.ends(&["snapshot", "lake/t"], 0);
        }
        let log = lake.table().join("_delta_log");
        let name = |version: u64| log.join(format!("{version:020}.checkpoint.parquet"));
        fs::copy(name(2), name(5)).unwrap();
        let stands = "checkpoint 5 stands above the newest commit, 3";
        let said = lake.ends(&["restore", "lake/t"], 4);
        all_of(&said, &["live v5 DOUBTFUL", stands]);
        all_of(&lake.ends(&["snapshot", "lake/t"], 3), &[stands]);
        let said = lake.run(&["restore", "lake/t"]).1;
        none_of(&said, &["healthy"]);
    }
}

#[test]
fn a_log_that_was_cleaned_up_with_its_checkpoints_own_commit_is_healthy() {
    let mut lake = Lake::with_snapshot();
    lake.append();
    checkpoint(&lake, &[]);
    lake.append();
    lake.ends(&["snapshot", "lake/t"], 0);
    for version in 0..=2 {
        fs::remove_file(lake.commit_file(version)).unwrap();
    }
    all_of(&lake.ends(&["restore", "lake/t"], 0), &["live v3 healthy"]);
    lake.ends(&["snapshot", "lake/t"], 0);
}

#[test]
fn a_table_whose_snapshot_is_in_doubt_is_not_healthy_after_a_clean_up_either() {
    let mut lake = Lake::with_snapshot();
    lake.append();
    lake.append();
    fs::write(lake.commit_file(2), "").unwrap();
    checkpoint(&lake, &[2]);
    lake.append();
    lake.ends(&["snapshot", "lake/t"], 3);
    for version in 0..=2 {
        fs::remove_file(lake.commit_file(version)).unwrap();
    }
    let said = lake.ends(&["restore", "lake/t"], 3);
    all_of(&said, &["live v4 DOUBTFUL", "DOUBT "]);
    none_of(&said, &["healthy"]);
}
