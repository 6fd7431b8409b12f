//! `verify` on vaults that somebody has damaged.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use deltavault::ExitCode;
use deltavault::format::layout::{OBJECT_PREFIXES, Suffix};
use deltavault::format::ledger::Bodies;
use deltavault::format::{Placement, VaultKey};
use deltavault::ids::{Digest, ObjectKey, SnapshotId};
use deltavault::plan::verify::{Finding, ReadBytes, Severity, Subset, VerifyPlan};
use deltavault::progress::NoProgress;
use deltavault::store::local::LocalStore;
use deltavault::store::memory::MemoryStore;
use deltavault::store::{ListedVersion, Payload, ReadStore, StoreErrorKind, WriteStore};
use deltavault::vault::Vault;
use futures::TryStreamExt;

use crate::support::fault_store::FaultStore;
use crate::support::vault_builder::{TableBuilder, new_vault, open};
use crate::support::verified::{ALL, NO_BYTES, advice, verify, verify_tables};

/// A vault with two tables of three snapshots each.
pub(crate) async fn two_tables<S: WriteStore + Clone + 'static>(
    store: &S,
) -> (Vault, TableBuilder<S>, TableBuilder<S>) {
    let vault = new_vault(store).await;
    let orders = TableBuilder::with_snapshots(store.clone(), &vault, "orders", 3).await;
    let people = TableBuilder::with_snapshots(store.clone(), &vault, "people", 3).await;
    (vault, orders, people)
}

async fn keys(store: &dyn ReadStore) -> Vec<ObjectKey> {
    let listing = store.list("", None).map_ok(|object| object.key);
    listing.try_collect().await.unwrap()
}

/// The blob of a version's large file, and the pack of its small ones.
pub(crate) fn blob_and_pack<S>(table: &TableBuilder<S>, version: usize) -> (ObjectKey, ObjectKey) {
    let key = |name: String| {
        let entry = table.entries.iter().find(|it| it.file.as_str() == name);
        let Placement::Blob { reference, .. } = &entry.unwrap().placement else {
            panic!("{name} is in no blob");
        };
        reference.key.clone()
    };
    (
        key(format!("part-{version}-big")),
        key(format!("part-{version}-0")),
    )
}

fn ids<S>(table: &TableBuilder<S>, from: usize) -> Vec<SnapshotId> {
    let ids = table.records[from..].iter().rev();
    ids.map(|(id, _)| *id).collect()
}

#[tokio::test]
async fn sound_vault_has_nothing_to_say_and_everything_was_counted() {
    let store = MemoryStore::without_locks("s3://bucket/vault");
    let (vault, ..) = two_tables(&store).await;
    let none = verify(&vault, NO_BYTES).await;
    assert_eq!(none.findings, []);
    assert_eq!(none.code(), ExitCode::Done);
    assert_eq!(none.report.tables, 2);
    assert_eq!(none.report.records, 6);
    assert_eq!(none.report.manifests, 6);
    assert_eq!(none.report.pages, 12);
    assert_eq!(none.report.objects_read, 0);
    assert_eq!(none.report.unreferenced, Some(0));
    assert_eq!(none.report.unreferenced_bytes, Some(0));
    let all = verify(&vault, ALL).await;
    assert_eq!(all.findings, []);
    assert_eq!(all.report.objects, none.report.objects);
    // Two tables, three versions, a blob and a pack each: every object once.
    assert_eq!(all.report.objects_read, 12);
}

