//! A snapshot whose log no way leads through is none: what a spoilt checkpoint replaced stays in it, or it is refused.

use std::sync::Arc;

use deltavault::ExitCode;
use deltavault::plan::verify::Severity;
use deltavault::vault::Vault;

use super::one_truth::{checkpoint_key, commit};
use super::support::scene::{Scene, assert_says, chain};
use super::support::table::CheckpointForm;
use super::support::verified::{ALL, verify};

/// What became of the only checkpoint, after the log's clean-up took the commits before it.
#[derive(Debug, Clone, Copy)]
enum Spoilt {
    Noise,
    Cut,
    Sidecar,
}

#[tokio::test]
async fn a_snapshot_is_restorable_or_refused_where_the_only_checkpoint_is_spoilt() {
    let cases = [
        (CheckpointForm::Classic, Spoilt::Noise),
        (CheckpointForm::Classic, Spoilt::Cut),
        (CheckpointForm::Json, Spoilt::Cut),
        (CheckpointForm::Parts(2), Spoilt::Noise),
        (CheckpointForm::Sidecars(2), Spoilt::Noise),
        (CheckpointForm::Sidecars(2), Spoilt::Sidecar),
    ];
    // Whether the checkpoint was held while it was good.
    for (case, was_held) in cases
        .into_iter()
        .flat_map(|case| [(case, false), (case, true)])
    {
        let (form, spoilt) = case;
        let mut scene = Scene::set().await;
        // The base's own commit stays where the checkpoint is spoilt after it: it shows that the log goes on.
        let last = scene.table.version();
        let before: Vec<_> = (0..=last).collect();
        scene.table.append(1, 100).await;
        scene.table.checkpoint_as(form).await;
        if was_held {
            for version in &before {
                scene.table.remove(&commit(*version)).await;
            }
            scene.take(12).await.unwrap();
        }
        let top = checkpoint_key(&scene).await;
        match spoilt {
            Spoilt::Noise => {
                let bytes = scene.table.read(&top).await;
                scene.table.overwrite(&top, vec![0; bytes.len()]).await;
            }
            Spoilt::Cut => {
                let bytes = scene.table.read(&top).await;
                let half = bytes[..bytes.len() / 2].to_vec();
                scene.table.overwrite(&top, half).await;
            }
            Spoilt::Sidecar => {
                let sidecar = scene.table.names("_delta_log/_sidecars/").await.remove(0);
                scene.table.remove(&sidecar).await;
            }
        }
        if !was_held {
            for version in before.iter().filter(|version| **version < last) {
                scene.table.remove(&commit(*version)).await;
            }
        }
        for night in [24, 48, 72] {
            let case = format!("{case:?}, held before: {was_held}, hour {night}");
            match scene.take(night).await {
                Ok(done) => {
                    assert!(!was_held, "{case}");
                    assert!(!done.record.findings.is_empty(), "{case}");
                }
                Err(error) => {
                    assert!(was_held, "{case}: {}", chain(&error));
                    assert_says(&error, ExitCode::Failed, &["cannot be read"]);
                    assert!(
                        error.hint().unwrap().contains("deltavault restore"),
                        "{case}"
                    );
                }
            }
            let vault = Vault::open(Arc::new(scene.vault.clone())).await.unwrap();
            let found = verify(&vault, ALL).await;
            let mut findings = found.findings.iter();
            assert!(
                findings.all(|it| it.severity < Severity::Damage),
                "{case}: {found:?}"
            );
            scene.table.append(1, 30).await;
        }
        // Without anything that stands in for it there is nothing that could be restored.
        scene.forget_vault().await;
        let refused = scene.take(96).await.unwrap_err();
        assert_eq!(
            refused.exit_code(),
            ExitCode::Failed,
            "{case:?}: {refused:?}"
        );
    }
}

#[tokio::test]
async fn commits_of_a_base_whose_own_commit_is_gone_stand_in_for_no_checkpoint() {
    let mut scene = Scene::set().await;
    scene.table.append(1, 100).await;
    scene.table.checkpoint_as(CheckpointForm::Classic).await;
    for version in 0..=2 {
        scene.table.remove(&commit(version)).await;
    }
    let top = checkpoint_key(&scene).await;
    scene.table.overwrite(&top, vec![0; 500]).await;
    let refused = scene.take(24).await.unwrap_err();
    assert_says(&refused, ExitCode::Failed, &["cannot be read"]);
}

#[tokio::test]
async fn a_part_of_a_checkpoint_is_not_held_beside_another_that_was_written_again() {
    for is_first_lost in [true, false] {
        let mut scene = Scene::set().await;
        scene.table.checkpoint_as(CheckpointForm::Parts(2)).await;
        scene.take(24).await.unwrap();
        let parts = scene
            .table
            .names("_delta_log/00000000000000000002.checkpoint.")
            .await;
        let (first, end) = (parts.first().unwrap(), parts.last().unwrap());
        let (lost, again) = if is_first_lost {
            (first, end)
        } else {
            (end, first)
        };
        let bytes = scene.table.read(lost).await;
        scene.table.overwrite(again, bytes).await;
        scene.table.remove(lost).await;
        scene.table.append(1, 30).await;
        let done = scene.take(48).await.unwrap();
        let files = scene.contents(&done).await.unwrap();
        assert!(!files.contains_key(lost), "{lost}");
        let vault = Vault::open(Arc::new(scene.vault.clone())).await.unwrap();
        let found = verify(&vault, ALL).await;
        assert!(found.findings.is_empty(), "{found:?}");
    }
}
