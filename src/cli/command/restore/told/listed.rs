//! What there is to choose from: the live table's versions and the vault's snapshots as one list.

use std::collections::{BTreeMap, BTreeSet};

use deltavault::ids::{Digest, Version};
use deltavault::plan::choose::{History, Snapshot};
use deltavault::plan::restore::{LiveVersion, Situation};
use deltavault::plan::suspect::suspects;

use super::Found;
use crate::cli::command::restore::messages::{OtherTable, VersionRow};

/// Versions that are listed because a history snapshot holds them and that the live log does not have, the newest of
/// them: a record may claim any number.
const OLDER_LISTED: usize = 10_000;

/// The trusted snapshots of one Delta table, newest first.
fn snapshots_of<'a>(history: &'a History, delta_id: &'a str) -> impl Iterator<Item = &'a Snapshot> {
    let snapshots = history.snapshots.iter().rev();
    snapshots.filter(move |it| !it.is_distrusted && it.record.table.delta_id == delta_id)
}

/// Those of them that can be restored.
pub(in crate::cli::command::restore) fn held_of<'a>(
    history: &'a History,
    delta_id: &'a str,
) -> impl Iterator<Item = &'a Snapshot> {
    snapshots_of(history, delta_id).filter(|it| !it.is_pruned)
}

/// The flag and its value that choose a version: by its own snapshot, else out of the history snapshot that holds it.
pub(super) fn flag_for(row: &VersionRow) -> Option<(&'static str, String)> {
    match (row.snapshots.first(), row.held_in) {
        (Some(id), _) => Some(("--snapshot", id.short())),
        (None, Some(_)) => Some(("--version", row.did.version.to_string())),
        (None, None) => None,
    }
}

/// Whether a snapshot has the live commit of its version's number, which is given. Without both commits nobody knows.
fn has_commit(snapshot: &Snapshot, commit: Option<Digest>) -> bool {
    let held = snapshot.record.commit.as_ref().map(|it| it.sha256);
    held.zip(commit).is_none_or(|(held, now)| held == now)
}

/// Whether a snapshot is of the live version of its number, or of another one that the log has lost.
fn is_of(history: &History, snapshot: &Snapshot, commit: Option<Digest>) -> bool {
    has_commit(snapshot, commit) && !history.is_overwritten(snapshot, snapshot.record.version)
}

/// Fills in from the vault's records what the live log does not tell of its versions.
pub(super) fn fill_from_vault(versions: &mut [LiveVersion], history: &History, delta_id: &str) {
    let commits: BTreeMap<Version, Option<Digest>> =
        versions.iter().map(|it| (it.version, it.commit)).collect();
    let mut held: BTreeMap<Version, &Snapshot> = BTreeMap::new();
    for snapshot in snapshots_of(history, delta_id) {
        let commit = commits.get(&snapshot.record.version).copied();
        if !is_of(history, snapshot, commit.flatten()) {
            continue;
        }
        held.entry(snapshot.record.version).or_insert(snapshot);
    }
    for version in versions.iter_mut() {
        let number = version.version;
        let Some(record) = held.get(&number).map(|it| &it.record) else {
            continue;
        };
        version.rows_after = version.rows_after.or(record.totals.rows);
        version.files_after = version.files_after.or(Some(record.totals.live_files));
        version.operation = version.operation.take().or(record.change.operation.clone());
        version.user = version.user.take().or(record.change.user.clone());
        if version.rows.is_none() {
            let before = number.0.checked_sub(1).map(Version);
            let before = before.and_then(|before| held.get(&before)?.record.totals.rows);
            let by_difference = before.zip(record.totals.rows).and_then(|(before, after)| {
                i64::try_from(i128::from(after) - i128::from(before)).ok()
            });
            let by_record = record.change.rows.filter(|_| record.change.versions == 1);
            version.rows = by_record.or(by_difference);
        }
    }
}

