//! Each role's events are in a chain of their own: what lies in one stands in no other role's way, and an action has no effect
//! where it does not belong.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use deltavault::ExitCode;
use deltavault::format::{Event, EventAction, EventRole, VaultKey};
use deltavault::ids::{Digest, Id128, SnapshotId};
use deltavault::plan::keep;
use deltavault::store::{Payload, ReadStore, WriteStore, read_all};
use deltavault::vault::events::Actor;
use deltavault::vault::hold;
use futures::FutureExt as _;

use super::race::RIPE;
use super::scene::{PruneScene, actor, day};
use crate::support::verified::{NO_BYTES, verify};

/// What somebody put into a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Obstacle {
    Garbage,
    FarSlot,
    LostEvent,
    /// An event that is linked and requires what this tool does not know.
    NewerTool,
    /// The store refuses to read what lies in the slot.
    Unreadable,
}

const OBSTACLES: [Obstacle; 5] = [
    Obstacle::Garbage,
    Obstacle::FarSlot,
    Obstacle::LostEvent,
    Obstacle::NewerTool,
    Obstacle::Unreadable,
];

fn event(action: EventAction, requires: &[&str]) -> Event {
    Event {
        action,
        at: day(1),
        format: 1,
        previous: None,
        principal: "mallory".to_owned(),
        requires: requires.iter().map(ToString::to_string).collect(),
        run: Id128::from_bytes([5; 16]),
        seq: 1,
        tool: "deltavault 9.1.0".to_owned(),
    }
}

async fn put(scene: &PruneScene, key: &VaultKey, bytes: Vec<u8>) {
    let (key, payload) = (key.object_key().unwrap(), Payload::from_bytes(bytes));
    // Locked as the bucket's policy wants of a put.
    let lock = (!scene.is_alone).then(|| day(10));
    scene.store.put_new(&key, &payload, lock).await.unwrap();
}

fn slot(scene: &PruneScene, role: EventRole, seq: u64) -> VaultKey {
    let table = scene.key();
    VaultKey::Event { table, role, seq }
}

