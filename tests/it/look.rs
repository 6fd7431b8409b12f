//! Looking into vaults, tables, snapshots, files and differences.

use std::collections::BTreeMap;
use std::sync::Arc;

use deltavault::format::ledger::Bodies;
use deltavault::format::{EntryKind, Placement, TableUri};
use deltavault::ids::{ObjectKey, Version};
use deltavault::plan::choose::{ChooseError, CommitTimes, Wanted};
use deltavault::store::memory::MemoryStore;
use deltavault::vault::Vault;
use deltavault::vault::diff::{Change, DiffTotals, LiveChange, LiveTotals};
use deltavault::vault::look::{TableRef, find_snapshot, only_table};
use deltavault::{Error, ExitCode};
use futures::TryStreamExt;

use crate::support::fault_store::FaultStore;
use crate::support::vault_builder::{TableBuilder, new_vault};

fn name(table: &TableRef) -> (String, String) {
    (table.name().to_owned(), table.uri())
}

#[tokio::test]
async fn tables_are_found_by_name_uri_key_and_slug() {
    let store = MemoryStore::without_versions("s3://bucket/vault");
    let vault = new_vault(&store).await;
    let orders = TableBuilder::with_snapshots(store.clone(), &vault, "orders", 2).await;
    let mut people = TableBuilder::new(store.clone(), &vault, "people");
    people.identity.name = "the people".to_owned();
    people.commit().await;
    people.publish().await;
    let key = people.key.to_string();
    for text in [
        "the people",
        "file:///lake/people",
        "file:/lake/people/",
        "lake-people",
        key.as_str(),
    ] {
        let found = vault.find_table(text).await.unwrap();
        assert_eq!(found.key, people.key, "{text}");
        assert_eq!(name(&found).0, "the people");
    }
    let Err(Error::UnknownTable { known, .. }) = vault.find_table("orderz").await else {
        panic!("found");
    };
    assert_eq!(known, ["orders", "the people"]);
    // A word may also be a path. Where it names one table and leads to another, nobody can know.
    let place: TableUri = "file:///lake/people".parse().unwrap();
    let found = vault.find_tables("people", Some(&place)).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].key, people.key);
    let both = vault.find_tables("orders", Some(&place)).await.unwrap();
    let error = only_table("orders", both).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::OwnerMustChoose);
    let hint = error.hint().unwrap();
    for table in [&orders, &people] {
        assert!(hint.contains(&table.key.to_string()), "{hint}");
    }
    assert_eq!(vault.find_table("orders").await.unwrap().key, orders.key);
}

#[tokio::test]
async fn a_table_that_is_named_by_its_key_costs_as_much_among_many_as_alone() {
    let store = FaultStore::new(MemoryStore::without_versions("s3://bucket/vault"));
    let vault = new_vault(&store).await;
    let orders = TableBuilder::with_snapshots(store.clone(), &vault, "orders", 2).await;
    let spent = async || {
        store.revive();
        let found = vault.find_table(&orders.key.to_string()).await.unwrap();
        assert_eq!(found.key, orders.key);
        assert_eq!(
            vault.table_with(&orders.key).await.unwrap().as_ref(),
            Some(&found)
        );
        store.calls().len()
    };
    let alone = spent().await;
    for other in 0..20 {
        let name = format!("other{other}");
        TableBuilder::with_snapshots(store.clone(), &vault, &name, 1).await;
    }
    assert_eq!(spent().await, alone);
    let unknown = "x-00000000000000000000000000000000".parse().unwrap();
    assert_eq!(vault.table_with(&unknown).await.unwrap(), None);
}

#[tokio::test]
async fn record_in_the_ledger_of_another_table_does_not_lend_it_its_name() {
    let store = MemoryStore::without_versions("s3://bucket/vault");
    let vault = new_vault(&store).await;
    let orders = TableBuilder::with_snapshots(store.clone(), &vault, "orders", 1).await;
    let mut people = TableBuilder::with_snapshots(store.clone(), &vault, "people", 1).await;
    people
        .publish_as(|record| record.table = orders.identity.clone())
        .await;
    assert_eq!(vault.find_table("orders").await.unwrap().key, orders.key);
    // Nor does it take away the name that the table's own records give it.
    for name in ["people", "lake-people"] {
        let found = vault.find_table(name).await.unwrap();
        assert_eq!(found.identity.as_ref(), Some(&people.identity), "{name}");
    }
}

