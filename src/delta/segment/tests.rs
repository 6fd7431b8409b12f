use super::*;
use crate::ids::{ETag, Timestamp};

const UUID: &str = "80a083e8-7026-4e79-81be-64bd76c43a11";

/// `3` is a commit, `c3` a classic checkpoint, `u3` a UUID one, `m3.1/2` a part; anything else is a literal name.
fn listing(short: &str) -> LogListing {
    LogListing::new(short.split_whitespace().map(|name| Attributes {
        key: format!("_delta_log/{}", long(name)).parse().unwrap(),
        size: 1,
        last_modified: Timestamp::UNIX_EPOCH,
        etag: ETag(String::new()),
        version: None,
        sha256: None,
        locked_until: None,
        mode: None,
    }))
}

fn long(short: &str) -> String {
    let number = |text: &str| text.parse::<u64>().ok();
    if let Some(n) = number(short) {
        return format!("{n:020}.json");
    }
    if let Some(n) = short.strip_prefix('c').and_then(number) {
        return format!("{n:020}.checkpoint.parquet");
    }
    if let Some(n) = short.strip_prefix('u').and_then(number) {
        return format!("{n:020}.checkpoint.{UUID}.json");
    }
    if let Some((n, part, parts)) = short.strip_prefix('m').and_then(|rest| {
        let (n, rest) = rest.split_once('.')?;
        let (part, parts) = rest.split_once('/')?;
        Some((number(n)?, number(part)?, number(parts)?))
    }) {
        return format!("{n:020}.checkpoint.{part:010}.{parts:010}.parquet");
    }
    short.to_owned()
}

/// `Uuid 3 x1: 4 5` for a way that starts at a UUID checkpoint of version 3, with one file.
fn ways(listing: &LogListing, version: u64) -> Vec<String> {
    let way = |segment: Segment| {
        let start = match &segment.checkpoint {
            None => "nothing".to_owned(),
            Some(it) => format!("{:?} {} x{}", it.kind, it.version, it.files.len()),
        };
        let commits = segment.commits.iter();
        let commits = commits.map(|file| format!(" {}", file.version.unwrap()));
        format!("{start}:{}", commits.collect::<String>())
    };
    let segments = listing.candidates(Version(version)).unwrap();
    segments.map(way).collect()
}

#[test]
fn ways_are_best_first_and_end_with_the_commits_alone() {
    let listing = listing("0 1 2 3 4 5 c2 c4 u4 m4.1/2 m4.2/2 _last_checkpoint");
    let expected = [
        "Uuid 4 x1: 5",
        "Classic 4 x1: 5",
        "MultiPart 4 x2: 5",
        "Classic 2 x1: 3 4 5",
        "nothing: 0 1 2 3 4 5",
    ];
    assert_eq!(ways(&listing, 5), expected);
    assert_eq!(ways(&listing, 4)[0], "Uuid 4 x1:");
    assert_eq!(ways(&listing, 3), ["Classic 2 x1: 3", "nothing: 0 1 2 3"]);
}

#[test]
fn own_commit_is_named_once_even_when_the_checkpoint_is_of_the_same_version() {
    let listing = listing("0 1 2 c2");
    for (version, names) in [(2, "c2 2"), (1, "0 1")] {
        let mut ways = listing.candidates(Version(version)).unwrap();
        let way = ways.next().unwrap();
        let files: Vec<_> = way.files().map(LogFile::name).collect();
        let expected: Vec<_> = names.split(' ').map(long).collect();
        assert_eq!(files, expected, "{version}");
    }
}

#[test]
fn checkpoint_without_its_commit_is_a_version() {
    let listing = listing("c7");
    assert_eq!(listing.newest().unwrap(), Version(7));
    assert_eq!(ways(&listing, 7), ["Classic 7 x1:"]);
    let way = listing.candidates(Version(7)).unwrap().next();
    assert!(way.unwrap().tip.is_none());
}

const COMPACTED: &str = "0 2 00000000000000000000.00000000000000000002.compacted.json";

#[test]
fn gap_between_commits_is_refused_with_the_first_missing() {
    for (files, version, first_missing, checkpoint) in [
        ("0 2", 2, 1, None),
        ("1 2", 2, 0, None),
        ("0 1 2 c2 3 5 6", 6, 4, Some(2)),
        ("0 1 2 c2 4", 4, 3, Some(2)),
        ("5 c7", 6, 0, None),
        // No reader lets a compaction fill a gap.
        (COMPACTED, 2, 1, None),
    ] {
        let listing = listing(files);
        let error = listing.candidates(Version(version)).err().unwrap();
        assert!(
            matches!(error, LogError::Gap { version: v, first_missing: f, checkpoint: c }
                    if v.0 == version && f.0 == first_missing && c == checkpoint.map(Version)),
            "{files}: {error}"
        );
    }
}

#[test]
fn gap_below_a_checkpoint_only_takes_older_ways_away() {
    let listing = listing("0 1 c1 2 4 5 c5 6");
    assert_eq!(ways(&listing, 6), ["Classic 5 x1: 6"]);
    assert_eq!(ways(&listing, 2), ["Classic 1 x1: 2", "nothing: 0 1 2"]);
}

#[test]
fn incomplete_multi_part_checkpoint_is_ignored_while_there_is_another_way() {
    let all = |files: &str| ways(&listing(files), 2);
    let first = &all("0 1 2 m2.1/3 m2.3/3 m2.1/2 m2.2/2")[0];
    assert_eq!(first, "MultiPart 2 x2:");
    for torn in ["m2.1/2", "m2.0/2 m2.1/2", "m2.0/0", "m2.2/3 m2.3/3 m2.4/3"] {
        assert_eq!(all(&format!("0 1 2 {torn}")), ["nothing: 0 1 2"], "{torn}");
    }
}

