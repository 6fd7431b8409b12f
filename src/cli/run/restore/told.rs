//! What a tired person reads before and after a restore: what is there, what is gone and why, what the vault
//! holds, what would be lost, and the next commands, whole. Never more than 15 lines before the choice.
//!
//! Pure: everything is decided from what the plan found.

use std::collections::BTreeMap;

use deltavault::delta::partitions::Partition;
use deltavault::format::Record;
use deltavault::ids::{SnapshotId, Timestamp, Version};
use deltavault::plan::choose::History;
use deltavault::plan::restore::{LiveVersion, Permission, Situation};
use deltavault::plan::streams::Stream;
use deltavault::plan::suspect;
use deltavault::progress::PlannedWork;
use deltavault::vault::restore::{AtWork, LeftOut, LiveTable, LogWanted, Reading, RestorePlan};
use indicatif::HumanBytes;

use self::phrase::{files, line};
use crate::cli::again::Again;
use crate::cli::request::{How, Which};
use crate::cli::rows::{OtherTable, PlanLine, VersionRow};

mod at_work;
pub(super) mod checked;
mod choose;
mod found;
mod listed;
mod mended;
mod next;
mod phrase;
mod sql;
mod streams;

/// What a plan found, without its steps.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) situation: Situation,
    pub(super) permission: Permission,
    /// What is missing or wrong.
    pub(super) to_put: PlannedWork,
    /// Commits among them whose file times will be new.
    pub(super) new_times: u64,
    pub(super) wrong: u64,
    pub(super) kept: PlannedWork,
    pub(super) left: Vec<String>,
    pub(super) outside_missing: Vec<String>,
    pub(super) lost: Vec<LiveVersion>,
    pub(super) whole_live: Vec<(Version, Version)>,
    /// The oldest version that the live log can rebuild.
    pub(super) readable_from: Option<Version>,
    /// What is wrong with the live log.
    pub(super) live_trouble: Option<String>,
    pub(super) nothing_to_do: bool,
    /// Objects that vanished from a dropped table while it was looked at.
    pub(super) vanishing: u64,
    /// V and versions below it in the live log, newest first.
    pub(super) older: Vec<LiveVersion>,
    /// The live table's properties, where they could be read.
    pub(super) properties: Option<BTreeMap<String, String>>,
    /// When V's commit was written, by the live log.
    pub(super) committed: Option<Timestamp>,
    /// A version, and the partitions that it deleted whole.
    pub(super) deleted_partitions: Option<(Version, Vec<Partition>)>,
    /// What can be chosen, newest first.
    pub(super) versions: Vec<VersionRow>,
    /// Other tables that the vault holds under this name.
    pub(super) others: Vec<OtherTable>,
    /// The streams that write to the table.
    pub(super) streams: Streams,
    /// What is wrong with log files that the plan puts right.
    pub(super) broken: Vec<String>,
    /// Files that the plan takes out of the log.
    pub(super) asides: Vec<String>,
    pub(super) left_out: Vec<LeftOut>,
    pub(super) kept_unreadable: Vec<Version>,
    /// What the independent reader makes of the live table.
    pub(super) reading: Option<Reading>,
    /// Another restore that is at work there.
    pub(super) at_work: Option<AtWork>,
}

/// What is known of the streams that write to a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Streams {
    /// Nothing changes for them.
    NotAsked,
    /// Why they cannot be told.
    Unknown(String),
    /// All of them.
    Known(Vec<Stream>),
}

/// What may happen next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Way {
    /// Everything is as it should be.
    Nothing,
    /// The plan can be carried out.
    Ready,
    /// Only the owner can say how to go on; what there is to choose about.
    Choose(String),
    /// A flag was given that this version only plans.
    Later(&'static str),
}

/// A restore as it is told.
#[derive(Debug)]
pub(super) struct Case<'a> {
    /// How the table is named in the next command.
    pub(super) name: String,
    pub(super) record: &'a Record,
    pub(super) id: SnapshotId,
    pub(super) version: Version,
    /// The URI of the place where files are put.
    pub(super) target: &'a str,
    pub(super) which: &'a Which,
    pub(super) how: &'a How,
    pub(super) outside: bool,
    pub(super) log: LogWanted,
    pub(super) accept_damaged: bool,
    pub(super) found: &'a Found,
    pub(super) again: &'a Again,
    /// The time of the run.
    pub(super) now: Timestamp,
    /// Whether places on S3 were typed as `s3a://`, and so are printed.
    pub(super) s3a: bool,
}

