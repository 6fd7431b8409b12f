//! Puts lost bytes into the vault again, under names of their own: `blobs/<2 hex>/<sha256>.<8 random hex>`, pages and
//! manifests likewise. Readers look there when what a reference names is gone or wrong; see "References" in `spec.md`.
//!
//! Nothing is ever overwritten or deleted, so a repair that is killed anywhere has put what it has put; the next one
//! finds that it serves and goes on with the rest. The digest decides: bytes from wherever are put only when they have
//! the SHA-256 that the manifests name, locked until the promise of every snapshot that needs them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::io::AsyncReadExt as _;

use super::verify::{Hurt, Losses, Lost, LostKind, PackedFile};
use super::{PageCache, Vault};
use crate::error::Error;
use crate::format::layout::{Area, Suffix};
use crate::format::ledger::Bodies;
use crate::format::manifest::MANIFEST_LIMIT;
use crate::format::page::PAGE_LIMIT;
use crate::format::record::TableIdentity;
use crate::format::{Entry, LockMode, Placement, Reference, VaultKey};
use crate::ids::{Digest, Generation, Location, ObjectKey, ObjectVersion, Timestamp};
use crate::plan::hold::part_size;
use crate::plan::retention::{lock_ceiling, lock_floor, lock_until};
use crate::progress::{Phase, PlannedWork, Progress};
use crate::source::{Source, collect};
use crate::spool::IN_MEMORY_LIMIT;
use crate::store::{
    Payload, PayloadData, ReadStore, StoreError, StoreErrorKind, WriteStore, read_range,
};

/// Objects that are looked for and put side by side.
const AHEAD: usize = 8;

/// Places that are remembered for one digest; they are tried one after the other.
const PLACES_KEPT: usize = 8;

/// Opens a table where a record says that it lives.
pub type OpenTable =
    Arc<dyn Fn(&TableIdentity) -> BoxFuture<'static, Result<Source, Error>> + Send + Sync>;

/// Everything a repair works with.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "it holds a closure")]
pub struct Repairer {
    /// The vault, for reading.
    pub vault: Vault,
    /// The vault, for creating blobs.
    pub store: Arc<dyn WriteStore>,
    /// The vault, for creating manifests and pages.
    pub structure: Arc<dyn WriteStore>,
    /// Where a live table is read.
    pub open: OpenTable,
    /// A copy of the vault elsewhere.
    pub replica: Option<Vault>,
    /// Pages that this machine has kept.
    pub pages: Option<PageCache>,
    /// The time of the run.
    pub now: Timestamp,
    /// Where temporary files go.
    pub temp: PathBuf,
    /// Who is told.
    pub progress: Arc<dyn Progress>,
}

/// Where bytes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Another object of the vault.
    Vault(ObjectKey),
    /// The live table, by the file's URI.
    Live(String),
    /// The replica, by its URI.
    Replica(String),
    /// The pages that this machine has kept.
    Cache,
    /// Several of them: the files of a pack.
    Several,
}

/// What a repair would do.
#[derive(Debug)]
pub struct RepairPlan {
    steps: Vec<Step>,
    places: Places,
}

/// One lost object.
#[derive(Debug)]
pub struct Step {
    /// What is lost.
    pub lost: Lost,
    /// Where its bytes are most likely; `None`: nowhere that was looked at.
    pub from: Option<Origin>,
    /// Until when what is put is locked.
    pub lock_until: Option<Timestamp>,
}

/// What came of one lost object.
#[derive(Debug)]
pub struct Repaired {
    /// What was lost.
    pub lost: Lost,
    /// What was put, and where its bytes came from.
    pub put: Vec<(ObjectKey, Origin)>,
    /// The files of it that are still lost; for an object that is no pack, its own key.
    pub still_lost: Vec<String>,
}

impl Repaired {
    /// Whether all of it can be read again.
    pub fn is_whole(&self) -> bool {
        self.still_lost.is_empty()
    }
}

