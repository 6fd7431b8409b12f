//! Tells a vault whose `vault.json` is gone or damaged from a place where none ever was.

use futures::{StreamExt, TryStreamExt};

use super::Vault;
use crate::format::layout::{BLOBS_PREFIX, MANIFESTS_PREFIX, TABLES_PREFIX};
use crate::format::{VaultKey, layout};
use crate::store::ReadStore;

/// Rows of each listing that are looked at: one request. Other folders may have these names as well, with any number of
/// files in them.
const ROWS_LOOKED_AT: usize = 1000;

/// Whether objects of a vault are there.
pub(super) async fn has_objects(store: &dyn ReadStore) -> bool {
    for prefix in [TABLES_PREFIX, MANIFESTS_PREFIX, BLOBS_PREFIX] {
        // A listing that fails tells nothing.
        if has_vault_key(store, prefix).await {
            return true;
        }
    }
    false
}

impl Vault {
    /// Whether manifests are there. Without a record of any table, records are lost, or a first snapshot never ended.
    pub async fn has_manifests(&self) -> bool {
        has_vault_key(self.store(), MANIFESTS_PREFIX).await
    }
}

/// Whether one of the first keys below a prefix is spelled as those of a vault are.
async fn has_vault_key(store: &dyn ReadStore, prefix: &str) -> bool {
    let mut listing = store.list_versions(prefix, None).take(ROWS_LOOKED_AT);
    while let Ok(Some(found)) = listing.try_next().await {
        let key = found.key().as_str();
        if !layout::is_probe(key) && VaultKey::parse(key).is_some() {
            return true;
        }
    }
    false
}
