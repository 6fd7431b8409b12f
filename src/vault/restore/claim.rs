//! Claims the table that is being restored, so that two people do not restore different snapshots into one place.
//!
//! **Taking.** A restore puts the next number, lists again, and yields to every lower claim that counts. What is lower
//! and counts no more, or is taken over, it removes while it is still what was listed: its owner finds that out at its
//! next renewal and stops. A restore that comes later yields to ours in the same way.
//!
//! **Holding.** A claim counts for minutes, so it is renewed while the work goes on, and once more before the log is
//! touched.
//!
//! **Letting go.** Done, failed or interrupted, the claim is removed. A copy to another place that is not whole keeps
//! its claim, marked as ended: only that tells a half-filled place, where the next run goes on, from somebody's folder.
//! A run that is killed leaves a claim that soon counts no more.

use std::time::Duration;

use futures::TryStreamExt;
use jiff::SignedDuration;
use serde::{Serialize, Serializer};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{OWN_PREFIX, RestoreRequest, Restorer};
use crate::error::Error;
use crate::format::{decode_json, encode_json};
use crate::ids::{ETag, Id128, ObjectKey, SnapshotId, Timestamp};
use crate::plan::restore::Mode;
use crate::plan::restore::claim::{
    CLAIM_SECONDS, Claim, ClaimVerdict, FoundClaim, HIGHEST_CLAIM, claim_number, judge_claims,
};
use crate::store::{Payload, StoreError, StoreErrorKind, read_all};

/// A claim has a few hundred bytes; more is somebody else's file.
const CLAIM_LIMIT: u64 = 64 * 1024;

/// More claims than this were not put by restores; reading them all could take for ever.
const MOST_CLAIMS: usize = 100;

/// How many files that are not claims are named.
const ODD_TOLD: usize = 5;

/// How often the next number may be another's, or a claim be renewed just when it is to be removed.
const ATTEMPTS: usize = 5;

/// A renewal that comes late by some of these is still in time.
const RENEW_EVERY: Duration = Duration::from_mins(1);

/// Without a renewal for this long the claim is about to end, and so has the work to.
const LONGEST_SILENCE: Duration = Duration::from_mins(4);

/// How long a restore that failed takes at most to let go: what it failed of may be the store itself.
const LETTING_GO: Duration = Duration::from_secs(10);

/// A restore that is at work on the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AtWork {
    /// Who, fit for a terminal.
    pub by: String,
    /// Whether that is the person who asks, on the same machine.
    #[serde(skip)]
    pub is_own: bool,
    /// The snapshot that is restored.
    pub snapshot: SnapshotId,
    /// Since when, by the clock of that restore.
    pub since: Timestamp,
    /// How long ago it gave its last sign of life.
    #[serde(rename = "silent_seconds", serialize_with = "in_seconds")]
    pub silent_for: SignedDuration,
}

fn in_seconds<S: Serializer>(time: &SignedDuration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(time.as_secs().unsigned_abs())
}

/// What stands in the place of claims.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// Those with a number of a claim, in ascending order.
    pub(super) found: Vec<FoundClaim>,
    /// Names of files that are not claims, each with the reason.
    odd: Vec<String>,
}

impl Claims {
    fn odd(&mut self, name: &str, why: &str) {
        if self.odd.len() < ODD_TOLD {
            self.odd.push(format!("{name}: {why}"));
        }
    }
}

/// Our own claim.
#[derive(Debug)]
pub(super) struct OwnClaim {
    number: u64,
    key: ObjectKey,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    claim: Claim,
    etag: ETag,
    renewed_at: Instant,
}

