//! What a repair put: no manifest names it, and it is kept, held and collected like what it stands for.

use std::collections::BTreeMap;
use std::sync::Arc;

use deltavault::ExitCode;
use deltavault::format::{EventRole, LockMode, Placement, VaultKey};
use deltavault::ids::ObjectKey;
use deltavault::store::memory::MemoryStore;
use deltavault::store::{ReadStore, WriteStore, read_all};
use deltavault::vault::hold;
use deltavault::vault::prune::Why;
use deltavault::vault::repair::Repaired;
use deltavault::vault::snapshot::SnapshotDone;

use super::scene::{LARGE, Place, PruneScene, actor, day, objects};
use crate::support::repairs;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Harm {
    Gone,
    Flipped,
    Short,
}

const EVERY: [Harm; 3] = [Harm::Gone, Harm::Flipped, Harm::Short];

const KINDS: [&str; 4] = ["manifest", "page", "pack", "file"];

impl PruneScene {
    /// An object of each kind that a snapshot needs.
    async fn parts(&self, done: &SnapshotDone) -> BTreeMap<&'static str, Place> {
        let vault = self.vault().await;
        let manifest = vault.manifest(&done.record).await.unwrap();
        let page = &manifest.data_pages[0];
        let mut parts = BTreeMap::from([
            ("manifest", done.record.manifest.clone()),
            ("page", page.page.clone()),
        ]);
        for entry in vault.page(page).await.unwrap() {
            match entry.placement {
                Placement::Blob {
                    offset: Some(_),
                    reference,
                } => drop(parts.insert("pack", reference)),
                Placement::Blob { reference, .. } | Placement::Copy { reference } => {
                    drop(parts.insert("file", reference));
                }
                Placement::Inline(_) | Placement::Absent {} => {}
            }
        }
        let parts = parts.into_iter();
        parts
            .map(|(what, reference)| (what, (reference.key, reference.version)))
            .collect()
    }

    fn harm(&self, (key, version): &Place, how: Harm) {
        let store = self.store.inner();
        match (how, version) {
            (Harm::Flipped, _) => store.flip_bit(key, version.as_ref(), 99).unwrap(),
            (Harm::Short, _) => store.truncate(key, version.as_ref(), 9).unwrap(),
            (Harm::Gone, Some(version)) => {
                store.force_lock(key, Some(version), None).unwrap();
                store.delete_version(key, version).unwrap();
            }
            (Harm::Gone, None) => {
                store.delete_marker(key);
            }
        }
    }

    /// Every object with its bytes, somewhere else.
    async fn replica(&self) -> MemoryStore {
        let replica = MemoryStore::new("s3://replica");
        for (key, version) in self.lying(&[""]).await.into_keys() {
            let read = read_all(self.store.inner(), &key, version.as_ref(), u64::MAX);
            replica.plant(&key, read.await.unwrap().1);
        }
        replica
    }

    async fn repair(&self, replica: Option<&MemoryStore>, days: i64) -> Vec<Repaired> {
        self.set_day(days);
        let store: Arc<dyn WriteStore> = Arc::new(self.store.clone());
        let live: Arc<dyn ReadStore> = Arc::new(self.live.clone());
        let replica = replica.map(|replica| Arc::new(replica.clone()) as Arc<dyn ReadStore>);
        let repairer = repairs::repairer(store, live, replica, day(days)).await;
        repairs::repair(&repairer).await.unwrap()
    }

    /// Objects under a name with a suffix.
    async fn substitutes(&self) -> Vec<Place> {
        let mut found: Vec<Place> = self.objects().await.into_keys().collect();
        found.retain(|(key, _)| {
            let key = VaultKey::parse(key.as_str());
            matches!(
                key,
                Some(VaultKey::Content {
                    suffix: Some(_),
                    ..
                })
            )
        });
        found
    }

    async fn put(&self, key: &str, bytes: Vec<u8>) -> Place {
        let key: ObjectKey = key.parse().unwrap();
        let payload = deltavault::store::Payload::from_bytes(bytes);
        let written = self.store.put_new(&key, &payload, None).await.unwrap();
        (key, written.version)
    }
}

