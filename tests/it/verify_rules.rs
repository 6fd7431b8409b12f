//! `verify` on ledgers, records, manifests and pages that break the rules.

use std::sync::Arc;

use deltavault::ExitCode;
use deltavault::format::{Placement, Record, VaultKey};
use deltavault::ids::{Digest, Generation, Id128, SnapshotId, Version};
use deltavault::plan::verify::{Severity, VerifyPlan};
use deltavault::store::ReadStore;
use deltavault::store::memory::MemoryStore;
use deltavault::vault::Vault;
use jiff::SignedDuration;

use crate::support::scene::Scene;
use crate::support::vault_builder::{TableBuilder, new_vault, now};
use crate::support::verified::{ALL, NO_BYTES, advice, verify, verify_tables};
use crate::support::world::request;
use crate::verify::{blob_and_pack, take_away, two_tables};

#[tokio::test]
async fn inlined_bytes_are_checked_whatever_is_read() {
    let store = MemoryStore::without_versions("s3://bucket/vault");
    let vault = new_vault(&store).await;
    let mut table = TableBuilder::new(store.clone(), &vault, "orders");
    table.commit().await;
    table.entries[0].sha256 = Some(Digest::of(b"another commit"));
    let id = table.publish().await;
    let page = table.manifest_of(0).await.log_pages[0].page.key.clone();
    let verified = verify(&vault, NO_BYTES).await;
    assert_eq!(verified.about(&page).snapshots, [id]);
    assert_eq!(verified.code(), ExitCode::Damage);
}

#[tokio::test]
async fn an_object_that_is_longer_than_a_record_says_is_damage_and_no_failure() {
    let store = MemoryStore::without_versions("s3://bucket/vault");
    let vault = new_vault(&store).await;
    let mut table = TableBuilder::with_snapshots(store.clone(), &vault, "orders", 1).await;
    table.commit().await;
    let id = table.publish_as(|record| record.manifest.size -= 1).await;
    let verified = verify(&vault, ALL).await;
    assert!(verified.findings.iter().any(|it| it.snapshots == [id]));
    assert_eq!(verified.code(), ExitCode::Damage);
}

#[tokio::test]
async fn rules_between_record_manifest_and_pages_are_checked() {
    let store = MemoryStore::without_versions("s3://bucket/vault");
    let vault = new_vault(&store).await;
    let mut table = TableBuilder::with_snapshots(store.clone(), &vault, "orders", 1).await;
    // Each record is wrong in one way, and its finding says in which.
    table.commit().await;
    table.publish_as(|record| record.totals.files += 1).await;
    table.publish_as(|record| record.version.0 += 1).await;
    table
        .publish_as(|record| record.table.delta_id = "x".into())
        .await;
    table
        .publish_as(|record| record.base = Some(SnapshotId(Digest::of(b"none"))))
        .await;
    table
        .publish_as(|record| record.vault_file = Digest::of(b"none"))
        .await;
    table
        .publish_as(|record| record.whole_versions = vec![(record.version, record.version)])
        .await;
    table
        .publish_as(|record| record.table.uri = "file:///lake/people".into())
        .await;
    let verified = verify(&vault, ALL).await;
    for (seq, severity, what) in [
        (2, Severity::Damage, "totals"),
        (3, Severity::Damage, "of version 1, the record of version 2"),
        (4, Severity::Damage, "Delta id"),
        (5, Severity::Warning, "took entries from"),
        (7, Severity::Warning, "whole versions"),
        (8, Severity::Warning, "another table"),
    ] {
        let finding = verified.about(&table.slot(seq));
        assert_eq!(finding.severity, severity, "{finding:?}");
        assert!(finding.what.contains(what), "{finding:?}");
    }
    let finding = verified.about("vault.json");
    assert_eq!(finding.snapshots, [table.records[5].0]);
    assert_eq!(verified.findings.len(), 7, "{verified:#?}");
}