#[tokio::test]
async fn record_for_a_newer_tool_hides_nothing_and_is_the_answer_where_it_may_be_meant() {
    let store = MemoryStore::without_versions("s3://bucket/vault");
    let vault = new_vault(&store).await;
    let mut orders = TableBuilder::with_snapshots(store.clone(), &vault, "orders", 2).await;
    let newer = orders
        .publish_as(|record| record.requires = vec!["x".to_owned()])
        .await;
    orders
        .publish_as(|record| record.requires = vec!["x".to_owned()])
        .await;
    let found = vault.find_table("lake-orders").await.unwrap();
    let history = vault.history(&found.key, Bodies::new()).await.unwrap();
    assert_eq!(history.snapshots.len(), 2);
    assert_eq!(history.newer.len(), 2);
    for wanted in [Wanted::Latest, Wanted::Snapshot(newer.to_string())] {
        let refused = history.choose(&wanted, &CommitTimes::new());
        assert!(matches!(refused, Err(ChooseError::Ledger(_))));
    }
    let id = orders.records[0].0.to_string();
    let by_id = Wanted::Snapshot(id);
    assert!(history.choose(&by_id, &CommitTimes::new()).is_ok());
    assert_eq!(vault.find_table("orders").await.unwrap().key, orders.key);
    let elsewhere = vault.find_table("file:///lake/people").await;
    assert!(matches!(elsewhere, Err(Error::UnknownTable { .. })));
}

#[tokio::test]
async fn ledger_that_may_not_be_read_hides_no_other_one() {
    let store = FaultStore::new(MemoryStore::without_versions("s3://bucket/vault"));
    let vault = new_vault(store.inner()).await;
    let orders = TableBuilder::with_snapshots(store.inner().clone(), &vault, "orders", 3).await;
    let people = TableBuilder::with_snapshots(store.inner().clone(), &vault, "people", 2).await;
    let vault = Vault::open(Arc::new(store.clone())).await.unwrap();
    let ledger = format!("tables/{}/ledger/", people.key);
    for method in ["open", "list_versions"] {
        let ledger = ledger.clone();
        store.deny(move |call| call.method == method && call.key.starts_with(&ledger));
        let found = vault.histories(|_| Bodies::new()).await.unwrap();
        assert_eq!(found.read.len(), 1);
        assert_eq!(found.read[0].table, orders.key);
        let [(table, refused)] = found.refused.as_slice() else {
            panic!("{:?}", found.refused);
        };
        assert_eq!(*table, people.key);
        assert_eq!(refused.exit_code(), ExitCode::Failed);
        let forged = refused.hint().unwrap().contains("--forged KEY");
        assert_eq!(forged, method == "open");
        assert!(found.whole().is_err());
        assert_eq!(vault.find_table("orders").await.unwrap().key, orders.key);
        // It may be the one that is meant: its name is in what cannot be read.
        let hidden = vault.find_table("people").await.unwrap_err();
        assert!(hidden.is_refused_ledger(), "{hidden}");
    }
}

#[tokio::test]
async fn snapshots_are_found_by_prefix_across_tables() {
    let store = MemoryStore::without_versions("s3://bucket/vault");
    let vault = new_vault(&store).await;
    let orders = TableBuilder::with_snapshots(store.clone(), &vault, "orders", 3).await;
    let people = TableBuilder::with_snapshots(store.clone(), &vault, "people", 2).await;
    let histories = vault.histories(|_| Bodies::new()).await.unwrap().read;
    for (table, key) in [(&orders, &orders.key), (&people, &people.key)] {
        for (id, record) in &table.records {
            let (history, found) = find_snapshot(&histories, &id.short()).unwrap();
            assert_eq!(
                (&history.table, found.id, found.seq),
                (key, *id, record.seq)
            );
            assert_eq!(found.record.change.operation.as_deref(), Some("WRITE"));
        }
    }
    let unknown = find_snapshot(&histories, "00000000").unwrap_err();
    let known = Error::from(unknown).hint().unwrap();
    assert!(known.contains(&people.records[0].0.short()), "{known}");
}

