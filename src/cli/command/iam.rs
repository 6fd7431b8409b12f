//! `iam render`: prints a policy. It works before the vault exists: what `vault.json` would say is then told by flags, or
//! is what `init` would write.

use std::time::Duration;

use clap::{Args, Subcommand};
use deltavault::format::LockMode;
use deltavault::iam::{Document, Flavor, Location, NotEnforced, Params, Policy, Rendered, Role};
use deltavault::{Error, ExitCode, iam};
use serde::Serialize;

use super::Context;
use crate::cli::args::{MODES, Words, one_of};
use crate::cli::error::CommandError;
use crate::cli::output::{Message, Output, aside};

/// The commands of `iam`.
#[derive(Debug, Subcommand)]
pub(crate) enum IamArgs {
    /// Print the policy of a role, or a document that stands beside it
    #[command(after_long_help = "Exit codes: 0 done, 1 failed, 2 usage, 130 interrupted")]
    Render(Box<IamRenderArgs>),
}

/// Flags of `iam render`.
#[derive(Debug, Args)]
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
    #[arg(long, value_name = "DOCUMENT", value_parser = one_of(DOCUMENTS))]
    pub(crate) document: Option<Document>,
    /// Give the role access to the tables below URI; repeatable [the tables of the configuration]
    #[arg(long, value_name = "URI")]
    pub(crate) source: Vec<String>,
    /// The IAM that the policy is written for
    #[arg(long, value_name = "FLAVOR", value_parser = one_of(FLAVORS), default_value = "aws")]
    pub(crate) flavor: Flavor,
    /// The account that the roles are in [none]
    #[arg(long, value_name = "DIGITS")]
    pub(crate) account: Option<String>,
    /// Roles are called NAME-snapshotter and so on
    #[arg(long, value_name = "NAME", default_value = "deltavault")]
    pub(crate) role_prefix: String,
    /// Let ARN change the bucket's configuration; repeatable [none]
    #[arg(long, value_name = "ARN")]
    pub(crate) break_glass: Vec<String>,
    /// Let ARN assume the roles; repeatable [none]
    #[arg(long, value_name = "ARN")]
    pub(crate) trust: Vec<String>,
    /// The external id that anyone who assumes a role must present [none]
    #[arg(long, value_name = "ID")]
    pub(crate) external_id: Option<String>,
    /// Let in only what comes through the VPC endpoint ID; repeatable [any way]
    #[arg(long, value_name = "ID")]
    pub(crate) vpc_endpoint: Vec<String>,
    /// Let in only members of the organisation ID; repeatable [any]
    #[arg(long, value_name = "ID")]
    pub(crate) org_id: Vec<String>,
    /// Encrypt with the KMS key ARN and no other [S3's own encryption]
    #[arg(long, value_name = "ARN")]
    pub(crate) kms_key: Option<String>,
    /// Let the role use the KMS key ARN of a source; repeatable [none]
    #[arg(long, value_name = "ARN")]
    pub(crate) source_kms_key: Vec<String>,
    /// Take objects of CLASS; repeatable [STANDARD, and the configuration's]
    #[arg(long, value_name = "CLASS")]
    pub(crate) storage_class: Vec<String>,
    /// Allow calls without TLS, for a server in a closed network [refused]
    #[arg(long)]
    pub(crate) plain_http: bool,
    /// The partition of AWS
    #[arg(long, value_name = "NAME", default_value = "aws")]
    pub(crate) partition: String,
    /// Lock in MODE; with this or one of the lengths, the vault is not asked [the vault's, else governance]
    #[arg(long, value_name = "MODE", value_parser = one_of(MODES), help_heading = "Instead of vault.json")]
    pub(crate) mode: Option<LockMode>,
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

/// The documents beside the roles' policies.
const DOCUMENTS: Words<Document> = &[
    (
        "bucket-policy",
        "What the vault's bucket refuses everybody",
        Document::BucketPolicy,
    ),
    (
        "source-grant",
        "What a source bucket allows the roles",
        Document::SourceGrant,
    ),
    (
        "kms",
        "The policy of the vault's own KMS key",
        Document::KmsKeyPolicy,
    ),
    (
        "scp",
        "What an organisation refuses its accounts",
        Document::Scp,
    ),
    ("trust", "Who may assume the roles", Document::Trust),
];

/// Whose IAM a document is for.
const FLAVORS: Words<Flavor> = &[
    ("aws", "Amazon's", Flavor::Aws),
    (
        "minio",
        "MinIO's, which knows fewer conditions; stderr says what is then not enforced",
        Flavor::Minio,
    ),
];

/// A policy is printed from flags rather than late: nobody waits for credentials that this machine does not have.
const PATIENCE: Duration = Duration::from_secs(10);

/// `iam render`
pub(super) async fn render(
    args: Box<IamRenderArgs>,
    context: &mut Context,
) -> Result<ExitCode, CommandError> {
    let mut params = args.params(context)?;
    let document = args.document();
    if !args.names_lock_terms() && iam::uses_vault_file(document, args.flavor) {
        match tokio::time::timeout(PATIENCE, context.open_vault()).await {
            Ok(Ok(open)) => params.set_vault_file(open.vault.file()),
            Ok(Err(error)) if is_no_answer(&error) => {
                say_not_asked(&error.to_string(), &params, &mut context.output)?;
            }
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                let reason = format!("no answer for {} s", PATIENCE.as_secs());
                say_not_asked(&reason, &params, &mut context.output)?;
            }
        }
    }
    let rendered = iam::render(document, &params, args.flavor)?;
    print(document, &rendered, &mut context.output)?;
    Ok(ExitCode::Done)
}