/// Where lost files are named: by their digest, in what entries.
#[derive(Debug, Default)]
struct Places {
    tables: Vec<TableIdentity>,
    of: HashMap<Digest, Vec<(usize, Entry)>>,
}

impl RepairPlan {
    /// What would be done about each lost object.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The objects that would be put again, and their bytes.
    pub fn amount(&self) -> (u64, u64) {
        let found = self.steps.iter().filter(|step| step.from.is_some());
        found.fold((0, 0), |(objects, bytes), step| {
            (objects + 1, bytes + step.lost.lost_bytes())
        })
    }
}

impl Lost {
    /// The bytes that are lost: of a pack, those of its lost files.
    pub fn lost_bytes(&self) -> u64 {
        match &self.what {
            LostKind::Manifest | LostKind::Page | LostKind::File => self.size,
            LostKind::Pack(files) => {
                let lost = files.iter().filter(|file| file.is_lost);
                lost.fold(0, |sum, file| sum.saturating_add(file.size))
            }
        }
    }

    fn reference(&self) -> Reference {
        Reference {
            generation: Generation::default(),
            key: self.key.clone(),
            sha256: self.sha256,
            size: self.size,
            version: self.version.clone(),
        }
    }

    /// The digests of the files that are lost, as entries name them.
    fn digests(&self) -> Vec<Digest> {
        match &self.what {
            LostKind::Manifest | LostKind::Page => Vec::new(),
            LostKind::File => vec![self.sha256],
            LostKind::Pack(files) => {
                let lost = files.iter().filter(|file| file.is_lost);
                lost.map(|file| file.sha256).collect()
            }
        }
    }
}

impl Repairer {
    /// Looks where the lost bytes still are; writes nothing.
    ///
    /// # Errors
    /// What the vault's own store says; a live table or a replica that cannot be reached has nothing.
    pub async fn plan(&self, losses: &Losses) -> Result<RepairPlan, Error> {
        let lost: Vec<Lost> = losses.needed().cloned().collect();
        let wanted: HashSet<Digest> = lost.iter().flat_map(Lost::digests).collect();
        let places = self.places(&wanted).await?;
        let steps = stream::iter(lost)
            .map(|lost| async {
                let from = self.look(&lost, &places).await;
                let lock_until = self.lock_until(losses.hurt(&lost));
                Step {
                    lost,
                    from,
                    lock_until,
                }
            })
            .buffered(AHEAD)
            .collect()
            .await;
        Ok(RepairPlan { steps, places })
    }

    /// Puts again what a plan found; what is not to be had stays lost.
    ///
    /// # Errors
    /// What the vault's own store says when it is written to. What was put until then serves.
    pub async fn carry_out(
        &self,
        plan: RepairPlan,
        told: &mut (dyn FnMut(&Repaired) -> Result<(), Error> + Send),
    ) -> Result<Vec<Repaired>, Error> {
        self.progress.phase("", Phase::Repair);
        let (files, bytes) = plan.amount();
        self.progress.planned(PlannedWork { files, bytes });
        let RepairPlan { steps, places } = plan;
        let mut done = Vec::new();
        let mut under_way = stream::iter(steps)
            .map(|step| self.repair(step, &places))
            .buffered(AHEAD);
        while let Some(repaired) = under_way.try_next().await? {
            told(&repaired)?;
            done.push(repaired);
        }
        Ok(done)
    }

