//! `verify --repair`: what is lost is put again, beside what is left of it, from wherever its bytes still are.

use std::collections::BTreeMap;
use std::sync::Arc;

use deltavault::ExitCode;
use deltavault::format::Placement;
use deltavault::ids::ObjectKey;
use deltavault::plan::verify::Severity;
use deltavault::store::memory::MemoryStore;
use deltavault::store::{ReadStore, read_all};
use deltavault::vault::Vault;
use deltavault::vault::repair::{Origin, Repaired, Repairer, outcome};
use deltavault::vault::verify::Losses;
use futures::TryStreamExt;

use crate::support::fault_store::Fault;
use crate::support::repairs;
use crate::support::scene::{Files, Scene, Store, everything};
use crate::support::verified::{ALL, Verified, verify};
use crate::support::world::hours_later;

async fn open(store: &Store) -> Vault {
    Vault::open(Arc::new(store.clone())).await.unwrap()
}

async fn losses(vault: &Vault) -> Losses {
    repairs::losses(vault, hours_later(1)).await
}

async fn repairer(scene: &Scene, replica: Option<&Store>) -> Repairer {
    let replica = replica.map(|replica| Arc::new(replica.clone()) as Arc<dyn ReadStore>);
    let (vault, live) = (scene.vault.clone(), scene.live.clone());
    repairs::repairer(Arc::new(vault), Arc::new(live), replica, hours_later(1)).await
}

async fn repair(
    scene: &Scene,
    replica: Option<&Store>,
) -> Result<Vec<Repaired>, deltavault::Error> {
    repairs::repair(&repairer(scene, replica).await).await
}

async fn verified(scene: &Scene) -> Verified {
    verify(&open(&scene.vault).await, ALL).await
}

/// Every object of the vault with its bytes.
async fn objects(store: &Store) -> Files {
    everything(store.inner()).await
}

async fn keys(store: &Store, prefix: &str) -> Vec<ObjectKey> {
    let listing = store.inner().list(prefix, None).map_ok(|object| object.key);
    listing.try_collect().await.unwrap()
}

/// Keys of the objects of the scene's one snapshot, by what they are.
async fn parts(scene: &Scene) -> BTreeMap<&'static str, ObjectKey> {
    let vault = open(&scene.vault).await;
    let manifest = vault.manifest(&scene.first.record).await.unwrap();
    let files: Vec<_> = vault.files(&manifest).try_collect().await.unwrap();
    let mut parts = BTreeMap::from([
        ("manifest", scene.first.record.manifest.key.clone()),
        ("log page", manifest.log_pages[0].page.key.clone()),
        ("data page", manifest.data_pages[0].page.key.clone()),
    ]);
    for file in files {
        match file.placement {
            Placement::Blob {
                offset: Some(_),
                reference,
            } => drop(parts.insert("pack", reference.key)),
            Placement::Blob { reference, .. } | Placement::Copy { reference } => {
                drop(parts.insert("blob", reference.key));
            }
            Placement::Inline(_) | Placement::Absent {} => {}
        }
    }
    assert_eq!(parts.len(), 5, "{parts:?}");
    parts
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Harm {
    Gone,
    Flipped,
    Short,
}

async fn harm(store: &Store, key: &ObjectKey, how: Harm) {
    let store = store.inner();
    let bytes = read_all(store, key, None, 64 << 20).await.unwrap().1;
    match how {
        Harm::Gone => {
            store.delete_marker(key);
        }
        // In the first file of a pack, not in its trailer.
        Harm::Flipped => store.flip_bit(key, None, 9).unwrap(),
        Harm::Short => {
            store.plant(key, bytes.slice(..bytes.len() / 2));
        }
    }
}

async fn scene() -> Scene {
    Scene::set_in(MemoryStore::without_versions("s3://vault")).await
}

async fn copy_of(store: &Store) -> Store {
    let copy = MemoryStore::without_versions("s3://replica");
    for (name, bytes) in objects(store).await {
        copy.plant(&name.parse().unwrap(), bytes);
    }
    Store::new(copy)
}

