//! Progress on a terminal: one bar with tables, files, bytes, rate and the time that is left, from the plan's totals.
//!
//! Without a terminal there is no bar, and with `--json` nothing at all.

use std::sync::{Mutex, PoisonError};

use deltavault::progress::{Phase, PlannedWork, Progress};
use deltavault::visible::visible;
use indicatif::{HumanCount, ProgressBar, ProgressStyle};

use super::output::{aside, has_terminal_for_talk};

/// Before anything is planned there are no totals to measure against.
const PHASE_ONLY: &str = "{spinner} {msg}{prefix}";

const TEMPLATE: &str = "{msg} {wide_bar}{prefix}  {binary_bytes}/{binary_total_bytes}  {binary_bytes_per_sec}  ETA {eta}";

/// A progress bar on stderr.
#[derive(Debug)]
pub(crate) struct Bar {
    shown: ProgressBar,
    notes: bool,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    tables: u64,
    tables_done: u64,
    planned: PlannedWork,
    done: PlannedWork,
    /// Bytes of files that are not done.
    under_way: u64,
}

impl Counts {
    /// Bytes that are where they belong, or on their way. Never fewer than before, never more than planned.
    fn position(&self) -> u64 {
        (self.done.bytes + self.under_way).min(self.planned.bytes)
    }

    fn prefix(&self) -> String {
        let counted = |done, of, what| match of {
            0 => String::new(),
            of => format!("  {}/{} {what}", HumanCount(done), HumanCount(of)),
        };
        let tables = counted(self.tables_done, self.tables, "tables");
        tables + &counted(self.done.files, self.planned.files, "files")
    }
}

impl Bar {
    /// Makes a bar that shows as soon as there is something planned. `quiet` shows and says nothing; `plain`
    /// says notes without a bar, so that log lines do not fall into it.
    pub(crate) fn new(quiet: bool, plain: bool) -> Self {
        let bar = if quiet || plain || !has_terminal_for_talk() {
            ProgressBar::hidden()
        } else {
            ProgressBar::new(0)
        };
        set_style(&bar, PHASE_ONLY);
        Self {
            shown: bar,
            notes: !quiet,
            counts: Mutex::default(),
        }
    }

    /// The bar itself, for whatever prints beside it.
    pub(crate) fn shown(&self) -> ProgressBar {
        self.shown.clone()
    }

    /// Takes the bar off the terminal.
    pub(crate) fn clear(&self) {
        self.shown.finish_and_clear();
    }

    /// Counts, and shows what has come of it.
    fn count(&self, change: impl FnOnce(&mut Counts)) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut counts);
        self.shown.set_prefix(counts.prefix());
        self.shown.set_position(counts.position());
    }
}

/// A template that cannot be parsed would only cost the looks.
fn set_style(bar: &ProgressBar, template: &str) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
}

impl Progress for Bar {
    fn phase(&self, table: &str, phase: Phase) {
        self.shown
            .set_message(format!("{} {}", phase.as_str(), visible(table)));
    }

    fn planned(&self, work: PlannedWork) {
        set_style(&self.shown, TEMPLATE);
        self.count(|counts| {
            // What was read before belongs to the plan. The time until now, in which somebody may have been asked, is no
            // measure of how fast bytes move.
            if counts.done.files == counts.planned.files {
                counts.under_way = 0;
                self.shown.reset_eta();
            }
            counts.planned.files += work.files;
            counts.planned.bytes = counts.planned.bytes.saturating_add(work.bytes);
            self.shown.set_length(counts.planned.bytes);
        });
    }

    fn moved(&self, bytes: u64) {
        self.count(|counts| counts.under_way += bytes);
    }

    fn file_done(&self, bytes: u64) {
        self.count(|counts| {
            counts.done.files += 1;
            counts.done.bytes = counts.done.bytes.saturating_add(bytes);
            counts.under_way = counts.under_way.saturating_sub(bytes);
        });
    }

    fn tables(&self, count: u64) {
        self.count(|counts| counts.tables = count);
    }

    fn table_done(&self) {
        self.count(|counts| counts.tables_done += 1);
    }

    fn note(&self, text: &str) {
        if self.notes {
            self.shown.suspend(|| aside(text));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn work(files: u64, bytes: u64) -> PlannedWork {
        PlannedWork { files, bytes }
    }

    #[test]
    fn bytes_count_while_a_file_is_under_way_and_once() {
        let bar = Bar::new(true, true);
        bar.moved(700);
        bar.planned(work(2, 1000));
        assert_eq!(bar.shown.position(), 0, "what the plan read is no copy");
        bar.moved(300);
        bar.moved(300);
        assert_eq!(bar.shown.position(), 600);
        bar.file_done(600);
        assert_eq!(bar.shown.position(), 600);
        // A store has copied it itself.
        bar.file_done(400);
        assert_eq!(bar.shown.position(), 1000);
        // What is read twice is not more than there is.
        bar.planned(work(1, 10));
        bar.moved(10);
        bar.moved(10);
        assert_eq!(bar.shown.position(), 1010);
    }

    #[test]
    fn tables_are_counted_where_there_are_several() {
        let bar = Bar::new(true, true);
        bar.planned(work(3, 9));
        bar.file_done(3);
        assert_eq!(bar.shown.prefix(), "  1/3 files");
        bar.tables(200);
        bar.table_done();
        assert_eq!(bar.shown.prefix(), "  1/200 tables  1/3 files");
    }

    #[test]
    fn the_time_before_a_plan_is_carried_out_says_nothing_of_the_rate() {
        let bar = Bar::new(true, true);
        bar.tables(1);
        std::thread::sleep(Duration::from_millis(900));
        bar.planned(work(2, 2_000_000));
        std::thread::sleep(Duration::from_millis(20));
        bar.moved(1_000_000);
        std::thread::sleep(Duration::from_millis(20));
        bar.moved(1);
        let rate = bar.shown.per_sec();
        assert!(rate > 2_500_000.0, "{rate} bytes a second");
    }
}
