//! Files that commits name again after a snapshot held them: the store's tag says whether they are still the same.

use std::collections::BTreeMap;

use deltavault::ExitCode;
use deltavault::format::{Placement, Scope};
use deltavault::store::ReadStore as _;
use deltavault::store::memory::MemoryStore;
use deltavault::vault::snapshot::SnapshotDone;
use serde_json::json;

use super::support::scene::{LARGE, Scene, assert_says, take_as};
use super::support::table::CheckpointForm;
use super::support::world::{hours_later, request};

/// The first live file, and other bytes of its size.
async fn first_file(scene: &Scene) -> (String, Vec<u8>) {
    let name = scene.table.live.keys().next().unwrap().clone();
    let size = scene.source_files().await[&name].len();
    (name, vec![b'!'; size])
}

/// Takes a snapshot; returns with it how many files of the source were asked about.
async fn night(scene: &Scene, hours: i64) -> (SnapshotDone, usize) {
    scene.live.revive();
    let done = scene.take(hours).await.unwrap();
    (done, asked(scene))
}

/// How many data files the source was asked about since its calls were forgotten.
fn asked(scene: &Scene) -> usize {
    let calls = scene.live.calls().into_iter();
    let calls = calls.filter(|call| call.method == "attributes");
    calls
        .filter(|call| !call.key.starts_with("_delta_log/"))
        .count()
}

/// Takes a snapshot that asks about all that its base holds, and so finds the bytes that a file has by now.
async fn all_are_asked_about(scene: &Scene, name: &str, bytes: &[u8]) {
    let (done, asked) = night(scene, 24).await;
    assert_eq!(asked, 5, "all that the base holds");
    assert_eq!(scene.contents(&done).await.unwrap()[name], bytes);
    says_that_it_is_other(&done);
    scene.is_exact(&done).await;
}

fn says_that_it_is_other(done: &SnapshotDone) {
    let says = |it: &String| it.starts_with("1 file has other bytes than snapshot ");
    assert!(
        done.record.findings.iter().any(says),
        "{:?}",
        done.record.findings
    );
}

async fn take_history(scene: &Scene, hours: i64) -> SnapshotDone {
    let mut request = request(scene.live.uri(), hours);
    request.scope = Scope::History;
    let done = take_as(&scene.live, &scene.vault, &scene.elsewhere, &request).await;
    done.unwrap()
}

#[tokio::test]
async fn other_bytes_under_an_old_name_are_copied_when_a_commit_adds_the_file_again() {
    let mut scene = Scene::set().await;
    let (name, bytes) = first_file(&scene).await;
    scene.table.delete(1).await;
    scene.table.overwrite(&name, bytes.clone()).await;
    scene.table.add_again(&name).await;
    let (done, asked) = night(&scene, 24).await;
    assert_eq!(asked, 1);
    assert_eq!(scene.contents(&done).await.unwrap()[&name], bytes);
    says_that_it_is_other(&done);
    scene.is_exact(&done).await;
    scene.first_is_safe().await;
}

#[tokio::test]
async fn so_they_are_when_only_statistics_or_a_deletion_vector_changed() {
    for with_vector in [false, true] {
        let mut scene = Scene::set().await;
        let (name, bytes) = first_file(&scene).await;
        scene.table.overwrite(&name, bytes.clone()).await;
        if with_vector {
            scene.table.delete_rows(2).await;
        } else {
            // Without a removal before it.
            scene.table.add_again(&name).await;
        }
        let (done, asked) = night(&scene, 24).await;
        assert_eq!(asked, if with_vector { 2 } else { 1 });
        assert_eq!(scene.contents(&done).await.unwrap()[&name], bytes);
        scene.is_exact(&done).await;
    }
}

#[tokio::test]
async fn a_file_of_deletion_vectors_that_a_new_commit_names_is_asked_about() {
    let mut scene = Scene::set().await;
    scene.table.delete_rows(1).await;
    let (done, _) = night(&scene, 24).await;
    scene.is_exact(&done).await;
    let (data, vector) = {
        let mut live = scene.table.live.iter();
        let (data, add) = live
            .find(|(_, add)| add.get("deletionVector").is_some())
            .unwrap();
        (data.clone(), add.clone())
    };
    let name = scene.table.names("deletion_vector").await.remove(0);
    let bytes = vec![b'!'; scene.source_files().await[&name].len()];
    scene.table.overwrite(&name, bytes.clone()).await;
    scene
        .table
        .commit("RESTORE", vec![json!({ "add": vector })])
        .await;
    let (done, asked) = night(&scene, 48).await;
    assert_eq!(asked, 2, "{data} and its vectors");
    assert_eq!(scene.contents(&done).await.unwrap()[&name], bytes);
}

