//! Sources that change, lose files or are replaced while, or between when, snapshots of them are taken.

use std::sync::Arc;

use deltavault::Error;
use deltavault::ExitCode;
use deltavault::plan::restore::Mode;
use deltavault::store::RestoreStore;
use futures::FutureExt as _;
use serde_json::json;

use super::support::fault_store::Call;
use super::support::scene::{LARGE, Scene, Store, assert_holds};
use super::support::table::Table;
use super::support::world::restore_request;

/// Opens of a data file.
fn reads_data(call: &Call) -> bool {
    call.method == "open" && !call.key.starts_with("_delta_log/")
}

/// The names of the newest live files.
fn newest(table: &Table, count: usize) -> Vec<String> {
    let mut names: Vec<_> = table.live.iter().collect();
    names.sort_by_key(|(_, add)| add["modificationTime"].as_u64());
    let newest = names.iter().rev().take(count);
    newest.map(|(name, _)| (*name).clone()).collect()
}

#[tokio::test]
async fn a_missing_data_file_is_named_and_the_snapshot_finishes_once_it_is_back() {
    let mut scene = Scene::set().await;
    scene.table.append(3, LARGE).await;
    let names = newest(&scene.table, 2);
    let bytes = scene.table.read(&names[0]).await;
    scene.table.remove(&names[0]).await;
    let error = scene
        .refuses(
            ExitCode::Failed,
            &[
                "orders version 3 is not whole",
                "1 of its files is gone",
                &names[0],
            ],
        )
        .await;
    assert!(matches!(&error, Error::SourceFileMissing { files, .. } if *files == names[..1]));
    assert!(error.hint().unwrap().contains("--heal"));

    scene.table.put(&names[0], bytes).await;
    let reads = scene
        .live
        .calls()
        .iter()
        .filter(|call| reads_data(call))
        .count();
    let done = scene.take(25).await.unwrap();
    let again = scene
        .live
        .calls()
        .iter()
        .filter(|call| reads_data(call))
        .count()
        - reads;
    assert_eq!(again, 1, "what was copied is not copied twice");
    scene.is_exact(&done).await;
}

#[tokio::test]
async fn a_data_file_with_another_size_than_the_log_says_is_named_with_both() {
    let mut scene = Scene::set().await;
    scene.table.append(2, 100).await;
    let name = newest(&scene.table, 1).remove(0);
    let whole = scene.table.read(&name).await;
    for bytes in [
        whole[..99].to_vec(),
        [&whole[..], b"x"].concat(),
        Vec::new(),
    ] {
        let actual = bytes.len();
        scene.table.remove(&name).await;
        scene.table.put(&name, bytes).await;
        let says = format!("{name} has {actual} bytes, the log says 100");
        let error = scene.refuses(ExitCode::Failed, &[&says]).await;
        assert!(matches!(error, Error::SourceFileSize { expected: 100, .. }));
    }
}

#[tokio::test]
async fn a_file_that_vanishes_during_the_copy_fails_the_snapshot_when_nothing_newer_does_without_it()
 {
    for size in [100, LARGE] {
        let mut scene = Scene::set().await;
        scene.table.append(3, size).await;
        let name = newest(&scene.table, 1).remove(0);
        let table = scene.table.clone();
        let gone = name.clone();
        scene.live.before_call(1, reads_data, move || {
            async move { table.remove(&gone).await }.boxed()
        });
        let before = scene.visible().await;
        let error = scene.take(24).await.unwrap_err();
        assert!(
            matches!(&error, Error::SourceFileMissing { files, .. } if *files == [name]),
            "{error}"
        );
        assert_eq!(scene.visible().await, before);
        scene.first_is_safe().await;
    }
}

