use std::convert::Infallible;

use super::*;
use crate::delta::replay::Sizes;
use crate::delta::{Add, DeletionVector};
use crate::format::{Placement, samples};
use crate::ids::ETag;
use crate::store::Attributes;

const V5: Version = Version(5);

fn evidence(version: u64, same_commit: Option<bool>) -> BaseEvidence {
    BaseEvidence {
        same_commit,
        version: Version(version),
        commits_listed: true,
        checkpoint_since: true,
        log_digest: Digest::of(b"now"),
        scope: Scope::Live,
    }
}

#[test]
fn a_base_is_judged_by_its_own_commit() {
    let record = Record {
        version: V5,
        scope: Scope::Live,
        log_digest: Digest::of(b"then"),
        ..samples::record()
    };
    let same_log = Record {
        log_digest: Digest::of(b"now"),
        ..record.clone()
    };
    let history = BaseEvidence {
        scope: Scope::History,
        ..evidence(7, Some(true))
    };
    let hole = BaseEvidence {
        commits_listed: false,
        ..evidence(7, Some(true))
    };
    let no_checkpoint = BaseEvidence {
        checkpoint_since: false,
        ..evidence(9, None)
    };
    for (record, evidence, expected) in [
        // The table went on.
        (&record, evidence(7, Some(true)), BaseUse::Continue),
        // A log file came, and no commit.
        (&record, evidence(5, Some(true)), BaseUse::Continue),
        // Nothing changed; nor where the commit was gone before.
        (&same_log, evidence(5, Some(true)), BaseUse::Unchanged),
        (&same_log, evidence(5, None), BaseUse::Unchanged),
        // Rewound below the base, and further again.
        (&record, evidence(4, Some(true)), BaseUse::Untrusted),
        (&record, evidence(9, Some(false)), BaseUse::Untrusted),
        // Its commit was cleaned up, with a checkpoint in its place or without one.
        (&record, evidence(9, None), BaseUse::Likely),
        (&record, no_checkpoint, BaseUse::HeldOnly),
        // Commits since were cleaned up.
        (&record, hole, BaseUse::HeldOnly),
        // History is planned from the log.
        (&record, history, BaseUse::HeldOnly),
        // Other bytes under one listing.
        (&same_log, evidence(5, Some(false)), BaseUse::Untrusted),
    ] {
        assert_eq!(judge_base(record, &evidence), expected, "{evidence:?}");
    }
}

fn listed(name: &str, size: u64, etag: &str) -> Attributes {
    Attributes {
        key: format!("{LOG_PREFIX}{name}").parse().unwrap(),
        size,
        last_modified: "2026-11-21T03:00:00Z".parse().unwrap(),
        etag: ETag(etag.to_owned()),
        version: None,
        sha256: None,
        locked_until: None,
        mode: None,
    }
}

#[test]
fn the_digest_of_the_log_sees_names_sizes_tags_and_nothing_below_the_checkpoint() {
    let commit = |n: u64| format!("{n:020}.json");
    let files = |tag: &str| {
        LogListing::new([
            listed(&commit(9), 10, "old"),
            listed(&commit(10), 10, "a"),
            listed(&commit(11), 10, tag),
            listed("_last_checkpoint", 5, "hint"),
        ])
    };
    let from = Some(Version(10));
    let without_old = LogListing::new([
        listed("_last_checkpoint", 5, "hint"),
        listed(&commit(11), 10, "b"),
        listed(&commit(10), 10, "a"),
    ]);
    assert_eq!(
        log_digest(&files("b"), from),
        log_digest(&without_old, from)
    );
    assert_ne!(
        log_digest(&files("b"), None),
        log_digest(&without_old, None)
    );
    assert_ne!(log_digest(&files("b"), from), log_digest(&files("c"), from));
}

#[test]
fn log_files_stay_change_and_go_by_listing_and_clean_up() {
    let commit = |n: u64| format!("{n:020}.json");
    let entry = Entry {
        etag: Some(ETag("a".into())),
        size: 10,
        ..samples::log_entry(&format!("{LOG_PREFIX}{}", commit(7)))
    };
    let file = |etag: &str, size| LogFile::parse(listed(&commit(7), size, etag)).unwrap();
    let held = Some((&entry, Some(Version(7))));
    let part = LogScope {
        whole: false,
        keep_from: Some(Version(8)),
    };
    let whole = |keep_from| LogScope {
        whole: true,
        keep_from,
    };
    let same = file("a", 10);
    let other_tag = file("b", 10);
    let other_size = file("a", 11);
    let cases = [
        (held, Some(&same), part, LogStep::Keep),
        (held, Some(&other_tag), part, LogStep::Take),
        (held, Some(&other_size), part, LogStep::Take),
        (None, Some(&same), part, LogStep::Take),
        // Not listed because the listing began above it.
        (held, None, part, LogStep::Keep),
        // Cleaned up at the source: kept from the second newest checkpoint on.
        (held, None, whole(Some(Version(7))), LogStep::Keep),
        (held, None, whole(Some(Version(8))), LogStep::Drop),
        (held, None, whole(None), LogStep::Drop),
    ];
    for (held, listed, scope, expected) in cases {
        assert_eq!(
            plan_log_file(held, listed, scope),
            expected,
            "{listed:?} {scope:?}"
        );
    }
}

