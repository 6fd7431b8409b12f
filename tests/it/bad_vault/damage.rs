//! Objects that are lost, cut short, or have a bit that flipped.

use std::sync::Arc;

use bytes::Bytes;
use deltavault::Error;
use deltavault::ExitCode;
use deltavault::format::ledger::Bodies;
use deltavault::ids::ObjectKey;
use deltavault::plan::restore::Mode;
use deltavault::store::ReadStore;
use deltavault::store::memory::MemoryStore;
use deltavault::vault::snapshot::SnapshotDone;

use super::{keys, slot};
use crate::support::scene::{Files, Scene, assert_holds, assert_says, everything};
use crate::support::world::{request, restore_request};

/// Takes away the object that a page, or the manifest, of the head is in.
async fn lose(scene: &Scene, area: &str, of: &SnapshotDone) -> Vec<ObjectKey> {
    let vault = scene.open().await.unwrap();
    let manifest = vault.manifest(&of.record).await.unwrap();
    let lost: Vec<ObjectKey> = match area {
        "manifest" => vec![of.record.manifest.key.clone()],
        "log page" => manifest
            .log_pages
            .iter()
            .map(|page| page.page.key.clone())
            .collect(),
        _ => manifest
            .data_pages
            .iter()
            .map(|page| page.page.key.clone())
            .collect(),
    };
    for key in &lost {
        let version = scene
            .vault
            .inner()
            .attributes(key, None)
            .await
            .unwrap()
            .version;
        scene
            .vault
            .inner()
            .delete_version(key, &version.unwrap())
            .unwrap();
    }
    lost
}

#[tokio::test]
async fn a_missing_page_or_manifest_is_named_and_does_not_block_the_next_snapshot() {
    for area in ["manifest", "log page", "data page"] {
        let mut scene = Scene::set().await;
        let (second, _) = scene.second().await;
        let lost = lose(&scene, area, &second).await;
        let error = scene.contents(&second).await.unwrap_err();
        let names = lost[0].to_string();
        assert_says(&error, ExitCode::Damage, &[&names, "is damaged", "gone"]);
        scene.first_is_safe().await;

        scene.table.append(2, 100).await;
        let third = scene.take(48).await.unwrap();
        assert_eq!(third.record.base, Some(scene.first.id), "{area}");
        let findings = &third.record.findings;
        let says = format!(
            "no longer has the manifest of snapshot {}, or a page of it",
            second.id.short()
        );
        assert!(
            findings.iter().any(|finding| finding.contains(&says)),
            "{findings:?}"
        );
        scene.is_exact(&third).await;
        scene.first_is_safe().await;
    }
}

/// Some bits of an object: the first, the last, and some between.
fn bits(size: usize) -> Vec<usize> {
    if size == 0 {
        return Vec::new();
    }
    let mut bits: Vec<_> = (0..6).map(|n| size * 8 * n / 6 + n % 8).collect();
    bits.push(size * 8 - 1);
    bits.retain(|bit| *bit < size * 8);
    bits
}

/// Restores into a place of its own. Whatever happens, nothing wrong is there, and no commit before its data.
async fn right_or_nothing(scene: &Scene, done: &SnapshotDone, held: &Files) -> Result<(), Error> {
    let target = MemoryStore::new("s3://copy/orders");
    let restorer = scene.restorer(Arc::new(target.clone())).await;
    let request = restore_request(done, Mode::To, 1);
    let outcome = async {
        let plan = restorer.plan(&request).await?;
        restorer.execute(&request, plan).await
    }
    .await;
    let found = everything(&target).await;
    for (name, bytes) in &found {
        let own = name.starts_with("_deltavault/");
        assert!(
            own || held.get(name) == Some(bytes),
            "{name} has wrong bytes"
        );
    }
    if found.keys().any(|name| name.starts_with("_delta_log/")) {
        let data = held.keys().filter(|name| !name.starts_with("_delta_log/"));
        for name in data {
            assert!(found.contains_key(name), "the log came before {name}");
        }
    }
    if outcome.is_ok() {
        assert_holds(&found, held);
    }
    outcome.map(|_| ())
}

