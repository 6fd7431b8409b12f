//! What an answer means when it is no success: the situation, and whether another attempt can change it.
//!
//! Codes and statuses as in "Error responses" of the Amazon S3 API Reference; where other servers say it otherwise,
//! theirs too.

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use crate::store::StoreErrorKind;

/// How the detail of an answer begins that has no body: that to a HEAD.
pub(super) const NO_REASON: &str = "refused without a reason, HTTP";

/// One attempt that failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) kind: StoreErrorKind,
    pub(super) again: Again,
}

/// Whether to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// It cannot help.
    Never,
    /// The call was refused for the moment and did nothing.
    Soon,
    /// The server asks for fewer calls; it did nothing.
    Slower,
    /// What stands before the server asks for fewer calls; the server may have done what it should.
    SlowerUnknown,
    /// The answer is lost: the call may have done what it should.
    Unknown,
}

/// What the server answered, as far as it matters here.
#[derive(Debug, Default)]
pub(super) struct Said<'a> {
    pub(super) status: u16,
    pub(super) code: &'a str,
    pub(super) message: &'a str,
    pub(super) request: &'a str,
    pub(super) region: Option<&'a str>,
}

/// Judges an error of the SDK in a call to `service`.
pub(super) fn judge<E>(error: &SdkError<E, HttpResponse>, service: &str) -> Failure
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let told = || DisplayErrorContext(error).to_string();
    match error {
        SdkError::ServiceError(context) => {
            let raw = context.raw();
            judge_answer(&Said {
                status: raw.status().as_u16(),
                code: context.err().code().unwrap_or_default(),
                message: context.err().message().unwrap_or_default(),
                request: raw.headers().get("x-amz-request-id").unwrap_or_default(),
                region: raw.headers().get("x-amz-bucket-region"),
            })
        }
        SdkError::DispatchFailure(failure) if !failure.is_user() && unsent(error).is_none() => {
            Failure {
                kind: StoreErrorKind::Unreachable {
                    service: service.to_owned(),
                    detail: innermost(error),
                },
                again: Again::Unknown,
            }
        }
        SdkError::ConstructionFailure(_) | SdkError::DispatchFailure(_) => Failure {
            kind: unsent(error).unwrap_or_else(|| StoreErrorKind::Unsupported { reason: told() }),
            again: Again::Never,
        },
        SdkError::ResponseError(response) => {
            let status = response.raw().status().as_u16();
            let detail = format!("the answer (HTTP {status}) breaks off or cannot be understood");
            Failure {
                kind: StoreErrorKind::Io { detail },
                again: Again::Unknown,
            }
        }
        // Timeouts, and what a later SDK may add.
        SdkError::TimeoutError(_) | _ => Failure {
            kind: StoreErrorKind::Io {
                detail: "no answer came in time".to_owned(),
            },
            again: Again::Unknown,
        },
    }
}

/// Judges what a server said.
pub(super) fn judge_answer(said: &Said<'_>) -> Failure {
    let detail = || {
        let Said {
            status,
            code,
            message,
            request,
            ..
        } = said;
        let what = match (code.is_empty(), message.is_empty()) {
            (true, _) => format!("{NO_REASON} {status}"),
            (false, true) => format!("{code} (HTTP {status})"),
            (false, false) => format!("{code}: {}", message.trim_end_matches('.')),
        };
        if request.is_empty() {
            what
        } else {
            format!("{what} (request {request})")
        }
    };
    let never = |kind| Failure {
        kind,
        again: Again::Never,
    };
    let passing = |again| Failure {
        kind: StoreErrorKind::Io { detail: detail() },
        again,
    };
    match (said.code, said.status) {
        ("NoSuchBucket", _) => never(StoreErrorKind::NoBucket),
        ("NoSuchKey" | "NoSuchVersion" | "NotFound" | "NoSuchUpload", _) | (_, 404 | 405) => {
            never(StoreErrorKind::NotFound)
        }
        // An id that is none of this server's names no version.
        ("InvalidArgument", _) if said.message.contains("version id") => {
            never(StoreErrorKind::NotFound)
        }
        ("InvalidRange", _) | (_, 416) => never(StoreErrorKind::InvalidRange),
        ("ConditionalRequestConflict" | "OperationAborted", _) => passing(Again::Soon),
        ("PreconditionFailed", _) | (_, 412) => never(StoreErrorKind::Changed),
        ("InvalidObjectState", _) => never(StoreErrorKind::Archived),
        ("RequestTimeTooSkewed", _) => never(StoreErrorKind::ClockSkew),
        (
            "ExpiredToken"
            | "ExpiredTokenException"
            | "InvalidToken"
            | "TokenRefreshRequired"
            | "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "InvalidClientTokenId"
            | "InvalidTokenId",
            _,
        ) => never(StoreErrorKind::Credentials { detail: detail() }),
        ("PermanentRedirect" | "AuthorizationHeaderMalformed" | "TemporaryRedirect", _)
        | (_, 301 | 307) => never(StoreErrorKind::WrongRegion {
            region: said
                .region
                .map(str::to_owned)
                .or_else(|| expected_region(said.message)),
        }),
        ("BadDigest" | "XAmzContentChecksumMismatch" | "XAmzContentSHA256Mismatch", _) => {
            passing(Again::Soon)
        }
        ("RequestTimeout" | "RequestTimeoutException" | "IncompleteBody", _) => {
            passing(Again::Unknown)
        }
        (
            "SlowDown"
            | "SlowDownRead"
            | "SlowDownWrite"
            | "TooManyRequests"
            | "Throttling"
            | "ThrottlingException"
            | "RequestLimitExceeded",
            _,
        )
        | (_, 429) => passing(Again::Slower),
        (_, 503) => passing(Again::SlowerUnknown),
        ("NotImplemented", _) | (_, 501) => never(StoreErrorKind::Unsupported { reason: detail() }),
        ("XMinioStorageFull" | "QuotaExceeded", _) | (_, 507) => never(StoreErrorKind::NoSpace),
        (_, 403) => never(StoreErrorKind::Denied { detail: detail() }),
        ("InvalidRequest", _) if is_worm(said.message) => {
            never(StoreErrorKind::Denied { detail: detail() })
        }
        // Said with a 200 too: S3 begins to answer a copy before it is done.
        ("InternalError", _) | (_, 500..) => passing(Again::Unknown),
        _ => never(StoreErrorKind::Unsupported { reason: detail() }),
    }
}