#[tokio::test]
async fn a_file_that_vanishes_during_the_copy_is_not_missed_when_a_newer_version_does_without_it() {
    let mut scene = Scene::set().await;
    scene.table.append(3, LARGE).await;
    let name = newest(&scene.table, 1).remove(0);
    // A job deletes the file and a VACUUM without mercy takes it, just as it is to be read.
    let mut later = scene.table.clone();
    let gone = name.clone();
    scene.live.before_call(1, reads_data, move || {
        async move {
            let remove = json!({"remove": {"path": gone, "dataChange": true,
                "deletionTimestamp": 1_760_000_000_000_u64}});
            later.commit("DELETE", vec![remove]).await;
            later.remove(&gone).await;
        }
        .boxed()
    });
    let done = scene.take(24).await.unwrap();
    assert_eq!(done.record.version.0, 4);
    scene.table.live.remove(&name);
    scene.is_exact(&done).await;
    scene.first_is_safe().await;
    let reads = scene.live.calls().into_iter().filter(reads_data);
    let mut names: Vec<_> = reads
        .map(|call| call.key)
        .filter(|key| *key != name)
        .collect();
    let all = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all, "what was copied is not copied twice");
}

#[tokio::test]
async fn a_version_committed_meanwhile_does_not_change_the_snapshot() {
    for (nth, method, prefix) in [
        (1, "open", "_delta_log/"),
        (1, "open", "part="),
        (3, "open", "part="),
    ] {
        let mut scene = Scene::set().await;
        scene.table.append(3, LARGE).await;
        scene.table.delete(1).await;
        let expected = scene.table.closure().await;
        let mut later = scene.table.clone();
        scene.live.before_call(
            nth,
            move |call| call.method == method && call.key.starts_with(prefix),
            move || {
                async move {
                    later.append(2, 50).await;
                    later.update(60).await;
                    later.checkpoint().await;
                }
                .boxed()
            },
        );
        let done = scene.take(24).await.unwrap();
        assert_eq!(done.record.version.0, 4);
        assert_holds(&scene.contents(&done).await.unwrap(), &expected);
        scene.first_is_safe().await;
    }
}

#[tokio::test]
async fn a_commit_that_is_another_one_when_it_is_read_is_pinned_again() {
    let mut scene = Scene::set().await;
    scene.table.append(1, 40).await;
    let commit = "_delta_log/00000000000000000003.json";
    let table = scene.table.clone();
    scene.live.before_call(
        1,
        move |call| call.method == "open" && call.key == commit,
        move || {
            async move {
                let mut bytes = table.read(commit).await;
                bytes.extend_from_slice(b"{\"txn\":{\"appId\":\"a\",\"version\":1}}\n");
                table.remove(commit).await;
                table.put(commit, bytes).await;
            }
            .boxed()
        },
    );
    let done = scene.take(24).await.unwrap();
    let held = scene.contents(&done).await.unwrap();
    assert!(String::from_utf8_lossy(&held[commit]).contains("appId"));
    scene.is_exact(&done).await;
}

#[tokio::test]
async fn a_log_that_never_stands_still_is_given_up_with_a_name() {
    let mut scene = Scene::set().await;
    scene.table.append(1, 40).await;
    let commit = "_delta_log/00000000000000000003.json";
    for n in 1..=20_u32 {
        let table = scene.table.clone();
        scene.live.before_call(
            n as usize,
            move |call| call.method == "open" && call.key == commit,
            move || {
                async move {
                    let mut bytes = table.read(commit).await;
                    bytes.extend_from_slice(b"\n");
                    table.remove(commit).await;
                    table.put(commit, bytes).await;
                }
                .boxed()
            },
        );
    }
    let error = scene.take(24).await.unwrap_err();
    assert!(matches!(error, Error::SourceMoving { .. }));
    assert!(error.to_string().contains(commit), "{error}");
    assert_eq!(error.exit_code(), ExitCode::Failed);
    scene.first_is_safe().await;
}

/// Drops the table and makes another one in its place, with as many versions and equal file names.
async fn make_anew(live: &Store, id: &str, appends: usize) -> Table {
    Table::open(Arc::new(live.inner().clone())).drop_all().await;
    let store: Arc<dyn RestoreStore> = Arc::new(live.inner().clone());
    let mut table = Table::create(store, id).await;
    for _ in 0..appends {
        table.append(2, 300).await;
    }
    table
}

