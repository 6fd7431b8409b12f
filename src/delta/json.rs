//! JSON as logs have it: a stream of values, and the fields of one of them by name.
//!
//! Delta puts one action on each line. Readers take the values wherever they begin and end, so pretty-printed and
//! joined ones are taken here, too. One value is in memory at a time, and none above a limit.
//!
//! A value is checked as a whole first, then looked into where it stands: nothing of it is copied, and a field that
//! nobody asks for may hold anything. Where a field is there twice the last one counts, as it does for Jackson (Spark)
//! and arrow-json (the kernels, `deltalake`).

use std::borrow::Cow;
use std::io::{self, BufRead};
use std::sync::MutexGuard;

use memchr::{memchr_iter, memchr3};
use serde::de::IgnoredAny;

use super::{LogError, SMALL};
use crate::large;

/// Calls `each` with every value of a file, all of them objects, and the line from 1 on which it begins.
///
/// # Errors
/// [`LogError::BadJson`], [`LogError::NotUtf8`], [`LogError::ValueTooLong`] and [`LogError::Read`]; what `each` returns.
pub(super) fn read_values(
    reader: impl BufRead,
    file: &str,
    limit: u64,
    each: &mut dyn FnMut(Raw<'_>, u64) -> Result<(), LogError>,
) -> Result<(), LogError> {
    let mut values = Values {
        reader,
        file,
        limit,
        line: 1,
        byte: 0,
        value: Vec::new(),
    };
    while values.find()? {
        let alone = values.read()?;
        each(Raw(values.check()?), values.line)?;
        values.line += lines(&values.value);
        values.byte += values.value.len() as u64;
        if alone.is_some() {
            values.value = Vec::new();
        }
    }
    Ok(())
}

/// A file of values, and how far it was read.
struct Values<'f, R> {
    reader: R,
    file: &'f str,
    limit: u64,
    /// The line of the next value, from 1.
    line: u64,
    /// Bytes before it.
    byte: u64,
    value: Vec<u8>,
}

impl<R: BufRead> Values<'_, R> {
    /// Skips blanks up to the next value; `false` at the end of the file.
    fn find(&mut self) -> Result<bool, LogError> {
        loop {
            let chunk = fill(&mut self.reader, self.file)?;
            let is_blank = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
            let blank = chunk.iter().take_while(is_blank).count();
            let next = chunk.get(blank).copied();
            self.line += lines(chunk.get(..blank).unwrap_or_default());
            self.byte += blank as u64;
            self.reader.consume(blank);
            match next {
                Some(b'{') => return Ok(true),
                Some(other) => {
                    return Err(LogError::BadJson {
                        file: self.file.to_owned(),
                        line: self.line,
                        byte: self.byte,
                        detail: format!("expected `{{`, found `{}`", other.escape_ascii()),
                    });
                }
                None if blank == 0 => return Ok(false),
                None => {}
            }
        }
    }

    /// Reads the bytes of the value that begins here; at the end of the file those that are left. A large one has the
    /// memory to itself.
    fn read(&mut self) -> Result<Option<MutexGuard<'static, ()>>, LogError> {
        self.value.clear();
        let mut alone = None;
        let mut nesting = Nesting::default();
        loop {
            let chunk = fill(&mut self.reader, self.file)?;
            let end = nesting.scan(chunk);
            let taken = chunk.get(..end.unwrap_or(chunk.len())).unwrap_or_default();
            let size = (self.value.len() + taken.len()) as u64;
            if size > self.limit {
                return Err(self.too_long());
            }
            if alone.is_none() {
                alone = large::alone(size, SMALL);
            }
            self.value.extend_from_slice(taken);
            let is_last = end.is_some() || taken.is_empty();
            let taken = taken.len();
            self.reader.consume(taken);
            if is_last {
                return Ok(alone);
            }
        }
    }

    /// The value as text, if it is JSON.
    fn check(&self) -> Result<&str, LogError> {
        let text = str::from_utf8(&self.value).map_err(|error| LogError::NotUtf8 {
            file: self.file.to_owned(),
            line: self.line + lines(self.value.get(..error.valid_up_to()).unwrap_or_default()),
        })?;
        match serde_json::from_str::<IgnoredAny>(text) {
            Ok(IgnoredAny) => Ok(text),
            Err(error) => Err(self.bad(&error)),
        }
    }

    fn too_long(&self) -> LogError {
        match serde_json::from_slice::<IgnoredAny>(&self.value) {
            // Cut off in the middle, it ran on into what follows: that is what is wrong, not its length.
            Err(error) if !error.is_eof() => self.bad(&error),
            Ok(_) | Err(_) => LogError::ValueTooLong {
                file: self.file.to_owned(),
                line: self.line,
                limit: self.limit,
            },
        }
    }

    fn bad(&self, error: &serde_json::Error) -> LogError {
        let mut before = self.value.split_inclusive(|byte| *byte == b'\n');
        let whole_lines = before.by_ref().take(error.line().saturating_sub(1));
        let in_lines: usize = whole_lines.map(<[u8]>::len).sum();
        let text = error.to_string();
        // What it says of its place is counted from the value's beginning.
        let detail = text.split(" at line ").next().unwrap_or(&text).to_owned();
        LogError::BadJson {
            file: self.file.to_owned(),
            line: self.line + (error.line() as u64).saturating_sub(1),
            byte: self.byte + (in_lines + error.column().saturating_sub(1)) as u64,
            detail,
        }
    }
}

