//! Reads several files of one pack by one call.

use std::ops::Range;
use std::path::Path;

use bytes::Bytes;

use super::Vault;
use crate::error::Error;
use crate::format::{Entry, Placement};
use crate::store::{Payload, read_range};

impl Vault {
    /// Reads files of one pack by one call; `span` is the part that has them all. Whatever is wrong with a file or with
    /// that call is settled file by file.
    ///
    /// # Errors
    /// As [`Vault::payload`].
    pub(super) async fn payloads_of_pack(
        &self,
        entries: &[&Entry],
        span: Range<u64>,
        folder: &Path,
    ) -> Result<Vec<Payload>, Error> {
        let pack = match entries {
            [first, _, ..] => match &first.placement {
                Placement::Blob { reference, .. } if span.end <= reference.size => Some(reference),
                Placement::Blob { .. }
                | Placement::Copy { .. }
                | Placement::Inline(_)
                | Placement::Absent {} => None,
            },
            _ => None,
        };
        let read = match pack {
            Some(pack) => {
                let version = pack.version.as_ref();
                read_range(self.store(), &pack.key, version, span.clone())
                    .await
                    .ok()
            }
            None => None,
        };
        let mut payloads = Vec::with_capacity(entries.len());
        for entry in entries {
            let found = read
                .as_ref()
                .and_then(|bytes| part_of(bytes, &span, entry))
                .map(Payload::from_bytes)
                .filter(|payload| Some(payload.sha256) == entry.sha256);
            payloads.push(match found {
                Some(payload) => payload,
                None => self.payload(entry, folder).await?,
            });
        }
        Ok(payloads)
    }
}

/// A file's own bytes out of the part of a pack that was read, without holding on to the rest.
fn part_of(bytes: &Bytes, span: &Range<u64>, entry: &Entry) -> Option<Bytes> {
    let Placement::Blob {
        offset: Some(offset),
        ..
    } = &entry.placement
    else {
        return None;
    };
    let start = usize::try_from(offset.checked_sub(span.start)?).ok()?;
    let end = start.checked_add(usize::try_from(entry.size).ok()?)?;
    bytes.get(start..end).map(Bytes::copy_from_slice)
}
