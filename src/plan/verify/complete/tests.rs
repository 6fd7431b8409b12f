use super::*;
use crate::delta::{Add, DeletionVector};
use crate::format::LiveUse;
use crate::format::record::{CommitFile, Disagreement};
use crate::format::samples::{data_entry, record};
use crate::ids::ETag;
use crate::plan::verify::Severity;

/// A logical file: its name, the id of its vector, its size.
type File = (&'static str, Option<&'static str>, u64);

fn vector(id: &str) -> DeletionVector {
    DeletionVector {
        cardinality: 1,
        file: id.starts_with('u').then(|| inside(&format!("dv-{id}"))),
        id: id.to_owned(),
        offset: Some(1),
        size: 10,
    }
}

fn inside(key: &str) -> Location {
    Location::Inside(key.parse().unwrap())
}

fn way(files: &[File]) -> std::vec::IntoIter<Result<LiveFile, String>> {
    let live = |(name, dv, size): &File| LiveFile {
        add: Add {
            file: inside(name),
            absolute: false,
            size: *size,
            modification_time: None,
            rows: None,
            dv: dv.map(vector),
        },
        from: Version(0),
        until: None,
        by_text: false,
        off_newest: false,
        otherwise: Vec::new(),
        spelled: Vec::new(),
    };
    let files: Vec<_> = files.iter().map(|file| Ok(live(file))).collect();
    files.into_iter()
}

fn entry(name: &str, size: u64, vectors: &[Option<&str>]) -> Entry {
    let live = vectors.iter().map(|id| LiveUse::plain(id.map(vector)));
    Entry {
        size,
        live: live.collect(),
        ..data_entry(name, None)
    }
}

fn vector_entry(id: &str, size: u64) -> Entry {
    Entry {
        kind: EntryKind::DeletionVector,
        ..entry(&format!("dv-{id}"), size, &[])
    }
}

fn comparison(ways: &[&[File]], entries: &[Entry]) -> Comparison {
    let mut held: Vec<_> = entries.iter().map(HeldFile::of).collect();
    held.sort();
    let mut vectors = Vec::new();
    let ways = ways.iter().map(|files| way(files)).collect();
    let mut compared = compare(ways, held.into_iter().map(Ok), &mut |row| {
        vectors.push(row);
        Ok(())
    })
    .unwrap();
    vectors.sort();
    compared
        .add_vectors(vectors.into_iter().map(Ok::<_, String>))
        .unwrap();
    compared
}

/// What is said, when every way ends as the record says.
fn said(
    ways: &[&[File]],
    entries: &[Entry],
    disagreements: &[(u64, u64)],
) -> Vec<(Severity, String)> {
    let mut record = record();
    record.disagreements = disagreements.iter().copied().map(disagreement).collect();
    said_of(&record, ways, entries)
}

/// A checkpoint that lacks so many files and adds so many.
fn disagreement((lacks, adds): (u64, u64)) -> Disagreement {
    let file = "_delta_log/00000000000000000001.checkpoint.parquet";
    Disagreement {
        adds,
        checkpoint: Version(1),
        empty: None,
        file: file.parse().unwrap(),
        lacks,
        sizes: 0,
        state: false,
        unnamed: 0,
    }
}

fn protocol_of(record: &Record) -> Protocol {
    Protocol {
        min_reader_version: record.protocol.reader,
        min_writer_version: record.protocol.writer,
        reader_features: record.protocol.reader_features.clone(),
        writer_features: record.protocol.writer_features.clone(),
    }
}

/// A way without a checkpoint that ends as the record says.
fn whole_way(record: &Record) -> WayEnd {
    WayEnd {
        checkpoint: None,
        end: Ok((protocol_of(record), record.table.delta_id.clone())),
    }
}

fn problems(record: &Record, ends: &[WayEnd], comparison: &Comparison) -> Vec<Problem> {
    let commit = record.commit.as_ref().map(|it| (it.sha256, it.size));
    completeness_problems(record, &record.table.delta_id, commit, ends, comparison)
}

fn said_of(record: &Record, ways: &[&[File]], entries: &[Entry]) -> Vec<(Severity, String)> {
    let ends: Vec<_> = ways.iter().map(|_| whole_way(record)).collect();
    let problems = problems(record, &ends, &comparison(ways, entries)).into_iter();
    problems.map(|it| (it.severity, it.what)).collect()
}

#[track_caller]
fn says(found: &[(Severity, String)], severity: Severity, what: &str) {
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].0, severity, "{found:#?}");
    assert!(found[0].1.contains(what), "{found:#?}");
}

#[track_caller]
fn is_damage(found: &[(Severity, String)], what: &str) {
    says(found, Severity::Damage, what);
}

const LIVE: &[File] = &[
    ("a", None, 1),
    ("b", Some("iInline"), 2),
    ("c", Some("uFile"), 3),
    ("d", None, 4),
];