#[tokio::test]
async fn what_a_repair_put_is_kept_as_long_as_its_snapshot_and_goes_with_it() {
    for kind in KINDS {
        for how in EVERY {
            for locked in [false, true] {
                if locked && how == Harm::Short {
                    // Locks make no difference to it.
                    continue;
                }
                let case = format!("{kind} {how:?} {locked}");
                let mut scene = if locked {
                    PruneScene::locked().await
                } else {
                    PruneScene::plain().await
                };
                let first = scene.take(0).await;
                scene.rewrite().await;
                scene.table.append(3, 100).await;
                let second = scene.take(1).await;
                let closure = scene.table.closure().await;
                let replica = scene.replica().await;
                scene.harm(&scene.parts(&second).await[kind], how);
                let repaired = scene.repair(Some(&replica), 2).await;
                assert_eq!(repaired.len(), 1, "{case}");
                let substitutes = scene.substitutes().await;
                assert_eq!(substitutes.len(), 1, "{case}");

                // The first expires and goes; whatever the second needs stays, however often it is asked.
                let mut deleted = 0;
                for days in [31, 34, 38, 60, 80, 90] {
                    deleted += scene.prune(days).await.deleted();
                }
                assert!(deleted > 0, "{case}");
                scene.contents(&first).await.unwrap_err();
                assert_eq!(scene.substitutes().await, substitutes, "{case}");
                assert_eq!(scene.contents(&second).await.unwrap(), closure, "{case}");
                scene.is_sound(90).await;

                // Retired, it goes, and what was put for it too.
                let (vault, key, actor) = (scene.vault().await, scene.key(), actor(day(91)));
                let retired = hold::retire(&vault, &scene.store, &key, &actor);
                assert!(retired.await.unwrap());
                for days in [92, 95, 99, 103] {
                    scene.prune(days).await;
                }
                scene.holds_only(&[]).await;
            }
        }
    }
}

#[tokio::test]
async fn files_of_a_pack_that_were_put_one_by_one_are_kept() {
    for how in EVERY {
        let mut scene = PruneScene::plain().await;
        let first = scene.take(0).await;
        // One file of the pack is nowhere any more: the pack cannot be put again whole.
        let small: Vec<_> = scene.table.states[&2]
            .keys()
            .filter(|name| !scene.table.states[&1].contains_key(*name))
            .cloned()
            .collect();
        scene.table.overwrite_files(&small[..1], 1, LARGE).await;
        scene.table.vacuum().await;
        let second = scene.take(1).await;
        let closure = scene.table.closure().await;
        let pack = scene.parts(&first).await.remove("pack").unwrap();
        scene.harm(&pack, how);
        if how == Harm::Flipped {
            // In the other two files as well.
            for byte in [150, 250] {
                scene
                    .store
                    .inner()
                    .flip_bit(&pack.0, None, byte * 8)
                    .unwrap();
            }
        }
        let repaired = scene.repair(None, 2).await;
        let lost: Vec<_> = repaired.iter().flat_map(|it| &it.still_lost).collect();
        assert!(lost.iter().all(|lost| **lost == small[0]), "{repaired:?}");
        let substitutes = scene.substitutes().await;
        assert_eq!(substitutes.len(), 2, "{how:?} {repaired:#?}");

        // As long as the first is kept something that it needs is nowhere, as far as names tell.
        scene.set_day(3);
        match how {
            Harm::Flipped => assert!(scene.prune(3).await.is_idle()),
            Harm::Gone | Harm::Short => {
                let refused = scene.try_prune(3).await.unwrap_err();
                assert_eq!(refused.exit_code(), ExitCode::Damage, "{refused}");
                assert!(refused.to_string().contains("is not there"), "{refused}");
            }
        }
        for days in [30, 33, 37, 60] {
            scene.prune(days).await;
        }
        scene.contents(&first).await.unwrap_err();
        assert_eq!(scene.substitutes().await, substitutes, "{how:?}");
        assert_eq!(scene.contents(&second).await.unwrap(), closure, "{how:?}");
    }
}

