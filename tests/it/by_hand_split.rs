//! `scripts/split-pack.sh`: packs that no page names come apart by their trailers.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use deltavault::format::{Entry, Placement};
use deltavault::ids::Digest;
use deltavault::store::local::LocalStore;
use deltavault::vault::Vault;
use futures::TryStreamExt as _;
use serde_json::{Value, json};

use crate::restore_by_hand::{has_tools, read_tree, real_vault, stderr};
use crate::support::world::key_of;

fn split(target: &Path, packs: &[PathBuf]) -> Output {
    Command::new("bash")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/split-pack.sh"))
        .arg(target)
        .args(packs)
        .output()
        .unwrap()
}

fn blobs(vault: &Path) -> Vec<PathBuf> {
    let names = read_tree(&vault.join("blobs")).into_keys();
    names.map(|name| vault.join("blobs").join(name)).collect()
}

/// The pack of an entry, and where the entry's file begins in it.
fn in_pack(entry: &Entry) -> Option<(&str, u64)> {
    match &entry.placement {
        Placement::Blob {
            offset: Some(offset),
            reference,
        } => Some((reference.key.as_str(), *offset)),
        Placement::Blob { offset: None, .. }
        | Placement::Copy { .. }
        | Placement::Inline(_)
        | Placement::Absent {} => None,
    }
}

#[tokio::test]
async fn packs_without_pages_manifests_and_records_give_every_file_its_bytes_and_name() {
    if !has_tools(&[]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (vault, snapshots) = Box::pin(real_vault(folder.path())).await;
    let store = LocalStore::open(&vault).unwrap();
    let opened = Vault::open(Arc::new(store)).await.unwrap();
    let live = read_tree(&folder.path().join("lake/orders"));
    let mut packed = BTreeMap::new();
    let mut place = None;
    for done in &snapshots {
        let manifest = opened.manifest(&done.record).await.unwrap();
        let entries = opened.entries(&manifest.data_pages);
        let entries: Vec<Entry> = entries.try_collect().await.unwrap();
        for entry in &entries {
            if let Some((pack, offset)) = in_pack(entry) {
                packed.insert(entry.file.to_string(), live[entry.file.as_str()].clone());
                place = Some((vault.join(pack), offset, entry.file.to_string()));
            }
        }
    }
    assert!(packed.len() > 8 && packed.contains_key("straße=😀/你.parquet"));
    for gone in ["pages", "manifests", "tables"] {
        fs::remove_dir_all(vault.join(gone)).unwrap();
    }
    let target = folder.path().join("split");
    let output = split(&target, &blobs(&vault));
    assert!(output.status.success(), "{}", stderr(&output));
    let uri = format!("file://{}", folder.path().join("lake/orders").display());
    let table = target.join(key_of(&uri).to_string());
    assert_eq!(read_tree(&table), packed);

    // One byte of one file: that file is not given back, the others are.
    let (pack, offset, name) = place.unwrap();
    let mut bytes = fs::read(&pack).unwrap();
    bytes[usize::try_from(offset).unwrap()] ^= 1;
    fs::remove_file(&pack).unwrap();
    fs::write(&pack, bytes).unwrap();
    let target = folder.path().join("damaged");
    let output = split(&target, &blobs(&vault));
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&name) && said.contains("damaged"), "{said}");
    packed.remove(&name);
    assert_eq!(read_tree(&target.join(key_of(&uri).to_string())), packed);
}

/// A pack of one file, `abc`, with a trailer of these lines, which says to have so many bytes more than it has.
fn forged(lines: &[Value], more: usize) -> Vec<u8> {
    let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
    let lines = lines.join("\n") + "\n";
    let footer = format!("deltavault-pack {:015}\n", lines.len() + more);
    ["abc", &lines, &footer].concat().into_bytes()
}

#[test]
fn a_forged_trailer_writes_nothing_outside_and_nothing_that_has_another_digest() {
    if !has_tools(&[]) {
        return;
    }
    let table = format!("t-{}", "0".repeat(32));
    let header = json!({"format": 1, "table": table});
    let sha256 = Digest::of(b"abc").to_string();
    let file = json!({"file": {"key": "a"}, "offset": 0, "sha256": sha256, "size": 3});
    let with = |field: &str, value: Value| {
        let mut line = file.clone();
        line[field] = value;
        line
    };
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str, bytes: &[u8]| {
        let (pack, target) = (folder.path().join("pack"), folder.path().join(name));
        fs::write(&pack, bytes).unwrap();
        (split(&target, &[pack]), target)
    };
    let (output, target) = run("good", &forged(&[header.clone(), file.clone()], 0));
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(
        read_tree(&target),
        [(format!("{table}/a"), b"abc".to_vec())].into()
    );
    let outside = with("file", json!({"uri": "s3://other/a"}));
    let (output, target) = run("outside", &forged(&[header.clone(), outside], 0));
    assert!(stderr(&output).contains("s3://other/a"));
    assert_eq!(read_tree(&target).len(), 1);
    // A key that stands in it more than once overwrites nothing.
    let byte = |offset: usize| {
        let sha256 = Digest::of(&b"abc"[offset..=offset]).to_string();
        json!({"file": {"key": "a"}, "offset": offset, "sha256": sha256, "size": 1})
    };
    let lines = [header.clone(), byte(0), byte(1), byte(2)];
    let (output, target) = run("thrice", &forged(&lines, 0));
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let bytes: Vec<_> = read_tree(&target).into_values().collect();
    assert_eq!(bytes, [b"b".to_vec(), b"a".to_vec()]);
    for (n, (lines, more)) in [
        (vec![json!({"format": 2, "table": table}), file.clone()], 0),
        (vec![json!({"format": 1, "table": "../t"}), file.clone()], 0),
        (vec![json!({"format": 1, "table": 1}), file.clone()], 0),
        (
            vec![header.clone(), with("file", json!({"key": "../a"}))],
            0,
        ),
        (vec![header.clone(), with("file", json!({"key": "/a"}))], 0),
        (
            vec![header.clone(), with("file", json!({"key": "a\0b"}))],
            0,
        ),
        (vec![header.clone(), with("file", json!({"key": 1}))], 0),
        (vec![header.clone(), with("file", json!("a"))], 0),
        (vec![header.clone(), with("offset", json!(1))], 0),
        (vec![header.clone(), with("offset", json!(-1))], 0),
        (vec![header.clone(), with("offset", json!("0"))], 0),
        (vec![header.clone(), with("size", json!(1e18))], 0),
        (vec![header.clone(), with("size", json!(2.5))], 0),
        (vec![header.clone(), with("size", json!(2))], 0),
        (vec![header.clone(), with("sha256", json!("x"))], 0),
        (vec![header.clone(), json!(["a"])], 0),
        (vec![header.clone(), file.clone()], 1),
        (vec![header.clone(), file.clone()], 999_999_999),
    ]
    .into_iter()
    .enumerate()
    {
        let (output, target) = run(&format!("bad {n}"), &forged(&lines, more));
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{lines:?}: {said}");
        assert!(said.lines().all(|line| line.starts_with("bad: ")), "{said}");
        assert!(!target.exists(), "{lines:?}");
    }
    let left: Vec<_> = read_tree(folder.path()).into_keys().collect();
    assert_eq!(left.len(), 5, "{left:?}");
    // What is not a pack is passed over.
    let (output, target) = run("none", b"deltavault-pack 00000000000000\n");
    assert!(output.status.success() && !target.exists());
}
