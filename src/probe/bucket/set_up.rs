//! Sets up a bucket for a vault: its default retention, its public access block, its rule for unfinished uploads.

use aws_sdk_s3::types::{
    AbortIncompleteMultipartUpload, BucketLifecycleConfiguration, DefaultRetention,
    ExpirationStatus, LifecycleRule, LifecycleRuleFilter, ObjectLockConfiguration,
    ObjectLockEnabled, ObjectLockRetentionMode, ObjectLockRule, PublicAccessBlockConfiguration,
};

use crate::format::LockMode;
use crate::store::s3::S3Store;
use crate::store::s3::ask::ask;
use crate::store::{StoreError, StoreErrorKind};
use crate::wall::lint::spelled;
use crate::wall::state::{Asked, BucketState};

/// After how many days an unfinished upload is dropped.
const UPLOAD_DAYS: i32 = 7;

impl S3Store {
    /// Adds the settings of a vault's bucket that this one lacks: a default retention of the floor's length in the vault's
    /// mode, a public access block, a rule for unfinished uploads. A setting that is as strong stays as it is.
    ///
    /// A refusal is not reported: the caller reads the bucket's state again.
    ///
    /// # Errors
    /// Where no answer came.
    pub async fn set_up_bucket(
        &self,
        state: &BucketState,
        mode: LockMode,
        floor: u32,
    ) -> Result<(), StoreError> {
        let failed = |kind: StoreErrorKind| StoreError {
            action: "set up",
            uri: format!("s3://{}", self.bucket()),
            kind,
        };
        if let Asked::Known(lock) = &state.object_lock
            && mode != LockMode::None
            && lock.default.is_none_or(|default| {
                default.days < floor
                    || (mode == LockMode::Compliance && default.mode != LockMode::Compliance)
            })
        {
            self.set_default_retention(mode, floor)
                .await
                .map_err(failed)?;
        }
        // A server may answer an unknown call with any error: only servers that have the setting are asked.
        if state.public_access == Asked::Absent {
            self.block_public_access().await.map_err(failed)?;
        }
        if state.lifecycle == Asked::Absent {
            self.sweep_uploads().await.map_err(failed)?;
        }
        Ok(())
    }

    async fn set_default_retention(
        &self,
        mode: LockMode,
        floor: u32,
    ) -> Result<(), StoreErrorKind> {
        let default = DefaultRetention::builder()
            .mode(ObjectLockRetentionMode::from(spelled(mode)))
            .days(i32::try_from(floor).unwrap_or(i32::MAX))
            .build();
        let rule = ObjectLockRule::builder().default_retention(default).build();
        let config = ObjectLockConfiguration::builder()
            .object_lock_enabled(ObjectLockEnabled::Enabled)
            .rule(rule)
            .build();
        let request = self.client().s3().put_object_lock_configuration();
        let request = request.object_lock_configuration(config);
        let call = || request.clone().bucket(self.bucket()).send();
        ask(self.client(), call).await.map(|_| ())
    }

    async fn block_public_access(&self) -> Result<(), StoreErrorKind> {
        let block = PublicAccessBlockConfiguration::builder()
            .block_public_acls(true)
            .ignore_public_acls(true)
            .block_public_policy(true)
            .restrict_public_buckets(true)
            .build();
        let request = self.client().s3().put_public_access_block();
        let request = request.public_access_block_configuration(block);
        let call = || request.clone().bucket(self.bucket()).send();
        ask(self.client(), call).await.map(|_| ())
    }

    async fn sweep_uploads(&self) -> Result<(), StoreErrorKind> {
        let abort = AbortIncompleteMultipartUpload::builder()
            .days_after_initiation(UPLOAD_DAYS)
            .build();
        let rule = LifecycleRule::builder()
            .id("unfinished-uploads")
            .status(ExpirationStatus::Enabled)
            .filter(LifecycleRuleFilter::builder().prefix("").build())
            .abort_incomplete_multipart_upload(abort)
            .build();
        // A rule without a status cannot be built; this one has one.
        let Ok(rule) = rule else { return Ok(()) };
        let config = BucketLifecycleConfiguration::builder().rules(rule).build();
        let Ok(config) = config else { return Ok(()) };
        let request = self.client().s3().put_bucket_lifecycle_configuration();
        let request = request.lifecycle_configuration(config);
        let call = || request.clone().bucket(self.bucket()).send();
        ask(self.client(), call).await.map(|_| ())
    }
}