#[test]
fn torn_checkpoint_without_another_way_is_refused_as_such() {
    let error = listing("2 3 m2.2/3").candidates(Version(3)).err().unwrap();
    assert_eq!(
        error.to_string(),
        "version 3 cannot be rebuilt: 1 of 3 parts of checkpoint 2 are there"
    );
}

#[test]
fn folder_without_commits_or_checkpoints_is_no_log() {
    for (files, count) in [
        ("", 0),
        ("_last_checkpoint .tmp/00000000000000000000.json m2.1/2", 3),
    ] {
        let listing = listing(files);
        for error in [
            listing.newest().unwrap_err(),
            listing.candidates(Version(0)).err().unwrap(),
        ] {
            assert!(
                matches!(error, LogError::NoLog { files } if files == count),
                "{error}"
            );
        }
    }
}

#[test]
fn version_past_the_newest_does_not_exist() {
    let error = listing("0 1").candidates(Version(u64::MAX)).err().unwrap();
    let says = "version 18446744073709551615 does not exist, the newest is 1";
    assert_eq!(error.to_string(), says);
}

#[test]
fn lone_version_far_past_the_rest_is_not_taken_for_the_newest() {
    for (files, expected) in [
        ("0 1 2 3 9999 c9999", None),
        ("0 1 9223372036854775807", None),
        ("c10 11 112", None),
        ("c10 11 111", Some(111)),
        ("0 1 3", Some(3)),
        // Somebody has gone on from there, or nothing but the checkpoint is left: no reason to doubt.
        ("0 1 9999 c9999 10000", Some(10000)),
        ("9999 c9999", Some(9999)),
        ("c9999", Some(9999)),
    ] {
        let newest = listing(files).newest().ok();
        assert_eq!(newest, expected.map(Version), "{files}");
    }
    let error = listing("0 1 13 9999 c9999").newest().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the newest version 9999 stands alone, the one before it is 13"
    );
    for (files, can) in [("0 1 9999 c9999", true), ("0 1 9999", false)] {
        let error = listing(files).newest().unwrap_err();
        assert!(
            matches!(error, LogError::FarFuture { can_be_rebuilt, .. } if can_be_rebuilt == can),
            "{files}: {error}"
        );
    }
    // Asked for by number it is the owner's word.
    let asked = ways(&listing("0 1 9999 c9999"), 9999);
    assert_eq!(asked, ["Classic 9999 x1:"]);
}

#[test]
fn a_lone_version_is_the_tip_where_it_is_held_or_accepted() {
    for (files, accepted, held, expected) in [
        ("0 1 9999 c9999", None, None, None),
        ("0 1 9999 c9999", Some(9999), None, Some(9999)),
        ("0 1 9999 c9999", Some(1), None, Some(1)),
        ("0 1 9999 c9999", Some(0), None, None),
        ("0 1 9999 c9999", Some(5000), Some(9999), None),
        ("0 1 9999 c9999", None, Some(9999), Some(9999)),
        // What is held is no word about which one is right.
        ("0 1 9999 c9999", None, Some(1), None),
        ("0 1 9999 c9999", Some(1), Some(9999), Some(1)),
        // Nothing to accept.
        ("0 1 2", Some(1), Some(0), Some(2)),
    ] {
        let tip = listing(files).tip(accepted.map(Version), held.map(Version));
        let expected = expected.map(Version);
        assert_eq!(tip.ok(), expected, "{files} {accepted:?} {held:?}");
    }
}

#[test]
fn commits_after_a_known_state_have_no_hole() {
    let listing = listing("3 4 5 7 c5");
    let commits = |after, to| {
        let files = listing.commits(Version(after), Version(to));
        let files = files.map_err(|error| error.to_string())?;
        let versions = files.iter().map(|file| file.version.unwrap().0);
        Ok::<Vec<u64>, String>(versions.collect())
    };
    assert_eq!(commits(2, 5).unwrap(), [3, 4, 5]);
    assert!(commits(4, 4).unwrap().is_empty());
    assert!(commits(5, 4).unwrap().is_empty());
    assert_eq!(
        commits(4, 7).unwrap_err(),
        "version 7 cannot be rebuilt: commit 6 is missing"
    );
    assert!(commits(1, 5).unwrap_err().contains("commit 2 "));
    assert!(commits(5, 6).unwrap_err().contains("commit 6 "));
}

#[test]
fn held_is_everything_that_names_a_version_at_or_below() {
    let keep = "0 1 2 c1 u2 m2.1/3 00000000000000000002.crc 00000000000000000001.invented \
                    00000000000000000000.00000000000000000002.compacted.json";
    let drop = "3 c3 00000000000000000003.crc 00000000000000000001.00000000000000000003.compacted.json \
                    _last_checkpoint _sidecars/a.parquet .00000000000000000001.json.crc \
                    _staged_commits/00000000000000000001.x.json .tmp/00000000000000000001.json notes.txt";
    let listing = listing(&format!("{keep} {drop}"));
    let held = listing.held(Version(2));
    let mut held: Vec<_> = held.map(|file| file.name().to_owned()).collect();
    let mut expected: Vec<_> = keep.split_whitespace().map(long).collect();
    held.sort();
    expected.sort();
    assert_eq!(held, expected);
    assert!(listing.last_checkpoint().is_some());
    let sidecar = "_delta_log/_sidecars/a.parquet".parse().unwrap();
    assert!(listing.sidecar(&sidecar).is_some());
    let all = keep.split_whitespace().chain(drop.split_whitespace());
    assert_eq!(listing.files().count(), all.count());
}
