//! A store that dies on command: it counts the calls that reach another store, fails a chosen one, and lets a
//! test slip something in before another.
//!
//! A call fails either before it takes effect or after (the answer is lost). From then on the process counts as
//! dead: every later call fails without effect, and what is being read or listed ends in an error, until
//! [`FaultStore::revive`]. Nothing is random, so call k is the same call in every run of the same work.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use deltavault::ids::{ETag, ObjectKey, ObjectVersion, Timestamp};
use deltavault::store::memory::MemoryStore;
use deltavault::store::{
    Attributes, Copied, CopyAddress, CopySource, DeleteTarget, Deletion, Had, HoldStore,
    ListedVersion, ObjectReader, Payload, PruneStore, ReadStore, RestoreStore, StoreError,
    StoreErrorKind, WriteStore, Written,
};
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};

/// How many rows of a listing one call brings, as on S3.
const PAGE: usize = 1000;

/// Whether a failing call takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The call never reaches the store.
    Before,
    /// The store does what it was asked and the answer is lost.
    After,
}

/// A call that reached the store, or was chosen to fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    /// The trait's method.
    pub(crate) method: &'static str,
    /// The key, or the prefix of a listing.
    pub(crate) key: String,
}

/// Wraps a store. Clones share the log and the fate.
#[derive(Clone)]
pub(crate) struct FaultStore<S> {
    inner: S,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    calls: Vec<Call>,
    /// How many calls from now the fault is, and which.
    fault: Option<(usize, Fault)>,
    dead: bool,
    latency: Duration,
    /// Calls to fail once each, without dying of it.
    stumbles: Vec<Matches>,
    /// Calls that nobody may make.
    denied: Option<Matches>,
    hooks: Vec<Hook>,
}

type Matches = Box<dyn Fn(&Call) -> bool + Send>;

type Act = Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>;

/// Something to do before a matching call.
struct Hook {
    matches: Matches,
    /// How many matching calls from now.
    left: usize,
    act: Option<Act>,
}

impl FaultStore<MemoryStore> {
    /// A store that is as this one is now, with the same calls behind it, and from now on another one. Nothing fails in it yet.
    pub(crate) fn fork(&self) -> Self {
        let calls = self.calls();
        let fork = Self::new(self.inner.fork());
        fork.state().calls = calls;
        fork
    }
}

impl<S: ReadStore> FaultStore<S> {
    /// Wraps `inner`; nothing fails yet.
    pub(crate) fn new(inner: S) -> Self {
        Self {
            inner,
            state: Arc::default(),
        }
    }

    /// The wrapped store, past all counting and failing.
    pub(crate) fn inner(&self) -> &S {
        &self.inner
    }

    /// Fails the `k`-th call from now on; 1 is the next.
    pub(crate) fn fail_call(&self, k: usize, fault: Fault) {
        self.state().fault = Some((k, fault));
    }

    /// Whether the chosen call has failed.
    pub(crate) fn is_dead(&self) -> bool {
        self.state().dead
    }

    /// Lets calls through again, forgets a fault that did not come to pass, and empties the log.
    pub(crate) fn revive(&self) {
        let mut state = self.state();
        state.dead = false;
        state.fault = None;
        state.denied = None;
        state.calls.clear();
    }

    /// Fails the next call that `matches`, before it takes effect; the process lives on.
    pub(crate) fn stumble_at(&self, matches: impl Fn(&Call) -> bool + Send + 'static) {
        self.state().stumbles.push(Box::new(matches));
    }

    /// Refuses every call that `matches`, as a policy does, until the next revival.
    pub(crate) fn deny(&self, matches: impl Fn(&Call) -> bool + Send + 'static) {
        self.state().denied = Some(Box::new(matches));
    }

    /// Lets every call take so long, as a network does.
    pub(crate) fn set_latency(&self, latency: Duration) {
        self.state().latency = latency;
    }

    /// Runs `act` before the `n`-th call from now on that `matches`; 1 is the next. The call waits for it.
    pub(crate) fn before_call(
        &self,
        n: usize,
        matches: impl Fn(&Call) -> bool + Send + 'static,
        act: impl FnOnce() -> BoxFuture<'static, ()> + Send + 'static,
    ) {
        self.state().hooks.push(Hook {
            matches: Box::new(matches),
            left: n,
            act: Some(Box::new(act)),
        });
    }

