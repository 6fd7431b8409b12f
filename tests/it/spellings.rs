//! Files that the log spells in several ways: some readers compare the text, others what it stands for. A snapshot holds
//! what either has live, and says so.

use deltavault::ExitCode;
use deltavault::format::EntryKind;
use deltavault::plan::restore::Mode;
use deltavault::vault::Vault;
use deltavault::vault::snapshot::SnapshotDone;
use serde_json::{Value, json};
use std::sync::Arc;

use super::support::scene::Scene;
use super::support::table::CheckpointForm;
use super::support::verified::{ALL, verify};
use super::support::world::restore_request;

/// Two spellings of one name.
const PAIRS: [(&str, &str, &str); 6] = [
    ("s%20p.parquet", "s p.parquet", "s p.parquet"),
    ("%C3%BC.parquet", "%c3%bc.parquet", "ü.parquet"),
    ("./c.parquet", "c.parquet", "c.parquet"),
    ("s3://lake/orders/b.parquet", "b.parquet", "b.parquet"),
    (
        "s3a://lake/orders/d.parquet",
        "s3n://lake/orders/d.parquet",
        "d.parquet",
    ),
    ("p=x%3Ay//e.parquet", "p=x:y/e.parquet", "p=x:y/e.parquet"),
];

fn pairs() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    PAIRS
        .into_iter()
        .flat_map(|(one, other, name)| [(one, other, name), (other, one, name)])
}

fn add(path: &str) -> Value {
    json!({"add": {"path": path, "partitionValues": {}, "size": 50, "modificationTime": 7, "dataChange": true}})
}

fn remove(path: &str) -> Value {
    json!({"remove": {"path": path, "deletionTimestamp": 1, "dataChange": true}})
}

async fn commit(scene: &mut Scene, actions: Vec<Value>) {
    scene.table.commit("WRITE", actions).await;
}

fn respelled(done: &SnapshotDone) -> Vec<&String> {
    let findings = done.record.findings.iter();
    findings
        .filter(|finding| finding.contains("spelled in several ways in the log"))
        .collect()
}

/// The file is live in the manifest, its bytes come back, and the vault is sound.
async fn holds(scene: &Scene, done: &SnapshotDone, name: &str, spelled: &str, by_text: bool) {
    let entries = scene.entries(done).await;
    let entry = entries.iter().find(|entry| entry.file.as_str() == name);
    let entry = entry.unwrap_or_else(|| panic!("{name} has no entry: {:?}", done.record.findings));
    let [live] = &entry.live[..] else {
        panic!("{entry:?}")
    };
    let expected: &[&str] = if spelled == name { &[] } else { &[spelled] };
    assert_eq!(
        (entry.kind, live.by_text),
        (EntryKind::Data, by_text),
        "{spelled}"
    );
    assert_eq!(live.spelled, expected);
    let files = if spelled.starts_with("s3") {
        // A copy elsewhere is refused: its readers would go to this table.
        scene.table.remove(name).await;
        let request = restore_request(done, Mode::InPlace, 1);
        scene.restore(&request).await.unwrap();
        scene.source_files().await
    } else {
        scene.contents(done).await.unwrap()
    };
    assert_eq!(files.get(name), Some(&vec![b'x'; 50]), "{spelled}");
    is_sound(scene, spelled).await;
}

async fn is_sound(scene: &Scene, of: &str) {
    let vault = Vault::open(Arc::new(scene.vault.clone())).await.unwrap();
    let verified = verify(&vault, ALL).await;
    assert_eq!(verified.code(), ExitCode::Done, "{of}: {verified:#?}");
    assert!(verified.findings.is_empty(), "{of}: {verified:#?}");
}

