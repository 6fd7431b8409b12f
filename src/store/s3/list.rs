//! Listings, a page at a time; each page is retried by itself.

use std::borrow::Cow;
use std::pin::Pin;

use aws_sdk_s3::types::{DeleteMarkerEntry, EncodingType};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use percent_encoding::percent_decode_str;

use super::{S3Store, answer};
use crate::ids::{ObjectKey, ObjectVersion};
use crate::store::{Attributes, ListedVersion, StoreError, StoreErrorKind};

/// A page of a listing, and the marker that the next one begins at.
type Page<R, M> = Result<(Vec<R>, Option<M>), StoreError>;

/// Where a listing of versions continues: after a key and one of its versions.
type Markers = (Option<String>, Option<String>);

/// Pages without a row that may follow each other: a bucket can have many that hold only what the caller does not see.
const EMPTY_PAGES: usize = 10_000;

/// Versions that one key may have: they are turned round together.
const VERSIONS_OF_KEY: usize = 1_000_000;

/// The rows of all pages, read one page after the other, as long as they lead on: a server that gives the same page again
/// and again would else never end.
fn pages<'a, R, M, F>(
    first: M,
    read: impl Fn(M) -> F + Send + 'a,
    failed: impl Fn(StoreErrorKind) -> StoreError + Copy + Send + 'a,
    key: fn(&R) -> &ObjectKey,
) -> BoxStream<'a, Result<R, StoreError>>
where
    R: Send + 'a,
    M: Clone + PartialEq + Send + 'a,
    F: Future<Output = Page<R, M>> + Send + 'a,
{
    let begun = Place {
        marker: first,
        last: None,
        empty: 0,
    };
    stream::try_unfold(Some(begun), move |place| {
        let page = place.map(|place| (read(place.marker.clone()), place));
        async move {
            let Some((page, place)) = page else {
                return Ok(None);
            };
            let (rows, next) = page.await?;
            let last = rows.last().map(|row| key(row).clone());
            let next = next.map(|marker| place.lead_on(marker, last)).transpose();
            let next = next.map_err(failed)?;
            Ok(Some((stream::iter(rows).map(Ok), next)))
        }
    })
    .try_flatten()
    .boxed()
}

/// How far a listing has come.
struct Place<M> {
    marker: M,
    /// The last key so far.
    last: Option<ObjectKey>,
    /// Pages without a row since then.
    empty: usize,
}

impl<M: PartialEq> Place<M> {
    /// Where the next page begins, after one whose last key is `last`.
    fn lead_on(self, marker: M, last: Option<ObjectKey>) -> Result<Self, StoreErrorKind> {
        // The versions of a key may be on several pages, so the last key may stay.
        let goes_back = last.is_some() && last < self.last;
        let empty = if last.is_none() { self.empty + 1 } else { 0 };
        if marker == self.marker || goes_back || empty > EMPTY_PAGES {
            return Err(StoreErrorKind::Unsupported {
                reason:
                    "the server's listing does not lead on: it gives the same keys again, or none"
                        .to_owned(),
            });
        }
        Ok(Self {
            marker,
            last: last.or(self.last),
            empty,
        })
    }
}

/// The whole key to start after. Some servers take none without the prefix; one that sorts before the prefix is not
/// needed.
fn start(store: &S3Store, prefix: &str, after: Option<&str>) -> Option<String> {
    let after = after.filter(|after| after.starts_with(prefix))?;
    Some(format!("{}{after}", store.prefix))
}

/// Whether every key with the prefix sorts before `after`.
fn is_past(prefix: &str, after: Option<&str>) -> bool {
    after.is_some_and(|after| after > prefix && !after.starts_with(prefix))
}

/// The newest versions of the keys with a prefix.
pub(super) fn objects<'a>(
    store: &'a S3Store,
    prefix: &'a str,
    start_after: Option<&'a str>,
) -> BoxStream<'a, Result<Attributes, StoreError>> {
    if is_past(prefix, start_after) {
        return stream::empty().boxed();
    }
    let read = move |token: Option<String>| {
        // A continuation token includes the start.
        let start = start(store, prefix, start_after).filter(|_| token.is_none());
        objects_page(store, prefix, start, token)
    };
    let failed = move |kind| store.failed("list", prefix, kind);
    pages(None, read, failed, |row| &row.key)
}

