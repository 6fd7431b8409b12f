//! What `wall check` has to say.

use serde::Serialize;

use super::Row;

/// A call of a role.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct WallRow {
    /// The role.
    pub(crate) role: String,
    /// The call.
    pub(crate) call: &'static str,
    /// What it does.
    pub(crate) what: &'static str,
    /// What it should come to.
    pub(crate) expected: ProvenRow,
    /// What it came to.
    pub(crate) outcome: ProvenRow,
    /// Why it is not proven.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// What the server said.
    pub(crate) said: String,
    /// Whether it is not as it should be.
    pub(crate) finding: bool,
    /// What to do about that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remedy: Option<String>,
}

/// What is proven of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ProvenRow {
    /// It is refused, or without effect.
    Refused,
    /// It is let through.
    Allowed,
    /// Neither.
    NotProven,
}

/// A wall check is done.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct WallDone {
    /// The vault.
    pub(crate) vault: String,
    /// The role, where one was tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) role: Option<String>,
    /// Calls that are refused.
    pub(crate) refused: u64,
    /// Calls that are let through.
    pub(crate) allowed: u64,
    /// Calls that nothing is proven of.
    pub(crate) not_proven: u64,
    /// What is not as it should be, of the bucket and of the role.
    pub(crate) findings: u64,
}

impl Row for WallRow {
    const MESSAGE_TYPE: &'static str = "wall";
}

impl Row for WallDone {
    const MESSAGE_TYPE: &'static str = "summary";
}