#[tokio::test]
async fn a_remove_in_another_spelling_takes_no_bytes_away() {
    for is_first in [false, true] {
        for (added, removed, name) in pairs() {
            let mut scene = Scene::set().await;
            scene.table.put(name, vec![b'x'; 50]).await;
            commit(&mut scene, vec![add(added)]).await;
            if is_first {
                scene.forget_vault().await;
            } else {
                let done = scene.take(12).await.unwrap();
                assert_eq!(done.record.findings, [""; 0], "{added}");
                holds(&scene, &done, name, added, false).await;
            }
            commit(&mut scene, vec![remove(removed)]).await;
            let done = scene.take(24).await.unwrap();
            let [finding] = &respelled(&done)[..] else {
                panic!("{added} {removed}: {:?}", done.record.findings)
            };
            for says in [
                "1 file is spelled".to_owned(),
                format!("(first: {added} and {removed})"),
                "this snapshot holds it".to_owned(),
            ] {
                assert!(finding.contains(&says), "{finding} lacks {says}");
            }
            holds(&scene, &done, name, added, true).await;
            // On a night that does not touch it, too.
            scene.table.append(1, 40).await;
            let next = scene.take(48).await.unwrap();
            assert_eq!(next.record.base, Some(done.id));
            assert_eq!(respelled(&next).len(), 1, "{:?}", next.record.findings);
            holds(&scene, &next, name, added, true).await;
            // Removed as it was added, it is gone for all.
            commit(&mut scene, vec![remove(added)]).await;
            let last = scene.take(72).await.unwrap();
            assert_eq!(last.record.findings, [""; 0], "{added} {removed}");
            let files = scene.contents(&last).await.unwrap();
            assert!(!files.contains_key(name), "{added} {removed}");
            is_sound(&scene, added).await;
        }
    }
}

#[tokio::test]
async fn a_second_add_in_another_spelling_outlives_the_remove_of_the_first() {
    for (one, other, name) in pairs() {
        let mut scene = Scene::set().await;
        scene.table.put(name, vec![b'x'; 50]).await;
        commit(&mut scene, vec![add(one)]).await;
        scene.take(12).await.unwrap();
        commit(&mut scene, vec![add(other)]).await;
        let both = scene.take(24).await.unwrap();
        assert_eq!(respelled(&both).len(), 1, "{:?}", both.record.findings);
        commit(&mut scene, vec![remove(one)]).await;
        let done = scene.take(36).await.unwrap();
        assert_eq!(respelled(&done).len(), 1, "{:?}", done.record.findings);
        holds(&scene, &done, name, other, true).await;
    }
}

/// Readers that start from the checkpoint and compare text have the file live after a remove in the commits' spelling.
#[tokio::test]
async fn a_checkpoint_in_another_spelling_is_noticed() {
    for form in [CheckpointForm::Classic, CheckpointForm::Sidecars(2)] {
        let mut scene = Scene::set().await;
        scene.table.put("s p.parquet", vec![b'x'; 50]).await;
        commit(&mut scene, vec![add("s%20p.parquet")]).await;
        scene.take(12).await.unwrap();
        scene.table.append(1, 40).await;
        let named = add("s p.parquet")["add"].clone();
        scene.table.live.insert("s p.parquet".to_owned(), named);
        scene.table.checkpoint_as(form).await;
        scene.take(24).await.unwrap();
        commit(&mut scene, vec![remove("s%20p.parquet")]).await;
        let done = scene.take(36).await.unwrap();
        assert_eq!(respelled(&done).len(), 1, "{:?}", done.record.findings);
        holds(&scene, &done, "s p.parquet", "s p.parquet", true).await;
    }
}

