//! Carries out a restore plan: data at once, then the log, its commits one after the other in ascending order.

use std::path::Path;
use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};

use super::{FILES_IN_FLIGHT, OWN_PREFIX, RestoreDone, RestorePlan, RestoreRequest, Restorer};
use crate::error::Error;
use crate::format::EntryKind;
use crate::ids::{ETag, Location, ObjectKey};
use crate::plan::restore::{Mode, Permission, RestoreStep};
use crate::progress::{Phase, PlannedWork};
use crate::store::{Payload, RestoreStore, StoreErrorKind};

impl Restorer {
    /// Does what the plan says.
    ///
    /// # Errors
    /// [`Error::OwnerMustChoose`] for a plan without permission; another restore's claim, a target that changed since it
    /// was listed, damage in the vault. Run it again: what is right by then is kept.
    pub async fn carry_out(
        &self,
        request: &RestoreRequest,
        plan: RestorePlan,
    ) -> Result<RestoreDone, Error> {
        if plan.permission == Permission::OwnerMustChoose {
            return Err(Error::OwnerMustChoose {
                what: format!("what stands at {}", self.target.uri()),
                choices: vec!["restore elsewhere with --to".to_owned()],
            });
        }
        let number = self.claim(request).await?;
        let done = self.put_all(request, plan).await;
        if done.is_err() && request.mode == Mode::To {
            // Only the claim tells a half-filled place of ours, where the next run goes on, from somebody's folder.
            return done;
        }
        let released = self.release(number).await;
        // A restore that failed leaves nobody locked out; what it failed with is what its owner has to know.
        let done = done?;
        released?;
        Ok(done)
    }

    async fn put_all(
        &self,
        request: &RestoreRequest,
        plan: RestorePlan,
    ) -> Result<RestoreDone, Error> {
        let RestorePlan {
            missing,
            wrong,
            kept,
            steps,
            scratch,
            ..
        } = plan;
        let mut done = RestoreDone {
            files_kept: kept.files,
            ..RestoreDone::default()
        };
        self.progress
            .phase(&request.record.table.name, Phase::PutBack);
        self.progress.planned(PlannedWork {
            files: missing.files + wrong.files,
            bytes: missing.bytes + wrong.bytes,
        });
        let mut steps = steps.finish()?.peekable();
        // The steps come by kind; a kind begins only after the one before it is whole.
        while let Some(kind) = steps
            .peek()
            .and_then(|step| step.as_ref().ok())
            .map(|step| step.entry.kind)
        {
            let in_flight = if kind == EntryKind::Commit {
                1
            } else {
                FILES_IN_FLIGHT
            };
            let of_kind = std::iter::from_fn(|| {
                steps.next_if(|step| step.as_ref().map_or(true, |step| step.entry.kind == kind))
            });
            let mut puts = stream::iter(of_kind)
                .map(|step| async { self.put(&step?, scratch.path()).await })
                .buffered(in_flight);
            while let Some(bytes) = puts.try_next().await? {
                done.files_written += 1;
                done.bytes_written += bytes;
                self.progress.file_done(bytes);
            }
        }
        if let Some(Err(error)) = steps.next() {
            return Err(error.into());
        }
        Ok(done)
    }

    /// Puts one file; returns its bytes.
    async fn put(&self, step: &RestoreStep, folder: &Path) -> Result<u64, Error> {
        let entry = &step.entry;
        let payload = self.vault.payload(entry, folder).await?;
        let (store, key) = self.place_of(&entry.file)?;
        match &step.replaces {
            Some(seen) => {
                self.replace(store.as_ref(), &key, &payload, seen, folder)
                    .await?;
            }
            None => match store.put_new(&key, &payload, None).await {
                Ok(_) => {}
                Err(error) if matches!(error.kind, StoreErrorKind::AlreadyExists) => {
                    // Somebody put it meanwhile, perhaps an earlier attempt of this very call: its bytes decide.
                    let found = self.as_source().fetch(&entry.file, folder).await?;
                    if found.payload.sha256 != payload.sha256 {
                        return Err(error.into());
                    }
                }
                Err(error) => return Err(error.into()),
            },
        }
        Ok(entry.size)
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
        key: &ObjectKey,
        payload: &Payload,
        seen: &ETag,
        folder: &Path,
    ) -> Result<(), Error> {
        let wrong = self
            .as_source()
            .fetch(&Location::Inside(key.clone()), folder)
            .await?;
        if wrong.payload.sha256 == payload.sha256 {
            return Ok(());
        }
        // Named by its content too, so that a second wrong file of the same name finds a place of its own.
        let aside: ObjectKey =
            format!("{OWN_PREFIX}aside/{}/{key}", wrong.payload.sha256.short()).parse()?;
        match self.target.put_new(&aside, &wrong.payload, None).await {
            Ok(_) => {}
            Err(error) if matches!(error.kind, StoreErrorKind::AlreadyExists) => {}
            Err(error) => return Err(error.into()),
        }
        store.replace(key, payload, seen).await?;
        Ok(())
    }
}