async fn objects_page(
    store: &S3Store,
    prefix: &str,
    start: Option<String>,
    token: Option<String>,
) -> Page<Attributes, Option<String>> {
    let failed = |kind| store.failed("list", prefix, kind);
    let request = store
        .client
        .s3()
        .list_objects_v2()
        .bucket(&*store.bucket)
        .prefix(format!("{}{prefix}", store.prefix))
        .set_start_after(start)
        .set_continuation_token(token)
        .encoding_type(EncodingType::Url)
        .set_request_payer(store.payer());
    let page = store.client.call(|| request.clone().send()).await;
    let page = page.map_err(failed)?;
    let encoded = page.encoding_type() == Some(&EncodingType::Url);
    let mut rows = Vec::with_capacity(page.contents().len());
    for object in page.contents() {
        if let Some(key) = key_of(store, object.key(), encoded).map_err(failed)? {
            let (size, time) = (object.size(), object.last_modified());
            let row = answer::listed(key, size, time, object.e_tag(), None);
            rows.push(row.map_err(failed)?);
        }
    }
    let next = match page.next_continuation_token() {
        _ if page.is_truncated() != Some(true) => None,
        Some(token) => Some(Some(token.to_owned())),
        None => return Err(failed(without_end())),
    };
    Ok((rows, next))
}

/// Every version of the keys with a prefix, each key's oldest first.
pub(super) fn versions<'a>(
    store: &'a S3Store,
    prefix: &'a str,
    start_after: Option<&'a str>,
) -> BoxStream<'a, Result<ListedVersion, StoreError>> {
    if is_past(prefix, start_after) {
        return stream::empty().boxed();
    }
    let first = (start(store, prefix, start_after), None);
    let read = move |markers| versions_page(store, prefix, start_after, markers);
    let failed = move |kind| store.failed("list the versions of", prefix, kind);
    let rows = pages(first, read, failed, ListedVersion::key);
    // The versions of a key may be on several pages.
    stream::try_unfold(rows.peekable(), move |mut rows| async move {
        let Some(newest) = rows.try_next().await? else {
            return Ok(None);
        };
        let key = newest.key().clone();
        let mut versions = vec![newest];
        // An error ends the listing before the rows of a key that may be incomplete.
        let belongs =
            |row: &Result<_, _>| !matches!(row, Ok(row) if ListedVersion::key(row) != &key);
        while let Some(row) = Pin::new(&mut rows).next_if(belongs).await {
            versions.push(row?);
            if versions.len() > VERSIONS_OF_KEY {
                let reason = format!("{key} has more than {VERSIONS_OF_KEY} versions");
                return Err(failed(StoreErrorKind::Unsupported { reason }));
            }
        }
        Ok(Some((stream::iter(oldest_first(versions)).map(Ok), rows)))
    })
    .try_flatten()
    .boxed()
}

/// Turns round the versions of one key, which S3 lists newest first.
fn oldest_first(mut versions: Vec<ListedVersion>) -> Vec<ListedVersion> {
    // A single version `null` is the object itself; below others it needs its id.
    if let [ListedVersion::Object(object)] = versions.as_mut_slice() {
        object.version = answer::version(object.version.as_ref().map(|id| id.0.as_str()));
    }
    versions.reverse();
    versions
}