#[tokio::test]
async fn files_of_a_snapshot_come_in_order_and_are_counted_by_kind() {
    let store = MemoryStore::without_versions("s3://bucket/vault");
    let vault = new_vault(&store).await;
    let table = TableBuilder::with_snapshots(store.clone(), &vault, "orders", 3).await;
    let manifest = table.manifest_of(2).await;
    let files: Vec<_> = vault.files(&manifest).try_collect().await.unwrap();
    assert_eq!(files.len(), 15);
    assert!(files[0].kind.is_log() && !files[3].kind.is_log());
    let kinds = vault.count_kinds(&manifest).await.unwrap();
    assert_eq!(kinds[&EntryKind::Commit].files, 3);
    assert_eq!(kinds[&EntryKind::Data].files, 12);
    assert_eq!(kinds[&EntryKind::Data].bytes, manifest.totals.data_bytes);
    // A page that is damaged is an error that names it, not a shorter list.
    let page = manifest.data_pages[0].page.key.clone();
    store.flip_bit(&page, None, 5).unwrap();
    let damaged = vault.files(&manifest).try_collect::<Vec<_>>().await;
    assert!(matches!(damaged, Err(Error::Damaged { object, .. }) if object == page.as_str()));
}

async fn diff(
    vault: &Vault,
    table: &TableBuilder<MemoryStore>,
    (before, after): (usize, usize),
) -> (Vec<(String, Change)>, DiffTotals) {
    let spill = tempfile::tempdir().unwrap();
    let (before, after) = (
        table.manifest_of(before).await,
        table.manifest_of(after).await,
    );
    let mut found = Vec::new();
    let mut take = |it: deltavault::vault::diff::Difference| {
        found.push((it.file.to_string(), it.change));
        Ok(())
    };
    let totals = vault.diff(&before, &after, spill.path(), &mut take).await;
    (found, totals.unwrap())
}

#[tokio::test]
async fn snapshots_differ_in_what_was_added_removed_and_changed() {
    let store = MemoryStore::without_versions("s3://bucket/vault");
    let vault = new_vault(&store).await;
    let mut table = TableBuilder::with_snapshots(store.clone(), &vault, "orders", 2).await;
    // Version 2: a file goes, one has other bytes, one that was named is only named.
    table.commit().await;
    table
        .entries
        .retain(|entry| entry.file.as_str() != "part-0-0");
    let other = table
        .put_content(deltavault::format::VaultKey::blob, "other".into())
        .await;
    let find = |entries: &mut Vec<deltavault::format::Entry>, name: &str| {
        entries
            .iter()
            .position(|entry| entry.file.as_str() == name)
            .unwrap()
    };
    let changed = find(&mut table.entries, "part-0-big");
    let before = table.entries[changed].size;
    table.entries[changed].size = 5;
    table.entries[changed].sha256 = Some(other.sha256);
    table.entries[changed].placement = Placement::Blob {
        offset: None,
        reference: other,
    };
    let absent = find(&mut table.entries, "part-0-1");
    let size = table.entries[absent].size;
    table.entries[absent].sha256 = None;
    table.entries[absent].placement = Placement::Absent {};
    table.entries[absent].live.clear();
    table.publish().await;

    let (found, totals) = diff(&vault, &table, (1, 2)).await;
    let found: BTreeMap<_, _> = found.into_iter().collect();
    assert_eq!(found.len(), 8, "{found:?}");
    assert_eq!(found["part-0-big"], Change::Changed { before, after: 5 });
    assert_eq!(
        found["part-0-1"],
        Change::Changed {
            before: size,
            after: size
        }
    );
    assert!(matches!(found["part-0-0"], Change::Removed { .. }));
    assert!(matches!(found["part-2-big"], Change::Added { .. }));
    assert!(matches!(
        found["_delta_log/00000000000000000002.json"],
        Change::Added { .. }
    ));
    assert_eq!((totals.log.added.files, totals.log.same), (1, 2));
    let data = totals.data;
    assert_eq!(
        (
            data.added.files,
            data.removed.files,
            data.changed.files,
            data.same
        ),
        (4, 1, 2, 5)
    );
    let (found, totals) = diff(&vault, &table, (2, 2)).await;
    assert_eq!(found, []);
    assert_eq!((totals.log.same, totals.data.same), (3, 11));
}

