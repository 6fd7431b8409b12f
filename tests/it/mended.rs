//! Live logs with files that nobody can read, and what a restore does about them: what the vault has good bytes of is put
//! back, the wrong bytes are kept, and "healthy" is said only of a table that the independent reader opens.

use std::sync::Arc;

use deltavault::ids::Version;
use deltavault::plan::restore::{Mode, Permission, Situation};
use deltavault::reader::{RefusalCause, TableStore, Verdict, judge};
use deltavault::store::memory::MemoryStore;
use deltavault::vault::restore::{Reading, RestorePlan, RestoreRequest};
use deltavault::vault::snapshot::SnapshotDone;

use super::support::fault_store::Fault;
use super::support::scene::{Files, Scene, assert_holds, everything};
use super::support::table::CheckpointForm;
use super::support::world::restore_request;

pub(super) const HINT: &str = "_delta_log/_last_checkpoint";

pub(super) fn commit(version: u64) -> String {
    format!("_delta_log/{version:020}.json")
}

/// A table of versions 0 to 5 with a checkpoint of version 3, and a snapshot of all of it.
pub(super) async fn with_checkpoint(form: CheckpointForm) -> (Scene, SnapshotDone) {
    let mut scene = Scene::set().await;
    scene.table.append(2, 10).await;
    scene.table.checkpoint_as(form).await;
    scene.table.append(1, 10).await;
    scene.table.delete(1).await;
    let done = scene.take(24).await.unwrap();
    (scene, done)
}

pub(super) fn in_place(done: &SnapshotDone) -> RestoreRequest {
    restore_request(done, Mode::InPlace, 25)
}

/// What the independent reader makes of a version of what lies in the store: its live files, or nothing.
pub(super) async fn opens(store: &MemoryStore, version: u64) -> Option<u64> {
    let table = TableStore::ReadOnly(Arc::new(store.clone()));
    match judge(&table, Version(version), 100).await {
        Verdict::Opens { files, .. } => files,
        Verdict::Refuses { .. } => None,
    }
}

/// The files of the table, without what the restore keeps for itself.
pub(super) async fn files(store: &MemoryStore) -> Files {
    let mut files = everything(store).await;
    files.retain(|name, _| !name.starts_with("_deltavault/"));
    files
}

/// Plans and carries out, and proves that everything is as `whole` again, that each of `wrong` is kept aside, and that
/// there is nothing to do afterwards.
pub(super) async fn mends(
    scene: &Scene,
    request: &RestoreRequest,
    whole: &Files,
    wrong: &[(&str, &[u8])],
) -> RestorePlan {
    let plan = scene.plan(request).await.unwrap();
    assert!(!plan.is_empty(), "{plan:?}");
    let said = plan.broken.join("\n");
    for (name, _) in wrong {
        assert!(
            said.contains(name) || said.contains("checkpoint"),
            "{name}: {said}"
        );
    }
    scene.restore(request).await.unwrap();
    assert_holds(&files(scene.live.inner()).await, whole);
    let found = everything(scene.live.inner()).await;
    for (name, bytes) in wrong {
        let is_it = |(key, found): &(&String, &Vec<u8>)| {
            key.starts_with("_deltavault/aside/") && key.ends_with(name) && found == bytes
        };
        assert!(found.iter().any(|row| is_it(&row)), "{name} was not kept");
    }
    let again = scene.plan(request).await.unwrap();
    assert!(again.is_empty() && again.broken.is_empty(), "{again:?}");
    assert_eq!(again.reading, Some(Reading::Opens));
    plan
}

