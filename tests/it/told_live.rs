//! What a restore tells of a live table that is newer than the snapshot: files that were cut, a commit that is missing, and
//! which statement comes first when old files were put back.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::cli::small_lake;
use super::support::s3::now;
use super::support::world::files;

pub(crate) const DATA: &[u8] = b"12345678";

/// A folder with a vault and a table `lake/t`, partitioned by `r`.
pub(crate) struct Lake {
    folder: tempfile::TempDir,
    pub(crate) next: u64,
}

impl Lake {
    /// Versions 0 and 1, each with a file in both partitions, and a snapshot of version 1.
    pub(crate) fn with_snapshot() -> Self {
        let mut lake = Self {
            folder: small_lake(),
            next: 0,
        };
        let schema = json!({"type": "struct", "fields": [
            {"name": "id", "type": "long", "nullable": true, "metadata": {}},
            {"name": "r", "type": "string", "nullable": true, "metadata": {}}]});
        lake.commit(
            "CREATE TABLE",
            vec![
                json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}),
                json!({"metaData": {"id": "t", "format": {"provider": "parquet", "options": {}},
                    "schemaString": schema.to_string(), "partitionColumns": ["r"], "configuration": {},
                    "createdTime": 1}}),
            ],
        );
        lake.append();
        lake.ends(&["snapshot", "lake/t"], 0);
        lake
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn table(&self) -> PathBuf {
        self.folder.path().join("lake/t")
    }

    /// How many versions there are.
    pub(crate) fn versions(&self) -> u64 {
        self.next
    }

    pub(crate) fn commit_file(&self, version: u64) -> PathBuf {
        self.table().join(format!("_delta_log/{version:020}.json"))
    }

    pub(crate) fn commit(&mut self, operation: &str, actions: Vec<Value>) {
        let now = now().as_millisecond();
        let info =
            json!({"commitInfo": {"timestamp": now, "operation": operation, "version": self.next}});
        let mut text = String::new();
        for action in std::iter::once(info).chain(actions) {
            writeln!(text, "{action}").unwrap();
        }
        let path = self.commit_file(self.next);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self.next += 1;
    }

    /// A file of each partition, named by the version.
    pub(crate) fn append(&mut self) {
        let version = self.next;
        let adds = ["a", "b"].map(|region| {
            let path = format!("r={region}/{version}.parquet");
            let place = self.table().join(&path);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::write(place, DATA).unwrap();
            json!({"add": {"path": path, "partitionValues": {"r": region}, "size": DATA.len(),
                "modificationTime": 1, "dataChange": true, "stats": "{\"numRecords\":10}"}})
        });
        self.commit("WRITE", adds.into());
    }

    pub(crate) fn delete_partition_a(&mut self) {
        let remove = json!({"remove": {"path": "r=a/1.parquet", "deletionTimestamp": 1, "dataChange": true,
            "extendedFileMetadata": true, "partitionValues": {"r": "a"}, "size": DATA.len()}});
        self.commit("DELETE", vec![remove]);
    }

    pub(crate) fn remove(&self, path: &str) {
        fs::remove_file(self.table().join(path)).unwrap();
    }

    /// Runs a command that must end so; returns what it printed.
    pub(crate) fn ends(&self, words: &[&str], code: i32) -> String {
        let (ended, said) = self.run(words);
        assert_eq!(ended, Some(code), "{words:?}: {said}");
        said
    }

    /// How a command ended, and what it printed.
    pub(crate) fn run(&self, words: &[&str]) -> (Option<i32>, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_deltavault"))
            .args(["--vault", "vault"])
            .args(words)
            .current_dir(self.folder.path())
            .env_clear()
            .output()
            .unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        let said = format!("{stdout}{}", String::from_utf8(output.stderr).unwrap());
        (output.status.code(), said)
    }
}

pub(crate) fn all_of(said: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(said.contains(wanted), "{wanted:?} is not in\n{said}");
    }
}

pub(crate) fn none_of(said: &str, lies: &[&str]) {
    for lie in lies {
        assert!(!said.contains(lie), "{lie:?} is in\n{said}");
    }
}

/// The texts stand in this order.
pub(crate) fn in_order(said: &str, wanted: &[&str]) {
    let mut rest = said;
    for wanted in wanted {
        let Some((_, after)) = rest.split_once(wanted) else {
            panic!("{wanted:?} does not follow in\n{said}");
        };
        rest = after;
    }
}

