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
    let Action::Add { add, .. } = one(&format!(
        r#"{{"add":{{"path":"a","size":0,"deletionVector":{vector}}}}}"#
    )) else {
        panic!("no add");
    };
    let dv = add.dv.unwrap();
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
    let Action::Metadata(metadata) = one(
        r#"{"metaData":{"id":"x","name":null,"partitionColumns":["p"],"configuration":{"a":"b","c":null}}}"#,
    ) else {
        panic!("no metadata");
    };
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
        let Action::Add { add, .. } = one(&line) else {
            panic!("no add");
        };
        assert_eq!(add.rows, rows, "{stats}");
    }
}

#[test]
fn a_size_that_is_missing_or_no_size_is_an_error_that_names_the_file() {
    for (size, says) in [
        ("", "0.json line 2 gives no size for x.parquet"),
        (
            r#","size":null"#,
            "0.json line 2 gives no size for x.parquet",
        ),
        (
            r#","size":-1"#,
            "0.json line 2 gives size of x.parquet as -1: not a whole number in range",
        ),
        (
            r#","size":100.5"#,
            "0.json line 2 gives size of x.parquet as 100.5: not a whole number in range",
        ),
        (
            r#","size":1,"size":"x""#,
            r#"0.json line 2 gives size of x.parquet as "x": not a whole number in range"#,
        ),
        (
            r#","size":{"a":1}"#,
            r#"0.json line 2 gives size of x.parquet as {"a":1}: not a whole number in range"#,
        ),
    ] {
        let text = format!("{{}}\n{{\"add\":{{\"path\":\"x.parquet\"{size}}}}}");
        assert_eq!(read(text.as_bytes()).unwrap_err().to_string(), says);
    }
}

#[test]
fn a_vector_that_lacks_a_number_or_has_an_odd_one_is_an_error() {
    let refusal = |vector: &str| {
        let line = format!(r#"{{"add":{{"path":"a","size":1,"deletionVector":{vector}}}}}"#);
        read(line.as_bytes()).unwrap_err().to_string()
    };
    assert_eq!(
        refusal(r#"{"storageType":"i","pathOrInlineDv":"x","sizeInBytes":1}"#),
        "0.json line 1 gives no cardinality for the deletion vector of a"
    );
    assert_eq!(
        refusal(r#"{"storageType":"i","pathOrInlineDv":"x","cardinality":1}"#),
        "0.json line 1 gives no sizeInBytes for the deletion vector of a"
    );
    assert_eq!(
        refusal(
            r#"{"storageType":"i","pathOrInlineDv":"x","sizeInBytes":1,"cardinality":1,"offset":-1}"#
        ),
        "0.json line 1 gives offset of the deletion vector of a as -1: not a whole number in range"
    );
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
        let add = format!(
            r#"{{"add":{{"path":"a","size":{size},"modificationTime":{size},"deletionVector":{vector}}}}}"#
        );
        let Action::Add { add, .. } = one(&add) else {
            panic!("no add");
        };
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
        let line = format!(
            r#"{{"add":{{"path":"a","size":1,"modificationTime":{odd},"stats":{odd},"stats_parsed":{odd},"tags":{odd},"partitionValues":{odd},"dataChange":{odd},"baseRowId":{odd}}}}}"#
        );
        let Action::Add { add, .. } = one(&line) else {
            panic!("no add");
        };
        assert_eq!((add.modification_time, add.rows), (None, None), "{odd}");

        let line = format!(
            r#"{{"metaData":{{"id":"x","name":{odd},"description":{odd},"format":{odd},"schemaString":{odd},"partitionColumns":{odd},"configuration":{odd},"createdTime":{odd}}}}}"#
        );
        let Action::Metadata(metadata) = one(&line) else {
            panic!("no metaData");
        };
        assert_eq!(metadata.id.as_deref(), Some("x"));
        assert!(metadata.configuration.is_empty(), "{odd}");

        let line = format!(
            r#"{{"metaData":{{"configuration":{{"a":{odd},"b":"c"}},"partitionColumns":["p",{odd}]}}}}"#
        );
        let Action::Metadata(metadata) = one(&line) else {
            panic!("no metaData");
        };
        assert_eq!(metadata.configuration["b"], "c", "{odd}");
        assert_eq!(metadata.partition_columns[0], "p", "{odd}");

        let line = format!(r#"{{"cdc":{{"path":"c","size":{odd},"tags":{odd}}}}}"#);
        assert!(
            matches!(one(&line), Action::Cdc { size: None, .. }),
            "{odd}"
        );
        let line = format!(
            r#"{{"sidecar":{{"path":"s","sizeInBytes":{odd},"modificationTime":{odd},"tags":{odd}}}}}"#
        );
        assert!(
            matches!(one(&line), Action::Sidecar { size: None, .. }),
            "{odd}"
        );
        let line = format!(r#"{{"txn":{{"appId":"a","version":{odd},"lastUpdated":{odd}}}}}"#);
        assert!(
            matches!(one(&line), Action::Txn { version: None, .. }),
            "{odd}"
        );
        let line = format!(r#"{{"checkpointMetadata":{{"version":{odd},"tags":{odd}}}}}"#);
        let found = one(&line);
        assert!(
            matches!(found, Action::CheckpointMetadata { version: None }),
            "{odd}"
        );
        let line = format!(
            r#"{{"protocol":{{"minReaderVersion":1,"minWriterVersion":{odd},"writerFeatures":{odd}}}}}"#
        );
        assert!(matches!(one(&line), Action::Protocol(found) if found.min_writer_version == 0));
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
    let Action::Add { add, .. } =
        one(r#"{"add":{"path":"b","size":2},"add":{"path":"b","size":2,"path":"a","size":1}}"#)
    else {
        panic!("no add");
    };
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
    for (bad, says) in [
        (r#"{"add":["a",1,2,null,null,null]}"#, "add is no object"),
        (r#"{"add":"a"}"#, "add is no object"),
        (r#"{"add":{"size":1}}"#, "add.path is missing"),
        (r#"{"add":{"path":{},"size":1}}"#, "add.path is no text"),
        (
            r#"{"add":{"path":"\ud800","size":1}}"#,
            "add.path is no text",
        ),
        (
            r#"{"add":{"path":"a","size":1,"deletionVector":{}}}"#,
            "deletionVector.storageType is missing",
        ),
        (
            r#"{"add":{"path":"a","size":1,"deletionVector":"u"}}"#,
            "deletionVector is no object",
        ),
        (r#"{"remove":7}"#, "remove is no object"),
        (r#"{"remove":{}}"#, "remove.path is missing"),
        (r#"{"sidecar":{"path":[]}}"#, "sidecar.path is no text"),
        (r#"{"protocol":3}"#, "protocol is no object"),
        (r#"{"protocol":{}}"#, "protocol.minReaderVersion is missing"),
        (
            r#"{"protocol":{"minReaderVersion":3,"readerFeatures":"deletionVectors"}}"#,
            "protocol.readerFeatures is no list of names",
        ),
        (
            r#"{"protocol":{"minReaderVersion":3,"readerFeatures":["a",null]}}"#,
            "protocol.readerFeatures is no list of names",
        ),
        (r#"{"metaData":"x"}"#, "metaData is no object"),
    ] {
        let error = read(format!("{{}}\n{bad}").as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), format!("0.json line 2: {says}"), "{bad}");
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
