//! The only printing: rows as JSON lines or as text for people, and errors in their three parts.
//!
//! stdout is the result, stderr is talk. Nothing here decides anything.
//!
//! A backup does not depend on somebody reading about it: where stdout cannot be written any more, a command that works
//! or judges goes on without it, and [`Output::end`] says at its end that output was lost. A command that only shows
//! something ([`Output::for_a_reader`]) ends at once, and quietly where its reader has gone away (`| head`).
//!
//! Much of what is printed was written by others. Every line passes through [`visible`] here, whatever it says; nothing
//! else but `parsed.rs` may take hold of stdout or stderr (`disallowed-methods` in `.clippy.toml`).

#![expect(
    clippy::disallowed_methods,
    reason = "the one place that writes to stdout and stderr"
)]

use std::fmt;
use std::io::{self, IsTerminal as _, Write};
use std::process::Stdio;

use clap::builder::Styles;
use deltavault::ExitCode;
use deltavault::visible::{shortened, visible, visible_json};
use indicatif::{HumanCount, ProgressBar};
use serde::Serialize;

use super::again::Again;
use crate::cli::error::CommandError;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use deltavault::format::LockMode;
use deltavault::ids::{Timestamp, Version};

/// Something that a command says: a line of JSON, or text for people.
pub(crate) trait Message: Serialize {
    /// Its `message_type`, which names one shape.
    const TYPE: &'static str;

    /// Says it to people.
    fn text(&self, out: &mut Output) -> Result<(), CommandError>;
}

/// Where results go, and in which of the two forms.
pub(crate) struct Output {
    json: bool,
    /// Whether more is to be said.
    verbose: bool,
    /// How the commands begin that a hint names.
    again: Again,
    out: Box<dyn Write + Send>,
    // Taken off the terminal while a line is printed, so that neither falls into the other.
    bar: ProgressBar,
    /// Whether the command is of no use without a reader.
    for_a_reader: bool,
    /// Why nothing is written any more.
    lost: Option<io::Error>,
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
    pub(crate) fn to_stdout(json: bool, bar: ProgressBar, again: Again) -> Self {
        // Without a terminal nobody waits for a line: a listing of a million files goes out in large pieces.
        let out: Box<dyn Write + Send> = if io::stdout().is_terminal() {
            Box::new(io::stdout())
        } else {
            Box::new(io::BufWriter::new(io::stdout()))
        };
        Self {
            json,
            verbose: false,
            again,
            out,
            bar,
            for_a_reader: false,
            lost: None,
        }
    }

    /// Says more, or not.
    pub(crate) fn verbose(self, verbose: bool) -> Self {
        Self { verbose, ..self }
    }

    /// The output of a command that only shows something: it fails where it cannot be written.
    pub(crate) fn for_a_reader(self) -> Self {
        Self {
            for_a_reader: true,
            ..self
        }
    }

