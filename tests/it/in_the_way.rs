//! What stands in the way of a restore into a folder is named, with what to do about it.

use std::fs;
use std::os::unix::fs::symlink;

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