#[test]
fn rows_that_were_deleted_come_back_by_the_insert_first_while_the_newest_version_is_good() {
    let mut lake = Lake::with_snapshot();
    lake.delete_partition_a();
    lake.append();
    let said = lake.ends(&["restore", "lake/t", "--version", "1"], 4);
    in_order(
        &said,
        &[
            "only what v2 deleted comes back from v1; later commits stay; once: running it twice doubles the rows:",
            "INSERT INTO",
            "v1 is whole at its place: a new commit brings it back and takes v2-v3",
            "RESTORE TABLE",
            "a full copy elsewhere",
        ],
    );
    lake.remove("r=a/1.parquet");
    let said = lake.ends(
        &["restore", "lake/t", "--version", "1", "--heal", "--yes"],
        0,
    );
    in_order(
        &said,
        &[
            "NEXT    INSERT INTO",
            "VERSION AS OF 1 WHERE r = 'a';",
            "only what v2 deleted comes back from v1; later commits stay",
            "instead, to go back to v1, which takes v2-v3 (",
            "RESTORE TABLE",
            "the next VACUUM removes the files of v1 again",
        ],
    );
    // Where the newest version is not whole, nothing is worth keeping it for.
    lake.remove("r=a/1.parquet");
    lake.remove("r=b/3.parquet");
    let said = lake.ends(
        &["restore", "lake/t", "--version", "1", "--heal", "--yes"],
        3,
    );
    in_order(&said, &["NEXT    RESTORE TABLE", "INSERT INTO"]);
}

#[test]
fn a_heal_that_leaves_the_newest_version_without_a_file_says_so_and_who_may_have_it() {
    let heal = ["restore", "lake/t", "--version", "1", "--heal", "--yes"];
    let mut lake = Lake::with_snapshot();
    lake.append();
    lake.remove("r=a/1.parquet");
    lake.remove("r=b/2.parquet");
    // With files to put back, and then with none.
    for _ in 0..2 {
        let said = lake.ends(&heal, 3);
        all_of(
            &said,
            &[
                "LACKS   live v2 is still not whole: r=b/2.parquet is gone; v1 has nothing that mends it",
                "no newer snapshot is held",
                ".repair(); on Databricks FSCK REPAIR TABLE",
            ],
        );
    }
    fs::write(lake.table().join("r=b/2.parquet"), DATA).unwrap();
    none_of(&lake.ends(&heal, 0), &["LACKS"]);
    lake.ends(&["snapshot", "lake/t"], 0);
    lake.remove("r=b/2.parquet");
    let said = lake.ends(&heal, 3);
    let (_, command) = said.split_once("may have it: ").unwrap();
    let words: Vec<&str> = command.lines().next().unwrap().split(' ').collect();
    assert_eq!(words[3], "restore", "{said}");
    lake.ends(&[&words[3..], &["--yes"]].concat(), 0);
    all_of(&lake.ends(&["restore", "lake/t"], 0), &["live v2 healthy"]);
}

#[test]
fn under_a_good_live_table_that_lost_only_old_files_nothing_has_to_be_run() {
    let mut lake = Lake::with_snapshot();
    let rewritten = json!({"add": {"path": "r=a/2.parquet", "partitionValues": {"r": "a"}, "size": DATA.len(),
        "modificationTime": 1, "dataChange": false, "stats": "{\"numRecords\":10}"}});
    fs::write(lake.table().join("r=a/2.parquet"), DATA).unwrap();
    let removed =
        json!({"remove": {"path": "r=a/1.parquet", "deletionTimestamp": 1, "dataChange": false}});
    lake.commit("OPTIMIZE", vec![removed, rewritten]);
    lake.remove("r=a/1.parquet");
    let said = lake.ends(
        &["restore", "lake/t", "--version", "1", "--heal", "--yes"],
        0,
    );
    in_order(
        &said,
        &[
            "NEXT    nothing has to be run: v2 is whole and stays live, and v1 can be read by time travel",
            "RESTORE TABLE",
        ],
    );
}