fn fill<'r>(reader: &'r mut impl BufRead, file: &str) -> Result<&'r [u8], LogError> {
    let failed = |source| LogError::Read {
        file: file.to_owned(),
        source,
    };
    // A call that a signal interrupts is made again.
    while let Err(error) = reader.fill_buf() {
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(failed(error));
        }
    }
    reader.fill_buf().map_err(failed)
}

fn lines(bytes: &[u8]) -> u64 {
    memchr_iter(b'\n', bytes).count() as u64
}

/// Follows the brackets and texts of a value to find its end.
#[derive(Default)]
struct Nesting {
    depth: u64,
    in_text: bool,
    escaped: bool,
}

impl Nesting {
    /// Goes on over more bytes of the value; returns how many are left of it when it ends among them. It also ends
    /// where a line ends inside a text, since no value can go on from there.
    fn scan(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            if self.escaped {
                self.escaped = false;
                at += 1;
                continue;
            }
            let found = if self.in_text {
                memchr3(b'"', b'\\', b'\n', rest)?
            } else {
                let is_mark = |byte: &u8| matches!(byte, b'"' | b'{' | b'}' | b'[' | b']');
                rest.iter().position(is_mark)?
            };
            at += found + 1;
            match rest.get(found)? {
                b'"' => {
                    self.in_text = !self.in_text;
                    if !self.in_text && self.depth == 0 {
                        return Some(at);
                    }
                }
                b'\\' => self.escaped = true,
                b'\n' => return Some(at),
                b'{' | b'[' => self.depth += 1,
                _ => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Some(at);
                    }
                }
            }
        }
        None
    }
}

/// A value as it is spelled. It is known to be JSON: what these functions make of anything else means nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Raw<'a>(&'a str);