impl Restorer {
    /// The claims that stand there, by number, and what has such a name and is none.
    pub(super) async fn claims(&self) -> Result<Claims, Error> {
        let prefix = format!("{OWN_PREFIX}claim-");
        let mut claims = Claims::default();
        let mut listing = self.target.list(&prefix, None);
        while let Some(listed) = listing.try_next().await? {
            let name = listed.key.as_str();
            let Some(number) = name.strip_prefix(&prefix).and_then(claim_number) else {
                claims.odd(name, "it has no number of a claim");
                continue;
            };
            if claims.found.len() == MOST_CLAIMS {
                return Err(self.blocked(&prefix, "there are more than 100 claims"));
            }
            let claim = if listed.size > CLAIM_LIMIT {
                None
            } else {
                match read_all(self.target.as_ref(), &listed.key, None, CLAIM_LIMIT).await {
                    Ok((_, body)) => decode_json::<Claim>("claim", &body).ok(),
                    Err(error) if error.is_not_found() => continue,
                    Err(error) => return Err(error.into()),
                }
            };
            if claim.is_none() {
                claims.odd(name, "it cannot be read");
            }
            claims.found.push(FoundClaim {
                number,
                key: listed.key,
                etag: listed.etag,
                written: listed.last_modified,
                claim,
            });
        }
        claims.found.sort_by_key(|it| it.number);
        Ok(claims)
    }

    /// Reports what is in the place of claims and counts as none.
    pub(super) fn tell_odd_claims(&self, request: &RestoreRequest, claims: &Claims) {
        let ahead = claims.found.iter().filter(|it| it.is_ahead(request.now));
        let ahead = ahead.map(|it| format!("{}: it was written in the future", it.key));
        for odd in claims.odd.iter().cloned().chain(ahead) {
            let uri = self.target.uri();
            self.progress
                .note(&format!("ignored as a claim: {uri}/{odd}"));
        }
    }

    /// The restore that is at work on the target, by this machine's clock.
    pub(super) fn at_work(request: &RestoreRequest, claims: &Claims) -> Option<AtWork> {
        let found = claims.found.iter().find_map(|found| {
            let claim = found.claim.as_ref()?;
            let counts = claim.counts(found.written, request.now);
            counts.then_some((claim, found.written))
        });
        found.map(|(claim, written)| AtWork {
            by: claim.who(),
            is_own: claim.by == request.by,
            snapshot: claim.snapshot,
            since: claim.since,
            silent_for: request
                .now
                .duration_since(written)
                .max(SignedDuration::ZERO),
        })
    }

    pub(super) async fn claim(&self, request: &RestoreRequest) -> Result<OwnClaim, Error> {
        let run: [u8; 16] = rand::random();
        let claim = Claim {
            by: request.by.clone(),
            renewed: 0,
            run: Id128::from_bytes(run),
            seconds: CLAIM_SECONDS,
            since: request.now,
            snapshot: request.id,
        };
        for _ in 0..ATTEMPTS {
            let highest = self.claims().await?.found.last().map_or(0, |it| it.number);
            if highest == HIGHEST_CLAIM {
                let name = format!("{OWN_PREFIX}claim-{highest}");
                return Err(self.blocked(&name, "no higher number is left for another claim"));
            }
            let number = highest + 1;
            let key: ObjectKey = format!("{OWN_PREFIX}claim-{number}").parse()?;
            let payload = Payload::from_bytes(encode_json("claim", &claim)?);
            match self.target.put_new(&key, &payload, None).await {
                Ok(written) => {
                    let own = OwnClaim {
                        number,
                        key,
                        state: Mutex::new(State {
                            claim: claim.clone(),
                            etag: written.etag,
                            renewed_at: Instant::now(),
                        }),
                    };
                    let settled = self.settle_claim(request, &own, &claim).await;
                    if settled.is_err() {
                        // The claim of whoever may not restore must not be in the way of others.
                        self.release(&own).await.ok();
                    }
                    return settled.map(|()| own);
                }
                Err(error) if matches!(error.kind, StoreErrorKind::AlreadyExists) => {}
                Err(error) => return Err(self.cannot_claim(&key, error).await),
            }
        }
        let name = format!("{OWN_PREFIX}claim-");
        Err(self.blocked(&name, "the next number is always taken"))
    }

