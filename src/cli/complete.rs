//! What a shell completes beside commands and flags: names of tables and ids of snapshots, as the configuration and the
//! local index know them. Nothing is asked over the network, and what cannot be read is not proposed.

use std::ffi::OsStr;
use std::path::PathBuf;

use clap_complete::Shell;
use clap_complete::engine::{
    ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter as _,
};
use clap_complete::env::{CompleteEnv, Shells};
use deltavault::ids::SnapshotId;
use deltavault::shell::{operand, quoted};
use deltavault::visible::visible;

use super::cache;
use super::config::{Config, read_config};
use super::error::CommandError;
use super::help;
use super::index::Proposals;
use super::output::minute;
use super::place::parse_place;
use super::stores::table_uri;

/// The variable by which a shell's script asks this program what may follow.
const VARIABLE: &str = "DELTAVAULT_COMPLETE";

/// The flags that say which vault and which configuration are meant, and the variables that stand for them.
const VAULT: (&str, &str) = ("--vault", "DELTAVAULT_VAULT");
const CONFIG: (&str, &str) = ("--config", "DELTAVAULT_CONFIG");

/// What stands for the program in a script between double quotes, in which a path with a quote or a `$` would mean
/// something else.
const PROGRAM: &str = "deltavault-program";

/// Answers a shell that asks what may follow, and ends the process then.
pub(crate) fn answer() {
    CompleteEnv::with_factory(help::command)
        .var(VARIABLE)
        .complete();
}

/// Writes the script by which a shell asks `program`.
pub(crate) fn script(shell: Shell, program: &str, out: &mut Vec<u8>) -> Result<(), CommandError> {
    let shells = Shells::builtins();
    let Some(completer) = shells.completer(&shell.to_string()) else {
        return Ok(());
    };
    let is_posix = matches!(shell, Shell::Bash | Shell::Zsh);
    let named = if is_posix { PROGRAM } else { program };
    let mut script = Vec::new();
    completer
        .write_registration(VARIABLE, "deltavault", "deltavault", named, &mut script)
        .map_err(CommandError::Output)?;
    if is_posix {
        let text = String::from_utf8_lossy(&script);
        let quotes = format!("\"{PROGRAM}\"");
        script = text.replace(&quotes, &quoted(program)).into_bytes();
    }
    out.extend(script);
    Ok(())
}

/// Completes a TABLE.
pub(crate) fn tables() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| match current.to_str() {
        Some(text) if !text.contains('/') => Known::read().tables(text),
        _ => {
            let mut folders = PathCompleter::dir().complete(current);
            // A newline would make two proposals of one, and an escape sequence reaches the terminal.
            folders.retain(|it| it.get_value().to_str().is_some_and(|it| visible(it) == it));
            folders
        }
    })
}

/// Completes the ID of a snapshot, of the tables that the line names.
pub(crate) fn ids() -> ArgValueCompleter {
    of_known(Known::ids)
}

/// Completes a SNAPSHOT, which a table or an id names.
pub(crate) fn snapshots() -> ArgValueCompleter {
    of_known(|known, text| {
        let proposed = [known.tables(text), known.ids(text)];
        proposed.into_iter().flatten().collect()
    })
}

fn of_known(propose: fn(&Known, &str) -> Vec<CompletionCandidate>) -> ArgValueCompleter {
    ArgValueCompleter::new(move |current: &OsStr| {
        let text = current.to_str();
        text.map_or_else(Vec::new, |text| propose(&Known::read(), text))
    })
}

/// What is known of the vault that the line is about.
struct Known {
    words: Vec<String>,
    config: Config,
    index: Option<Proposals>,
}

impl Known {
    fn read() -> Self {
        // The shell passes the line behind `--`.
        let words = std::env::args_os().skip_while(|word| word != "--").skip(1);
        let words: Vec<_> = words.map(|it| it.to_string_lossy().into_owned()).collect();
        let config = said(&words, CONFIG).and_then(|path| read_config(&PathBuf::from(path)).ok());
        let config = config.unwrap_or_default();
        let vault = match said(&words, VAULT) {
            Some(vault) => std::env::current_dir()
                .ok()
                .and_then(|folder| parse_place(&vault, &folder).ok()),
            None => config.vault.clone(),
        };
        let vault = vault.and_then(|vault| table_uri(&vault).ok());
        Self {
            index: vault.and_then(|uri| cache::proposals(uri.as_str())),
            words,
            config,
        }
    }

    fn tables(&self, text: &str) -> Vec<CompletionCandidate> {
        let configured = self.config.tables.iter().map(|table| table.name.as_str());
        let held = self.index.iter().flat_map(Proposals::tables);
        let mut names: Vec<&str> = configured.chain(held).collect();
        // What would have to be quoted, or is not what it looks like, is left to who types it.
        names.retain(|name| {
            name.starts_with(text) && operand(name) == *name && visible(name) == *name
        });
        names.sort_unstable();
        names.dedup();
        names.into_iter().map(CompletionCandidate::new).collect()
    }

    fn ids(&self, text: &str) -> Vec<CompletionCandidate> {
        let digits = text.to_ascii_lowercase();
        let found = self
            .index
            .iter()
            .flat_map(|it| it.snapshots(&digits, &self.words));
        let proposed = found.map(|(id, record)| {
            let (name, version) = (visible(&record.table.name).into_owned(), record.version);
            let help = format!("{name} v{version}, taken {}", minute(record.taken_at));
            let id = SnapshotId(id).to_string();
            let shown = id.get(..text.len().max(8)).unwrap_or(&id).to_owned();
            CompletionCandidate::new(shown).help(Some(help.into()))
        });
        proposed.collect()
    }
}

/// What a line says by a flag, else the environment.
fn said(words: &[String], (flag, variable): (&str, &str)) -> Option<String> {
    let joined = words
        .iter()
        .find_map(|word| word.strip_prefix(flag)?.strip_prefix('='));
    let mut apart = words.windows(2).filter_map(|two| match two {
        [word, value] if word == flag => Some(value.as_str()),
        _ => None,
    });
    let typed = joined.or_else(|| apart.next()).map(ToOwned::to_owned);
    let set = || std::env::var_os(variable)?.into_string().ok();
    typed.or_else(set).filter(|it| !it.is_empty())
}
