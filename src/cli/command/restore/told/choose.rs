//! What can be chosen, where nothing is broken and nothing was said: versions and snapshots in one list, which of them
//! looks wrong, and which one to take.

use deltavault::ids::Version;
use deltavault::plan::restore::Situation;

use super::Case;
use super::listed::{flag_for, shown};
use super::phrase::{choice, files, line, range, rows, second, summed, told, told_version};
use crate::cli::command::restore::messages::{Choice, PlanLine, VersionRow};
use crate::cli::output::counted;

/// Versions that are listed; with the heading and the commands they stay below 15 lines.
const VERSIONS_SHOWN: usize = 6;

impl Case<'_> {
    /// Other tables that the vault holds under this name: the table may have been dropped and made again.
    pub(super) fn told_others(&self) -> Option<PlanLine> {
        let other = self.found.others.first()?;
        let more = match self.found.others.len() {
            1 => String::new(),
            several => format!("; {} more such tables", several - 1),
        };
        Some(told!(
            "NOTE",
            "ANOTHER TABLE is held under this name: v{}, snapshot {}, committed {}; it was dropped and made \
                 again{more}",
            other.version,
            other.newest.short(),
            second(other.commit_time)
        ))
    }

    /// The newest version that the vault holds and the live log has lost.
    pub(super) fn told_other_history(&self) -> Option<PlanLine> {
        let ends_here = self.found.situation == Situation::NothingAbove;
        let rows = self.found.versions.iter();
        let lost = rows
            .filter(|row| row.other_history || (ends_here && row.did.version > self.version))
            .filter(|row| !row.doubtful);
        let (row, id) = lost
            .filter_map(|row| Some((row, row.snapshots.first()?)))
            .find(|(row, _)| !row.snapshots.contains(&self.id))?;
        let id = id.short();
        let command = self
            .again
            .command(&["restore", &self.name, "--snapshot", &id]);
        Some(told!(
            "NOTE",
            "snapshot {id} holds a v{} that the live log has lost: it was rewound or overwritten, or lost its newest commits; {command} \
                 shows what that brings back",
            row.did.version
        ))
    }

    /// Why the snapshot is in doubt, or a newer one of its version.
    pub(super) fn told_doubt(&self) -> Option<PlanLine> {
        if let Some((id, version, why)) = &self.found.passed_over {
            let id = id.short();
            let text = format!("snapshot {id} of v{version} was passed over: {why}");
            return Some(line("DOUBT", self.again.in_text(&text)));
        }
        // Outside the list, a WAYS line names each checkpoint that disagrees.
        let is_told = !self.is_question() && !self.record.disagreements.is_empty();
        let is_in_doubt = self.is_in_doubt() && !is_told;
        let doubt = self.record.doubt.as_ref().filter(|_| is_in_doubt)?;
        let id = self.id.short();
        let text = format!("snapshot {id}: {doubt}");
        Some(line("DOUBT", self.again.in_text(&text)))
    }

    /// The list.
    pub(super) fn told_choices(&self) -> Vec<PlanLine> {
        let versions = &self.found.versions;
        let mut lines: Vec<PlanLine> = self.told_others().into_iter().collect();
        lines.extend(self.told_other_history());
        lines.extend(self.told_past());
        let shown = shown(versions, VERSIONS_SHOWN);
        let oldest = self.found.live.readable_from;
        lines.extend(shown.iter().map(|row| line("", told_choice(row, oldest))));
        let more = versions.len() - shown.len();
        if more > 0 {
            lines.push(told!(
                "",
                "{}; --json lists them",
                counted(more as u64, "more version")
            ));
        }
        lines
    }

    /// What the table lacks of its past where it is whole otherwise.
    fn told_past(&self) -> Option<PlanLine> {
        self.found.lacks_only_past().then(|| {
            told!("NOTE", "{} of older versions that snapshot {} holds are gone, as after a clean-up of the log or a VACUUM; {} puts \
                     them back",
                    files(self.found.to_put.files),
                    self.id.short(),
                    self.as_asked(&[]))
        })
    }

    /// What to do about the newest suspect version, else how to go back at all.
    pub(super) fn offers(&self) -> Vec<Choice> {
        if let Some(unfinished) = &self.found.under_way {
            return self.ways_out_of(unfinished);
        }
        let rows = &self.found.versions;
        let mut offers = Vec::new();
        let suspect = rows.iter().find(|row| row.suspect);
        let tip = rows.iter().find(|row| row.live).map(|row| row.did.version);
        if let Some(suspect) = suspect {
            let before = rows
                .iter()
                .find(|row| row.whole && row.did.version < suspect.did.version && !row.suspect);
            if let Some(before) = before {
                offers.push(self.take_back(before.did.version));
            }
        }
        let held = rows
            .iter()
            .filter(|row| flag_for(row).is_some() && !row.other_history);
        let below_tip = |row: &&VersionRow| Some(row.did.version) != tip;
        // What a RESTORE took back is nobody's wish.
        let taken_back: Vec<Version> = rows
            .windows(2)
            .filter(|pair| pair.first().is_some_and(is_restore))
            .filter_map(|pair| Some(pair.get(1)?.did.version))
            .collect();
        let looks_right =
            |row: &&VersionRow| !row.doubtful && !taken_back.contains(&row.did.version);
        let is_in_doubt = self.is_in_doubt();
        let looks_wrong = suspect.is_some() || is_in_doubt;
        let good = if looks_wrong {
            held.clone().find(|row| row.newest_good_held)
        } else {
            held.clone().find(|row| below_tip(row) && looks_right(row))
        };
        if is_in_doubt {
            offers.extend(self.without_checkpoint());
            offers.extend(self.copy_with_the_lost_commit());
        }
        if let Some(good) = good.filter(below_tip)
            && let Some((flag, value)) = flag_for(good)
        {
            let which = if looks_wrong {
                "the newest good version in the vault"
            } else {
                "the newest older version in the vault"
            };
            offers.push(choice!(
                self.again.command(&["restore", &self.name, flag, &value]),
                "{which}, v{}: what it would bring back and lose",
                good.did.version
            ));
        }
        if let Some(other) = self.found.others.first() {
            let home = self.place(&self.record.table.uri);
            let place = format!("{home}-v{}-of-another-table", other.version);
            let id = other.newest.short();
            let words = ["restore", &self.name, "--snapshot", &id, "--to", &place];
            offers.push(choice!(
                self.again.command(&words),
                "the other table of this name, as a copy elsewhere"
            ));
        }
        offers
    }

    /// Where a commit of the live log lost its bytes: a copy of the newest version that the vault holds with them, from which
    /// what it did can be taken.
    fn copy_with_the_lost_commit(&self) -> Option<Choice> {
        let commit = self.record.emptied?;
        let mut rows = self.found.versions.iter();
        let held = rows
            .find(|row| row.did.version >= commit && !row.doubtful && !row.snapshots.is_empty())?;
        let id = held.snapshots.first()?.short();
        let place = format!(
            "{}-v{}",
            self.place(&self.record.table.uri),
            held.did.version
        );
        let words = [
            "restore",
            &self.name,
            "--snapshot",
            &id,
            "--to",
            &place,
            "--yes",
        ];
        Some(choice!(
            self.again.command(&words),
            "a copy of v{} elsewhere, which has what commit {commit} did; the table is not touched",
            held.did.version
        ))
    }

    /// What is told of the versions that a new commit of `version` takes out.
    pub(super) fn taken_out_by(&self, version: Version) -> String {
        let above = || {
            let all = self.found.live.above.iter().chain(&self.found.live.older);
            all.filter(move |it| it.version > version)
        };
        let Some(tip) = above().map(|it| it.version).max() else {
            return "nothing".to_owned();
        };
        format!("{} ({})", range(version.next(), tip), summed(above()))
    }
}