impl Found {
    pub(super) fn new(plan: &RestorePlan) -> Self {
        Self {
            situation: plan.situation.clone(),
            permission: plan.permission,
            to_put: PlannedWork {
                files: plan.missing.files + plan.wrong.files,
                bytes: plan.missing.bytes + plan.wrong.bytes,
            },
            new_times: plan.new_times,
            wrong: plan.wrong.files,
            kept: plan.kept,
            left: plan.left.clone(),
            outside_missing: plan.outside_missing.clone(),
            lost: Vec::new(),
            whole_live: Vec::new(),
            readable_from: None,
            live_trouble: None,
            nothing_to_do: plan.is_empty() && plan.outside_missing.is_empty(),
            vanishing: 0,
            older: Vec::new(),
            properties: None,
            committed: None,
            deleted_partitions: None,
            versions: Vec::new(),
            others: Vec::new(),
            streams: Streams::NotAsked,
            broken: plan.broken.clone(),
            asides: plan.asides.iter().map(|it| it.key.to_string()).collect(),
            left_out: plan.left_out.clone(),
            kept_unreadable: plan.kept_unreadable.clone(),
            reading: plan.reading.clone(),
            at_work: plan.at_work.clone(),
        }
        .with_live(plan.live.clone())
    }

    /// Takes what was found of the live table.
    pub(super) fn with_live(self, live: LiveTable) -> Self {
        Self {
            lost: live.above,
            older: live.older,
            whole_live: live.whole,
            readable_from: live.readable_from,
            live_trouble: live.trouble,
            properties: live.properties,
            committed: live.committed,
            deleted_partitions: live.deleted_partitions,
            ..self
        }
    }

    /// Puts the vault's records beside what the live log tells.
    pub(super) fn with_vault(mut self, history: &History, delta_id: &str) -> Self {
        listed::fill_from_vault(&mut self.lost, history, delta_id);
        listed::fill_from_vault(&mut self.older, history, delta_id);
        self.others = listed::other_tables(history, delta_id);
        self.versions = listed::versions(&self, history, delta_id);
        self
    }

    /// The version above V that is the likely reason for a restore.
    pub(super) fn cause(&self) -> Option<&LiveVersion> {
        suspect::cause(&self.lost)
    }

    /// Whether time travel reads a version once its files are back; where the log does not tell, nothing is
    /// promised.
    fn can_be_read(&self, version: Version) -> bool {
        self.readable_from.is_some_and(|oldest| oldest <= version)
    }

    /// Whether the live log's own clean-up has taken what would rebuild a version.
    fn is_cleaned(&self, version: Version) -> bool {
        self.readable_from.is_some_and(|oldest| oldest > version)
    }

    fn is_whole(&self, version: Version) -> bool {
        let mut ranges = self.whole_live.iter();
        ranges.any(|(first, last)| (*first..=*last).contains(&version))
    }

    /// The newest live version that has all its files.
    fn newest_whole(&self) -> Option<Version> {
        self.whole_live.iter().map(|(_, last)| *last).max()
    }
}

/// A place as people type it.
fn spelled(uri: &str, s3a: bool) -> String {
    match uri.strip_prefix("s3://") {
        Some(rest) if s3a => format!("s3a://{rest}"),
        _ => crate::cli::place::typed(uri).to_owned(),
    }
}

/// The situation in one word.
pub(super) fn situation_word(situation: &Situation) -> &'static str {
    match situation {
        Situation::EmptyTarget => "empty",
        Situation::AnotherTable { .. } => "another-table",
        Situation::CommitsDiffer { .. } => "other-commits",
        Situation::NoLog => "dropped",
        Situation::NothingAbove => "nothing-above",
        Situation::NewerLive { .. } => "newer",
    }
}

