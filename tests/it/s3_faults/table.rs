//! Every fault at every kind of call that can meet it.

use std::collections::BTreeSet;

use crate::support::proxy::{Fault, S3Call};

/// What kind of call it is: the operation, and the folder that it is about.
pub(super) type Kind = (&'static str, String);

/// The kind of a call.
pub(super) fn kind_of(call: &S3Call) -> Kind {
    let mut parts = call.key.split('/');
    let place = parts.next().unwrap_or_default();
    let mut folder = parts.next().unwrap_or_default();
    if folder == "tables" {
        folder = parts.nth(1).unwrap_or_default();
    }
    let folder = folder.split('=').next().unwrap_or_default();
    let place = place.trim_end_matches(|it: char| it.is_ascii_digit());
    (call.operation, format!("{place}/{folder}"))
}

/// What a server under load can answer, and what stands before it.
const LOAD: [(u16, &str); 25] = [
    (400, "IncompleteBody"),
    (400, "NeverHeardOf"),
    (400, "RequestTimeout"),
    (400, "ThrottlingException"),
    (402, "NeverHeardOf"),
    (408, "RequestTimeout"),
    (409, "NeverHeardOf"),
    (418, "NeverHeardOf"),
    (421, "NeverHeardOf"),
    (423, "NeverHeardOf"),
    (425, "TooEarly"),
    (429, "TooManyRequests"),
    (460, "NeverHeardOf"),
    (499, "ClientDisconnected"),
    (500, "NeverHeardOf"),
    (502, "BadGateway"),
    (503, "RequestTimeout"),
    (503, "ServiceUnavailable"),
    (503, "SlowDownRead"),
    (503, "SlowDownWrite"),
    (503, "XMinioServerNotInitialized"),
    (504, "GatewayTimeout"),
    (509, "BandwidthLimitExceeded"),
    (524, "NeverHeardOf"),
    (599, "NeverHeardOf"),
];

/// Every fault, and what a run that it fails says; nothing where it must not fail.
pub(super) fn faults() -> Vec<(Fault, Option<&'static str>)> {
    let passing = [
        Fault::Refused(500, "InternalError"),
        Fault::Refused(503, "SlowDown"),
        Fault::Refused(409, "ConditionalRequestConflict"),
        Fault::DoneButRefused(499, "ClientDisconnected"),
        Fault::DoneButRefused(400, "NeverHeardOf"),
        Fault::DoneButRefused(500, "InternalError"),
        Fault::DoneButRefused(503, "ServiceUnavailable"),
        Fault::AnswerLost,
        Fault::Silence,
        Fault::ResetSending,
        Fault::ResetAnswering,
        Fault::Truncated,
        Fault::CorruptedSending,
        Fault::ErrorDocument("InternalError"),
        Fault::Foreign(404),
        Fault::Foreign(403),
        Fault::Foreign(502),
    ];
    let lasting = [
        (Fault::Refused(403, "AccessDenied"), "access key"),
        (Fault::Refused(404, "NoSuchKey"), ""),
        (Fault::Refused(403, "RequestTimeTooSkewed"), "the clock"),
        (Fault::Refused(400, "ExpiredToken"), "the credentials"),
        (Fault::Refused(301, "PermanentRedirect"), "region"),
        (Fault::CorruptedAnswering, "hecksum"),
    ];
    let load = LOAD.map(|(status, code)| Fault::Refused(status, code));
    let passing = passing.into_iter().chain(load).map(|fault| (fault, None));
    let lasting = lasting.map(|(fault, word)| (fault, Some(word)));
    passing.chain(lasting).collect()
}

/// Whether a fault is one of [`LOAD`].
pub(super) fn is_load(fault: &Fault) -> bool {
    matches!(fault, Fault::Refused(status, code) if LOAD.contains(&(*status, *code)))
}

/// Whether such a thing can happen to such a call.
pub(super) fn can_meet(fault: &Fault, (operation, place): &Kind) -> bool {
    let puts = matches!(*operation, "PutObject" | "UploadPart");
    let writes = puts || matches!(*operation, "CopyObject" | "CompleteMultipartUpload");
    let answers = *operation == "GetObject" || operation.starts_with("List");
    match fault {
        // Without bytes to send it is a lost answer.
        Fault::ResetSending | Fault::CorruptedSending => puts,
        Fault::ResetAnswering | Fault::Truncated => answers,
        // A listing has no checksum.
        Fault::CorruptedAnswering => *operation == "GetObject",
        Fault::ErrorDocument(_) | Fault::Refused(409, "ConditionalRequestConflict") => writes,
        // The answer to a HEAD has no body that could name the reason.
        Fault::Refused(301, _)
        | Fault::Refused(400, "ExpiredToken")
        | Fault::Refused(403, "RequestTimeTooSkewed")
        | Fault::Foreign(403 | 404) => *operation != "HeadObject",
        // A claim that is said to be gone stays, and its time runs out.
        Fault::Refused(404, _) => !place.ends_with("/_deltavault"),
        Fault::Refused(..)
        | Fault::Foreign(_)
        | Fault::RefusedSaying(..)
        | Fault::DoneButRefused(..)
        | Fault::AnswerLost
        | Fault::Silence
        | Fault::HeldBefore
        | Fault::HeldAfter
        | Fault::ClockOff(_) => true,
    }
}

/// A fault, the kind of call that meets it first, and what a run says that it fails.
pub(super) type Trial = (Kind, Fault, Option<&'static str>);

/// Every fault at every kind of call that can meet it; unless `DELTAVAULT_TEST_ALL` is set a part of them, in which
/// each fault and each kind is.
pub(super) fn trials(calls: &[S3Call]) -> Vec<Trial> {
    let all = std::env::var_os("DELTAVAULT_TEST_ALL").is_some();
    let kinds: BTreeSet<Kind> = calls.iter().map(kind_of).collect();
    let mut trials: Vec<Trial> = Vec::new();
    let mut met = vec![false; faults().len()];
    for (row, kind) in kinds.iter().enumerate() {
        let mut position = row;
        for ((fault, word), met) in faults().into_iter().zip(&mut met) {
            if !can_meet(&fault, kind) {
                continue;
            }
            position += 1;
            // The last kind that can meet it does, when none before has.
            let last = kinds.iter().rposition(|kind| can_meet(&fault, kind));
            let left = last == Some(row) && !*met;
            let sparse = if is_load(&fault) { 41 } else { 7 };
            if all || left || position.is_multiple_of(sparse) {
                *met = true;
                trials.push((kind.clone(), fault, word));
            }
        }
    }
    println!("{} trials at {} kinds of calls", trials.len(), kinds.len());
    trials
}
