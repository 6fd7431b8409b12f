//! Tries what a role must not be able to do, on objects that are made for it and on nothing else.
//!
//! **No real object is at risk.** Every call on an object is made on a canary of one line of random bytes below a
//! `probe/` name, which no reader looks at; a call that is let through costs that canary. Where even that would last (a
//! lock above the ceiling, which nobody can end for years in COMPLIANCE), the put goes to a name that is taken, on the
//! condition that it is free: let through, it fails for the condition (412), which servers check after the right. Such
//! puts are made only on a server that was just seen to keep the condition. A lock above the ceiling is asked for on an
//! object that does not exist; where a server looks for the object before the right, on a canary in GOVERNANCE, and not
//! in COMPLIANCE. Settings of the bucket are sent again as they are, or, where nothing is set, in a form that no server
//! takes; an existing policy is never deleted; a bucket is deleted only while there is an object in it, which no server
//! does. So a missing wall is found and nothing is lost by it.
//!
//! **A refusal has a control.** The same call by an identity that may make it shows that it is refused for who makes it, and
//! not for what it is. Where a lock refuses it to everybody, the control is made on an object whose lock is over. Nobody
//! who may is asked to delete the bucket or its policy.
//!
//! Canaries are locked as the vault's objects are, for its floor and a day, and are left to `prune`. The identity that
//! makes them also looks at what became of them.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::SignedDuration;
use tokio::time::Instant;

use self::changes::{Change, Deletion, Relock};
use self::puts::Dry;
use self::tried::{Stop, Tried, not_made, said};
use super::prober::{Config, Extra, Lock, Look, Prober, Refusal, Settings, Target};
use crate::format::{LockMode, VaultFile, layout};
use crate::iam::Role;
use crate::ids::{Id128, ObjectVersion, Timestamp};
use crate::store::StoreError;
use crate::wall::call::Call;
use crate::wall::judge::{Answer, Effect, Observation, is_let_through};
use crate::wall::lint::{Finding, Severity};
use crate::wall::matrix::{Expected, Server, expected};

mod changes;
mod puts;
mod tried;

/// Why a lock is not tried.
const NO_LOCKS: &str = "the vault has no locks";
/// No prefix of a vault.
const ELSEWHERE: &str = "elsewhere/";
/// The length of a lock that is to be over soon.
const MOMENT: SignedDuration = SignedDuration::from_secs(3);
/// How long to wait until it surely is over.
const AFTERWARDS: Duration = Duration::from_secs(5);
/// How many canaries of each area have a lock that is over, for the role and for a control; and of the first one, for the
/// controls of deletions that a lock refuses.
const OVER: usize = 2;
const OVER_OF_LOCKED: usize = 3;
/// A lock below every floor.
const SHORT: SignedDuration = SignedDuration::from_mins(10);
/// By how much a lock may end before the floor and still count: clocks differ, and times are rounded.
const SLACK: SignedDuration = SignedDuration::from_hours(1);
const DAY: SignedDuration = SignedDuration::from_hours(24);
/// Where a right that a role should not have is looked for: it may be about one kind of object alone. The snapshotter puts
/// canaries into all of them.
const AREAS: [&str; 7] = {
    use layout::{BLOBS_PREFIX, COPIES_PREFIX, MANIFESTS_PREFIX, PAGES_PREFIX, RUNS_PREFIX};
    [
        BLOBS_PREFIX,
        COPIES_PREFIX,
        PAGES_PREFIX,
        MANIFESTS_PREFIX,
        RUNS_PREFIX,
        layout::SETS_PREFIX,
        layout::PROBE_LEDGER,
    ]
};
/// How many of them are pruned; the others are never deleted.
const PRUNED: usize = 5;

