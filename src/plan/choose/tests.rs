use super::*;
use crate::format::ledger::NewerRecord;
use crate::format::record::{CommitFile, Preamble};
use crate::format::{FormatError, samples};
use crate::ids::ETag;

/// One record: the version it holds, the minute of its commit, what its commit's bytes are.
fn record(seq: u64, version: u64, minute: u8, commit: &str) -> Record {
    let mut record = samples::record();
    record.seq = seq;
    record.version = Version(version);
    record.commit_time = time(minute);
    record.manifest.sha256 = Digest::of(format!("manifest {seq}").as_bytes());
    record.commit = Some(CommitFile {
        etag: ETag("1".to_owned()),
        sha256: Digest::of(commit.as_bytes()),
        size: 1,
    });
    record
}

fn time(minute: u8) -> Timestamp {
    format!("2026-01-01T00:{minute:02}:00Z").parse().unwrap()
}

fn id(seq: u64) -> SnapshotId {
    SnapshotId(Digest::of(&seq.to_be_bytes()))
}

fn link(seq: u64, body: LinkBody) -> Link {
    Link {
        seq,
        id: id(seq),
        version: None,
        body,
    }
}

fn links(records: Vec<Record>) -> Vec<Link> {
    let records = records.into_iter();
    records
        .map(|record| link(record.seq, LinkBody::Record(Arc::new(record))))
        .collect()
}

fn history(links: Vec<Link>) -> History {
    let key = "t-1f8fb2bf7bda65c73ba5c9b6e2fca0b5".parse().unwrap();
    History::new(
        key,
        Chain {
            next_free: links.len() as u64 + 1,
            links,
            findings: Vec::new(),
        },
    )
}

fn chosen(history: &History, wanted: &Wanted) -> Result<(u64, u64), Error> {
    let chosen = history.choose(wanted)?;
    Ok((chosen.snapshot.seq, chosen.version.0))
}

fn choices(history: &History, wanted: &Wanted) -> Vec<String> {
    match chosen(history, wanted) {
        Err(Error::OwnerMustChoose { choices, .. }) => choices,
        other => panic!("{other:?}"),
    }
}

#[test]
fn version_is_taken_from_its_newest_snapshot() {
    let history = history(links(vec![
        record(1, 4, 1, "4"),
        record(2, 5, 2, "5"),
        record(3, 5, 2, "5"),
        record(4, 6, 3, "6"),
    ]));
    let choose = |version| chosen(&history, &Wanted::Version(Version(version)));
    assert_eq!(choose(5).unwrap(), (3, 5));
    assert!(matches!(
        choose(9),
        Err(Error::VersionNotHeld { held, .. }) if held == [6, 5, 4].map(Version)
    ));
    assert_eq!(chosen(&history, &Wanted::Latest).unwrap(), (4, 6));
    let by_id = Wanted::Snapshot(id(1).short());
    assert_eq!(chosen(&history, &by_id).unwrap(), (1, 4));
}

#[test]
fn version_that_was_committed_twice_is_the_owners_choice() {
    let mut again = record(3, 5, 9, "5 again");
    let rewound = vec![record(1, 5, 1, "5"), record(2, 6, 2, "6"), again.clone()];
    let wanted = Wanted::Version(Version(5));
    let offered = choices(&history(links(rewound)), &wanted);
    assert_eq!(offered.len(), 2);
    assert!(offered[0].contains(&id(3).short()), "{offered:?}");
    assert!(offered[1].contains(&id(1).short()), "{offered:?}");
    // The same bytes in another table are not the same commit.
    again.commit = record(1, 5, 1, "5").commit;
    again.table.delta_id = "another".to_owned();
    let remade = vec![record(1, 5, 1, "5"), again.clone()];
    assert_eq!(choices(&history(links(remade)), &wanted).len(), 2);
    // A commit that the log has cleaned up since is the same where the manifest is.
    again.commit = None;
    again.table.delta_id = record(1, 5, 1, "5").table.delta_id;
    again.manifest = record(1, 5, 1, "5").manifest;
    let same = vec![record(1, 5, 1, "5"), again];
    assert_eq!(chosen(&history(links(same)), &wanted).unwrap(), (3, 5));
}

#[test]
fn older_version_comes_from_a_history_snapshot_of_one_line() {
    let mut first = record(1, 5, 1, "5");
    first.whole_versions = vec![(Version(2), Version(4))];
    let mut second = record(2, 6, 2, "6");
    second.whole_versions = vec![(Version(3), Version(5))];
    let wanted = Wanted::Version(Version(3));
    let unrelated = history(links(vec![first.clone(), second.clone()]));
    assert_eq!(choices(&unrelated, &wanted).len(), 2);
    second.base = Some(id(1));
    let related = history(links(vec![first, second]));
    assert_eq!(chosen(&related, &wanted).unwrap(), (2, 3));
    assert_eq!(
        chosen(&related, &Wanted::Version(Version(2))).unwrap(),
        (1, 2)
    );
    // The snapshot of the version itself comes before a newer one that has it as history.
    assert_eq!(
        chosen(&related, &Wanted::Version(Version(5))).unwrap(),
        (1, 5)
    );
}

#[test]
fn records_that_name_each_other_as_base_do_not_go_in_circles() {
    let mut records = vec![record(1, 5, 1, "5"), record(2, 6, 2, "6")];
    for (record, base) in records.iter_mut().zip([2, 1]) {
        record.base = Some(id(base));
        record.whole_versions = vec![(Version(3), Version(3))];
    }
    let history = history(links(records));
    assert_eq!(
        chosen(&history, &Wanted::Version(Version(3))).unwrap(),
        (2, 3)
    );
}

