//! `verify` proves that a snapshot holds what its own log names.

use deltavault::ExitCode;
use deltavault::format::record::{CommitFile, Disagreement};
use deltavault::format::{Entry, EntryKind, LiveUse, Placement, Record};
use deltavault::ids::{Digest, ObjectKey, SnapshotId, Version};
use deltavault::plan::verify::{Finding, Severity};
use deltavault::store::memory::MemoryStore;
use deltavault::vault::Vault;
use serde_json::json;

use crate::support::forge::{commit, entry_of, forge, set_bytes};
use crate::support::parquet::parquet;
use crate::support::scene::Scene;
use crate::support::table::CheckpointForm;
use crate::support::verified::{ALL, NO_BYTES, Verified, advice, verify};
use crate::support::world::request;

const V2: Version = Version(2);

async fn verified(scene: &Scene) -> Verified {
    let vault = Vault::open(std::sync::Arc::new(scene.vault.clone()));
    verify(&vault.await.unwrap(), NO_BYTES).await
}

/// Publishes the newest snapshot of the scene's table with other entries.
async fn forged(scene: &Scene, change: impl FnOnce(&mut Vec<Entry>, &mut Record)) -> SnapshotId {
    let key = request(scene.table.store.uri(), 0).key;
    forge(scene.vault.inner(), &key, change).await
}

/// The one finding about a snapshot.
#[track_caller]
fn only(verified: &Verified, id: SnapshotId) -> &Finding {
    let mut about = verified.findings.iter().filter(|it| it.snapshots == [id]);
    let found = about.next();
    assert!(found.is_some() && about.next().is_none(), "{verified:#?}");
    found.unwrap()
}

#[track_caller]
fn is_damage(verified: &Verified, id: SnapshotId, what: &str) {
    let finding = only(verified, id);
    assert_eq!(finding.severity, Severity::Damage, "{finding:#?}");
    assert!(finding.what.contains(what), "{finding:#?}");
    assert!(advice(finding).contains("--distrust"), "{finding:#?}");
    assert_eq!(verified.code(), ExitCode::Damage);
}

fn is_live(entry: &Entry) -> bool {
    !entry.live.is_empty()
}

/// A line that adds a file to the log.
fn add_line(path: &str, size: u64) -> String {
    format!(
        "{}\n",
        json!({"add": {"path": path, "size": size, "modificationTime": 0}})
    )
}

fn bytes_of(entry: &Entry) -> Vec<u8> {
    let Placement::Inline(bytes) = &entry.placement else {
        panic!("not inlined: {:?}", entry.placement)
    };
    bytes.to_vec()
}

#[tokio::test]
async fn snapshots_of_every_kind_of_log_are_proven_complete() {
    let mut scene = Scene::set().await;
    let forms = [
        None,
        Some(CheckpointForm::Classic),
        Some(CheckpointForm::Json),
        Some(CheckpointForm::Sidecars(2)),
        Some(CheckpointForm::Parts(3)),
    ];
    let mut hours = 1;
    for form in forms {
        scene.table.append(2, 100).await;
        scene.table.delete_rows(2).await;
        scene.table.delete_rows_inline(1).await;
        scene.table.delete(1).await;
        if let Some(form) = form {
            scene.table.checkpoint_as(form).await;
        }
        scene.table.append(1, 100).await;
        for clean_up in [false, true] {
            if clean_up {
                scene.table.clean_up_log().await;
            }
            scene.take(hours).await.unwrap();
            hours += 1;
            let newest = verified(&scene).await;
            assert_eq!(newest.findings, [], "{form:?} {clean_up}");
            assert_eq!(newest.report.proven, 1 + u64::from(clean_up), "{form:?}");
        }
        scene.table.append(1, 100).await;
        scene.take(hours).await.unwrap();
        hours += 1;
    }
    let vault = Vault::open(std::sync::Arc::new(scene.vault.clone()));
    let all = verify(&vault.await.unwrap(), ALL).await;
    assert_eq!(all.findings, []);
    assert_eq!(all.report.proven, all.report.records);
}

#[tokio::test]
async fn manifest_that_lacks_what_its_log_names_is_damage() {
    // A data file, two of them, and the last one in the order of names.
    type Choose = fn(usize, usize) -> bool;
    let choices: [Choose; 3] = [|at, _| at == 0, |at, _| at < 2, |at, last| at == last];
    for lacks in choices {
        let scene = Scene::set().await;
        let mut lost = Vec::new();
        let id = forged(&scene, |entries, _| {
            let mut names: Vec<_> = entries.iter().filter(|it| is_live(it)).collect();
            names.sort_by(|a, b| a.file.cmp(&b.file));
            let end = names.len() - 1;
            let chosen = names.iter().enumerate().filter(|(at, _)| lacks(*at, end));
            lost = chosen.map(|(_, entry)| entry.file.clone()).collect();
            entries.retain(|entry| !lost.contains(&entry.file));
        })
        .await;
        let names: Vec<_> = lost.iter().map(ToString::to_string).collect();
        let what = format!(
            "{} {} live by its own log and not held: {}",
            lost.len(),
            if lost.len() == 1 {
                "file is"
            } else {
                "files are"
            },
            names.join(", ")
        );
        is_damage(&verified(&scene).await, id, &what);
    }
}

