//! What a snapshot says of the state of the live log: sidecars and checkpoints that changed or went, holes, lost commits.

use std::sync::Arc;

use deltavault::ExitCode;
use deltavault::format::{Entry, EntryKind};
use deltavault::plan::verify::{Finding, Severity};
use deltavault::store::memory::MemoryStore;
use deltavault::vault::Vault;
use serde_json::json;

use super::one_truth::{assert_has, checkpoint_key, commit, finding};
use super::support::parquet::parquet;
use super::support::scene::Scene;
use super::support::table::CheckpointForm;
use super::support::verified::{ALL, NO_BYTES, verify};

#[tokio::test]
async fn a_sidecar_that_is_no_more_what_the_base_holds_is_read_again() {
    // What became of it, whether a commit came since, and what the finding says.
    for (what, commits, says) in [
        ("other files", false, "a writer overwrote it"),
        ("other files", true, "a writer overwrote it"),
        ("torn", false, "checkpoint 3"),
        ("torn", true, "checkpoint 3"),
        ("gone", false, "checkpoint 3"),
        ("gone", true, "checkpoint 3"),
    ] {
        let mut scene = Scene::set().await;
        scene.table.append(3, 100).await;
        scene.table.checkpoint_as(CheckpointForm::Sidecars(2)).await;
        scene.take(24).await.unwrap();
        let sidecar = scene.table.names("_delta_log/_sidecars/").await.remove(0);
        let good = scene.table.read(&sidecar).await;
        let other = "part=9/only-the-sidecar-names-it.parquet";
        match what {
            "gone" => scene.table.remove(&sidecar).await,
            "torn" => {
                let half = good[..good.len() / 2].to_vec();
                scene.table.overwrite(&sidecar, half).await;
            }
            _ => {
                scene.table.put(other, b"g3".to_vec()).await;
                let add = json!({"add": {"path": other, "size": 2, "partitionValues": {},
                    "modificationTime": 1, "dataChange": true}});
                scene.table.overwrite(&sidecar, parquet(&[add])).await;
            }
        }
        for hours in [48, 72] {
            if commits {
                scene.table.append(1, 50).await;
            }
            let done = scene.take(hours).await.unwrap();
            if hours == 48 {
                finding(&done.record, says);
            }
            assert!(!done.record.findings.is_empty(), "{what} {commits} {hours}");
            let files = scene.contents(&done).await.unwrap();
            assert_has(&files, &scene.table.live);
            assert_eq!(files.contains_key(other), what == "other files");
            let vault = Vault::open(Arc::new(scene.vault.clone())).await.unwrap();
            let verified = verify(&vault, NO_BYTES).await;
            assert_ne!(verified.code(), ExitCode::Damage, "{what}: {verified:#?}");
        }
        // With the bytes that were there all is well again, also for the whole log.
        if what == "gone" {
            scene.table.put(&sidecar, good).await;
        } else {
            scene.table.overwrite(&sidecar, good).await;
        }
        scene.take(96).await.unwrap();
        scene.table.append(1, 50).await;
        let done = scene.take(120).await.unwrap();
        assert_eq!(done.record.findings, [] as [&str; 0], "{what} {commits}");
        scene.is_exact(&done).await;
    }
}

