//! Checks one object that the pages refer to: its presence, and its bytes and its lock when the plan chooses it.

use std::collections::{BTreeSet, HashSet};

use futures::TryStreamExt;
use sha2::{Digest as _, Sha256};

use super::losses::{Lost, LostKind, PackedFile};
use super::merge::{Job, list_alone};
use super::parts::PartHasher;
use super::rescue::Rescue;
use super::uses::{Part, Want};
use super::{lost, unreadable};
use crate::ids::{Digest, ObjectKey, ObjectVersion, Timestamp};
use crate::plan::verify::{
    Listed, Presence, Problem, Remedy, SERVED, VerifyPlan, WHO_WROTE_IT, is_named_right,
};
use crate::progress::{PlannedWork, Progress};
use crate::store::StoreError;
use crate::vault::Vault;

/// What of an object is not as it should be.
#[derive(Debug)]
pub(super) struct Bad {
    /// The object, and somebody uses it as a whole.
    pub(super) whole: bool,
    /// Files in it.
    pub(super) parts: Vec<usize>,
}

impl Bad {
    pub(super) fn is_nothing(&self) -> bool {
        !self.whole && self.parts.is_empty()
    }
}

/// What came of one key.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) key: ObjectKey,
    /// What to tell, and which units are concerned.
    pub(super) told: Vec<(Vec<usize>, Problem)>,
    /// What is lost, and which units need it; who that is has yet to be filled in.
    pub(super) lost: Vec<(Vec<usize>, Lost)>,
    /// Objects in whose place something serves that a repair put, and which units need them.
    pub(super) repaired: Vec<(Vec<usize>, Vec<Lost>)>,
    /// Units whose object is held in another object version than recorded.
    pub(super) moved: Vec<usize>,
    /// Units whose object may be held in another object version, which was not read.
    pub(super) unproven: Vec<usize>,
    /// Until when object versions are locked that were looked at, and which units rest on it.
    pub(super) locks: Vec<(Vec<usize>, Option<Timestamp>)>,
    pub(super) objects_read: u64,
    pub(super) bytes_read: u64,
}

/// Checks keys.
#[derive(Debug)]
pub(super) struct Checker<'a> {
    pub(super) vault: &'a Vault,
    pub(super) plan: VerifyPlan,
    pub(super) sampled: &'a HashSet<Digest>,
    /// Whether the vault locks its objects.
    pub(super) locks: bool,
    pub(super) progress: &'a dyn Progress,
}

/// Bytes that were read once.
pub(super) struct Hashed {
    pub(super) sha256: Digest,
    pub(super) wrong_parts: Vec<usize>,
    pub(super) locked_until: Option<Timestamp>,
}

