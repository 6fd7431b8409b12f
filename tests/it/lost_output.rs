//! The program without anybody who reads along: a stdout or stderr that goes away, or that has a full disk behind it,
//! ends no work and changes no verdict.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};

use deltavault::ids::Timestamp;
use jiff::SignedDuration;
use serde_json::Value;

use crate::support::s3::now;
use crate::support::world::{copy_folder, files};

/// What stdout or stderr leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// Somebody who reads to the end.
    Patient,
    /// A pipe whose reader has gone away.
    Gone,
    /// A disk without room.
    FullDisk,
}

impl Reader {
    const LOST: [Self; 2] = [Self::Gone, Self::FullDisk];

    fn stdio(self) -> Stdio {
        match self {
            Self::Patient => Stdio::piped(),
            Self::Gone => std::io::pipe().unwrap().1.into(),
            Self::FullDisk => File::options()
                .write(true)
                .open("/dev/full")
                .unwrap()
                .into(),
        }
    }
}

/// Tables, and a vault for them.
struct Lake {
    folder: tempfile::TempDir,
    /// The files' own times are the machine's.
    now: Timestamp,
}

/// How a run ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Lake {
    /// `tables` small tables `lake/t00`, `lake/t01` and so on.
    fn of(tables: usize) -> Self {
        let lake = Self {
            folder: tempfile::tempdir().unwrap(),
            now: now(),
        };
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/snapshot.in");
        copy_folder(&from.join("vault"), &lake.path().join("vault"));
        for table in 0..tables {
            let place = lake.path().join(format!("lake/t{table:02}"));
            copy_folder(&from.join("lake/orders"), &place);
        }
        lake
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_deltavault"));
        command
            .args(["--vault", "vault"])
            .args(words)
            .current_dir(self.path())
            .env_clear();
        command
    }

    fn run(&self, words: &[&str], stdout: Reader, stderr: Reader) -> Ended {
        let mut command = self.command(words);
        let output = command
            .stdout(stdout.stdio())
            .stderr(stderr.stdio())
            .output()
            .unwrap();
        Ended {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs a command whose stdout is lost.
    fn unread(&self, words: &[&str], stdout: Reader) -> Ended {
        self.run(words, stdout, Reader::Patient)
    }

    /// Runs a command that is read, and must end with `code`.
    fn read(&self, words: &[&str], code: i32) -> Ended {
        let ended = self.run(words, Reader::Patient, Reader::Patient);
        assert_eq!(ended.code, Some(code), "{words:?}: {ended:?}");
        ended
    }

    /// Every snapshot that the vault shows.
    fn snapshots(&self) -> Vec<Value> {
        let ended = self.read(&["snapshots", "--json"], 0);
        let rows = ended.stdout.lines();
        rows.map(|row| serde_json::from_str(row).unwrap()).collect()
    }

    fn id(&self) -> String {
        self.snapshots()[0]["snapshot"].as_str().unwrap().to_owned()
    }

    /// Commits a version to `lake/t00` that replaces its one file.
    fn replace_file(&self) {
        let table = self.path().join("lake/t00");
        std::fs::write(table.join("b.parquet"), "12345678").unwrap();
        let commit = r#"{"commitInfo":{"timestamp":1763600001000,"operation":"WRITE"}}
{"remove":{"path":"a.parquet","deletionTimestamp":1763600001000,"dataChange":true}}
{"add":{"path":"b.parquet","partitionValues":{},"size":8,"modificationTime":1763600001000,"dataChange":true}}
"#;
        std::fs::write(table.join("_delta_log/00000000000000000001.json"), commit).unwrap();
    }
}

const TABLES: usize = 12;

fn tables() -> Vec<String> {
    (0..TABLES)
        .map(|table| format!("lake/t{table:02}"))
        .collect()
}

fn says_lost(ended: &Ended, how_often: usize) {
    let said = ended.stderr.matches("error: write the result\n").count();
    assert_eq!(said, how_often, "{ended:?}");
}

#[test]
fn every_table_is_taken_whoever_reads_along_and_a_lost_output_alone_is_1() {
    for stdout in Reader::LOST {
        for form in [&[][..], &["--json"]] {
            let lake = Lake::of(TABLES);
            let tables = tables();
            let mut words = vec!["snapshot", "--trigger", "scheduled"];
            words.extend(tables.iter().map(String::as_str));
            words.extend(form);
            let ended = lake.unread(&words, stdout);
            assert_eq!(ended.code, Some(1), "{ended:?}");
            says_lost(&ended, 1);
            assert_eq!(lake.snapshots().len(), TABLES, "{stdout:?} {form:?}");
        }
    }
}

#[test]
fn a_reader_that_leaves_after_the_first_line_ends_no_work() {
    for form in [&[][..], &["--json"]] {
        let lake = Lake::of(TABLES);
        let tables = tables();
        let mut command = lake.command(&["snapshot"]);
        let mut running = command
            .args(&tables)
            .args(form)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = String::new();
        let mut reader = BufReader::new(running.stdout.take().unwrap());
        reader.read_line(&mut first).unwrap();
        drop(reader);
        assert!(first.contains("t0"), "{first}");
        let mut stderr = String::new();
        let mut talk = running.stderr.take().unwrap();
        talk.read_to_string(&mut stderr).unwrap();
        let code = running.wait().unwrap().code();
        // What was still taken off it in time is not lost.
        let lost = stderr.contains("error: write the result\ncaused by: ");
        assert_eq!(code, Some(i32::from(lost)), "{stderr}");
        assert_eq!(lake.snapshots().len(), TABLES, "{form:?}");
    }
}

#[test]
fn a_table_that_failed_is_told_on_stderr_and_its_code_stays() {
    for stdout in Reader::LOST {
        for form in [&[][..], &["--json"]] {
            let lake = Lake::of(TABLES);
            std::fs::remove_file(lake.path().join("lake/t03/a.parquet")).unwrap();
            let tables = tables();
            let mut words = vec!["snapshot"];
            words.extend(tables.iter().map(String::as_str));
            words.extend(form);
            let ended = lake.unread(&words, stdout);
            assert_eq!(ended.code, Some(5), "{ended:?}");
            says_lost(&ended, 1);
            let told = "error: lake/t03: lake-t03 version 0 is not whole: 1 of its files is gone";
            assert!(ended.stderr.contains(told), "{ended:?}");
            assert!(
                ended
                    .stderr
                    .contains("error: 1 of 12 tables failed: lake/t03\n"),
                "{ended:?}"
            );
            assert_eq!(lake.snapshots().len(), TABLES - 1, "{stdout:?} {form:?}");
        }
    }
}

#[test]
fn a_verdict_stays_what_it_is() {
    for stdout in Reader::LOST {
        for form in [&[][..], &["--json"]] {
            let lake = Lake::of(3);
            lake.read(&["snapshot", "lake/t00", "lake/t01", "lake/t02"], 0);
            let verify: Vec<_> = ["verify", "--read", "all"]
                .iter()
                .chain(form)
                .copied()
                .collect();
            let ended = lake.unread(&verify, stdout);
            assert_eq!(ended.code, Some(1), "nothing is damaged: {ended:?}");
            says_lost(&ended, 1);
            let vault = lake.path().join("vault");
            let blob = files(&vault)
                .into_keys()
                .find(|key| key.starts_with("blobs/"));
            std::fs::write(vault.join(blob.unwrap()), "other bytes").unwrap();
            let ended = lake.unread(&verify, stdout);
            assert_eq!(ended.code, Some(12), "{ended:?}");
            says_lost(&ended, 1);

            let lake = Lake::of(1);
            lake.read(&["snapshot", "lake/t00"], 0);
            std::fs::remove_file(lake.path().join("lake/t00/a.parquet")).unwrap();
            let restore = ["restore", "lake/t00", "--latest"];
            let restore: Vec<_> = restore.iter().chain(form).copied().collect();
            let ended = lake.unread(&restore, stdout);
            assert_eq!(ended.code, Some(4), "it needs a yes: {ended:?}");
            says_lost(&ended, 1);
            assert!(!lake.path().join("lake/t00/a.parquet").exists());
            let ended = lake.unread(&["verify", "lake/none"], stdout);
            assert_eq!(ended.code, Some(1), "{ended:?}");
            assert!(
                ended.stderr.contains("error: the vault holds no table"),
                "{ended:?}"
            );
            let ended = lake.unread(&["verify", "--vault", "nowhere"], stdout);
            assert_eq!(ended.code, Some(10), "{ended:?}");
        }
    }
}

#[test]
fn whatever_changes_something_does_all_of_it() {
    for stdout in Reader::LOST {
        for form in [&[][..], &["--json"]] {
            let lake = Lake::of(1);
            let lost = |words: &[&str]| {
                let words: Vec<_> = words.iter().chain(form).copied().collect();
                let ended = lake.unread(&words, stdout);
                assert_eq!(ended.code, Some(1), "{words:?}: {ended:?}");
                says_lost(&ended, 1);
            };
            lost(&["init", "--vault", "other"]);
            assert!(lake.path().join("other/vault.json").exists());
            lake.read(&["snapshot", "lake/t00"], 0);
            let id = lake.id();
            lost(&["hold", &id]);
            let again = lake.read(&["hold", &id], 0);
            assert!(again.stdout.contains("was held before"), "{again:?}");
            lost(&["release", &id]);
            let again = lake.read(&["release", &id], 0);
            assert!(again.stdout.contains("was not held"), "{again:?}");
            let file = lake.path().join("lake/t00/a.parquet");
            std::fs::remove_file(&file).unwrap();
            lost(&["restore", "lake/t00", "--latest", "--yes"]);
            assert!(file.exists());
            lost(&["retire", "lake/t00", "--yes"]);
            let again = lake.read(&["retire", "lake/t00", "--yes"], 0);
            assert!(again.stdout.contains("was retired before"), "{again:?}");
        }
    }
}

#[test]
fn a_prune_marks_and_deletes_all_that_it_would() {
    for stdout in Reader::LOST {
        for form in [&[][..], &["--json"]] {
            let lake = Lake::of(2);
            lake.read(&["snapshot", "lake/t00", "lake/t01"], 0);
            lake.replace_file();
            lake.read(&["snapshot", "lake/t00"], 0);
            let held = files(&lake.path().join("vault")).len();
            let prune = |days: i64| {
                let now = (lake.now + SignedDuration::from_hours(24 * days)).to_string();
                let words = ["--now", &now, "prune", "--yes", "--longest-pause", "100"];
                let words: Vec<_> = words.iter().chain(form).copied().collect();
                let ended = lake.unread(&words, stdout);
                assert_eq!(ended.code, Some(1), "{ended:?}");
                says_lost(&ended, 1);
                files(&lake.path().join("vault")).len()
            };
            let marked = prune(100);
            assert_eq!(marked, held + 1, "a plan and nothing else is new");
            let left = prune(110);
            assert!(left < marked, "{left} of {marked} are left");
            let later = (lake.now + SignedDuration::from_hours(24 * 110)).to_string();
            let nothing = lake.read(&["--now", &later, "prune"], 0);
            assert!(nothing.stdout.contains("nothing to do"), "{nothing:?}");
        }
    }
}

#[test]
fn a_stderr_that_goes_away_is_no_reason_for_anything() {
    for stderr in Reader::LOST {
        for stdout in [Reader::Patient, Reader::Gone, Reader::FullDisk] {
            for form in [&[][..], &["--json"], &["-vvv"]] {
                let lake = Lake::of(4);
                let four = ["snapshot", "lake/t00", "lake/t01", "lake/t02", "lake/t03"];
                let words: Vec<_> = four.iter().chain(form).copied().collect();
                let ended = lake.run(&words, stdout, stderr);
                let good = i32::from(stdout != Reader::Patient);
                assert_eq!(ended.code, Some(good), "{ended:?}");
                assert_eq!(lake.snapshots().len(), 4);
                std::fs::remove_dir_all(lake.path().join("lake/t01")).unwrap();
                let ended = lake.run(&words, stdout, stderr);
                assert_eq!(ended.code, Some(5), "{ended:?}");
                assert_eq!(lake.snapshots().len(), 7);
            }
        }
    }
}

#[test]
fn what_only_shows_something_ends_quietly_without_a_reader_and_says_that_a_disk_is_full() {
    let lake = Lake::of(1);
    lake.read(&["snapshot", "lake/t00"], 0);
    let id = lake.id();
    let render =
        "iam render --role snapshotter --source s3://acme-lake/sales --vault s3://acme-vault/lake";
    let render: Vec<_> = render.split(' ').collect();
    let looks: [&[&str]; 6] = [
        &["snapshots"],
        &["show", &id],
        &["ls", &id],
        &["diff", &id, "live"],
        &render,
        &["completions", "bash"],
    ];
    for look in looks {
        for form in [&[][..], &["--json"]] {
            let words: Vec<_> = look.iter().chain(form).copied().collect();
            let ended = lake.unread(&words, Reader::Gone);
            assert_eq!(
                (ended.code, ended.stderr.as_str()),
                (Some(0), ""),
                "{words:?}"
            );
            let ended = lake.unread(&words, Reader::FullDisk);
            assert_eq!(ended.code, Some(1), "{words:?}");
            says_lost(&ended, 1);
        }
    }
    // What is wrong is said in any case.
    for form in [&[][..], &["--json"]] {
        let words: Vec<_> = ["show", "ffffffff"].iter().chain(form).copied().collect();
        for stdout in Reader::LOST {
            let ended = lake.unread(&words, stdout);
            assert_eq!(ended.code, Some(1), "{ended:?}");
            assert!(
                ended
                    .stderr
                    .contains("error: no snapshot begins with \"ffffffff\""),
                "{ended:?}"
            );
        }
    }
}
