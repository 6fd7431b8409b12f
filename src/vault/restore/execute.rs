//! Executes a restore plan, one turn after the other.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};

use self::by_store::ByStore;
use self::together::{Together, read_together};
use super::super::ahead::{Bounds, ahead};
use super::claim::OwnClaim;
use super::lost::is_damage;
use super::rewind::{Removed, Removing, stands_for_a_version};
use super::{Aside, FILES_IN_FLIGHT, RestoreDone, RestorePlan, RestoreRequest, Restorer};
use crate::delta::segment::LogListing;
use crate::error::{Error, RestoreError};
use crate::format::{Entry, EntryKind};
use crate::ids::{ETag, Location, ObjectKey};
use crate::plan::restore::RestoreStep;
use crate::plan::restore::consent::Decision;
use crate::plan::restore::order::Turn;
use crate::progress::{Phase, PlannedWork};
use crate::sort::SortError;
use crate::spool::{IN_MEMORY_LIMIT, Scratch};
use crate::store::{Had, Payload, RestoreStore, StoreError, StoreErrorKind};

mod by_store;
mod together;

/// Parts of packs read ahead of the files that are being put.
const READS_IN_FLIGHT: Bounds = Bounds {
    count: 64,
    bytes: 32 * 1024 * 1024,
};

/// A commit is put once the one before it is there.
const ONE_AT_A_TIME: Bounds = Bounds { count: 1, bytes: 0 };

impl Restorer {
    /// Does what the plan says.
    ///
    /// # Errors
    /// [`Error::OwnerMustChoose`] for a plan that [`RestorePlan::decision`] stops; another restore's claim, a target that changed since it
    /// was listed, damage in the vault. Run it again: what is right by then is kept.
    pub async fn execute(
        &self,
        request: &RestoreRequest,
        plan: RestorePlan,
    ) -> Result<RestoreDone, Error> {
        self.refuse_undecided(request, &plan)?;
        if plan.removed() > 0 {
            return Err(Error::OwnerMustChoose {
                what: format!("{}: its log is to be turned back", self.target.uri()),
                choices: vec!["take a safety snapshot first".to_owned()],
            });
        }
        self.claimed(request, async |claim| {
            let (done, _) = self.put_all(request, plan, claim, None).await?;
            Ok(done)
        })
        .await
    }

    /// Refuses a plan that only the owner can decide about.
    pub(super) fn refuse_undecided(
        &self,
        request: &RestoreRequest,
        plan: &RestorePlan,
    ) -> Result<(), Error> {
        let version = request.version;
        match plan.decision(version, request.named) {
            Decision::OwnerMustChoose(obstacle) => Err(Error::OwnerMustChoose {
                what: format!("{}: {}", self.target.uri(), obstacle.of_version(version)),
                choices: vec!["restore elsewhere with --to".to_owned()],
            }),
            Decision::Nothing | Decision::Ready => Ok(()),
        }
    }

    /// Puts all files of a plan, turn by turn, and removes what is in the way of the log when it is due.
    pub(super) async fn put_all(
        &self,
        request: &RestoreRequest,
        plan: RestorePlan,
        claim: &OwnClaim,
        removing: Option<&Removing>,
    ) -> Result<(RestoreDone, Removed), Error> {
        let RestorePlan {
            missing,
            wrong,
            kept,
            steps,
            scratch,
            asides,
            log_before,
            goes_on_from,
            not_whole,
            ..
        } = plan;
        let by_store = ByStore::new(request.mode);
        let mut so_far = SoFar {
            done: RestoreDone {
                files_kept: kept.files,
                not_whole,
                ..RestoreDone::default()
            },
            removed: None,
            lost: Vec::new(),
            given_up: 0,
            checkpoints_lost: false,
            first_damage: None,
        };
        self.progress
            .phase(&request.record.table.name, Phase::PutBack);
        let planned = PlannedWork {
            files: missing.files + wrong.files,
            bytes: missing.bytes + wrong.bytes,
        };
        self.progress.planned(planned);
        let mut steps = steps.finish()?.peekable();
        let mut in_log = false;
        while let Some(turn) = steps
            .peek()
            .and_then(|step| step.as_ref().ok())
            .map(|step| step.turn)
        {
            if removing.is_some_and(|it| it.is_due(turn)) && so_far.may_go_on(request) {
                self.remove_once(removing, claim, &scratch, &mut so_far)
                    .await?;
            }
            if turn.is_log() && !in_log {
                // Whoever has taken the restore over in the last minute restores another version, perhaps.
                self.renew(claim).await?;
                if let Some(before) = &log_before {
                    self.refuse_new_log(before, removing.is_some()).await?;
                }
                if let Some(seen) = &goes_on_from {
                    self.refuse_if_it_went_on(seen).await?;
                }
                in_log = true;
            }
            let of_turn = std::iter::from_fn(|| {
                steps.next_if(|step| step.as_ref().map_or(true, |step| step.turn == turn))
            });
            // A log is put only above data that is whole. What is left is read all the same, so that everything that is
            // lost can be named at once.
            let puts = !turn.is_log() || so_far.may_go_on(request);
            let drops_hint = turn == Turn::Hint && so_far.checkpoints_lost;
            if drops_hint {
                for step in of_turn {
                    so_far.done.useless.push(step?.entry.file);
                }
                continue;
            }
            let folder = scratch.path();
            let how = How {
                puts,
                folder,
                by_store: &by_store,
            };
            self.put_turn(turn, of_turn, how, &mut so_far).await?;
            self.rescue_lost(request, puts, folder, &mut so_far).await?;
        }
        if let Some(Err(error)) = steps.next() {
            return Err(error.into());
        }
        so_far.refuse_loss(request, planned.files + kept.files)?;
        self.remove_once(removing, claim, &scratch, &mut so_far)
            .await?;
        if !asides.is_empty() && !in_log {
            self.renew(claim).await?;
        }
        for aside in &asides {
            self.take_out(aside, scratch.path()).await?;
        }
        Ok((so_far.done, so_far.removed.unwrap_or_default()))
    }