#[tokio::test]
async fn bit_flip_in_any_object_is_found_and_named() {
    for (nth, kind) in ["versions", "no versions", "no attestation"]
        .iter()
        .enumerate()
    {
        let fresh = async || {
            let store = match *kind {
                "versions" => MemoryStore::without_locks("s3://bucket/vault"),
                _ => MemoryStore::without_versions("s3://bucket/vault"),
            };
            store.attest_sha256(*kind != "no attestation");
            two_tables(&store).await;
            store
        };
        let store = fresh().await;
        let mut checked = 0;
        for (place, key) in keys(&store).await.into_iter().enumerate() {
            let size = store.attributes(&key, None).await.unwrap().size;
            if size == 0 {
                continue;
            }
            // Another one in each kind of store.
            let bits = [0, size * 8 / 3, size * 4, size * 8 - 1];
            let bit = usize::try_from(bits[(nth + place) % bits.len()]).unwrap();
            store.flip_bit(&key, None, bit).unwrap();
            match Vault::open(std::sync::Arc::new(store.clone())).await {
                Ok(vault) => {
                    let verified = verify(&vault, ALL).await;
                    assert!(
                        verified.is_about(&key),
                        "{kind}: {key} bit {bit}: {verified:#?}"
                    );
                    let code = verified.code();
                    assert_eq!(code, ExitCode::Damage, "{kind}: {key} bit {bit}");
                }
                Err(error) => assert_eq!(key.as_str(), "vault.json", "{error}"),
            }
            store.flip_bit(&key, None, bit).unwrap();
            checked += 1;
        }
        assert!(checked > 25, "{checked}");
        assert_eq!(verify(&open(&store).await, ALL).await.findings, []);
    }
}

#[tokio::test]
async fn missing_object_of_any_kind_is_damage_and_names_who_is_hurt() {
    let store = MemoryStore::without_versions("s3://bucket/vault");
    let (vault, orders, _) = two_tables(&store).await;
    let (blob, pack) = blob_and_pack(&orders, 1);
    for read in [ReadBytes::None, ReadBytes::All] {
        for key in [&blob, &pack] {
            let bytes = take_away(&store, key).await;
            let verified = verify(&vault, VerifyPlan { read, ..ALL }).await;
            assert_eq!(verified.code(), ExitCode::Damage);
            let finding = verified.about(key);
            assert_eq!(finding.severity, Severity::Damage);
            assert_eq!(finding.table.as_deref(), Some("orders"));
            // The first snapshot was taken before the file was there.
            assert_eq!(finding.snapshots, ids(&orders, 1));
            assert!(advice(finding).contains("deltavault verify orders --repair"));
            assert_eq!(verified.findings.len(), 1, "{verified:#?}");
            store.plant(key, bytes);
        }
    }
    // A manifest, and a page that a manifest names: one snapshot is hurt, and the rest is still checked.
    let manifest = orders.manifest_of(1).await;
    for key in [
        &orders.records[1].1.manifest.key,
        &manifest.data_pages[0].page.key,
        &manifest.log_pages[0].page.key,
    ] {
        let bytes = take_away(&store, key).await;
        store.flip_bit(&blob, None, 3).unwrap();
        let verified = verify(&vault, ALL).await;
        assert_eq!(verified.about(key).snapshots, [orders.records[1].0]);
        assert_eq!(verified.about(&blob).severity, Severity::Damage);
        assert_eq!(verified.report.unreferenced, None);
        store.flip_bit(&blob, None, 3).unwrap();
        store.plant(key, bytes);
    }
    assert_eq!(verify(&vault, ALL).await.findings, []);
}

pub(crate) async fn take_away(store: &MemoryStore, key: &ObjectKey) -> bytes::Bytes {
    let read = deltavault::store::read_all(store, key, None, 1 << 20).await;
    store.delete_marker(key);
    read.unwrap().1
}

#[tokio::test]
async fn planted_objects_are_found_everywhere_and_never_read() {
    let store = MemoryStore::without_locks("s3://bucket/vault");
    let (_, orders, _) = two_tables(&store).await;
    let all = keys(&store).await;
    for key in &all {
        store.plant(key, "planted");
    }
    let vault = open(&store).await;
    let verified = verify(&vault, ALL).await;
    for key in &all {
        assert_eq!(verified.about(key).severity, Severity::Warning, "{key}");
    }
    assert_eq!(verified.code(), ExitCode::Findings);
    // Everything is still read by version.
    let history = vault.history(&orders.key, Bodies::new()).await.unwrap();
    let snapshots = history.snapshots.iter().map(|it| it.id);
    assert_eq!(
        snapshots.collect::<Vec<_>>(),
        ids(&orders, 0).into_iter().rev().collect::<Vec<_>>()
    );
    let manifest = vault.manifest(&history.snapshots[2].record).await.unwrap();
    let files: Vec<_> = vault.files(&manifest).try_collect().await.unwrap();
    let scratch = tempfile::tempdir().unwrap();
    for file in &files {
        vault.payload(file, scratch.path()).await.unwrap();
    }
    assert_eq!(files.len(), 15);
}

