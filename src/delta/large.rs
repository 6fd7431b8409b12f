//! What takes much memory to decode is decoded one at a time, over all tables of a run: their writers choose how much one line or
//! one page holds, up to limits, and four tables at their limits would take four times as much.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes that a table may take without waiting for another. Lines and pages of honest logs have a few MiB at most.
const SMALL: u64 = 32 << 20;

static LARGE: Mutex<()> = Mutex::new(());

/// Waits until nothing else that is large is decoded, where `bytes` are. Whoever holds it must wait for nothing but a disk.
pub(super) fn alone(bytes: u64) -> Option<MutexGuard<'static, ()>> {
    // Whoever panicked with it has left nothing behind.
    (bytes > SMALL).then(|| LARGE.lock().unwrap_or_else(PoisonError::into_inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_things_wait_for_nobody() {
        let large = alone(SMALL + 1);
        assert!(large.is_some());
        assert!(alone(SMALL).is_none());
        assert!(LARGE.try_lock().is_err());
        drop(large);
    }
}
