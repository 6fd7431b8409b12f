//! Puts lost bytes into the vault again, under names of their own: `blobs/<2 hex>/<sha256>.<8 random hex>`, pages and
//! manifests likewise. Readers look there when what a reference names is gone or wrong; see "References" in `spec.md`.
//!
//! Nothing is ever overwritten or deleted, so a repair that is killed anywhere has put what it has put; the next one
//! finds that it serves and goes on with the rest. The digest decides: bytes from wherever are put only when they have
//! the SHA-256 that the manifests name, locked until the promise of every snapshot that needs them. Snapshots that are
//! taken afterwards may promise more of the same object; then the lock of what was put here is extended, never its
//! bytes put once more.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::io::AsyncReadExt as _;

use self::places::Places;
use super::extend_lock::extend_lock;
use super::verify::{Hurt, Losses, Lost, LostKind};
use super::{PageCache, Vault};
use crate::error::Error;
use crate::format::VaultKey;
use crate::format::layout::{Area, Suffix};
use crate::format::record::TableIdentity;
use crate::ids::{Digest, ObjectKey, Timestamp};
use crate::plan::retention::bounded_lock;
use crate::progress::{Phase, PlannedWork, Progress};
use crate::source::Source;
use crate::store::part_size;
use crate::store::{Payload, PayloadData, StoreError, StoreErrorKind, WriteStore};

mod find;
mod ledgers;
mod places;

pub use ledgers::{InTheWay, LedgerPlan, LostLink, SlotHolds};

const AHEAD: usize = 8;

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
    /// Takes the progress of the run.
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
    /// More than one of these: the files of a pack.
    Mixed,
    /// What an earlier repair put: it serves, and is locked for longer.
    Substitute,
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
    /// The files of it that are still lost; for an object that is not a pack, its own key.
    pub still_lost: Vec<String>,
}

impl Repaired {
    /// Whether all of it can be read again.
    pub fn is_whole(&self) -> bool {
        self.still_lost.is_empty()
    }
}

impl RepairPlan {
    /// What would be done about each lost object.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// What becomes of it when nothing is done.
    pub fn into_lost(self) -> Vec<Repaired> {
        let steps = self.steps.into_iter();
        let lost = steps.map(|step| Repaired {
            still_lost: step.lost.names(),
            lost: step.lost,
            put: Vec::new(),
        });
        lost.collect()
    }

    /// The objects that would be put again, and their bytes.
    pub fn amount(&self) -> (u64, u64) {
        let found = self.steps.iter().filter(|step| step.from.is_some());
        found.fold((0, 0), |(objects, bytes), step| {
            (objects + 1, bytes + step.lost.lost_bytes())
        })
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
    pub async fn execute(
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

    async fn repair(&self, step: Step, places: &Places) -> Result<Repaired, Error> {
        let Step {
            lost, lock_until, ..
        } = step;
        if lost.is_only_locked_short() {
            let put = self.lock_substitutes(&lost, lock_until).await?;
            return Ok(Repaired {
                lost,
                put,
                still_lost: Vec::new(),
            });
        }
        let mut found: Vec<(Payload, Origin)> = Vec::new();
        let mut still_lost = Vec::new();
        let name = match &lost.what {
            LostKind::Manifest => VaultKey::manifest,
            LostKind::Page => VaultKey::page,
            LostKind::File | LostKind::Pack(_) => VaultKey::blob,
        };
        match &lost.what {
            LostKind::Manifest | LostKind::Page => {
                let bytes = self.structure(&lost).await;
                found.extend(bytes.map(|(bytes, origin)| (Payload::from_bytes(bytes), origin)));
            }
            LostKind::File => found.extend(self.file(lost.sha256, &lost.key, places).await?),
            LostKind::Pack(files) => {
                let pack = self.pack(&lost, files, places).await?;
                still_lost = pack.still_lost;
                match pack.whole {
                    Some(whole) => {
                        let origin = pack.origin.unwrap_or(Origin::Mixed);
                        found.push((Payload::from_bytes(whole), origin));
                    }
                    None => found = pack.files,
                }
            }
        }
        if found.is_empty() && still_lost.is_empty() {
            still_lost = lost.names();
        }
        let mut put = Vec::new();
        for (payload, origin) in found {
            put.push((self.put(name, &payload, lock_until).await?, origin));
        }
        self.progress.file_done(lost.lost_bytes());
        Ok(Repaired {
            lost,
            put,
            still_lost,
        })
    }

    /// Locks for longer what an earlier repair put in the place of an object.
    async fn lock_substitutes(
        &self,
        lost: &Lost,
        lock_until: Option<Timestamp>,
    ) -> Result<Vec<(ObjectKey, Origin)>, Error> {
        let mut locked = Vec::new();
        for substitute in &lost.substitutes {
            let Some(until) = lock_until.filter(|until| substitute.locked_until < Some(*until))
            else {
                continue;
            };
            let (key, version) = (&substitute.key, substitute.version.as_ref());
            extend_lock(self.structure.as_ref(), key, version, until).await?;
            locked.push((key.clone(), Origin::Substitute));
        }
        Ok(locked)
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
        let floor = self.vault.floor(self.now)?;
        let file = self.vault.file();
        let locks = hurt.map(|hurt| bounded_lock(hurt.promise, &hurt.table, file, self.now));
        Some(locks.max().unwrap_or(floor))
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
