//! Records that lie in a table's slots and that its chain does not have: above a slot whose record is gone, above all.
//!
//! Whoever may create objects can put one there, so nothing is built on them and no command takes one by itself. Their ids
//! are the SHA-256 of what they say: an owner who knows the id from elsewhere knows the snapshot.

use std::collections::HashSet;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};

use super::{SlotFolder, Vault};
use crate::error::Error;
use crate::format::record::RECORD_LIMIT;
use crate::format::{Record, VaultKey};
use crate::ids::{Digest, ObjectVersion, SnapshotId};
use crate::plan::choose::{History, Snapshot};
use crate::store::read_all;

/// Whoever plants objects decides how many there are: more are not read, and more are not returned.
const READ: usize = 1000;
const RETURNED: usize = 100;

const AHEAD: usize = 16;

impl Vault {
    /// The records in a table's slots that its chain does not have and whose ids begin with `prefix`, oldest first: the first
    /// 100 among the first 1,000 objects. As nothing proves them they count as distrusted.
    ///
    /// # Errors
    /// What the store says.
    pub async fn unlinked(&self, history: &History, prefix: &str) -> Result<Vec<Snapshot>, Error> {
        let table = &history.table;
        let linked: HashSet<(u64, Option<&ObjectVersion>)> = (history.snapshots.iter())
            .map(|it| (it.seq, it.record_version.as_ref()))
            .collect();
        let rows = self
            .in_slots(SlotFolder::Records(table))
            .await?
            .rows
            .into_iter();
        let rows = rows.filter(|row| !linked.contains(&(row.seq, row.version.as_ref())));
        let read = |(seq, version): (u64, Option<ObjectVersion>)| async move {
            let table = table.clone();
            let key = VaultKey::Record { table, seq }.object_key()?;
            match read_all(self.store(), &key, version.as_ref(), RECORD_LIMIT).await {
                Ok((_, bytes)) => Ok(Some((seq, version, bytes))),
                Err(error) if error.is_permanent() => Ok(None),
                Err(error) => Err(Error::from(error)),
            }
        };
        let mut reads = stream::iter(rows.take(READ))
            .map(|row| read((row.seq, row.version)))
            .buffered(AHEAD);
        let mut found = Vec::new();
        while let Some(read) = reads.try_next().await? {
            let Some((seq, record_version, bytes)) = read else {
                continue;
            };
            let id = SnapshotId(Digest::of(&bytes));
            let Ok(record) = Record::decode(&bytes) else {
                continue;
            };
            let is_of_table = table.is_made_from(&record.table.source, &record.table.uri);
            if record.seq == seq && is_of_table && id.to_string().starts_with(prefix) {
                found.push(Snapshot {
                    table: table.clone(),
                    id,
                    seq,
                    record_version,
                    record: Arc::new(record),
                    is_distrusted: true,
                    is_pruned: false,
                });
            }
            if found.len() == RETURNED {
                break;
            }
        }
        Ok(found)
    }
}
