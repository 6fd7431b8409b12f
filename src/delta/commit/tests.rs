//! Tests of reading commits: each line says what it needs.

use std::io::{self, BufReader, Read};

use super::*;
use crate::delta::{Add, Spelling};
use crate::ids::Location;

fn read(bytes: &[u8]) -> Result<Vec<Action>, LogError> {
    let root = TableRoot::new("s3://lake/t").unwrap();
    let mut actions = Vec::new();
    read_commit(bytes, "0.json", &root, &mut |action| {
        actions.push(action);
        Ok(())
    })?;
    Ok(actions)
}

fn one(line: &str) -> Action {
    let mut actions = read(line.as_bytes()).unwrap();
    assert_eq!(actions.len(), 1, "{actions:?}");
    actions.pop().unwrap()
}

fn add(line: &str) -> Add {
    let Action::Add { add, .. } = one(line) else {
        panic!("no add: {line}");
    };
    add
}

fn metadata(line: &str) -> Metadata {
    let Action::Metadata(metadata) = one(line) else {
        panic!("no metaData: {line}");
    };
    metadata
}

fn inside(key: &str) -> Location {
    Location::Inside(key.parse().unwrap())
}

#[test]
fn unknown_actions_and_fields_are_skipped() {
    let actions = read(
        b"{\"invented\":{\"a\":[1,{}]}}\n\n  \r\n{\"cdc\":null}\r\
          {\"add\":{\"path\":\"a\",\"size\":1,\"invented\":{\"path\":\"b\"}},\"other\":1}",
    );
    let actions = actions.unwrap();
    assert_eq!(actions.len(), 1, "{actions:?}");
    assert!(matches!(&actions[0], Action::Add { add, .. } if add.file == inside("a")));
}

