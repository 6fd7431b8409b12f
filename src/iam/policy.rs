//! A policy as IAM reads it. Fields keep the order in which people write them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The conditions of a statement: operator, then condition key, then values. All keys must match, each with any of its
/// values.
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
    /// Whom it applies to, in the policy of a resource.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub principal: Option<Principal>,
    /// The calls.
    pub action: OneOrMany,
    /// The resources.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub resource: Option<OneOrMany>,
    /// All resources but these.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub not_resource: Option<OneOrMany>,
    /// The conditions.
    #[serde(skip_serializing_if = "Conditions::is_empty", default)]
    pub condition: Conditions,
}

impl Statement {
    /// Whether it applies to nothing or nobody, or compares with nothing, because a list is empty.
    pub(super) fn is_void(&self) -> bool {
        let nobody = match &self.principal {
            Some(Principal::Aws { aws }) => aws.is_empty(),
            Some(Principal::Everybody(_)) | None => false,
        };
        let values = self.condition.values().flat_map(BTreeMap::values);
        let mut lists = values.chain([&self.action]).chain(&self.resource);
        nobody || lists.any(OneOrMany::is_empty)
    }
}

/// The effect of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// Allows a call that nothing denies.
    Allow,
    /// Denies a call, whatever else allows it.
    Deny,
}

/// Whom a statement applies to.
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

    /// Those for which `keep` holds.
    pub(super) fn kept(&self, keep: impl Fn(&str) -> bool) -> Self {
        let kept = self.as_slice().iter().filter(|one| keep(one));
        Self::Many(kept.cloned().collect())
    }
}
