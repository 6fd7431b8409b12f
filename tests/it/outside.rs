//! Whoever writes a table's log chooses which files it names. What lies outside the table's folder is read, and written, only
//! where its owner said so.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::told_live::Lake;

/// A table whose log names the file of another one, a shallow clone, and where that lies.
fn clone_of(lake: &mut Lake, path: &Path) -> String {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "secret").unwrap();
    let add = json!({"add": {"path": format!("file://{}", path.display()), "partitionValues": {"r": "a"}, "size": 6,
        "modificationTime": 1, "dataChange": true}});
    lake.commit("CLONE", vec![add]);
    path.parent().unwrap().display().to_string()
}

fn base(lake: &Lake) -> PathBuf {
    lake.folder().canonicalize().unwrap().join("base")
}

/// Whether any object of the vault has the bytes.
fn is_in_vault(lake: &Lake) -> bool {
    let blobs = crate::support::world::files(&lake.folder().join("vault"));
    let pages = blobs
        .values()
        .map(|bytes| zstd::decode_all(bytes.as_slice()).unwrap_or_else(|_| bytes.clone()));
    let encoded = ["secret", "c2VjcmV0"];
    pages.into_iter().any(|bytes| {
        let text = String::from_utf8_lossy(&bytes);
        encoded.iter().any(|secret| text.contains(secret))
    })
}

#[test]
fn file_outside_the_folder_is_held_only_where_its_owner_says_so() {
    let mut lake = Lake::with_snapshot();
    let base = base(&lake);
    let folder = clone_of(&mut lake, &base.join("r=a/1.parquet"));
    let folder = folder.trim_end_matches("/r=a").to_owned();
    let said = lake.ends(&["snapshot", "lake/t"], 4);
    let names = format!("names 1 file outside its folder, in file:{folder}/");
    assert!(said.contains(&names), "{said}");
    assert!(said.contains(&format!("--outside {folder}/")), "{said}");
    assert!(
        said.contains(&format!("outside = [\"{folder}/\"]")),
        "{said}"
    );
    assert!(!is_in_vault(&lake));
    // A place beside it, or one that only begins like it, is another one.
    for other in [
        format!("{folder}/r=b"),
        folder.trim_end_matches('e').to_owned(),
    ] {
        lake.ends(&["snapshot", "lake/t", "--outside", &other], 4);
    }
    lake.ends(&["snapshot", "lake/t", "--outside", &folder], 0);
    assert!(is_in_vault(&lake));
    // What is held stays held, and nothing is read again.
    lake.append();
    lake.ends(&["snapshot", "lake/t"], 0);
}

#[test]
fn configuration_lists_places_for_every_night() {
    let mut lake = Lake::with_snapshot();
    let base = base(&lake);
    clone_of(&mut lake, &base.join("1.parquet"));
    let config = lake.folder().join("dv.toml");
    let write = |outside: &str| {
        let text =
            format!("[[tables]]\nname = \"lake-t\"\nuri = \"lake/t\"\noutside = [{outside:?}]\n");
        fs::write(&config, text).unwrap();
    };
    let night = ["--config", "dv.toml", "snapshot"];
    for (outside, rule) in [
        ("/", "the root of the file system cannot be used"),
        ("vault/blobs", "it lies in the vault"),
        ("vault/..", "the vault lies in it"),
    ] {
        write(outside);
        let (code, said) = lake.run(&night);
        assert!(matches!(code, Some(2 | 5)), "{code:?} {said}");
        assert!(said.contains(rule), "{said}");
    }
    write("base");
    lake.ends(&night, 0);
    assert!(is_in_vault(&lake));
}

