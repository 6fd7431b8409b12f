//! What a log's clean-up leaves of checkpoints that disagree with the commits: no file that a snapshot held goes without a
//! word, no honest checkpoint is blamed, and what is published is what its own log leads to.

use std::sync::Arc;

use deltavault::format::Scope;
use deltavault::format::ledger::Bodies;
use deltavault::ids::Version;
use deltavault::plan::choose::Wanted;
use deltavault::store::ReadStore as _;
use deltavault::vault::Vault;
use deltavault::vault::snapshot::{SnapshotDone, SnapshotRequest};
use serde_json::json;

use super::disputed::assert_sound;
use super::one_truth::{
    assert_has, checkpoint_key, checkpoint_that_says, commit, finding, live_of,
};
use super::support::scene::{Scene, take_as};
use super::support::table::CheckpointForm;
use super::support::world::request;

/// Takes a snapshot, in which `verify` finds no damage.
async fn take(scene: &Scene, scope: Scope, hours: i64) -> SnapshotDone {
    let request = SnapshotRequest {
        scope,
        ..request(scene.live.uri(), hours)
    };
    let done = take_as(&scene.live, &scene.vault, &scene.elsewhere, &request);
    let done = done.await.unwrap();
    assert_sound(scene).await;
    done
}

/// Writes a checkpoint of an older version that lacks the first `lost` of its files.
async fn late_checkpoint(scene: &mut Scene, version: u64, lost: usize) {
    let (next, live) = (scene.table.next, scene.table.live.clone());
    let then = scene.table.states[&version].clone();
    scene.table.next = version + 1;
    scene.table.live = then.into_iter().skip(lost).collect();
    scene.table.checkpoint_as(CheckpointForm::Classic).await;
    (scene.table.next, scene.table.live) = (next, live);
}

async fn remove_commits(scene: &Scene, versions: impl IntoIterator<Item = u64>) {
    for version in versions {
        scene.table.remove(&commit(version)).await;
    }
}

#[tokio::test]
async fn a_late_checkpoint_below_the_base_is_compared_from_the_whole_log() {
    for honest in [true, false] {
        let mut scene = Scene::set().await;
        scene.table.append(1, 60).await;
        let base = scene.take(12).await.unwrap();
        late_checkpoint(&mut scene, 2, usize::from(!honest)).await;
        scene.table.append(1, 60).await;
        let done = scene.take(24).await.unwrap();
        assert_eq!(done.record.disagreements.is_empty(), honest);
        assert_eq!(
            done.record.findings.is_empty(),
            honest,
            "{:?}",
            done.record.findings
        );
        // Files that the base holds are not copied again.
        assert!(
            done.record.change.new_files <= 5,
            "{:?}",
            done.record.change
        );
        assert_eq!(done.record.base, Some(base.id));
        assert_has(&scene.contents(&done).await.unwrap(), &scene.table.live);
    }
}

#[tokio::test]
async fn a_checkpoint_below_the_base_that_the_clean_up_left_alone_is_compared_with_the_base() {
    for scope in [Scope::Live, Scope::History] {
        for honest in [true, false] {
            let mut scene = Scene::set().await;
            scene.table.append(1, 60).await;
            let base = take(&scene, scope, 12).await;
            late_checkpoint(&mut scene, 2, usize::from(!honest)).await;
            for version in 0..3 {
                scene.table.remove(&commit(version)).await;
            }
            scene.table.append(1, 60).await;
            let done = take(&scene, scope, 24).await;
            if honest {
                assert_eq!(done.record.findings, [""; 0]);
            } else {
                let id = base.id.short();
                let says = format!(
                    "disagree with snapshot {id}, which saw the commits before: this way lacks 1 live file"
                );
                finding(&done.record, &says);
            }
        }
    }
}

#[tokio::test]
async fn what_a_checkpoint_lost_does_not_go_without_a_word_when_the_log_is_cleaned_up() {
    for scope in [Scope::Live, Scope::History] {
        // With commits since, and without: as the night before left it.
        for commits in [0, 1, 2] {
            let mut scene = Scene::set().await;
            scene.table.append(1, 100).await;
            let said = scene.table.live.clone().into_iter().skip(1).collect();
            let lost = scene.table.live.keys().next().unwrap().clone();
            checkpoint_that_says(&mut scene, said, CheckpointForm::Classic).await;
            let told = take(&scene, scope, 24).await;
            finding(&told.record, "checkpoint 3 disagrees with");
            assert_has(&scene.contents(&told).await.unwrap(), &scene.table.live);
            remove_commits(&scene, 0..3).await;
            for _ in 0..commits {
                scene.table.append(1, 100).await;
            }
            let done = take(&scene, scope, 48).await;
            finding(&done.record, &lost);
            finding(&done.record, "lacks 1 live file");
        }
    }
}