impl Checker<'_> {
    /// Checks a key and everything that refers to it.
    pub(super) async fn check(&self, job: Job) -> Outcome {
        let Job { key, wants, listed } = job;
        let mut outcome = Outcome {
            key,
            told: Vec::new(),
            lost: Vec::new(),
            repaired: Vec::new(),
            moved: Vec::new(),
            unproven: Vec::new(),
            locks: Vec::new(),
            objects_read: 0,
            bytes_read: 0,
        };
        let listed = match listed {
            Some(listed) => Ok(listed),
            None => list_alone(self.vault.store(), &outcome.key).await,
        };
        let listed = match listed {
            Ok(listed) => listed,
            Err(error) => {
                for want in &wants {
                    outcome.told.push((want.all_units(), unreadable(&error)));
                }
                return outcome;
            }
        };
        // Which of the versions on the key somebody needs.
        let mut used: BTreeSet<Option<ObjectVersion>> = BTreeSet::new();
        for want in &wants {
            check_name(want, &mut outcome);
            let presence = self.presence(want, &listed, &outcome.key).await;
            match presence {
                Ok(Presence::Gone) => {
                    let serving = listed.others(want.version.as_ref(), want.size).next();
                    used.extend(serving.map(Option::<&ObjectVersion>::cloned));
                }
                Ok(_) => {
                    used.insert(want.version.clone());
                }
                Err(_) => {}
            }
            let checked = match presence {
                Ok(Presence::AsNamed) if want.is_structure => self.lock(want, &mut outcome).await,
                Ok(_) if want.is_structure => Ok(()),
                Ok(presence) => self.want(want, presence, &listed, &mut outcome).await,
                Err(error) => Err(error),
            };
            if let Err(error) = checked {
                outcome.told.push((want.all_units(), unreadable(&error)));
            }
        }
        if let Some(problem) = listed.planted(used.len() as u64) {
            let units = wants.iter().flat_map(Want::all_units).collect();
            outcome.told.push((units, problem));
        }
        outcome
    }

    async fn presence(
        &self,
        want: &Want,
        listed: &Listed,
        key: &ObjectKey,
    ) -> Result<Presence, StoreError> {
        let presence = listed.presence(want.version.as_ref(), want.size);
        let kept_all = listed.count == listed.objects.len() as u64;
        if presence != Presence::Gone || kept_all {
            return Ok(presence);
        }
        // So many versions lie on the key that not all were remembered.
        let store = self.vault.store();
        match store.attributes(key, want.version.as_ref()).await {
            Ok(found) if found.size == want.size => Ok(Presence::AsNamed),
            Ok(found) => Ok(Presence::OtherSize(found.size)),
            Err(error) if error.is_not_found() => Ok(Presence::Gone),
            Err(error) => Err(error),
        }
    }

    /// Checks one object version; an error is what the store could not do.
    async fn want(
        &self,
        want: &Want,
        presence: Presence,
        listed: &Listed,
        outcome: &mut Outcome,
    ) -> Result<(), StoreError> {
        let is_sampled = self.sampled.contains(&want.sha256);
        let reads = self.plan.reads(want.sha256, is_sampled);
        let is_gone = presence == Presence::Gone;
        let (bad, what) = match presence {
            Presence::Gone => (want.everything(), "it is gone".to_owned()),
            Presence::OtherSize(size) => (
                want.everything(),
                format!("it has {size} bytes, not {}", want.size),
            ),
            Presence::AsNamed if !reads => return self.lock(want, outcome).await,
            Presence::AsNamed => match self.read(want, outcome).await? {
                None => return Ok(()),
                Some(found) => found,
            },
        };
        if bad.is_nothing() {
            let what = format!("{what}; every file in it that is used is whole");
            let problem = Problem::warning(what, SERVED);
            outcome.told.push((want.all_units(), problem));
            return Ok(());
        }
        let units = want.all_units();
        let lost = losses(want, &bad, &outcome.key);
        match self.rescue(want, bad, listed, reads, outcome).await? {
            Rescue::Repaired(substitutes) => {
                let lost = lost
                    .into_iter()
                    .map(|(_, lost)| lost.with(substitutes.clone()));
                outcome.repaired.push((units, lost.collect()));
            }
            Rescue::Serves if is_gone => outcome.moved.extend(units),
            Rescue::Serves => {
                let what = format!("{what}; another copy in the vault serves");
                let problem = Problem::warning(what, SERVED);
                outcome.told.push((units, problem));
            }
            Rescue::Unproven if is_gone => outcome.unproven.extend(units),
            Rescue::Unproven => {
                let what = format!("{what}; another object version has its size and was not read");
                let problem = Problem::warning(what, Remedy::ReadAll);
                outcome.told.push((units, problem));
            }
            Rescue::Lost(bad) => {
                outcome.lost.extend(losses(want, &bad, &outcome.key));
                outcome.told.push(lose(want, &bad, what));
            }
        }
        Ok(())
    }

    /// Asks until when an object version is locked that is not read, where the plan looks at its lock.
    async fn lock(&self, want: &Want, outcome: &mut Outcome) -> Result<(), StoreError> {
        let is_sampled = self.sampled.contains(&want.sha256);
        if !self.locks || !self.plan.looks_at_lock(want.sha256, is_sampled) {
            return Ok(());
        }
        let asked = self.vault.store();
        let asked = asked
            .locked_until(&outcome.key, want.version.as_ref())
            .await;
        let until = asked?;
        outcome.locks.push((want.all_units(), until));
        Ok(())
    }

    /// Reads the object version that is named; `None` when everything is as it should be.
    async fn read(
        &self,
        want: &Want,
        outcome: &mut Outcome,
    ) -> Result<Option<(Bad, String)>, StoreError> {
        let bytes = want.size;
        self.progress.planned(PlannedWork { files: 1, bytes });
        outcome.objects_read += 1;
        let key = outcome.key.clone();
        let hashed = self.hash(&key, want.version.as_ref(), want, outcome).await;
        self.progress.file_done(bytes);
        let hashed = match hashed {
            Ok(hashed) => hashed,
            Err(error) => {
                let what = lost(&error.kind, want.size).ok_or(error)?;
                return Ok(Some((want.everything(), what)));
            }
        };
        if self.locks {
            let lock = (want.all_units(), hashed.locked_until);
            outcome.locks.push(lock);
        }
        let is_whole = hashed.sha256 == want.sha256;
        let what = if is_whole && hashed.wrong_parts.is_empty() {
            return Ok(None);
        } else if is_whole {
            "it is whole, but does not hold every file that is said to be in it".to_owned()
        } else {
            format!("its bytes have SHA-256 {}", hashed.sha256)
        };
        let bad = Bad {
            whole: !is_whole && !want.units.is_empty(),
            parts: hashed.wrong_parts,
        };
        Ok(Some((bad, what)))
    }

    /// Hashes an object, and the files in it, as it streams by.
    pub(super) async fn hash(
        &self,
        key: &ObjectKey,
        version: Option<&ObjectVersion>,
        want: &Want,
        outcome: &mut Outcome,
    ) -> Result<Hashed, StoreError> {
        let mut reader = self.vault.store().open(key, version, None).await?;
        let mut hasher = Sha256::new();
        let mut parts = PartHasher::new(&want.parts);
        let mut size = 0_u64;
        while let Some(chunk) = reader.body.try_next().await? {
            size = size.saturating_add(chunk.len() as u64);
            outcome.bytes_read = outcome.bytes_read.saturating_add(chunk.len() as u64);
            self.progress.moved(chunk.len() as u64);
            hasher.update(&chunk);
            parts.update(&chunk);
            if size > want.size {
                // Longer than it was recorded: whatever follows, it is not the object.
                break;
            }
        }
        Ok(Hashed {
            sha256: Digest::from_hasher(hasher),
            wrong_parts: parts.finish(),
            locked_until: reader.attributes.locked_until,
        })
    }
}

