//! Files that some ways through the log have live and others do not: none that a reader can see is lost, and one that no
//! reader sees stops no backup.

use std::sync::Arc;

use deltavault::ExitCode;
use deltavault::format::Scope;
use deltavault::ids::Version;
use deltavault::plan::restore::Mode;
use deltavault::store::ReadStore as _;
use deltavault::vault::Vault;
use deltavault::vault::snapshot::SnapshotRequest;

use super::one_truth::{Live, assert_has, checkpoint_that_says, commit, finding};
use super::support::scene::{Scene, assert_says, take_as};
use super::support::table::CheckpointForm;
use super::support::verified::{NO_BYTES, verify};
use super::support::world::{hours_later, request, restore_request};

const FORMS: [CheckpointForm; 3] = [
    CheckpointForm::Classic,
    CheckpointForm::Json,
    CheckpointForm::Sidecars(2),
];

/// Asserts that `verify` finds no damage.
pub(super) async fn assert_sound(scene: &Scene) {
    let vault = Vault::open(Arc::new(scene.vault.clone())).await.unwrap();
    let verified = verify(&vault, NO_BYTES).await;
    assert_ne!(verified.code(), ExitCode::Damage, "{verified:#?}");
}

/// A table that went on from its snapshot of version 2 to version 4, where a checkpoint says `said`; the log's own clean-up
/// took every commit up to the snapshot's.
async fn cleaned_up_behind(said: impl FnOnce(&Live) -> Live, form: CheckpointForm) -> Scene {
    let mut scene = Scene::set().await;
    scene.table.append(1, 100).await;
    scene.table.append(1, 100).await;
    let said = said(&scene.table.live);
    checkpoint_that_says(&mut scene, said, form).await;
    for version in 0..=2 {
        scene.table.remove(&commit(version)).await;
    }
    scene
}

#[tokio::test]
async fn what_a_checkpoint_lost_is_held_though_the_bases_commit_was_cleaned_up() {
    for form in FORMS {
        let lossy = |live: &Live| live.clone().into_iter().skip(1).collect();
        let scene = cleaned_up_behind(lossy, form).await;
        let done = scene.take(24).await.unwrap();
        let found = &done.record.disagreements;
        assert_eq!((found.len(), found[0].lacks, found[0].adds), (1, 1, 0));
        finding(&done.record, "checkpoint 4 disagrees with snapshot");
        assert_eq!(done.record.change.files_removed, 0);
        assert_has(&scene.contents(&done).await.unwrap(), &scene.table.live);
        assert_sound(&scene).await;
    }
}

#[tokio::test]
async fn a_history_holds_what_the_first_of_two_checkpoints_of_a_version_has() {
    let mut scene = Scene::set().await;
    scene.table.remove(&commit(0)).await;
    scene.table.checkpoint_as(CheckpointForm::Json).await;
    let mut request = request(scene.live.uri(), 24);
    request.scope = Scope::History;
    let take = async |scene: &Scene, request: &SnapshotRequest| {
        take_as(&scene.live, &scene.vault, &scene.elsewhere, request)
            .await
            .unwrap()
    };
    take(&scene, &request).await;
    checkpoint_that_says(&mut scene, Live::new(), CheckpointForm::Classic).await;
    request.now = hours_later(48);
    let done = take(&scene, &request).await;
    finding(&done.record, "checkpoint 2 disagrees with the commits");
    assert_has(&scene.contents(&done).await.unwrap(), &scene.table.live);
    assert_sound(&scene).await;
}

#[tokio::test]
async fn a_checkpoint_that_lost_files_since_the_snapshot_is_set_aside_by_restore() {
    for form in FORMS {
        for honest in [true, false] {
            let mut scene = Scene::set().await;
            let live = scene.table.live.clone();
            let lost = usize::from(!honest);
            let said = live.into_iter().skip(lost).collect();
            checkpoint_that_says(&mut scene, said, form).await;
            let request = restore_request(&scene.first, Mode::InPlace, 24);
            let plan = scene.plan(&request).await.unwrap();
            assert_eq!(plan.is_empty(), honest, "{form:?} {plan:?}");
            assert_eq!(plan.broken.is_empty(), honest, "{form:?} {:?}", plan.broken);
            if honest {
                continue;
            }
            let why = "checkpoint 2: it names other files than the rest of the log";
            assert_eq!(plan.broken, [why]);
            scene.restore(&request).await.unwrap();
            let log = scene.table.names("_delta_log/0").await;
            assert!(
                !log.iter().any(|name| name.contains(".checkpoint.")),
                "{log:?}"
            );
            assert!(!scene.table.has("_delta_log/_last_checkpoint").await);
            let plan = scene.plan(&request).await.unwrap();
            assert!(plan.is_empty() && plan.broken.is_empty(), "{plan:?}");
        }
    }
}

