//! Maps a failed call to the situation, and to whether another attempt can change it.
//!
//! Codes and statuses are those of "Error responses" in the Amazon S3 API Reference, and those of other servers where they
//! differ. Only a failure that is known to be final ends a call: an unknown code or status may come from a server under
//! load, or from a proxy in front of it, and is retried like a lost answer.

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use crate::store::StoreErrorKind;

/// Part of the detail of an answer without a body, as to a HEAD.
const NO_REASON: &str = "without a reason";

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
    /// Fewer calls are asked for, perhaps by a proxy; the server may have done what it should.
    SlowerUnknown,
    /// The answer is lost: the call may have done what it should.
    Unknown,
}

/// The parts of a server's answer that decide.
#[derive(Debug, Default)]
pub(super) struct ServerAnswer<'a> {
    pub(super) status: u16,
    pub(super) code: &'a str,
    pub(super) message: &'a str,
    pub(super) request: &'a str,
    pub(super) region: Option<&'a str>,
    /// Whether the answer has a body without an error of S3: a proxy in front of the server wrote it.
    pub(super) is_foreign: bool,
}

/// Judges an error of the SDK in a call to `service`.
pub(super) fn judge<E>(error: &SdkError<E, HttpResponse>, service: &str) -> Failure
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    match error {
        SdkError::ServiceError(context) => {
            let raw = context.raw();
            let code = context.err().code().unwrap_or_default();
            let has_body = raw.body().bytes().is_some_and(|body| !body.is_empty());
            judge_answer(&ServerAnswer {
                status: raw.status().as_u16(),
                code,
                is_foreign: code.is_empty() && has_body,
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
            kind: unsent(error).unwrap_or_else(|| StoreErrorKind::Unsupported {
                reason: DisplayErrorContext(error).to_string(),
            }),
            again: Again::Never,
        },
        SdkError::ResponseError(response) => {
            let status = response.raw().status().as_u16();
            let detail = format!(
                "the answer (HTTP {status}) breaks off or cannot be understood: {}",
                innermost(error)
            );
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

/// Codes of requests that this server can never serve, or not for this bucket.
const FINAL: &[&str] = &[
    "BucketAlreadyExists",
    "BucketAlreadyOwnedByYou",
    "BucketNotEmpty",
    "EntityTooLarge",
    "EntityTooSmall",
    "IllegalLocationConstraintException",
    "IllegalVersioningConfigurationException",
    "InvalidArgument",
    "InvalidBucketName",
    "InvalidBucketState",
    "InvalidDigest",
    "InvalidEncryptionAlgorithmError",
    "InvalidLocationConstraint",
    "InvalidObjectName",
    "InvalidPart",
    "InvalidPartOrder",
    "InvalidPolicyDocument",
    "InvalidRequest",
    "InvalidRetentionPeriod",
    "InvalidStorageClass",
    "InvalidTag",
    "InvalidURI",
    "KeyTooLongError",
    "MalformedACLError",
    "MalformedPOSTRequest",
    "MalformedPolicy",
    "MalformedXML",
    "MaxMessageLengthExceeded",
    "MetadataTooLarge",
    "MethodNotAllowed",
    "MissingContentLength",
    "MissingRequestBodyError",
    "MissingSecurityHeader",
    // A 404 on AWS, a 400 on MinIO.
    "NoSuchObjectLockConfiguration",
    "NotImplemented",
    "RequestHeaderSectionTooLarge",
    "TooManyBuckets",
    "UnresolvableGrantByEmailAddress",
    "UnsupportedArgument",
    "UserKeyMustBeSpecified",
    "XMinioInvalidObjectName",
];

/// Codes that refuse the identity.
const REFUSED: &[&str] = &[
    "AccessDenied",
    "AccountProblem",
    "AllAccessDisabled",
    "InvalidPayer",
    "InvalidSecurity",
    "NotSignedUp",
    "ObjectLocked",
    "Unauthorized",
    "UnauthorizedAccess",
];

/// Codes of servers that did nothing and ask for fewer calls; with any status, also within a 200.
const SLOWER: &[&str] = &[
    "BandwidthLimitExceeded",
    "RequestLimitExceeded",
    "SlowDown",
    "SlowDownRead",
    "SlowDownWrite",
    "TooManyRequests",
];

/// Judges a server's answer.
pub(super) fn judge_answer(said: &ServerAnswer<'_>) -> Failure {
    let never = |kind| Failure {
        kind,
        again: Again::Never,
    };
    let passing = |again| Failure {
        kind: StoreErrorKind::Io {
            detail: said.quoted(),
        },
        again,
    };
    let denied = || StoreErrorKind::Denied {
        detail: said.refusal(),
    };
    let unsupported = || StoreErrorKind::Unsupported {
        reason: said.refusal(),
    };
    // A request that is too long for a proxy is so at each attempt; whatever else a proxy answers, the server did not.
    match (said.is_foreign, said.status) {
        (_, 411 | 413 | 414 | 431 | 501) => return never(unsupported()),
        (true, 429) => return passing(Again::Slower),
        (true, 503) => return passing(Again::SlowerUnknown),
        (true, _) => return passing(Again::Unknown),
        (false, _) => {}
    }
    match (said.code, said.status) {
        (code, _) if SLOWER.contains(&code) || code.contains("Throttl") => passing(Again::Slower),
        ("NoSuchBucket", _) => never(StoreErrorKind::NoBucket),
        ("NoSuchKey" | "NoSuchVersion" | "NotFound" | "NoSuchUpload", _) | (_, 404 | 405) => {
            never(StoreErrorKind::NotFound)
        }
        // An id that this server never made names no version.
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
        ) => never(StoreErrorKind::Credentials {
            detail: said.refusal(),
        }),
        ("PermanentRedirect" | "AuthorizationHeaderMalformed" | "TemporaryRedirect", _)
        | (_, 301 | 307) => never(StoreErrorKind::WrongRegion {
            region: said
                .region
                .map(str::to_owned)
                .or_else(|| expected_region(said.message)),
        }),
        (code, _) if BAD_BYTES.contains(&code) => passing(Again::Soon),
        ("InvalidRequest", _) if is_sse_c(said.message) => never(StoreErrorKind::Unsupported {
            reason: format!(
                "it is encrypted with a key that only its writer has and that S3 never keeps (SSE-C): {}",
                said.refusal()
            ),
        }),
        ("InvalidRequest", _) if is_worm(said.message) => never(denied()),
        // The key is disabled, deleted or of another account: the bytes are as unreadable as without the right.
        (code, ..500) if code.starts_with("KMS.") => never(denied()),
        ("XMinioStorageFull" | "QuotaExceeded", _) | (_, 507) => never(StoreErrorKind::NoSpace),
        (code, _) if REFUSED.contains(&code) => never(denied()),
        (code, _) if FINAL.contains(&code) => never(unsupported()),
        (_, 401 | 403 | 451) => never(denied()),
        (_, 429) => passing(Again::Slower),
        // A server that closes the connection is overloaded, like one that is not available.
        ("ClientDisconnected", _) | (_, 499 | 503) => passing(Again::SlowerUnknown),
        // Also a 200 with a code: S3 begins to answer a copy before it is done.
        _ => passing(Again::Unknown),
    }
}

/// Codes for bytes that did not reach the server as they were sent.
const BAD_BYTES: &[&str] = &[
    "BadDigest",
    "XAmzContentChecksumMismatch",
    "XAmzContentSHA256Mismatch",
];

impl ServerAnswer<'_> {
    /// How the server refused: `AccessDenied: the message (request 1A)`.
    fn refusal(&self) -> String {
        let Self {
            status,
            code,
            message,
            ..
        } = self;
        let what = match (code.is_empty(), message.is_empty()) {
            (true, _) if self.is_foreign => format!("HTTP {status}, and no error of S3"),
            (true, _) => format!("refused {NO_REASON}, HTTP {status}"),
            (false, true) => format!("{code} (HTTP {status})"),
            (false, false) => format!("{code}: {}", message.trim_end_matches('.')),
        };
        self.with_request(what)
    }

    /// An answer that decides nothing: `the server answered 499 ClientDisconnected: the message (request 1A)`.
    fn quoted(&self) -> String {
        let Self {
            status,
            code,
            message,
            ..
        } = self;
        let what = match (code.is_empty(), message.is_empty()) {
            (true, _) if self.is_foreign => {
                format!("{status} with something other than an error of S3")
            }
            (true, _) => format!("{status} {NO_REASON}"),
            (false, true) => format!("{status} {code}"),
            (false, false) => format!("{status} {code}: {}", message.trim_end_matches('.')),
        };
        self.with_request(format!("the server answered {what}"))
    }

    fn with_request(&self, what: String) -> String {
        if self.request.is_empty() {
            what
        } else {
            format!("{what} (request {})", self.request)
        }
    }
}

/// Whether the server gave no reason; it may give one in its answer to another call.
pub(super) fn lacks_reason(kind: &StoreErrorKind) -> bool {
    let (StoreErrorKind::Denied { detail }
    | StoreErrorKind::Io { detail }
    | StoreErrorKind::Unsupported { reason: detail }) = kind
    else {
        return false;
    };
    detail.contains(NO_REASON)
}

/// Whether the server got other bytes than were sent.
pub(super) fn is_bad_bytes(kind: &StoreErrorKind) -> bool {
    let StoreErrorKind::Io { detail } = kind else {
        return false;
    };
    BAD_BYTES.iter().any(|code| detail.contains(code))
}

/// `The authorization header is malformed; the region 'a' is wrong; expecting 'b'`
fn expected_region(message: &str) -> Option<String> {
    let (_, after) = message.split_once("expecting '")?;
    after.split_once('\'').map(|(region, _)| region.to_owned())
}

/// `The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve
/// the object.`
fn is_sse_c(message: &str) -> bool {
    message.contains("stored using a form of Server Side Encryption")
}

/// `MinIO` answers the deletion of a locked object version with a code that says nothing.
fn is_worm(message: &str) -> bool {
    message.contains("WORM protected")
}

/// Finds missing credentials, the usual reason why a request could not be sent.
fn unsent(error: &(dyn std::error::Error + 'static)) -> Option<StoreErrorKind> {
    let credentials = causes(error).find_map(|cause| cause.downcast_ref::<CredentialsError>())?;
    let lines: Vec<_> = causes(credentials).skip(1).map(first_line).collect();
    let text = lines.join(": ");
    let not_loaded = matches!(credentials, CredentialsError::CredentialsNotLoaded(_));
    let detail = if not_loaded && (text.is_empty() || text.contains("chain")) {
        "none were found in the environment, the profile or the machine's role".to_owned()
    } else if text.contains("IMDS") {
        // The machine's metadata service is asked last.
        format!(
            "none were found in the environment or the profile, and none from the machine: {text}"
        )
    } else {
        text
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
pub(super) mod tests {
    use super::*;

    fn said(status: u16, code: &'static str) -> Failure {
        judge_answer(&ServerAnswer {
            status,
            code,
            ..ServerAnswer::default()
        })
    }

    /// Answers of servers under load and of proxies, and how the call is retried.
    pub(in crate::store::s3) const PASSING: &[(u16, &str, Again)] = &[
        (200, "InternalError", Again::Unknown),
        (200, "NeverHeardOf", Again::Unknown),
        (200, "SlowDown", Again::Slower),
        (206, "XMinioObjectTampered", Again::Unknown),
        (302, "", Again::Unknown),
        (400, "", Again::Unknown),
        (400, "BadDigest", Again::Soon),
        (400, "IncompleteBody", Again::Unknown),
        (400, "KMS.ThrottlingException", Again::Slower),
        (400, "NeverHeardOf", Again::Unknown),
        (400, "RequestTimeout", Again::Unknown),
        (400, "ThrottlingException", Again::Slower),
        (400, "XAmzContentSHA256Mismatch", Again::Soon),
        (402, "", Again::Unknown),
        (403, "RequestThrottled", Again::Slower),
        (408, "", Again::Unknown),
        (408, "RequestTimeout", Again::Unknown),
        (409, "ConditionalRequestConflict", Again::Soon),
        (409, "NeverHeardOf", Again::Unknown),
        (409, "OperationAborted", Again::Soon),
        (418, "", Again::Unknown),
        (421, "", Again::Unknown),
        (423, "", Again::Unknown),
        (425, "", Again::Unknown),
        (429, "", Again::Slower),
        (429, "TooManyRequests", Again::Slower),
        (460, "", Again::Unknown),
        (499, "", Again::SlowerUnknown),
        (499, "ClientDisconnected", Again::SlowerUnknown),
        (500, "", Again::Unknown),
        (500, "InternalError", Again::Unknown),
        (500, "KMS.InternalFailure", Again::Unknown),
        (502, "", Again::Unknown),
        (503, "", Again::SlowerUnknown),
        (503, "RequestTimeout", Again::SlowerUnknown),
        (503, "ServiceUnavailable", Again::SlowerUnknown),
        (503, "SlowDown", Again::Slower),
        (503, "SlowDownRead", Again::Slower),
        (503, "SlowDownWrite", Again::Slower),
        (503, "XMinioServerNotInitialized", Again::SlowerUnknown),
        (504, "", Again::Unknown),
        (509, "BandwidthLimitExceeded", Again::Slower),
        (520, "", Again::Unknown),
        (524, "", Again::Unknown),
        (529, "", Again::Unknown),
        (599, "", Again::Unknown),
    ];

    #[test]
    fn an_answer_that_is_not_known_to_be_final_is_retried_and_quoted() {
        for (status, code, again) in PASSING {
            let failure = judge_answer(&ServerAnswer {
                status: *status,
                code,
                message: if code.is_empty() { "" } else { "A word." },
                request: "1A",
                ..ServerAnswer::default()
            });
            assert_eq!(failure.again, *again, "{status} {code}");
            let StoreErrorKind::Io { detail } = failure.kind else {
                panic!("{status} {code}: {:?}", failure.kind);
            };
            let said = if code.is_empty() {
                format!("the server answered {status} without a reason (request 1A)")
            } else {
                format!("the server answered {status} {code}: A word (request 1A)")
            };
            assert_eq!(detail, said);
        }
    }

    #[test]
    fn a_final_answer_is_not_retried() {
        for (status, code) in [
            (200, "AccessDenied"),
            (301, "PermanentRedirect"),
            (400, "AuthorizationHeaderMalformed"),
            (400, "EntityTooLarge"),
            (400, "ExpiredToken"),
            (400, "InvalidArgument"),
            (400, "InvalidPart"),
            (400, "InvalidRequest"),
            (400, "InvalidStorageClass"),
            (400, "KMS.DisabledException"),
            (400, "MalformedXML"),
            (400, "NoSuchObjectLockConfiguration"),
            (401, ""),
            (403, ""),
            (403, "AccessDenied"),
            (403, "InvalidAccessKeyId"),
            (403, "InvalidObjectState"),
            (403, "NeverHeardOf"),
            (403, "RequestTimeTooSkewed"),
            (403, "SignatureDoesNotMatch"),
            (404, ""),
            (404, "NoSuchBucket"),
            (404, "NoSuchKey"),
            (405, "MethodNotAllowed"),
            (409, "BucketNotEmpty"),
            (411, "MissingContentLength"),
            (412, "PreconditionFailed"),
            (413, ""),
            (414, ""),
            (416, "InvalidRange"),
            (431, ""),
            (501, "NotImplemented"),
            (507, "XMinioStorageFull"),
        ] {
            let failure = said(status, code);
            assert_eq!(failure.again, Again::Never, "{status} {code}");
            assert!(!matches!(failure.kind, StoreErrorKind::Io { .. }));
        }
    }

    #[test]
    fn the_answer_of_a_proxy_decides_nothing_about_an_object() {
        for status in [200, 400, 401, 403, 404, 405, 409, 412, 416, 500, 502, 507] {
            let failure = judge_answer(&ServerAnswer {
                status,
                is_foreign: true,
                ..ServerAnswer::default()
            });
            assert_eq!(failure.again, Again::Unknown, "{status}");
            assert!(
                matches!(failure.kind, StoreErrorKind::Io { .. }),
                "{status}"
            );
        }
    }

    #[test]
    fn an_answer_without_a_reason_is_recognized_by_its_text() {
        for status in [400, 403, 499] {
            assert!(lacks_reason(&said(status, "").kind), "{status}");
            assert!(!lacks_reason(&said(status, "Word").kind), "{status}");
        }
    }

    #[test]
    fn the_code_decides_and_then_the_status() {
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
        let worm = judge_answer(&ServerAnswer {
            status: 400,
            code: "InvalidRequest",
            message: "Object is WORM protected and cannot be overwritten",
            ..ServerAnswer::default()
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
            let failure = judge_answer(&ServerAnswer {
                status: 400,
                code: "AuthorizationHeaderMalformed",
                message,
                region,
                ..ServerAnswer::default()
            });
            assert!(matches!(
                failure.kind,
                StoreErrorKind::WrongRegion { region: Some(region) } if region == "eu-west-1"
            ));
        }
    }
}
