//! `scripts/restore-by-hand.sh` and records of another shape: nothing of them is used before it was looked at.

use std::fs;

use deltavault::format::{Entry, EntryKind, Record, TableKey};
use deltavault::ids::Location;
use deltavault::store::local::LocalStore;
use serde_json::{Value, json};

use crate::restore_by_hand::{has_tools, script, stderr};
use crate::sample_vault::{SampleVault, table};
use crate::support::forge::forge_signed;
use crate::told_live::Lake;

#[test]
fn a_malformed_record_is_named_and_not_used() {
    if !has_tools(&[]) {
        return;
    }
    let sample = SampleVault::build();
    let slot = deltavault::format::VaultKey::Record {
        table: table(),
        seq: 2,
    };
    let good: Value = serde_json::from_slice(&sample.objects[&slot.to_string()]).unwrap();
    let sha256 = sample.snapshots[0].0.to_string();
    // A field, what stands there instead (null: nothing), and what is said.
    let none = "no snapshot";
    let malformed = "malformed";
    for (field, value, says) in [
        ("/previous", json!("1"), none),
        ("/previous/seq", json!("1"), none),
        ("/previous/seq", json!(1.5), none),
        ("/previous/seq", json!(-1), none),
        ("/previous/seq", json!(u64::MAX), none),
        ("/previous/sha256", json!(sha256.to_uppercase()), none),
        ("/previous/sha256", json!([sha256]), none),
        ("/seq", json!("2"), none),
        ("/format", json!("1"), none),
        ("/format", json!(2), "newer reader"),
        ("/requires", Value::Null, malformed),
        ("/requires", json!("write:x"), malformed),
        ("/requires", json!([1]), malformed),
        ("/requires", json!(["read:x"]), "newer reader"),
        ("/tool", json!(["$(touch x)"]), malformed),
        ("/table", json!("t"), malformed),
        ("/table/uri", Value::Null, malformed),
        ("/version", json!("1"), malformed),
        ("/manifest", json!([]), malformed),
        ("/manifest/key", Value::Null, malformed),
        ("/manifest/key", json!("../../etc/passwd"), malformed),
        ("/manifest/key", json!("manifests/../vault.json"), malformed),
        ("/manifest/sha256", json!(1), malformed),
        ("/manifest/size", json!("8"), malformed),
        ("/manifest/version", json!(7), malformed),
        ("/manifest/version", json!("a b"), malformed),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let vault = folder.path().join("vault");
        sample.write_to(&vault);
        let mut record = good.clone();
        let (parent, name) = field.rsplit_once('/').unwrap();
        let parent = record.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        if value.is_null() {
            parent.remove(name).unwrap();
        } else {
            parent.insert(name.to_owned(), value.clone());
        }
        let bytes = serde_json::to_vec(&record).unwrap();
        let id = deltavault::ids::Digest::of(&bytes);
        fs::write(vault.join(slot.to_string()), bytes).unwrap();
        let target = folder.path().join("target");
        let output = script(&vault, "sales-orders", &id.short(), &target);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{field} {value}: {said}");
        assert!(said.contains(says), "{field} {value}: {said}");
        // Nothing but its own words: no shell and no tool stumbled over it.
        let own = ["error: ", "hint: ", "warning: "];
        let is_own = |line: &str| own.iter().any(|begins| line.starts_with(begins));
        assert!(said.lines().all(is_own), "{field} {value}: {said}");
        assert!(!target.exists());
    }
}

#[tokio::test]
async fn a_commit_above_the_version_is_not_put_back() {
    if !has_tools(&[]) {
        return;
    }
    let lake = Lake::with_snapshot();
    let vault = lake.folder().join("vault");
    let store = LocalStore::open(&vault).unwrap();
    let place = format!("file://{}", lake.table().canonicalize().unwrap().display());
    let key = TableKey::of("local", &place.parse().unwrap()).unwrap();
    let go_on_above = |entries: &mut Vec<Entry>, _: &mut Record| {
        let commits = entries.iter().filter(|it| it.kind == EntryKind::Commit);
        let mut above = commits.last().unwrap().clone();
        let file = "_delta_log/00000000000000000002.json";
        above.file = Location::Inside(file.parse().unwrap());
        entries.push(above);
    };
    let (id, _) = forge_signed(&store, &key, go_on_above, |_| {}, |_| {}).await;
    let target = lake.folder().join("target");
    let output = script(&vault, &key.to_string(), &id.short(), &target);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("of a newer version than its own"), "{said}");
    assert!(!target.exists());
}
