//! Vaults that somebody or something has damaged: what was promised comes back exactly or not at all, and the next
//! snapshot is not blocked.

use std::sync::Arc;

use bytes::Bytes;
use deltavault::Error;
use deltavault::ExitCode;
use deltavault::format::VaultKey;
use deltavault::format::ledger::{Bodies, LedgerFinding, ScarReason};
use deltavault::ids::{ObjectKey, SnapshotId};
use deltavault::plan::restore::Mode;
use deltavault::store::memory::MemoryStore;
use deltavault::store::{ListedVersion, ReadStore};
use deltavault::vault::Vault;
use deltavault::vault::snapshot::SnapshotDone;
use futures::{FutureExt as _, TryStreamExt as _};

use super::support::scene::{
    Files, LARGE, Scene, assert_holds, assert_says, everything, take_beside, take_from,
};
use super::support::table::key;
use super::support::world::{hours_later, request, restore_request};

/// The keys of everything in the vault.
async fn keys(store: &MemoryStore) -> Vec<ObjectKey> {
    let listing = store.list("", None).map_ok(|object| object.key);
    listing.try_collect().await.unwrap()
}

/// The key of a record.
fn slot(scene: &Scene, seq: u64) -> ObjectKey {
    let table = request(scene.live_uri(), 0).key;
    VaultKey::Record { table, seq }.object_key().unwrap()
}

impl Scene {
    fn live_uri(&self) -> &str {
        self.live.uri()
    }

    async fn open(&self) -> Result<Vault, Error> {
        let readable: Arc<dyn ReadStore> = Arc::new(self.vault.clone());
        Vault::open(readable).await
    }

    async fn ledger_findings(&self) -> Vec<LedgerFinding> {
        let vault = self.open().await.unwrap();
        let key = request(self.live_uri(), 0).key;
        let chain = vault.chain(&key, Bodies::new(), &[]).await.unwrap();
        chain.findings
    }

    /// Changes the table and takes the second snapshot.
    async fn second(&mut self) -> (SnapshotDone, Files) {
        self.table.append(2, LARGE).await;
        self.table.append(3, 70).await;
        self.table.delete(2).await;
        let done = self.take(24).await.unwrap();
        (done, self.table.closure().await)
    }
}

#[tokio::test]
async fn a_place_without_vault_json_is_no_vault() {
    let scene = Scene::set().await;
    let vault = MemoryStore::new("s3://nothing");
    let error = take_from(
        &scene.live,
        &super::support::fault_store::FaultStore::new(vault.clone()),
        &scene.elsewhere,
        1,
    )
    .await
    .unwrap_err();
    assert_says(&error, ExitCode::NoVault, &["no vault at s3://nothing"]);
    assert!(error.hint().unwrap().contains("init"));
    assert!(everything(&vault).await.is_empty());
}

#[tokio::test]
async fn a_vault_json_that_is_none_or_newer_is_refused() {
    for (bytes, code, says) in [
        ("hello", ExitCode::NoVault, "s3://vault is not a vault"),
        (
            "{\"format\":0}",
            ExitCode::NoVault,
            "s3://vault is not a vault",
        ),
        (
            "{\"format\":2,\"rules\":\"other\"}",
            ExitCode::Failed,
            "format 2, newer than this tool knows",
        ),
    ] {
        let scene = Scene::set().await;
        let vault = super::support::fault_store::FaultStore::new(MemoryStore::without_versions(
            "s3://vault",
        ));
        vault.inner().plant(&key("vault.json"), bytes);
        let error = take_from(&scene.live, &vault, &scene.elsewhere, 1)
            .await
            .unwrap_err();
        assert_says(&error, code, &[says]);
        assert_eq!(everything(vault.inner()).await.len(), 1);
    }
}

#[tokio::test]
async fn a_record_of_a_newer_format_is_refused_until_it_is_distrusted() {
    let mut scene = Scene::set().await;
    let mut newer = serde_json::to_value(&scene.first.record).unwrap();
    newer["seq"] = 2.into();
    newer["previous"] = serde_json::json!({"seq": 1, "sha256": scene.first.id.to_string()});
    newer["requires"] = serde_json::json!(["sharding"]);
    newer["tool"] = "deltavault 9.1".into();
    let body = serde_json::to_vec(&newer).unwrap();
    let id = SnapshotId(deltavault::ids::Digest::of(&body));
    scene.vault.inner().plant(&slot(&scene, 2), body);
    scene.table.append(1, 10).await;
    let error = scene.take(24).await.unwrap_err();
    assert_says(&error, ExitCode::Failed, &["deltavault 9.1"]);
    assert!(
        error.hint().unwrap().contains("--distrust"),
        "{:?}",
        error.hint()
    );

    let mut request = request(scene.live_uri(), 25);
    request.distrust = vec![id];
    let done =
        super::support::scene::take_as(&scene.live, &scene.vault, &scene.elsewhere, &request)
            .await
            .unwrap();
    assert_eq!(done.record.seq, 3);
    assert_ne!(done.record.base, Some(id));
    scene.is_exact(&done).await;
    scene.first_is_safe_below(&done).await;
}

