//! A prune killed at every call: what is kept is whole, and the next run finishes.

use super::scene::PruneScene;
use crate::support::fault_store::Fault;

/// On which day the run dies: that which marks, or that which deletes.
async fn killed_on(dies: i64, locked: bool, fault: Fault) {
    let mut origin = if locked {
        PruneScene::locked().await
    } else {
        PruneScene::plain().await
    };
    origin.take(0).await;
    origin.rewrite().await;
    let second = origin.take(1).await;
    let closure = origin.table.closure().await;
    if dies > 31 {
        origin.prune(31).await;
    }
    let mut k = 1;
    let mut deleting = 0;
    loop {
        let scene = origin.fork();
        let before = scene.objects().await;
        scene.store.revive();
        scene.store.fail_call(k, fault);
        let killed = scene.try_prune(dies).await;
        let was_killed = scene.store.is_dead();
        scene.store.revive();
        let left = scene.objects().await;
        if dies == 31 {
            assert_eq!(left, before, "a run that marks deletes nothing");
        }
        deleting += usize::from(left.len() < before.len() && killed.is_err());
        scene.is_sound(31).await;
        assert_eq!(scene.contents(&second).await.unwrap(), closure);
        // Whatever it got done, it never does again, and the rest comes in time.
        for days in [dies, dies, 34, 37] {
            scene.prune(days.max(dies)).await;
        }
        scene.holds_only(&[&second]).await;
        scene.is_sound(40).await;
        assert!(scene.prune(40).await.is_idle());
        if !was_killed {
            assert!(killed.is_ok());
            break;
        }
        k += 1;
    }
    assert!(k > 10, "{k}");
    if dies > 31 && fault == Fault::After {
        assert!(
            deleting > 0,
            "no deletion was ever the call that was_killed"
        );
    }
}

#[tokio::test]
async fn a_mark_killed_at_any_call_is_done_again() {
    for fault in [Fault::Before, Fault::After] {
        killed_on(31, false, fault).await;
        killed_on(31, true, fault).await;
    }
}

#[tokio::test]
async fn a_sweep_killed_at_any_call_is_gone_on_with() {
    for fault in [Fault::Before, Fault::After] {
        killed_on(34, false, fault).await;
        killed_on(34, true, fault).await;
    }
}