#[tokio::test]
async fn a_checkpoint_settles_what_readers_have() {
    for form in [CheckpointForm::Classic, CheckpointForm::Sidecars(2)] {
        for keeps in [true, false] {
            let mut scene = Scene::set().await;
            scene.table.put("s p.parquet", vec![b'x'; 50]).await;
            commit(&mut scene, vec![add("s%20p.parquet")]).await;
            commit(&mut scene, vec![remove("s p.parquet")]).await;
            scene.take(12).await.unwrap();
            // Written by a reader that compares text, or by one that does not.
            if keeps {
                let named = add("s%20p.parquet")["add"].clone();
                scene.table.live.insert("s p.parquet".to_owned(), named);
            }
            scene.table.append(1, 40).await;
            scene.table.checkpoint_as(form).await;
            let done = scene.take(24).await.unwrap();
            if keeps {
                assert_eq!(done.record.findings, [""; 0]);
                assert_eq!(done.record.disagreements, []);
            } else {
                let [found] = &done.record.disagreements[..] else {
                    panic!("{:?}", done.record)
                };
                assert_eq!((found.lacks, found.adds), (1, 0));
            }
            let files = scene.contents(&done).await.unwrap();
            assert!(files.contains_key("s p.parquet"), "{form:?} {keeps}");
            is_sound(&scene, &format!("{form:?} {keeps}")).await;
        }
    }
}

#[tokio::test]
async fn a_file_that_only_some_readers_have_live_may_be_gone() {
    for (added, removed, name) in pairs() {
        let mut scene = Scene::set().await;
        scene.table.put(name, vec![b'x'; 50]).await;
        commit(&mut scene, vec![add(added), add("extra.parquet")]).await;
        scene.table.put("extra.parquet", vec![b'e'; 50]).await;
        commit(&mut scene, vec![remove(removed)]).await;
        scene.table.remove(name).await;
        scene.forget_vault().await;
        let done = scene.take(24).await.unwrap();
        let findings = done.record.findings.join("\n");
        let says = format!("is no longer at the source, first {name}: it is not held");
        assert!(findings.contains(&says), "{findings}");
        let files = scene.contents(&done).await.unwrap();
        assert!(files.contains_key("extra.parquet") && !files.contains_key(name));
        is_sound(&scene, added).await;
        // It is said as long as readers differ.
        scene.table.append(1, 40).await;
        let next = scene.take(48).await.unwrap();
        assert!(next.record.findings.join("\n").contains(&says), "{added}");
    }
}

#[tokio::test]
async fn a_remove_on_one_line_with_an_add_takes_no_bytes_away() {
    for is_first in [false, true] {
        let mut scene = Scene::set().await;
        for name in ["old.parquet", "new.parquet"] {
            scene.table.put(name, vec![b'x'; 50]).await;
        }
        commit(&mut scene, vec![add("old.parquet")]).await;
        if is_first {
            scene.forget_vault().await;
        } else {
            scene.take(12).await.unwrap();
        }
        let mut line = add("new.parquet");
        line["remove"] = remove("old.parquet")["remove"].clone();
        commit(&mut scene, vec![line]).await;
        let done = scene.take(24).await.unwrap();
        let findings = done.record.findings.join("\n");
        assert!(
            findings.contains("1 remove stands on one line with an add (first: old.parquet)"),
            "{findings}"
        );
        for name in ["old.parquet", "new.parquet"] {
            holds(&scene, &done, name, name, false).await;
        }
    }
}

/// The rows of the one checkpoint make the other's sum differ, too.
#[tokio::test]
async fn two_checkpoints_of_which_one_spells_a_file_otherwise_come_to_an_end() {
    for is_first in [true, false] {
        let mut scene = Scene::set().await;
        scene.table.put("s p.parquet", vec![b'x'; 50]).await;
        commit(&mut scene, vec![add("s%20p.parquet")]).await;
        if is_first {
            scene.forget_vault().await;
        }
        let named = add("s p.parquet")["add"].clone();
        scene.table.live.insert("s p.parquet".to_owned(), named);
        scene.table.checkpoint_as(CheckpointForm::Classic).await;
        commit(&mut scene, vec![add("s%20p.parquet")]).await;
        let named = add("s%20p.parquet")["add"].clone();
        scene.table.live.insert("s p.parquet".to_owned(), named);
        scene.table.checkpoint_as(CheckpointForm::Classic).await;
        let done = scene.take(24).await.unwrap();
        let files = scene.contents(&done).await.unwrap();
        assert!(files.contains_key("s p.parquet"));
        is_sound(&scene, "two").await;
    }
}
