//! What is wrong with a log, what is done about it, and what is left out: the words for it.

use deltavault::ExitCode;
use deltavault::format::record::Disagreement;
use deltavault::ids::Version;
use deltavault::plan::restore::Situation;
use deltavault::plan::snapshot::NOT_AT_THE_SOURCE;
use deltavault::reader::RefusalCause;
use deltavault::vault::restore::{LeftOut, LogWanted, Reading, WhyLeftOut};

use super::phrase::{and_more, choice, files as counted, line, range, told};
use super::{Case, Found, Proof};
use crate::cli::command::restore::messages::{Choice, PlanLine};

impl Found {
    /// Whether somebody has opened the live table, or every way through its log was replayed because the independent
    /// reader does not know its features.
    pub(super) fn is_proven(&self) -> bool {
        match &self.reading {
            None | Some(Reading::Opens) => true,
            Some(Reading::Refuses { about, replay, .. }) => {
                *about == RefusalCause::Features && replay.is_none()
            }
        }
    }

    /// Whether nobody can read the live table, and the snapshot has nothing that mends it.
    pub(super) fn is_lost(&self) -> bool {
        self.broken.is_empty() && self.reading.as_ref().is_some_and(Reading::has_no_way)
    }

    /// What the live table is, when nothing is missing.
    pub(super) fn told_whole(&self, tip: Version, rest: &str) -> String {
        match &self.reading {
            _ if !self.broken.is_empty() => format!("live v{tip} DAMAGED: its log cannot be read"),
            None | Some(Reading::Opens) => format!("live v{tip} healthy{rest}"),
            Some(Reading::Refuses { .. }) if self.is_proven() => {
                format!("live v{tip} healthy by a replay of every way through its log{rest}")
            }
            Some(Reading::Refuses { replay: None, .. }) => {
                format!(
                    "live v{tip} NOT PROVEN: no file is missing, and deltalake does not open it"
                )
            }
            Some(Reading::Refuses { .. }) => {
                format!(
                    "live v{tip} DAMAGED: it cannot be read, and the snapshot has nothing that mends it"
                )
            }
        }
    }

    /// What has to be looked at although the plan was carried out.
    pub(super) fn code(&self) -> ExitCode {
        let is_newer = matches!(self.situation, Situation::NewerLive { .. });
        let is_whole = !is_newer || self.live.faults.is_empty();
        let is_good = is_whole
            && self.is_proven()
            && self.kept_unreadable.is_empty()
            && self.live.empty.is_empty();
        ExitCode::findings_if(!is_good)
    }
}

