//! Files that get a random name under `copies/`: those that the store copies by itself, and those too large for one put.
//!
//! A key is used for one attempt. Where the answer to a copy is lost, nobody knows what is there, and the key is given
//! up for good; nothing ever names it.

use std::sync::Mutex;
use std::sync::{Arc, PoisonError};

use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use sha2::{Digest as _, Sha256};

use super::super::pairs::Learning;
use super::{
    Copier, Outcome, ReadFile, archived, is_not_found, is_out_of_reach, lost, placed, wrong_size,
};
use crate::error::Error;
use crate::format::{Placement, Reference, VaultKey};
use crate::ids::{Digest, Id128, ObjectKey, Timestamp};
use crate::plan::retention::{LockPhase, phase_of};
use crate::plan::snapshot::Need;
use crate::plan::transfer::ServerCopy;
use crate::progress::watched;
use crate::store::part_size;
use crate::store::{
    Attributes, Copied, CopyAddress, CopySource, ObjectReader, ReadStore, StoreError,
    StoreErrorKind,
};

/// How often a copy is tried whose answer is lost, or whose source changes meanwhile; then the file is streamed.
const ATTEMPTS: usize = 3;

/// How one attempt to let the store copy ended.
enum Attempt {
    /// The copy is there and proven.
    Proven(Copied, Digest, (ObjectKey, LockPhase)),
    /// What became of it is not known, or the file is another one by now.
    Again,
    /// This file has to be streamed, and so have all others for that reason.
    Refused(String),
    Stream,
}

impl Copier {
    /// Lets the store copy a file. Where it does not, or does not prove what it did, the file is streamed.
    pub(super) async fn copy_by_store(
        &self,
        need: Need,
        address: CopyAddress,
        mut learning: Option<Learning>,
    ) -> Result<Outcome, Error> {
        for _ in 0..ATTEMPTS {
            let turn = self.run.budget.request(0).await;
            let Some(seen) = self.look_at(&need).await? else {
                return Ok(Outcome::Missing(Box::new(need)));
            };
            if let Some(outcome) = wrong_size(&need, seen.size) {
                return Ok(outcome);
            }
            if seen.size > self.run.bulk.largest_put() {
                drop(turn);
                return self.copy_in_parts(need).await;
            }
            let first = learning.is_some();
            match self.try_copy(&seen, &address, first).await? {
                Attempt::Proven(copied, sha256, (key, phase)) => {
                    if let Some(learning) = learning {
                        learning.learn(ServerCopy::Copies);
                    }
                    let reference = Reference {
                        generation: self.terms.generation(phase),
                        key,
                        sha256,
                        size: seen.size,
                        version: copied.written.version,
                    };
                    let read = ReadFile {
                        size: seen.size,
                        attributes: seen,
                        sha256,
                    };
                    return Ok(placed(need, read, Placement::Copy { reference }));
                }
                Attempt::Again => {}
                Attempt::Refused(why) => {
                    let note = format!("files are read and put again: {why}");
                    match learning.take() {
                        Some(learning) => learning.learn(ServerCopy::Refused(why)),
                        None => {
                            self.run
                                .pairs
                                .learn(&address, ServerCopy::Refused(why))
                                .await;
                        }
                    }
                    self.run.progress.note(&note);
                    break;
                }
                Attempt::Stream => break,
            }
        }
        drop(learning);
        self.stream(need).await
    }

    /// What is there now, or was before it was deleted.
    async fn look_at(&self, need: &Need) -> Result<Option<Attributes>, Error> {
        let located = self.source.locate(&need.file);
        if is_out_of_reach(&located, need) {
            return Ok(None);
        }
        let (store, key) = located?;
        let seen = store.attributes(&key, None).await;
        if is_not_found(&seen) {
            return Ok(lost::find(store.as_ref(), &key, need).await?);
        }
        Ok(Some(seen?))
    }

