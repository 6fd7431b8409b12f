//! Checkpoints that a restore leaves out of the log, or takes out of it: those that disagree with the commits, on demand, and
//! those that nobody can read.

use std::sync::Arc;

use deltavault::ExitCode;
use deltavault::ids::Version;
use deltavault::plan::restore::Mode;
use deltavault::reader::{RefusalCause, Verdict};
use deltavault::store::RestoreStore;
use deltavault::store::memory::MemoryStore;
use deltavault::vault::restore::{LogWanted, Reading, RestoreRequest, WhyLeftOut};
use deltavault::vault::snapshot::SnapshotDone;

use super::mended::{
    HINT, commit, files, harmed, in_place, killed_everywhere, mends, opens, with_checkpoint,
};
use super::support::fault_store::FaultStore;
use super::support::scene::{Scene, assert_holds, assert_says, everything};
use super::support::table::{CheckpointForm, Table};
use super::support::world::{init, restore_request};

/// A checkpoint of version 3 that lacks a live file, in a table of which all commits are there.
async fn disagreeing() -> (Scene, SnapshotDone) {
    let mut scene = Scene::set().await;
    scene.table.append(2, 10).await;
    let lost = scene.table.live.keys().next().unwrap().clone();
    let lacking = scene.table.classic_again(&[&lost]);
    let name = format!("_delta_log/{:020}.checkpoint.parquet", 3);
    scene.table.put(&name, lacking).await;
    scene
        .table
        .put(HINT, br#"{"version":3,"size":3}"#.to_vec())
        .await;
    scene.table.append(1, 10).await;
    let done = scene.take(24).await.unwrap();
    (scene, done)
}

fn without(request: RestoreRequest, version: u64) -> RestoreRequest {
    RestoreRequest {
        log: LogWanted::Without(Version(version)),
        ..request
    }
}

#[tokio::test]
async fn a_checkpoint_that_disagrees_is_left_out_on_demand_and_readers_take_the_commits_way() {
    for dropped in [false, true] {
        let (scene, done) = disagreeing().await;
        let whole = scene.source_files().await;
        assert_eq!(opens(scene.live.inner(), 4).await, Some(7));
        if dropped {
            scene.table.drop_all().await;
        }
        let request = without(in_place(&done), 3);
        let plan = scene.plan(&request).await.unwrap();
        assert_eq!(plan.asides.len(), if dropped { 0 } else { 2 });
        assert_eq!(plan.left_out.len(), 1);
        let out = &plan.left_out[0];
        assert_eq!(
            (out.checkpoint, out.from, out.to),
            (Version(3), None, Version(4))
        );
        assert_eq!(
            plan.broken,
            [] as [String; 0],
            "nothing of it is unreadable"
        );
        scene.restore(&request).await.unwrap();
        assert_eq!(opens(scene.live.inner(), 4).await, Some(8));
        let now = files(scene.live.inner()).await;
        let gone: Vec<_> = whole
            .keys()
            .filter(|name| !now.contains_key(*name))
            .collect();
        assert_eq!(gone.len(), 2, "{gone:?}");
        let again = scene.plan(&request).await.unwrap();
        assert!(again.is_empty(), "{again:?}");
        assert_eq!(again.reading, Some(Reading::Opens));

        // It stays out: of a plan that does not ask for it, too.
        let later = scene.plan(&in_place(&done)).await.unwrap();
        assert!(later.is_empty(), "{later:?}");
        assert_eq!(later.left_out[0].why, WhyLeftOut::Disagrees);
        let as_it_was = RestoreRequest {
            log: LogWanted::AsItWas,
            ..in_place(&done)
        };
        scene.restore(&as_it_was).await.unwrap();
        assert_eq!(opens(scene.live.inner(), 4).await, Some(7));
    }
}

/// Readers who do without the one would start from the other.
#[tokio::test]
async fn of_several_checkpoints_that_disagree_all_are_left_out() {
    let (mut scene, _) = disagreeing().await;
    let lost = scene.table.live.keys().last().unwrap().clone();
    let lacking = scene.table.classic_again(&[&lost]);
    let name = format!("_delta_log/{:020}.checkpoint.parquet", 4);
    scene.table.put(&name, lacking).await;
    scene.table.append(1, 10).await;
    let done = scene.take(48).await.unwrap();
    assert_eq!(done.record.disagreements.len(), 2);
    for version in [4, 3] {
        let request = without(in_place(&done), version);
        scene.restore(&request).await.unwrap();
        assert_eq!(opens(scene.live.inner(), 5).await, Some(9));
        let later = scene.plan(&in_place(&done)).await.unwrap();
        assert!(later.is_empty(), "{later:?}");
        assert_eq!(later.left_out.len(), 2);
    }
}

#[tokio::test]
async fn a_checkpoint_that_disagrees_is_put_back_where_nobody_can_read_the_live_one() {
    let (scene, done) = disagreeing().await;
    let whole = scene.source_files().await;
    let name = format!("_delta_log/{:020}.checkpoint.parquet", 3);
    for (_, harmed) in harmed(&whole[&name]) {
        scene.table.overwrite(&name, harmed.clone()).await;
        mends(&scene, &in_place(&done), &whole, &[(&name, &harmed)]).await;
        assert_eq!(opens(scene.live.inner(), 4).await, Some(7));
    }
}

#[tokio::test]
async fn a_disagreeing_checkpoint_that_a_writer_wrote_again_stays() {
    let (scene, done) = disagreeing().await;
    let name = format!("_delta_log/{:020}.checkpoint.parquet", 3);
    let right = scene.table.classic_again(&[]);
    scene.table.overwrite(&name, right.clone()).await;
    let plan = scene.plan(&in_place(&done)).await.unwrap();
    assert!(plan.is_empty() && plan.broken.is_empty(), "{plan:?}");
}

#[tokio::test]
async fn taking_a_disagreeing_checkpoint_out_can_be_killed_at_any_call() {
    let none = async |scene: &mut Scene| {
        let (other, done) = disagreeing().await;
        *scene = other;
        without(in_place(&done), 3)
    };
    // The old table or the new one.
    Box::pin(killed_everywhere(none, 4, &[Some(7), Some(8)], Some(8))).await;
}

#[tokio::test]
async fn a_checkpoint_without_which_nothing_leads_to_the_version_is_not_left_out() {
    let (scene, done) = with_checkpoint(CheckpointForm::Sidecars(2)).await;
    let error = scene.plan(&without(in_place(&done), 9)).await.unwrap_err();
    assert_says(&error, ExitCode::Usage, &["no checkpoint of version 9"]);
    assert!(error.hint().unwrap().contains('3'));

    let target = MemoryStore::new("s3://copy/orders");
    let restorer = scene.restorer(Arc::new(target.clone())).await;
    let request = without(restore_request(&done, Mode::To, 25), 3);
    let plan = restorer.plan(&request).await.unwrap();
    restorer.execute(&request, plan).await.unwrap();
    let names = everything(&target).await.into_keys();
    let names: Vec<_> = names
        .filter(|name| name.contains("checkpoint") || name.contains("sidecar"))
        .collect();
    assert_eq!(names, [] as [String; 0]);
    assert_eq!(opens(&target, 5).await, Some(7));

    // The log's own clean-up leaves only the checkpoint to begin with.
    let (mut scene, _) = with_checkpoint(CheckpointForm::Json).await;
    scene.table.clean_up_log().await;
    scene.table.append(1, 10).await;
    scene.vault = FaultStore::new(MemoryStore::without_locks("s3://fresh"));
    init(&scene.vault).await;
    let done = scene.take(30).await.unwrap();
    let before = scene.source_files().await;
    for mode in [Mode::InPlace, Mode::To] {
        let request = without(restore_request(&done, mode, 31), 3);
        let target: Arc<dyn RestoreStore> = match mode {
            Mode::To => Arc::new(MemoryStore::new("s3://copy/orders")),
            Mode::InPlace | Mode::Heal | Mode::Rewind | Mode::Replace | Mode::Undo => {
                Arc::new(scene.live.clone())
            }
        };
        let error = scene
            .restorer(target)
            .await
            .plan(&request)
            .await
            .unwrap_err();
        assert_says(
            &error,
            ExitCode::OwnerMustChoose,
            &["version 6 cannot be rebuilt without checkpoint 3", "commit"],
        );
    }
    assert_holds(&scene.source_files().await, &before);
}

#[tokio::test]
async fn a_checkpoint_that_was_unreadable_when_it_was_taken_is_left_out_where_the_rest_suffices() {
    for form in [
        CheckpointForm::Classic,
        CheckpointForm::Json,
        CheckpointForm::Parts(3),
        CheckpointForm::Sidecars(2),
    ] {
        let mut scene = Scene::set().await;
        scene.table.append(2, 10).await;
        scene.table.checkpoint_as(form).await;
        let names = scene.table.names("_delta_log/").await;
        let part = match form {
            CheckpointForm::Sidecars(_) => "_sidecars/",
            CheckpointForm::Classic | CheckpointForm::Json | CheckpointForm::Parts(_) => {
                ".checkpoint."
            }
        };
        let torn = names.iter().rfind(|name| name.contains(part)).unwrap();
        let bytes = scene.table.read(torn).await;
        scene
            .table
            .overwrite(torn, bytes[..bytes.len() / 2].to_vec())
            .await;
        scene.table.append(1, 10).await;
        let done = scene.take(24).await.unwrap();
        let as_it_was = scene.source_files().await;

        let target = MemoryStore::new("s3://copy/orders");
        let restorer = scene.restorer(Arc::new(target.clone())).await;
        let request = restore_request(&done, Mode::To, 25);
        let plan = restorer.plan(&request).await.unwrap();
        assert_eq!(plan.left_out.len(), 1, "{form:?}");
        assert_eq!(
            plan.left_out[0].why,
            WhyLeftOut::UnreadableWhenTaken,
            "{form:?}"
        );
        let expected = plan.expected.clone();
        restorer.execute(&request, plan).await.unwrap();
        let checked = restorer.check(&request, &expected).await.unwrap();
        assert!(checked.is_good(), "{form:?}: {checked:?}");
        assert_eq!(opens(&target, 4).await, Some(8), "{form:?}");

        // All of it, where that is wanted.
        let target = MemoryStore::new("s3://copy/orders");
        let restorer = scene.restorer(Arc::new(target.clone())).await;
        let request = RestoreRequest {
            log: LogWanted::AsItWas,
            ..restore_request(&done, Mode::To, 25)
        };
        let plan = restorer.plan(&request).await.unwrap();
        assert!(plan.left_out.is_empty());
        let expected = plan.expected.clone();
        restorer.execute(&request, plan).await.unwrap();
        assert_holds(&everything(&target).await, &as_it_was);
        let checked = restorer.check(&request, &expected).await.unwrap();
        assert!(
            matches!(
                checked.verdict,
                Verdict::Refuses {
                    about: RefusalCause::Log,
                    ..
                }
            ),
            "{form:?}"
        );
        assert!(!checked.is_good());

        // Over the live table, which nobody can read: it is set aside.
        let request = in_place(&done);
        let plan = scene.plan(&request).await.unwrap();
        assert!(
            !plan.asides.is_empty() && !plan.broken.is_empty(),
            "{form:?}: {plan:?}"
        );
        scene.restore(&request).await.unwrap();
        assert_eq!(opens(scene.live.inner(), 4).await, Some(8), "{form:?}");
        let again = scene.plan(&request).await.unwrap();
        assert!(
            again.is_empty() && again.reading == Some(Reading::Opens),
            "{form:?}: {again:?}"
        );
    }
}

#[tokio::test]
async fn a_good_checkpoint_that_a_writer_has_written_since_is_not_set_aside() {
    let mut scene = Scene::set().await;
    scene.table.append(2, 10).await;
    scene.table.checkpoint_as(CheckpointForm::Classic).await;
    let name = format!("_delta_log/{:020}.checkpoint.parquet", 3);
    let good = scene.table.read(&name).await;
    scene.table.overwrite(&name, b"torn".to_vec()).await;
    let done = scene.take(24).await.unwrap();
    scene.table.overwrite(&name, good).await;
    let before = scene.source_files().await;
    let plan = scene.plan(&in_place(&done)).await.unwrap();
    assert!(plan.is_empty(), "{plan:?}");
    assert_eq!(plan.reading, Some(Reading::Opens));
    scene.restore(&in_place(&done)).await.unwrap();
    assert_holds(&files(scene.live.inner()).await, &before);
}

#[tokio::test]
async fn two_wrong_files_of_one_name_are_both_kept() {
    let (scene, done) = with_checkpoint(CheckpointForm::Json).await;
    let whole = scene.source_files().await;
    for wrong in [&b"first"[..], b"second"] {
        scene.table.overwrite(&commit(1), wrong.to_vec()).await;
        mends(&scene, &in_place(&done), &whole, &[(&commit(1), wrong)]).await;
    }
    assert_eq!(scene.table.names("_deltavault/aside/").await.len(), 2);
    let table = Table::open(Arc::new(scene.live.inner().clone()) as Arc<dyn RestoreStore>);
    assert!(table.has(&commit(1)).await);
}