    /// The calls since the beginning or the last revival, in order.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// How many of them were of that method.
    pub(crate) fn count(&self, method: &str) -> usize {
        let state = self.state();
        let calls = state.calls.iter();
        calls.filter(|call| call.method == method).count()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn interrupted(&self, key: &str) -> StoreError {
        StoreError {
            action: "reach",
            uri: format!("{}/{key}", self.inner.uri()),
            kind: StoreErrorKind::Interrupted,
        }
    }

    /// Counts a call. An error: it does not take effect. [`Fault::After`]: it does, and its answer is lost.
    async fn arrive(&self, method: &'static str, key: &str) -> Result<Option<Fault>, StoreError> {
        let latency = self.state().latency;
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        let (acts, fault) = {
            let mut state = self.state();
            if state.dead {
                return Err(self.interrupted(key));
            }
            let call = Call {
                method,
                key: key.to_owned(),
            };
            if let Some(at) = state.stumbles.iter().position(|matches| matches(&call)) {
                drop(state.stumbles.remove(at));
                return Err(self.interrupted(key));
            }
            if state.denied.as_ref().is_some_and(|denied| denied(&call)) {
                return Err(StoreError {
                    action: "reach",
                    uri: format!("{}/{key}", self.inner.uri()),
                    kind: StoreErrorKind::Denied {
                        detail: format!("nobody may {method}"),
                    },
                });
            }
            let acts: Vec<Act> = state
                .hooks
                .iter_mut()
                .filter_map(|hook| hook.arrive(&call))
                .collect();
            state.hooks.retain(|hook| hook.act.is_some());
            state.calls.push(call);
            let fault = state.fault.take().and_then(|(left, fault)| {
                if left <= 1 {
                    state.dead = true;
                    return Some(fault);
                }
                state.fault = Some((left - 1, fault));
                None
            });
            (acts, fault)
        };
        for act in acts {
            act().await;
        }
        match fault {
            Some(Fault::Before) => Err(self.interrupted(key)),
            other => Ok(other),
        }
    }

    fn answer<T>(
        &self,
        fault: Option<Fault>,
        key: &str,
        answer: Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match fault {
            None => answer,
            Some(_) => Err(self.interrupted(key)),
        }
    }

    /// Counts a call for each page that is started. That a further page exists is only known once its first row
    /// is there, so a hook before it runs just after the wrapped store has looked.
    fn paged<'a, T: Send + 'a>(
        &'a self,
        method: &'static str,
        prefix: &'a str,
        rows: BoxStream<'a, Result<T, StoreError>>,
    ) -> BoxStream<'a, Result<T, StoreError>> {
        stream::try_unfold((rows, 0_usize), move |(mut rows, position)| async move {
            let count = async || {
                let fault = self.arrive(method, prefix).await?;
                self.answer(fault, prefix, Ok(()))
            };
            if position == 0 {
                count().await?;
            }
            let row = rows.try_next().await;
            if position > 0 && position.is_multiple_of(PAGE) && !matches!(row, Ok(None)) {
                count().await?;
            }
            if self.is_dead() {
                return Err(self.interrupted(prefix));
            }
            Ok(row?.map(|row| (row, (rows, position + 1))))
        })
        .boxed()
    }
}

