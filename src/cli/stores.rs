//! The stores behind places on this machine: the vault's, a table's, and those of files that a log names elsewhere.

use std::path::Path;
use std::sync::Arc;

use deltavault::Error;
use deltavault::format::{TableKey, TableUri};
use deltavault::ids::ObjectKey;
use deltavault::source::{OpenOutside, Source};
use deltavault::store::local::{LocalStore, StoreLock};
use deltavault::store::{ReadStore, RestoreStore, StoreError, StoreErrorKind, local_path};
use deltavault::vault::Vault;
use deltavault::vault::look::TableRef;
use deltavault::vault::restore::OpenOutsideForRestore;

use super::request::TableName;

/// Where the tables of folders come from, in their keys.
pub(crate) const LOCAL_SOURCE: &str = "local";

/// A vault that is open, and its store.
#[derive(Debug, Clone)]
pub(crate) struct OpenVault {
    /// The vault.
    pub(crate) vault: Vault,
    /// Its store.
    pub(crate) store: LocalStore,
}

impl OpenVault {
    /// Opens the vault at `uri`.
    ///
    /// # Errors
    /// [`Error::NoVault`], and what [`Vault::open`] refuses.
    pub(crate) async fn open(uri: &str) -> Result<Self, Error> {
        let path = path_of(uri)?;
        // A file is as little a vault as an empty folder.
        if path.is_file() {
            let uri = uri.to_owned();
            return Err(Error::NoVault { uri });
        }
        let store = LocalStore::open(&path)?.with_read_only_files();
        let vault = Vault::open(Arc::new(store.clone())).await?;
        Ok(Self { vault, store })
    }

    /// Keeps a prune away while a snapshot is being taken.
    ///
    /// # Errors
    /// [`Error::VaultInUse`].
    pub(crate) fn share(&self) -> Result<StoreLock, Error> {
        let lock = self.store.try_lock_shared()?;
        lock.ok_or_else(|| Error::VaultInUse {
            uri: self.store.uri().to_owned(),
        })
    }

    /// Finds the table that was named, among those that the vault holds.
    ///
    /// # Errors
    /// [`Error::UnknownTable`], [`Error::AmbiguousTable`].
    pub(crate) async fn find_table(&self, name: &TableName) -> Result<TableRef, Error> {
        let place = table_uri(&name.uri)?;
        if name.configured.is_none() {
            let found = self.vault.find_table_or_place(&name.text, Some(&place));
            return found.await;
        }
        // A name of the configuration means its place and nothing else.
        match self.vault.find_table(place.as_str()).await {
            Err(Error::UnknownTable { known, .. }) => Err(Error::UnknownTable {
                name: name.text.clone(),
                known,
            }),
            found => found,
        }
    }

    /// Refuses a folder that holds the vault or lies in it: what cleans up a table would clean up the vault.
    ///
    /// # Errors
    /// [`Error::InvalidUri`].
    pub(crate) fn refuse_overlap(&self, folder: &LocalStore) -> Result<(), Error> {
        let rule = if self.store.path().starts_with(folder.path()) {
            "the vault lies in it, where a VACUUM or a DROP would take the vault along"
        } else if folder.path().starts_with(self.store.path()) {
            "it lies in the vault, which is for nothing else"
        } else {
            return Ok(());
        };
        Err(Error::InvalidUri {
            uri: folder.uri().to_owned(),
            rule,
        })
    }
}

/// Opens the folder of a table, which may be absent, by its real path.
///
/// # Errors
/// [`Error::UnsupportedScheme`], and what the store refuses.
pub(crate) fn open_folder(uri: &str) -> Result<LocalStore, Error> {
    let path = path_of(uri)?;
    let unusable = |rule| Error::InvalidUri {
        uri: uri.to_owned(),
        rule,
    };
    if path.is_file() {
        return Err(unusable("it is a file, not a folder"));
    }
    LocalStore::open(&path).map_err(|error| {
        if let StoreErrorKind::InvalidKey { reason } = error.kind {
            return unusable(reason);
        }
        error.into()
    })
}

