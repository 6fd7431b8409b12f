//! Changes of what is there: reads, deletions, locks, holds, settings of objects and of the bucket.

use super::super::prober::{Config, Lock, Look, Target};
use super::tried::{Stop, Tried, not_made, said, which};
use super::{AREAS, Caller, Canary, DAY, NO_LOCKS, PRUNED, Walls};
use crate::format::{LockMode, layout};
use crate::ids::Timestamp;
use crate::store::{StoreError, StoreErrorKind};
use crate::wall::call::Call;
use crate::wall::judge::{Answer, Effect, Observation};
use crate::wall::matrix::Server;

/// How an object is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deletion {
    Marker,
    Version,
    Bypass,
    Many,
    /// By version, when its lock is over.
    Over,
}

/// How a lock is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relock {
    Longer,
    Shorter,
    ShorterBypass,
    Off,
}

/// What is changed about an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Acl,
    Tags,
    Annotation,
    Encryption,
}

impl Change {
    fn call(self) -> Call {
        match self {
            Self::Acl => Call::SetAcl,
            Self::Tags => Call::SetTags,
            Self::Annotation => Call::Annotate,
            Self::Encryption => Call::Reencrypt,
        }
    }
}

impl Walls {
    pub(super) async fn read(
        &self,
        caller: Caller<'_>,
        call: Call,
        areas: &[&str],
        now: Timestamp,
    ) -> Tried<Observation> {
        let mut seen = Vec::new();
        for area in areas {
            let canary = self.canary(area, now).await?;
            seen.push(said(caller.by.read(canary.target()).await?, None));
        }
        which(seen, self.may(call))
    }

    /// Deletes an object of each area. What shows that the call as such is let through is a deletion when no lock is left.
    pub(super) async fn delete(
        &self,
        caller: Caller<'_>,
        way: Deletion,
        areas: &[&str],
        now: Timestamp,
    ) -> Tried<Observation> {
        let is_of_a_lock = matches!(way, Deletion::Version | Deletion::Bypass | Deletion::Many);
        let is_allowed =
            way == Deletion::Over && self.may(Call::DeleteOver) && areas.len() == PRUNED;
        let by = caller.by;
        let mut seen = Vec::new();
        for area in areas {
            let canary = if way == Deletion::Over || is_of_a_lock && caller.is_control {
                self.canary_over(area, now).await?
            } else {
                self.canary(area, now).await?
            };
            if is_of_a_lock && canary.lock.is_none() {
                return not_made(NO_LOCKS);
            }
            let (version, newest) = (canary.target(), Target::newest(&canary.key));
            let (answer, deleted) = match way {
                Deletion::Marker => (by.delete(newest, false).await?, newest),
                Deletion::Bypass => (by.delete(version, true).await?, version),
                Deletion::Many => (by.delete_many(version).await?, version),
                Deletion::Version | Deletion::Over => (by.delete(version, false).await?, version),
            };
            let there = self.look(deleted).await?;
            seen.push(said(answer, there.map(|it| it.is_none())));
            if caller.is_control {
                break;
            }
        }
        which(seen, is_allowed)
    }