#[tokio::test]
async fn a_commit_that_nobody_can_read_is_put_back_wherever_it_stands_in_the_log() {
    type Harm = fn(Vec<u8>) -> Vec<u8>;
    let harms: [(&str, Harm); 7] = [
        ("empty", |_| Vec::new()),
        ("noise", |bytes| {
            bytes.iter().map(|byte| byte ^ 0x5a).collect()
        }),
        ("cut off in a line", |bytes| {
            bytes[..bytes.len() - 9].to_vec()
        }),
        ("cut off after a line", |bytes| {
            let end = bytes.iter().position(|byte| *byte == b'\n').unwrap();
            bytes[..=end].to_vec()
        }),
        ("zeros of the same size", |bytes| vec![0; bytes.len()]),
        ("a web page", |_| b"<html>502 Bad Gateway</html>".to_vec()),
        ("not UTF-8", |bytes| [&bytes[..], &[0xff, 0xfe]].concat()),
    ];
    for version in [0, 1, 5] {
        for (what, harm) in harms {
            let (scene, done) = with_checkpoint(CheckpointForm::Json).await;
            let whole = scene.source_files().await;
            let name = commit(version);
            let wrong = harm(whole[&name].clone());
            scene.table.overwrite(&name, wrong.clone()).await;
            let plan = mends(&scene, &in_place(&done), &whole, &[(&name, &wrong)]).await;
            assert_eq!(plan.situation, Situation::NothingAbove, "{what}");
            assert_eq!((plan.wrong.files, plan.left.len()), (1, 0), "{what}");
            assert_eq!(plan.new_times, 1, "{what}");
        }
    }
}

/// What can become of a checkpoint's file.
pub(super) fn harmed(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let half = bytes.len() / 2;
    vec![
        ("empty", Vec::new()),
        ("zeros", vec![0; bytes.len()]),
        ("the first half", bytes[..half].to_vec()),
        ("the second half", bytes[half..].to_vec()),
        ("without its end", bytes[..bytes.len() - 4].to_vec()),
        (
            "noise",
            bytes
                .iter()
                .map(|byte| byte.rotate_left(3) ^ 0x11)
                .collect(),
        ),
    ]
}

#[tokio::test]
async fn a_checkpoint_that_nobody_can_read_is_put_back_in_every_form() {
    for form in [
        CheckpointForm::Classic,
        CheckpointForm::Json,
        CheckpointForm::Sidecars(2),
        CheckpointForm::Parts(4),
    ] {
        let (scene, _) = with_checkpoint(form).await;
        let names = scene.table.names("_delta_log/").await;
        let is_one = |name: &String| name.contains(".checkpoint.") || name.contains("_sidecars/");
        let mut parts: Vec<_> = names.into_iter().filter(is_one).collect();
        // One of several is as good as another.
        parts.truncate(3);
        for name in parts {
            let good = scene.table.read(&name).await;
            for (what, wrong) in harmed(&good) {
                let (scene, done) = with_checkpoint(form).await;
                let whole = scene.source_files().await;
                scene.table.overwrite(&name, wrong.clone()).await;
                let plan = mends(&scene, &in_place(&done), &whole, &[(&name, &wrong)]).await;
                assert_eq!(plan.wrong.files, 1, "{form:?} {what}");
            }
        }
    }
}

#[tokio::test]
async fn noise_in_a_column_that_a_backup_does_not_need_is_damage_too() {
    let (scene, done) = with_checkpoint(CheckpointForm::Classic).await;
    let whole = scene.source_files().await;
    let name = format!("_delta_log/{:020}.checkpoint.parquet", 3);
    let mut wrong = whole[&name].clone();
    // The schema stands in the pages of `metaData.schemaString`, which decides about no file.
    let text = b"\"struct\"";
    let at = wrong.windows(text.len()).position(|part| part == text);
    let at = at.expect("the checkpoint is not compressed");
    wrong[at - 30..at].fill(0xff);
    scene.table.overwrite(&name, wrong.clone()).await;
    mends(&scene, &in_place(&done), &whole, &[(&name, &wrong)]).await;
}

