//! Which state of a table `restore` takes and offers: versions that only a history snapshot holds, and snapshots that a
//! prune has deleted.

use std::fs::{self, File};

use deltavault::ids::Timestamp;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::support::s3::now;
use super::told_live::{Lake, all_of, none_of};

/// When a version was committed: `second` and 120 milliseconds past ten o'clock, later than any day of a test run.
fn committed(second: u64) -> Timestamp {
    format!("2100-01-01T10:00:{second:02}.120Z")
        .parse()
        .unwrap()
}

/// A time that many days from now, as `--now` takes it.
fn in_days(days: i64) -> String {
    (now() + SignedDuration::from_hours(24 * days)).to_string()
}

impl Lake {
    /// Commits versions up to `last`, each in the second of its number.
    fn append_to(&mut self, last: u64) {
        while self.versions() <= last {
            let version = self.versions();
            self.append();
            let commit = File::options().write(true).open(self.commit_file(version));
            commit
                .unwrap()
                .set_modified(committed(version).into())
                .unwrap();
        }
    }

    fn rows(&self, words: &[&str]) -> Vec<Value> {
        let (_, said) = self.run(words);
        let rows = said.lines().map(serde_json::from_str);
        rows.collect::<Result<_, _>>()
            .unwrap_or_else(|_| panic!("{said}"))
    }

    /// The short ids of all snapshots, oldest first, and whether each was pruned.
    fn snapshots(&self, now: &str) -> Vec<(String, bool)> {
        let rows = self.rows(&["--now", now, "snapshots", "--json"]);
        let rows = rows.iter().map(|row| {
            let id = row["snapshot"].as_str().unwrap();
            (id[..8].to_owned(), row["pruned"].as_bool().unwrap())
        });
        rows.collect()
    }

    /// The versions that `restore` without a choice lists.
    fn listed(&self, now: &str) -> Vec<Value> {
        let rows = self.rows(&["--now", now, "restore", "lake/t", "--json"]);
        let versions = rows.iter().find_map(|row| row["versions"].as_array());
        versions.unwrap_or_else(|| panic!("{rows:?}")).clone()
    }

    fn prune(&self, days: i64) {
        let prune = ["prune", "--yes", "--longest-pause", "9999"];
        let (ended, said) = self.run(&[&["--now", &in_days(days)][..], &prune].concat());
        assert!(matches!(ended, Some(0 | 3)), "{said}");
    }
}

#[test]
fn a_time_finds_the_version_that_a_history_snapshot_holds() {
    let mut lake = Lake::with_snapshot();
    for last in [3, 6] {
        lake.append_to(last);
        lake.ends(&["snapshot", "lake/t", "--scope", "history"], 0);
    }
    let ids = lake.snapshots(&in_days(0));
    let newest = ids.last().unwrap().0.as_str();
    let listed = lake.listed(&in_days(0));
    let held = |version: usize| listed[6 - version]["held_in"].as_str();
    assert!(held(5).unwrap().starts_with(newest), "{listed:?}");
    assert_eq!(held(6), None, "it has a snapshot of its own");
    let said = lake.run(&["restore", "lake/t"]).1;
    all_of(&said, &[&format!("in history snapshot {newest}")]);

    fs::remove_dir_all(lake.table()).unwrap();
    let at = |time: &str| {
        let time = format!("2100-01-01T10:00:{time}Z");
        lake.run(&["restore", "lake/t", "--dry-run", "--at", &time])
            .1
    };
    all_of(
        &at("05.5"),
        &[
            &format!(
                "WANTED  v5, whole in history snapshot {newest} of v6, committed 2100-01-01 10:00:05Z"
            ),
            "taken is v5, committed 2100-01-01 10:00:05.120Z, the newest by then that is held",
        ],
    );
    all_of(&at("05"), &["taken is v5"]);
    all_of(&at("05.000"), &["taken is v4"]);
    all_of(
        &at("03.5"),
        &["taken is v3", "the newest by then that is held"],
    );
    all_of(&at("02.5"), &["taken is v2"]);
    all_of(&at("07"), &["taken is v6"]);
    let time = "2100-01-01T10:00:05.5Z";
    lake.ends(&["restore", "lake/t", "--at", time, "--yes"], 0);
    assert!(lake.table().join("r=a/5.parquet").exists());
    assert!(!lake.table().join("r=a/6.parquet").exists());
}

#[test]
fn in_commit_timestamps_tell_the_times_of_older_versions_where_the_table_has_them() {
    let mut lake = Lake::with_snapshot();
    let features = json!(["appendOnly", "invariants", "inCommitTimestamp"]);
    let protocol =
        json!({"minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": features});
    lake.commit("SET TBLPROPERTIES", vec![json!({"protocol": protocol})]); // 2
    for last in [3, 6] {
        while lake.versions() <= last {
            let version = lake.versions();
            lake.append();
            // The file is as old as the machine's clock says, the commit is of a day to come.
            let time = committed(version).as_millisecond();
            let told = format!("\"commitInfo\":{{\"inCommitTimestamp\":{time},");
            let commit = lake.commit_file(version);
            let text = fs::read_to_string(&commit).unwrap();
            fs::write(&commit, text.replace("\"commitInfo\":{", &told)).unwrap();
        }
        lake.ends(&["snapshot", "lake/t", "--scope", "history"], 0);
    }
    fs::remove_dir_all(lake.table()).unwrap();
    let time = "2100-01-01T10:00:05.5Z";
    let said = lake
        .run(&["restore", "lake/t", "--dry-run", "--at", time])
        .1;
    all_of(
        &said,
        &["taken is v5, committed 2100-01-01 10:00:05.120Z, the newest by then"],
    );
}