fn held() -> Vec<Entry> {
    vec![
        entry("a", 1, &[None]),
        entry("b", 2, &[Some("iInline")]),
        entry("c", 3, &[Some("uFile")]),
        entry("d", 4, &[None]),
        vector_entry("uFile", 19),
        // Only older versions need it.
        entry("old", 9, &[]),
    ]
}

#[test]
fn manifest_that_holds_what_every_way_names_has_nothing_to_say() {
    assert_eq!(said(&[LIVE], &held(), &[]), []);
    assert_eq!(said(&[LIVE, LIVE, LIVE], &held(), &[]), []);
    assert_eq!(said(&[&[]], &[], &[]), []);
}

#[test]
fn file_that_any_way_names_and_no_entry_holds_is_damage() {
    for name in ["a", "b", "c", "d"] {
        let mut entries = held();
        entries.retain(|entry| entry.file != inside(name));
        is_damage(&said(&[LIVE], &entries, &[]), &format!("not held: {name}"));
    }
    // Only the second of two ways names it; the record says that they differ.
    let short = &LIVE[..3];
    let entries: Vec<_> = held()
        .into_iter()
        .filter(|it| it.file != inside("d"))
        .collect();
    is_damage(&said(&[short, LIVE], &entries, &[(1, 0)]), "not held: d");
    let mut absent = held();
    absent[0].placement = Placement::Absent {};
    absent[0].sha256 = None;
    is_damage(&said(&[LIVE], &absent, &[]), "not held: a");
}

#[test]
fn only_the_first_of_many_files_are_named() {
    let names = ["a", "b", "c", "d", "e", "f", "g"];
    let files: Vec<File> = names.iter().map(|name| (*name, None, 1)).collect();
    is_damage(
        &said(&[&files], &[], &[]),
        "7 files are live by its own log and not held: a, b, c, d, e and 2 more",
    );
}

#[test]
fn entry_that_says_other_than_the_log_is_damage() {
    let changed = |change: fn(&mut Vec<Entry>)| {
        let mut entries = held();
        change(&mut entries);
        said(&[LIVE], &entries, &[])
    };
    is_damage(
        &changed(|it| it[3].live.clear()),
        "its data pages do not say: d",
    );
    is_damage(
        &changed(|it| it[0].size = 7),
        "another size than its own log gives: a",
    );
    says(
        &changed(|it| it.push(vector_entry("uFile", 18))),
        Severity::Damage,
        "more than once",
    );
    is_damage(&changed(|it| it[4].size = 18), "not held whole: dv-uFile");
    says(
        &changed(|it| drop(it.remove(4))),
        Severity::Damage,
        "not held whole: dv-uFile",
    );
    // Another vector than the log's: neither is right.
    let other = changed(|it| {
        it[1].live = vec![LiveUse::plain(Some(vector("iOther")))];
    });
    assert_eq!(other.len(), 2, "{other:#?}");
}

#[test]
fn file_that_no_way_names_is_damage_unless_a_disagreement_explains_it() {
    let mut entries = held();
    entries.push(entry("e", 5, &[None]));
    let what = "by no way through its own log: e";
    is_damage(&said(&[LIVE], &entries, &[]), what);
    is_damage(&said(&[LIVE], &entries, &[(4, 0)]), what);
    says(&said(&[LIVE], &entries, &[(0, 1)]), Severity::Warning, what);
    // Held for older versions, and said to be live.
    let mut revived = held();
    revived[5].live = vec![LiveUse::plain(None)];
    is_damage(
        &said(&[LIVE], &revived, &[]),
        "by no way through its own log: old",
    );
}

#[test]
fn file_that_no_way_names_is_no_damage_where_only_some_readers_had_it() {
    let mut entries = held();
    let mut by_text = entry("respelled", 4, &[None]);
    by_text.live[0].by_text = true;
    entries.push(by_text);
    assert_eq!(said(&[LIVE], &entries, &[]), []);
}

#[test]
fn file_that_the_newest_way_does_not_name_may_be_left_out_where_the_record_says_so() {
    let newest: &[File] = &[("a", None, 1)];
    let older: &[File] = &[("a", None, 1), ("b", None, 2)];
    let entries = [entry("a", 1, &[None])];
    let what = "1 file is live by one of several ways through its own log and not held: b";
    is_damage(&said(&[newest, older], &entries, &[(1, 0)]), what);
    let mut record = record();
    record.disagreements = vec![disagreement((1, 0))];
    record.findings = vec![format!("b is {NOT_AT_THE_SOURCE}")];
    assert_eq!(said_of(&record, &[newest, older], &entries), []);
    // What readers see is never excused.
    is_damage(
        &said_of(&record, &[older, newest], &entries),
        "1 file is live by its own log and not held: b",
    );
}

