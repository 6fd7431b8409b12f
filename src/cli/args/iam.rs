//! Flags of `iam`.

use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use deltavault::iam::{Document, Flavor, Role};

use super::ModeArg;

/// The commands of `iam`.
#[derive(Debug, Subcommand)]
pub(crate) enum IamArgs {
    /// Print the policy of a role, or a document that stands beside it
    #[command(after_long_help = "Exit codes: 0 done, 1 failed, 2 usage, 130 interrupted")]
    Render(Box<IamRenderArgs>),
}

/// Flags of `iam render`.
#[derive(Debug, ClapArgs)]
pub(crate) struct IamRenderArgs {
    /// Print what ROLE may do: snapshotter, restorer, auditor, verifier, pruner or holder
    #[arg(
        long,
        value_name = "ROLE",
        required_unless_present = "document",
        conflicts_with = "document"
    )]
    pub(crate) role: Option<Role>,
    /// Print another document instead
    #[arg(long, value_name = "DOCUMENT")]
    pub(crate) document: Option<DocumentArg>,
    /// Let the role at the tables below URI; repeatable [the tables of the configuration]
    #[arg(long, value_name = "URI")]
    pub(crate) source: Vec<String>,
    /// Write it for whose IAM
    #[arg(long, value_name = "FLAVOR", default_value = "aws")]
    pub(crate) flavor: FlavorArg,
    /// The account that the roles are in [none]
    #[arg(long, value_name = "DIGITS")]
    pub(crate) account: Option<String>,
    /// Roles are called NAME-snapshotter and so on
    #[arg(long, value_name = "NAME", default_value = "deltavault")]
    pub(crate) role_prefix: String,
    /// Let ARN change the bucket's configuration; repeatable [none]
    #[arg(long, value_name = "ARN")]
    pub(crate) break_glass: Vec<String>,
    /// Let ARN take on the roles; repeatable [none]
    #[arg(long, value_name = "ARN")]
    pub(crate) trust: Vec<String>,
    /// What who takes on a role has to say [none]
    #[arg(long, value_name = "ID")]
    pub(crate) external_id: Option<String>,
    /// Encrypt with the KMS key ARN and no other [S3's own encryption]
    #[arg(long, value_name = "ARN")]
    pub(crate) kms_key: Option<String>,
    /// Let the role use the KMS key ARN of a source; repeatable [none]
    #[arg(long, value_name = "ARN")]
    pub(crate) source_kms_key: Vec<String>,
    /// Take objects of CLASS; repeatable [STANDARD, and the configuration's]
    #[arg(long, value_name = "CLASS")]
    pub(crate) storage_class: Vec<String>,
    /// Let calls without TLS through, for a server in a closed network [refused]
    #[arg(long)]
    pub(crate) plain_http: bool,
    /// The partition of AWS
    #[arg(long, value_name = "NAME", default_value = "aws")]
    pub(crate) partition: String,
    /// Lock in MODE; with this or one of the lengths, the vault is not asked [the vault's, else governance]
    #[arg(long, value_name = "MODE", help_heading = "Instead of vault.json")]
    pub(crate) mode: Option<ModeArg>,
    /// The shortest promise [the vault's, else 3]
    #[arg(long, value_name = "DAYS", help_heading = "Instead of vault.json")]
    pub(crate) shortest: Option<u32>,
    /// The longest promise [the vault's, else 3650]
    #[arg(long, value_name = "DAYS", help_heading = "Instead of vault.json")]
    pub(crate) longest: Option<u32>,
    /// The length of a lock generation [the vault's, else 10]
    #[arg(long, value_name = "DAYS", help_heading = "Instead of vault.json")]
    pub(crate) generation: Option<u32>,
}

/// A document beside the roles' policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DocumentArg {
    /// What the vault's bucket refuses everybody
    BucketPolicy,
    /// What a source bucket allows the roles
    SourceGrant,
    /// The policy of the vault's own KMS key
    Kms,
    /// What an organisation refuses its accounts
    Scp,
    /// Who may take on the roles
    Trust,
}

impl From<DocumentArg> for Document {
    fn from(arg: DocumentArg) -> Self {
        match arg {
            DocumentArg::BucketPolicy => Self::BucketPolicy,
            DocumentArg::SourceGrant => Self::SourceGrant,
            DocumentArg::Kms => Self::KmsKeyPolicy,
            DocumentArg::Scp => Self::Scp,
            DocumentArg::Trust => Self::Trust,
        }
    }
}

/// Whose IAM a document is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FlavorArg {
    /// Amazon's
    Aws,
    #[value(
        help = "MinIO's, which knows fewer conditions; what is then not enforced is said on stderr"
    )]
    Minio,
}

impl From<FlavorArg> for Flavor {
    fn from(arg: FlavorArg) -> Self {
        match arg {
            FlavorArg::Aws => Self::Aws,
            FlavorArg::Minio => Self::Minio,
        }
    }
}
