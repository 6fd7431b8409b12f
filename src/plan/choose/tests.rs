use super::*;
use crate::format::ledger::NewerRecord;
use crate::format::record::{CommitFile, Preamble};
use crate::format::samples;
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

fn at(time: Timestamp, is_exact: bool) -> Wanted {
    Wanted::AsOf(AsOf { time, is_exact })
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
    History::new(
        samples::table_key(),
        Chain {
            next_free: links.len() as u64 + 1,
            links,
            findings: Vec::new(),
        },
    )
}

fn chosen(history: &History, wanted: &Wanted) -> Result<(u64, u64), ChooseError> {
    match history.choose(wanted, &CommitTimes::new())? {
        Step::Done(chosen) => Ok((chosen.snapshot.seq, chosen.version.0)),
        Step::Read(snapshot) => panic!("asks for {}", snapshot.seq),
    }
}

/// The slot and the version that a wanted version is taken from.
fn version(history: &History, version: u64) -> (u64, u64) {
    chosen(history, &Wanted::Version(Version(version))).unwrap()
}

/// A slot, a version, and the versions between: first, last, and whether they are held.
type ChosenAt = (u64, u64, Option<(u64, u64, bool)>);

/// As [`chosen`], with the times that a snapshot's log says: `(slot, [(version, minute)])`. Where more is asked for, its
/// slot is the error.
fn chosen_at(history: &History, minute: u8, logs: &[(u64, &[(u64, u8)])]) -> Result<ChosenAt, u64> {
    let times = logs.iter().map(|(seq, log)| {
        let log = log.iter();
        let times = log.map(|(version, minute)| (Version(*version), time(*minute)));
        (id(*seq), times.collect())
    });
    match history.choose(&at(time(minute), false), &times.collect()) {
        Ok(Step::Done(chosen)) => {
            let between = chosen.between.map(|it| (it.first.0, it.last.0, it.is_held));
            Ok((chosen.snapshot.seq, chosen.version.0, between))
        }
        Ok(Step::Read(snapshot)) => Err(snapshot.seq),
        Err(error) => panic!("{error:?}"),
    }
}

fn whole(record: Record, first: u64, last: u64) -> Record {
    Record {
        whole_versions: vec![(Version(first), Version(last))],
        ..record
    }
}

fn pruned(mut history: History, seqs: &[u64]) -> History {
    for snapshot in &mut history.snapshots {
        snapshot.is_pruned = seqs.contains(&snapshot.seq);
    }
    history
}

