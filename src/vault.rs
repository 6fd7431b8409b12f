//! A vault that is open for reading: its ledgers, manifests, pages and files, each checked before it is believed.
//!
//! Write order is law, and reading goes the other way round: record, manifest, pages, files. An object is read by
//! the object version that its reference names; where that is not to be had, any version of the key with the right
//! digest serves, then `blobs/` under the file's own SHA-256 with any suffix. The digest decides, always. So a
//! crash at any point of [`snapshot`] leaves unreferenced objects and nothing else.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::stream;
use futures::{Stream, StreamExt, TryStreamExt};

use self::forged::Forged;
use crate::error::Error;
use crate::format::layout;
use crate::format::ledger;
use crate::format::ledger::{Bodies, Chain, Chained, Head, LedgerError, SlotRow, Slots, Step};
use crate::format::manifest::MANIFEST_LIMIT;
use crate::format::record::RECORD_LIMIT;
use crate::format::{
    Entry, EventRole, FormatError, LockMode, Manifest, Record, Reference, TableKey, VaultFile,
    VaultKey,
};
use crate::ids::{Digest, ObjectKey, SnapshotId};
use crate::plan::retention::lock_floor;
use crate::progress::Progress;
use crate::store::{
    Attributes, ListedVersion, Payload, ReadStore, StoreError, StoreErrorKind, WriteStore, read_all,
};

mod ahead;
mod choose;
pub mod diff;
pub mod events;
mod extend_lock;
pub mod forged;
pub mod hold;
mod key_merge;
mod listing;
mod log_replay;
pub mod look;
mod packs;
mod page_cache;
mod pages;
pub mod prune;
mod read;
pub mod repair;
pub mod restore;
pub mod snapshot;
mod substitutes;
mod unlinked;
mod unnamed;
pub mod verify;
mod walk;
mod without_file;

pub use page_cache::{PAGE_CACHE_LIMIT, PageCache};

const SLOTS_AHEAD: usize = 16;

/// An open vault.
#[derive(Debug, Clone)]
pub struct Vault {
    store: Arc<dyn ReadStore>,
    file: VaultFile,
    file_digest: Digest,
    /// Where pages are looked for before the store is asked; the first that can keep a page keeps it.
    pages: Vec<PageCache>,
    /// Who is told of the bytes of large files as they are read.
    progress: Option<Arc<dyn Progress>>,
    /// What is treated as absent.
    forged: Arc<Forged>,
}

/// Makes a vault at the store's root.
///
/// Where it has locks, its `vault.json` is locked for the shortest promise and a day.
///
/// # Errors
/// [`AlreadyExists`](crate::store::StoreErrorKind::AlreadyExists) when there is one.
pub async fn init(store: &dyn WriteStore, file: VaultFile) -> Result<VaultFile, Error> {
    let payload = Payload::from_bytes(file.encode()?);
    let lock_until = match file.lock_mode {
        LockMode::None => None,
        LockMode::Governance | LockMode::Compliance => Some(lock_floor(file.created, &file)),
    };
    store
        .put_new(&VaultKey::VaultFile.object_key()?, &payload, lock_until)
        .await?;
    Ok(file)
}

/// A table's ledger as far as its head.
#[derive(Debug, Clone)]
pub struct LedgerView {
    /// The last valid record, and what was found on the way.
    pub head: Head,
}

impl Vault {
    /// Opens the vault at the store's root.
    ///
    /// # Errors
    /// [`Error::NoVault`], [`Error::VaultFileLost`], [`Error::NotAVault`], [`Error::NewerVault`].
    pub async fn open(store: Arc<dyn ReadStore>) -> Result<Self, Error> {
        let uri = store.uri().to_owned();
        let no_vault = || Error::NoVault { uri: uri.clone() };
        let key = VaultKey::VaultFile.object_key()?;
        let oldest = oldest_version(store.as_ref(), &key).await?;
        let Some(oldest) = oldest else {
            if without_file::has_objects(store.as_ref()).await {
                return Err(Error::VaultFileLost { uri, source: None });
            }
            return Err(no_vault());
        };
        let version = oldest.version;
        let body = match read_all(store.as_ref(), &key, version.as_ref(), RECORD_LIMIT).await {
            Ok((_, body)) => body,
            Err(error) if error.is_not_found() => return Err(no_vault()),
            Err(error) => return Err(error.into()),
        };
        let file = match VaultFile::decode(&body) {
            Ok(file) => file,
            Err(FormatError::NewerFormat { found, .. }) => {
                return Err(Error::NewerVault { uri, found });
            }
            Err(source) if without_file::has_objects(store.as_ref()).await => {
                let source = Some(source);
                return Err(Error::VaultFileLost { uri, source });
            }
            Err(source) => return Err(Error::NotAVault { uri, source }),
        };
        Ok(Self {
            store,
            file,
            file_digest: Digest::of(&body),
            pages: Vec::new(),
            progress: None,
            forged: Arc::default(),
        })
    }