#[tokio::test]
async fn a_checkpoint_written_again_with_the_same_content_is_only_reported() {
    let (mut scene, done) = with_checkpoint(CheckpointForm::Classic).await;
    let name = format!("_delta_log/{:020}.checkpoint.parquet", 3);
    let newest = scene.table.live.clone();
    scene.table.live = scene.table.states[&3].clone();
    let other = scene.table.classic_again(&[]);
    let lost = scene.table.live.keys().next().unwrap().clone();
    let lacking = scene.table.classic_again(&[&lost]);
    scene.table.live = newest;
    let whole = scene.source_files().await;
    assert_ne!(other, whole[&name]);
    scene.table.overwrite(&name, other).await;
    let before = scene.source_files().await;
    let plan = scene.plan(&in_place(&done)).await.unwrap();
    assert_eq!(plan.left, std::slice::from_ref(&name));
    assert!(plan.is_empty() && plan.broken.is_empty(), "{plan:?}");
    assert_eq!(plan.reading, Some(Reading::Opens));
    scene.restore(&in_place(&done)).await.unwrap();
    assert_holds(&files(scene.live.inner()).await, &before);

    // One that lacks a file can be read, and is wrong.
    scene.table.overwrite(&name, lacking.clone()).await;
    mends(&scene, &in_place(&done), &whole, &[(&name, &lacking)]).await;
}

#[tokio::test]
async fn a_sidecar_that_is_gone_is_put_back_and_so_is_a_wrong_checksum() {
    let (scene, _) = with_checkpoint(CheckpointForm::Sidecars(2)).await;
    scene
        .table
        .put(
            "_delta_log/00000000000000000005.crc",
            b"{\"numFiles\":7}".to_vec(),
        )
        .await;
    let done = scene.take(26).await.unwrap();
    let whole = scene.source_files().await;
    let sidecar = scene.table.names("_delta_log/_sidecars/").await.remove(0);
    scene.table.remove(&sidecar).await;
    let checksum = "_delta_log/00000000000000000005.crc";
    scene.table.overwrite(checksum, b"{\"numFi".to_vec()).await;
    mends(&scene, &in_place(&done), &whole, &[(checksum, b"{\"numFi")]).await;
    // One that says something else is a writer's business.
    scene.table.overwrite(checksum, b"{}".to_vec()).await;
    let plan = scene.plan(&in_place(&done)).await.unwrap();
    assert!(plan.is_empty(), "{plan:?}");
    assert_eq!(plan.left, [checksum]);
}

#[tokio::test]
async fn a_hint_that_names_nothing_is_replaced_by_the_held_one_or_set_aside() {
    for wrong in [
        r#"{"version":4,"size":1}"#,
        r#"{"version":77,"size":1,"parts":3}"#,
        r#"{"version":5,"size":1,"v2Checkpoint":{"path":"x"}}"#,
    ] {
        let (scene, done) = with_checkpoint(CheckpointForm::Classic).await;
        let whole = scene.source_files().await;
        scene.table.overwrite(HINT, wrong.into()).await;
        mends(
            &scene,
            &in_place(&done),
            &whole,
            &[(HINT, wrong.as_bytes())],
        )
        .await;

        // Nothing of the kind is held: it is set aside.
        let scene = Scene::set().await;
        let whole = scene.source_files().await;
        scene.table.put(HINT, wrong.into()).await;
        let plan = mends(
            &scene,
            &in_place(&scene.first),
            &whole,
            &[(HINT, wrong.as_bytes())],
        )
        .await;
        assert_eq!(plan.asides.len(), 1);
    }
}

#[tokio::test]
async fn a_checkpoint_that_the_vault_never_had_and_nobody_can_read_is_set_aside() {
    for (form, spare) in [
        (CheckpointForm::Classic, true),
        (CheckpointForm::Json, true),
        (CheckpointForm::Parts(3), true),
        (CheckpointForm::Classic, false),
    ] {
        let mut scene = Scene::set().await;
        scene.table.checkpoint_as(form).await;
        let names = scene.table.names("_delta_log/").await;
        let name = names.iter().find(|it| it.contains(".checkpoint.")).unwrap();
        scene.table.overwrite(name, b"no checkpoint".to_vec()).await;
        if !spare {
            // Without it the log leads nowhere, and the vault's commits are what puts it right.
            scene.table.remove(&commit(0)).await;
        }
        let before = scene.source_files().await;
        let request = in_place(&scene.first);
        let plan = scene.plan(&request).await.unwrap();
        assert!(!plan.is_empty(), "{plan:?}");
        scene.restore(&request).await.unwrap();
        if !spare {
            let again = scene.plan(&request).await.unwrap();
            assert!(!again.asides.is_empty(), "{again:?}");
            scene.restore(&request).await.unwrap();
        }
        let after = files(scene.live.inner()).await;
        assert!(
            !after.contains_key(name) && !after.contains_key(HINT),
            "{form:?}"
        );
        assert_eq!(opens(scene.live.inner(), 2).await, Some(5));
        let kept = everything(scene.live.inner()).await;
        for gone in before.keys().filter(|name| !after.contains_key(*name)) {
            assert!(
                kept.keys()
                    .any(|key| key.starts_with("_deltavault/aside/") && key.ends_with(gone))
            );
        }
        let again = scene.plan(&request).await.unwrap();
        assert!(
            again.is_empty() && again.reading == Some(Reading::Opens),
            "{again:?}"
        );
    }
}