    /// Removes from the log what is in the way of V, where that was not done yet.
    async fn remove_once(
        &self,
        removing: Option<&Removing>,
        claim: &OwnClaim,
        scratch: &Scratch,
        so_far: &mut SoFar,
    ) -> Result<(), Error> {
        if let (Some(removing), None) = (removing, so_far.removed) {
            self.renew(claim).await?;
            so_far.removed = Some(self.remove_log(removing, scratch.path()).await?);
        }
        Ok(())
    }

    /// Looks once more, before the first file of the log, whether somebody has made a table here meanwhile: copying data
    /// takes hours, and our log in the midst of another one would be a table of both.
    async fn refuse_new_log(
        &self,
        before: &HashSet<ObjectKey>,
        was_taken_down: bool,
    ) -> Result<(), Error> {
        let mut log = self.list_log().await?;
        log.retain(|key, _| !before.contains(key));
        let log = LogListing::new(log.into_values());
        let begun = log.files().find(|file| file.version.is_some());
        match begun {
            Some(file) if was_taken_down => Err(RestoreError::Torn {
                uri: self.target.uri().to_owned(),
                file: file.key.clone(),
            }
            .into()),
            Some(file) => Err(RestoreError::TableAppeared {
                uri: self.target.uri().to_owned(),
                file: file.key.clone(),
            }
            .into()),
            None => Ok(()),
        }
    }

    /// Looks once more, before the first file of the log, whether somebody has committed to a live table that is about to go
    /// on to a newer version: theirs and ours would be one table.
    async fn refuse_if_it_went_on(&self, seen: &HashSet<(ObjectKey, ETag)>) -> Result<(), Error> {
        let log = self.list_log().await?;
        let new = log.into_values().find(|file| {
            stands_for_a_version(file) && !seen.contains(&(file.key.clone(), file.etag.clone()))
        });
        match new {
            Some(file) => Err(self.outrun(format!("{} is there now", file.key))),
            None => Ok(()),
        }
    }

    /// Puts all files of a turn, or only reads them; takes note of those that the vault has lost.
    async fn put_turn(
        &self,
        turn: Turn,
        steps: impl Iterator<Item = Result<RestoreStep, SortError>> + Send,
        how: How<'_>,
        so_far: &mut SoFar,
    ) -> Result<(), Error> {
        let bounds = if turn == Turn::Commit {
            ONE_AT_A_TIME
        } else {
            FILES_IN_FLIGHT
        };
        let reads = read_together(steps).map(|steps| {
            let weight = steps.as_ref().map_or(0, Together::weight);
            (weight, async move {
                Ok::<_, Error>(self.read_steps(steps?).await)
            })
        });
        let files = ahead(stream::iter(reads), READS_IN_FLIGHT)
            .map_ok(|files| stream::iter(files).map(Ok::<_, Error>))
            .try_flatten()
            .map(|file: Result<_, Error>| {
                let weight = file.as_ref().map_or(0, |(step, _)| {
                    let in_memory = in_memory(&step.entry);
                    match how.puts.then(|| self.offer(step)).flatten() {
                        Some(_) => how.by_store.weight(in_memory),
                        None => in_memory,
                    }
                });
                let put = async move {
                    let (step, payload) = file?;
                    self.put_or_note(step, payload, how).await
                };
                (weight, put)
            });
        let mut files = ahead(files.boxed(), bounds);
        while let Some(file) = files.try_next().await? {
            match file {
                Placed::Put(bytes) => {
                    so_far.done.files_written += 1;
                    so_far.done.bytes_written += bytes;
                    self.progress.file_done(bytes);
                }
                Placed::Copied(bytes) => {
                    so_far.done.files_written += 1;
                    so_far.done.bytes_written += bytes;
                    so_far.done.bytes_by_store += bytes;
                    self.progress.file_done(bytes);
                }
                Placed::Read => {}
                Placed::Lost(step, error) => so_far.note(*step, error),
            }
        }
        Ok(())
    }

