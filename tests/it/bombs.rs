//! Checkpoints of 3 and 4 KiB that unfold to 100 MiB in one page, and to 200 GiB by a dictionary: `tests/data/bombs`. What
//! a file may unfold to is tested where it is decided, in `delta/checkpoint/limits.rs`.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::told_live::Lake;

const BOMBS: [&str; 2] = ["page", "dictionary"];

fn plant(table: &Path, bomb: &str, version: u64) {
    let bombs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/bombs");
    let log = table.join("_delta_log");
    fs::create_dir_all(&log).unwrap();
    let name = format!("{version:020}.checkpoint.parquet");
    fs::copy(
        bombs.join(format!("{bomb}.checkpoint.parquet")),
        log.join(name),
    )
    .unwrap();
}

/// Adds a line to the commit of version 2.
fn add_line(lake: &Lake, line: &Value) {
    let commit = fs::OpenOptions::new()
        .append(true)
        .open(lake.commit_file(2));
    writeln!(commit.unwrap(), "{line}").unwrap();
}

#[test]
fn table_whose_log_is_a_bomb_fails_alone() {
    for bomb in BOMBS {
        let mut lake = Lake::with_snapshot();
        let table = lake.folder().join("lake/bomb");
        plant(&table, bomb, 1);
        let commit = table.join("_delta_log/00000000000000000001.json");
        fs::write(commit, r#"{"commitInfo":{}}"#).unwrap();
        lake.append();
        let said = lake.ends(&["snapshot", "lake/bomb", "lake/t"], 5);
        assert!(said.contains("lake-t v2 is snapshot"), "{said}");
        assert!(said.contains("a file of this size may have"), "{said}");
    }
}

#[test]
fn bomb_in_the_log_of_a_table_that_is_held_stops_neither_night_nor_restore() {
    for bomb in BOMBS {
        let mut lake = Lake::with_snapshot();
        lake.append();
        plant(&lake.table(), bomb, 2);
        let said = lake.ends(&["snapshot", "lake/t"], 3);
        assert!(said.contains("v2 is snapshot"), "{said}");
        assert!(said.contains("a file of this size may have"), "{said}");
        let copy = ["restore", "lake/t", "--latest", "--to", "copy", "--yes"];
        lake.ends(&copy, 0);
        // A commit is lost under it.
        fs::remove_file(lake.commit_file(2)).unwrap();
        fs::remove_file(lake.table().join("r=a/1.parquet")).unwrap();
        let said = lake.ends(&["restore", "lake/t", "--latest", "--heal", "--yes"], 0);
        assert!(lake.table().join("r=a/1.parquet").exists(), "{said}");
        assert!(lake.commit_file(2).exists(), "{said}");
    }
}

#[test]
fn texts_of_megabytes_stop_no_snapshot_and_fill_no_screen() {
    let long = |c: &str| c.repeat(2_000_000);
    let remove = json!({"remove": {"path": format!("{}?", long("r")), "deletionTimestamp": 1, "dataChange": true}});
    let info =
        json!({"commitInfo": {"operation": long("o"), "userName": long("u"), "timestamp": 1}});
    let app = json!({"txn": {"appId": long("a"), "version": 1}});
    for line in [remove, info, app] {
        let mut lake = Lake::with_snapshot();
        lake.append();
        add_line(&lake, &line);
        let (code, said) = lake.run(&["snapshot", "lake/t"]);
        assert!(matches!(code, Some(0 | 3)), "{code:?} {}", said.len());
        let said = said + &lake.run(&["restore", "lake/t"]).1 + &lake.run(&["verify"]).1;
        assert!(said.contains("lake-t v2 is snapshot"), "{}", said.len());
        assert!(said.len() < 20_000, "{}", said.len());
    }
}

#[test]
fn table_whose_log_lists_too_much_fails_alone_and_is_told_briefly() {
    let many = |count: usize| -> Vec<String> { (0..count).map(|it| it.to_string()).collect() };
    let pairs: serde_json::Map<_, _> = (many(10_001).into_iter())
        .map(|key| (key, json!("v")))
        .collect();
    let protocol = |features: Vec<String>| {
        json!({"protocol": {"minReaderVersion": 3, "minWriterVersion": 7,
        "readerFeatures": features, "writerFeatures": []}})
    };
    let cases = [
        (
            json!({"metaData": {"id": "i".repeat(1025)}}),
            "metaData.id has more than",
        ),
        (
            json!({"metaData": {"id": "t", "partitionColumns": many(10_001)}}),
            "partitionColumns has more than",
        ),
        (
            json!({"metaData": {"id": "t", "configuration": pairs}}),
            "configuration has more than",
        ),
        (protocol(many(257)), "readerFeatures has more than"),
        (
            protocol(vec!["f".repeat(1025)]),
            "readerFeatures has more than",
        ),
        (protocol(many(256)), "and 248 more"),
        (
            json!({"add": {"path": "p".repeat(2_000_000), "size": 1}}),
            "is not an object's name",
        ),
    ];
    for (line, expected) in cases {
        let mut lake = Lake::with_snapshot();
        lake.append();
        add_line(&lake, &line);
        let said = lake.ends(&["snapshot", "lake/t", "lake/orders"], 5);
        assert!(said.contains(expected), "{said}");
        assert!(said.contains("lake-orders v0 is snapshot"), "{said}");
        assert!(said.len() < 4_000, "{}", said.len());
        lake.ends(
            &["restore", "lake/t", "--latest", "--to", "copy", "--yes"],
            0,
        );
    }
}

#[test]
fn of_files_in_the_log_folder_that_are_none_of_deltas_only_some_are_held() {
    let mut lake = Lake::with_snapshot();
    let log = lake.table().join("_delta_log");
    for number in 0..1500 {
        fs::write(log.join(format!("{:020}.junk{number}", 0)), "x").unwrap();
        fs::write(log.join(format!("junk{number}")), "x").unwrap();
    }
    for version in [2, 3] {
        lake.append();
        let said = lake.ends(&["snapshot", "lake/t"], 3);
        assert!(said.contains(&format!("v{version} is snapshot")), "{said}");
        assert!(
            said.contains("none of Delta's: 500 of them are not held"),
            "{said}"
        );
        let listed = lake.ends(&["ls", "lake/t"], 0);
        assert_eq!(listed.matches(".junk").count(), 1000);
        assert_eq!(listed.matches("/junk").count(), 0);
    }
    lake.ends(
        &["restore", "lake/t", "--latest", "--to", "copy", "--yes"],
        0,
    );
    lake.ends(&["verify"], 0);
}

/// How a night ends whose newest commit of the table has this line, and what it says.
fn night_with(line: &Value) -> (Option<i32>, String) {
    let mut lake = Lake::with_snapshot();
    lake.append();
    add_line(&lake, line);
    let ended = lake.run(&["snapshot", "lake/t"]);
    lake.ends(
        &["restore", "lake/t", "--latest", "--to", "copy", "--yes"],
        0,
    );
    ended
}

#[test]
fn file_in_a_folder_that_holds_no_data_is_refused() {
    for path in [
        "_deltavault/claim-1",
        "_deltavault",
        "_delta_log/_sidecars/x",
        "./_delta_log/0.json",
    ] {
        let (code, said) = night_with(
            &json!({"add": {"path": path, "size": 1, "partitionValues": {"r": "a"},
            "modificationTime": 1, "dataChange": true}}),
        );
        assert_eq!(code, Some(1), "{path}: {said}");
        assert!(said.contains("is in a folder that holds no data"), "{said}");
    }
}

#[test]
fn log_that_contradicts_itself_is_not_damage_of_the_vault() {
    let vector = json!({"storageType": "p", "pathOrInlineDv": "r=a/1.parquet", "offset": 1, "sizeInBytes": 2, "cardinality": 1});
    let lake = Lake::with_snapshot();
    let held = fs::metadata(lake.table().join("r=a/1.parquet"))
        .unwrap()
        .len();
    let (code, said) = night_with(
        &json!({"add": {"path": "r=a/1.parquet", "size": held, "partitionValues": {"r": "a"},
        "modificationTime": 1, "dataChange": true, "deletionVector": vector}}),
    );
    assert_eq!(code, Some(1), "{said}");
}

#[test]
fn log_file_of_a_terabyte_is_refused_before_it_is_read() {
    let mut lake = Lake::with_snapshot();
    lake.append();
    let commit = fs::OpenOptions::new()
        .write(true)
        .open(lake.commit_file(2))
        .unwrap();
    commit.set_len(1 << 40).unwrap();
    let begun = std::time::Instant::now();
    let said = lake.ends(&["snapshot", "lake/t", "lake/orders"], 5);
    assert!(begun.elapsed().as_secs() < 20, "{said}");
    assert!(
        said.contains("files of a log are read up to 17179869184"),
        "{said}"
    );
    assert!(said.contains("lake-orders v0 is snapshot"), "{said}");
}

#[test]
fn crowd_of_checkpoints_of_one_version_is_not_read() {
    let mut lake = Lake::with_snapshot();
    lake.append();
    let log = lake.table().join("_delta_log");
    let actions: String = (0..=2)
        .map(|version| fs::read_to_string(lake.commit_file(version)).unwrap())
        .collect();
    for number in 0..200 {
        let name = format!(
            "{:020}.checkpoint.{number:08x}-7026-4e79-81be-64bd76c43a11.json",
            2
        );
        let top = json!({"checkpointMetadata": {"version": 2}});
        fs::write(log.join(name), format!("{top}\n{actions}")).unwrap();
    }
    let said = lake.ends(&["snapshot", "lake/t"], 3);
    assert!(
        said.contains("has so many checkpoints that only some are read and held"),
        "{said}"
    );
    let listed = lake.ends(&["ls", "lake/t"], 0);
    assert_eq!(listed.matches(".checkpoint.").count(), 32, "{listed}");
    lake.ends(
        &["restore", "lake/t", "--latest", "--to", "copy", "--yes"],
        0,
    );
}

#[test]
fn links_inside_the_table_are_replaced_and_removed_and_never_what_they_lead_to() {
    let mut lake = Lake::with_snapshot();
    let before = fs::read(lake.table().join("r=a/1.parquet")).unwrap();
    let link = lake.table().join("r=b/1.parquet");
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(lake.commit_file(1), &link).unwrap();
    let commit = fs::read(lake.commit_file(1)).unwrap();
    for _ in 0..2 {
        lake.ends(&["restore", "lake/t", "--version", "1", "--yes"], 0);
        assert_eq!(fs::read(lake.commit_file(1)).unwrap(), commit);
        assert!(!link.is_symlink());
    }
    // A rewind takes the link out of the log, and leaves the data file.
    lake.append();
    let checksum = lake.table().join(format!("_delta_log/{:020}.crc", 2));
    std::os::unix::fs::symlink(lake.table().join("r=a/1.parquet"), &checksum).unwrap();
    lake.ends(
        &["restore", "lake/t", "--version", "1", "--rewind", "--yes"],
        0,
    );
    assert!(!checksum.is_symlink() && !lake.commit_file(2).exists());
    assert_eq!(
        fs::read(lake.table().join("r=a/1.parquet")).unwrap(),
        before
    );
}

#[test]
fn json_that_is_nested_thousands_of_times_ends_no_restore() {
    let deep = format!("{}{}", "[".repeat(150_000), "]".repeat(150_000));
    let stats = format!("\"{{\\\"numRecords\\\":{deep}}}\"");
    for (field, value, is_held) in [
        ("stats", stats.as_str(), true),
        ("tags", deep.as_str(), true),
        ("", deep.as_str(), false),
    ] {
        let mut lake = Lake::with_snapshot();
        lake.append();
        let commit = lake.commit_file(2);
        let honest = fs::read_to_string(&commit).unwrap();
        let hostile = match field {
            "stats" => honest.replace("\"{\\\"numRecords\\\":10}\"", value),
            "tags" => honest.replace("\"dataChange\":true", &format!("\"tags\":{value}")),
            _ => format!("{{\"add\":{value}}}\n"),
        };
        assert_ne!(honest, hostile);
        fs::write(&commit, hostile).unwrap();
        let (code, said) = lake.run(&["snapshot", "lake/t"]);
        assert_eq!(code == Some(0), is_held, "{said}");
        // The plan, another place, and the table itself.
        for words in [
            &["restore", "lake-t"][..],
            &["restore", "lake-t", "--latest", "--to", "copy", "--yes"],
            &["restore", "lake-t", "--version", "1", "--heal", "--yes"],
        ] {
            let (code, said) = lake.run(words);
            let code = code.unwrap_or_else(|| panic!("{field} {words:?}: {said}"));
            assert!(
                matches!(code, 0 | 3 | 4),
                "{field} {words:?} {code}: {said}"
            );
        }
    }
}