#[test]
fn every_kind_of_action_is_read() {
    assert_eq!(
        one(
            r#"{"add":{"path":"a%20b","size":7,"modificationTime":5,"stats":"{\"numRecords\":3,\"x\":{}}"}}"#
        ),
        Action::Add {
            add: Add {
                file: inside("a b"),
                size: 7,
                absolute: false,
                modification_time: Some(5),
                rows: Some(3),
                dv: None
            },
            spelling: Spelling::of("a%20b", &inside("a b")),
        }
    );
    let vector = r#"{"storageType":"p","pathOrInlineDv":"s3://x/dv","offset":4,"sizeInBytes":40,"cardinality":2}"#;
    let with_vector = format!(r#"{{"add":{{"path":"a","size":0,"deletionVector":{vector}}}}}"#);
    let dv = add(&with_vector).dv.unwrap();
    assert_eq!(
        (dv.id.as_str(), dv.offset, dv.size, dv.cardinality),
        ("ps3://x/dv@4", Some(4), 40, 2)
    );
    assert_eq!(dv.file, Some(Location::Outside("s3://x/dv".to_owned())));
    assert_eq!(
        one(&format!(
            r#"{{"remove":{{"path":"a","deletionVector":{vector}}}}}"#
        )),
        Action::Remove {
            file: inside("a"),
            dv_id: Some("ps3://x/dv@4".to_owned()),
            spelling: Spelling::of("a", &inside("a")),
        }
    );
    assert_eq!(
        one(r#"{"cdc":{"path":"_change_data/c","size":9}}"#),
        Action::Cdc {
            file: inside("_change_data/c"),
            absolute: false,
            size: Some(9)
        }
    );
    for path in [
        "s.parquet",
        "_sidecars/s.parquet",
        "s3://lake/t/_delta_log/_sidecars/s%2Eparquet",
    ] {
        assert_eq!(
            one(&format!(
                r#"{{"sidecar":{{"path":"{path}","sizeInBytes":3}}}}"#
            )),
            Action::Sidecar {
                key: "_delta_log/_sidecars/s.parquet".parse().unwrap(),
                size: Some(3)
            }
        );
    }
    assert_eq!(
        one(r#"{"txn":{"appId":"a","version":-1}}"#),
        Action::Txn {
            app_id: "a".to_owned(),
            version: Some(-1)
        }
    );
    assert_eq!(
        one(r#"{"domainMetadata":{"domain":"d","configuration":"{}","removed":true}}"#),
        Action::Domain {
            domain: "d".to_owned(),
            configuration: None
        }
    );
    assert_eq!(
        one(r#"{"checkpointMetadata":{"version":4,"tags":{}}}"#),
        Action::CheckpointMetadata {
            version: Some(Version(4))
        }
    );
    let metadata = metadata(
        r#"{"metaData":{"id":"x","name":null,"partitionColumns":["p"],"configuration":{"a":"b","c":null}}}"#,
    );
    assert_eq!(metadata.partition_columns, ["p"]);
    assert_eq!(
        metadata.configuration,
        [("a".to_owned(), "b".to_owned())].into()
    );
}

#[test]
fn commit_info_takes_what_it_can_read() {
    let info = |json: &str| {
        let Action::CommitInfo(info) = one(&format!(r#"{{"commitInfo":{json}}}"#)) else {
            panic!("no commitInfo");
        };
        info
    };
    for odd in [
        r#"{"operation":{"a":1},"timestamp":"soon","userName":null,"userId":[7]}"#,
        r#"{"operation":"\ud800","timestamp":1e300,"inCommitTimestamp":true}"#,
        r#""x""#,
        "7",
        "[]",
        "{}",
    ] {
        assert_eq!(info(odd), CommitInfo::default(), "{odd}");
    }
    let full =
        info(r#"{"operation":"WRITE","timestamp":"1000","userId":7,"inCommitTimestamp":2e3}"#);
    assert_eq!(full.operation.as_deref(), Some("WRITE"));
    assert_eq!(full.user.as_deref(), Some("7"));
    assert_eq!(full.timestamp, Timestamp::from_millisecond(1000).ok());
    assert_eq!(
        full.in_commit_timestamp,
        Timestamp::from_millisecond(2000).ok()
    );
}

#[test]
fn malformed_statistics_are_only_an_unknown_count() {
    for (stats, rows) in [
        (r#""{""#, None),
        (r#""[3]""#, None),
        (r#""{\"numRecords\":\"3\"}""#, None),
        (r#""{\"numRecords\":-3}""#, None),
        ("null", Some(8)),
        (r#""{}""#, Some(8)),
        (r#""{\"numRecords\":3}""#, Some(3)),
    ] {
        let parsed = if rows == Some(8) {
            r#","stats_parsed":{"numRecords":8}"#
        } else {
            ""
        };
        let line = format!(r#"{{"add":{{"path":"a","size":1,"stats":{stats}{parsed}}}}}"#);
        assert_eq!(add(&line).rows, rows, "{stats}");
    }
}

#[test]
fn a_size_that_is_missing_or_no_size_is_an_error_that_names_the_file() {
    for (size, value) in [
        ("", None),
        (r#","size":null"#, None),
        (r#","size":-1"#, Some("-1")),
        (r#","size":100.5"#, Some("100.5")),
        (r#","size":1,"size":"x""#, Some(r#""x""#)),
        (r#","size":{"a":1}"#, Some(r#"{"a":1}"#)),
    ] {
        let text = format!("{{}}\n{{\"add\":{{\"path\":\"x.parquet\"{size}}}}}");
        let says = match value {
            None => "no size for x.parquet".to_owned(),
            Some(value) => format!("size of x.parquet as {value}: not a whole number in range"),
        };
        let error = read(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(error, format!("0.json line 2 gives {says}"));
    }
}

#[test]
fn a_vector_that_lacks_a_number_or_has_an_odd_one_is_an_error() {
    for (numbers, says) in [
        (
            r#""sizeInBytes":1"#,
            "no cardinality for the deletion vector of a",
        ),
        (
            r#""cardinality":1"#,
            "no sizeInBytes for the deletion vector of a",
        ),
        (
            r#""sizeInBytes":1,"cardinality":1,"offset":-1"#,
            "offset of the deletion vector of a as -1: not a whole number in range",
        ),
    ] {
        let vector = format!(r#"{{"storageType":"i","pathOrInlineDv":"x",{numbers}}}"#);
        let line = format!(r#"{{"add":{{"path":"a","size":1,"deletionVector":{vector}}}}}"#);
        let error = read(line.as_bytes()).unwrap_err().to_string();
        assert_eq!(error, format!("0.json line 1 gives {says}"));
    }
    let error = read(
        br#"{"remove":{"path":"a","deletionVector":{"storageType":"i","pathOrInlineDv":"x","offset":0.5}}}"#,
    );
    assert!(
        matches!(error, Err(LogError::BadNumber { .. })),
        "{error:?}"
    );
}

#[test]
fn numbers_that_decide_about_files_are_taken_in_any_spelling() {
    for (size, offset) in [
        ("100", "4"),
        ("100.0", "4.0"),
        ("\"100\"", "\"4\""),
        ("1e2", "40e-1"),
    ] {
        let vector = format!(
            r#"{{"storageType":"u","pathOrInlineDv":"ab^-aqEH.-t@S}}K{{vb[*k^","offset":{offset},"sizeInBytes":{size},"cardinality":{size}}}"#
        );
        let add = add(&format!(
            r#"{{"add":{{"path":"a","size":{size},"modificationTime":{size},"deletionVector":{vector}}}}}"#
        ));
        let dv = add.dv.unwrap();
        assert_eq!((add.size, add.modification_time), (100, Some(100)));
        assert_eq!((dv.offset, dv.size, dv.cardinality), (Some(4), 100, 100));
        let remove = format!(r#"{{"remove":{{"path":"a","deletionVector":{vector}}}}}"#);
        let Action::Remove { dv_id, .. } = one(&remove) else {
            panic!("no remove");
        };
        assert_eq!(dv_id, Some(dv.id));
        let protocol =
            format!(r#"{{"protocol":{{"minReaderVersion":{offset},"minWriterVersion":{size}}}}}"#);
        let Action::Protocol(protocol) = one(&protocol) else {
            panic!("no protocol");
        };
        assert_eq!(
            (protocol.min_reader_version, protocol.min_writer_version),
            (4, 100)
        );
    }
}

#[test]
fn a_vector_without_storage_type_and_path_is_none() {
    let vector = r#"{"storageType":"","pathOrInlineDv":"","sizeInBytes":0,"cardinality":0}"#;
    let add = format!(r#"{{"add":{{"path":"a","size":1,"deletionVector":{vector}}}}}"#);
    assert!(matches!(one(&add), Action::Add { add, .. } if add.dv.is_none()));
    let remove = format!(r#"{{"remove":{{"path":"a","deletionVector":{vector}}}}}"#);
    assert!(matches!(one(&remove), Action::Remove { dv_id: None, .. }));
    // One that has a path may be a file, and nobody says where.
    let error = read(add.replace(r#"Dv":"""#, r#"Dv":"x""#).as_bytes()).unwrap_err();
    assert!(matches!(error, LogError::Path { .. }), "{error}");
}

#[test]
fn what_decides_about_no_file_is_unknown_where_it_is_odd() {
    for odd in [
        "1e400",
        "true",
        "\"soon\"",
        "{}",
        "[1]",
        "\"\\ud800\"",
        "null",
        "-1.5",
    ] {
        let with_odd = |line: &str| line.replace('?', odd);
        let add = add(&with_odd(
            r#"{"add":{"path":"a","size":1,"modificationTime":?,"stats":?,"stats_parsed":?,"tags":?,"partitionValues":?,"dataChange":?,"baseRowId":?}}"#,
        ));
        assert_eq!((add.modification_time, add.rows), (None, None), "{odd}");

        let found = metadata(&with_odd(
            r#"{"metaData":{"id":"x","name":?,"description":?,"format":?,"schemaString":?,"partitionColumns":?,"configuration":?,"createdTime":?}}"#,
        ));
        assert_eq!(found.id.as_deref(), Some("x"));
        assert!(found.configuration.is_empty(), "{odd}");
        let found = metadata(&with_odd(
            r#"{"metaData":{"configuration":{"a":?,"b":"c"},"partitionColumns":["p",?]}}"#,
        ));
        assert_eq!(found.configuration["b"], "c", "{odd}");
        assert_eq!(found.partition_columns[0], "p", "{odd}");

        let is_unknown = [
            r#"{"cdc":{"path":"c","size":?,"tags":?}}"#,
            r#"{"sidecar":{"path":"s","sizeInBytes":?,"modificationTime":?,"tags":?}}"#,
            r#"{"txn":{"appId":"a","version":?,"lastUpdated":?}}"#,
            r#"{"checkpointMetadata":{"version":?,"tags":?}}"#,
            r#"{"protocol":{"minReaderVersion":1,"minWriterVersion":?,"writerFeatures":?}}"#,
        ]
        .map(|line| {
            let found = one(&with_odd(line));
            let is_none = matches!(
                found,
                Action::Cdc { size: None, .. }
                    | Action::Sidecar { size: None, .. }
                    | Action::Txn { version: None, .. }
                    | Action::CheckpointMetadata { version: None }
            );
            is_none || matches!(found, Action::Protocol(found) if found.min_writer_version == 0)
        });
        assert_eq!(is_unknown, [true; 5], "{odd}");
    }
    for action in [
        "txn",
        "domainMetadata",
        "cdc",
        "checkpointMetadata",
        "commitInfo",
        "invented",
    ] {
        for odd in ["7", "\"x\"", "[]", "true", "{}"] {
            read(format!(r#"{{"{action}":{odd}}}"#).as_bytes()).unwrap();
        }
    }
    let Action::Domain { configuration, .. } =
        one(r#"{"domainMetadata":{"domain":"d","configuration":{"a": 1},"removed":0}}"#)
    else {
        panic!("no domain");
    };
    assert_eq!(configuration.as_deref(), Some(r#"{"a": 1}"#));
}

#[test]
fn the_last_of_two_fields_counts() {
    let add =
        add(r#"{"add":{"path":"b","size":2},"add":{"path":"b","size":2,"path":"a","size":1}}"#);
    assert_eq!((add.file, add.size), (inside("a"), 1));
    let none = read(br#"{"add":{"path":"b","size":2},"add":null}"#).unwrap();
    assert_eq!(none, []);
}

#[test]
fn a_removed_path_that_names_no_object_is_passed_over() {
    for path in ["caf%E9.parquet", "", "../../../x", "a%00b"] {
        for action in ["remove", "cdc"] {
            let found = one(&format!(r#"{{"{action}":{{"path":"{path}","size":1}}}}"#));
            assert_eq!(
                found,
                Action::Unnameable {
                    path: path.to_owned()
                }
            );
        }
        let error = read(format!(r#"{{"add":{{"path":"{path}","size":1}}}}"#).as_bytes());
        assert!(matches!(error, Err(LogError::Path { .. })), "{error:?}");
    }
}

#[test]
fn what_decides_about_files_and_is_no_action_is_an_error_that_names_the_field() {
    let cases = r#"
        {"add":["a",1,2,null,null,null]} add is not an object
        {"add":"a"} add is not an object
        {"add":{"size":1}} add.path is missing
        {"add":{"path":{},"size":1}} add.path is not text
        {"add":{"path":"\ud800","size":1}} add.path is not text
        {"add":{"path":"a","size":1,"deletionVector":{}}} deletionVector.storageType is missing
        {"add":{"path":"a","size":1,"deletionVector":"u"}} deletionVector is not an object
        {"remove":7} remove is not an object
        {"remove":{}} remove.path is missing
        {"sidecar":{"path":[]}} sidecar.path is not text
        {"protocol":3} protocol is not an object
        {"protocol":{}} protocol.minReaderVersion is missing
        {"protocol":{"minReaderVersion":3,"readerFeatures":"deletionVectors"}} protocol.readerFeatures is not a list of names
        {"protocol":{"minReaderVersion":3,"readerFeatures":["a",null]}} protocol.readerFeatures is not a list of names
        {"metaData":"x"} metaData is not an object"#;
    for case in cases.lines().skip(1) {
        let (bad, says) = case.trim().split_once(' ').unwrap();
        let error = read(format!("{{}}\n{bad}").as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), format!("0.json line 2: {says}"));
    }
    let error = read(br#"{"protocol":{"minReaderVersion":"three"}}"#).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"0.json line 1 gives minReaderVersion of protocol as "three": not a whole number in range"#
    );
}

#[test]
fn path_that_points_nowhere_is_an_error() {
    let error = read(br#"{"add":{"path":"../../x","size":1}}"#).unwrap_err();
    assert!(matches!(error, LogError::Path { .. }), "{error}");
}

#[test]
fn a_huge_action_is_refused_before_it_is_read_to_its_end() {
    struct Endless(u64);
    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0 += buffer.len() as u64;
            assert!(self.0 < VALUE_LIMIT * 2, "read on past the limit");
            buffer.fill(b' ');
            Ok(buffer.len())
        }
    }
    let root = TableRoot::new("s3://lake/t").unwrap();
    for begin in ["{", "{\"add\":{\"stats\":\""] {
        let reader = BufReader::new(begin.as_bytes().chain(Endless(0)));
        let error = read_commit(reader, "0.json", &root, &mut |_| Ok(())).unwrap_err();
        assert!(
            matches!(
                error,
                LogError::ValueTooLong {
                    line: 1,
                    limit: VALUE_LIMIT,
                    ..
                }
            ),
            "{error}"
        );
    }
}
