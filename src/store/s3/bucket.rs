//! Buckets themselves: their names, and making one.

use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};

use super::S3Store;
use crate::store::{StoreError, StoreErrorKind};

/// The region that has no name in a bucket's location constraint.
const FIRST_REGION: &str = "us-east-1";

/// Whether S3 can name a bucket so ("General purpose bucket naming rules"; underscores are of older days).
pub(super) fn is_name(text: &str) -> bool {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._".contains(c);
    let end = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (3..=63).contains(&text.len())
        && text.chars().all(legal)
        && text.starts_with(end)
        && text.ends_with(end)
        && !text.contains("..")
}

impl S3Store {
    /// Creates the bucket with versioning and Object Lock; `false` when the caller has it already.
    ///
    /// # Errors
    /// What S3 says.
    pub async fn create_bucket(&self) -> Result<bool, StoreError> {
        let region = self.client.region().to_owned();
        // Other servers have regions of their own making.
        let elsewhere = !self.client.has_own_endpoint() && region != FIRST_REGION;
        let location = elsewhere.then(|| {
            CreateBucketConfiguration::builder()
                .location_constraint(BucketLocationConstraint::from(region.as_str()))
                .build()
        });
        let call = || {
            self.client
                .s3()
                .create_bucket()
                .bucket(self.bucket())
                .object_lock_enabled_for_bucket(true)
                .set_create_bucket_configuration(location.clone())
                .send()
        };
        match self.client.call(call).await {
            Ok(_) => Ok(true),
            Err(StoreErrorKind::Unsupported { reason })
                if reason.starts_with("BucketAlreadyOwnedByYou") =>
            {
                Ok(false)
            }
            Err(kind) => Err(StoreError {
                action: "create",
                uri: format!("s3://{}", self.bucket()),
                kind,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_has_a_name_that_s3_can_spell() {
        for good in ["abc", "my-vault.2026", "123", &"x".repeat(63)] {
            assert!(is_name(good), "{good}");
        }
        for bad in [
            "",
            "ab",
            "Upper",
            "a b",
            "-abc",
            "abc-",
            "a..b",
            "ü12",
            &"x".repeat(64),
        ] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
