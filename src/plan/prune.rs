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

use crate::format::{Garbage, PlanRow, VaultKey, layout};
use crate::ids::{Id128, ObjectKey, ObjectVersion, SnapshotId, Timestamp};

/// How long what nothing needs is kept, unless said otherwise; and then again until it is deleted.
pub const GRACE: SignedDuration = SignedDuration::from_hours(3 * 24);

/// A plan that is older counts no more: what it names and is still there is marked again. Longer than any grace period,
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

/// By what is decided.
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// A snapshot that is kept.
    Kept,
    /// One that may have to be kept, and that nobody relies on: what of it is not there stops nothing.
    Spared,
    /// One that is not.
    Expired {
        /// Which.
        snapshot: SnapshotId,
        /// Since when nothing keeps it.
        since: Timestamp,
        /// The lock that its record proves.
        locked_until: Option<Timestamp>,
    },
}

/// An object version that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lying {
    /// Its id.
    pub version: Option<ObjectVersion>,
    /// Bytes.
    pub size: u64,
    /// When the store took it.
    pub last_modified: Timestamp,
}

/// That an earlier plan names an object version.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    pub lying: Vec<Lying>,
    /// What earlier plans say.
    pub planned: Vec<Planned>,
}

/// What is to become of an object version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Verdict {
    /// A kept snapshot needs it, or may.
    Needed,
    /// The journal of a run that may be gone on with.
    Unfinished,
    /// It is too young to be of no use.
    Young,
    /// Nothing needs it, and a deletion could mean another object by then: see [`Rules::names_suffice`].
    Nameless,
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

/// Decides about every version that lies under a key; in the same order. A key that is none of the vault's gives none.
///
/// # Errors
/// [`Missing`]: then nothing at all may be deleted, because something is wrong with what this was told.
pub fn judge(facts: &KeyFacts, rules: &Rules) -> Result<Option<Vec<Verdict>>, Missing> {
    let named = || facts.named.iter();
    let kept = || named().filter(|named| matches!(named.by, By::Kept | By::Spared));
    let lies = |named: &Named| {
        let mut lying = facts.lying.iter();
        lying.any(|it| it.version == named.version && it.size == named.size)
    };
    let serves = |named: &Named| facts.lying.iter().any(|it| it.size == named.size);
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
            | VaultKey::PrunePlan(_)
            | VaultKey::Set { .. },
        ) => return Ok(None),
    };
    let any_serves = kept().any(|named| !lies(named));
    let verdict = |(age, lying): (usize, &Lying)| {
        if any_serves || kept().any(|named| named.version == lying.version) {
            return Verdict::Needed;
        }
        if let Some(journal @ VaultKey::Journal { .. }) = &key
            && !is_given_up(journal, lying, rules)
        {
            return Verdict::Unfinished;
        }
        if rules.now.duration_since(lying.last_modified) < rules.min_age {
            return Verdict::Young;
        }
        if lying.version.is_none() && !rules.names_suffice {
            return Verdict::Nameless;
        }
        plan(facts, lying, age > 0, is_journal, rules)
    };
    Ok(Some(facts.lying.iter().enumerate().map(verdict).collect()))
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
    let version = facts.lying.get(at).map(|lying| &lying.version);
    let was_named = |planned: &Planned| planned.was_named && Some(&planned.version) == version;
    at == 0 && has_suffix && facts.named.is_empty() && !facts.planned.iter().any(was_named)
}

fn is_given_up(key: &VaultKey, lying: &Lying, rules: &Rules) -> bool {
    let VaultKey::Journal {
        table, next_seq, ..
    } = key
    else {
        return false;
    };
    let head = rules.heads.get(table).copied().unwrap_or_default();
    *next_seq < head || rules.now.duration_since(lying.last_modified) >= ABANDONED
}

