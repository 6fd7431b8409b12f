//! Fills in the templates: `${name}` becomes text inside a string, and a JSON list outside of one.
//!
//! Terraform's `templatefile` reads the same files by the same rule. A statement with an empty list of resources,
//! principals or values is left out, there as here.

use serde_json::Value;

use super::params::{Location, Params};
use super::policy::Policy;
use super::role::Role;
use super::{Document, IamError};

/// The template of a document.
pub(super) fn template(document: Document) -> &'static str {
    match document {
        Document::Role(Role::Snapshotter) => include_str!("../../iam/roles/snapshotter.json"),
        Document::Role(Role::Restorer) => include_str!("../../iam/roles/restorer.json"),
        Document::Role(Role::Auditor) => include_str!("../../iam/roles/auditor.json"),
        Document::Role(Role::Verifier) => include_str!("../../iam/roles/verifier.json"),
        Document::Role(Role::Pruner) => include_str!("../../iam/roles/pruner.json"),
        Document::Role(Role::Holder) => include_str!("../../iam/roles/holder.json"),
        Document::Trust => include_str!("../../iam/trust.json"),
        Document::BucketPolicy => include_str!("../../iam/bucket-policy.json"),
        Document::SourceGrant => include_str!("../../iam/source-grant.json"),
        Document::KmsKeyPolicy => include_str!("../../iam/kms-key-policy.json"),
        Document::Scp => include_str!("../../iam/scp.json"),
    }
}

/// The document, filled in.
pub(super) fn fill(document: Document, params: &Params) -> Result<Policy, IamError> {
    params.check()?;
    if document == Document::SourceGrant {
        check_one_bucket(params)?;
    }
    let filled = substitute(template(document), |name| value(name, document, params))?;
    let mut policy: Policy = serde_json::from_str(&filled).map_err(IamError::Malformed)?;
    policy.statement.retain(|statement| !statement.is_void());
    Ok(policy)
}

/// A bucket's policy names that bucket and no other.
fn check_one_bucket(params: &Params) -> Result<(), IamError> {
    let Some((first, rest)) = params.sources.split_first() else {
        return Err(IamError::Missing {
            document: Document::SourceGrant,
            needed: "--source URI",
        });
    };
    match rest.iter().find(|source| source.bucket() != first.bucket()) {
        Some(other) => Err(IamError::Unusable {
            value: other.bucket().to_owned(),
            rule: "a source grant is the policy of one bucket: render one for each",
        }),
        None => Ok(()),
    }
}