#[tokio::test]
async fn delete_markers_on_every_key_hide_nothing() {
    let store = MemoryStore::without_locks("s3://bucket/vault");
    two_tables(&store).await;
    let all = keys(&store).await;
    for key in &all {
        store.delete_marker(key);
    }
    assert!(keys(&store).await.is_empty());
    let verified = verify(&open(&store).await, ALL).await;
    assert_eq!(verified.report.records, 6);
    for key in &all {
        assert_eq!(verified.about(key).severity, Severity::Warning, "{key}");
    }
    assert_eq!(verified.findings.len(), all.len());
    assert_eq!(verified.code(), ExitCode::Findings);
}

#[tokio::test]
async fn planted_bytes_without_versions_are_damage_once_they_are_read() {
    let store = MemoryStore::without_versions("s3://bucket/vault");
    let (vault, orders, _) = two_tables(&store).await;
    let (blob, _) = blob_and_pack(&orders, 0);
    let size = store.attributes(&blob, None).await.unwrap().size;
    store.plant(&blob, vec![b'x'; usize::try_from(size).unwrap()]);
    let none = verify(&vault, NO_BYTES).await;
    assert_eq!(none.code(), ExitCode::Done, "the size is right");
    let all = verify(&vault, ALL).await;
    assert_eq!(all.about(&blob).snapshots, ids(&orders, 0));
    store.plant(&blob, "x");
    let none = verify(&vault, NO_BYTES).await;
    assert_eq!(none.about(&blob).severity, Severity::Damage);
    // Its bytes under its own name with a suffix, where a repair would put them, make it whole again.
    let bytes = "a large file of version 0 of orders".repeat(20);
    let digest = Digest::of(bytes.as_bytes());
    let key = VaultKey::blob(digest, Some(Suffix::from_bytes([1, 2, 3, 4])));
    store.plant(&key.object_key().unwrap(), bytes);
    let repaired = verify(&vault, ALL).await;
    assert_eq!(repaired.about(&blob).severity, Severity::Info);
}

#[tokio::test]
async fn flip_in_a_pack_names_the_files_that_are_lost() {
    let store = MemoryStore::without_versions("s3://bucket/vault");
    let (vault, orders, _) = two_tables(&store).await;
    let (_, pack) = blob_and_pack(&orders, 2);
    let first = "small file 0 of version 2 of orders".len();
    store.flip_bit(&pack, None, first * 8 + 9).unwrap();
    let verified = verify(&vault, ALL).await;
    let finding = verified.about(&pack);
    assert!(
        finding
            .what
            .contains("1 of 3 files in it is lost, first part-2-1"),
        "{finding:?}"
    );
    assert_eq!(finding.snapshots, ids(&orders, 2));
}

#[tokio::test]
async fn page_that_lies_about_a_sound_pack_is_damage() {
    let store = MemoryStore::without_versions("s3://bucket/vault");
    let vault = new_vault(&store).await;
    let mut table = TableBuilder::new(store.clone(), &vault, "orders");
    table.commit().await;
    let lie = table
        .entries
        .iter_mut()
        .find(|it| it.file.as_str() == "part-0-1")
        .unwrap();
    lie.sha256 = Some(Digest::of(b"another file"));
    let id = table.publish().await;
    let (_, pack) = blob_and_pack(&table, 0);
    let verified = verify(&vault, ALL).await;
    let finding = verified.about(&pack);
    assert_eq!(
        (finding.severity, &finding.snapshots[..]),
        (Severity::Damage, &[id][..])
    );
    assert!(finding.what.contains("first part-0-1"), "{finding:?}");
    let none = verify(&vault, NO_BYTES).await;
    assert_eq!(none.code(), ExitCode::Done);
}

