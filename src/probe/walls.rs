//! Tries what a role must not be able to do, on objects that are made for it and on nothing else.
//!
//! **Nothing that is real is at stake.** Every call on an object is made on a canary of one line of random bytes below a
//! `probe/` name, which no reader looks at; one that is let through costs that canary. Where even that would last (a lock
//! above the ceiling, which in COMPLIANCE nobody ends for years), the put goes to a name that is taken, on the condition
//! that it is free: let through, it is refused for the condition (412), and only after the right to it was found. That is
//! done only on a server that was just seen to keep the condition. A lock above the ceiling is asked for of an object that
//! is not there; where a server looks for the object before the right, of a canary in GOVERNANCE, and not in
//! COMPLIANCE. Settings of the bucket are sent again as they are, or, where nothing is set, in a form that no server
//! takes; a policy that is there is never deleted; a bucket is deleted only while there is something in it, which no server
//! does. So a wall that is missing is found and nothing is lost by it.
//!
//! Canaries are locked as the vault's objects are, for its floor and a day, and are left to `prune`. Who makes them also
//! looks at what became of them.

use std::time::Duration;

use jiff::SignedDuration;

use self::act::{Act, Change, Deletion, Dry, Relock, act};
use super::prober::{Extra, Lock, Look, Probed, Prober, Put, Settings};
use crate::format::{LockMode, VaultFile, layout};
use crate::ids::{Id128, ObjectVersion, Timestamp};
use crate::store::{StoreError, StoreErrorKind};
use crate::wall::call::Call;
use crate::wall::judge::{Answer, Effect, Observation};
use crate::wall::matrix::Server;

mod act;

pub(super) use self::act::Config;