/// `The authorization header is malformed; the region 'a' is wrong; expecting 'b'`
fn expected_region(message: &str) -> Option<String> {
    let (_, after) = message.split_once("expecting '")?;
    after.split_once('\'').map(|(region, _)| region.to_owned())
}

/// `MinIO` refuses to delete what is locked with a code that says nothing.
fn is_worm(message: &str) -> bool {
    message.contains("WORM protected")
}

/// What keeps a request from being made is nearly always that there are no credentials.
fn unsent(error: &(dyn std::error::Error + 'static)) -> Option<StoreErrorKind> {
    let credentials = causes(error).find_map(|cause| cause.downcast_ref::<CredentialsError>())?;
    let told: Vec<_> = causes(credentials).skip(1).map(first_line).collect();
    let told = told.join(": ");
    let not_loaded = matches!(credentials, CredentialsError::CredentialsNotLoaded(_));
    let detail = if not_loaded && (told.is_empty() || told.contains("chain")) {
        "none were found in the environment, the profile or the machine's role".to_owned()
    } else if told.contains("IMDS") {
        // The machine's own metadata service is asked last.
        format!(
            "none were found in the environment or the profile, and none from the machine: {told}"
        )
    } else {
        told
    };
    Some(StoreErrorKind::Credentials { detail })
}

fn first_line(error: &(dyn std::error::Error + 'static)) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.trim_end_matches(['.', ':']).to_owned()
}

/// The last cause of an error: what the operating system or the other side said.
pub(super) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    causes(error).last().unwrap_or(error).to_string()
}

fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: u16, code: &'static str) -> Failure {
        judge_answer(&Said {
            status,
            code,
            ..Said::default()
        })
    }

    #[test]
    fn what_is_passing_is_tried_again_and_nothing_else() {
        for (status, code, again) in [
            (503, "SlowDown", Again::Slower),
            (429, "", Again::Slower),
            (503, "ServiceUnavailable", Again::SlowerUnknown),
            (503, "", Again::SlowerUnknown),
            (500, "InternalError", Again::Unknown),
            (200, "InternalError", Again::Unknown),
            (200, "SlowDown", Again::Slower),
            (502, "", Again::Unknown),
            (400, "RequestTimeout", Again::Unknown),
            (409, "ConditionalRequestConflict", Again::Soon),
            (400, "BadDigest", Again::Soon),
            (403, "AccessDenied", Again::Never),
            (403, "RequestTimeTooSkewed", Again::Never),
            (400, "ExpiredToken", Again::Never),
            (404, "", Again::Never),
            (412, "PreconditionFailed", Again::Never),
            (409, "BucketNotEmpty", Again::Never),
            (301, "PermanentRedirect", Again::Never),
            (400, "", Again::Never),
        ] {
            assert_eq!(said(status, code).again, again, "{status} {code}");
        }
    }

    #[test]
    fn a_situation_is_told_apart_by_code_and_then_by_status() {
        assert!(matches!(
            said(404, "NoSuchBucket").kind,
            StoreErrorKind::NoBucket
        ));
        assert!(matches!(said(404, "").kind, StoreErrorKind::NotFound));
        assert!(matches!(
            said(403, "InvalidObjectState").kind,
            StoreErrorKind::Archived
        ));
        assert!(matches!(said(403, "").kind, StoreErrorKind::Denied { .. }));
        let worm = judge_answer(&Said {
            status: 400,
            code: "InvalidRequest",
            message: "Object is WORM protected and cannot be overwritten",
            ..Said::default()
        });
        assert!(matches!(worm.kind, StoreErrorKind::Denied { .. }));
    }

    #[test]
    fn the_right_region_is_read_from_the_header_or_the_message() {
        for (region, message) in [
            (Some("eu-west-1"), ""),
            (
                None,
                "The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'eu-west-1'",
            ),
        ] {
            let failure = judge_answer(&Said {
                status: 400,
                code: "AuthorizationHeaderMalformed",
                message,
                region,
                ..Said::default()
            });
            assert!(matches!(
                failure.kind,
                StoreErrorKind::WrongRegion { region: Some(region) } if region == "eu-west-1"
            ));
        }
    }
}