#[tokio::test]
async fn copy_of_a_vault_with_other_object_versions_is_read_by_digest() {
    let store = MemoryStore::without_locks("s3://bucket/vault");
    let (vault, ..) = two_tables(&store).await;
    let sound = verify(&vault, NO_BYTES).await;
    let copy = MemoryStore::without_locks("s3://replica/vault");
    let mut rows: Vec<_> = store.list_versions("", None).try_collect().await.unwrap();
    // Written in another order, and after something else, so that no version id is the same by chance.
    rows.reverse();
    for _ in 0..100 {
        copy.plant(&"README".parse().unwrap(), "a replica");
    }
    for row in rows {
        let ListedVersion::Object(object) = row else {
            continue;
        };
        let read = deltavault::store::read_all(&store, &object.key, None, 1 << 20).await;
        copy.plant(&object.key, read.unwrap().1);
    }
    for read in [ReadBytes::None, ReadBytes::All] {
        let verified = verify(&open(&copy).await, VerifyPlan { read, ..ALL }).await;
        assert_eq!(verified.code(), ExitCode::Findings, "{verified:#?}");
        assert_eq!(verified.findings.len(), 2, "one a table: {verified:#?}");
        assert!(
            verified.findings[0].what.contains("object version"),
            "{verified:#?}"
        );
    }
    // Without an attestation the size is all that is known until the bytes are read.
    copy.attest_sha256(false);
    let none = verify(&open(&copy).await, NO_BYTES).await;
    let unread = none
        .findings
        .iter()
        .filter(|it| it.what.contains("was not read"));
    assert_eq!(unread.count(), 2, "one a table: {none:#?}");
    assert_eq!(none.report.objects_read, 0);
    // Manifests and pages only.
    assert_eq!(none.report.bytes_read, sound.report.bytes_read);
    let all = verify(&open(&copy).await, ALL).await;
    assert_eq!(all.findings.len(), 2, "{all:#?}");
}

#[tokio::test]
async fn other_bytes_of_the_same_size_do_not_stand_in_for_a_deleted_version() {
    let store = MemoryStore::without_locks("s3://bucket/vault");
    let (vault, orders, _) = two_tables(&store).await;
    let (blob, _) = blob_and_pack(&orders, 1);
    let object = store.attributes(&blob, None).await.unwrap();
    let size = usize::try_from(object.size).unwrap();
    store.plant(&blob, vec![b'x'; size]);
    store
        .delete_version(&blob, &object.version.unwrap())
        .unwrap();
    for plan in [NO_BYTES, ALL] {
        let verified = verify(&vault, plan).await;
        let finding = verified.about(&blob);
        assert_eq!(finding.severity, Severity::Damage);
        assert_eq!(finding.snapshots, ids(&orders, 1));
    }
}

#[tokio::test]
async fn snapshots_that_share_a_page_are_all_hurt_by_what_it_names() {
    let store = MemoryStore::without_versions("s3://bucket/vault");
    let vault = new_vault(&store).await;
    let mut table = TableBuilder::with_snapshots(store.clone(), &vault, "orders", 1).await;
    for n in 1..4 {
        table.inline(&format!("_delta_log/{n:020}.json"), "{}");
        table.publish().await;
    }
    // And one that names the very manifest of the one before.
    table.publish().await;
    let pages: BTreeSet<ObjectKey> = {
        let mut pages = BTreeSet::new();
        for index in 0..5 {
            let manifest = table.manifest_of(index).await;
            pages.insert(manifest.data_pages[0].page.key.clone());
        }
        pages
    };
    assert_eq!(pages.len(), 1);
    let page = pages.first().unwrap();
    let (blob, pack) = blob_and_pack(&table, 0);
    for key in [&blob, &pack, page] {
        store.flip_bit(key, None, 77).unwrap();
        let verified = verify(&vault, ALL).await;
        assert_eq!(verified.about(key).snapshots, ids(&table, 0), "{key}");
        store.flip_bit(key, None, 77).unwrap();
    }
    let log = table.manifest_of(4).await.log_pages[0].page.key.clone();
    store.flip_bit(&log, None, 77).unwrap();
    let verified = verify(&vault, ALL).await;
    assert_eq!(verified.about(&log).snapshots, ids(&table, 3));
}

