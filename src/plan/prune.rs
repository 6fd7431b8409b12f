//! What may be collected: decides about all versions of one key, by what refers to it, what lies there and what earlier
//! plans say.
//!
//! Pure. An object version is of use when a kept snapshot names it; when it cannot be told which version of its key a
//! kept snapshot means, all of them are. Anything else is of no use, and still stays for a while: until it is old enough
//! that no run can be about to name it, until a plan that names it is as old as the grace period, until its lock is over.
//!
//! Journals: one whose slot is below the head's is read by nobody any more. Any other may be taken up by the next run of
//! its table, and is, unless that run never comes: after [`ABANDONED`] it is given up.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::format::{GarbageReason, PlanRow, VaultKey, layout};
use crate::ids::{Id128, ObjectKey, ObjectVersion, SnapshotId, Timestamp};

/// How long what nothing needs is kept, unless said otherwise; and then again until it is deleted.
pub const GRACE: SignedDuration = SignedDuration::from_hours(3 * 24);

/// An older plan no longer counts: what it names and is still there is marked again. Longer than any grace period,
/// and than anybody waits between two prunes; nothing is deleted because of a plan alone.
pub const PLAN_LIFE: SignedDuration = SignedDuration::from_hours(400 * 24);

/// The longest grace period: a plan has to live longer.
pub const LONGEST_GRACE: SignedDuration = SignedDuration::from_hours(365 * 24);

/// A journal that is older belongs to a run that nobody will go on with.
pub const ABANDONED: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Without locks a run may take over what is this young without anything to keep a deletion away; see
/// [`JOURNAL_LIFE_WITHOUT_LOCKS`] and [`ADOPTED_WITHOUT_LOCKS`], and two days for the run itself.
pub const YOUNG_WITHOUT_LOCKS: SignedDuration = SignedDuration::from_hours(10 * 24);

/// Without locks, a journal that is older is not taken up by a snapshot.
pub const JOURNAL_LIFE_WITHOUT_LOCKS: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Without locks, an object that is older and lies under the name that a snapshot wants is not adopted.
pub const ADOPTED_WITHOUT_LOCKS: SignedDuration = SignedDuration::from_hours(24);

/// What the decision goes by.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The time.
    pub now: Timestamp,
    /// How old a plan has to be.
    pub grace: SignedDuration,
    /// How old an object has to be.
    pub min_age: SignedDuration,
    /// Whether an object without a version is surely the one that a deletion by its key means. It is not in a bucket
    /// without object versions beside others: a name can be taken again between a reading and a deletion, or between
    /// a deletion and its second attempt.
    pub names_suffice: bool,
    /// By the identifying half of each table's key: the slot of the newest record.
    pub heads: BTreeMap<Id128, u64>,
}

/// That a snapshot names an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The version that it names.
    pub version: Option<ObjectVersion>,
    /// Bytes that it says there are.
    pub size: u64,
    /// What for.
    pub by: By,
}

/// Who names an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum By {
    /// A snapshot that is kept.
    Kept,
    /// One that may have to be kept, and that nobody relies on: a part of it that is missing stops nothing.
    BestEffort,
    /// One that is not.
    Expired {
        // Fields in the order in which they are compared.
        /// Since when nothing keeps it.
        since: Timestamp,
        /// Which.
        snapshot: SnapshotId,
        /// The lock that its record proves.
        locked_until: Option<Timestamp>,
    },
}

/// An object version that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its id.
    pub version: Option<ObjectVersion>,
    /// Bytes.
    pub size: u64,
    /// When the store took it.
    pub last_modified: Timestamp,
}

/// That an earlier plan names an object version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Planned {
    /// The version.
    pub version: Option<ObjectVersion>,
    /// Since when, by the later of the plan's own word and the store's.
    pub since: Timestamp,
    /// The lock that was seen then.
    pub locked_until: Option<Timestamp>,
    /// Whether a snapshot had named it.
    pub was_named: bool,
}

/// Everything there is to know of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFacts {
    /// The key.
    pub key: ObjectKey,
    /// Who names it.
    pub named: Vec<Named>,
    /// What lies there, oldest first.
    pub stored: Vec<Stored>,
    /// What earlier plans say.
    pub planned: Vec<Planned>,
}

/// What happens to an object version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Verdict {
    /// A kept snapshot needs it, or may.
    Needed,
    /// The journal of a run that may be gone on with.
    Unfinished,
    /// It is too young to be collected.
    Young,
    /// Nothing needs it, and a deletion could mean another object by then: see [`Rules::names_suffice`].
    Unversioned,
    /// No plan named it until now.
    Mark(PlanRow),
    /// A plan names it, and is not old enough.
    Waits(PlanRow),
    /// A plan names it and it is locked, as far as is known.
    Locked(PlanRow),
    /// A plan that is old enough names it.
    Delete(PlanRow),
}

/// A key whose objects a kept snapshot needs and that are not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} is needed by a snapshot that is kept, and is not there")]
pub struct Missing {
    /// The key.
    pub key: ObjectKey,
}