/// Who calls: the role, who makes the canaries, and who else may make calls as a control.
#[derive(Debug)]
pub struct Callers {
    /// The identity that tries.
    pub attacker: Prober,
    /// The identity that makes the canaries, and looks what became of them.
    pub maker: Prober,
    /// The identities that make the same calls, to show that those as such are let through.
    pub controls: Vec<Prober>,
    /// The attacker without TLS; or why it has no such way.
    pub plain: Result<Prober, String>,
}

/// The identities, and the vault's terms.
#[derive(Debug)]
pub struct Walls {
    role: Role,
    attacker: Prober,
    maker: Prober,
    controls: Vec<Prober>,
    plain: Result<Prober, String>,
    prefix: String,
    file: VaultFile,
    settings: Settings,
    server: Server,
    has_tls: bool,
    /// Whether the server keeps `If-None-Match`.
    keeps_conditions: bool,
    /// Why no canary can be made, so that hardly any call can be tried.
    no_canary: Option<String>,
    /// Canaries whose lock is over at this time, by area: made together, so that they are waited for once.
    over: Mutex<Vec<(&'static str, Canary)>>,
    over_at: Instant,
}

/// Who makes a call.
#[derive(Debug, Clone, Copy)]
struct Caller<'a> {
    by: &'a Prober,
    /// Whether it is made to show that the call as such is let through.
    is_control: bool,
}

/// An object that was made to be attacked.
#[derive(Debug)]
struct Canary {
    key: String,
    version: Option<ObjectVersion>,
    etag: String,
    lock: Option<Lock>,
}

impl Canary {
    fn target(&self) -> Target<'_> {
        Target {
            key: &self.key,
            version: self.version.as_ref(),
        }
    }
}

impl Walls {
    /// Reads the bucket's settings, and finds out which server it is and whether it keeps conditions.
    ///
    /// # Errors
    /// Where no answer came.
    pub async fn prepare(
        role: Role,
        callers: Callers,
        prefix: &str,
        file: VaultFile,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let Callers {
            attacker,
            maker,
            controls,
            plain,
        } = callers;
        let settings = maker.settings().await?;
        let nobody = format!("{prefix}{}", layout::probe_key(layout::BLOBS_PREFIX, id()));
        let header = match maker.read(Target::newest(&nobody)).await? {
            Ok(()) => String::new(),
            Err(refusal) => refusal.server,
        };
        let mut walls = Self {
            server: Server::named(&header, maker.has_own_endpoint()),
            has_tls: maker.has_tls(),
            role,
            attacker,
            maker,
            controls,
            plain,
            prefix: prefix.to_owned(),
            file,
            settings,
            keeps_conditions: false,
            no_canary: None,
            over: Mutex::default(),
            over_at: Instant::now(),
        };
        match walls.canary(layout::BLOBS_PREFIX, now).await {
            Ok(canary) => {
                let again = walls.maker.put(&canary.key, b"again", None).await?;
                walls.keeps_conditions = again.is_err_and(|refusal| refusal.status == 412);
            }
            Err(Stop::NotMade(why)) => walls.no_canary = Some(why),
            Err(Stop::Unanswered(error)) => return Err(error),
        }
        let until = walls.lock_until(later(now, MOMENT));
        let mut over = Vec::new();
        let of_each = AREAS.iter().flat_map(|area| [*area; OVER]);
        for area in of_each.chain([AREAS[0]; OVER_OF_LOCKED]) {
            match walls.make(walls.key(area), until).await {
                Ok(canary) => over.push((area, canary)),
                // It is tried again, and told, when it is wanted.
                Err(Stop::NotMade(_)) => break,
                Err(Stop::Unanswered(error)) => return Err(error),
            }
        }
        walls.over = Mutex::new(over);
        walls.over_at = Instant::now() + AFTERWARDS;
        Ok(walls)
    }

    /// A finding where no canary can be made: a check that could try hardly anything is not one that found nothing.
    pub fn finding(&self) -> Option<Finding> {
        self.no_canary.as_ref().map(|why| Finding {
            severity: Severity::Warning,
            check: "canary",
            what: format!("hardly any call can be tried: {why}"),
            remedy: "name credentials of the snapshotter: --canary-profile NAME".to_owned(),
        })
    }

