use super::*;
use crate::delta::commit::read_commit;
use crate::delta::path::TableRoot;

fn root() -> TableRoot {
    TableRoot::new("s3://lake/t").unwrap()
}

/// A replay of commits 0, 1, …, each given as lines.
fn replay(commits: &[&str]) -> Replay {
    let spill = tempfile::tempdir().unwrap();
    let mut replay = Replay::new(spill.path()).unwrap();
    for (version, lines) in (0..).map(Version).zip(commits) {
        read_commit(lines.as_bytes(), "commit", &root(), &mut |action| {
            replay.commit(version, action)
        })
        .unwrap();
    }
    replay
}

/// `a@10 0..` for a file of 10 bytes that is live since version 0, `a+dv@10 0..3` for one that has ended.
fn spelt(files: &mut LiveFiles) -> Vec<String> {
    files
        .map(|file| {
            let LiveFile { add, from, until } = file.unwrap();
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

#[test]
fn spellings_of_one_object_are_one_file_and_counted() {
    let commits = [
        add("a%20b"),
        remove("s3a://lake/t/a b"),
        add("c") + &add("d"),
        remove("c"),
    ];
    let commits: Vec<_> = commits.iter().map(String::as_str).collect();
    let (_, mut files) = replay(&commits).finish().unwrap();
    assert_eq!(spelt(&mut files), ["d@10 2.."]);
    assert_eq!(files.findings().respelled, 1);
    assert_eq!(files.findings().respelled_examples[0].as_str(), "a b");
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
    let spill = tempfile::tempdir().unwrap();
    let mut replay = Replay::new(spill.path()).unwrap();
    let checkpoint = add("a") + &remove("a") + &add("b");
    read_commit(
        checkpoint.as_bytes(),
        "checkpoint",
        &root(),
        &mut |action| replay.start(Version(7), action),
    )
    .unwrap();
    let known = Add {
        file: Location::Inside("c".parse().unwrap()),
        size: 1,
        absolute: false,
        modification_time: None,
        rows: None,
        dv: None,
    };
    replay.start_file(Version(3), known).unwrap();
    read_commit(remove("b").as_bytes(), "commit", &root(), &mut |action| {
        replay.commit(Version(8), action)
    })
    .unwrap();
    let (_, mut files) = replay.finish_with_history().unwrap();
    assert_eq!(spelt(&mut files), ["a@10 7..", "b@10 7..8", "c@1 3.."]);
    assert_eq!(*files.findings(), ReplayFindings::default());
}

#[test]
fn paths_that_no_object_can_have_are_counted_and_change_nothing() {
    let odd = r#"{"remove":{"path":"caf%E9"}}{"cdc":{"path":"%FF"}}"#;
    let (_, mut files) = replay(&[&add("a"), odd]).finish().unwrap();
    assert_eq!(spelt(&mut files), ["a@10 0.."]);
    let expected = Unnameable {
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
    read_commit(lines.as_bytes(), "tip", &root(), &mut |action| {
        replay.tip(Version(0), action);
        Ok(())
    })
    .unwrap();
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
