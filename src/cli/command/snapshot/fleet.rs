//! Several tables side by side: one that fails stops no other. One that failed for a passing reason is tried once more when
//! all the others are done, and one that found the temporary folder full once more when nothing else is under way: the log of one
//! table may fill it, and then only that table fails.

use std::time::Duration;

use deltavault::Error;
use futures::stream::{self, StreamExt};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use crate::cli::error::CommandError;

/// How a run goes about its tables.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Tables at a time.
    pub(super) at_a_time: usize,
    /// The wait before those are tried once more that failed for a passing reason.
    pub(super) pause: Duration,
}

/// What became of one table.
#[derive(Debug)]
pub(super) enum Outcome<O> {
    /// It is done.
    Done(O),
    /// It failed, and is tried once more at the end.
    Waits(CommandError),
    /// It failed.
    Failed(CommandError),
}

/// Takes every table, and tells of each as soon as it is known what became of it.
///
/// # Errors
/// What `told` fails with, at once. [`Error::Interrupted`] when that is what a table ended with; the others end first,
/// because they write down what they have placed.
pub(super) async fn run<T, O>(
    tables: &[T],
    pace: Pace,
    take: impl AsyncFn(&T) -> Result<O, CommandError>,
    mut told: impl FnMut(&T, Outcome<O>) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    let (mut again, mut alone) = (Vec::new(), Vec::new());
    round(
        tables.iter().collect(),
        pace.at_a_time,
        &take,
        |table, outcome| {
            let outcome = match outcome {
                Ok(done) => Outcome::Done(done),
                Err(error) if error.is_passing() => {
                    again.push(table);
                    Outcome::Waits(error)
                }
                Err(error) if error.lacks_scratch_space() && tables.len() > 1 => {
                    alone.push(table);
                    Outcome::Waits(error)
                }
                Err(error) => Outcome::Failed(error),
            };
            told(table, outcome)
        },
    )
    .await?;
    let mut last = |table, outcome: Result<O, CommandError>| {
        told(table, outcome.map_or_else(Outcome::Failed, Outcome::Done))
    };
    if !again.is_empty() {
        tokio::time::sleep(pace.pause).await;
        round(again, pace.at_a_time, &take, &mut last).await?;
    }
    round(alone, 1, &take, &mut last).await
}

/// Carries work out on a thread of its own. What keeps a processor busy in one table (a replay, a large sort) then holds
/// up neither the uploads of another nor the threads that carry the connections. Whoever stops waiting does not stop it: it
/// ends with the process, as if it was killed.
pub(super) async fn apart<T, F>(
    work: impl FnOnce() -> F + Send + 'static,
) -> Result<T, CommandError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, CommandError>>,
{
    let runtime = Handle::current();
    match spawn_blocking(move || runtime.block_on(work())).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only a runtime that is ending gives up such work.
            Err(_) => Err(Error::Interrupted.into()),
        },
    }
}

