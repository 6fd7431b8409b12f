//! Calls on single objects and on listings.

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    Delete, ObjectCannedAcl, ObjectEncryption, ObjectIdentifier, ObjectLockLegalHold,
    ObjectLockLegalHoldStatus, SsekmsEncryption, Tag, Tagging,
};

use super::{Probed, Prober, Refusal};
use crate::ids::ObjectVersion;
use crate::store::StoreError;

/// A key that no account has: what is asked with it fails after the right to ask.
const NO_KEY: &str = "arn:aws:kms:us-east-1:000000000000:key/00000000-0000-0000-0000-000000000000";

impl Prober {
    /// Reads an object version.
    ///
    /// # Errors
    /// Where no answer came.
    pub async fn read(
        &self,
        key: &str,
        version: Option<&ObjectVersion>,
    ) -> Result<Probed<()>, StoreError> {
        let call = || {
            self.client
                .s3()
                .get_object()
                .bucket(&self.bucket)
                .key(key)
                .set_version_id(version.map(|version| version.0.clone()))
                .send()
        };
        let answer = self.ask(key, call).await?;
        Ok(answer.map(|_| ()))
    }

    /// Asks for an object version's lock.
    ///
    /// # Errors
    /// Where no answer came.
    pub async fn read_lock(
        &self,
        key: &str,
        version: Option<&ObjectVersion>,
    ) -> Result<Probed<()>, StoreError> {
        let call = || {
            self.client
                .s3()
                .get_object_retention()
                .bucket(&self.bucket)
                .key(key)
                .set_version_id(version.map(|version| version.0.clone()))
                .send()
        };
        let answer = self.ask(key, call).await?;
        Ok(answer.map(|_| ()))
    }

    /// Lists a few keys, and a few object versions.
    ///
    /// # Errors
    /// Where no answer came.
    pub async fn list(&self, prefix: &str) -> Result<Probed<()>, StoreError> {
        let s3 = self.client.s3();
        let keys = || {
            s3.list_objects_v2()
                .bucket(&self.bucket)
                .prefix(prefix)
                .max_keys(1)
                .send()
        };
        if let Err(refusal) = self.ask(prefix, keys).await? {
            return Ok(Err(refusal));
        }
        let versions = || {
            s3.list_object_versions()
                .bucket(&self.bucket)
                .prefix(prefix)
                .max_keys(1)
                .send()
        };
        let answer = self.ask(prefix, versions).await?;
        Ok(answer.map(|_| ()))
    }

    /// Deletes object versions of one key by a batch.
    ///
    /// # Errors
    /// Where no answer came.
    pub async fn delete_many(
        &self,
        key: &str,
        version: Option<&ObjectVersion>,
    ) -> Result<Probed<()>, StoreError> {
        let object = ObjectIdentifier::builder()
            .key(key)
            .set_version_id(version.map(|version| version.0.clone()))
            .build();
        let delete = object.and_then(|object| Delete::builder().objects(object).build());
        let Ok(delete) = delete else {
            return Ok(Err(unsaid("the call cannot be spelled")));
        };
        let call = || {
            self.client
                .s3()
                .delete_objects()
                .bucket(&self.bucket)
                .delete(delete.clone())
                .send()
        };
        let answer = self.ask(key, call).await?;
        Ok(answer.and_then(|done| {
            // The call may succeed in doing nothing.
            match done.errors.unwrap_or_default().into_iter().next() {
                None => Ok(()),
                Some(error) => Err(Refusal {
                    status: 200,
                    code: error.code.as_deref().map(super::clip).unwrap_or_default(),
                    message: error
                        .message
                        .as_deref()
                        .map(super::clip)
                        .unwrap_or_default(),
                    server: String::new(),
                }),
            }
        }))
    }

    /// Puts a legal hold on an object version, or takes it off.
    ///
    /// # Errors
    /// Where no answer came.
    pub async fn set_hold(
        &self,
        key: &str,
        version: Option<&ObjectVersion>,
        on: bool,
    ) -> Result<Probed<()>, StoreError> {
        let status = if on {
            ObjectLockLegalHoldStatus::On
        } else {
            ObjectLockLegalHoldStatus::Off
        };
        let hold = ObjectLockLegalHold::builder().status(status).build();
        let call = || {
            self.client
                .s3()
                .put_object_legal_hold()
                .bucket(&self.bucket)
                .key(key)
                .set_version_id(version.map(|version| version.0.clone()))
                .legal_hold(hold.clone())
                .send()
        };
        let answer = self.ask(key, call).await?;
        Ok(answer.map(|_| ()))
    }

