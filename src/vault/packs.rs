//! Reads several files of one pack by one call.

use std::ops::Range;

use bytes::Bytes;

use super::Vault;
use crate::format::{Entry, Placement};
use crate::store::{Payload, read_range};

impl Vault {
    /// Reads files of one pack by one call; `span` is the part that has them all. `None` for a file that is not good there,
    /// or where the call failed: that is settled file by file.
    pub(super) async fn payloads_of_pack(
        &self,
        entries: &[&Entry],
        span: Range<u64>,
    ) -> Vec<Option<Payload>> {
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
        let good = |entry: &&Entry| {
            let bytes = part_of(read.as_ref()?, &span, entry)?;
            let payload = Payload::from_bytes(bytes);
            (Some(payload.sha256) == entry.sha256).then_some(payload)
        };
        entries.iter().map(good).collect()
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