#[tokio::test]
async fn checkpoint_that_snapshots_share_is_fetched_once_to_prove_them() {
    let mut scene = Scene::set().await;
    // Too many files for a checkpoint that is inlined.
    scene.table.append(3000, 1).await;
    scene.table.checkpoint_as(CheckpointForm::Json).await;
    let mut held = Vec::new();
    for night in 1..=5 {
        scene.table.append(1, 100).await;
        let done = scene.take(24 * night).await.unwrap();
        let entries = scene.entries(&done).await.into_iter();
        held.extend(entries.filter(|it| it.kind == EntryKind::Checkpoint));
    }
    assert_eq!(held.len(), 5);
    held.dedup_by_key(|entry| entry.sha256);
    let [checkpoint] = &held[..] else {
        panic!("{held:?}");
    };
    let object = checkpoint.placement.reference().unwrap().key.to_string();
    scene.vault.revive();
    let vault = Vault::open(std::sync::Arc::new(scene.vault.clone()));
    let sound = verify(&vault.await.unwrap(), ALL).await;
    assert_eq!(sound.findings, []);
    assert_eq!(sound.report.proven, 6);
    let calls = scene.vault.calls().into_iter();
    let opened = calls.filter(|call| call.method == "open" && call.key == object);
    // Once more as one of all objects that are read again.
    assert_eq!(opened.count(), 2);
}

#[tokio::test]
async fn snapshot_that_is_not_the_newest_is_proven_where_bytes_are_read() {
    let scene = Scene::set().await;
    let id = forged(&scene, |entries, _| {
        let at = entries.iter().position(is_live).unwrap();
        entries.remove(at);
    })
    .await;
    let distrusting = deltavault::vault::snapshot::SnapshotRequest {
        distrust: vec![id],
        ..request(scene.table.store.uri(), 1)
    };
    crate::support::scene::take_as(&scene.live, &scene.vault, &scene.elsewhere, &distrusting)
        .await
        .unwrap();
    assert_eq!(verified(&scene).await.code(), ExitCode::Done);
    let vault = Vault::open(std::sync::Arc::new(scene.vault.clone()));
    let all = verify(&vault.await.unwrap(), ALL).await;
    let finding = only(&all, id);
    assert!(finding.what.contains("not held"), "{finding:#?}");
    // Nothing is built on it any more.
    assert_eq!(finding.severity, Severity::Warning);
}

#[tokio::test]
async fn file_that_the_log_does_not_name_is_damage() {
    // Invented, removed before V, and named by a commit above V alone.
    let mut scene = Scene::set().await;
    scene.table.delete(1).await;
    scene.take(1).await.unwrap();
    let id = forged(&scene, |entries, _| {
        let mut invented = entries.iter().find(|it| is_live(it)).unwrap().clone();
        invented.file = deltavault::ids::Location::Inside("part-invented".parse().unwrap());
        entries.push(invented);
    })
    .await;
    is_damage(
        &verified(&scene).await,
        id,
        "by no way through its own log: part-invented",
    );

    let scene = Scene::set().await;
    let gone = scene.table.states[&1].keys().next().unwrap().clone();
    let id = forged(&scene, |entries, _| {
        // The removal is in the log that the snapshot holds, the file is live all the same.
        let removal = format!(
            "{}\n",
            json!({"remove": {"path": gone, "dataChange": true}})
        );
        let entry = entry_of(entries, &commit(V2));
        let mut bytes = bytes_of(entry);
        bytes.extend(removal.bytes());
        set_bytes(entry, bytes);
    })
    .await;
    let verified = verified(&scene).await;
    let about: Vec<_> = verified
        .findings
        .iter()
        .filter(|it| it.snapshots == [id])
        .collect();
    assert!(
        about.iter().any(|it| it
            .what
            .contains(&format!("by no way through its own log: {gone}"))),
        "{about:#?}"
    );
    assert_eq!(verified.code(), ExitCode::Damage);
}

