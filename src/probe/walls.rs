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
//! Canaries are locked as the vault's objects are, for its floor and a day, and are left to `prune`. The identity that
//! makes them also looks at what became of them.

use std::time::Duration;

use jiff::SignedDuration;

use self::tried::{Stop, Tried, not_made, said};
use super::prober::{Config, Extra, Lock, Look, Prober, Put, Refusal, Settings, Target};
use crate::format::{LockMode, VaultFile, layout};
use crate::ids::{Id128, ObjectVersion, Timestamp};
use crate::store::{StoreError, StoreErrorKind};
use crate::wall::call::Call;
use crate::wall::judge::{Answer, Effect, Observation};
use crate::wall::matrix::Server;

mod tried;

/// Why a lock is not tried.
const NO_LOCKS: &str = "the vault has no locks";
/// No prefix of a vault.
const ELSEWHERE: &str = "elsewhere/";
/// The length of a lock that is to be over soon.
const MOMENT: SignedDuration = SignedDuration::from_secs(3);
/// How long to wait until it surely is over.
const AFTERWARDS: Duration = Duration::from_secs(5);
/// A lock below every floor.
const SHORT: SignedDuration = SignedDuration::from_mins(10);
/// By how much a lock may end before the floor and still count: clocks differ, and times are rounded.
const SLACK: SignedDuration = SignedDuration::from_hours(1);
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// The identity that tries, the identity that makes the canaries, and the vault's terms.
#[derive(Debug)]
pub struct Walls {
    attacker: Prober,
    maker: Prober,
    /// The attacker without TLS; or why it has no such way.
    plain: Result<Prober, String>,
    prefix: String,
    file: VaultFile,
    settings: Settings,
    server: Server,
    has_tls: bool,
    /// Whether the server keeps `If-None-Match`.
    keeps_conditions: bool,
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

/// A put that must never take effect, and is made so that it cannot.
#[derive(Debug, Clone, Copy)]
enum Dry {
    Beyond,
    OtherMode,
    Also(Extra),
}

/// How an object is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deletion {
    Marker,
    Version,
    Bypass,
    Many,
    /// By version, when its lock is over.
    Over,
}

/// How a lock is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relock {
    Longer,
    Shorter,
    ShorterBypass,
    Off,
}

/// What is changed about an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Acl,
    Tags,
    Encryption,
}

impl Walls {
    /// Reads the bucket's settings, and finds out which server it is and whether it keeps conditions.
    ///
    /// # Errors
    /// Where no answer came.
    pub async fn prepare(
        attacker: Prober,
        maker: Prober,
        plain: Result<Prober, String>,
        prefix: &str,
        file: VaultFile,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let settings = maker.settings().await?;
        let nobody = format!("{prefix}{}", layout::probe_key(layout::BLOBS_PREFIX, id()));
        let header = match maker.read(Target::newest(&nobody)).await? {
            Ok(()) => String::new(),
            Err(refusal) => refusal.server,
        };
        let mut walls = Self {
            server: Server::named(&header, maker.has_own_endpoint()),
            has_tls: maker.has_tls(),
            attacker,
            maker,
            plain,
            prefix: prefix.to_owned(),
            file,
            settings,
            keeps_conditions: false,
        };
        match walls.blob(now).await {
            Ok(canary) => {
                let again = walls.maker.put(&canary.key, b"again", None).await?;
                walls.keeps_conditions = again.is_err_and(|refusal| refusal.status == 412);
            }
            Err(Stop::NotMade(_)) => {}
            Err(Stop::Unanswered(error)) => return Err(error),
        }
        Ok(walls)
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
        match self.attempt(call, now).await {
            Ok(observation) => Ok(observation),
            Err(Stop::NotMade(why)) => Ok(Observation {
                answer: Answer::NotMade(why),
                effect: Effect::Nothing,
            }),
            Err(Stop::Unanswered(error)) => Err(error),
        }
    }