fn location(name: &str) -> Location {
    Location::Inside(name.parse().unwrap())
}

fn live(name: &str, dv: Option<&str>, until: Option<u64>) -> LiveFile {
    let dv = dv.map(|id| DeletionVector {
        cardinality: 2,
        file: Some(location("vectors.bin")),
        id: id.to_owned(),
        offset: Some(1),
        size: 34,
    });
    LiveFile {
        add: Add {
            file: location(name),
            absolute: false,
            size: 100,
            modification_time: Some(1),
            rows: Some(10),
            dv,
        },
        from: Version(0),
        until: until.map(Version),
        by_text: false,
        off_newest: false,
        otherwise: Vec::new(),
        spelled: Vec::new(),
    }
}

#[test]
fn logical_files_of_one_object_are_one_need() {
    let files = [
        live("a", Some("u1"), Some(3)),
        live("a", Some("u2"), None),
        live("b", None, Some(2)),
    ];
    let needs: Vec<Need> = data_needs(files.into_iter().map(Ok::<_, Infallible>))
        .map(Result::unwrap)
        .collect();
    let [a, b] = needs.as_slice() else {
        panic!("{needs:?}")
    };
    assert_eq!((a.live.len(), a.required), (1, true));
    assert_eq!(
        a.spans,
        [(Version(0), Some(Version(3))), (Version(0), None)]
    );
    assert_eq!((b.live.len(), b.required), (0, false));
    // A vector that is gone spoils the versions that use it, not those before and after.
    let vectors: Vec<_> = a.vectors.iter().map(|used| used.span).collect();
    assert_eq!(vectors, a.spans);
}

#[test]
fn any_of_the_sizes_that_ways_give_serves_and_the_smallest_vector() {
    let file = LiveFile {
        otherwise: vec![
            Sizes {
                file: 90,
                vector: Some(30),
            },
            Sizes {
                file: 100,
                vector: Some(40),
            },
        ],
        ..live("a", Some("u1"), None)
    };
    let mut needs = data_needs([Ok::<_, Infallible>(file)].into_iter()).map(Result::unwrap);
    let need = needs.next().unwrap();
    let fitting = [89, 90, 99, 100, 101].map(|size| need.may_have(size));
    assert_eq!(fitting, [false, true, false, true, false]);
    assert_eq!(need.likely_size(), 100);
    // One that lies about a size sizes no buffer.
    let hostile = Need {
        other_sizes: Box::new([u64::MAX]),
        ..need.clone()
    };
    assert_eq!(hostile.likely_size(), 5 << 40);
    let published = need.live.iter().filter_map(|used| used.dv.as_ref());
    assert_eq!(published.map(|dv| dv.size).collect::<Vec<_>>(), [30]);
    // The vector begins at 1, after which come its size and its checksum.
    let ends: Vec<_> = need.vectors.iter().map(|used| used.end).collect();
    assert_eq!(ends, [39]);
}

#[test]
fn an_error_among_the_live_files_ends_no_need_silently() {
    let files = vec![
        Ok(live("a", None, None)),
        Err("disk"),
        Ok(live("b", None, None)),
    ];
    let needs: Vec<_> = data_needs(files.into_iter()).collect();
    assert!(needs.contains(&Err("disk")), "{needs:?}");
}

#[test]
fn a_file_is_known_only_with_the_same_path_size_and_time() {
    let need = Need {
        modification_time: Some(1),
        ..Need::plain(location("a"), EntryKind::Data, Some(100), true)
    };
    let entry = Entry {
        size: 100,
        modification_time: Some(1),
        ..samples::data_entry("a", None)
    };
    let known = |change: fn(&mut Entry)| {
        let mut entry = entry.clone();
        change(&mut entry);
        let matched = match_need(need.clone(), &[entry], &[], false);
        matches!(matched, Matched::Known(_))
    };
    assert!(known(|_| {}));
    assert!(!known(|entry| entry.size = 101));
    assert!(!known(|entry| entry.modification_time = Some(2)));
    assert!(!known(|entry| entry.modification_time = None));
    assert!(!known(|entry| entry.kind = EntryKind::ChangeData));
    assert!(!known(|entry| entry.placement = Placement::Absent {}));
}