    pub(super) async fn extend_beyond(
        &self,
        caller: Caller<'_>,
        now: Timestamp,
    ) -> Tried<Observation> {
        let Some(lock) = self.lock_until(self.beyond(now)) else {
            return not_made(NO_LOCKS);
        };
        let lock = Some(lock);
        if self.server != Server::Minio {
            let nobody = self.key(layout::BLOBS_PREFIX);
            let set = caller.by.set_lock(Target::newest(&nobody), lock, false);
            return Ok(said(set.await?, None));
        }
        // MinIO looks for the object before the right. A canary is released from GOVERNANCE at once.
        if self.file.lock_mode == LockMode::Compliance {
            return not_made(
                "MinIO looks for the object before the right, and a canary would be locked for years",
            );
        }
        let canary = self.canary(layout::BLOBS_PREFIX, now).await?;
        let target = canary.target();
        let answer = caller.by.set_lock(target, lock, false).await?;
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

    /// Changes a lock. What shows that the call as such is let through is a longer one.
    pub(super) async fn relock(
        &self,
        caller: Caller<'_>,
        way: Relock,
        now: Timestamp,
    ) -> Tried<Observation> {
        let way = if caller.is_control {
            Relock::Longer
        } else {
            way
        };
        let mut seen = Vec::new();
        let areas = match way {
            Relock::Longer => self.areas(caller, Call::Extend),
            Relock::Shorter | Relock::ShorterBypass | Relock::Off => &AREAS[..1],
        };
        for area in areas {
            let canary = self.canary(area, now).await?;
            let Some(lock) = canary.lock else {
                return not_made(NO_LOCKS);
            };
            let until = |until: Result<Timestamp, jiff::Error>| {
                until.ok().map(|until| Lock { until, ..lock })
            };
            let longer = until(lock.until.saturating_add(DAY));
            let shorter = until(lock.until.saturating_sub(DAY / 2));
            let (wanted, bypass) = match way {
                Relock::Longer => (longer, false),
                Relock::Shorter => (shorter, false),
                Relock::ShorterBypass => (shorter, true),
                Relock::Off => (None, true),
            };
            let set = caller.by.set_lock(canary.target(), wanted, bypass);
            let answer = set.await?;
            let there = self.look(canary.target()).await?;
            let end = there.map(|it| it.and_then(|it| it.lock).map(|it| it.until));
            let changed = end.map(|end| match way {
                Relock::Longer => end.is_some_and(|end| end > lock.until),
                Relock::Shorter | Relock::ShorterBypass | Relock::Off => {
                    end.is_none_or(|end| end < lock.until)
                }
            });
            seen.push(said(answer, changed));
        }
        which(seen, way == Relock::Longer && self.may(Call::Extend))
    }

    /// Whether a canary is held; `None` where nobody here may look.
    async fn is_held(&self, canary: &Canary) -> Result<Option<bool>, StoreError> {
        let there = self.look(canary.target()).await?;
        Ok(there.map(|it| it.is_some_and(|it| it.held)))
    }

    pub(super) async fn hold(&self, caller: Caller<'_>, now: Timestamp) -> Tried<Observation> {
        let mut all = Vec::new();
        for area in self.areas(caller, Call::Hold) {
            let canary = self.canary(area, now).await?;
            let target = canary.target();
            let answer = caller.by.set_hold(target, true).await?;
            let seen = self.is_held(&canary).await?;
            if seen != Some(false) {
                // A check leaves no hold behind.
                self.let_go(&canary).await?;
            }
            all.push(said(answer, seen));
        }
        which(all, self.may(Call::Hold))
    }

    pub(super) async fn release(&self, caller: Caller<'_>, now: Timestamp) -> Tried<Observation> {
        let canary = self.canary(layout::BLOBS_PREFIX, now).await?;
        let target = canary.target();
        for holder in self.everybody() {
            if self.is_held(&canary).await? != Some(true) {
                holder.set_hold(target, true).await?.ok();
            }
        }
        if self.is_held(&canary).await? != Some(true) {
            return not_made("nobody here may put a legal hold on a canary, to be released");
        }
        let answer = caller.by.set_hold(target, false).await?;
        let seen = self.is_held(&canary).await?;
        self.let_go(&canary).await?;
        Ok(said(answer, seen.map(|is_held| !is_held)))
    }

    /// Takes the hold off a canary, by whoever may.
    async fn let_go(&self, canary: &Canary) -> Tried<()> {
        for holder in self.everybody() {
            holder.set_hold(canary.target(), false).await?.ok();
        }
        Ok(())
    }

    pub(super) async fn change(
        &self,
        caller: Caller<'_>,
        what: Change,
        now: Timestamp,
    ) -> Tried<Observation> {
        let is_new = matches!(what, Change::Encryption | Change::Annotation);
        if is_new && self.server != Server::Aws {
            // Another server would take it for a put of the object.
            return not_made("the server has no such call");
        }
        let by = caller.by;
        let mut seen = Vec::new();
        for area in self.areas(caller, what.call()) {
            let canary = self.canary(area, now).await?;
            let target = canary.target();
            let answer = match what {
                Change::Acl => by.set_acl(target).await?,
                Change::Tags => by.set_tags(target).await?,
                Change::Annotation => by.annotate(target).await?,
                Change::Encryption => by.reencrypt(target).await?,
            };
            seen.push(said(answer, None));
        }
        which(seen, false)
    }

    pub(super) async fn abort(&self, caller: Caller<'_>) -> Tried<Observation> {
        let key = self.key(layout::BLOBS_PREFIX);
        let upload = match self.maker.begin_upload(&key).await? {
            Ok(upload) => upload,
            Err(refusal) => {
                let why = format!("no upload to drop can be begun: {refusal}");
                return not_made(&why);
            }
        };
        let answer = caller.by.abort(&key, &upload).await?;
        let gone = match self.maker.send_part(&key, &upload).await? {
            Ok(_) => Some(false),
            Err(refusal) if refusal.status == 404 => Some(true),
            Err(_) => None,
        };
        // Where the maker may not abort it either, the bucket's rule for unfinished uploads does.
        self.maker.abort(&key, &upload).await?.ok();
        Ok(said(answer, gone))
    }

    /// Sends a setting again. Who may change it is not asked to delete anything, and sends what is set at this moment.
    pub(super) async fn configure(&self, caller: Caller<'_>, what: Config) -> Tried<Observation> {
        let is_unknown = matches!(what, Config::Inventory | Config::Logging | Config::Website);
        if self.server == Server::Minio && is_unknown {
            // It would take the call for one that makes the bucket.
            return not_made("the server has no such call");
        }
        let fresh = match (caller.is_control, what) {
            (true, Config::DeletePolicy | Config::DeleteBucket) => {
                return not_made("nobody who may delete it is asked to");
            }
            (true, _) => Some(self.maker.settings().await?),
            (false, _) => None,
        };
        let settings = fresh.as_ref().unwrap_or(&self.settings);
        let set = caller.by.set_again(what, settings).await?;
        Ok(said(set.map_err(Stop::NotMade)?, None))
    }

    /// Lists by plain HTTP. What shows that the call as such is let through is the same one by TLS.
    pub(super) async fn plain(&self, caller: Caller<'_>) -> Tried<Observation> {
        let plain = match &self.plain {
            Ok(_) if caller.is_control => caller.by,
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
}
