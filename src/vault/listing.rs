//! Lists a whole table in several ranges side by side, as one listing in the order of its keys.
//!
//! An object store lists a thousand keys a call, and each call waits for the one before it. The manifest knows keys
//! of the table, so a listing can begin at several of them at once: the same calls, and for each range about one more.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};

use super::ahead::{Bounds, ahead};
use crate::ids::ObjectKey;
use crate::store::{Attributes, ReadStore, StoreError};

/// Ranges listed at a time, the one whose objects are being taken among them.
const RANGES_AHEAD: Bounds = Bounds {
    count: 4,
    bytes: u64::MAX,
};

/// A range has at least this many of the known keys, so that what it costs more is one call in sixteen…
const RANGE_MIN: usize = 16_000;

/// …and at most this many, which bounds what waits in memory.
const RANGE_MAX: usize = 64_000;

/// Ranges of a listing that is neither small nor very large.
const RANGES: usize = 10;

/// Objects of a range that wait in memory; what a range has beyond, unknown files above all, is listed when its turn
/// comes.
const RANGE_ROWS: usize = RANGE_MAX + RANGE_MAX / 4;

/// Keys that are kept to choose from.
const SAMPLE: usize = 4096;

/// Some of the keys that a table is known to have, spread evenly over all of them, however many there are.
#[derive(Debug, Default)]
pub(super) struct KnownKeys {
    seen: usize,
    /// Keys whose hash has none of these bits set are kept.
    mask: u64,
    keys: Vec<(u64, ObjectKey)>,
}

impl KnownKeys {
    /// Takes note of a key, in any order.
    pub(super) fn see(&mut self, key: &ObjectKey) {
        self.seen += 1;
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let hash = hasher.finish();
        if hash & self.mask == 0 {
            self.keys.push((hash, key.clone()));
        }
        while self.keys.len() > SAMPLE {
            self.mask = self.mask << 1 | 1;
            let mask = self.mask;
            self.keys.retain(|(hash, _)| hash & mask == 0);
        }
    }

    /// The keys at which the ranges of a listing of `store` best end.
    pub(super) fn range_ends(self, store: &dyn ReadStore) -> Vec<ObjectKey> {
        let range = (self.seen / RANGES).clamp(RANGE_MIN, RANGE_MAX);
        let ranges = (self.seen / range).min(store.listings_at_once());
        let mut keys: Vec<_> = self.keys.into_iter().map(|(_, key)| key).collect();
        keys.sort_unstable();
        keys.dedup();
        let step = keys.len().checked_div(ranges).unwrap_or_default().max(1);
        let last = ranges.saturating_sub(1);
        keys.into_iter()
            .skip(step)
            .step_by(step)
            .take(last)
            .collect()
    }
}

/// Lists all objects of a store in the order of their keys; `ends` are those of [`KnownKeys::range_ends`].
pub(super) fn list_all<'a>(
    store: &'a dyn ReadStore,
    ends: &'a [ObjectKey],
) -> BoxStream<'a, Result<Attributes, StoreError>> {
    let starts = std::iter::once(None).chain(ends.iter().map(Some));
    let ends = ends.iter().map(Some).chain(std::iter::once(None));
    let work = starts.zip(ends).map(move |(start, end)| {
        let listing = store.list("", start.map(ObjectKey::as_str));
        let inside = move |row: &Result<Attributes, StoreError>| {
            let is_past = match (row, end) {
                (Ok(row), Some(end)) => row.key > *end,
                (Ok(_), None) | (Err(_), _) => false,
            };
            futures::future::ready(!is_past)
        };
        (0, begin(listing.take_while(inside).boxed()))
    });
    ahead(stream::iter(work), RANGES_AHEAD)
        .try_flatten()
        .boxed()
}

/// A listing that is asked for keys in ascending order.
pub(super) struct Listed<'a> {
    rows: BoxStream<'a, Result<Attributes, StoreError>>,
    next: Option<Attributes>,
}

