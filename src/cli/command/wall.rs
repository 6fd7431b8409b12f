//! `wall check`: judges the bucket, then tries a role's calls.

use clap::{Args, Subcommand};
use deltavault::iam::{Document, Flavor, Location, Params, Role};
use deltavault::probe::walls::{Callers, Walls};
use deltavault::store::s3::S3Store;
use deltavault::wall::call::Call;
use deltavault::wall::judge::{Control, Outcome, judge, needs_control};
use deltavault::wall::lint::{Expected, Finding, Severity, lint};
use deltavault::wall::matrix::{Expected as Wanted, Server};
use deltavault::{ExitCode, iam};
use serde::Serialize;
use serde_json::Value;

use super::Context;
use crate::cli::error::CommandError;
use crate::cli::output::{Message, Output};
use crate::cli::stores::{OpenVault, Place};

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
#[derive(Debug, Args)]
pub(crate) struct WallCheckArgs {
    /// Try what ROLE must not be able to do, and what it must: snapshotter, restorer, auditor, verifier, pruner or holder
    /// [only judge the bucket]
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: Option<Role>,
    /// Call as the role with the credentials of profile NAME [the vault's]
    #[arg(long, value_name = "NAME", requires = "role")]
    pub(crate) profile: Option<String>,
    /// Make and inspect the objects that are attacked with the credentials of profile NAME [the vault's]
    #[arg(long, value_name = "NAME", requires = "role")]
    pub(crate) canary_profile: Option<String>,
    /// Make each call that is refused with the credentials of profile NAME as well, to show that it is refused for who makes
    /// it; repeatable [the canaries' profile]
    #[arg(long, value_name = "NAME", requires = "role")]
    pub(crate) control_profile: Vec<String>,
    /// Compare the bucket policy with the one for the roles in this account [not compared]
    #[arg(long, value_name = "DIGITS", requires = "break_glass")]
    pub(crate) account: Option<String>,
    /// Compare it with ARN as the one who may change the bucket's configuration; repeatable
    #[arg(long, value_name = "ARN", requires = "account")]
    pub(crate) break_glass: Vec<String>,
    /// Roles are called NAME-snapshotter and so on
    #[arg(long, value_name = "NAME", default_value = "deltavault")]
    pub(crate) role_prefix: String,
    /// The policy lets in only what comes through the VPC endpoint ID; repeatable [any way]
    #[arg(long, value_name = "ID", requires = "account")]
    pub(crate) vpc_endpoint: Vec<String>,
    /// The policy lets in only members of the organisation ID; repeatable [any]
    #[arg(long, value_name = "ID", requires = "account")]
    pub(crate) org_id: Vec<String>,
    /// The vault is encrypted with the KMS key ARN [S3's own encryption]
    #[arg(long, value_name = "ARN")]
    pub(crate) kms_key: Option<String>,
    /// Take the server for one that was measured: minio or ministack [what it calls itself]
    #[arg(long, value_name = "NAME", hide = true)]
    pub(crate) server: Option<String>,
}

/// `wall check`
pub(super) async fn check(
    args: WallCheckArgs,
    context: &mut Context,
) -> Result<ExitCode, CommandError> {
    let open = context.open_vault().await?;
    let Place::Bucket(store) = &open.place else {
        return Err(CommandError::InvalidUri {
            uri: open.place.uri().to_owned(),
            rule: "a folder has no walls: whoever may delete it can delete the vault",
        });
    };
    let policy = bucket_policy(&args, &open, store)?;
    let findings = judge_bucket(store, &open, policy.as_ref()).await?;
    let mut done = WallDone {
        vault: open.place.uri().to_owned(),
        role: args.role.map(|role| role.to_string()),
        refused: 0,
        without_control: 0,
        allowed: 0,
        not_proven: 0,
        findings: 0,
    };
    for finding in findings {
        done.findings += u64::from(finding.severity > Severity::Note);
        context.output.say(&finding)?;
    }
    Box::pin(try_role(&args, &open, store, context, &mut done)).await?;
    context.output.say(&done)?;
    Ok(ExitCode::findings_if(done.findings > 0))
}

