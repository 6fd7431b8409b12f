//! A role's policy for `MinIO`, as measured: the words that the server knows, and what it does about them.
//!
//! A bucket policy of `MinIO` binds anonymous callers only, so the refusals of the vault's bucket policy go into the
//! policy of each role, as far as `MinIO` knows their conditions. For one unknown word it would refuse the whole policy.
//! The rendering lists what is left out, and what the server lets through by itself.

use super::params::Params;
use super::policy::{Effect, OneOrMany, Policy, Statement};
use super::render::{fill, source_objects};
use super::role::Role;
use super::{Document, IamError, NotEnforced, Rendered};
use crate::format::LockMode;

/// Actions that `MinIO` does not know.
const UNKNOWN_ACTIONS: [&str; 25] = [
    "s3:DeleteBucketWebsite",
    "s3:DeleteObjectAnnotation",
    "s3:GetBucketLogging",
    "s3:GetBucketOwnershipControls",
    "s3:GetBucketPublicAccessBlock",
    "s3:GetBucketWebsite",
    "s3:ObjectOwnerOverrideToBucketOwner",
    "s3:PutAccelerateConfiguration",
    "s3:PutAnalyticsConfiguration",
    "s3:PutBucketAbac",
    "s3:PutBucketAcl",
    "s3:PutBucketCORS",
    "s3:PutBucketLogging",
    "s3:PutBucketOwnershipControls",
    "s3:PutBucketPublicAccessBlock",
    "s3:PutBucketRequestPayment",
    "s3:PutBucketWebsite",
    "s3:PutIntelligentTieringConfiguration",
    "s3:PutInventoryConfiguration",
    "s3:PutMetricsConfiguration",
    "s3:PutObjectAcl",
    "s3:PutObjectAnnotation",
    "s3:PutObjectVersionAcl",
    "s3:PutObjectVersionAnnotation",
    "s3:UpdateObjectEncryption",
];
/// Condition keys that `MinIO` does not know.
const UNKNOWN_KEYS: [&str; 7] = [
    "aws:PrincipalOrgID",
    "aws:SourceVpce",
    "s3:DataAccessPointArn",
    "s3:if-none-match",
    "s3:object-lock-event-hold",
    "s3:ObjectCreationOperation",
    "s3:x-amz-acl",
];
/// A condition on the length of a lock, which `MinIO` checks when a lock is extended, and not when a put brings one.
const REMAINING_DAYS: &str = "s3:object-lock-remaining-retention-days";

const DELETE: &str = "s3:DeleteObject";
const DELETE_VERSION: &str = "s3:DeleteObjectVersion";
const PUT: &str = "s3:PutObject";
const RETAIN: &str = "s3:PutObjectRetention";
const PRINCIPAL: &str = "aws:PrincipalArn";

/// The policy of a role.
pub(super) fn render(role: Role, params: &Params) -> Result<Rendered, IamError> {
    // Users have no ARN that a condition could name. With a made-up account one can see which refusals exempt this role.
    let params = Params {
        partition: "aws".to_owned(),
        account: Some("000000000000".to_owned()),
        break_glass: vec!["arn:aws:iam::000000000000:role/break-glass".to_owned()],
        kms_key: params.kms_key.clone(),
        ..params.clone()
    };
    let document = Document::Role(role);
    let own = fill(document, &params)?;
    let bucket = fill(Document::BucketPolicy, &params)?;
    let arn = params.role_arn(role, document)?;

    let mut statements = Vec::new();
    let mut not_enforced = Vec::new();
    for statement in own.statement {
        let action = statement.action.kept(is_known);
        if !action.is_empty() {
            let action = match role {
                Role::Pruner => with_plain_delete(&action),
                Role::Snapshotter
                | Role::Restorer
                | Role::Auditor
                | Role::Verifier
                | Role::Holder => action,
            };
            statements.push(Statement {
                action,
                ..statement
            });
        }
    }
    for statement in bucket.statement {
        let sid = statement.sid.clone();
        let statement = outside_sources(statement, &params);
        let (known, left_out) = refusal(statement, role, &arn);
        statements.extend(known);
        not_enforced.extend(left_out.map(|reason| NotEnforced {
            sid: Some(sid),
            reason,
        }));
    }
    statements.push(no_fan_out(&params)?);
    not_enforced.extend(gaps_of_the_server(&statements, params.lock_mode));
    Ok(Rendered {
        policy: Policy {
            version: own.version,
            statement: statements,
        },
        not_enforced,
    })
}