    /// Looks for the bytes of what the vault has lost, and gives up what nobody has.
    async fn rescue_lost(
        &self,
        request: &RestoreRequest,
        puts: bool,
        folder: &Path,
        so_far: &mut SoFar,
    ) -> Result<(), Error> {
        if so_far.lost.is_empty() {
            return Ok(());
        }
        let lost = std::mem::take(&mut so_far.lost);
        let elsewhere = self.find_elsewhere(request, &lost).await?;
        for step in lost {
            match self.rescue(&step.entry, &elsewhere, folder).await? {
                Some(_) if !puts => {}
                Some(payload) => {
                    let bytes = self.put(&step, payload, folder).await?;
                    so_far.done.files_written += 1;
                    so_far.done.bytes_written += bytes;
                    so_far.done.files_rescued += 1;
                    self.progress.file_done(bytes);
                }
                None => {
                    so_far.given_up += 1;
                    so_far.checkpoints_lost |=
                        matches!(step.entry.kind, EntryKind::Checkpoint | EntryKind::Sidecar);
                    so_far.done.lost.push(step.entry.file);
                }
            }
        }
        Ok(())
    }

    /// Reads the files of some steps from the vault: neighbours in a pack by one call. One that is large, or was not good,
    /// waits with its reading until it is put.
    async fn read_steps(&self, together: Together) -> Vec<(RestoreStep, Option<Payload>)> {
        let Together { steps, span } = together;
        let entries: Vec<_> = steps.iter().map(|step| &step.entry).collect();
        let payloads = match span {
            Some(span) => self.vault.payloads_of_pack(&entries, span).await,
            None => Vec::new(),
        };
        let payloads = payloads.into_iter().chain(std::iter::repeat(None));
        steps.into_iter().zip(payloads).collect()
    }

    /// Puts a file where it is to be put: lets the store copy it, or reads it where that is still to be done.
    async fn put_or_note(
        &self,
        step: RestoreStep,
        payload: Option<Payload>,
        how: How<'_>,
    ) -> Result<Placed, Error> {
        if how.puts
            && payload.is_none()
            && let Some(offer) = self.offer(&step)
        {
            return self
                .copy_or_put(step, offer, how.by_store, how.folder)
                .await;
        }
        self.put_bytes(step, payload, how.puts, how.folder).await
    }

    /// Reads a file where that is still to be done, and puts it where it is to be put.
    async fn put_bytes(
        &self,
        step: RestoreStep,
        payload: Option<Payload>,
        puts: bool,
        folder: &Path,
    ) -> Result<Placed, Error> {
        let payload = match payload {
            Some(payload) => payload,
            None => match self.vault.payload(&step.entry, folder).await {
                Ok(payload) => payload,
                Err(error) if is_damage(&error) => {
                    return Ok(Placed::Lost(Box::new(step), error));
                }
                Err(error) => return Err(error),
            },
        };
        if !puts {
            return Ok(Placed::Read);
        }
        Ok(Placed::Put(self.put(&step, payload, folder).await?))
    }

    /// Puts one file; returns its bytes.
    async fn put(&self, step: &RestoreStep, payload: Payload, folder: &Path) -> Result<u64, Error> {
        let entry = &step.entry;
        let (store, key) = self.place_of(&entry.file)?;
        match &step.replaces {
            Some(seen) => {
                self.replace(store.as_ref(), (&key, seen), &payload, had(step), folder)
                    .await?;
            }
            None => match store.put_back(&key, &payload, None, had(step)).await {
                Ok(_) => {}
                Err(error) => {
                    let there = self.is_there_already(error, &entry.file, &payload, folder);
                    match there.await {
                        Err(Error::Store(error))
                            if entry.kind == EntryKind::Commit
                                && matches!(error.kind, StoreErrorKind::AlreadyExists) =>
                        {
                            return Err(self.outrun(format!("{} is another commit", entry.file)));
                        }
                        there => there?,
                    }
                }
            },
        }
        Ok(entry.size)
    }