    /// Reads every page of the vault for entries that have one of some digests.
    async fn places(&self, wanted: &HashSet<Digest>) -> Result<Places, Error> {
        let mut places = Places::default();
        if wanted.is_empty() {
            return Ok(places);
        }
        for table in self.vault.tables().await? {
            let history = match self.vault.history(&table, Bodies::new()).await {
                Ok(history) => history,
                Err(error @ Error::Store(_)) => return Err(error),
                // What is wrong with a ledger was said by the verification.
                Err(_) => continue,
            };
            let mut read: HashSet<Digest> = HashSet::new();
            for snapshot in history.snapshots.iter().rev() {
                if !read.insert(snapshot.record.manifest.sha256) {
                    continue;
                }
                let Some(manifest) = held(self.vault.manifest(&snapshot.record).await)? else {
                    continue;
                };
                let at = places.table(&snapshot.record.table);
                for page in manifest.log_pages.iter().chain(&manifest.data_pages) {
                    if !read.insert(page.page.sha256) {
                        continue;
                    }
                    let Some(entries) = held(self.vault.page(page).await)? else {
                        continue;
                    };
                    let named = |entry: &Entry| entry.sha256.is_some_and(|it| wanted.contains(&it));
                    for entry in entries.into_iter().filter(named) {
                        places.add(at, entry);
                    }
                }
            }
        }
        Ok(places)
    }

    /// The first place where lost bytes seem to be. Nothing is read whole yet.
    async fn look(&self, lost: &Lost, places: &Places) -> Option<Origin> {
        match &lost.what {
            LostKind::Manifest | LostKind::Page => {
                if let (LostKind::Page, Some(pages)) = (&lost.what, &self.pages)
                    && pages.read(lost.sha256, lost.size).is_some()
                {
                    return Some(Origin::Cache);
                }
                let replica = self.replica.as_ref()?;
                let bytes = replica.read(&lost.reference(), lost.limit()).await;
                bytes
                    .ok()
                    .map(|_| Origin::Replica(replica.uri().to_owned()))
            }
            LostKind::File => self.look_for(lost.sha256, &lost.key, places).await,
            LostKind::Pack(files) => {
                let mut found: Option<Origin> = None;
                for file in files.iter().filter(|file| file.is_lost) {
                    let origin = self.look_for(file.sha256, &lost.key, places).await;
                    found = match (found, origin) {
                        (found, None) => found,
                        (None, origin) => origin,
                        (Some(found), Some(origin)) if found == origin => Some(found),
                        (Some(_), Some(_)) => Some(Origin::Several),
                    };
                }
                found
            }
        }
    }

    async fn look_for(&self, sha256: Digest, was: &ObjectKey, places: &Places) -> Option<Origin> {
        for (table, entry) in places.of(sha256) {
            if let Some(reference) = entry.placement.reference().filter(|it| it.key != *was) {
                let there = self.vault.store();
                let there = there.attributes(&reference.key, reference.version.as_ref());
                if there.await.is_ok_and(|there| there.size == reference.size) {
                    return Some(Origin::Vault(reference.key.clone()));
                }
            }
            if matches!(entry.placement, Placement::Inline(_)) {
                return Some(Origin::Several);
            }
            if let Some(source) = self.source(places, table).await
                && let Ok(there) = source.attributes(&entry.file).await
                && there.size == entry.size
            {
                return Some(live(&source, &entry.file));
            }
            if self.noncurrent(places, table, entry).await.is_some() {
                return Some(Origin::Live(entry.file.to_string()));
            }
        }
        let replica = self.replica.as_ref()?;
        let (_, entry) = places.of(sha256).next()?;
        let reference = entry.placement.reference()?;
        let there = replica.store().list_versions(reference.key.as_str(), None);
        let is_there = there.boxed().next().await.is_some_and(|row| row.is_ok());
        is_there.then(|| Origin::Replica(replica.uri().to_owned()))
    }

