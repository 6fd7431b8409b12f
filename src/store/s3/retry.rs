//! Retries: how many attempts, how far apart, and how many calls at a time.
//!
//! Each client has one [`Pace`] for all its calls. A server that asks for fewer calls halves the number in flight; good
//! answers raise it again one by one. Nothing else retries a call to S3.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::failure::{Again, judge};
use crate::store::StoreErrorKind;

/// Calls in flight at most. At 30 ms a small read this is 8,000 a second, more than one prefix of S3 serves.
const CALLS: usize = 256;
/// Calls in flight at least, however often the server asks for fewer.
const CALLS_LEAST: usize = 4;
/// After how many good answers one more call may be in flight.
const ANSWERS_A_CALL: usize = 16;

/// How many attempts a call has.
pub(super) const ATTEMPTS: u32 = 6;
/// How many attempts a call has when the server asks for fewer calls.
const ATTEMPTS_WHEN_SLOWED: u32 = 10;
/// The wait before the second attempt lies between nothing and this; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// A call of the SDK that is on its way.
pub(crate) trait SdkCall:
    Future<Output = Result<Self::Answer, SdkError<Self::Error, HttpResponse>>> + Send
{
    /// What a success returns.
    type Answer;
    /// What the server can refuse with.
    type Error: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static;
}

impl<F, T, E> SdkCall for F
where
    F: Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send,
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    type Answer = T;
    type Error = E;
}

/// How many calls may be in flight.
#[derive(Debug)]
pub(super) struct Pace {
    permits: Semaphore,
    /// How many permits there are, in use or free.
    allowed: AtomicUsize,
    /// Permits to discard when they are given back.
    surplus: AtomicUsize,
    answers: AtomicUsize,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            permits: Semaphore::new(CALLS),
            allowed: AtomicUsize::new(CALLS),
            surplus: AtomicUsize::new(0),
            answers: AtomicUsize::new(0),
        }
    }
}

/// The permit for one call.
struct Turn<'a> {
    pace: &'a Pace,
    permit: Option<SemaphorePermit<'a>>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let surplus = &self.pace.surplus;
        let taken =
            surplus.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        if let (Ok(_), Some(permit)) = (taken, self.permit.take()) {
            permit.forget();
        }
    }
}

impl Pace {
    async fn turn(&self) -> Turn<'_> {
        Turn {
            pace: self,
            // Never closed.
            permit: self.permits.acquire().await.ok(),
        }
    }

    /// The server asked for fewer calls.
    fn slow_down(&self) {
        let fewer = |allowed: usize| {
            let next = (allowed / 2).max(CALLS_LEAST);
            (next < allowed).then_some(next)
        };
        let halved = self
            .allowed
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer);
        if let Ok(before) = halved {
            let less = before - fewer(before).unwrap_or(before);
            let free = self.permits.forget_permits(less);
            self.surplus.fetch_add(less - free, Ordering::Relaxed);
        }
    }

    /// A call succeeded.
    fn answered(&self) {
        if self.allowed.load(Ordering::Relaxed) >= CALLS {
            return;
        }
        let answers = self.answers.fetch_add(1, Ordering::Relaxed) + 1;
        if answers.is_multiple_of(ANSWERS_A_CALL) {
            self.allowed.fetch_add(1, Ordering::Relaxed);
            self.permits.add_permits(1);
        }
    }

    /// Makes a call to `service` until it is answered; `lost` is how many answers may be lost in all before it is given
    /// up. Where none may be, a lost answer is [`StoreErrorKind::Interrupted`].
    pub(super) async fn attempts<F: SdkCall>(
        &self,
        service: &str,
        lost: u32,
        mut attempt: impl FnMut() -> F,
    ) -> Attempted<F::Answer> {
        let mut perhaps_done = false;
        let mut made = 0;
        let result = loop {
            let turn = self.turn().await;
            let answer = attempt().await;
            drop(turn);
            made += 1;
            let error = match answer {
                Ok(answer) => {
                    self.answered();
                    break Ok(answer);
                }
                Err(error) => error,
            };
            let failure = judge(&error, service);
            let most = match failure.again {
                Again::Never => 0,
                Again::Soon => ATTEMPTS,
                Again::Slower => ATTEMPTS_WHEN_SLOWED,
                Again::SlowerUnknown if lost > 1 => ATTEMPTS_WHEN_SLOWED,
                Again::SlowerUnknown | Again::Unknown => lost,
            };
            let is_lost = matches!(failure.again, Again::Unknown | Again::SlowerUnknown);
            perhaps_done |= is_lost;
            if matches!(failure.again, Again::Slower | Again::SlowerUnknown) {
                self.slow_down();
            }
            if made >= most {
                break Err(if is_lost && lost == 1 {
                    StoreErrorKind::Interrupted
                } else {
                    failure.kind
                });
            }
            tokio::time::sleep(wait(made)).await;
        };
        Attempted {
            result,
            perhaps_done,
        }
    }
}

