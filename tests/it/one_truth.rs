//! The live set that a snapshot publishes is what readers get from the log that it holds, by every complete way; and
//! what is odd about the live log is a finding.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use deltavault::ExitCode;
use deltavault::format::{EntryKind, Record};
use deltavault::plan::restore::Mode;
use deltavault::store::memory::MemoryStore;
use deltavault::vault::Vault;
use deltavault::vault::snapshot::SnapshotDone;
use serde_json::{Value, json};

use super::support::parquet::parquet;
use super::support::scene::{Files, Scene};
use super::support::table::{CheckpointForm, files_of};
use super::support::verified::{NO_BYTES, verify};
use super::support::world::restore_request;

pub(super) type Live = BTreeMap<String, Value>;

const FORMS: [CheckpointForm; 3] = [
    CheckpointForm::Classic,
    CheckpointForm::Json,
    CheckpointForm::Sidecars(2),
];

pub(super) fn commit(version: u64) -> String {
    format!("_delta_log/{version:020}.json")
}

/// Writes a checkpoint of the newest version that says another live set than the commits do.
pub(super) async fn checkpoint_that_says(scene: &mut Scene, live: Live, form: CheckpointForm) {
    let truth = std::mem::replace(&mut scene.table.live, live);
    scene.table.checkpoint_as(form).await;
    scene.table.live = truth;
}

/// The key of the newest version's checkpoint.
pub(super) async fn checkpoint_key(scene: &Scene) -> String {
    let names = scene.table.names("_delta_log/0").await;
    let mut names = names
        .into_iter()
        .filter(|name| name.contains(".checkpoint."));
    names.next_back().unwrap()
}

pub(super) fn finding<'a>(record: &'a Record, says: &str) -> &'a str {
    let mut found = record.findings.iter().filter(|it| it.contains(says));
    let first = found.next();
    first.unwrap_or_else(|| panic!("no finding says {says:?}: {:?}", record.findings))
}

pub(super) fn assert_has(files: &Files, live: &Live) {
    for name in files_of(live) {
        assert!(files.contains_key(&name), "{name} is missing");
    }
}

/// The logical files that the manifest calls live, as path and vector.
pub(super) async fn live_of(
    scene: &Scene,
    done: &SnapshotDone,
) -> BTreeSet<(String, Option<String>)> {
    let entries = scene.entries(done).await;
    let data = entries.iter().filter(|entry| entry.kind == EntryKind::Data);
    let live = data.flat_map(|entry| {
        let file = entry.file.to_string();
        entry
            .live
            .iter()
            .map(move |used| (file.clone(), used.dv.as_ref().map(|dv| dv.id.clone())))
    });
    live.collect()
}