#[tokio::test]
async fn deletion_vector_that_the_entries_do_not_have_is_damage() {
    let mut scene = Scene::set().await;
    scene.table.delete_rows(1).await;
    scene.table.delete_rows_inline(1).await;
    scene.take(1).await.unwrap();
    // The file's rows are live again, by the entry; the vector's file is gone; the vector is another one.
    let id = forged(&scene, |entries, _| {
        let with_vector = |it: &&mut Entry| it.live.iter().any(|live| live.dv.is_some());
        let entry = entries.iter_mut().find(with_vector).unwrap();
        entry.live = vec![LiveUse::plain(None)];
    })
    .await;
    let found = verified(&scene).await;
    let about = found.findings.iter().filter(|it| it.snapshots == [id]);
    assert_eq!(about.count(), 2, "neither is right: {found:#?}");
    assert_eq!(found.code(), ExitCode::Damage);

    let mut scene = Scene::set().await;
    scene.table.delete_rows(2).await;
    scene.take(1).await.unwrap();
    let id = forged(&scene, |entries, _| {
        entries.retain(|entry| entry.kind != EntryKind::DeletionVector);
    })
    .await;
    is_damage(&verified(&scene).await, id, "of deletion vectors");
}

#[tokio::test]
async fn snapshot_with_the_bytes_of_a_commit_that_was_overwritten_is_damage() {
    // As a tool publishes it that takes the new bytes of a commit, and keeps the live set that came of the old ones: a
    // file more, a file in the place of another, and one less.
    for case in ["more", "other", "less"] {
        let scene = Scene::set().await;
        let mut dropped = String::new();
        let id = forged(&scene, |entries, _| {
            let entry = entry_of(entries, &commit(Version(1)));
            let text = String::from_utf8(bytes_of(entry)).unwrap();
            let (mut lines, mut adds) = (Vec::new(), 0);
            for line in text.lines() {
                let is_first_add = line.starts_with("{\"add\"") && adds == 0;
                adds += usize::from(is_first_add);
                match case {
                    "other" | "less" if is_first_add => dropped = line.to_owned(),
                    _ => lines.push(line.to_owned()),
                }
            }
            if case != "less" {
                lines.push(add_line("part-of-the-late-writer", 5).trim().to_owned());
            }
            set_bytes(entry, format!("{}\n", lines.join("\n")));
        })
        .await;
        let found = verified(&scene).await;
        let about: Vec<_> = found
            .findings
            .iter()
            .filter(|it| it.snapshots == [id])
            .collect();
        assert_eq!(found.code(), ExitCode::Damage, "{case}");
        assert_eq!(
            about.len(),
            if case == "other" { 2 } else { 1 },
            "{about:#?}"
        );
        let lacks = about
            .iter()
            .any(|it| it.what.contains("not held: part-of-the-late-writer"));
        assert_eq!(lacks, case != "less", "{about:#?}");
        let surplus = about
            .iter()
            .any(|it| it.what.contains("no way through its own log"));
        assert_eq!(surplus, case != "more", "{about:#?}");
    }
    // The newest commit: the record names it by its SHA-256.
    let scene = Scene::set().await;
    let id = forged(&scene, |entries, _| {
        let entry = entry_of(entries, &commit(V2));
        let mut bytes = bytes_of(entry);
        bytes.extend(b"{\"txn\":{\"appId\":\"late\",\"version\":1}}\n");
        set_bytes(entry, bytes);
    })
    .await;
    is_damage(
        &verified(&scene).await,
        id,
        "the commit of version 2 that it names",
    );
}

#[tokio::test]
async fn the_commit_that_a_record_names_is_the_one_that_is_held() {
    type Change = fn(&mut Option<CommitFile>);
    let cases: [(Severity, &str, Change); 3] = [
        (Severity::Damage, "is not the one that is held", |commit| {
            commit.as_mut().unwrap().sha256 = Digest::of(b"another");
        }),
        (Severity::Damage, "is not the one that is held", |commit| {
            commit.as_mut().unwrap().size += 1;
        }),
        (Severity::Warning, "does not name it", |commit| {
            *commit = None;
        }),
    ];
    for (severity, what, change) in cases {
        let scene = Scene::set().await;
        let id = forged(&scene, |_, record| change(&mut record.commit)).await;
        let found = verified(&scene).await;
        let finding = only(&found, id);
        assert_eq!(finding.severity, severity, "{finding:?}");
        assert!(finding.what.contains(what), "{finding:?}");
    }
}

/// Adds a checkpoint of version 2 to the entries, with the table's files changed.
fn add_checkpoint(
    scene: &Scene,
    entries: &mut Vec<Entry>,
    change: impl FnOnce(&mut Vec<serde_json::Value>),
) -> ObjectKey {
    let mut adds: Vec<_> = scene
        .table
        .live
        .values()
        .map(|add| json!({"add": add}))
        .collect();
    change(&mut adds);
    let mut lines = scene.table.head();
    lines.extend(adds);
    let key: ObjectKey = format!("_delta_log/{:020}.checkpoint.parquet", V2.0)
        .parse()
        .unwrap();
    let mut entry = entry_of(entries, &commit(V2)).clone();
    entry.file = deltavault::ids::Location::Inside(key.clone());
    entry.kind = EntryKind::Checkpoint;
    set_bytes(&mut entry, parquet(&lines));
    entries.push(entry);
    key
}

