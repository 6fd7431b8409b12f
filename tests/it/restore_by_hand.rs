//! `scripts/restore-by-hand.sh` against vault folders, whole and damaged: promise 10.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "clippy takes the functions that tests share for production code"
)]

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::SystemTime;

use deltavault::format::Placement;
use deltavault::plan::restore::Mode;
use deltavault::store::local::LocalStore;
use deltavault::store::{RestoreStore, WriteStore};
use deltavault::vault::Vault;
use deltavault::vault::snapshot::SnapshotDone;
use futures::TryStreamExt as _;
use serde_json::json;

use crate::sample_vault::{SampleVault, table};
use crate::support::scene::LARGE;
use crate::support::table::{CheckpointForm, Table};
use crate::support::world::{init, restore, take};

pub(crate) fn script(vault: &Path, table: &str, snapshot: &str, target: &Path) -> Output {
    Command::new("bash")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/restore-by-hand.sh"))
        .arg(vault)
        .args([table, snapshot])
        .arg(target)
        .output()
        .unwrap()
}

/// Whether the script's tools are on this machine, and others; says so when they are not.
pub(crate) fn has_tools(others: &[&str]) -> bool {
    let missing = ["bash", "jq", "zstd", "sha256sum"]
        .iter()
        .chain(others)
        .find(|tool| {
            let found = Command::new(tool).arg("--version").output();
            !found.is_ok_and(|output| output.status.success())
        });
    if let Some(tool) = missing {
        println!("skipped: {tool} is not installed");
    }
    missing.is_none()
}

