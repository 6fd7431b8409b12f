//! Decides which restore goes on, from the claims beside the table's log.
//!
//! A claim says who restores which snapshot, and for how long it counts. When it was written is the store's word, not
//! the claim's: a restore compares that time with the one that the same store gave to its own claim, so that no clock
//! of another machine matters. Of two claims that count, the lower number goes first.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::ids::{ETag, Id128, ObjectKey, SnapshotId, Timestamp};

/// How long a claim counts after it was put or renewed: a restore that died blocks nobody for longer.
pub const CLAIM_SECONDS: u64 = 300;

/// However long a claim says that it counts: no longer than this after the store's own time for it.
const LONGEST: u64 = 600;

/// A claim that is this far ahead of the store's clock was not written by a restore that is at work.
const AHEAD: SignedDuration = SignedDuration::from_mins(5);

/// The highest number that a claim may have: 15 digits.
pub const HIGHEST_CLAIM: u64 = 999_999_999_999_999;

/// Longer names are cut: every writer of the table can write a claim of any content.
const LONGEST_NAME: usize = 100;

/// Who restores what, as it stands beside the log of the table that is being restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Who: user and host.
    pub by: String,
    /// How often it was renewed. No two writes of a claim have equal bytes.
    pub renewed: u64,
    /// The run of the restore.
    pub run: Id128,
    /// How many seconds it counts after the store's time for it; 0 once the restore has ended.
    pub seconds: u64,
    /// When the restore began, by its own clock.
    pub since: Timestamp,
    /// The snapshot.
    pub snapshot: SnapshotId,
}

impl Claim {
    /// Whether a claim that the store took at `written` counts at `now`, both by the store's clock.
    pub fn counts(&self, written: Timestamp, now: Timestamp) -> bool {
        let age = now.duration_since(written);
        let length = i64::try_from(self.seconds.min(LONGEST)).unwrap_or(0);
        age >= -AHEAD && age < SignedDuration::from_secs(length)
    }

    /// Who, fit for a terminal.
    pub fn who(&self) -> String {
        let printable = self.by.chars().filter(|c| !c.is_control());
        printable.take(LONGEST_NAME).collect()
    }
}

/// A claim as a listing and a read of it show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundClaim {
    /// The number in its name.
    pub number: u64,
    /// Its key.
    pub key: ObjectKey,
    /// Its tag.
    pub etag: ETag,
    /// When the store took it.
    pub written: Timestamp,
    /// What it says; `None` for bytes that are no claim.
    pub claim: Option<Claim>,
}

impl FoundClaim {
    /// Whether it was written at a time that no claim of a restore at work can have.
    pub fn is_ahead(&self, now: Timestamp) -> bool {
        now.duration_since(self.written) < -AHEAD
    }
}

/// The number in the name of a claim. One spelling only: no sign, no leading zeros, 15 digits at most.
pub fn claim_number(digits: &str) -> Option<u64> {
    let number: u64 = digits.parse().ok()?;
    (number <= HIGHEST_CLAIM && number.to_string() == digits).then_some(number)
}

/// Who restores the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimVerdict {
    /// We do. The claims named here are below ours, count no longer or are taken over, and have to go.
    Ours(Vec<FoundClaim>),
    /// Another restore does.
    Theirs {
        /// Its claim.
        claim: Claim,
        /// How long ago it was renewed.
        silent_for: SignedDuration,
    },
    /// Our own claim is gone: somebody has taken the restore over.
    Lost,
}