#[test]
fn a_snapshot_of_another_table_is_called_that() {
    let lake = Lake::with_snapshot();
    lake.ends(&["snapshot", "lake/orders"], 0);
    let (first, second) = match &lake.snapshots(&in_days(0))[..] {
        [first, second] => (first.0.clone(), second.0.clone()),
        other => panic!("{other:?}"),
    };
    let is_of = |id: &str, table: &str| {
        lake.run(&["show", id])
            .1
            .contains(&format!("lake/{table}\n"))
    };
    let of_orders = if is_of(&first, "orders") {
        first
    } else {
        second
    };
    let said = lake.ends(&["restore", "lake/t", "--snapshot", &of_orders], 1);
    all_of(
        &said,
        &[
            &format!("error: snapshot {of_orders} is of lake-orders, not of lake-t\n"),
            &format!("restore lake-orders --snapshot {of_orders}`"),
        ],
    );
    let said = lake.ends(&["restore", "lake/t", "--snapshot", "00000000"], 1);
    all_of(&said, &["no snapshot begins with \"00000000\""]);
}

#[test]
fn versions_between_two_snapshots_are_told_where_nobody_holds_them() {
    let mut lake = Lake::with_snapshot();
    for last in [3, 6] {
        lake.append_to(last);
        lake.ends(&["snapshot", "lake/t"], 0);
    }
    let words = ["restore", "lake/t", "--dry-run", "--at"];
    let at = |time| lake.run(&[&words[..], &[time]].concat()).1;
    let said = at("2100-01-01T10:00:05.5Z");
    all_of(
        &said,
        &[
            "taken is v3",
            "; not held: v4-v5, which may have been committed by then too",
        ],
    );
    none_of(&said, &["the newest"]);
    all_of(
        &at("2100-01-01T10:00:09Z"),
        &["taken is v6", ", the newest by then that is held"],
    );
}

#[test]
fn a_pruned_snapshot_is_marked_and_its_version_comes_from_where_it_is_held() {
    let mut lake = Lake::with_snapshot();
    lake.append_to(3);
    let taken = in_days(20);
    lake.ends(
        &["--now", &taken, "snapshot", "lake/t", "--scope", "history"],
        0,
    );
    let later = in_days(45);
    let [(first, false), (second, false)] = &lake.snapshots(&later)[..] else {
        panic!("nothing was pruned yet");
    };
    // Its promise is over, and it can be restored until a prune comes.
    let copy = |flag: &str, value: &str, to: &str, code| {
        let words = [
            "--now", &later, "restore", "lake/t", flag, value, "--to", to, "--yes",
        ];
        lake.ends(&words, code)
    };
    copy("--snapshot", first, "lake/before", 0);
    lake.prune(40);
    lake.prune(44);
    let marks: Vec<bool> = lake.snapshots(&later).iter().map(|it| it.1).collect();
    assert_eq!(marks, [true, false]);
    let said = lake.ends(&["--now", &later, "snapshots"], 0);
    let row = said.lines().find(|line| line.starts_with(first.as_str()));
    all_of(row.unwrap(), &["  pruned  "]);
    all_of(
        &lake.run(&["--now", &later, "show", first]).1,
        &["; pruned"],
    );

    let said = lake.run(&["--now", &later, "restore", "lake/t"]).1;
    none_of(&said, &[first]);
    all_of(&said, &[&format!("in history snapshot {second}")]);
    let gone = copy("--snapshot", first, "lake/none", 1);
    all_of(&gone, &["has been pruned"]);
    let said = lake.ends(&["--now", &later, "diff", first, second], 1);
    all_of(&said, &["has been pruned"]);
    copy("--version", "1", "lake/by-version", 0);
    let now = now().to_string();
    let said = copy("--at", &now, "lake/by-time", 0);
    all_of(
        &said,
        &[&format!("v1, whole in history snapshot {second} of v3")],
    );
}

#[test]
fn a_pruned_snapshot_is_no_good_one_that_is_held() {
    let mut lake = Lake::with_snapshot();
    lake.append_to(3);
    lake.ends(&["--now", &in_days(20), "snapshot", "lake/t"], 0);
    lake.prune(40);
    lake.prune(44);
    let later = in_days(45);
    let marks: Vec<bool> = lake.snapshots(&later).iter().map(|it| it.1).collect();
    assert_eq!(marks, [true, false]);
    for row in lake.listed(&later) {
        let is_held = row["version"] == 3;
        assert_eq!(
            row["snapshots"].as_array().unwrap().len() == 1,
            is_held,
            "{row}"
        );
        assert_eq!(row["newest_good_held"], is_held, "{row}");
    }
    let said = lake.ends(&["--now", &later, "restore", "lake/t", "--version", "1"], 1);
    all_of(&said, &["has been pruned", "nearest"]);
}
