//! Snapshots that somebody holds.

use deltavault::ids::ObjectVersion;
use deltavault::store::{HoldStore, ReadStore};
use deltavault::vault::hold::held_of;

use super::yard::{Place, Yard};
use crate::support::fault_store::Fault;

async fn held(yard: &Yard) -> Vec<Place> {
    let mut held = Vec::new();
    for (key, version) in yard.lying(&[""]).await.into_keys() {
        let version: Option<&ObjectVersion> = version.as_ref();
        if yard.store.inner().is_held(&key, version).await.unwrap() {
            held.push((key, version.cloned()));
        }
    }
    held
}

#[tokio::test]
async fn what_is_held_outlives_its_promise_until_it_is_released() {
    for locked in [false, true] {
        let mut yard = if locked {
            Yard::locked().await
        } else {
            Yard::plain().await
        };
        let first = yard.take(0).await;
        let closure = yard.table.closure().await;
        yard.rewrite().await;
        let second = yard.take(1).await;
        // Marked before it is held: the plan alone deletes nothing.
        yard.prune(31).await;
        let done = yard.hold(&first, 32).await.unwrap();
        assert_eq!((done.was_so, done.objects.is_some()), (false, locked));
        assert!(yard.hold(&first, 32).await.unwrap().was_so);
        for days in [34, 60, 90] {
            assert_eq!(yard.prune(days).await.deleted(), 0);
        }
        assert_eq!(yard.contents(&first).await.unwrap(), closure);
        if locked {
            let needs = super::yard::needs(&yard.vault().await, &first.record).await;
            assert_eq!(held(&yard).await.len(), needs.len() + 1, "and its record");
        }

        let done = yard.release(&first, 90).await.unwrap();
        assert!(!done.was_so);
        assert!(yard.release(&first, 90).await.unwrap().was_so);
        if locked {
            assert_eq!(held(&yard).await, []);
        }
        // The old plan was made before the hold ended: a new one is made, and waits.
        assert_eq!(yard.prune(91).await.deleted(), 0);
        assert_eq!(yard.prune(93).await.deleted(), 0);
        assert!(yard.prune(94).await.deleted() > 0);
        yard.holds_only(&[&second]).await;
    }
}

#[tokio::test]
async fn a_release_leaves_alone_what_another_hold_covers() {
    let mut yard = Yard::locked().await;
    let first = yard.take(0).await;
    yard.table.append(1, super::yard::LARGE).await;
    let second = yard.take(1).await;
    yard.hold(&first, 2).await.unwrap();
    yard.hold(&second, 2).await.unwrap();
    let needs = super::yard::needs(&yard.vault().await, &second.record).await;
    let done = yard.release(&first, 3).await.unwrap();
    assert!(done.shared > 0);
    let mut left = held(&yard).await;
    left.retain(|(key, _)| !key.as_str().starts_with("tables/"));
    assert_eq!(left, needs.into_keys().collect::<Vec<_>>());
}

#[tokio::test]
async fn the_legal_hold_alone_stops_a_prune_that_knows_of_no_event() {
    let mut yard = Yard::locked().await;
    let first = yard.take(0).await;
    yard.rewrite().await;
    yard.take(1).await;
    yard.prune(31).await;
    // Killed between the bits and the event: not held, and yet nothing goes.
    let vault = yard.vault().await;
    for (key, version) in super::yard::needs(&vault, &first.record).await.into_keys() {
        let version = version.as_ref();
        yard.store.set_hold(&key, version, true).await.unwrap();
    }
    let before = yard.objects().await;
    let swept = yard.prune(34).await;
    assert_eq!(swept.deleted(), 0);
    assert!(swept.done.held.objects > 0, "{swept:?}");
    assert_eq!(yard.objects().await, before);
}

#[tokio::test]
async fn a_hold_or_release_killed_at_any_call_is_finished_by_the_next_and_never_lies() {
    for fault in [Fault::Before, Fault::After] {
        let mut k = 1;
        loop {
            let yard = Yard::locked().await;
            let first = yard.take(0).await;
            let needs = super::yard::needs(&yard.vault().await, &first.record).await;
            let all = needs.len() + 1;
            yard.store.fail_call(k, fault);
            let killed = yard.hold(&first, 1).await;
            let died = yard.store.is_dead();
            yard.store.revive();
            let vault = yard.vault().await;
            let is_held = held_of(&vault, &yard.key()).await.unwrap();
            if is_held.contains(&first.id) {
                assert_eq!(held(&yard).await.len(), all, "called held, and is not");
            }
            let done = yard.hold(&first, 1).await.unwrap();
            assert_eq!(done.was_so, is_held.contains(&first.id));
            assert_eq!(held(&yard).await.len(), all);
            let events = vault.events(&yard.key()).await.unwrap();
            assert_eq!((events.links.len(), events.findings), (1, vec![]));

            yard.store.fail_call(k, fault);
            let released = yard.release(&first, 2).await;
            let died = yard.store.is_dead() || died;
            yard.store.revive();
            yard.release(&first, 2).await.unwrap();
            assert_eq!(held(&yard).await, []);
            assert!(held_of(&vault, &yard.key()).await.unwrap().is_empty());
            let events = vault.events(&yard.key()).await.unwrap();
            assert_eq!((events.links.len(), events.findings), (2, vec![]));
            if !died {
                assert!(killed.is_ok() && released.is_ok());
                break;
            }
            k += 1;
        }
        assert!(k > 10);
    }
}

#[tokio::test]
async fn a_snapshot_that_is_not_whole_is_not_held() {
    let yard = Yard::locked().await;
    let first = yard.take(0).await;
    let needs = super::yard::needs(&yard.vault().await, &first.record).await;
    let (key, version) = needs
        .keys()
        .find(|(key, _)| key.as_str().starts_with("blobs/"))
        .unwrap();
    let inner = yard.store.inner();
    inner.force_lock(key, version.as_ref(), None).unwrap();
    inner
        .delete_version(key, version.as_ref().unwrap())
        .unwrap();
    let error = yard.hold(&first, 1).await.unwrap_err();
    assert!(error.to_string().contains(key.as_str()), "{error}");
    assert!(
        held_of(&yard.vault().await, &yard.key())
            .await
            .unwrap()
            .is_empty()
    );
    assert!(inner.attributes(key, version.as_ref()).await.is_err());
}