/// Other tables that the vault holds under this name, newest first, each with its newest good snapshot.
pub(super) fn other_tables(history: &History, delta_id: &str) -> Vec<OtherTable> {
    let mut ids: Vec<&str> = Vec::new();
    let snapshots = history.snapshots.iter().rev();
    for snapshot in snapshots.filter(|it| !it.is_distrusted && !it.is_pruned) {
        let id = snapshot.record.table.delta_id.as_str();
        if id != delta_id && !ids.contains(&id) {
            ids.push(id);
        }
    }
    let others = ids.into_iter().filter_map(|id| {
        let snapshots: Vec<&Snapshot> = held_of(history, id).collect();
        let known: Vec<LiveVersion> = snapshots.iter().map(|it| of_snapshot(it)).collect();
        let below_suspect = suspects(&known).first().map_or(0, |index| index + 1);
        let newest = snapshots.get(below_suspect).or(snapshots.first())?;
        Some(OtherTable {
            delta_id: id.to_owned(),
            snapshots: snapshots.len() as u64,
            newest: newest.id,
            version: newest.record.version,
            commit_time: newest.record.commit_time,
        })
    });
    others.collect()
}

/// Every version that can be chosen, newest first, with what it did; the vault's own where the live log has no more
/// of it.
pub(super) fn versions(found: &Found, history: &History, delta_id: &str) -> Vec<VersionRow> {
    let mut snapshots: BTreeMap<Version, Vec<&Snapshot>> = BTreeMap::new();
    let mut known: BTreeMap<Version, LiveVersion> = BTreeMap::new();
    let mut live = BTreeSet::new();
    let mut others: BTreeMap<Version, Vec<&Snapshot>> = BTreeMap::new();
    for version in found.live.above.iter().chain(&found.live.older) {
        live.insert(version.version);
        known.insert(version.version, version.clone());
    }
    for snapshot in held_of(history, delta_id) {
        let version = snapshot.record.version;
        // Of what only the vault knows there is no live commit.
        let commit = known.get(&version).and_then(|row| row.commit);
        if !is_of(history, snapshot, commit) {
            others.entry(version).or_default().push(snapshot);
            continue;
        }
        snapshots.entry(version).or_default().push(snapshot);
        known
            .entry(version)
            .or_insert_with(|| of_snapshot(snapshot));
    }
    for held in snapshots.values_mut() {
        held.sort_by_key(|snapshot| snapshot.record.doubt.is_some());
    }
    let in_doubt: BTreeSet<Version> = snapshots
        .iter()
        .filter(|(_, held)| held.first().is_some_and(|it| it.record.doubt.is_some()))
        .map(|(version, _)| *version)
        .collect();
    let tip = live.last().copied();
    // What a snapshot above the live log holds of older versions may be another history's.
    let with_older = held_of(history, delta_id).filter(|it| {
        let version = it.record.version;
        let commit = known.get(&version).and_then(|row| row.commit);
        tip.is_none_or(|tip| version <= tip) && has_commit(it, commit)
    });
    let with_older: Vec<&Snapshot> = with_older.collect();
    let older = with_older.iter().flat_map(|it| {
        let ranges = it.record.whole_versions.iter().rev();
        ranges.flat_map(|(first, last)| (first.0..=last.0).rev().map(Version))
    });
    let listed_at_most = known.len().saturating_add(OLDER_LISTED);
    for version in older {
        if known.len() == listed_at_most {
            break;
        }
        known
            .entry(version)
            .or_insert_with(|| LiveVersion::unread(version));
    }
    let held_in = |version| {
        let mut snapshots = with_older.iter();
        let snapshot =
            snapshots.find(|it| it.is_whole_at(version) && !history.is_overwritten(it, version))?;
        Some(snapshot.id)
    };
    let known: Vec<LiveVersion> = known.into_values().rev().collect();
    let suspects = suspects(&known);
    let damaged = suspects.first().and_then(|index| known.get(*index));
    let newest_good = known.iter().enumerate().find(|(index, row)| {
        let version = row.version;
        // Of what only a history snapshot has, nobody has looked at what it did.
        let is_held = snapshots.contains_key(&version)
            || (live.contains(&version) && held_in(version).is_some());
        is_held
            && tip.is_none_or(|tip| version <= tip)
            && damaged.is_none_or(|damaged| version < damaged.version)
            && !suspects.contains(index)
            && !in_doubt.contains(&version)
    });
    let newest_good = newest_good.map(|(_, row)| row.version);
    let rows = known.into_iter().enumerate().flat_map(|(index, version)| {
        let number = version.version;
        let is_live = live.contains(&number);
        let row = VersionRow {
            other_history: tip.is_some_and(|tip| number > tip),
            live: is_live,
            whole: is_live && found.has_all_files(number),
            snapshots: snapshots
                .remove(&number)
                .map_or_else(Vec::new, |held| held.iter().map(|it| it.id).collect()),
            held_in: held_in(number),
            doubtful: in_doubt.contains(&number),
            suspect: suspects.contains(&index),
            newest_good_held: newest_good == Some(number),
            ..row(version)
        };
        let others = others.remove(&number).unwrap_or_default();
        std::iter::once(row).chain(of_other_history(&others))
    });
    rows.collect()
}

