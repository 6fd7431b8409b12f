use super::*;
use crate::delta::commit::read_commit;
use crate::delta::path::TableRoot;

fn root() -> TableRoot {
    TableRoot::new("s3://lake/t").unwrap()
}

/// Passes the actions in these lines on.
fn each(lines: &str, sink: &mut dyn FnMut(Action) -> Result<(), LogError>) {
    read_commit(lines.as_bytes(), "commit", &root(), sink).unwrap();
}

fn known(name: &str, size: u64) -> LiveFile {
    LiveFile {
        add: Add {
            file: Location::Inside(name.parse().unwrap()),
            size,
            absolute: false,
            modification_time: None,
            rows: None,
            dv: None,
        },
        from: Version(3),
        until: None,
        by_text: false,
        off_newest: false,
        otherwise: Vec::new(),
        spelled: Vec::new(),
    }
}

/// A replay of commits 0, 1, …, each given as lines.
fn replay(commits: &[&str]) -> Replay {
    let spill = tempfile::tempdir().unwrap();
    let mut replay = Replay::new(spill.path()).unwrap();
    for (version, lines) in (0..).map(Version).zip(commits) {
        each(lines, &mut |action| replay.commit(version, action));
    }
    replay
}

/// `a@10 0..` for a file of 10 bytes that is live since version 0, `a+dv@10 0..3` for one that has ended.
fn spelt(files: &mut LiveFiles) -> Vec<String> {
    files
        .map(|file| {
            let LiveFile {
                add, from, until, ..
            } = file.unwrap();
            let dv = add.dv.map_or_else(String::new, |dv| format!("+{}", dv.id));
            let until = until.map_or_else(String::new, |until| until.to_string());
            format!("{}{dv}@{} {from}..{until}", add.file, add.size)
        })
        .collect()
}

fn live(commits: &[&str]) -> Vec<String> {
    spelt(&mut replay(commits).finish().unwrap().1)
}

fn history(commits: &[&str]) -> Vec<String> {
    spelt(&mut replay(commits).finish_with_history().unwrap().1)
}

fn add(path: &str) -> String {
    format!("{{\"add\":{{\"path\":\"{path}\",\"size\":10}}}}\n")
}

fn remove(path: &str) -> String {
    format!("{{\"remove\":{{\"path\":\"{path}\"}}}}\n")
}

