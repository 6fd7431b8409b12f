//! Records that somebody knows a vault to have had: the only thing that can show a ledger which was cut, or set back as a
//! whole.

use std::fmt;
use std::str::FromStr;

use super::{Finding, Remedy, Severity};
use crate::format::{TableKey, VaultKey};
use crate::ids::SnapshotId;
use crate::plan::choose::History;

/// A record by its slot and its id, written as `sha256sum` writes it: the id, two spaces, and the record's key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KnownRecord {
    /// The table.
    pub table: TableKey,
    /// The slot.
    pub seq: u64,
    /// The SHA-256 of the record.
    pub id: SnapshotId,
}

/// A line that does not name a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a snapshot id, two spaces and `tables/…/ledger/….json`, as `snapshots --heads` prints them"
)]
pub struct NoKnownRecord;

impl FromStr for KnownRecord {
    type Err = NoKnownRecord;

    fn from_str(line: &str) -> Result<Self, NoKnownRecord> {
        let (id, key) = line.split_once(' ').ok_or(NoKnownRecord)?;
        // `sha256sum` puts a second space, or `*` for binary, before the name.
        let key = key.strip_prefix([' ', '*']).ok_or(NoKnownRecord)?;
        let Some(VaultKey::Record { table, seq }) = VaultKey::parse(key) else {
            return Err(NoKnownRecord);
        };
        let id = id.parse().map(SnapshotId).map_err(|_| NoKnownRecord)?;
        Ok(Self { table, seq, id })
    }
}

impl fmt::Display for KnownRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {}", self.id, self.key())
    }
}

impl KnownRecord {
    /// The newest record of a table, where there is one.
    pub fn head(history: &History) -> Option<Self> {
        let (seq, id) = records(history).max()?;
        let table = history.table.clone();
        Some(Self { table, seq, id })
    }

    /// Its key in the vault.
    pub fn key(&self) -> VaultKey {
        VaultKey::Record {
            table: self.table.clone(),
            seq: self.seq,
        }
    }

    /// What is said where a table's ledger does not have it; `None` for a table of which there is nothing.
    pub fn missing_from(&self, history: Option<&History>) -> Option<Finding> {
        let is_it = |record| record == (self.seq, self.id);
        let has_it = history.is_some_and(|history| records(history).any(is_it));
        if has_it {
            return None;
        }
        let name = history.map_or_else(|| self.table.slug().to_owned(), |it| it.name().to_owned());
        let now = history.and_then(Self::head);
        let now = match now {
            Some(now) => format!("it ends with {} in slot {}", now.id.short(), now.seq),
            None => "it is empty".to_owned(),
        };
        let what = format!(
            "the ledger no longer has snapshot {} in this slot: {now}. The newest records were lost, or the vault was set back",
            self.id.short()
        );
        Some(Finding {
            severity: Severity::Damage,
            table: Some(name),
            key: Some(self.table.clone()),
            snapshots: vec![self.id],
            object: self.key().to_string(),
            what,
            remedy: Remedy::PutBack(
                "where no replica has it, look in the access log for a deletion, and write the heads down again",
            ),
        })
    }
}

/// The records of the chain by their slots, those that need a newer tool too.
fn records(history: &History) -> impl Iterator<Item = (u64, SnapshotId)> {
    let snapshots = history.snapshots.iter().map(|it| (it.seq, it.id));
    let newer = history.newer.iter().map(|it| (it.seq, it.id));
    snapshots.chain(newer)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "tables/t-1f8fb2bf7bda65c73ba5c9b6e2fca0b5/ledger/00000000000000000007.json";

    #[test]
    fn lines_are_those_of_sha256sum() {
        let id = "ab".repeat(32);
        let line = format!("{id}  {KEY}");
        let known: KnownRecord = line.parse().unwrap();
        assert_eq!((known.seq, known.to_string()), (7, line));
        assert_eq!(format!("{id} *{KEY}").parse(), Ok(known));
        for line in [
            String::new(),
            id.clone(),
            format!("{id} {KEY}"),
            format!("{}  {KEY}", &id[1..]),
            format!("{id}  tables/t/ledger/7.json"),
            format!("{id}  {}", KEY.replace("ledger", "events")),
        ] {
            assert_eq!(line.parse::<KnownRecord>(), Err(NoKnownRecord), "{line}");
        }
    }
}