    async fn repair(&self, step: Step, places: &Places) -> Result<Repaired, Error> {
        let Step {
            lost, lock_until, ..
        } = step;
        let mut put = Vec::new();
        let mut still_lost = Vec::new();
        match &lost.what {
            LostKind::Manifest | LostKind::Page => match self.structure(&lost).await {
                Some((bytes, origin)) => {
                    let payload = Payload::from_bytes(bytes);
                    let name = match lost.what {
                        LostKind::Manifest => VaultKey::manifest,
                        LostKind::Page | LostKind::File | LostKind::Pack(_) => VaultKey::page,
                    };
                    put.push((self.put(name, &payload, lock_until).await?, origin));
                }
                None => still_lost.push(lost.key.to_string()),
            },
            LostKind::File => match self.file(lost.sha256, &lost.key, places).await? {
                Some((payload, origin)) => {
                    let key = self.put(VaultKey::blob, &payload, lock_until).await?;
                    put.push((key, origin));
                }
                None => still_lost.push(lost.key.to_string()),
            },
            LostKind::Pack(files) => {
                let found = self.pack(&lost, files, places).await?;
                if let Some(whole) = found.whole {
                    let payload = Payload::from_bytes(whole);
                    let key = self.put(VaultKey::blob, &payload, lock_until).await?;
                    put.push((key, found.origin.unwrap_or(Origin::Several)));
                } else {
                    for (payload, origin) in found.files {
                        let key = self.put(VaultKey::blob, &payload, lock_until).await?;
                        put.push((key, origin));
                    }
                }
                still_lost = found.still_lost;
            }
        }
        self.progress.file_done(lost.lost_bytes());
        Ok(Repaired {
            lost,
            put,
            still_lost,
        })
    }

    /// Reads a manifest or a page from wherever it is.
    async fn structure(&self, lost: &Lost) -> Option<(Bytes, Origin)> {
        if let (LostKind::Page, Some(pages)) = (&lost.what, &self.pages)
            && let Some(bytes) = pages.read(lost.sha256, lost.size)
        {
            return Some((bytes, Origin::Cache));
        }
        let replica = self.replica.as_ref()?;
        let bytes = replica.read(&lost.reference(), lost.limit()).await.ok()?;
        Some((bytes, Origin::Replica(replica.uri().to_owned())))
    }

    /// Reads a file from wherever its bytes are; `was` is the object that has lost them.
    async fn file(
        &self,
        sha256: Digest,
        was: &ObjectKey,
        places: &Places,
    ) -> Result<Option<(Payload, Origin)>, Error> {
        let is_right = |payload: &Payload| payload.sha256 == sha256;
        for (table, entry) in places.of(sha256) {
            let elsewhere = entry.placement.reference().is_none_or(|it| it.key != *was);
            if elsewhere
                && let Some(payload) = held(self.vault.payload(entry, &self.temp).await)?
                && is_right(&payload)
            {
                let key = entry.placement.reference().map(|it| it.key.clone());
                return Ok(Some((payload, key.map_or(Origin::Several, Origin::Vault))));
            }
            if let Some(source) = self.source(places, table).await {
                let origin = live(&source, &entry.file);
                if let Ok(fetched) = source.fetch(&entry.file, &self.temp).await
                    && is_right(&fetched.payload)
                {
                    return Ok(Some((fetched.payload, origin)));
                }
                if let Some((store, key, version)) = self.noncurrent(places, table, entry).await
                    && let Ok(reader) = store.open(&key, Some(&version), None).await
                    && let Ok(fetched) =
                        collect(store.as_ref(), reader, IN_MEMORY_LIMIT, &self.temp).await
                    && is_right(&fetched.payload)
                {
                    return Ok(Some((fetched.payload, origin)));
                }
            }
        }
        if let Some(replica) = &self.replica {
            for (_, entry) in places.of(sha256) {
                if let Ok(payload) = replica.payload(entry, &self.temp).await
                    && is_right(&payload)
                {
                    return Ok(Some((payload, Origin::Replica(replica.uri().to_owned()))));
                }
            }
        }
        Ok(None)
    }

