//! The stores behind places: the vault's, a table's, and those of files that a log names elsewhere.
//!
//! A place is a folder of this machine or a prefix of a bucket. There is one connection to S3 for tables and one for
//! the vault, each made when it is first needed: what lies in folders alone never looks for credentials.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use deltavault::Error;
use deltavault::error::one_of;
use deltavault::format::{TableKey, TableUri};
use deltavault::ids::{ObjectKey, Timestamp};
use deltavault::progress::Progress;
use deltavault::source::outside::Outside;
use deltavault::source::{OpenOutside, Source};
use deltavault::store::local::{LocalStore, StoreLock};
use deltavault::store::s3::{S3Client, S3Settings, S3Store};
use deltavault::store::{ReadStore as _, StoreError, StoreErrorKind, WriteStore, local_path};
use deltavault::vault::Vault;
use deltavault::vault::look::{TableRef, only_table};
use deltavault::vault::restore::OpenOutsideForRestore;
use tokio::sync::OnceCell;

pub(crate) use self::open::Place;
use super::config::S3Config;
use super::table_name::TableName;
use crate::cli::error::CommandError;

mod open;

/// The connections of one run. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Stores(Arc<Sides>);

#[derive(Debug)]
struct Sides {
    source_name: Option<String>,
    source: Side,
    vault: Side,
}

/// One way to S3.
#[derive(Debug)]
struct Side {
    settings: S3Settings,
    client: OnceCell<S3Client>,
}

impl Side {
    fn new(settings: S3Settings) -> Self {
        Self {
            settings,
            client: OnceCell::new(),
        }
    }

    async fn client(&self) -> Result<&S3Client, StoreError> {
        let connect = || S3Client::connect(&self.settings);
        self.client.get_or_try_init(connect).await
    }
}

impl Stores {
    /// Connects to nothing yet.
    pub(crate) fn new(config: S3Config) -> Self {
        Self(Arc::new(Sides {
            source_name: config.source_name,
            source: Side::new(config.source),
            vault: Side::new(config.vault),
        }))
    }

    /// Opens the place of a vault; nothing need be there yet.
    ///
    /// # Errors
    /// What cannot be a vault's place, and what stands in the way of reaching it.
    pub(crate) async fn vault(&self, uri: &str) -> Result<Place, CommandError> {
        if is_on_s3(uri) {
            let side = &self.0.vault;
            return Ok(Place::Bucket(S3Store::open(side.client().await?, uri)?));
        }
        Ok(Place::Folder(open_folder(uri)?.with_read_only_files()))
    }

    /// Opens the place of a vault on S3 as somebody else: with the keys of a profile and no other role.
    ///
    /// # Errors
    /// As [`Stores::vault`].
    pub(crate) async fn vault_as(&self, uri: &str, profile: &str) -> Result<S3Store, CommandError> {
        let client = S3Client::connect(&self.settings_of(profile)).await?;
        Ok(S3Store::open(&client, uri)?)
    }

    fn settings_of(&self, profile: &str) -> S3Settings {
        S3Settings {
            profile: Some(profile.to_owned()),
            role: None,
            external_id: None,
            ..self.0.vault.settings.clone()
        }
    }

