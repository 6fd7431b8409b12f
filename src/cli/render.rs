//! The only printing: rows as JSON lines or as text for people, and errors in their three parts.
//!
//! stdout is the result, stderr is talk. Nothing here decides anything. A reader that has gone away (`| head`)
//! is not an error: [`is_broken_pipe`] tells it apart, and the process ends quietly.

use std::fmt;
use std::io::{self, IsTerminal as _, Write};

use deltavault::{Error, ExitCode};
use indicatif::ProgressBar;
use serde::Serialize;

use super::rows::{ErrorRow, ExitError, Row};

mod iam;
mod look;
mod prune;
mod results;
mod wall;

/// Where results go, and in which of the two forms.
pub(crate) struct Output {
    json: bool,
    out: Box<dyn Write + Send>,
    // Taken off the terminal while a line is printed, so that neither falls into the other.
    bar: ProgressBar,
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output")
            .field("json", &self.json)
            .finish_non_exhaustive()
    }
}

impl Output {
    /// Writes to stdout, beside a progress bar.
    pub(crate) fn to_stdout(json: bool, bar: ProgressBar) -> Self {
        // Without a terminal nobody waits for a line: a listing of a million files goes out in large pieces.
        let out: Box<dyn Write + Send> = if io::stdout().is_terminal() {
            Box::new(io::stdout())
        } else {
            Box::new(io::BufWriter::new(io::stdout()))
        };
        Self { json, out, bar }
    }

    /// Whether results are JSON lines.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Makes sure that everything is out.
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        self.out.flush().map_err(Error::Output)
    }

    /// Prints text as it is; with `--json` nothing.
    pub(crate) fn text(&mut self, text: &str) -> Result<(), Error> {
        if self.json {
            return Ok(());
        }
        self.print(format_args!("{text}"))
    }

    /// Prints bytes as they are, in either form.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.out.write_all(bytes).map_err(Error::Output)
    }

    /// Tells that one table failed while others go on.
    pub(crate) fn table_failed(&mut self, table: &str, error: &Error) -> Result<(), Error> {
        if !self.json {
            self.bar.suspend(|| print_error(Some(table), error));
            return Ok(());
        }
        self.line(&ErrorRow {
            table: table.to_owned(),
            code: error.exit_code().number(),
            message: with_causes(error),
            hint: error.hint(),
        })
    }

    /// Tells that the command failed; the last that is printed.
    pub(crate) fn failed(&mut self, error: &Error) -> Result<(), Error> {
        if !self.json {
            self.bar.suspend(|| print_error(None, error));
            return Ok(());
        }
        self.exit_error(error.exit_code(), with_causes(error), error.hint())
    }

    /// Prints the last line of a failure, with `--json`.
    pub(crate) fn exit_error(
        &mut self,
        code: ExitCode,
        message: String,
        hint: Option<String>,
    ) -> Result<(), Error> {
        let code = code.number();
        self.line(&ExitError {
            code,
            message,
            hint,
        })
    }

    /// Asks a question on stderr and reads the answer's line.
    pub(crate) fn ask(&self, question: &str) -> io::Result<String> {
        self.bar.suspend(|| ask(question))
    }

    fn print(&mut self, text: fmt::Arguments<'_>) -> Result<(), Error> {
        let Self { out, bar, .. } = self;
        let written = bar.suspend(|| writeln!(out, "{text}"));
        written.map_err(Error::Output)
    }

    fn line<R: Row>(&mut self, row: &R) -> Result<(), Error> {
        #[derive(Serialize)]
        struct Line<'a, R> {
            message_type: &'static str,
            #[serde(flatten)]
            row: &'a R,
        }
        let message_type = R::MESSAGE_TYPE;
        serde_json::to_writer(&mut self.out, &Line { message_type, row })
            .map_err(|error| Error::Output(error.into()))?;
        self.print(format_args!(""))
    }
}

/// Whether the error only says that nobody reads the output any more.
pub(crate) fn is_broken_pipe(error: &Error) -> bool {
    matches!(error, Error::Output(cause) if cause.kind() == io::ErrorKind::BrokenPipe)
}

/// Prints an error in its three parts to stderr.
fn print_error(table: Option<&str>, error: &Error) {
    let mut err = io::stderr().lock();
    let table = table.map_or_else(String::new, |table| format!("{table}: "));
    // Where stderr is closed there is nobody to tell.
    writeln!(err, "error: {table}{error}").ok();
    for cause in causes(error) {
        writeln!(err, "caused by: {cause}").ok();
    }
    if let Some(hint) = error.hint() {
        writeln!(err, "hint: {hint}").ok();
    }
}

/// An error and its causes in one line.
pub(crate) fn with_causes(error: &Error) -> String {
    let mut message = error.to_string();
    for cause in causes(error) {
        message.push_str(": ");
        message.push_str(&cause);
    }
    message
}

fn causes(error: &Error) -> impl Iterator<Item = String> {
    let first = std::error::Error::source(error);
    std::iter::successors(first, |error| error.source()).map(ToString::to_string)
}

fn ask(question: &str) -> io::Result<String> {
    let mut err = io::stderr().lock();
    write!(err, "{question}")?;
    err.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(answer)
}
