//! A policy as IAM reads it. Fields keep the order in which people write them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What has to hold for a statement to count: operator, then condition key, then values. All must hold; of the values
/// of one key any.
pub type Conditions = BTreeMap<String, BTreeMap<String, OneOrMany>>;

/// A policy document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Policy {
    /// The version of the policy language.
    pub version: String,
    /// Its statements.
    pub statement: Vec<Statement>,
}

impl Policy {
    /// The statement with an id.
    pub fn statement(&self, sid: &str) -> Option<&Statement> {
        self.statement.iter().find(|one| one.sid == sid)
    }
}

/// One statement of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Statement {
    /// Its id; the README names each with its reason.
    pub sid: String,
    /// `Allow` or `Deny`.
    pub effect: Effect,
    /// Whom it is about, in a policy of a resource.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub principal: Option<Principal>,
    /// The calls.
    pub action: OneOrMany,
    /// On what.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub resource: Option<OneOrMany>,
    /// On anything but what.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub not_resource: Option<OneOrMany>,
    /// When.
    #[serde(skip_serializing_if = "Conditions::is_empty", default)]
    pub condition: Conditions,
}

impl Statement {
    /// Whether it is about nothing or nobody: a list that it needs is empty.
    pub(super) fn is_void(&self) -> bool {
        let nobody = match &self.principal {
            Some(Principal::Aws { aws }) => aws.is_empty(),
            Some(Principal::Everybody(_)) | None => false,
        };
        nobody || self.action.is_empty() || self.resource.as_ref().is_some_and(OneOrMany::is_empty)
    }
}

/// What a statement does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// Lets a call through that nothing refuses.
    Allow,
    /// Refuses a call, whatever else lets it through.
    Deny,
}

/// Whom a statement is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Principal {
    /// Everybody, written as an asterisk.
    Everybody(String),
    /// Some, by ARN.
    Aws {
        /// The ARNs.
        #[serde(rename = "AWS")]
        aws: OneOrMany,
    },
}

/// One string, or a list of them; IAM takes either.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany {
    /// One.
    One(String),
    /// A list.
    Many(Vec<String>),
}

impl OneOrMany {
    /// The strings.
    pub fn as_slice(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    /// Those that a test lets through.
    pub(super) fn kept(&self, keep: impl Fn(&str) -> bool) -> Self {
        let kept = self.as_slice().iter().filter(|one| keep(one));
        Self::Many(kept.cloned().collect())
    }
}
