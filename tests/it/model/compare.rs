//! What a restored snapshot is compared with, and what a record leads to.

use std::collections::BTreeSet;
use std::sync::Arc;

use deltavault::Error;
use deltavault::ExitCode;
use deltavault::format::{Placement, Record, Scope};
use deltavault::store::memory::MemoryStore;
use deltavault::vault::Vault;
use futures::TryStreamExt;

use super::{Files, Held, VaultObject};
use crate::support::table::{Table, files_of};

pub(super) fn is_damage(error: &Error) -> bool {
    error.exit_code() == ExitCode::Damage || matches!(error, Error::Format(_))
}

pub(super) fn compare(held: &Held, found: &Files) {
    let Held {
        done,
        closure,
        ever,
        table,
        ..
    } = held;
    let seq = done.record.seq;
    for (name, bytes) in closure {
        assert!(found.get(name) == Some(bytes), "snapshot {seq}: {name}");
    }
    // The other side of a disagreement is of a past that was taken back.
    if !done.record.disagreements.is_empty() {
        return;
    }
    let history = done.record.scope == Scope::History;
    for (name, bytes) in found
        .iter()
        .filter(|(name, _)| !closure.contains_key(*name))
    {
        assert!(
            ever.get(name) == Some(bytes),
            "snapshot {seq}: extra {name}"
        );
        let expected = history || name.starts_with("_delta_log/");
        assert!(expected, "snapshot {seq}: extra {name}");
    }
    if !history {
        assert_eq!(done.record.whole_versions, []);
        return;
    }
    for (&version, live) in table.states.range(..done.record.version.0) {
        let ranges = &done.record.whole_versions;
        let says = ranges
            .iter()
            .any(|(first, last)| (first.0..=last.0).contains(&version));
        let files = files_of(live);
        let whole = files.iter().all(|name| found.contains_key(name));
        assert!(whole || !says, "snapshot {seq}: {version} in {ranges:?}");
    }
}

/// The vault objects that a record leads to.
pub(super) async fn objects(
    vault: &Vault,
    record: &Record,
) -> Result<BTreeSet<VaultObject>, Error> {
    let manifest = vault.manifest(record).await?;
    let pages = [manifest.log_pages, manifest.data_pages].concat();
    let mut objects =
        BTreeSet::from([(record.manifest.key.clone(), record.manifest.version.clone())]);
    for page in &pages {
        objects.insert((page.page.key.clone(), page.page.version.clone()));
    }
    let mut entries = vault.entries(&pages);
    while let Some(entry) = entries.try_next().await? {
        match entry.placement {
            Placement::Blob { reference, .. } | Placement::Copy { reference } => {
                objects.insert((reference.key, reference.version));
            }
            Placement::Inline(_) | Placement::Absent {} => {}
        }
    }
    Ok(objects)
}

pub(super) async fn everything(store: &MemoryStore) -> Files {
    let table = Table::open(Arc::new(store.clone()));
    let mut found = Files::new();
    for name in table.names("").await {
        let bytes = table.read(&name).await;
        found.insert(name, bytes);
    }
    found
}
