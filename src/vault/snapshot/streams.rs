//! Looks for checkpoints of streams inside a table's folder.
//!
//! A snapshot does not hold them, and they go with the table when its folder is deleted: a stream that starts again
//! without its checkpoint writes everything twice. VACUUM leaves names that begin with `_` alone, so that is where
//! they are kept.

use futures::TryStreamExt;

use crate::ids::ObjectKey;
use crate::plan::streams::checkpoint_folder;
use crate::source::{LOG_PREFIX, Source};
use crate::store::StoreError;

/// What such names begin with.
const HIDDEN: &str = "_";

/// What of these Delta itself writes, and may write a great deal of.
const OF_DELTA: [&str; 5] = [
    LOG_PREFIX,
    "_change_data/",
    "_delta_log/_commits/",
    "_delta_log/_sidecars/",
    "_delta_log/_staged_commits/",
];

/// Listings that are begun: each is a request.
const LISTINGS_MAX: usize = 8;

/// Keys that are looked at in each: as many as S3 lists in one answer.
const KEYS_MAX: usize = 1000;

/// The first checkpoint of a stream that is found, as a finding.
pub(super) async fn find_checkpoint(source: &Source) -> Result<Option<String>, StoreError> {
    let mut after: Option<String> = None;
    for _ in 0..LISTINGS_MAX {
        let mut listing = source.root().list(HIDDEN, after.as_deref());
        let mut last = String::new();
        for _ in 0..KEYS_MAX {
            let Some(found) = listing.try_next().await? else {
                return Ok(None);
            };
            if let Some(checkpoint) = checkpoint_folder(&found.key) {
                return Ok(Some(finding(checkpoint)));
            }
            last = folder(&found.key);
            if OF_DELTA.contains(&last.as_str()) {
                break;
            }
        }
        drop(listing);
        after = Some(past(&last));
    }
    Ok(None)
}

/// The hidden folder that a key lies in, or the key itself; of the log, the hidden folder in it.
fn folder(key: &ObjectKey) -> String {
    let of_log = format!("{LOG_PREFIX}{HIDDEN}");
    let skip = if key.as_str().starts_with(&of_log) {
        of_log.len()
    } else {
        0
    };
    let rest = key.as_str().get(skip..).unwrap_or_default();
    let end = rest.find('/').map_or(rest.len(), |slash| slash + 1);
    key.as_str()
        .get(..skip + end)
        .unwrap_or_default()
        .to_owned()
}

/// A key behind everything in a folder; of the log, behind the files of its versions.
fn past(folder: &str) -> String {
    if folder == LOG_PREFIX {
        return format!("{LOG_PREFIX}{HIDDEN}");
    }
    match folder.strip_suffix('/') {
        // `0` comes after `/`.
        Some(name) => format!("{name}0"),
        None => folder.to_owned(),
    }
}

fn finding(checkpoint: &str) -> String {
    format!(
        "a stream keeps its checkpoint inside the table, in {checkpoint}: this snapshot does not hold it, and whoever \
         deletes the table's folder deletes it too; keep it outside the table"
    )
}
