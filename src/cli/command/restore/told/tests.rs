//! Cases that the tests of the telling share, and what is told of each situation as a whole.

use std::fmt::Write as _;

use deltavault::ids::Timestamp;

use super::*;

pub(super) const RECORD: &[u8] = include_bytes!(
    "../../../../../tests/data/v1/vault/tables/sales-orders-37def596bc86afd2280da522389b7bb0/ledger/00000000000000000001.json"
);

pub(super) fn work(files: u64) -> PlannedWork {
    PlannedWork {
        files,
        bytes: files * 1024 * 1024,
    }
}

pub(super) fn found(situation: Situation, permission: Permission, missing: u64) -> Found {
    Found {
        situation,
        permission,
        to_put: work(missing),
        not_put: NotPut::default(),
        absolute: None,
        serves_live: false,
        new_times: 0,
        wrong: 0,
        kept: work(40 - missing),
        left: Vec::new(),
        outside_missing: Vec::new(),
        passed_over: None,
        sound: None,
        nothing_to_do: missing == 0,
        vanishing: 0,
        live: LiveTable {
            drops_files: true,
            ..LiveTable::default()
        },
        versions: Vec::new(),
        others: Vec::new(),
        streams: Streams::NotAsked,
        broken: Vec::new(),
        written_without: Vec::new(),
        asides: Vec::new(),
        left_out: Vec::new(),
        kept_unreadable: Vec::new(),
        reading: None,
        at_work: None,
        removed: 0,
        under_way: None,
    }
}

pub(super) fn newer(missing: u64, whole: &[(u64, u64)]) -> Found {
    let version = |version, operation: &str, rows| LiveVersion {
        time: Some("2026-11-20T02:11:00Z".parse::<Timestamp>().unwrap()),
        operation: Some(operation.into()),
        user: Some("etl-prod".into()),
        rows,
        ..LiveVersion::unread(Version(version))
    };
    let situation = Situation::NewerLive { tip: Version(15) };
    let whole = whole.iter();
    let live = LiveTable {
        readable_from: Some(Version(5)),
        above: vec![
            version(15, "MERGE", Some(12_000)),
            version(14, "VACUUM END", Some(0)),
            version(13, "WRITE", None),
        ],
        whole: whole
            .map(|(first, last)| (Version(*first), Version(*last)))
            .collect(),
        drops_files: true,
        ..LiveTable::default()
    };
    Found {
        live,
        ..found(situation, Permission::OwnerMustChoose, missing)
    }
}

/// The lines of a plan, and the commands that it proposes.
pub(super) struct Told {
    pub(super) way: Way,
    pub(super) text: String,
}

impl Told {
    pub(super) fn goes(&self, way: &Way) -> &Self {
        assert_eq!(self.way, *way, "{}", self.text);
        self
    }

    /// Its owner has to choose.
    pub(super) fn asks(&self) -> &Self {
        assert!(matches!(self.way, Way::Choose(_)), "{}", self.text);
        self
    }

    pub(super) fn says(&self, wanted: &[&str]) -> &Self {
        all_of(&self.text, wanted);
        self
    }

    pub(super) fn omits(&self, unwanted: &str) -> &Self {
        assert!(!self.text.contains(unwanted), "{}", self.text);
        self
    }

    pub(super) fn lines(&self) -> usize {
        self.text.lines().count()
    }
}

/// Tells it where nothing was named.
pub(super) fn unsaid(found: &Found) -> Told {
    told(found, &Which::Unsaid, &How::InPlace)
}

/// Tells it with `--latest`.
pub(super) fn latest(found: &Found) -> Told {
    told(found, &Which::Latest, &How::InPlace)
}

/// Tells it as the renderer does, and makes sure that it stays short.
pub(super) fn told(found: &Found, which: &Which, how: &How) -> Told {
    told_of("file:///lake/sales/orders", false, found, which, how)
}

pub(super) fn told_of(uri: &str, s3a: bool, found: &Found, which: &Which, how: &How) -> Told {
    let mut record = Record::decode(RECORD).unwrap();
    let again = Again::new("deltavault", Some("file:///backup/vault"), None, &[]);
    let target = match how {
        How::To(uri) => uri,
        How::InPlace | How::Heal | How::Rewind | How::Replace | How::Undo(_) => uri,
    };
    record.version = Version(7);
    record.commit_time = "2026-10-12T02:00:00Z".parse().unwrap();
    record.table.uri = uri.into();
    record.table.name = "sales.orders".into();
    let case = Case {
        name: "sales.orders".into(),
        version: record.version,
        committed: Some(record.commit_time),
        between: None,
        id: SnapshotId(deltavault::ids::Digest::of(b"snapshot")),
        record: &record,
        target,
        which,
        how,
        outside: &[],
        log: LogWanted::Readable,
        accept_damaged: false,
        as_commit: false,
        exec: None,
        found,
        again: &again,
        now: "2026-11-21T03:00:00Z".parse().unwrap(),
        proof: Proof::Ledger,
        s3a,
    };
    let mut text = String::new();
    for line in case.lines(false) {
        writeln!(text, "{:<7} {}", line.label, line.text).unwrap();
    }
    for choice in case.choices() {
        let command = choice.command.replace('\n', "\n    ");
        writeln!(text, "  {}:\n    {command}", choice.effect).unwrap();
    }
    let way = case.way();
    let told = Told { way, text };
    assert!(told.lines() < 18, "{}", told.text);
    told
}

