//! The newest record and the newest event are changed or deleted where no lock stands in the way: `prune` believes neither.

use deltavault::format::{Event, EventAction, EventRole, Record, VaultKey};
use deltavault::ids::{ObjectKey, SnapshotId};
use deltavault::store::read_all;
use deltavault::vault::snapshot::SnapshotDone;

use super::scene::PruneScene;

/// A first snapshot that is promised until day 30 and held, and a second one of other files.
async fn held() -> (PruneScene, SnapshotDone, ObjectKey) {
    let mut scene = PruneScene::plain().await;
    let first = scene.take(0).await;
    scene.rewrite().await;
    scene.take(1).await;
    scene.hold(&first, 2).await.unwrap();
    let (table, role, seq) = (scene.key(), EventRole::Holder, 1);
    let event = VaultKey::Event { table, role, seq };
    let event = event.object_key().unwrap();
    (scene, first, event)
}

async fn bytes(scene: &PruneScene, key: &ObjectKey) -> Vec<u8> {
    let read = read_all(scene.store.inner(), key, None, 1 << 20).await;
    read.unwrap().1.to_vec()
}

fn replace(scene: &PruneScene, key: &ObjectKey, bytes: Vec<u8>) {
    scene.store.inner().delete_marker(key);
    scene.store.inner().plant(key, bytes);
}

#[tokio::test]
async fn what_was_held_is_kept_where_the_newest_event_was_changed_or_deleted() {
    for changed in [None, Some(false), Some(true)] {
        let (scene, first, key) = held().await;
        let whole = bytes(&scene, &key).await;
        match changed {
            None => assert_eq!(scene.store.inner().delete_marker(&key), None),
            Some(is_event) => {
                let mut event = Event::decode(&whole).unwrap();
                let snapshot = SnapshotId("00".repeat(32).parse().unwrap());
                event.action = EventAction::Hold { snapshot };
                let other = event.encode().unwrap();
                let cut = whole[..20].to_vec();
                replace(&scene, &key, if is_event { other } else { cut });
            }
        }
        let vault = scene.vault().await;
        let key = scene.key();
        let events = async || vault.events(&key, EventRole::Holder).await.unwrap();
        let unread = events().await;
        assert_eq!(unread.out_of_sight().count(), 1, "{unread:?}");
        for day in [40, 50, 60] {
            let pruned = scene.prune(day).await;
            assert_eq!((pruned.deleted(), pruned.sums.expired), (0, 0));
        }
        scene.contents(&first).await.unwrap();
        // Whoever writes the next event was told; from then on it is what is kept.
        let second = scene.history().await.snapshots[1].id;
        let done = SnapshotDone {
            id: second,
            ..first.clone()
        };
        scene.hold(&done, 61).await.unwrap();
        // Where the hold took the lost one's own slot, it is as a forger would have done it.
        assert!(scene.hold(&done, 61).await.unwrap().already);
        assert_eq!(events().await.out_of_sight().next(), None);
        for day in [62, 66, 70] {
            scene.prune(day).await;
        }
        assert!(scene.contents(&first).await.is_err(), "nothing keeps it");
    }
}

#[tokio::test]
async fn a_shortened_promise_is_not_believed() {
    let mut scene = PruneScene::plain().await;
    let first = scene.take(0).await;
    scene.rewrite().await;
    scene.take(1).await;
    // Of the newest record alone nothing above says what it was: a third one is taken from it.
    scene.rewrite().await;
    let third = scene.take(20).await;
    let (table, seq) = (scene.key(), third.record.seq);
    let key = VaultKey::Record { table, seq }.object_key().unwrap();
    let mut record = Record::decode(&bytes(&scene, &key).await).unwrap();
    record.promise = first.record.taken_at;
    replace(&scene, &key, record.encode().unwrap());
    let chain = scene.history().await.snapshots.len();
    assert_eq!(chain, 2, "what was changed is no record of the chain");
    for day in [40, 44, 48] {
        scene.prune(day).await;
    }
    replace(&scene, &key, third.record.encode().unwrap());
    scene.contents(&third).await.unwrap();
}