#[tokio::test]
async fn checkpoint_that_disagrees_is_damage_where_it_names_more_and_a_finding_where_less() {
    // Fewer files: the union is what is held, and the record does not say that the ways differ.
    let scene = Scene::set().await;
    let id = forged(&scene, |entries, record| {
        record.checkpoint = Some(V2);
        add_checkpoint(&scene, entries, |adds| drop(adds.pop()));
    })
    .await;
    let found = verified(&scene).await;
    let finding = only(&found, id);
    assert_eq!(finding.severity, Severity::Warning, "{finding:#?}");
    assert!(
        finding.what.contains("lacks 1 and alone names 0"),
        "{finding:#?}"
    );
    // Where the record says so, there is nothing to say.
    let scene = Scene::set().await;
    forged(&scene, |entries, record| {
        let file = add_checkpoint(&scene, entries, |adds| drop(adds.pop()));
        record.disagreements = vec![Disagreement {
            sizes: 0,
            adds: 0,
            checkpoint: V2,
            empty: None,
            unnamed: 0,
            file,
            lacks: 1,
            state: false,
        }];
    })
    .await;
    assert_eq!(verified(&scene).await.findings, []);
    // A dead file: readers of the checkpoint look for it.
    let scene = Scene::set().await;
    let id = forged(&scene, |entries, _| {
        add_checkpoint(&scene, entries, |adds| {
            adds.push(json!({"add": {"path": "dead", "size": 3, "modificationTime": 0}}));
        });
    })
    .await;
    let found = verified(&scene).await;
    let about = |what: &str| {
        let mut about = found.findings.iter().filter(|it| it.snapshots == [id]);
        about.any(|it| it.what.contains(what))
    };
    assert!(about("not held: dead"), "{found:#?}");
    assert_eq!(found.code(), ExitCode::Damage);
}

#[tokio::test]
async fn checkpoint_that_cannot_be_decoded_is_damage_unless_the_entry_says_so() {
    for is_marked in [false, true] {
        for bytes in [&b"PAR1 noise"[..], b"", b"{\"add\":"] {
            let scene = Scene::set().await;
            let id = forged(&scene, |entries, _| {
                let key = add_checkpoint(&scene, entries, |_| {});
                let entry = entry_of(entries, key.as_str());
                set_bytes(entry, bytes);
                entry.unreadable = is_marked;
            })
            .await;
            let found = verified(&scene).await;
            if is_marked {
                assert_eq!(found.findings, []);
            } else {
                is_damage(&found, id, "cannot be replayed");
            }
        }
    }
}

#[tokio::test]
async fn log_that_does_not_lead_to_its_version_is_damage() {
    let scene = Scene::set().await;
    let id = forged(&scene, |entries, _| {
        entries.retain(|entry| entry.file.as_str() != commit(Version(1)));
    })
    .await;
    is_damage(&verified(&scene).await, id, "commit 1 is missing");

    let scene = Scene::set().await;
    let id = forged(&scene, |entries, _| {
        entry_of(entries, &commit(Version(1))).sha256 = Some(Digest::of(b"something else"));
    })
    .await;
    let found = verified(&scene).await;
    let about: Vec<_> = found
        .findings
        .iter()
        .filter(|it| it.snapshots == [id])
        .collect();
    assert_eq!(found.code(), ExitCode::Damage);
    assert!(
        about
            .iter()
            .any(|it| it.what.contains("cannot be replayed")),
        "{about:#?}"
    );

    let scene = Scene::set().await;
    let id = forged(&scene, |_, record| {
        record.version = Version(7);
        record.commit = None;
    })
    .await;
    is_damage(&verified(&scene).await, id, "version 7");
}

#[tokio::test]
async fn protocol_and_table_id_of_the_record_are_those_of_the_log() {
    let scene = Scene::set().await;
    let id = forged(&scene, |_, record| record.protocol.reader += 1).await;
    is_damage(&verified(&scene).await, id, "its protocol");
    let scene = Scene::set().await;
    let id = forged(&scene, |_, record| {
        record.table.delta_id = "another".to_owned();
    })
    .await;
    is_damage(&verified(&scene).await, id, "its Delta id");
}

#[tokio::test]
async fn record_that_shares_a_manifest_is_judged_by_its_own_words() {
    let scene = Scene::set().await;
    let id = forged(&scene, |_, record| record.protocol.writer += 1).await;
    let found = verified(&scene).await;
    assert_eq!(only(&found, id).severity, Severity::Damage);
    assert_eq!(
        found.report.proven, 1,
        "the first snapshot names the same manifest"
    );
    let _: &MemoryStore = scene.vault.inner();
}