    /// The same vault, in which some objects are treated as absent.
    #[must_use]
    pub fn without_forged(self, forged: Forged) -> Self {
        Self {
            forged: Arc::new(forged),
            ..self
        }
    }

    /// Whether the owner calls an object forged.
    fn is_forged(&self, object: &Attributes) -> bool {
        self.forged.has(&object.key, object.version.as_ref())
    }

    /// The same vault, which reports the bytes of large files as they are read.
    #[must_use]
    pub fn watched_by(self, progress: Arc<dyn Progress>) -> Self {
        Self {
            progress: Some(progress),
            ..self
        }
    }

    /// The store it lies in.
    pub fn store(&self) -> &dyn ReadStore {
        self.store.as_ref()
    }

    /// Its `vault.json`.
    pub fn file(&self) -> &VaultFile {
        &self.file
    }

    /// SHA-256 of its `vault.json`.
    pub fn file_digest(&self) -> Digest {
        self.file_digest
    }

    /// Its URI.
    pub fn uri(&self) -> &str {
        self.store.uri()
    }

    /// Lists the tables that have a ledger, by one listing call a table.
    ///
    /// # Errors
    /// What the store says.
    pub async fn tables(&self) -> Result<Vec<TableKey>, Error> {
        self.tables_below(layout::TABLES_PREFIX).await
    }

    /// Lists the tables whose keys have this readable half.
    async fn tables_called(&self, slug: &str) -> Result<Vec<TableKey>, Error> {
        let prefix = format!("{}{slug}-", layout::TABLES_PREFIX);
        let mut tables = self.tables_below(&prefix).await?;
        tables.retain(|table| table.slug() == slug);
        Ok(tables)
    }

    async fn tables_below(&self, prefix: &str) -> Result<Vec<TableKey>, Error> {
        let mut tables: Vec<TableKey> = Vec::new();
        let mut after = None;
        loop {
            let mut next = None;
            // Object versions, because a delete marker on every record must not make a table disappear.
            let mut listing = self.store.list_versions(prefix, after.as_deref());
            while let Some(found) = listing.try_next().await? {
                next = layout::table_of(found.key().as_str());
                if next.is_some() {
                    break;
                }
            }
            drop(listing);
            after = next.as_ref().map(layout::tables_start_after);
            match next {
                Some(table) => tables.push(table),
                None => return Ok(tables),
            }
        }
    }

    /// Lists the slots of a table's chain, each with its object versions, oldest first.
    async fn slots(&self, slots_of: SlotFolder<'_>) -> Result<Slots, Error> {
        Ok(self.in_slots(slots_of).await?.slots())
    }

    /// Lists everything that lies in the slots of a table's chain, also beyond a gap, and their seals.
    async fn in_slots(&self, slots_of: SlotFolder<'_>) -> Result<InSlots, Error> {
        let mut chains = self.list_slots(&slots_of.prefix()).await?;
        Ok(chains.remove(&slots_of.role()).unwrap_or_default())
    }

    /// Lists what lies below a prefix in the slots of one table, by the role in whose chain it is; `None` is the ledger.
    async fn list_slots(&self, prefix: &str) -> Result<HashMap<Option<EventRole>, InSlots>, Error> {
        let mut chains: HashMap<Option<EventRole>, InSlots> = HashMap::new();
        let mut listing = self.store.list_versions(prefix, None);
        while let Some(found) = listing.try_next().await? {
            let ListedVersion::Object(object) = found else {
                continue;
            };
            let is_forged = self.is_forged(&object);
            let (role, seq, seal) = match VaultKey::parse(object.key.as_str()) {
                Some(VaultKey::Record { seq, .. }) => (None, seq, None),
                Some(VaultKey::Event { role, seq, .. }) => (Some(role), seq, None),
                Some(VaultKey::RecordSeal { seq, sha256, .. }) => (None, seq, Some(sha256)),
                Some(VaultKey::EventSeal {
                    role, seq, sha256, ..
                }) => (Some(role), seq, Some(sha256)),
                _ => continue,
            };
            let chain = chains.entry(role).or_default();
            if let Some(sha256) = seal {
                if !is_forged {
                    chain.seals.push((seq, sha256));
                }
                continue;
            }
            let row = SlotRow {
                seq,
                version: object.version,
                size: object.size,
            };
            if is_forged {
                chain.forged.push(row.clone());
            }
            chain.rows.push(row);
        }
        for chain in chains.values_mut() {
            chain.settle();
        }
        Ok(chains)
    }