    /// Opens the place of a vault as `store` reaches it, but without TLS; none where that has none either.
    pub(crate) fn vault_without_tls<'a>(
        &self,
        uri: &'a str,
        store: &S3Store,
        profile: Option<&str>,
    ) -> Option<impl Future<Output = Result<S3Store, CommandError>> + use<'a>> {
        let client = store.client();
        let host = match client.service() {
            AWS => format!("s3.{}.amazonaws.com", client.region()),
            endpoint => endpoint.strip_prefix("https://")?.to_owned(),
        };
        let settings = S3Settings {
            endpoint: Some(format!("http://{host}")),
            region: Some(client.region().to_owned()),
            ..profile.map_or_else(
                || self.0.vault.settings.clone(),
                |name| self.settings_of(name),
            )
        };
        Some(async move {
            let client = S3Client::connect(&settings).await?;
            Ok(S3Store::open(&client, uri)?)
        })
    }

    /// Opens the place of a table; nothing need be there.
    ///
    /// # Errors
    /// As [`Stores::vault`].
    pub(crate) async fn table(&self, uri: &str) -> Result<Place, CommandError> {
        if is_on_s3(uri) {
            let side = &self.0.source;
            return Ok(Place::Bucket(S3Store::open(side.client().await?, uri)?));
        }
        Ok(Place::Folder(open_folder(uri)?))
    }

    /// Opens the place where a table of the vault was, as its record names it.
    ///
    /// # Errors
    /// As [`Stores::table`]; [`CommandError::AnotherSource`] where the same URI means another place today, and
    /// [`CommandError::Relinked`] where a link leads somewhere else.
    pub(crate) async fn home(&self, source: &str, uri: &str) -> Result<Place, CommandError> {
        let place = self.table(uri).await?;
        // The record has the real path.
        if place.uri() != uri {
            return Err(CommandError::Relinked {
                uri: uri.to_owned(),
                today: place.uri().to_owned(),
            });
        }
        let today = self.source_id(&place);
        // Without the configuration that gave a source its name, there is nothing to compare it with.
        let was_named = is_on_s3(uri) && source != AWS && !source.contains("://");
        if today == source || (was_named && self.0.source_name.is_none()) {
            return Ok(place);
        }
        Err(CommandError::AnotherSource {
            uri: uri.to_owned(),
            recorded: source.to_owned(),
            today,
        })
    }

    /// Opens the place where a table was that was found in the vault.
    ///
    /// # Errors
    /// As [`Stores::home`].
    pub(crate) async fn home_of(&self, table: &TableRef) -> Result<Place, CommandError> {
        match &table.identity {
            Some(identity) => self.home(&identity.source, &identity.uri).await,
            None => self.table(&table.uri()).await,
        }
    }

    /// Which source the tables of a place belong to, in their keys.
    pub(crate) fn source_id(&self, place: &Place) -> String {
        let named = self.0.source_name.as_ref();
        match place {
            Place::Folder(_) => LOCAL_SOURCE.to_owned(),
            Place::Bucket(store) => named.cloned().unwrap_or_else(|| open::service(store)),
        }
    }

    /// The key of the table at a place.
    ///
    /// # Errors
    /// Never for a place that was opened.
    pub(crate) fn table_key(&self, place: &Place) -> Result<TableKey, CommandError> {
        let uri: TableUri = place.uri().parse()?;
        Ok(TableKey::of(&self.source_id(place), &uri)?)
    }

    /// The table that lives in a place, whose log may name files in other places.
    pub(crate) fn source(&self, root: &Place, listed: Outside) -> Source {
        let stores = self.clone();
        let outside: OpenOutside = Arc::new(move |uri| {
            let (place, key) = stores.outside(uri, &listed)?;
            Ok((place.read(), key))
        });
        Source::new(root.read(), outside)
    }

    /// Opens files outside a table's place, for putting them back.
    pub(crate) fn outside_for_restore(&self, listed: Outside) -> OpenOutsideForRestore {
        let stores = self.clone();
        Arc::new(move |uri| {
            let (place, key) = stores.outside(uri, &listed)?;
            Ok((place.restore(), key))
        })
    }

    /// Opens the place of a file that a log names by a canonical URI. A listed folder is opened itself: a link in it that leads
    /// out of it is not followed then.
    fn outside(&self, uri: &str, listed: &Outside) -> Result<(Place, ObjectKey), StoreError> {
        if let Some(place) = uri.strip_prefix("s3://") {
            // A table on S3 was reached through it before anything of its log was read.
            let client = self.0.source.client.get();
            let client = client
                .ok_or_else(|| refused(uri, "the log of a table in a folder names a file on S3"))?;
            let (bucket, key) = place
                .split_once('/')
                .ok_or_else(|| refused(uri, "the log names a bucket where a file should be"))?;
            let key = key
                .parse()
                .map_err(|_| refused(uri, "its name cannot be used"))?;
            let store = S3Store::open(client, &format!("s3://{bucket}"))?;
            return Ok((Place::Bucket(store), key));
        }
        let (store, key) = open_outside(uri, listed)?;
        Ok((Place::Folder(store), key))
    }
}

