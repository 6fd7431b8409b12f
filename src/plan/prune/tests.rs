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

fn stored(name: &str, put: i64) -> Stored {
    Stored {
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
        let stored = [stored("a", 1), stored("b", 2)];
        let facts = facts(key, named, &stored, planned);
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

fn facts(key: &str, named: &[Named], stored: &[Stored], planned: &[Planned]) -> KeyFacts {
    KeyFacts {
        key: key.parse().unwrap(),
        named: named.to_vec(),
        stored: stored.to_vec(),
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
            Verdict::Unversioned => return "unversioned".to_owned(),
            Verdict::Mark(row) => ("mark", row),
            Verdict::Waits(row) => ("waits", row),
            Verdict::Locked(row) => ("locked", row),
            Verdict::Delete(row) => ("delete", row),
        };
        let reason = match row.reason {
            GarbageReason::Expired(_) => "expired",
            GarbageReason::Orphan => "orphan",
            GarbageReason::Journal => "journal",
            GarbageReason::Planted => "planted",
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
        let facts = facts(&probe, &[], &[stored("a", 1)], &planned);
        assert_eq!(judged(&facts), [word]);
    }
}

/// Who names a key, what lies there, what is planned; and the verdict on each version.
///
/// `a` is named by a kept snapshot, `a~50` by one that expired on day 50, `a~50!101` by one whose lock lasts until day
/// 101. `a1` is an object version, or a plan of one, of day 1. `-` has no version.
const BLOBS: &str = "
    a        | a1    | a1      | needed
    -        | -1    | -1      | needed
    # Expired, but somebody else needs it too.
    a~50 a   | a1    | a60     | needed
    a~50     | a1    |         | mark expired
             | a97   |         | mark orphan
             | a98   | a1      | young
             | a1    | a97     | delete orphan
             | a1    | a98     | waits orphan
    # The earliest plan counts.
             | a1    | a99 a90 | delete orphan
    # A plan of another version says nothing.
             | a1    | b1      | mark orphan
    # A plan that was made before its last snapshot expired is void.
    a~50     | a1    | a49     | mark expired
    a~50     | a1    | a50     | delete expired
    # What is known to be locked is not asked for.
    a~50!101 | a1    | a50     | locked expired
    a~50!100 | a1    | a50     | delete expired
    # On top of what is needed, and on top of nothing.
    a        | a1 b2 |         | needed, mark planted
             | a1 b2 | b90     | mark orphan, delete planted
    # Below what is needed.
    b        | a1 b2 |         | mark orphan, needed
    # A replica: the version that is named is not there, so any may be the one.
    z        | a1 b2 | a1 b1   | needed, needed";

fn name_in(word: &str) -> Named {
    let Some((name, since)) = word.split_once('~') else {
        return kept(word);
    };
    let (since, lock) = since.split_once('!').unwrap_or((since, ""));
    expired(name, since.parse().unwrap(), lock.parse().ok())
}

#[test]
fn each_version_of_a_blob_has_one_verdict() {
    let lines = BLOBS.lines().skip(1);
    for line in lines.filter(|line| !line.contains('#')) {
        let columns: Vec<_> = line.split('|').map(str::trim).collect();
        let words = |column: usize| columns[column].split_whitespace();
        let dated = |column| {
            let split = |word: &'static str| (&word[..1], word[1..].parse().unwrap());
            words(column).map(split)
        };
        let named: Vec<_> = words(0).map(name_in).collect();
        let stored: Vec<_> = dated(1).map(|(name, day)| stored(name, day)).collect();
        let planned: Vec<_> = dated(2).map(|(name, day)| planned(name, day)).collect();
        for key in [
            format!("blobs/2c/{SHA}"),
            format!("pages/2c/{SHA}.00c0ffee"),
            format!("manifests/2c/{SHA}"),
            format!("copies/1f/{RUN}"),
        ] {
            let facts = facts(&key, &named, &stored, &planned);
            assert_eq!(judged(&facts).join(", "), columns[3], "{line}");
        }
    }
}

#[test]
fn what_is_spared_is_needed_and_may_be_missing() {
    let key = format!("blobs/2c/{SHA}");
    let spared = [Named {
        by: By::BestEffort,
        ..kept("a")
    }];
    let due = [planned("a", 50), planned("b", 50)];
    let named = facts(&key, &spared, &[stored("a", 1)], &due);
    assert_eq!(judged(&named), ["needed"]);
    let moved = facts(&key, &spared, &[stored("b", 1)], &due);
    assert_eq!(judged(&moved), ["needed"]);
    assert_eq!(judged(&facts(&key, &spared, &[], &due)), [""; 0]);
}

#[test]
fn a_name_that_was_taken_again_is_marked_again() {
    let key = format!("blobs/2c/{SHA}");
    let facts = facts(&key, &[], &[stored("-", 50)], &[planned("-", 49)]);
    assert_eq!(judged(&facts), ["mark orphan"]);
}

#[test]
fn where_names_do_not_suffice_only_versions_are_marked_and_deleted() {
    let key = format!("blobs/2c/{SHA}");
    let plans = [planned("-", 60), planned("a", 60)];
    let facts = facts(&key, &[], &[stored("-", 1), stored("a", 2)], &plans);
    let rules = Rules {
        names_suffice: false,
        ..rules()
    };
    let verdicts = judge(&facts, &rules).unwrap().unwrap();
    assert_eq!(words(&verdicts), ["unversioned", "delete planted"]);
}

#[test]
fn what_a_kept_snapshot_needs_and_is_not_there_stops_everything() {
    let key = format!("blobs/2c/{SHA}");
    let smaller = Stored {
        size: 4,
        ..stored("a", 1)
    };
    for stored in [vec![], vec![smaller]] {
        let facts = facts(&key, &[kept("a")], &stored, &[]);
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
        let facts = facts(&key, &[], &[stored("a", put)], &[]);
        assert_eq!(judged(&facts), [expected], "{key} {put}");
    }
}

#[test]
fn nothing_is_decided_about_what_is_not_to_be_collected() {
    let table = format!("orders-{RUN}");
    for key in [
        "vault.json".to_owned(),
        format!("tables/{table}/ledger/{:020}.json", 1),
        format!("tables/{table}/events/holder/{:020}.json", 1),
        format!("prune/{RUN}.json"),
        format!("sets/20260101T000000Z-{RUN}.json"),
        // Not the vault's spelling.
        format!("blobs/2d/{SHA}"),
        "blobs/notes.txt".to_owned(),
        format!("copies/1F/{}", RUN.to_uppercase()),
    ] {
        let facts = facts(&key, &[], &[stored("a", 1)], &[planned("a", 1)]);
        assert_eq!(judge(&facts, &rules()).unwrap(), None, "{key}");
    }
}
