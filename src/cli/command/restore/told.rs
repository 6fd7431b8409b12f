//! What a tired person reads before and after a restore: what is there, what is gone and why, what the vault
//! holds, what would be lost, and the next commands, whole. Never more than 15 lines before the choice.
//!
//! Pure: everything is decided from what the plan found.

use deltavault::format::{Record, Scope, VaultKey};
use deltavault::ids::{SnapshotId, Timestamp, Version};
use deltavault::plan::choose::{History, Undated};
use deltavault::plan::restore::consent::{Decision, Facts, Readability, Task, decide};
use deltavault::plan::restore::deed::Deed;
use deltavault::plan::restore::{Healthy, LiveVersion, Permission, Situation};
use deltavault::plan::snapshot::is_in;
use deltavault::plan::streams::Stream;
use deltavault::plan::suspect;
use deltavault::progress::PlannedWork;
use deltavault::vault::restore::{
    AtWork, Counted, LeftOut, LiveTable, LogWanted, NotPut, Reading, RestorePlan, WrittenWithout,
};
use indicatif::HumanBytes;

use self::phrase::{and_more, files, told};
use crate::cli::again::Again;
use crate::cli::command::restore::args::{How, Which};
use crate::cli::command::restore::messages::{OtherTable, PlanLine, RestorePlanned, VersionRow};

mod after;
mod at_work;
pub(super) mod checked;
mod choose;
mod found;
pub(super) mod listed;
mod mended;
mod next;
mod phrase;
mod sql;
mod streams;
mod turned;

/// What a plan found, without its steps.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) situation: Situation,
    pub(super) permission: Permission,
    /// What is missing or wrong.
    pub(super) to_put: PlannedWork,
    /// What of it must stay so under the newer live table.
    pub(super) not_put: NotPut,
    /// A file of V that its log names by an absolute path below the table: a copy elsewhere would read the original's.
    pub(super) absolute: Option<String>,
    /// Whether it is put for the newest live version's sake alone: the log leads to V no more.
    pub(super) serves_live: bool,
    /// Commits among them whose file times will be new.
    pub(super) new_times: u64,
    pub(super) wrong: u64,
    pub(super) kept: PlannedWork,
    pub(super) left: Vec<String>,
    pub(super) outside_missing: Vec<String>,
    /// A snapshot that was not taken, its version, and why.
    pub(super) passed_over: Option<(SnapshotId, Version, String)>,
    /// Whether a live table that does not go beyond V is whole without what is put.
    pub(super) sound: Option<Healthy>,
    pub(super) nothing_to_do: bool,
    /// Objects that vanished from a dropped table while it was looked at.
    pub(super) vanishing: u64,
    /// The live table, with the empty commits that the plan leaves so.
    pub(super) live: LiveTable,
    /// What can be chosen, newest first.
    pub(super) versions: Vec<VersionRow>,
    /// Other tables that the vault holds under this name.
    pub(super) others: Vec<OtherTable>,
    /// The streams that write to the table.
    pub(super) streams: Streams,
    /// What is wrong with log files that the plan puts right.
    pub(super) broken: Vec<String>,
    /// Empty commits that stay so.
    pub(super) written_without: Vec<WrittenWithout>,
    /// Files that the plan takes out of the log.
    pub(super) asides: Vec<String>,
    pub(super) left_out: Vec<LeftOut>,
    pub(super) kept_unreadable: Vec<Version>,
    /// What the independent reader makes of the live table.
    pub(super) reading: Option<Reading>,
    /// Another restore that is at work there.
    pub(super) at_work: Option<AtWork>,
    /// Files that are removed from the live log.
    pub(super) removed: u64,
    /// A rewind, a replacement or an undo that was begun and not finished.
    pub(super) under_way: Option<Unfinished>,
}

/// A rewind, a replacement or an undo that was begun and not finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unfinished {
    pub(super) deed: Deed,
    /// The event that says so.
    pub(super) event: VaultKey,
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
}

/// A restore as it is told.
#[derive(Debug)]
pub(super) struct Case<'a> {
    /// How the table is named in the next command.
    pub(super) name: String,
    pub(super) record: &'a Record,
    pub(super) id: SnapshotId,
    pub(super) version: Version,
    /// When that was committed, where it is known.
    pub(super) committed: Option<Timestamp>,
    /// Versions that may be meant as well, where a time was asked for.
    pub(super) between: Option<Undated>,
    /// The URI of the place where files are put.
    pub(super) target: &'a str,
    pub(super) which: &'a Which,
    pub(super) how: &'a How,
    pub(super) outside: &'a [String],
    pub(super) log: LogWanted,
    pub(super) accept_damaged: bool,
    /// Whether V is to come back as a new commit.
    pub(super) as_commit: bool,
    /// What makes that commit.
    pub(super) exec: Option<&'a str>,
    pub(super) found: &'a Found,
    pub(super) again: &'a Again,
    /// The time of the run.
    pub(super) now: Timestamp,
    /// Whether places on S3 were typed as `s3a://`, and so are printed.
    pub(super) s3a: bool,
    /// What proves the snapshot.
    pub(super) proof: Proof,
}