/// Places by their URIs, as a log's paths are resolved.
pub(crate) fn listed<'a>(places: impl IntoIterator<Item = &'a String>) -> Outside {
    let spelled = |place: &String| match place.strip_prefix("file://") {
        Some(path) => format!("file:{path}"),
        None => place.clone(),
    };
    Outside::new(places.into_iter().map(spelled))
}

/// Where the tables of folders come from, in their keys.
const LOCAL_SOURCE: &str = "local";

/// What stands for Amazon's own S3 in the keys of tables.
const AWS: &str = "aws";

/// A vault that is open, and its place.
#[derive(Debug, Clone)]
pub(crate) struct OpenVault {
    pub(crate) vault: Vault,
    pub(crate) place: Place,
    /// The connections that it was opened by.
    pub(crate) stores: Stores,
}

impl OpenVault {
    /// Opens the vault at `uri`.
    ///
    /// # Errors
    /// [`Error::NoVault`], and what [`Vault::open`] refuses.
    pub(crate) async fn open(stores: &Stores, uri: &str) -> Result<Self, CommandError> {
        // A file is as little a vault as an empty folder.
        if local_path(uri).is_some_and(|path| path.is_file()) {
            let uri = uri.to_owned();
            return Err(Error::NoVault { uri }.into());
        }
        let place = stores.vault(uri).await?;
        let vault = match Vault::open(place.read()).await {
            Err(Error::Store(error)) if matches!(error.kind, StoreErrorKind::NoBucket) => {
                let uri = uri.to_owned();
                return Err(Error::NoVault { uri }.into());
            }
            opened => opened?,
        };
        let place = place.with_lock_mode(vault.file().lock_mode);
        let stores = stores.clone();
        Ok(Self {
            vault,
            place,
            stores,
        })
    }

    /// Whether requests and storage are paid for.
    pub(crate) fn is_on_s3(&self) -> bool {
        matches!(self.place, Place::Bucket(_))
    }

    /// The storage class of blobs and copies, where the configuration says one.
    pub(crate) fn storage_class(&self) -> Option<&str> {
        self.stores.0.vault.settings.storage_class.as_deref()
    }

    /// The vault's place for blobs and copies.
    pub(crate) fn bulk(&self) -> Arc<dyn WriteStore> {
        match (&self.place, self.storage_class()) {
            (Place::Bucket(store), Some(class)) => {
                Arc::new(store.clone().with_storage_class(class))
            }
            (place, _) => place.write(),
        }
    }

    /// Keeps a prune away while a snapshot is being taken. In a bucket its role and the objects' age do that.
    ///
    /// # Errors
    /// [`CommandError::VaultInUse`].
    pub(crate) fn share(&self) -> Result<Option<StoreLock>, CommandError> {
        self.lock(LocalStore::try_lock_shared)
    }

    /// Keeps snapshots and other prunes away while a folder is pruned. In a bucket locks and the objects' age do that.
    ///
    /// # Errors
    /// [`CommandError::VaultInUse`].
    pub(crate) fn alone(&self) -> Result<Option<StoreLock>, CommandError> {
        self.lock(LocalStore::try_lock_exclusive)
    }

    /// When the last prune of a folder was done, where one was.
    pub(crate) fn last_prune(&self) -> Option<Timestamp> {
        match &self.place {
            Place::Folder(store) => store.last_done(),
            Place::Bucket(_) => None,
        }
    }

    fn lock(
        &self,
        lock: fn(&LocalStore) -> Result<Option<StoreLock>, StoreError>,
    ) -> Result<Option<StoreLock>, CommandError> {
        let Place::Folder(store) = &self.place else {
            return Ok(None);
        };
        let uri = || store.uri().to_owned();
        let in_use = || CommandError::VaultInUse { uri: uri() };
        Ok(Some(lock(store)?.ok_or_else(in_use)?))
    }

