//! Reads a bucket's configuration, one call a setting, all at once.

use aws_sdk_s3::types::{
    BucketVersioningStatus, ExpirationStatus, LifecycleRule as SdkLifecycleRule,
    LifecycleRuleFilter, ObjectLockConfiguration, ObjectLockEnabled,
    ReplicationRule as SdkReplicationRule, ReplicationRuleStatus,
};
use serde_json::Value;

use crate::probe::prober::{known, mode_of};
use crate::store::s3::S3Store;
use crate::store::s3::ask::clip;
use crate::store::{StoreError, StoreErrorKind};
use crate::wall::state::{
    Asked, BucketState, DefaultRetention, Encryption, LifecycleRule, ObjectLock, PublicAccess,
    ReplicationRule, Versioning,
};

/// S3 keeps at most 1,000 rules of a kind; further ones are not looked at.
const RULES: usize = 1000;
/// A bucket policy is at most 20 KiB on S3 ("Bucket policies and user policies", Amazon S3 User Guide).
const POLICY: usize = 64 * 1024;
const DAYS_A_YEAR: u32 = 365;

impl S3Store {
    /// Reads the bucket's configuration.
    ///
    /// # Errors
    /// Where no answer came. A setting that may not be read, or that the server does not have, is part of the result.
    pub async fn bucket_state(&self) -> Result<BucketState, StoreError> {
        let client = self.client();
        let bucket = self.bucket();
        let (
            versioning,
            object_lock,
            public_access,
            ownership,
            encryption,
            lifecycle,
            replication,
            policy,
            location,
        ) = futures::join!(
            setting!(client, bucket, get_bucket_versioning),
            setting!(client, bucket, get_object_lock_configuration),
            setting!(client, bucket, get_public_access_block),
            setting!(client, bucket, get_bucket_ownership_controls),
            setting!(client, bucket, get_bucket_encryption),
            setting!(client, bucket, get_bucket_lifecycle_configuration),
            setting!(client, bucket, get_bucket_replication),
            setting!(client, bucket, get_bucket_policy),
            setting!(client, bucket, get_bucket_location),
        );
        let state = || {
            Ok::<_, StoreErrorKind>(BucketState {
                versioning: known(versioning?, |it| match it.status {
                    Some(BucketVersioningStatus::Enabled) => Some(Versioning::Enabled),
                    Some(_) => Some(Versioning::Suspended),
                    None => None,
                }),
                object_lock: known(object_lock?, |it| lock(it.object_lock_configuration?)),
                public_access: known(public_access?, |it| {
                    let block = it.public_access_block_configuration?;
                    Some(PublicAccess {
                        block_acls: block.block_public_acls.unwrap_or_default(),
                        ignore_acls: block.ignore_public_acls.unwrap_or_default(),
                        block_policy: block.block_public_policy.unwrap_or_default(),
                        restrict: block.restrict_public_buckets.unwrap_or_default(),
                    })
                }),
                ownership: known(ownership?, |it| {
                    let rule = it.ownership_controls?.rules.into_iter().next()?;
                    Some(clip(rule.object_ownership.as_str()))
                }),
                encryption: known(encryption?, |it| {
                    let rules = it.server_side_encryption_configuration?.rules;
                    let rule = rules.into_iter().next()?;
                    let by_default = rule.apply_server_side_encryption_by_default?;
                    Some(Encryption {
                        algorithm: clip(by_default.sse_algorithm.as_str()),
                        key: by_default.kms_master_key_id.as_deref().map(clip),
                    })
                }),
                lifecycle: known(lifecycle?, |it| {
                    let rules = it.rules?.into_iter().take(RULES);
                    Some(rules.map(lifecycle_rule).collect())
                }),
                replication: known(replication?, |it| {
                    let rules = it.replication_configuration?.rules.into_iter().take(RULES);
                    Some(rules.map(replication_rule).collect())
                }),
                policy: policy_of(known(policy?, |it| it.policy)),
                location: known(location?, |it| {
                    it.location_constraint.map(|at| clip(at.as_str()))
                }),
            })
        };
        state().map_err(|kind| StoreError {
            action: "ask for the settings of",
            uri: format!("s3://{bucket}"),
            kind,
        })
    }
}