    async fn try_copy(
        &self,
        seen: &Attributes,
        address: &CopyAddress,
        first: bool,
    ) -> Result<Attempt, Error> {
        let (key, phase) = self.copy_key()?;
        let source = CopySource {
            address: address.clone(),
            version: seen.version.clone(),
            etag: seen.etag.clone(),
            size: seen.size,
        };
        let lock_until = self.terms.lock_until(phase);
        let copied = match self.run.bulk.copy_new(&key, &source, lock_until).await {
            Ok(copied) => copied,
            Err(error) => return failed_copy(error, first),
        };
        if copied.size != seen.size {
            let why = format!(
                "a copy of {} bytes came out with {}",
                seen.size, copied.size
            );
            return Ok(Attempt::Refused(why));
        }
        let attested = if copied.sha256.is_some() {
            copied.sha256
        } else {
            let version = copied.written.version.as_ref();
            let found = self.run.bulk.attributes(&key, version).await?;
            let attested = found.sha256.filter(|_| found.size == seen.size);
            // A copy that proves nothing is given up, so its lock does not matter.
            if attested.is_some() {
                self.lock(&found, lock_until).await?;
            }
            attested
        };
        Ok(match attested {
            Some(sha256) => Attempt::Proven(copied, sha256, (key, phase)),
            None => Attempt::Refused(
                "the vault's store does not say the SHA-256 of what it copies".to_owned(),
            ),
        })
    }

    /// Reads a file once and puts it in parts, its digest computed on the way.
    pub(super) async fn copy_in_parts(&self, need: Need) -> Result<Outcome, Error> {
        let part = part_size(need.likely_size());
        // One part is being filled while another one is sent.
        let _room = self.run.budget.memory(part.saturating_mul(2)).await;
        let mut attempt = 1;
        loop {
            match self.put_parts(&need, part).await {
                Err(Error::Store(error)) if is_ambiguous(&error.kind) && attempt < ATTEMPTS => {
                    attempt += 1;
                }
                Err(error) => return Err(error),
                Ok(Ok((read, placement))) => return Ok(placed(need, read, placement)),
                Ok(Err(outcome)) => return Ok(outcome),
            }
        }
    }

    async fn put_parts(
        &self,
        need: &Need,
        part: u64,
    ) -> Result<Result<(ReadFile, Placement), Outcome>, Error> {
        let _turn = self.run.budget.request(need.likely_size()).await;
        let Some(seen) = self.look_at(need).await? else {
            return Ok(Err(Outcome::Missing(Box::new(need.clone()))));
        };
        if let Some(outcome) = wrong_size(need, seen.size) {
            return Ok(Err(outcome));
        }
        let (store, key) = self.source.locate(&need.file)?;
        let reader = match store.open(&key, seen.version.as_ref(), None).await {
            Ok(reader) => reader,
            Err(error) => return Ok(Err(archived(need, error)?)),
        };
        let reader = watched(reader, &self.run.progress);
        let attributes = reader.attributes.clone();
        let hasher = Arc::new(Mutex::new(Sha256::new()));
        let parts = parts(store.as_ref(), &key, reader, part, Arc::clone(&hasher));
        let (key, phase) = self.copy_key()?;
        let lock_until = self.terms.lock_until(phase);
        let written = self.run.bulk.put_parts(&key, parts, lock_until).await?;
        if lock_until.is_some() {
            let version = written.version.as_ref();
            let found = self.run.bulk.attributes(&key, version).await?;
            self.lock(&found, lock_until).await?;
        }
        let hasher = hasher.lock().unwrap_or_else(PoisonError::into_inner);
        let sha256 = Digest::from_hasher(hasher.clone());
        drop(hasher);
        let size = attributes.size;
        let reference = Reference {
            generation: self.terms.generation(phase),
            key,
            sha256,
            size,
            version: written.version,
        };
        let read = ReadFile {
            attributes,
            sha256,
            size,
        };
        Ok(Ok((read, Placement::Copy { reference })))
    }