#[tokio::test]
async fn objects_that_nothing_names_are_counted_and_no_finding() {
    let store = MemoryStore::without_versions("s3://bucket/vault");
    let (vault, orders, people) = two_tables(&store).await;
    orders
        .put_content(VaultKey::blob, "left by a killed run".into())
        .await;
    orders.put_content(VaultKey::page, "planted".into()).await;
    let verified = verify(&vault, ALL).await;
    assert_eq!(verified.code(), ExitCode::Done);
    assert_eq!(verified.report.unreferenced, Some(2));
    assert_eq!(verified.report.unreferenced_bytes, Some(27));
    // With tables named, who knows whose the others are.
    let (blob, _) = blob_and_pack(&people, 0);
    store.flip_bit(&blob, None, 0).unwrap();
    let one = verify_tables(&vault, Some(std::slice::from_ref(&orders.key)), ALL).await;
    assert_eq!(one.findings, []);
    assert_eq!(one.report.unreferenced, None);
    assert_eq!(one.report.objects_read, 6);
    let other = verify_tables(&vault, Some(&[people.key]), ALL).await;
    assert_eq!(other.code(), ExitCode::Damage);
}

#[tokio::test]
async fn parts_together_read_every_object_once() {
    let store = MemoryStore::without_versions("s3://bucket/vault");
    let vault = new_vault(&store).await;
    let table = TableBuilder::with_snapshots(store.clone(), &vault, "orders", 30).await;
    let mut read = 0;
    let mut found = BTreeSet::new();
    for version in [3, 17] {
        store
            .flip_bit(&blob_and_pack(&table, version).0, None, 1)
            .unwrap();
    }
    for part in 1..=7 {
        let subset = Some(Subset { part, of: 7 });
        let verified = verify(&vault, VerifyPlan { subset, ..ALL }).await;
        assert!(verified.report.objects_read < 30);
        read += verified.report.objects_read;
        found.extend(verified.findings.into_iter().map(|it| it.object));
    }
    assert_eq!(read, 60);
    assert_eq!(found.len(), 2);
}

#[tokio::test]
async fn sample_is_the_same_every_time_and_has_some_of_the_newest() {
    let store = MemoryStore::without_versions("s3://bucket/vault");
    let vault = new_vault(&store).await;
    TableBuilder::with_snapshots(store.clone(), &vault, "orders", 30).await;
    let sample = VerifyPlan {
        read: ReadBytes::Sample,
        ..ALL
    };
    let first = verify(&vault, sample).await.report;
    assert!((4..20).contains(&first.objects_read), "{first:?}");
    assert_eq!(verify(&vault, sample).await.report, first);
}

#[tokio::test]
async fn object_that_cannot_be_read_is_told_and_does_not_stop_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalStore::create(folder.path())
        .unwrap()
        .with_read_only_files();
    let (vault, orders, people) = two_tables(&store).await;
    assert_eq!(verify(&vault, ALL).await.findings, []);
    let (blob, pack) = blob_and_pack(&orders, 1);
    let page = people.manifest_of(0).await.data_pages[0].page.key.clone();
    let path = |key: &ObjectKey| folder.path().join(key.as_str());
    for key in [&blob, &page] {
        fs::set_permissions(path(key), fs::Permissions::from_mode(0o000)).unwrap();
    }
    flip(&path(&pack));
    let verified = verify(&vault, ALL).await;
    assert_eq!(verified.about(&pack).severity, Severity::Damage);
    // A superuser reads everything.
    if fs::read(path(&blob)).is_err() {
        assert_eq!(verified.about(&blob).severity, Severity::Unchecked);
        assert_eq!(verified.about(&page).severity, Severity::Unchecked);
    }
    // Something else in its place is no object.
    fs::remove_file(path(&blob)).unwrap();
    fs::create_dir(path(&blob)).unwrap();
    assert!(verify(&vault, ALL).await.is_about(&blob));
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes[0] ^= 1;
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn flipped_file_of_a_local_vault_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalStore::create(folder.path())
        .unwrap()
        .with_read_only_files();
    let (vault, ..) = two_tables(&store).await;
    for key in keys(&store).await {
        let path = folder.path().join(key.as_str());
        if fs::read(&path).unwrap().is_empty() || key.as_str() == "vault.json" {
            continue;
        }
        flip(&path);
        assert!(verify(&vault, ALL).await.is_about(&key), "{key}");
        flip(&path);
    }
}