    /// Works while the table is claimed. An interrupt ends the work, and so does a claim that is ours no more; the claim is let
    /// go of in the end.
    pub(super) async fn claimed<T>(
        &self,
        request: &RestoreRequest,
        work: impl AsyncFnOnce(&OwnClaim) -> Result<T, Error>,
    ) -> Result<T, Error> {
        // Listened for from before the claim is put, so that an interrupt waits until it is removed again.
        let mut listening = self.interrupt.listen();
        let claim = self.claim(request).await?;
        let done = tokio::select! {
            biased;
            () = listening.fired() => Err(Error::Interrupted),
            done = Box::pin(work(&claim)) => done,
            lost = self.keep(&claim) => Err(lost),
        };
        self.let_go(request, &claim, done).await
    }

    /// Lets go of the claim, however the work has ended.
    pub(super) async fn let_go<T>(
        &self,
        request: &RestoreRequest,
        own: &OwnClaim,
        done: Result<T, Error>,
    ) -> Result<T, Error> {
        let error = match done {
            Ok(done) => return self.release(own).await.map(|()| done),
            Err(error) => error,
        };
        let let_go = async {
            if request.mode == Mode::To {
                self.mark_ended(own).await
            } else {
                self.release(own).await
            }
        };
        // What the restore failed of is what its owner has to know; a claim that stays soon counts no more.
        match tokio::time::timeout(LETTING_GO, let_go).await {
            Ok(Ok(())) => {}
            Ok(Err(problem)) => tracing::debug!(%problem, "the claim could not be removed"),
            Err(_) => tracing::debug!("there was no time to remove the claim"),
        }
        Err(error)
    }

    /// Yields to a restore that came first, and removes the claims that are in nobody's way any more.
    async fn settle_claim(
        &self,
        request: &RestoreRequest,
        own: &OwnClaim,
        ours: &Claim,
    ) -> Result<(), Error> {
        for _ in 0..ATTEMPTS {
            let found = self.claims().await?.found;
            match judge_claims(&found, own.number, ours, request.take_over) {
                ClaimVerdict::Lost => return Err(self.taken_over(&found, own)),
                ClaimVerdict::Theirs { claim, silent_for } => {
                    return Err(Error::ClaimedByOther {
                        table: self.target.uri().to_owned(),
                        by: claim.who(),
                        snapshot: claim.snapshot,
                        since: claim.since,
                        silent_for,
                    });
                }
                ClaimVerdict::Ours(gone) => {
                    let mut renewed = false;
                    for claim in gone {
                        match self.target.remove(&claim.key, &claim.etag).await {
                            Ok(()) => {}
                            Err(error) if error.is_not_found() => {}
                            Err(error) if matches!(error.kind, StoreErrorKind::Changed) => {
                                renewed = true;
                            }
                            Err(error) => return Err(error.into()),
                        }
                    }
                    if !renewed {
                        return Ok(());
                    }
                }
            }
        }
        let name = format!("{OWN_PREFIX}claim-");
        Err(self.blocked(&name, "they change faster than they can be read"))
    }

    /// Renews the claim for as long as it is polled; ends when it is ours no more.
    pub(super) async fn keep(&self, own: &OwnClaim) -> Error {
        loop {
            tokio::time::sleep(RENEW_EVERY).await;
            if let Err(error) = self.renew(own).await {
                return error;
            }
        }
    }

    /// Renews the claim, or fails when somebody has taken the restore over.
    pub(super) async fn renew(&self, own: &OwnClaim) -> Result<(), Error> {
        let mut state = own.state.lock().await;
        match self.write_claim(own, &mut state, CLAIM_SECONDS).await {
            Err(Error::Store(error)) if state.renewed_at.elapsed() < LONGEST_SILENCE => {
                tracing::warn!(%error, "the claim could not be renewed; tried again in a minute");
                Ok(())
            }
            renewed => renewed,
        }
    }