#[tokio::test]
async fn a_checkpoint_that_lost_files_under_a_newer_live_table_is_named() {
    for form in FORMS {
        for honest in [true, false] {
            let mut scene = Scene::set().await;
            scene.table.append(1, 100).await;
            let live = scene.table.live.clone();
            let lost = usize::from(!honest);
            let said = live.into_iter().skip(lost).collect();
            checkpoint_that_says(&mut scene, said, form).await;
            scene.table.append(1, 100).await;
            let request = restore_request(&scene.first, Mode::InPlace, 24);
            let live = scene.plan(&request).await.unwrap().live;
            let whole = if honest { 4 } else { 2 };
            assert_eq!(live.whole, [(Version(0), Version(whole))], "{form:?}");
            let why = "checkpoint 3 names other files than the commits, or gives them other sizes or spellings, and readers start from it";
            assert_eq!(
                live.trouble.as_deref(),
                (!honest).then_some(why),
                "{form:?}"
            );
            assert_eq!(live.ways_disagree, !honest);
        }
    }
}

#[tokio::test]
async fn a_base_whose_commit_was_cleaned_up_is_gone_on_from() {
    for form in FORMS {
        let mut scene = cleaned_up_behind(Live::clone, form).await;
        let done = scene.take(24).await.unwrap();
        assert!(
            done.record.findings.is_empty(),
            "{:?}",
            done.record.findings
        );
        assert_eq!(done.record.base, Some(scene.first.id));
        assert_eq!(
            (
                done.record.change.files_added,
                done.record.change.files_removed
            ),
            (2, 0)
        );
        scene.is_exact(&done).await;
        assert_sound(&scene).await;
        scene.table.delete(1).await;
        let done = scene.take(48).await.unwrap();
        assert!(
            done.record.findings.is_empty(),
            "{:?}",
            done.record.findings
        );
        scene.is_exact(&done).await;
    }
}

#[tokio::test]
async fn a_base_of_another_table_lends_it_no_file() {
    let mut scene = Scene::set().await;
    let old: Vec<_> = scene.table.live.keys().cloned().collect();
    scene.table.live.clear();
    scene.table.append(1, 100).await;
    scene.table.append(1, 100).await;
    scene.table.id = "people".to_owned();
    scene.table.checkpoint_as(CheckpointForm::Classic).await;
    for version in 0..=2 {
        scene.table.remove(&commit(version)).await;
    }
    let done = scene.take(24).await.unwrap();
    finding(&done.record, "dropped and re-created");
    assert!(done.record.disagreements.is_empty());
    assert_eq!(done.record.table.delta_id, "people");
    scene.is_exact(&done).await;
    let files = scene.contents(&done).await.unwrap();
    assert!(old.iter().all(|name| !files.contains_key(name)));
    scene.first_is_safe().await;
}

#[tokio::test]
async fn another_table_beyond_a_checkpoint_lends_nothing_to_it_either() {
    for goes_on in [false, true] {
        let mut scene = Scene::set().await;
        scene.table.live.clear();
        scene.table.append(1, 100).await;
        scene.table.append(1, 100).await;
        scene.table.id = "people".to_owned();
        scene.table.checkpoint_as(CheckpointForm::Classic).await;
        if goes_on {
            scene.table.append(1, 100).await;
        }
        for version in 0..=3 {
            scene.table.remove(&commit(version)).await;
        }
        let done = scene.take(24).await.unwrap();
        finding(&done.record, "dropped and re-created");
        scene.is_exact(&done).await;
        assert_sound(&scene).await;
    }
}

#[tokio::test]
async fn what_only_an_older_checkpoint_names_may_be_gone() {
    let mut scene = Scene::set().await;
    scene.forget_vault().await;
    let before = scene.table.live.clone();
    let dead = before.keys().next().unwrap().clone();
    scene.table.delete(1).await;
    checkpoint_that_says(&mut scene, before, CheckpointForm::Classic).await;
    scene.table.append(1, 100).await;
    scene.table.checkpoint_as(CheckpointForm::Classic).await;
    scene.table.remove(&dead).await;
    for hours in [24, 48] {
        let done = scene.take(hours).await.unwrap();
        assert_eq!(done.record.disagreements.len(), 1);
        finding(&done.record, "readers start from checkpoint 4 by now");
        finding(
            &done.record,
            &format!("is no longer at the source, first {dead}: it is not held"),
        );
        scene.is_exact(&done).await;
        assert!(!scene.contents(&done).await.unwrap().contains_key(&dead));
        assert_sound(&scene).await;
        scene.table.append(1, 100).await;
    }
}

#[tokio::test]
async fn what_the_newest_checkpoint_lost_may_be_gone_and_what_it_names_may_not() {
    for with_vector in [false, true] {
        let mut scene = Scene::set().await;
        scene.forget_vault().await;
        if with_vector {
            scene.table.delete_rows(1).await;
        }
        let truth = scene.table.live.clone();
        let lost = truth.keys().next().unwrap().clone();
        let said = truth.into_iter().skip(1).collect();
        checkpoint_that_says(&mut scene, said, CheckpointForm::Classic).await;
        scene.table.remove(&lost).await;
        if with_vector {
            let vectors = scene.table.names("deletion_vector").await.remove(0);
            scene.table.remove(&vectors).await;
        }
        let done = scene.take(24).await.unwrap();
        let gone = if with_vector { "2 are" } else { "1 is" };
        finding(&done.record, &format!("{gone} no longer at the source"));
        assert!(!scene.contents(&done).await.unwrap().contains_key(&lost));
        assert_sound(&scene).await;

        // A later commit names it: readers see it again.
        scene.table.add_again(&lost).await;
        let error = scene.take(48).await.unwrap_err();
        assert_says(&error, ExitCode::Failed, &[&lost, "gone"]);
    }
}