    /// Whether results are JSON lines.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether what was printed may not have reached anybody.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.is_some()
    }

    /// Makes sure that everything is out.
    pub(crate) fn finish(&mut self) -> Result<(), CommandError> {
        self.write(|out| out.flush())
    }

    /// Ends the output after everything that there was to say, and returns how the process ends: as the command did, or
    /// with a failure where nothing else went wrong than that output was lost.
    pub(crate) fn end(mut self, code: ExitCode) -> ExitCode {
        // What comes of it is told below.
        self.finish().ok();
        let Some(error) = self.lost else {
            return code;
        };
        if self.for_a_reader && error.kind() == io::ErrorKind::BrokenPipe {
            return code;
        }
        let error = CommandError::Output(error);
        self.bar.suspend(|| print_error(None, &error, None));
        if code == ExitCode::Done {
            error.exit_code()
        } else {
            code
        }
    }

    /// Prints a line of text for people; with `--json` nothing.
    pub(crate) fn text(&mut self, text: &str) -> Result<(), CommandError> {
        if self.json {
            return Ok(());
        }
        text.split('\n')
            .try_for_each(|line| self.print(format_args!("{line}")))
    }

    /// Prints bytes as they are, in either form: a document that is this tool's own, never text of others.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Result<(), CommandError> {
        self.write(|out| out.write_all(bytes))
    }

    /// Tells that one table failed while others go on.
    pub(crate) fn table_failed(
        &mut self,
        table: &str,
        error: &CommandError,
    ) -> Result<(), CommandError> {
        let failure = self.failure(error);
        let row = ErrorRow {
            table,
            error: &failure,
        };
        let talk = || print_error(Some(table), error, failure.hint.as_deref());
        self.line_or_talk(ErrorRow::TYPE, &row, talk)
    }

    /// Tells that one table failed, and that it is tried once more.
    pub(crate) fn table_waits(
        &mut self,
        table: &str,
        error: &CommandError,
    ) -> Result<(), CommandError> {
        let row = WaitsRow {
            table,
            message: with_causes(error),
        };
        self.line_or_talk(WaitsRow::TYPE, &row, || {
            print_parts("warning", Some(table), error);
            part(
                "hint",
                "nothing to do yet: it is tried once more at the end of this run",
            );
        })
    }

    /// Tells that the command failed; the last that is printed.
    pub(crate) fn failed(&mut self, error: &CommandError) {
        let row = self.failure(error);
        let talk = || print_error(None, error, row.hint.as_deref());
        // Without a reader the error goes to stderr, and the exit code says it in any case.
        self.line_or_talk(ExitError::TYPE, &row, talk).ok();
    }

    /// Prints the last line of a failure, with `--json`.
    pub(crate) fn exit_error(
        &mut self,
        code: ExitCode,
        message: String,
        hint: Option<String>,
    ) -> Result<(), CommandError> {
        let code = code.number();
        let row = ExitError {
            code,
            message,
            hint,
        };
        self.line(ExitError::TYPE, &row)
    }

    /// An error as a line of its own with `--json`, as talk on stderr for people else; and as talk, too, where its line
    /// could not be written.
    fn line_or_talk(
        &mut self,
        message_type: &'static str,
        row: &impl Serialize,
        talk: impl FnOnce(),
    ) -> Result<(), CommandError> {
        let written = if self.json {
            self.line(message_type, row)
        } else {
            Ok(())
        };
        // What was found before comes before the talk about it, and a line that is lost is known to be.
        let written = written.and_then(|()| self.finish());
        if !self.json || self.is_lost() {
            self.bar.suspend(talk);
        }
        written
    }

    fn failure(&self, error: &CommandError) -> ExitError {
        ExitError {
            code: error.exit_code().number(),
            message: with_causes(error),
            hint: error.hint().map(|hint| self.again.in_text(&hint)),
        }
    }

    /// Asks a question on stderr and reads the answer's line.
    pub(crate) fn ask(&self, question: &str) -> io::Result<String> {
        self.bar.suspend(|| ask(question))
    }

    /// Whether more is to be said.
    pub(crate) fn is_verbose(&self) -> bool {
        self.verbose
    }

    /// Says a result, in the form that was asked for.
    pub(crate) fn say<M: Message>(&mut self, message: &M) -> Result<(), CommandError> {
        if self.json {
            self.line(M::TYPE, message)
        } else {
            message.text(self)
        }
    }

    /// Prints findings below the result that they are about.
    pub(crate) fn findings(&mut self, findings: &[String]) -> Result<(), CommandError> {
        findings.iter().try_for_each(|finding| {
            let finding = self.again.in_text(finding);
            self.print(format_args!("  finding: {finding}"))
        })
    }

    /// Prints a table.
    pub(crate) fn table(&mut self, table: &Table) -> Result<(), CommandError> {
        let lines: Vec<String> = table.lines().collect();
        lines
            .iter()
            .try_for_each(|line| self.print(format_args!("{}", line.trim_end())))
    }

    /// Prints a line of text.
    pub(crate) fn print(&mut self, text: fmt::Arguments<'_>) -> Result<(), CommandError> {
        let text = text.to_string();
        self.write_line(shown(&text).as_bytes())
    }

    fn write_line(&mut self, line: &[u8]) -> Result<(), CommandError> {
        let bar = self.bar.clone();
        self.write(|out| {
            bar.suspend(|| {
                out.write_all(line)?;
                out.write_all(b"\n")
            })
        })
    }

    /// Every write to stdout. After one that failed nothing more is written: what follows a torn line would be misread.
    fn write(
        &mut self,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), CommandError> {
        if self.is_lost() {
            return Ok(());
        }
        let Err(error) = write(&mut self.out) else {
            return Ok(());
        };
        let stop = CommandError::Output(error.kind().into());
        self.lost = Some(error);
        self.out = Box::new(io::sink());
        if self.for_a_reader { Err(stop) } else { Ok(()) }
    }

    /// Prints a line of JSON, also of what people are told in another way than by a [`Message`].
    pub(crate) fn line<R: Serialize>(
        &mut self,
        message_type: &'static str,
        row: &R,
    ) -> Result<(), CommandError> {
        #[derive(Serialize)]
        struct Line<'a, R> {
            message_type: &'static str,
            #[serde(flatten)]
            row: &'a R,
        }
        let line = serde_json::to_string(&Line { message_type, row })
            .map_err(|error| CommandError::Output(error.into()))?;
        self.write_line(visible_json(&line).as_bytes())
    }
}