/// Why a lock is not tried.
const NO_LOCKS: &str = "the vault has no locks";
/// How long a lock is that is over at once.
const MOMENT: SignedDuration = SignedDuration::from_secs(3);
/// How long after that it surely is.
const AFTERWARDS: Duration = Duration::from_secs(5);
/// A lock that is too short for every floor.
const SHORT: SignedDuration = SignedDuration::from_mins(10);
/// What a lock may lack of the floor and still be of its length: clocks, and what is rounded.
const SLACK: SignedDuration = SignedDuration::from_hours(1);
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// Who tries, who makes what it is tried on, and what the vault is.
#[derive(Debug)]
pub struct Walls {
    attacker: Prober,
    maker: Prober,
    /// The way without TLS; why there is none.
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

/// A canary, or why there is none.
type Made = Result<Canary, String>;

impl Walls {
    /// Reads the bucket's settings, finds out which server it is, and whether it keeps conditions.
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
        let header = match maker.read(&nobody, None).await? {
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
        if let Ok(canary) = walls.canary(layout::BLOBS_PREFIX, now).await? {
            let again = walls.maker.put(&canary.key, b"again", None).await?;
            walls.keeps_conditions = again.is_err_and(|refusal| refusal.status == 412);
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
        let by = &self.attacker;
        match act(call) {
            Act::List => Ok(said(by.list(&self.prefix).await?, Effect::Harmless)),
            Act::ReadConfiguration => Ok(said(by.read_versioning().await?, Effect::Harmless)),
            Act::Read(area) => self.read(area, false, now).await,
            Act::ReadLock => self.read(layout::BLOBS_PREFIX, true, now).await,
            Act::Create(area) => self.create(area, now).await,
            Act::Overwrite => self.overwrite(now).await,
            Act::PutBelow { short } => self.put_below(short, now).await,
            Act::Dry(dry) => self.put_dry(dry, now).await,
            Act::Delete(way) => self.delete(way, now).await,
            Act::Lock(way) => self.relock(way, now).await,
            Act::ExtendBeyond => self.extend_beyond(now).await,
            Act::Hold => self.hold(now).await,
            Act::Release => self.release(now).await,
            Act::Change(what) => self.change(what, now).await,
            Act::Abort => self.abort().await,
            Act::Configure(what) => Ok(match by.set_again(what, &self.settings).await? {
                Ok(answer) => said(answer, Effect::Harmless),
                Err(why) => not_made(why),
            }),
            Act::PlainHttp => self.plain().await,
        }
    }

    async fn read(
        &self,
        area: &str,
        lock: bool,
        now: Timestamp,
    ) -> Result<Observation, StoreError> {
        let canary = match self.canary(area, now).await? {
            Ok(canary) => canary,
            Err(why) => return Ok(not_made(why)),
        };
        let version = canary.version.as_ref();
        let answer = if lock {
            self.attacker.read_lock(&canary.key, version).await?
        } else {
            self.attacker.read(&canary.key, version).await?
        };
        Ok(said(answer, Effect::Harmless))
    }

    async fn create(&self, area: &str, now: Timestamp) -> Result<Observation, StoreError> {
        let key = self.key(area);
        let answer = self.attacker.put(&key, &body(), self.floor(now)).await?;
        let there = self.look(&key, None).await?;
        Ok(said(answer, happened(there.map(|it| it.is_some()))))
    }

    async fn overwrite(&self, now: Timestamp) -> Result<Observation, StoreError> {
        let canary = match self.canary(layout::BLOBS_PREFIX, now).await? {
            Ok(canary) => canary,
            Err(why) => return Ok(not_made(why)),
        };
        let put = Put {
            lock: self.floor(now),
            over_others: true,
            also: None,
        };
        let answer = self.attacker.put_with(&canary.key, &body(), &put).await?;
        let newest = self.look(&canary.key, None).await?;
        let replaced = newest.map(|it| it.is_none_or(|it| it.etag != canary.etag));
        Ok(said(answer, happened(replaced)))
    }

    /// Puts what must never be put to a name that is taken, on the condition that it is free.
    async fn put_dry(&self, dry: Dry, now: Timestamp) -> Result<Observation, StoreError> {
        let is_of_locks = matches!(dry, Dry::Beyond | Dry::OtherMode | Dry::Also(Extra::Hold));
        if is_of_locks && self.file.lock_mode == LockMode::None {
            return Ok(not_made(NO_LOCKS));
        }
        if matches!(dry, Dry::Also(Extra::CustomerKey)) && !self.has_tls {
            return Ok(not_made("SSE-C needs TLS, and this endpoint has none"));
        }
        if !self.keeps_conditions {
            let why = "this server ignores If-None-Match, so that the put might be done for good";
            return Ok(not_made(why));
        }
        let mut put = Put {
            lock: self.floor(now),
            ..Put::default()
        };
        match dry {
            Dry::Beyond => put.lock = self.lock_until(self.beyond(now)),
            Dry::OtherMode => {
                put.lock = put.lock.map(|lock| Lock {
                    mode: other(lock.mode),
                    ..lock
                });
            }
            Dry::Also(extra) => put.also = Some(extra),
        }
        let canary = match self.canary(layout::BLOBS_PREFIX, now).await? {
            Ok(canary) => canary,
            Err(why) => return Ok(not_made(why)),
        };
        let answer = self.attacker.put_with(&canary.key, &body(), &put).await?;
        Ok(said(answer, Effect::Harmless))
    }

    /// Puts without a lock or with one that is too short: what is there then, and not locked for the floor, got through.
    async fn put_below(&self, short: bool, now: Timestamp) -> Result<Observation, StoreError> {
        if self.file.lock_mode == LockMode::None {
            return Ok(not_made(NO_LOCKS));
        }
        let until = now.saturating_add(SHORT).unwrap_or(now);
        let lock = short.then(|| self.lock_until(until)).flatten();
        let key = self.key(layout::BLOBS_PREFIX);
        let answer = self.attacker.put(&key, &body(), lock).await?;
        let there = self.look(&key, None).await?;
        let days = i64::from(self.file.shortest_days);
        let floor = now.saturating_add(SignedDuration::from_hours(days.saturating_mul(24)) - SLACK);
        let floor = floor.unwrap_or(Timestamp::MAX);
        let below = |it: Look| it.lock.is_none_or(|lock| lock.until < floor);
        Ok(said(
            answer,
            happened(there.map(|it| it.is_some_and(below))),
        ))
    }

    async fn delete(&self, way: Deletion, now: Timestamp) -> Result<Observation, StoreError> {
        let made = if way == Deletion::Over {
            self.canary_over(now).await?
        } else {
            self.canary(layout::BLOBS_PREFIX, now).await?
        };
        let canary = match made {
            Ok(canary) => canary,
            Err(why) => return Ok(not_made(why)),
        };
        let (key, version) = (&canary.key, canary.version.as_ref());
        let by = &self.attacker;
        let of_a_lock = matches!(way, Deletion::Version | Deletion::Bypass | Deletion::Many);
        if of_a_lock && canary.lock.is_none() {
            return Ok(not_made(NO_LOCKS));
        }
        let (answer, looked_at) = match way {
            Deletion::Marker => (by.delete(key, None, false).await?, None),
            Deletion::Bypass => (by.delete(key, version, true).await?, version),
            Deletion::Many => (by.delete_many(key, version).await?, version),
            Deletion::Version | Deletion::Over => (by.delete(key, version, false).await?, version),
        };
        let there = self.look(key, looked_at).await?;
        Ok(said(answer, happened(there.map(|it| it.is_none()))))
    }

    async fn extend_beyond(&self, now: Timestamp) -> Result<Observation, StoreError> {
        if self.file.lock_mode == LockMode::None {
            return Ok(not_made(NO_LOCKS));
        }
        let lock = self.lock_until(self.beyond(now));
        if self.server == Server::Minio {
            return self.extend_for_years(lock, now).await;
        }
        let nobody = self.key(layout::BLOBS_PREFIX);
        let answer = self.attacker.set_lock(&nobody, None, lock, false).await?;
        Ok(said(answer, Effect::Harmless))
    }

    /// Where the object is looked for before the right: on a canary, which is released from GOVERNANCE at once.
    async fn extend_for_years(
        &self,
        lock: Option<Lock>,
        now: Timestamp,
    ) -> Result<Observation, StoreError> {
        if self.file.lock_mode == LockMode::Compliance {
            let why = "MinIO looks for the object before the right, and a canary would be locked for years";
            return Ok(not_made(why));
        }
        let canary = match self.canary(layout::BLOBS_PREFIX, now).await? {
            Ok(canary) => canary,
            Err(why) => return Ok(not_made(why)),
        };
        let (key, version) = (&canary.key, canary.version.as_ref());
        let answer = self.attacker.set_lock(key, version, lock, false).await?;
        let there = self.look(key, version).await?;
        let end = |look: Option<Look>| look.and_then(|it| it.lock).map(|it| it.until);
        let before = canary.lock.map(|lock| lock.until);
        let longer = there.map(|it| end(it) > before);
        if longer != Some(false) {
            let back = self.maker.set_lock(key, version, canary.lock, true);
            back.await?.ok();
        }
        Ok(said(answer, happened(longer)))
    }

    async fn relock(&self, way: Relock, now: Timestamp) -> Result<Observation, StoreError> {
        let canary = match self.canary(layout::BLOBS_PREFIX, now).await? {
            Ok(canary) => canary,
            Err(why) => return Ok(not_made(why)),
        };
        let Some(lock) = canary.lock else {
            return Ok(not_made(NO_LOCKS));
        };
        let (key, version) = (&canary.key, canary.version.as_ref());
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
        let set = self.attacker.set_lock(key, version, wanted, bypass);
        let answer = set.await?;
        let there = self.look(key, version).await?;
        let end = there.map(|it| it.and_then(|it| it.lock).map(|it| it.until));
        let changed = end.map(|end| match way {
            Relock::Longer => end.is_some_and(|end| end > lock.until),
            Relock::Shorter | Relock::ShorterBypass | Relock::Off => {
                end.is_none_or(|end| end < lock.until)
            }
        });
        Ok(said(answer, happened(changed)))
    }

    /// Whether a canary is held; nothing where nobody may look.
    async fn is_held(&self, canary: &Canary) -> Result<Option<bool>, StoreError> {
        let there = self.look(&canary.key, canary.version.as_ref()).await?;
        Ok(there.map(|it| it.is_some_and(|it| it.held)))
    }

    async fn hold(&self, now: Timestamp) -> Result<Observation, StoreError> {
        let canary = match self.canary(layout::BLOBS_PREFIX, now).await? {
            Ok(canary) => canary,
            Err(why) => return Ok(not_made(why)),
        };
        let (key, version) = (&canary.key, canary.version.as_ref());
        let answer = self.attacker.set_hold(key, version, true).await?;
        let seen = self.is_held(&canary).await?;
        if seen != Some(false) {
            // Nothing stays held by a check.
            self.maker.set_hold(key, version, false).await?.ok();
            self.attacker.set_hold(key, version, false).await?.ok();
        }
        Ok(said(answer, happened(seen)))
    }

    async fn release(&self, now: Timestamp) -> Result<Observation, StoreError> {
        let canary = match self.canary(layout::BLOBS_PREFIX, now).await? {
            Ok(canary) => canary,
            Err(why) => return Ok(not_made(why)),
        };
        let (key, version) = (&canary.key, canary.version.as_ref());
        for holder in [&self.maker, &self.attacker] {
            if self.is_held(&canary).await? != Some(true) {
                holder.set_hold(key, version, true).await?.ok();
            }
        }
        if self.is_held(&canary).await? != Some(true) {
            let why = "nobody here may put a legal hold on a canary, to be released";
            return Ok(not_made(why));
        }
        let answer = self.attacker.set_hold(key, version, false).await?;
        let seen = self.is_held(&canary).await?;
        self.maker.set_hold(key, version, false).await?.ok();
        Ok(said(answer, happened(seen.map(|is_held| !is_held))))
    }

    async fn change(&self, what: Change, now: Timestamp) -> Result<Observation, StoreError> {
        if what == Change::Encryption && self.server != Server::Aws {
            // Another server would take it for a put of the object.
            return Ok(not_made("the server has no such call"));
        }
        let canary = match self.canary(layout::BLOBS_PREFIX, now).await? {
            Ok(canary) => canary,
            Err(why) => return Ok(not_made(why)),
        };
        let (key, version) = (&canary.key, canary.version.as_ref());
        let by = &self.attacker;
        let answer = match what {
            Change::Acl => by.set_acl(key, version).await?,
            Change::Tags => by.set_tags(key, version).await?,
            Change::Encryption => by.reencrypt(key, version).await?,
        };
        Ok(said(answer, Effect::Harmless))
    }

    async fn abort(&self) -> Result<Observation, StoreError> {
        let key = self.key(layout::BLOBS_PREFIX);
        let upload = match self.maker.begin_upload(&key).await? {
            Ok(upload) => upload,
            Err(refusal) => {
                let why = format!("no upload to drop can be begun: {}", refusal.told());
                return Ok(not_made(why));
            }
        };
        let answer = self.attacker.abort(&key, &upload).await?;
        let gone = match self.maker.send_part(&key, &upload).await? {
            Ok(()) => Some(false),
            Err(refusal) if refusal.status == 404 => Some(true),
            Err(_) => None,
        };
        // Who may takes it away again; else the bucket's rule for unfinished uploads does.
        self.maker.abort(&key, &upload).await?.ok();
        Ok(said(answer, happened(gone)))
    }

    async fn plain(&self) -> Result<Observation, StoreError> {
        let plain = match &self.plain {
            Ok(plain) => plain,
            Err(why) => return Ok(not_made(why.clone())),
        };
        match plain.list(&self.prefix).await {
            Ok(answer) => Ok(said(answer, Effect::Harmless)),
            Err(error) if matches!(error.kind, StoreErrorKind::Unreachable { .. }) => {
                Ok(Observation {
                    answer: Answer::Refused {
                        status: 0,
                        code: String::new(),
                        told: error.kind.to_string(),
                    },
                    effect: Effect::Nothing,
                })
            }
            Err(error) => Err(error),
        }
    }

    /// Makes a canary, locked as the vault's objects are.
    async fn canary(&self, area: &str, now: Timestamp) -> Result<Made, StoreError> {
        self.make(self.key(area), self.floor(now)).await
    }

    /// Makes a canary whose lock is over.
    async fn canary_over(&self, now: Timestamp) -> Result<Made, StoreError> {
        let until = now.saturating_add(MOMENT).unwrap_or(now);
        let key = self.key(layout::BLOBS_PREFIX);
        let made = self.make(key, self.lock_until(until)).await?;
        if let Ok(canary) = &made {
            if canary.lock.is_some_and(|lock| lock.until > until + MOMENT) {
                let why = "what is put is locked for the floor, also for who makes the canary";
                return Ok(Err(why.to_owned()));
            }
            tokio::time::sleep(AFTERWARDS).await;
        }
        Ok(made)
    }

    async fn make(&self, key: String, lock: Option<Lock>) -> Result<Made, StoreError> {
        let why = |told: String| Ok(Err(format!("no canary can be made: {told}")));
        let version = match self.maker.put(&key, &body(), lock).await? {
            Ok(version) => version,
            Err(refusal) => return why(refusal.told()),
        };
        match self.maker.look(&key, version.as_ref()).await? {
            Ok(seen) => Ok(Ok(Canary {
                key,
                version,
                etag: seen.etag,
                lock: seen.lock,
            })),
            Err(refusal) => why(refusal.told()),
        }
    }

    /// An object as it is now: none where it is gone; nothing where nobody may look.
    async fn look(
        &self,
        key: &str,
        version: Option<&ObjectVersion>,
    ) -> Result<Option<Option<Look>>, StoreError> {
        for watcher in [&self.maker, &self.attacker] {
            match watcher.look(key, version).await? {
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
        let days = i64::from(self.file.shortest_days).saturating_add(1);
        let until = now.saturating_add(SignedDuration::from_hours(days.saturating_mul(24)));
        self.lock_until(until.unwrap_or(now))
    }

    /// Two days above the ceiling, which is the longest promise, a generation and a day.
    fn beyond(&self, now: Timestamp) -> Timestamp {
        let days = i64::from(self.file.longest_days) + i64::from(self.file.generation_days) + 3;
        let until = now.saturating_add(SignedDuration::from_hours(days.saturating_mul(24)));
        until.unwrap_or(now)
    }
}

fn id() -> Id128 {
    Id128::from_bytes(rand::random())
}

/// Random, so that no two canaries are the same.
fn body() -> Vec<u8> {
    format!("a canary of deltavault: {}\n", id()).into_bytes()
}

fn other(mode: LockMode) -> LockMode {
    match mode {
        LockMode::Compliance => LockMode::Governance,
        LockMode::Governance | LockMode::None => LockMode::Compliance,
    }
}

fn happened(seen: Option<bool>) -> Effect {
    match seen {
        Some(true) => Effect::Happened,
        Some(false) => Effect::Nothing,
        // Nobody may look: what was said has to do.
        None => Effect::Harmless,
    }
}

fn said<T>(answer: Probed<T>, effect: Effect) -> Observation {
    let answer = match answer {
        Ok(_) => Answer::Done,
        Err(refusal) => Answer::Refused {
            status: refusal.status,
            told: refusal.told(),
            code: refusal.code,
        },
    };
    Observation { answer, effect }
}

fn not_made(why: impl Into<String>) -> Observation {
    Observation {
        answer: Answer::NotMade(why.into()),
        effect: Effect::Nothing,
    }
}