#[tokio::test]
async fn promises_and_locks_that_a_record_states_are_those_that_the_vault_allows() {
    const DAY: i64 = 24;
    fn after(record: &mut Record, hours: i64) {
        record.promise = record.taken_at + SignedDuration::from_hours(hours);
    }
    type Change = fn(&mut Record);
    let cases: [(&str, Change); 9] = [
        ("was over when", |record| after(record, 0)),
        ("was over when", |record| after(record, -DAY)),
        ("shorter than the 3 days", |record| {
            after(record, 3 * DAY - 1);
        }),
        ("longer than the 3650 days", |record| {
            after(record, 3650 * DAY + 1);
        }),
        ("states locks, and this vault has none", |record| {
            record.locks.insert(Generation(7), record.promise);
        }),
        ("states locks, and this vault has none", |record| {
            record.manifest.generation = Generation(7);
        }),
        ("says that it was taken at", |record| {
            // The promise follows it, so nothing else is wrong.
            record.taken_at += SignedDuration::from_hours(40_000 * DAY);
            after(record, 30 * DAY);
        }),
        ("only scope `history` may", |record| {
            record.totals.absent_files = 1;
        }),
        ("whole versions", |record| {
            record.whole_versions = vec![(Version(0), Version(0))];
        }),
    ];
    let store = MemoryStore::without_versions("s3://bucket/vault");
    let vault = new_vault(&store).await;
    let mut table = TableBuilder::with_snapshots(store.clone(), &vault, "orders", 1).await;
    for hours in [3 * DAY, 3650 * DAY] {
        table.publish_as(|record| after(record, hours)).await;
    }
    assert_eq!(verify(&vault, ALL).await.findings, []);
    for (what, change) in cases {
        let id = table.publish_as(change).await;
        let verified = verify(&vault, ALL).await;
        let mut findings = verified.findings.iter();
        let found = findings.find(|it| it.snapshots == [id] && it.what.contains(what));
        let found = found.unwrap_or_else(|| panic!("{what}: {verified:#?}"));
        assert_eq!(found.severity, Severity::Warning, "{found:?}");
    }
}

#[tokio::test]
async fn pages_keep_to_what_is_inlined_and_name_the_generations_of_what_they_refer_to() {
    let store = MemoryStore::without_versions("s3://bucket/vault");
    let vault = new_vault(&store).await;
    let mut table = TableBuilder::new(store.clone(), &vault, "orders");
    table.commit().await;
    table.data("small", b"rows", Placement::Inline("rows".into()));
    let id = table.publish().await;
    let page = table.manifest_of(0).await.data_pages[0].page.key.clone();
    let verified = verify(&vault, ALL).await;
    let finding = verified.about(&page);
    assert_eq!(finding.severity, Severity::Warning);
    assert!(finding.what.contains("small is inlined"), "{finding:?}");
    assert_eq!(
        (&finding.snapshots[..], verified.findings.len()),
        (&[id][..], 1)
    );

    table.entries.retain(|it| it.file.as_str() != "small");
    let mut references = table
        .entries
        .iter_mut()
        .filter_map(|it| match &mut it.placement {
            Placement::Blob { reference, .. } => Some(reference),
            Placement::Absent {} | Placement::Copy { .. } | Placement::Inline(_) => None,
        });
    references.next().unwrap().generation = Generation(9);
    table.commit().await;
    table.publish().await;
    let verified = verify(&vault, ALL).await;
    let finding = verified.about(&table.slot(2));
    assert!(finding.what.contains("states locks"), "{finding:?}");
}

#[tokio::test]
async fn pages_out_of_order_and_wrong_sums_are_damage() {
    let store = MemoryStore::without_versions("s3://bucket/vault");
    let vault = new_vault(&store).await;
    let mut table = TableBuilder::new(store.clone(), &vault, "orders");
    table.commit().await;
    for n in 1..9000_u64 {
        table.inline(&format!("_delta_log/{n:020}.json"), "{}");
    }
    let (manifest, _) = table.put_manifest().await;
    assert!(manifest.log_pages.len() > 2);
    let mut wrong = Vec::new();
    let mut swapped = manifest.clone();
    swapped.log_pages.swap(0, 1);
    wrong.push((swapped, "out of order"));
    let mut mixed = manifest.clone();
    mixed.data_pages.insert(0, mixed.log_pages.pop().unwrap());
    wrong.push((mixed, "among the data pages"));
    let mut short = manifest.clone();
    short.log_pages.remove(1);
    wrong.push((short, "sums"));
    let mut counted = manifest.clone();
    counted.log_pages[0].entries -= 1;
    wrong.push((counted, "as many entries"));
    for (manifest, what) in wrong {
        let bytes = manifest.encode().unwrap().into();
        let reference = table.put_content(VaultKey::manifest, bytes).await;
        let record = table.record(&manifest, reference.clone());
        let id = table.put_record(record).await;
        let verified = verify(&vault, ALL).await;
        let mut about = verified
            .findings
            .iter()
            .filter(|it| it.object == reference.key.as_str());
        assert!(
            about.any(|it| it.what.contains(what) && it.snapshots == [id]),
            "{what}: {verified:#?}"
        );
    }
}

