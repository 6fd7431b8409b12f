//! Flags of `wall`.

use clap::{Args as ClapArgs, Subcommand};
use deltavault::iam::Role;

/// The commands of `wall`.
#[derive(Debug, Subcommand)]
pub(crate) enum WallArgs {
    /// Prove the walls: judge the bucket's settings, and try every call that a role must not be able to make
    #[command(
        after_long_help = "Every call is made on objects that exist for nothing else, so that a wall that is missing costs \
                           nothing. They are locked for the vault's floor and a day, and left to `prune`.\n\nExit codes: 0 \
                           every wall stands or cannot be proven here, 1 failed, 2 usage, 3 findings, 10 no vault, 130 \
                           interrupted"
    )]
    Check(WallCheckArgs),
}

/// Flags of `wall check`.
#[derive(Debug, ClapArgs)]
pub(crate) struct WallCheckArgs {
    /// Try what ROLE must not be able to do, and what it must: snapshotter, restorer, auditor, verifier, pruner or holder
    /// [only judge the bucket]
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: Option<Role>,
    /// Call as the role with the credentials of profile NAME [the vault's]
    #[arg(long, value_name = "NAME", requires = "role")]
    pub(crate) profile: Option<String>,
    /// Make what is attacked, and look at it, with the credentials of profile NAME [the vault's]
    #[arg(long, value_name = "NAME", requires = "role")]
    pub(crate) canary_profile: Option<String>,
    /// Compare the bucket policy with the one for the roles in this account [not compared]
    #[arg(long, value_name = "DIGITS", requires = "break_glass")]
    pub(crate) account: Option<String>,
    /// And for ARN as who may change the bucket's configuration; repeatable
    #[arg(long, value_name = "ARN", requires = "account")]
    pub(crate) break_glass: Vec<String>,
    /// Roles are called NAME-snapshotter and so on
    #[arg(long, value_name = "NAME", default_value = "deltavault")]
    pub(crate) role_prefix: String,
    /// The vault is encrypted with the KMS key ARN [S3's own encryption]
    #[arg(long, value_name = "ARN")]
    pub(crate) kms_key: Option<String>,
    /// Take the server for one that was measured: minio or ministack [what it calls itself]
    #[arg(long, value_name = "NAME", hide = true)]
    pub(crate) server: Option<String>,
}