/// Decides about every version that lies under a key; in the same order. `None` for a key that is not the vault's.
///
/// # Errors
/// [`Missing`]: then nothing at all may be deleted, because the facts are wrong somewhere.
pub fn judge(facts: &KeyFacts, rules: &Rules) -> Result<Option<Vec<Verdict>>, Missing> {
    let named = || facts.named.iter();
    let kept = || named().filter(|named| matches!(named.by, By::Kept | By::BestEffort));
    let is_stored = |named: &Named| {
        let mut stored = facts.stored.iter();
        stored.any(|it| it.version == named.version && it.size == named.size)
    };
    let serves = |named: &Named| facts.stored.iter().any(|it| it.size == named.size);
    if named().any(|named| named.by == By::Kept && !serves(named)) {
        let key = facts.key.clone();
        return Err(Missing { key });
    }
    let key = VaultKey::parse(facts.key.as_str());
    let is_journal = match &key {
        Some(VaultKey::Content { .. } | VaultKey::Copy(_)) => false,
        Some(VaultKey::Journal { .. }) => true,
        // What tried the walls out needs nobody once it is done.
        None if layout::is_probe(facts.key.as_str()) => false,
        None
        | Some(
            VaultKey::VaultFile
            | VaultKey::Record { .. }
            | VaultKey::Event { .. }
            | VaultKey::RecordSeal { .. }
            | VaultKey::EventSeal { .. }
            | VaultKey::PrunePlan(_)
            | VaultKey::Set { .. },
        ) => return Ok(None),
    };
    let any_serves = kept().any(|named| !is_stored(named));
    let verdict = |(age, stored): (usize, &Stored)| {
        if any_serves || kept().any(|named| named.version == stored.version) {
            return Verdict::Needed;
        }
        if let Some(journal @ VaultKey::Journal { .. }) = &key
            && !is_given_up(journal, stored, rules)
        {
            return Verdict::Unfinished;
        }
        if rules.now.duration_since(stored.last_modified) < rules.min_age {
            return Verdict::Young;
        }
        if stored.version.is_none() && !rules.names_suffice {
            return Verdict::Unversioned;
        }
        plan(facts, stored, age > 0, is_journal, rules)
    };
    Ok(Some(facts.stored.iter().enumerate().map(verdict).collect()))
}

/// Whether the object version at a place among those that lie under a key may be what a repair put: its name has a
/// suffix, it was the first there, and no snapshot names the key or ever did. Then it serves in the place of another
/// one, and is needed as long as that is.
pub fn may_be_substitute(facts: &KeyFacts, at: usize) -> bool {
    let has_suffix = matches!(
        VaultKey::parse(facts.key.as_str()),
        Some(VaultKey::Content {
            suffix: Some(_),
            ..
        })
    );
    let version = facts.stored.get(at).map(|stored| &stored.version);
    let was_named = |planned: &Planned| planned.was_named && Some(&planned.version) == version;
    at == 0 && has_suffix && facts.named.is_empty() && !facts.planned.iter().any(was_named)
}

fn is_given_up(key: &VaultKey, stored: &Stored, rules: &Rules) -> bool {
    let VaultKey::Journal {
        table, next_seq, ..
    } = key
    else {
        return false;
    };
    let head = rules.heads.get(table).copied().unwrap_or_default();
    *next_seq < head || rules.now.duration_since(stored.last_modified) >= ABANDONED
}

/// The verdict on an object version that nothing needs.
fn plan(
    facts: &KeyFacts,
    stored: &Stored,
    is_on_top: bool,
    is_journal: bool,
    rules: &Rules,
) -> Verdict {
    let expired = facts.named.iter().filter_map(|named| match &named.by {
        By::Expired {
            snapshot,
            since,
            locked_until,
        } if named.version == stored.version => Some((*since, *snapshot, *locked_until)),
        By::Expired { .. } | By::Kept | By::BestEffort => None,
    });
    let last = expired.clone().max();
    let reason = match last {
        Some((_, snapshot, _)) => GarbageReason::Expired(snapshot),
        None if is_on_top => GarbageReason::Planted,
        None if is_journal => GarbageReason::Journal,
        None => GarbageReason::Orphan,
    };
    // A plan that was made while something still needed it is void, and one that is about what lay there before.
    let free_since = last.map_or(stored.last_modified, |(since, ..)| {
        since.max(stored.last_modified)
    });
    let planned = || {
        let planned = facts.planned.iter();
        planned.filter(|it| it.version == stored.version && it.since >= free_since)
    };
    let seen = planned().filter_map(|it| it.locked_until);
    let proven = expired.filter_map(|(.., locked_until)| locked_until);
    let row = PlanRow {
        key: facts.key.clone(),
        version: stored.version.clone(),
        locked_until: seen.chain(proven).max(),
        reason,
        size: stored.size,
    };
    let Some(since) = planned().map(|it| it.since).min() else {
        return Verdict::Mark(row);
    };
    if rules.now.duration_since(since) < rules.grace {
        return Verdict::Waits(row);
    }
    if row.locked_until.is_some_and(|until| until > rules.now) {
        return Verdict::Locked(row);
    }
    Verdict::Delete(row)
}

#[cfg(test)]
mod tests;