#[tokio::test]
async fn a_late_checkpoint_is_to_blame_where_the_base_agrees_with_the_other() {
    for scope in [Scope::Live, Scope::History] {
        let mut scene = Scene::set().await;
        scene.table.append(1, 100).await;
        scene.table.checkpoint_as(CheckpointForm::Classic).await;
        let base = take(&scene, scope, 24).await;
        assert_eq!(base.record.findings, [""; 0]);
        scene.table.append(1, 100).await;
        late_checkpoint(&mut scene, 1, 1).await;
        remove_commits(&scene, [0]).await;
        // With another checkpoint the whole log is listed.
        scene.table.checkpoint_as(CheckpointForm::Classic).await;
        let done = take(&scene, scope, 48).await;
        let found = &done.record.disagreements;
        let found: Vec<_> = found
            .iter()
            .map(|it| (it.checkpoint, it.lacks, it.adds))
            .collect();
        assert_eq!(found, [(Version(1), 1, 0)]);
        assert_has(&scene.contents(&done).await.unwrap(), &scene.table.live);
    }
}

#[tokio::test]
async fn a_commit_that_is_gone_below_a_checkpoint_that_disagrees_is_no_way_through_what_is_held() {
    let scopes = [Scope::Live, Scope::History];
    for (scope, below) in scopes.into_iter().flat_map(|it| [(it, false), (it, true)]) {
        let mut scene = Scene::set().await;
        if below {
            scene.table.checkpoint_as(CheckpointForm::Classic).await;
        }
        scene.table.append(1, 100).await;
        scene.table.append(1, 100).await;
        take(&scene, scope, 24).await;
        scene.table.append(1, 100).await;
        let said = scene.table.live.clone().into_iter().skip(1).collect();
        checkpoint_that_says(&mut scene, said, CheckpointForm::Classic).await;
        remove_commits(&scene, [3]).await;
        for hours in [48, 72] {
            let done = take(&scene, scope, hours).await;
            if hours == 48 {
                finding(&done.record, "disagrees with snapshot");
            }
            scene.table.append(1, 100).await;
        }
    }
}

#[tokio::test]
async fn whichever_checkpoint_gives_the_wrong_size_the_file_is_held_as_it_is() {
    for scope in [Scope::Live, Scope::History] {
        for (liar, by) in [(2, 1), (2, -1), (4, 1), (4, -1)] {
            for first in [true, false] {
                let mut scene = Scene::set().await;
                if !first {
                    take(&scene, scope, 12).await;
                }
                for version in [2, 4] {
                    let mut said = scene.table.live.clone();
                    if version == liar {
                        let add = said.values_mut().next().unwrap();
                        add["size"] = json!(add["size"].as_i64().unwrap() + by);
                    }
                    checkpoint_that_says(&mut scene, said, CheckpointForm::Classic).await;
                    scene.table.append(1, 100).await;
                    scene.table.append(1, 100).await;
                }
                remove_commits(&scene, 0..3).await;
                for hours in [24, 48] {
                    let done = take(&scene, scope, hours).await;
                    if hours == 24 {
                        finding(&done.record, "another size");
                    }
                    assert_has(&scene.contents(&done).await.unwrap(), &scene.table.live);
                    scene.table.append(1, 100).await;
                }
            }
        }
    }
}

/// Readers that compare paths as text have a removed file live by it, until it is gone.
#[tokio::test]
async fn a_checkpoint_that_its_owner_took_out_does_not_come_back() {
    for scope in [Scope::Live, Scope::History] {
        let mut scene = Scene::set().await;
        let mut said = scene.table.live.clone();
        let removed = said.keys().next().unwrap().clone();
        let mut add = said.remove(&removed).unwrap();
        let spelled = removed.replace("part-", "%70art-");
        add["path"] = json!(spelled);
        said.insert(spelled, add);
        checkpoint_that_says(&mut scene, said, CheckpointForm::Classic).await;
        let checkpoint = checkpoint_key(&scene).await;
        scene.table.delete(1).await;
        take(&scene, scope, 12).await;
        scene.table.remove(&checkpoint).await;
        scene.table.append(1, 100).await;
        for hours in [24, 48] {
            let done = take(&scene, scope, hours).await;
            let live = live_of(&scene, &done).await;
            assert_eq!(live.len(), scene.table.live.len(), "{scope:?}");
            let held = scene.contents(&done).await.unwrap();
            assert!(!held.contains_key(&checkpoint), "{scope:?}");
            scene.table.append(1, 100).await;
        }
    }
}

#[tokio::test]
async fn a_file_with_another_vector_and_another_size_stops_nothing() {
    for scope in [Scope::Live, Scope::History] {
        for first in [true, false] {
            let mut scene = Scene::set().await;
            if !first {
                take(&scene, scope, 12).await;
            }
            scene.table.append(1, 100).await;
            let mut before = scene.table.live.clone();
            scene.table.delete_rows(1).await;
            for add in before.values_mut() {
                add["size"] = json!(add["size"].as_i64().unwrap() + 7);
            }
            checkpoint_that_says(&mut scene, before, CheckpointForm::Classic).await;
            scene.table.append(1, 100).await;
            scene.table.checkpoint_as(CheckpointForm::Classic).await;
            remove_commits(&scene, 0..4).await;
            for hours in [24, 48] {
                let done = take(&scene, scope, hours).await;
                finding(&done.record, "disagree");
                assert_has(&scene.contents(&done).await.unwrap(), &scene.table.live);
                scene.table.append(1, 100).await;
            }
        }
    }
}