    /// Finds the table that was named, among those that the vault holds. Of tables at one URI it is that of the source
    /// which is configured here; the others are mentioned.
    ///
    /// # Errors
    /// As [`Vault::find_tables`]; [`Error::AmbiguousTable`].
    pub(crate) async fn find_table(
        &self,
        name: &TableName,
        progress: &dyn Progress,
    ) -> Result<TableRef, CommandError> {
        let place = table_uri(&name.uri)?;
        // What can only be a place has one key, and under it one ledger: no other has to be read.
        if name.is_a_place()
            && let Some(key) = self.key_here(&name.uri).await
            && let Some(table) = self.vault.table_with(&key).await?
        {
            mention(&table, &self.vault.twins(&table).await?, progress);
            return Ok(table);
        }
        let found = if name.configured.is_none() {
            self.vault.find_tables(&name.text, Some(&place)).await
        } else {
            // A name of the configuration means its place and nothing else.
            self.vault.find_tables(place.as_str(), None).await
        };
        let found = found.map_err(|error| {
            let Error::UnknownTable { known, .. } = error else {
                return error;
            };
            let name = name.text.clone();
            Error::UnknownTable { name, known }
        })?;
        if let [table] = found.as_slice()
            && table.key.to_string() == name.text
        {
            return Ok(table.clone());
        }
        let found = self.without_twins(&name.text, found, progress).await?;
        Ok(only_table(&name.text, found)?)
    }

    /// Leaves out, and mentions, what has the URI of a table that belongs to the source configured here.
    ///
    /// # Errors
    /// Why the records of that table cannot be read: another does not stand in for it.
    pub(crate) async fn without_twins(
        &self,
        text: &str,
        mut tables: Vec<TableRef>,
        progress: &dyn Progress,
    ) -> Result<Vec<TableRef>, CommandError> {
        let uris: BTreeSet<_> = (tables.iter())
            .filter_map(|table| Some(table.identity.as_ref()?.uri.clone()))
            .collect();
        for uri in uris {
            let Some(here) = self.key_here(&uri).await else {
                continue;
            };
            if tables.iter().any(|table| table.key == here) {
                let is_twin = |it: &mut TableRef| it.uri() == uri && it.key != here;
                let twins: Vec<_> = tables.extract_if(.., is_twin).collect();
                if let Some(table) = tables.iter().find(|table| table.key == here) {
                    mention(table, &twins, progress);
                }
            } else if let Some(reason) = self.vault.unread_table(&here, text).await? {
                return Err(reason.into());
            }
        }
        Ok(tables)
    }

    /// The key of the table at a place, by the source that is configured here; none where that cannot be told.
    async fn key_here(&self, uri: &str) -> Option<TableKey> {
        let place = self.stores.table(uri).await.ok()?;
        self.stores.table_key(&place).ok()
    }

    /// Refuses a place that holds the vault or lies in it: what cleans up a table would clean up the vault.
    ///
    /// # Errors
    /// [`CommandError::InvalidUri`].
    pub(crate) fn refuse_overlap(&self, place: &Place) -> Result<(), CommandError> {
        let rule = if place.contains(&self.place) {
            "the vault lies in it, where a VACUUM or a DROP would take the vault along"
        } else if self.place.contains(place) {
            "it lies in the vault, which may hold nothing else"
        } else {
            return Ok(());
        };
        Err(CommandError::InvalidUri {
            uri: place.uri().to_owned(),
            rule,
        })
    }
}

/// Mentions tables that have the URI of the one that is meant.
fn mention(table: &TableRef, twins: &[TableRef], progress: &dyn Progress) {
    if twins.is_empty() {
        return;
    }
    let others: Vec<_> = twins.iter().map(TableRef::in_full).collect();
    progress.note(&format!(
        "{}: {} is meant; the vault also holds, from another source: {}",
        table.name(),
        table.key,
        one_of(&others)
    ));
}