#[tokio::test]
async fn ledger_that_somebody_touched_is_told_with_remedies() {
    // A record that is gone, one in the middle that is another, garbage in the next slot, and one beyond a gap.
    type Touch = fn(&MemoryStore, &TableBuilder<MemoryStore>);
    let touches: [(&str, ExitCode, Touch); 6] = [
        ("truncated", ExitCode::Damage, |store, table| {
            store.delete_marker(&table.slot(2));
        }),
        ("forged in the middle", ExitCode::Damage, |store, table| {
            let mut record = table.records[1].1.clone();
            record.promise = "2027-01-01T00:00:00Z".parse().unwrap();
            store.plant(&table.slot(2), record.encode().unwrap());
        }),
        (
            "garbage in the next slot",
            ExitCode::Findings,
            |store, table| {
                store.plant(&table.slot(4), "garbage");
            },
        ),
        (
            "too much in the next slot",
            ExitCode::Findings,
            |store, table| {
                store.plant(&table.slot(4), vec![b' '; 2 << 20]);
            },
        ),
        (
            "a fork in the next slot",
            ExitCode::Findings,
            |store, table| {
                let mut record = table.records[2].1.clone();
                record.seq = 4;
                store.plant(&table.slot(4), record.encode().unwrap());
            },
        ),
        ("beyond a gap", ExitCode::Damage, |store, table| {
            store.plant(&table.slot(9), "garbage");
        }),
    ];
    for (name, code, touch) in touches {
        let store = MemoryStore::without_versions("s3://bucket/vault");
        let (vault, orders, _) = two_tables(&store).await;
        touch(&store, &orders);
        let verified = verify(&vault, ALL).await;
        assert_eq!(verified.code(), code, "{name}: {verified:#?}");
        assert!(verified.findings.iter().all(|it| !advice(it).is_empty()));
        let ledger = format!("tables/{}/ledger/", orders.key);
        let is_told = verified
            .findings
            .iter()
            .any(|it| it.object.starts_with(&ledger));
        assert!(is_told, "{name}: {verified:#?}");
    }
}

#[tokio::test]
async fn record_for_a_newer_tool_is_told_and_the_others_are_checked() {
    let store = MemoryStore::without_versions("s3://bucket/vault");
    let (vault, mut orders, _) = two_tables(&store).await;
    let newer = orders
        .publish_as(|record| {
            record.requires = vec!["time-travel".to_owned()];
            record.tool = "deltavault 9.0".to_owned();
        })
        .await;
    let (blob, _) = blob_and_pack(&orders, 0);
    let verified = verify(&vault, ALL).await;
    let finding = verified.about(&orders.slot(4));
    assert_eq!(finding.severity, Severity::Unchecked);
    assert!(finding.what.contains("deltavault 9.0"), "{finding:?}");
    assert_eq!(verified.code(), ExitCode::Failed);
    assert_eq!(verified.report.records, 6);
    assert_eq!(verified.report.unreferenced, None);
    store.flip_bit(&blob, None, 0).unwrap();
    assert_eq!(verify(&vault, ALL).await.code(), ExitCode::Damage);
    store.flip_bit(&blob, None, 0).unwrap();
    // Once it is distrusted nothing is left to do.
    orders
        .publish_as(|record| record.distrusts = vec![newer])
        .await;
    let verified = verify(&vault, ALL).await;
    assert_eq!(verified.code(), ExitCode::Done, "{verified:#?}");
}

#[tokio::test]
async fn what_only_distrusted_snapshots_need_is_no_damage() {
    let store = MemoryStore::without_versions("s3://bucket/vault");
    let (vault, mut orders, _) = two_tables(&store).await;
    let sound = orders.clone();
    let forged = orders
        .publish_as(|record| record.manifest.key = "manifests/none".parse().unwrap())
        .await;
    let verified = verify(&vault, ALL).await;
    assert_eq!(verified.code(), ExitCode::Damage);
    assert_eq!(verified.about("manifests/none").snapshots, [forged]);
    orders.entries = sound.entries;
    orders
        .publish_as(|record| record.distrusts = vec![forged])
        .await;
    let verified = verify(&vault, ALL).await;
    assert_eq!(verified.code(), ExitCode::Findings, "{verified:#?}");
}

