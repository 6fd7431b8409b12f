//! What IAM makes of policies and a call: an evaluator for the operators that our documents use, and no others.
//!
//! The crates that there are for this were looked at: they are young, and what a clause says about a header that was
//! not sent, on which half of the walls rest, is not what their tests are about. An operator, or a condition that this
//! does not know, is a panic: a policy that is not understood never passes.

use std::collections::BTreeMap;

use deltavault::iam::{Conditions, Effect, OneOrMany, Policy, Principal, Statement};

/// One authorisation that a call asks for.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// Whose call it is, by ARN; of a role, not of its session.
    pub(crate) principal: String,
    pub(crate) action: String,
    pub(crate) resource: String,
    /// The condition keys that the call has.
    pub(crate) keys: BTreeMap<String, String>,
}

/// What one policy says to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Says {
    Nothing,
    Allow,
    Deny,
}

/// What a policy says: a refusal before a permission, whatever the order.
pub(crate) fn says(policy: &Policy, call: &Call) -> Says {
    let matching = || policy.statement.iter().filter(|one| is_about(one, call));
    if matching().any(|one| one.effect == Effect::Deny) {
        Says::Deny
    } else if matching().next().is_some() {
        Says::Allow
    } else {
        Says::Nothing
    }
}

/// Whether a statement's principals, where it has any, name the caller.
fn names(statement: &Statement, principal: &str) -> bool {
    match &statement.principal {
        None => true,
        Some(Principal::Everybody(all)) => {
            assert_eq!(all, "*");
            true
        }
        Some(Principal::Aws { aws }) => aws.as_slice().iter().any(|arn| arn == principal),
    }
}

fn is_about(statement: &Statement, call: &Call) -> bool {
    let resource = match (&statement.resource, &statement.not_resource) {
        (Some(resource), None) => any_like(resource, &call.resource),
        (None, Some(others)) => !any_like(others, &call.resource),
        (None, None) => true,
        (Some(_), Some(_)) => panic!("{} has both", statement.sid),
    };
    // Actions are compared without regard to case.
    let action = call.action.to_ascii_lowercase();
    let mut actions = statement.action.as_slice().iter();
    names(statement, &call.principal)
        && actions.any(|one| is_like(&one.to_ascii_lowercase(), &action))
        && resource
        && holds(&statement.condition, call)
}

fn holds(conditions: &Conditions, call: &Call) -> bool {
    conditions.iter().all(|(operator, keys)| {
        keys.iter().all(|(key, values)| {
            let found = call.keys.get(key).map(String::as_str);
            compares(operator, found, values)
        })
    })
}

/// A key that the call does not have matches no operator, except `Null` and those that negate.
fn compares(operator: &str, found: Option<&str>, values: &OneOrMany) -> bool {
    let any = |test: &dyn Fn(&str, &str) -> bool| {
        found.is_some_and(|found| values.as_slice().iter().any(|value| test(value, found)))
    };
    let number = |text: &str| text.parse::<f64>().unwrap();
    match operator {
        "Null" => any_of(values, if found.is_none() { "true" } else { "false" }),
        "Bool" | "StringEquals" => any(&|value, found| value == found),
        "StringNotEquals" => !any(&|value, found| value == found),
        "StringLike" | "ArnLike" => any(&is_like),
        "StringNotLike" | "ArnNotLike" => !any(&is_like),
        "NumericLessThan" => any(&|value, found| number(found) < number(value)),
        "NumericGreaterThan" => any(&|value, found| number(found) > number(value)),
        other => panic!("the evaluator does not know {other}"),
    }
}

fn any_of(values: &OneOrMany, wanted: &str) -> bool {
    values.as_slice().iter().any(|value| value == wanted)
}

fn any_like(patterns: &OneOrMany, text: &str) -> bool {
    patterns.as_slice().iter().any(|one| is_like(one, text))
}

/// Whether a text is like a pattern: `*` stands for any number of characters, slashes too, `?` for one.
fn is_like(pattern: &str, text: &str) -> bool {
    fn like(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', [])) => true,
            Some((b'*', rest)) => (0..=text.len()).any(|skip| like(rest, &text[skip..])),
            Some((b'?', rest)) => !text.is_empty() && like(rest, &text[1..]),
            Some((one, rest)) => text.first() == Some(one) && like(rest, &text[1..]),
        }
    }
    like(pattern.as_bytes(), text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(keys: &[(&str, &str)]) -> Call {
        Call {
            principal: "arn:aws:iam::1:role/a".into(),
            action: "s3:PutObject".into(),
            resource: "arn:aws:s3:::b/x/y".into(),
            keys: keys
                .iter()
                .map(|(k, v)| (k.to_string(), v.to_string()))
                .collect(),
        }
    }

    fn one(effect: &str, rest: &str) -> Policy {
        let text = format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Sid":"S","Effect":"{effect}","Action":"s3:Put*",{rest}}}]}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_header_that_was_not_sent_is_unlike_everything_and_nothing_else() {
        let when = |condition: &str| {
            let rest = format!(r#""Resource":"*","Condition":{{{condition}}}"#);
            says(&one("Deny", &rest), &call(&[]))
        };
        assert_eq!(when(r#""StringNotEquals":{"k":"v"}"#), Says::Deny);
        assert_eq!(when(r#""ArnNotLike":{"k":"v"}"#), Says::Deny);
        assert_eq!(when(r#""Null":{"k":"true"}"#), Says::Deny);
        for other in [
            r#""StringEquals":{"k":"v"}"#,
            r#""StringNotEquals":{"k":"v"},"Null":{"k":"false"}"#,
            r#""NumericLessThan":{"k":"3"}"#,
            r#""NumericGreaterThan":{"k":"3"}"#,
            r#""Bool":{"k":"false"}"#,
        ] {
            assert_eq!(when(other), Says::Nothing, "{other}");
        }
    }

    #[test]
    fn resources_are_patterns_and_not_resources_are_all_others() {
        let on = |rest: &str| says(&one("Allow", rest), &call(&[]));
        assert_eq!(on(r#""Resource":"arn:aws:s3:::b/*""#), Says::Allow);
        assert_eq!(on(r#""Resource":["arn:aws:s3:::b/?/y"]"#), Says::Allow);
        assert_eq!(on(r#""Resource":"arn:aws:s3:::b""#), Says::Nothing);
        assert_eq!(on(r#""NotResource":"arn:aws:s3:::b/*""#), Says::Nothing);
        assert_eq!(on(r#""NotResource":"arn:aws:s3:::c/*""#), Says::Allow);
    }

    #[test]
    fn numbers_are_compared_as_numbers_and_principals_by_name() {
        let rest = r#""Resource":"*","Condition":{"NumericLessThan":{"k":"30"}}"#;
        assert_eq!(says(&one("Deny", rest), &call(&[("k", "9")])), Says::Deny);
        assert_eq!(
            says(&one("Deny", rest), &call(&[("k", "30")])),
            Says::Nothing
        );
        let rest = r#""Resource":"*","Principal":{"AWS":"arn:aws:iam::1:role/b"}"#;
        assert_eq!(says(&one("Deny", rest), &call(&[])), Says::Nothing);
    }

    #[test]
    #[should_panic(expected = "does not know")]
    fn what_is_not_understood_never_passes() {
        let rest = r#""Resource":"*","Condition":{"IpAddress":{"k":"v"}}"#;
        says(&one("Deny", rest), &call(&[]));
    }
}
