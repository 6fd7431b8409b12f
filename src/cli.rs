//! The edge: reads arguments, environment, configuration and the clock once, runs one command, and turns what
//! came of it into text and an exit code.
//!
//! Ctrl-C drops the running future, after a moment for writing down what was placed. Nothing needs undoing then: what is
//! not published is not visible, and the next run takes up what this one has placed.

use std::ffi::{OsStr, OsString};
use std::process;
use std::sync::Arc;
use std::time::Duration;

use clap::FromArgMatches as _;
use clap::error::ErrorKind;
use deltavault::vault::snapshot::Interrupt;
use deltavault::{Error, ExitCode, reader, spool};
use indicatif::ProgressBar;
use jiff::tz::TimeZone;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tracing_subscriber::EnvFilter;

use self::again::Again;
use self::args::{Arguments, GlobalArgs};
use self::command::{Command, Context};
use self::config::{Config, read_config};
use self::error::CommandError;
use self::output::{Output, Talk};
use self::place::parse_place;
use self::progress::Bar;
use self::stores::Stores;

mod again;
mod args;
mod cache;
mod command;
mod complete;
mod config;
mod error;
mod help;
mod index;
mod near;
mod output;
mod parsed;
mod place;
mod progress;
mod snapshot_name;
mod stores;
mod table_name;
mod when;
mod who;

/// How long an interrupted command may take to be dropped before the process ends anyway.
const GRACE: Duration = Duration::from_millis(1500);

/// How long a command that listens for interrupts may take for its last words; within [`GRACE`].
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long the end of the process waits for blocking calls (a disk that hangs).
const SHUTDOWN: Duration = Duration::from_millis(300);

/// The stack of each thread, bytes.
const STACK: usize = 8 * 1024 * 1024;

/// Runs the process.
pub(crate) fn main() -> process::ExitCode {
    complete::answer();
    choose_colour(std::env::args_os().skip(1));
    let read = help::command().try_get_matches();
    let code = match read.and_then(|read| Arguments::from_arg_matches(&read)) {
        Ok(args) => run_args(args),
        Err(mut error) => refuse(&mut error),
    };
    process::ExitCode::from(code.number())
}

/// Obeys `--color` before anything is read: what is mistyped is said in colours, too. What it says wrongly is refused
/// where all arguments are read.
fn choose_colour(args: impl Iterator<Item = OsString>) {
    let args: Vec<_> = args.map(|arg| arg.to_string_lossy().into_owned()).collect();
    let apart = args.windows(2).filter_map(|two| match two {
        [flag, when] if flag == "--color" => Some(when.as_str()),
        _ => None,
    });
    let joined = args.iter().filter_map(|arg| arg.strip_prefix("--color="));
    let choice = match apart.chain(joined).next() {
        Some("always") => anstream::ColorChoice::Always,
        Some("never") => anstream::ColorChoice::Never,
        Some(_) | None => anstream::ColorChoice::Auto,
    };
    choice.write_global();
}

fn run_args(args: Arguments) -> ExitCode {
    let Arguments { global, command } = args;
    start_log(global.verbose, global.quiet);
    quiet_the_reader();
    if command.takes_config() {
        spool::sweep(&std::env::temp_dir());
    }
    let is_quiet = global.json || global.quiet;
    let bar = Arc::new(Bar::new(is_quiet, global.verbose > 0));
    let (outcome, mut output) = match prepare(&global, &command, Arc::clone(&bar)) {
        Ok(context) => block_on(command, context),
        Err(error) => {
            let again = call_again(&global, global.vault.as_deref());
            (
                Err(error),
                Output::to_stdout(global.json, bar.shown(), again),
            )
        }
    };
    bar.clear();
    let code = match outcome {
        Ok(code) => code,
        // The end of the output says it.
        Err(CommandError::Output(_)) if output.is_lost() => ExitCode::Done,
        Err(error) => {
            output.failed(&error);
            error.exit_code()
        }
    };
    output.end(code)
}

fn prepare(
    global: &GlobalArgs,
    command: &Command,
    progress: Arc<Bar>,
) -> Result<Context, CommandError> {
    let folder = std::env::current_dir().map_err(|_| CommandError::InvalidUri {
        uri: ".".to_owned(),
        rule: "the working directory is gone",
    })?;
    // A variable that is set to nothing is how a shell script unsets one.
    let mut config = match &global.config {
        Some(path) if !path.as_os_str().is_empty() && command.takes_config() => read_config(path)?,
        _ => Config::default(),
    };
    config.forged.extend(global.forged.iter().cloned());
    let vault = match &global.vault {
        Some(vault) if vault.is_empty() && is_vault_by_flag(global) => {
            return Err(CommandError::UnusableFlag {
                flag: "--vault",
                rule: "it is empty: a variable that it is made of may not be set",
            });
        }
        Some(vault) if !vault.is_empty() => Some(parse_place(vault, &folder)?),
        _ => config.vault.clone(),
    };
    let again = call_again(global, vault.as_deref());
    let output = Output::to_stdout(global.json, progress.shown(), again.clone());
    let output = output.verbose(global.verbose > 0);
    Ok(Context {
        again,
        stores: Stores::new(config.s3.clone()),
        vault,
        clock: global.clock(),
        output: if command.only_shows() {
            output.for_a_reader()
        } else {
            output
        },
        progress,
        interrupt: Interrupt::default(),
        has_terminal: output::has_terminal(),
        can_ask: !global.json && output::can_be_asked(),
        is_vault_by_flag: is_vault_by_flag(global),
        folder,
        zone: TimeZone::system(),
        config,
    })
}