#[tokio::test]
async fn only_what_has_name_and_size_of_something_that_is_needed_may_be_a_substitute() {
    let mut scene = PruneScene::plain().await;
    scene.take(0).await;
    scene.rewrite().await;
    let second = scene.take(1).await;
    let (file, version) = scene.parts(&second).await["file"].clone();
    let bytes = read_all(scene.store.inner(), &file, version.as_ref(), u64::MAX);
    let bytes = bytes.await.unwrap().1.to_vec();
    let right = scene.put(&format!("{file}.00000001"), bytes.clone()).await;
    let mut useless = vec![
        // Another size.
        scene
            .put(&format!("{file}.00000002"), bytes[1..].to_vec())
            .await,
        // Nobody needs such bytes.
        scene
            .put(&format!("blobs/2c/{DIGEST}.00000003"), b"foo".to_vec())
            .await,
        // A blob is no page.
        scene
            .put(
                &format!("{}.00000004", file.as_str().replace("blobs/", "pages/")),
                bytes.clone(),
            )
            .await,
    ];
    for days in [31, 34, 38, 42] {
        let pruned = scene.prune(days).await;
        let orphans = |by: &BTreeMap<Why, _>| objects(by.get(&Why::Orphan));
        match days {
            31 => assert_eq!(orphans(&pruned.done.marked), 3, "{pruned:?}"),
            34 => assert_eq!(orphans(&pruned.done.deleted), 3, "{pruned:?}"),
            _ => assert!(pruned.is_idle()),
        }
    }
    let left = scene.objects().await;
    useless.retain(|place| left.contains_key(place));
    assert!(useless.is_empty(), "{useless:?}");
    assert!(left.contains_key(&right));

    // When the file itself goes, that one alone does not let the rest be deleted unless it has the size.
    scene.harm(&(file.clone(), version), Harm::Gone);
    assert!(scene.prune(50).await.is_idle());
    let store = scene.store.inner();
    store.truncate(&right.0, right.1.as_ref(), 5).unwrap();
    let refused = scene.try_prune(60).await.unwrap_err();
    assert_eq!(refused.exit_code(), ExitCode::Damage, "{refused}");
    assert!(scene.objects().await.contains_key(&right));
}

const DIGEST: &str = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

#[tokio::test]
async fn what_expired_snapshots_left_is_kept_once_it_is_the_only_copy() {
    // Written again under another name on day 29: the first expires, and its copy of the same bytes would go.
    for gone in [false, true] {
        let mut scene =
            PruneScene::set(MemoryStore::without_locks("s3://vault"), LockMode::None).await;
        scene.is_alone = true;
        let first = scene.take(0).await;
        let second = scene.take(29).await;
        let closure = scene.table.closure().await;
        let (old, new) = (scene.parts(&first).await, scene.parts(&second).await);
        assert_ne!(old["file"], new["file"]);
        if gone {
            scene.harm(&new["file"], Harm::Gone);
            scene.harm(&new["pack"], Harm::Gone);
        }
        for days in [31, 34, 38, 42] {
            scene.prune(days).await;
        }
        if gone {
            let left = scene.objects().await;
            assert!(left.contains_key(&old["file"]) && left.contains_key(&old["pack"]));
        } else {
            // Its suffix alone makes nothing a substitute.
            scene.holds_only(&[&second]).await;
        }
        assert_eq!(scene.contents(&second).await.unwrap(), closure);
    }
}

#[tokio::test]
async fn rest_of_an_expired_snapshot_is_no_substitute_although_nothing_names_it_any_more() {
    let mut scene = PruneScene::set(MemoryStore::without_locks("s3://vault"), LockMode::None).await;
    scene.is_alone = true;
    scene.take(0).await;
    // Of the same bytes, under a name with a suffix.
    let second = scene.take(29).await;
    let third = scene.take(58).await;
    scene.prune(60).await;
    // As a sweep leaves it that is killed once the manifests are gone.
    let manifest = second.record.manifest.clone();
    let manifest = (manifest.key, manifest.version);
    let version = manifest.1.as_ref().unwrap();
    let inner = scene.store.inner();
    inner.delete_version(&manifest.0, version).unwrap();
    for days in [63, 64, 68, 72] {
        scene.prune(days).await;
    }
    scene.holds_only(&[&third]).await;
}