    /// Reads the files of a pack, those that are not lost from itself. Only where every byte of the pack is one of theirs
    /// can all of it be put again; else its files are put one by one.
    async fn pack(
        &self,
        lost: &Lost,
        files: &[PackedFile],
        places: &Places,
    ) -> Result<FoundPack, Error> {
        let mut found = FoundPack::default();
        if let Some(replica) = &self.replica
            && let Ok(bytes) = replica.read(&lost.reference(), lost.size).await
        {
            found.whole = Some(bytes);
            found.origin = Some(Origin::Replica(replica.uri().to_owned()));
            return Ok(found);
        }
        let mut whole = BytesMut::new();
        let mut origins: Vec<Origin> = Vec::new();
        let mut seen = HashSet::new();
        for file in files {
            let bytes = if file.is_lost {
                if let Some((payload, origin)) = self.file(file.sha256, &lost.key, places).await? {
                    let bytes = in_memory(&payload);
                    if seen.insert(file.sha256) {
                        found.files.push((payload, origin.clone()));
                    }
                    origins.push(origin);
                    bytes
                } else {
                    found.still_lost.push(file.file.to_string());
                    None
                }
            } else {
                let range = file.offset..file.offset.saturating_add(file.size);
                let version = lost.version.as_ref();
                let read = read_range(self.vault.store(), &lost.key, version, range).await;
                read.ok().filter(|bytes| Digest::of(bytes) == file.sha256)
            };
            // Two references to one part of the pack are one part of it.
            let end = whole.len() as u64;
            if let Some(bytes) = bytes
                && file.offset == end
            {
                whole.extend_from_slice(&bytes);
            }
        }
        if Digest::of(&whole) == lost.sha256 {
            found.whole = Some(whole.freeze());
            origins.dedup();
            found.origin = match origins.as_slice() {
                [origin] => Some(origin.clone()),
                _ => Some(Origin::Several),
            };
        }
        Ok(found)
    }

    /// Puts bytes under their own digest with a fresh suffix.
    async fn put(
        &self,
        name: fn(Digest, Option<Suffix>) -> VaultKey,
        payload: &Payload,
        lock_until: Option<Timestamp>,
    ) -> Result<ObjectKey, Error> {
        let suffix = Suffix::from_bytes(rand::random());
        let key = name(payload.sha256, Some(suffix)).object_key()?;
        let store = match VaultKey::parse(key.as_str()) {
            Some(VaultKey::Content {
                area: Area::Blobs, ..
            }) => &self.store,
            _ => &self.structure,
        };
        if payload.size <= store.largest_put() {
            store.put_new(&key, payload, lock_until).await?;
        } else {
            store.put_parts(&key, parts(payload), lock_until).await?;
        }
        Ok(key)
    }

    /// Until when what some snapshots need is locked.
    fn lock_until<'a>(&self, hurt: impl Iterator<Item = &'a Hurt>) -> Option<Timestamp> {
        let file = self.vault.file();
        if file.lock_mode == LockMode::None {
            return None;
        }
        let locks = hurt.map(|hurt| lock_until(hurt.promise, &hurt.table, file));
        // A forged record may promise a thousand years.
        let until = locks.max().unwrap_or_default();
        let until = until.max(lock_floor(self.now, file));
        Some(until.min(lock_ceiling(self.now, file)))
    }

    async fn source(&self, places: &Places, table: usize) -> Option<Source> {
        let identity = places.tables.get(table)?;
        match (self.open)(identity).await {
            Ok(source) => Some(source),
            Err(error) => {
                tracing::info!(table = identity.uri, %error, "the live table cannot be read");
                None
            }
        }
    }

    /// The object version that was copied once, where it may still lie below others at the source.
    async fn noncurrent(
        &self,
        places: &Places,
        table: usize,
        entry: &Entry,
    ) -> Option<(Arc<dyn ReadStore>, ObjectKey, ObjectVersion)> {
        let version = entry.object_version.clone()?;
        let source = self.source(places, table).await?;
        let (store, key) = source.locate(&entry.file).ok()?;
        let there = store.attributes(&key, Some(&version)).await.ok()?;
        (there.size == entry.size).then_some((store, key, version))
    }
}

/// What was found of a pack.
#[derive(Default)]
struct FoundPack {
    /// All of it.
    whole: Option<Bytes>,
    origin: Option<Origin>,
    /// The lost files that were found.
    files: Vec<(Payload, Origin)>,
    still_lost: Vec<String>,
}

