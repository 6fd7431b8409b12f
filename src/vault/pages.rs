//! Reads manifest pages: from this machine where they were kept, else from the vault; decoded on all processors.

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};

use super::ahead::{Bounds, ahead};
use super::{PageCache, Vault, malformed, offload};
use crate::error::Error;
use crate::format::page::PAGE_LIMIT;
use crate::format::{Entry, PageRef, Reference, decode_page};
use crate::ids::Digest;

/// Pages read ahead of the one that is being worked on, by what they hold unpacked: one of data entries has about
/// 1 MiB, one of log files at most 8 MiB of inlined bytes.
const PAGES_AHEAD: Bounds = Bounds {
    count: 16,
    bytes: 32 * 1024 * 1024,
};

/// What an entry of a page takes in memory, about, beside the bytes that are inlined in it.
const ENTRY_BYTES: u64 = 1024;

impl Vault {
    /// The same vault, its pages looked for in a folder of this machine before the store is asked for them, and kept
    /// there. What shows the state of the vault itself, as a verification does, goes without.
    #[must_use]
    pub fn with_pages(mut self, cache: PageCache) -> Self {
        self.pages.push(cache);
        self
    }

    /// The same vault, asked for its pages itself: what a proof needs that is about the vault's own bytes.
    #[must_use]
    pub(super) fn without_pages(&self) -> Self {
        Self {
            pages: Vec::new(),
            ..self.clone()
        }
    }

    pub(super) fn keep_page(&self, sha256: Digest, bytes: &[u8]) {
        self.pages.iter().any(|cache| cache.keep(sha256, bytes));
    }

    fn kept_page(&self, page: &Reference) -> Option<Bytes> {
        let mut caches = self.pages.iter();
        caches.find_map(|cache| cache.read(page.sha256, page.size))
    }

    /// Reads one page.
    ///
    /// # Errors
    /// [`Error::Damaged`]; [`Error::Malformed`] for a page that breaks the format.
    pub async fn page(&self, page: &PageRef) -> Result<Vec<Entry>, Error> {
        if !self.pages.is_empty() {
            let (vault, reference) = (self.clone(), page.page.clone());
            let kept = offload(move || {
                let bytes = vault.kept_page(&reference)?;
                Some(decode_page(&bytes))
            });
            if let Some(entries) = kept.await? {
                return entries.map_err(|what| malformed(&page.page, what));
            }
        }
        let bytes = self.read(&page.page, PAGE_LIMIT).await?;
        let (vault, sha256) = (self.clone(), page.page.sha256);
        let entries = offload(move || {
            vault.keep_page(sha256, &bytes);
            decode_page(&bytes)
        });
        entries.await?.map_err(|what| malformed(&page.page, what))
    }

    /// Streams the entries of some pages in their order.
    pub fn entries<'a>(&'a self, pages: &'a [PageRef]) -> BoxStream<'a, Result<Entry, Error>> {
        self.read_pages(pages)
            .map_ok(|entries| stream::iter(entries).map(Ok))
            .try_flatten()
            .boxed()
    }

    pub(super) fn read_pages<'a>(
        &'a self,
        pages: &'a [PageRef],
    ) -> BoxStream<'a, Result<Vec<Entry>, Error>> {
        let reads = pages.iter().map(|page| {
            let packed = page.page.size.saturating_mul(2);
            let weight = packed.saturating_add(page.entries.saturating_mul(ENTRY_BYTES));
            (weight, self.page(page))
        });
        ahead(stream::iter(reads), PAGES_AHEAD).boxed()
    }
}