fn is_restore(row: &VersionRow) -> bool {
    let operation = row.did.operation.as_deref();
    operation.is_some_and(|operation| operation.starts_with("RESTORE"))
}

/// One line of the list. Below the oldest version that the live log can rebuild nobody has looked for files.
fn told_choice(row: &VersionRow, oldest: Option<Version>) -> String {
    let held = match row.snapshots.as_slice() {
        [] if let Some(id) = row.held_in => format!("in history snapshot {}", id.short()),
        [] if row.whole => "not held".to_owned(),
        [] if Some(row.did.version) < oldest => "not looked at, not held".to_owned(),
        [] => "FILES GONE, not held".to_owned(),
        [one] => format!("snapshot {}", one.short()),
        [newest, older @ ..] => format!("snapshot {} and {} more", newest.short(), older.len()),
    };
    let size = match (row.did.rows_after, row.did.files_after) {
        (Some(count), _) => format!("  of {}", rows(count)),
        (None, Some(count)) => format!("  of {}", files(count)),
        (None, None) => String::new(),
    };
    let mark = match row {
        row if row.other_history => "  LOST FROM THE LIVE LOG",
        row if row.suspect => "  SUSPECT",
        row if row.doubtful => "  IN DOUBT",
        row if row.newest_good_held => "  NEWEST GOOD HELD",
        _ => "",
    };
    format!("{}{size}  {held}{mark}", told_version(&row.did))
}