/// Refuses a call that only `MinIO` has: one upload that becomes objects of any names, past the right to put.
fn no_fan_out(params: &Params) -> Result<Statement, IamError> {
    let bucket = params.vault.bucket();
    serde_json::from_value(serde_json::json!({
        "Sid": "DenyFanOut",
        "Effect": "Deny",
        "Action": "s3:PutObjectFanOut",
        "Resource": format!("arn:{}:s3:::{bucket}/*", params.partition),
    }))
    .map_err(IamError::Malformed)
}

/// A statement about all objects but some, for a policy that is not a bucket's: there those of other buckets are among all
/// objects, and a restore writes into the sources.
fn outside_sources(mut statement: Statement, params: &Params) -> Statement {
    let puts = statement.action.as_slice().iter().any(|one| one == PUT);
    if let Some(others) = statement.not_resource.as_mut().filter(|_| puts) {
        let mut all = others.as_slice().to_vec();
        all.extend(
            params
                .sources
                .iter()
                .map(|source| source_objects(&params.partition, source)),
        );
        *others = OneOrMany::Many(all);
    }
    statement
}

/// A statement of the bucket policy as far as `MinIO` knows its words, and the reason for what is left out. Neither where
/// the statement exempts the role.
fn refusal(mut statement: Statement, role: Role, arn: &str) -> (Option<Statement>, Option<String>) {
    if let Some(principals) = statement.condition.remove("ArnNotLike") {
        let exempt = principals.get(PRINCIPAL);
        if exempt.is_some_and(|arns| arns.as_slice().iter().any(|one| one == arn)) {
            return (None, None);
        }
    }
    statement.principal = None;
    let keys = || statement.condition.values().flat_map(|keys| keys.keys());
    if let Some(key) = keys().find(|key| UNKNOWN_KEYS.contains(&key.as_str())) {
        return (
            None,
            Some(format!("MinIO does not know the condition {key}")),
        );
    }
    let by_days = keys().any(|key| key == REMAINING_DAYS);
    let has = |action: &str| statement.action.as_slice().iter().any(|one| one == action);
    if role == Role::Pruner && has(DELETE) {
        let reason = "MinIO lets nobody delete an object version who may not put delete markers: the pruner can hide what \
                      it may prune, and nothing else";
        return (None, Some(reason.to_owned()));
    }
    if role == Role::Pruner && has(DELETE_VERSION) {
        statement.action = with_plain_delete(&statement.action);
        return (Some(statement), None);
    }
    let known = statement
        .action
        .kept(|action| is_known(action) && !(by_days && action == PUT));
    let left_out: Vec<&str> = statement
        .action
        .as_slice()
        .iter()
        .map(String::as_str)
        .filter(|action| !known.as_slice().iter().any(|one| one == action))
        .collect();
    let reason = if by_days {
        format!("MinIO asks for the days of a lock when it is extended, not when {PUT} brings it")
    } else {
        format!("MinIO has no call for {}", left_out.join(", "))
    };
    let reason = (!left_out.is_empty()).then_some(reason);
    statement.action = known;
    ((!statement.action.is_empty()).then_some(statement), reason)
}

/// What no policy can prevent on this server.
fn gaps_of_the_server(statements: &[Statement], mode: LockMode) -> Vec<NotEnforced> {
    let allows = |action: &str| {
        let allowed = statements.iter().filter(|one| one.effect == Effect::Allow);
        let mut actions = allowed.flat_map(|one| one.action.as_slice());
        actions.any(|one| one == action)
    };
    let gap = |reason: &str| NotEnforced {
        sid: None,
        reason: reason.to_owned(),
    };
    let mut gaps = Vec::new();
    if mode == LockMode::Governance && allows(RETAIN) {
        gaps.push(gap(
            "on MinIO, who may lock may also shorten and remove a lock of mode GOVERNANCE: choose COMPLIANCE",
        ));
    }
    if allows(PUT) {
        gaps.push(gap("on MinIO, tags that come with a put are not checked"));
    }
    gaps
}

fn is_known(action: &str) -> bool {
    action.starts_with("s3:") && !UNKNOWN_ACTIONS.contains(&action)
}

/// `MinIO` asks for the right to delete an object before that to delete one version of it.
fn with_plain_delete(action: &OneOrMany) -> OneOrMany {
    let mut actions = action.as_slice().to_vec();
    if actions.iter().any(|one| one == DELETE_VERSION) && !actions.iter().any(|one| one == DELETE) {
        actions.insert(0, DELETE.to_owned());
    }
    OneOrMany::Many(actions)
}
