//! What a run has learnt about copies from one bucket into the vault: from the first real answer, never from a probe.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;

use crate::plan::transfer::ServerCopy;
use crate::store::CopyAddress;

/// The pairs of a run, over all its tables. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Pairs {
    known: Arc<Mutex<HashMap<(String, String), Gate>>>,
}

type Gate = Arc<tokio::sync::Mutex<ServerCopy>>;

/// What is known when a file's turn comes.
pub(super) enum Turn {
    Known(ServerCopy),
    /// This file goes first; the others wait until it has learnt, or is dropped.
    First(Learning),
}

/// The right to find out.
pub(super) struct Learning(OwnedMutexGuard<ServerCopy>);

impl Learning {
    pub(super) fn learn(mut self, pair: ServerCopy) {
        *self.0 = pair;
    }
}

impl Pairs {
    fn gate(&self, source: &CopyAddress) -> Gate {
        let place = (source.service.clone(), source.bucket.clone());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(tokio::sync::Mutex::new(ServerCopy::Unknown));
        Arc::clone(known.entry(place).or_insert_with(new))
    }

    /// Waits for a file's turn.
    pub(super) async fn turn(&self, source: &CopyAddress) -> Turn {
        let pair = self.gate(source).lock_owned().await;
        if *pair == ServerCopy::Unknown {
            Turn::First(Learning(pair))
        } else {
            Turn::Known(pair.clone())
        }
    }

    pub(super) async fn learn(&self, source: &CopyAddress, pair: ServerCopy) {
        *self.gate(source).lock().await = pair;
    }
}
