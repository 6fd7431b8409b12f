//! Reads files of JSON lines: commits, and the top files of V2 checkpoints that are written in JSON.
//!
//! One line is in memory at a time, and no line may be longer than [`LINE_LIMIT`]. A line that cannot be understood
//! is an error with its number: a commit that was cut off in the middle must not become a smaller table.

use std::io::{BufRead, Read as _};

use serde::Deserialize;

use super::path::TableRoot;
use super::raw::{
    Object, Origin, RawAdd, RawCdc, RawCheckpointMetadata, RawCommitInfo, RawDomain, RawMetadata,
    RawRemove, RawSidecar, RawTxn,
};
use super::{Action, LogError, Protocol, Sink};

/// The longest line that is read, bytes. A `metaData` of fifty thousand columns, or an `add` with statistics for all
/// of them, is some 10 MB; anything far beyond is no action but an attempt on our memory.
pub const LINE_LIMIT: u64 = 64 * 1024 * 1024;

/// Reads the actions of a commit or of a JSON checkpoint, in the order of the file. `file` is its name for errors.
///
/// # Errors
/// [`LogError::BadJson`], [`LogError::NotUtf8`] and [`LogError::LineTooLong`] with the line; [`LogError::MissingSize`],
/// [`LogError::BadVector`] and [`LogError::Path`] for a file that the line names; [`LogError::Read`]; and what the
/// sink returns.
pub fn read_commit(
    reader: impl BufRead,
    file: &str,
    root: &TableRoot,
    sink: &mut Sink<'_>,
) -> Result<(), LogError> {
    read_lines(reader, file, LINE_LIMIT, &mut |line, number| {
        let Object(line) =
            serde_json::from_str::<Object<Line<'_>>>(line).map_err(|error| LogError::BadJson {
                file: file.to_owned(),
                line: number,
                detail: error.to_string(),
            })?;
        line.into_actions(Origin { file, root }, sink)
    })
}

/// One line. Usually one action, but nothing in the format forbids several.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    #[serde(borrow)]
    add: Option<Object<RawAdd<'a>>>,
    #[serde(borrow)]
    remove: Option<Object<RawRemove<'a>>>,
    #[serde(borrow)]
    cdc: Option<Object<RawCdc<'a>>>,
    #[serde(borrow)]
    sidecar: Option<Object<RawSidecar<'a>>>,
    protocol: Option<Object<Protocol>>,
    meta_data: Option<Object<RawMetadata>>,
    txn: Option<Object<RawTxn>>,
    domain_metadata: Option<Object<RawDomain>>,
    checkpoint_metadata: Option<Object<RawCheckpointMetadata>>,
    commit_info: Option<Object<RawCommitInfo>>,
}

impl Line<'_> {
    fn into_actions(self, origin: Origin<'_>, sink: &mut Sink<'_>) -> Result<(), LogError> {
        if let Some(Object(remove)) = self.remove {
            sink(remove.into_action(origin)?)?;
        }
        if let Some(Object(add)) = self.add {
            sink(add.into_action(origin)?)?;
        }
        if let Some(Object(cdc)) = self.cdc {
            sink(cdc.into_action(origin)?)?;
        }
        if let Some(Object(sidecar)) = self.sidecar {
            sink(sidecar.into_action(origin)?)?;
        }
        if let Some(Object(protocol)) = self.protocol {
            sink(Action::Protocol(protocol))?;
        }
        if let Some(Object(metadata)) = self.meta_data {
            sink(metadata.into_action())?;
        }
        if let Some(Object(txn)) = self.txn {
            sink(txn.into_action())?;
        }
        if let Some(Object(domain)) = self.domain_metadata {
            sink(domain.into_action())?;
        }
        if let Some(Object(metadata)) = self.checkpoint_metadata {
            sink(metadata.into_action())?;
        }
        if let Some(Object(info)) = self.commit_info {
            sink(info.into_action())?;
        }
        Ok(())
    }
}