#[tokio::test]
async fn what_only_a_checkpoint_has_live_is_held_as_it_is_whatever_size_it_gives() {
    for scope in [Scope::Live, Scope::History] {
        let mut scene = Scene::set().await;
        let mut said = scene.table.live.clone();
        let name = said.keys().next().unwrap().clone();
        scene.table.delete(1).await;
        let removed = said.get_mut(&name).unwrap();
        removed["size"] = json!(removed["size"].as_i64().unwrap() + 7);
        checkpoint_that_says(&mut scene, said, CheckpointForm::Classic).await;
        scene.table.append(1, 100).await;
        scene.table.checkpoint_as(CheckpointForm::Classic).await;
        let done = take(&scene, scope, 24).await;
        finding(
            &done.record,
            "another size at the source than the log gives",
        );
        let held = scene.contents(&done).await.unwrap();
        assert_eq!(held[&name], scene.table.read(&name).await);
    }
}

#[tokio::test]
async fn history_holds_a_removed_file_whose_size_one_of_two_checkpoints_gives() {
    let mut scene = Scene::set().await;
    let mut said = scene.table.live.clone();
    let name = said.keys().next().unwrap().clone();
    let size = said[&name]["size"].as_i64().unwrap();
    said.get_mut(&name).unwrap()["size"] = json!(size + 7);
    checkpoint_that_says(&mut scene, said, CheckpointForm::Classic).await;
    scene.table.append(1, 100).await;
    scene.table.checkpoint_as(CheckpointForm::Classic).await;
    remove_commits(&scene, 0..2).await;
    scene.table.append(1, 100).await;
    scene.table.delete(1).await;
    let done = take(&scene, Scope::History, 24).await;
    let held = scene.contents(&done).await.unwrap();
    assert_eq!(held[&name], scene.table.read(&name).await);
    assert_eq!(done.record.whole_versions, [(Version(2), Version(4))]);
}

#[tokio::test]
async fn history_says_which_versions_lie_below_a_gap() {
    let mut scene = Scene::set().await;
    scene.table.append(1, 100).await;
    scene.table.checkpoint_as(CheckpointForm::Classic).await;
    scene.table.append(1, 100).await;
    remove_commits(&scene, [2]).await;
    let live = take(&scene, Scope::Live, 12).await;
    assert_eq!(live.record.findings, [""; 0]);
    let done = take(&scene, Scope::History, 24).await;
    finding(&done.record, "a gap between version 1 and version 3");
}

/// As after `what_a_checkpoint_lost_…`, but with the snapshot's own commit gone.
#[tokio::test]
async fn a_base_whose_commit_is_gone_is_compared_with_its_own_checkpoint() {
    let mut scene = Scene::set().await;
    scene.table.append(1, 100).await;
    take(&scene, Scope::Live, 24).await;
    let said = scene.table.live.clone().into_iter().skip(1).collect();
    let lost = scene.table.live.keys().next().unwrap().clone();
    checkpoint_that_says(&mut scene, said, CheckpointForm::Classic).await;
    let told = take(&scene, Scope::Live, 48).await;
    finding(&told.record, "checkpoint 3 disagrees with");
    remove_commits(&scene, 0..4).await;
    let done = take(&scene, Scope::Live, 72).await;
    finding(&done.record, &lost);
    let doubt = done.record.doubt.as_ref().unwrap();
    assert!(doubt.contains(&lost), "{doubt}");
}

#[tokio::test]
async fn a_snapshot_says_why_it_is_in_doubt_and_its_version_comes_from_another() {
    let mut scene = Scene::set().await;
    scene.table.append(1, 100).await;
    let good = scene.take(24).await.unwrap();
    assert_eq!(good.record.doubt, None);
    scene.table.overwrite(&commit(2), Vec::new()).await;
    let bad = scene.take(48).await.unwrap();
    let doubt = bad.record.doubt.as_ref().unwrap();
    assert!(doubt.contains("commit 2 is empty now (0 bytes)"), "{doubt}");
    assert_eq!(bad.record.version, good.record.version);
    let vault = Vault::open(Arc::new(scene.vault.clone())).await.unwrap();
    let key = request(scene.live.uri(), 0).key;
    let history = vault.history(&key, Bodies::default()).await.unwrap();
    let by_id = Wanted::Snapshot(bad.id.to_string());
    for (wanted, id) in [
        (Wanted::Latest, good.id),
        (Wanted::Version(Version(3)), good.id),
        (by_id, bad.id),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let chosen = vault.choose(&history, &wanted, folder.path()).await;
        assert_eq!(chosen.unwrap().snapshot.id, id, "{wanted:?}");
    }
    // A version above it has no other.
    scene.table.append(1, 100).await;
    // It is in doubt as long as the commit is empty.
    let next = scene.take(72).await.unwrap();
    let doubt = next.record.doubt.unwrap();
    assert!(doubt.contains("commit 2 is still empty"), "{doubt}");
}