#[tokio::test]
async fn what_no_promise_covers_any_more_may_be_gone_or_damaged() {
    for is_gone in [true, false] {
        what_no_promise_covers(is_gone).await;
    }
}

async fn what_no_promise_covers(is_gone: bool) {
    let store = MemoryStore::without_versions("s3://bucket/vault");
    let (vault, orders, people) = two_tables(&store).await;
    let manifest = &orders.records[0].1.manifest.key;
    if is_gone {
        take_away(&store, manifest).await;
    } else {
        store.flip_bit(manifest, None, 9).unwrap();
    }
    let before = verify(&vault, VerifyPlan { now: now(), ..ALL }).await;
    assert_eq!(before.code(), ExitCode::Damage);
    let later = VerifyPlan {
        now: "2027-03-01T00:00:00Z".parse().unwrap(),
        ..ALL
    };
    let after = verify(&vault, later).await;
    assert_eq!(after.code(), ExitCode::Done, "{after:#?}");
    assert_eq!(after.findings[0].severity, Severity::Info);
    // The newest snapshot of a table is kept whatever its promise says.
    take_away(&store, &people.records[2].1.manifest.key).await;
    assert_eq!(verify(&vault, later).await.code(), ExitCode::Damage);
}

#[tokio::test]
async fn deleted_newest_record_is_a_finding_where_its_manifest_is_left() {
    let mut scene = Scene::set_in(MemoryStore::without_versions("s3://vault")).await;
    scene.table.append(1, 100).await;
    let newest = scene.take(24).await.unwrap();
    let vault = Vault::open(Arc::new(scene.vault.clone())).await.unwrap();
    assert_eq!(verify(&vault, NO_BYTES).await.findings, []);
    let (table, seq) = (request(scene.live.uri(), 0).key, newest.record.seq);
    let record = VaultKey::Record { table, seq }.object_key().unwrap();
    drop(scene.vault.inner().delete_marker(&record));
    let only = [request(scene.live.uri(), 0).key];
    for tables in [None, Some(&only[..])] {
        let found = verify_tables(&vault, tables, NO_BYTES).await;
        let [lost, told] = &found.findings[..] else {
            panic!("{found:#?}");
        };
        assert_eq!(lost.object, record.as_str());
        assert!(lost.what.contains("is lost"), "{lost:?}");
        assert_eq!(told.object, newest.record.manifest.key.as_str());
        assert_eq!(found.code(), ExitCode::Damage);
        assert!(told.what.contains("or whose record is lost"), "{told:?}");
        assert!(
            advice(told).contains(" --repair --from REPLICA`"),
            "{told:?}"
        );
    }
    // With the next snapshot its slot is taken, and there is nothing that is newer.
    scene.take(48).await.unwrap();
    let found = verify(&vault, NO_BYTES).await;
    let [lost, told] = &found.findings[..] else {
        panic!("{found:#?}");
    };
    assert_eq!(lost.object, record.as_str());
    assert_eq!(found.code(), ExitCode::Damage);
    assert!(told.what.contains("no record names 1 manifest"), "{told:?}");
}

#[tokio::test]
async fn journal_far_above_the_head_proves_that_records_are_gone() {
    let scene = Scene::set().await;
    let key = request(scene.live.uri(), 0).key;
    let journal = |next_seq| {
        let run = Id128::from_bytes([7; 16]);
        let (table, n) = (key.hash(), 0);
        let key = VaultKey::Journal {
            table,
            next_seq,
            run,
            n,
        };
        key.object_key().unwrap()
    };
    let vault = Vault::open(Arc::new(scene.vault.clone())).await.unwrap();
    // A killed run's.
    scene.vault.inner().plant(&journal(2), "x");
    assert_eq!(verify(&vault, NO_BYTES).await.findings, []);
    scene.vault.inner().plant(&journal(4), "x");
    let found = verify(&vault, NO_BYTES).await;
    let [finding] = &found.findings[..] else {
        panic!("{found:#?}");
    };
    assert_eq!(finding.object, journal(4).as_str());
    assert!(
        finding
            .what
            .contains("slots up to 3 were taken, and now they are up to 1")
    );
    assert_eq!(found.code(), ExitCode::Damage);
    assert!(advice(finding).contains("`--forged KEY`"), "{finding:?}");
    // Whoever takes snapshots can write one for any slot: what the owner calls forged proves nothing.
    let forged = journal(4).as_str().parse().unwrap();
    let vault = vault.without_forged([forged].into_iter().collect());
    assert_eq!(verify(&vault, NO_BYTES).await.findings, []);
}