#[tokio::test]
async fn what_cannot_be_listed_is_told_and_asked_for_alone() {
    let store = MemoryStore::without_locks("s3://bucket/vault");
    let (_, orders, _) = two_tables(&store).await;
    let (gone, _) = blob_and_pack(&orders, 1);
    let version = store.attributes(&gone, None).await.unwrap().version;
    store.delete_version(&gone, &version.unwrap()).unwrap();
    let faulty = FaultStore::new(store);
    let vault = Vault::open(std::sync::Arc::new(faulty.clone()))
        .await
        .unwrap();
    for prefix in OBJECT_PREFIXES {
        faulty.deny(move |call| call.method == "list_versions" && call.key == prefix);
        let found = verify(&vault, NO_BYTES).await;
        faulty.revive();
        assert_eq!(found.about(prefix).severity, Severity::Unchecked);
        assert_eq!(found.about(&gone).severity, Severity::Damage);
        let mut about = found.findings.iter().map(|it| it.object.as_str());
        assert!(about.all(|object| [prefix, gone.as_str()].contains(&object)));
        assert_eq!(found.report.unreferenced, None);
    }
}

#[tokio::test]
async fn call_that_fails_anywhere_is_told_or_is_the_error() {
    let store = MemoryStore::without_locks("s3://bucket/vault");
    two_tables(&store).await;
    let faulty = FaultStore::new(store);
    let vault = Vault::open(std::sync::Arc::new(faulty.clone()))
        .await
        .unwrap();
    let spill = tempfile::tempdir().unwrap();
    let opening = faulty.calls().len();
    assert_eq!(verify(&vault, ALL).await.findings, []);
    let calls = faulty.calls().len() - opening;
    assert!(calls > 20);
    for k in 1..=calls {
        faulty.fail_call(k, crate::support::fault_store::Fault::Before);
        let mut findings = Vec::new();
        let mut found = |finding: Finding| {
            findings.push(finding);
            Ok(())
        };
        let report = vault
            .verify(None, ALL, spill.path(), &NoProgress, &mut found)
            .await;
        faulty.revive();
        match report {
            Ok((report, _)) => {
                assert_eq!(
                    report.exit_code(),
                    ExitCode::Failed,
                    "call {k}: {findings:#?}"
                );
            }
            Err(error) => {
                assert!(
                    matches!(&error, deltavault::Error::Store(error) if matches!(error.kind, StoreErrorKind::Io { .. } | StoreErrorKind::Interrupted)),
                    "call {k}: {error:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn reference_out_of_the_vaults_areas_is_told() {
    let store = MemoryStore::without_versions("s3://bucket/vault");
    let vault = new_vault(&store).await;
    let mut table = TableBuilder::new(store.clone(), &vault, "orders");
    table.commit().await;
    let payload = Payload::from_bytes("elsewhere");
    let mut reference = table.put_content(VaultKey::blob, "elsewhere".into()).await;
    for key in ["elsewhere", "zoo/elsewhere", "blobs-and-more/x"] {
        reference.key = key.parse().unwrap();
        store.put_new(&reference.key, &payload, None).await.unwrap();
        let placement = Placement::Copy {
            reference: reference.clone(),
        };
        table.data(&format!("file at {key}"), b"elsewhere", placement);
    }
    reference.key = "blobs/gone".parse().unwrap();
    table.data(
        "gone",
        b"elsewhere",
        Placement::Copy {
            reference: reference.clone(),
        },
    );
    table.publish().await;
    let verified = verify(&vault, ALL).await;
    for key in ["elsewhere", "zoo/elsewhere", "blobs-and-more/x"] {
        assert_eq!(verified.about(key).severity, Severity::Warning);
    }
    let gone = verified
        .findings
        .iter()
        .filter(|it| it.object == "blobs/gone");
    assert!(
        gone.clone().any(|it| it.severity == Severity::Warning),
        "{verified:#?}"
    );
}
