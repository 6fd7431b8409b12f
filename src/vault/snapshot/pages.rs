//! Writes entries as pages, those of a snapshot's data among them; a page that the base's manifest has already is not put again.
//!
//! Several pages are packed and put at a time, each as a task of its own, so that they move while the caller works on the
//! next. Their order is kept.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt};
use futures::stream::{FuturesOrdered, StreamExt, TryStreamExt};

use super::super::{Vault, offload};
use super::data::apart;
use super::failure::Failure;
use super::placer::Placer;
use super::planned::Plan;
use super::prove::Proven;
use super::snapshotter::Snapshotter;
use crate::error::Error;
use crate::format::page::{CutPage, PageWriter};
use crate::format::{Entry, PageRef, Tally, Totals, data_order};
use crate::ids::Digest;
use crate::plan::snapshot::InDataOrder;
use crate::sort::{SortError, Sorter};
use crate::store::{Payload, PayloadData};

/// Pages on their way into the vault at a time: enough to hide the latency of an object store.
const PAGES_IN_FLIGHT: usize = 16;

/// The bytes of their lines, together.
const BYTES_IN_FLIGHT: u64 = 32 * 1024 * 1024;

pub(super) struct Pages<'a> {
    vault: &'a Vault,
    placer: Placer<'a>,
    known: Arc<HashMap<Digest, PageRef>>,
    writer: PageWriter,
    flying: FuturesOrdered<BoxFuture<'a, Result<PageRef, Error>>>,
    sizes: VecDeque<u64>,
    written: Vec<PageRef>,
    /// Sums over all entries so far.
    tally: Tally,
}

impl<'a> Pages<'a> {
    /// Pages that the entries of `tally` precede; those of `known` are in the vault.
    pub(super) fn new(
        vault: &'a Vault,
        placer: Placer<'a>,
        known: &[PageRef],
        tally: Tally,
    ) -> Self {
        let known = known
            .iter()
            .map(|page| (page.page.sha256, page.clone()))
            .collect();
        Self {
            vault,
            placer,
            known: Arc::new(known),
            writer: PageWriter::default(),
            flying: FuturesOrdered::new(),
            sizes: VecDeque::new(),
            written: Vec::new(),
            tally,
        }
    }

    pub(super) async fn push(&mut self, entry: &Entry) -> Result<(), Error> {
        self.tally.add(entry);
        let pushed = self.writer.push(entry);
        match pushed.map_err(|source| Error::CannotBeHeld {
            file: entry.file.to_string(),
            source,
        })? {
            Some(page) => self.send(page).await,
            None => Ok(()),
        }
    }

    pub(super) async fn finish(mut self) -> Result<(Vec<PageRef>, Tally), Error> {
        if let Some(page) = std::mem::take(&mut self.writer).finish() {
            self.send(page).await?;
        }
        while let Some(page) = self.flying.next().await {
            self.written.push(page?);
        }
        Ok((self.written, self.tally))
    }

    async fn send(&mut self, page: CutPage) -> Result<(), Error> {
        let size = page.size();
        while !self.flying.is_empty()
            && (self.flying.len() >= PAGES_IN_FLIGHT
                || self.sizes.iter().sum::<u64>() + size > BYTES_IN_FLIGHT)
        {
            let landed = self.flying.next().await;
            self.land(landed)?;
        }
        let (vault, known) = (self.vault.clone(), Arc::clone(&self.known));
        let Placer {
            store,
            terms,
            lock_phases,
        } = self.placer;
        let (store, terms) = (Arc::clone(store), terms.clone());
        let putting = apart(async move {
            let placer = Placer {
                store: &store,
                terms: &terms,
                lock_phases,
            };
            put(&vault, placer, known, page).await
        });
        self.sizes.push_back(size);
        self.flying.push_back(putting.boxed());
        // A task begins when it is asked for the first time.
        while let Some(Some(landed)) = self.flying.next().now_or_never() {
            self.land(Some(landed))?;
        }
        Ok(())
    }

    fn land(&mut self, page: Option<Result<PageRef, Error>>) -> Result<(), Error> {
        self.sizes.pop_front();
        self.written.extend(page.transpose()?);
        Ok(())
    }
}

async fn put(
    vault: &Vault,
    placer: Placer<'_>,
    known: Arc<HashMap<Digest, PageRef>>,
    page: CutPage,
) -> Result<PageRef, Error> {
    let keeper = vault.clone();
    let page = offload(move || {
        let page = page.pack()?;
        keeper.keep_page(page.sha256, &page.bytes);
        Ok::<_, Error>(page)
    });
    let page = page.await??;
    if let Some(known) = known.get(&page.sha256) {
        return Ok(known.clone());
    }
    let payload = Payload {
        sha256: page.sha256,
        size: page.bytes.len() as u64,
        data: PayloadData::Bytes(page.bytes),
    };
    Ok(PageRef {
        entries: page.entries,
        page: placer.page(&payload).await?,
    })
}

/// The data pages, all in the vault.
pub(super) struct PagesWritten {
    pub(super) data_pages: Vec<PageRef>,
    /// Sums over the entries of the log pages and of these.
    pub(super) totals: Totals,
}

impl Snapshotter {
    /// Writes the data pages: the base's entries that stay as they are, and `entries`, merged in their order. `tally` is
    /// of the log pages.
    pub(super) async fn write_data_pages(
        &self,
        plan: &Plan,
        _: Proven,
        entries: Sorter<InDataOrder>,
        tally: Tally,
    ) -> Result<PagesWritten, Failure> {
        let base = plan.pinned.reused();
        let base = base.map_or(&[][..], |base| &base.manifest.data_pages);
        let mut pages = Pages::new(&self.vault, self.placer(&plan.terms), base, tally);
        let mut entries = entries.finish()?.peekable();
        let mut of_base = self.vault.read_pages(base);
        while let Some(page) = of_base.try_next().await? {
            for kept in page.iter().filter(|entry| plan.touched.spares(entry)) {
                let comes_first = |entry: &Result<InDataOrder, SortError>| {
                    let entry = entry.as_ref();
                    entry.map_or(true, |entry| data_order(&entry.0) < data_order(kept))
                };
                while let Some(entry) = entries.next_if(comes_first) {
                    pages.push(&entry?.0).await?;
                }
                pages.push(kept).await?;
            }
        }
        for entry in entries {
            pages.push(&entry?.0).await?;
        }
        let (data_pages, tally) = pages.finish().await?;
        Ok(PagesWritten {
            data_pages,
            totals: tally.totals(),
        })
    }
}
