//! Files that the store copies back by itself: their bytes do not pass through this machine.
//!
//! A copy is offered of an object that is one data file and whose SHA-256 the vault's store attests, and it counts once the
//! store attests the same of what it made. Everything else, and what a copy leaves open, goes by its bytes: that names what
//! is wrong, and takes a file for put where a copy whose answer was lost has put it.
//!
//! Whether the store copies at all is learnt from its first real answer. Not every server heeds a copy's precondition. That
//! does not matter in a place that this restore fills alone. In place, the first file goes by its bytes and is offered as a
//! copy once more: a server that copies on top of it is offered no other one.

use std::path::Path;

use tokio::sync::{Mutex, Semaphore};

use super::{Placed, Restorer};
use crate::error::Error;
use crate::format::{Entry, Placement, Reference};
use crate::ids::{Location, ObjectKey};
use crate::plan::restore::{Mode, RestoreStep};
use crate::store::{CopyAddress, CopySource, StoreErrorKind};

/// Files at a time that go by their bytes though copies of others are under way.
const BY_BYTES: usize = 4;

/// What a copy counts for beside files in memory, so that not too many are under way.
const COPY_WEIGHT: u64 = 1024 * 1024;

/// What one restore knows of the copies that its store makes.
#[derive(Debug)]
pub(super) struct ByStore {
    fills_alone: bool,
    known: Mutex<Known>,
    /// For files that were to be copied, and counted as such, and go by their bytes all the same.
    by_bytes: Semaphore,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// Nothing was asked yet.
    Nothing,
    Copies,
    /// It does not, does not prove it, or copies on top of what is there.
    Refuses,
}

/// A file that the store may copy.
pub(super) struct Offer {
    key: ObjectKey,
    address: CopyAddress,
    reference: Reference,
}

/// How an offer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// The copy is there, and proven.
    Proven,
    /// Something is there already.
    Taken,
    /// The store does not copy from there, or does not prove it.
    Refused,
    /// The bytes will tell what is the matter with this file.
    Open,
}

impl ByStore {
    pub(super) fn new(mode: Mode) -> Self {
        Self {
            fills_alone: mode == Mode::To,
            known: Mutex::new(Known::Nothing),
            by_bytes: Semaphore::new(BY_BYTES),
        }
    }

    /// What a file that may be offered holds in memory; `otherwise` where it goes by its bytes.
    pub(super) fn weight(&self, otherwise: u64) -> u64 {
        match self.known.try_lock().as_deref() {
            Ok(Known::Copies) => COPY_WEIGHT.min(otherwise),
            Ok(Known::Nothing | Known::Refuses) | Err(_) => otherwise,
        }
    }
}

impl Restorer {
    /// What the store may be offered for a step; `None` where only bytes can be put.
    pub(super) fn offer(&self, step: &RestoreStep) -> Option<Offer> {
        let Location::Inside(key) = &step.entry.file else {
            return None;
        };
        let reference = whole_file(&step.entry)?;
        let address = self.vault.store().copy_address(&reference.key)?;
        let is_possible = step.replaces.is_none()
            && !step.entry.kind.is_log()
            && reference.size <= self.target.largest_put()
            && self.target.can_copy_from(&address);
        is_possible.then(|| Offer {
            key: key.clone(),
            address,
            reference: reference.clone(),
        })
    }

    /// Lets the store copy a file back, or puts its bytes.
    pub(super) async fn copy_or_put(
        &self,
        step: RestoreStep,
        offer: Offer,
        by_store: &ByStore,
        folder: &Path,
    ) -> Result<Placed, Error> {
        let size = step.entry.size;
        let mut known = by_store.known.lock().await;
        match *known {
            Known::Refuses => {}
            Known::Copies => {
                drop(known);
                if self.copy(&offer).await? == Answer::Proven {
                    return Ok(Placed::Copied(size));
                }
                let _turn = by_store.by_bytes.acquire().await;
                return self.put_bytes(step, None, true, folder).await;
            }
            Known::Nothing if by_store.fills_alone => {
                let answer = self.copy(&offer).await?;
                *known = match answer {
                    Answer::Proven => Known::Copies,
                    Answer::Refused => Known::Refuses,
                    Answer::Taken | Answer::Open => Known::Nothing,
                };
                drop(known);
                if answer == Answer::Proven {
                    return Ok(Placed::Copied(size));
                }
            }
            Known::Nothing => {
                let placed = self.put_bytes(step, None, true, folder).await?;
                if matches!(placed, Placed::Put(_)) {
                    *known = match self.copy(&offer).await? {
                        Answer::Taken => Known::Copies,
                        Answer::Proven | Answer::Refused => Known::Refuses,
                        Answer::Open => Known::Nothing,
                    };
                }
                return Ok(placed);
            }
        }
        self.put_bytes(step, None, true, folder).await
    }

    async fn copy(&self, offer: &Offer) -> Result<Answer, Error> {
        let Offer {
            key,
            address,
            reference,
        } = offer;
        let version = reference.version.as_ref();
        let Ok(held) = self.vault.store().attributes(&reference.key, version).await else {
            return Ok(Answer::Open);
        };
        if held.size != reference.size || held.sha256 != Some(reference.sha256) {
            return Ok(Answer::Open);
        }
        let source = CopySource {
            address: address.clone(),
            version: held.version,
            etag: held.etag,
            size: held.size,
        };
        let copied = match self.target.copy_back(key, &source).await {
            Ok(copied) => copied,
            Err(error) => return Ok(unanswered(&error.kind)),
        };
        let mut attested = copied.sha256;
        if attested.is_none() {
            let version = copied.written.version.as_ref();
            attested = self.target.attributes(key, version).await?.sha256;
        }
        match attested {
            Some(sha256) if sha256 == reference.sha256 => Ok(Answer::Proven),
            // The vault's object has other bytes than its store said. They are nobody's.
            Some(_) => {
                self.target.remove(key, &copied.written.etag).await?;
                Ok(Answer::Open)
            }
            None => Ok(Answer::Refused),
        }
    }
}

fn unanswered(kind: &StoreErrorKind) -> Answer {
    if matches!(kind, StoreErrorKind::AlreadyExists) {
        return Answer::Taken;
    }
    let refuses = matches!(
        kind,
        StoreErrorKind::Denied { .. }
            | StoreErrorKind::Unsupported { .. }
            | StoreErrorKind::WrongRegion { .. }
    );
    if refuses {
        Answer::Refused
    } else {
        Answer::Open
    }
}

/// The object that has an entry's file and nothing else.
fn whole_file(entry: &Entry) -> Option<&Reference> {
    match &entry.placement {
        Placement::Copy { reference }
        | Placement::Blob {
            offset: None,
            reference,
        } => {
            let is_it = entry.sha256 == Some(reference.sha256) && entry.size == reference.size;
            is_it.then_some(reference)
        }
        Placement::Blob {
            offset: Some(_), ..
        }
        | Placement::Inline(_)
        | Placement::Absent {} => None,
    }
}