/// Replaces every `${name}` by its value.
fn substitute(
    template: &str,
    value: impl Fn(&str) -> Result<Value, IamError>,
) -> Result<String, IamError> {
    let mut filled = String::with_capacity(template.len() * 2);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("${") {
        filled.push_str(before);
        let (name, after) = after
            .split_once('}')
            .ok_or_else(|| IamError::UnknownPlaceholder {
                name: after.chars().take(20).collect(),
            })?;
        let json = value(name)?.to_string();
        // A text is inside a string of the template, which has the quotes already.
        let inner = json
            .strip_prefix('"')
            .and_then(|json| json.strip_suffix('"'));
        filled.push_str(inner.unwrap_or(&json));
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

fn value(name: &str, document: Document, params: &Params) -> Result<Value, IamError> {
    let missing = |needed| IamError::Missing { document, needed };
    let arns = |roles: &[Role]| -> Result<Vec<String>, IamError> {
        let arns = roles.iter().map(|role| params.role_arn(*role, document));
        arns.collect()
    };
    let with_break_glass = |mut arns: Vec<String>| {
        // Such a list without them would bind everybody or nobody.
        if params.break_glass.is_empty() {
            return Err(missing("--break-glass ARN"));
        }
        arns.extend_from_slice(&params.break_glass);
        Ok(arns.into())
    };
    let partition = &params.partition;
    Ok(match name {
        "partition" => partition.as_str().into(),
        "bucket" => params.vault.bucket().into(),
        "prefix" => params.vault.prefix().into(),
        "floor_days" => params.floor_days.to_string().into(),
        "ceiling_days" => params.ceiling_days.to_string().into(),
        "lock_mode" => params.lock_mode_name().into(),
        "storage_classes" => params.storage_classes.clone().into(),
        "sse_algorithm" => {
            let algorithm = params.kms_key.as_ref().map_or("AES256", |_| "aws:kms");
            algorithm.into()
        }
        // No key has this name: a vault without a key of its own refuses every key.
        "kms_key" => params.kms_key.as_deref().unwrap_or("none").into(),
        "kms_keys" => params.kms_key.iter().cloned().collect(),
        "source_kms_keys" => params.source_kms_keys.clone().into(),
        "account" => params.account(document)?.into(),
        "role_prefix" => params.role_prefix.as_str().into(),
        "snapshotter_arns" => arns(&[Role::Snapshotter])?.into(),
        "pruner_arns" => arns(&[Role::Pruner])?.into(),
        "holder_arns" => arns(&[Role::Holder])?.into(),
        "restorer_arns" | "event_restorer_arns" => arns(&[Role::Restorer])?.into(),
        "auditor_arns" => arns(&[Role::Auditor])?.into(),
        "source_reader_arns" => arns(&[Role::Snapshotter, Role::Restorer])?.into(),
        "writer_arns" => arns(&[
            Role::Snapshotter,
            Role::Restorer,
            Role::Pruner,
            Role::Holder,
        ])?
        .into(),
        "all_role_arns" => arns(&Role::ALL)?.into(),
        "reader_arns" => with_break_glass(arns(&Role::ALL)?)?,
        "data_reader_arns" => with_break_glass(arns(&DATA_READERS)?)?,
        // S3 itself replicates, from nowhere that a condition could name.
        "anywhere_arns" => with_break_glass(vec![params.arn("replication", document)?])?,
        "guarded_role_arns" => with_break_glass(vec![params.arn("*", document)?])?,
        "break_glass_arns" => with_break_glass(Vec::new())?,
        "vpc_endpoints" => params.vpc_endpoints.clone().into(),
        "org_ids" => params.org_ids.clone().into(),
        "trusted_arns" if params.trusted.is_empty() => return Err(missing("--trust ARN")),
        "trusted_arns" => params.trusted.clone().into(),
        "external_id" => {
            let id = params.external_id.as_deref();
            id.ok_or_else(|| missing("--external-id ID"))?.into()
        }
        "source_buckets" => per_source(params, |source, list| {
            list.push(format!("arn:{partition}:s3:::{}", source.bucket()));
        }),
        "source_objects" => per_source(params, |source, list| {
            list.push(source_objects(partition, source));
        }),
        "source_logs" => per_source(params, |source, list| {
            let arn = object_arn(partition, source);
            list.extend([format!("{arn}_delta_log/*"), format!("{arn}*/_delta_log/*")]);
        }),
        "source_log_prefixes" => per_source(params, |source, list| {
            let prefix = source.prefix();
            list.extend([
                format!("{prefix}_delta_log/*"),
                format!("{prefix}*/_delta_log/*"),
            ]);
        }),
        _ => {
            let name = name.to_owned();
            return Err(IamError::UnknownPlaceholder { name });
        }
    })
}

/// The roles that read the tables' data.
const DATA_READERS: [Role; 3] = [Role::Snapshotter, Role::Restorer, Role::Verifier];

/// The objects of a source, by ARN.
pub(super) fn source_objects(partition: &str, source: &Location) -> String {
    format!("{}*", object_arn(partition, source))
}

fn object_arn(partition: &str, place: &Location) -> String {
    format!("arn:{partition}:s3:::{}/{}", place.bucket(), place.prefix())
}

/// A list of what each source adds to it, without duplicates.
fn per_source(params: &Params, add: impl Fn(&Location, &mut Vec<String>)) -> Value {
    let mut list = Vec::new();
    for source in &params.sources {
        add(source, &mut list);
    }
    let mut once: Vec<String> = Vec::new();
    for one in list {
        if !once.contains(&one) {
            once.push(one);
        }
    }
    once.into()
}