    /// A fresh random name, and the phase that follows from it.
    fn copy_key(&self) -> Result<(ObjectKey, LockPhase), Error> {
        let bytes: [u8; 16] = rand::random();
        let [byte, ..] = bytes;
        let key = VaultKey::Copy(Id128::from_bytes(bytes)).object_key()?;
        Ok((key, phase_of(byte, self.lock_phases)))
    }

    /// Locks what the store has taken in without the lock that was sent along: not every server keeps those of copies
    /// and of uploads in parts.
    async fn lock(&self, found: &Attributes, until: Option<Timestamp>) -> Result<(), Error> {
        self.terms.lock(self.run.bulk.as_ref(), found, until).await
    }
}

/// What follows from a copy that failed. That the pair cannot do it is only believed of the first answer: later ones
/// are about one file.
fn failed_copy(error: StoreError, first: bool) -> Result<Attempt, Error> {
    match &error.kind {
        kind if is_ambiguous(kind) => Ok(Attempt::Again),
        StoreErrorKind::Changed | StoreErrorKind::NotFound | StoreErrorKind::AlreadyExists => {
            Ok(Attempt::Again)
        }
        StoreErrorKind::Denied { .. }
        | StoreErrorKind::Unsupported { .. }
        | StoreErrorKind::WrongRegion { .. }
            if first =>
        {
            Ok(Attempt::Refused(error.kind.to_string()))
        }
        // What the copy may not read, a read may: and if not, its error is the one to tell.
        StoreErrorKind::Denied { .. }
        | StoreErrorKind::Unsupported { .. }
        | StoreErrorKind::WrongRegion { .. }
        | StoreErrorKind::Archived => Ok(Attempt::Stream),
        StoreErrorKind::ReadOnly
        | StoreErrorKind::NoBucket
        | StoreErrorKind::ClockSkew
        | StoreErrorKind::Credentials { .. }
        | StoreErrorKind::NoSpace
        | StoreErrorKind::NoScratchSpace
        | StoreErrorKind::InvalidRange
        | StoreErrorKind::TooLarge { .. }
        | StoreErrorKind::WrongDigest { .. }
        | StoreErrorKind::InvalidKey { .. }
        | StoreErrorKind::InTheWay { .. }
        | StoreErrorKind::Interrupted
        | StoreErrorKind::Unreachable { .. }
        | StoreErrorKind::Io { .. } => Err(error.into()),
    }
}

fn is_ambiguous(kind: &StoreErrorKind) -> bool {
    matches!(
        kind,
        StoreErrorKind::Interrupted | StoreErrorKind::Io { .. }
    )
}

/// Cuts a body into parts of one size, hashed as they go by; a body of another size than the object's ends in an error.
fn parts<'a>(
    store: &'a dyn ReadStore,
    key: &'a ObjectKey,
    reader: ObjectReader,
    part: u64,
    hasher: Arc<Mutex<Sha256>>,
) -> BoxStream<'a, Result<Bytes, StoreError>> {
    let part = usize::try_from(part).unwrap_or(usize::MAX);
    let expected = reader.attributes.size;
    let state = (reader.body.fuse(), Bytes::new(), 0_u64);
    stream::try_unfold(state, move |(mut body, mut left, mut size)| {
        let hasher = Arc::clone(&hasher);
        async move {
            let failed = |detail: String| {
                let kind = StoreErrorKind::Io { detail };
                StoreError::below("read", store.uri(), key.as_str(), kind)
            };
            let mut filled = BytesMut::new();
            while filled.len() < part {
                if left.is_empty() {
                    match body.try_next().await? {
                        Some(chunk) => left = chunk,
                        None => break,
                    }
                }
                filled.extend_from_slice(&left.split_to(left.len().min(part - filled.len())));
            }
            size += filled.len() as u64;
            if size > expected || (filled.len() < part && size < expected) {
                return Err(failed(format!(
                    "the object has {expected} bytes, but {size} were sent"
                )));
            }
            if filled.is_empty() {
                return Ok(None);
            }
            let filled = filled.freeze();
            hasher
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .update(&filled);
            Ok(Some((filled, (body, left, size))))
        }
    })
    .boxed()
}