impl Lost {
    fn limit(&self) -> u64 {
        match self.what {
            LostKind::Manifest => MANIFEST_LIMIT,
            LostKind::Page => PAGE_LIMIT,
            LostKind::File | LostKind::Pack(_) => self.size,
        }
    }
}

impl Places {
    fn table(&mut self, identity: &TableIdentity) -> usize {
        let known = self.tables.iter().position(|it| {
            (it.source.as_str(), it.uri.as_str())
                == (identity.source.as_str(), identity.uri.as_str())
        });
        known.unwrap_or_else(|| {
            self.tables.push(identity.clone());
            self.tables.len() - 1
        })
    }

    fn add(&mut self, table: usize, entry: Entry) {
        let Some(sha256) = entry.sha256 else {
            return;
        };
        let places = self.of.entry(sha256).or_default();
        let is_known = places.iter().any(|(of, known)| {
            (*of, &known.file, &known.placement) == (table, &entry.file, &entry.placement)
        });
        if !is_known && places.len() < PLACES_KEPT {
            places.push((table, entry));
        }
    }

    fn of(&self, sha256: Digest) -> impl Iterator<Item = (usize, &Entry)> {
        let places = self.of.get(&sha256).into_iter().flatten();
        places.map(|(table, entry)| (*table, entry))
    }
}

/// What the vault holds; `None` where it is damaged. What its store could not do is an error.
fn held<T>(read: Result<T, Error>) -> Result<Option<T>, Error> {
    match read {
        Ok(found) => Ok(Some(found)),
        Err(Error::Damaged { .. } | Error::Format(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The bytes of a payload in parts, as a store takes a large one.
fn parts(payload: &Payload) -> BoxStream<'static, Result<Bytes, StoreError>> {
    let path = match &payload.data {
        PayloadData::Bytes(bytes) => return stream::iter([Ok(bytes.clone())]).boxed(),
        PayloadData::File(path) => Arc::clone(path),
    };
    let size = usize::try_from(part_size(payload.size)).unwrap_or(usize::MAX);
    let failed = |error: std::io::Error| StoreError {
        action: "read",
        uri: "a temporary copy".to_owned(),
        kind: StoreErrorKind::Io {
            detail: error.to_string(),
        },
    };
    stream::try_unfold(None, move |file: Option<tokio::fs::File>| {
        let path = Arc::clone(&path);
        async move {
            let mut file = match file {
                Some(file) => file,
                None => tokio::fs::File::open(path.as_ref()).await.map_err(failed)?,
            };
            let mut part = Vec::new();
            let limit = u64::try_from(size).unwrap_or(u64::MAX);
            let mut rest = (&mut file).take(limit);
            rest.read_to_end(&mut part).await.map_err(failed)?;
            let part = Bytes::from(part);
            Ok((!part.is_empty()).then_some((part, Some(file))))
        }
    })
    .boxed()
}

fn live(source: &Source, file: &Location) -> Origin {
    Origin::Live(match file {
        Location::Inside(key) => format!("{}/{key}", source.uri()),
        Location::Outside(uri) => uri.clone(),
    })
}

fn in_memory(payload: &Payload) -> Option<Bytes> {
    match &payload.data {
        PayloadData::Bytes(bytes) => Some(bytes.clone()),
        PayloadData::File(_) => None,
    }
}

/// What became of each snapshot that had lost something: whole again, or what it still lacks.
pub fn outcome(losses: &Losses, repaired: &[Repaired]) -> BTreeMap<usize, Vec<String>> {
    let mut outcome: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for repaired in repaired {
        for user in &repaired.lost.users {
            if losses.snapshots.get(*user).is_some_and(|it| it.counts) {
                let lacks = outcome.entry(*user).or_default();
                lacks.extend(repaired.still_lost.iter().cloned());
            }
        }
    }
    outcome
}
