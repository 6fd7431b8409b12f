//! How long a table may go on without anything of it being copied: a hostile log, or a store that hangs, then costs its own
//! snapshot and not the run.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deltavault::progress::{Phase, PlannedWork, Progress};
use futures::future::{Either, select};
use tokio::time::{Instant, sleep_until};

use crate::cli::error::CommandError;

/// The limit where none is given.
pub(super) const DEFAULT: Duration = Duration::from_hours(2);

/// Watches the progress of one table.
#[derive(Debug)]
pub(super) struct Patience {
    limit: Duration,
    /// When it last went on; `None` once its snapshot is published.
    last: Mutex<Option<Instant>>,
    progress: Arc<dyn Progress>,
}

impl Patience {
    /// Begins to count.
    pub(super) fn new(limit: Duration, progress: Arc<dyn Progress>) -> Arc<Self> {
        Arc::new(Self {
            limit,
            last: Mutex::new(Some(Instant::now())),
            progress,
        })
    }

    fn go_on(&self) {
        if let Some(last) = &mut *self.last.lock().unwrap_or_else(PoisonError::into_inner) {
            *last = Instant::now();
        }
    }

    /// From now on there is no limit.
    fn end(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn last(&self) -> Option<Instant> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nothing went on for too long.
    async fn lost(&self) {
        while let Some(last) = self.last() {
            let due = last + self.limit;
            if Instant::now() >= due {
                return;
            }
            sleep_until(due).await;
        }
        std::future::pending::<()>().await;
    }

    /// Waits for `work` as long as it goes on.
    ///
    /// # Errors
    /// [`CommandError::TableStalled`]; and what the work fails with.
    pub(super) async fn during<T>(
        &self,
        work: impl Future<Output = Result<T, CommandError>>,
    ) -> Result<T, CommandError> {
        match select(pin!(work), pin!(self.lost())).await {
            Either::Left((done, _)) => done,
            Either::Right(((), _)) => Err(CommandError::TableStalled { limit: self.limit }),
        }
    }
}

impl Progress for Patience {
    fn phase(&self, table: &str, phase: Phase) {
        self.go_on();
        // The snapshot is published.
        if phase == Phase::CheckSource {
            self.end();
        }
        self.progress.phase(table, phase);
    }

    fn planned(&self, work: PlannedWork) {
        self.go_on();
        self.progress.planned(work);
    }

    fn moved(&self, bytes: u64) {
        self.go_on();
        self.progress.moved(bytes);
    }

    fn file_done(&self, bytes: u64) {
        self.go_on();
        self.progress.file_done(bytes);
    }

    fn tables(&self, count: u64) {
        self.progress.tables(count);
    }

    fn table_done(&self) {
        self.progress.table_done();
    }

    fn note(&self, text: &str) {
        self.progress.note(text);
    }
}

#[cfg(test)]
mod tests {
    use deltavault::progress::NoProgress;
    use tokio::time::sleep;

    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn patience() -> Arc<Patience> {
        Patience::new(10 * MINUTE, Arc::new(NoProgress))
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_stands_still_for_too_long_is_given_up() {
        let patience = patience();
        let copies = async {
            for _ in 0..100 {
                sleep(9 * MINUTE).await;
                patience.file_done(1);
            }
            Ok(())
        };
        patience.during(copies).await.unwrap();
        let begun = Instant::now();
        let hangs = async {
            sleep(4 * MINUTE).await;
            patience.moved(1);
            std::future::pending::<Result<(), CommandError>>().await
        };
        let error = patience.during(hangs).await.unwrap_err();
        assert!(matches!(error, CommandError::TableStalled { .. }));
        assert_eq!(begun.elapsed(), 14 * MINUTE);
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_after_the_snapshot_has_no_limit() {
        let patience = patience();
        let checks = async {
            patience.phase("orders", Phase::CheckSource);
            sleep(100 * MINUTE).await;
            patience.moved(1);
            sleep(100 * MINUTE).await;
            Ok(())
        };
        patience.during(checks).await.unwrap();
    }
}