/// Repairs, and proves that the snapshot is whole and that nothing which lay there was touched.
async fn mends(scene: &Scene, replica: Option<&Store>, case: &str) -> Vec<Repaired> {
    let before = objects(&scene.vault).await;
    assert_eq!(verified(scene).await.code(), ExitCode::Damage, "{case}");
    let repaired = repair(scene, replica).await.unwrap();
    let after = objects(&scene.vault).await;
    for (name, bytes) in &before {
        assert_eq!(after.get(name), Some(bytes), "{case}: {name}");
    }
    let found = verified(scene).await;
    let worst = found.findings.iter().map(|it| it.severity).max();
    assert_eq!(worst, Some(Severity::Info), "{case}: {found:#?}");
    assert_eq!(found.code(), ExitCode::Done);
    scene.first_is_safe().await;
    // And again: there is nothing more to do.
    assert!(repair(scene, replica).await.unwrap().is_empty(), "{case}");
    assert_eq!(objects(&scene.vault).await, after, "{case}");
    repaired
}

#[tokio::test]
async fn lost_files_are_put_again_from_the_live_table() {
    for what in ["blob", "pack"] {
        for how in [Harm::Gone, Harm::Flipped, Harm::Short] {
            let scene = scene().await;
            let key = &parts(&scene).await[what];
            harm(&scene.vault, key, how).await;
            let case = format!("{what} {how:?}");
            let repaired = mends(&scene, None, &case).await;
            assert_eq!(repaired.len(), 1, "{case}");
            // A pack whose every byte is to be had is one object again.
            let [(put, origin)] = &repaired[0].put[..] else {
                panic!("{case}: {repaired:?}");
            };
            assert!(
                matches!(origin, Origin::Live(_) | Origin::Mixed),
                "{case}: {origin:?}"
            );
            assert!(
                put.as_str().starts_with(&format!("{key}.")),
                "{case}: {put}"
            );
        }
    }
}

#[tokio::test]
async fn what_the_live_table_lost_too_comes_from_a_replica() {
    for what in ["blob", "pack", "manifest", "log page", "data page"] {
        for how in [Harm::Gone, Harm::Flipped, Harm::Short] {
            let scene = scene().await;
            let replica = copy_of(&scene.vault).await;
            scene.table.drop_all().await;
            let key = &parts(&scene).await[what];
            harm(&scene.vault, key, how).await;
            let case = format!("{what} {how:?}");
            let repaired = mends(&scene, Some(&replica), &case).await;
            let put = repaired.iter().flat_map(|it| &it.put);
            assert!(put.clone().count() > 0, "{case}");
            for (_, origin) in put {
                assert_eq!(
                    *origin,
                    Origin::Replica("s3://replica".to_owned()),
                    "{case}"
                );
            }
        }
    }
}

#[tokio::test]
async fn everything_at_once_comes_back_in_rounds() {
    let scene = scene().await;
    let replica = copy_of(&scene.vault).await;
    for (what, key) in parts(&scene).await {
        if what != "pack" {
            harm(&scene.vault, &key, Harm::Gone).await;
        }
    }
    mends(&scene, Some(&replica), "everything").await;
}

#[tokio::test]
async fn file_that_is_nowhere_stays_lost_and_the_others_come_back() {
    let scene = scene().await;
    let parts = parts(&scene).await;
    // Of the pack, one file is gone from the live table, too, and another has other bytes there.
    let small: Vec<_> = scene.table.states[&2]
        .keys()
        .filter(|it| !scene.table.states[&1].contains_key(*it))
        .cloned()
        .collect();
    scene.table.remove(&small[0]).await;
    let size = scene.table.read(&small[1]).await.len();
    scene.table.overwrite(&small[1], vec![b'x'; size]).await;
    harm(&scene.vault, &parts["pack"], Harm::Gone).await;
    harm(&scene.vault, &parts["blob"], Harm::Gone).await;
    let losses = losses(&open(&scene.vault).await).await;
    let repairer = repairer(&scene, None).await;
    let plan = repairer.plan(&losses).await.unwrap();
    let done = repairer.execute(plan, &mut |_| Ok(())).await.unwrap();
    let mut lost: Vec<_> = done.iter().flat_map(|it| it.still_lost.clone()).collect();
    lost.sort();
    let mut expected = small[..2].to_vec();
    expected.sort();
    assert_eq!(lost, expected);
    let lacks = outcome(&losses, &done);
    assert_eq!(lacks.values().map(Vec::len).collect::<Vec<_>>(), [2]);
    let found = verified(&scene).await;
    assert_eq!(found.code(), ExitCode::Damage);
    let about = found.about(&parts["pack"]);
    assert!(
        about.what.contains("2 of 3 files in it are lost"),
        "{about:?}"
    );
    // Without a replica that has them a second run changes nothing.
    let before = objects(&scene.vault).await;
    repair(&scene, None).await.unwrap();
    assert_eq!(objects(&scene.vault).await, before);
}

