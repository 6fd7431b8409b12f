//! Commands that are printed to be pasted: their words, spelled so that a shell reads them as they are.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::visible::is_visible;

/// Spells one word for a shell: as it is where nothing in it means anything to one, else in single quotes. What cannot
/// be seen is spelled as octal bytes in `$'…'`, which bash, zsh and POSIX of 2024 read.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%=,".contains(c);
    // zsh replaces `=word` by the path of a program.
    if !word.is_empty() && !word.starts_with('=') && word.chars().all(plain) {
        return word.to_owned();
    }
    if word.chars().all(is_visible) {
        return format!("'{}'", word.replace('\'', r"'\''"));
    }
    let mut spelled = String::from("$'");
    for c in word.chars() {
        if matches!(c, '\'' | '\\') {
            spelled.push('\\');
        }
        if is_visible(c) {
            spelled.push(c);
            continue;
        }
        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
            // Writing to a string cannot fail.
            write!(spelled, "\\{byte:03o}").ok();
        }
    }
    spelled.push('\'');
    spelled
}

/// What stands before a name that begins with `-`, so that it is not read as a flag.
const GUARD: &str = "./";

/// A name as a command of this tool takes it: `./-x` for one that begins with `-`. [`unguarded`] is its inverse.
pub fn guarded(name: &str) -> Cow<'_, str> {
    if name.starts_with('-') {
        Cow::Owned(format!("{GUARD}{name}"))
    } else {
        Cow::Borrowed(name)
    }
}

/// The name behind [`guarded`]; any other text as it is.
pub fn unguarded(text: &str) -> &str {
    let name = text.strip_prefix(GUARD);
    name.filter(|name| name.starts_with('-')).unwrap_or(text)
}

/// Spells the name of a table behind a command of this tool.
pub fn operand(name: &str) -> String {
    quoted(&guarded(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_a_shell_could_take_apart_is_quoted() {
        for (word, spelled) in [
            ("/lake/orders-1.2", "/lake/orders-1.2"),
            ("/lake/my orders", "'/lake/my orders'"),
            ("it's", r"'it'\''s'"),
            ("$HOME;rm", "'$HOME;rm'"),
            ("", "''"),
            ("ünï code", "'ünï code'"),
            ("a\u{1b}[31m'b\\", r"$'a\033[31m\'b\\'"),
            ("c1\u{9b}\n", r"$'c1\302\233\012'"),
            ("=ls", "'=ls'"),
            ("a=b", "a=b"),
        ] {
            assert_eq!(quoted(word), spelled);
        }
    }

    #[test]
    fn a_name_is_never_a_flag_and_comes_back_as_it_was() {
        for (name, spelled) in [
            ("orders", "orders"),
            ("-x", "./-x"),
            ("--yes", "./--yes"),
            ("-$x", "'./-$x'"),
            ("./orders", "./orders"),
        ] {
            assert_eq!(operand(name), spelled);
            assert_eq!(unguarded(&guarded(name)), name);
        }
    }
}