#[test]
fn a_file_that_is_named_again_is_the_held_one_by_its_tag_and_size_or_when_it_is_gone() {
    let entry = |tag: &str| Entry {
        size: 100,
        modification_time: Some(1),
        etag: Some(ETag(tag.to_owned())),
        ..samples::data_entry("a", None)
    };
    let need = Need {
        modification_time: Some(1),
        live: vec![LiveUse::plain(None)],
        ..Need::plain(location("a"), EntryKind::Data, Some(100), true)
    };
    let held = [entry("old"), entry("newer")];
    let settled = |found: Option<(&str, u64)>| {
        let Matched::Recheck(again) = match_need(need.clone(), &held, &[], true) else {
            panic!("it was not to be asked about");
        };
        let tag = found.map(|(tag, size)| (ETag(tag.to_owned()), size));
        again.settle(tag.as_ref().map(|(tag, size)| (tag, *size)))
    };
    let tag = |entry: Entry| entry.etag.unwrap().0;
    assert_eq!(settled(Some(("newer", 100))).map(tag).unwrap(), "newer");
    // What is copied then is compared with what the base holds.
    let other = Box::new(Need {
        was: entry("old").sha256.map(Box::new),
        ..need.clone()
    });
    assert_eq!(settled(Some(("other", 100))).unwrap_err(), other);
    assert_eq!(settled(Some(("old", 101))).unwrap_err(), other);
    let Matched::Recheck(placed) = match_need(need.clone(), &[], &held, true) else {
        panic!("it was not to be asked about");
    };
    let other = ETag("other".to_owned());
    assert_eq!(placed.settle(Some((&other, 100))).unwrap_err().was, None);
    assert_eq!(settled(None).map(tag).unwrap(), "old");
    // An older version's file is as it was held; what V needs is asked about, and so is all that only an unfinished run
    // has placed.
    for (kind, required) in [
        (EntryKind::Data, false),
        (EntryKind::DeletionVector, false),
        (EntryKind::DeletionVector, true),
    ] {
        let need = Need {
            kind,
            live: Vec::new(),
            required,
            ..need.clone()
        };
        let held = [Entry { kind, ..entry("a") }];
        let matched = match_need(need.clone(), &held, &[], true);
        let is_known = matches!(matched, Matched::Known(_));
        assert_eq!(is_known, !required, "{matched:?}");
        let matched = match_need(need.clone(), &[], &held, false);
        assert!(matches!(matched, Matched::Recheck(_)), "{matched:?}");
        let matched = match_need(need, &held, &held, false);
        assert!(matches!(matched, Matched::Known(_)), "{matched:?}");
    }
}

#[test]
fn a_file_whose_time_is_not_known_is_read_again_while_a_live_version_needs_it() {
    let entry = Entry {
        size: 100,
        modification_time: None,
        ..samples::data_entry("a", None)
    };
    let known = |kind, required| {
        let entry = Entry {
            kind,
            ..entry.clone()
        };
        let need = Need::plain(location("a"), kind, Some(100), required);
        matches!(match_need(need, &[entry], &[], false), Matched::Known(_))
    };
    assert!(!known(EntryKind::Data, true));
    assert!(known(EntryKind::Data, false));
    assert!(known(EntryKind::DeletionVector, true));
    assert!(known(EntryKind::ChangeData, false));
}

#[test]
fn small_files_share_packs_and_large_ones_go_alone() {
    const MIB: u64 = 1024 * 1024;
    let batches = |sizes: &[u64]| -> Vec<Batch> {
        let need = |size: &u64| Need::plain(location("f"), EntryKind::Data, Some(*size), true);
        let needs = sizes.iter().map(need).map(Ok::<_, Infallible>);
        plan_batches(needs).map(Result::unwrap).collect()
    };
    let files = |batch: &Batch| match batch {
        Batch::Pack(files) => files.len(),
        Batch::Single(_) => 0,
    };
    let shape: Vec<_> = batches(&[MIB, 10, MIB + 1, 20, 5 * MIB])
        .iter()
        .map(files)
        .collect();
    assert_eq!(shape, [0, 0, 3], "large ones do not end a pack");
    let bytes: Vec<_> = batches(&[MIB; 40]).iter().map(Batch::likely_size).collect();
    assert_eq!(bytes, [16 * MIB, 16 * MIB, 8 * MIB]);
}

/// Spans of absent files, and the ranges of versions that stay whole.
type Spoiled = (&'static [(u64, Option<u64>)], &'static [(u64, u64)]);

#[test]
fn absent_files_spoil_the_versions_that_need_them() {
    let v = Version;
    let cases: [Spoiled; 6] = [
        (&[], &[(0, 9)]),
        (&[(0, Some(3))], &[(3, 9)]),
        (&[(4, Some(6))], &[(0, 3), (6, 9)]),
        (
            &[(4, Some(6)), (5, Some(8)), (0, Some(1))],
            &[(1, 3), (8, 9)],
        ),
        (&[(7, None)], &[(0, 6)]),
        (&[(0, None)], &[]),
    ];
    for (absent, whole) in cases {
        let absent: Vec<_> = absent
            .iter()
            .map(|(from, until)| (v(*from), until.map(v)))
            .collect();
        let whole: Vec<_> = whole
            .iter()
            .map(|(first, last)| (v(*first), v(*last)))
            .collect();
        assert_eq!(whole_versions(v(0), v(9), &absent), whole, "{absent:?}");
    }
}