/// Makes the folder of a store that was opened before it was there.
///
/// # Errors
/// What the store says.
pub(crate) fn make_folder(store: &LocalStore) -> Result<(), Error> {
    LocalStore::create(store.path())?;
    Ok(())
}

/// The table's URI in the vault: `file://` and the real path.
///
/// # Errors
/// As [`open_folder`].
pub(crate) fn table_uri(uri: &str) -> Result<TableUri, Error> {
    Ok(open_folder(uri)?.uri().parse()?)
}

/// The key of the table at `uri`.
///
/// # Errors
/// Never for a URI that [`table_uri`] made.
pub(crate) fn table_key(uri: &TableUri) -> Result<TableKey, Error> {
    Ok(TableKey::of(LOCAL_SOURCE, uri)?)
}

/// The table that lives in a folder.
pub(crate) fn source(root: LocalStore) -> Source {
    let outside: OpenOutside = Arc::new(|uri| {
        let (store, key) = open_outside(uri)?;
        let store: Arc<dyn ReadStore> = Arc::new(store);
        Ok((store, key))
    });
    Source::new(Arc::new(root), outside)
}

/// Opens files outside a table's folder, for putting them back.
pub(crate) fn outside_for_restore() -> OpenOutsideForRestore {
    Arc::new(|uri| {
        let (store, key) = open_outside(uri)?;
        let store: Arc<dyn RestoreStore> = Arc::new(store);
        Ok((store, key))
    })
}

/// Opens the place of a file that a log names by a canonical URI, `file:/folder/name`: below the deepest folder
/// that is there, because the file's own may be gone and has to come back with it.
fn open_outside(uri: &str) -> Result<(LocalStore, ObjectKey), StoreError> {
    let refused = |reason: &str| StoreError {
        action: "open",
        uri: uri.to_owned(),
        kind: StoreErrorKind::Unsupported {
            reason: reason.to_owned(),
        },
    };
    let path = uri
        .strip_prefix("file:")
        .map(Path::new)
        .ok_or_else(|| refused("the log names a file that is in no folder of this machine"))?;
    let folder = path
        .ancestors()
        .skip(1)
        .find(|folder| folder.is_dir())
        .ok_or_else(|| refused("the log names a file by a path that begins nowhere"))?;
    let key = path
        .strip_prefix(folder)
        .ok()
        .and_then(|rest| rest.to_str()?.parse().ok())
        .ok_or_else(|| refused("its name cannot be used"))?;
    Ok((LocalStore::open(folder)?, key))
}

fn path_of(uri: &str) -> Result<std::path::PathBuf, Error> {
    local_path(uri).ok_or_else(|| Error::UnsupportedScheme {
        uri: uri.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_elsewhere_is_opened_below_the_deepest_folder_that_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap();
        let uri = format!("file:{}/a b.parquet", real.display());
        let (store, key) = open_outside(&uri).unwrap();
        assert_eq!((store.path(), key.as_str()), (&*real, "a b.parquet"));
        let uri = format!("file:{}/gone/too/a b.parquet", real.display());
        let (store, key) = open_outside(&uri).unwrap();
        assert_eq!(
            (store.path(), key.as_str()),
            (&*real, "gone/too/a b.parquet")
        );
    }

    #[test]
    fn a_file_in_another_scheme_is_refused_with_its_uri() {
        let refused = open_outside("s3://bucket/key").unwrap_err();
        assert!(matches!(refused.kind, StoreErrorKind::Unsupported { .. }));
        assert_eq!(refused.uri, "s3://bucket/key");
    }

    #[test]
    fn the_uri_of_a_table_is_its_real_path_also_when_it_was_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap();
        std::os::unix::fs::symlink(&real, real.join("link")).unwrap();
        let uri = format!("file://{}/link/dropped/orders", real.display());
        let expected = format!("file://{}/dropped/orders", real.display());
        assert_eq!(table_uri(&uri).unwrap().as_str(), expected);
    }
}