    async fn attempt(&self, call: Call, now: Timestamp) -> Tried<Observation> {
        match call {
            Call::List => Ok(said(self.attacker.list(&self.prefix).await?, None)),
            Call::ReadConfiguration => Ok(said(self.attacker.read_versioning().await?, None)),
            Call::ReadRecord => self.read(layout::PROBE_LEDGER, now).await,
            Call::ReadPage => self.read(layout::PAGES_PREFIX, now).await,
            Call::ReadBlob => self.read(layout::BLOBS_PREFIX, now).await,
            Call::ReadLock => {
                let canary = self.blob(now).await?;
                Ok(said(self.attacker.read_lock(canary.target()).await?, None))
            }
            Call::CreateBlob => self.create(layout::BLOBS_PREFIX, now).await,
            Call::CreateRecord => self.create(layout::PROBE_LEDGER, now).await,
            Call::CreateEvent => self.create(layout::PROBE_EVENTS, now).await,
            Call::CreatePlan => self.create(layout::PRUNE_PREFIX, now).await,
            Call::CreateElsewhere => self.create(ELSEWHERE, now).await,
            Call::Extend => self.relock(Relock::Longer, now).await,
            Call::Hold => self.hold(now).await,
            Call::Release => self.release(now).await,
            Call::DeleteOver => self.delete(Deletion::Over, now).await,
            Call::Overwrite => self.overwrite(now).await,
            Call::PutUnlocked => self.put_below(None, now).await,
            Call::PutShort => self.put_below(Some(SHORT), now).await,
            Call::PutBeyond => self.put_dry(Dry::Beyond, now).await,
            Call::PutOtherMode => self.put_dry(Dry::OtherMode, now).await,
            Call::PutHeld => self.put_dry(Dry::Also(Extra::Hold), now).await,
            Call::PutClass => self.put_dry(Dry::Also(Extra::Class), now).await,
            Call::PutAcl => self.put_dry(Dry::Also(Extra::Acl), now).await,
            Call::PutTags => self.put_dry(Dry::Also(Extra::Tags), now).await,
            Call::PutCustomerKey => self.put_dry(Dry::Also(Extra::CustomerKey), now).await,
            Call::Delete => self.delete(Deletion::Marker, now).await,
            Call::DeleteVersion => self.delete(Deletion::Version, now).await,
            Call::DeleteBypass => self.delete(Deletion::Bypass, now).await,
            Call::DeleteMany => self.delete(Deletion::Many, now).await,
            Call::Shorten => self.relock(Relock::Shorter, now).await,
            Call::ShortenBypass => self.relock(Relock::ShorterBypass, now).await,
            Call::Unlock => self.relock(Relock::Off, now).await,
            Call::ExtendBeyond => self.extend_beyond(now).await,
            Call::SetAcl => self.change(Change::Acl, now).await,
            Call::SetTags => self.change(Change::Tags, now).await,
            Call::Reencrypt => self.change(Change::Encryption, now).await,
            Call::Abort => self.abort().await,
            Call::SetPolicy => self.configure(Config::Policy).await,
            Call::DeletePolicy => self.configure(Config::DeletePolicy).await,
            Call::SetLifecycle => self.configure(Config::Lifecycle).await,
            Call::SetVersioning => self.configure(Config::Versioning).await,
            Call::SetEncryption => self.configure(Config::Encryption).await,
            Call::SetReplication => self.configure(Config::Replication).await,
            Call::SetLocks => self.configure(Config::Locks).await,
            Call::SetPublicAccess => self.configure(Config::PublicAccess).await,
            Call::SetOwnership => self.configure(Config::Ownership).await,
            Call::DeleteBucket => self.configure(Config::DeleteBucket).await,
            Call::PlainHttp => self.plain().await,
        }
    }

    async fn read(&self, area: &str, now: Timestamp) -> Tried<Observation> {
        let canary = self.canary(area, now).await?;
        Ok(said(self.attacker.read(canary.target()).await?, None))
    }