impl Hook {
    fn arrive(&mut self, call: &Call) -> Option<Act> {
        if !(self.matches)(call) {
            return None;
        }
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            self.act.take()
        } else {
            None
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for FaultStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FaultStore").field(&self.inner).finish()
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<S: ReadStore> ReadStore for FaultStore<S> {
    fn uri(&self) -> &str {
        self.inner.uri()
    }

    fn listings_at_once(&self) -> usize {
        self.inner.listings_at_once()
    }

    fn copy_address(&self, key: &ObjectKey) -> Option<CopyAddress> {
        self.inner.copy_address(key)
    }

    async fn open(
        &self,
        key: &ObjectKey,
        version: Option<&ObjectVersion>,
        range: Option<Range<u64>>,
    ) -> Result<ObjectReader, StoreError> {
        let fault = self.arrive("open", key.as_str()).await?;
        let answer = self.inner.open(key, version, range).await;
        let mut reader = self.answer(fault, key.as_str(), answer)?;
        let (state, lost) = (Arc::clone(&self.state), self.interrupted(key.as_str()));
        reader.body = reader
            .body
            .map(move |chunk| {
                let state = state.lock().unwrap_or_else(PoisonError::into_inner);
                if state.dead { Err(lost.clone()) } else { chunk }
            })
            .boxed();
        Ok(reader)
    }

    async fn attributes(
        &self,
        key: &ObjectKey,
        version: Option<&ObjectVersion>,
    ) -> Result<Attributes, StoreError> {
        let fault = self.arrive("attributes", key.as_str()).await?;
        let answer = self.inner.attributes(key, version).await;
        self.answer(fault, key.as_str(), answer)
    }

    async fn is_held(
        &self,
        key: &ObjectKey,
        version: Option<&ObjectVersion>,
    ) -> Result<bool, StoreError> {
        let fault = self.arrive("is_held", key.as_str()).await?;
        let answer = self.inner.is_held(key, version).await;
        self.answer(fault, key.as_str(), answer)
    }

    async fn locked_until(
        &self,
        key: &ObjectKey,
        version: Option<&ObjectVersion>,
    ) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.attributes(key, version).await?.locked_until)
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        start_after: Option<&'a str>,
    ) -> BoxStream<'a, Result<Attributes, StoreError>> {
        self.paged("list", prefix, self.inner.list(prefix, start_after))
    }

    fn list_versions<'a>(
        &'a self,
        prefix: &'a str,
        start_after: Option<&'a str>,
    ) -> BoxStream<'a, Result<ListedVersion, StoreError>> {
        let rows = self.inner.list_versions(prefix, start_after);
        self.paged("list_versions", prefix, rows)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<S: WriteStore> WriteStore for FaultStore<S> {
    async fn put_new(
        &self,
        key: &ObjectKey,
        payload: &Payload,
        lock_until: Option<Timestamp>,
    ) -> Result<Written, StoreError> {
        let fault = self.arrive("put_new", key.as_str()).await?;
        let answer = self.inner.put_new(key, payload, lock_until).await;
        self.answer(fault, key.as_str(), answer)
    }

    fn largest_put(&self) -> u64 {
        self.inner.largest_put()
    }

    fn can_copy_from(&self, source: &CopyAddress) -> bool {
        self.inner.can_copy_from(source)
    }

    async fn copy_new(
        &self,
        key: &ObjectKey,
        source: &CopySource,
        lock_until: Option<Timestamp>,
    ) -> Result<Copied, StoreError> {
        let fault = self.arrive("copy_new", key.as_str()).await?;
        let answer = self.inner.copy_new(key, source, lock_until).await;
        self.answer(fault, key.as_str(), answer)
    }

    async fn put_parts(
        &self,
        key: &ObjectKey,
        parts: BoxStream<'_, Result<Bytes, StoreError>>,
        lock_until: Option<Timestamp>,
    ) -> Result<Written, StoreError> {
        let fault = self.arrive("put_parts", key.as_str()).await?;
        let answer = self.inner.put_parts(key, parts, lock_until).await;
        self.answer(fault, key.as_str(), answer)
    }

    async fn extend_lock(
        &self,
        key: &ObjectKey,
        version: Option<&ObjectVersion>,
        until: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let fault = self.arrive("extend_lock", key.as_str()).await?;
        let answer = self.inner.extend_lock(key, version, until).await;
        self.answer(fault, key.as_str(), answer)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<S: RestoreStore> RestoreStore for FaultStore<S> {
    fn refuses(&self, key: &ObjectKey) -> Option<&'static str> {
        self.inner.refuses(key)
    }

    fn can_nest(&self) -> bool {
        self.inner.can_nest()
    }

    fn keeps_times(&self) -> bool {
        self.inner.keeps_times()
    }

    async fn put_back(
        &self,
        key: &ObjectKey,
        payload: &Payload,
        seen: Option<&ETag>,
        had: Had,
    ) -> Result<Written, StoreError> {
        let method = seen.map_or("put_new", |_| "replace");
        let fault = self.arrive(method, key.as_str()).await?;
        let answer = self.inner.put_back(key, payload, seen, had).await;
        self.answer(fault, key.as_str(), answer)
    }

    async fn copy_back(&self, key: &ObjectKey, source: &CopySource) -> Result<Copied, StoreError> {
        let fault = self.arrive("copy_back", key.as_str()).await?;
        let answer = self.inner.copy_back(key, source).await;
        self.answer(fault, key.as_str(), answer)
    }

    async fn replace(
        &self,
        key: &ObjectKey,
        payload: &Payload,
        seen: &ETag,
    ) -> Result<Written, StoreError> {
        let fault = self.arrive("replace", key.as_str()).await?;
        let answer = self.inner.replace(key, payload, seen).await;
        self.answer(fault, key.as_str(), answer)
    }

    async fn remove(&self, key: &ObjectKey, seen: &ETag) -> Result<(), StoreError> {
        let fault = self.arrive("remove", key.as_str()).await?;
        let answer = self.inner.remove(key, seen).await;
        self.answer(fault, key.as_str(), answer)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<S: WriteStore + HoldStore> HoldStore for FaultStore<S> {
    async fn set_hold(
        &self,
        key: &ObjectKey,
        version: Option<&ObjectVersion>,
        held: bool,
    ) -> Result<(), StoreError> {
        let fault = self.arrive("set_hold", key.as_str()).await?;
        let answer = self.inner.set_hold(key, version, held).await;
        self.answer(fault, key.as_str(), answer)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<S: WriteStore + PruneStore> PruneStore for FaultStore<S> {
    async fn delete_versions(&self, objects: &[DeleteTarget]) -> Result<Vec<Deletion>, StoreError> {
        let first = objects.first().map_or("", |(key, _)| key.as_str());
        let fault = self.arrive("delete_versions", first).await?;
        let answer = self.inner.delete_versions(objects).await;
        self.answer(fault, first, answer)
    }
}

#[cfg(test)]
mod tests;