impl<'a> Raw<'a> {
    /// Takes a text if it is JSON.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let checked = serde_json::from_str::<IgnoredAny>(text);
        checked.is_ok().then(|| Self(text.trim()))
    }

    /// Its spelling.
    pub(super) fn spelling(self) -> &'a str {
        self.0
    }

    /// The named fields of an object, `None` for those that it lacks and for nulls; `None` for anything but an object.
    pub(super) fn fields<const N: usize>(self, names: [&str; N]) -> Option<[Option<Raw<'a>>; N]> {
        let mut found = [None; N];
        for (key, value) in self.entries()? {
            let place = names.iter().position(|name| key.is_text(name));
            if let Some(slot) = place.and_then(|place| found.get_mut(place)) {
                *slot = (value.0 != "null").then_some(value);
            }
        }
        Some(found)
    }

    /// The keys and values of an object, in its order; `None` for anything but an object.
    pub(super) fn entries(self) -> Option<impl Iterator<Item = (Raw<'a>, Raw<'a>)>> {
        let mut rest = self.0.strip_prefix('{')?;
        Some(std::iter::from_fn(move || {
            let key = take(&mut rest, ',')?;
            let value = take(&mut rest, ':')?;
            Some((key, value))
        }))
    }

    /// The values of an array; `None` for anything else.
    pub(super) fn items(self) -> Option<impl Iterator<Item = Raw<'a>>> {
        let mut rest = self.0.strip_prefix('[')?;
        Some(std::iter::from_fn(move || take(&mut rest, ',')))
    }

    /// A text, or the spelling of a number or of a truth value where a text belongs, as readers take those. `None` for
    /// anything else, and for a text with half of a surrogate pair, which no Rust string can hold.
    pub(super) fn text(self) -> Option<Cow<'a, str>> {
        match self.0.as_bytes().first()? {
            b'"' if !self.0.contains('\\') => self.0.get(1..self.0.len() - 1).map(Cow::Borrowed),
            b'"' => serde_json::from_str(self.0).ok().map(Cow::Owned),
            b'{' | b'[' | b'n' => None,
            _ => Some(Cow::Borrowed(self.0)),
        }
    }

    fn is_text(self, text: &str) -> bool {
        self.text().is_some_and(|own| own == text)
    }
}