    async fn create(&self, area: &str, now: Timestamp) -> Tried<Observation> {
        let key = self.key(area);
        let answer = self.attacker.put(&key, &body(), self.floor(now)).await?;
        let there = self.look(Target::newest(&key)).await?;
        Ok(said(answer, there.map(|it| it.is_some())))
    }

    async fn overwrite(&self, now: Timestamp) -> Tried<Observation> {
        let canary = self.blob(now).await?;
        let put = Put {
            lock: self.floor(now),
            over_others: true,
            also: None,
        };
        let answer = self.attacker.put_with(&canary.key, &body(), &put).await?;
        let newest = self.look(Target::newest(&canary.key)).await?;
        let replaced = newest.map(|it| it.is_none_or(|it| it.etag != canary.etag));
        Ok(said(answer, replaced))
    }

    /// Puts to a name that is taken, on the condition that it is free.
    async fn put_dry(&self, dry: Dry, now: Timestamp) -> Tried<Observation> {
        if matches!(dry, Dry::Beyond | Dry::OtherMode | Dry::Also(Extra::Hold)) {
            self.needs_locks()?;
        }
        if matches!(dry, Dry::Also(Extra::CustomerKey)) && !self.has_tls {
            return not_made("SSE-C needs TLS, and this endpoint has none");
        }
        if !self.keeps_conditions {
            return not_made(
                "this server ignores If-None-Match, so that the put might be done for good",
            );
        }
        let floor = self.floor(now);
        let mut put = Put {
            lock: floor,
            ..Put::default()
        };
        match dry {
            Dry::Beyond => put.lock = self.lock_until(self.beyond(now)),
            Dry::OtherMode => {
                let mode = match self.file.lock_mode {
                    LockMode::Compliance => LockMode::Governance,
                    LockMode::Governance | LockMode::None => LockMode::Compliance,
                };
                put.lock = floor.map(|lock| Lock { mode, ..lock });
            }
            Dry::Also(extra) => put.also = Some(extra),
        }
        let canary = self.blob(now).await?;
        let answer = self.attacker.put_with(&canary.key, &body(), &put).await?;
        Ok(said(answer, None))
    }

    /// Puts with a lock below the floor, or with none: an object without the floor's lock has got through.
    async fn put_below(
        &self,
        length: Option<SignedDuration>,
        now: Timestamp,
    ) -> Tried<Observation> {
        self.needs_locks()?;
        let lock = length.and_then(|length| self.lock_until(later(now, length)));
        let key = self.key(layout::BLOBS_PREFIX);
        let answer = self.attacker.put(&key, &body(), lock).await?;
        let there = self.look(Target::newest(&key)).await?;
        let floor = later(now, days(self.file.shortest_days) - SLACK);
        let below = |it: Look| it.lock.is_none_or(|lock| lock.until < floor);
        Ok(said(answer, there.map(|it| it.is_some_and(below))))
    }

    async fn delete(&self, way: Deletion, now: Timestamp) -> Tried<Observation> {
        let canary = if way == Deletion::Over {
            self.canary_over(now).await?
        } else {
            self.blob(now).await?
        };
        let is_of_a_lock = matches!(way, Deletion::Version | Deletion::Bypass | Deletion::Many);
        if is_of_a_lock && canary.lock.is_none() {
            return not_made(NO_LOCKS);
        }
        let by = &self.attacker;
        let (version, newest) = (canary.target(), Target::newest(&canary.key));
        let (answer, deleted) = match way {
            Deletion::Marker => (by.delete(newest, false).await?, newest),
            Deletion::Bypass => (by.delete(version, true).await?, version),
            Deletion::Many => (by.delete_many(version).await?, version),
            Deletion::Version | Deletion::Over => (by.delete(version, false).await?, version),
        };
        let there = self.look(deleted).await?;
        Ok(said(answer, there.map(|it| it.is_none())))
    }