async fn versions_page(
    store: &S3Store,
    prefix: &str,
    start_after: Option<&str>,
    (key, version): Markers,
) -> Page<ListedVersion, Markers> {
    let failed = |kind| store.failed("list the versions of", prefix, kind);
    let request = store
        .client
        .s3()
        .list_object_versions()
        .bucket(&*store.bucket)
        .prefix(format!("{}{prefix}", store.prefix))
        .set_key_marker(key)
        .set_version_id_marker(version)
        .encoding_type(EncodingType::Url)
        .set_request_payer(store.payer());
    let page = store.client.call(|| request.clone().send()).await;
    let page = page.map_err(failed)?;
    let encoded = page.encoding_type() == Some(&EncodingType::Url);
    let marker_row = |marker: &DeleteMarkerEntry| {
        let key = key_of(store, marker.key(), encoded).map_err(failed)?;
        Ok(key.map(|key| ListedVersion::DeleteMarker { key }))
    };
    // Delete markers come in a list of their own. Only of the newest of a key its place among the versions is known.
    let (newest, older): (Vec<_>, Vec<_>) = page
        .delete_markers()
        .iter()
        .partition(|marker| marker.is_latest() == Some(true));
    let mut rows = Vec::with_capacity(page.versions().len() + page.delete_markers().len());
    for marker in newest {
        rows.extend(marker_row(marker)?);
    }
    for row in page.versions() {
        if let Some(key) = key_of(store, row.key(), encoded).map_err(failed)? {
            let id = row.version_id().map(|id| ObjectVersion(id.to_owned()));
            let object = answer::listed(key, row.size(), row.last_modified(), row.e_tag(), id);
            rows.push(ListedVersion::Object(object.map_err(failed)?));
        }
    }
    for marker in older {
        rows.extend(marker_row(marker)?);
    }
    if let Some(start) = start_after {
        // VersityGW begins with the key to start after.
        rows.retain(|row| row.key().as_str() > start);
    }
    // Stable: the rows of each key keep their order.
    rows.sort_by(|a, b| a.key().cmp(b.key()));
    if page.is_truncated() != Some(true) {
        return Ok((rows, None));
    }
    let key = page
        .next_key_marker()
        .ok_or_else(|| failed(without_end()))?;
    let version = page.next_version_id_marker().map(str::to_owned);
    let next = (Some(decoded(key, encoded).into_owned()), version);
    Ok((rows, Some(next)))
}

/// A key below the store's root; `None` where it cannot be one of ours (the placeholder of a folder at the root itself).
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

/// Decodes a key. Listings encode keys as in a URL, a space as a plus, because XML cannot hold every key.
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
        reason: "the server says that its listing goes on, but not where".to_owned(),
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

    type Given = (Vec<&'static str>, Option<usize>);

    /// What a listing gives of pages, each with its keys and the number of the page that comes next; a number that there
    /// is no page of is that of an empty one, which names the next number.
    async fn listed(given: &[Given]) -> (Vec<String>, Option<StoreErrorKind>) {
        let read = |number: usize| async move {
            let (keys, next) = match given.get(number) {
                Some((keys, next)) => (keys.as_slice(), *next),
                None => (&[][..], Some(number + 1)),
            };
            let keys = keys.iter().map(|key| key.parse().unwrap()).collect();
            Ok((keys, next))
        };
        let failed = |kind| StoreError {
            action: "list",
            uri: String::new(),
            kind,
        };
        let mut rows = pages(0, read, failed, |key: &ObjectKey| key);
        let mut keys = Vec::new();
        loop {
            match rows.next().await {
                Some(Ok(key)) => keys.push(key.to_string()),
                Some(Err(error)) => return (keys, Some(error.kind)),
                None => return (keys, None),
            }
        }
    }

    #[tokio::test]
    async fn listing_that_does_not_lead_on_ends() {
        let good = [
            (vec!["a", "b"], Some(1)),
            (vec![], Some(2)),
            (vec!["b", "c"], Some(3)),
            (vec!["d"], None),
        ];
        let (keys, error) = listed(&good).await;
        assert_eq!((keys.join("").as_str(), error.is_none()), ("abbcd", true));
        let endless: [&[Given]; 4] = [
            &[(vec!["a"], Some(0))],
            &[(vec!["a", "b"], Some(1)), (vec!["a"], Some(0))],
            &[
                (vec!["b"], Some(1)),
                (vec!["a"], Some(2)),
                (vec!["c"], None),
            ],
            &[(vec!["a"], Some(1))],
        ];
        for given in endless {
            let (_, error) = listed(given).await;
            let error = error.expect("it ends only by its error");
            assert!(
                matches!(error, StoreErrorKind::Unsupported { .. }),
                "{given:?}"
            );
        }
    }
}
