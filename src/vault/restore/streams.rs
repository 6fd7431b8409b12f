//! How far streams had written in V, by the log that the vault holds: for a table whose live log is gone, or has
//! lost V.

use std::collections::HashMap;

use futures::TryStreamExt;

use super::content::LogReader;
use super::live::take_txns;
use super::{RestoreRequest, Restorer};
use crate::delta::segment::LogListing;
use crate::error::Error;
use crate::format::{Entry, EntryKind};
use crate::ids::{Location, ObjectKey};
use crate::plan::streams::Txns;
use crate::vault::log_replay::as_listed;

impl Restorer {
    /// Reads how far streams had written in the wanted version: the newest checkpoint that the snapshot holds at or
    /// below it, and the commits after that. Sidecars have no transaction ids, so none is read.
    ///
    /// # Errors
    /// Damage in the vault; what the log itself says.
    pub async fn held_txns(&self, request: &RestoreRequest) -> Result<Txns, Error> {
        let manifest = self.vault.manifest(&request.record).await?;
        let mut held: HashMap<ObjectKey, Entry> = HashMap::new();
        let mut listed = Vec::new();
        let mut entries = self.log_entries(request, &manifest);
        while let Some(entry) = entries.try_next().await? {
            if let Location::Inside(key) = &entry.file
                && matches!(entry.kind, EntryKind::Commit | EntryKind::Checkpoint)
            {
                listed.push(as_listed(key, &entry));
                held.insert(key.clone(), entry);
            }
        }
        let listing = LogListing::new(listed);
        let mut txns = Txns::new();
        let Some(way) = listing.candidates(request.version)?.next() else {
            return Ok(txns);
        };
        let mut reader = LogReader::of_vault(self, &request.record.table.uri, &held)?;
        let checkpoint = way.checkpoint.iter().flat_map(|found| &found.files);
        for file in checkpoint.chain(&way.commits) {
            let body = reader.body(&file.key).await?;
            take_txns(&file.key, &body, &reader.root, &mut txns)?;
        }
        Ok(txns)
    }
}
