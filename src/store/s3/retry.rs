//! Attempts: how often, how far apart, and how many calls at a time.
//!
//! Each client has one [`Pace`] for all its calls. A server that asks for fewer halves the number in flight; answers
//! bring it back one by one. This is the only place where a call to S3 is tried again.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::client::S3Client;
use super::failure::{Again, judge};
use crate::store::StoreErrorKind;

/// Calls in flight at most. With 30 ms a small read this is 8,000 a second, above what one prefix of S3 serves.
const CALLS: usize = 256;
/// And at least, however often the server asks for fewer.
const CALLS_LEAST: usize = 4;
/// After how many good answers one more call is let through.
const ANSWERS_A_CALL: usize = 16;

/// How often a call is sent in all.
const ATTEMPTS: u32 = 6;
/// How often when the server only asks for patience.
const ATTEMPTS_WHEN_SLOWED: u32 = 10;
/// The wait before the second attempt lies between nothing and this; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How many calls may be in flight.
#[derive(Debug)]
pub(super) struct Pace {
    permits: Semaphore,
    /// How many there are by now, in use or free.
    allowed: AtomicUsize,
    /// Permits to take out of use when they come back.
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

/// The right to one call; counts as an answer when it is given back.
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

    /// A call was answered as it should be.
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
}

/// What became of a call, over all its attempts.
#[derive(Debug)]
pub(super) struct Attempted<T> {
    pub(super) result: Result<T, StoreErrorKind>,
    /// Whether an attempt before the last one may have taken effect.
    pub(super) perhaps_done: bool,
}

impl S3Client {
    /// Makes a call that may be made twice, until it is answered.
    pub(super) async fn call<T, E, F>(
        &self,
        attempt: impl FnMut() -> F,
    ) -> Result<T, StoreErrorKind>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        self.attempts(attempt, ATTEMPTS).await.result
    }

    /// Makes a call and tells whether an attempt whose answer was lost came before the one that counts.
    pub(super) async fn call_noting<T, E, F>(&self, attempt: impl FnMut() -> F) -> Attempted<T>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        self.attempts(attempt, ATTEMPTS).await
    }

    /// Makes a call once; only where the server surely did nothing is it made again. A lost answer is
    /// [`StoreErrorKind::Interrupted`].
    pub(super) async fn call_once<T, E, F>(
        &self,
        attempt: impl FnMut() -> F,
    ) -> Result<T, StoreErrorKind>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        self.attempts(attempt, 1).await.result
    }

    /// `lost` is how many answers may be lost in all before the call is given up.
    async fn attempts<T, E, F>(&self, mut attempt: impl FnMut() -> F, lost: u32) -> Attempted<T>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let mut perhaps_done = false;
        let mut made = 0;
        let kind = loop {
            let turn = self.pace().turn().await;
            let answer = attempt().await;
            drop(turn);
            made += 1;
            let error = match answer {
                Ok(answer) => {
                    self.pace().answered();
                    return Attempted {
                        result: Ok(answer),
                        perhaps_done,
                    };
                }
                Err(error) => error,
            };
            let failure = judge(&error, self.told());
            let most = match failure.again {
                Again::Never => break failure.kind,
                Again::Soon => ATTEMPTS,
                Again::Slower => {
                    self.pace().slow_down();
                    ATTEMPTS_WHEN_SLOWED
                }
                Again::SlowerUnknown => {
                    self.pace().slow_down();
                    perhaps_done = true;
                    if lost == 1 { 1 } else { ATTEMPTS_WHEN_SLOWED }
                }
                Again::Unknown => {
                    perhaps_done = true;
                    lost
                }
            };
            if made >= most {
                break match (failure.again, lost) {
                    (Again::Unknown | Again::SlowerUnknown, 1) => StoreErrorKind::Interrupted,
                    _ => failure.kind,
                };
            }
            tokio::time::sleep(wait(made)).await;
        };
        Attempted {
            result: Err(self.with_identity(kind).await),
            perhaps_done,
        }
    }

    /// A refusal is of use with who was refused.
    async fn with_identity(&self, kind: StoreErrorKind) -> StoreErrorKind {
        let StoreErrorKind::Denied { detail } = kind else {
            return kind;
        };
        let detail = match self.access_key().await {
            Some(key) => format!("{detail}, asked with access key {key}"),
            None => detail,
        };
        StoreErrorKind::Denied { detail }
    }
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

    use super::super::client::{Keys, S3Settings};
    use super::super::failure::tests::PASSING;
    use super::*;

    async fn client() -> S3Client {
        let keys = |word: &str| word.to_owned();
        let settings = S3Settings {
            endpoint: Some("http://127.0.0.1:9".to_owned()),
            region: Some("us-east-1".to_owned()),
            keys: Some(Keys {
                id: keys("id"),
                secret: keys("secret"),
            }),
            ..S3Settings::default()
        };
        S3Client::connect(&settings).await.unwrap()
    }

    fn answer(status: u16, code: &str) -> SdkError<PutObjectError, HttpResponse> {
        let status = StatusCode::try_from(status).unwrap();
        let metadata = ErrorMetadata::builder().code(code).build();
        let error = PutObjectError::generic(metadata);
        SdkError::service_error(error, HttpResponse::new(status, SdkBody::empty()))
    }

    #[tokio::test(start_paused = true)]
    async fn every_answer_that_is_no_verdict_is_asked_again_by_every_kind_of_call() {
        let client = client().await;
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
            client.call(call).await.unwrap();
            made.store(0, Ordering::Relaxed);
            let noted = client.call_noting(call).await;
            assert!(noted.result.is_ok(), "{what}");
            assert_eq!(noted.perhaps_done, is_unknown, "{what}");
            made.store(0, Ordering::Relaxed);
            match client.call_once(call).await {
                Ok(()) => assert!(!is_unknown, "{what}: made twice"),
                Err(kind) => {
                    assert!(is_unknown, "{what}");
                    assert!(matches!(kind, StoreErrorKind::Interrupted), "{what}");
                }
            }
            // For ever: what is told in the end is what the server said.
            made.store(0, Ordering::Relaxed);
            let call = || async {
                made.fetch_add(1, Ordering::Relaxed);
                Err::<(), _>(answer(*status, code))
            };
            let kind = client.call(call).await.unwrap_err();
            let most = match again {
                Again::Slower | Again::SlowerUnknown => ATTEMPTS_WHEN_SLOWED,
                Again::Never | Again::Soon | Again::Unknown => ATTEMPTS,
            };
            assert_eq!(made.load(Ordering::Relaxed), most as usize, "{what}");
            let told = kind.to_string();
            let said = format!("the server answered {status}");
            assert!(told.starts_with(&said) && told.contains(code), "{told}");
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
