//! What one run may have in flight, over all its tables, and where its owner wants it to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::Instant;

use crate::plan::price::{NanoUsd, Prices, Requests};

/// Bytes of bodies that wait in memory, in KiB: four packs. With connections, sorting and the program itself a run
/// stays under 300 MiB.
const MEMORY_KIB: u64 = 64 * 1024;
/// Bytes of bodies that wait on disk, in KiB; a larger file waits alone.
const DISK_KIB: u64 = 4 * 1024 * 1024;
/// Files being read, or copied by the store, at a time: enough to hide 20 ms of latency at 5,000 small files a second.
const REQUESTS: usize = 128;

/// Bytes between a connection or a file and their place in memory, in KiB.
const TRANSIT_KIB: u64 = 32 * 1024;
/// The most bytes that one body has on its way: what stores hand out at a time.
const CHUNK: u64 = 1024 * 1024;

/// Bodies and requests in flight. Clones share them.
#[derive(Debug, Clone)]
pub struct Budget {
    memory: Arc<Share>,
    disk: Arc<Share>,
    transit: Arc<Share>,
    requests: Arc<Semaphore>,
    at_once: usize,
}

/// Permits in KiB.
#[derive(Debug)]
struct Share {
    permits: Semaphore,
    total: u64,
}

impl Share {
    fn new(kib: u64) -> Arc<Self> {
        let total = kib.clamp(1, u64::from(u32::MAX >> 3));
        Arc::new(Self {
            permits: Semaphore::new(usize::try_from(total).unwrap_or(1)),
            total,
        })
    }

    /// Waits for its turn, in order. What is larger than everything there is has it alone.
    async fn take(&self, bytes: u64) -> Option<SemaphorePermit<'_>> {
        let kib = bytes.div_ceil(1024).clamp(1, self.total);
        let permits = u32::try_from(kib).unwrap_or(u32::MAX);
        // Never closed, so there is always a permit.
        self.permits.acquire_many(permits).await.ok()
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(MEMORY_KIB * 1024, REQUESTS)
    }
}

/// Room for bodies in memory, until it is dropped.
#[derive(Debug)]
pub(super) struct Room {
    share: Arc<Share>,
    permits: usize,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.share.permits.add_permits(self.permits);
    }
}

impl Budget {
    /// So many bytes in memory and so many files at a time.
    pub fn new(bytes: u64, requests: usize) -> Self {
        let at_once = requests.max(1);
        Self {
            memory: Share::new(bytes.div_ceil(1024)),
            disk: Share::new(DISK_KIB),
            transit: Share::new(TRANSIT_KIB),
            requests: Arc::new(Semaphore::new(at_once)),
            at_once,
        }
    }

    pub(super) fn at_once(&self) -> usize {
        self.at_once
    }

    /// Waits for room for `bytes` in memory.
    pub(super) async fn memory(&self, bytes: u64) -> Room {
        room(&self.memory, bytes).await
    }

    /// Waits for room for `bytes` on disk.
    pub(super) async fn disk(&self, bytes: u64) -> Room {
        room(&self.disk, bytes).await
    }

    /// Waits for the turn of one more request with a body of so many bytes. It lasts until the body is read.
    pub(super) async fn request(&self, bytes: u64) -> Turn<'_> {
        // In this order: who has a place in transit waits for nobody.
        let request = self.requests.acquire().await.ok();
        let transit = self.transit.take(bytes.min(CHUNK)).await;
        Turn(request, transit)
    }
}

/// The right to one request, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a>(
    #[expect(dead_code, reason = "held, not looked at")] Option<SemaphorePermit<'a>>,
    #[expect(dead_code, reason = "held, not looked at")] Option<SemaphorePermit<'a>>,
);

async fn room(share: &Arc<Share>, bytes: u64) -> Room {
    let permits = match share.take(bytes).await {
        Some(permit) => {
            let permits = permit.num_permits();
            permit.forget();
            permits
        }
        None => 0,
    };
    Room {
        share: Arc::clone(share),
        permits,
    }
}

/// Where a run ends although there is more to copy. Clones share what was spent.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// No file is begun from then on.
    pub until: Option<Instant>,
    /// No file is begun that would make the copied bytes more than this, unless it is the first.
    pub max_bytes: Option<u64>,
    /// As with bytes, of what requests and storage cost by the list.
    pub max_price: Option<MaxPrice>,
    spent: Arc<Spent>,
}

/// A limit in money.
#[derive(Debug, Clone, Copy)]
pub struct MaxPrice {
    /// How much.
    pub amount: NanoUsd,
    /// By which prices.
    pub prices: Prices,
}

#[derive(Debug, Default)]
struct Spent {
    bytes: AtomicU64,
    nano_usd: AtomicU64,
}