pub(super) fn all_of(text: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(text.contains(wanted), "{wanted:?} is not in\n{text}");
    }
}

#[test]
fn under_a_newer_table_the_cause_the_loss_and_every_choice_are_told() {
    let which = Which::Version(Version(7));
    told(&newer(4, &[(9, 15)]), &which, &How::InPlace)
        .asks()
        .says(&[
            "live v15 healthy",
            "4 of 40 files gone",
            "CAUSE   v14  2026-11-20 02:11:00Z  VACUUM END  etl-prod",
            "VAULT   holds that by its record: 4 files, 4.00 MiB",
            "WHOLE   still readable at its place: v9-v15",
            "loses v8-v15: 1 MERGE, 1 VACUUM, 1 WRITE, by etl-prod",
            "deltavault --vault /backup/vault restore sales.orders --version 7 --heal --yes",
            "--to /lake/sales/orders-v7 --yes",
        ]);
}

#[test]
fn a_live_table_with_holes_is_not_called_healthy_and_the_newest_whole_version_is_named() {
    latest(&newer(0, &[(6, 12)]))
        .says(&[
            "live v15 NOT WHOLE",
            "v7 is whole",
            "RESTORE TABLE delta.`file:///lake/sales/orders` TO VERSION AS OF 7;",
            "RESTORE TABLE delta.`file:///lake/sales/orders` TO VERSION AS OF 12;",
        ])
        .omits("CAUSE");
}

#[test]
fn a_version_that_the_log_no_longer_knows_is_not_said_to_become_readable() {
    let mut cleaned = newer(4, &[(9, 15)]);
    cleaned.live.readable_from = Some(Version(9));
    latest(&cleaned)
        .says(&["v7 was cleaned out of it", "--to /lake/sales/orders-v7"])
        .omits("--heal");
}

#[test]
fn a_live_log_that_cannot_be_read_is_what_comes_first() {
    let mut broken = newer(4, &[]);
    broken.live.readable_from = None;
    broken.live.trouble = Some("_delta_log/15.json line 1 is not an action".into());
    unsaid(&broken)
        .asks()
        .says(&["live v15 BROKEN", "LOG     _delta_log/15.json line 1"]);
    // Readers open what only disagrees.
    broken.live.trouble = Some("checkpoint 15 names other files".into());
    broken.live.ways_disagree = true;
    unsaid(&broken)
        .says(&["live v15 DOUBTFUL: its checkpoint and its commits"])
        .omits("cannot be read");
}

#[test]
fn a_healthy_table_is_left_alone_and_what_there_is_is_listed() {
    let mut healthy = newer(0, &[(6, 15)]);
    let rows = healthy.live.above.iter().cloned().map(listed::row);
    healthy.versions = rows.collect();
    unsaid(&healthy)
        .goes(&Way::Nothing)
        .says(&["nothing missing. Restore what?", "v13  2026-11-20"]);
    let situation = Situation::NothingAbove;
    let whole = found(situation, Permission::Everything, 0);
    latest(&whole)
        .goes(&Way::Nothing)
        .says(&["live v7 healthy, nothing missing"]);
}

#[test]
fn a_dropped_table_comes_back_when_a_snapshot_is_named_and_nothing_deletes_it_any_more() {
    let mut dropped = found(Situation::NoLog, Permission::Everything, 12);
    unsaid(&dropped).asks().says(&[
        "DROPPED: no _delta_log",
        "28 of 40 files remain",
        "later commits are not held",
        " --yes",
    ]);
    latest(&dropped).goes(&Way::Ready);
    dropped.vanishing = 212;
    latest(&dropped)
        .asks()
        .says(&["WARNING 212 objects vanished"]);
}

#[test]
fn another_table_or_history_is_never_written_into() {
    for situation in [
        Situation::AnotherTable {
            delta_id: "other".into(),
        },
        Situation::CommitsDiffer {
            files: vec!["_delta_log/3.json".into()],
        },
    ] {
        let found = found(situation, Permission::OwnerMustChoose, 0);
        for how in [How::InPlace, How::Heal] {
            told(&found, &Which::Latest, &how)
                .asks()
                .says(&["ANOTHER", "--to /lake/sales/orders-v7 --yes"]);
        }
    }
}

#[test]
fn files_outside_the_folder_wait_for_a_word() {
    let mut outside = found(Situation::NoLog, Permission::Everything, 2);
    outside.outside_missing = vec!["file:/elsewhere/a.parquet".into()];
    latest(&outside)
        .asks()
        .says(&["file:/elsewhere/a.parquet", "--outside /elsewhere/ --yes"]);
}

#[test]
fn the_next_command_repeats_where_the_copy_goes() {
    let empty = found(Situation::EmptyTarget, Permission::Everything, 40);
    let how = How::To("file:///copy of it".into());
    told(&empty, &Which::Version(Version(7)), &how)
        .goes(&Way::Ready)
        .says(&["--version 7 --to '/copy of it' --yes"]);
}
