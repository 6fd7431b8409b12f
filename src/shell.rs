//! Commands that are printed to be pasted: their words, spelled so that a shell reads them as they are.

/// Spells one word for a shell: as it is where nothing in it means anything to one, else in single quotes.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%=,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
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
        ] {
            assert_eq!(quoted(word), spelled);
        }
    }
}