#[test]
fn time_means_the_newest_snapshot_committed_until_then() {
    let history = history(links(vec![record(1, 4, 10, "4"), record(2, 5, 20, "5")]));
    let choose = |minute| chosen(&history, &Wanted::At(time(minute)));
    assert_eq!(choose(10).unwrap(), (1, 4));
    assert_eq!(choose(19).unwrap(), (1, 4));
    assert_eq!(choose(20).unwrap(), (2, 5));
    assert!(matches!(
        choose(9),
        Err(Error::NothingHeldAt { oldest: Some(oldest), .. }) if oldest == time(10)
    ));
}

#[test]
fn time_after_a_rewind_is_the_owners_choice() {
    let history = history(links(vec![
        record(1, 4, 10, "4"),
        record(2, 5, 20, "5"),
        record(3, 4, 10, "4"),
    ]));
    let choose = |minute| chosen(&history, &Wanted::At(time(minute)));
    assert_eq!(choose(15).unwrap(), (3, 4));
    assert_eq!(choices(&history, &Wanted::At(time(30))).len(), 2);
    // Clocks that run apart do not make a rewind.
    let skewed = self::history(links(vec![record(1, 4, 20, "4"), record(2, 5, 10, "5")]));
    assert_eq!(chosen(&skewed, &Wanted::At(time(30))).unwrap(), (2, 5));
}

#[test]
fn a_list_is_marked_where_a_table_was_created_again_went_back_or_was_written_over() {
    let mut records = vec![
        record(1, 4, 1, "4"),
        record(2, 4, 1, "4"),
        record(3, 8, 2, "8"),
        record(4, 8, 2, "other"),
        record(5, 6, 3, "6"),
        record(6, 7, 4, "7"),
        record(7, 1, 5, "1"),
        record(8, 0, 6, "0"),
        record(9, 9, 7, "9"),
        record(10, 2, 8, "2"),
    ];
    for created_again in &mut records[6..] {
        created_again.table.delta_id = "another".to_owned();
    }
    // Takes the ninth back.
    records[9].distrusts = vec![id(9)];
    let history = history(links(records));
    let marks: Vec<_> = history.marked().map(|(_, mark)| mark).collect();
    let expected = [
        None,
        None,
        None,
        Some(Mark::Rewritten),
        Some(Mark::Rewound),
        None,
        Some(Mark::Recreated),
        Some(Mark::Rewound),
        None,
        None,
    ];
    assert_eq!(marks, expected);
}

#[test]
fn times_are_compared_to_the_millisecond() {
    let at = |text: &str| -> Timestamp { format!("2026-01-01T00:00:{text}Z").parse().unwrap() };
    let mut records = vec![record(1, 4, 0, "4"), record(2, 5, 0, "5")];
    records[0].commit_time = at("49");
    records[1].commit_time = at("49.834567891");
    let history = history(links(records));
    let choose = |text: &str| chosen(&history, &Wanted::At(at(text))).ok();
    let cases = [
        ("48.999999999", None),
        ("48", None),
        ("49", Some((2, 5))),
        ("49.001", Some((1, 4))),
        ("49.833", Some((1, 4))),
        ("49.833999999", Some((1, 4))),
        ("49.834", Some((2, 5))),
        ("49.834567", Some((2, 5))),
        ("50", Some((2, 5))),
    ];
    for (text, expected) in cases {
        assert_eq!(choose(text), expected, "{text}");
    }
}

#[test]
fn distrusted_snapshots_are_chosen_by_id_only() {
    let mut third = record(3, 6, 3, "6");
    third.distrusts = vec![id(2)];
    let history = history(links(vec![
        record(1, 4, 1, "4"),
        record(2, 5, 2, "5"),
        third,
    ]));
    let marks: Vec<bool> = history
        .snapshots
        .iter()
        .map(|it| it.is_distrusted)
        .collect();
    assert_eq!(marks, [false, true, false]);
    let by_id = Wanted::Snapshot(id(2).short());
    assert_eq!(chosen(&history, &by_id).unwrap(), (2, 5));
    let offered = choices(&history, &Wanted::Version(Version(5)));
    assert!(offered[0].contains("distrusted"), "{offered:?}");
    assert_eq!(chosen(&history, &Wanted::At(time(2))).unwrap(), (1, 4));
}

#[test]
fn record_for_a_newer_tool_refuses_every_choice_but_by_id() {
    let newer = |seq| {
        link(
            seq,
            LinkBody::Newer(Arc::new(NewerRecord {
                preamble: Preamble {
                    format: 1,
                    requires: vec!["x".to_owned()],
                    seq,
                    previous: None,
                    tool: "deltavault 9".to_owned(),
                },
                reason: FormatError::UnknownFeature {
                    features: vec!["x".to_owned()],
                    tool: "deltavault 9".to_owned(),
                },
            })),
        )
    };
    let mut links = links(vec![record(1, 4, 1, "4")]);
    links.push(newer(2));
    let before = history(links.clone());
    for wanted in [
        Wanted::Latest,
        Wanted::Version(Version(4)),
        Wanted::At(time(5)),
        Wanted::Snapshot(id(2).short()),
    ] {
        let refused = chosen(&before, &wanted).unwrap_err();
        assert!(
            refused.hint().unwrap().contains("deltavault 9"),
            "{wanted:?}"
        );
    }
    let by_id = Wanted::Snapshot(id(1).short());
    assert_eq!(chosen(&before, &by_id).unwrap(), (1, 4));
    // Once it is distrusted it is in nobody's way.
    let mut third = record(3, 5, 3, "5");
    third.distrusts = vec![id(2)];
    links.extend(self::links(vec![third]));
    let distrusted = history(links);
    assert_eq!(chosen(&distrusted, &Wanted::Latest).unwrap(), (3, 5));
}