/// What proves a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// The ledger.
    Ledger,
    /// Its id alone: its record lies above one that is lost.
    IdAlone,
}

impl Found {
    pub(super) fn new(plan: &RestorePlan) -> Self {
        // Beside what is put they are of no account, and without it they are what is gone.
        let useless = if plan.serves_live {
            PlannedWork::default()
        } else {
            plan.useless
        };
        let lacking = [
            plan.missing,
            plan.wrong,
            plan.not_put.missing,
            plan.not_put.wrong,
            useless,
        ];
        Self {
            situation: plan.situation.clone(),
            permission: plan.permission,
            to_put: PlannedWork {
                files: lacking.iter().map(|work| work.files).sum(),
                bytes: lacking.iter().map(|work| work.bytes).sum(),
            },
            not_put: plan.not_put.clone(),
            absolute: plan.absolute.clone(),
            serves_live: plan.serves_live,
            new_times: plan.new_times,
            wrong: plan.wrong.files + plan.not_put.wrong.files,
            kept: plan.kept,
            left: plan.left.clone(),
            outside_missing: plan.outside_missing.clone(),
            passed_over: None,
            sound: plan.sound,
            nothing_to_do: plan.lacks_nothing(),
            vanishing: 0,
            live: LiveTable::default(),
            versions: Vec::new(),
            others: Vec::new(),
            streams: Streams::NotAsked,
            broken: plan.broken.clone(),
            written_without: plan.written_without.clone(),
            asides: plan.asides.iter().map(|it| it.key.to_string()).collect(),
            left_out: plan.left_out.clone(),
            kept_unreadable: plan.kept_unreadable.clone(),
            reading: plan.reading.clone(),
            at_work: plan.at_work.clone(),
            removed: plan.removed() as u64,
            under_way: None,
        }
        .with_live(plan.live.clone())
    }

    /// Takes what was found of the live table.
    pub(super) fn with_live(self, mut live: LiveTable) -> Self {
        for left in self.written_without.iter().map(|it| it.empty) {
            if !live.empty.contains(&left) {
                live.empty.push(left);
            }
        }
        Self { live, ..self }
    }

    /// Puts the vault's records beside what the live log tells.
    pub(super) fn with_vault(mut self, history: &History, delta_id: &str) -> Self {
        listed::fill_from_vault(&mut self.live.above, history, delta_id);
        listed::fill_from_vault(&mut self.live.older, history, delta_id);
        self.others = listed::other_tables(history, delta_id);
        self.versions = listed::versions(&self, history, delta_id);
        self
    }

    /// The version above V that is the likely reason for a restore.
    pub(super) fn cause(&self) -> Option<&LiveVersion> {
        suspect::cause(&self.live.above)
    }

    /// Whether time travel reads a version once its files are back; where the log does not tell, or cannot be opened,
    /// nothing is promised.
    fn can_be_read(&self, version: Version) -> bool {
        self.live.trouble.is_none()
            && self
                .live
                .readable_from
                .is_some_and(|oldest| oldest <= version)
    }

    /// Whether the newest version lacks files, and every file of V is one of its own: V's are put back for its sake.
    fn mends_newest(&self, version: Version, tip: Version) -> bool {
        self.serves_live
            || (self.to_put.files > 0
                && !self.live.drops_files
                && !self.is_whole(tip)
                && self.can_be_read(version))
    }

    /// Whether only files of older versions are missing.
    fn lacks_only_past(&self) -> bool {
        self.sound == Some(Healthy::AtV)
    }

    /// Whether a table with nothing above V has all that V needs.
    pub(super) fn is_all_there(&self) -> bool {
        self.nothing_to_do || self.lacks_only_past()
    }

    /// Whether the live log's own clean-up has taken what would rebuild a version.
    fn is_cleaned(&self, version: Version) -> bool {
        self.live
            .readable_from
            .is_some_and(|oldest| oldest > version)
    }

    fn is_whole(&self, version: Version) -> bool {
        is_in(&self.live.whole, version)
    }