/// A limit that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// The time.
    Until,
    /// The bytes.
    MaxBytes,
    /// The money.
    MaxUsd,
}

impl Limit {
    /// The limit as its owner set it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Until => "--until",
            Self::MaxBytes => "--max-bytes",
            Self::MaxUsd => "--max-usd",
        }
    }
}

impl Limits {
    /// No limits but these.
    pub fn new(
        until: Option<Instant>,
        max_bytes: Option<u64>,
        max_price: Option<MaxPrice>,
    ) -> Self {
        Self {
            until,
            max_bytes,
            max_price,
            spent: Arc::default(),
        }
    }

    /// Spends `bytes`, to be kept for so many days, and `requests`, or says which limit is in the way. The first
    /// spending of a run is always
    /// allowed: a limit below the size of one file would else stop every night at the same file.
    pub(super) fn spend(&self, requests: Requests, bytes: u64, days: u64) -> Option<Limit> {
        if self.until.is_some_and(|until| Instant::now() >= until) {
            return Some(Limit::Until);
        }
        let before = self.spent.bytes.load(Ordering::Relaxed);
        if let Some(max) = self.max_bytes
            && before > 0
            && before.saturating_add(bytes) > max
        {
            return Some(Limit::MaxBytes);
        }
        if let Some(max) = self.max_price {
            let price = max.prices.estimate(requests, bytes, days).0;
            let before = self.spent.nano_usd.load(Ordering::Relaxed);
            if before > 0 && before.saturating_add(price) > max.amount.0 {
                return Some(Limit::MaxUsd);
            }
            self.spent.nano_usd.fetch_add(price, Ordering::Relaxed);
        }
        self.spent.bytes.fetch_add(bytes, Ordering::Relaxed);
        None
    }
}

/// Tells a run to write down what it has placed and to end.
#[derive(Debug, Clone)]
pub struct Interrupt {
    sender: Arc<watch::Sender<bool>>,
}

impl Default for Interrupt {
    fn default() -> Self {
        Self {
            sender: Arc::new(watch::Sender::new(false)),
        }
    }
}

impl Interrupt {
    /// Interrupts everything that listens, now and later; returns whether anything does now.
    pub fn fire(&self) -> bool {
        self.sender.send_replace(true);
        self.sender.receiver_count() > 0
    }

    /// Waits until it is fired.
    pub(super) async fn fired(&self) {
        self.listen().fired().await;
    }

    /// Listens from now on: whoever fires it knows that somebody has to be waited for.
    pub(in crate::vault) fn listen(&self) -> Listening {
        Listening(self.sender.subscribe())
    }
}

/// Listens to an [`Interrupt`] until it is dropped.
#[derive(Debug)]
pub(in crate::vault) struct Listening(watch::Receiver<bool>);

impl Listening {
    /// Waits until it is fired.
    pub(in crate::vault) async fn fired(&mut self) {
        if self.0.wait_for(|fired| *fired).await.is_err() {
            // Nobody is left who could fire it.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn room_is_given_in_order_and_a_body_larger_than_all_of_it_has_it_alone() {
        let budget = Budget::new(8 * 1024, 1);
        let half = budget.memory(4 * 1024).await;
        let mut all = Box::pin(budget.memory(1 << 40));
        let wait = Duration::from_millis(20);
        assert!(tokio::time::timeout(wait, &mut all).await.is_err());
        let mut small = Box::pin(budget.memory(1));
        assert!(
            tokio::time::timeout(wait, &mut small).await.is_err(),
            "it overtakes the large one"
        );
        drop(half);
        let all = all.await;
        assert!(tokio::time::timeout(wait, &mut small).await.is_err());
        drop(all);
        small.await;
    }

    #[test]
    fn a_limit_lets_the_first_file_through_and_stops_before_the_one_that_exceeds_it() {
        let reads = Requests::default();
        let limits = Limits::new(None, Some(100), None);
        assert_eq!(
            limits.spend(reads, 500, 30),
            None,
            "else it would never end"
        );
        assert_eq!(limits.clone().spend(reads, 1, 30), Some(Limit::MaxBytes));
        let limits = Limits::new(None, Some(100), None);
        assert_eq!(limits.spend(reads, 60, 30), None);
        assert_eq!(limits.spend(reads, 41, 30), Some(Limit::MaxBytes));
        assert_eq!(limits.spend(reads, 40, 30), None);

        let limits = Limits::new(
            None,
            None,
            Some(MaxPrice {
                amount: NanoUsd(10_000),
                prices: Prices::of(None),
            }),
        );
        let put = Requests {
            reads: 0,
            writes: 1,
        };
        assert_eq!(limits.spend(put, 0, 30), None);
        assert_eq!(limits.spend(put, 0, 30), None);
        assert_eq!(limits.spend(put, 0, 30), Some(Limit::MaxUsd));
    }
}