/// What became of a call, over all its attempts.
#[derive(Debug)]
pub(super) struct Attempted<T> {
    pub(super) result: Result<T, StoreErrorKind>,
    /// Whether an attempt before the last one may have taken effect.
    pub(super) perhaps_done: bool,
}

/// The wait after so many attempts: a random part of a span that doubles ("full jitter"), so that many clients that
/// failed together do not come back together.
pub(super) fn wait(attempts: u32) -> Duration {
    let doubled = 1_u32 << attempts.saturating_sub(1).min(16);
    let span = FIRST_WAIT.saturating_mul(doubled).min(LONGEST_WAIT);
    span.mul_f64(rand::random::<f64>())
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::error::ErrorMetadata;
    use aws_sdk_s3::operation::put_object::PutObjectError;
    use aws_sdk_s3::primitives::SdkBody;
    use aws_smithy_runtime_api::http::StatusCode;

    use super::super::failure::tests::PASSING;
    use super::*;

    fn answer(status: u16, code: &str) -> SdkError<PutObjectError, HttpResponse> {
        let status = StatusCode::try_from(status).unwrap();
        let metadata = ErrorMetadata::builder().code(code).build();
        let error = PutObjectError::generic(metadata);
        SdkError::service_error(error, HttpResponse::new(status, SdkBody::empty()))
    }

    #[tokio::test(start_paused = true)]
    async fn every_passing_failure_is_retried_by_every_kind_of_call() {
        let pace = Pace::default();
        for (status, code, again) in PASSING {
            let what = format!("{status} {code}");
            let is_unknown = matches!(again, Again::Unknown | Again::SlowerUnknown);
            // Once, and then all is well.
            let made = AtomicUsize::new(0);
            let call = || async {
                match made.fetch_add(1, Ordering::Relaxed) {
                    0 => Err(answer(*status, code)),
                    _ => Ok(()),
                }
            };
            let passed = pace.attempts("S3", ATTEMPTS, call).await;
            assert!(passed.result.is_ok(), "{what}");
            assert_eq!(passed.perhaps_done, is_unknown, "{what}");
            made.store(0, Ordering::Relaxed);
            match pace.attempts("S3", 1, call).await.result {
                Ok(()) => assert!(!is_unknown, "{what}: made twice"),
                Err(kind) => {
                    assert!(is_unknown, "{what}");
                    assert!(matches!(kind, StoreErrorKind::Interrupted), "{what}");
                }
            }
            // For ever: the error is what the server said.
            made.store(0, Ordering::Relaxed);
            let call = || async {
                made.fetch_add(1, Ordering::Relaxed);
                Err::<(), _>(answer(*status, code))
            };
            let attempted = pace.attempts("S3", ATTEMPTS, call).await;
            let kind = attempted.result.unwrap_err();
            let most = match again {
                Again::Slower | Again::SlowerUnknown => ATTEMPTS_WHEN_SLOWED,
                Again::Never | Again::Soon | Again::Unknown => ATTEMPTS,
            };
            assert_eq!(made.load(Ordering::Relaxed), most as usize, "{what}");
            let text = kind.to_string();
            let said = format!("the server answered {status}");
            assert!(text.starts_with(&said) && text.contains(code), "{text}");
        }
    }

    #[tokio::test]
    async fn a_server_that_asks_for_fewer_calls_gets_half_and_more_again_later() {
        let pace = Pace::default();
        let turns: Vec<_> = futures::future::join_all((0..CALLS).map(|_| pace.turn())).await;
        pace.slow_down();
        assert_eq!(pace.allowed.load(Ordering::Relaxed), CALLS / 2);
        drop(turns);
        assert_eq!(pace.permits.available_permits(), CALLS / 2);
        for _ in 0..20 {
            pace.slow_down();
        }
        assert_eq!(pace.permits.available_permits(), CALLS_LEAST);
        for _ in 0..ANSWERS_A_CALL * CALLS {
            pace.answered();
        }
        assert_eq!(pace.permits.available_permits(), CALLS);
        assert_eq!(pace.allowed.load(Ordering::Relaxed), CALLS);
    }

    #[test]
    fn waits_grow_and_stay_bounded() {
        for attempts in 1..40 {
            assert!(wait(attempts) <= LONGEST_WAIT);
        }
        assert!((0..50).all(|_| wait(1) <= FIRST_WAIT));
    }
}
