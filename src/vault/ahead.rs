//! Work done ahead of whoever takes its results, in order: bounded by a number and by the bytes that it holds, so
//! that hundreds of small reads may be under way where only a few large ones may.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::stream::{Fuse, FuturesOrdered, Stream, StreamExt};

/// How much may be under way at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Pieces of work.
    pub(crate) count: usize,
    /// The bytes of all of them together; one alone may have more.
    pub(crate) bytes: u64,
}

/// Runs the futures of a sequence and returns what they return, in the order of the sequence. Each comes
/// with the bytes that it will hold until its result is taken.
pub(crate) fn ahead<S, F>(work: S, bounds: Bounds) -> Ahead<S, F>
where
    S: Stream<Item = (u64, F)> + Unpin,
    F: Future,
{
    Ahead {
        work: work.fuse(),
        waiting: None,
        flying: FuturesOrdered::new(),
        weights: VecDeque::new(),
        bytes: 0,
        bounds,
    }
}

/// See [`ahead`].
pub(crate) struct Ahead<S: Stream, F: Future> {
    work: Fuse<S>,
    /// What did not fit beside what is under way.
    waiting: Option<(u64, F)>,
    flying: FuturesOrdered<F>,
    weights: VecDeque<u64>,
    bytes: u64,
    bounds: Bounds,
}

// A future is only polled once `FuturesOrdered` has pinned it.
impl<S: Stream + Unpin, F: Future> Unpin for Ahead<S, F> {}

impl<S, F> Stream for Ahead<S, F>
where
    S: Stream<Item = (u64, F)> + Unpin,
    F: Future,
{
    type Item = F::Output;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<F::Output>> {
        let this = &mut *self;
        let ended = loop {
            let next = match this.waiting.take() {
                Some(next) => Poll::Ready(Some(next)),
                None if this.flying.len() >= this.bounds.count.max(1) => Poll::Pending,
                None => this.work.poll_next_unpin(context),
            };
            match next {
                Poll::Ready(Some((weight, work))) => {
                    let bytes = this.bytes.saturating_add(weight);
                    let is_full =
                        bytes > this.bounds.bytes || this.flying.len() >= this.bounds.count.max(1);
                    if is_full && !this.flying.is_empty() {
                        this.waiting = Some((weight, work));
                        break false;
                    }
                    this.bytes = bytes;
                    this.weights.push_back(weight);
                    this.flying.push_back(work);
                }
                Poll::Ready(None) => break true,
                Poll::Pending => break false,
            }
        };
        match this.flying.poll_next_unpin(context) {
            Poll::Ready(Some(done)) => {
                let weight = this.weights.pop_front().unwrap_or_default();
                this.bytes = this.bytes.saturating_sub(weight);
                Poll::Ready(Some(done))
            }
            Poll::Ready(None) if ended => Poll::Ready(None),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use futures::stream;

    use super::*;

    /// Runs work of these weights; returns the most pieces, and the most bytes, that were under way at once.
    async fn most(weights: &[u64], bounds: Bounds) -> (usize, u64) {
        let now = Rc::new(Cell::new((0, 0)));
        let most = Rc::new(Cell::new((0, 0)));
        let work = weights.iter().enumerate().map(|(position, weight)| {
            let (now, most, weight) = (Rc::clone(&now), Rc::clone(&most), *weight);
            let work = async move {
                let (count, bytes) = now.get();
                now.set((count + 1, bytes + weight));
                let (before, bytes_before) = most.get();
                most.set((before.max(count + 1), bytes_before.max(bytes + weight)));
                // The later it was begun, the sooner it is done.
                for _ in position..100 {
                    tokio::task::yield_now().await;
                }
                let (count, bytes) = now.get();
                now.set((count - 1, bytes - weight));
                position
            };
            (weight, work)
        });
        let done: Vec<usize> = ahead(stream::iter(work), bounds).collect().await;
        let expected: Vec<usize> = (0..weights.len()).collect();
        assert_eq!(done, expected, "results come in order");
        most.get()
    }

    #[tokio::test]
    async fn as_much_is_under_way_as_the_bounds_allow_and_no_more() {
        let bounds = |count, bytes| Bounds { count, bytes };
        assert_eq!(most(&[1; 100], bounds(7, 1000)).await, (7, 7));
        assert_eq!(most(&[10; 100], bounds(50, 45)).await, (4, 40));
        assert_eq!(most(&[], bounds(1, 1)).await, (0, 0));
        // What is larger than the bound goes alone.
        assert_eq!(most(&[1, 99, 1, 1], bounds(8, 10)).await, (2, 99));
        assert_eq!(most(&[5; 3], bounds(0, 0)).await, (1, 5));
    }
}
