//! The server's clock, read from the `Date` header of its answers, so that it costs no request.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};

use crate::ids::Timestamp;

/// No answer has come yet.
const SILENCE: i64 = i64::MIN;

/// The time in the newest answer. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct ServerClock(Arc<AtomicI64>);

impl Default for ServerClock {
    fn default() -> Self {
        Self(Arc::new(AtomicI64::new(SILENCE)))
    }
}

impl ServerClock {
    /// The time of the newest answer, to the second.
    pub(super) fn heard(&self) -> Option<Timestamp> {
        let second = self.0.load(Ordering::Relaxed);
        Timestamp::from_second(second).ok()
    }

    /// Reads a `Date` header; one that cannot be parsed is ignored.
    fn hear(&self, date: Option<&str>) {
        let date = date.and_then(|date| DateTime::from_str(date, DateTimeFormat::HttpDate).ok());
        if let Some(date) = date {
            self.0.store(date.secs(), Ordering::Relaxed);
        }
    }
}

impl Intercept for ServerClock {
    fn name(&self) -> &'static str {
        "ServerClock"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.hear(context.response().headers().get("date"));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_date_that_can_be_parsed_counts() {
        let clock = ServerClock::default();
        assert_eq!(clock.heard(), None);
        clock.hear(None);
        clock.hear(Some("yesterday"));
        assert_eq!(clock.heard(), None);
        for _ in 0..2 {
            clock.hear(Some("Tue, 29 Feb 2028 23:59:58 GMT"));
            clock.hear(Some(""));
            let heard = clock.heard().unwrap().to_string();
            assert_eq!(heard, "2028-02-29T23:59:58Z");
        }
    }
}