    /// The server, as far as it names itself.
    pub fn server(&self) -> Server {
        self.server
    }

    /// Makes a call, and looks at what became of it.
    ///
    /// # Errors
    /// Where no answer came.
    pub async fn observe(&self, call: Call, now: Timestamp) -> Result<Observation, StoreError> {
        let caller = Caller {
            by: &self.attacker,
            is_control: false,
        };
        self.observe_by(caller, call, now).await
    }

    /// Makes the same call by those who may be able to, until one is let through. Nothing where there is nobody.
    ///
    /// # Errors
    /// Where no answer came.
    pub async fn control(
        &self,
        call: Call,
        now: Timestamp,
    ) -> Result<Option<Observation>, StoreError> {
        let mut last = None;
        for by in &self.controls {
            let caller = Caller {
                by,
                is_control: true,
            };
            let seen = self.observe_by(caller, call, now).await?;
            let is_enough = is_let_through(&seen);
            last = Some(seen);
            if is_enough {
                break;
            }
        }
        Ok(last)
    }

    async fn observe_by(
        &self,
        caller: Caller<'_>,
        call: Call,
        now: Timestamp,
    ) -> Result<Observation, StoreError> {
        match self.attempt(caller, call, now).await {
            Ok(observation) => Ok(observation),
            Err(Stop::NotMade(why)) => Ok(Observation {
                answer: Answer::NotMade(why),
                effect: Effect::Nothing,
            }),
            Err(Stop::Unanswered(error)) => Err(error),
        }
    }

