//! Finds out what a server does with locks, by locking two objects of one byte for a minute.

use jiff::SignedDuration;

use crate::format::LockMode;
use crate::ids::Timestamp;
use crate::probe::prober::{Lock, Prober, Target};
use crate::store::StoreError;
use crate::store::s3::S3Store;
use crate::wall::locks::{LockProbe, Locked};

/// How long the probes are locked: long enough for the calls, short enough for COMPLIANCE, which nobody ends early.
const LOCK: SignedDuration = SignedDuration::from_mins(1);
/// By how much the lock is to become shorter.
const SHORTER: SignedDuration = SignedDuration::from_secs(30);

/// What a probe is made of.
const BODY: &[u8] = b"?";

impl S3Store {
    /// Locks an object under each of two keys of the vault, and tries to get around the locks.
    ///
    /// Where a policy refuses so short a lock, it is until `longer`.
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
            found.put = Locked::Refused(refusal.to_string());
            return Ok(found);
        }
    };
    let target = Target {
        key: &key,
        version: version.as_ref(),
    };
    found.put = locked(prober, target, lock).await?;
    if found.put == Locked::Yes {
        let copied = prober.copy(&copy, target, Some(lock)).await?;
        let copied = copied.as_ref().map(|version| Target {
            key: &copy,
            version: version.as_ref(),
        });
        found.copy = match copied {
            Ok(copy) => locked(prober, copy, lock).await?,
            Err(refusal) => Locked::Refused(refusal.to_string()),
        };
        // By its version, so that nothing but the object itself can go; judged by what is there afterwards.
        prober.delete(target, false).await?.ok();
        found.deleted = prober.look(target).await?.is_err();
        if !found.deleted {
            let until = lock.until.saturating_sub(SHORTER).unwrap_or(lock.until);
            let shorter = Some(Lock { mode, until });
            prober.set_lock(target, shorter, false).await?.ok();
            found.shortened = locked(prober, target, lock).await? != Locked::Yes;
            if !found.shortened {
                prober.set_lock(target, shorter, true).await?.ok();
                found.bypassed = locked(prober, target, lock).await? != Locked::Yes;
            }
        }
        if let Ok(copy) = copied {
            clear(prober, copy, &mut found).await?;
        }
    }
    clear(prober, target, &mut found).await?;
    Ok(found)
}

/// Whether an object has the lock, or a longer one of its mode.
async fn locked(prober: &Prober, target: Target<'_>, wanted: Lock) -> Result<Locked, StoreError> {
    // Servers keep whole seconds.
    let is_kept =
        |lock: Lock| lock.mode == wanted.mode && lock.until.as_second() >= wanted.until.as_second();
    Ok(match prober.look(target).await? {
        Ok(seen) if seen.lock.is_some_and(is_kept) => Locked::Yes,
        Ok(_) => Locked::Ignored,
        Err(refusal) => Locked::Refused(refusal.to_string()),
    })
}

/// Deletes a probe again; the bucket's owner may bypass GOVERNANCE.
async fn clear(
    prober: &Prober,
    target: Target<'_>,
    found: &mut LockProbe,
) -> Result<(), StoreError> {
    prober.delete(target, true).await?.ok();
    if let Ok(look) = prober.look(target).await?
        && let Some(lock) = look.lock
    {
        found.left.push((target.key.to_owned(), lock.until));
    }
    Ok(())
}
