//! Records and events that require something for writing or deleting only: who reads goes on.

use deltavault::format::ledger::LedgerError;
use deltavault::format::{Event, EventAction, EventRole, Record, VaultKey};
use deltavault::ids::{Id128, SnapshotId};
use deltavault::store::{Payload, WriteStore};
use deltavault::vault::snapshot::SnapshotDone;
use deltavault::{Error, ExitCode};

use super::scene::{PruneScene, day};

/// A scene whose newest record requires something; returns the snapshot that it is of.
async fn requiring(feature: &str) -> (PruneScene, SnapshotDone) {
    let mut scene = PruneScene::plain().await;
    scene.take(0).await;
    scene.rewrite().await;
    let second = scene.take(1).await;
    let record = Record {
        requires: vec![feature.to_owned()],
        tool: "deltavault 9.1.0".to_owned(),
        ..second.record.clone()
    };
    let id = scene.forge(3, (2, second.id), record.clone()).await;
    let record = Record { seq: 3, ..record };
    (
        scene,
        SnapshotDone {
            id,
            record,
            ..second
        },
    )
}

fn is_refused(error: &Error, feature: &str) {
    assert!(
        matches!(error, Error::Ledger(LedgerError::NotForThisTool { .. })),
        "{error:?}"
    );
    let Error::Ledger(LedgerError::NotForThisTool { source, .. }) = error else {
        return;
    };
    assert!(source.to_string().contains(feature), "{source}");
    assert!(error.hint().unwrap().contains("deltavault 9.1.0"));
}

#[tokio::test]
async fn who_does_not_know_what_writing_requires_restores_and_prunes_and_takes_no_snapshot() {
    let (mut scene, newest) = requiring("write:braids").await;
    let closure = scene.table.closure().await;
    assert_eq!(scene.contents(&newest).await.unwrap(), closure);
    let before = scene.objects().await;
    scene.table.append(1, 100).await;
    is_refused(&scene.try_take(2).await.unwrap_err(), "write:braids");
    assert_eq!(scene.objects().await, before, "something was written");
    scene.prune(40).await;
    assert!(scene.prune(44).await.deleted() > 0);
    assert_eq!(scene.contents(&newest).await.unwrap(), closure);
}

#[tokio::test]
async fn who_does_not_know_what_deleting_requires_restores_and_takes_snapshots_and_prunes_nothing()
{
    let (mut scene, newest) = requiring("delete:braids").await;
    let closure = scene.table.closure().await;
    assert_eq!(scene.contents(&newest).await.unwrap(), closure);
    scene.table.append(1, 100).await;
    scene.take(2).await;
    let before = scene.objects().await;
    for days in [40, 44] {
        let error = scene.try_prune(days).await.unwrap_err();
        assert_eq!(error.exit_code(), ExitCode::Damage, "{error:?}");
        let said = format!("{error} {error:?}");
        assert!(said.contains("delete:braids"), "{said}");
    }
    assert_eq!(scene.objects().await, before);
}

async fn put_event(scene: &PruneScene, feature: &str) {
    let event = Event {
        action: EventAction::Release {
            snapshot: SnapshotId(deltavault::ids::Digest::of(b"none")),
        },
        at: day(1),
        format: 1,
        previous: None,
        principal: "holder".to_owned(),
        requires: vec![feature.to_owned()],
        run: Id128::from_bytes([5; 16]),
        seq: 1,
        tool: "deltavault 9.1.0".to_owned(),
    };
    let (table, role, seq) = (scene.key(), EventRole::Holder, 1);
    let key = VaultKey::Event { table, role, seq };
    let key = key.object_key().unwrap();
    let payload = Payload::from_bytes(event.encode().unwrap());
    scene.store.put_new(&key, &payload, None).await.unwrap();
}

#[tokio::test]
async fn an_event_that_requires_something_stops_whoever_writes_or_deletes_and_no_reader() {
    for feature in ["write:four-eyes", "delete:four-eyes"] {
        let mut scene = PruneScene::plain().await;
        let first = scene.take(0).await;
        let closure = scene.table.closure().await;
        scene.rewrite().await;
        scene.take(1).await;
        put_event(&scene, feature).await;
        let hold = scene.hold(&first, 2).await;
        if feature.starts_with("write:") {
            is_refused(&hold.unwrap_err(), feature);
            scene.prune(40).await;
            assert!(scene.prune(44).await.deleted() > 0);
        } else {
            hold.unwrap();
            scene.release(&first, 3).await.unwrap();
            for days in [40, 44] {
                // All of the table is kept.
                assert!(scene.prune(days).await.is_idle());
            }
            assert_eq!(scene.contents(&first).await.unwrap(), closure);
        }
    }
}
