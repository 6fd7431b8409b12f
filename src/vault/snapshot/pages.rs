//! Writes a sequence of entries as pages; a page that the base's manifest has already is not put again.

use std::collections::HashMap;

use super::super::put::Placer;
use crate::error::Error;
use crate::format::page::{EncodedPage, PageWriter};
use crate::format::{Entry, PageRef};
use crate::ids::Digest;
use crate::store::Payload;

pub(super) struct Pages<'a> {
    placer: Placer<'a>,
    known: HashMap<Digest, PageRef>,
    writer: PageWriter,
    written: Vec<PageRef>,
}

impl<'a> Pages<'a> {
    pub(super) fn new(placer: Placer<'a>, known: &[PageRef]) -> Self {
        let known = known
            .iter()
            .map(|page| (page.page.sha256, page.clone()))
            .collect();
        Self {
            placer,
            known,
            writer: PageWriter::default(),
            written: Vec::new(),
        }
    }

    pub(super) async fn push(&mut self, entry: &Entry) -> Result<(), Error> {
        match self.writer.push(entry)? {
            Some(page) => self.put(page).await,
            None => Ok(()),
        }
    }

    pub(super) async fn finish(mut self) -> Result<Vec<PageRef>, Error> {
        if let Some(page) = std::mem::take(&mut self.writer).finish()? {
            self.put(page).await?;
        }
        Ok(self.written)
    }

    async fn put(&mut self, page: EncodedPage) -> Result<(), Error> {
        let written = match self.known.get(&page.sha256) {
            Some(known) => known.clone(),
            None => PageRef {
                entries: page.entries,
                page: self.placer.page(&Payload::from_bytes(page.bytes)).await?,
            },
        };
        self.written.push(written);
        Ok(())
    }
}
