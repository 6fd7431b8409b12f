//! What stands in the way of a restore into a folder is named, with what to do about it.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use super::told_live::{Lake, all_of, none_of};

const RESTORE: [&str; 4] = ["restore", "lake/t", "--latest", "--yes"];

/// Fails, names what stands there, and does not send anybody to another store.
fn names(lake: &Lake, obstacle: &str, path: &str, hint: &str) {
    let said = lake.ends(&RESTORE, 1);
    let path = lake.table().canonicalize().unwrap().join(path);
    let caused = format!("caused by: {obstacle}: {}\n", path.display());
    all_of(&said, &[&caused, hint]);
    none_of(&said, &["S3"]);
}

#[test]
fn a_file_where_a_folder_is_needed_and_the_other_way_round() {
    let move_it = "hint: move it away, and run the same command again";
    let lake = Lake::with_snapshot();
    fs::remove_dir_all(lake.table().join("r=a")).unwrap();
    fs::write(lake.table().join("r=a"), "mine").unwrap();
    names(&lake, "a file is where a folder is needed", "r=a", move_it);
    assert_eq!(fs::read(lake.table().join("r=a")).unwrap(), b"mine");
    fs::remove_file(lake.table().join("r=a")).unwrap();
    lake.ends(&RESTORE, 0);

    lake.remove("r=a/1.parquet");
    fs::create_dir(lake.table().join("r=a/1.parquet")).unwrap();
    names(
        &lake,
        "a folder is where a file is needed",
        "r=a/1.parquet",
        move_it,
    );
    fs::remove_dir(lake.table().join("r=a/1.parquet")).unwrap();

    fs::remove_dir_all(lake.table().join("_delta_log")).unwrap();
    fs::write(lake.table().join("_delta_log"), "mine").unwrap();
    names(
        &lake,
        "a file is where a folder is needed",
        "_delta_log",
        move_it,
    );
    fs::remove_file(lake.table().join("_delta_log")).unwrap();
    lake.ends(&RESTORE, 0);
}

#[test]
fn a_link_that_leads_out_of_the_folder_or_nowhere_is_named() {
    let lake = Lake::with_snapshot();
    let (place, out) = (lake.table().join("r=a"), lake.table().join("../out"));
    fs::rename(&place, &out).unwrap();
    symlink("../out", &place).unwrap();
    let leads_out = "a symbolic link leads out of the folder";
    names(
        &lake,
        leads_out,
        "r=a",
        "hint: a link that leads out of the folder is not followed",
    );
    fs::remove_dir_all(&out).unwrap();
    let nowhere = "a symbolic link leads nowhere";
    names(&lake, nowhere, "r=a", "hint: remove the link");
    fs::remove_file(&place).unwrap();
    lake.ends(&RESTORE, 0);

    lake.remove("r=a/1.parquet");
    symlink("nowhere", place.join("1.parquet")).unwrap();
    names(&lake, nowhere, "r=a/1.parquet", "hint: remove the link");
}

#[test]
fn a_file_of_a_terabyte_is_not_copied_aside() {
    for (name, crc) in [
        ("r=a/1.parquet", false),
        ("_delta_log/00000000000000000001.crc", true),
    ] {
        let lake = Lake::with_snapshot();
        let path = lake.table().join(name);
        if crc {
            fs::write(&path, "{}").unwrap();
            lake.ends(&["snapshot", "lake/t"], 0);
        }
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(1 << 40).unwrap();
        let begun = Instant::now();
        let said = lake.ends(&["restore", "lake-t", "--latest", "--yes"], 4);
        all_of(
            &said,
            &["too many to be kept beside the table", "move it out"],
        );
        assert!(begun.elapsed() < Duration::from_secs(10));
        fs::rename(&path, lake.folder().join("elsewhere")).unwrap();
        lake.ends(&["restore", "lake-t", "--latest", "--yes"], 0);
    }
}

#[test]
fn a_name_above_all_versions_is_reported_and_the_table_is_not_called_healthy() {
    let mut lake = Lake::with_snapshot();
    let stray = lake.table().join("_delta_log/18446744073709551615.json");
    fs::write(&stray, "{\"commitInfo\":{}}\n").unwrap();
    lake.append();
    let said = lake.ends(&["snapshot", "lake/t"], 3);
    all_of(
        &said,
        &["18446744073709551615.json is named like a commit above"],
    );
    let said = lake.ends(&["restore", "lake-t"], 4);
    all_of(
        &said,
        &["DAMAGED", "18446744073709551615.json", "moved away"],
    );
    fs::remove_file(stray).unwrap();
    lake.ends(&["snapshot", "lake/t"], 0);
    lake.ends(&["restore", "lake-t"], 0);
}
