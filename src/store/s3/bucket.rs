//! The names of buckets, and how to create one.

use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};

use super::S3Store;
use crate::store::{StoreError, StoreErrorKind};

/// The region that has no name in a bucket's location constraint.
const FIRST_REGION: &str = "us-east-1";

/// Whether a bucket can have that name ("General purpose bucket naming rules"; old buckets have underscores).
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
    /// Creates the bucket with versioning and Object Lock; `false` when the caller owns it already.
    ///
    /// # Errors
    /// S3's refusal.
    pub async fn create_bucket(&self) -> Result<bool, StoreError> {
        let region = self.client.region().to_owned();
        // Other servers have regions of their own.
        let elsewhere = !self.client.has_own_endpoint() && region != FIRST_REGION;
        let location = elsewhere.then(|| {
            CreateBucketConfiguration::builder()
                .location_constraint(BucketLocationConstraint::from(region.as_str()))
                .build()
        });
        let request = self.client.s3().create_bucket().bucket(self.bucket());
        let request = request
            .object_lock_enabled_for_bucket(true)
            .set_create_bucket_configuration(location);
        match self.client.call(|| request.clone().send()).await {
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
    fn only_names_that_s3_takes_are_names_of_buckets() {
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