#[cfg(test)]
mod tests {
    use deltavault::ids::{Digest, SnapshotId};
    use deltavault::plan::restore::{Healthy, LiveVersion, Permission};

    use super::super::listed::row;
    use super::super::tests::{Told, all_of, found, latest, newer, told, told_of, unsaid};
    use super::super::{Found, Way};
    use super::*;
    use crate::cli::command::restore::args::{How, Which};
    use crate::cli::command::restore::messages::OtherTable;

    fn version(number: u64, operation: &str, rows: i64, after: u64) -> VersionRow {
        let live = LiveVersion {
            operation: Some(operation.into()),
            user: Some("etl-prod".into()),
            time: Some("2026-11-20T02:11:00Z".parse().unwrap()),
            rows: Some(rows),
            rows_after: Some(after),
            files_added: 3,
            files_removed: 1,
            ..LiveVersion::unread(Version(number))
        };
        VersionRow {
            whole: true,
            ..row(live)
        }
    }

    fn held(row: VersionRow) -> VersionRow {
        let id = SnapshotId(Digest::of(&row.did.version.0.to_be_bytes()));
        VersionRow {
            snapshots: vec![id],
            ..row
        }
    }

    fn suspect(row: VersionRow) -> VersionRow {
        VersionRow {
            suspect: true,
            ..held(row)
        }
    }

    fn newest_good(row: VersionRow) -> VersionRow {
        VersionRow {
            newest_good_held: true,
            ..held(row)
        }
    }

    fn overwritten() -> Found {
        let mut found = newer(0, &[(6, 15)]);
        found.versions = vec![
            version(15, "APPEND", 12_000, 12_001),
            suspect(version(13, "OVERWRITE", -918_000_000, 1)),
            version(12, "MERGE", 40_000, 918_000_001),
            newest_good(version(9, "APPEND", 7, 917_000_000)),
        ];
        found
            .versions
            .extend((0..9).rev().map(|number| version(number, "APPEND", 1, 2)));
        found
    }

    #[test]
    fn a_table_that_lacks_only_its_past_is_healthy_and_the_list_is_shown() {
        let mut cleaned = found(Situation::NothingAbove, Permission::Everything, 3);
        cleaned.sound = Some(Healthy::AtV);
        cleaned.versions = vec![held(version(7, "APPEND", 12_000, 12_001))];
        unsaid(&cleaned)
            .goes(&Way::Nothing)
            .says(&[
                "live v7 healthy. Restore what?",
                "NOTE    3 files of older versions",
                " --yes puts them back",
                "v7  2026",
            ])
            .omits("DAMAGED");
        latest(&cleaned).goes(&Way::Ready).says(&[
            "healthy, and lacks files of older versions only",
            "3 of 40 files gone",
        ]);
    }

    #[test]
    fn a_healthy_table_behind_the_newest_snapshot_goes_forward_only_where_its_owner_names_the_snapshot()
     {
        let mut swapped = found(Situation::NothingAbove, Permission::Everything, 3);
        swapped.sound = Some(Healthy::Behind(Version(5)));
        for which in [Which::Unsaid, Which::Latest] {
            told(&swapped, &which, &How::InPlace)
                .goes(&Way::Choose(
                    "the live table is healthy at version 5, behind 7".into(),
                ))
                .says(&[
                    "REWOUND: live v5 is healthy",
                    "forward to v7: put 3 files there",
                    " --yes",
                ]);
        }
        let named = Which::Version(Version(7));
        told(&swapped, &named, &How::InPlace).goes(&Way::Ready);
        // The newest snapshot holds what the table was taken back from.
        swapped.versions = vec![
            suspect(version(7, "OVERWRITE", -918_000_000, 1)),
            newest_good(version(6, "MERGE", 40_000, 918_000_001)),
        ];
        let Told { text, .. } = latest(&swapped);
        let (good, bad) = text.split_once("forward to v7, which looks wrong").unwrap();
        all_of(good, &["SUSPECT ", "forward to v6, the newest good one"]);
        all_of(bad, &[" --yes"]);
        swapped.sound = Some(Healthy::Behind(Version(6)));
        latest(&swapped).omits("forward to v6");
    }