impl Case<'_> {
    /// Decides how to go on.
    pub(super) fn way(&self) -> Way {
        let found = self.found;
        if let How::Later(flag) = self.how {
            return Way::Later(flag);
        }
        match &found.situation {
            Situation::AnotherTable { .. } => {
                return Way::Choose("another table lives there now".to_owned());
            }
            Situation::CommitsDiffer { .. } => {
                return Way::Choose("the table has another history than the snapshot".to_owned());
            }
            Situation::NewerLive { tip } if found.permission == Permission::OwnerMustChoose => {
                let healthy = found.nothing_to_do && found.is_whole(*tip) && !found.is_lost();
                if healthy && *self.which == Which::Unsaid {
                    return Way::Nothing;
                }
                return Way::Choose(format!(
                    "the live table is at version {tip}, newer than {}",
                    self.version
                ));
            }
            Situation::NewerLive { .. } if self.is_beyond_the_log() => {
                return Way::Choose(format!(
                    "the live log cannot rebuild version {}: files put back under it cannot be read",
                    self.version
                ));
            }
            Situation::EmptyTarget
            | Situation::NoLog
            | Situation::NothingAbove
            | Situation::NewerLive { .. } => {}
        }
        if found.nothing_to_do && found.is_lost() {
            return Way::Choose(
                "the live table cannot be opened, and the snapshot has nothing that mends it"
                    .to_owned(),
            );
        }
        if found.nothing_to_do {
            return Way::Nothing;
        }
        if !found.outside_missing.is_empty() {
            return Way::Choose(format!(
                "{} to be put back outside the table's folder",
                files(found.outside_missing.len() as u64)
            ));
        }
        if found.vanishing > 0 {
            return Way::Choose("something is still deleting the table".to_owned());
        }
        if *self.which == Which::Unsaid {
            return Way::Choose("which snapshot to put back was not said".to_owned());
        }
        Way::Ready
    }

    /// Whether files put back under a newer live table would be there for nobody: its log leads to the version no more,
    /// and there is nothing else to put right.
    fn is_beyond_the_log(&self) -> bool {
        self.found.broken.is_empty() && self.found.is_cleaned(self.version)
    }

    /// What is asked before acting.
    pub(super) fn question(&self) -> String {
        let verb = match self.how {
            How::To(_) => "copy",
            How::InPlace | How::Heal | How::Later(_) => "put back",
        };
        if self.found.to_put.files == 0 {
            let asides = files(self.found.asides.len() as u64);
            return format!(
                "set {asides} of the log aside in {}",
                self.place(self.target)
            );
        }
        format!(
            "{verb} {} ({}) into {}",
            files(self.found.to_put.files),
            HumanBytes(self.found.to_put.bytes),
            self.place(self.target)
        )
    }

    /// Nothing is broken and nothing was said: a list of what there is answers.
    fn is_question(&self) -> bool {
        matches!(
            self.found.situation,
            Situation::NewerLive { .. } | Situation::NothingAbove
        ) && *self.which == Which::Unsaid
            && self.way() == Way::Nothing
    }

    /// A place as it was typed: a folder by its path, S3 by the scheme that was typed.
    fn place(&self, uri: &str) -> String {
        spelled(uri, self.s3a)
    }

    /// The newest version of the live table.
    pub(super) fn live_version(&self) -> Option<Version> {
        match self.found.situation {
            Situation::NewerLive { tip } => Some(tip),
            Situation::NothingAbove if self.found.nothing_to_do => Some(self.version),
            Situation::EmptyTarget
            | Situation::AnotherTable { .. }
            | Situation::CommitsDiffer { .. }
            | Situation::NoLog
            | Situation::NothingAbove => None,
        }
    }

    /// Every version above V, in fields.
    pub(super) fn loses(&self) -> Vec<VersionRow> {
        let above = self
            .found
            .versions
            .iter()
            .filter(|row| row.live && row.version > self.version);
        above.cloned().collect()
    }

    /// What can be chosen, where nothing was.
    pub(super) fn versions(&self) -> Vec<VersionRow> {
        if *self.which == Which::Unsaid {
            return self.found.versions.clone();
        }
        Vec::new()
    }

    /// How many streams write to the table, where that can be told.
    pub(super) fn stream_count(&self) -> Option<u64> {
        match &self.found.streams {
            Streams::Known(streams) => Some(streams.len() as u64),
            Streams::NotAsked | Streams::Unknown(_) => None,
        }
    }

    fn is_another(&self) -> bool {
        matches!(
            self.found.situation,
            Situation::AnotherTable { .. } | Situation::CommitsDiffer { .. }
        )
    }

    fn told_left(&self) -> Option<PlanLine> {
        let first = self.found.left.first()?;
        let more = match self.found.left.len() {
            1 => String::new(),
            several => format!(" and {} more", several - 1),
        };
        Some(line(
            "LEFT",
            format!(
                "{first}{more}: other bytes than in the snapshot; log files that a writer may rewrite"
            ),
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use deltavault::ids::Timestamp;

    use super::*;

    pub(super) const RECORD: &[u8] = include_bytes!(
        "../../../../tests/data/v1/vault/tables/sales-orders-37def596bc86afd2280da522389b7bb0/ledger/00000000000000000001.json"
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
            new_times: 0,
            wrong: 0,
            kept: work(40 - missing),
            left: Vec::new(),
            outside_missing: Vec::new(),
            lost: Vec::new(),
            whole_live: Vec::new(),
            readable_from: None,
            live_trouble: None,
            nothing_to_do: missing == 0,
            vanishing: 0,
            older: Vec::new(),
            properties: None,
            committed: None,
            deleted_partitions: None,
            versions: Vec::new(),
            others: Vec::new(),
            streams: Streams::NotAsked,
            broken: Vec::new(),
            asides: Vec::new(),
            left_out: Vec::new(),
            kept_unreadable: Vec::new(),
            reading: None,
            at_work: None,
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
        Found {
            readable_from: Some(Version(5)),
            lost: vec![
                version(15, "MERGE", Some(12_000)),
                version(14, "VACUUM END", Some(0)),
                version(13, "WRITE", None),
            ],
            whole_live: whole
                .map(|(first, last)| (Version(*first), Version(*last)))
                .collect(),
            ..found(situation, Permission::OwnerMustChoose, missing)
        }
    }

    /// Tells it as the renderer does, and makes sure that it stays short.
    pub(super) fn told(found: &Found, which: &Which, how: &How) -> (Way, String) {
        told_of("file:///lake/sales/orders", false, found, which, how)
    }

    pub(super) fn told_of(
        uri: &str,
        s3a: bool,
        found: &Found,
        which: &Which,
        how: &How,
    ) -> (Way, String) {
        let mut record = Record::decode(RECORD).unwrap();
        let again = Again::new("deltavault", Some("file:///backup/vault"), None);
        let target = match how {
            How::To(uri) => uri,
            How::InPlace | How::Heal | How::Later(_) => uri,
        };
        record.version = Version(7);
        record.commit_time = "2026-10-12T02:00:00Z".parse().unwrap();
        record.table.uri = uri.into();
        record.table.name = "sales.orders".into();
        let case = Case {
            name: "sales.orders".into(),
            version: record.version,
            id: SnapshotId(deltavault::ids::Digest::of(b"snapshot")),
            record: &record,
            target,
            which,
            how,
            outside: false,
            log: LogWanted::Readable,
            accept_damaged: false,
            found,
            again: &again,
            now: "2026-11-21T03:00:00Z".parse().unwrap(),
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
        assert!(text.lines().count() < 18, "{text}");
        (case.way(), text)
    }

    pub(super) fn all_of(text: &str, wanted: &[&str]) {
        for wanted in wanted {
            assert!(text.contains(wanted), "{wanted:?} is not in\n{text}");
        }
    }

    #[test]
    fn under_a_newer_table_the_cause_the_loss_and_every_choice_are_told() {
        let which = Which::Version(Version(7));
        let (way, text) = told(&newer(4, &[(9, 15)]), &which, &How::InPlace);
        assert!(matches!(way, Way::Choose(_)));
        all_of(
            &text,
            &[
                "live v15 healthy",
                "4 of 40 files gone",
                "CAUSE   v14  2026-11-20 02:11:00Z  VACUUM END  etl-prod",
                "VAULT   holds all of that: 4 files, 4.00 MiB",
                "WHOLE   still readable at its place: v9-v15",
                "loses v8-v15: 1 MERGE, 1 VACUUM, 1 WRITE, by etl-prod",
                "deltavault --vault /backup/vault restore sales.orders --version 7 --heal --yes",
                "--to /lake/sales/orders-v7 --yes",
            ],
        );
    }

    #[test]
    fn a_live_table_with_holes_is_not_called_healthy_and_the_newest_whole_version_is_named() {
        let which = Which::Latest;
        let (_, text) = told(&newer(0, &[(6, 12)]), &which, &How::InPlace);
        all_of(
            &text,
            &[
                "live v15 NOT WHOLE",
                "v7 is whole",
                "RESTORE TABLE delta.`file:///lake/sales/orders` TO VERSION AS OF 7;",
                "RESTORE TABLE delta.`file:///lake/sales/orders` TO VERSION AS OF 12;",
            ],
        );
        assert!(!text.contains("CAUSE"), "{text}");
    }

    #[test]
    fn a_version_that_the_log_no_longer_knows_is_not_said_to_become_readable() {
        let mut cleaned = newer(4, &[(9, 15)]);
        cleaned.readable_from = Some(Version(9));
        let (_, text) = told(&cleaned, &Which::Latest, &How::InPlace);
        all_of(
            &text,
            &["v7 was cleaned out of it", "--to /lake/sales/orders-v7"],
        );
        assert!(!text.contains("--heal"), "{text}");
    }

    #[test]
    fn a_live_log_that_cannot_be_read_is_what_comes_first() {
        let mut broken = newer(4, &[]);
        broken.readable_from = None;
        broken.live_trouble = Some("_delta_log/15.json line 1 is not an action".into());
        let (way, text) = told(&broken, &Which::Unsaid, &How::InPlace);
        assert!(matches!(way, Way::Choose(_)));
        all_of(
            &text,
            &["live v15 BROKEN", "LOG     _delta_log/15.json line 1"],
        );
    }

    #[test]
    fn a_healthy_table_is_left_alone_and_what_there_is_is_listed() {
        let mut healthy = newer(0, &[(6, 15)]);
        let rows = healthy.lost.iter().cloned().map(listed::row);
        healthy.versions = rows.collect();
        let (way, text) = told(&healthy, &Which::Unsaid, &How::InPlace);
        assert_eq!(way, Way::Nothing);
        all_of(
            &text,
            &["nothing missing. Restore what?", "v13  2026-11-20"],
        );
        let situation = Situation::NothingAbove;
        let whole = found(situation, Permission::Everything, 0);
        let (way, text) = told(&whole, &Which::Latest, &How::InPlace);
        assert_eq!(way, Way::Nothing);
        all_of(&text, &["live v7 healthy, nothing missing"]);
    }

    #[test]
    fn a_dropped_table_comes_back_when_a_snapshot_is_named_and_nothing_deletes_it_any_more() {
        let mut dropped = found(Situation::NoLog, Permission::Everything, 12);
        let (way, text) = told(&dropped, &Which::Unsaid, &How::InPlace);
        assert!(matches!(way, Way::Choose(_)));
        all_of(
            &text,
            &[
                "DROPPED: no _delta_log",
                "28 of 40 files remain",
                "later commits are not held",
                " --yes",
            ],
        );
        assert_eq!(told(&dropped, &Which::Latest, &How::InPlace).0, Way::Ready);
        dropped.vanishing = 212;
        let (way, text) = told(&dropped, &Which::Latest, &How::InPlace);
        assert!(matches!(way, Way::Choose(_)));
        all_of(&text, &["WARNING 212 objects vanished"]);
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
                let (way, text) = told(&found, &Which::Latest, &how);
                assert!(matches!(way, Way::Choose(_)), "{text}");
                all_of(&text, &["ANOTHER", "--to /lake/sales/orders-v7 --yes"]);
            }
        }
    }

    #[test]
    fn files_outside_the_folder_wait_for_a_word() {
        let mut outside = found(Situation::NoLog, Permission::Everything, 2);
        outside.outside_missing = vec!["file:/elsewhere/a.parquet".into()];
        let (way, text) = told(&outside, &Which::Latest, &How::InPlace);
        assert!(matches!(way, Way::Choose(_)));
        all_of(
            &text,
            &["first file:/elsewhere/a.parquet", "--outside --yes"],
        );
    }

    #[test]
    fn the_next_command_repeats_where_the_copy_goes() {
        let empty = found(Situation::EmptyTarget, Permission::Everything, 40);
        let how = How::To("file:///copy of it".into());
        let (way, text) = told(&empty, &Which::Version(Version(7)), &how);
        assert_eq!(way, Way::Ready);
        all_of(&text, &["--version 7 --to '/copy of it' --yes"]);
    }

    #[test]
    fn a_way_back_that_comes_later_is_planned_and_named() {
        let later = How::Later("--rewind");
        let (way, text) = told(&newer(4, &[(9, 15)]), &Which::Latest, &later);
        assert_eq!(way, Way::Later("--rewind"));
        all_of(&text, &["LOSES", "--heal --yes"]);
    }
}