/// Takes the next value off what is inside of an object or array; `before` may stand before it.
fn take<'a>(rest: &mut &'a str, before: char) -> Option<Raw<'a>> {
    let text = rest.trim_start();
    let text = text.strip_prefix(before).unwrap_or(text).trim_start();
    let length = match text.as_bytes().first()? {
        b'{' | b'[' | b'"' => Nesting::default().scan(text.as_bytes())?,
        b'}' | b']' => return None,
        _ => text.find([',', '}', ']', ' ', '\t', '\n', '\r'])?,
    };
    let (value, left) = text.split_at_checked(length)?;
    *rest = left;
    Some(Raw(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &[u8], limit: u64) -> Result<Vec<(String, u64)>, LogError> {
        let mut found = Vec::new();
        // Small buffers, so that every state is left and entered in the middle of a value.
        for capacity in [1, 3, 8192] {
            found.clear();
            let reader = io::BufReader::with_capacity(capacity, text);
            read_values(reader, "f", limit, &mut |value, line| {
                found.push((value.spelling().to_owned(), line));
                Ok(())
            })?;
        }
        Ok(found)
    }

    fn refusal(text: &[u8]) -> String {
        values(text, 1000).unwrap_err().to_string()
    }

    #[test]
    fn values_are_found_wherever_they_begin_and_end() {
        let text = b"{\"a\":1}\n{\"b\":[{},\"}\\\"{\"]} {}{}\r{}\r\n\n\t{\n  \"c\": {\n  }\n}\n{}";
        let found = values(text, 1000).unwrap();
        let found: Vec<_> = found.iter().map(|(text, line)| (&**text, *line)).collect();
        assert_eq!(
            found,
            [
                ("{\"a\":1}", 1),
                ("{\"b\":[{},\"}\\\"{\"]}", 2),
                ("{}", 2),
                ("{}", 2),
                ("{}", 2),
                ("{\n  \"c\": {\n  }\n}", 4),
                ("{}", 8),
            ]
        );
        assert_eq!(values(b"", 1).unwrap(), []);
        assert_eq!(values(b" \n\r\n ", 1).unwrap(), []);
    }

    #[test]
    fn what_is_no_value_is_refused_with_its_line_and_byte() {
        for (text, line, detail, byte) in [
            ("{}\n[]", 2, "expected `{`, found `[`", 3),
            ("{} 5", 1, "expected `{`, found `5`", 3),
            ("{}\n,{}", 2, "expected `{`, found `,`", 3),
            ("{}}", 1, "expected `{`, found `}`", 2),
            ("\u{feff}{}", 1, "expected `{`, found `\\xef`", 0),
            ("{}\n\0\0", 2, "expected `{`, found `\\x00`", 3),
            ("{}\n{\"a\":\n NaN}", 3, "expected value", 10),
            ("{\"a\":1]", 1, "expected `,` or `}`", 6),
        ] {
            let says = format!("f line {line} is not an action: {detail} (byte {byte})");
            assert_eq!(refusal(text.as_bytes()), says, "{text:?}");
        }
        assert_eq!(refusal(b"{}\n{\"a\":\n\"\xff\"}"), "f line 3 is not UTF-8");
    }

    #[test]
    fn a_value_that_is_cut_off_is_refused_whatever_follows() {
        for rest in ["", "\n", "\n{\"b\":1}\n{\"c\":2}\n"] {
            let whole = [
                "{\"a\":{\"b\":\"x\\n\"}}",
                "{\"a\":{\"b\":1}}",
                "{\"a\":[1,2]}",
            ];
            let cuts = |value: &'static str| (1..value.len()).map(|end| &value[..end]);
            for cut in whole.into_iter().flat_map(cuts) {
                let text = format!("{{}}\n{cut}{rest}");
                let error = refusal(text.as_bytes());
                assert!(error.contains(" is not an action: "), "{text:?}: {error}");
                assert!(!error.contains("line 1 "), "{text:?}: {error}");
            }
        }
    }

    #[test]
    fn the_limit_is_that_of_one_value() {
        assert_eq!(values(b"{\"a\":1}\n\n{\"b\":2}   ", 7).unwrap().len(), 2);
        let error = values(b"{}\n{\"a\":12}", 7).unwrap_err();
        assert_eq!(
            error.to_string(),
            "f line 2 holds an action of more than 7 bytes"
        );
        // One that was cut off and runs on into the next lines is broken, not long.
        let error = values(b"{\"a\":{\n{\"b\":1}\n{\"b\":1}\n", 20).unwrap_err();
        assert!(
            error.to_string().starts_with("f line 2 is not an action"),
            "{error}"
        );
    }

    #[test]
    fn fields_are_found_by_name_and_the_last_of_a_name_counts() {
        let raw = Raw::parse(
            " {\"a\": 1 , \"b\":null,\"c\" :[\"x\",{\"a\":2}],\"\\u0064\":\"}\",\"a\":-2.5e3,\"e\":true} ",
        );
        let found = raw.unwrap().fields(["a", "b", "c", "d", "e", "f"]).unwrap();
        let found = found.map(|raw| raw.map(Raw::spelling));
        let list = "[\"x\",{\"a\":2}]";
        let expected = [
            Some("-2.5e3"),
            None,
            Some(list),
            Some("\"}\""),
            Some("true"),
            None,
        ];
        assert_eq!(found, expected);
        let items: Vec<_> = Raw(list).items().unwrap().map(Raw::spelling).collect();
        assert_eq!(items, ["\"x\"", "{\"a\":2}"]);
        assert_eq!(Raw("{}").entries().unwrap().count(), 0);
        assert_eq!(Raw("[ ]").items().unwrap().count(), 0);
        for other in ["[1]", "\"{}\"", "1", "null"] {
            assert!(Raw(other).fields(["a"]).is_none(), "{other}");
        }
    }

    #[test]
    fn texts_are_unescaped_and_scalars_are_taken_as_they_are_spelled() {
        for (raw, text) in [
            ("\"a b\"", Some("a b")),
            ("\"a\\n\\u00e4\"", Some("a\nä")),
            ("\"\"", Some("")),
            ("1.0", Some("1.0")),
            ("true", Some("true")),
            ("null", None),
            ("{}", None),
            ("[\"a\"]", None),
            ("\"\\ud800\"", None),
        ] {
            assert_eq!(Raw::parse(raw).unwrap().text().as_deref(), text, "{raw}");
        }
        assert_eq!(Raw::parse("{\"a\":}"), None);
        assert_eq!(Raw::parse("{} {}"), None);
    }
}
