//! A vault whose `vault.json` is gone or damaged: it is told as such, with the command that puts it back.

use std::fs;
use std::process::Command;

use crate::cli::{deltavault, small_lake};
use crate::support::world::copy_folder;

#[test]
fn vault_without_its_vault_json_is_told_from_no_vault() {
    let folder = small_lake();
    let folder = folder.path();
    assert_eq!(deltavault(folder, &["snapshot", "lake/orders"]).0, Some(0));
    let (vault, replica) = (folder.join("vault"), folder.join("replica"));
    copy_folder(&vault, &replica);
    fs::remove_file(vault.join("vault.json")).unwrap();
    let gone = "/vault has a vault's folders, but its vault.json is gone";
    for words in [
        &["verify"][..],
        &["restore", "lake-orders"],
        &["verify", "--repair", "--from", "replica", "--yes"],
        &["snapshot", "lake/orders"],
        &["init"],
    ] {
        let (code, _, said) = deltavault(folder, words);
        assert_eq!(code, Some(12), "{words:?}: {said}");
        assert!(said.contains(gone), "{words:?}: {said}");
        assert!(!said.contains("a new one is made"), "{words:?}: {said}");
    }
    // Whichever of its folders is left.
    for left in ["tables", "manifests", "blobs"] {
        let part = folder.join(left);
        copy_folder(&vault.join(left), &part.join("vault").join(left));
        let (code, _, said) = deltavault(&part, &["verify"]);
        assert_eq!(code, Some(12), "{left}: {said}");
        assert!(said.contains(gone), "{left}: {said}");
    }
    for broken in ["", "{\"format\": 1"] {
        fs::write(vault.join("vault.json"), broken).unwrap();
        let (code, _, said) = deltavault(folder, &["restore", "lake-orders"]);
        assert_eq!(code, Some(12), "{broken:?}: {said}");
        let unreadable = "/vault has a vault's folders, but its vault.json cannot be read";
        assert!(said.contains(unreadable), "{broken:?}: {said}");
        fs::remove_file(vault.join("vault.json")).unwrap();
    }
    let (_, _, said) = deltavault(folder, &["verify"]);
    let copy = said.split('`').find(|it| it.starts_with("cp ")).unwrap();
    let copy = copy.replace("REPLICA", "replica");
    let mut sh = Command::new("sh");
    let copied = sh.args(["-c", &copy]).current_dir(folder).status().unwrap();
    assert!(copied.success(), "{copy}");
    assert_eq!(deltavault(folder, &["verify"]).0, Some(0));
}

#[test]
fn folders_of_the_same_names_are_no_vault() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for name in ["tables/orders", "blobs", "manifests"] {
        let inside = folder.join("vault").join(name);
        fs::create_dir_all(&inside).unwrap();
        fs::write(inside.join("a.json"), "{}").unwrap();
    }
    let (code, _, said) = deltavault(folder, &["verify"]);
    assert_eq!(code, Some(10), "{said}");
    assert!(said.contains("there is no vault at "), "{said}");
}