impl<'a> Listed<'a> {
    pub(super) async fn of(
        mut rows: BoxStream<'a, Result<Attributes, StoreError>>,
    ) -> Result<Self, StoreError> {
        let next = rows.try_next().await?;
        Ok(Self { rows, next })
    }

    /// The object under a key; `None` where the listing does not show it.
    pub(super) async fn find(
        &mut self,
        key: &ObjectKey,
    ) -> Result<Option<&Attributes>, StoreError> {
        while self.next.as_ref().is_some_and(|object| object.key < *key) {
            self.next = self.rows.try_next().await?;
        }
        Ok(self.next.as_ref().filter(|object| object.key == *key))
    }
}

/// Lists a range as far as its objects may wait in memory, and returns all of it.
async fn begin(
    mut listing: BoxStream<'_, Result<Attributes, StoreError>>,
) -> Result<BoxStream<'_, Result<Attributes, StoreError>>, StoreError> {
    let mut rows = Vec::new();
    while rows.len() < RANGE_ROWS {
        match listing.try_next().await? {
            Some(row) => rows.push(Ok(row)),
            None => return Ok(stream::iter(rows).boxed()),
        }
    }
    Ok(stream::iter(rows).chain(listing).boxed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;

    fn key(number: usize) -> ObjectKey {
        format!("part={}/{number:06}", number % 7).parse().unwrap()
    }

    #[tokio::test]
    async fn ranges_give_the_same_objects_in_the_same_order_as_one_listing() {
        let store = MemoryStore::new("s3://bucket/table");
        let mut known = KnownKeys::default();
        for number in 0..40_000 {
            // Some are known and gone, some are there and unknown.
            if number % 11 != 0 {
                store.plant(&key(number), "");
            }
            if number % 13 != 0 {
                known.see(&key(number));
            }
        }
        let ends = known.range_ends(&store);
        assert_eq!(ends.len(), 1, "{ends:?}");
        let mut whole: Vec<_> = store.list("", None).try_collect().await.unwrap();
        let ends: Vec<Vec<ObjectKey>> = vec![
            ends,
            // Not sure to be there, and more ranges than are listed at a time.
            (0..40_000).step_by(3571).map(key).collect(),
            vec!["a".parse().unwrap(), "z".parse().unwrap()],
            Vec::new(),
        ];
        for mut ends in ends {
            ends.sort();
            let listed: Vec<_> = list_all(&store, &ends).try_collect().await.unwrap();
            assert_eq!(listed, whole);
        }
        whole.clear();
        let nothing = MemoryStore::new("s3://bucket/empty");
        let listed: Vec<_> = list_all(&nothing, &[key(1)]).try_collect().await.unwrap();
        assert_eq!(listed, whole);
    }

    #[test]
    fn ranges_are_even_and_few_and_a_folder_has_one() {
        let store = MemoryStore::new("s3://bucket/table");
        for (keys, ranges) in [(31_999, 1), (32_000, 2), (100_000, 6), (300_000, 10)] {
            let mut known = KnownKeys::default();
            (0..keys).for_each(|number| known.see(&key(number)));
            assert!(known.keys.len() <= SAMPLE);
            let ends = known.range_ends(&store);
            assert_eq!(ends.len() + 1, ranges, "{keys}");
            assert!(ends.is_sorted());
            let mut sizes = vec![0; ranges];
            for number in 0..keys {
                sizes[ends.partition_point(|end| *end < key(number))] += 1;
            }
            let even = keys / ranges;
            assert!(
                sizes.iter().all(|size| (even / 2..even * 2).contains(size)),
                "{sizes:?}"
            );
        }
        let folder = tempfile::tempdir().unwrap();
        let local = crate::store::local::LocalStore::open(folder.path()).unwrap();
        let mut known = KnownKeys::default();
        (0..100_000).for_each(|number| known.see(&key(number)));
        assert!(known.range_ends(&local).is_empty());
    }
}
