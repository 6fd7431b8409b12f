//! `wall check`: judges the bucket, then tries a role's calls.

use deltavault::ExitCode;
use deltavault::iam::{self, Document, Flavor, Location, Params};
use deltavault::probe::walls::Walls;
use deltavault::store::s3::S3Store;
use deltavault::wall::call::Call;
use deltavault::wall::judge::{Outcome, judge};
use deltavault::wall::lint::{Expected, Finding, Severity, lint};
use deltavault::wall::matrix::{Expected as Wanted, Server};
use serde_json::Value;

use super::Context;
use super::init::row;
use crate::cli::args::WallCheckArgs;
use crate::cli::error::CommandError;
use crate::cli::rows::{ProvenRow, WallDone, WallRow};
use crate::cli::stores::{OpenVault, Place};

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
        allowed: 0,
        not_proven: 0,
        findings: 0,
    };
    for finding in findings {
        done.findings += u64::from(finding.severity > Severity::Note);
        let verbose = context.verbose;
        context.output.bucket_finding(&row(finding), verbose)?;
    }
    Box::pin(try_role(&args, &open, store, context, &mut done)).await?;
    context.output.wall_done(&done)?;
    Ok(if done.findings == 0 {
        ExitCode::Done
    } else {
        ExitCode::Findings
    })
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
    let attacker = match &args.profile {
        Some(profile) => stores.vault_as(uri, profile).await?,
        None => store.clone(),
    };
    let maker = match &args.canary_profile {
        Some(profile) => stores.vault_as(uri, profile).await?,
        None => store.clone(),
    };
    let plain = match stores.vault_without_tls(uri, &attacker, args.profile.as_deref()) {
        Some(connecting) => Ok(connecting.await?.prober()),
        None => Err("the endpoint itself is plain HTTP".to_owned()),
    };
    let file = open.vault.file().clone();
    let mode = file.lock_mode;
    let now = context.clock.now();
    let (attacker, maker) = (attacker.prober(), maker.prober());
    let walls = Walls::prepare(attacker, maker, plain, store.prefix(), file, now).await?;
    let server = match args.server.as_deref() {
        Some(name) => Server::named(name, true),
        None => walls.server(),
    };
    for call in Call::ALL {
        // Each at its own time: the lengths of locks are counted from it.
        let seen = walls.observe(call, context.clock.now()).await?;
        let judged = judge(role, call, &seen, server, mode);
        let is_finding = judged.is_finding();
        let reason = match &judged.outcome {
            Outcome::NotProven(reason) => Some(reason.clone()),
            Outcome::Refused | Outcome::Allowed => None,
        };
        let outcome = match judged.outcome {
            Outcome::Refused => ProvenRow::Refused,
            Outcome::Allowed => ProvenRow::Allowed,
            Outcome::NotProven(_) => ProvenRow::NotProven,
        };
        match outcome {
            ProvenRow::Refused => done.refused += 1,
            ProvenRow::Allowed => done.allowed += 1,
            ProvenRow::NotProven => done.not_proven += 1,
        }
        done.findings += u64::from(is_finding);
        let row = WallRow {
            role: role.to_string(),
            call: call.name(),
            what: call.what(),
            expected: match judged.expected {
                Wanted::Allowed => ProvenRow::Allowed,
                Wanted::Refused => ProvenRow::Refused,
            },
            outcome,
            reason,
            finding: is_finding,
            remedy: is_finding.then(|| judged.remedy(role)),
            said: judged.said,
        };
        let verbose = context.verbose;
        context.output.wall_row(&row, verbose)?;
        context.output.finish()?;
    }
    Ok(())
}