/// The snapshots of a version that the log has lost and written again, as one row.
fn of_other_history(snapshots: &[&Snapshot]) -> Option<VersionRow> {
    let newest = snapshots.first()?;
    Some(VersionRow {
        live: false,
        other_history: true,
        snapshots: snapshots.iter().map(|it| it.id).collect(),
        doubtful: newest.record.doubt.is_some(),
        ..row(of_snapshot(newest))
    })
}

/// A live version as a row, without its marks.
pub(super) fn row(did: LiveVersion) -> VersionRow {
    VersionRow {
        did,
        live: true,
        other_history: false,
        whole: false,
        snapshots: Vec::new(),
        held_in: None,
        doubtful: false,
        suspect: false,
        newest_good_held: false,
    }
}

/// A version as its record tells of it: what it did since the record before, however many versions that were.
fn of_snapshot(snapshot: &Snapshot) -> LiveVersion {
    let record = &snapshot.record;
    LiveVersion {
        time: Some(record.commit_time),
        operation: record.change.operation.clone(),
        user: record.change.user.clone(),
        rows: record.change.rows,
        rows_after: record.totals.rows,
        files_added: record.change.files_added,
        files_removed: record.change.files_removed,
        files_after: Some(record.totals.live_files),
        ..LiveVersion::unread(record.version)
    }
}

impl Found {
    /// Whether a version of the live log has all its files.
    fn has_all_files(&self, version: Version) -> bool {
        // Nothing above and nothing missing: V itself was compared file by file.
        self.is_whole(version)
            || (self.situation == Situation::NothingAbove
                && self.is_all_there()
                && self
                    .live
                    .older
                    .first()
                    .is_some_and(|newest| newest.version == version))
    }
}