/// Whether the vault could not be asked.
fn is_no_answer(error: &CommandError) -> bool {
    let lost = |error: &Error| matches!(error, Error::VaultFileLost { .. } | Error::Store(_));
    error.is_without_vault() || error.as_library().is_some_and(lost)
}

impl IamRenderArgs {
    fn document(&self) -> Document {
        let role = self.role.map(Document::Role);
        // clap asks for one of the two.
        role.or(self.document).unwrap_or(Document::BucketPolicy)
    }

    /// Whether flags give the lock's mode or lengths: the vault is not asked then.
    fn names_lock_terms(&self) -> bool {
        let lengths = [self.shortest, self.longest, self.generation];
        self.mode.is_some() || lengths.iter().any(Option::is_some)
    }

    /// The tables' places that the role gets access to.
    fn sources(&self, context: &Context) -> Result<Vec<Location>, CommandError> {
        let uris: Vec<String> = if self.source.is_empty() {
            let uris = context.config.tables.iter().map(|table| table.uri.clone());
            uris.filter(|uri| uri.starts_with("s3://")).collect()
        } else {
            let places = self.source.iter().map(|uri| context.place(uri));
            places.collect::<Result<_, _>>()?
        };
        let sources = uris.iter().map(|uri| Location::parse(uri));
        Ok(sources.collect::<Result<_, _>>()?)
    }

    /// What the document is filled with, for a vault that was not asked.
    ///
    /// # Errors
    /// [`CommandError::Iam`] for a vault that is not on S3, or that no policy can name.
    fn params(&self, context: &Context) -> Result<Params, CommandError> {
        let sources = self.sources(context)?;
        let mut storage_classes = self.storage_class.clone();
        if storage_classes.is_empty() {
            storage_classes.push("STANDARD".to_owned());
            storage_classes.extend(context.config.s3.vault.storage_class.clone());
        }
        let mut params = Params {
            partition: self.partition.clone(),
            sources,
            storage_classes,
            kms_key: self.kms_key.clone(),
            source_kms_keys: self.source_kms_key.clone(),
            account: self.account.clone(),
            role_prefix: self.role_prefix.clone(),
            break_glass: self.break_glass.clone(),
            trusted: self.trust.clone(),
            external_id: self.external_id.clone(),
            vpc_endpoints: self.vpc_endpoint.clone(),
            org_ids: self.org_id.clone(),
            plain_http: self.plain_http,
            ..Params::new(Location::parse(context.vault()?)?)
        };
        if self.names_lock_terms() {
            params.lock_mode = self.mode.unwrap_or(params.lock_mode);
            params.set_days(
                self.shortest.unwrap_or(Params::SHORTEST_DAYS),
                self.longest.unwrap_or(Params::LONGEST_DAYS),
                self.generation.unwrap_or(Params::GENERATION_DAYS),
            );
        }
        Ok(params)
    }
}

/// Prints a policy, and says what it leaves open.
fn print(document: Document, rendered: &Rendered, out: &mut Output) -> Result<(), CommandError> {
    out.say(&IamPolicy {
        document: document.to_string(),
        policy: &rendered.policy,
        rendered,
    })?;
    let mut gaps = rendered.not_enforced.iter();
    gaps.try_for_each(|gap| out.say(gap))
}

/// Says that the vault could not be asked for its floor, its ceiling and its mode.
fn say_not_asked(reason: &str, params: &Params, out: &mut Output) -> Result<(), CommandError> {
    // What waits for a terminal or a pipe comes before the talk about it.
    out.finish()?;
    aside(&format!(
        "the vault was not asked ({reason}): locks of {} to {} days, mode {}; \
         --shortest, --longest, --generation and --mode say otherwise",
        params.floor_days,
        params.ceiling_days,
        params.lock_mode_name(),
    ));
    Ok(())
}

/// A policy that was rendered.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct IamPolicy<'a> {
    /// What it is.
    pub(crate) document: String,
    /// The document.
    pub(crate) policy: &'a Policy,
    /// It as a file.
    #[serde(skip)]
    rendered: &'a Rendered,
}

impl Message for IamPolicy<'_> {
    const TYPE: &'static str = "policy";

    fn text(&self, out: &mut Output) -> Result<(), CommandError> {
        out.raw(self.rendered.text()?.as_bytes())
    }
}

impl Message for NotEnforced {
    const TYPE: &'static str = "not_enforced";

    /// As talk: stdout is the policy, for whoever puts it into a file.
    fn text(&self, _: &mut Output) -> Result<(), CommandError> {
        match &self.sid {
            Some(statement) => aside(&format!("not enforced: {statement}: {}", self.reason)),
            None => aside(&format!("not enforced: {}", self.reason)),
        }
        Ok(())
    }
}