#[tokio::test]
async fn bytes_are_put_only_when_they_have_the_digest() {
    // A live table and a replica with other bytes of the same size serve for nothing.
    let scene = scene().await;
    let parts = parts(&scene).await;
    let replica = copy_of(&scene.vault).await;
    harm(&replica, &parts["blob"], Harm::Flipped).await;
    harm(&scene.vault, &parts["blob"], Harm::Gone).await;
    for name in scene.table.states[&1].keys() {
        let size = scene.table.read(name).await.len();
        scene.table.overwrite(name, vec![b'x'; size]).await;
    }
    let blobs = keys(&scene.vault, "blobs/").await;
    let repaired = repair(&scene, Some(&replica)).await.unwrap();
    assert!(
        repaired
            .iter()
            .all(|it| !it.is_whole() && it.put.is_empty())
    );
    assert_eq!(keys(&scene.vault, "blobs/").await, blobs);
    assert_eq!(verified(&scene).await.code(), ExitCode::Damage);
}

#[tokio::test]
async fn repair_that_is_killed_at_any_call_is_finished_by_the_next() {
    let mut k = 1;
    loop {
        let scene = scene().await;
        let parts = parts(&scene).await;
        harm(&scene.vault, &parts["pack"], Harm::Flipped).await;
        harm(&scene.vault, &parts["blob"], Harm::Gone).await;
        let before = objects(&scene.vault).await;
        let losses = losses(&open(&scene.vault).await).await;
        let repairer = repairer(&scene, None).await;
        for (what, fault) in [("before", Fault::Before), ("after", Fault::After)] {
            scene.vault.revive();
            scene.vault.fail_call(k, fault);
            let plan = repairer.plan(&losses).await;
            let ended = match plan {
                Ok(plan) => repairer.execute(plan, &mut |_| Ok(())).await.map(drop),
                Err(error) => Err(error),
            };
            let was_hit = scene.vault.is_dead();
            scene.vault.revive();
            let now = objects(&scene.vault).await;
            for (name, bytes) in &before {
                assert_eq!(now.get(name), Some(bytes), "call {k} {what}: {name}");
            }
            if !was_hit {
                ended.unwrap();
                assert!(k > 3, "{k}");
                return;
            }
        }
        repair(&scene, None).await.unwrap();
        assert_eq!(verified(&scene).await.code(), ExitCode::Done, "call {k}");
        scene.first_is_safe().await;
        k += 1;
    }
}

#[tokio::test]
async fn plan_writes_nothing_and_says_where_the_bytes_are() {
    let scene = scene().await;
    let parts = parts(&scene).await;
    harm(&scene.vault, &parts["blob"], Harm::Gone).await;
    let before = objects(&scene.vault).await;
    let losses = losses(&open(&scene.vault).await).await;
    let plan = repairer(&scene, None).await.plan(&losses).await.unwrap();
    assert_eq!(plan.amount().0, 1);
    assert!(
        matches!(&plan.steps()[0].from, Some(Origin::Live(_))),
        "{plan:?}"
    );
    assert_eq!(plan.steps()[0].lock_until, None);
    assert_eq!(objects(&scene.vault).await, before);
}