/// What is to be done with an object version that nothing needs.
fn plan(
    facts: &KeyFacts,
    lying: &Lying,
    is_on_top: bool,
    is_journal: bool,
    rules: &Rules,
) -> Verdict {
    let expired = facts.named.iter().filter_map(|named| match &named.by {
        By::Expired {
            snapshot,
            since,
            locked_until,
        } if named.version == lying.version => Some((*since, *snapshot, *locked_until)),
        By::Expired { .. } | By::Kept | By::Spared => None,
    });
    let last = expired.clone().max();
    let reason = match last {
        Some((_, snapshot, _)) => Garbage::Expired(snapshot),
        None if is_on_top => Garbage::Planted,
        None if is_journal => Garbage::Journal,
        None => Garbage::Orphan,
    };
    // A plan that was made while something still needed it is void, and one that is about what lay there before.
    let free_since = last.map_or(lying.last_modified, |(since, ..)| {
        since.max(lying.last_modified)
    });
    let planned = || {
        let planned = facts.planned.iter();
        planned.filter(|it| it.version == lying.version && it.since >= free_since)
    };
    let seen = planned().filter_map(|it| it.locked_until);
    let proven = expired.filter_map(|(.., locked_until)| locked_until);
    let row = PlanRow {
        key: facts.key.clone(),
        version: lying.version.clone(),
        locked_until: seen.chain(proven).max(),
        reason,
        size: lying.size,
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
mod tests {
    use super::*;
    use crate::ids::Digest;

    const SHA: &str = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";
    const RUN: &str = "1f8fb2bf7bda65c73ba5c9b6e2fca0b5";

    fn day(day: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * day)
    }

    fn version(name: &str) -> Option<ObjectVersion> {
        (name != "-").then(|| ObjectVersion(name.to_owned()))
    }

    fn lying(name: &str, put: i64) -> Lying {
        Lying {
            version: version(name),
            size: 5,
            last_modified: day(put),
        }
    }

    fn kept(name: &str) -> Named {
        Named {
            version: version(name),
            size: 5,
            by: By::Kept,
        }
    }

    fn expired(name: &str, since: i64, locked_until: Option<i64>) -> Named {
        let by = By::Expired {
            snapshot: SnapshotId(Digest::of(b"x")),
            since: day(since),
            locked_until: locked_until.map(day),
        };
        Named { by, ..kept(name) }
    }

    fn planned(name: &str, since: i64) -> Planned {
        Planned {
            version: version(name),
            since: day(since),
            locked_until: None,
            was_named: false,
        }
    }

    #[test]
    fn substitute_is_what_lies_first_under_a_suffixed_name_that_no_snapshot_named() {
        let suffixed = format!("blobs/2c/{SHA}.00c0ffee");
        let may_be = |key: &str, named: &[Named], planned: &[Planned]| {
            let lying = [lying("a", 1), lying("b", 2)];
            let facts = facts(key, named, &lying, planned);
            [0, 1, 2].map(|at| may_be_substitute(&facts, at))
        };
        let first = [true, false, false];
        assert_eq!(may_be(&suffixed, &[], &[]), first);
        let page = format!("pages/2c/{SHA}.00c0ffee");
        assert_eq!(may_be(&page, &[], &[planned("a", 9)]), first);
        let named_once = Planned {
            was_named: true,
            ..planned("a", 9)
        };
        assert_eq!(
            may_be(&suffixed, &[], std::slice::from_ref(&named_once)),
            [false; 3]
        );
        let other = Planned {
            version: version("b"),
            ..named_once
        };
        assert_eq!(may_be(&suffixed, &[], &[other]), first);
        let plain = format!("blobs/2c/{SHA}");
        let copy = format!("copies/1f/{RUN}");
        for (key, named) in [
            (&plain, vec![]),
            (&copy, vec![]),
            (&suffixed, vec![kept("a")]),
            (&suffixed, vec![expired("a", 1, None)]),
            (&suffixed, vec![kept("gone")]),
        ] {
            assert_eq!(may_be(key, &named, &[]), [false; 3], "{key} {named:?}");
        }
    }

    /// It is day 100, and the grace period is three days.
    fn rules() -> Rules {
        Rules {
            now: day(100),
            grace: GRACE,
            min_age: GRACE,
            names_suffice: true,
            heads: BTreeMap::from([(RUN.parse().unwrap(), 7)]),
        }
    }

    fn facts(key: &str, named: &[Named], lying: &[Lying], planned: &[Planned]) -> KeyFacts {
        KeyFacts {
            key: key.parse().unwrap(),
            named: named.to_vec(),
            lying: lying.to_vec(),
            planned: planned.to_vec(),
        }
    }

    /// `mark expired`, `needed`…
    fn words(verdicts: &[Verdict]) -> Vec<String> {
        let word = |verdict: &Verdict| {
            let (word, row) = match verdict {
                Verdict::Needed => return "needed".to_owned(),
                Verdict::Unfinished => return "unfinished".to_owned(),
                Verdict::Young => return "young".to_owned(),
                Verdict::Nameless => return "nameless".to_owned(),
                Verdict::Mark(row) => ("mark", row),
                Verdict::Waits(row) => ("waits", row),
                Verdict::Locked(row) => ("locked", row),
                Verdict::Delete(row) => ("delete", row),
            };
            let reason = match row.reason {
                Garbage::Expired(_) => "expired",
                Garbage::Orphan => "orphan",
                Garbage::Journal => "journal",
                Garbage::Planted => "planted",
            };
            format!("{word} {reason}")
        };
        verdicts.iter().map(word).collect()
    }

    fn judged(facts: &KeyFacts) -> Vec<String> {
        words(&judge(facts, &rules()).unwrap().unwrap())
    }

    #[test]
    fn what_tried_the_walls_out_goes_as_an_orphan_does() {
        let probe = format!("blobs/probe/{RUN}");
        for (planned, word) in [
            (vec![], "mark orphan"),
            (vec![planned("a", 90)], "delete orphan"),
        ] {
            let facts = facts(&probe, &[], &[lying("a", 1)], &planned);
            assert_eq!(judged(&facts), [word]);
        }
    }

    /// Who names a key, what lies there, what is planned; and the verdict on each version.
    type Case<'a> = (&'a [Named], &'a [Lying], &'a [Planned], &'a [&'a str]);

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn each_version_of_a_blob_has_one_verdict() {
        let cases: &[Case<'_>] = &[
            (
                &[kept("a")],
                &[lying("a", 1)],
                &[planned("a", 1)],
                &["needed"],
            ),
            (
                &[kept("-")],
                &[lying("-", 1)],
                &[planned("-", 1)],
                &["needed"],
            ),
            // Expired, but somebody else needs it too.
            (
                &[expired("a", 50, None), kept("a")],
                &[lying("a", 1)],
                &[planned("a", 60)],
                &["needed"],
            ),
            (
                &[expired("a", 50, None)],
                &[lying("a", 1)],
                &[],
                &["mark expired"],
            ),
            (&[], &[lying("a", 97)], &[], &["mark orphan"]),
            (&[], &[lying("a", 98)], &[planned("a", 1)], &["young"]),
            (
                &[],
                &[lying("a", 1)],
                &[planned("a", 97)],
                &["delete orphan"],
            ),
            (
                &[],
                &[lying("a", 1)],
                &[planned("a", 98)],
                &["waits orphan"],
            ),
            // The earliest plan counts.
            (
                &[],
                &[lying("a", 1)],
                &[planned("a", 99), planned("a", 90)],
                &["delete orphan"],
            ),
            // A plan of another version says nothing.
            (&[], &[lying("a", 1)], &[planned("b", 1)], &["mark orphan"]),
            // A plan that was made before its last snapshot expired is void.
            (
                &[expired("a", 50, None)],
                &[lying("a", 1)],
                &[planned("a", 49)],
                &["mark expired"],
            ),
            (
                &[expired("a", 50, None)],
                &[lying("a", 1)],
                &[planned("a", 50)],
                &["delete expired"],
            ),
            // What is known to be locked is not asked for.
            (
                &[expired("a", 50, Some(101))],
                &[lying("a", 1)],
                &[planned("a", 50)],
                &["locked expired"],
            ),
            (
                &[expired("a", 50, Some(100))],
                &[lying("a", 1)],
                &[planned("a", 50)],
                &["delete expired"],
            ),
            // On top of what is needed, and on top of nothing.
            (
                &[kept("a")],
                &[lying("a", 1), lying("b", 2)],
                &[],
                &["needed", "mark planted"],
            ),
            (
                &[],
                &[lying("a", 1), lying("b", 2)],
                &[planned("b", 90)],
                &["mark orphan", "delete planted"],
            ),
            // Below what is needed.
            (
                &[kept("b")],
                &[lying("a", 1), lying("b", 2)],
                &[],
                &["mark orphan", "needed"],
            ),
            // A replica: the version that is named is not there, so any may be the one.
            (
                &[kept("z")],
                &[lying("a", 1), lying("b", 2)],
                &[planned("a", 1), planned("b", 1)],
                &["needed", "needed"],
            ),
        ];
        for (named, lying, planned, expected) in cases {
            for key in [
                format!("blobs/2c/{SHA}"),
                format!("pages/2c/{SHA}.00c0ffee"),
                format!("manifests/2c/{SHA}"),
                format!("copies/1f/{RUN}"),
            ] {
                let facts = facts(&key, named, lying, planned);
                assert_eq!(judged(&facts), *expected, "{facts:?}");
            }
        }
    }

    #[test]
    fn what_is_spared_is_needed_and_may_be_missing() {
        let key = format!("blobs/2c/{SHA}");
        let spared = [Named {
            by: By::Spared,
            ..kept("a")
        }];
        let due = [planned("a", 50), planned("b", 50)];
        let named = facts(&key, &spared, &[lying("a", 1)], &due);
        assert_eq!(judged(&named), ["needed"]);
        let moved = facts(&key, &spared, &[lying("b", 1)], &due);
        assert_eq!(judged(&moved), ["needed"]);
        assert_eq!(judged(&facts(&key, &spared, &[], &due)), [""; 0]);
    }

    #[test]
    fn a_name_that_was_taken_again_is_marked_again() {
        let key = format!("blobs/2c/{SHA}");
        let facts = facts(&key, &[], &[lying("-", 50)], &[planned("-", 49)]);
        assert_eq!(judged(&facts), ["mark orphan"]);
    }

    #[test]
    fn where_names_do_not_suffice_only_versions_are_marked_and_deleted() {
        let key = format!("blobs/2c/{SHA}");
        let plans = [planned("-", 60), planned("a", 60)];
        let facts = facts(&key, &[], &[lying("-", 1), lying("a", 2)], &plans);
        let rules = Rules {
            names_suffice: false,
            ..rules()
        };
        let verdicts = judge(&facts, &rules).unwrap().unwrap();
        assert_eq!(words(&verdicts), ["nameless", "delete planted"]);
    }

    #[test]
    fn what_a_kept_snapshot_needs_and_is_not_there_stops_everything() {
        let key = format!("blobs/2c/{SHA}");
        let smaller = Lying {
            size: 4,
            ..lying("a", 1)
        };
        for lying in [vec![], vec![smaller]] {
            let facts = facts(&key, &[kept("a")], &lying, &[]);
            assert_eq!(judge(&facts, &rules()).unwrap_err().key.as_str(), key);
        }
    }

    #[test]
    fn a_journal_goes_when_its_slot_is_below_the_head_or_nobody_came() {
        let other = "ffffffffffffffffffffffffffffffff";
        for (table, seq, put, expected) in [
            (RUN, 6, 90, "mark journal"),
            (RUN, 6, 98, "young"),
            (RUN, 7, 90, "unfinished"),
            (RUN, 8, 71, "unfinished"),
            (RUN, 8, 70, "mark journal"),
            (other, 1, 90, "unfinished"),
            (other, 1, 70, "mark journal"),
        ] {
            let key = format!("runs/{table}/{seq:020}/{RUN}-0.jsonl.zst");
            let facts = facts(&key, &[], &[lying("a", put)], &[]);
            assert_eq!(judged(&facts), [expected], "{key} {put}");
        }
    }

    #[test]
    fn nothing_is_decided_about_what_is_not_to_be_collected() {
        let table = format!("orders-{RUN}");
        for key in [
            "vault.json".to_owned(),
            format!("tables/{table}/ledger/{:020}.json", 1),
            format!("tables/{table}/events/{:020}.json", 1),
            format!("prune/{RUN}.json"),
            format!("sets/20260101T000000Z-{RUN}.json"),
            // Not the vault's spelling.
            format!("blobs/2d/{SHA}"),
            "blobs/notes.txt".to_owned(),
            format!("copies/1F/{}", RUN.to_uppercase()),
        ] {
            let facts = facts(&key, &[], &[lying("a", 1)], &[planned("a", 1)]);
            assert_eq!(judge(&facts, &rules()).unwrap(), None, "{key}");
        }
    }
}