/// Whether a flag named the vault, and not the environment.
fn is_vault_by_flag(global: &GlobalArgs) -> bool {
    let given = global.vault.as_deref().map(OsStr::new);
    given.is_some_and(|given| by_flag(given, "DELTAVAULT_VAULT"))
}

fn by_flag(given: &OsStr, variable: &str) -> bool {
    std::env::var_os(variable).is_none_or(|set| set != given)
}

/// What the next command has to say again because a flag said it to this one.
fn call_again(global: &GlobalArgs, vault: Option<&str>) -> Again {
    let vault = vault.filter(|_| is_vault_by_flag(global));
    let config = global
        .config
        .as_deref()
        .filter(|config| by_flag(config.as_os_str(), "DELTAVAULT_CONFIG"))
        .and_then(|config| std::path::absolute(config).ok());
    let program = std::env::args_os().next().unwrap_or_default();
    let program = Again::program(&program);
    Again::new(&program, vault, config.as_deref(), &global.forged)
}

/// Runs one command, and returns its output with what came of it.
fn block_on(command: Command, mut context: Context) -> (Result<ExitCode, CommandError>, Output) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // As the main thread has: a table is taken on a thread of its own.
        .thread_stack_size(STACK)
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return (Err(CommandError::Start(error)), context.output),
    };
    let outcome = runtime.block_on(async {
        // Listened for from before the command's first step on.
        let mut interrupts = signal(SignalKind::interrupt()).map_err(CommandError::Start)?;
        // What a scheduler sends before it kills. A hangup stays as it is: nohup has it ignored.
        let mut terminations = signal(SignalKind::terminate()).map_err(CommandError::Start)?;
        let (interrupt, interrupted) = oneshot::channel();
        // On another thread than the command, which may be deep in a computation when the signal comes.
        let mut watch = JoinSet::new();
        watch.spawn(async move {
            let received = tokio::select! {
                received = interrupts.recv() => received,
                received = terminations.recv() => received,
            };
            if received.is_some() {
                // Background tasks of libraries that lose their caller in the middle may panic (deltalake's
                // uploads do); their backtraces would bury the one line that matters.
                std::panic::set_hook(Box::new(|_| {}));
                interrupt.send(()).ok();
                tokio::time::sleep(GRACE).await;
                process::exit(ExitCode::Interrupted.number().into());
            }
        });
        let ending = context.interrupt.clone();
        let mut command = std::pin::pin!(command.run(&mut context));
        tokio::select! {
            outcome = &mut command => outcome,
            Ok(()) = interrupted => {
                if ending.fire() {
                    tokio::time::timeout(LAST_WORDS, command).await.ok();
                }
                Err(Error::Interrupted.into())
            }
        }
    });
    runtime.shutdown_timeout(SHUTDOWN);
    (outcome, context.output)
}

/// Answers `--help` and `--version`, and refuses what clap could not read.
fn refuse(error: &mut clap::Error) -> ExitCode {
    let asked = matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    );
    let code = if asked {
        ExitCode::Done
    } else {
        ExitCode::Usage
    };
    let json = std::env::args_os().any(|arg| arg == "--json");
    if json && !asked {
        parsed::spell_arguments(error);
        let text = error.render().to_string();
        // What is wrong ends at the first empty line; usage and tips for a terminal follow.
        let message = text.lines().take_while(|line| !line.is_empty());
        let message = message.map(str::trim).collect::<Vec<_>>().join(" ");
        let message = message.trim_start_matches("error: ").to_owned();
        let mut output = Output::to_stdout(
            true,
            ProgressBar::hidden(),
            Again::new("deltavault", None, None, &[]),
        );
        let hint = Some("deltavault --help".to_owned());
        let written = output.exit_error(code, message, hint);
        if written.and_then(|()| output.finish()).is_ok() && !output.is_lost() {
            return code;
        }
    }
    parsed::print(error);
    code
}

/// The independent reader's own log: our result says already what it failed with.
const READER_OFF: &str =
    "buoyant_kernel=off,buoyant_kernel_engine=off,deltalake=off,deltalake_core=off";

fn start_log(verbose: u8, is_quiet: bool) {
    let filter = match verbose {
        _ if is_quiet => &format!("error,{READER_OFF}"),
        0 => &format!("deltavault=warn,error,{READER_OFF}"),
        1 => &format!("deltavault=info,warn,{READER_OFF}"),
        2 => "deltavault=debug,info",
        _ => "trace",
    };
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(Talk::to_stderr)
        .with_ansi(false)
        // Else a log line that cannot be written ends the process with a panic.
        .log_internal_errors(false)
        .init();
}

/// A panic of the independent reader is caught and told as a reason: the stack on stderr would say it again, longer.
fn quiet_the_reader() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if reader::is_at_work() {
            return;
        }
        if std::env::var_os("RUST_BACKTRACE").is_some() {
            print(panic);
            return;
        }
        // A library may panic over what a table's writer wrote.
        for line in panic.to_string().splitn(2, '\n') {
            output::aside(line);
        }
    }));
}