#[tokio::test]
async fn what_the_source_and_the_vault_have_both_lost_is_not_called_held() {
    let mut scene = Scene::set_in(MemoryStore::without_versions("s3://vault")).await;
    let entries = scene.entries(&scene.first).await;
    let large = entries.iter().find(|entry| entry.size == LARGE as u64);
    let (file, object) = large
        .map(|entry| (entry.file.to_string(), entry.placement.reference().unwrap()))
        .unwrap();
    scene.table.add_again(&file).await;
    scene.table.remove(&file).await;
    // The vault has it: the snapshot is whole, and says that the table is not.
    let (done, _) = night(&scene, 24).await;
    assert!(
        done.record.findings[0].contains("are gone") || done.record.findings[0].contains("is gone")
    );
    assert_eq!(scene.contents(&done).await.unwrap()[&file].len(), LARGE);

    scene.table.add_again(&file).await;
    scene.vault.inner().delete_marker(&object.key);
    let says = [&*file, object.key.as_str(), "the vault has lost"];
    let visible = scene.visible().await;
    let refused = scene.take(48).await.unwrap_err();
    assert_says(&refused, ExitCode::Damage, &says);
    assert_eq!(scene.visible().await, visible);
}

#[tokio::test]
async fn files_with_the_same_bytes_are_asked_about_once_and_not_copied() {
    let mut scene = Scene::set().await;
    scene.table.delete_rows(3).await;
    let (done, asked) = night(&scene, 24).await;
    assert_eq!(asked, 3);
    // The commit and the file of vectors.
    assert_eq!(done.record.change.new_files, 2);
    scene.table.append(1, 100).await;
    let (done, asked) = night(&scene, 48).await;
    assert_eq!(asked, 0);
    scene.is_exact(&done).await;
}

#[tokio::test]
async fn a_commit_that_was_overwritten_names_its_files_again() {
    let scene = Scene::set().await;
    let key = "_delta_log/00000000000000000001.json".to_owned();
    let name = scene.table.states[&1].keys().next().unwrap().clone();
    let bytes = vec![b'!'; LARGE];
    let mut commit = scene.source_files().await[&key].clone();
    commit.extend_from_slice(b"{\"commitInfo\":{\"operation\":\"WRITE\"}}\n");
    scene.table.overwrite(&key, commit).await;
    scene.table.overwrite(&name, bytes.clone()).await;
    let (done, asked) = night(&scene, 24).await;
    assert_eq!(asked, 5, "all that the base holds");
    assert!(scene.contents(&done).await.unwrap()[&name] == bytes);
    scene.is_exact(&done).await;
}

#[tokio::test]
async fn a_commit_that_was_put_again_with_its_bytes_names_its_files_again() {
    let mut scene = Scene::set().await;
    let (name, bytes) = first_file(&scene).await;
    let tip = "_delta_log/00000000000000000002.json";
    let commit = scene.table.read(tip).await;
    scene.table.append(1, 100).await;
    scene.live.inner().set_now(hours_later(12));
    scene.table.overwrite(tip, commit).await;
    scene.table.overwrite(&name, bytes.clone()).await;
    all_are_asked_about(&scene, &name, &bytes).await;
}

#[tokio::test]
async fn what_only_a_lost_commit_named_again_is_asked_about() {
    let mut scene = Scene::set().await;
    let (name, bytes) = first_file(&scene).await;
    scene.table.overwrite(&name, bytes.clone()).await;
    scene.table.add_again(&name).await;
    let lost = "_delta_log/00000000000000000003.json";
    night(&scene, 24).await;
    // Another writer's commit stands in its place, which is no continuation of that night's snapshot.
    let other = scene
        .table
        .read("_delta_log/00000000000000000002.json")
        .await;
    scene.table.overwrite(lost, other).await;
    let done = scene.take(48).await.unwrap();
    assert_eq!(done.record.base, Some(scene.first.id));
    assert_eq!(scene.contents(&done).await.unwrap()[&name], bytes);
}

#[tokio::test]
async fn commits_that_are_gone_may_have_named_any_file_again() {
    let mut scene = Scene::set().await;
    let (name, bytes) = first_file(&scene).await;
    scene.table.overwrite(&name, bytes.clone()).await;
    scene.table.add_again(&name).await;
    scene.table.append(1, 100).await;
    scene.table.checkpoint_as(CheckpointForm::Classic).await;
    scene.table.clean_up_log().await;
    all_are_asked_about(&scene, &name, &bytes).await;
}