#[tokio::test]
async fn pages_that_both_have_are_not_read() {
    let store = MemoryStore::without_versions("s3://bucket/vault");
    let vault = new_vault(&store).await;
    let mut table = TableBuilder::new(store.clone(), &vault, "orders");
    table.commit().await;
    for n in 1..9000_u64 {
        table.inline(&format!("_delta_log/{n:020}.json"), "{}");
    }
    table.publish().await;
    table.inline("_delta_log/00000000000000009000.json", "{}");
    table.publish().await;
    let counted = FaultStore::new(store.clone());
    let counting = Vault::open(Arc::new(counted.clone())).await.unwrap();
    let before = counted.count("open");
    let (found, totals) = diff(&counting, &table, (0, 1)).await;
    assert_eq!(found.len(), 1);
    assert_eq!((totals.log.same, totals.data.same), (9000, 4));
    assert!(counted.count("open") - before <= 2);
}

async fn live(
    vault: &Vault,
    table: &TableBuilder<MemoryStore>,
    live: &MemoryStore,
) -> (BTreeMap<String, LiveChange>, LiveTotals) {
    let spill = tempfile::tempdir().unwrap();
    let manifest = table.manifest_of(table.records.len() - 1).await;
    let mut found = BTreeMap::new();
    let mut take = |it: deltavault::vault::diff::LiveDifference| {
        found.insert(it.file.to_string(), it.change);
        Ok(())
    };
    let totals = vault
        .diff_live(&manifest, live, spill.path(), &mut take)
        .await;
    (found, totals.unwrap())
}

#[tokio::test]
async fn live_table_is_compared_by_one_listing() {
    let store = MemoryStore::without_versions("s3://bucket/vault");
    let vault = new_vault(&store).await;
    let table = TableBuilder::with_snapshots(store.clone(), &vault, "orders", 2).await;
    let lake = MemoryStore::without_versions("file:///lake/orders");
    let scratch = tempfile::tempdir().unwrap();
    let key = |text: &str| text.parse::<ObjectKey>().unwrap();
    for entry in &table.entries {
        let payload = vault.payload(entry, scratch.path()).await.unwrap();
        let deltavault::store::PayloadData::Bytes(bytes) = payload.data else {
            panic!("small files are in memory");
        };
        lake.plant(&key(entry.file.as_str()), bytes);
    }
    let (found, totals) = live(&vault, &table, &lake).await;
    assert_eq!(found, BTreeMap::new());
    assert_eq!((totals.same, totals.newest), (10, Some(Version(1))));

    let sizes: BTreeMap<_, _> = table
        .entries
        .iter()
        .map(|entry| (entry.file.as_str(), entry.size))
        .collect();
    let same_size = usize::try_from(sizes["part-1-0"]).unwrap();
    lake.delete_marker(&key("part-0-0"));
    lake.delete_marker(&key("part-1-big"));
    lake.plant(&key("part-0-big"), "short");
    lake.plant(&key("part-1-0"), vec![b'x'; same_size]);
    lake.plant(&key("_delta_log/00000000000000000002.json"), "newer");
    lake.plant(&key("_delta_log/00000000000000000000.crc"), "not held");
    lake.plant(&key("zzz"), "extra");
    lake.plant(&key("_deltavault/claim-1"), "a restore's own");
    let (found, totals) = live(&vault, &table, &lake).await;
    let size = |name: &str| sizes[name];
    let expected = [
        (
            "_delta_log/00000000000000000000.crc",
            LiveChange::Extra { size: 8 },
        ),
        (
            "_delta_log/00000000000000000002.json",
            LiveChange::NewerLog { size: 5 },
        ),
        (
            "part-0-0",
            LiveChange::Missing {
                size: size("part-0-0"),
            },
        ),
        (
            "part-0-big",
            LiveChange::OtherSize {
                held: size("part-0-big"),
                live: 5,
            },
        ),
        (
            "part-1-0",
            LiveChange::Unsure {
                size: size("part-1-0"),
            },
        ),
        (
            "part-1-big",
            LiveChange::Missing {
                size: size("part-1-big"),
            },
        ),
        ("zzz", LiveChange::Extra { size: 5 }),
    ];
    assert_eq!(
        found,
        expected
            .map(|(name, change)| (name.to_owned(), change))
            .into()
    );
    assert_eq!(
        (totals.same, totals.missing.files, totals.newest),
        (6, 2, Some(Version(2)))
    );
}
