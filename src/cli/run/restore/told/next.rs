//! What can be done, as whole commands, and what is left to do when it is done.

use deltavault::ids::Version;
use deltavault::plan::restore::Situation;
use deltavault::progress::PlannedWork;
use deltavault::reader::Verdict;

use super::phrase::{about, choice, files as counted, identifier, line};
use super::{Case, Way};
use crate::cli::place::typed;
use crate::cli::request::{How, Which};
use crate::cli::rows::{Choice, PlanLine};

impl Case<'_> {
    /// What can be done, each with its whole command.
    pub(crate) fn choices(&self) -> Vec<Choice> {
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
                if found.to_put.files > 0 && found.can_be_read(version) {
                    choices.push(choice(
                        format!(
                            "v{version} readable again under live v{tip}, about {put}; the next VACUUM \
                             removes it again, so RESTORE it first"
                        ),
                        self.restore(&["--heal", "--yes"]),
                    ));
                } else if found.is_whole(version) {
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
            _ if !found.outside_missing.is_empty() => vec![choice(
                format!("put back everything, also outside the folder, about {put}"),
                self.as_asked(&["--outside"]),
            )],
            (Situation::EmptyTarget, _) => vec![choice(
                format!("copy {}, about {put}", counted(found.to_put.files)),
                self.as_asked(&[]),
            )],
            (Situation::NoLog, _) => vec![
                choice(
                    format!("put v{version} back, about {put}; first stop what deleted it"),
                    self.as_asked(&[]),
                ),
                self.full_copy("a full copy elsewhere"),
            ],
            _ => vec![choice(
                format!("put back {}, about {put}", counted(found.to_put.files)),
                self.as_asked(&[]),
            )],
        }
    }

    /// What there is to know and to do after it.
    pub(crate) fn notes(&self, verdict: &Verdict) -> Vec<PlanLine> {
        let mut notes = Vec::new();
        match verdict {
            Verdict::Opens { version, files } => {
                let files = files.map_or_else(String::new, |files| format!(", {}", counted(files)));
                notes.push(line(
                    "CHECKED",
                    format!("v{version} opens with deltalake{files}"),
                ));
            }
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
        if self.found.commits > 0 && !self.has_in_commit_timestamps() {
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
            Situation::NewerLive { .. } if self.found.can_be_read(self.version) => {
                let statement = self.restore_statement(self.version);
                notes.push(line(
                    "NEXT",
                    format!("{statement} -- before the next VACUUM removes its files again"),
                ));
            }
            Situation::NothingAbove
            | Situation::NewerLive { .. }
            | Situation::AnotherTable { .. }
            | Situation::CommitsDiffer { .. } => {}
        }
        notes
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

    /// The same restore, with everything that is needed for it to act.
    fn as_asked(&self, more: &[&str]) -> String {
        let mut flags = Vec::new();
        let place;
        match self.how {
            How::To(uri) => {
                place = typed(uri).to_owned();
                flags.extend(["--to", &place]);
            }
            How::Heal => flags.push("--heal"),
            How::InPlace | How::Later(_) => {}
        }
        if self.outside {
            flags.push("--outside");
        }
        flags.extend(more);
        flags.push("--yes");
        self.restore(&flags)
    }

    fn full_copy(&self, effect: &str) -> Choice {
        let home = typed(&self.record.table.uri);
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
        let home = typed(&self.record.table.uri);
        format!("RESTORE TABLE delta.`{home}` TO VERSION AS OF {version};")
    }

    fn create_statement(&self) -> String {
        format!(
            "CREATE TABLE {} USING DELTA LOCATION '{}';",
            identifier(&self.record.table.name),
            self.target.replace('\'', "\\'")
        )
    }
}