async fn put_in_the_way(scene: &PruneScene, role: EventRole, obstacle: Obstacle) {
    let first = slot(scene, role, 1);
    match obstacle {
        Obstacle::Garbage => put(scene, &first, b"garbage".to_vec()).await,
        Obstacle::FarSlot => put(scene, &slot(scene, role, 99), b"{}".to_vec()).await,
        Obstacle::LostEvent => {
            let (table, seq, sha256) = (scene.key(), 1, Digest::of(b"lost"));
            let seal = VaultKey::EventSeal {
                table,
                role,
                seq,
                sha256,
            };
            put(scene, &seal, Vec::new()).await;
        }
        Obstacle::NewerTool => {
            let action = serde_json::from_str(r#"{"drill":{}}"#).unwrap();
            let newer = event(action, &["four-eyes"]).encode().unwrap();
            put(scene, &first, newer).await;
        }
        Obstacle::Unreadable => {
            put(scene, &first, b"garbage".to_vec()).await;
            let key = first.to_string();
            scene
                .store
                .deny(move |call| call.method == "open" && call.key == key);
        }
    }
}

#[tokio::test]
async fn what_lies_in_one_role_s_chain_stands_in_no_other_role_s_way() {
    for role in EventRole::ALL {
        for obstacle in OBSTACLES {
            let what = format!("{obstacle:?} among the events of the {role}");
            // Only these are in the way of anybody, and only of who depends on the chain.
            let stops = matches!(obstacle, Obstacle::NewerTool | Obstacle::Unreadable);
            let mut scene = PruneScene::locked().await;
            let first = scene.take(0).await;
            scene.rewrite().await;
            let second = scene.take(1).await;
            put_in_the_way(&scene, role, obstacle).await;

            let pruned = async {
                scene.try_prune(RIPE - 4).await?;
                scene.try_prune(RIPE).await
            };
            let pruned = pruned.await;
            let fails = obstacle == Obstacle::Unreadable && role != EventRole::Restorer;
            assert_eq!(pruned.is_err(), fails, "{what}: {pruned:?}");
            let keeps_all = match role {
                EventRole::Holder => true,
                EventRole::Pruner => stops,
                EventRole::Restorer => false,
            };
            if keeps_all {
                scene.contents(&first).await.unwrap();
            } else {
                scene.holds_only(&[&second]).await;
            }
            if let Ok(pruned) = &pruned {
                let findings = &pruned.sums.findings;
                let of_role = format!("events of the {role}");
                let says = findings.iter().any(|it| it.contains(&of_role));
                assert_eq!(says, keeps_all, "{what}: {findings:?}");
            }

            let is_stopped = stops && role == EventRole::Holder;
            let held = scene.hold(&second, RIPE).await;
            assert_eq!(held.is_err(), is_stopped, "{what}: {held:?}");
            if !is_stopped {
                scene.release(&second, RIPE).await.unwrap();
            }
            let vault = scene.vault().await;
            let actor = actor(day(RIPE));
            let retired = hold::retire(&vault, &scene.store, &scene.key(), &actor).await;
            let is_stopped = stops && role == EventRole::Pruner;
            assert_eq!(retired.is_err(), is_stopped, "{what}: {retired:?}");
            // What it is about is named with its chain, and no byte of it is lost by it.
            scene.store.revive();
            let found = verify(&vault, NO_BYTES).await;
            let folder = format!("/events/{role}/");
            let mut about = found.findings.iter().map(|it| it.object.as_str());
            assert!(about.any(|it| it.contains(&folder)), "{what}: {found:#?}");
            let restored = scene.contents(&second).await.unwrap();
            assert!(!restored.is_empty(), "{what}");
        }
    }
}

#[tokio::test]
async fn an_action_in_another_role_s_chain_has_no_effect_and_is_found() {
    use EventRole::{Holder, Pruner, Restorer};
    for (planted_in, name) in [
        (Restorer, "release"),
        (Pruner, "release"),
        (Restorer, "retire"),
        (Holder, "retire"),
        (Restorer, "hold"),
        (Pruner, "hold"),
    ] {
        let what = format!("a {name} among the events of the {planted_in}");
        // Without locks: a legal hold would keep what an event frees.
        let mut scene = PruneScene::plain().await;
        let first = scene.take(0).await;
        scene.rewrite().await;
        let second = scene.take(1).await;
        let action = match name {
            "release" => EventAction::Release { snapshot: first.id },
            "retire" => EventAction::Retire {
                snapshot: second.id,
            },
            _ => EventAction::Hold { snapshot: first.id },
        };
        let is_held = name == "release";
        let planted = slot(&scene, planted_in, 1);
        let bytes = event(action, &[]).encode().unwrap();
        put(&scene, &planted, bytes).await;
        if is_held {
            scene.hold(&first, 2).await.unwrap();
        }
        let vault = scene.vault().await;
        let found = verify(&vault, NO_BYTES).await;
        assert_eq!(found.code(), ExitCode::Findings, "{found:#?}");
        assert_eq!(found.about(&planted).what, what);
        for days in [RIPE - 4, RIPE] {
            scene.prune(days).await;
        }
        // The newest stays, because the table was not retired.
        if is_held {
            scene.contents(&first).await.unwrap();
            scene.contents(&second).await.unwrap();
        } else {
            scene.holds_only(&[&second]).await;
        }
        // Who has the chain goes on above it, and its own actions count.
        let (table, actor) = (scene.key(), actor(day(RIPE)));
        assert!(
            hold::retire(&vault, &scene.store, &table, &actor)
                .await
                .unwrap(),
            "{what}"
        );
        scene.hold(&second, RIPE).await.unwrap();
        let chain = vault.events(&table, planted_in).await.unwrap();
        assert_eq!(chain.chain.findings, [], "{what}");
        let held = vault.events(&table, Holder).await.unwrap();
        let held = keep::held(held.records());
        assert_eq!(held.len(), 1 + usize::from(is_held), "{what}");
    }
}

#[tokio::test]
async fn a_prune_stops_for_a_new_event_of_the_holder_alone() {
    for role in EventRole::ALL {
        let mut scene = PruneScene::locked().await;
        scene.take(0).await;
        scene.rewrite().await;
        scene.take(1).await;
        scene.prune(RIPE - 4).await;
        let key = slot(&scene, role, 1).object_key().unwrap();
        let inner = scene.store.inner().clone();
        scene.store.before_call(
            1,
            |call| call.method == "delete_versions",
            move || {
                async move {
                    let payload = Payload::from_bytes("garbage");
                    inner.put_new(&key, &payload, None).await.unwrap();
                }
                .boxed()
            },
        );
        let pruned = scene.try_prune(RIPE).await;
        assert_eq!(pruned.is_err(), role == EventRole::Holder, "{pruned:?}");
    }
}

#[tokio::test]
async fn one_listing_shows_the_chains_of_all_roles() {
    let scene = PruneScene::plain().await;
    let first = scene.take(0).await;
    scene.hold(&first, 1).await.unwrap();
    scene.retire(&first).await;
    let vault = scene.vault().await;
    let (key, prefix) = (scene.key(), format!("tables/{}/events/", scene.key()));
    let calls = || scene.store.calls().len();
    let before = calls();
    let listed = vault.list_events(&key).await.unwrap();
    for (role, count) in EventRole::ALL.into_iter().zip([1, 1, 0]) {
        let chain = listed.read(role).await.unwrap();
        assert_eq!(chain.records().count(), count, "{role}");
    }
    let new = scene.store.calls().split_off(before);
    let listings: Vec<_> = new.iter().filter(|it| it.method != "open").collect();
    assert_eq!(listings.len(), 1, "{new:?}");
    assert_eq!(listings[0].key, prefix);
    assert_eq!(new.len(), 3, "two events: {new:?}");
    // Who depends on one chain lists no other.
    let before = calls();
    vault.events(&key, EventRole::Pruner).await.unwrap();
    let new = scene.store.calls().split_off(before);
    assert_eq!(new[0].key, format!("{prefix}pruner/"));
    assert_eq!(new.len(), 2, "{new:?}");
}

fn files_below(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, files);
        } else {
            files.push(path);
        }
    }
}