/// The rows that a person sees, in their order: the newest, those that look wrong, the newest good one that is held,
/// and as many others as there is room for.
pub(super) fn shown(rows: &[VersionRow], room: usize) -> Vec<&VersionRow> {
    let matters =
        |index: usize, row: &VersionRow| index == 0 || row.suspect || row.newest_good_held;
    let mut picked: BTreeSet<usize> = rows
        .iter()
        .enumerate()
        .filter(|(index, row)| matters(*index, row))
        .map(|(index, _)| index)
        .take(room)
        .collect();
    for index in 0..rows.len() {
        if picked.len() >= room {
            break;
        }
        picked.insert(index);
    }
    picked
        .into_iter()
        .filter_map(|index| rows.get(index))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use deltavault::format::{Record, TableKey};
    use deltavault::ids::SnapshotId;

    use super::super::tests::RECORD;
    use super::*;

    fn table() -> TableKey {
        "t-37def596bc86afd2280da522389b7bb0".parse().unwrap()
    }

    fn snapshot(seq: u64, version: u64, delta_id: &str, rows: u64) -> Snapshot {
        let mut record = Record::decode(RECORD).unwrap();
        record.version = Version(version);
        record.table.delta_id = delta_id.into();
        record.totals.rows = Some(rows);
        record.change.rows = None;
        Snapshot {
            table: table(),
            id: SnapshotId(Digest::of(&seq.to_be_bytes())),
            seq,
            record_version: None,
            record: Arc::new(record),
            is_distrusted: false,
            is_pruned: false,
        }
    }

    fn history(snapshots: Vec<Snapshot>) -> History {
        History {
            table: table(),
            snapshots,
            newer: Vec::new(),
            findings: Vec::new(),
        }
    }

    fn live(version: u64, operation: &str, added: u64, removed: u64, after: u64) -> LiveVersion {
        LiveVersion {
            operation: Some(operation.into()),
            rows: Some(added.cast_signed() - removed.cast_signed()),
            rows_removed: Some(removed),
            rows_after: Some(after),
            files_added: added,
            files_removed: removed,
            files_after: Some(after),
            ..LiveVersion::unread(Version(version))
        }
    }

    fn overwritten() -> Found {
        let mut found = super::super::tests::newer(0, &[(9, 15)]);
        found.live.above = vec![
            live(15, "APPEND", 1, 0, 3),
            live(14, "OVERWRITE", 2, 100, 2),
        ];
        found.live.older = vec![
            live(13, "APPEND", 10, 0, 100),
            live(12, "APPEND", 10, 0, 90),
        ];
        found
    }

    #[test]
    fn live_versions_and_snapshots_are_one_list_with_its_marks() {
        let held = [
            snapshot(1, 5, "t", 20),
            snapshot(2, 12, "t", 90),
            snapshot(3, 14, "t", 2),
        ];
        let history = history(held.to_vec());
        let rows = versions(&overwritten(), &history, "t");
        let told: Vec<_> = rows
            .iter()
            .map(|it| {
                (
                    it.did.version.0,
                    it.live,
                    it.snapshots.len(),
                    it.suspect,
                    it.newest_good_held,
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                (15, true, 0, false, false),
                (14, true, 1, true, false),
                (13, true, 0, false, false),
                (12, true, 1, false, true),
                (5, false, 1, false, false),
            ],
            "v14 is held and not good"
        );
    }

    #[test]
    fn a_snapshot_of_a_version_that_the_log_has_lost_is_a_row_of_its_own() {
        let of = |seq: u64, version: u64, commit: &[u8]| {
            let mut snapshot = snapshot(seq, version, "t", 7);
            let record = Arc::make_mut(&mut snapshot.record);
            record.commit.as_mut().unwrap().sha256 = Digest::of(commit);
            snapshot
        };
        let (other, above) = (of(1, 15, b"lost"), of(2, 16, b"lost"));
        let same = of(3, 13, b"13");
        let history = history(vec![other.clone(), above.clone(), same.clone()]);
        let mut found = overwritten();
        for version in found.live.above.iter_mut().chain(&mut found.live.older) {
            version.commit = Some(Digest::of(version.version.to_string().as_bytes()));
        }
        let told: Vec<_> = versions(&found, &history, "t")
            .into_iter()
            .filter(|row| !row.snapshots.is_empty())
            .map(|row| {
                let marks = (row.live, row.other_history, row.newest_good_held);
                (row.did.version.0, row.snapshots[0], marks)
            })
            .collect();
        assert_eq!(
            told,
            [
                (16, above.id, (false, true, false)),
                (15, other.id, (false, true, false)),
                (13, same.id, (true, false, true)),
            ]
        );
        fill_from_vault(&mut found.live.above, &history, "t");
        assert_eq!(
            found.live.above[0].rows_after,
            Some(3),
            "v15 is another one"
        );
    }

    #[test]
    fn distrusted_snapshots_and_those_of_another_table_are_not_offered_as_versions() {
        let mut distrusted = snapshot(1, 13, "t", 100);
        distrusted.is_distrusted = true;
        let other = snapshot(2, 13, "of another table", 7);
        let newest = snapshot(3, 12, "t", 90);
        let history = history(vec![distrusted, other.clone(), newest]);
        let rows = versions(&overwritten(), &history, "t");
        let v13 = rows
            .iter()
            .find(|row| row.did.version == Version(13))
            .unwrap();
        assert_eq!(v13.snapshots, [], "neither is this table's v13");
        assert!(
            rows.iter()
                .any(|row| row.did.version == Version(12) && row.newest_good_held)
        );
        let others = other_tables(&history, "t");
        assert_eq!((others.len(), others[0].newest), (1, other.id));
        assert_eq!(others[0].version, Version(13));
    }

    #[test]
    fn of_another_table_the_newest_good_snapshot_is_offered() {
        let good = snapshot(1, 12, "old", 90);
        let mut garbage = snapshot(2, 13, "old", 1);
        Arc::make_mut(&mut garbage.record).change.rows = Some(-89);
        let history = history(vec![good.clone(), garbage, snapshot(3, 0, "t", 5)]);
        let others = other_tables(&history, "t");
        assert_eq!((others[0].newest, others[0].snapshots), (good.id, 2));
        assert_eq!(others[0].version, Version(12));
    }

    #[test]
    fn rows_that_the_log_lacks_come_from_the_records() {
        let history = history(vec![
            snapshot(1, 12, "t", 90),
            snapshot(2, 13, "t", 40),
            snapshot(3, 15, "t", 50),
        ]);
        let unknown = |version| LiveVersion::unread(Version(version));
        let mut versions = [unknown(15), unknown(14), unknown(13)];
        fill_from_vault(&mut versions, &history, "t");
        let told: Vec<_> = versions.iter().map(|it| (it.rows, it.rows_after)).collect();
        assert_eq!(
            told,
            [(None, Some(50)), (None, None), (Some(-50), Some(40))]
        );
        fill_from_vault(&mut versions, &history, "another");
        assert_eq!(versions[0].rows_after, Some(50), "what is known stays");
    }

    #[test]
    fn what_matters_is_shown_however_long_the_list_is() {
        let row_of = |version| row(LiveVersion::unread(Version(version)));
        let mut rows: Vec<VersionRow> = (0..100).rev().map(row_of).collect();
        rows[40].suspect = true;
        rows[60].newest_good_held = true;
        let told: Vec<u64> = shown(&rows, 5)
            .iter()
            .map(|row| row.did.version.0)
            .collect();
        assert_eq!(told, [99, 98, 97, 59, 39]);
        assert_eq!(shown(&rows[..2], 5).len(), 2);
    }

    #[test]
    fn a_snapshot_in_doubt_is_not_the_newest_good_one_and_comes_after_others_of_its_version() {
        let in_doubt = |mut snapshot: Snapshot| {
            Arc::make_mut(&mut snapshot.record).doubt = Some("commit 2 is empty".into());
            snapshot
        };
        let older = snapshot(1, 6, "t", 40);
        let bad = in_doubt(snapshot(2, 7, "t", 30));
        let mut found = super::super::tests::newer(0, &[(6, 7)]);
        found.live.above = Vec::new();
        found.live.older = vec![live(7, "WRITE", 0, 0, 30), live(6, "WRITE", 10, 0, 40)];
        let rows = versions(&found, &history(vec![older.clone(), bad.clone()]), "t");
        let marks: Vec<_> = rows
            .iter()
            .map(|row| (row.did.version.0, row.doubtful, row.newest_good_held))
            .collect();
        assert_eq!(marks, [(7, true, false), (6, false, true)]);
        // Another snapshot of the version takes the doubt from it.
        let good = snapshot(3, 7, "t", 40);
        let rows = versions(
            &found,
            &history(vec![older, good.clone(), bad.clone()]),
            "t",
        );
        assert_eq!(rows[0].snapshots, [good.id, bad.id]);
        assert!(!rows[0].doubtful && rows[0].newest_good_held);
    }
}