pub(crate) fn read_tree(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for child in fs::read_dir(folder).unwrap() {
            let path = child.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let key = path.strip_prefix(root).unwrap().to_str().unwrap();
                files.insert(key.to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    files
}

/// The permissions and the time of every file.
pub(crate) fn had(root: &Path) -> BTreeMap<String, (u32, SystemTime)> {
    let names = read_tree(root).into_keys();
    names
        .map(|name| {
            let found = fs::metadata(root.join(&name)).unwrap();
            (name, (found.mode() & 0o7777, found.modified().unwrap()))
        })
        .collect()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn every_snapshot_comes_back_byte_for_byte() {
    if !has_tools(&[]) {
        return;
    }
    let sample = SampleVault::build();
    let folder = tempfile::tempdir().unwrap();
    let vault = folder.path().join("the vault");
    sample.write_to(&vault);
    for (n, (id, files)) in sample.snapshots.iter().enumerate() {
        let target = folder.path().join(format!("target {n}"));
        let output = script(&vault, "sales-orders", &id.short(), &target);
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(&read_tree(&target), files);
    }
    // By the table's whole key too.
    let (id, files) = &sample.snapshots[1];
    let target = folder.path().join("whole");
    let output = script(&vault, &table().to_string(), &id.to_string(), &target);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(&read_tree(&target), files);
}

#[tokio::test]
async fn a_checkpoint_that_no_reader_opens_is_left_out() {
    if !has_tools(&[]) {
        return;
    }
    for form in [CheckpointForm::Sidecars(2), CheckpointForm::Parts(2)] {
        let folder = tempfile::tempdir().unwrap();
        let (live, vault) = (folder.path().join("live"), folder.path().join("vault"));
        let target = folder.path().join("target");
        let store: Arc<dyn RestoreStore> = Arc::new(LocalStore::create(&live).unwrap());
        let mut table = Table::create(store, "orders").await;
        table.append(3, 50).await;
        table.checkpoint_as(form).await;
        let mut names = table.names("_delta_log/_sidecars/").await;
        if names.is_empty() {
            let name = table
                .names("_delta_log/00000000000000000001.checkpoint.")
                .await
                .remove(1);
            table.overwrite(&name, b"PAR1".to_vec()).await;
        } else {
            table.remove(&names.remove(0)).await;
        }
        let store: Arc<dyn WriteStore> = Arc::new(LocalStore::create(&vault).unwrap());
        init(store.as_ref()).await;
        let done = take(store, &live, 0).await.unwrap();
        assert_eq!(done.record.findings.len(), 1, "{:?}", done.record.findings);
        let output = script(&vault, &done.record.table.name, &done.id.short(), &target);
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(
            stderr(&output).contains("note: left out"),
            "{}",
            stderr(&output)
        );
        let url = deltalake::ensure_table_uri(target.to_str().unwrap()).unwrap();
        let read = deltalake::open_table(url).await.unwrap();
        assert_eq!(read.get_file_uris().unwrap().count(), 3, "{form:?}");
    }
}

#[test]
fn one_changed_byte_in_any_object_makes_it_fail() {
    if !has_tools(&[]) {
        return;
    }
    let sample = SampleVault::build();
    let (id, _) = sample.snapshots[1];
    let unused = {
        // The first snapshot's pages and manifest, the journal: the second restores without them.
        let first = &sample.manifests[0];
        let pages = first.log_pages.iter().chain(&first.data_pages);
        let mut keys: Vec<String> = pages.map(|page| page.page.key.to_string()).collect();
        keys.push(sample.records[0].manifest.key.to_string());
        keys.extend(sample.journal.iter().map(|(key, ..)| key.clone()));
        keys
    };
    for (key, bytes) in &sample.objects {
        if unused.contains(key) {
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        let vault = folder.path().join("vault");
        sample.write_to(&vault);
        // A seal has no bytes.
        if bytes.is_empty() {
            continue;
        }
        let mut bytes = bytes.clone();
        // In the first file of a pack: restores do without its trailer.
        let early = bytes.len().min(40) / 2;
        bytes[early] ^= 1;
        // `vault.json` is bound by the records; the script only needs it to be a vault of format 1.
        if key == "vault.json" {
            bytes = b"{}".to_vec();
        }
        fs::write(vault.join(key), bytes).unwrap();
        let target = folder.path().join("target");
        let output = script(&vault, "sales-orders", &id.short(), &target);
        assert!(
            !output.status.success(),
            "{key} was changed and nobody noticed"
        );
        assert!(
            stderr(&output).contains("error: "),
            "{key}: {}",
            stderr(&output)
        );
        let has_log = target.join("_delta_log/00000000000000000001.json").exists();
        assert!(!has_log, "{key}: a table that is not whole can be opened");
    }
}

#[test]
fn repaired_and_renamed_objects_serve() {
    if !has_tools(&[]) {
        return;
    }
    let sample = SampleVault::build();
    let (id, files) = &sample.snapshots[1];
    let folder = tempfile::tempdir().unwrap();
    let vault = folder.path().join("vault");
    sample.write_to(&vault);
    let suffixed = |key: &str| vault.join(format!("{key}.0badcafe"));
    // Every object with content under another name, as a put beside an occupied one would leave it.
    for key in sample.objects.keys() {
        let is_content = ["blobs/", "pages/", "manifests/"]
            .iter()
            .any(|area| key.starts_with(area));
        if is_content {
            fs::rename(vault.join(key), suffixed(key)).unwrap();
            fs::write(vault.join(key), b"occupied").unwrap();
        }
    }
    // The copy, where a repair puts it.
    let copied = &files["part-3.parquet"];
    let sha256 = deltavault::ids::Digest::of(copied);
    let repaired = deltavault::format::VaultKey::blob(sha256, None).to_string();
    fs::create_dir_all(vault.join(&repaired).parent().unwrap()).unwrap();
    fs::write(suffixed(&repaired), copied).unwrap();
    fs::remove_dir_all(vault.join("copies")).unwrap();

    let target = folder.path().join("target");
    let output = script(&vault, "sales-orders", &id.short(), &target);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(&read_tree(&target), files);
}

#[test]
fn files_of_a_lost_pack_serve_under_their_own_digest() {
    if !has_tools(&[]) {
        return;
    }
    let sample = SampleVault::build();
    let (id, files) = &sample.snapshots[0];
    let folder = tempfile::tempdir().unwrap();
    let vault = folder.path().join("vault");
    sample.write_to(&vault);
    fs::remove_dir_all(vault.join("blobs")).unwrap();
    for bytes in files.values() {
        let sha256 = deltavault::ids::Digest::of(bytes);
        let path = vault.join(deltavault::format::VaultKey::blob(sha256, None).to_string());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let target = folder.path().join("target");
    let output = script(&vault, "sales-orders", &id.short(), &target);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(&read_tree(&target), files);
}

#[test]
fn scars_are_skipped_and_a_broken_chain_is_refused() {
    if !has_tools(&[]) {
        return;
    }
    let sample = SampleVault::build();
    let (id, files) = &sample.snapshots[1];
    let folder = tempfile::tempdir().unwrap();
    let vault = folder.path().join("vault");
    sample.write_to(&vault);
    let slot = |seq: u64| {
        let table = table();
        vault.join(deltavault::format::VaultKey::Record { table, seq }.to_string())
    };
    fs::write(slot(3), b"garbage").unwrap();
    fs::write(slot(4), vec![b' '; (1 << 20) + 1]).unwrap();
    let target = folder.path().join("scars");
    let output = script(&vault, "sales-orders", &id.short(), &target);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("slot 3") && stderr(&output).contains("slot 4"));
    assert_eq!(&read_tree(&target), files);

    // The first record loses its bytes to a forgery that links as well.
    let mut forged = sample.records[0].clone();
    forged.principal = "mallory".to_owned();
    fs::write(slot(1), forged.encode().unwrap()).unwrap();
    let target = folder.path().join("broken");
    let output = script(&vault, "sales-orders", &id.short(), &target);
    assert!(!output.status.success());
}

#[test]
fn targets_and_names_that_are_not_safe_are_refused() {
    if !has_tools(&[]) {
        return;
    }
    let sample = SampleVault::build();
    let (id, _) = sample.snapshots[1];
    let folder = tempfile::tempdir().unwrap();
    let vault = folder.path().join("vault");
    sample.write_to(&vault);
    let full = folder.path().join("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join(".hidden"), b"").unwrap();
    let empty = folder.path().join("empty");
    for (vault, table, snapshot, target, says) in [
        (&vault, "sales-orders", id.short(), &full, "not empty"),
        (&vault, "sales", id.short(), &empty, "no table"),
        (
            &vault,
            "sales-orders",
            "1234567".to_owned(),
            &empty,
            "8 to 64 hex digits",
        ),
        (
            &vault,
            "sales-orders",
            "00000000".to_owned(),
            &empty,
            "no snapshot",
        ),
        (&full, "sales-orders", id.short(), &empty, "not a vault"),
    ] {
        let output = script(vault, table, &snapshot, target);
        assert!(!output.status.success());
        assert!(stderr(&output).contains(says), "{}", stderr(&output));
    }
    assert!(!empty.exists());
}

#[test]
fn keys_that_would_leave_the_target_are_refused() {
    if !has_tools(&[]) {
        return;
    }
    for key in ["../escaped", "a/../../escaped", "a//b", "./a", "a/.."] {
        let sample = SampleVault::build_with_data_key(key);
        let (id, _) = sample.snapshots[0];
        let folder = tempfile::tempdir().unwrap();
        let vault = folder.path().join("vault");
        sample.write_to(&vault);
        let target = folder.path().join("target");
        let output = script(&vault, "sales-orders", &id.short(), &target);
        assert!(!output.status.success(), "{key}");
        assert!(
            stderr(&output).contains("would leave"),
            "{}",
            stderr(&output)
        );
        assert!(!folder.path().join("escaped").exists());
        assert!(!target.join("_delta_log").exists());
    }
}

#[test]
fn keys_with_any_character_that_a_folder_can_hold_come_back() {
    if !has_tools(&[]) {
        return;
    }
    for key in [
        "-rf",
        "a b\n c\n",
        "$(touch x)`'\"\\\t*?",
        "ü%41/😀=[x]",
        "*",
    ] {
        let sample = SampleVault::build_with_data_key(key);
        let (id, files) = &sample.snapshots[0];
        let folder = tempfile::tempdir().unwrap();
        let vault = folder.path().join("vault");
        sample.write_to(&vault);
        let target = folder.path().join("target");
        let output = script(&vault, "sales-orders", &id.short(), &target);
        assert!(output.status.success(), "{key:?}: {}", stderr(&output));
        assert_eq!(&read_tree(&target), files);
    }
}

/// A real vault folder with two snapshots of one table: log files inlined and as blobs, packs, large files, odd names.
pub(crate) async fn real_vault(folder: &Path) -> (PathBuf, Vec<SnapshotDone>) {
    let vault = folder.join("vault");
    let store: Arc<dyn WriteStore> = Arc::new(LocalStore::create(&vault).unwrap());
    init(store.as_ref()).await;
    let path = folder.join("lake/orders");
    let live: Arc<dyn RestoreStore> = Arc::new(LocalStore::create(&path).unwrap());
    let mut table = Table::create(live, "orders").await;
    table.append(5, 300).await;
    table.append(1, LARGE).await;
    let add = |path: &str, size: usize| {
        json!({"path": path, "partitionValues": {}, "size": size, "modificationTime": 1_760_000_000_000_u64,
            "dataChange": true})
    };
    let mut adds = Vec::new();
    for (spelled, name) in [
        (
            "day=2026-11-21%2003%253A00/a%20b.parquet",
            "day=2026-11-21 03%3A00/a b.parquet",
        ),
        (
            "stra%C3%9Fe=%F0%9F%98%80/%E4%BD%A0.parquet",
            "straße=😀/你.parquet",
        ),
        ("-rf/'$(x)'.parquet", "-rf/'$(x)'.parquet"),
        // The name of another file, and what scripts like to append for a moment.
        ("-rf/'$(x)'.parquet.part", "-rf/'$(x)'.parquet.part"),
        ("tab%09|/nl%0A|", "tab\t|/nl\n|"),
    ] {
        table.put(name, name.repeat(20).into_bytes()).await;
        let mode = 0o600 | u32::try_from(name.len()).unwrap() & 0o44;
        fs::set_permissions(path.join(name), Permissions::from_mode(mode)).unwrap();
        adds.push(json!({"add": add(spelled, name.len() * 20)}));
    }
    table.commit("WRITE", adds).await;
    let first = take(store.clone(), &path, 0).await.unwrap();

    let vectors = "ab/deletion_vector_d2c639aa-8816-431a-aaf6-d3fe2512ff61.bin";
    table.put(vectors, vec![7; 900]).await;
    table.put("part=0/with vector.parquet", vec![8; 400]).await;
    let mut with_vector = add("part=0/with%20vector.parquet", 400);
    with_vector["deletionVector"] = json!({"storageType": "u", "pathOrInlineDv": "ab^-aqEH.-t@S}K{vb[*k^",
        "offset": 1, "sizeInBytes": 40, "cardinality": 3});
    let large = json!({"commitInfo": {"operation": "MERGE", "comment": "x".repeat(100_000)}});
    table
        .commit("MERGE", vec![json!({"add": with_vector}), large])
        .await;
    table.checkpoint().await;
    table.delete(2).await;
    let second = take(store.clone(), &path, 24).await.unwrap();
    for (n, done) in [&first, &second].into_iter().enumerate() {
        let target = folder.join(format!("tool {n}"));
        restore(store.clone(), done, &target, Mode::To)
            .await
            .unwrap();
    }
    (vault, vec![first, second])
}

#[tokio::test]
async fn what_the_tool_snapshots_comes_back_by_hand_as_it_does_by_the_tool() {
    if !has_tools(&[]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (vault, snapshots) = Box::pin(real_vault(folder.path())).await;
    for (n, done) in snapshots.iter().enumerate() {
        let target = folder.path().join(format!("by hand {n}"));
        let output = script(&vault, "lake-orders", &done.id.short(), &target);
        assert!(output.status.success(), "{}", stderr(&output));
        let tool = folder.path().join(format!("tool {n}"));
        assert_eq!(had(&target), had(&tool));
        let by_tool = read_tree(&tool);
        assert!(by_tool.contains_key("straße=😀/你.parquet"));
        assert_eq!(read_tree(&target), by_tool);
    }
    let second = read_tree(&folder.path().join("tool 1"));
    let log = "_delta_log/00000000000000000004.json";
    assert!(
        second[log].len() > 64 * 1024,
        "a log file that is not inlined"
    );
    assert!(second.contains_key("ab/deletion_vector_d2c639aa-8816-431a-aaf6-d3fe2512ff61.bin"));
}

#[tokio::test]
async fn a_changed_byte_in_a_real_pack_makes_it_fail() {
    if !has_tools(&[]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (vault, snapshots) = Box::pin(real_vault(folder.path())).await;
    let opened = Vault::open(Arc::new(LocalStore::open(&vault).unwrap()))
        .await
        .unwrap();
    let manifest = opened.manifest(&snapshots[1].record).await.unwrap();
    let entries: Vec<_> = opened
        .entries(&manifest.data_pages)
        .try_collect()
        .await
        .unwrap();
    let packed = entries.iter().find_map(|entry| match &entry.placement {
        Placement::Blob {
            offset: Some(offset),
            reference,
        } => Some((entry, vault.join(reference.key.as_str()), *offset)),
        Placement::Blob { offset: None, .. }
        | Placement::Copy { .. }
        | Placement::Inline(_)
        | Placement::Absent {} => None,
    });
    let (entry, pack, offset) = packed.unwrap();
    let mut bytes = fs::read(&pack).unwrap();
    bytes[usize::try_from(offset).unwrap()] ^= 1;
    fs::remove_file(&pack).unwrap();
    fs::write(&pack, bytes).unwrap();
    let target = folder.path().join("target");
    let output = script(&vault, "lake-orders", &snapshots[1].id.short(), &target);
    assert!(!output.status.success());
    let said = stderr(&output);
    assert!(
        said.contains(&entry.file.to_string()) && said.contains("damaged"),
        "{said}"
    );
    assert!(
        !target.join("_delta_log").exists(),
        "a table that is not whole can be opened"
    );
}

#[tokio::test]
async fn a_table_whose_log_is_absolute_is_refused_by_hand() {
    if !has_tools(&[]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let vault = folder.path().join("vault");
    let store: Arc<dyn WriteStore> = Arc::new(LocalStore::create(&vault).unwrap());
    init(store.as_ref()).await;
    let path = folder.path().join("lake/orders");
    let live: Arc<dyn RestoreStore> = Arc::new(LocalStore::create(&path).unwrap());
    let uri = live.uri().to_owned();
    let mut table = Table::create(live, "orders").await;
    table.put("a.parquet", b"abc".to_vec()).await;
    let add = json!({"add": {"path": format!("{uri}/a.parquet"), "partitionValues": {}, "size": 3,
        "modificationTime": 1_760_000_000_000_u64, "dataChange": true}});
    table.commit("WRITE", vec![add]).await;
    let done = take(store.clone(), &path, 0).await.unwrap();
    let target = folder.path().join("target");
    let output = script(&vault, "lake-orders", &done.id.short(), &target);
    assert!(!output.status.success());
    let said = stderr(&output);
    assert!(
        said.contains("absolute paths") && said.contains(&uri),
        "{said}"
    );
    assert!(!target.exists());
}
