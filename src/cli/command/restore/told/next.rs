//! What can be done, as whole commands and statements.

use deltavault::ids::{Timestamp, Version};
use deltavault::plan::restore::{Healthy, Situation};
use deltavault::plan::suspect::is_removal;
use deltavault::plan::unheld::is_catalog_managed;
use deltavault::plan::window::Window;
use deltavault::progress::PlannedWork;
use deltavault::source::outside::Folders;
use deltavault::vault::restore::LogWanted;
use jiff::SignedDuration;

use super::listed::flag_for;
use super::phrase::{about, choice, files as counted, statements};
use super::sql::{Place, TableName};
use super::{Case, Way};
use crate::cli::command::restore::args::{How, Which};
use crate::cli::command::restore::messages::{Choice, Statement};
use crate::cli::place::typed;

/// How old a version counts as whose time nobody knows.
const OF_UNKNOWN_AGE: SignedDuration = SignedDuration::from_hours(365 * 24);

impl Case<'_> {
    /// What can be done, each with its whole command.
    pub(crate) fn choices(&self) -> Vec<Choice> {
        let found = self.found;
        let put = about(found.to_put);
        let version = self.version;
        match (&found.situation, self.way()) {
            _ if self.is_question() => self.offers(),
            (_, Way::Nothing) => self.without_checkpoint().into_iter().collect(),
            (_, Way::Ready) if let How::Rewind | How::Replace | How::Undo(_) = self.how => {
                self.turning().into_iter().collect()
            }
            _ if let How::Undo(deed) = self.how => self.instead_of_undo(deed),
            (Situation::AnotherTable { .. } | Situation::CommitsDiffer { .. }, _) => {
                let copy = self.full_copy("a full copy elsewhere; the table is not touched");
                self.replacement().into_iter().chain(copy).collect()
            }
            _ if found.nothing_to_do && found.is_lost() => {
                let mut choices: Vec<Choice> = self.newer_with_the_hole().into_iter().collect();
                choices.extend(self.full_copy("a full copy elsewhere; the table is not touched"));
                if found.situation.newer_tip().is_some() {
                    choices.extend(self.rewinding());
                }
                choices
            }
            (Situation::NewerLive { tip }, _)
                if *self.how != How::Heal || self.is_beyond_the_log() || self.is_taken() =>
            {
                let mut choices = Vec::new();
                if !found.broken.is_empty() {
                    choices.push(choice!(
                        self.restore(&["--heal", "--yes"]),
                        "put the log of live v{tip} right, and v{version}'s files back, about {put}"
                    ));
                } else if found.mends_newest(version, *tip) && !self.is_taken() {
                    choices.push(choice!(
                        self.restore(&["--heal", "--yes"]),
                        "put back what live v{tip} needs of it, about {put}"
                    ));
                } else if found.to_put.files > 0 && found.can_be_read(version) && !self.is_taken() {
                    choices.push(choice!(self.restore(&["--heal", "--yes"]), "v{version} readable again under live v{tip}, about {put}: use it, or run the statements \
                             that it prints, before the next VACUUM removes it again"));
                } else if found.live.trouble.is_some() {
                    // No engine runs a statement on a table that it cannot open.
                    choices.extend(self.newer_with_the_hole());
                } else if found.is_whole(version) {
                    choices.extend(self.ways_back());
                }
                if found.live.trouble.is_none()
                    && !found.is_whole(*tip)
                    && let Some(newest) = found.newest_whole().filter(|newest| *newest > version)
                {
                    choices.insert(0, self.take_back(newest));
                }
                choices.extend(self.full_copy("a full copy elsewhere; the table is not touched"));
                // Where an engine has more than one way, this one is left to who asks for it.
                if choices.len() < 3 {
                    choices.extend(self.rewinding());
                }
                choices
            }
            _ if !found.outside_missing.is_empty() => vec![choice!(
                self.also_outside(),
                "put back everything, also outside the folder, about {put}"
            )],
            (Situation::EmptyTarget, _) => self.or_without_checkpoint(choice!(
                self.as_asked(&[]),
                "copy {}, about {put}",
                counted(found.to_put.files)
            )),
            (Situation::NoLog, _) => {
                let mut choices = self.or_without_checkpoint(choice!(
                    self.as_asked(&[]),
                    "put v{version} back, about {put}; first stop what deleted it"
                ));
                choices.extend(self.full_copy("a full copy elsewhere"));
                choices
            }
            _ if let Some(Healthy::Behind(tip)) = found.sound.filter(|_| self.is_unnamed()) => {
                self.ways_forward(tip)
            }
            _ if found.to_put.files == 0 => vec![choice!(
                self.as_asked(&[]),
                "set {} of the log aside",
                counted(found.asides.len() as u64)
            )],
            _ => self.or_without_checkpoint(choice!(
                self.as_asked(&[]),
                "put back {}, about {put}",
                counted(found.to_put.files)
            )),
        }
    }

    /// Of a healthy live table behind the newest snapshot: what brings it forward, a good version before a suspect one.
    fn ways_forward(&self, tip: Version) -> Vec<Choice> {
        let found = self.found;
        let suspect = self.unnamed_suspect();
        let good = suspect.and(found.newest_good());
        let mut choices = Vec::new();
        if let Some(good) = good.filter(|it| it.did.version > tip)
            && let Some((flag, value)) = flag_for(good)
        {
            choices.push(choice!(
                self.again.command(&["restore", &self.name, flag, &value]),
                "forward to v{}, the newest good one: what that brings",
                good.did.version
            ));
        }
        let mark = if suspect.is_some() {
            ", which looks wrong"
        } else {
            ""
        };
        choices.push(choice!(
            self.as_asked(&[]),
            "forward to v{}{mark}: put {} there, about {}",
            self.version,
            counted(found.to_put.files),
            about(found.to_put)
        ));
        choices
    }

    /// A new commit that brings a whole version back, and what that takes out of the table.
    pub(super) fn take_back(&self, version: Version) -> Choice {
        statements(
            format!(
                "v{version} is whole at its place: a new commit brings it back and takes {} out of the table",
                self.taken_out_by(version)
            ),
            self.take_back_statements(version),
        )
    }

    /// The wanted version as a new commit, and where rows were deleted those rows alone. Where the newest version is
    /// whole, what keeps its commits comes first. Both need the same ALTER, which is told once.
    fn ways_back(&self) -> Vec<Choice> {
        let version = self.version;
        let whole = self.take_back(version);
        let Some((effect, recipe)) = self.recipe() else {
            return vec![whole];
        };
        let alter = self.alter(version);
        let with_alter = |more: Vec<Statement>| alter.iter().cloned().chain(more).collect();
        let rows = statements(effect, with_alter(vec![recipe.clone()]));
        let [first, mut second, alone] = if self.whole_tip().is_some() {
            let alone = statements(String::new(), self.restores(version).into());
            [rows, whole, alone]
        } else {
            let alone = statements(String::new(), vec![recipe]);
            [whole, rows, alone]
        };
        if alter.is_some() {
            second.effect = format!("after the same ALTER, {}", second.effect);
            second.command = alone.command;
        }
        vec![first, second]
    }

    fn take_back_statements(&self, version: Version) -> Vec<Statement> {
        let alter = self.alter(version).into_iter();
        alter.chain(self.restores(version)).collect()
    }

    /// Widens the window in which a version may be used, where it is too small.
    pub(super) fn alter(&self, version: Version) -> Option<Statement> {
        let window = self.window(version)?;
        Some(self.lake().alter(window))
    }

    /// Brings a version back as a new commit, in either language.
    pub(super) fn restores(&self, version: Version) -> [Statement; 2] {
        let place = self.lake();
        [
            place.restore(version),
            place.python_restore(version, self.window(version)),
        ]
    }

    /// The newest live version, where it can be read whole: what was committed last is worth keeping.
    pub(super) fn whole_tip(&self) -> Option<Version> {
        let tip = self.found.situation.newer_tip();
        tip.filter(|tip| self.found.is_whole(*tip) && self.found.is_proven())
    }

    /// A later snapshot holds the log up to its own version, and so the commit that is missing.
    fn newer_with_the_hole(&self) -> Option<Choice> {
        let hole = self.found.live.hole?;
        let mut held = self.found.versions.iter().rev();
        let row = held.find(|row| row.did.version >= hole && !row.snapshots.is_empty())?;
        let id = row.snapshots.first()?.short();
        let words = ["restore", &self.name, "--snapshot", &id];
        Some(choice!(
            self.again.command(&words),
            "snapshot {id} is of v{}: what of the log it puts right",
            row.did.version
        ))
    }

    fn window(&self, version: Version) -> Option<Window> {
        let committed = self.committed(version);
        let committed = committed.unwrap_or_else(|| {
            let long_ago = self.now.checked_sub(OF_UNKNOWN_AGE);
            long_ago.unwrap_or(self.now)
        });
        Window::needed(committed, self.now, self.found.live.properties.as_ref())
    }

    /// When a version was committed: the earliest of all that is said of it, because readers refuse what is too old.
    fn committed(&self, version: Version) -> Option<Timestamp> {
        let known = self.found.live.above.iter().chain(&self.found.live.older);
        let known = known.filter(|it| it.version == version);
        let of_log = known.flat_map(|it| it.time.into_iter().chain(it.modified));
        let own = (version == self.version).then_some(self.found.live.committed);
        let held = (version == self.record.version).then_some(self.record.commit_time);
        of_log.chain(own.flatten()).chain(held).min()
    }

    /// Where rows were deleted and other commits followed: how to put those rows back and keep the commits.
    pub(super) fn recipe(&self) -> Option<(String, Statement)> {
        let found = self.found;
        let cause = found.cause().filter(|cause| is_removal(cause))?;
        let before = Version(cause.version.0.checked_sub(1)?);
        let kept = found
            .live
            .above
            .iter()
            .filter(|it| it.version > cause.version);
        kept.clone().find(|it| it.files_added > 0)?;
        // Between the version that is read and the deletion nothing else may have gone, or it would come back too.
        let from = [before, self.version].into_iter().find(|from| {
            let between = |it: &Version| *it > *from && *it < cause.version;
            let mut others = found.live.above.iter().filter(|it| between(&it.version));
            let usable = found.is_whole(*from) || *from == self.version;
            usable && *from >= self.version && others.all(|it| it.files_removed == 0)
        })?;
        let what = match &cause.predicate {
            Some(condition) => format!(" where {condition}"),
            None => String::new(),
        };
        let effect = format!(
            "only what v{} deleted{what} comes back from v{from}; later commits stay; once: running it twice doubles the rows",
            cause.version
        );
        let statement = match &found.live.deleted_partitions {
            Some((version, partitions)) if *version == cause.version => {
                self.lake().insert_partitions(from, partitions)
            }
            _ if found.is_whole(cause.version) => {
                self.lake().insert_difference(from, cause.version)
            }
            _ => return None,
        };
        Some((effect, statement))
    }

    /// Statements to run when it is done.
    pub(crate) fn statements(&self) -> Vec<Statement> {
        match self.found.situation {
            Situation::NoLog | Situation::EmptyTarget if is_catalog_managed(self.record) => {
                Vec::new()
            }
            Situation::NoLog => self.lake().create(&self.catalog_name()),
            Situation::EmptyTarget => {
                let name = self.catalog_name().of_copy(self.version);
                Place::new(self.target).create(&name)
            }
            Situation::NewerLive { .. } if self.found.can_be_read(self.version) => {
                let alter = self.alter(self.version).into_iter();
                let restores = self.restores(self.version);
                match self.recipe() {
                    Some((_, insert)) if self.whole_tip().is_some() => {
                        alter.chain([insert]).chain(restores).collect()
                    }
                    recipe => {
                        let insert = recipe.map(|(_, insert)| insert);
                        alter.chain(restores).chain(insert).collect()
                    }
                }
            }
            Situation::NothingAbove
            | Situation::NewerLive { .. }
            | Situation::AnotherTable { .. }
            | Situation::CommitsDiffer { .. } => Vec::new(),
        }
    }

    pub(super) fn lake(&self) -> Place<'_> {
        Place::new(&self.record.table.uri)
    }

    fn catalog_name(&self) -> TableName {
        TableName::of(&self.record.table.name, &self.record.table.uri)
    }

    /// By the protocol's list of features; a table that has the feature and never turned it on is rare.
    pub(super) fn has_in_commit_timestamps(&self) -> bool {
        self.record.protocol.has_in_commit_timestamps()
    }

    /// The words that choose the same state again, whatever is taken meanwhile.
    pub(super) fn restore(&self, flags: &[&str]) -> String {
        let id = self.id.short();
        let version = self.version.to_string();
        let by_version =
            matches!(self.which, Which::Version(_)) || self.version != self.record.version;
        let mut words = vec!["restore", &self.name];
        // Several snapshots may hold it, and not the same.
        if !matches!(self.which, Which::Version(_)) {
            words.extend(["--snapshot", &id]);
        }
        if by_version {
            words.extend(["--version", &version]);
        }
        words.extend(flags);
        self.again.command(&words)
    }

    /// The same restore, with everything that is needed for it to act.
    pub(crate) fn as_asked(&self, more: &[&str]) -> String {
        let mut flags = Vec::new();
        let place;
        match self.how {
            How::To(uri) => {
                place = self.place(uri);
                flags.extend(["--to", &place]);
            }
            How::Heal if self.as_commit => flags.push("--as-commit"),
            How::Heal => flags.push("--heal"),
            How::Rewind => flags.push("--rewind"),
            How::Replace => flags.push("--replace"),
            How::InPlace => {}
            How::Undo(_) => return self.undo_command(&["--yes"]),
        }
        flags.extend(self.exec.iter().flat_map(|command| ["--exec", *command]));
        for place in self.outside {
            flags.extend(["--outside", typed(place)]);
        }
        if self.accept_damaged {
            flags.push("--accept-damaged");
        }
        let left_out;
        match self.log {
            LogWanted::Readable => {}
            LogWanted::AsItWas => flags.push("--as-it-was"),
            LogWanted::Without(version) => {
                left_out = version.to_string();
                flags.extend(["--without-checkpoint", &left_out]);
            }
        }
        flags.extend(more);
        flags.push("--yes");
        self.restore(&flags)
    }

    /// As it was asked for, and with the folders of the files that lie outside the table's.
    fn also_outside(&self) -> String {
        let mut folders = Folders::default();
        self.found
            .outside_missing
            .iter()
            .for_each(|it| folders.note(it));
        let folders = folders.named();
        let typed = folders
            .iter()
            .map(|it| it.strip_prefix("file:").unwrap_or(it));
        let flags: Vec<_> = typed.flat_map(|place| ["--outside", place]).collect();
        self.as_asked(&flags)
    }

    /// None where the log would lead a copy to the files of the original.
    fn full_copy(&self, effect: &str) -> Option<Choice> {
        if self.found.absolute.is_some() {
            return None;
        }
        let place = self.copy_place();
        let all = PlannedWork {
            files: self.record.totals.files,
            bytes: self.record.totals.bytes,
        };
        Some(choice!(
            self.restore(&["--to", &place, "--yes"]),
            "{effect}, about {}",
            about(all)
        ))
    }

    /// A place for a copy, beside the table.
    pub(super) fn copy_place(&self) -> String {
        let home = self.place(&self.record.table.uri);
        format!("{home}-v{}", self.version)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use deltavault::plan::restore::{LiveVersion, Permission};

    use super::super::Found;
    use super::super::tests::{latest, newer, told};
    use super::*;

    /// v13 deleted rows, v14 and v15 are good appends.
    fn deleted(whole: &[(u64, u64)]) -> Found {
        let mut found = newer(0, whole);
        let version = |number, operation: &str, rows: i64, added, removed| LiveVersion {
            operation: Some(operation.into()),
            rows: Some(rows),
            rows_removed: Some(if rows < 0 { rows.unsigned_abs() } else { 0 }),
            rows_after: Some(10_000),
            files_added: added,
            files_removed: removed,
            ..LiveVersion::unread(Version(number))
        };
        found.live.above = vec![
            version(15, "APPEND", 600, 1, 0),
            version(14, "APPEND", 400, 1, 0),
            LiveVersion {
                predicate: Some("[\"(region#1 = r05)\"]".into()),
                ..version(13, "DELETE", -80, 0, 3)
            },
        ];
        found.live.above.extend(
            (8..13)
                .rev()
                .map(|number| version(number, "APPEND", 5, 1, 0)),
        );
        found.live.properties = Some(BTreeMap::new());
        found
    }

    #[test]
    fn a_restore_says_what_it_takes_out_and_sets_the_window_first() {
        let told = latest(&deleted(&[(7, 15)]));
        told.omits("loses nothing").says(&[
            "CAUSE   v13  DELETE  -80 rows  -3 files",
            "LOSES   going back to v7 loses v8-v15: 7 APPEND, 1 DELETE, +945 rows",
            "v7 is whole at its place: a new commit brings it back and takes v8-v15 (7 APPEND, 1 DELETE, +945 \
             rows) out of the table",
            // Committed 40 days and an hour ago.
            "    ALTER TABLE delta.`file:///lake/sales/orders` SET TBLPROPERTIES \
             ('delta.deletedFileRetentionDuration' = 'interval 48 days', 'delta.logRetentionDuration' = \
             'interval 48 days');\n    INSERT INTO delta.`file:///lake/sales/orders` SELECT",
            "  after the same ALTER, v7 is whole at its place",
            "    RESTORE TABLE delta.`file:///lake/sales/orders` TO VERSION AS OF 7;\n    python: ",
            "python: from deltalake import DeltaTable; t = DeltaTable('/lake/sales/orders'); \
             t.alter.set_table_properties(",
        ]);
    }

    #[test]
    fn deleted_rows_come_back_under_later_commits_by_what_the_delete_left() {
        latest(&deleted(&[(7, 15)])).says(&[
            "only what v13 deleted where [\"(region#1 = r05)\"] comes back from v12; later commits stay",
            "INSERT INTO delta.`file:///lake/sales/orders` SELECT * FROM delta.`file:///lake/sales/orders` \
             VERSION AS OF 12 EXCEPT ALL SELECT * FROM delta.`file:///lake/sales/orders` VERSION AS OF 13;",
        ]);
        let mut partition = deleted(&[(7, 12), (14, 15)]);
        let r05 = [("region".to_owned(), Some("r05".to_owned()))].into();
        partition.live.deleted_partitions = Some((Version(13), vec![r05]));
        latest(&partition).says(&["VERSION AS OF 12 WHERE region = 'r05';"]);
    }

    #[test]
    fn no_recipe_is_given_where_it_would_bring_back_something_else() {
        let without = |found: &Found| {
            latest(found).omits("INSERT INTO");
        };
        // The rows after the deletion cannot be read, and no whole partition is known.
        let mut gone = deleted(&[(7, 12), (14, 15)]);
        without(&gone);
        gone.live.deleted_partitions = Some((Version(9), Vec::new()));
        without(&gone);
        // Nothing followed.
        let mut last = deleted(&[(7, 15)]);
        last.live.above.drain(..2);
        without(&last);
        // v12 is gone, and v10 had removed rows that must stay removed.
        let mut removed = deleted(&[(7, 7), (13, 15)]);
        removed.live.above[5].files_removed = 1;
        without(&removed);
        // It was no deletion.
        let mut merged = deleted(&[(7, 15)]);
        merged.live.above[2].operation = Some("MERGE".into());
        without(&merged);
    }

    #[test]
    fn a_young_version_needs_no_window_and_a_longer_one_is_kept() {
        let mut found = deleted(&[(7, 15)]);
        let properties = [
            ("delta.deletedFileRetentionDuration", "interval 100 days"),
            ("delta.logRetentionDuration", "interval 1 year"),
        ];
        let properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned()));
        found.live.properties = Some(properties.into());
        latest(&found)
            .omits("ALTER TABLE")
            .says(&["DeltaTable('/lake/sales/orders').restore(7)"]);
        // A commit file that is older than the record says.
        found.live.committed = Some("2026-01-01T00:00:00Z".parse().unwrap());
        latest(&found).says(&["'interval 332 days'", "'interval 366 days'"]);
    }

    #[test]
    fn a_version_that_the_live_log_lost_is_not_healed() {
        let mut cleaned = newer(4, &[(9, 15)]);
        cleaned.live.readable_from = Some(Version(9));
        cleaned.permission = Permission::DataOnly;
        let what = "the live log cannot rebuild version 7: files put back under it cannot be read";
        told(&cleaned, &Which::Latest, &How::Heal)
            .goes(&Way::Choose(what.into()))
            .says(&["--to /lake/sales/orders-v7 --yes"])
            .omits("--heal");
    }
}