/// Calls `each` with every line that is not blank, and its number from 1.
fn read_lines(
    mut reader: impl BufRead,
    file: &str,
    limit: u64,
    each: &mut dyn FnMut(&str, u64) -> Result<(), LogError>,
) -> Result<(), LogError> {
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let read = reader.by_ref().take(limit + 1).read_until(b'\n', &mut line);
        let read = read.map_err(|source| LogError::Read {
            file: file.to_owned(),
            source,
        })?;
        if read == 0 {
            break;
        }
        if line.strip_suffix(b"\n").unwrap_or(&line).len() as u64 > limit {
            return Err(LogError::LineTooLong {
                file: file.to_owned(),
                line: number,
                limit,
            });
        }
        let text = std::str::from_utf8(&line).map_err(|_| LogError::NotUtf8 {
            file: file.to_owned(),
            line: number,
        })?;
        // A lone carriage return ends a line for Hadoop's readers; inside an action it is always escaped.
        for text in text.split('\r').map(str::trim) {
            if !text.is_empty() {
                each(text, number)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{self, BufReader, Read};

    use super::*;
    use crate::delta::{Add, CommitInfo, Spelling};
    use crate::ids::{Location, Timestamp, Version};

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
                    modification_time: 5,
                    rows: Some(3),
                    dv: None
                },
                spelling: Some(Spelling::of("a%20b")),
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
                spelling: Some(Spelling::of("a")),
            }
        );
        assert_eq!(
            one(r#"{"cdc":{"path":"_change_data/c","size":9}}"#),
            Action::Cdc {
                file: inside("_change_data/c"),
                absolute: false,
                size: 9
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
    fn commit_info_takes_only_what_is_as_it_should_be() {
        let info = |json: &str| {
            let Action::CommitInfo(info) = one(&format!(r#"{{"commitInfo":{json}}}"#)) else {
                panic!("no commitInfo");
            };
            info
        };
        assert_eq!(
            info(r#"{"operation":{"a":1},"timestamp":"soon","userName":7}"#),
            CommitInfo::default()
        );
        let full =
            info(r#"{"operation":"WRITE","timestamp":1000,"userId":"7","inCommitTimestamp":2000}"#);
        assert_eq!(full.operation.as_deref(), Some("WRITE"));
        assert_eq!(full.user.as_deref(), Some("7"));
        assert_eq!(
            full.in_commit_timestamp,
            Some(Timestamp::from_millisecond(2000).unwrap())
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
    fn size_that_is_missing_or_negative_is_an_error_that_names_the_file() {
        for size in ["", r#","size":null"#, r#","size":-1"#] {
            for kind in ["add", "cdc"] {
                let error =
                    read(format!(r#"{{"{kind}":{{"path":"x.parquet"{size}}}}}"#).as_bytes())
                        .unwrap_err();
                assert_eq!(error.to_string(), "0.json gives no size for x.parquet");
            }
        }
    }

    #[test]
    fn vector_that_lacks_a_number_is_an_error() {
        for vector in [
            r#"{"storageType":"i","pathOrInlineDv":"x","sizeInBytes":1}"#,
            r#"{"storageType":"i","pathOrInlineDv":"x","cardinality":1}"#,
            r#"{"storageType":"i","pathOrInlineDv":"x","sizeInBytes":1,"cardinality":1,"offset":-1}"#,
        ] {
            let line = format!(r#"{{"add":{{"path":"a","size":1,"deletionVector":{vector}}}}}"#);
            let error = read(line.as_bytes()).unwrap_err();
            assert!(matches!(error, LogError::BadVector { .. }), "{error}");
        }
    }

    #[test]
    fn line_that_is_cut_off_or_no_object_is_an_error_with_its_number() {
        for bad in [
            r#"{"add":{"path":"a","si"#,
            "[]",
            "5",
            r#"{"add":["a",1,2,null,null,null]}"#,
            r#"{"add":{"size":1}}"#,
            r#"{"add":{"path":"a","size":1,"deletionVector":{}}}"#,
            r#"{"txn":{"appId":"a"}} {"txn":{"appId":"b"}}"#,
        ] {
            let error = read(format!("{{}}\n{bad}").as_bytes()).unwrap_err();
            assert!(
                matches!(&error, LogError::BadJson { file, line: 2, .. } if file == "0.json"),
                "{bad}: {error}"
            );
        }
    }

    #[test]
    fn line_that_is_not_utf8_is_an_error_with_its_number() {
        let error = read(b"{}\n{}\n{\"add\":{\"path\":\"\xff\",\"size\":1}}").unwrap_err();
        assert_eq!(error.to_string(), "0.json line 3 is not UTF-8");
    }

    #[test]
    fn path_that_points_nowhere_is_an_error() {
        let error = read(br#"{"add":{"path":"../../x","size":1}}"#).unwrap_err();
        assert!(matches!(error, LogError::Path { .. }), "{error}");
    }

    #[test]
    fn huge_line_is_refused_before_it_is_read_to_its_end() {
        struct Endless(u64);
        impl Read for Endless {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.0 += buffer.len() as u64;
                assert!(self.0 < LINE_LIMIT * 2, "read on past the limit");
                buffer.fill(b' ');
                Ok(buffer.len())
            }
        }
        let root = TableRoot::new("s3://lake/t").unwrap();
        let reader = BufReader::new(Endless(0));
        let error = read_commit(reader, "0.json", &root, &mut |_| Ok(())).unwrap_err();
        assert!(
            matches!(
                error,
                LogError::LineTooLong {
                    line: 1,
                    limit: LINE_LIMIT,
                    ..
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn line_limit_counts_the_line_and_not_its_end() {
        let read = |text: &str| read_lines(text.as_bytes(), "f", 4, &mut |_, _| Ok(()));
        read("abcd\nabcd\n").unwrap();
        assert!(matches!(
            read("abcd\nabcde"),
            Err(LogError::LineTooLong { line: 2, .. })
        ));
        assert!(matches!(
            read("abcde\n"),
            Err(LogError::LineTooLong { line: 1, .. })
        ));
    }
}