/// The table's URI in the vault: that of its place, for a folder by its real path.
///
/// # Errors
/// What cannot be a table's place.
pub(crate) fn table_uri(uri: &str) -> Result<TableUri, CommandError> {
    if is_on_s3(uri) {
        return Ok(uri.parse()?);
    }
    Ok(open_folder(uri)?.uri().parse()?)
}

fn is_on_s3(uri: &str) -> bool {
    uri.starts_with("s3://")
}

/// Opens a folder, which may be absent, by its real path.
fn open_folder(uri: &str) -> Result<LocalStore, CommandError> {
    let path = local_path(uri).ok_or_else(|| CommandError::UnsupportedScheme {
        uri: uri.to_owned(),
    })?;
    let unusable = |rule| CommandError::InvalidUri {
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

/// Opens the folder of a file that a log names by a canonical URI, `file:/folder/name`: the deepest that is there,
/// because the file's own may be gone and has to come back with it.
fn open_outside(uri: &str, listed: &Outside) -> Result<(LocalStore, ObjectKey), StoreError> {
    let path = uri.strip_prefix("file:").map(Path::new).ok_or_else(|| {
        refused(
            uri,
            "the log names a file that is neither in a folder of this machine nor on S3",
        )
    })?;
    let listed = listed
        .place_of(uri)
        .and_then(|place| place.strip_prefix("file:"));
    // A listed folder that is gone comes back with its files.
    let begin = listed.map(Path::new).or(path.parent());
    let folder = begin
        .and_then(|begin| begin.ancestors().find(|folder| folder.is_dir()))
        .ok_or_else(|| refused(uri, "the log names a file by a path that begins nowhere"))?;
    let key = path
        .strip_prefix(folder)
        .ok()
        .and_then(|rest| rest.to_str()?.parse().ok())
        .ok_or_else(|| refused(uri, "its name cannot be used"))?;
    Ok((LocalStore::open(folder)?, key))
}

fn refused(uri: &str, reason: &str) -> StoreError {
    StoreError {
        action: "open",
        uri: uri.to_owned(),
        kind: StoreErrorKind::Unsupported {
            reason: reason.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_elsewhere_is_opened_below_the_deepest_folder_that_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap();
        let uri = format!("file:{}/a b.parquet", real.display());
        let none = Outside::default();
        let (store, key) = open_outside(&uri, &none).unwrap();
        assert_eq!((store.path(), key.as_str()), (&*real, "a b.parquet"));
        let uri = format!("file:{}/gone/too/a b.parquet", real.display());
        let (store, key) = open_outside(&uri, &none).unwrap();
        assert_eq!(
            (store.path(), key.as_str()),
            (&*real, "gone/too/a b.parquet")
        );
        let listed = Outside::new([format!("file:{}/gone", real.display())]);
        let (store, key) = open_outside(&uri, &listed).unwrap();
        assert_eq!(
            (store.path(), key.as_str()),
            (&*real, "gone/too/a b.parquet")
        );
        std::fs::create_dir_all(real.join("gone/too")).unwrap();
        let (store, key) = open_outside(&uri, &listed).unwrap();
        assert_eq!(
            (store.path(), key.as_str()),
            (&*real.join("gone"), "too/a b.parquet")
        );
    }

    #[test]
    fn a_file_in_another_scheme_is_refused_with_its_uri() {
        let stores = Stores::new(S3Config::default());
        for uri in ["abfss://box@account/key", "s3://bucket/key"] {
            let refused = stores.outside(uri, &Outside::default()).unwrap_err();
            assert!(matches!(refused.kind, StoreErrorKind::Unsupported { .. }));
            assert_eq!(refused.uri, uri);
        }
    }

    #[test]
    fn the_uri_of_a_table_is_its_real_path_also_when_it_was_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap();
        std::os::unix::fs::symlink(&real, real.join("link")).unwrap();
        let uri = format!("file://{}/link/dropped/orders", real.display());
        let expected = format!("file://{}/dropped/orders", real.display());
        assert_eq!(table_uri(&uri).unwrap().as_str(), expected);
        assert_eq!(
            table_uri("s3://lake/a%20b").unwrap().as_str(),
            "s3://lake/a%20b"
        );
    }
}
