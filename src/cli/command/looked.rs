//! A vault that is looked into: everything that its ledgers say.

use std::sync::Arc;

use clap::Args;
use deltavault::format::{Manifest, VaultKey};
use deltavault::ids::Timestamp;
use deltavault::plan::choose::{History, Snapshot};
use deltavault::progress::Progress;

use super::Context;
use crate::cli::args::SnapshotPrefix;
use crate::cli::cache;
use crate::cli::cache::Cache;
use crate::cli::error::CommandError;
use crate::cli::stores::OpenVault;

/// Says what there is to say about a table's ledger.
pub(super) fn note_findings(history: &History, progress: &dyn Progress) {
    let name = history.name();
    for finding in &history.findings {
        let object = VaultKey::Record {
            table: history.table.clone(),
            seq: finding.slot(),
        };
        progress.note(&format!("{name}: {object}: {finding}"));
    }
}

/// A vault that is open, and everything that its ledgers say.
pub(super) struct Looked {
    pub(super) open: OpenVault,
    pub(super) histories: Vec<History>,
}

impl Looked {
    pub(super) async fn new(context: &Context) -> Result<Self, CommandError> {
        let open = context.open_vault().await?;
        let mut cache = Cache::open(open.vault.file().id, Arc::clone(&context.progress));
        let histories = open.vault.histories(|table| cache.records(table)).await?;
        cache.put(&histories);
        let vault = cache::with_pages(open.vault.clone());
        let open = OpenVault { vault, ..open };
        Ok(Self { open, histories })
    }

    /// Reads a snapshot's manifest, or says that it was pruned.
    pub(super) async fn manifest(
        &self,
        (history, snapshot): (&History, &Snapshot),
        now: Timestamp,
    ) -> Result<Manifest, CommandError> {
        let vault = &self.open.vault;
        match vault.manifest(&snapshot.record).await {
            Ok(manifest) => Ok(manifest),
            Err(error) => Err(vault
                .why_unreadable(error, snapshot, history, now)
                .await
                .into()),
        }
    }
}

/// Flags of `show` and `ls`.
#[derive(Debug, Args)]
pub(crate) struct OneSnapshotArgs {
    /// Snapshot: the first 8 or more digits of its id
    #[arg(value_name = "SNAPSHOT")]
    pub(crate) snapshot: SnapshotPrefix,
}