/// Prints an error in its three parts to stderr.
fn print_error(table: Option<&str>, error: &CommandError, hint: Option<&str>) {
    print_parts("error", table, error);
    if let Some(hint) = hint {
        part("hint", hint);
    }
}

/// The most characters of a line. Whoever writes a log may put megabytes into a name.
const LINE_MAX: usize = 16 * 1024;

/// A text as it is printed.
fn shown(text: &str) -> String {
    visible(&shortened(text, LINE_MAX)).into_owned()
}

fn print_parts(word: &str, table: Option<&str>, error: &CommandError) {
    let table = table.map_or_else(String::new, |table| format!("{table}: "));
    part(word, &format!("{table}{error}"));
    for cause in causes(error) {
        part("caused by", &cause);
    }
}

/// Prints a line that begins with a word in the colour that the command line's parser gives it.
fn part(word: &str, text: &str) {
    let styles = Styles::styled();
    let style = match word {
        "error" => styles.get_error(),
        "warning" => styles.get_invalid(),
        _ => styles.get_valid(),
    };
    // Where stderr is closed there is nobody to tell.
    writeln!(
        anstream::stderr(),
        "{style}{word}:{style:#} {}",
        shown(text)
    )
    .ok();
}

/// Whether somebody at a terminal may see or answer something.
pub(crate) fn has_terminal() -> bool {
    io::stdin().is_terminal() || io::stdout().is_terminal() || io::stderr().is_terminal()
}

/// Whether stdin and stderr are a terminal's.
pub(crate) fn can_be_asked() -> bool {
    io::stdin().is_terminal() && has_terminal_for_talk()
}

/// Whether stderr is a terminal.
pub(crate) fn has_terminal_for_talk() -> bool {
    io::stderr().is_terminal()
}

/// Prints a line of talk to stderr.
pub(crate) fn aside(text: &str) {
    // Where stderr is closed there is nobody to tell.
    writeln!(io::stderr(), "{}", visible(text)).ok();
}

/// Where a command of the owner's prints to: it is theirs, and not our result.
pub(crate) fn talk_of_a_child() -> Stdio {
    io::stderr().into()
}

/// A log on its way to stderr, a line an event.
pub(crate) struct Talk<W>(W);

