//! Carries out a restore plan: data at once, then the log, its commits one after the other in ascending order.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};

use super::super::ahead::{Bounds, ahead};
use super::{FILES_IN_FLIGHT, OWN_PREFIX, RestoreDone, RestorePlan, RestoreRequest, Restorer};
use crate::error::Error;
use crate::format::{Entry, EntryKind, Placement, Reference};
use crate::ids::{ETag, Location, ObjectKey};
use crate::plan::restore::{Mode, Permission, RestoreStep};
use crate::progress::{Phase, PlannedWork};
use crate::spool::IN_MEMORY_LIMIT;
use crate::store::{Payload, RestoreStore, StoreErrorKind};

/// Parts of packs read ahead of the files that are being put.
const READS_IN_FLIGHT: Bounds = Bounds {
    count: 64,
    bytes: 32 * 1024 * 1024,
};

/// A commit is put once the one before it is there.
const ONE_AT_A_TIME: Bounds = Bounds { count: 1, bytes: 0 };

/// Files of a pack that are at most this many bytes apart are read by one call, with what lies between them: it takes
/// no longer than a second call, and costs nothing where a call costs money.
const GAP_READ: u64 = 128 * 1024;

/// At most this many bytes of a pack are read by one call.
const READ_LIMIT: u64 = 4 * 1024 * 1024;

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
            let bounds = if kind == EntryKind::Commit {
                ONE_AT_A_TIME
            } else {
                FILES_IN_FLIGHT
            };
            let of_kind = std::iter::from_fn(|| {
                steps.next_if(|step| step.as_ref().map_or(true, |step| step.entry.kind == kind))
            });
            let folder = scratch.path();
            let reads = read_together(of_kind).map(|steps| {
                let weight = steps.as_ref().map_or(0, Together::weight);
                (weight, async move { self.read_steps(steps?, folder).await })
            });
            let puts = ahead(stream::iter(reads), READS_IN_FLIGHT)
                .map_ok(|files| stream::iter(files).map(Ok::<_, Error>))
                .try_flatten()
                .map(|file: Result<_, Error>| {
                    let weight = file.as_ref().map_or(0, |(step, _)| held(&step.entry));
                    let put = async move {
                        let (step, payload) = file?;
                        self.put(&step, payload, folder).await
                    };
                    (weight, put)
                });
            let mut puts = ahead(puts.boxed(), bounds);
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

    /// Reads the files of some steps from the vault: neighbours in a pack by one call. One that is large waits with its
    /// reading until it is put.
    async fn read_steps(
        &self,
        together: Together,
        folder: &Path,
    ) -> Result<Vec<(RestoreStep, Option<Payload>)>, Error> {
        let Together { steps, span } = together;
        let entries: Vec<_> = steps.iter().map(|step| &step.entry).collect();
        let payloads = match span {
            Some(span) => self.vault.payloads_of_pack(&entries, span, folder).await?,
            None => Vec::new(),
        };
        let payloads = payloads
            .into_iter()
            .map(Some)
            .chain(std::iter::repeat(None));
        Ok(steps.into_iter().zip(payloads).collect())
    }

    /// Puts one file, read already or not; returns its bytes.
    async fn put(
        &self,
        step: &RestoreStep,
        payload: Option<Payload>,
        folder: &Path,
    ) -> Result<u64, Error> {
        let entry = &step.entry;
        let payload = match payload {
            Some(payload) => payload,
            None => self.vault.payload(entry, folder).await?,
        };
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

/// Steps whose files are read together.
#[derive(Debug)]
struct Together {
    steps: Vec<RestoreStep>,
    /// The part of the pack that has them all; `None` for a file that is read alone.
    span: Option<Range<u64>>,
}

impl Together {
    fn of(step: RestoreStep) -> Self {
        let span = in_pack(&step).map(|(_, range)| range);
        let steps = vec![step];
        Self { steps, span }
    }

    /// Takes in a step whose file lies close behind the others, in the same pack.
    fn with(&self, step: &RestoreStep) -> Option<Range<u64>> {
        let (pack, range) = in_pack(step)?;
        let (same, _) = in_pack(self.steps.last()?)?;
        let span = self.span.as_ref()?;
        let joined = span.start..span.end.max(range.end);
        let close = range.start >= span.start
            && range.start <= span.end.saturating_add(GAP_READ)
            && joined.end.saturating_sub(joined.start) <= READ_LIMIT;
        (close && pack == same).then_some(joined)
    }

    fn weight(&self) -> u64 {
        let span = self.span.as_ref();
        span.map_or(0, |span| span.end.saturating_sub(span.start))
    }
}

/// The pack that holds a step's file, and where in it.
fn in_pack(step: &RestoreStep) -> Option<(&Reference, Range<u64>)> {
    match &step.entry.placement {
        Placement::Blob {
            offset: Some(offset),
            reference,
        } => {
            let end = offset.checked_add(step.entry.size)?;
            Some((reference, *offset..end))
        }
        Placement::Blob { offset: None, .. }
        | Placement::Copy { .. }
        | Placement::Inline(_)
        | Placement::Absent {} => None,
    }
}

/// Gathers neighbours; the steps come in the order in which packs hold them.
fn read_together<E>(
    steps: impl Iterator<Item = Result<RestoreStep, E>>,
) -> impl Iterator<Item = Result<Together, E>> {
    let mut steps = steps.peekable();
    std::iter::from_fn(move || {
        let mut together = match steps.next()? {
            Ok(step) => Together::of(step),
            Err(error) => return Some(Err(error)),
        };
        while let Some(Ok(next)) = steps.peek() {
            let Some(span) = together.with(next) else {
                break;
            };
            together.span = Some(span);
            together.steps.extend(steps.next().and_then(Result::ok));
        }
        Some(Ok(together))
    })
}

/// What a file holds in memory while it is put.
fn held(entry: &Entry) -> u64 {
    entry.size.min(IN_MEMORY_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::samples::data_entry;
    use crate::ids::{Digest, Generation};

    fn step(pack: &str, offset: u64, size: u64) -> RestoreStep {
        let reference = Reference {
            generation: Generation::default(),
            key: pack.parse().unwrap(),
            sha256: Digest::of(pack.as_bytes()),
            size: 16 << 20,
            version: None,
        };
        let placement = Placement::Blob {
            offset: Some(offset),
            reference,
        };
        let entry = Entry {
            placement,
            size,
            ..data_entry(&format!("{pack} {offset}"), None)
        };
        let replaces = None;
        RestoreStep { entry, replaces }
    }

    fn spans(steps: Vec<RestoreStep>) -> Vec<(usize, Option<Range<u64>>)> {
        let steps = steps.into_iter().map(Ok::<_, Error>);
        read_together(steps)
            .map(|together| together.unwrap())
            .map(|together| (together.steps.len(), together.span))
            .collect()
    }

    #[test]
    fn neighbours_in_a_pack_are_read_by_one_call_and_no_others() {
        let far = 10 + GAP_READ + 1;
        assert_eq!(
            spans(vec![
                step("a", 0, 5),
                step("a", 5, 5),
                step("a", far, 5),
                step("b", far + 5, 5)
            ]),
            [
                (2, Some(0..10)),
                (1, Some(far..far + 5)),
                (1, Some(far + 5..far + 10))
            ]
        );
        // The same bytes twice, and none.
        assert_eq!(
            spans(vec![step("a", 0, 9), step("a", 0, 9), step("a", 9, 0)]),
            [(3, Some(0..9))]
        );
        let large = READ_LIMIT / 2 + 1;
        assert_eq!(
            spans(vec![step("a", 0, large), step("a", large, large)]).len(),
            2
        );
        let alone = RestoreStep {
            entry: data_entry("alone", None),
            replaces: None,
        };
        assert_eq!(spans(vec![alone.clone(), alone]), [(1, None), (1, None)]);
    }
}
