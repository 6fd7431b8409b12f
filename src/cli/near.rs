//! Vaults near a place where there is none: what somebody meant who mistyped a bucket, a prefix or a folder. A second vault
//! there would take tomorrow's backups, and nobody would look for them.

use std::path::{Path, PathBuf};

use deltavault::store::{ReadStore as _, StoreError, StoreErrorKind, local_path};
use futures::StreamExt as _;

use super::error::CommandError;
use super::place::typed;
use super::stores::{OpenVault, Place, Stores};

/// How many names are looked at beside one that is wrong, and below it.
const NAMES_TRIED: usize = 16;

/// As many folders, which cost less to look at.
const FOLDERS_TRIED: usize = 1000;

/// How many vaults a hint names.
const NAMED: usize = 3;

/// Says that there is no vault at `uri`, and which are near; `configured` is the configuration's.
pub(crate) async fn no_vault(stores: &Stores, uri: &str, configured: Option<&str>) -> CommandError {
    let mut near = Vec::new();
    if let Some(configured) = configured
        && configured != uri
        && OpenVault::open(stores, configured).await.is_ok()
    {
        near.push(configured.to_owned());
    }
    let mut missing_bucket = None;
    match (local_path(uri), uri.strip_prefix("s3://")) {
        (Some(path), _) => near.extend(folders(&path)),
        (None, Some(place)) => {
            let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
            match prefixes(stores, bucket, prefix).await {
                Ok(found) => near.extend(found),
                Err(error) if matches!(error.kind, StoreErrorKind::NoBucket) => {
                    missing_bucket = Some(bucket.to_owned());
                }
                // What may not be listed is not suggested.
                Err(_) => {}
            }
        }
        (None, None) => {}
    }
    let alike = |other: &String| strsim::jaro_winkler(uri, other);
    near.sort_by(|a, b| alike(b).total_cmp(&alike(a)));
    near.dedup();
    near.truncate(NAMED);
    CommandError::NoVaultHere {
        uri: uri.to_owned(),
        missing_bucket,
        near: near.iter().map(|uri| typed(uri).to_owned()).collect(),
    }
}

/// The vaults in a folder, above it, and beside the first part of its path that is not there.
fn folders(path: &Path) -> Vec<String> {
    let children = |folder: &Path| {
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        paths.take(FOLDERS_TRIED).collect::<Vec<_>>()
    };
    let mut candidates = children(path);
    candidates.extend(path.ancestors().skip(1).map(Path::to_owned));
    if let Some(there) = path.ancestors().skip(1).find(|it| it.is_dir())
        && let Ok(rest) = path.strip_prefix(there)
    {
        let below: PathBuf = rest.components().skip(1).collect();
        candidates.extend(children(there).iter().map(|child| child.join(&below)));
    }
    candidates.retain(|it| it.join("vault.json").is_file());
    let uris = candidates.iter().filter_map(|it| it.to_str());
    uris.map(|path| format!("file://{}", path.trim_end_matches('/')))
        .collect()
}

/// The vaults of a bucket above a prefix, beside it and below it.
async fn prefixes(stores: &Stores, bucket: &str, prefix: &str) -> Result<Vec<String>, StoreError> {
    let root = match stores.vault(&format!("s3://{bucket}")).await {
        Ok(Place::Bucket(root)) => root,
        Ok(Place::Folder(_)) | Err(_) => return Ok(Vec::new()),
    };
    let above: Vec<&str> = prefix
        .match_indices('/')
        .map(|(at, _)| &prefix[..at])
        .collect();
    let mut candidates: Vec<String> = above.iter().map(ToString::to_string).collect();
    candidates.push(String::new());
    let beside = above
        .last()
        .map_or_else(String::new, |parent| format!("{parent}/"));
    let mut folders = vec![beside];
    if !prefix.is_empty() {
        folders.push(format!("{prefix}/"));
    }
    for folder in folders {
        let mut after: Option<String> = None;
        for _ in 0..NAMES_TRIED {
            let first = root.list(&folder, after.as_deref()).next().await;
            let Some(first) = first.transpose()? else {
                break;
            };
            let below = first.key.as_str().strip_prefix(&folder).unwrap_or_default();
            let (name, is_folder) = match below.split_once('/') {
                Some((name, _)) => (name, true),
                None => (below, false),
            };
            let name = format!("{folder}{name}");
            // "0" comes after "/": whatever is below this name is left out.
            after = Some(if is_folder {
                format!("{name}0")
            } else {
                name.clone()
            });
            if is_folder {
                candidates.push(name);
            }
        }
    }
    let mut found = Vec::new();
    for candidate in candidates {
        let uri = format!("s3://{bucket}/{candidate}");
        let uri = uri.trim_end_matches('/');
        if OpenVault::open(stores, uri).await.is_ok() {
            found.push(uri.to_owned());
        }
    }
    Ok(found)
}