#[tokio::test]
async fn the_keys_and_bytes_of_each_chain_are_frozen() {
    let scene = PruneScene::plain().await;
    let (vault, key) = (scene.vault().await, scene.key());
    let snapshot = SnapshotId(Digest::of(&[1]));
    for (action, role) in [
        (EventAction::Hold { snapshot }, "holder"),
        (EventAction::Retire { snapshot }, "pruner"),
        (EventAction::Release { snapshot }, "holder"),
        (EventAction::Retire { snapshot }, "pruner"),
    ] {
        assert_eq!(action.role().unwrap().as_str(), role);
        let actor = Actor {
            now: "2026-02-01T00:00:00Z".parse().unwrap(),
            principal: "legal@desk".to_owned(),
            run: Id128::from_bytes([5; 16]),
            tool: "deltavault 0.1.0".to_owned(),
        };
        let append = vault.append_event(&scene.store, &key, action, &actor);
        append.await.unwrap();
    }
    let unknown = serde_json::from_str(r#"{"drill":{}}"#).unwrap();
    let actor = actor(day(1));
    let append = vault.append_event(&scene.store, &key, unknown, &actor);
    append.await.unwrap_err();

    let prefix = format!("tables/{key}/events/");
    let mut written = BTreeMap::new();
    for ((object, _), _) in scene.lying(&[&prefix]).await {
        let (_, bytes) = read_all(
            scene.store.inner() as &dyn ReadStore,
            &object,
            None,
            1 << 20,
        )
        .await
        .unwrap();
        let name = object.as_str().strip_prefix(&prefix).unwrap().to_owned();
        written.insert(name, bytes.to_vec());
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/v1/events");
    let mut files = Vec::new();
    files_below(&golden, &mut files);
    let frozen: BTreeMap<String, Vec<u8>> = files
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(&golden).unwrap().to_str().unwrap();
            (name.to_owned(), fs::read(&path).unwrap())
        })
        .collect();
    assert_eq!(
        written.keys().collect::<Vec<_>>(),
        frozen.keys().collect::<Vec<_>>()
    );
    assert_eq!(written, frozen);
    // The first of the holder's is the sample of the specification.
    let sample = fs::read(golden.with_file_name("event.json")).unwrap();
    assert_eq!(written["holder/00000000000000000001.json"], sample);
}
