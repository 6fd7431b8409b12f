//! What `--help` tells beside the flags: the commands in groups, and of each an example and its exit codes.

use std::fmt::Write as _;

use clap::{Command, CommandFactory as _};

use super::args::Arguments;

/// The commands by what somebody wants to do.
const GROUPS: [(&str, &[&str]); 5] = [
    (
        "Back up and restore",
        &["init", "snapshot", "restore", "undo"],
    ),
    ("Look", &["snapshots", "show", "ls", "diff"]),
    (
        "Take care",
        &["verify", "prune", "hold", "release", "retire", "index"],
    ),
    ("Keep others out", &["iam", "wall"]),
    ("Learn", &["demo", "completions", "man", "help"]),
];

/// What is said of a command below its flags.
struct Below {
    command: &'static str,
    example: &'static str,
    /// Empty where the commands below it say theirs.
    exit_codes: &'static str,
}

const LOOK_EXIT_CODES: &str =
    "0 done, 1 failed, 2 usage, 4 several match, 10 no vault, 12 damage, 130 interrupted";

const fn below(command: &'static str, example: &'static str, exit_codes: &'static str) -> Below {
    Below {
        command,
        example,
        exit_codes,
    }
}

const BELOW: [Below; 20] = [
    below(
        "init",
        "deltavault --vault s3://company-vault/lake init --mode compliance",
        "0 done, 1 failed, 2 usage, 3 done, the bucket has findings, 4 the owner must choose or needs \
                     --yes, 130 interrupted",
    ),
    below(
        "snapshot",
        "deltavault --config vault.toml snapshot --trigger scheduled",
        "0 done, 1 failed, 2 usage, 3 done with findings, 4 the owner must choose, 5 some tables failed, 10 no \
                     vault, 11 another writer won, 12 damage, 13 files are in archive storage, 130 interrupted",
    ),
    below(
        "restore",
        "deltavault restore sales.orders --at yesterday",
        "0 done, 1 failed, 2 usage, 3 done with findings, 4 the owner must choose, 10 no vault, 11 another \
                     writer won or another restore is at work, 12 damage, 130 interrupted",
    ),
    below(
        "undo",
        "deltavault undo sales.orders",
        "0 done, 1 failed, 2 usage, 3 done with findings, 4 the owner must choose, 10 no vault, 11 another \
                     writer won or another restore is at work, 12 damage, 130 interrupted",
    ),
    below(
        "snapshots",
        "deltavault snapshots sales.* --since 2026-11-20 --latest 3",
        LOOK_EXIT_CODES,
    ),
    below(
        "show",
        "deltavault show sales.orders@latest",
        LOOK_EXIT_CODES,
    ),
    below("ls", "deltavault ls sales.orders~1", LOOK_EXIT_CODES),
    below("diff", "deltavault diff sales.orders live", LOOK_EXIT_CODES),
    below(
        "verify",
        "deltavault verify --read all --subset 2/7",
        "0 sound, 1 failed, 2 usage, 3 findings, 4 --repair needs --yes, 10 no vault, 12 damage, 130 \
                     interrupted",
    ),
    below(
        "prune",
        "deltavault prune --dry-run",
        "0 done, 1 failed, 2 usage, 3 done with findings, 4 needs --yes, 10 no vault, 12 damage: nothing was \
                     deleted, 130 interrupted",
    ),
    below(
        "hold",
        "deltavault hold sales.orders@v12",
        "0 done, 1 failed, 2 usage, 3 held, and a prune may have been deleting it or an event could not be \
                     read, 4 several match, 10 no vault, 12 damage, 130 interrupted",
    ),
    below(
        "release",
        "deltavault release sales.orders@v12",
        "0 done, 1 failed, 2 usage, 3 released, and an event could not be read, 4 several match, 10 no vault, \
                     12 damage, 130 interrupted",
    ),
    below(
        "retire",
        "deltavault retire sales.old_orders --yes",
        "0 done, 1 failed, 2 usage, 3 retired, and an event could not be read, 4 needs --yes, 10 no vault, \
                     12 damage, 130 interrupted",
    ),
    below("index", "deltavault index rebuild", ""),
    below("iam", "deltavault iam render --role snapshotter", ""),
    below("wall", "deltavault wall check", ""),
    below(
        "demo",
        "deltavault demo",
        "0 done, 1 failed, 2 usage, 130 interrupted",
    ),
    below(
        "completions",
        "deltavault completions bash",
        "0 done, 2 usage",
    ),
    below(
        "man",
        "deltavault man --dir /usr/local/share/man/man1",
        "0 done, 1 failed, 2 usage",
    ),
    below("help", "deltavault help restore", ""),
];

/// The whole command line.
pub(crate) fn command() -> Command {
    let mut command = Arguments::command();
    for below in BELOW.iter().filter(|it| it.command != "help") {
        let example = format!("Example: {}", below.example);
        let long = match below.exit_codes {
            "" => example.clone(),
            codes => format!("{example}\n\nExit codes: {codes}"),
        };
        command = command.mut_subcommand(below.command, |it| {
            it.after_help(example).after_long_help(long)
        });
    }
    let template = template(&command);
    command.help_template(template)
}

/// As `clap` prints it, but with the commands in groups.
fn template(command: &Command) -> String {
    let header = command.get_styles().get_header();
    let literal = command.get_styles().get_literal();
    let mut text = "{about-with-newline}\n{usage-heading} {usage}\n".to_owned();
    for (group, names) in GROUPS {
        write!(text, "\n{header}{group}:{header:#}\n").ok();
        for name in names {
            let about = command.find_subcommand(name).and_then(Command::get_about);
            let about = about.map_or_else(
                || "Print this, or the help of a command".to_owned(),
                ToString::to_string,
            );
            writeln!(text, "  {literal}{name:<11}{literal:#}  {about}").ok();
        }
    }
    write!(
        text,
        "\n{header}Options:{header:#}\n{{options}}{{after-help}}"
    )
    .ok();
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn every_command_is_in_one_group_and_has_an_example_that_can_be_typed() {
        let mut built = command();
        built.build();
        let known: Vec<_> = built.get_subcommands().map(Command::get_name).collect();
        let grouped: Vec<_> = GROUPS
            .iter()
            .flat_map(|(_, names)| *names)
            .copied()
            .collect();
        let set = |names: &[&str]| {
            names
                .iter()
                .map(ToString::to_string)
                .collect::<BTreeSet<_>>()
        };
        assert_eq!(set(&known), set(&grouped));
        assert_eq!(known.len(), grouped.len());
        let examples: Vec<_> = BELOW.iter().map(|below| below.command).collect();
        assert_eq!(set(&examples), set(&known));
        for below in BELOW.iter().filter(|it| it.command != "help") {
            let words = below.example.split(' ');
            let read = command().try_get_matches_from(words).unwrap();
            assert_eq!(
                read.subcommand_name(),
                Some(below.command),
                "{}",
                below.example
            );
        }
    }
}
