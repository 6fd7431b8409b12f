//! Reading an object: a body that breaks off is continued where it broke, as long as the object is the same.
//!
//! Where the server attests a checksum of the whole object, a body that was read in one piece is checked against it at
//! its end. Before the files of a table are in the vault, they have no other digest.

use std::ops::Range;
use std::time::Duration;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ChecksumMode;
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use tokio::time::Instant;

use super::failure::{innermost, lacks_reason};
use super::request::{id, object_request};
use super::retry::wait;
use super::{S3Store, answer};
use crate::ids::{ETag, ObjectKey, ObjectVersion};
use crate::store::{ObjectReader, StoreError, StoreErrorKind};

/// After so long without a byte a body counts as broken.
const STALLED: Duration = Duration::from_secs(30);
/// How often a body may break without a byte in between.
const BREAKS: u32 = 5;
/// A minute of waiting in which fewer bytes came than this is a slow one: 1 KiB a second.
const SLOW: u64 = 60 * 1024;
/// How many slow minutes an object may take, each ended by asking for the rest again.
const SLOW_MINUTES: u32 = 3;

/// Opens an object; `range` is not empty.
pub(super) async fn open(
    store: &S3Store,
    key: &ObjectKey,
    version: Option<&ObjectVersion>,
    range: Option<Range<u64>>,
) -> Result<ObjectReader, StoreError> {
    let failed = |kind| store.failed("read", key.as_str(), kind);
    let wanted = Wanted {
        store: store.clone(),
        key: key.clone(),
        version: version.cloned(),
    };
    let got = wanted.get(range.as_ref(), None).await.map_err(failed)?;
    let attributes = answer::get(key, &got).map_err(failed)?;
    // A server may send the part of a range that is inside the object.
    let range = range.unwrap_or(0..attributes.size);
    if range.end > attributes.size {
        return Err(failed(StoreErrorKind::InvalidRange));
    }
    let reading = Reading {
        etag: attributes.etag.clone(),
        wanted,
        body: got.body,
        left: range,
        breaks: 0,
        pace: Pace::default(),
    };
    let body = stream::try_unfold(reading, Reading::next).boxed();
    Ok(ObjectReader { attributes, body })
}

/// Finds out why a HEAD was refused: its answer has no body, the answer to a GET of the first byte has one.
pub(super) async fn reason(
    store: &S3Store,
    key: &ObjectKey,
    version: Option<&ObjectVersion>,
    kind: StoreErrorKind,
) -> StoreErrorKind {
    if !lacks_reason(&kind) {
        return kind;
    }
    let wanted = Wanted {
        store: store.clone(),
        key: key.clone(),
        version: version.cloned(),
    };
    match wanted.get(Some(&(0..1)), None).await {
        Err(StoreErrorKind::InvalidRange) | Ok(_) => kind,
        Err(kind) => kind,
    }
}

/// What is being read.
struct Wanted {
    store: S3Store,
    key: ObjectKey,
    version: Option<ObjectVersion>,
}

impl Wanted {
    async fn get(
        &self,
        range: Option<&Range<u64>>,
        etag: Option<&ETag>,
    ) -> Result<GetObjectOutput, StoreErrorKind> {
        let store = &self.store;
        // In HTTP the last byte of a range is included.
        let range =
            range.map(|range| format!("bytes={}-{}", range.start, range.end.saturating_sub(1)));
        let checked = range.is_none();
        let request = object_request!(store, get_object, &self.key)
            .set_version_id(id(self.version.as_ref()))
            .set_range(range)
            .set_checksum_mode(checked.then_some(ChecksumMode::Enabled))
            .set_if_match(etag.map(|etag| etag.0.clone()));
        store.client.call(|| request.clone().send()).await
    }

    fn failed(&self, kind: StoreErrorKind) -> StoreError {
        self.store.failed("read", self.key.as_str(), kind)
    }
}

/// An object on its way here.
struct Reading {
    wanted: Wanted,
    etag: ETag,
    body: ByteStream,
    /// The bytes still to come.
    left: Range<u64>,
    breaks: u32,
    pace: Pace,
}

/// How fast a body comes, by the time in which somebody waits for it.
#[derive(Default)]
struct Pace {
    waited: Duration,
    bytes: u64,
    slow_minutes: u32,
}

impl Pace {
    /// Counts bytes that came after a wait; says whether they end a slow minute.
    fn is_slow(&mut self, waited: Duration, bytes: u64) -> bool {
        self.waited += waited;
        self.bytes += bytes;
        if self.waited < Duration::from_mins(1) {
            return false;
        }
        let is_slow = self.bytes < SLOW;
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        self.slow_minutes += u32::from(is_slow);
        is_slow
    }
}

impl Reading {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, StoreError> {
        loop {
            let asked = Instant::now();
            let broke = match tokio::time::timeout(STALLED, self.body.next()).await {
                Ok(Some(Ok(chunk))) if chunk.is_empty() => continue,
                Ok(Some(Ok(chunk))) => {
                    let bytes = chunk.len() as u64;
                    self.left.start += bytes;
                    self.breaks = 0;
                    if self.pace.is_slow(asked.elapsed(), bytes) {
                        self.ask_again("fewer than 1 KiB a second came for minutes")
                            .await?;
                    }
                    // The reader refuses more bytes than were asked for.
                    return Ok(Some((chunk, self)));
                }
                Ok(None) if self.left.start >= self.left.end => return Ok(None),
                // All bytes came, and they do not have the checksum.
                Ok(Some(Err(error))) if self.left.start >= self.left.end => {
                    let detail = innermost(&error);
                    return Err(self.wanted.failed(StoreErrorKind::Io { detail }));
                }
                Ok(None) => "the body ends early".to_owned(),
                Ok(Some(Err(error))) => error.to_string(),
                Err(_) => format!("nothing came for {} s", STALLED.as_secs()),
            };
            if self.left.start >= self.left.end {
                return Ok(None);
            }
            self.breaks += 1;
            self.ask_again(&broke).await?;
        }
    }

    /// Asks for the rest once more, unless it broke or was slow too often.
    async fn ask_again(&mut self, broke: &str) -> Result<(), StoreError> {
        if self.left.start >= self.left.end {
            return Ok(());
        }
        if self.breaks > BREAKS || self.pace.slow_minutes >= SLOW_MINUTES {
            let detail = broke.to_owned();
            return Err(self.wanted.failed(StoreErrorKind::Io { detail }));
        }
        tokio::time::sleep(wait(self.breaks)).await;
        let again = self.wanted.get(Some(&self.left), Some(&self.etag)).await;
        self.body = again.map_err(|kind| self.wanted.failed(kind))?.body;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After how many chunks of so many bytes, each after a wait of a second, a slow minute ends.
    fn slow_after(chunk: u64) -> Option<usize> {
        let mut pace = Pace::default();
        (1..=600).find(|_| pace.is_slow(Duration::from_secs(1), chunk))
    }

    #[test]
    fn minute_is_slow_by_the_bytes_that_were_waited_for() {
        assert_eq!(slow_after(1), Some(60));
        assert_eq!(slow_after(1023), Some(60));
        assert_eq!(slow_after(1024), None);
        // A reader that takes its time between chunks does not make the server slow.
        let mut pace = Pace::default();
        assert!((0..100_000).all(|_| !pace.is_slow(Duration::ZERO, 1)));
    }
}
