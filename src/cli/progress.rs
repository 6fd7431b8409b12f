//! Progress on a terminal: one bar with files, bytes, rate and the time that is left, from the plan's totals.
//!
//! Without a terminal there is no bar, and with `--json` nothing at all.

use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicU64, Ordering};

use deltavault::progress::{Phase, PlannedWork, Progress};
use deltavault::visible::visible;
use indicatif::{HumanCount, ProgressBar, ProgressStyle};

use super::output::aside;

/// Before anything is planned there are no totals to measure against.
const PHASE_ONLY: &str = "{spinner} {msg}";

const TEMPLATE: &str = "{msg} {wide_bar} {prefix} files  {binary_bytes}/{binary_total_bytes}  {binary_bytes_per_sec}  ETA {eta}";

/// A progress bar on stderr.
#[derive(Debug)]
pub(crate) struct Bar {
    shown: ProgressBar,
    notes: bool,
    planned: AtomicU64,
    done: AtomicU64,
}

impl Bar {
    /// Makes a bar that shows as soon as there is something planned. `quiet` shows and says nothing; `plain`
    /// says notes without a bar, so that log lines do not fall into it.
    pub(crate) fn new(quiet: bool, plain: bool) -> Self {
        let bar = if quiet || plain || !std::io::stderr().is_terminal() {
            ProgressBar::hidden()
        } else {
            ProgressBar::new(0)
        };
        set_style(&bar, PHASE_ONLY);
        Self {
            shown: bar,
            notes: !quiet,
            planned: AtomicU64::new(0),
            done: AtomicU64::new(0),
        }
    }

    /// The bar itself, for who prints beside it.
    pub(crate) fn shown(&self) -> ProgressBar {
        self.shown.clone()
    }

    /// Takes the bar off the terminal.
    pub(crate) fn clear(&self) {
        self.shown.finish_and_clear();
    }

    fn show_files(&self) {
        let done = self.done.load(Ordering::Relaxed);
        let planned = self.planned.load(Ordering::Relaxed);
        self.shown
            .set_prefix(format!("{}/{}", HumanCount(done), HumanCount(planned)));
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
        self.planned.fetch_add(work.files, Ordering::Relaxed);
        self.shown.inc_length(work.bytes);
        self.show_files();
    }

    fn file_done(&self, bytes: u64) {
        self.done.fetch_add(1, Ordering::Relaxed);
        self.shown.inc(bytes);
        self.show_files();
    }

    fn note(&self, text: &str) {
        if self.notes {
            self.shown.suspend(|| aside(text));
        }
    }
}