    async fn attempt(&self, caller: Caller<'_>, call: Call, now: Timestamp) -> Tried<Observation> {
        use layout::{
            BLOBS_PREFIX as BLOBS, COPIES_PREFIX as COPIES, MANIFESTS_PREFIX as MANIFESTS,
            PAGES_PREFIX as PAGES, PROBE_HOLDER_EVENTS as HOLDS, PROBE_LEDGER as LEDGER,
            PROBE_PRUNER_EVENTS as RETIREMENTS, PROBE_RESTORER_EVENTS as RESTORES,
            PRUNE_PREFIX as PLANS, RUNS_PREFIX as RUNS, SETS_PREFIX as SETS,
        };
        let by = caller.by;
        let (pruned, kept) = AREAS.split_at(PRUNED);
        match call {
            Call::List => Ok(said(by.list(&self.prefix).await?, None)),
            Call::ReadConfiguration => Ok(said(by.read_versioning().await?, None)),
            Call::ReadRecord => self.read(caller, call, &[LEDGER], now).await,
            Call::ReadPage => self.read(caller, call, &[PAGES, MANIFESTS], now).await,
            Call::ReadBlob => self.read(caller, call, &[BLOBS, COPIES], now).await,
            Call::ReadJournal => self.read(caller, call, &[RUNS], now).await,
            Call::ReadLock => {
                let canary = self.canary(BLOBS, now).await?;
                Ok(said(by.read_lock(canary.target()).await?, None))
            }
            Call::CreateBlob => self.create(caller, call, &[BLOBS, COPIES], now).await,
            Call::CreatePage => self.create(caller, call, &[PAGES, MANIFESTS], now).await,
            Call::CreateJournal => self.create(caller, call, &[RUNS, SETS], now).await,
            Call::CreateRecord => self.create(caller, call, &[LEDGER], now).await,
            Call::CreateHolderEvent => self.create(caller, call, &[HOLDS], now).await,
            Call::CreatePrunerEvent => self.create(caller, call, &[RETIREMENTS], now).await,
            Call::CreateRestorerEvent => self.create(caller, call, &[RESTORES], now).await,
            Call::CreatePlan => self.create(caller, call, &[PLANS], now).await,
            Call::CreateElsewhere => self.create(caller, call, &[ELSEWHERE], now).await,
            Call::ReplaceVaultFile => self.replace_vault_file(caller).await,
            Call::ForgeRecord => self.forge(caller, now).await,
            Call::Extend => self.relock(caller, Relock::Longer, now).await,
            Call::Hold => self.hold(caller, now).await,
            Call::Release => self.release(caller, now).await,
            Call::DeleteOver => self.delete(caller, Deletion::Over, pruned, now).await,
            Call::DeleteRecord => self.delete(caller, Deletion::Over, kept, now).await,
            Call::Overwrite => self.overwrite(caller, now).await,
            Call::PutUnlocked => self.put_below(caller, None, now).await,
            Call::PutShort => self.put_below(caller, Some(SHORT), now).await,
            Call::PutBeyond => self.put_dry(caller, Dry::Beyond, now).await,
            Call::PutOtherMode => self.put_dry(caller, Dry::OtherMode, now).await,
            Call::PutHeld => self.put_dry(caller, Dry::Also(Extra::Hold), now).await,
            Call::PutEventHold => self.put_dry(caller, Dry::Also(Extra::EventHold), now).await,
            Call::PutClass => self.put_dry(caller, Dry::Also(Extra::Class), now).await,
            Call::PutAcl => self.put_dry(caller, Dry::Also(Extra::Acl), now).await,
            Call::PutTags => self.put_dry(caller, Dry::Also(Extra::Tags), now).await,
            Call::PutCustomerKey => {
                let dry = Dry::Also(Extra::CustomerKey);
                self.put_dry(caller, dry, now).await
            }
            Call::ReplicateIn => self.put_dry(caller, Dry::Also(Extra::Replica), now).await,
            Call::Delete => self.delete(caller, Deletion::Marker, pruned, now).await,
            Call::HideRecord => self.delete(caller, Deletion::Marker, kept, now).await,
            Call::DeleteVersion => self.delete(caller, Deletion::Version, &[BLOBS], now).await,
            Call::DeleteBypass => self.delete(caller, Deletion::Bypass, &[BLOBS], now).await,
            Call::DeleteMany => self.delete(caller, Deletion::Many, &[BLOBS], now).await,
            Call::Shorten => self.relock(caller, Relock::Shorter, now).await,
            Call::ShortenBypass => self.relock(caller, Relock::ShorterBypass, now).await,
            Call::Unlock => self.relock(caller, Relock::Off, now).await,
            Call::ExtendBeyond => self.extend_beyond(caller, now).await,
            Call::SetAcl => self.change(caller, Change::Acl, now).await,
            Call::SetTags => self.change(caller, Change::Tags, now).await,
            Call::Annotate => self.change(caller, Change::Annotation, now).await,
            Call::Reencrypt => self.change(caller, Change::Encryption, now).await,
            Call::Abort => self.abort(caller).await,
            Call::SetPolicy => self.configure(caller, Config::Policy).await,
            Call::DeletePolicy => self.configure(caller, Config::DeletePolicy).await,
            Call::SetLifecycle => self.configure(caller, Config::Lifecycle).await,
            Call::SetVersioning => self.configure(caller, Config::Versioning).await,
            Call::SetEncryption => self.configure(caller, Config::Encryption).await,
            Call::SetReplication => self.configure(caller, Config::Replication).await,
            Call::SetLocks => self.configure(caller, Config::Locks).await,
            Call::SetPublicAccess => self.configure(caller, Config::PublicAccess).await,
            Call::SetOwnership => self.configure(caller, Config::Ownership).await,
            Call::SetInventory => self.configure(caller, Config::Inventory).await,
            Call::SetLogging => self.configure(caller, Config::Logging).await,
            Call::SetNotification => self.configure(caller, Config::Notification).await,
            Call::SetWebsite => self.configure(caller, Config::Website).await,
            Call::DeleteBucket => self.configure(caller, Config::DeleteBucket).await,
            Call::PlainHttp => self.plain(caller).await,
        }
    }