/// A key that is not made as the vault makes keys was not written by a snapshotter.
fn check_name(want: &Want, outcome: &mut Outcome) {
    if !is_named_right(&want.reference(&outcome.key)) {
        let what = format!("it is not the vault's name for SHA-256 {}", want.sha256);
        let problem = Problem::warning(what, WHO_WROTE_IT);
        outcome.told.push((want.all_units(), problem));
    }
}

/// What is lost of an object that nothing serves for, and the units that need it.
fn losses(want: &Want, bad: &Bad, key: &ObjectKey) -> Vec<(Vec<usize>, Lost)> {
    let lost = |what| Lost::whole(what, &want.reference(key), Vec::new());
    let mut losses = Vec::new();
    if bad.whole {
        losses.push((want.units.clone(), lost(LostKind::File)));
    }
    if !bad.parts.is_empty() {
        let files = want
            .parts
            .iter()
            .enumerate()
            .map(|(index, part)| PackedFile {
                offset: part.offset,
                size: part.size,
                sha256: part.sha256,
                file: part.file.clone(),
                is_lost: bad.parts.contains(&index),
            });
        let units = lost_parts(want, bad).flat_map(|part| &part.units).copied();
        let units: BTreeSet<usize> = units.collect();
        losses.push((
            units.into_iter().collect(),
            lost(LostKind::Pack(files.collect())),
        ));
    }
    losses
}

fn lost_parts<'a>(want: &'a Want, bad: &'a Bad) -> impl Iterator<Item = &'a Part> {
    let parts = bad.parts.iter();
    parts.filter_map(|index| want.parts.get(*index))
}

/// What to tell of bytes that nothing serves for, and whom.
fn lose(want: &Want, bad: &Bad, mut what: String) -> (Vec<usize>, Problem) {
    let parts: Vec<&Part> = lost_parts(want, bad).collect();
    if let Some(first) = parts.first() {
        what = format!(
            "{what}; {} of {} files in it are lost, first {}",
            parts.len(),
            want.parts.len(),
            first.file
        );
    }
    let mut units: BTreeSet<usize> = parts.iter().flat_map(|part| &part.units).copied().collect();
    if bad.whole {
        units.extend(&want.units);
    }
    (units.into_iter().collect(), Problem::lost(what))
}