#[tokio::test]
async fn a_table_whose_feature_the_reader_does_not_know_is_judged_by_our_own_replay() {
    let mut scene = Scene::set().await;
    let protocol = serde_json::json!({"protocol": {"minReaderVersion": 3, "minWriterVersion": 7,
        "readerFeatures": ["catalogManaged"], "writerFeatures": ["catalogManaged"]}});
    scene.table.commit("UPGRADE", vec![protocol.clone()]).await;
    scene.table.append(1, 10).await;
    let done = scene.take(24).await.unwrap();
    let plan = scene.plan(&in_place(&done)).await.unwrap();
    assert!(plan.is_empty());
    let Some(Reading::Refuses { about, replay, .. }) = plan.reading else {
        panic!("{plan:?}");
    };
    assert_eq!((about, replay), (RefusalCause::Features, None));

    // A checkpoint that says something else than the commits is found by it.
    let lost = scene.table.live.keys().next().unwrap().clone();
    let metadata = scene.table.read(&commit(0)).await;
    let metadata = String::from_utf8(metadata).unwrap();
    let metadata = metadata.lines().find(|line| line.contains("metaData"));
    let adds = scene.table.live.iter().filter(|(name, _)| **name != lost);
    let adds = adds.map(|(_, add)| serde_json::json!({ "add": add }).to_string());
    let head = [
        r#"{"checkpointMetadata":{"version":4}}"#.to_owned(),
        protocol.to_string(),
    ];
    let lines = head
        .into_iter()
        .chain(metadata.map(str::to_owned))
        .chain(adds);
    let lacking = lines.collect::<Vec<_>>().join("\n").into_bytes();
    let name = "80a083e8-7026-4e79-81be-64bd76c43a11";
    let name = format!("_delta_log/{:020}.checkpoint.{name}.json", 4);
    scene.table.put(&name, lacking).await;
    let plan = scene.plan(&in_place(&done)).await.unwrap();
    assert_eq!(
        plan.broken,
        ["checkpoint 4: it names other files than the rest of the log"]
    );
    assert!(!plan.asides.is_empty());
}

