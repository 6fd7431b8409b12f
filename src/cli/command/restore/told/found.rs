//! Before a restore: what stands there, what is wanted, what is gone and why, what the vault holds.

use deltavault::ids::Version;
use deltavault::plan::restore::{Healthy, Situation};
use deltavault::plan::suspect::is_vacuum;
use indicatif::{HumanBytes, HumanCount};

use super::listed::flag_for;
use super::phrase::{
    about, and_more, files, line, range, ranges, second, summed, told, told_version, users,
};
use super::{Case, Counted, Found, Proof};
use crate::cli::command::restore::args::{How, Which};
use crate::cli::command::restore::messages::{PlanLine, VersionRow};
use crate::cli::output::counted;

/// Lost versions that are listed one by one; fewer where files are gone too, because there is more to say then.
const LOST_SHOWN: usize = 3;

impl Case<'_> {
    fn told_proof(&self) -> Option<PlanLine> {
        let what = "the ledger does not prove it, since a record is gone or damaged: compare its id with one kept elsewhere";
        (self.proof == Proof::IdAlone).then(|| line("UNPROVEN", what.to_owned()))
    }

    /// What was found. How long it takes is part of every choice, and told here only to who has made it.
    pub(crate) fn lines(&self, acting: bool) -> Vec<PlanLine> {
        let mut lines = vec![line("TABLE", self.told_table())];
        let found = self.found;
        let total = found.to_put.files + found.kept.files;
        match &found.situation {
            Situation::NoLog if found.kept.files > 0 => lines.push(told!(
                "",
                "{} of {} remain",
                HumanCount(found.kept.files),
                files(total)
            )),
            Situation::AnotherTable { delta_id } => {
                let ours = &self.record.table.delta_id;
                lines.push(told!(
                    "",
                    "its Delta id is {delta_id}, the snapshot's is {ours}"
                ));
            }
            Situation::CommitsDiffer { files: other } => lines.push(told!(
                "",
                "its log has {} that are not the snapshot's, first {}",
                files(other.len() as u64),
                other.first().map_or("", String::as_str)
            )),
            Situation::EmptyTarget => {
                let target = self.uri(self.target);
                let what = if found.nothing_to_do {
                    "holds the copy already, every file as the snapshot has it"
                } else {
                    "takes the copy"
                };
                lines.push(told!("TARGET", "{target}  {what}"));
            }
            Situation::NoLog | Situation::NothingAbove | Situation::NewerLive { .. } => {}
        }
        lines.extend(self.told_at_work());
        lines.extend(self.told_under_way());
        if found.vanishing > 0 {
            lines.push(told!(
                "WARNING",
                "{} vanished just now: something is still deleting. Stop it first",
                counted(found.vanishing, "object")
            ));
        }
        lines.extend(self.told_doubt());
        if self.is_question() {
            lines.extend(found.told_lone());
            lines.extend(found.told_empty());
            lines.extend(self.told_choices());
            return lines;
        }
        lines.extend(self.told_others());
        lines.extend(self.told_other_history());
        if found.situation == Situation::NothingAbove {
            lines.extend(found.told_empty());
        }
        lines.push(line("WANTED", self.told_wanted()));
        lines.extend(self.told_proof());
        lines.extend(self.told_time());
        lines.extend(found.told_causes());
        if !self.is_another() {
            lines.extend(self.told_vault());
            lines.extend(self.told_suspect());
        }
        if let Situation::NewerLive { tip } = found.situation {
            lines.extend(self.told_newer(tip));
        }
        lines.extend(self.told_turning());
        // Of a restore that goes on, its end tells them: they are what is left to do then.
        if !(acting && found.situation == Situation::NoLog) {
            lines.extend(self.told_streams());
        }
        if let Some(file) = found.absolute.as_ref().filter(|_| !acting) {
            lines.push(told!("NOTE", "no copy elsewhere: the log names {file} by an absolute path into this table, which a copy would read"));
        }
        lines.extend(found.told_outside());
        lines.extend(self.told_log());
        lines.extend(self.told_left());
        if acting && found.to_put.files > 0 {
            lines.push(told!("TIME", "about {}, an estimate", about(found.to_put)));
        }
        lines
    }

    /// What is wrong with the log of a newer live table, what of it can be read, and what going back would lose.
    fn told_newer(&self, tip: Version) -> Vec<PlanLine> {
        let found = self.found;
        let mut lines = Vec::new();
        if let Some(hole) = found.live.hole {
            lines.push(told_hole(hole));
        } else if let Some(trouble) = &found.live.trouble {
            lines.push(line("LOG", trouble.clone()));
        } else if !found.can_be_read(self.version) {
            lines.push(line(
                "LOG",
                if found.serves_live {
                    format!(
                        "v{} was cleaned out of it: put back are files that live v{tip} needs, and no others",
                        self.version
                    )
                } else {
                    format!(
                        "v{} was cleaned out of it: files put back under it cannot be read",
                        self.version
                    )
                },
            ));
        }
        if let Some((file, why)) = &found.not_put.first {
            lines.push(told!(
                "TAKEN",
                "v{} cannot be put back here for the names of {}, first {file}: {why}",
                self.version,
                files(found.not_put.files())
            ));
        }
        lines.extend(found.told_lone());
        lines.extend(found.told_empty());
        lines.extend(self.told_unreadable());
        if !found.live.whole.is_empty() {
            let whole = ranges(&found.live.whole);
            lines.push(line(
                "WHOLE",
                if !found.broken.is_empty() {
                    format!("once its log is put right: {whole}")
                } else if found.wrong > 0 {
                    format!("by name and size of their files: {whole}")
                } else {
                    format!("still readable at its place: {whole}")
                },
            ));
        }
        if *self.how == How::Heal {
            if found.nothing_to_do && !self.as_commit {
                lines.push(told!("HEAL", "nothing to put back: every file of v{} is at its place, and the live table stays at v{tip}; without \
                         --heal the plan says how to go back",
                        self.version));
                lines.extend(self.told_lacking());
            }
        } else if !found.live.above.is_empty() && !found.mends_newest(self.version, tip) {
            lines.extend(self.told_lost(tip));
        }
        lines
    }

    /// A URI with the scheme that was typed.
    fn uri(&self, uri: &str) -> String {
        match uri.strip_prefix("s3://") {
            Some(rest) if self.s3a => format!("s3a://{rest}"),
            _ => uri.to_owned(),
        }
    }

    /// With `--at`, which commit was taken, and which others may be meant. Stores that tell whole seconds leave open
    /// which commit of a second it was.
    fn told_time(&self) -> Option<PlanLine> {
        let Which::At(when) = self.which else {
            return None;
        };
        let time = self.committed?;
        let only_seconds = time.subsec_nanosecond() == 0
            && self.record.table.uri.starts_with("s3:")
            && !self.has_in_commit_timestamps();
        let precision = if only_seconds {
            "; its store tells whole seconds only: for another commit of that second choose by --version"
        } else {
            ""
        };
        let others = match self.between {
            None => ", the newest by then that is held".to_owned(),
            Some(between) => {
                let others = range(between.first, between.last);
                if between.is_held {
                    format!("; no commit time is known of {others}: choose by --version")
                } else {
                    format!("; not held: {others}, which may have been committed by then too")
                }
            }
        };
        Some(told!(
            "",
            "asked for {when}: taken is v{}, committed {}{others}{precision}",
            self.version,
            when.same_zone(time)
        ))
    }

    /// The question, where there is one, else the rest of the plan.
    fn asks_or(&self, question: &'static str, rest: &'static str) -> &'static str {
        if self.is_question() { question } else { rest }
    }

    fn told_table(&self) -> String {
        let uri = self.uri(&self.record.table.uri);
        let version = self.version;
        let found = self.found;
        let state = match &found.situation {
            Situation::EmptyTarget => "is not touched".to_owned(),
            Situation::AnotherTable { .. } => "ANOTHER TABLE lives there now".to_owned(),
            Situation::CommitsDiffer { .. } => {
                "ANOTHER HISTORY: its log was written again".to_owned()
            }
            Situation::NoLog => "DROPPED: no _delta_log".to_owned(),
            Situation::NothingAbove if found.nothing_to_do && !found.live.empty.is_empty() => {
                told_empty_log(version)
            }
            Situation::NothingAbove if found.is_all_there() && self.is_in_doubt() => {
                let rest = self.asks_or(". Restore what?", "");
                format!(
                    "live v{version} DOUBTFUL: it has all that v{version} needs of snapshot {}, which is in doubt{rest}",
                    self.id.short()
                )
            }
            Situation::NothingAbove if found.nothing_to_do => {
                let rest = self.asks_or(", nothing missing. Restore what?", ", nothing missing");
                found.told_whole(version, rest)
            }
            Situation::NothingAbove if found.lacks_only_past() => {
                let rest = self.asks_or(
                    ". Restore what?",
                    ", and lacks files of older versions only",
                );
                found.told_whole(version, rest)
            }
            Situation::NothingAbove => match found.sound {
                Some(Healthy::Behind(tip)) => {
                    format!("REWOUND: live v{tip} is healthy, and behind v{version}")
                }
                Some(Healthy::AtV) | None => format!("DAMAGED, and nothing newer than v{version}"),
            },
            Situation::NewerLive { tip }
                if found.is_whole(*tip) && !found.live.empty.is_empty() =>
            {
                told_empty_log(*tip)
            }
            Situation::NewerLive { tip } if found.is_whole(*tip) && found.is_doubtful() => format!(
                "live v{tip} DOUBTFUL: no file of it is missing, and it may need what has other bytes than v{version} had"
            ),
            Situation::NewerLive { tip } if found.is_whole(*tip) => {
                let rest = self.asks_or(", nothing missing. Restore what?", "");
                found.told_whole(*tip, rest)
            }
            Situation::NewerLive { tip }
                if found.live.trouble.is_some() && found.live.ways_disagree =>
            {
                format!(
                    "live v{tip} DOUBTFUL: its checkpoint and its commits lead to different files"
                )
            }
            Situation::NewerLive { tip } if found.live.trouble.is_some() => {
                format!("live v{tip} BROKEN: its log cannot be read")
            }
            Situation::NewerLive { tip } => {
                format!("live v{tip} NOT WHOLE{}", told_faults(&found.live.faults))
            }
        };
        format!("{uri}  {state}")
    }

    /// What can be done about a commit that cannot be read and is newer than every snapshot.
    fn told_unreadable(&self) -> Option<PlanLine> {
        let commit = self.found.live.unreadable.filter(|_| self.is_unnamed())?;
        let before = Version(commit.0.checked_sub(1)?);
        let name = format!("_delta_log/{:020}.json", commit.0);
        let without = if self.found.situation == (Situation::NewerLive { tip: commit }) {
            format!(
                "where there are none, move {name} out of the log: the table is at v{before} then, without what v{commit} did"
            )
        } else {
            format!("v{} and later need it", commit.next())
        };
        Some(told!(
            "LOG",
            "no snapshot holds commit {commit}: look for its bytes in an older object version or a file system's snapshot; \
                 {without}"
        ))
    }

    fn told_wanted(&self) -> String {
        let found = self.found;
        let record = self.record;
        let committed = self
            .committed
            .map_or_else(String::new, |time| format!(", committed {}", second(time)));
        let id = self.id.short();
        let held = if self.version == record.version {
            format!("snapshot {id}{committed}")
        } else {
            let newer = record.version;
            format!("whole in history snapshot {id} of v{newer}{committed}")
        };
        let what = format!("v{}, {held}", self.version);
        let total = found.to_put.files + found.kept.files;
        match &found.situation {
            Situation::NewerLive { .. } | Situation::NothingAbove if found.to_put.files > 0 => {
                let gone = found.to_put.files.saturating_sub(found.wrong);
                let wrong = match found.wrong {
                    0 => String::new(),
                    1 => ", 1 has other bytes".to_owned(),
                    wrong => format!(", {} have other bytes", HumanCount(wrong)),
                };
                format!(
                    "{what}: {} of {} gone{wrong}",
                    HumanCount(gone),
                    files(total)
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
        if self.found.situation == Situation::NoLog && self.is_unnamed() {
            return Some(told!(
                "VAULT",
                "newest {}, v{}, taken {}; later commits are not held",
                self.id.short(),
                self.record.version,
                second(self.record.taken_at)
            ));
        }
        (work.files > 0).then(|| {
            told!(
                "VAULT",
                "holds that by its record: {}, {}",
                files(work.files),
                HumanBytes(work.bytes)
            )
        })
    }

    /// The wanted version's row, where nobody named the version and it looks wrong.
    pub(super) fn unnamed_suspect(&self) -> Option<&VersionRow> {
        let mut rows = self.found.versions.iter();
        rows.find(|row| row.did.version == self.version && row.suspect)
            .filter(|_| self.is_unnamed())
    }

    /// Says what looks wrong about a snapshot that nobody named, and which one is good.
    fn told_suspect(&self) -> Option<PlanLine> {
        let suspect = self.unnamed_suspect()?;
        let good = self.found.newest_good();
        let good = good.and_then(|row| {
            let (flag, value) = flag_for(row)?;
            Some(format!(
                "; the newest good one held is v{}, {flag} {value}",
                row.did.version
            ))
        });
        Some(told!(
            "SUSPECT",
            "{}{}",
            told_version(&suspect.did),
            good.unwrap_or_default()
        ))
    }

    /// What going back would take out of the table, summed up, and the newest versions one by one.
    fn told_lost(&self, tip: Version) -> Vec<PlanLine> {
        let lost = &self.found.live.above;
        let by = match users(lost.iter().filter_map(|it| it.user.as_deref())).as_str() {
            "" => String::new(),
            users => format!(", by {users}"),
        };
        let room = LOST_SHOWN
            .saturating_sub(usize::from(self.found.to_put.files > 0))
            .saturating_sub(usize::from(self.recipe().is_some()));
        // The last one takes no more room than to say that there is one more.
        let shown = if lost.len() <= room + 1 {
            lost.len()
        } else {
            room
        };
        let rest = if shown < lost.len() {
            "; --json lists them all"
        } else {
            ""
        };
        let mut lines = vec![told!(
            "LOSES",
            "going back to v{} loses {}: {}{by}{rest}",
            self.version,
            range(self.version.next(), tip),
            summed(lost.iter())
        )];
        lines.extend(lost.iter().take(shown).map(|it| line("", told_version(it))));
        lines
    }
}

/// A commit that is missing where later ones are there is no clean-up, which takes the oldest commits only.
fn told_hole(hole: Version) -> PlanLine {
    told!(
        "LOG",
        "commit {hole} is missing and later ones are there, so no reader opens the live table: find out what removed \
             _delta_log/{:020}.json, and put it back",
        hole.0
    )
}

/// A live table that has all its files, and less in it than was committed.
fn told_empty_log(tip: Version) -> String {
    format!("live v{tip} DOUBTFUL: no file of it is missing, and its log has an empty commit")
}

/// What is wrong with the files of the newest live version.
pub(super) fn told_faults(faults: &Counted) -> String {
    match &faults.first {
        None => ": files of it are gone".to_owned(),
        Some(first) if faults.count == 1 => format!(": {first}"),
        Some(first) => format!(
            ": {} of its files are gone or cut off, first {first}",
            HumanCount(faults.count)
        ),
    }
}

impl Found {
    /// Every file that is gone outside the table's folder: whoever wrote the log chose where they lie.
    fn told_outside(&self) -> Option<PlanLine> {
        const NAMED: usize = 8;
        let missing = &self.outside_missing;
        let more = match missing.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(", and {more} more: --json names them all"),
        };
        let named: Vec<_> = missing.iter().take(NAMED).map(String::as_str).collect();
        (!named.is_empty()).then(|| {
            told!(
                "OUTSIDE",
                "gone, and not in the folder: {}: {}{more}",
                files(missing.len() as u64),
                named.join(", ")
            )
        })
    }

    /// Whether files have bytes that V's did not have, and no newer version's log says that they are its own.
    fn is_doubtful(&self) -> bool {
        self.wrong > self.not_put.of_newer
    }

    /// A newest version that stands alone, unless somebody has accepted it: then there is a snapshot of it.
    fn told_lone(&self) -> Option<PlanLine> {
        let (lone, before) = self.live.lone?;
        let mut rows = self.versions.iter();
        if rows.any(|row| row.did.version == lone && !row.snapshots.is_empty()) {
            return None;
        }
        Some(told!(
            "LOG",
            "v{lone} stands alone, far above v{before}: when its files (_delta_log/{:020}.*) were put there by \
                 mistake, the table is at v{before}; move them out of the log",
            lone.0
        ))
    }

    /// Names the commits above V that have no bytes.
    fn told_empty(&self) -> Vec<PlanLine> {
        let Some(newest) = self.live.empty.first() else {
            return Vec::new();
        };
        let more = and_more(self.live.empty.len());
        let empty = told!(
            "LOG",
            "commit {newest}{more} is empty (0 bytes): readers take it for a version that changes nothing, and a power \
                 loss leaves such a file; what it did is not in the table"
        );
        let kept = self.told_written_without();
        std::iter::once(empty).chain(kept).collect()
    }

    /// Why an empty commit that the vault holds stays empty.
    fn told_written_without(&self) -> Option<PlanLine> {
        let first = self.written_without.first()?;
        Some(told!(
            "",
            "commit {} is not put back: v{} may have been written without it, and with it the table would have rows that \
                 nobody put there",
            first.empty,
            first.by
        ))
    }

    /// What took the rows, and what took the files.
    fn told_causes(&self) -> Vec<PlanLine> {
        let vacuum = self.live.above.iter().find(|version| is_vacuum(version));
        let vacuum = vacuum.filter(|_| self.to_put.files > 0);
        let causes = self.cause().into_iter().chain(vacuum);
        let mut lines: Vec<PlanLine> = causes.map(|it| line("CAUSE", told_version(it))).collect();
        if let Some(second) = lines.get_mut(1) {
            second.label = "";
        }
        lines
    }
}