async fn held(scene: &PruneScene) -> Vec<Place> {
    let mut held = Vec::new();
    for (key, version) in scene.lying(&[""]).await.into_keys() {
        let is_held = scene.store.inner().is_held(&key, version.as_ref());
        if is_held.await.unwrap() {
            held.push((key, version));
        }
    }
    held
}

#[tokio::test]
async fn hold_covers_what_a_repair_put_and_a_release_frees_it() {
    for kind in KINDS {
        for how in EVERY {
            let mut scene = PruneScene::locked().await;
            let first = scene.take(0).await;
            let closure = scene.table.closure().await;
            let replica = scene.replica().await;
            scene.harm(&scene.parts(&first).await[kind], how);
            scene.repair(Some(&replica), 1).await;
            let substitutes = scene.substitutes().await;
            assert_eq!(substitutes.len(), 1, "{kind} {how:?}");
            scene.rewrite().await;
            let second = scene.take(2).await;

            scene.hold(&first, 3).await.unwrap();
            let of_first = held(&scene).await;
            assert!(of_first.contains(&substitutes[0]), "{kind} {how:?}");
            // Its promise and every lock are over; nothing goes.
            for days in [70, 74, 80] {
                assert_eq!(scene.prune(days).await.deleted(), 0);
            }
            assert_eq!(scene.contents(&first).await.unwrap(), closure);

            // Another hold does not cover it, and does not let it go.
            scene.hold(&second, 81).await.unwrap();
            scene.release(&second, 81).await.unwrap();
            assert_eq!(held(&scene).await, of_first, "{kind} {how:?}");
            scene.release(&first, 82).await.unwrap();
            assert_eq!(held(&scene).await, []);
            for days in [83, 86, 90] {
                scene.prune(days).await;
            }
            scene.holds_only(&[&second]).await;
        }
    }
}

#[tokio::test]
async fn release_leaves_what_a_repair_put_for_another_held_snapshot() {
    let mut scene = PruneScene::locked().await;
    let first = scene.take(0).await;
    scene.harm(&scene.parts(&first).await["file"], Harm::Flipped);
    scene.repair(None, 1).await;
    scene.table.append(1, 100).await;
    let second = scene.take(2).await;
    let [substitute] = &scene.substitutes().await[..] else {
        panic!();
    };
    scene.hold(&first, 3).await.unwrap();
    scene.hold(&second, 3).await.unwrap();
    scene.release(&first, 4).await.unwrap();
    assert!(held(&scene).await.contains(substitute));
    scene.release(&second, 4).await.unwrap();
    assert_eq!(held(&scene).await, []);
}

#[tokio::test]
async fn hold_of_what_is_gone_needs_all_of_it_to_be_served() {
    for kind in ["pack", "file"] {
        let scene = PruneScene::locked().await;
        let first = scene.take(0).await;
        let part = scene.parts(&first).await[kind].clone();
        scene.harm(&part, Harm::Gone);
        let refused = scene.hold(&first, 1).await.unwrap_err();
        assert_eq!(refused.exit_code(), ExitCode::Damage, "{refused}");
        assert!(refused.to_string().contains(part.0.as_str()), "{refused}");
        // Another size under its name serves for nothing.
        scene
            .put(&format!("{}.00000001", part.0), b"x".to_vec())
            .await;
        scene.hold(&first, 1).await.unwrap_err();
        let (vault, key) = (scene.vault().await, scene.key());
        let events = vault.events(&key, EventRole::Holder).await.unwrap();
        assert!(events.chain.links.is_empty(), "never called held");
        scene.repair(None, 2).await;
        scene.hold(&first, 2).await.unwrap();
    }
}

#[tokio::test]
async fn hold_of_many_files_lists_the_vault_once_a_pass() {
    let mut scene = PruneScene::locked().await;
    scene.table.append(1200, 16).await;
    let first = scene.take(0).await;
    scene.harm(&scene.parts(&first).await["file"], Harm::Flipped);
    scene.repair(None, 1).await;
    scene.store.revive();
    scene.hold(&first, 2).await.unwrap();
    let listings = scene.store.count("list_versions");
    assert!(listings < 40, "{listings}");
    let substitutes = scene.substitutes().await;
    assert_eq!(substitutes.len(), 1);
    assert!(held(&scene).await.contains(&substitutes[0]));
}
