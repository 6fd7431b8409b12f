//! How deep JSON is nested, by its bytes and without a stack of its own: decoders that call themselves for each level end the
//! whole process on what is nested deep enough.
//!
//! The JSON in a string counts as well, because readers decode what some strings hold: statistics, the schema.

/// The deepest that engines nest the JSON of a log; a column is five levels below the one that holds it.
const DEEPEST: u32 = 2000;

/// What is wrong with what is nested deeper.
pub(crate) const TOO_DEEP: &str = "its JSON is nested thousands of times";

/// JSON that goes by in pieces.
#[derive(Debug, Default)]
pub(crate) struct Nesting {
    text: Level,
    /// The JSON in the string that is going by.
    string: Level,
    escape: Escape,
    is_too_deep: bool,
}

/// One text.
#[derive(Debug, Default)]
struct Level {
    depth: u32,
    in_string: bool,
    is_escaped: bool,
}

/// What is known of an escaped character in a string.
#[derive(Debug, Default, Clone, Copy)]
enum Escape {
    #[default]
    None,
    /// After the backslash.
    Begun,
    /// After `\u`: how many digits are still to come, and what those before say.
    Code(u8, u32),
}

impl Level {
    fn take(&mut self, byte: u8) {
        if self.in_string {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' => self.is_escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return;
        }
        match byte {
            b'"' => self.in_string = true,
            b'[' | b'{' => self.depth = self.depth.saturating_add(1),
            b']' | b'}' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }
}

impl Nesting {
    /// Whether a whole text is nested deeper than any engine writes it.
    pub(crate) fn is_too_deep(text: &[u8]) -> bool {
        // Each level takes a byte: statistics of few columns need not be looked at.
        let has_room = u32::try_from(text.len()).is_ok_and(|bytes| bytes <= DEEPEST);
        !has_room && Self::default().take(text)
    }

    /// Takes what follows; whether it is nested too deep by now.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> bool {
        for &byte in bytes {
            if !self.text.in_string {
                self.string = Level::default();
                self.escape = Escape::None;
            } else if let Some(decoded) = self.decode(byte) {
                self.string.take(decoded);
            }
            self.text.take(byte);
            self.is_too_deep |= self.text.depth.max(self.string.depth) > DEEPEST;
        }
        self.is_too_deep
    }

    /// The next byte that the string means; none while an escape goes by, and at the end of the string.
    fn decode(&mut self, byte: u8) -> Option<u8> {
        match self.escape {
            Escape::None => match byte {
                b'\\' => {
                    self.escape = Escape::Begun;
                    None
                }
                b'"' => None,
                byte => Some(byte),
            },
            Escape::Begun => {
                let is_code = byte == b'u';
                self.escape = if is_code {
                    Escape::Code(4, 0)
                } else {
                    Escape::None
                };
                (!is_code).then_some(byte)
            }
            Escape::Code(left, code) => {
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                let code = code * 16 + digit;
                self.escape = match left {
                    0 | 1 => Escape::None,
                    left => Escape::Code(left - 1, code),
                };
                // No other character than those of ASCII means anything to a decoder.
                (left <= 1).then(|| u8::try_from(code).unwrap_or(b'?'))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(open: &str, levels: usize) -> String {
        let close = if open.ends_with('[') { "]" } else { "}" };
        format!("{}{}", open.repeat(levels), close.repeat(levels))
    }

    #[test]
    fn what_is_nested_too_deep_is_seen_wherever_it_is() {
        for levels in [1, 2000, 2001, 100_000] {
            let deep = nested("[", levels);
            let escaped = deep.replace('[', "\\u005B");
            let braces = nested("{\"a\":", levels);
            let held = serde_json::to_string(&format!("{{\"x\":{braces}}}")).unwrap();
            for (text, own) in [
                (deep.clone(), 0),
                (braces, 0),
                (format!("{{\"add\":{{\"stats\":\"{deep}\"}}}}\n"), 0),
                (format!("{{\"stats\":\"{escaped}\"}}"), 0),
                (format!("{{\"stats\":{held}}}"), 1),
                (format!("{{\"a\\\"\\\\\":1}}\n{{\"tags\":{deep}}}"), 1),
            ] {
                let too_deep = levels + own > 2000;
                assert_eq!(Nesting::is_too_deep(text.as_bytes()), too_deep, "{levels}");
                let mut nesting = Nesting::default();
                let bytes = text.as_bytes().chunks(7);
                let seen = bytes.fold(false, |seen, bytes| seen | nesting.take(bytes));
                assert_eq!(seen, too_deep);
            }
        }
    }

    #[test]
    fn brackets_that_nest_nothing_do_not_count() {
        let brackets = "[".repeat(10_000);
        let inner = serde_json::to_string(&brackets).unwrap();
        let held = serde_json::to_string(&format!("{{\"minValues\":{{\"a\":{inner}}}}}")).unwrap();
        for text in [
            "[],".repeat(10_000),
            format!("{{\"stats\":{held}}}"),
            "{\"a\":\"]]\\\"[\"}\n".repeat(5000),
        ] {
            assert!(!Nesting::is_too_deep(text.as_bytes()));
        }
    }
}