    /// The newest good version that the vault holds.
    fn newest_good(&self) -> Option<&VersionRow> {
        self.versions.iter().find(|row| row.newest_good_held)
    }

    /// The newest live version that has all its files.
    fn newest_whole(&self) -> Option<Version> {
        self.live.whole.iter().map(|(_, last)| *last).max()
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
        match decide(&self.facts()) {
            Decision::Nothing => Way::Nothing,
            Decision::Ready => Way::Ready,
            Decision::OwnerMustChoose(obstacle) => Way::Choose(obstacle.of_version(self.version)),
        }
    }

    fn facts(&self) -> Facts<'_> {
        let found = self.found;
        Facts {
            situation: &found.situation,
            permission: found.permission,
            named: self.which.named(),
            task: Task::of(found.nothing_to_do, found.is_lost(), found.sound),
            under: Readability::of(
                !found.broken.is_empty(),
                self.is_beyond_the_log(),
                self.is_taken(),
            ),
            is_tip_whole: (found.situation.newer_tip()).is_none_or(|tip| found.is_whole(tip)),
            outside: found.outside_missing.len() as u64,
            vanishing: found.vanishing,
            sound: found.sound,
        }
    }

    /// Whether files put back under a newer live table would be there for nobody: its log leads to the version no more,
    /// and there is nothing else to put right.
    fn is_beyond_the_log(&self) -> bool {
        self.found.broken.is_empty()
            && self.found.is_cleaned(self.version)
            && !self.found.serves_live
    }

    /// Whether newer versions stand in the way of V's files, and there is no log to put right.
    fn is_taken(&self) -> bool {
        self.found.broken.is_empty() && !self.found.not_put.is_empty()
    }

    /// Whether the newest snapshot was taken because nobody named one: it may hold the very version that did the damage.
    fn is_unnamed(&self) -> bool {
        matches!(self.which, Which::Unsaid | Which::Latest)
    }

    /// The plan, as it is printed; where it may be carried out at once, without what else there is to choose.
    pub(super) fn message(&self, may_act: bool) -> RestorePlanned {
        let found = self.found;
        RestorePlanned {
            table: self.record.table.name.clone(),
            situation: situation_word(&found.situation).to_owned(),
            snapshot: Some(self.id),
            version: Some(self.version),
            files: found.to_put.files,
            bytes: found.to_put.bytes,
            live_version: self.live_version(),
            cause: found.cause().map(|version| version.version),
            loses: self.loses(),
            versions: if *self.which == Which::Unsaid {
                found.versions.clone()
            } else {
                Vec::new()
            },
            other_tables: found.others.clone(),
            streams: self.streams(),
            stream_count: self.stream_count(),
            holds_older_versions: self.record.scope == Scope::History,
            restoring: found.at_work.clone(),
            lines: self.lines(may_act),
            choices: if may_act { Vec::new() } else { self.choices() },
        }
    }

    /// What is asked before acting.
    pub(super) fn question(&self) -> String {
        match self.exec {
            Some(command) if self.found.nothing_to_do => format!("run {command}"),
            Some(command) => format!("{}, then run {command}", self.puts()),
            None => self.puts(),
        }
    }

    fn puts(&self) -> String {
        if self.found.removed > 0 {
            return self.turning_question();
        }
        if self.found.to_put.files == 0 {
            let asides = files(self.found.asides.len() as u64);
            return format!(
                "set {asides} of the log aside in {}",
                self.place(self.target)
            );
        }
        let verb = match self.how {
            How::To(_) => "copy",
            How::InPlace | How::Heal | How::Rewind | How::Replace | How::Undo(_) => "put back",
        };
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
            Situation::NothingAbove if self.found.is_all_there() => Some(self.version),
            Situation::NothingAbove if let Some(Healthy::Behind(tip)) = self.found.sound => {
                Some(tip)
            }
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
            .filter(|row| row.live && row.did.version > self.version);
        above.cloned().collect()
    }

    /// How many streams write to the table, where that can be told.
    pub(super) fn stream_count(&self) -> Option<u64> {
        let Streams::Known(streams) = &self.found.streams else {
            return None;
        };
        Some(streams.len() as u64)
    }

    fn is_another(&self) -> bool {
        matches!(
            self.found.situation,
            Situation::AnotherTable { .. } | Situation::CommitsDiffer { .. }
        )
    }

    fn told_left(&self) -> Option<PlanLine> {
        let first = self.found.left.first()?;
        let more = and_more(self.found.left.len());
        Some(told!(
            "LEFT",
            "{first}{more}: other bytes than in the snapshot; log files that a writer may rewrite"
        ))
    }
}

#[cfg(test)]
mod tests;