#[test]
fn a_file_of_the_newest_version_that_was_cut_is_named_and_nothing_is_called_healthy() {
    let mut lake = Lake::with_snapshot();
    lake.append();
    fs::write(lake.table().join("r=b/2.parquet"), "123").unwrap();
    for which in [
        &["restore", "lake/t"][..],
        &["restore", "lake/t", "--latest"],
    ] {
        let said = lake.ends(which, 4);
        all_of(
            &said,
            &[
                "live v2 NOT WHOLE: r=b/2.parquet has size 3, the log says 8",
                "still readable at its place: v0-v1",
            ],
        );
        none_of(&said, &["healthy"]);
    }
    // One that the snapshot holds is put right, and the newest version with it.
    fs::write(lake.table().join("r=b/2.parquet"), DATA).unwrap();
    fs::write(lake.table().join("r=b/1.parquet"), "1").unwrap();
    let said = lake.ends(&["restore", "lake/t", "--latest", "--heal", "--yes"], 0);
    all_of(
        &said,
        &[
            "live v2 NOT WHOLE: r=b/1.parquet has size 1, the log says 8",
            "nothing has to be run: v2 is whole and stays live",
        ],
    );
    all_of(
        &lake.ends(&["restore", "lake/t"], 0),
        &["live v2 healthy, nothing missing"],
    );
}

/// Every blob of a vault.
fn blobs(vault: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in fs::read_dir(vault.join("blobs")).unwrap() {
        let files = fs::read_dir(folder.unwrap().path()).unwrap();
        found.extend(files.map(|file| file.unwrap().path()));
    }
    found
}

#[test]
fn what_the_vault_holds_is_told_by_its_record_and_what_it_lost_with_a_way_on() {
    let mut lake = Lake::with_snapshot();
    let restore = [
        "restore",
        "lake/t",
        "--version",
        "1",
        "--yes",
        "--accept-damaged",
    ];
    for others in [false, true] {
        if others {
            fs::remove_dir_all(lake.table()).unwrap();
            lake = Lake::with_snapshot();
            lake.append();
            lake.ends(&["snapshot", "lake/t"], 0);
        }
        let vault = lake.folder.path().join("vault");
        for blob in blobs(&vault) {
            fs::remove_file(blob).unwrap();
        }
        fs::remove_dir_all(lake.table()).unwrap();
        let said = lake.ends(&["restore", "lake/t", "--version", "1", "--yes"], 12);
        all_of(
            &said,
            &[
                "VAULT   holds that by its record: ",
                " verify --read all --repair` looks for the lost bytes",
            ],
        );
        none_of(&said, &["holds all"]);
        // The second time nothing more comes back, and no command is printed that would bring the same again.
        for _ in 0..2 {
            let said = lake.ends(&restore, 12);
            in_order(
                &said,
                &[
                    "LOST    ",
                    "restoring this snapshot again brings no more",
                    "/lake/t --read all --repair looks for them",
                    if others {
                        " of v2: "
                    } else {
                        "no other snapshot of the table is held"
                    },
                ],
            );
            none_of(&said, &["--accept-damaged"]);
        }
    }
}

#[test]
fn a_version_whose_own_manifest_is_lost_comes_from_a_snapshot_that_holds_it_too() {
    let mut lake = Lake::with_snapshot();
    let own = files(&lake.folder().join("vault/manifests"));
    lake.append();
    lake.ends(&["snapshot", "lake/t", "--scope", "history"], 0);
    for manifest in own.keys() {
        fs::remove_file(lake.folder().join("vault/manifests").join(manifest)).unwrap();
    }
    fs::remove_dir_all(lake.table()).unwrap();
    let said = lake.ends(&["restore", "lake/t", "--version", "1", "--yes"], 0);
    all_of(
        &said,
        &[
            "of v1 was passed over: its manifest is lost or damaged",
            "v1, whole in history snapshot",
            "CHECKED v1",
        ],
    );
    // A snapshot that was named is the one that is meant.
    let lost = &said[said.find("DOUBT").unwrap()..];
    let lost = lost.split_whitespace().nth(2).unwrap();
    lake.ends(&["restore", "lake/t", "--snapshot", lost], 12);
}