impl Scene {
    /// As [`Scene::first_is_safe`], where a record may need a newer tool.
    async fn first_is_safe_below(&self, done: &SnapshotDone) {
        assert_eq!(done.record.distrusts.len(), 1);
        assert!(self.contents(&self.first).await.is_ok());
    }
}

#[tokio::test]
async fn garbage_in_the_next_slot_is_skipped_and_the_next_free_one_taken() {
    let too_large = vec![b' '; (1 << 20) + 1];
    let forged = |scene: &Scene| {
        // It links to nothing that is there.
        let mut record = scene.first.record.clone();
        record.seq = 2;
        record.previous = Some(deltavault::format::record::Previous {
            seq: 1,
            sha256: deltavault::ids::Digest::of(b"elsewhere"),
        });
        record.encode().unwrap()
    };
    for kind in 0..4 {
        let mut scene = Scene::set().await;
        let bytes = match kind {
            0 => b"garbage".to_vec(),
            1 => too_large.clone(),
            2 => Vec::new(),
            _ => forged(&scene),
        };
        scene.vault.inner().plant(&slot(&scene, 2), bytes.clone());
        scene.vault.inner().plant(&slot(&scene, 3), bytes);
        scene.table.append(2, 100).await;
        let done = scene.take(24).await.unwrap();
        assert_eq!(done.record.seq, 4);
        assert_eq!(done.record.previous.unwrap().sha256, scene.first.id.0);
        assert_eq!(done.record.base, Some(scene.first.id));
        let scars = scene.ledger_findings().await;
        assert_eq!(scars.len(), 2, "{scars:?}");
        assert!(
            scars
                .iter()
                .all(|scar| matches!(scar, LedgerFinding::Scar { .. })),
            "{scars:?}"
        );
        scene.is_exact(&done).await;
        scene.first_is_safe().await;
    }
}

#[tokio::test]
async fn a_forged_head_can_append_lies_but_takes_nothing_away() {
    let mut scene = Scene::set().await;
    let (second, held) = scene.second().await;
    // Whoever holds the keys links a record that names another manifest.
    let mut forged = second.record.clone();
    forged.seq = 3;
    forged.previous = Some(deltavault::format::record::Previous {
        seq: 2,
        sha256: second.id.0,
    });
    forged.manifest.key = key("manifests/00/nothing");
    forged.manifest.sha256 = deltavault::ids::Digest::of(b"nothing");
    forged.version = deltavault::ids::Version(9);
    let body = forged.encode().unwrap();
    let lie = SnapshotId(deltavault::ids::Digest::of(&body));
    scene.vault.inner().plant(&slot(&scene, 3), body);

    let forged = SnapshotDone {
        id: lie,
        record: forged,
        ..second.clone()
    };
    let error = scene.contents(&forged).await.unwrap_err();
    assert_says(
        &error,
        ExitCode::Damage,
        &["manifests/00/nothing is damaged", "gone"],
    );

    scene.table.append(1, 10).await;
    let done = scene.take(48).await.unwrap();
    assert_eq!(done.record.seq, 4);
    assert_eq!(done.record.base, Some(second.id));
    scene.is_exact(&done).await;
    assert_holds(&scene.contents(&second).await.unwrap(), &held);
    scene.first_is_safe().await;
}

