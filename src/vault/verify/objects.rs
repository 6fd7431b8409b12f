//! Checks one object that the pages refer to: its presence, and its bytes and its lock when the plan chooses it.

use std::collections::BTreeSet;

use super::checker::{Checker, Outcome};
use super::losses::{Lost, LostKind, PackedFile};
use super::merge::{Job, list_alone};
use super::rescue::Rescue;
use super::wanted::{Bad, Part, Want};
use super::{lost, unreadable};
use crate::count::{are, counted};
use crate::ids::{ObjectKey, ObjectVersion};
use crate::plan::verify::{
    Listed, Presence, Problem, Remedy, SERVED, WHO_WROTE_IT, is_named_right,
};
use crate::progress::PlannedWork;
use crate::store::StoreError;

impl Checker<'_> {
    pub(super) async fn check(&self, job: Job) -> Outcome {
        let Job { key, wants, listed } = job;
        let mut outcome = Outcome {
            key,
            problems: Vec::new(),
            lost: Vec::new(),
            repaired: Vec::new(),
            moved: Vec::new(),
            unproven: Vec::new(),
            locks: Vec::new(),
            unheld: Vec::new(),
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
                    outcome
                        .problems
                        .push((want.all_units(), unreadable(&error)));
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
            if matches!(presence, Ok(Presence::AsNamed))
                && let Err(error) = self.hold(want, &mut outcome).await
            {
                let problem = unreadable(&error);
                outcome.problems.push((want.all_units(), problem));
            }
            let checked = match presence {
                Ok(Presence::AsNamed) if want.is_structure => self.lock(want, &mut outcome).await,
                Ok(_) if want.is_structure => Ok(()),
                Ok(presence) => self.want(want, presence, &listed, &mut outcome).await,
                Err(error) => Err(error),
            };
            if let Err(error) = checked {
                outcome
                    .problems
                    .push((want.all_units(), unreadable(&error)));
            }
        }
        if let Some(problem) = listed.planted(used.len() as u64) {
            let units = wants.iter().flat_map(Want::all_units).collect();
            outcome.problems.push((units, problem));
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
            outcome.problems.push((want.all_units(), problem));
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
                outcome.problems.push((units, problem));
            }
            Rescue::Unproven if is_gone => outcome.unproven.extend(units),
            Rescue::Unproven => {
                let what = format!("{what}; another object version has its size and was not read");
                let problem = Problem::warning(what, Remedy::ReadAll);
                outcome.problems.push((units, problem));
            }
            Rescue::Lost(bad) => {
                outcome.lost.extend(losses(want, &bad, &outcome.key));
                outcome.problems.push(lose(want, &bad, what));
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

    /// Asks whether an object version that a snapshot on hold needs has a legal hold, where the plan looks at its lock.
    async fn hold(&self, want: &Want, outcome: &mut Outcome) -> Result<(), StoreError> {
        let is_sampled = self.sampled.contains(&want.sha256);
        if !self.locks || !self.plan.looks_at_lock(want.sha256, is_sampled) {
            return Ok(());
        }
        let mut units = want.all_units();
        units.retain(|unit| self.held.contains(unit));
        let (store, version) = (self.vault.store(), want.version.as_ref());
        if !units.is_empty() && !store.is_held(&outcome.key, version).await? {
            outcome.unheld.push(units);
        }
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
}

/// A key that is not made as the vault makes keys was not written by a snapshotter.
fn check_name(want: &Want, outcome: &mut Outcome) {
    if !is_named_right(&want.reference(&outcome.key)) {
        let what = format!("it is not the vault's name for SHA-256 {}", want.sha256);
        let problem = Problem::warning(what, WHO_WROTE_IT);
        outcome.problems.push((want.all_units(), problem));
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

/// The problem of bytes that nothing serves for, and the units that need them.
fn lose(want: &Want, bad: &Bad, mut what: String) -> (Vec<usize>, Problem) {
    let parts: Vec<&Part> = lost_parts(want, bad).collect();
    if let Some(first) = parts.first() {
        what = format!(
            "{what}; {} of {} in it {} lost, first {}",
            parts.len(),
            counted(want.parts.len() as u64, "file"),
            are(parts.len() as u64),
            first.file
        );
    }
    let mut units: BTreeSet<usize> = parts.iter().flat_map(|part| &part.units).copied().collect();
    if bad.whole {
        units.extend(&want.units);
    }
    (units.into_iter().collect(), Problem::lost(what))
}