#[test]
fn a_newer_table_is_not_called_healthy_where_a_file_of_the_snapshot_has_other_bytes() {
    let mut lake = Lake::with_snapshot();
    lake.append();
    let file = lake.table().join("r=a/1.parquet");
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, vec![b'!'; bytes.len()]).unwrap();
    let said = lake.ends(&["restore", "lake/t"], 4);
    all_of(
        &said,
        &[
            "live v2 DOUBTFUL",
            "1 has other bytes",
            "by name and size of their files: ",
        ],
    );
    none_of(&said, &["healthy", "still readable"]);
    lake.ends(&["restore", "lake/t", "--latest", "--heal", "--yes"], 0);
    assert_eq!(fs::read(&file).unwrap(), bytes);
    all_of(&lake.ends(&["restore", "lake/t"], 0), &["live v2 healthy"]);
}

#[test]
fn a_heal_that_has_nothing_to_do_says_so() {
    let mut lake = Lake::with_snapshot();
    lake.append();
    let said = lake.ends(&["restore", "lake/t", "--latest", "--heal", "--yes"], 0);
    all_of(
        &said,
        &[
            "HEAL    nothing to put back: every file of v1",
            "stays at v2",
        ],
    );
}

#[test]
fn what_the_vault_lost_and_the_live_table_has_is_copied_and_named() {
    let lake = Lake::with_snapshot();
    for blob in blobs(&lake.folder.path().join("vault")) {
        fs::remove_file(blob).unwrap();
    }
    let said = lake.ends(
        &["restore", "lake/t", "--latest", "--to", "copy", "--yes"],
        3,
    );
    in_order(
        &said,
        &[
            "CHECKED v1 opens",
            "RESCUED ",
            "with the right SHA-256: ",
            "--read all --repair puts what is lost into the vault again",
        ],
    );
    let said = lake.ends(
        &["verify", "lake-t", "--read", "all", "--repair", "--yes"],
        0,
    );
    all_of(&said, &["repaired"]);
    lake.ends(&["verify", "--read", "all"], 0);
}

#[test]
fn a_snapshot_of_commits_that_the_log_has_lost_is_not_called_the_live_version() {
    let mut lake = Lake::with_snapshot();
    fs::remove_file(lake.commit_file(1)).unwrap();
    lake.next = 1;
    lake.ends(&["snapshot", "lake/t"], 3);
    let lost =
        "that the live log has lost: it was rewound or overwritten, or lost its newest commits; ";
    for words in [
        &["restore", "lake/t"][..],
        &["restore", "lake/t", "--latest", "--yes"],
    ] {
        let said = lake.ends(words, 0);
        in_order(
            &said,
            &["live v0 healthy", "NOTE    snapshot ", "holds a v1", lost],
        );
    }
    lake.append();
    let said = lake.ends(&["restore", "lake/t"], 0);
    in_order(
        &said,
        &[
            "live v1 healthy",
            lost,
            "v1 ",
            "not held",
            "v1 ",
            "LOST FROM THE LIVE LOG",
            "v0 ",
            "NEWEST GOOD HELD",
        ],
    );
}

#[test]
fn a_snapshot_from_before_a_commit_was_overwritten_is_of_another_history() {
    let mut lake = Lake::with_snapshot();
    lake.append();
    lake.append();
    lake.ends(&["snapshot", "lake/t"], 0);
    // Commit 2 is written again and brings only one of its files: version 3 has its own commit, and other rows.
    let commit = fs::read_to_string(lake.commit_file(2)).unwrap();
    // What is cut off is no fork: it is put right.
    let fork: Vec<&str> = commit.lines().step_by(2).collect();
    fs::write(lake.commit_file(2), fork.join("\n")).unwrap();
    lake.append();
    lake.ends(&["snapshot", "lake/t"], 3);
    let said = lake.ends(&["restore", "lake/t"], 3);
    all_of(
        &said,
        &["NOTE    snapshot ", "holds a v3 that the live log has lost"],
    );
    in_order(
        &said,
        &[
            "v4 ",
            "v3 ",
            "not held",
            "v3 ",
            "LOST FROM THE LIVE LOG",
            "v1 ",
        ],
    );
    // A night on which nothing changed is of the same history.
    lake.ends(&["snapshot", "lake/t"], 3);
    let said = lake.ends(&["restore", "lake/t"], 3);
    in_order(
        &said,
        &[
            "DOUBTFUL",
            "DOUBT   snapshot",
            "v4 ",
            "IN DOUBT",
            "LOST FROM THE LIVE LOG",
            "v1 ",
            "NEWEST GOOD HELD",
        ],
    );
    let said = lake.ends(&["snapshots"], 0);
    assert_eq!(said.matches("rewritten").count(), 1, "{said}");
}