    /// Takes a put for done where the object exists already and has the same bytes: somebody put it meanwhile, perhaps an
    /// earlier attempt of this very call.
    pub(super) async fn is_there_already(
        &self,
        error: StoreError,
        file: &Location,
        payload: &Payload,
        folder: &Path,
    ) -> Result<(), Error> {
        if !matches!(error.kind, StoreErrorKind::AlreadyExists) {
            return Err(error.into());
        }
        let found = self.as_source().fetch(file, folder).await?;
        if found.payload.sha256 == payload.sha256 {
            Ok(())
        } else {
            Err(error.into())
        }
    }

    fn place_of(&self, file: &Location) -> Result<(Arc<dyn RestoreStore>, ObjectKey), Error> {
        match file {
            Location::Inside(key) => Ok((Arc::clone(&self.target), key.clone())),
            Location::Outside(uri) => Ok((self.outside)(uri)?),
        }
    }

    /// Sets a wrong file aside, then replaces it while it is still the one that was seen.
    async fn replace(
        &self,
        store: &dyn RestoreStore,
        (key, seen): (&ObjectKey, &ETag),
        payload: &Payload,
        had: Had,
        folder: &Path,
    ) -> Result<(), Error> {
        let wrong = self.fetch_to_keep(key, payload.size, folder).await?;
        if wrong.payload.sha256 == payload.sha256 {
            return Ok(());
        }
        self.set_aside(key, &wrong.payload, folder).await?;
        store.put_back(key, payload, Some(seen), had).await?;
        Ok(())
    }

    /// Takes a file out of the log while it is still the one that was listed; its bytes are kept beside the table.
    pub(super) async fn take_out(&self, aside: &Aside, folder: &Path) -> Result<(), Error> {
        let found = match self.fetch_to_keep(&aside.key, 0, folder).await {
            Ok(found) => found,
            // An earlier attempt of this very restore took it out.
            Err(Error::Store(error)) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
        };
        self.set_aside(&aside.key, &found.payload, folder).await?;
        match self.target.remove(&aside.key, &aside.etag).await {
            Ok(()) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// What has been done so far.
#[derive(Debug)]
struct SoFar {
    done: RestoreDone,
    /// What was removed from the log, once that is done.
    removed: Option<Removed>,
    /// Files of the kind that is being put that the vault does not have.
    lost: Vec<RestoreStep>,
    /// Files that nobody has.
    given_up: u64,
    /// Whether a part of a checkpoint is among them: a hint that names it would lead readers astray.
    checkpoints_lost: bool,
    /// What was wrong in the vault first.
    first_damage: Option<Error>,
}

/// How the files of a turn are put.
#[derive(Clone, Copy)]
struct How<'a> {
    /// Or only read.
    puts: bool,
    /// For temporary files.
    folder: &'a Path,
    by_store: &'a ByStore,
}

/// What became of one file.
#[derive(Debug)]
enum Placed {
    /// It was put; its bytes.
    Put(u64),
    /// The store copied it; its bytes.
    Copied(u64),
    Read,
    /// The vault does not have it, and what is wrong there.
    Lost(Box<RestoreStep>, Error),
}

impl SoFar {
    /// Whether the log may be touched: what it leads to is there, or its owner takes the table without.
    fn may_go_on(&self, request: &RestoreRequest) -> bool {
        self.given_up == 0 || request.accept_damaged
    }

    /// Fails where files of the snapshot are lost, unless their owner takes the table without.
    fn refuse_loss(&mut self, request: &RestoreRequest, of: u64) -> Result<(), Error> {
        if self.may_go_on(request) {
            return Ok(());
        }
        let Some(first) = self.first_damage.take() else {
            return Ok(());
        };
        let lost = std::mem::take(&mut self.done.lost);
        Err(RestoreError::FilesLost {
            good: of.saturating_sub(lost.len() as u64),
            of,
            lost,
            command: None,
            first: Box::new(first),
        }
        .into())
    }

    fn note(&mut self, step: RestoreStep, error: Error) {
        self.first_damage.get_or_insert(error);
        self.lost.push(step);
    }
}

/// What a file gets back beside its bytes, where the store can: time travel by timestamp goes by the times of commits.
fn had(step: &RestoreStep) -> Had {
    Had {
        modified: step.entry.last_modified.filter(|_| !step.is_under),
        mode: step.entry.mode,
    }
}

/// What a file holds in memory while it is put.
fn in_memory(entry: &Entry) -> u64 {
    entry.size.min(IN_MEMORY_LIMIT)
}