    /// Whether a call is the role's work.
    fn may(&self, call: Call) -> bool {
        expected(self.role, call) == Expected::Allowed
    }

    /// Where a call is tried: wherever a right to it may be that the role should not have. For who may make it, one place
    /// is enough.
    fn areas(&self, caller: Caller<'_>, call: Call) -> &'static [&'static str] {
        let is_one = caller.is_control || self.may(call);
        if is_one { &AREAS[..1] } else { &AREAS }
    }

    /// Every identity that there is, the maker first.
    fn everybody(&self) -> impl Iterator<Item = &Prober> {
        [&self.maker, &self.attacker]
            .into_iter()
            .chain(&self.controls)
    }

    /// Makes a canary, locked as the vault's objects are.
    async fn canary(&self, area: &str, now: Timestamp) -> Tried<Canary> {
        self.make(self.key(area), self.floor(now)).await
    }

    /// A canary whose lock is over.
    async fn canary_over(&self, area: &str, now: Timestamp) -> Tried<Canary> {
        let until = later(now, MOMENT);
        let (canary, over_at) = if let Some(canary) = self.take_over(area) {
            (canary, self.over_at)
        } else {
            let canary = self.make(self.key(area), self.lock_until(until));
            (canary.await?, Instant::now() + AFTERWARDS)
        };
        if canary.lock.is_some_and(|lock| lock.until > until + MOMENT) {
            return not_made("what is put is locked for the floor, also for who makes the canary");
        }
        tokio::time::sleep_until(over_at).await;
        Ok(canary)
    }

    fn take_over(&self, area: &str) -> Option<Canary> {
        let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        let at = over.iter().position(|(of, _)| *of == area)?;
        Some(over.swap_remove(at).1)
    }

    async fn make(&self, key: String, lock: Option<Lock>) -> Tried<Canary> {
        let refused = |refusal: Refusal| Stop::NotMade(format!("no canary can be made: {refusal}"));
        let put = self.maker.put(&key, &body(), lock).await?;
        let version = put.map_err(refused)?;
        let target = Target {
            key: &key,
            version: version.as_ref(),
        };
        let seen = self.maker.look(target).await?;
        let seen = seen.map_err(refused)?;
        Ok(Canary {
            key,
            version,
            etag: seen.etag,
            lock: seen.lock,
        })
    }

    /// An object as it is now: `Some(None)` where it is gone, `None` where nobody here may look.
    async fn look(&self, target: Target<'_>) -> Result<Option<Option<Look>>, StoreError> {
        for watcher in self.everybody() {
            match watcher.look(target).await? {
                Ok(look) => return Ok(Some(Some(look))),
                // A version that is a delete marker is answered with 405.
                Err(refusal) if matches!(refusal.status, 404 | 405) => return Ok(Some(None)),
                Err(_) => {}
            }
        }
        Ok(None)
    }

    fn key(&self, area: &str) -> String {
        format!("{}{}", self.prefix, layout::probe_key(area, id()))
    }

    fn lock_until(&self, until: Timestamp) -> Option<Lock> {
        let mode = self.file.lock_mode;
        (mode != LockMode::None).then_some(Lock { mode, until })
    }

    /// A lock of the floor's length and a day.
    fn floor(&self, now: Timestamp) -> Option<Lock> {
        self.lock_until(later(now, days(self.file.shortest_days) + DAY))
    }
}

fn days(count: u32) -> SignedDuration {
    SignedDuration::from_hours(i64::from(count) * 24)
}

fn later(now: Timestamp, by: SignedDuration) -> Timestamp {
    now.saturating_add(by).unwrap_or(now)
}

fn id() -> Id128 {
    Id128::from_bytes(rand::random())
}

/// Random, so that no two canaries are the same.
fn body() -> Vec<u8> {
    format!("a canary of deltavault: {}\n", id()).into_bytes()
}
