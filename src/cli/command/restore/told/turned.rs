//! A rewind, a replacement, or an undo: what it does to the live log, what readers notice, and how it is taken back.

use deltavault::ids::Version;
use deltavault::plan::restore::Situation;
use deltavault::plan::restore::deed::{Deed, DeedKind};
use deltavault::plan::unheld::is_catalog_managed;
use deltavault::vault::restore::TurnedBackDone;

use super::phrase::{about, choice, files, line, second, told};
use super::{Case, Found, Unfinished};
use crate::cli::command::restore::args::How;
use crate::cli::command::restore::messages::{Choice, PlanLine};

impl Case<'_> {
    /// What is asked before the live log is turned back.
    pub(super) fn turning_question(&self) -> String {
        let place = self.place(self.target);
        let (put, removed) = (files(self.found.to_put.files), files(self.found.removed));
        let verb = match self.how {
            How::Replace => "replace what lives in",
            How::Undo(_) => "take back what was done to",
            How::Rewind | How::InPlace | How::Heal | How::To(_) => "rewind",
        };
        format!("{verb} {place}: {put} put back, {removed} of its log removed")
    }

    /// What goes from the log, and what readers will notice.
    pub(super) fn told_turning(&self) -> Vec<PlanLine> {
        if self.found.removed == 0 {
            return Vec::new();
        }
        let removed = files(self.found.removed);
        let held = match (self.how, self.found.situation.newer_tip()) {
            (How::Rewind | How::Replace, _) if self.accept_damaged => {
                "a safety snapshot is taken first, where the table is whole; where it is not, they are kept in _deltavault/aside, \
                 and there is no undo"
            }
            (How::Undo(_), _) => {
                "the snapshot that is put back by the restore being taken back holds them"
            }
            (_, Some(_)) => "a safety snapshot is taken first, and `undo` takes that back",
            (_, None) => {
                "a safety snapshot of what lives there is taken first, and `undo` takes that back"
            }
        };
        let mut lines = vec![told!(
            "REMOVES",
            "{removed} of the log, newest first; {held}"
        )];
        if let How::Rewind | How::Replace = self.how {
            lines.push(line(
                "READERS",
                "stop the writers first. Sessions that have the table open go on with the old version until they refresh; a stream \
                 that has read beyond what comes back fails, or misses what reuses its version numbers"
                    .to_owned(),
            ));
        }
        lines
    }

    /// What an interrupted run leaves.
    pub(crate) fn told_interrupted(&self) -> String {
        let (again, undo) = (self.as_asked(&[]), self.undo_command(&[]));
        match self.how {
            How::Undo(_) => format!("the undo is not finished: `{again}` goes on with it"),
            How::Rewind | How::Replace | How::InPlace | How::Heal | How::To(_) => format!(
                "what was begun is not finished: `{again}` goes on with it, `{undo}` takes it back"
            ),
        }
    }

    /// What was begun and not finished.
    pub(super) fn told_under_way(&self) -> Option<PlanLine> {
        let Unfinished { deed, event } = self.found.under_way.as_ref()?;
        let (version, id) = (deed.turned.version, deed.turned.snapshot.short());
        let what = match deed.kind {
            DeedKind::Rewind => format!("a rewind to v{version}, snapshot {id},"),
            DeedKind::Replace => format!("a replacement by v{version}, snapshot {id},"),
            DeedKind::Undo { .. } => format!("the undo of a restore to v{version}"),
        };
        let (since, by) = (second(deed.at), &deed.by);
        let begun = format!("{what} begun {since} by {by}");
        if self.is_question() {
            return Some(line("UNFINISHED", begun));
        }
        let undo = self.undo_command(&[]);
        let ways = match deed.kind {
            DeedKind::Rewind | DeedKind::Replace => format!(
                "{} goes on with it, {undo} takes it back",
                self.again.deed(&self.name, deed)
            ),
            DeedKind::Undo { .. } => format!("{undo} goes on with it"),
        };
        Some(told!(
            "UNFINISHED",
            "{begun}: {ways}; where none of yours began it, --forged {event} treats it as absent"
        ))
    }

    /// What can be done about what was begun and not finished. Anything else would make something that never was.
    pub(super) fn ways_out_of(&self, unfinished: &Unfinished) -> Vec<Choice> {
        let Unfinished { deed, event } = unfinished;
        let forged = event.to_string();
        let absent = self
            .again
            .command(&["restore", &self.name, "--forged", &forged]);
        let absent = choice!(
            absent,
            "where none of yours began it: what can be restored without it"
        );
        let undo = self.undo_command(&[]);
        if deed.kind.is_undo() {
            return vec![choice!(undo, "go on with taking it back"), absent];
        }
        vec![
            choice!(self.again.deed(&self.name, deed), "go on with it"),
            choice!(undo, "take it back"),
            absent,
        ]
    }

    /// The command that takes the last rewind or replacement back.
    pub(super) fn undo_command(&self, flags: &[&str]) -> String {
        let mut words = vec!["undo", self.name.as_str()];
        words.extend(flags);
        self.again.command(&words)
    }

    /// What is asked for, as a command that acts.
    pub(super) fn turning(&self) -> Option<Choice> {
        let what = match self.how {
            How::Replace => "replace what lives there",
            How::Rewind => "rewind",
            How::Undo(_) => "take it back",
            How::InPlace | How::Heal | How::To(_) => return None,
        };
        Some(choice!(
            self.as_asked(&[]),
            "{what}, about {}",
            about(self.found.to_put)
        ))
    }

    /// The live log itself taken back, where a commit cannot be made or is not wanted.
    pub(super) fn rewinding(&self) -> Option<Choice> {
        let live = &self.found.live;
        let is_unheld = live.unheld.is_some()
            || live.trouble.is_some()
            || !live.faults.is_empty()
            || live.outside.is_some();
        (!is_catalog_managed(self.record)).then(|| {
            if is_unheld {
                return choice!(
                    self.restore(&["--rewind", "--accept-damaged", "--yes"]),
                    "the log itself goes back to v{}, with writers stopped; without `undo`, because the live table cannot be held",
                    self.version
                );
            }
            choice!(
                self.restore(&["--rewind", "--yes"]),
                "the log itself goes back to v{}, with writers stopped; `undo` takes that back",
                self.version
            )
        })
    }

    /// The snapshot in the place of what lives there.
    pub(super) fn replacement(&self) -> Option<Choice> {
        (!is_catalog_managed(self.record)).then(|| {
            choice!(
                self.restore(&["--replace", "--yes"]),
                "in its place, about {}: what lives there is held first, and `undo` brings it back",
                about(self.found.to_put)
            )
        })
    }

    /// What can be done where somebody has committed since.
    pub(super) fn instead_of_undo(&self, deed: &Deed) -> Vec<Choice> {
        let back = self.id.short();
        let forward = ["restore", &self.name, "--snapshot", &back];
        vec![
            choice!(
                self.again.deed(&self.name, deed),
                "first take away what was committed since, which is held then"
            ),
            choice!(
                self.again.command(&forward),
                "then go forward to v{}, what was there before",
                self.version
            ),
        ]
    }

    /// What was done, and how it is taken back.
    pub(crate) fn told_turned(&self, turned: &TurnedBackDone) -> Vec<PlanLine> {
        let mut lines = Vec::new();
        if turned.removed > 0 {
            let aside = match turned.set_aside {
                0 => String::new(),
                count => format!(
                    "; {} that the vault does not hold {} kept in _deltavault/aside beside the table",
                    files(count),
                    if count == 1 { "is" } else { "are" }
                ),
            };
            lines.push(told!(
                "REMOVED",
                "{} of the log{aside}",
                files(turned.removed)
            ));
        }
        if let Some(Version(tip)) = turned.on_top {
            lines.push(told!(
                "WARNING",
                "somebody has committed up to v{tip} on top of it meanwhile: stop the writers, and look what they wrote"
            ));
        }
        if let Some((id, until)) = turned.safety {
            lines.push(told!(
                "UNDO",
                "{} (safety snapshot {}, kept until {})",
                self.undo_command(&[]),
                id.short(),
                second(until)
            ));
        } else if !matches!(self.how, How::Undo(_)) && turned.removed > 0 {
            lines.push(line(
                "UNDO",
                "none: no safety snapshot could be taken".to_owned(),
            ));
        }
        lines
    }
}

impl Found {
    /// What there is once the live table was turned back: V, and nothing above it.
    pub(in crate::cli::command::restore) fn turned_back(&self) -> Self {
        let mut found = self.clone();
        found.situation = match self.situation {
            Situation::AnotherTable { .. } | Situation::CommitsDiffer { .. } => Situation::NoLog,
            Situation::NewerLive { .. }
            | Situation::NothingAbove
            | Situation::NoLog
            | Situation::EmptyTarget => Situation::NothingAbove,
        };
        (found.removed, found.under_way) = (0, None);
        found
    }
}
