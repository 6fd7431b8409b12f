//! Reads manifest pages: from this machine where they were kept, else from the vault; decoded on all processors.

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};

use super::ahead::{Bounds, ahead};
use super::{PageCache, Vault, malformed, offload};
use crate::error::Error;
use crate::format::page::{PAGE_LIMIT, unpacked_size};
use crate::format::{Entry, FormatError, PageRef, Reference, decode_page};
use crate::ids::Digest;
use crate::large;

/// Pages read ahead of those that are being decoded, by their bytes.
const PAGES_AHEAD: Bounds = Bounds {
    count: 16,
    bytes: 32 * 1024 * 1024,
};

/// Pages decoded ahead of the one that is being worked on, by what they unpack to: one of data entries has about 1 MiB,
/// one of log files at most 8 MiB of inlined bytes.
const DECODED_AHEAD: Bounds = PAGES_AHEAD;

/// What an entry of a page takes in memory, about, beside the bytes that are inlined in it.
const ENTRY_BYTES: u64 = 1024;

/// Pages that unpack to more than this are decoded one at a time; few of this tool do.
const LARGE_PAGE: u64 = 12 * 1024 * 1024;

/// A page as it came.
struct Fetched {
    bytes: Bytes,
    /// Whether this machine had it.
    was_kept: bool,
}

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
        self.decode(page, self.fetch(page).await?).await
    }

    async fn fetch(&self, page: &PageRef) -> Result<Fetched, Error> {
        if !self.pages.is_empty() {
            let (vault, reference) = (self.clone(), page.page.clone());
            if let Some(bytes) = offload(move || vault.kept_page(&reference)).await? {
                let was_kept = true;
                return Ok(Fetched { bytes, was_kept });
            }
        }
        let bytes = self.read(&page.page, PAGE_LIMIT).await?;
        let was_kept = false;
        Ok(Fetched { bytes, was_kept })
    }

    async fn decode(&self, page: &PageRef, fetched: Fetched) -> Result<Vec<Entry>, Error> {
        let Fetched { bytes, was_kept } = fetched;
        let (vault, sha256) = (self.clone(), page.page.sha256);
        let entries = offload(move || {
            if !was_kept {
                vault.keep_page(sha256, &bytes);
            }
            decode_in_turn(&bytes)
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
        let fetches = pages.iter().map(move |page| {
            let fetched = async move { (page, self.fetch(page).await) };
            (page.page.size, fetched)
        });
        let decodings = ahead(stream::iter(fetches), PAGES_AHEAD).map(move |(page, fetched)| {
            let unpacked = fetched.as_ref().map_or(0, |it| unpacked_size(&it.bytes));
            let weight = unpacked.saturating_add(page.entries.saturating_mul(ENTRY_BYTES));
            (weight, async move { self.decode(page, fetched?).await })
        });
        ahead(decodings, DECODED_AHEAD).boxed()
    }
}

/// Decodes a page whose digest was compared.
pub(super) fn decode_in_turn(bytes: &[u8]) -> Result<Vec<Entry>, FormatError> {
    let _alone = large::alone(unpacked_size(bytes), LARGE_PAGE);
    decode_page(bytes)
}
