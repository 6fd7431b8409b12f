//! Help, and what is wrong with a command line, as the command line's parser words it.
//!
//! An argument can be a file name that somebody else chose (`deltavault snapshot *`), and the parser repeats it.

#![expect(
    clippy::disallowed_methods,
    reason = "the parser prints, after its arguments are spelled here"
)]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the parser's values are non-exhaustive"
)]

use std::io::{self, Write as _};

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue};
use deltavault::visible::visible;

/// Prints it.
pub(crate) fn print(error: &mut clap::Error) {
    spell_arguments(error);
    // A closed stdout or stderr leaves nobody to tell.
    error.print().ok();
    io::stdout().flush().ok();
}

/// Spells the arguments that an error repeats, should any need it.
pub(crate) fn spell_arguments(error: &mut clap::Error) {
    let context = error.context();
    let context: Vec<_> = context.map(|(kind, value)| (kind, value.clone())).collect();
    let is_raw = |text: &String| visible(text) != text.as_str();
    let has_raw = context.iter().any(|(_, value)| match value {
        ContextValue::String(text) => is_raw(text),
        ContextValue::Strings(texts) => texts.iter().any(is_raw),
        _ => false,
    });
    if !has_raw {
        return;
    }
    let spelled = |text: &String| visible(text).into_owned();
    let plain = |text: &StyledStr| StyledStr::from(visible(&text.to_string()).into_owned());
    for (kind, value) in context {
        let value = match &value {
            ContextValue::String(text) => ContextValue::String(spelled(text)),
            ContextValue::Strings(texts) => {
                ContextValue::Strings(texts.iter().map(spelled).collect())
            }
            // Tips repeat arguments; the usage does not, and has lines.
            ContextValue::StyledStr(text) if kind != ContextKind::Usage => {
                ContextValue::StyledStr(plain(text))
            }
            ContextValue::StyledStrs(texts) => {
                ContextValue::StyledStrs(texts.iter().map(plain).collect())
            }
            _ => continue,
        };
        error.insert(kind, value);
    }
}