#[tokio::test]
async fn a_table_dropped_and_made_anew_is_a_new_generation_that_reuses_nothing() {
    for (id, appends) in [
        ("orders-2", 1),
        ("orders-2", 2),
        ("orders-2", 5),
        ("orders", 5),
    ] {
        let mut scene = Scene::set().await;
        scene.table = make_anew(&scene.live, id, appends).await;
        // The same names, sizes and times as before, with other bytes.
        if id == "orders" {
            for name in scene.table.live.keys() {
                scene.table.remove(name).await;
                scene.table.put(name, vec![b'n'; 300]).await;
            }
        }
        let done = scene.take(24).await.unwrap();
        assert_eq!(done.record.seq, 2);
        assert_eq!(done.record.base, None, "{id} {appends}");
        assert_eq!(done.record.table.delta_id, id);
        let findings = &done.record.findings;
        let says = if id == "orders" {
            "commit 1 has other bytes"
        } else {
            "the table was dropped and re-created"
        };
        assert!(
            findings.iter().any(|finding| finding.contains(says)),
            "{findings:?}"
        );
        assert!(done.record.change.new_files >= scene.table.live.len() as u64);
        scene.is_exact(&done).await;
        scene.first_is_safe().await;

        // The next night is a normal one again.
        scene.table.append(1, 10).await;
        let next = scene.take(48).await.unwrap();
        assert_eq!(next.record.base, Some(done.id));
        assert!(
            next.record.findings.is_empty(),
            "{:?}",
            next.record.findings
        );
        scene.is_exact(&next).await;
    }
}

#[tokio::test]
async fn a_rewound_table_is_not_taken_for_the_continuation_of_what_it_was() {
    let mut scene = Scene::set().await;
    let then = scene.table.clone();
    scene.table.append(2, LARGE).await;
    scene.table.append(2, 200).await;
    let newest = scene.take(24).await.unwrap();
    let held = scene.table.closure().await;
    let lost: Vec<_> = scene
        .table
        .live
        .keys()
        .filter(|name| !then.live.contains_key(*name))
        .cloned()
        .collect();

    // Versions 3 and 4 never happened; other commits take their numbers, with files of the same names, sizes and
    // times, and go on past them.
    for version in [3, 4] {
        scene
            .table
            .remove(&format!("_delta_log/{version:020}.json"))
            .await;
    }
    for name in &lost {
        scene.table.remove(name).await;
    }
    let mut table = then;
    table.append(2, LARGE).await;
    for name in lost.iter().filter(|name| table.live.contains_key(*name)) {
        let size = table.read(name).await.len();
        table.remove(name).await;
        table.put(name, vec![b'o'; size]).await;
    }
    table.update(50).await;
    table.append(1, 10).await;
    scene.table = table;

    let done = scene.take(48).await.unwrap();
    assert_eq!(done.record.version.0, 5);
    assert_eq!(done.record.base, Some(scene.first.id));
    let findings = &done.record.findings;
    let says = format!(
        "has other bytes than snapshot {} of version 4 holds",
        newest.id.short()
    );
    assert!(
        findings.iter().any(|finding| finding.contains(&says)),
        "{findings:?}"
    );
    scene.is_exact(&done).await;
    scene.first_is_safe().await;
    assert_holds(&scene.contents(&newest).await.unwrap(), &held);

    // The next night builds on the new past, and the old one can still be told apart from the live table.
    scene.table.append(1, 10).await;
    let next = scene.take(72).await.unwrap();
    assert_eq!(next.record.base, Some(done.id));
    let plan = scene
        .plan(&restore_request(&newest, Mode::InPlace, 1))
        .await
        .unwrap();
    assert!(plan.is_empty(), "another past is the owner's choice");
}

#[tokio::test]
async fn a_table_rewound_and_left_there_is_taken_again_below_the_newest_snapshot() {
    let mut scene = Scene::set().await;
    let then = scene.table.clone();
    scene.table.append(2, 200).await;
    let newest = scene.take(24).await.unwrap();
    scene
        .table
        .remove("_delta_log/00000000000000000003.json")
        .await;
    scene.table = then;
    let done = scene.take(48).await.unwrap();
    assert_eq!(done.record.version.0, 2);
    assert_eq!(done.record.previous.unwrap().sha256, newest.id.0);
    let findings = &done.record.findings;
    assert!(
        findings
            .iter()
            .any(|finding| finding.contains("lost its newest commits")),
        "{findings:?}"
    );
    scene.is_exact(&done).await;
}