#[test]
fn link_does_not_lead_out_of_a_listed_place() {
    let mut lake = Lake::with_snapshot();
    let base = base(&lake);
    fs::create_dir_all(lake.folder().join("home")).unwrap();
    fs::create_dir_all(&base).unwrap();
    fs::write(lake.folder().join("home/1.parquet"), "secret").unwrap();
    symlink(
        lake.folder().canonicalize().unwrap().join("home"),
        base.join("in"),
    )
    .unwrap();
    clone_of(&mut lake, &base.join("in/1.parquet"));
    let (code, said) = lake.run(&["snapshot", "lake/t", "--outside", "base"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("a symbolic link leads out of the folder"),
        "{said}"
    );
    assert!(!is_in_vault(&lake));
}

#[test]
fn files_go_back_only_to_listed_places_and_all_of_them_are_named() {
    let mut lake = Lake::with_snapshot();
    let base = base(&lake);
    let (one, other) = (base.join("r=a/1.parquet"), base.join("other/2.parquet"));
    clone_of(&mut lake, &one);
    clone_of(&mut lake, &other);
    lake.ends(&["snapshot", "lake/t", "--outside", "base"], 0);
    fs::remove_dir_all(&base).unwrap();
    fs::remove_dir_all(lake.table()).unwrap();
    let restore = ["restore", "lake/t", "--latest", "--yes"];
    let said = lake.ends(&restore, 4);
    for file in [&one, &other] {
        assert!(said.contains(&format!("file:{}", file.display())), "{said}");
    }
    let folder = base.display();
    assert!(
        said.contains(&format!("--outside {folder}/ --yes")),
        "{said}"
    );
    let some = [&restore[..], &["--outside", "base/other"]].concat();
    lake.ends(&some, 4);
    assert!(!base.exists() && !lake.table().exists());
    let all = [&restore[..], &["--outside", "base"]].concat();
    lake.ends(&all, 0);
    assert_eq!(fs::read(&one).unwrap(), b"secret");
    assert_eq!(fs::read(&other).unwrap(), b"secret");
}

#[test]
fn table_whose_folder_is_a_link_now_is_not_put_back_through_it() {
    for above in [false, true] {
        let lake = Lake::with_snapshot();
        let elsewhere = lake.folder().join("elsewhere");
        fs::create_dir_all(&elsewhere).unwrap();
        fs::remove_dir_all(lake.table()).unwrap();
        let link = if above {
            fs::rename(lake.folder().join("lake"), lake.folder().join("old")).unwrap();
            lake.folder().join("lake")
        } else {
            lake.table()
        };
        symlink(&elsewhere, link).unwrap();
        let said = lake.ends(&["restore", "lake-t", "--latest", "--yes"], 4);
        assert!(said.contains("a link leads to"), "{said}");
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
        lake.ends(
            &["restore", "lake-t", "--latest", "--to", "copy", "--yes"],
            0,
        );
    }
}

#[test]
fn file_that_only_older_versions_name_elsewhere_is_not_read_either() {
    let mut lake = Lake::with_snapshot();
    let base = base(&lake);
    clone_of(&mut lake, &base.join("1.parquet"));
    let path = format!("file://{}", base.join("1.parquet").display());
    let remove = json!({"remove": {"path": path, "deletionTimestamp": 1, "dataChange": true}});
    lake.commit("DELETE", vec![remove]);
    let history = ["snapshot", "lake/t", "--scope", "history"];
    let (code, said) = lake.run(&history);
    assert!(matches!(code, Some(0 | 3)), "{code:?} {said}");
    assert!(!is_in_vault(&lake));
    lake.append();
    lake.ends(&[&history[..], &["--outside", "base"]].concat(), 0);
    assert!(is_in_vault(&lake));
}

#[test]
fn no_place_is_offered_that_cannot_be_listed() {
    for path in [
        "file:///x".to_owned(),
        format!("file:///{}x", "a/".repeat(1_000_000)),
    ] {
        let mut lake = Lake::with_snapshot();
        let add = json!({"add": {"path": path, "partitionValues": {"r": "a"}, "size": 6, "modificationTime": 1, "dataChange": true}});
        lake.commit("CLONE", vec![add]);
        let said = lake.ends(&["snapshot", "lake/t"], 4);
        assert!(
            !said.contains("--outside") && said.len() < 2_000,
            "{}",
            said.len()
        );
    }
}