/// The bucket policy as it should be, where it was told who is who.
fn bucket_policy(
    args: &WallCheckArgs,
    open: &OpenVault,
    store: &S3Store,
) -> Result<Option<Value>, CommandError> {
    let Some(account) = &args.account else {
        return Ok(None);
    };
    let mut params = Params {
        account: Some(account.clone()),
        break_glass: args.break_glass.clone(),
        role_prefix: args.role_prefix.clone(),
        kms_key: args.kms_key.clone(),
        vpc_endpoints: args.vpc_endpoint.clone(),
        org_ids: args.org_id.clone(),
        plain_http: !store.prober().has_tls(),
        ..Params::new(Location::parse(open.place.uri())?)
    };
    params.set_vault_file(open.vault.file());
    let configured = open.storage_class().map(str::to_owned);
    params.storage_classes.extend(configured);
    let rendered = iam::render(Document::BucketPolicy, &params, Flavor::Aws)?;
    let policy = serde_json::to_value(&rendered.policy);
    policy
        .map(Some)
        .map_err(|error| iam::IamError::Malformed(error).into())
}

async fn judge_bucket(
    store: &S3Store,
    open: &OpenVault,
    policy: Option<&Value>,
) -> Result<Vec<Finding>, CommandError> {
    let client = store.client();
    let file = open.vault.file();
    let expected = Expected {
        bucket: store.bucket(),
        prefix: store.prefix(),
        endpoint: client.has_own_endpoint().then(|| client.service()),
        lock_mode: file.lock_mode,
        shortest_days: file.shortest_days,
        policy,
    };
    Ok(lint(&store.bucket_state().await?, &expected))
}

/// Tries every call of the table, and tells each as it is judged.
async fn try_role(
    args: &WallCheckArgs,
    open: &OpenVault,
    store: &S3Store,
    context: &mut Context,
    done: &mut WallDone,
) -> Result<(), CommandError> {
    let Some(role) = args.role else {
        return Ok(());
    };
    let uri = open.place.uri();
    let stores = &context.stores;
    let of = async |profile: &Option<String>| match profile {
        Some(profile) => stores.vault_as(uri, profile).await,
        None => Ok(store.clone()),
    };
    let attacker = of(&args.profile).await?;
    let maker = of(&args.canary_profile).await?;
    let mut controls = Vec::new();
    if args.profile != args.canary_profile {
        controls.push(maker.prober());
    }
    for profile in &args.control_profile {
        controls.push(stores.vault_as(uri, profile).await?.prober());
    }
    let plain = match stores.vault_without_tls(uri, &attacker, args.profile.as_deref()) {
        Some(connecting) => Ok(connecting.await?.prober()),
        None => Err("the endpoint itself is plain HTTP".to_owned()),
    };
    let file = open.vault.file().clone();
    let mode = file.lock_mode;
    let now = context.clock.now();
    let callers = Callers {
        attacker: attacker.prober(),
        maker: maker.prober(),
        controls,
        plain,
    };
    let walls = Walls::prepare(role, callers, store.prefix(), file, now).await?;
    if let Some(finding) = walls.finding() {
        done.findings += 1;
        context.output.say(&finding)?;
    }
    let server = match args.server.as_deref() {
        Some(name) => Server::named(name, true),
        None => walls.server(),
    };
    for call in Call::ALL {
        // Each at its own time: the lengths of locks are counted from it.
        let seen = walls.observe(call, context.clock.now()).await?;
        let control = if needs_control(role, call, &seen) {
            walls.control(call, context.clock.now()).await?
        } else {
            None
        };
        let judged = judge(role, call, &seen, control.as_ref(), server, mode);
        let is_finding = judged.is_finding();
        match judged.outcome {
            Outcome::Refused => {
                let is_shown = matches!(judged.control, None | Some(Control::LetThrough));
                done.refused += 1;
                done.without_control += u64::from(!is_shown);
            }
            Outcome::Allowed => done.allowed += 1,
            Outcome::NotProven(_) => done.not_proven += 1,
        }
        done.findings += u64::from(is_finding);
        let row = WallRow {
            role: role.to_string(),
            call: call.name(),
            what: call.what(),
            expected: judged.expected,
            finding: is_finding,
            remedy: is_finding.then(|| judged.remedy(role)),
            outcome: judged.outcome,
            said: judged.said,
            control: judged.control,
        };
        context.output.say(&row)?;
        context.output.finish()?;
    }
    Ok(())
}

