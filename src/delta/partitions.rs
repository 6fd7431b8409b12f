//! Which whole partitions a commit deleted.
//!
//! Read on demand from the one commit that matters, so that no other reading pays for partition values. Says nothing
//! rather than something that might be wrong: a commit that deleted a part of a partition is not one of these.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead;

use serde::Deserialize;
use serde::de::IgnoredAny;

/// A partition: the value of each partition column as the log spells it; `None` is null.
pub type Partition = BTreeMap<String, Option<String>>;

/// With more partitions than this, nobody would read the condition.
const PARTITIONS_MAX: usize = 8;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    add: Option<IgnoredAny>,
    remove: Option<Remove>,
    commit_info: Option<Info>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Remove {
    partition_values: Option<Partition>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    operation_parameters: Option<serde_json::Value>,
}

/// Returns the partitions that a commit deleted whole, by its removes and its condition; `None` where it deleted
/// anything else, or where the commit does not show it. `columns` are the table's partition columns.
pub fn deleted_partitions(reader: impl BufRead, columns: &[String]) -> Option<Vec<Partition>> {
    let mut found: BTreeSet<Partition> = BTreeSet::new();
    if columns.is_empty() {
        return None;
    }
    for line in serde_json::Deserializer::from_reader(reader).into_iter::<Line>() {
        let line = line.ok()?;
        if line.add.is_some() {
            return None;
        }
        if let Some(info) = line.commit_info {
            let parameters = info.operation_parameters;
            let condition = parameters.as_ref().and_then(|all| all.get("predicate"));
            if let Some(condition) = condition.filter(|it| !it.is_null())
                && !is_about(condition.as_str()?, columns)
            {
                return None;
            }
        }
        if let Some(remove) = line.remove {
            let values = remove.partition_values?;
            // Under column mapping the log has the physical names, which no statement can use.
            if values.len() != columns.len() || !columns.iter().all(|it| values.contains_key(it)) {
                return None;
            }
            found.insert(values);
            if found.len() > PARTITIONS_MAX {
                return None;
            }
        }
    }
    (!found.is_empty()).then(|| found.into_iter().collect())
}

/// Whether a condition as Spark writes it (`["(region#12 = r05)"]`) asks about partition columns alone. Spark marks
/// each column by `#` and a number; a condition without one is of another writer, or of nothing that is known here.
fn is_about(condition: &str, columns: &[String]) -> bool {
    if condition.trim() == "[]" {
        return true;
    }
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut named = 0;
    for (at, _) in condition.match_indices('#') {
        let (before, after) = condition.split_at(at);
        if !after[1..].starts_with(|c: char| c.is_ascii_digit()) {
            return false;
        }
        let name = before
            .rsplit(|c: char| !is_word(c))
            .next()
            .unwrap_or_default();
        if !columns.iter().any(|column| column == name) {
            return false;
        }
        named += 1;
    }
    named > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deleted(condition: &str, lines: &[&str], columns: &[&str]) -> Option<Vec<String>> {
        let info = format!(
            r#"{{"commitInfo":{{"operation":"DELETE","operationParameters":{{"predicate":{}}}}}}}"#,
            serde_json::Value::from(condition)
        );
        let body = [&[info.as_str()], lines].concat().join("\n");
        let columns: Vec<String> = columns.iter().map(|it| (*it).to_owned()).collect();
        let found = deleted_partitions(body.as_bytes(), &columns)?;
        let told = found.iter().map(|it| serde_json::to_string(it).unwrap());
        Some(told.collect())
    }

    const R05: &str = r#"{"remove":{"path":"a","partitionValues":{"region":"r05"}}}"#;
    const NULL: &str = r#"{"remove":{"path":"b","partitionValues":{"region":null}}}"#;

    #[test]
    fn whole_partitions_are_named_once_each() {
        let condition = r#"["(region#12 = r05)"]"#;
        let found = deleted(condition, &[R05, R05, NULL], &["region"]).unwrap();
        assert_eq!(found, [r#"{"region":null}"#, r#"{"region":"r05"}"#]);
        let two = r#"{"remove":{"path":"a","partitionValues":{"day":"2026-01-01","region":"r1"}}}"#;
        let condition = r#"["((region#1 = r1) AND (day#2 = 2026-01-01))"]"#;
        assert_eq!(
            deleted(condition, &[two], &["day", "region"])
                .unwrap()
                .len(),
            1
        );
        assert!(
            deleted("[]", &[R05], &["region"]).is_some(),
            "a DELETE of everything"
        );
    }

    #[test]
    fn a_part_of_a_partition_is_not_called_one() {
        let by_row = r#"["((region#1 = r05) AND (id#7L > 3))"]"#;
        assert_eq!(deleted(by_row, &[R05], &["region"]), None);
        let condition = r#"["(region#12 = r05)"]"#;
        let rewritten = r#"{"add":{"path":"c","partitionValues":{"region":"r05"},"size":1}}"#;
        assert_eq!(deleted(condition, &[R05, rewritten], &["region"]), None);
        assert_eq!(
            deleted("region = 'r05' AND id > 3", &[R05], &["region"]),
            None
        );
        assert_eq!(deleted("(subregion#1 = r05)", &[R05], &["region"]), None);
        assert_eq!(deleted("(region#a = r05)", &[R05], &["region"]), None);
    }

    #[test]
    fn what_the_log_does_not_tell_is_not_guessed() {
        let condition = r#"["(region#12 = r05)"]"#;
        for (line, columns) in [
            (r#"{"remove":{"path":"a"}}"#, &["region"][..]),
            (
                r#"{"remove":{"path":"a","partitionValues":{"col-1f":"r05"}}}"#,
                &["region"],
            ),
            (R05, &[]),
            (R05, &["region", "day"]),
            ("{", &["region"]),
        ] {
            assert_eq!(deleted(condition, &[line], columns), None, "{line}");
        }
        assert_eq!(deleted(condition, &[], &["region"]), None);
        let many: Vec<String> = (0..=PARTITIONS_MAX)
            .map(|n| format!(r#"{{"remove":{{"path":"a","partitionValues":{{"region":"{n}"}}}}}}"#))
            .collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(deleted(condition, &many, &["region"]), None);
    }
}