    /// Leaves the claim where it is, as one that counts no more.
    async fn mark_ended(&self, own: &OwnClaim) -> Result<(), Error> {
        let mut state = own.state.lock().await;
        self.write_claim(own, &mut state, 0).await
    }

    async fn write_claim(
        &self,
        own: &OwnClaim,
        state: &mut State,
        seconds: u64,
    ) -> Result<(), Error> {
        for _ in 0..ATTEMPTS {
            let claim = Claim {
                renewed: state.claim.renewed + 1,
                seconds,
                ..state.claim.clone()
            };
            let payload = Payload::from_bytes(encode_json("claim", &claim)?);
            match self.target.replace(&own.key, &payload, &state.etag).await {
                Ok(written) => {
                    *state = State {
                        claim,
                        etag: written.etag,
                        renewed_at: Instant::now(),
                    };
                    return Ok(());
                }
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error.into()),
            }
            // A renewal that was dropped on its way, or whose answer got lost, is ours all the same.
            let found = self.claims().await?.found;
            let listed = found.iter().find(|it| it.number == own.number);
            match listed.and_then(|it| Some((it, it.claim.as_ref()?))) {
                Some((it, claim)) if claim.run == state.claim.run => {
                    state.etag = it.etag.clone();
                    state.claim = claim.clone();
                }
                _ => return Err(self.taken_over(&found, own)),
            }
        }
        Err(self.blocked(own.key.as_str(), "it changes faster than it can be renewed"))
    }

    /// Removes our own claim. Whoever has taken it over keeps theirs.
    async fn release(&self, own: &OwnClaim) -> Result<(), Error> {
        let state = own.state.lock().await;
        match self.target.remove(&own.key, &state.etag).await {
            Err(error) if is_gone(&error) => {}
            removed => return Ok(removed?),
        }
        // A renewal that was dropped on its way may have been done.
        let read = read_all(self.target.as_ref(), &own.key, None, CLAIM_LIMIT).await;
        let (attributes, body) = match read {
            Err(error) if error.is_not_found() => return Ok(()),
            read => read?,
        };
        let found = decode_json::<Claim>("claim", &body).ok();
        if found.is_some_and(|claim| claim.run == state.claim.run) {
            match self.target.remove(&own.key, &attributes.etag).await {
                Err(error) if is_gone(&error) => {}
                removed => removed?,
            }
        }
        Ok(())
    }

    fn taken_over(&self, found: &[FoundClaim], own: &OwnClaim) -> Error {
        let other = found.iter().rfind(|it| it.number != own.number);
        Error::RestoreTakenOver {
            table: self.target.uri().to_owned(),
            by: other.and_then(|it| it.claim.as_ref()).map(Claim::who),
        }
    }

    /// What is in the way of a claim that could not be put.
    async fn cannot_claim(&self, key: &ObjectKey, error: StoreError) -> Error {
        if !matches!(
            error.kind,
            StoreErrorKind::InvalidKey { .. }
                | StoreErrorKind::InTheWay { .. }
                | StoreErrorKind::Unsupported { .. }
        ) {
            return error.into();
        }
        let folder = OWN_PREFIX.trim_end_matches('/');
        let Ok(own) = folder.parse::<ObjectKey>() else {
            return error.into();
        };
        match self.target.attributes(&own, None).await {
            Ok(_) => self.blocked(folder, "there is a file where a restore needs a folder"),
            Err(_) => self.blocked(key.as_str(), "something that is no claim has its name"),
        }
    }

    fn blocked(&self, name: &str, why: &'static str) -> Error {
        Error::ClaimBlocked {
            object: format!("{}/{name}", self.target.uri()),
            why,
        }
    }
}

/// Whether our own claim is not what it was.
fn is_gone(error: &StoreError) -> bool {
    error.is_not_found() || matches!(error.kind, StoreErrorKind::Changed)
}
