//! The IAM documents of a vault: what each role may do, and what the vault's bucket refuses to everybody.
//!
//! The documents are templates in the folder `iam/` of this project, which Terraform reads as well; this module fills them
//! in. Nothing is guessed: a value that a document needs and that was not given is an error that names it. `MinIO` has
//! fewer condition keys and binds users only by their own policies; its rendering lists what is then not enforced.
//!
//! Pure: no clock, no environment, no calls. An evaluator tests what the documents refuse, and so do servers as far as
//! they enforce it.

mod minio;
mod params;
mod policy;
mod render;
mod role;

use std::fmt;

use serde::Serialize;

pub use params::{Location, Params};
pub use policy::{Conditions, Effect, OneOrMany, Policy, Principal, Statement};
pub use role::Role;

/// A document that can be rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Document {
    /// What a role may do: its permissions policy.
    Role(Role),
    /// Who may assume the roles: the trust policy of each.
    Trust,
    /// What the vault's bucket refuses to everybody, whatever their own policies allow.
    BucketPolicy,
    /// What a source bucket of another account has to allow the roles.
    SourceGrant,
    /// Who may use, and who may destroy, the vault's own KMS key.
    KmsKeyPolicy,
    /// What an organisation refuses to every identity of the account, administrators included.
    Scp,
}

impl Document {
    /// Every document.
    pub fn all() -> impl Iterator<Item = Self> {
        Role::ALL.into_iter().map(Self::Role).chain([
            Self::Trust,
            Self::BucketPolicy,
            Self::SourceGrant,
            Self::KmsKeyPolicy,
            Self::Scp,
        ])
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Role(role) => write!(f, "policy of the {role}"),
            Self::Trust => f.write_str("trust policy"),
            Self::BucketPolicy => f.write_str("bucket policy"),
            Self::SourceGrant => f.write_str("source grant"),
            Self::KmsKeyPolicy => f.write_str("KMS key policy"),
            Self::Scp => f.write_str("service control policy"),
        }
    }
}

/// Whose IAM a document is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavor {
    /// Amazon's, and servers that take its policies as they are.
    Aws,
    /// `MinIO`'s, which refuses a whole policy for one word that it does not know.
    Minio,
}

/// A wall that a rendering leaves out, or that its server does not enforce.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotEnforced {
    /// The statement of the bucket policy that is missing; none where the server itself is the gap.
    #[serde(rename = "statement", skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// Why, and what is possible because of it.
    pub reason: String,
}

/// A document, filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    /// The document.
    pub policy: Policy,
    /// What is not enforced on its server.
    pub not_enforced: Vec<NotEnforced>,
}

impl Rendered {
    /// The document as IAM takes it: indented JSON, one line feed at the end.
    ///
    /// # Errors
    /// Never for what [`render`] returned.
    pub fn text(&self) -> Result<String, IamError> {
        let mut text = serde_json::to_string_pretty(&self.policy).map_err(IamError::Malformed)?;
        text.push('\n');
        Ok(text)
    }
}

/// Why a document cannot be rendered.
#[derive(Debug, thiserror::Error)]
pub enum IamError {
    /// A value that the document needs was not given.
    #[error("the {document} needs {needed}")]
    Missing {
        /// What was to be rendered.
        document: Document,
        /// The value, as the flag that gives it.
        needed: &'static str,
    },
    /// A value that would mean something else in a policy.
    #[error("{value:?} cannot be written into a policy: {rule}")]
    Unusable {
        /// The value.
        value: String,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// The server has no such document, or it would bind nobody.
    #[error("a {document} binds nobody on MinIO")]
    NotOnMinio {
        /// What was to be rendered.
        document: Document,
    },
    /// A template is no policy once it is filled in.
    #[error("the template is no policy")]
    Malformed(#[source] serde_json::Error),
    /// A template asks for a value that nobody knows.
    #[error("the template asks for {name:?}, which has no value")]
    UnknownPlaceholder {
        /// The placeholder.
        name: String,
    },
}

impl IamError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Missing { needed, .. } => format!("add {needed}"),
            Self::Unusable { .. } => "choose another name for it".to_owned(),
            Self::NotOnMinio { .. } => {
                "attach each role's own policy: `iam render --role ROLE --flavor minio`".to_owned()
            }
            Self::Malformed(_) | Self::UnknownPlaceholder { .. } => {
                "use the templates of this version of deltavault".to_owned()
            }
        }
    }
}

/// Whether a document depends on the length and mode of the vault's locks.
pub fn uses_vault_file(document: Document, flavor: Flavor) -> bool {
    match document {
        // What the bucket policy refuses on AWS is in the role's own policy on MinIO.
        Document::Role(_) => flavor == Flavor::Minio,
        Document::BucketPolicy => true,
        Document::Trust | Document::SourceGrant | Document::KmsKeyPolicy | Document::Scp => false,
    }
}

/// Fills in a document.
///
/// # Errors
/// Every variant of [`IamError`]: a value is missing or cannot be used, or `MinIO` has no such document.
pub fn render(document: Document, params: &Params, flavor: Flavor) -> Result<Rendered, IamError> {
    match (flavor, document) {
        (Flavor::Aws, _) => Ok(without_tls(
            render::fill(document, params)?,
            Vec::new(),
            params,
        )),
        (Flavor::Minio, Document::Role(role)) => {
            let Rendered {
                policy,
                not_enforced,
            } = minio::render(role, params)?;
            Ok(without_tls(policy, not_enforced, params))
        }
        (
            Flavor::Minio,
            Document::Trust
            | Document::BucketPolicy
            | Document::SourceGrant
            | Document::KmsKeyPolicy
            | Document::Scp,
        ) => Err(IamError::NotOnMinio { document }),
    }
}

/// Leaves out the statement that refuses calls without TLS, where that was asked for.
fn without_tls(
    mut policy: Policy,
    mut not_enforced: Vec<NotEnforced>,
    params: &Params,
) -> Rendered {
    const SID: &str = "DenyPlainHttp";
    let before = policy.statement.len();
    policy
        .statement
        .retain(|one| !(params.plain_http && one.sid == SID));
    if policy.statement.len() < before {
        not_enforced.push(NotEnforced {
            sid: Some(SID.to_owned()),
            reason: "--plain-http lets calls without TLS through, which anybody on the way can read and repeat"
                .to_owned(),
        });
    }
    Rendered {
        policy,
        not_enforced,
    }
}
