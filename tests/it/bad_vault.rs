//! Vaults that somebody or something has damaged: what was promised comes back exactly or not at all, and the next
//! snapshot is not blocked.

use std::sync::Arc;

use deltavault::Error;
use deltavault::ExitCode;
use deltavault::format::VaultKey;
use deltavault::format::ledger::{Bodies, LedgerFinding, ScarReason};
use deltavault::ids::{ObjectKey, SnapshotId};
use deltavault::store::memory::MemoryStore;
use deltavault::store::{ListedVersion, ReadStore};
use deltavault::vault::Vault;
use deltavault::vault::snapshot::SnapshotDone;
use futures::TryStreamExt as _;

use super::support::scene::{
    Files, LARGE, Scene, assert_holds, assert_says, everything, take_from,
};
use super::support::table::key;
use super::support::world::{hours_later, request};

mod damage;
mod races;

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
        // Another ledger, the same files: blobs and the page of the log have the same names. A pack names its table.
        let mut other = request(scene.live_uri(), 5);
        other.key = request("s3://lake/other", 0).key;
        let done =
            super::support::scene::take_as(&scene.live, &scene.vault, &scene.elsewhere, &other)
                .await
                .unwrap();
        let after = keys(scene.vault.inner()).await.len();
        // The pack, and what leads to it: the page of data, the manifest, a record and its seal.
        assert_eq!(after == before + 5, young, "{before} {after}");
        scene.is_exact(&done).await;
    }
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
