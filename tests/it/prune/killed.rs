//! A prune killed at every call: what is kept is whole, and the next run finishes.

use super::yard::Yard;
use crate::support::fault_store::Fault;

/// On which day the run dies: that which marks, or that which deletes.
async fn killed_on(dies: i64, locked: bool, fault: Fault) {
    let mut k = 1;
    let mut deleting = 0;
    loop {
        let mut yard = if locked {
            Yard::locked().await
        } else {
            Yard::plain().await
        };
        yard.take(0).await;
        yard.rewrite().await;
        let second = yard.take(1).await;
        let closure = yard.table.closure().await;
        if dies > 31 {
            yard.prune(31).await;
        }
        let before = yard.objects().await;
        yard.store.revive();
        yard.store.fail_call(k, fault);
        let killed = yard.try_prune(dies).await;
        let was_killed = yard.store.is_dead();
        yard.store.revive();
        let left = yard.objects().await;
        if dies == 31 {
            assert_eq!(left, before, "a run that marks deletes nothing");
        }
        deleting += usize::from(left.len() < before.len() && killed.is_err());
        yard.is_sound(31).await;
        assert_eq!(yard.contents(&second).await.unwrap(), closure);
        // Whatever it got done, it never does again, and the rest comes in time.
        for days in [dies, dies, 34, 37] {
            yard.prune(days.max(dies)).await;
        }
        yard.holds_only(&[&second]).await;
        yard.is_sound(40).await;
        assert!(yard.prune(40).await.is_idle());
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
