//! Listings, a page at a time, each page tried again by itself.

use std::borrow::Cow;
use std::collections::VecDeque;

use aws_sdk_s3::types::{DeleteMarkerEntry, EncodingType, Object, ObjectVersion as Row};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use percent_encoding::percent_decode_str;

use super::{S3Store, answer};
use crate::ids::{ObjectKey, ObjectVersion};
use crate::store::{Attributes, ListedVersion, StoreError, StoreErrorKind};

/// Where a listing goes on.
enum Next<M> {
    From(M),
    Ended,
}

/// Where a listing begins.
enum Start {
    At(Option<String>),
    /// No key with the prefix sorts after what was asked for.
    PastAll,
}

/// Some servers take no start that does not have the prefix; before the prefix none is needed, behind it nothing comes.
fn start(store: &S3Store, prefix: &str, after: Option<&str>) -> Start {
    match after {
        Some(after) if after.starts_with(prefix) => {
            Start::At(Some(format!("{}{after}", store.prefix)))
        }
        Some(after) if after > prefix => Start::PastAll,
        Some(_) | None => Start::At(None),
    }
}

/// The newest versions below a prefix.
pub(super) fn objects<'a>(
    store: &'a S3Store,
    prefix: &'a str,
    start_after: Option<&'a str>,
) -> BoxStream<'a, Result<Attributes, StoreError>> {
    let start = match start(store, prefix, start_after) {
        Start::At(start) => start,
        Start::PastAll => return stream::empty().boxed(),
    };
    let first = (Next::From(None), start);
    let pages = stream::try_unfold(first, move |(next, start)| async move {
        let Next::From(token) = next else {
            return Ok(None);
        };
        let page = objects_page(store, prefix, start.as_deref(), token).await;
        page.map(|(rows, next)| Some((rows, (next, start))))
    });
    pages
        .map_ok(|rows| stream::iter(rows).map(Ok))
        .try_flatten()
        .boxed()
}

async fn objects_page(
    store: &S3Store,
    prefix: &str,
    start: Option<&str>,
    token: Option<String>,
) -> Result<(Vec<Attributes>, Next<Option<String>>), StoreError> {
    let failed = |kind| store.failed("list", prefix, kind);
    // A token knows where it goes on.
    let start = start.filter(|_| token.is_none());
    let call = || {
        store
            .client
            .s3()
            .list_objects_v2()
            .bucket(&*store.bucket)
            .prefix(format!("{}{prefix}", store.prefix))
            .set_start_after(start.map(str::to_owned))
            .set_continuation_token(token.clone())
            .encoding_type(EncodingType::Url)
            .set_request_payer(store.payer())
            .send()
    };
    let page = store.client.call(call).await.map_err(failed)?;
    let encoded = page.encoding_type() == Some(&EncodingType::Url);
    let mut rows = Vec::with_capacity(page.contents().len());
    for object in page.contents() {
        if let Some(key) = key_of(store, object.key(), encoded).map_err(failed)? {
            rows.push(listed(key, object).map_err(failed)?);
        }
    }
    let next = match page.next_continuation_token() {
        Some(token) if page.is_truncated() == Some(true) => Next::From(Some(token.to_owned())),
        None if page.is_truncated() == Some(true) => return Err(failed(without_end())),
        Some(_) | None => Next::Ended,
    };
    Ok((rows, next))
}

fn listed(key: ObjectKey, object: &Object) -> Result<Attributes, StoreErrorKind> {
    Ok(Attributes {
        key,
        size: answer::size(object.size())?,
        last_modified: answer::listed_time(object.last_modified())?,
        etag: answer::etag(object.e_tag())?,
        version: None,
        sha256: None,
        locked_until: None,
    })
}

/// Where a listing of versions goes on: after a key and one of its versions.
type Markers = (Option<String>, Option<String>);

/// The versions of one key so far, newest first as S3 gives them. Markers come in a list of their own; only whether one
/// is the newest of its key can be told for sure.
struct Group {
    key: ObjectKey,
    rows: Vec<ListedVersion>,
}

struct Versions<'a> {
    store: &'a S3Store,
    prefix: &'a str,
    start_after: Option<&'a str>,
    next: Next<Markers>,
    ready: VecDeque<ListedVersion>,
    open: Option<Group>,
}

/// Every version below a prefix, each key's oldest first.
pub(super) fn versions<'a>(
    store: &'a S3Store,
    prefix: &'a str,
    start_after: Option<&'a str>,
) -> BoxStream<'a, Result<ListedVersion, StoreError>> {
    let start = match start(store, prefix, start_after) {
        Start::At(start) => start,
        Start::PastAll => return stream::empty().boxed(),
    };
    let listing = Versions {
        store,
        prefix,
        start_after,
        next: Next::From((start, None)),
        ready: VecDeque::new(),
        open: None,
    };
    stream::try_unfold(listing, |mut listing| async move {
        loop {
            if let Some(row) = listing.ready.pop_front() {
                return Ok(Some((row, listing)));
            }
            match std::mem::replace(&mut listing.next, Next::Ended) {
                Next::From(markers) => listing.read_page(markers).await?,
                Next::Ended => match listing.open.take() {
                    Some(group) => listing.close(group),
                    None => return Ok(None),
                },
            }
        }
    })
    .boxed()
}