    async fn extend_beyond(&self, now: Timestamp) -> Tried<Observation> {
        self.needs_locks()?;
        let lock = self.lock_until(self.beyond(now));
        if self.server != Server::Minio {
            let nobody = self.key(layout::BLOBS_PREFIX);
            let set = self.attacker.set_lock(Target::newest(&nobody), lock, false);
            return Ok(said(set.await?, None));
        }
        // MinIO looks for the object before the right. A canary is released from GOVERNANCE at once.
        if self.file.lock_mode == LockMode::Compliance {
            return not_made(
                "MinIO looks for the object before the right, and a canary would be locked for years",
            );
        }
        let canary = self.blob(now).await?;
        let target = canary.target();
        let answer = self.attacker.set_lock(target, lock, false).await?;
        let there = self.look(target).await?;
        let end = |look: Option<Look>| look.and_then(|it| it.lock).map(|it| it.until);
        let before = canary.lock.map(|lock| lock.until);
        let longer = there.map(|it| end(it) > before);
        if longer != Some(false) {
            let back = self.maker.set_lock(target, canary.lock, true);
            back.await?.ok();
        }
        Ok(said(answer, longer))
    }

    async fn relock(&self, way: Relock, now: Timestamp) -> Tried<Observation> {
        let canary = self.blob(now).await?;
        let Some(lock) = canary.lock else {
            return not_made(NO_LOCKS);
        };
        let until =
            |until: Result<Timestamp, jiff::Error>| until.ok().map(|until| Lock { until, ..lock });
        let longer = until(lock.until.saturating_add(DAY));
        let shorter = until(lock.until.saturating_sub(DAY / 2));
        let (wanted, bypass) = match way {
            Relock::Longer => (longer, false),
            Relock::Shorter => (shorter, false),
            Relock::ShorterBypass => (shorter, true),
            Relock::Off => (None, true),
        };
        let set = self.attacker.set_lock(canary.target(), wanted, bypass);
        let answer = set.await?;
        let there = self.look(canary.target()).await?;
        let end = there.map(|it| it.and_then(|it| it.lock).map(|it| it.until));
        let changed = end.map(|end| match way {
            Relock::Longer => end.is_some_and(|end| end > lock.until),
            Relock::Shorter | Relock::ShorterBypass | Relock::Off => {
                end.is_none_or(|end| end < lock.until)
            }
        });
        Ok(said(answer, changed))
    }

    /// Whether a canary is held; `None` where neither identity may look.
    async fn is_held(&self, canary: &Canary) -> Result<Option<bool>, StoreError> {
        let there = self.look(canary.target()).await?;
        Ok(there.map(|it| it.is_some_and(|it| it.held)))
    }

    async fn hold(&self, now: Timestamp) -> Tried<Observation> {
        let canary = self.blob(now).await?;
        let target = canary.target();
        let answer = self.attacker.set_hold(target, true).await?;
        let seen = self.is_held(&canary).await?;
        if seen != Some(false) {
            // A check leaves no hold behind.
            self.maker.set_hold(target, false).await?.ok();
            self.attacker.set_hold(target, false).await?.ok();
        }
        Ok(said(answer, seen))
    }

    async fn release(&self, now: Timestamp) -> Tried<Observation> {
        let canary = self.blob(now).await?;
        let target = canary.target();
        for holder in [&self.maker, &self.attacker] {
            if self.is_held(&canary).await? != Some(true) {
                holder.set_hold(target, true).await?.ok();
            }
        }
        if self.is_held(&canary).await? != Some(true) {
            return not_made("nobody here may put a legal hold on a canary, to be released");
        }
        let answer = self.attacker.set_hold(target, false).await?;
        let seen = self.is_held(&canary).await?;
        self.maker.set_hold(target, false).await?.ok();
        Ok(said(answer, seen.map(|is_held| !is_held)))
    }

