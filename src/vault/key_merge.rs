//! Merges rows that are sorted by key with one listing of the vault's objects in the same order: key by key, whatever
//! either has of it.

use std::iter::Peekable;

use futures::stream::{BoxStream, TryStreamExt};

use crate::error::Error;
use crate::ids::ObjectKey;
use crate::sort::{Row, Sorted};
use crate::store::{ListedVersion, ReadStore, StoreError};

/// A row about a key; rows are sorted by their keys first.
pub(super) trait Keyed: Row {
    fn key(&self) -> &ObjectKey;
}

pub(super) enum Next {
    /// A key. The caller takes all of its rows and all that is listed of it.
    Key(ObjectKey),
    /// The listing of a prefix failed: what it would have shown from here on is not shown. What was taken of the last key
    /// may not be all there is.
    Unlistable(&'static str, StoreError),
    End,
}

pub(super) struct KeyMerge<'a, R: Keyed> {
    rows: Peekable<Sorted<R>>,
    store: &'a dyn ReadStore,
    /// The prefixes that were not listed yet, the next one last.
    prefixes: Vec<&'static str>,
    listing: Option<(
        &'static str,
        BoxStream<'a, Result<ListedVersion, StoreError>>,
    )>,
    listed: Option<ListedVersion>,
    /// The prefixes whose keys the listing shows when they are there.
    shown: Vec<&'static str>,
    failure: Option<(&'static str, StoreError)>,
}

impl<'a, R: Keyed> KeyMerge<'a, R> {
    /// Begins; `prefixes` in the order of their keys.
    pub(super) fn new(
        rows: Sorted<R>,
        store: &'a dyn ReadStore,
        prefixes: &[&'static str],
    ) -> Self {
        Self {
            rows: rows.peekable(),
            store,
            prefixes: prefixes.iter().rev().copied().collect(),
            listing: None,
            listed: None,
            shown: prefixes.to_vec(),
            failure: None,
        }
    }

    /// The lowest key that either has and that was not taken.
    pub(super) async fn next(&mut self) -> Result<Next, Error> {
        if self.failure.is_none() {
            self.peek_listed().await;
        }
        if let Some((prefix, error)) = self.failure.take() {
            return Ok(Next::Unlistable(prefix, error));
        }
        let listed = self.listed.as_ref().map(|row| row.key().clone());
        let row = match self.rows.peek() {
            Some(Ok(row)) => Some(row.key().clone()),
            Some(Err(_)) => {
                self.rows.next().transpose()?;
                None
            }
            None => None,
        };
        let lowest = [listed, row].into_iter().flatten().min();
        Ok(lowest.map_or(Next::End, Next::Key))
    }

    pub(super) fn next_row(&mut self, key: &ObjectKey) -> Result<Option<R>, Error> {
        let is_of_key = |row: &Result<R, _>| row.as_ref().map_or(true, |row| row.key() == key);
        Ok(self.rows.next_if(is_of_key).transpose()?)
    }

    /// Takes what is listed next of a key, the object version that was put first first.
    pub(super) async fn next_listed(&mut self, key: &ObjectKey) -> Option<ListedVersion> {
        if self.peek_listed().await? != key {
            return None;
        }
        self.listed.take()
    }

    /// Whether the listing shows a key where it is there.
    pub(super) fn shows(&self, key: &ObjectKey) -> bool {
        let mut shown = self.shown.iter();
        shown.any(|prefix| key.as_str().starts_with(prefix))
    }

    async fn peek_listed(&mut self) -> Option<&ObjectKey> {
        while self.listed.is_none() {
            let Some((prefix, rows)) = &mut self.listing else {
                let prefix = self.prefixes.pop()?;
                self.listing = Some((prefix, self.store.list_versions(prefix, None)));
                continue;
            };
            match rows.try_next().await {
                Ok(Some(row)) => self.listed = Some(row),
                Ok(None) => self.listing = None,
                Err(error) => {
                    self.shown.retain(|shown| shown != prefix);
                    self.failure = Some((prefix, error));
                    self.listing = None;
                    return None;
                }
            }
        }
        self.listed.as_ref().map(ListedVersion::key)
    }
}