#[tokio::test]
async fn a_sidecar_of_an_older_checkpoint_is_looked_at_though_only_the_newest_is_listed() {
    let mut scene = Scene::set().await;
    scene.table.append(3, 100).await;
    scene.table.checkpoint_as(CheckpointForm::Sidecars(2)).await;
    let sidecar = scene.table.names("_delta_log/_sidecars/").await.remove(0);
    scene.table.append(1, 50).await;
    scene.table.checkpoint_as(CheckpointForm::Classic).await;
    scene.take(24).await.unwrap();
    let other = "part=9/only-the-sidecar-names-it.parquet";
    scene.table.put(other, b"g3".to_vec()).await;
    let add = json!({"add": {"path": other, "size": 2, "partitionValues": {},
        "modificationTime": 1, "dataChange": true}});
    scene.table.overwrite(&sidecar, parquet(&[add])).await;
    for hours in [48, 72] {
        scene.table.append(1, 50).await;
        let done = scene.take(hours).await.unwrap();
        if hours == 48 {
            finding(&done.record, "a writer overwrote it");
        }
        let files = scene.contents(&done).await.unwrap();
        assert_has(&files, &scene.table.live);
        assert!(files.contains_key(other), "{hours}");
        let vault = Vault::open(Arc::new(scene.vault.clone())).await.unwrap();
        let verified = verify(&vault, NO_BYTES).await;
        assert_ne!(verified.code(), ExitCode::Damage, "{hours}: {verified:#?}");
    }
}

#[tokio::test]
async fn a_checkpoint_that_the_vault_has_lost_is_named_and_held_again() {
    let mut scene = Scene::set_in(MemoryStore::without_versions("s3://vault")).await;
    // Too many files for a checkpoint that is inlined.
    scene.table.append(3000, 1).await;
    scene.table.checkpoint_as(CheckpointForm::Json).await;
    let then = scene.take(24).await.unwrap();
    let is_checkpoint = |entry: &Entry| entry.kind == EntryKind::Checkpoint;
    let entries = scene.entries(&then).await.into_iter();
    let held = entries.filter(is_checkpoint).collect::<Vec<_>>();
    let [held] = &held[..] else {
        panic!("{held:?}");
    };
    let object = held.placement.reference().unwrap().key.clone();
    drop(scene.vault.inner().delete_marker(&object));
    scene.table.append(1, 50).await;
    let done = scene.take(48).await.unwrap();
    finding(
        &done.record,
        &format!("the vault no longer has {} as snapshot", held.file),
    );
    finding(&done.record, "`deltavault verify lake-orders --repair`");
    scene.is_exact(&done).await;
    let vault = Vault::open(Arc::new(scene.vault.clone())).await.unwrap();
    let verified = verify(&vault, ALL).await;
    let hurt = |it: &Finding| it.severity >= Severity::Warning && it.snapshots.contains(&done.id);
    assert!(!verified.findings.iter().any(hurt), "{verified:#?}");
    // It is whole now: neither an unchanged night nor the next commit says so again.
    let unchanged = scene.take(72).await.unwrap();
    assert!(unchanged.unchanged);
    assert_eq!(unchanged.record.findings, [] as [&str; 0]);
    scene.table.append(1, 50).await;
    let next = scene.take(96).await.unwrap();
    assert_eq!(next.record.findings, [] as [&str; 0]);
}

#[tokio::test]
async fn a_checkpoint_that_was_removed_is_no_hole_where_the_commits_are_there() {
    for commits in [0, 1] {
        let mut scene = Scene::set().await;
        scene.table.append(1, 100).await;
        scene.table.checkpoint().await;
        scene.take(24).await.unwrap();
        let checkpoint = checkpoint_key(&scene).await;
        scene.table.remove(&checkpoint).await;
        scene.table.remove("_delta_log/_last_checkpoint").await;
        for _ in 0..commits {
            scene.table.append(1, 30).await;
        }
        let done = scene.take(48).await.unwrap();
        assert_eq!(done.record.findings, [] as [&str; 0], "{commits}");
        assert_has(&scene.contents(&done).await.unwrap(), &scene.table.live);
    }
}

