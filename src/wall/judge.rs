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

/// What the same call came to by somebody who may make it: it shows that a refusal is about who calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "control", content = "control_said", rename_all = "kebab-case")]
pub enum Control {
    /// It was let through.
    LetThrough,
    /// It was not; what the server said.
    Refused(String),
    /// There was none; why.
    None(String),
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
    /// What the same call came to by others, where the server refused it to the role.
    pub control: Option<Control>,
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

/// Whether a call took effect, or would have.
pub fn is_let_through(seen: &Observation) -> bool {
    outcome(seen) == Outcome::Allowed
}

/// Whether a call was refused by the server as it should be, so that the same call by somebody else is wanted.
pub fn needs_control(role: Role, call: Call, seen: &Observation) -> bool {
    expected(role, call) == Expected::Refused
        && outcome(seen) == Outcome::Refused
        && matches!(seen.answer, Answer::Refused { .. })
}

/// Judges the result of a role's call, and of the same call by somebody else where [`needs_control`] asks for it.
pub fn judge(
    role: Role,
    call: Call,
    seen: &Observation,
    control: Option<&Observation>,
    server: Server,
    mode: LockMode,
) -> Row {
    let expected = expected(role, call);
    let mut outcome = outcome(seen);
    let control = needs_control(role, call, seen).then(|| controlled(control));
    if let (Some(Control::Refused(_) | Control::None(_)), Answer::Refused { status, code, text }) =
        (&control, &seen.answer)
        && !is_of_policy(*status, code)
    {
        outcome = Outcome::NotProven(format!(
            "it is refused, but not as by a policy, and nobody is known to be let through: {text}"
        ));
    }
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
        control,
    }
}

fn controlled(seen: Option<&Observation>) -> Control {
    match seen {
        None => {
            Control::None("nobody else was named: --canary-profile, --control-profile".to_owned())
        }
        Some(seen) if is_let_through(seen) => Control::LetThrough,
        Some(seen) => match &seen.answer {
            Answer::Done => Control::Refused("done, without effect".to_owned()),
            Answer::Refused { text, .. } => Control::Refused(text.clone()),
            Answer::NotMade(why) => Control::None(why.clone()),
        },
    }
}

/// Whether a refusal says that the caller lacks the right.
fn is_of_policy(status: u16, code: &str) -> bool {
    matches!(status, 401 | 403) || code == "AccessDenied"
}

fn outcome(seen: &Observation) -> Outcome {
    match (seen.effect, &seen.answer) {
        (_, Answer::NotMade(why)) => Outcome::NotProven(why.clone()),
        (Effect::Happened, _) | (Effect::Harmless, Answer::Done) => Outcome::Allowed,
        // Whatever the server said.
        (Effect::Nothing, Answer::Done | Answer::Refused { .. }) => Outcome::Refused,
        (Effect::Harmless, Answer::Refused { status, code, text }) => {
            match (*status, code.as_str()) {
                (status, code) if is_of_policy(status, code) => Outcome::Refused,
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
                None,
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
            None,
            Server::Aws,
            LockMode::Compliance,
        );
        assert!(row.is_finding());
        assert!(row.remedy(Role::Snapshotter).contains("--role snapshotter"));
    }

    #[test]
    fn a_refusal_for_another_reason_than_policy_is_a_wall_only_with_a_control() {
        let done = Observation {
            answer: Answer::Done,
            effect: Effect::Happened,
        };
        let refused_as = |status, code| Observation {
            answer: refused(status, code),
            effect: Effect::Nothing,
        };
        let denied = || refused_as(403, "AccessDenied");
        let locked = || refused_as(400, "InvalidRequest");
        let not_made = Observation {
            answer: Answer::NotMade("why".to_owned()),
            effect: Effect::Nothing,
        };
        let judged = |seen: &Observation, control: Option<&Observation>| {
            let (server, mode) = (Server::Aws, LockMode::Compliance);
            let row = judge(Role::Auditor, Call::Delete, seen, control, server, mode);
            assert!(!row.is_finding());
            (row.outcome == Outcome::Refused, row.control)
        };
        let through = || Some(Control::LetThrough);
        assert_eq!(judged(&locked(), Some(&done)), (true, through()));
        assert_eq!(judged(&denied(), Some(&done)), (true, through()));
        let also = |text: &str| Some(Control::Refused(text.to_owned()));
        let (by_policy, by_lock) = ("AccessDenied (HTTP 403)", "InvalidRequest (HTTP 400)");
        assert_eq!(judged(&denied(), Some(&denied())), (true, also(by_policy)));
        assert_eq!(judged(&locked(), Some(&denied())), (false, also(by_policy)));
        assert_eq!(judged(&locked(), Some(&locked())), (false, also(by_lock)));
        let none = Some(Control::None("why".to_owned()));
        assert_eq!(judged(&locked(), Some(&not_made)), (false, none));
        assert!(!judged(&locked(), None).0 && judged(&denied(), None).0);
        // What had no effect although the server said that it is done was seen, and needs none.
        let idle = Observation {
            answer: Answer::Done,
            effect: Effect::Nothing,
        };
        assert_eq!(judged(&idle, None), (true, None));
    }

    #[test]
    fn what_a_role_that_may_not_create_put_is_a_breach_also_where_a_condition_is_missing() {
        let through = Observation {
            answer: Answer::Done,
            effect: Effect::Happened,
        };
        for server in [Server::Aws, Server::Minio, Server::Ministack] {
            for role in Role::ALL {
                for call in [
                    Call::Overwrite,
                    Call::PutUnlocked,
                    Call::PutShort,
                    Call::PutTags,
                    Call::PutBeyond,
                ] {
                    let row = judge(role, call, &through, None, server, LockMode::Compliance);
                    let is_gap = role == Role::Snapshotter && server != Server::Aws;
                    assert!(row.is_finding() || is_gap, "{server:?} {role} {call:?}");
                }
            }
        }
    }
}
