//! `iam render`: prints a policy. It works before the vault exists: what `vault.json` would say is then told by flags, or
//! is what `init` would write.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use deltavault::format::LockMode;
use deltavault::iam::{Document, Flavor, Location, Params, Policy, Rendered, Role};
use deltavault::{Error, ExitCode, iam};
use serde::Serialize;

use super::Context;
use crate::cli::args::ModeArg;
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
    #[arg(long, value_name = "DOCUMENT")]
    pub(crate) document: Option<DocumentArg>,
    /// Give the role access to the tables below URI; repeatable [the tables of the configuration]
    #[arg(long, value_name = "URI")]
    pub(crate) source: Vec<String>,
    /// The IAM that the policy is written for
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
    /// Let ARN assume the roles; repeatable [none]
    #[arg(long, value_name = "ARN")]
    pub(crate) trust: Vec<String>,
    /// The external id that anyone who assumes a role must present [none]
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
    /// Allow calls without TLS, for a server in a closed network [refused]
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
    /// Who may assume the roles
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
    #[value(help = "MinIO's, which knows fewer conditions; stderr says what is then not enforced")]
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

/// A policy is printed from flags rather than late: nobody waits for credentials that this machine does not have.
const PATIENCE: Duration = Duration::from_secs(10);

/// `iam render`
pub(super) async fn render(
    args: Box<IamRenderArgs>,
    context: &mut Context,
) -> Result<ExitCode, CommandError> {
    let request = IamRender::new(args, context)?;
    let mut params = request.params(context.vault()?)?;
    if request.told.is_none() && iam::uses_vault_file(request.document, request.flavor) {
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
    let rendered = iam::render(request.document, &params, request.flavor)?;
    print(request.document, &rendered, &mut context.output)?;
    Ok(ExitCode::Done)
}

/// Whether the vault could not be asked.
fn is_no_answer(error: &CommandError) -> bool {
    let lost = |error: &Error| matches!(error, Error::VaultFileLost { .. } | Error::Store(_));
    error.is_without_vault() || error.as_library().is_some_and(lost)
}

/// What `iam render` was asked for.
#[derive(Debug)]
struct IamRender {
    /// What to print.
    document: Document,
    /// For whose IAM.
    flavor: Flavor,
    /// The lock's mode and lengths when flags give them; the vault is not asked then.
    told: Option<LockTerms>,
    args: Box<IamRenderArgs>,
    sources: Vec<Location>,
    storage_classes: Vec<String>,
}

/// What a vault would say of itself.
#[derive(Debug, Clone, Copy)]
struct LockTerms {
    mode: Option<LockMode>,
    shortest: Option<u32>,
    longest: Option<u32>,
    generation: Option<u32>,
}

impl IamRender {
    fn new(args: Box<IamRenderArgs>, context: &Context) -> Result<Self, CommandError> {
        let config = &context.config;
        let sources: Vec<String> = if args.source.is_empty() {
            let uris = config.tables.iter().map(|table| table.uri.clone());
            uris.filter(|uri| uri.starts_with("s3://")).collect()
        } else {
            let places = args.source.iter();
            let places = places.map(|uri| context.place(uri));
            places.collect::<Result<_, _>>()?
        };
        let mut storage_classes = args.storage_class.clone();
        if storage_classes.is_empty() {
            storage_classes.push("STANDARD".to_owned());
            storage_classes.extend(config.s3.vault.storage_class.clone());
        }
        let told = LockTerms {
            mode: args.mode.map(LockMode::from),
            shortest: args.shortest,
            longest: args.longest,
            generation: args.generation,
        };
        Ok(Self {
            document: match (args.role, args.document) {
                (Some(role), _) => Document::Role(role),
                (None, Some(document)) => document.into(),
                // clap asks for one of the two.
                (None, None) => Document::BucketPolicy,
            },
            flavor: args.flavor.into(),
            told: told.is_something().then_some(told),
            sources: sources
                .iter()
                .map(|uri| Location::parse(uri))
                .collect::<Result<_, _>>()?,
            storage_classes,
            args,
        })
    }

    /// What the document is filled with, for a vault that was not asked.
    ///
    /// # Errors
    /// [`CommandError::Iam`] for a vault that is not on S3, or that no policy can name.
    fn params(&self, vault: &str) -> Result<Params, CommandError> {
        let args = &self.args;
        let mut params = Params {
            partition: args.partition.clone(),
            sources: self.sources.clone(),
            storage_classes: self.storage_classes.clone(),
            kms_key: args.kms_key.clone(),
            source_kms_keys: args.source_kms_key.clone(),
            account: args.account.clone(),
            role_prefix: args.role_prefix.clone(),
            break_glass: args.break_glass.clone(),
            trusted: args.trust.clone(),
            external_id: args.external_id.clone(),
            plain_http: args.plain_http,
            ..Params::new(Location::parse(vault)?)
        };
        if let Some(told) = self.told {
            params.lock_mode = told.mode.unwrap_or(params.lock_mode);
            params.set_days(
                told.shortest.unwrap_or(Params::SHORTEST_DAYS),
                told.longest.unwrap_or(Params::LONGEST_DAYS),
                told.generation.unwrap_or(Params::GENERATION_DAYS),
            );
        }
        Ok(params)
    }
}

impl LockTerms {
    fn is_something(self) -> bool {
        let lengths = [self.shortest, self.longest, self.generation];
        self.mode.is_some() || lengths.iter().any(Option::is_some)
    }
}

/// Prints a policy, and says what it leaves open.
fn print(document: Document, rendered: &Rendered, out: &mut Output) -> Result<(), CommandError> {
    out.say(&IamPolicy {
        document: document.to_string(),
        policy: &rendered.policy,
        rendered,
    })?;
    rendered.not_enforced.iter().try_for_each(|gap| {
        out.say(&IamNotEnforced {
            statement: gap.sid.clone(),
            reason: gap.reason.clone(),
        })
    })
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

/// A wall that a policy leaves open where it is meant for.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct IamNotEnforced {
    /// The statement of the bucket policy that is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) statement: Option<String>,
    /// Why, and what is therefore possible.
    pub(crate) reason: String,
}

impl Message for IamNotEnforced {
    const TYPE: &'static str = "not_enforced";

    /// As talk: stdout is the policy, for whoever puts it into a file.
    fn text(&self, _: &mut Output) -> Result<(), CommandError> {
        match &self.statement {
            Some(statement) => aside(&format!("not enforced: {statement}: {}", self.reason)),
            None => aside(&format!("not enforced: {}", self.reason)),
        }
        Ok(())
    }
}
