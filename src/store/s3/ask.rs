//! Calls whose refusals matter in themselves: those for a bucket's settings, and those that test what an identity may do.
//!
//! The other calls of a store turn an answer into a situation. Here its status and code are kept, because they tell a
//! missing setting from a missing right.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use aws_sdk_s3::error::{ProvideErrorMetadata as _, SdkError};
use futures::future::BoxFuture;

use super::client::S3Client;
pub(crate) use super::retry::SdkCall;
use crate::store::StoreErrorKind;

/// How much of a server's text is kept, bytes.
const LONGEST: usize = 1024;

/// How a server refused a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The error code; empty for an answer without a body.
    pub(crate) code: String,
    /// The message.
    pub(crate) message: String,
    /// The `Server` header.
    pub(crate) server: String,
}

/// `AccessDenied: the message (HTTP 403)`
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (status, code) = (self.status, &self.code);
        let message = self.message.trim_end_matches('.');
        match (code.is_empty(), message.is_empty()) {
            (true, _) => write!(f, "HTTP {status}"),
            (false, true) => write!(f, "{code} (HTTP {status})"),
            (false, false) => write!(f, "{code}: {message} (HTTP {status})"),
        }
    }
}

impl Refusal {
    /// Whether the server does not have the call, as the measured servers word it.
    pub(crate) fn is_not_offered(&self) -> bool {
        matches!(self.status, 405 | 501)
            || matches!(self.code.as_str(), "NotImplemented" | "MethodNotAllowed")
    }
}

/// What came of a call: the answer, or how it was refused.
pub(crate) type Answered<T> = Result<T, Refusal>;

/// Makes a call until it is answered, whatever the answer is.
///
/// # Errors
/// Where there is no answer: the server cannot be reached, there are no credentials.
pub(crate) fn ask<'a, F: SdkCall + 'a>(
    client: &'a S3Client,
    mut attempt: impl FnMut() -> F + Send + 'a,
) -> BoxFuture<'a, Result<Answered<F::Answer>, StoreErrorKind>>
where
    F::Answer: Send,
{
    // Boxed, because the SDK's calls are large.
    Box::pin(async move {
        let heard = Mutex::new(None);
        let call = || {
            let sent = attempt();
            let heard = &heard;
            async move {
                let answer = sent.await;
                *heard.lock().unwrap_or_else(PoisonError::into_inner) = match &answer {
                    Err(SdkError::ServiceError(context)) => Some(Refusal {
                        status: context.raw().status().as_u16(),
                        code: clip(context.err().code().unwrap_or_default()),
                        message: clip(context.err().message().unwrap_or_default()),
                        server: clip(context.raw().headers().get("server").unwrap_or_default()),
                    }),
                    _ => None,
                };
                answer
            }
        };
        match client.call(call).await {
            Ok(answer) => Ok(Ok(answer)),
            // The server does not know the identity, or it is the wrong server: no answer to this call.
            Err(
                kind @ (StoreErrorKind::Credentials { .. }
                | StoreErrorKind::ClockSkew
                | StoreErrorKind::NoBucket
                | StoreErrorKind::WrongRegion { .. }),
            ) => Err(kind),
            Err(kind) => match heard.into_inner().unwrap_or_else(PoisonError::into_inner) {
                Some(refusal) => Ok(Err(refusal)),
                None => Err(kind),
            },
        }
    })
}

/// Shortens a server's text, and makes one line of it.
pub(crate) fn clip(text: &str) -> String {
    let end = text
        .char_indices()
        .map(|(at, c)| at + c.len_utf8())
        .take_while(|end| *end <= LONGEST)
        .last()
        .unwrap_or_default();
    text.get(..end)
        .unwrap_or_default()
        .replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_kept_short_and_on_one_line() {
        assert_eq!(clip("a\nb\u{1b}[0m"), "a b [0m");
        let long = "ü".repeat(LONGEST);
        assert_eq!(clip(&long).len(), LONGEST);
    }

    #[test]
    fn a_refusal_has_code_message_and_status() {
        let refusal = |code: &str, message: &str| Refusal {
            status: 403,
            code: code.to_owned(),
            message: message.to_owned(),
            server: String::new(),
        };
        assert_eq!(refusal("", "").to_string(), "HTTP 403");
        assert_eq!(
            refusal("AccessDenied", "no.").to_string(),
            "AccessDenied: no (HTTP 403)"
        );
    }
}