impl Versions<'_> {
    async fn read_page(&mut self, (key, version): Markers) -> Result<(), StoreError> {
        let store = self.store;
        let failed = |kind| store.failed("list the versions of", self.prefix, kind);
        let call = || {
            store
                .client
                .s3()
                .list_object_versions()
                .bucket(&*store.bucket)
                .prefix(format!("{}{}", store.prefix, self.prefix))
                .set_key_marker(key.clone())
                .set_version_id_marker(version.clone())
                .encoding_type(EncodingType::Url)
                .set_request_payer(store.payer())
                .send()
        };
        let page = store.client.call(call).await.map_err(failed)?;
        let encoded = page.encoding_type() == Some(&EncodingType::Url);
        let mut rows = Vec::with_capacity(page.versions().len() + page.delete_markers().len());
        let markers = page.delete_markers();
        let newest = |marker: &&DeleteMarkerEntry| marker.is_latest() == Some(true);
        for marker in markers.iter().filter(newest) {
            rows.extend(marker_row(store, marker, encoded).map_err(failed)?);
        }
        for row in page.versions() {
            if let Some(key) = key_of(store, row.key(), encoded).map_err(failed)? {
                rows.push(version_row(key, row).map_err(failed)?);
            }
        }
        for marker in markers.iter().filter(|marker| !newest(marker)) {
            rows.extend(marker_row(store, marker, encoded).map_err(failed)?);
        }
        if let Some(start) = self.start_after {
            // VersityGW begins with the key that was to be passed.
            rows.retain(|row| row.key().as_str() > start);
        }
        // Stable: each key's rows stay as they were put together above.
        rows.sort_by(|a, b| a.key().cmp(b.key()));
        if page.is_truncated() == Some(true) {
            let key = page.next_key_marker().map(|key| decoded(key, encoded));
            let key = key.ok_or_else(|| failed(without_end()))?.into_owned();
            let version = page.next_version_id_marker().map(str::to_owned);
            self.next = Next::From((Some(key), version));
        }
        for row in rows {
            match &mut self.open {
                Some(group) if group.key == *row.key() => group.rows.push(row),
                _ => {
                    let group = Group {
                        key: row.key().clone(),
                        rows: vec![row],
                    };
                    if let Some(whole) = self.open.replace(group) {
                        self.close(whole);
                    }
                }
            }
        }
        Ok(())
    }

    /// Hands out the rows of a key that is complete.
    fn close(&mut self, group: Group) {
        let alone = group.rows.len() == 1;
        self.ready
            .extend(group.rows.into_iter().rev().map(|mut row| {
                // Alone, an object of the time before versions is simply the object; below others it needs its name.
                if let ListedVersion::Object(object) = &mut row
                    && alone
                {
                    object.version =
                        answer::version(object.version.as_ref().map(|id| id.0.as_str()));
                }
                row
            }));
    }
}

fn version_row(key: ObjectKey, row: &Row) -> Result<ListedVersion, StoreErrorKind> {
    Ok(ListedVersion::Object(Attributes {
        key,
        size: answer::size(row.size())?,
        last_modified: answer::listed_time(row.last_modified())?,
        etag: answer::etag(row.e_tag())?,
        version: row.version_id().map(|id| ObjectVersion(id.to_owned())),
        sha256: None,
        locked_until: None,
    }))
}

fn marker_row(
    store: &S3Store,
    marker: &DeleteMarkerEntry,
    encoded: bool,
) -> Result<Option<ListedVersion>, StoreErrorKind> {
    let key = key_of(store, marker.key(), encoded)?;
    Ok(key.map(|key| ListedVersion::DeleteMarker { key }))
}

/// A key below the store's root; `None` for what no key of ours can be (the placeholder of a folder at the root itself).
fn key_of(
    store: &S3Store,
    key: Option<&str>,
    encoded: bool,
) -> Result<Option<ObjectKey>, StoreErrorKind> {
    let key = key.ok_or_else(|| StoreErrorKind::Unsupported {
        reason: "the server lists an object without its key".to_owned(),
    })?;
    let key = decoded(key, encoded);
    let below = key.strip_prefix(&*store.prefix).unwrap_or_default();
    Ok(below.parse().ok())
}

/// A key as the bucket has it. Listings spell it as in a URL, a space as a plus, because XML cannot hold every key.
fn decoded(key: &str, encoded: bool) -> Cow<'_, str> {
    if !encoded || !key.contains(['%', '+']) {
        return Cow::Borrowed(key);
    }
    let spaced = key.replace('+', " ");
    let bytes = percent_decode_str(&spaced).decode_utf8_lossy().into_owned();
    Cow::Owned(bytes)
}

fn without_end() -> StoreErrorKind {
    StoreErrorKind::Unsupported {
        reason: "the server says that its listing goes on, and not where".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_spelled_as_the_bucket_has_it() {
        assert_eq!(decoded("a%2Bb+c%25/%C3%BC", true), "a+b c%/ü");
        assert_eq!(decoded("a%2Bb+c", false), "a%2Bb+c");
        assert_eq!(decoded("plain/key", true), "plain/key");
    }
}