    async fn change(&self, what: Change, now: Timestamp) -> Tried<Observation> {
        if what == Change::Encryption && self.server != Server::Aws {
            // Another server would take it for a put of the object.
            return not_made("the server has no such call");
        }
        let canary = self.blob(now).await?;
        let (by, target) = (&self.attacker, canary.target());
        let answer = match what {
            Change::Acl => by.set_acl(target).await?,
            Change::Tags => by.set_tags(target).await?,
            Change::Encryption => by.reencrypt(target).await?,
        };
        Ok(said(answer, None))
    }

    async fn abort(&self) -> Tried<Observation> {
        let key = self.key(layout::BLOBS_PREFIX);
        let upload = match self.maker.begin_upload(&key).await? {
            Ok(upload) => upload,
            Err(refusal) => {
                let why = format!("no upload to drop can be begun: {refusal}");
                return not_made(&why);
            }
        };
        let answer = self.attacker.abort(&key, &upload).await?;
        let gone = match self.maker.send_part(&key, &upload).await? {
            Ok(()) => Some(false),
            Err(refusal) if refusal.status == 404 => Some(true),
            Err(_) => None,
        };
        // Where the maker may not abort it either, the bucket's rule for unfinished uploads does.
        self.maker.abort(&key, &upload).await?.ok();
        Ok(said(answer, gone))
    }

    async fn configure(&self, what: Config) -> Tried<Observation> {
        let set = self.attacker.set_again(what, &self.settings).await?;
        Ok(said(set.map_err(Stop::NotMade)?, None))
    }

    async fn plain(&self) -> Tried<Observation> {
        let plain = match &self.plain {
            Ok(plain) => plain,
            Err(why) => return not_made(why),
        };
        match plain.list(&self.prefix).await {
            Ok(answer) => Ok(said(answer, None)),
            Err(error) if matches!(error.kind, StoreErrorKind::Unreachable { .. }) => {
                Ok(Observation {
                    answer: Answer::Refused {
                        status: 0,
                        code: String::new(),
                        text: error.kind.to_string(),
                    },
                    effect: Effect::Nothing,
                })
            }
            Err(error) => Err(error.into()),
        }
    }

    fn needs_locks(&self) -> Tried<()> {
        match self.file.lock_mode {
            LockMode::None => not_made(NO_LOCKS),
            LockMode::Governance | LockMode::Compliance => Ok(()),
        }
    }

    /// Makes a canary among the blobs, locked as they are.
    async fn blob(&self, now: Timestamp) -> Tried<Canary> {
        self.canary(layout::BLOBS_PREFIX, now).await
    }

    /// Makes a canary, locked as the vault's objects are.
    async fn canary(&self, area: &str, now: Timestamp) -> Tried<Canary> {
        self.make(self.key(area), self.floor(now)).await
    }

    /// Makes a canary, and waits until its lock is over.
    async fn canary_over(&self, now: Timestamp) -> Tried<Canary> {
        let until = later(now, MOMENT);
        let key = self.key(layout::BLOBS_PREFIX);
        let canary = self.make(key, self.lock_until(until)).await?;
        if canary.lock.is_some_and(|lock| lock.until > until + MOMENT) {
            return not_made("what is put is locked for the floor, also for who makes the canary");
        }
        tokio::time::sleep(AFTERWARDS).await;
        Ok(canary)
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

    /// An object as it is now: `Some(None)` where it is gone, `None` where neither identity may look.
    async fn look(&self, target: Target<'_>) -> Result<Option<Option<Look>>, StoreError> {
        for watcher in [&self.maker, &self.attacker] {
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

    /// Two days above the ceiling, which is the longest promise, a generation and a day.
    fn beyond(&self, now: Timestamp) -> Timestamp {
        let ceiling = days(self.file.longest_days) + days(self.file.generation_days) + DAY;
        later(now, ceiling + DAY * 2)
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
