//! How large an answer may be that is read into memory: every one but the body of an object. A server that never ends a
//! listing, or an error, would else take all of it.

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::SdkBody;
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use http_body_util::Limited;

/// The most bytes of an answer. The largest that S3 gives is a page of 1,000 keys of 1,024 bytes, each byte written as `%41`,
/// of a listing of versions: some 4 MiB.
const LIMIT: usize = 16 * 1024 * 1024;

/// Cuts answers off.
#[derive(Debug)]
pub(super) struct AnswerLimit;

impl Intercept for AnswerLimit {
    fn name(&self) -> &'static str {
        "AnswerLimit"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let is_get = |it: &Metadata| it.name() == "GetObject";
        let is_streamed = context.response().status().is_success()
            && config.load::<Metadata>().is_some_and(is_get);
        if !is_streamed {
            let body = context.response_mut().body_mut();
            let whole = std::mem::replace(body, SdkBody::taken());
            *body = SdkBody::from_body_1_x(Limited::new(whole, LIMIT));
        }
        Ok(())
    }
}
