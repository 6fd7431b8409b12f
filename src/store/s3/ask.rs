//! Calls whose refusals matter in themselves: what a bucket says of itself, and what an identity is let do.
//!
//! The other calls of a store turn an answer into a situation. Here its status and code are kept, because it is them that
//! tell a missing setting from a missing right.

use std::sync::{Mutex, PoisonError};

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use futures::future::BoxFuture;

use super::client::S3Client;
use crate::store::StoreErrorKind;

/// What is kept of a text that a server sent, bytes.
const LONGEST: usize = 1024;

/// How a server said no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The error code; empty for an answer without a body.
    pub(crate) code: String,
    /// The message.
    pub(crate) message: String,
    /// What the server calls itself.
    pub(crate) server: String,
}

impl Refusal {
    /// `AccessDenied: the message (HTTP 403)`
    pub(crate) fn told(&self) -> String {
        let Self {
            status,
            code,
            message,
            ..
        } = self;
        match (code.is_empty(), message.is_empty()) {
            (true, _) => format!("HTTP {status}"),
            (false, true) => format!("{code} (HTTP {status})"),
            (false, false) => {
                let message = message.trim_end_matches('.');
                format!("{code}: {message} (HTTP {status})")
            }
        }
    }

    /// Whether the server has no such call. The wording is that of the servers that were measured.
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
pub(crate) fn ask<'a, T, E, F>(
    client: &'a S3Client,
    attempt: impl FnMut() -> F + Send + 'a,
) -> BoxFuture<'a, Result<Answered<T>, StoreErrorKind>>
where
    F: Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send + 'a,
    T: Send + 'a,
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    // The SDK's calls are large.
    Box::pin(asked(client, attempt))
}

async fn asked<T, E, F>(
    client: &S3Client,
    mut attempt: impl FnMut() -> F + Send,
) -> Result<Answered<T>, StoreErrorKind>
where
    F: Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send,
    T: Send,
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
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
        // Who asks is not known to the server, or the wrong server was asked: no answer to this question.
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
}

/// A text of a server, short enough to be kept and to be shown on one line.
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
    fn a_refusal_tells_what_the_server_told() {
        let refusal = |code: &str, message: &str| Refusal {
            status: 403,
            code: code.to_owned(),
            message: message.to_owned(),
            server: String::new(),
        };
        assert_eq!(refusal("", "").told(), "HTTP 403");
        assert_eq!(
            refusal("AccessDenied", "no.").told(),
            "AccessDenied: no (HTTP 403)"
        );
    }
}