    #[test]
    fn the_list_names_what_looks_wrong_and_what_to_take() {
        let told = unsaid(&overwritten());
        told.goes(&Way::Nothing).omits("loses nothing").says(&[
            "live v15 healthy, nothing missing. Restore what?",
            "v13  2026-11-20 02:11:00Z  OVERWRITE  etl-prod  -918,000,000 rows  +3 -1 files  of 1 row",
            "SUSPECT",
            "v12  2026-11-20 02:11:00Z  MERGE",
            "not held",
            "NEWEST GOOD HELD",
            "7 more versions; --json lists them",
            "RESTORE TABLE delta.`file:///lake/sales/orders` TO VERSION AS OF 12;",
            "takes v13-v15 (",
            "the newest good version in the vault, v9: what it would bring back and lose",
            "restore sales.orders --snapshot ",
        ]);
        assert!(told.lines() <= 15, "{}", told.text);
    }

    #[test]
    fn a_suspect_newest_snapshot_of_a_healthy_table_is_not_called_good() {
        let mut found = overwritten();
        found.situation = Situation::NothingAbove;
        found.live.above.clear();
        found.versions.remove(0);
        unsaid(&found).goes(&Way::Nothing).says(&[
            "live v7 healthy, nothing missing. Restore what?",
            "SUSPECT",
            "NEWEST GOOD HELD",
        ]);
    }

    #[test]
    fn another_table_under_the_same_name_comes_first() {
        let mut found = overwritten();
        let rows = found.versions.iter_mut();
        rows.for_each(|row| row.suspect = false);
        found.others = vec![OtherTable {
            delta_id: "old".into(),
            snapshots: 12,
            newest: SnapshotId(Digest::of(b"other")),
            version: Version(40),
            commit_time: "2026-11-19T01:00:00Z".parse().unwrap(),
        }];
        let told = unsaid(&found);
        let second = told.text.lines().nth(1).unwrap();
        let note = "NOTE    ANOTHER TABLE is held under this name: v40";
        assert!(second.starts_with(note), "{}", told.text);
        told.says(&["--to /lake/sales/orders-v40-of-another-table"]);
        latest(&found).says(&[note]);
    }

    #[test]
    fn without_a_suspect_the_newest_older_snapshot_is_offered() {
        let mut found = overwritten();
        let rows = found.versions.iter_mut();
        rows.for_each(|row| row.suspect = false);
        unsaid(&found)
            .says(&["the newest older version in the vault, v13"])
            .omits("RESTORE TABLE");
        // What is in doubt, or was taken back by a RESTORE, is passed over.
        found.versions = vec![
            version(15, "APPEND", 10, 40),
            held(version(14, "RESTORE", 10, 30)),
            held(version(13, "OVERWRITE", -20, 20)),
            held(version(12, "APPEND", 10, 30)),
        ];
        for (doubtful, offered) in [(false, "v14"), (true, "v12")] {
            found.versions[1].doubtful = doubtful;
            unsaid(&found).says(&[&format!("older version in the vault, {offered}")]);
        }
        found.versions.clear();
        assert_eq!(unsaid(&found).goes(&Way::Nothing).lines(), 1);
    }

    #[test]
    fn what_was_typed_as_s3a_is_printed_so_and_sql_always_is() {
        for (s3a, scheme) in [(true, "s3a"), (false, "s3")] {
            let found = overwritten();
            let uri = "s3://lake/sales/orders";
            let told = told_of(uri, s3a, &found, &Which::Unsaid, &How::InPlace);
            let table = format!("TABLE   {scheme}://lake/sales/orders  ");
            assert!(told.text.starts_with(&table), "{}", told.text);
            told.says(&["RESTORE TABLE delta.`s3a://lake/sales/orders` TO"]);
            told_of(uri, s3a, &found, &Which::Latest, &How::InPlace)
                .says(&[&format!("--to {scheme}://lake/sales/orders-v7")]);
        }
    }
}
