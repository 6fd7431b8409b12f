//! After a restore: what is there, and what the independent reader made of it.

use deltavault::ExitCode;
use deltavault::ids::{Location, Version};
use deltavault::reader::{RefusalCause, Verdict};
use deltavault::vault::restore::{Checked, Counted, Difference, RestoreDone};
use indicatif::HumanCount;

use super::Case;
use super::phrase::{files, line, told};
use crate::cli::command::restore::messages::PlanLine;
use crate::cli::output::counted;

/// Lost files that are named one by one.
const LOST_SHOWN: usize = 10;

/// A table that is not whole, or that nobody has opened, is for the owner to look at, whatever the reason; what the vault
/// has lost is damage where nobody has it any more, and a finding where it was found elsewhere.
pub(crate) fn code(checked: &Checked, done: &RestoreDone) -> ExitCode {
    if !done.lost.is_empty() || done.not_whole.is_some() {
        return ExitCode::Damage;
    }
    ExitCode::findings_if(!checked.is_good() || done.files_rescued > 0)
}

impl Case<'_> {
    /// What was found after the last put.
    pub(super) fn told_check(&self, checked: &Checked, done: &RestoreDone) -> Vec<PlanLine> {
        let lost = &done.lost[..];
        let mut lines = told_verdict(self.version, &checked.verdict, lost.len());
        if let Some(first) = &checked.vanished.first {
            let count = checked.vanished.count;
            lines.push(told!("WARNING", "{} vanished again, first {first}: something is still deleting. Stop it, and run the same command again",
                    counted(count, "object")));
        }
        if let Some(list) = checked.list.as_ref().filter(|list| !list.is_empty()) {
            lines.extend(told_list(list, lost));
            lines.extend(self.told_side(list));
        }
        if done.files_rescued > 0 {
            let repair = self.repair();
            let verb = if done.files_rescued == 1 {
                "was"
            } else {
                "were"
            };
            lines.push(told!("RESCUED", "{} that the vault has lost {verb} found elsewhere, with the right SHA-256: {repair} puts what is lost \
                     into the vault again",
                    files(done.files_rescued)));
        }
        if let Some(what) = &done.not_whole {
            lines.push(told!(
                "NOT WHOLE",
                "{what}: find out who wrote the record before anybody relies on this table"
            ));
        }
        if !lost.is_empty() {
            let named = lost.iter().take(LOST_SHOWN).map(Location::as_str);
            let named = named.collect::<Vec<_>>().join(", ");
            let more = match lost.len().saturating_sub(LOST_SHOWN) {
                0 => String::new(),
                more => format!(" and {more} more (--json names all)"),
            };
            lines.push(told!("LOST", "{}, found neither in this table's snapshots nor at the source: {named}{more}; rows in them cannot be read",
                    files(lost.len() as u64)));
            lines.extend(self.told_way_on());
        }
        lines
    }

    /// The command that looks for what the vault has lost. It reads all bytes: a restore has, and some of what it found
    /// shows in no listing.
    fn repair(&self) -> String {
        let words = ["verify", &self.name, "--read", "all", "--repair"];
        self.again.command(&words)
    }

    /// How to go on without what the vault has lost: the same restore would find no more of it.
    fn told_way_on(&self) -> Vec<PlanLine> {
        let repair = self.repair();
        let mut lines = vec![told!(
            "",
            "restoring this snapshot again brings no more, unless their bytes are found first: {repair} looks for them, \
                 with --from in a replica, too"
        )];
        let other = self.found.versions.iter().find_map(|row| {
            let id = row.snapshots.iter().find(|id| **id != self.id)?;
            Some((row.did.version, id.short()))
        });
        lines.push(match other {
            Some((version, id)) => {
                let place = format!("{}-v{version}", self.place(&self.record.table.uri));
                let words = ["restore", &self.name, "--snapshot", &id, "--to", &place];
                let copy = self.again.command(&words);
                told!("", "or copy another snapshot, which may lack the same files, {id} of v{version}: {copy}")
            }
            None => line("", "no other snapshot of the table is held".to_owned()),
        });
        lines
    }

    /// Of a snapshot whose ways disagree, says which side the reader shows and how the other one is had.
    fn told_side(&self, list: &Difference) -> Option<PlanLine> {
        let disagreement = self.disagreeing().next()?;
        let version = disagreement.checkpoint;
        let text = if disagreement.lacks > 0 && list.lacks.count >= disagreement.lacks {
            format!(
                "deltalake goes by checkpoint {version}; for what its commits name: {}",
                self.restore(&[
                    "--to",
                    &self.copy_place(),
                    "--without-checkpoint",
                    &version.to_string(),
                    "--yes"
                ])
            )
        } else {
            format!(
                "deltalake does not go by checkpoint {version}, which disagrees with the rest of the log"
            )
        };
        Some(line("WAYS", text))
    }
}

fn told_list(difference: &Difference, lost: &[Location]) -> Vec<PlanLine> {
    let mut said = Vec::new();
    if difference.shown != difference.live
        || !difference.lacks.is_empty()
        || !difference.adds.is_empty()
    {
        let differ = |word: &str, files: &Counted| match &files.first {
            Some(first) => format!("; it {word} {}, first {first}", HumanCount(files.count)),
            None => String::new(),
        };
        said.push(format!(
            "deltalake shows {} as live, the snapshot has {}{}{}",
            files(difference.shown),
            files(difference.live),
            differ("lacks", &difference.lacks),
            differ("adds", &difference.adds)
        ));
    }
    // Files that the vault lost have lines of their own.
    if difference.absent.count > lost.len() as u64 {
        said.push(format!(
            "{} of the files that deltalake shows are not there, first {}",
            HumanCount(difference.absent.count),
            difference.absent.first.as_deref().unwrap_or_default()
        ));
    }
    if let Some((shown, held)) = difference.rows {
        said.push(format!(
            "deltalake counts {} rows, the snapshot {}",
            HumanCount(shown),
            HumanCount(held)
        ));
    }
    said.into_iter().map(|text| line("DIFFERS", text)).collect()
}

/// What the independent reader said, and what that means.
fn told_verdict(wanted: Version, verdict: &Verdict, lost: usize) -> Vec<PlanLine> {
    let (reason, about) = match verdict {
        Verdict::Opens { version, files } => {
            let files =
                files.map_or_else(String::new, |files| format!(", {}", counted(files, "file")));
            let but = match lost {
                0 => "",
                1 => "; one of them is lost",
                _ => "; some of them are lost",
            };
            return vec![told!(
                "CHECKED",
                "v{version} opens with deltalake{files}{but}"
            )];
        }
        Verdict::Refuses { reason, about } => (reason, about),
    };
    let meaning = match about {
        RefusalCause::Features => {
            "every file has the SHA-256 it was held with; deltalake does not know a feature of this table: read it with \
             an engine that does"
        }
        RefusalCause::Reader => {
            "every file has the SHA-256 it was held with; deltalake itself failed on this table: read it with another \
             engine"
        }
        RefusalCause::Log => {
            "every file has the SHA-256 it was held with; the log is as the snapshot holds it, and cannot be read like this"
        }
    };
    vec![
        told!("CHECKED", "deltalake does not open v{wanted}: {reason}"),
        line("", meaning.to_owned()),
    ]
}