impl Case<'_> {
    /// The exit code of a plan that leaves something to look at.
    pub(crate) fn code(&self) -> ExitCode {
        if self.found.left.is_empty() && !self.is_in_doubt() && self.proof == Proof::Ledger {
            self.found.code()
        } else {
            ExitCode::Findings
        }
    }

    /// Whether it is in doubt that the version is what its writers committed; a checkpoint that is left out takes the doubt
    /// with it.
    pub(super) fn is_in_doubt(&self) -> bool {
        let record = self.record;
        let has_doubt = if record.disagreements.is_empty() {
            record.doubt.is_some()
        } else {
            self.disagreeing().next().is_some() && !matches!(self.log, LogWanted::Without(_))
        };
        has_doubt && self.version == record.version
    }

    /// What the snapshot's record says of checkpoints that disagree, without those that are left out.
    pub(super) fn disagreeing(&self) -> impl Iterator<Item = &Disagreement> {
        let all = self.record.disagreements.iter();
        all.filter(|it| {
            let mut out = self.found.left_out.iter();
            !out.any(|out| out.checkpoint == it.checkpoint)
        })
    }

    /// What is wrong with the log, and what happens to it.
    pub(super) fn told_log(&self) -> Vec<PlanLine> {
        let found = self.found;
        let mut lines = Vec::new();
        let unnamed = found.broken.len().saturating_sub(BROKEN_NAMED);
        let broken = found.broken.iter().take(BROKEN_NAMED).cloned();
        let more = (unnamed > 0).then(|| format!("and {unnamed} more"));
        for (nth, text) in broken.chain(more).enumerate() {
            lines.push(line(if nth == 0 { "LOG" } else { "" }, text));
        }
        if let Some(Reading::Refuses { reason, replay, .. }) = &found.reading {
            lines.push(told!(
                "CHECKED",
                "deltalake does not open it: {}",
                shortened(reason)
            ));
            lines.extend(replay.clone().map(|replay| line("", replay)));
        }
        for disagreement in self.disagreeing() {
            lines.push(told!("WAYS", "checkpoint {} and the log's other ways disagree: it lacks {} and has {} that they do not name{}; the \
                     snapshot holds both{}",
                    disagreement.checkpoint,
                    counted(disagreement.lacks),
                    counted(disagreement.adds),
                    match disagreement.sizes {
                        0 => String::new(),
                        sizes => format!(", and gives {} another size", counted(sizes)),
                    },
                    match (disagreement.empty, disagreement.unnamed) {
                        (Some(empty), _) => format!(
                            "; keep the checkpoint: it may be all that is left of commit {empty}, which is empty"
                        ),
                        (None, 0) => String::new(),
                        (None, unnamed) => format!(
                            "; keep the checkpoint: no commit names {} of it, so it may be all that is left of a commit that was \
                             lost or overwritten",
                            counted(unnamed)
                        ),
                    }));
        }
        lines.extend(self.told_out());
        lines
    }

    /// What is left out, set aside, or put back although it cannot be read.
    pub(super) fn told_out(&self) -> Vec<PlanLine> {
        let found = self.found;
        let mut lines: Vec<_> = found.left_out.iter().map(told_left_out).collect();
        if let Some(first) = found.asides.first() {
            let more = and_more(found.asides.len());
            lines.push(told!(
                "ASIDE",
                "{first}{more}: kept under _deltavault/aside/, no longer in the log"
            ));
        }
        for version in &found.kept_unreadable {
            lines.push(told!("WARNING", "checkpoint {version} cannot be read, and nothing stands in for it: put back as it was held"));
        }
        lines
    }

    /// A choice, and beside it the one that leaves a disagreeing checkpoint out.
    pub(super) fn or_without_checkpoint(&self, first: Choice) -> Vec<Choice> {
        std::iter::once(first)
            .chain(self.without_checkpoint())
            .collect()
    }

    /// The command that puts the log back without a checkpoint that disagrees with the rest, and with no commit that was
    /// lost.
    pub(super) fn without_checkpoint(&self) -> Option<Choice> {
        let disagreement = self.disagreeing().find(|it| !it.may_be_right())?;
        // Without it readers may need a file that nobody has.
        let mut findings = self.record.findings.iter();
        if disagreement.lacks > 0 && findings.any(|it| it.contains(NOT_AT_THE_SOURCE)) {
            return None;
        }
        let may = matches!(
            self.found.situation,
            Situation::EmptyTarget | Situation::NoLog | Situation::NothingAbove
        );
        if !may || self.log != LogWanted::Readable {
            return None;
        }
        let version = disagreement.checkpoint;
        Some(choice!(
            self.as_asked(&["--without-checkpoint", &version.to_string()]),
            "leave checkpoint {version}{} out, so that readers go by the log's other ways{}",
            match self.disagreeing().count() {
                1 => "",
                _ => " and the others that disagree",
            },
            other_ways(disagreement)
        ))
    }
}

/// What readers see by the other ways, beside what the checkpoint says.
fn other_ways(disagreement: &Disagreement) -> String {
    let (lacks, adds) = (counted(disagreement.lacks), counted(disagreement.adds));
    match (disagreement.lacks, disagreement.adds) {
        (0, 0) => String::new(),
        (_, 0) => format!(": {lacks} more"),
        (0, _) => format!(": {adds} fewer"),
        (_, _) => format!(": {lacks} more and {adds} fewer"),
    }
}

/// Broken log files that are named one by one.
const BROKEN_NAMED: usize = 3;

/// Characters of a reader's reason that are told; some dump their whole state.
const REASON_SHOWN: usize = 200;

fn shortened(reason: &str) -> String {
    match reason.char_indices().nth(REASON_SHOWN) {
        Some((end, _)) => format!("{}…", reason.get(..end).unwrap_or(reason)),
        None => reason.to_owned(),
    }
}

fn told_left_out(out: &LeftOut) -> PlanLine {
    let why = match &out.why {
        WhyLeftOut::UnreadableWhenTaken => "unreadable when it was taken".to_owned(),
        WhyLeftOut::Unreadable(why) => why.clone(),
        WhyLeftOut::Asked => "as asked".to_owned(),
        WhyLeftOut::Disagrees => {
            "which disagrees with the log's other ways and is not in the live log".to_owned()
        }
    };
    let commits = |from| range(from, out.to).replace('v', "");
    let instead = match out.from {
        None => format!("commits {} suffice", commits(Version(0))),
        Some(from) if from < out.to => {
            format!(
                "checkpoint {from} and commits {} suffice",
                commits(from.next())
            )
        }
        Some(from) => format!("checkpoint {from} suffices"),
    };
    told!(
        "LEFT OUT",
        "checkpoint {}, {why}; {instead}",
        out.checkpoint
    )
}

#[cfg(test)]
mod tests {
    use deltavault::plan::restore::Permission;

    use super::super::Way;
    use super::super::tests::{found, latest, newer, told, work};
    use super::*;
    use crate::cli::command::restore::args::{How, Which};