#[tokio::test]
async fn a_forked_or_truncated_ledger_is_told_and_both_sides_come_back() {
    // A record that leaves the second out.
    let mut scene = Scene::set().await;
    let (second, held) = scene.second().await;
    let mut fork = second.record.clone();
    fork.seq = 3;
    fork.previous = Some(deltavault::format::record::Previous {
        seq: 1,
        sha256: scene.first.id.0,
    });
    scene
        .vault
        .inner()
        .plant(&slot(&scene, 3), fork.encode().unwrap());
    let findings = scene.ledger_findings().await;
    assert!(!findings.is_empty());
    assert!(scene.visible().await.contains(&second.id));
    assert_holds(&scene.contents(&second).await.unwrap(), &held);
    scene.first_is_safe().await;

    // The newest record is gone: an older, valid state, and the next snapshot goes on from it.
    let mut scene = Scene::set().await;
    scene.second().await;
    let vault = scene.vault.inner();
    let newest = slot(&scene, 2);
    let version = vault
        .attributes(&newest, None)
        .await
        .unwrap()
        .version
        .unwrap();
    vault.delete_version(&newest, &version).unwrap();
    assert_eq!(scene.visible().await, [scene.first.id]);
    let done = scene.take(48).await.unwrap();
    assert_eq!(done.record.seq, 2);
    scene.is_exact(&done).await;
    scene.first_is_safe().await;

    // The one below is gone: a gap, with what is above it out of reach and told.
    let mut scene = Scene::set().await;
    scene.second().await;
    let vault = scene.vault.inner();
    let lowest = slot(&scene, 1);
    let version = vault
        .attributes(&lowest, None)
        .await
        .unwrap()
        .version
        .unwrap();
    vault.delete_version(&lowest, &version).unwrap();
    let findings = scene.ledger_findings().await;
    assert!(
        matches!(
            findings[..],
            [LedgerFinding::BeyondGap {
                empty: 1,
                lowest: 2,
                slots: 1,
                ..
            }]
        ),
        "{findings:?}"
    );
    // The next snapshot takes the empty slot. The record above names bytes that are nowhere, as a forgery would.
    let done = scene.take(48).await.unwrap();
    assert_eq!(done.record.seq, 1);
    let scar = ScarReason::PreviousMissing { previous: 1 };
    assert_eq!(
        scene.ledger_findings().await,
        [LedgerFinding::Scar {
            seq: 2,
            reason: scar
        }]
    );
    scene.is_exact(&done).await;
}

#[tokio::test]
async fn what_is_planted_on_top_is_never_read() {
    for hide in [false, true] {
        let mut scene = Scene::set().await;
        let (second, held) = scene.second().await;
        for key in keys(scene.vault.inner()).await {
            if hide {
                scene.vault.inner().delete_marker(&key);
            } else {
                scene.vault.inner().plant(&key, "planted");
            }
        }
        assert_eq!(scene.visible().await, [scene.first.id, second.id]);
        assert_holds(&scene.contents(&second).await.unwrap(), &held);
        scene.first_is_safe().await;
        scene.table.append(2, 100).await;
        let third = scene.take(48).await.unwrap();
        assert_eq!(third.record.base, Some(second.id));
        scene.is_exact(&third).await;
    }
}

#[tokio::test]
async fn planted_names_never_block_a_backup() {
    // What an honest run would name: the same run in another world.
    let names = {
        let mut scene = Scene::set_in(MemoryStore::without_versions("s3://vault")).await;
        scene.second().await;
        keys(scene.vault.inner()).await
    };
    for attests in [true, false] {
        for area in ["blobs/", "pages/", "manifests/"] {
            let mut scene = Scene::set_in(MemoryStore::without_versions("s3://vault")).await;
            scene.vault.inner().attest_sha256(attests);
            let mut planted = Vec::new();
            let before = keys(scene.vault.inner()).await;
            for name in names.iter().filter(|name| name.as_str().starts_with(area)) {
                if !before.contains(name) {
                    scene.vault.inner().plant(name, "planted");
                    planted.push(name.clone());
                }
            }
            assert!(!planted.is_empty(), "{area}");
            let (second, held) = scene.second().await;
            for name in &planted {
                let beside = keys(scene.vault.inner()).await;
                let suffix = format!("{name}.");
                assert!(
                    beside.iter().any(|key| key.as_str().starts_with(&suffix)),
                    "{name} was to be put beside"
                );
            }
            assert_holds(&scene.contents(&second).await.unwrap(), &held);
            scene.first_is_safe().await;
        }
    }
}

#[tokio::test]
async fn honest_bytes_under_an_expected_name_are_adopted_while_no_prune_can_be_after_them() {
    for (attests, put_at, young) in [
        (true, hours_later(-18), true),
        (false, hours_later(-18), true),
        (true, hours_later(-19), false),
    ] {
        let vault = MemoryStore::without_locks("s3://vault");
        vault.set_now(put_at);
        let scene = Scene::set_in(vault).await;
        scene.vault.inner().attest_sha256(attests);
        let before = keys(scene.vault.inner()).await.len();
        // Another ledger, the same files: blobs and pages have the same names.
        let mut other = request(scene.live_uri(), 5);
        other.key = request("s3://lake/other", 0).key;
        let done =
            super::support::scene::take_as(&scene.live, &scene.vault, &scene.elsewhere, &other)
                .await
                .unwrap();
        let after = keys(scene.vault.inner()).await.len();
        assert_eq!(after == before + 1, young, "{before} {after}");
        scene.is_exact(&done).await;
    }
}

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
        restorer.carry_out(&request, plan).await
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
            super::support::table::Table::open(Arc::new(vault.clone()))
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
        let honest = super::support::table::Table::open(Arc::new(vault.clone()))
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