#[test]
fn ways_that_differ_are_a_finding_when_the_record_does_not_say_so() {
    let one: &[File] = &[("a", None, 1), ("b", None, 2)];
    let other: &[File] = &[("b", None, 2), ("c", None, 3), ("d", None, 4)];
    let union: Vec<_> = ["a", "b", "c", "d"]
        .iter()
        .zip(1..)
        .map(|(name, size)| entry(name, size, &[None]))
        .collect();
    let found = said(&[one, other], &union, &[]);
    says(&found, Severity::Warning, "lacks 2 and alone names 1");
    says(&found, Severity::Warning, "lacks 1 and alone names 2");
    assert_eq!(said(&[one, other], &union, &[(2, 1)]), []);
    // The two ways give one file two vectors: both are live.
    let two: &[File] = &[("a", Some("i1"), 1)];
    let vectors: &[File] = &[("a", Some("i2"), 1)];
    let both = [entry("a", 1, &[Some("i1"), Some("i2")])];
    assert_eq!(said(&[two, vectors], &both, &[(1, 1)]), []);
    let one_of_both = [entry("a", 1, &[Some("i2")])];
    is_damage(
        &said(&[two, vectors], &one_of_both, &[(1, 1)]),
        "do not say: a",
    );
}

#[test]
fn protocol_id_and_commit_are_those_of_the_log() {
    let mut record = record();
    record.commit = Some(CommitFile {
        etag: ETag("1".to_owned()),
        sha256: Digest::of(b"commit"),
        size: 6,
    });
    let mut protocol = protocol_of(&record);
    // In another order than the record's.
    protocol.reader_features.reverse();
    let commit = record.commit.as_ref().map(|it| (it.sha256, it.size));
    let said = |protocol: &Protocol, id: &str, commit| {
        let ways = [WayEnd {
            checkpoint: None,
            end: Ok((protocol.clone(), id.to_owned())),
        }];
        let (own, none) = (&record.table.delta_id, Comparison::default());
        let found = completeness_problems(&record, own, commit, &ways, &none);
        assert!(found.iter().all(|it| it.severity == Severity::Damage));
        let what: Vec<_> = found.into_iter().map(|it| it.what).collect();
        what.join("; ")
    };
    let id = record.table.delta_id.as_str();
    assert_eq!(said(&protocol, id, commit), "");
    assert!(said(&protocol, "another", commit).contains("Delta id"));
    assert!(said(&protocol, id, None).contains("commit of version"));
    let other = Some((Digest::of(b"another"), commit.unwrap().1));
    assert!(said(&protocol, id, other).contains("commit of version"));
    let newer = Protocol {
        min_writer_version: 99,
        ..protocol
    };
    assert!(said(&newer, id, commit).contains("protocol"));
}

#[test]
fn way_that_cannot_be_gone_is_damage_and_without_any_nothing_else_is_said() {
    let record = record();
    let torn = || LogError::MissingSidecar {
        file: "_delta_log/_sidecars/x.parquet".to_owned(),
    };
    let failed = || WayEnd {
        checkpoint: Some((Version(3), "_delta_log/c.parquet".parse().unwrap())),
        end: Err(torn()),
    };
    let compared = comparison(&[], &held());
    let found = completeness_problems(&record, "", None, &[failed()], &compared);
    let what: Vec<_> = found.iter().map(|it| it.what.as_str()).collect();
    assert_eq!(
        what,
        [
            "checkpoint 3 (_delta_log/c.parquet) cannot be replayed: sidecar _delta_log/_sidecars/x.parquet is missing",
            "no way through the log that it holds leads to its version"
        ]
    );
    assert_eq!(
        completeness_problems(&record, "", None, &[], &compared).len(),
        1
    );
}

#[test]
fn commits_that_nobody_can_read_are_no_damage_where_another_way_leads_on() {
    let record = record();
    let not_utf8 = |name: &str| LogError::NotUtf8 {
        file: format!("_delta_log/00000000000000000001.{name}"),
        line: 1,
    };
    let version = Version(2);
    for (error, of_checkpoint, is_damage) in [
        (LogError::NoProtocol { version }, false, false),
        (LogError::NoMetadata { version }, false, false),
        (LogError::NoProtocol { version }, true, false),
        (not_utf8("json"), false, false),
        (not_utf8("json"), true, false),
        (not_utf8("checkpoint.x.json"), true, true),
    ] {
        let checkpoint = (Version(1), "_delta_log/c.parquet".parse().unwrap());
        let text = error.to_string();
        let failed = WayEnd {
            checkpoint: of_checkpoint.then_some(checkpoint),
            end: Err(error),
        };
        let ends = [failed, whole_way(&record)];
        let found = problems(&record, &ends, &comparison(&[LIVE], &held()));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].what.contains(&text), "{found:?}");
        assert_eq!(
            found[0].severity == Severity::Damage,
            is_damage,
            "{found:?}"
        );
    }
}