#[tokio::test]
async fn history_asks_about_what_was_named_since() {
    let mut scene = Scene::set().await;
    let (name, bytes) = first_file(&scene).await;
    scene.table.checkpoint_as(CheckpointForm::Classic).await;
    take_history(&scene, 24).await;
    scene.table.overwrite(&name, bytes.clone()).await;
    scene.live.revive();
    take_history(&scene, 48).await;
    assert_eq!(asked(&scene), 0, "nobody named it");
    scene.table.add_again(&name).await;
    let done = take_history(&scene, 72).await;
    assert_eq!(scene.contents(&done).await.unwrap()[&name], bytes);
}

#[tokio::test]
async fn what_is_named_again_and_gone_comes_from_the_vault_and_is_a_finding() {
    let mut scene = Scene::set().await;
    let (name, _) = first_file(&scene).await;
    let before: BTreeMap<_, _> = scene.source_files().await;
    scene.table.add_again(&name).await;
    scene.table.remove(&name).await;
    let (done, _) = night(&scene, 24).await;
    let findings = &done.record.findings;
    assert_eq!(findings.len(), 1, "{findings:?}");
    for says in ["1 file that the version needs is gone", &name] {
        assert!(findings[0].contains(says), "{findings:?}");
    }
    assert_eq!(scene.contents(&done).await.unwrap()[&name], before[&name]);
}

#[tokio::test]
async fn a_file_of_vectors_that_ends_too_early_is_refused() {
    let mut scene = Scene::set().await;
    scene.table.delete_rows(3).await;
    let vectors = scene.table.names("deletion_vector").await.remove(0);
    let mut bytes = scene.source_files().await[&vectors].clone();
    let needed = bytes.len();
    bytes.pop();
    scene.table.overwrite(&vectors, bytes).await;
    let says = [
        format!("{vectors} has {} bytes", needed - 1),
        format!("the log says at least {needed}"),
    ];
    let says: Vec<_> = says.iter().map(String::as_str).collect();
    scene.refuses(ExitCode::Failed, &says).await;
    // Nothing that a newer version needs.
    scene.table.delete(3).await;
    let done = scene.take(25).await.unwrap();
    scene.is_exact(&done).await;
}

#[tokio::test]
async fn a_held_file_of_vectors_that_a_commit_makes_longer_is_copied_again() {
    let mut scene = Scene::set().await;
    scene.table.delete_rows(1).await;
    scene.take(24).await.unwrap();
    let vectors = scene.table.names("deletion_vector").await.remove(0);
    let mut bytes = scene.source_files().await[&vectors].clone();
    bytes.extend_from_slice(&bytes.clone());
    scene.table.overwrite(&vectors, bytes.clone()).await;
    let name = scene.table.live.keys().nth(1).unwrap().clone();
    let first = scene.table.live.values().next().unwrap().clone();
    let mut add = scene.table.live[&name].clone();
    add["deletionVector"] = first["deletionVector"].clone();
    add["deletionVector"]["offset"] = json!(41);
    let remove = json!({"path": name, "dataChange": true});
    scene.table.live.insert(name, add.clone());
    let actions = vec![json!({ "remove": remove }), json!({ "add": add })];
    scene.table.commit("DELETE", actions).await;
    let done = scene.take(48).await.unwrap();
    assert_eq!(scene.contents(&done).await.unwrap()[&vectors], bytes);
    scene.is_exact(&done).await;
}

#[tokio::test]
async fn history_does_without_a_version_whose_vectors_end_too_early() {
    let mut scene = Scene::set().await;
    scene.table.delete_rows(3).await;
    let version = scene.table.version();
    let vectors = scene.table.names("deletion_vector").await.remove(0);
    scene.table.overwrite(&vectors, vec![1; 50]).await;
    scene.table.delete(3).await;
    let done = take_history(&scene, 24).await;
    let whole = &done.record.whole_versions;
    assert!(!whole.is_empty());
    let is_whole = whole
        .iter()
        .any(|(from, to)| (from.0..=to.0).contains(&version));
    assert!(!is_whole, "{whole:?}");
    let entries = scene.entries(&done).await;
    let absent = entries
        .iter()
        .filter(|it| it.placement == Placement::Absent {});
    assert_eq!(absent.count(), 1);
}
