//! Finds out what a server does with locks, by locking two objects of one byte for a minute.

use jiff::SignedDuration;

use crate::format::LockMode;
use crate::ids::{ObjectVersion, Timestamp};
use crate::probe::prober::{Lock, Prober};
use crate::store::StoreError;
use crate::store::s3::S3Store;
use crate::wall::locks::{LockProbe, Locked};

/// How long the probes are locked: long enough for the calls, short enough for COMPLIANCE, which nobody ends early.
const LOCK: SignedDuration = SignedDuration::from_mins(1);
/// By how much a lock is tried to be made shorter.
const SHORTER: SignedDuration = SignedDuration::from_secs(30);

/// What a probe is made of.
const BODY: &[u8] = b"?";

impl S3Store {
    /// Locks an object under each of two keys of the vault, and tries to get around the locks.
    ///
    /// Where a policy refuses so short a lock, one until `longer` is taken.
    ///
    /// # Errors
    /// Where no answer came.
    pub async fn probe_locks(
        &self,
        keys: [&str; 2],
        mode: LockMode,
        now: Timestamp,
        longer: Timestamp,
    ) -> Result<LockProbe, StoreError> {
        let keys = keys.map(|key| format!("{}{key}", self.prefix()));
        probe(&self.prober(), keys, mode, now, longer).await
    }
}

async fn probe(
    prober: &Prober,
    [key, copy]: [String; 2],
    mode: LockMode,
    now: Timestamp,
    longer: Timestamp,
) -> Result<LockProbe, StoreError> {
    let mut found = LockProbe {
        mode,
        ..LockProbe::untried()
    };
    let short = now.saturating_add(LOCK).unwrap_or(longer);
    let mut lock = Lock { mode, until: short };
    let mut put = prober.put(&key, BODY, Some(lock)).await?;
    if put.is_err() {
        // Too short for a policy, or in the past for a server whose clock is ahead.
        lock.until = longer;
        put = prober.put(&key, BODY, Some(lock)).await?;
    }
    let version = match put {
        Ok(version) => version,
        Err(refusal) => {
            found.put = Locked::Refused(refusal.told());
            return Ok(found);
        }
    };
    let version = version.as_ref();
    found.put = locked(prober, &key, version, lock).await?;
    if found.put == Locked::Yes {
        let copied = prober.copy(&copy, &key, version, Some(lock)).await?;
        found.copy = match &copied {
            Ok(version) => locked(prober, &copy, version.as_ref(), lock).await?,
            Err(refusal) => Locked::Refused(refusal.told()),
        };
        // By its version, so that nothing but the object itself can go; judged by what is there afterwards.
        prober.delete(&key, version, false).await?.ok();
        found.deleted = prober.look(&key, version).await?.is_err();
        if !found.deleted {
            let shorter = lock.until.saturating_sub(SHORTER).unwrap_or(lock.until);
            let shorter = Lock {
                mode,
                until: shorter,
            };
            let tried = prober.set_lock(&key, version, Some(shorter), false);
            tried.await?.ok();
            found.shortened = locked(prober, &key, version, lock).await? != Locked::Yes;
            if !found.shortened {
                let tried = prober.set_lock(&key, version, Some(shorter), true);
                tried.await?.ok();
                found.bypassed = locked(prober, &key, version, lock).await? != Locked::Yes;
            }
        }
        if let Ok(version) = &copied {
            clear(prober, &copy, version.as_ref(), &mut found).await?;
        }
    }
    clear(prober, &key, version, &mut found).await?;
    Ok(found)
}

/// Whether an object has at least a lock.
async fn locked(
    prober: &Prober,
    key: &str,
    version: Option<&ObjectVersion>,
    wanted: Lock,
) -> Result<Locked, StoreError> {
    Ok(match prober.look(key, version).await? {
        Ok(seen) => match seen.lock {
            // To the second, as servers keep it.
            Some(lock)
                if lock.mode == wanted.mode
                    && lock.until.as_second() >= wanted.until.as_second() =>
            {
                Locked::Yes
            }
            Some(_) | None => Locked::Ignored,
        },
        Err(refusal) => Locked::Refused(refusal.told()),
    })
}

/// Takes a probe away again; its owner may bypass GOVERNANCE.
async fn clear(
    prober: &Prober,
    key: &str,
    version: Option<&ObjectVersion>,
    found: &mut LockProbe,
) -> Result<(), StoreError> {
    prober.delete(key, version, true).await?.ok();
    if let Ok(look) = prober.look(key, version).await?
        && let Some(lock) = look.lock
    {
        found.left.push((key.to_owned(), lock.until));
    }
    Ok(())
}