    /// Finds the head of a table's ledger by a constant number of reads.
    ///
    /// # Errors
    /// A linking record that this tool is too old for, unless `distrusted` names it.
    pub async fn head(
        &self,
        table: &TableKey,
        distrusted: &[SnapshotId],
    ) -> Result<LedgerView, Error> {
        let find = |slots: &Slots, bodies: &Bodies| ledger::find_head(slots, bodies, distrusted);
        let slots_of = SlotFolder::Records(table);
        let head = self.read_chain(slots_of, Bodies::new(), find).await?;
        Ok(LedgerView { head })
    }

    /// Reads a table's whole ledger; `bodies` may hold what a cache has, the digests decide.
    ///
    /// # Errors
    /// As [`Vault::head`].
    pub async fn chain(
        &self,
        table: &TableKey,
        bodies: Bodies,
        distrusted: &[SnapshotId],
    ) -> Result<Chain, Error> {
        let read = |slots: &Slots, bodies: &Bodies| ledger::read_chain(slots, bodies, distrusted);
        self.read_chain(SlotFolder::Records(table), bodies, read)
            .await
    }

    /// Lists a table's chain and reads of it what `reading` asks for until that is done.
    async fn read_chain<B: Chained, T>(
        &self,
        slots_of: SlotFolder<'_>,
        bodies: Bodies<B>,
        reading: impl Fn(&Slots, &Bodies<B>) -> Result<Step<T>, LedgerError>,
    ) -> Result<T, Error> {
        let slots = self.slots(slots_of).await?;
        self.read_listed(slots_of, &slots, bodies, reading).await
    }

    /// As [`Vault::read_chain`], with the slots as they were listed.
    async fn read_listed<B: Chained, T>(
        &self,
        slots_of: SlotFolder<'_>,
        slots: &Slots,
        mut bodies: Bodies<B>,
        reading: impl Fn(&Slots, &Bodies<B>) -> Result<Step<T>, LedgerError>,
    ) -> Result<T, Error> {
        loop {
            match reading(slots, &bodies)? {
                Step::Done(done) => return Ok(done),
                Step::Read(wanted) => self.read_slots(slots_of, wanted, &mut bodies).await?,
            }
        }
    }