/// Judges the claims that are there, our own among them. A claim of the same person on the same machine is taken
/// over at once, those of others only with `take_over`.
pub fn judge_claims(
    found: &[FoundClaim],
    number: u64,
    ours: &Claim,
    take_over: bool,
) -> ClaimVerdict {
    let is_ours = |it: &&FoundClaim| {
        it.number == number && it.claim.as_ref().is_some_and(|it| it.run == ours.run)
    };
    let Some(own) = found.iter().find(is_ours) else {
        return ClaimVerdict::Lost;
    };
    let now = own.written;
    let below = found.iter().filter(|it| it.number < number);
    let mut respected = below.clone().filter_map(|it| {
        let claim = it.claim.as_ref()?;
        let respect = claim.counts(it.written, now) && claim.by != ours.by && !take_over;
        respect.then(|| (claim.clone(), now.duration_since(it.written)))
    });
    match respected.next() {
        Some((claim, silent_for)) => ClaimVerdict::Theirs { claim, silent_for },
        None => ClaimVerdict::Ours(below.cloned().collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Digest;

    fn at(seconds: i64) -> Timestamp {
        let midnight: Timestamp = "2026-11-21T00:00:00Z".parse().unwrap();
        midnight + SignedDuration::from_secs(seconds)
    }

    fn claim(by: &str, run: u8) -> Claim {
        Claim {
            by: by.into(),
            renewed: 0,
            run: Id128::from_bytes([run; 16]),
            seconds: CLAIM_SECONDS,
            since: at(0),
            snapshot: SnapshotId(Digest::of(b"snapshot")),
        }
    }

    fn found(number: u64, written: i64, claim: Option<Claim>) -> FoundClaim {
        FoundClaim {
            number,
            key: format!("_deltavault/claim-{number}").parse().unwrap(),
            etag: ETag(number.to_string()),
            written: at(written),
            claim,
        }
    }

    #[test]
    fn a_claim_counts_by_the_stores_time_and_never_longer_than_ten_minutes() {
        let lasting = |seconds| Claim {
            seconds,
            since: at(1_000_000_000),
            ..claim("ann@host", 1)
        };
        let cases = [
            (300, 0, true),
            (300, 299, true),
            (300, 300, false),
            (0, 0, false),
            (u64::MAX, 599, true),
            (u64::MAX, 600, false),
            // The store's own times may be a little apart from each other, and no more.
            (300, -300, true),
            (300, -301, false),
            (300, -4_000_000_000, false),
        ];
        for (seconds, age, expected) in cases {
            let counts = lasting(seconds).counts(at(0), at(age));
            assert_eq!(counts, expected, "{seconds} s, {age} s later");
        }
    }

    #[test]
    fn others_go_first_while_their_claim_counts_and_ones_own_is_taken_over() {
        let ours = claim("ann@host", 9);
        let own = || found(5, 1000, Some(ours.clone()));
        let other = |written| found(4, written, Some(claim("bob@host", 2)));
        let judge = |found: &[FoundClaim], take_over| judge_claims(found, 5, &ours, take_over);
        let takes = |numbers: &[u64], verdict: ClaimVerdict| {
            let ClaimVerdict::Ours(gone) = verdict else {
                panic!("{verdict:?}");
            };
            let gone: Vec<_> = gone.iter().map(|it| it.number).collect();
            assert_eq!(gone, numbers);
        };
        takes(&[], judge(&[own()], false));
        takes(&[4], judge(&[other(700), own()], false));
        takes(&[4], judge(&[other(800), own()], true));
        let mine = found(3, 990, Some(claim("ann@host", 3)));
        let junk = found(2, 990, None);
        takes(&[2, 3], judge(&[junk, mine.clone(), own()], false));
        let later = found(6, 1000, Some(claim("bob@host", 2)));
        takes(&[], judge(&[own(), later], false));
        let theirs = judge(&[mine, other(800), own()], false);
        let ClaimVerdict::Theirs { claim, silent_for } = theirs else {
            panic!("{theirs:?}");
        };
        assert_eq!(claim.by, "bob@host");
        assert_eq!(silent_for.as_secs(), 200);
    }

    #[test]
    fn a_claim_that_is_gone_or_was_written_over_is_lost() {
        let ours = claim("ann@host", 9);
        let lost = [
            vec![],
            vec![found(5, 1000, None)],
            vec![found(5, 1000, Some(claim("ann@host", 8)))],
            vec![found(6, 1000, Some(ours.clone()))],
        ];
        for found in lost {
            let verdict = judge_claims(&found, 5, &ours, true);
            assert_eq!(verdict, ClaimVerdict::Lost, "{found:?}");
        }
    }

    #[test]
    fn a_number_has_one_spelling() {
        assert_eq!(claim_number("17"), Some(17));
        assert_eq!(claim_number("999999999999999"), Some(HIGHEST_CLAIM));
        let odd = ["", "007", "+5", "-1", "1e3", "x", "1/2", "1000000000000000"];
        for odd in odd.into_iter().chain(["18446744073709551616", "٣"]) {
            assert_eq!(claim_number(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_name_of_a_claim_cannot_write_on_the_terminal() {
        let by = format!("\u{1b}[2Jann\n{}", "x".repeat(1000));
        let who = claim(&by, 1).who();
        assert_eq!(who.len(), LONGEST_NAME);
        assert!(who.starts_with("[2Jann"));
    }
}