fn choices(history: &History, wanted: &Wanted) -> Vec<String> {
    match chosen(history, wanted) {
        Err(ChooseError::Several { choices, .. }) => choices,
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
        Err(ChooseError::VersionNotHeld { held, .. }) if held == [(Version(4), Version(6))]
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
    assert_eq!(version(&related, 2), (1, 2));
    // The snapshot of the version itself comes before a newer one that has it as history.
    assert_eq!(version(&related, 5), (1, 5));
}

#[test]
fn records_that_name_each_other_as_base_do_not_go_in_circles() {
    let mut records = vec![record(1, 5, 1, "5"), record(2, 6, 2, "6")];
    for (record, base) in records.iter_mut().zip([2, 1]) {
        record.base = Some(id(base));
        record.whole_versions = vec![(Version(3), Version(3))];
    }
    assert_eq!(version(&history(links(records)), 3), (2, 3));
}

#[test]
fn time_means_the_newest_snapshot_committed_until_then() {
    let history = history(links(vec![record(1, 4, 10, "4"), record(2, 5, 20, "5")]));
    let choose = |minute| chosen(&history, &at(time(minute), false));
    assert_eq!(choose(10).unwrap(), (1, 4));
    assert_eq!(choose(19).unwrap(), (1, 4));
    assert_eq!(choose(20).unwrap(), (2, 5));
    assert!(matches!(
        choose(9),
        Err(ChooseError::NothingHeldAt { oldest: Some(oldest), .. }) if oldest == time(10)
    ));
}

#[test]
fn time_after_a_rewind_is_the_owners_choice() {
    let history = history(links(vec![
        record(1, 4, 10, "4"),
        record(2, 5, 20, "5"),
        record(3, 4, 10, "4"),
    ]));
    let choose = |minute| chosen(&history, &at(time(minute), false));
    assert_eq!(choose(15).unwrap(), (3, 4));
    assert_eq!(choices(&history, &at(time(30), false)).len(), 2);
    // Clocks that run apart do not make a rewind.
    let skewed = self::history(links(vec![record(1, 4, 20, "4"), record(2, 5, 10, "5")]));
    assert_eq!(chosen(&skewed, &at(time(30), false)).unwrap(), (2, 5));
}

#[test]
fn a_version_is_of_the_history_that_the_table_is_in_while_something_holds_it() {
    let mut records = vec![record(1, 4, 1, "4"), record(2, 6, 2, "6")];
    records[1].overwritten_from = Some(Version(3));
    let left = history(links(records.clone()));
    assert_eq!(version(&left, 4), (1, 4), "nothing else has it");
    records[1] = whole(records[1].clone(), 0, 5);
    let held = history(links(records));
    assert_eq!(version(&held, 4), (2, 4));
    let by_id = Wanted::Snapshot(id(1).short());
    assert_eq!(chosen(&held, &by_id).unwrap(), (1, 4));
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
    let (rewritten, rewound) = (Some(Mark::Rewritten), Some(Mark::Rewound));
    assert_eq!(marks[..5], [None, None, None, rewritten, rewound]);
    assert_eq!(
        marks[5..],
        [None, Some(Mark::Recreated), rewound, None, None]
    );
}

#[test]
fn times_are_compared_to_the_millisecond_where_a_fraction_counts() {
    let moment = |text: &str| -> Timestamp { format!("2026-01-01T00:00:{text}Z").parse().unwrap() };
    let mut records = vec![record(1, 4, 0, "4"), record(2, 5, 0, "5")];
    records[0].commit_time = moment("49");
    records[1].commit_time = moment("49.834567891");
    let history = history(links(records));
    let choose = |text, is_exact| chosen(&history, &at(moment(text), is_exact)).ok();
    let cases = [
        ("48.999999999", None),
        ("48", None),
        ("49", Some((1, 4))),
        ("49.001", Some((1, 4))),
        ("49.833", Some((1, 4))),
        ("49.833999999", Some((1, 4))),
        ("49.834", Some((2, 5))),
        ("49.834567", Some((2, 5))),
        ("50", Some((2, 5))),
    ];
    for (text, expected) in cases {
        assert_eq!(choose(text, true), expected, "{text}");
    }
    assert_eq!(choose("48", false), None);
    assert_eq!(choose("49", false), Some((2, 5)), "all of that second");
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
    assert_eq!(chosen(&history, &at(time(2), false)).unwrap(), (1, 4));
}

#[test]
fn record_for_a_newer_tool_refuses_every_choice_but_by_id() {
    let text = br#"{"format":1,"requires":["x"],"seq":2,"tool":"deltavault 9"}"#;
    let preamble = Preamble::decode("record", text).unwrap();
    let reason = preamble.check_known("record").unwrap_err();
    let newer = LinkBody::Newer(Arc::new(NewerRecord { preamble, reason }));
    let mut links = links(vec![record(1, 4, 1, "4")]);
    links.push(link(2, newer));
    let before = history(links.clone());
    for wanted in [
        Wanted::Latest,
        Wanted::Version(Version(4)),
        at(time(5), false),
        Wanted::Snapshot(id(2).short()),
    ] {
        let refused = chosen(&before, &wanted).unwrap_err();
        let newer =
            matches!(&refused, ChooseError::Ledger(error) if error.hint().contains("deltavault 9"));
        assert!(newer, "{wanted:?}: {refused}");
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

#[test]
fn time_means_what_a_history_snapshot_holds_between_two_snapshots() {
    let log: &[(u64, u8)] = &[(4, 31), (5, 32)];
    let records = vec![
        whole(record(1, 3, 30, "3"), 0, 2),
        whole(record(2, 6, 40, "6"), 0, 5),
        whole(record(3, 7, 50, "7"), 0, 6),
    ];
    let history = history(links(records));
    assert_eq!(chosen_at(&history, 33, &[]), Err(2), "its log is asked for");
    let read = |minute| chosen_at(&history, minute, &[(2, log)]);
    assert_eq!(read(33), Ok((2, 5, None)));
    assert_eq!(read(31), Ok((2, 4, None)));
    assert_eq!(read(30), Ok((1, 3, None)));
    // Nothing lies between v6 and v7, so no log is asked for.
    assert_eq!(read(45), Ok((2, 6, None)));
    assert_eq!(read(59), Ok((3, 7, None)));
    // Before the first snapshot's own version.
    let before = chosen_at(&history, 20, &[(1, &[(0, 10), (1, 15), (2, 25)])]);
    assert_eq!(before, Ok((1, 1, None)));
}

#[test]
fn versions_that_may_be_meant_as_well_are_told() {
    let live = history(links(vec![record(1, 3, 30, "3"), record(2, 6, 40, "6")]));
    assert_eq!(chosen_at(&live, 33, &[]), Ok((1, 3, Some((4, 5, false)))));
    assert_eq!(chosen_at(&live, 50, &[]), Ok((2, 6, None)));
    let newer = whole(record(2, 6, 40, "6"), 5, 5);
    let spoiled = history(links(vec![record(1, 3, 30, "3"), newer]));
    let told = |log| chosen_at(&spoiled, 33, &[(2, log)]);
    assert_eq!(told(&[(4, 31), (5, 35)]), Ok((1, 3, Some((4, 4, false)))));
    assert_eq!(told(&[(4, 31), (5, 32)]), Ok((2, 5, None)));
    assert_eq!(
        told(&[]),
        Ok((1, 3, Some((4, 5, true)))),
        "no time is known"
    );
}

#[test]
fn a_gap_in_one_history_snapshot_is_looked_for_in_the_next() {
    let records = vec![
        record(1, 3, 30, "3"),
        whole(record(2, 7, 40, "7"), 4, 4),
        whole(record(3, 8, 50, "8"), 5, 7),
    ];
    let history = history(links(records));
    let first: (u64, &[(u64, u8)]) = (2, &[(4, 31), (5, 32), (6, 36)]);
    assert_eq!(chosen_at(&history, 33, &[first]), Err(3));
    let both = [first, (3, &[(5, 32), (6, 36), (7, 40)])];
    assert_eq!(chosen_at(&history, 33, &both), Ok((3, 5, None)));
    assert_eq!(chosen_at(&history, 31, &[first]), Ok((2, 4, None)));
}

#[test]
fn a_table_that_was_created_again_is_chosen_by_its_own_times() {
    let mut again = whole(record(2, 2, 40, "other"), 0, 1);
    again.table.delta_id = "another".to_owned();
    let history = history(links(vec![record(1, 3, 30, "3"), again]));
    let log: (u64, &[(u64, u8)]) = (2, &[(0, 34), (1, 36)]);
    assert_eq!(chosen_at(&history, 35, &[log]), Ok((2, 0, None)));
    assert_eq!(chosen_at(&history, 33, &[log]), Ok((1, 3, None)));
}

#[test]
fn what_was_pruned_is_chosen_only_where_nothing_else_holds_it() {
    let records = vec![
        record(1, 0, 10, "0"),
        record(2, 1, 20, "1"),
        whole(record(3, 3, 40, "3"), 0, 2),
        record(4, 4, 50, "4"),
        record(5, 4, 50, "4"),
    ];
    let history = pruned(history(links(records)), &[1, 2, 4]);
    assert_eq!(
        [0, 1, 4].map(|it| version(&history, it)),
        [(3, 0), (3, 1), (5, 4)]
    );
    let log: (u64, &[(u64, u8)]) = (3, &[(0, 10), (1, 20), (2, 30), (3, 40)]);
    assert_eq!(chosen_at(&history, 25, &[log]), Ok((3, 1, None)));
    assert_eq!(chosen_at(&history, 35, &[log]), Ok((3, 2, None)));
    assert_eq!(chosen_at(&history, 55, &[log]), Ok((5, 4, None)));
    assert_eq!(chosen(&history, &Wanted::Latest).unwrap(), (5, 4));
    // Of what is gone, the reader says so.
    let gone = pruned(history, &[1, 2, 3, 4, 5]);
    assert_eq!(version(&gone, 1), (3, 1));
    assert_eq!(chosen(&gone, &Wanted::Latest).unwrap(), (5, 4));
}

#[test]
fn a_state_that_an_older_snapshot_holds_too_is_taken_from_there() {
    let records = vec![
        record(1, 4, 10, "4"),
        record(2, 4, 10, "4"),
        record(3, 9, 40, "9"),
    ];
    let history = pruned(history(links(records)), &[2]);
    assert_eq!(
        chosen_at(&history, 20, &[]),
        Ok((1, 4, Some((5, 8, false))))
    );
    assert_eq!(version(&history, 4), (1, 4));
}

#[test]
fn a_table_that_went_back_later_was_where_its_history_says() {
    let first = || record(1, 3, 30, "3");
    let second = || whole(record(2, 6, 40, "6"), 0, 5);
    let log: (u64, &[(u64, u8)]) = (2, &[(4, 31), (5, 32)]);
    // It went back to v3, and is there still.
    let back = history(links(vec![first(), second(), record(3, 3, 30, "3")]));
    assert_eq!(chosen_at(&back, 33, &[log]), Ok((2, 5, None)));
    // It went on from there: its v5 is another one.
    let on = whole(record(3, 5, 50, "other"), 0, 4);
    let on = history(links(vec![first(), second(), on]));
    assert_eq!(chosen_at(&on, 33, &[log]), Ok((2, 5, None)));
    // A clock that ran ahead when an older snapshot's version was committed hides nothing.
    let ahead = vec![
        record(1, 2, 45, "2"),
        record(2, 3, 30, "3"),
        whole(record(3, 6, 40, "6"), 0, 5),
    ];
    let log = (3, log.1);
    assert_eq!(
        chosen_at(&history(links(ahead)), 33, &[log]),
        Ok((3, 5, None))
    );
    let bare = history(links(vec![
        first(),
        record(2, 6, 40, "6"),
        record(3, 5, 50, "other"),
    ]));
    assert_eq!(chosen_at(&bare, 33, &[]), Ok((1, 3, Some((4, 5, false)))));
}