#[tokio::test]
async fn a_lost_checkpoint_is_named_and_not_the_commits_that_nobody_has() {
    let mut scene = Scene::set().await;
    scene.table.checkpoint_as(CheckpointForm::Classic).await;
    scene.table.append(1, 30).await;
    for version in 0..2 {
        scene.table.remove(&commit(version)).await;
    }
    scene.forget_vault().await;
    let held = scene.take(24).await.unwrap();
    assert_eq!(held.record.findings, [""; 0]);
    scene.table.remove(&checkpoint_key(&scene).await).await;
    scene.table.remove("_delta_log/_last_checkpoint").await;
    for hours in [48, 72] {
        let done = scene.take(hours).await.unwrap();
        let says = finding(&done.record, "is gone from the live log");
        assert!(says.starts_with("checkpoint 2 is gone"), "{says}");
        assert_has(&scene.contents(&done).await.unwrap(), &scene.table.live);
    }
}

#[tokio::test]
async fn a_hole_in_the_live_log_is_reported_until_it_is_mended() {
    for missing in [0, 1] {
        let mut scene = Scene::set().await;
        let bytes = scene.table.read(&commit(missing)).await;
        scene.table.remove(&commit(missing)).await;
        let says = format!("commit {missing} is gone from the live log");
        for hours in [24, 48] {
            let done = scene.take(hours).await.unwrap();
            finding(&done.record, &says);
            let files = scene.contents(&done).await.unwrap();
            assert!(files.contains_key(&commit(missing)));
        }
        scene.table.append(1, 30).await;
        let done = scene.take(72).await.unwrap();
        finding(&done.record, &says);
        assert_has(&scene.contents(&done).await.unwrap(), &scene.table.live);
        scene.table.put(&commit(missing), bytes).await;
        let done = scene.take(96).await.unwrap();
        assert!(
            done.record.findings.is_empty(),
            "{:?}",
            done.record.findings
        );
        scene.is_exact(&done).await;
    }
    // Below the newest checkpoint it is the log's own clean-up.
    let mut scene = Scene::set().await;
    scene.table.checkpoint().await;
    scene.table.remove(&commit(1)).await;
    scene.table.append(1, 30).await;
    let done = scene.take(24).await.unwrap();
    assert!(
        done.record.findings.is_empty(),
        "{:?}",
        done.record.findings
    );
}

#[tokio::test]
async fn lost_commits_a_rewind_and_another_table_are_three_messages() {
    // Lost: nothing else stands there.
    let mut scene = Scene::set().await;
    scene.table.append(1, 30).await;
    let newest = scene.take(12).await.unwrap();
    scene.table.remove(&commit(3)).await;
    let done = scene.take(24).await.unwrap();
    let says = format!(
        "its log ends at version 2, and snapshot {} holds version 3",
        newest.id.short()
    );
    finding(&done.record, &says);
    // Rewound and written on.
    scene.table.rewind(1).await;
    scene.table.append(1, 31).await;
    scene.table.append(1, 32).await;
    let done = scene.take(48).await.unwrap();
    finding(&done.record, "commit 2 has other bytes");
    // Dropped and re-created.
    scene.table.drop_all().await;
    let mut table = super::support::table::Table::create(scene.table.store.clone(), "other").await;
    table.append(3, 10).await;
    scene.table = table;
    let done = scene.take(72).await.unwrap();
    finding(&done.record, "dropped and re-created");
    scene.is_exact(&done).await;
}

#[tokio::test]
async fn an_empty_commit_is_an_empty_version_and_a_finding() {
    let mut scene = Scene::set().await;
    scene.table.put(&commit(3), Vec::new()).await;
    scene.table.next = 4;
    let done = scene.take(24).await.unwrap();
    assert_eq!(done.record.version.0, 3);
    finding(&done.record, "commit 3 is empty");
    scene.is_exact(&done).await;
    scene.table.append(1, 30).await;
    let next = scene.take(48).await.unwrap();
    finding(&next.record, "commit 3 is empty");
    // Readers that start from a checkpoint do not meet it.
    scene.table.checkpoint().await;
    scene.take(72).await.unwrap();
    scene.table.append(1, 30).await;
    let last = scene.take(96).await.unwrap();
    assert_eq!(last.record.findings, [""; 0]);
}
