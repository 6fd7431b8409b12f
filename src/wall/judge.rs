//! Judges a call by its effect, and only where none can be seen by the server's answer.

use serde::Serialize;

use super::call::Call;
use super::matrix::{Expected, Server, expected, gap};
use crate::format::LockMode;
use crate::iam::Role;

/// The result of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// What the server said.
    pub answer: Answer,
    /// What was seen afterwards.
    pub effect: Effect,
}

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// That it is done.
    Done,
    /// That it is refused.
    Refused {
        /// The HTTP status.
        status: u16,
        /// The error code.
        code: String,
        /// Status, code and message.
        text: String,
    },
    /// The call was not made; why.
    NotMade(String),
}

/// What was seen after a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It took effect.
    Happened,
    /// It had no effect.
    Nothing,
    /// The call was made so that it can change nothing: to a key that is taken on the condition that it is free, or with the
    /// setting that is there already. The server's answer shows whether it was let through.
    Harmless,
}

/// What is proven about a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", content = "reason", rename_all = "kebab-case")]
pub enum Outcome {
    /// It is refused, or without effect.
    Refused,
    /// It is let through.
    Allowed,
    /// Neither; why.
    NotProven(String),
}

/// A call of a role, judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The call.
    pub call: Call,
    /// What it should come to.
    pub expected: Expected,
    /// What it came to.
    pub outcome: Outcome,
    /// What the server said.
    pub said: String,
}

impl Row {
    /// Whether the wall, or the role's policy, is not as designed.
    pub fn is_finding(&self) -> bool {
        match (self.expected, &self.outcome) {
            (Expected::Allowed, Outcome::Refused) | (Expected::Refused, Outcome::Allowed) => true,
            (Expected::Allowed, Outcome::Allowed | Outcome::NotProven(_))
            | (Expected::Refused, Outcome::Refused | Outcome::NotProven(_)) => false,
        }
    }

    /// What to do about a finding.
    pub fn remedy(&self, role: Role) -> String {
        match self.expected {
            Expected::Allowed => format!(
                "the role cannot do its work: attach what `deltavault iam render --role {role}` prints"
            ),
            Expected::Refused => format!(
                "attach what `deltavault iam render --role {role}` prints and nothing else, and the bucket policy of \
                 `iam render --document bucket-policy`"
            ),
        }
    }
}

/// Judges the result of a role's call.
pub fn judge(role: Role, call: Call, seen: &Observation, server: Server, mode: LockMode) -> Row {
    let expected = expected(role, call);
    let mut outcome = outcome(seen);
    if let (Expected::Refused, Outcome::Allowed) = (expected, &outcome)
        && let Some(reason) = gap(server, role, call, mode)
    {
        outcome = Outcome::NotProven(reason.to_owned());
    }
    Row {
        call,
        expected,
        outcome,
        said: match &seen.answer {
            Answer::Done => "done".to_owned(),
            Answer::Refused { text, .. } => text.clone(),
            Answer::NotMade(why) => why.clone(),
        },
    }
}

fn outcome(seen: &Observation) -> Outcome {
    match (seen.effect, &seen.answer) {
        (_, Answer::NotMade(why)) => Outcome::NotProven(why.clone()),
        (Effect::Happened, _) | (Effect::Harmless, Answer::Done) => Outcome::Allowed,
        // Whatever the server said.
        (Effect::Nothing, Answer::Done | Answer::Refused { .. }) => Outcome::Refused,
        (Effect::Harmless, Answer::Refused { status, code, text }) => {
            match (*status, code.as_str()) {
                (401 | 403, _) | (_, "AccessDenied") => Outcome::Refused,
                (405 | 501, _) | (_, "NotImplemented" | "MethodNotAllowed") => {
                    Outcome::NotProven("the server has no such call".to_owned())
                }
                // The right to make the call was found; then it failed, as it was meant to.
                (400..=499, _) => Outcome::Allowed,
                _ => Outcome::NotProven(text.clone()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, code: &str) -> Answer {
        Answer::Refused {
            status,
            code: code.to_owned(),
            text: format!("{code} (HTTP {status})"),
        }
    }

    #[test]
    fn the_effect_decides_and_then_the_answer() {
        let unknown = |why: &str| Outcome::NotProven(why.to_owned());
        for (effect, answer, wanted) in [
            // A success without effect, and a refusal with one.
            (Effect::Nothing, Answer::Done, Outcome::Refused),
            (
                Effect::Happened,
                refused(403, "AccessDenied"),
                Outcome::Allowed,
            ),
            (
                Effect::Nothing,
                refused(400, "InvalidRequest"),
                Outcome::Refused,
            ),
            (
                Effect::Nothing,
                refused(500, "InternalError"),
                Outcome::Refused,
            ),
            (Effect::Happened, Answer::Done, Outcome::Allowed),
            (Effect::Harmless, Answer::Done, Outcome::Allowed),
            (
                Effect::Harmless,
                refused(403, "AccessDenied"),
                Outcome::Refused,
            ),
            (Effect::Harmless, refused(403, ""), Outcome::Refused),
            (
                Effect::Harmless,
                refused(412, "PreconditionFailed"),
                Outcome::Allowed,
            ),
            (
                Effect::Harmless,
                refused(400, "MalformedPolicy"),
                Outcome::Allowed,
            ),
            (
                Effect::Harmless,
                refused(409, "BucketNotEmpty"),
                Outcome::Allowed,
            ),
            (
                Effect::Harmless,
                refused(404, "NoSuchKey"),
                Outcome::Allowed,
            ),
            (
                Effect::Harmless,
                refused(501, "NotImplemented"),
                unknown("the server has no such call"),
            ),
            (
                Effect::Harmless,
                refused(503, "SlowDown"),
                unknown("SlowDown (HTTP 503)"),
            ),
            (
                Effect::Nothing,
                Answer::NotMade("why".into()),
                unknown("why"),
            ),
        ] {
            let seen = Observation { answer, effect };
            assert_eq!(outcome(&seen), wanted, "{seen:?}");
        }
    }

    #[test]
    fn a_gap_of_the_server_is_not_a_missing_wall() {
        let through = Observation {
            answer: Answer::Done,
            effect: Effect::Happened,
        };
        let row = |server, call| {
            judge(
                Role::Snapshotter,
                call,
                &through,
                server,
                LockMode::Compliance,
            )
        };
        assert!(row(Server::Aws, Call::Overwrite).is_finding());
        let known = row(Server::Minio, Call::Overwrite);
        assert!(matches!(known.outcome, Outcome::NotProven(_)) && !known.is_finding());
        assert!(row(Server::Minio, Call::Delete).is_finding());
        assert!(!row(Server::Minio, Call::CreateBlob).is_finding());
        let held = Observation {
            answer: refused(403, "AccessDenied"),
            effect: Effect::Nothing,
        };
        let row = judge(
            Role::Snapshotter,
            Call::CreateBlob,
            &held,
            Server::Aws,
            LockMode::Compliance,
        );
        assert!(row.is_finding());
        assert!(row.remedy(Role::Snapshotter).contains("--role snapshotter"));
    }
}