#[tokio::test]
async fn under_a_newer_live_table_the_log_is_put_right_and_not_taken_back() {
    for harm in ["commit", "checkpoint", "hint", "hole", "sidecar gone"] {
        let form = match harm {
            "sidecar gone" => CheckpointForm::Sidecars(2),
            _ => CheckpointForm::Classic,
        };
        let (mut scene, done) = with_checkpoint(form).await;
        scene.table.append(1, 10).await;
        scene.table.append(1, 10).await;
        let checkpoint = format!("_delta_log/{:020}.checkpoint.parquet", 3);
        if harm == "hole" {
            // Commits below the checkpoint were cleaned up, which is no damage.
            scene.table.remove(&commit(0)).await;
            scene.table.remove(&commit(1)).await;
        }
        let whole = scene.source_files().await;
        let (name, wrong): (String, Option<&[u8]>) = match harm {
            "commit" => (commit(4), Some(b"\0\0\0")),
            "checkpoint" => (checkpoint, Some(b"PAR1PAR1")),
            "hint" => (HINT.to_owned(), Some(br#"{"version":6,"size":3}"#)),
            "hole" => (commit(5), None),
            _ => (
                scene.table.names("_delta_log/_sidecars/").await.remove(0),
                None,
            ),
        };
        match wrong {
            Some(wrong) => scene.table.overwrite(&name, wrong.to_vec()).await,
            None => scene.table.remove(&name).await,
        }
        let plan = scene.plan(&in_place(&done)).await.unwrap();
        assert_eq!(plan.situation, Situation::NewerLive { tip: Version(7) });
        assert_eq!(plan.permission, Permission::OwnerMustChoose);
        assert!(!plan.broken.is_empty(), "{harm}");
        assert_eq!(plan.live.trouble, None, "{harm}: what stays wrong");

        let heal = restore_request(&done, Mode::Heal, 26);
        scene.restore(&heal).await.unwrap();
        assert_holds(&files(scene.live.inner()).await, &whole);
        assert_eq!(opens(scene.live.inner(), 7).await, Some(9), "{harm}");
        let again = scene.plan(&heal).await.unwrap();
        assert!(
            again.is_empty() && again.broken.is_empty(),
            "{harm}: {again:?}"
        );
        assert_eq!(again.reading, Some(Reading::Opens), "{harm}");
    }
}

#[tokio::test]
async fn a_commit_that_changes_between_plan_and_put_is_not_overwritten() {
    let (scene, done) = with_checkpoint(CheckpointForm::Json).await;
    let name = commit(2);
    scene.table.overwrite(&name, b"noise".to_vec()).await;
    let (table, changed) = (scene.table.clone(), name.clone());
    scene.live.before_call(
        1,
        |call| call.method == "replace",
        move || Box::pin(async move { table.overwrite(&changed, b"newer".to_vec()).await }),
    );
    scene.restore(&in_place(&done)).await.unwrap_err();
    assert_eq!(scene.table.read(&name).await, b"newer");
}

/// Kills a restore at every call, at the target and at the vault: at every point the table opens as `allowed` says, and a
/// second run finishes.
pub(super) async fn killed_everywhere<H: AsyncFn(&mut Scene) -> RestoreRequest>(
    harm: H,
    version: u64,
    allowed: &[Option<u64>],
    end: Option<u64>,
) {
    let (mut origin, _) = with_checkpoint(CheckpointForm::Classic).await;
    let request = harm(&mut origin).await;
    for at_target in [true, false] {
        for fault in [Fault::Before, Fault::After] {
            for k in 1.. {
                let scene = origin.fork();
                let restorer = scene.restorer(Arc::new(scene.live.clone())).await;
                let dying = if at_target { &scene.live } else { &scene.vault };
                dying.fail_call(k, fault);
                let killed = match restorer.plan(&request).await {
                    Ok(plan) => restorer.execute(&request, plan).await,
                    Err(error) => Err(error),
                };
                let died = dying.is_dead();
                dying.revive();
                let now = opens(scene.live.inner(), version).await;
                assert!(allowed.contains(&now), "call {k}, {fault:?}: {now:?}");
                if killed.is_err() {
                    scene.restore(&request).await.unwrap();
                }
                assert_eq!(opens(scene.live.inner(), version).await, end, "call {k}");
                let names = scene.table.names("_deltavault/claim-").await;
                assert!(names.is_empty(), "call {k}: {names:?}");
                if !died {
                    break;
                }
            }
        }
    }
}

#[tokio::test]
async fn mending_a_log_can_be_killed_at_any_call() {
    let wreck = async |scene: &mut Scene| {
        let done = scene.take(25).await.unwrap();
        let checkpoint = format!("_delta_log/{:020}.checkpoint.parquet", 3);
        scene.table.overwrite(&checkpoint, b"noise".to_vec()).await;
        scene.table.overwrite(&commit(5), b"noise".to_vec()).await;
        scene
            .table
            .overwrite(HINT, br#"{"version":9,"size":3}"#.to_vec())
            .await;
        in_place(&done)
    };
    // Nobody opens it before, and nobody a wrong version of it after any call.
    Box::pin(killed_everywhere(wreck, 5, &[None, Some(7)], Some(7))).await;
}