#[tokio::test]
async fn a_flipped_bit_anywhere_never_becomes_a_wrong_byte() {
    let mut scene = Scene::set().await;
    let (second, held) = scene.second().await;
    let vault = scene.vault.inner().clone();
    let (mut whole, mut refused) = (0, 0);
    for key in keys(&vault).await {
        let size = vault.attributes(&key, None).await.unwrap().size;
        for bit in bits(usize::try_from(size).unwrap()) {
            vault.flip_bit(&key, None, bit).unwrap();
            let name = key.as_str();
            match scene.open().await {
                // `vault.json` is no part of a table's bytes.
                Err(error) => {
                    assert_eq!(name, "vault.json", "{error}");
                    assert!(
                        matches!(
                            error,
                            Error::VaultFileLost { .. } | Error::NewerVault { .. }
                        ),
                        "{error}"
                    );
                }
                Ok(opened) if name.contains("/ledger/") => {
                    // The id leads to these bytes or to nothing; what else is shown leads to right bytes or nothing.
                    let table = request(scene.live_uri(), 0).key;
                    if let Ok(chain) = opened.chain(&table, Bodies::new(), &[]).await {
                        let flipped = name == slot(&scene, 2).as_str();
                        let id = if flipped { second.id } else { scene.first.id };
                        assert!(
                            chain.links.iter().all(|link| link.id != id),
                            "{name} bit {bit}"
                        );
                        assert!(
                            flipped || !chain.findings.is_empty(),
                            "{name} bit {bit} is not noticed"
                        );
                    }
                }
                Ok(_) => match right_or_nothing(&scene, &second, &held).await {
                    Ok(()) => whole += 1,
                    Err(error) => {
                        refused += 1;
                        assert_says(&error, ExitCode::Damage, &["is damaged", name]);
                    }
                },
            }
            vault.flip_bit(&key, None, bit).unwrap();
        }
    }
    right_or_nothing(&scene, &second, &held).await.unwrap();
    assert!(whole > 0, "objects of other snapshots do not matter");
    assert!(refused > 20, "only {refused} flips were refused");
}

#[tokio::test]
async fn a_flipped_bit_is_repaired_by_another_version_of_the_object() {
    let mut scene = Scene::set().await;
    let (second, held) = scene.second().await;
    let vault = scene.vault.inner().clone();
    for key in keys(&vault).await {
        let name = key.as_str();
        if name.contains("/ledger/") || name == "vault.json" || name.starts_with("runs/") {
            continue;
        }
        let honest = Bytes::from(
            crate::support::table::Table::open(Arc::new(vault.clone()))
                .read(name)
                .await,
        );
        let named = vault.attributes(&key, None).await.unwrap().version;
        vault
            .flip_bit(&key, named.as_ref(), honest.len() * 4)
            .unwrap();
        vault.plant(&key, "not this one");
        vault.plant(&key, honest);
        right_or_nothing(&scene, &second, &held).await.unwrap();
    }
}

#[tokio::test]
async fn an_object_cut_short_or_emptied_is_damage_too() {
    let mut scene = Scene::set().await;
    let (second, held) = scene.second().await;
    let template = keys(scene.vault.inner()).await;
    for key in template {
        let name = key.as_str();
        if name.contains("/ledger/") || name == "vault.json" || name.starts_with("runs/") {
            continue;
        }
        let vault = scene.vault.inner();
        let size = usize::try_from(vault.attributes(&key, None).await.unwrap().size).unwrap();
        let honest = crate::support::table::Table::open(Arc::new(vault.clone()))
            .read(name)
            .await;
        for left in [size - 1, size / 2, 0] {
            vault.truncate(&key, None, left).unwrap();
            if let Err(error) = right_or_nothing(&scene, &second, &held).await {
                assert_says(&error, ExitCode::Damage, &[name, "is damaged"]);
            }
        }
        vault.plant(&key, honest);
    }
}
