//! Compares a bucket policy with the one that should be there, statement by statement.
//!
//! Statements are matched by their `Sid`. Order and spelling without meaning are ignored: a list of one equals its element,
//! lists of actions, resources and values are sets, and the case of actions does not count, as in IAM.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

/// A difference between the policy and the expected one, with the statement's `Sid`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// The statement is missing.
    Missing(String),
    /// The statement differs.
    Changed(String),
    /// A further statement allows something.
    AlsoAllows(String),
    /// A further statement denies something.
    AlsoDenies(String),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(sid) => write!(f, "the bucket policy lacks the statement {sid}"),
            Self::Changed(sid) => write!(f, "the bucket policy's statement {sid} differs"),
            Self::AlsoAllows(sid) => write!(f, "the bucket policy also allows by {sid}"),
            Self::AlsoDenies(sid) => write!(f, "the bucket policy also denies by {sid}"),
        }
    }
}

/// The differences between two policy documents; `null` is one without statements.
pub fn compare(expected: &Value, found: &Value) -> Vec<Difference> {
    let expected = statements(expected);
    let mut found = statements(found);
    let mut differences = Vec::new();
    for (sid, wanted) in expected {
        match found.remove(&sid) {
            None => differences.push(Difference::Missing(sid)),
            Some(there) if there == wanted => {}
            Some(_) => differences.push(Difference::Changed(sid)),
        }
    }
    for (sid, further) in found {
        let denies = |it: &Canonical| it.get("Effect").and_then(Value::as_str) == Some("Deny");
        differences.push(if further.iter().all(denies) {
            Difference::AlsoDenies(sid)
        } else {
            Difference::AlsoAllows(sid)
        });
    }
    differences
}

/// The statements in canonical form by `Sid`, which several may share; those without one are under `(no Sid)`.
fn statements(policy: &Value) -> BTreeMap<String, BTreeSet<Canonical>> {
    let mut by_sid: BTreeMap<String, BTreeSet<Canonical>> = BTreeMap::new();
    let statements = match policy.get("Statement") {
        Some(Value::Array(all)) => all.as_slice(),
        Some(one) => std::slice::from_ref(one),
        None => &[],
    };
    for statement in statements {
        let sid = statement.get("Sid").and_then(Value::as_str);
        let sid = sid.unwrap_or("(no Sid)").to_owned();
        by_sid
            .entry(sid)
            .or_default()
            .insert(Canonical(canonical(statement, "")));
    }
    by_sid
}

/// A value that is ordered by its text.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Canonical(Value);

impl Canonical {
    fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }
}

impl Ord for Canonical {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.to_string().cmp(&other.0.to_string())
    }
}

impl PartialOrd for Canonical {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

fn canonical(value: &Value, key: &str) -> Value {
    match value {
        Value::Object(fields) => {
            let mut sorted: Vec<_> = fields
                .iter()
                .map(|(key, value)| (key.clone(), canonical(value, key)))
                .collect();
            sorted.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(sorted.into_iter().collect())
        }
        Value::Array(items) => {
            let mut items: Vec<_> = items.iter().map(|item| canonical(item, key)).collect();
            items.sort_by_key(Value::to_string);
            items.dedup();
            match <[Value; 1]>::try_from(items) {
                Ok([one]) => one,
                Err(items) => Value::Array(items),
            }
        }
        // A number or a truth value in a condition may also be written as a text.
        Value::Bool(truth) => Value::String(truth.to_string()),
        Value::Number(number) => Value::String(number.to_string()),
        Value::String(text) if matches!(key, "Action" | "NotAction") => {
            Value::String(text.to_ascii_lowercase())
        }
        Value::String(text) => Value::String(text.clone()),
        Value::Null => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(statements: &Value) -> Value {
        json!({"Version": "2012-10-17", "Statement": statements})
    }

    fn rendered() -> Value {
        policy(&json!([
            {"Sid": "A", "Effect": "Deny", "Principal": "*", "Action": ["s3:PutObject", "s3:DeleteObject"],
             "Resource": "arn:aws:s3:::v/*", "Condition": {"NumericLessThan": {"s3:x": 3}, "Bool": {"y": false}}},
            {"Sid": "B", "Effect": "Deny", "Principal": "*", "Action": "s3:PutBucketPolicy", "Resource": "arn:aws:s3:::v"},
        ]))
    }

    #[test]
    fn order_and_spelling_without_meaning_are_ignored() {
        let same = policy(&json!([
            {"Action": ["s3:putbucketpolicy"], "Effect": "Deny", "Principal": ["*"], "Resource": ["arn:aws:s3:::v"],
             "Sid": "B"},
            {"Sid": "A", "Effect": "Deny", "Principal": "*", "Action": ["s3:DeleteObject", "s3:PutObject"],
             "Resource": ["arn:aws:s3:::v/*"],
             "Condition": {"Bool": {"y": "false"}, "NumericLessThan": {"s3:x": ["3"]}}},
        ]));
        assert_eq!(compare(&rendered(), &same), []);
    }

    #[test]
    fn missing_changed_and_further_statements_are_named_by_sid() {
        use Difference::{AlsoAllows, AlsoDenies, Changed, Missing};
        let changed = policy(&json!([
            {"Sid": "A", "Effect": "Deny", "Principal": "*", "Action": ["s3:PutObject", "s3:DeleteObject"],
             "Resource": "arn:aws:s3:::v/*", "Condition": {"NumericLessThan": {"s3:x": 2}, "Bool": {"y": false}}},
            {"Sid": "C", "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "*"},
            {"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": "*"},
        ]));
        assert_eq!(
            compare(&rendered(), &changed),
            [
                Changed("A".into()),
                Missing("B".into()),
                AlsoAllows("(no Sid)".into()),
                AlsoDenies("C".into()),
            ]
        );
        assert_eq!(
            compare(&rendered(), &Value::Null),
            [Missing("A".into()), Missing("B".into())]
        );
    }

    #[test]
    fn the_case_of_a_resource_counts_and_nonsense_is_not_a_policy() {
        let one = policy(&json!({"Sid": "A", "Effect": "Deny", "Resource": "arn:aws:s3:::v/Key"}));
        let other =
            policy(&json!({"Sid": "A", "Effect": "Deny", "Resource": "arn:aws:s3:::v/key"}));
        assert_eq!(compare(&one, &other), [Difference::Changed("A".into())]);
        for nonsense in [
            json!([]),
            json!({"Statement": 7}),
            json!("x"),
            json!({"Statement": [null]}),
        ] {
            assert_eq!(
                compare(&Value::Null, &nonsense)
                    .iter()
                    .filter(|it| matches!(it, Difference::AlsoDenies(_)))
                    .count(),
                0
            );
        }
    }
}