    #[test]
    fn a_heal_that_nobody_could_read_is_not_done_and_the_copy_is_offered() {
        let mut cleaned = newer(4, &[(9, 15)]);
        cleaned.permission = Permission::DataOnly;
        cleaned.live.readable_from = Some(Version(9));
        let which = Which::Version(Version(7));
        let told_of_it = told(&cleaned, &which, &How::Heal);
        let Way::Choose(what) = &told_of_it.way else {
            panic!("{}", told_of_it.text);
        };
        assert!(what.contains("cannot rebuild version 7"), "{what}");
        told_of_it.omits("--heal").says(&[
            "v7 was cleaned out of it",
            "--version 7 --to /lake/sales/orders-v7 --yes",
        ]);
        // One that has files of the log to put right is for the live table's sake.
        cleaned.broken = vec!["_delta_log/11.json has 0 bytes".into()];
        told(&cleaned, &which, &How::Heal).goes(&Way::Ready);
    }

    #[test]
    fn a_log_that_cannot_be_read_is_damage_with_the_command_that_puts_it_right() {
        let mut broken = newer(0, &[(0, 15)]);
        broken.to_put = work(1);
        broken.nothing_to_do = false;
        broken.broken = vec!["_delta_log/3.json is cut off after 9 of 12 bytes".into()];
        latest(&broken)
            .asks()
            .says(&[
                "live v15 DAMAGED: its log cannot be read",
                "LOG     _delta_log/3.json is cut off",
                "--heal --yes",
            ])
            .omits("healthy");
    }

    #[test]
    fn healthy_is_said_only_of_what_was_opened_or_replayed() {
        let situation = Situation::NothingAbove;
        let reading = |about, replay: Option<&str>| Reading::Refuses {
            reason: "Max catalog version is required".into(),
            about,
            replay: replay.map(str::to_owned),
        };
        let gap = "commit 9 is missing";
        let replayed = "healthy by a replay of every way through its log";
        let (log, features) = (RefusalCause::Log, RefusalCause::Features);
        for (reading, says) in [
            (Reading::Opens, "live v7 healthy, nothing missing"),
            (reading(features, None), replayed),
            (reading(log, None), "NOT PROVEN"),
            (reading(RefusalCause::Reader, None), "NOT PROVEN"),
            (reading(log, Some(gap)), "DAMAGED: it cannot be read"),
        ] {
            let mut whole = found(situation.clone(), Permission::Everything, 0);
            whole.reading = Some(reading.clone());
            let told = latest(&whole);
            told.says(&[says]);
            let refused = "deltalake does not open it: Max";
            let opens = reading == Reading::Opens;
            assert_eq!(told.text.contains(refused), !opens, "{}", told.text);
            let good = opens || says == replayed;
            assert_eq!(whole.code() == ExitCode::Done, good, "{}", told.text);
            if says.starts_with("DAMAGED") {
                told.asks().says(&[gap, "--to /lake/sales/orders-v7"]);
            } else {
                told.goes(&Way::Nothing);
            }
        }
    }

    #[test]
    fn the_other_ways_are_told_by_what_readers_see_more_or_fewer() {
        for (lacks, adds, says) in [
            (0, 0, ""),
            (1, 0, ": 1 file more"),
            (0, 2, ": 2 files fewer"),
            (3, 1, ": 3 files more and 1 file fewer"),
        ] {
            let disagreement = Disagreement {
                adds,
                checkpoint: Version(3),
                empty: None,
                file: "_delta_log/3.checkpoint.parquet".parse().unwrap(),
                lacks,
                sizes: 0,
                state: false,
                unnamed: 0,
            };
            assert_eq!(other_ways(&disagreement), says);
        }
    }

    #[test]
    fn what_is_left_out_set_aside_or_kept_unreadable_is_told() {
        let out = |checkpoint, why, from: Option<u64>| LeftOut {
            checkpoint: Version(checkpoint),
            why,
            from: from.map(Version),
            to: Version(7),
        };
        let mut dropped = found(Situation::NoLog, Permission::Everything, 12);
        dropped.left_out = vec![
            out(6, WhyLeftOut::UnreadableWhenTaken, None),
            out(5, WhyLeftOut::Asked, Some(3)),
            out(4, WhyLeftOut::Unreadable("corrupt footer".into()), Some(7)),
        ];
        dropped.asides = vec!["_delta_log/_last_checkpoint".into(), "x".into()];
        dropped.kept_unreadable = vec![Version(2)];
        latest(&dropped).says(&[
            "LEFT OUT checkpoint 6, unreadable when it was taken; commits 0-7 suffice",
            "checkpoint 5, as asked; checkpoint 3 and commits 4-7 suffice",
            "checkpoint 4, corrupt footer; checkpoint 7 suffices",
            "ASIDE   _delta_log/_last_checkpoint and 1 more",
            "WARNING checkpoint 2 cannot be read, and nothing stands in for it",
        ]);
        assert_eq!(dropped.code(), ExitCode::Findings);
    }
}