/// A call of a role.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct WallRow {
    pub(crate) role: String,
    pub(crate) call: &'static str,
    /// What it does.
    pub(crate) what: &'static str,
    /// What it should come to.
    pub(crate) expected: Wanted,
    /// What it came to.
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
    /// What the server said.
    pub(crate) said: String,
    /// What the same call came to by somebody else, where it was refused.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(crate) control: Option<Control>,
    /// Whether it is not as it should be.
    pub(crate) finding: bool,
    /// What to do about that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remedy: Option<String>,
}

impl Message for WallRow {
    const TYPE: &'static str = "wall";

    fn text(&self, out: &mut Output) -> Result<(), CommandError> {
        let WallRow {
            role, call, what, ..
        } = self;
        let said = &self.said;
        match (self.finding, &self.outcome) {
            (true, Outcome::Allowed) => out.print(format_args!(
                "BREACH  {call}: the {role} can {what} ({said})"
            ))?,
            (true, Outcome::Refused | Outcome::NotProven(_)) => out.print(format_args!(
                "WARNING {call}: the {role} cannot {what}: {said}"
            ))?,
            (false, Outcome::NotProven(reason)) => {
                out.print(format_args!("not proven here: {call}: {reason}"))?;
            }
            (false, Outcome::Refused) if out.is_verbose() => match &self.control {
                Some(Control::Refused(why) | Control::None(why)) => out.print(format_args!(
                    "refused: {what}: {said}; without a control: {why}"
                ))?,
                Some(Control::LetThrough) | None => {
                    out.print(format_args!("refused: {what}: {said}"))?;
                }
            },
            (false, Outcome::Allowed) if out.is_verbose() => {
                out.print(format_args!("allowed: {what}"))?;
            }
            (false, Outcome::Refused | Outcome::Allowed) => {}
        }
        match &self.remedy {
            Some(remedy) => out.print(format_args!("        {remedy}")),
            None => Ok(()),
        }
    }
}

/// A wall check is done.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct WallDone {
    pub(crate) vault: String,
    /// The role, where one was tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) role: Option<String>,
    /// Calls that are refused.
    pub(crate) refused: u64,
    /// Of these, those that nobody is known to be let through with: the policy may refuse them to everybody.
    pub(crate) without_control: u64,
    /// Calls that are let through.
    pub(crate) allowed: u64,
    /// Calls that nothing is proven of.
    pub(crate) not_proven: u64,
    /// What is not as it should be, of the bucket and of the role.
    pub(crate) findings: u64,
}

impl Message for WallDone {
    const TYPE: &'static str = "wall_summary";

    fn text(&self, out: &mut Output) -> Result<(), CommandError> {
        if let Some(role) = &self.role {
            out.print(format_args!(
                "{role}: {} calls refused ({} without a control), {} allowed, {} not proven here",
                self.refused, self.without_control, self.allowed, self.not_proven
            ))?;
        }
        match self.findings {
            0 => out.print(format_args!(
                "everything that could be tried is as it should be"
            )),
            1 => out.print(format_args!("1 finding")),
            more => out.print(format_args!("{more} findings")),
        }
    }
}