#[tokio::test]
async fn a_commit_overwritten_below_the_base_ends_the_inheritance() {
    for (newer, same_length) in [(true, false), (false, false), (true, true), (false, true)] {
        let mut scene = Scene::set().await;
        let lost: Live = scene.table.states[&1].clone();
        scene.table.put("late.parquet", vec![b'l'; 60]).await;
        let late = json!({"path": "late.parquet", "partitionValues": {}, "size": 60,
            "modificationTime": 7, "dataChange": true});
        let mut bytes = format!("{}\n", json!({"add": late})).into_bytes();
        if same_length {
            let length = scene.table.read(&commit(1)).await.len();
            bytes.resize(length, b' ');
        }
        scene.table.overwrite(&commit(1), bytes).await;
        scene.table.live.insert("late.parquet".to_owned(), late);
        for name in lost.keys() {
            scene.table.live.remove(name);
        }
        if newer {
            scene.table.append(1, 50).await;
        }
        let done = scene.take(24).await.unwrap();
        let says = format!(
            "commit 1 has other bytes than snapshot {}",
            scene.first.id.short()
        );
        finding(&done.record, &says);
        scene.is_exact(&done).await;
        scene.first_is_safe().await;
        // The next night is a normal one, and says no more of it.
        scene.table.append(1, 40).await;
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
async fn several_overwritten_commits_are_one_finding() {
    let mut scene = Scene::set().await;
    for version in [1, 2] {
        let bytes = format!("{}\n", json!({"commitInfo": {"operation": "LATE"}}));
        scene
            .table
            .overwrite(&commit(version), bytes.into_bytes())
            .await;
        if version == 1 {
            // The base's own commit is looked at first: without it this would be another history.
            break;
        }
    }
    scene.table.append(1, 40).await;
    scene.take(24).await.unwrap();
    let bytes = format!("{}\n", json!({"commitInfo": {"operation": "LATER"}}));
    for version in [1, 2] {
        scene
            .table
            .overwrite(&commit(version), bytes.clone().into_bytes())
            .await;
    }
    let done = scene.take(48).await.unwrap();
    finding(&done.record, "2 commits, first 1, have other bytes");
}

#[tokio::test]
async fn a_commit_written_again_with_the_same_bytes_changes_nothing() {
    let mut scene = Scene::set().await;
    for version in [0, 1, 2] {
        let bytes = scene.table.read(&commit(version)).await;
        scene.table.remove(&commit(version)).await;
        scene.table.put(&commit(version), bytes).await;
    }
    scene.table.append(1, 50).await;
    let done = scene.take(24).await.unwrap();
    assert!(
        done.record.findings.is_empty(),
        "{:?}",
        done.record.findings
    );
    assert_eq!(done.record.base, Some(scene.first.id));
    assert_eq!(done.record.change.files_added, 1);
    scene.is_exact(&done).await;
}

#[tokio::test]
async fn where_a_checkpoint_lost_files_or_kept_dead_ones_both_sides_are_held() {
    for form in FORMS {
        for first in [false, true] {
            let mut scene = Scene::set().await;
            scene.table.append(2, 100).await;
            let older = scene.table.live.clone();
            scene.table.delete(1).await;
            if !first {
                scene.take(12).await.unwrap();
            }
            scene.table.append(1, 100).await;
            // It knows the newest file only, and one that was removed.
            let truth = scene.table.live.clone();
            let dead = older
                .iter()
                .find(|(name, _)| !truth.contains_key(*name))
                .unwrap();
            let newest = truth
                .iter()
                .find(|(name, _)| !older.contains_key(*name))
                .unwrap();
            let said: Live = [dead, newest]
                .map(|(name, add)| (name.clone(), add.clone()))
                .into();
            checkpoint_that_says(&mut scene, said.clone(), form).await;
            if first {
                scene.forget_vault().await;
            }
            let done = scene.take(24).await.unwrap();
            let version = scene.table.version();
            let [found] = &done.record.disagreements[..] else {
                panic!("{form:?} {first}: {:?}", done.record.disagreements)
            };
            assert_eq!(
                (found.checkpoint.0, found.lacks, found.adds, found.state),
                (version, truth.len() as u64 - 1, 1, false),
                "{form:?} {first}"
            );
            finding(&done.record, &format!("checkpoint {version} disagrees"));
            let files = scene.contents(&done).await.unwrap();
            assert_has(&files, &truth);
            assert_has(&files, &said);
            let union: BTreeSet<_> = truth.keys().chain(said.keys()).cloned().collect();
            let live = live_of(&scene, &done).await;
            assert_eq!(
                live.into_iter()
                    .map(|(name, _)| name)
                    .collect::<BTreeSet<_>>(),
                union
            );
            // As long as both ways are there, every night says so.
            scene.table.append(1, 30).await;
            let next = scene.take(48).await.unwrap();
            assert_eq!(next.record.disagreements.len(), 1, "{form:?} {first}");
            let files = scene.contents(&next).await.unwrap();
            assert_has(&files, &scene.table.live);
            assert_has(&files, &said);
        }
    }
}

#[tokio::test]
async fn a_checkpoint_with_another_vector_or_twice_the_same_row() {
    let mut scene = Scene::set().await;
    let before = scene.table.live.clone();
    scene.table.delete_rows(1).await;
    let truth = scene.table.live.clone();
    checkpoint_that_says(&mut scene, before, CheckpointForm::Classic).await;
    let done = scene.take(24).await.unwrap();
    let found = &done.record.disagreements[0];
    assert_eq!((found.lacks, found.adds), (1, 1));
    assert_eq!(live_of(&scene, &done).await.len(), truth.len() + 1);
    assert_has(&scene.contents(&done).await.unwrap(), &truth);

    // The same table, but with every row of the checkpoint twice: readers may count the rows twice, and that is all.
    for commits in 0..2 {
        let mut scene = Scene::set().await;
        scene.table.append(commits, 10).await;
        scene.table.checkpoint_as(CheckpointForm::Json).await;
        let key = checkpoint_key(&scene).await;
        let bytes = scene.table.read(&key).await;
        let twice = [&bytes[..], &bytes[..]].concat();
        scene.table.overwrite(&key, twice).await;
        let done = scene.take(24).await.unwrap();
        let live = scene.table.live.len();
        finding(&done.record, &format!("again in {live} rows"));
        assert_eq!(done.record.findings.len(), 1, "{:?}", done.record.findings);
        assert!(done.record.disagreements.is_empty());
        scene.is_exact(&done).await;
    }
}

#[tokio::test]
async fn a_checkpoint_that_gives_a_file_another_size() {
    for form in FORMS {
        for first in [true, false] {
            let mut scene = Scene::set().await;
            if !first {
                scene.take(12).await.unwrap();
            }
            let mut said = scene.table.live.clone();
            let add = said.values_mut().next().unwrap();
            add["size"] = json!(add["size"].as_u64().unwrap() - 1);
            checkpoint_that_says(&mut scene, said, form).await;
            scene.table.append(1, 60).await;
            let done = scene.take(24).await.unwrap();
            finding(
                &done.record,
                "it gives 1 live file, or its deletion vector, another size;",
            );
            assert_eq!(done.record.findings.len(), 1, "{:?}", done.record.findings);
            let [found] = &done.record.disagreements[..] else {
                panic!("{:?}", done.record.disagreements);
            };
            assert_eq!((found.sizes, found.lacks, found.adds), (1, 0, 0));
            scene.is_exact(&done).await;
            // As long as readers start from it, every night says so.
            scene.table.append(1, 60).await;
            let next = scene.take(48).await.unwrap();
            assert_eq!(next.record.disagreements.len(), 1, "{form:?} {first}");
            scene.is_exact(&next).await;
        }
    }
}

#[tokio::test]
async fn a_checkpoint_that_spells_a_file_otherwise_and_gives_it_another_size() {
    for form in FORMS {
        for first in [true, false] {
            for by in [0, 1] {
                let mut scene = Scene::set().await;
                if !first {
                    scene.take(12).await.unwrap();
                    scene.table.append(1, 60).await;
                }
                let mut said = scene.table.live.clone();
                let add = said.values_mut().next().unwrap();
                add["size"] = json!(add["size"].as_u64().unwrap() - by);
                let path = add["path"].as_str().unwrap();
                add["path"] = json!(path.replace("part-", "%70art-"));
                checkpoint_that_says(&mut scene, said, form).await;
                for hours in [24, 48] {
                    let done = scene.take(hours).await.unwrap();
                    assert!(by == 0 || !done.record.findings.is_empty());
                    assert_has(&scene.contents(&done).await.unwrap(), &scene.table.live);
                    scene.table.append(1, 60).await;
                }
            }
        }
    }
}

#[tokio::test]
async fn a_record_lists_so_many_disagreements_and_counts_the_rest() {
    let mut scene = Scene::set().await;
    for _ in 0..66 {
        scene.table.append(1, 10).await;
        checkpoint_that_says(&mut scene, Live::new(), CheckpointForm::Classic).await;
    }
    let done = scene.take(24).await.unwrap();
    let listed = &done.record.disagreements;
    assert_eq!(listed.len(), 64);
    assert!(listed.is_sorted_by_key(|it| std::cmp::Reverse(it.checkpoint)));
    assert_eq!(listed[0].checkpoint.0, scene.table.version());
    // Five are named.
    finding(&done.record, "61 more checkpoints");
    assert_has(&scene.contents(&done).await.unwrap(), &scene.table.live);
}

#[tokio::test]
async fn a_checkpoint_of_another_table_or_protocol_is_a_finding() {
    let mut scene = Scene::set().await;
    let id = std::mem::replace(&mut scene.table.id, "people".to_owned());
    scene.table.checkpoint_as(CheckpointForm::Classic).await;
    scene.table.id = id;
    let done = scene.take(24).await.unwrap();
    let found = &done.record.disagreements[0];
    assert!(
        found.state && found.lacks == 0 && found.adds == 0,
        "{found:?}"
    );
    finding(&done.record, "another protocol or table id");
    assert_eq!(done.record.table.delta_id, "orders");
}

#[tokio::test]
async fn a_checkpoint_without_protocol_or_metadata_is_a_finding_and_left_out() {
    for kept in [0..1, 1..2, 0..0] {
        let scene = Scene::set().await;
        let mut lines = scene.table.head().drain(kept.clone()).collect::<Vec<_>>();
        lines.extend(scene.table.live.values().map(|add| json!({ "add": add })));
        let version = scene.table.version();
        let name = format!("_delta_log/{version:020}.checkpoint.parquet");
        scene.table.put(&name, parquet(&lines)).await;
        let done = scene.take(24).await.unwrap();
        finding(&done.record, "or none");
        assert_has(&scene.contents(&done).await.unwrap(), &scene.table.live);
        let vault = Vault::open(Arc::new(scene.vault.clone())).await.unwrap();
        let verified = verify(&vault, NO_BYTES).await;
        assert_ne!(verified.code(), ExitCode::Damage, "{kept:?} {verified:#?}");
        let copy = Arc::new(MemoryStore::new("s3://copy/orders"));
        let request = restore_request(&done, Mode::To, 48);
        let plan = scene.restorer(copy).await.plan(&request).await.unwrap();
        assert_eq!(plan.left_out.len(), 1, "{kept:?} {plan:?}");
    }
}

#[tokio::test]
async fn a_checkpoint_that_replaces_the_commits_it_disagrees_with_loses_no_file() {
    // A writer that lost files checkpoints, and the log's clean-up takes the commits in the same night.
    let mut scene = Scene::set().await;
    scene.table.append(1, 100).await;
    let truth = scene.table.live.clone();
    let said: Live = truth
        .iter()
        .take(1)
        .map(|(name, add)| (name.clone(), add.clone()))
        .collect();
    checkpoint_that_says(&mut scene, said, CheckpointForm::Classic).await;
    for version in [0, 1] {
        scene.table.remove(&commit(version)).await;
    }
    let done = scene.take(24).await.unwrap();
    assert_eq!(done.record.disagreements.len(), 1);
    let files = scene.contents(&done).await.unwrap();
    assert_has(&files, &truth);
    // What the commits said is still held, so that the other way can be restored.
    for version in 0..=3 {
        assert!(files.contains_key(&commit(version)), "commit {version}");
    }
}

#[tokio::test]
async fn a_checkpoint_that_cannot_be_decoded_is_held_marked_and_reported_each_night() {
    let noise: [fn(Vec<u8>) -> Vec<u8>; 4] = [
        |bytes| vec![0; bytes.len()],
        |bytes| bytes[..bytes.len() / 2].to_vec(),
        |_| Vec::new(),
        |bytes| bytes.iter().map(|byte| byte ^ 0x5a).collect(),
    ];
    for (form, harm) in FORMS
        .iter()
        .flat_map(|form| noise.map(|harm| (*form, harm)))
    {
        for first in [false, true] {
            let mut scene = Scene::set().await;
            scene.table.append(1, 100).await;
            scene.table.checkpoint_as(form).await;
            let version = scene.table.version();
            let harmed = match form {
                CheckpointForm::Sidecars(_) => {
                    scene.table.names("_delta_log/_sidecars/").await.remove(0)
                }
                CheckpointForm::Classic | CheckpointForm::Json | CheckpointForm::Parts(_) => {
                    checkpoint_key(&scene).await
                }
            };
            let bytes = harm(scene.table.read(&harmed).await);
            scene.table.overwrite(&harmed, bytes.clone()).await;
            if first {
                scene.forget_vault().await;
            }
            let done = scene.take(24).await.unwrap();
            // An empty file in JSON is a checkpoint of nothing.
            let empty = form == CheckpointForm::Json && bytes.is_empty();
            if empty {
                assert_eq!(done.record.disagreements.len(), 1);
            } else {
                finding(
                    &done.record,
                    &format!("checkpoint {version} cannot be decoded"),
                );
                assert!(done.record.disagreements.is_empty());
            }
            let entries = scene.entries(&done).await;
            for entry in &entries {
                let marked = entry.file.to_string() == harmed && !empty;
                assert_eq!(entry.unreadable, marked, "{}", entry.file);
            }
            assert_has(&scene.contents(&done).await.unwrap(), &scene.table.live);
            scene.table.append(1, 30).await;
            let next = scene.take(48).await.unwrap();
            let says = if empty {
                "disagrees"
            } else {
                "still cannot be read as a checkpoint"
            };
            finding(&next.record, says);
            assert_has(&scene.contents(&next).await.unwrap(), &scene.table.live);
        }
    }
}