    async fn read_slots<B: Chained>(
        &self,
        slots_of: SlotFolder<'_>,
        wanted: Vec<SlotRow>,
        bodies: &mut Bodies<B>,
    ) -> Result<(), Error> {
        let mut reads = stream::iter(wanted)
            .map(|row| async move {
                let key = slots_of.slot(row.seq).key().object_key()?;
                if self.forged.has(&key, row.version.as_ref()) {
                    return Ok((row, None));
                }
                let read = read_all(self.store(), &key, row.version.as_ref(), RECORD_LIMIT).await;
                Ok::<_, Error>((row, Some(read)))
            })
            .buffered(SLOTS_AHEAD);
        while let Some((row, read)) = reads.try_next().await? {
            match read {
                None => bodies.insert_forged(row),
                Some(Ok((_, body))) => bodies.insert(row, &body),
                Some(Err(error)) if error.is_not_found() => bodies.insert_gone(row),
                Some(Err(error)) if error.kind.is_of_the_object() => {
                    bodies.insert_unreadable(row, error.kind.to_string());
                }
                Some(Err(error)) if matches!(error.kind, StoreErrorKind::Denied { .. }) => {
                    return Err(Error::SlotRefused(error));
                }
                Some(Err(error)) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads a record's manifest.
    ///
    /// # Errors
    /// [`Error::Damaged`], for one of another table or version too, and [`Error::Malformed`].
    pub async fn manifest(&self, record: &Record) -> Result<Manifest, Error> {
        let manifest = self.manifest_at(&record.manifest).await?;
        if manifest.version != record.version || manifest.delta_id != record.table.delta_id {
            return Err(Error::Damaged {
                object: record.manifest.key.to_string(),
                what: format!(
                    "it is a manifest of version {} of the table with Delta id {}, and its record is of version {} and {}",
                    manifest.version,
                    manifest.delta_id.escape_debug(),
                    record.version,
                    record.table.delta_id.escape_debug()
                ),
            });
        }
        Ok(manifest)
    }

    /// As [`Vault::manifest`], of one that no record has to name.
    async fn manifest_at(&self, reference: &Reference) -> Result<Manifest, Error> {
        let bytes = self.read(reference, MANIFEST_LIMIT).await?;
        Manifest::decode(&bytes).map_err(|what| malformed(reference, what))
    }
}

/// The error for an object that has the right digest and breaks the format.
fn malformed(reference: &Reference, what: FormatError) -> Error {
    Error::Malformed {
        object: reference.key.to_string(),
        what,
    }
}

/// What lies in the slots of one chain.
#[derive(Debug, Default)]
struct InSlots {
    rows: Vec<SlotRow>,
    seals: Vec<(u64, Digest)>,
    /// Those of the rows that the owner calls forged.
    forged: Vec<SlotRow>,
}

impl InSlots {
    fn settle(&mut self) {
        // A seal has no bytes: one version of it says as much as several.
        self.seals.dedup();
        if !self.forged.is_empty() {
            // What is forged holds its slot, but makes no gap.
            let top = Slots::from_listing(self.rows.iter().cloned()).top();
            let forged = &self.forged;
            // What vouches for it goes with it.
            let honest = |row: &&SlotRow| !forged.contains(row);
            let honest: HashSet<u64> = self.rows.iter().filter(honest).map(|row| row.seq).collect();
            let gone: HashSet<u64> = forged.iter().map(|row| row.seq).collect();
            self.seals
                .retain(|(seq, _)| !gone.contains(seq) || honest.contains(seq));
            self.rows
                .retain(|row| row.seq <= top || !forged.contains(row));
        }
    }

    /// The slots, each with its object versions, oldest first.
    fn slots(self) -> Slots {
        Slots::from_listing(self.rows).with_seals(self.seals)
    }
}

/// Where a table's chains lie.
#[derive(Debug, Clone, Copy)]
enum SlotFolder<'a> {
    Records(&'a TableKey),
    Events(&'a TableKey, EventRole),
}

impl<'a> SlotFolder<'a> {
    fn prefix(self) -> String {
        match self {
            Self::Records(table) => layout::ledger_prefix(table),
            Self::Events(table, role) => layout::role_events_prefix(table, role),
        }
    }

    /// The role whose events they are; `None` for the ledger.
    fn role(self) -> Option<EventRole> {
        match self {
            Self::Records(_) => None,
            Self::Events(_, role) => Some(role),
        }
    }

    fn slot(self, seq: u64) -> Slot<'a> {
        Slot {
            slots_of: self,
            seq,
        }
    }
}

/// A slot of one of a table's chains.
#[derive(Debug, Clone, Copy)]
struct Slot<'a> {
    slots_of: SlotFolder<'a>,
    seq: u64,
}

impl Slot<'_> {
    fn key(self) -> VaultKey {
        let seq = self.seq;
        match self.slots_of {
            SlotFolder::Records(table) => {
                let table = table.clone();
                VaultKey::Record { table, seq }
            }
            SlotFolder::Events(table, role) => {
                let table = table.clone();
                VaultKey::Event { table, role, seq }
            }
        }
    }

    /// The seal of bytes that are to lie in it.
    fn seal(self, sha256: Digest) -> VaultKey {
        let seq = self.seq;
        match self.slots_of {
            SlotFolder::Records(table) => {
                let table = table.clone();
                VaultKey::RecordSeal { table, seq, sha256 }
            }
            SlotFolder::Events(table, role) => VaultKey::EventSeal {
                table: table.clone(),
                role,
                seq,
                sha256,
            },
        }
    }
}

/// The version of a key that was there first, whatever was put on top of it; `None` when there is none.
async fn oldest_version(
    store: &dyn ReadStore,
    key: &ObjectKey,
) -> Result<Option<Attributes>, StoreError> {
    let mut listing = store.list_versions(key.as_str(), None);
    while let Some(found) = listing.try_next().await? {
        match found {
            ListedVersion::Object(object) if object.key == *key => return Ok(Some(object)),
            ListedVersion::Object(_) | ListedVersion::DeleteMarker { .. } => {}
        }
    }
    Ok(None)
}

/// Runs work that keeps a processor busy, or waits for a disk, beside the thread that serves all connections.
pub(crate) async fn offload<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only a runtime that is ending gives up such work.
            Err(_) => Err(Error::Interrupted),
        },
    }
}

/// A stream of entries as a trait object, for functions that merge several.
pub(crate) type Entries<'a> =
    std::pin::Pin<Box<dyn Stream<Item = Result<Entry, Error>> + Send + 'a>>;
