//! Calls on single objects and on listings.

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    CompletedMultipartUpload, CompletedPart, Delete, ObjectCannedAcl, ObjectEncryption,
    ObjectIdentifier, ObjectLockLegalHold, ObjectLockLegalHoldStatus, SsekmsEncryption, Tag,
    Tagging,
};

use super::{Answer, Prober, Refusal, Target, id};

/// A key that no account has: a call with it fails, but only after the right to make it was checked.
const NO_KEY: &str = "arn:aws:kms:us-east-1:000000000000:key/00000000-0000-0000-0000-000000000000";

impl Prober {
    /// Reads an object version.
    pub(in crate::probe) async fn read(&self, target: Target<'_>) -> Answer<()> {
        send!(self, target.key, request!(self, get_object, target), drop)
    }

    /// Asks for an object version's lock.
    pub(in crate::probe) async fn read_lock(&self, target: Target<'_>) -> Answer<()> {
        let request = request!(self, get_object_retention, target);
        send!(self, target.key, request, drop)
    }

    /// Lists a few keys, and a few object versions.
    pub(in crate::probe) async fn list(&self, prefix: &str) -> Answer<()> {
        let keys = self.s3().list_objects_v2().prefix(prefix).max_keys(1);
        if let Err(refusal) = send!(self, prefix, keys, drop)? {
            return Ok(Err(refusal));
        }
        let versions = self.s3().list_object_versions().prefix(prefix).max_keys(1);
        send!(self, prefix, versions, drop)
    }

    /// Deletes object versions of one key by a batch.
    pub(in crate::probe) async fn delete_many(&self, target: Target<'_>) -> Answer<()> {
        let object = ObjectIdentifier::builder().key(target.key);
        let object = object.set_version_id(id(target.version)).build();
        let delete = object.and_then(|object| Delete::builder().objects(object).build());
        let Ok(delete) = delete else {
            return Ok(Err(unsent()));
        };
        let request = self.s3().delete_objects().delete(delete);
        let answer = send!(self, target.key, request, |done| done
            .errors
            .unwrap_or_default())?;
        Ok(answer.and_then(|errors| {
            // A call that succeeds may have deleted nothing.
            let Some(error) = errors.into_iter().next() else {
                return Ok(());
            };
            let clipped = |text: Option<&str>| text.map(super::clip).unwrap_or_default();
            Err(Refusal {
                status: 200,
                code: clipped(error.code.as_deref()),
                message: clipped(error.message.as_deref()),
                server: String::new(),
            })
        }))
    }

    /// Puts a legal hold on an object version, or takes it off.
    pub(in crate::probe) async fn set_hold(&self, target: Target<'_>, on: bool) -> Answer<()> {
        let status = if on {
            ObjectLockLegalHoldStatus::On
        } else {
            ObjectLockLegalHoldStatus::Off
        };
        let hold = ObjectLockLegalHold::builder().status(status).build();
        let request = request!(self, put_object_legal_hold, target).legal_hold(hold);
        send!(self, target.key, request, drop)
    }

    /// Gives an object version the ACL that lets nobody in.
    pub(in crate::probe) async fn set_acl(&self, target: Target<'_>) -> Answer<()> {
        let request = request!(self, put_object_acl, target).acl(ObjectCannedAcl::Private);
        send!(self, target.key, request, drop)
    }

    /// Gives an object version a tag.
    pub(in crate::probe) async fn set_tags(&self, target: Target<'_>) -> Answer<()> {
        let tag = Tag::builder().key("probe").value("1").build();
        let tagging = tag.and_then(|tag| Tagging::builder().tag_set(tag).build());
        let Ok(tagging) = tagging else {
            return Ok(Err(unsent()));
        };
        let request = request!(self, put_object_tagging, target).tagging(tagging);
        send!(self, target.key, request, drop)
    }

    /// Annotates an object version.
    pub(in crate::probe) async fn annotate(&self, target: Target<'_>) -> Answer<()> {
        let call = || {
            let request = request!(self, put_object_annotation, target).bucket(&self.bucket);
            let request = request.annotation_name("probe");
            request
                .annotation_payload(ByteStream::from_static(b"?"))
                .send()
        };
        Ok(self.ask(target.key, call).await?.map(drop))
    }

    /// Asks for an object version to be encrypted with a key that does not exist.
    pub(in crate::probe) async fn reencrypt(&self, target: Target<'_>) -> Answer<()> {
        let Ok(kms) = SsekmsEncryption::builder().kms_key_arn(NO_KEY).build() else {
            return Ok(Err(unsent()));
        };
        let request = request!(self, update_object_encryption, target);
        let request = request.object_encryption(ObjectEncryption::Ssekms(kms));
        send!(self, target.key, request, drop)
    }

    /// Begins an upload in parts.
    pub(in crate::probe) async fn begin_upload(&self, key: &str) -> Answer<String> {
        let request = self.s3().create_multipart_upload().key(key);
        send!(self, key, request, |begun| begun
            .upload_id
            .unwrap_or_default())
    }

    /// Sends the one part of an upload: it succeeds while the upload is there.
    pub(in crate::probe) async fn send_part(
        &self,
        key: &str,
        upload: &str,
    ) -> Answer<CompletedPart> {
        let call = || {
            let request = self.s3().upload_part().bucket(&self.bucket).key(key);
            let request = request.upload_id(upload).part_number(1);
            request.body(ByteStream::from_static(b"a part")).send()
        };
        let answer = self.ask(key, call).await?;
        Ok(answer.map(|part| {
            CompletedPart::builder()
                .part_number(1)
                .set_e_tag(part.e_tag)
                .set_checksum_crc32(part.checksum_crc32)
                .set_checksum_crc64_nvme(part.checksum_crc64_nvme)
                .build()
        }))
    }

    /// Puts an object where none is, in one part and without a lock.
    pub(in crate::probe) async fn put_in_parts(&self, key: &str) -> Answer<()> {
        let upload = match self.begin_upload(key).await? {
            Ok(upload) => upload,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let part = match self.send_part(key, &upload).await? {
            Ok(part) => part,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let parts = CompletedMultipartUpload::builder().parts(part).build();
        let request = self.s3().complete_multipart_upload().key(key);
        let request = request.upload_id(&upload).if_none_match("*");
        send!(self, key, request.multipart_upload(parts), drop)
    }

    /// Drops an upload in parts.
    pub(in crate::probe) async fn abort(&self, key: &str, upload: &str) -> Answer<()> {
        let request = self.s3().abort_multipart_upload().key(key);
        send!(self, key, request.upload_id(upload), drop)
    }
}

/// A call that the SDK refuses to build.
fn unsent() -> Refusal {
    Refusal {
        status: 0,
        code: String::new(),
        message: "the call cannot be spelled".to_owned(),
        server: String::new(),
    }
}