/// An inline vector with that text.
fn with_vector(action: &str, dv: &str) -> String {
    let vector =
        format!(r#""storageType":"i","pathOrInlineDv":"{dv}","sizeInBytes":4,"cardinality":1"#);
    format!(
        "{}, \"deletionVector\":{{{vector}}}}}}}\n",
        action.trim_end().trim_end_matches("}}")
    )
}

#[test]
fn removal_ends_a_file_and_files_come_in_order() {
    let first = add("b") + &add("c") + &add("a");
    assert_eq!(
        live(&[&first, &remove("c"), &add("aa")]),
        ["a@10 0..", "aa@10 2..", "b@10 0.."]
    );
}

#[test]
fn order_inside_a_commit_has_no_meaning() {
    let moves = [with_vector(&add("a"), "new"), remove("a")];
    for lines in [moves.concat(), moves.iter().rev().cloned().collect()] {
        assert_eq!(live(&[&add("a"), &lines]), ["a+inew@10 1.."], "{lines}");
    }
    // Both a removal and an addition of one name: the file stays, and that is worth telling.
    for lines in [add("a") + &remove("a"), remove("a") + &add("a")] {
        let (_, mut files) = replay(&[&lines]).finish().unwrap();
        assert_eq!(spelt(&mut files), ["a@10 0.."]);
        assert_eq!(files.findings().contradicted, 1);
    }
}

#[test]
fn vector_that_is_updated_twice_leaves_one_logical_file_each_time() {
    let commits = [
        add("a"),
        with_vector(&add("a"), "one") + &remove("a"),
        with_vector(&remove("a"), "one") + &with_vector(&add("a"), "two"),
    ];
    let commits: Vec<_> = commits.iter().map(String::as_str).collect();
    assert_eq!(live(&commits[..1]), ["a@10 0.."]);
    assert_eq!(live(&commits[..2]), ["a+ione@10 1.."]);
    assert_eq!(live(&commits), ["a+itwo@10 2.."]);
    assert_eq!(
        history(&commits),
        ["a@10 0..1", "a+ione@10 1..2", "a+itwo@10 2.."]
    );
}

#[test]
fn removal_with_another_vector_ends_nothing_and_a_file_live_twice_is_told() {
    let commits = [
        add("a"),
        with_vector(&remove("a"), "other"),
        with_vector(&add("a"), "dv"),
    ];
    let commits: Vec<_> = commits.iter().map(String::as_str).collect();
    let (_, mut files) = replay(&commits).finish().unwrap();
    assert_eq!(spelt(&mut files), ["a@10 0..", "a+idv@10 2.."]);
    assert_eq!(files.findings().live_twice, 1);
}

/// As [`spelt`], with what only readers that compare text have live and the spellings: `a@10 0.. by text [%61, ./a]`.
fn spellings(commits: &[String]) -> (Vec<String>, u64) {
    let commits: Vec<_> = commits.iter().map(String::as_str).collect();
    let (_, mut files) = replay(&commits).finish().unwrap();
    let mut told = Vec::new();
    for file in &mut files {
        let file = file.unwrap();
        let by_text = if file.by_text { " by text" } else { "" };
        let (name, from, spelled) = (&file.add.file, file.from, file.spelled.join(", "));
        told.push(format!("{name} {from}..{by_text} [{spelled}]"));
    }
    (told, files.findings().respelled)
}

#[test]
fn remove_ends_only_the_add_that_is_spelled_alike() {
    let is = |commits: &[String], live: &[&str], respelled: u64| {
        let (told, found) = spellings(commits);
        let told: Vec<_> = told.iter().map(String::as_str).collect();
        assert_eq!((&told[..], found), (live, respelled), "{commits:?}");
    };
    for (one, other, name) in [
        ("a%20b", "a b", "a b"),
        ("%C3%BC", "%c3%bc", "ü"),
        ("./c", "c", "c"),
        ("s3://lake/t/d", "d", "d"),
        ("s3a://lake/t/e", "s3://lake/t/e", "e"),
        ("f//g", "%66/g", "f/g"),
    ] {
        for (added, removed) in [(one, other), (other, one)] {
            let spelled = if added == name { "" } else { added };
            let held = format!("{name} 0.. by text [{spelled}]");
            is(&[add(added), remove(removed)], &[&held], 1);
            is(&[add(added), remove(removed), remove(added)], &[], 0);
            is(&[add(added), remove(added)], &[], 0);
            let again = format!("{name} 0.. [{spelled}]");
            is(&[add(added), remove(removed), add(added)], &[&again], 0);
            let mut both = [added, removed];
            both.sort_unstable();
            let both = format!("{name} 0.. [{}, {}]", both[0], both[1]);
            is(&[add(added), add(removed)], &[&both], 1);
            // The other one is what is left.
            let spelled = if removed == name { "" } else { removed };
            let left = format!("{name} 0.. by text [{spelled}]");
            is(&[add(added), add(removed), remove(added)], &[&left], 1);
        }
    }
}

#[test]
fn what_is_known_at_the_start_keeps_its_spellings() {
    let from_start = |by_text, spelled: &[&str], lines: &str| {
        let mut replay = replay(&[]);
        each(lines, &mut |action| replay.commit(Version(8), action));
        let known = LiveFile {
            by_text,
            spelled: spelled.iter().map(ToString::to_string).collect(),
            ..known("a b", 10)
        };
        replay.start_file(known).unwrap();
        let mut files = replay.finish().unwrap().1;
        let live: Vec<_> = files.by_ref().map(Result::unwrap).collect();
        let respelled = files.findings().respelled;
        let state = |file: &LiveFile| (file.by_text, file.spelled.clone());
        (live.iter().map(state).collect::<Vec<_>>(), respelled)
    };
    let two = vec!["a b".to_owned(), "a%20b".to_owned()];
    assert_eq!(from_start(false, &[], ""), (vec![(false, vec![])], 0));
    assert_eq!(from_start(true, &[], ""), (vec![(true, vec![])], 1));
    let spelled = &["a%20b"];
    let kept = (vec![(true, vec!["a%20b".to_owned()])], 1);
    assert_eq!(from_start(false, spelled, &remove("a b")), kept);
    assert_eq!(from_start(true, spelled, &remove("./a b")), kept);
    assert_eq!(from_start(false, spelled, &remove("a%20b")), (vec![], 0));
    assert_eq!(
        from_start(false, &["a b", "a%20b"], ""),
        (vec![(false, two)], 1)
    );
    let left = (vec![(true, vec![])], 1);
    assert_eq!(from_start(false, &["a b", "a%20b"], &remove("a%20b")), left);
    assert_eq!(
        from_start(true, spelled, &add("a%20b")),
        (vec![(false, vec!["a%20b".to_owned()])], 0)
    );
}

#[test]
fn a_file_with_many_spellings_stays_and_memory_is_bounded() {
    let spelled = |n: usize| format!("{}a", "./".repeat(n));
    let adds: String = (0..100).map(|n| add(&spelled(n))).collect();
    let removes: String = (0..100).map(|n| remove(&spelled(n))).collect();
    let (_, files) = replay(&[&adds, &removes]).finish().unwrap();
    let live: Vec<_> = files.map(Result::unwrap).collect();
    assert_eq!(
        (live.len(), live[0].by_text, live[0].spelled.len()),
        (1, true, 16)
    );
    // Below the limit each remove counts.
    let adds: String = (0..15).map(|n| add(&spelled(n))).collect();
    assert_eq!(live_count(&[&adds, &removes]), 0);
}

fn live_count(commits: &[&str]) -> usize {
    live(commits).len()
}

#[test]
fn remove_on_one_line_with_an_add_ends_nothing() {
    let line = |removed: &str| {
        format!(
            "{{\"add\":{{\"path\":\"b\",\"size\":10}},\"remove\":{{\"path\":\"{removed}\"}}}}\n"
        )
    };
    for (removed, expected) in [
        ("a", &["a@10 0..", "b@10 1.."][..]),
        ("b", &["a@10 0..", "b@10 1.."]),
        ("%FF", &["a@10 0..", "b@10 1.."]),
    ] {
        let (_, mut files) = replay(&[&add("a"), &line(removed)]).finish().unwrap();
        assert_eq!(spelt(&mut files), expected, "{removed}");
        let expected = Paths {
            count: 1,
            first: Some(removed.to_owned()),
        };
        assert_eq!(files.findings().passed_over, expected);
    }
    // `null` is no action.
    let lines = remove("a").replace("{\"remove\"", "{\"add\":null,\"remove\"");
    assert_eq!(live_count(&[&add("a"), &lines]), 0);
}

#[test]
fn what_a_compared_checkpoint_names_is_removed_only_as_it_is_spelled() {
    for (named, removed, is_live) in [("%61", "a", true), ("%61", "%61", false), ("a", "a", false)]
    {
        let mut replay = replay(&[]);
        let index = replay.compare(Version(1), Detail::Rows).unwrap();
        each(&add(named), &mut |action| replay.compared(index, action));
        for (version, lines) in [(0, add("b")), (1, String::new()), (2, remove(removed))] {
            let version = Version(version);
            each(&lines, &mut |action| replay.commit(version, action));
        }
        let live = spelt(&mut replay.finish().unwrap().1);
        assert_eq!(
            live.len(),
            1 + usize::from(is_live),
            "{named} {removed}: {live:?}"
        );
    }
}

#[test]
fn spans_tell_when_a_file_came_and_went_and_came_again() {
    let (one, gone) = (add("a"), remove("a"));
    assert_eq!(
        history(&[&one, &gone, "", &one, &one, &gone]),
        ["a@10 0..1", "a@10 3..5"]
    );
    assert_eq!(live(&[&one, &gone, "", &one, &one]), ["a@10 3.."]);
    // Written again with another size it is another file, and the older versions had the older one.
    let other = one.replace("10", "11");
    assert_eq!(history(&[&one, "", &other]), ["a@10 0..2", "a@11 2.."]);
    assert_eq!(live(&[&one, "", &other]), ["a@11 2.."]);
    assert_eq!(live(&[&(one.clone() + &other)]), ["a@11 0.."]);
    assert_eq!(history(&[&(one + &other)]), ["a@11 0.."]);
}

#[test]
fn start_ignores_tombstones_and_keeps_since_when_a_file_is_live() {
    let mut replay = replay(&[]);
    let checkpoint = add("a") + &remove("a") + &add("b");
    each(&checkpoint, &mut |action| replay.start(Version(7), action));
    replay.start_file(known("c", 1)).unwrap();
    each(&remove("b"), &mut |action| {
        replay.commit(Version(8), action)
    });
    let (_, mut files) = replay.finish_with_history().unwrap();
    assert_eq!(spelt(&mut files), ["a@10 7..", "b@10 7..8", "c@1 3.."]);
    assert_eq!(*files.findings(), ReplayFindings::default());
}

#[test]
fn paths_that_no_object_can_have_are_counted_and_change_nothing() {
    let odd = r#"{"remove":{"path":"caf%E9"}}{"cdc":{"path":"%FF"}}"#;
    let (_, mut files) = replay(&[&add("a"), odd]).finish().unwrap();
    assert_eq!(spelt(&mut files), ["a@10 0.."]);
    let expected = Paths {
        count: 2,
        first: Some("caf%E9".to_owned()),
    };
    assert_eq!(files.findings().unnameable, expected);
}

#[test]
fn state_is_the_newest_of_each_kind() {
    let (state, _) = replay(&[
        r#"{"protocol":{"minReaderVersion":1,"minWriterVersion":2}}
               {"txn":{"appId":"a","version":1}}
               {"domainMetadata":{"domain":"d","configuration":"x","removed":false}}
               {"domainMetadata":{"domain":"e","configuration":"y","removed":false}}
               {"commitInfo":{"operation":"CREATE TABLE"}}"#,
        r#"{"txn":{"appId":"a","version":2}}
               {"domainMetadata":{"domain":"d","configuration":"","removed":true}}"#,
    ])
    .finish()
    .unwrap();
    assert_eq!(state.txns, [("a".to_owned(), Some(2))].into());
    assert_eq!(state.domains, [("e".to_owned(), "y".to_owned())].into());
    let (version, info) = state.commit_info.clone().unwrap();
    assert_eq!(
        (version, info.operation.as_deref()),
        (Version(0), Some("CREATE TABLE"))
    );
    let error = state.required(Version(1)).unwrap_err();
    assert_eq!(error.to_string(), "no metaData action up to version 1");
    let error = TableState::default().required(Version(1)).unwrap_err();
    assert_eq!(error.to_string(), "no protocol action up to version 1");
}

#[test]
fn tip_brings_provenance_and_nothing_else() {
    let mut replay = replay(&[&add("a")]);
    let lines = remove("a") + r#"{"commitInfo":{"operation":"DELETE"}}"#;
    each(&lines, &mut |action| {
        replay.tip(Version(0), action);
        Ok(())
    });
    let (state, mut files) = replay.finish().unwrap();
    assert_eq!(
        state.commit_info.unwrap().1.operation.as_deref(),
        Some("DELETE")
    );
    assert_eq!(spelt(&mut files), ["a@10 0.."]);
}

#[test]
fn versions_that_go_down_are_refused() {
    let mut replay = replay(&["", &add("a")]);
    let action = Action::CommitInfo(CommitInfo::default());
    let error = replay.commit(Version(0), action).unwrap_err();
    assert_eq!(error.to_string(), "version 0 is replayed after version 1");
}

#[test]
fn what_is_held_of_domains_is_bounded_and_what_is_replaced_does_not_count() {
    let large = "x".repeat(1024 * 1024);
    let commit = |replay: &mut Replay, version: u64, name: u64| {
        let action = Action::Domain {
            domain: format!("d{name}"),
            configuration: Some(large.clone()),
        };
        replay.commit(Version(version), action)
    };
    let mut replay = replay(&[&add("a")]);
    for version in 1..200 {
        commit(&mut replay, version, 1).unwrap();
    }
    let refused = (2..100).find_map(|name| commit(&mut replay, 200, name).err());
    let refused = refused.unwrap().to_string();
    let says = "up to version 200 take more than 67108864 bytes";
    assert!(refused.contains(says), "{refused}");
}