fn policy_of(text: Asked<String>) -> Asked<Value> {
    match text {
        Asked::Known(text) if text.len() > POLICY => {
            Asked::Refused(format!("the policy has {} bytes", text.len()))
        }
        Asked::Known(text) => match serde_json::from_str(&text) {
            Ok(value) => Asked::Known(value),
            Err(error) => Asked::Refused(format!("the policy is not JSON: {error}")),
        },
        Asked::Absent => Asked::Absent,
        Asked::Refused(why) => Asked::Refused(why),
        Asked::NotOffered => Asked::NotOffered,
    }
}

fn lock(found: ObjectLockConfiguration) -> Option<ObjectLock> {
    if found.object_lock_enabled != Some(ObjectLockEnabled::Enabled) {
        return None;
    }
    let default = found.rule.and_then(|rule| rule.default_retention);
    let default = default.and_then(|default| {
        let days = |count: Option<i32>| count.and_then(|count| u32::try_from(count).ok());
        let years = days(default.years).map(|years| years.saturating_mul(DAYS_A_YEAR));
        Some(DefaultRetention {
            mode: mode_of(default.mode?.as_str()),
            days: days(default.days).or(years)?,
            event_hold: default.default_event_hold.is_some(),
        })
    });
    Some(ObjectLock { default })
}

fn lifecycle_rule(rule: SdkLifecycleRule) -> LifecycleRule {
    let filter = rule
        .filter
        .unwrap_or_else(|| LifecycleRuleFilter::builder().build());
    let and = filter.and;
    #[expect(deprecated, reason = "older rules carry their prefix here")]
    let older = rule.prefix;
    let prefix = and
        .as_ref()
        .and_then(|and| and.prefix.clone())
        .or(filter.prefix)
        .or(older);
    let narrowed = filter.tag.is_some()
        || filter.object_size_greater_than.is_some()
        || filter.object_size_less_than.is_some()
        || and.is_some_and(|and| {
            and.tags.is_some_and(|tags| !tags.is_empty())
                || and.object_size_greater_than.is_some()
                || and.object_size_less_than.is_some()
        });
    let current = rule.transitions.unwrap_or_default().into_iter();
    let current = current.filter_map(|to| to.storage_class);
    let noncurrent = rule.noncurrent_version_transitions.unwrap_or_default();
    let noncurrent = noncurrent.into_iter().filter_map(|to| to.storage_class);
    LifecycleRule {
        id: clip(&rule.id.unwrap_or_default()),
        enabled: rule.status == ExpirationStatus::Enabled,
        prefix: clip(&prefix.unwrap_or_default()),
        narrowed,
        expires: rule
            .expiration
            .is_some_and(|it| it.days.is_some() || it.date.is_some()),
        expires_noncurrent: rule.noncurrent_version_expiration.is_some(),
        transitions: current
            .chain(noncurrent)
            .map(|class| clip(class.as_str()))
            .take(RULES)
            .collect(),
        aborts_uploads_after: rule
            .abort_incomplete_multipart_upload
            .and_then(|abort| u32::try_from(abort.days_after_initiation?).ok()),
    }
}

fn replication_rule(rule: SdkReplicationRule) -> ReplicationRule {
    let markers = rule.delete_marker_replication.and_then(|it| it.status);
    ReplicationRule {
        id: clip(&rule.id.unwrap_or_default()),
        enabled: rule.status == ReplicationRuleStatus::Enabled,
        destination: rule
            .destination
            .map(|to| clip(&to.bucket))
            .unwrap_or_default(),
        delete_markers: markers.is_some_and(|status| status.as_str() == "Enabled"),
    }
}
