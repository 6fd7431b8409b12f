//! What a tired person reads before and after a restore: what is there, what is gone and why, what the vault
//! holds, what would be lost, and the next commands, whole. Never more than 15 lines before the choice.
//!
//! Pure: everything is decided from what the plan found.

use std::path::Path;
use std::time::Duration;

use deltavault::format::Record;
use deltavault::ids::{SnapshotId, Timestamp, Version};
use deltavault::plan::restore::{LiveVersion, Permission, Situation};
use deltavault::progress::PlannedWork;
use deltavault::reader::Verdict;
use deltavault::vault::restore::RestorePlan;
use indicatif::{HumanBytes, HumanCount, HumanDuration};

use crate::cli::again::Again;
use crate::cli::request::{How, Which};
use crate::cli::rows::{Choice, PlanLine};

/// Bytes a second that an estimate counts with: a plain disk that reads and writes at once. Estimates are said to
/// be estimates.
const ESTIMATED_BYTES_A_SECOND: u64 = 50 * 1024 * 1024;

/// Files a second that an estimate counts with: each is made durable by itself.
const ESTIMATED_FILES_A_SECOND: u64 = 100;

/// Live versions that are listed one by one.
const VERSIONS_SHOWN: usize = 4;

/// What a plan found, without its steps.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) situation: Situation,
    pub(super) permission: Permission,
    /// What is missing or wrong.
    pub(super) to_put: PlannedWork,
    pub(super) wrong: u64,
    pub(super) kept: PlannedWork,
    pub(super) left: Vec<String>,
    pub(super) outside_missing: Vec<String>,
    pub(super) lost: Vec<LiveVersion>,
    pub(super) whole_live: Vec<(Version, Version)>,
    pub(super) nothing_to_do: bool,
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
    /// Where files are put.
    pub(super) target: &'a Path,
    pub(super) which: &'a Which,
    pub(super) how: &'a How,
    pub(super) outside: bool,
    pub(super) found: &'a Found,
    pub(super) again: &'a Again,
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
            wrong: plan.wrong.files,
            kept: plan.kept,
            left: plan.left.clone(),
            outside_missing: plan.outside_missing.clone(),
            lost: plan.lost.clone(),
            whole_live: plan.whole_live.clone(),
            nothing_to_do: plan.is_empty() && plan.outside_missing.is_empty(),
        }
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
                let healthy = found.nothing_to_do && found.is_whole(*tip);
                if healthy && *self.which == Which::Unsaid {
                    return Way::Nothing;
                }
                return Way::Choose(format!(
                    "the live table is at version {tip}, newer than {}",
                    self.version
                ));
            }
            Situation::EmptyTarget
            | Situation::NoLog
            | Situation::NothingAbove
            | Situation::NewerLive { .. } => {}
        }
        if found.nothing_to_do {
            return Way::Nothing;
        }
        if !found.outside_missing.is_empty() {
            return Way::Choose(format!(
                "{} files belong outside the table's folder",
                found.outside_missing.len()
            ));
        }
        if *self.which == Which::Unsaid {
            return Way::Choose("which snapshot to put back was not said".to_owned());
        }
        Way::Ready
    }

    /// What is asked before acting.
    pub(super) fn question(&self) -> String {
        format!(
            "put back {} files ({}) into {}",
            HumanCount(self.found.to_put.files),
            HumanBytes(self.found.to_put.bytes),
            self.target.display()
        )
    }

    /// What was found.
    pub(super) fn lines(&self) -> Vec<PlanLine> {
        let mut lines = vec![line("TABLE", self.told_table())];
        let found = self.found;
        let total = found.to_put.files + found.kept.files;
        match &found.situation {
            Situation::NoLog if found.kept.files > 0 => lines.push(line(
                "",
                format!(
                    "{} of {} files remain",
                    HumanCount(found.kept.files),
                    HumanCount(total)
                ),
            )),
            Situation::AnotherTable { delta_id } => {
                let ours = &self.record.table.delta_id;
                lines.push(line(
                    "",
                    format!("its Delta id is {delta_id}, the snapshot's is {ours}"),
                ));
            }
            Situation::CommitsDiffer { files } => lines.push(line(
                "",
                format!(
                    "{} of its commits have other bytes, first {}",
                    HumanCount(files.len() as u64),
                    files.first().map_or("", String::as_str)
                ),
            )),
            Situation::EmptyTarget => lines.push(line(
                "TARGET",
                format!("file://{}  takes the copy", self.target.display()),
            )),
            Situation::NoLog | Situation::NothingAbove | Situation::NewerLive { .. } => {}
        }
        if self.is_question() {
            self.list_live(&mut lines);
        }
        lines.push(line("WANTED", self.told_wanted()));
        if let Which::At(when) = self.which {
            let committed = when.same_zone(self.record.commit_time);
            lines.push(line(
                "",
                format!("asked for {when}, the newest held is of {committed}"),
            ));
        }
        if found.to_put.files > 0
            && let Some(vacuum) = found.lost.iter().find(|version| is_vacuum(version))
        {
            lines.push(line("CAUSE", told_version(vacuum)));
        }
        if !self.is_another() {
            lines.extend(self.told_vault());
        }
        if let Situation::NewerLive { tip } = found.situation {
            if !found.whole_live.is_empty() {
                lines.push(line(
                    "WHOLE",
                    format!("still readable at its place: {}", ranges(&found.whole_live)),
                ));
            }
            if !found.lost.is_empty() && *self.how != How::Heal {
                lines.push(line("LOSES", self.told_lost(tip)));
            }
        }
        if let Some(first) = found.outside_missing.first() {
            lines.push(line(
                "OUTSIDE",
                format!(
                    "{} files lie outside the folder and are gone, first {first}",
                    HumanCount(found.outside_missing.len() as u64)
                ),
            ));
        }
        lines.extend(self.told_left());
        if found.to_put.files > 0 {
            lines.push(line(
                "TIME",
                format!("about {}, an estimate", about(found.to_put)),
            ));
        }
        lines
    }

    /// What can be done, each with its whole command.
    pub(super) fn choices(&self) -> Vec<Choice> {
        let found = self.found;
        let put = about(found.to_put);
        let version = self.version;
        match (&found.situation, self.way()) {
            (_, Way::Nothing) => Vec::new(),
            (Situation::AnotherTable { .. } | Situation::CommitsDiffer { .. }, _) => {
                vec![self.full_copy("a full copy elsewhere; --replace comes in a later version")]
            }
            (Situation::NewerLive { tip }, _) if *self.how != How::Heal => {
                let mut choices = Vec::new();
                if found.to_put.files > 0 {
                    choices.push(choice(
                        format!(
                            "v{version} readable again under live v{tip}, about {put}; the next VACUUM \
                             removes it again, so RESTORE it first"
                        ),
                        self.restore(&["--heal", "--yes"]),
                    ));
                } else {
                    choices.push(choice(
                        format!("v{version} is whole: a new commit brings it back and loses nothing (Spark)"),
                        self.restore_statement(version),
                    ));
                }
                if !found.is_whole(*tip)
                    && let Some(newest) = found.newest_whole().filter(|newest| *newest > version)
                {
                    choices.push(choice(
                        format!("v{newest} is the newest whole version at its place (Spark)"),
                        self.restore_statement(newest),
                    ));
                }
                choices.push(self.full_copy("a full copy elsewhere; the table is not touched"));
                choices
            }
            _ if !found.outside_missing.is_empty() && !self.outside => vec![choice(
                format!("put back everything, also outside the folder, about {put}"),
                self.restore(&["--outside", "--yes"]),
            )],
            (Situation::NoLog, _) => vec![
                choice(
                    format!("put v{version} back, about {put}; first stop what deleted it"),
                    self.restore(&["--yes"]),
                ),
                self.full_copy("a full copy elsewhere"),
            ],
            _ => vec![choice(
                format!(
                    "put back {} files, about {put}",
                    HumanCount(found.to_put.files)
                ),
                self.restore(&["--yes"]),
            )],
        }
    }

    /// What there is to know and to do after it.
    pub(super) fn notes(&self, verdict: &Verdict) -> Vec<PlanLine> {
        let mut notes = Vec::new();
        match verdict {
            Verdict::Opens { version, files } => notes.push(line(
                "CHECKED",
                format!(
                    "v{version} opens with deltalake, {} files",
                    HumanCount(*files)
                ),
            )),
            Verdict::Refuses { reason } => {
                notes.push(line(
                    "CHECKED",
                    format!("deltalake does not open v{}: {reason}", self.version),
                ));
                notes.push(line(
                    "",
                    "no data is lost by that: every file was checked by its SHA-256; use a reader that \
                     knows the table's features"
                        .to_owned(),
                ));
            }
        }
        notes.extend(self.told_left());
        let healed = matches!(self.found.situation, Situation::NewerLive { .. });
        if !healed && !self.has_in_commit_timestamps() {
            notes.push(line(
                "WARNING",
                "time travel by timestamp is wrong for the restored versions: their commits have new file \
                 times (-v lists the true ones)"
                    .to_owned(),
            ));
        }
        match self.found.situation {
            Situation::NoLog | Situation::EmptyTarget => {
                notes.push(line(
                    "NOT RESTORED",
                    "catalog entry, grants, stream checkpoints".to_owned(),
                ));
                notes.push(line("NEXT", self.create_statement()));
            }
            Situation::NewerLive { .. } => {
                let statement = self.restore_statement(self.version);
                notes.push(line(
                    "NEXT",
                    format!("{statement} -- before the next VACUUM removes its files again"),
                ));
            }
            Situation::NothingAbove
            | Situation::AnotherTable { .. }
            | Situation::CommitsDiffer { .. } => {}
        }
        notes
    }

    fn told_table(&self) -> String {
        let uri = &self.record.table.uri;
        let version = self.version;
        let found = self.found;
        let state = match &found.situation {
            Situation::EmptyTarget => "is not touched".to_owned(),
            Situation::AnotherTable { .. } => "ANOTHER TABLE lives there now".to_owned(),
            Situation::CommitsDiffer { .. } => {
                "ANOTHER HISTORY: its log was written anew".to_owned()
            }
            Situation::NoLog => "DROPPED: no _delta_log".to_owned(),
            Situation::NothingAbove if found.nothing_to_do => {
                format!("live v{version} healthy, nothing missing")
            }
            Situation::NothingAbove => format!("DAMAGED, and nothing newer than v{version}"),
            Situation::NewerLive { tip } if found.is_whole(*tip) => {
                let rest = if self.is_question() {
                    ", nothing missing. Restore what?"
                } else {
                    ""
                };
                format!("live v{tip} healthy{rest}")
            }
            Situation::NewerLive { tip } => format!("live v{tip} NOT WHOLE: files of it are gone"),
        };
        format!("{uri}  {state}")
    }

    /// Nothing is broken and nothing was said: the listing of what there is is the answer.
    fn is_question(&self) -> bool {
        matches!(self.found.situation, Situation::NewerLive { .. }) && self.way() == Way::Nothing
    }

    fn is_another(&self) -> bool {
        matches!(
            self.found.situation,
            Situation::AnotherTable { .. } | Situation::CommitsDiffer { .. }
        )
    }

    fn list_live(&self, lines: &mut Vec<PlanLine>) {
        let shown = self.found.lost.iter().take(VERSIONS_SHOWN);
        lines.extend(shown.map(|version| line("", told_version(version))));
        let more = self.found.lost.len().saturating_sub(VERSIONS_SHOWN);
        if more > 0 {
            lines.push(line("", format!("and {} more", HumanCount(more as u64))));
        }
    }

    fn told_wanted(&self) -> String {
        let found = self.found;
        let record = self.record;
        let held = if self.version == record.version {
            format!("snapshot {}", self.id.short())
        } else {
            format!(
                "whole in history snapshot {} of v{}",
                self.id.short(),
                record.version
            )
        };
        let what = format!(
            "v{}, {held}, committed {}",
            self.version,
            second(record.commit_time)
        );
        let total = found.to_put.files + found.kept.files;
        match &found.situation {
            Situation::NewerLive { .. } | Situation::NothingAbove if found.to_put.files > 0 => {
                let gone = found.to_put.files.saturating_sub(found.wrong);
                let wrong = match found.wrong {
                    0 => String::new(),
                    wrong => format!(", {} have other bytes", HumanCount(wrong)),
                };
                format!(
                    "{what}: {} of {} files gone{wrong}",
                    HumanCount(gone),
                    HumanCount(total)
                )
            }
            Situation::NewerLive { .. } => format!("{what}: nothing missing"),
            Situation::EmptyTarget
            | Situation::AnotherTable { .. }
            | Situation::CommitsDiffer { .. }
            | Situation::NoLog
            | Situation::NothingAbove => what,
        }
    }

    fn told_vault(&self) -> Option<PlanLine> {
        let work = self.found.to_put;
        if self.found.situation == Situation::NoLog
            && matches!(self.which, Which::Unsaid | Which::Latest)
        {
            return Some(line(
                "VAULT",
                format!(
                    "newest {}, v{}, taken {}; later commits are not held",
                    self.id.short(),
                    self.record.version,
                    second(self.record.taken_at)
                ),
            ));
        }
        (work.files > 0).then(|| {
            line(
                "VAULT",
                format!(
                    "holds all {} ({})",
                    HumanCount(work.files),
                    HumanBytes(work.bytes)
                ),
            )
        })
    }

    fn told_lost(&self, tip: Version) -> String {
        let lost = &self.found.lost;
        let rows = lost.iter().map(|version| version.rows);
        let rows = rows
            .sum::<Option<i64>>()
            .map_or_else(String::new, |rows| format!(", {} rows", signed(rows)));
        let mut users: Vec<&str> = lost.iter().filter_map(|it| it.user.as_deref()).collect();
        users.sort_unstable();
        users.dedup();
        let by = if users.is_empty() {
            String::new()
        } else {
            format!(", by {}", users.join(", "))
        };
        format!(
            "going back to v{} (--rewind, in a later version) loses v{}-v{tip}{rows}{by}",
            self.version,
            self.version.next()
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

    /// By the protocol's list of features; a table that has the feature and never turned it on is rare.
    fn has_in_commit_timestamps(&self) -> bool {
        let mut features = self.record.protocol.writer_features.iter();
        features.any(|feature| feature.starts_with("inCommitTimestamp"))
    }

    /// The words that choose the same state again, whatever is taken meanwhile.
    fn restore(&self, flags: &[&str]) -> String {
        let id = self.id.short();
        let version = self.version.to_string();
        let by_version =
            matches!(self.which, Which::Version(_)) || self.version != self.record.version;
        let mut words = vec!["restore", &self.name];
        if by_version {
            words.extend(["--version", &version]);
        } else {
            words.extend(["--snapshot", &id]);
        }
        words.extend(flags);
        self.again.command(&words)
    }

    fn full_copy(&self, effect: &str) -> Choice {
        let home = self.record.table.uri.trim_start_matches("file://");
        let place = format!("{home}-v{}", self.version);
        let all = PlannedWork {
            files: self.record.totals.files,
            bytes: self.record.totals.bytes,
        };
        choice(
            format!("{effect}, about {}", about(all)),
            self.restore(&["--to", &place, "--yes"]),
        )
    }

    fn restore_statement(&self, version: Version) -> String {
        let home = self.record.table.uri.trim_start_matches("file://");
        format!("RESTORE TABLE delta.`{home}` TO VERSION AS OF {version};")
    }

    fn create_statement(&self) -> String {
        format!(
            "CREATE TABLE {} USING DELTA LOCATION 'file://{}';",
            identifier(&self.record.table.name),
            self.target.display().to_string().replace('\'', "\\'")
        )
    }
}

fn line(label: &'static str, text: String) -> PlanLine {
    PlanLine { label, text }
}

fn choice(effect: String, command: String) -> Choice {
    Choice { effect, command }
}

/// Engines name the commits of a VACUUM `VACUUM START` and `VACUUM END`.
fn is_vacuum(version: &LiveVersion) -> bool {
    let operation = version.operation.as_deref();
    operation.is_some_and(|operation| operation.starts_with("VACUUM"))
}

fn told_version(version: &LiveVersion) -> String {
    let operation = version.operation.as_deref().unwrap_or("?").to_owned();
    let rows = version.rows.filter(|rows| *rows != 0);
    let parts = [
        Some(format!("v{}", version.version)),
        version.time.map(second),
        Some(operation),
        version.user.clone(),
        rows.map(|rows| format!("{} rows", signed(rows))),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("  ")
}

fn ranges(ranges: &[(Version, Version)]) -> String {
    let told = ranges.iter().map(|(first, last)| {
        if first == last {
            format!("v{first}")
        } else {
            format!("v{first}-v{last}")
        }
    });
    told.collect::<Vec<_>>().join(", ")
}

fn signed(change: i64) -> String {
    let sign = if change < 0 { "-" } else { "+" };
    format!("{sign}{}", HumanCount(change.unsigned_abs()))
}

fn second(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// How long work takes, by the constant rates above.
fn about(work: PlannedWork) -> String {
    let seconds = work.bytes / ESTIMATED_BYTES_A_SECOND + work.files / ESTIMATED_FILES_A_SECOND;
    HumanDuration(Duration::from_secs(seconds.max(1))).to_string()
}

/// A name as SQL spells it: parts of plain words as they are, others in back ticks.
fn identifier(name: &str) -> String {
    let parts = name.split('.').map(|part| {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !part.is_empty() && part.chars().all(word) {
            part.to_owned()
        } else {
            format!("`{}`", part.replace('`', "``"))
        }
    });
    parts.collect::<Vec<_>>().join(".")
}