#[tokio::test]
async fn the_second_of_two_snapshotters_yields_to_a_winner_that_is_as_far() {
    let mut scene = Scene::set().await;
    scene.table.append(2, 100).await;
    let (live, vault, elsewhere) = (
        scene.live.clone(),
        scene.vault.clone(),
        scene.elsewhere.clone(),
    );
    let (sender, receiver) = tokio::sync::oneshot::channel();
    scene.vault.before_call(
        1,
        |call| call.method == "put_new" && call.key.starts_with("manifests/"),
        move || {
            async move {
                let won = take_beside(&live, &vault, &elsewhere, 24)
                    .await
                    .unwrap()
                    .unwrap();
                sender.send(won).unwrap();
            }
            .boxed()
        },
    );
    let error = scene.take(24).await.unwrap_err();
    let won = receiver.await.unwrap();
    assert_says(
        &error,
        ExitCode::AnotherWriterWon,
        &["version 3 of lake-orders", &won.id.short()],
    );
    assert!(matches!(&error, Error::AnotherWriterWon { snapshot, .. } if *snapshot == won.id));
    assert_eq!(scene.visible().await, [scene.first.id, won.id]);
    scene.is_exact(&won).await;
    scene.first_is_safe().await;
}

#[tokio::test]
async fn the_second_of_two_snapshotters_adds_a_clean_record_when_it_is_further() {
    let mut scene = Scene::set().await;
    scene.table.append(2, 100).await;
    let (vault, elsewhere) = (scene.vault.clone(), scene.elsewhere.clone());
    // The other one pins version 3 and publishes late; this one pins version 4 and is slow.
    let other = super::support::fault_store::FaultStore::new(copy_of(scene.live.inner()).await);
    scene.table.append(1, 50).await;
    let (sender, receiver) = tokio::sync::oneshot::channel();
    scene.vault.before_call(
        1,
        |call| call.method == "put_new" && call.key.contains("/ledger/"),
        move || {
            async move {
                let won = take_beside(&other, &vault, &elsewhere, 24)
                    .await
                    .unwrap()
                    .unwrap();
                sender.send(won).unwrap();
            }
            .boxed()
        },
    );
    let done = scene.take(24).await.unwrap();
    let won = receiver.await.unwrap();
    assert_eq!((won.record.version.0, won.record.seq), (3, 2));
    assert_eq!((done.record.version.0, done.record.seq), (4, 3));
    assert_eq!(done.record.previous.unwrap().sha256, won.id.0);
    assert_eq!(
        done.record.change.versions, 1,
        "counted from the record before"
    );
    assert_eq!(scene.visible().await, [scene.first.id, won.id, done.id]);
    assert_eq!(scene.ledger_findings().await, []);
    scene.is_exact(&done).await;
    scene.first_is_safe().await;
}

/// The same objects in another store of the same name.
async fn copy_of(store: &MemoryStore) -> MemoryStore {
    let copy = MemoryStore::new(store.uri());
    for (name, bytes) in everything(store).await {
        copy.plant(&key(&name), bytes);
    }
    copy
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eight_snapshotters_at_once_publish_whole_records_only() {
    let mut scene = Scene::set().await;
    scene.table.append(4, LARGE).await;
    scene.table.append(20, 100).await;
    let runs: Vec<_> = (0..8)
        .map(|n| take_beside(&scene.live, &scene.vault, &scene.elsewhere, 24 + n))
        .collect();
    let (mut published, mut lost) = (Vec::new(), 0);
    for run in runs {
        match run.await.unwrap() {
            Ok(done) => published.push(done),
            Err(error) => {
                assert_eq!(error.exit_code(), ExitCode::AnotherWriterWon, "{error}");
                lost += 1;
            }
        }
    }
    println!("{} published, {lost} yielded", published.len());
    assert!(!published.is_empty());
    let mut visible = scene.visible().await;
    assert_eq!(visible.remove(0), scene.first.id);
    let mut ids: Vec<_> = published
        .iter()
        .map(|done| (done.record.seq, done.id))
        .collect();
    ids.sort();
    assert_eq!(
        ids.into_iter().map(|(_, id)| id).collect::<Vec<_>>(),
        visible
    );
    assert_eq!(scene.ledger_findings().await, []);
    for done in &published {
        scene.is_exact(done).await;
    }
    scene.first_is_safe().await;
}

/// Every version in a listing counts: nothing here ever put a second one under a name.
#[tokio::test]
async fn an_honest_run_writes_every_name_once() {
    let mut scene = Scene::set().await;
    scene.second().await;
    scene.table.append(2, 100).await;
    scene.take(48).await.unwrap();
    let rows: Vec<ListedVersion> = scene
        .vault
        .inner()
        .list_versions("", None)
        .try_collect()
        .await
        .unwrap();
    assert_eq!(rows.len(), keys(scene.vault.inner()).await.len());
}
