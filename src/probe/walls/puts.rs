//! Puts: what a role could forge or replace, and what a put could bring along.

use super::super::prober::{Extra, Lock, Look, Put, Target};
use super::tried::{Tried, not_made, said, which};
use super::{Caller, DAY, NO_LOCKS, SLACK, Walls, body, days, later};
use crate::format::{LockMode, VaultKey, layout};
use crate::ids::Timestamp;
use crate::wall::call::Call;
use crate::wall::judge::Observation;
use crate::wall::matrix::Server;

use jiff::SignedDuration;

/// A put that must never take effect, and is made so that it cannot.
#[derive(Debug, Clone, Copy)]
pub(super) enum Dry {
    Beyond,
    OtherMode,
    Also(Extra),
}

impl Walls {
    /// Puts into each of some areas. Who may not is seen in any of them, and without a lock as well: that forges all the same.
    pub(super) async fn create(
        &self,
        caller: Caller<'_>,
        call: Call,
        areas: &[&str],
        now: Timestamp,
    ) -> Tried<Observation> {
        let floor = self.floor(now);
        let locks = match floor {
            Some(_) if !self.may(call) => vec![floor, None],
            Some(_) | None => vec![floor],
        };
        let mut seen = Vec::new();
        for area in areas {
            for lock in &locks {
                let key = self.key(area);
                let answer = caller.by.put(&key, &body(), *lock).await?;
                let there = self.look(Target::newest(&key)).await?;
                seen.push(said(answer, there.map(|it| it.is_some())));
            }
        }
        which(seen, self.may(call))
    }

    /// Puts a record in the other ways that a server has: in parts, as a copy, and over one that is there.
    pub(super) async fn forge(&self, caller: Caller<'_>, now: Timestamp) -> Tried<Observation> {
        let mut seen = Vec::new();
        let key = self.key(layout::PROBE_LEDGER);
        let answer = caller.by.put_in_parts(&key).await?;
        let there = self.look(Target::newest(&key)).await?;
        seen.push(said(answer, there.map(|it| it.is_some())));
        if self.may(Call::ForgeRecord) {
            return which(seen, true);
        }
        let record = self.canary(layout::PROBE_LEDGER, now).await?;
        let key = self.key(layout::PROBE_LEDGER);
        let answer = caller.by.copy(&key, record.target(), None).await?;
        let there = self.look(Target::newest(&key)).await?;
        seen.push(said(answer, there.map(|it| it.is_some())));

        let over = Put {
            over_others: true,
            ..Put::default()
        };
        let answer = caller.by.put_with(&record.key, &body(), &over).await?;
        let newest = self.look(Target::newest(&record.key)).await?;
        let replaced = newest.map(|it| it.is_none_or(|it| it.etag != record.etag));
        seen.push(said(answer, replaced));
        which(seen, false)
    }

    /// Puts the vault's own file, on the condition that there is none: the same bytes, so that not even a server that
    /// forgets the condition changes anything.
    pub(super) async fn replace_vault_file(&self, caller: Caller<'_>) -> Tried<Observation> {
        if !self.keeps_conditions {
            return not_made("this server ignores If-None-Match");
        }
        let Ok(bytes) = self.file.encode() else {
            return not_made("the vault's file cannot be spelled");
        };
        let key = format!("{}{}", self.prefix, VaultKey::VaultFile);
        Ok(said(caller.by.put(&key, &bytes, None).await?, None))
    }

    pub(super) async fn overwrite(&self, caller: Caller<'_>, now: Timestamp) -> Tried<Observation> {
        let canary = self.canary(layout::BLOBS_PREFIX, now).await?;
        let mut seen = Vec::new();
        let floor = self.floor(now);
        for lock in [floor, None] {
            let put = Put {
                lock,
                over_others: true,
                also: None,
            };
            let answer = caller.by.put_with(&canary.key, &body(), &put).await?;
            let newest = self.look(Target::newest(&canary.key)).await?;
            let replaced = newest.map(|it| it.is_none_or(|it| it.etag != canary.etag));
            seen.push(said(answer, replaced));
        }
        which(seen, false)
    }

    /// Puts to a name that is taken, on the condition that it is free.
    pub(super) async fn put_dry(
        &self,
        caller: Caller<'_>,
        dry: Dry,
        now: Timestamp,
    ) -> Tried<Observation> {
        if matches!(dry, Dry::Beyond | Dry::OtherMode | Dry::Also(Extra::Hold)) {
            self.needs_locks()?;
        }
        match (dry, self.server) {
            (Dry::Also(Extra::CustomerKey), _) if !self.has_tls => {
                return not_made("SSE-C needs TLS, and this endpoint has none");
            }
            // Others take the put without the hold.
            (Dry::Also(Extra::EventHold), Server::Minio | Server::Ministack | Server::Other) => {
                return not_made("the server has no event holds");
            }
            (Dry::Also(Extra::Replica), Server::Aws) => {
                return not_made(
                    "only S3 itself makes this call: with --account, the bucket's policy on it is compared",
                );
            }
            (Dry::Also(Extra::Replica), Server::Ministack | Server::Other) => {
                return not_made("how this server is replicated to is not known");
            }
            (Dry::Beyond | Dry::OtherMode | Dry::Also(_), _) => {}
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
        let canary = self.canary(layout::BLOBS_PREFIX, now).await?;
        let answer = caller.by.put_with(&canary.key, &body(), &put).await?;
        Ok(said(answer, None))
    }

    /// Puts with a lock below the floor, or with none. An object without the floor's lock has got through; from who may
    /// not create, any object has, also one that the bucket locked by itself.
    pub(super) async fn put_below(
        &self,
        caller: Caller<'_>,
        length: Option<SignedDuration>,
        now: Timestamp,
    ) -> Tried<Observation> {
        self.needs_locks()?;
        let lock = length.and_then(|length| self.lock_until(later(now, length)));
        let key = self.key(layout::BLOBS_PREFIX);
        let answer = caller.by.put(&key, &body(), lock).await?;
        let there = self.look(Target::newest(&key)).await?;
        let floor = later(now, days(self.file.shortest_days) - SLACK);
        let is_any = caller.is_control || !self.may(Call::CreateBlob);
        let below = |it: Look| is_any || it.lock.is_none_or(|lock| lock.until < floor);
        Ok(said(answer, there.map(|it| it.is_some_and(below))))
    }

    fn needs_locks(&self) -> Tried<()> {
        match self.file.lock_mode {
            LockMode::None => not_made(NO_LOCKS),
            LockMode::Governance | LockMode::Compliance => Ok(()),
        }
    }

    /// Two days above the ceiling, which is the longest promise, a generation and a day.
    pub(super) fn beyond(&self, now: Timestamp) -> Timestamp {
        let ceiling = days(self.file.longest_days) + days(self.file.generation_days) + DAY;
        later(now, ceiling + DAY * 2)
    }
}
