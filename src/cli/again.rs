//! How this tool is called again: the beginning of every command that is printed to be pasted.

use std::path::Path;

use deltavault::plan::restore::deed::Deed;
use deltavault::shell::{guarded, quoted};
use deltavault::vault::forged::ForgedObject;

use super::place::typed;

/// The program as it was called, and the flags that say which vault, which configuration, and what is forged.
#[derive(Debug, Clone)]
pub(crate) struct Again {
    /// The program alone.
    program: String,
    /// With the flags.
    start: String,
}

impl Again {
    /// `program` is how it was called; `vault` and `config` only where a flag named them, because what the
    /// environment says it will say again.
    pub(crate) fn new(
        program: &str,
        vault: Option<&str>,
        config: Option<&Path>,
        forged: &[ForgedObject],
    ) -> Self {
        let program = quoted(program);
        let mut start = vec![program.clone()];
        let vault = vault.map(|uri| typed(uri).to_owned());
        let config = config.map(|path| path.display().to_string());
        let named = [("--vault", vault), ("--config", config)];
        let named = named
            .into_iter()
            .filter_map(|(flag, value)| Some((flag, value?)));
        let forged = forged.iter().map(|it| ("--forged", it.to_string()));
        for (flag, value) in named.chain(forged) {
            start.extend([flag.to_owned(), quoted(&value)]);
        }
        let start = start.join(" ");
        Self { program, start }
    }

    /// Spells the program, as it was called, so that it means the same from any folder.
    pub(crate) fn program(called: &std::ffi::OsStr) -> String {
        let called = called.to_string_lossy();
        if called.is_empty() {
            return "deltavault".to_owned();
        }
        // A relative path would be another file in another folder; a bare name is found by the shell.
        if called.contains('/')
            && let Ok(path) = std::path::absolute(called.as_ref())
        {
            return path.display().to_string();
        }
        called.into_owned()
    }

    /// A text whose `deltavault …` commands name the vault and the configuration as this one did.
    ///
    /// One that names a vault itself gets the program alone.
    pub(crate) fn in_text(&self, text: &str) -> String {
        let mut parts = text.split("`deltavault ");
        let mut out = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let start = if part.starts_with("--vault") {
                &self.program
            } else {
                &self.start
            };
            out = format!("{out}`{start} {part}");
        }
        out
    }

    /// A whole command line: the command, the name of what it is about, and flags.
    pub(crate) fn command(&self, words: &[&str]) -> String {
        match words {
            [command, name, flags @ ..] => {
                let name = guarded(name);
                self.spelled(&[&[*command, &name], flags].concat())
            }
            words => self.spelled(words),
        }
    }

    /// The command that goes on with a rewind or a replacement of a table.
    pub(crate) fn deed(&self, table: &str, deed: &Deed) -> String {
        let id = deed.turned.snapshot.short();
        let version = deed.turned.version.to_string();
        let flag = if deed.kind.is_of_replace() {
            "--replace"
        } else {
            "--rewind"
        };
        self.command(&[
            "restore",
            table,
            "--snapshot",
            &id,
            "--version",
            &version,
            flag,
        ])
    }

    /// A whole command line, of which no name begins with `-`.
    pub(crate) fn spelled(&self, words: &[&str]) -> String {
        let words = words.iter().map(|word| quoted(word));
        std::iter::once(self.start.clone())
            .chain(words)
            .collect::<Vec<_>>()
            .join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_repeats_what_was_named_by_flag_and_quotes_every_word() {
        let bare = Again::new("deltavault", None, None, &[]);
        assert_eq!(
            bare.command(&["restore", "a b", "--heal"]),
            "deltavault restore 'a b' --heal"
        );
        assert_eq!(
            bare.command(&["verify", "--yes", "--repair"]),
            "deltavault verify ./--yes --repair",
            "a table of that name"
        );
        let vault = "file:///backup/my vault";
        let config = Some(Path::new("/etc/dv.toml"));
        let flagged = Again::new("/opt/dv", Some(vault), config, &[]);
        assert_eq!(
            flagged.command(&["verify"]),
            "/opt/dv --vault '/backup/my vault' --config /etc/dv.toml verify"
        );
        assert_eq!(
            flagged.in_text("see `deltavault show`; or `deltavault --vault x init`, or `--help`"),
            "see `/opt/dv --vault '/backup/my vault' --config /etc/dv.toml show`; or \
             `/opt/dv --vault x init`, or `--help`"
        );
        let key = "tables/t-37def596bc86afd2280da522389b7bb0/ledger/00000000000000000007.json";
        let forged = Again::new("dv", None, None, &[key.parse().unwrap()]);
        assert_eq!(
            forged.command(&["verify"]),
            format!("dv --forged {key} verify")
        );
    }
}