#[test]
fn a_history_is_said_to_hold_no_version_whose_commits_were_overwritten_since() {
    let mut lake = Lake::with_snapshot();
    lake.append();
    lake.append();
    lake.ends(&["snapshot", "lake/t", "--scope", "history"], 0);
    let commit = fs::read_to_string(lake.commit_file(2)).unwrap();
    let fork: Vec<&str> = commit.lines().step_by(2).collect();
    fs::write(lake.commit_file(2), fork.join("\n")).unwrap();
    lake.append();
    lake.ends(&["snapshot", "lake/t"], 3);
    let said = lake.ends(&["restore", "lake/t"], 3);
    let line = |version: &str| {
        let mut lines = said.lines();
        let line = lines.find(|line| line.trim_start().starts_with(version));
        line.unwrap_or_else(|| panic!("{version}: {said}"))
    };
    all_of(line("v2 "), &["not held"]);
    all_of(line("v0 "), &["in history snapshot"]);
}

#[test]
fn a_version_that_two_histories_hold_is_taken_out_of_the_snapshot_that_is_named() {
    let mut lake = Lake::with_snapshot();
    lake.append();
    lake.append();
    let history = ["snapshot", "lake/t", "--scope", "history"];
    lake.ends(&history, 0);
    // The newest commit is lost, and others take its place.
    fs::remove_file(lake.commit_file(3)).unwrap();
    lake.next = 3;
    lake.append();
    lake.ends(&history, 3);
    lake.append();
    lake.ends(&history, 0);
    let copy = ["--to", "copy", "--yes"];
    let words = ["restore", "lake/t", "--version", "2"];
    let said = lake.ends(&[&words, &copy[..]].concat(), 4);
    let choices: Vec<&str> = said.split("--snapshot ").skip(1).collect();
    assert_eq!(choices.len(), 2, "{said}");
    for choice in choices {
        let chosen: Vec<_> = choice.split_whitespace().take(3).collect();
        let words = [&["restore", "lake/t", "--snapshot"], &chosen[..], &copy];
        all_of(&lake.ends(&words.concat(), 0), &["CHECKED v2 opens"]);
        fs::remove_dir_all(lake.folder().join("copy")).unwrap();
    }
    let said = lake.ends(&["show", "lake/t@v2"], 4);
    none_of(&said, &["--version", "--snapshot"]);
    let none = ["--snapshot", "00000000", "--version", "2"];
    lake.ends(&[&["restore", "lake/t"], &none[..]].concat(), 1);
}

#[test]
fn a_way_back_that_is_printed_is_one_that_works() {
    let outside = json!({"add": {"path": "file:///etc/hostname", "partitionValues": {"r": "a"}, "size": 8,
        "modificationTime": 1, "dataChange": true}});
    let missing = json!({"add": {"path": "r=a/9.parquet", "partitionValues": {"r": "a"}, "size": 8,
        "modificationTime": 1, "dataChange": true}});
    let feature = json!({"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["evil"],
        "writerFeatures": ["evil"]}});
    let actions = [Some(outside), Some(missing), Some(feature), None];
    // Side by side: each rewind waits for other writers.
    std::thread::scope(|all| {
        for action in actions {
            all.spawn(|| goes_back_as_printed(action));
        }
    });
}

/// Commits an action, or half a commit, and types the rewind that is printed.
fn goes_back_as_printed(action: Option<Value>) {
    let mut lake = Lake::with_snapshot();
    let broken = action.is_none();
    lake.commit("WRITE", action.into_iter().collect());
    if broken {
        fs::write(lake.commit_file(2), "{\"add\":{\"path\":").unwrap();
    }
    let said = lake.ends(&["restore", "lake-t", "--version", "1"], 4);
    let way = said.lines().find(|it| it.contains(" --rewind "));
    let way = way.unwrap_or_else(|| panic!("no rewind: {said}")).trim();
    assert!(said.contains("without `undo`"), "{said}");
    let (_, words) = way.split_once(" restore ").unwrap();
    let words: Vec<_> = std::iter::once("restore").chain(words.split(' ')).collect();
    lake.ends(&words, 3);
    lake.ends(&["snapshot", "lake/t"], 0);
}