    /// Gives an object version the ACL that lets nobody in.
    ///
    /// # Errors
    /// Where no answer came.
    pub async fn set_acl(
        &self,
        key: &str,
        version: Option<&ObjectVersion>,
    ) -> Result<Probed<()>, StoreError> {
        let call = || {
            self.client
                .s3()
                .put_object_acl()
                .bucket(&self.bucket)
                .key(key)
                .set_version_id(version.map(|version| version.0.clone()))
                .acl(ObjectCannedAcl::Private)
                .send()
        };
        let answer = self.ask(key, call).await?;
        Ok(answer.map(|_| ()))
    }

    /// Gives an object version a tag.
    ///
    /// # Errors
    /// Where no answer came.
    pub async fn set_tags(
        &self,
        key: &str,
        version: Option<&ObjectVersion>,
    ) -> Result<Probed<()>, StoreError> {
        let tag = Tag::builder().key("probe").value("1").build();
        let tagging = tag.and_then(|tag| Tagging::builder().tag_set(tag).build());
        let Ok(tagging) = tagging else {
            return Ok(Err(unsaid("the call cannot be spelled")));
        };
        let call = || {
            self.client
                .s3()
                .put_object_tagging()
                .bucket(&self.bucket)
                .key(key)
                .set_version_id(version.map(|version| version.0.clone()))
                .tagging(tagging.clone())
                .send()
        };
        let answer = self.ask(key, call).await?;
        Ok(answer.map(|_| ()))
    }

    /// Asks for an object version to be encrypted with a key that there is not.
    ///
    /// # Errors
    /// Where no answer came.
    pub async fn reencrypt(
        &self,
        key: &str,
        version: Option<&ObjectVersion>,
    ) -> Result<Probed<()>, StoreError> {
        let Ok(kms) = SsekmsEncryption::builder().kms_key_arn(NO_KEY).build() else {
            return Ok(Err(unsaid("the call cannot be spelled")));
        };
        let call = || {
            self.client
                .s3()
                .update_object_encryption()
                .bucket(&self.bucket)
                .key(key)
                .set_version_id(version.map(|version| version.0.clone()))
                .object_encryption(ObjectEncryption::Ssekms(kms.clone()))
                .send()
        };
        let answer = self.ask(key, call).await?;
        Ok(answer.map(|_| ()))
    }

    /// Begins an upload in parts.
    ///
    /// # Errors
    /// Where no answer came.
    pub async fn begin_upload(&self, key: &str) -> Result<Probed<String>, StoreError> {
        let call = || {
            self.client
                .s3()
                .create_multipart_upload()
                .bucket(&self.bucket)
                .key(key)
                .send()
        };
        let answer = self.ask(key, call).await?;
        Ok(answer.map(|begun| begun.upload_id.unwrap_or_default()))
    }

    /// Sends the one part of an upload: it succeeds while the upload is there.
    ///
    /// # Errors
    /// Where no answer came.
    pub async fn send_part(&self, key: &str, upload: &str) -> Result<Probed<()>, StoreError> {
        let call = || {
            self.client
                .s3()
                .upload_part()
                .bucket(&self.bucket)
                .key(key)
                .upload_id(upload)
                .part_number(1)
                .body(ByteStream::from_static(b"?"))
                .send()
        };
        let answer = self.ask(key, call).await?;
        Ok(answer.map(|_| ()))
    }

    /// Drops an upload in parts.
    ///
    /// # Errors
    /// Where no answer came.
    pub async fn abort(&self, key: &str, upload: &str) -> Result<Probed<()>, StoreError> {
        let call = || {
            self.client
                .s3()
                .abort_multipart_upload()
                .bucket(&self.bucket)
                .key(key)
                .upload_id(upload)
                .send()
        };
        let answer = self.ask(key, call).await?;
        Ok(answer.map(|_| ()))
    }
}

/// A call that was not sent.
pub(super) fn unsaid(why: &str) -> Refusal {
    Refusal {
        status: 0,
        code: String::new(),
        message: why.to_owned(),
        server: String::new(),
    }
}
