//! What there is to know and to do when it is done.

use deltavault::format::{Record, Scope};
use deltavault::ids::Version;
use deltavault::plan::restore::Situation;
use deltavault::plan::unheld::{Unheld, is_catalog_managed, unheld};
use deltavault::vault::restore::{Checked, RestoreDone};

use super::Case;
use super::found::told_faults;
use super::phrase::{line, told, told_statement};
use crate::cli::command::restore::messages::PlanLine;

impl Case<'_> {
    /// What there is to know and to do after it.
    pub(crate) fn notes(&self, checked: &Checked, done: &RestoreDone) -> Vec<PlanLine> {
        let mut notes = self.told_check(checked, done);
        notes.extend(self.told_lacking());
        notes.extend(self.told_out());
        notes.extend(self.told_left());
        if self.found.new_times > 0 && !self.has_in_commit_timestamps() {
            notes.push(line(
                "WARNING",
                "time travel by timestamp is wrong for the restored versions: their commits have new file \
                 times (-v lists the true ones)"
                    .to_owned(),
            ));
        }
        let whole_table = matches!(
            self.found.situation,
            Situation::NoLog | Situation::EmptyTarget
        );
        if whole_table {
            let mut lost = "catalog entry, grants, stream checkpoints".to_owned();
            for unheld in unheld(self.record) {
                // What the scope leaves out has a line of its own.
                if !matches!(unheld, Unheld::OlderVersions | Unheld::ChangeFeed) {
                    lost = format!("{lost}, {}", unheld.what());
                }
            }
            notes.push(line("NOT RESTORED", lost));
            notes.extend(self.told_scope());
            notes.extend(self.told_streams());
        }
        let mut next = if self.found.situation.newer_tip().is_some() {
            self.told_next_under()
        } else {
            self.statements().iter().map(told_statement).collect()
        };
        if whole_table {
            next.extend(registration(self.record, &self.place(self.target)));
        }
        let next = next.into_iter().enumerate();
        notes.extend(next.map(|(index, text)| line(if index == 0 { "NEXT" } else { "" }, text)));
        notes
    }

    /// Under a newer live table that is whole, what keeps its commits comes first.
    fn told_next_under(&self) -> Vec<String> {
        let version = self.version;
        if !self.found.can_be_read(version) {
            return Vec::new();
        }
        let taken_out = self.taken_out_by(version);
        let alter = self.alter(version);
        let restores = self.restores(version).map(|it| told_statement(&it));
        let recipe = self.recipe();
        let mut next = Vec::new();
        match (recipe, self.whole_tip()) {
            (Some((effect, insert)), Some(_)) => {
                next.extend(alter.as_ref().map(told_statement));
                next.push(told_statement(&insert));
                next.push(effect);
                next.push(format!(
                    "instead, to go back to v{version}, which takes {taken_out} out of the table:"
                ));
                next.extend(restores);
            }
            (None, Some(tip)) if self.found.cause().is_none() => {
                let first = if alter.is_some() {
                    ", after the ALTER"
                } else {
                    ""
                };
                next.push(format!(
                    "nothing has to be run: v{tip} is whole and stays live, and v{version} can be read by time \
                     travel{first}; to go back to v{version}, which takes {taken_out} out of the table:"
                ));
                next.extend(alter.as_ref().map(told_statement));
                next.extend(restores);
            }
            (recipe, _) => {
                next.extend(alter.as_ref().map(told_statement));
                next.extend(restores);
                next.push(format!("the RESTORE takes {taken_out} out of the table"));
                if let Some((effect, insert)) = recipe {
                    next.push(told_statement(&insert));
                    next.push(format!("the INSERT instead of the RESTORE: {effect}"));
                }
            }
        }
        if self.found.live.drops_files {
            next.push(format!(
                "the next VACUUM removes the files of v{version} again"
            ));
        }
        next
    }

    /// Names what the newest live version still lacks once the snapshot's files are back, and a snapshot that may have it.
    pub(super) fn told_lacking(&self) -> Vec<PlanLine> {
        let faults = &self.found.live.faults;
        let tip = self.found.situation.newer_tip();
        let Some(tip) = tip.filter(|_| !faults.is_empty()) else {
            return Vec::new();
        };
        let lacking = told!(
            "LACKS",
            "live v{tip} is still not whole{}; v{} has nothing that mends it",
            told_faults(faults),
            self.version
        );
        let newer =
            self.found.versions.iter().find(|row| {
                row.live && row.did.version > self.version && !row.snapshots.is_empty()
            });
        let way_on = match newer.and_then(|row| Some((row.did.version, row.snapshots.first()?))) {
            Some((version, id)) => {
                let words = ["restore", &self.name, "--snapshot", &id.short(), "--heal"];
                let command = self.again.command(&words);
                format!(
                    "snapshot {} of v{version} may have it: {command}",
                    id.short()
                )
            }
            None => format!(
                "no newer snapshot is held. Go back to a version that is whole, or take the files that are gone out of the \
                 table, with their rows (python: {}; on Databricks FSCK REPAIR TABLE)",
                self.lake().python_repair()
            ),
        };
        vec![lacking, line("", way_on)]
    }

    /// What a snapshot of scope `live` does not bring back.
    fn told_scope(&self) -> Option<PlanLine> {
        let only = self.record.scope == Scope::Live && self.version > Version(0);
        only.then(|| {
            told!("", "older versions and the change feed: only v{} can be read, the snapshot's scope is live",
                    self.version)
        })
    }
}

/// What is left to do for a table whose commits its catalog decides about.
fn registration(record: &Record, place: &str) -> Option<String> {
    is_catalog_managed(record).then(|| {
        format!(
            "register {place} with its catalog: no engine takes a catalog-managed table by its path alone. Commits that \
             were only staged are not held"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{RECORD, all_of};
    use super::*;

    #[test]
    fn a_catalog_managed_table_is_registered_and_no_other() {
        let mut record = Record::decode(RECORD).unwrap();
        assert_eq!(registration(&record, "s3://lake/t"), None);
        for feature in ["catalogManaged", "catalogOwned-preview"] {
            record.protocol.reader_features = vec![feature.to_owned()];
            let said = registration(&record, "s3://lake/t").unwrap();
            all_of(&said, &["register s3://lake/t with its catalog", "staged"]);
        }
    }
}