impl Talk<io::Stderr> {
    /// Writes to stderr.
    pub(crate) fn to_stderr() -> Self {
        Self(io::stderr())
    }
}

impl<W: Write> Write for Talk<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        writeln!(self.0, "{}", visible(line))?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// `1 table`, `2,000 tables`: for nouns with a plural in "s".
pub(crate) fn counted(count: u64, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        count => format!("{} {noun}s", HumanCount(count)),
    }
}

/// An error and its causes in one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    for cause in causes(error) {
        message.push_str(": ");
        message.push_str(&cause);
    }
    message
}

fn causes(error: &dyn std::error::Error) -> impl Iterator<Item = String> {
    let first = error.source();
    std::iter::successors(first, |error| error.source()).map(ToString::to_string)
}

fn ask(question: &str) -> io::Result<String> {
    let mut err = io::stderr().lock();
    write!(err, "{}", visible(question))?;
    err.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(answer)
}

/// One table failed, and others go on.
#[derive(Debug, Clone, Serialize)]
struct ErrorRow<'a> {
    table: &'a str,
    /// As if it had failed alone.
    #[serde(flatten)]
    error: &'a ExitError,
}

impl ErrorRow<'_> {
    const TYPE: &'static str = "table_failed";
}

/// A table failed for a passing reason, and is tried once more at the end of the run.
#[derive(Debug, Clone, Serialize)]
struct WaitsRow<'a> {
    table: &'a str,
    /// What failed, with its causes.
    message: String,
}

impl WaitsRow<'_> {
    const TYPE: &'static str = "table_waits";
}

/// The command failed; the last line.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ExitError {
    /// The exit code.
    pub(crate) code: u8,
    /// What failed, with its causes.
    pub(crate) message: String,
    /// What to do.
    pub(crate) hint: Option<String>,
}

impl ExitError {
    const TYPE: &'static str = "exit_error";
}

pub(crate) fn plain_table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header.iter().copied());
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

pub(crate) fn align_right(table: &mut Table, column: usize) {
    if let Some(column) = table.column_mut(column) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

/// `v3`, `v3-v7`.
pub(crate) fn range(first: Version, last: Version) -> String {
    if first == last {
        format!("v{first}")
    } else {
        format!("v{first}-v{last}")
    }
}

/// A change with its sign.
pub(crate) fn signed(change: i64) -> String {
    let sign = if change < 0 { "-" } else { "+" };
    format!("{sign}{}", HumanCount(change.unsigned_abs()))
}

/// A time to the minute, which is what people compare.
pub(crate) fn minute(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%MZ").to_string()
}

/// The name of a lock mode.
pub(crate) fn lock(mode: LockMode) -> &'static str {
    match mode {
        LockMode::None => "none",
        LockMode::Governance => "governance",
        LockMode::Compliance => "compliance",
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is printed, in one of the two forms.
    pub(crate) fn printed(
        json: bool,
        print: impl FnOnce(&mut Output) -> Result<(), CommandError>,
    ) -> String {
        let shared = Shared::default();
        let out = Box::new(shared.clone());
        let bar = ProgressBar::hidden();
        let mut output = Output {
            out,
            ..Output::to_stdout(json, bar, Again::new("deltavault", None, None, &[]))
        };
        print(&mut output).unwrap();
        String::from_utf8(shared.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn line_of_megabytes_is_cut() {
        let text = printed(false, |output| {
            output.print(format_args!("{}", "x".repeat(5_000_000)))
        });
        assert_eq!(text.chars().count(), LINE_MAX + 2);
        assert!(text.ends_with("x…\n"));
    }

    #[test]
    fn a_failing_table_tells_its_causes_in_one_json_line() {
        let error = CommandError::Output(io::Error::other("disk on fire"));
        let text = printed(true, |output| output.table_failed("orders", &error));
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["message_type"], "table_failed");
        assert_eq!(line["message"], "write the result: disk on fire");
        assert_eq!(line["code"], 1);
    }
}
