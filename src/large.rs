//! What takes much memory to decode is decoded one at a time, over all tables of a run: writers choose how much one line or one
//! page holds, up to limits, and four tables at their limits would take four times as much.

use std::sync::{Mutex, MutexGuard, PoisonError};

static LARGE: Mutex<()> = Mutex::new(());

/// Where `bytes` are more than `small`, waits until nothing else that is large is decoded. Whoever holds the guard must wait
/// for nothing but a disk.
pub(crate) fn alone(bytes: u64, small: u64) -> Option<MutexGuard<'static, ()>> {
    // Whoever panicked with it has left nothing behind.
    (bytes > small).then(|| LARGE.lock().unwrap_or_else(PoisonError::into_inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_things_wait_for_nobody() {
        let large = alone(33, 32);
        assert!(large.is_some());
        assert!(alone(32, 32).is_none());
        assert!(LARGE.try_lock().is_err());
        drop(large);
    }
}
