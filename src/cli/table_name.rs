//! A TABLE as people name it.

use std::path::Path;

use deltavault::shell::unguarded;
use glob::Pattern;

use super::config::{Config, ConfiguredTable};
use super::error::CommandError;
use super::place::parse_place;

/// The pattern of names that a text is, unless it is the name of a table in the configuration.
///
/// # Errors
/// A pattern that breaks a rule.
pub(crate) fn pattern(text: &str, config: &Config) -> Result<Option<Pattern>, CommandError> {
    let text = unguarded(text);
    if !text.contains(['*', '?', '[']) || config.table(text).is_some() {
        return Ok(None);
    }
    let unusable = |error: glob::PatternError| CommandError::UnusableFlag {
        flag: "TABLE",
        rule: error.msg,
    };
    Pattern::new(text).map(Some).map_err(unusable)
}

/// A TABLE as it was typed, and all that it can mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableName {
    /// As typed.
    pub(crate) text: String,
    /// The name in the configuration, when it is one; it then means nothing else.
    pub(crate) configured: Option<String>,
    /// Where it is by the configuration, else what it means as a path or URI. A word that the configuration
    /// does not know may also be the name of a table in the vault: the vault decides which it is.
    pub(crate) uri: String,
}

impl TableName {
    /// Reads one. A name that begins with `-` is typed with `./` before it.
    ///
    /// # Errors
    /// A place that is none.
    pub(crate) fn new(text: &str, config: &Config, folder: &Path) -> Result<Self, CommandError> {
        let text = unguarded(text).to_owned();
        if let Some(table) = config.table(&text) {
            return Ok(Self::configured(table));
        }
        let uri = parse_place(&text, folder)?;
        Ok(Self {
            text,
            configured: None,
            uri,
        })
    }

    /// Whether it can be nothing but a place: a name of the configuration, a URI or a path.
    pub(crate) fn is_a_place(&self) -> bool {
        self.configured.is_some() || self.text.contains('/')
    }

    /// The name of a table of the configuration.
    pub(crate) fn configured(table: &ConfiguredTable) -> Self {
        Self {
            text: table.name.clone(),
            configured: Some(table.name.clone()),
            uri: table.uri.clone(),
        }
    }
}
