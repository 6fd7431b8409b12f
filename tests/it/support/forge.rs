//! Records that say other than their table was, made with the keys of a snapshotter: well-formed in all else.

use std::sync::Arc;

use deltavault::format::ledger::Bodies;
use deltavault::format::record::Previous;
use deltavault::format::{Entry, Manifest, Placement, Record, TableKey, Tally, VaultKey};
use deltavault::ids::{Digest, SnapshotId, Version};
use deltavault::store::{Payload, ReadStore, WriteStore};
use deltavault::vault::Vault;
use futures::TryStreamExt;

use super::vault_builder::{put_content, put_pages};

/// Publishes the table's newest snapshot once more, with other entries and another record.
pub(crate) async fn forge<S: WriteStore + Clone + 'static>(
    store: &S,
    table: &TableKey,
    change: impl FnOnce(&mut Vec<Entry>, &mut Record),
) -> SnapshotId {
    let (id, _) = forge_signed(store, table, change, |_| {}, |_| {}).await;
    id
}

/// As [`forge`]; the manifest and the record are changed once more just before each is named by its digest.
pub(crate) async fn forge_signed<S: WriteStore + Clone + 'static>(
    store: &S,
    table: &TableKey,
    change: impl FnOnce(&mut Vec<Entry>, &mut Record),
    of_manifest: impl FnOnce(&mut Manifest),
    of_record: impl FnOnce(&mut Record),
) -> (SnapshotId, Record) {
    let readable: Arc<dyn ReadStore> = Arc::new(store.clone());
    let vault = Vault::open(readable).await.unwrap();
    let history = vault.history(table, Bodies::new()).await.unwrap();
    let head = history.snapshots.last().unwrap();
    let manifest = vault.manifest(&head.record).await.unwrap();
    let mut entries: Vec<_> = vault.files(&manifest).try_collect().await.unwrap();
    let mut record = Record::clone(&head.record);
    change(&mut entries, &mut record);
    let mut tally = Tally::default();
    for entry in &entries {
        tally.add(entry);
    }
    let (log, data) = entries
        .into_iter()
        .partition::<Vec<_>, _>(|entry| entry.kind.is_log());
    let mut manifest = Manifest {
        data_pages: put_pages(store, data).await,
        delta_id: record.table.delta_id.clone(),
        log_pages: put_pages(store, log).await,
        totals: tally.totals(),
        version: record.version,
        ..manifest
    };
    of_manifest(&mut manifest);
    let bytes = manifest.encode().unwrap().into();
    record.manifest = put_content(store, VaultKey::manifest, bytes).await;
    record.totals = manifest.totals;
    record.seq = head.seq + 1;
    record.base = Some(head.id);
    record.previous = Some(Previous {
        seq: head.seq,
        sha256: head.id.0,
    });
    of_record(&mut record);
    let bytes = record.encode().unwrap();
    let id = SnapshotId(Digest::of(&bytes));
    let (table, seq, sha256) = (table.clone(), record.seq, id.0);
    let seal = VaultKey::RecordSeal {
        table: table.clone(),
        seq,
        sha256,
    };
    let seal = seal.object_key().unwrap();
    store
        .put_new(&seal, &Payload::from_bytes(""), None)
        .await
        .unwrap();
    let key = VaultKey::Record { table, seq }.object_key().unwrap();
    let payload = Payload::from_bytes(bytes);
    store.put_new(&key, &payload, None).await.unwrap();
    (id, record)
}

/// The entry of a file.
pub(crate) fn entry_of<'a>(entries: &'a mut [Entry], file: &str) -> &'a mut Entry {
    let names: Vec<_> = entries.iter().map(|it| it.file.to_string()).collect();
    let mut found = entries.iter_mut().filter(|it| it.file.as_str() == file);
    found
        .next()
        .unwrap_or_else(|| panic!("no {file} in {names:?}"))
}

/// Puts other bytes into an entry of the log.
pub(crate) fn set_bytes(entry: &mut Entry, bytes: impl Into<Vec<u8>>) {
    let bytes: Vec<u8> = bytes.into();
    entry.size = bytes.len() as u64;
    entry.sha256 = Some(Digest::of(&bytes));
    entry.placement = Placement::Inline(bytes.into());
}

/// The name of a version's commit.
pub(crate) fn commit(version: Version) -> String {
    format!("_delta_log/{:020}.json", version.0)
}