async fn round<'a, T, O>(
    tables: Vec<&'a T>,
    at_a_time: usize,
    take: &impl AsyncFn(&T) -> Result<O, CommandError>,
    mut told: impl FnMut(&'a T, Result<O, CommandError>) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    let mut interrupted = false;
    let mut outcomes = stream::iter(tables)
        .map(|table| async move { (table, take(table).await) })
        .buffer_unordered(at_a_time);
    while let Some((table, outcome)) = outcomes.next().await {
        match outcome {
            Err(error) if error.is_interrupted() => interrupted = true,
            outcome => told(table, outcome)?,
        }
    }
    if interrupted {
        Err(Error::Interrupted.into())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use deltavault::store::{StoreError, StoreErrorKind};
    use tokio::time::Instant;

    use super::*;

    const PACE: Pace = Pace {
        at_a_time: 2,
        pause: Duration::from_secs(5),
    };

    fn failure(kind: StoreErrorKind) -> CommandError {
        Error::Store(StoreError {
            action: "read",
            uri: "s3://lake".to_owned(),
            kind,
        })
        .into()
    }

    fn passing() -> CommandError {
        failure(StoreErrorKind::Io {
            detail: "the server answered 503".to_owned(),
        })
    }

    /// Makes the errors of one table, one a try.
    type Errors = Vec<fn() -> CommandError>;

    /// What became of tables, each of which fails with its errors one after the other, and then is done.
    async fn told(tables: &[(&str, Errors)]) -> (Vec<String>, Result<(), CommandError>) {
        let tries = RefCell::new(vec![0; tables.len()]);
        let numbered: Vec<_> = tables.iter().enumerate().collect();
        let mut told = Vec::new();
        let ended = run(
            &numbered,
            PACE,
            async |(number, (_, errors))| {
                // Lets the other go first now and then.
                tokio::task::yield_now().await;
                let count = &mut tries.borrow_mut()[*number];
                *count += 1;
                errors
                    .get(*count - 1)
                    .map_or(Ok(*count), |error| Err(error()))
            },
            |(_, (name, _)), outcome| {
                told.push(match outcome {
                    Outcome::Done(tries) => format!("{name} done at try {tries}"),
                    Outcome::Waits(_) => format!("{name} waits"),
                    Outcome::Failed(_) => format!("{name} failed"),
                });
                Ok(())
            },
        )
        .await;
        (told, ended)
    }

    #[tokio::test(start_paused = true)]
    async fn what_failed_for_a_passing_reason_is_tried_once_more_when_all_others_are_done() {
        let begun = Instant::now();
        let (mut told, ended) = told(&[
            ("once", vec![passing]),
            (
                "denied",
                vec![|| {
                    failure(StoreErrorKind::Denied {
                        detail: String::new(),
                    })
                }],
            ),
            ("twice", vec![passing, passing]),
            (
                "then gone",
                vec![passing, || failure(StoreErrorKind::NotFound)],
            ),
            ("good", vec![]),
        ])
        .await;
        ended.unwrap();
        let (first, last) = told.split_at_mut(5);
        first.sort();
        last.sort();
        assert_eq!(
            first,
            [
                "denied failed",
                "good done at try 1",
                "once waits",
                "then gone waits",
                "twice waits"
            ]
        );
        assert_eq!(
            last,
            ["once done at try 2", "then gone failed", "twice failed"]
        );
        assert_eq!(begun.elapsed(), PACE.pause);
    }

    #[tokio::test(start_paused = true)]
    async fn what_found_the_temporary_folder_full_is_tried_once_more_alone() {
        let under_way = RefCell::new(0);
        let tables: Vec<_> = (0..6).collect();
        let tries = RefCell::new(vec![0; tables.len()]);
        let mut told = Vec::new();
        run(
            &tables,
            PACE,
            async |table: &usize| {
                let table = *table;
                *under_way.borrow_mut() += 1;
                tokio::task::yield_now().await;
                let together = *under_way.borrow();
                *under_way.borrow_mut() -= 1;
                tries.borrow_mut()[table] += 1;
                // The last one is never content.
                if together > 1 || table == 5 {
                    return Err(failure(StoreErrorKind::NoScratchSpace));
                }
                Ok(())
            },
            |table, outcome| {
                let (table, tries) = (*table, tries.borrow()[*table]);
                match outcome {
                    Outcome::Waits(_) => assert_eq!(tries, 1),
                    Outcome::Done(()) => told.push((table, true)),
                    Outcome::Failed(_) => told.push((table, false)),
                }
                Ok(())
            },
        )
        .await
        .unwrap();
        told.sort_unstable();
        let expected: Vec<_> = (0..6).map(|table| (table, table != 5)).collect();
        assert_eq!(told, expected);
        assert!(tries.borrow().iter().all(|tries| *tries <= 2));
    }

    #[tokio::test(start_paused = true)]
    async fn where_nothing_passing_failed_nothing_waits_and_nothing_is_tried_twice() {
        let begun = Instant::now();
        let gone: fn() -> CommandError = || failure(StoreErrorKind::NotFound);
        let (told, ended) = told(&[("good", vec![]), ("gone", vec![gone])]).await;
        ended.unwrap();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(begun.elapsed().is_zero());
    }

    #[tokio::test(start_paused = true)]
    async fn an_interrupted_run_lets_the_others_end_and_tries_nothing_again() {
        let (told, ended) = told(&[
            ("cut", vec![|| Error::Interrupted.into()]),
            ("once", vec![passing]),
            ("good", vec![]),
        ])
        .await;
        assert!(ended.unwrap_err().is_interrupted());
        assert_eq!(told.len(), 2, "{told:?}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_table_that_keeps_its_processor_busy_holds_up_no_other() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let busy = apart(move || async move {
            // As a long computation: nothing else is done on this thread.
            let freed = receiver.recv_timeout(Duration::from_mins(1));
            freed.map_err(|_| Error::Interrupted.into())
        });
        let other = apart(move || async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            sender.send(()).map_err(|_| Error::Interrupted.into())
        });
        let (busy, other) = futures::join!(busy, other);
        busy.unwrap();
        other.unwrap();
    }
}
