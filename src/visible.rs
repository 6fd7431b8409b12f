//! Text that others wrote, made safe to show: file names, operations, user names, what a server or a forged record says.
//!
//! A terminal obeys control characters, and people obey what they see: an escape sequence can clear the screen, set the
//! title or write the clipboard, a newline can forge a row, a bidirectional override or a zero-width character can make
//! one name look like another. [`visible`] spells every such character as its code.

use std::borrow::Cow;

/// Spells the characters of `text` that cannot be seen as they are: `\n`, `\u{1b}`, `\u{202e}`. Everything else,
/// backslashes and quotes included, stays as it is, so that applying it twice changes nothing.
pub fn visible(text: &str) -> Cow<'_, str> {
    spelled(text, |c, spelled| {
        if is_blank(c) {
            spelled.extend(c.escape_unicode());
        } else {
            spelled.extend(c.escape_debug());
        }
    })
}

/// A text in which `spell` writes every character that cannot be seen as it is.
fn spelled(text: &str, spell: impl Fn(char, &mut String)) -> Cow<'_, str> {
    if text.chars().all(is_visible) {
        return Cow::Borrowed(text);
    }
    let mut spelled = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_visible(c) {
            spelled.push(c);
        } else {
            spell(c, &mut spelled);
        }
    }
    Cow::Owned(spelled)
}

/// The beginning of a text of more than `most` characters, with an ellipsis: enough to know it by. Nobody reads an operation or a
/// path of a megabyte, and no record has room for it.
pub fn shortened(text: &str, most: usize) -> Cow<'_, str> {
    match text.char_indices().nth(most) {
        Some((end, _)) => Cow::Owned(format!("{}…", text.get(..end).unwrap_or_default())),
        None => Cow::Borrowed(text),
    }
}

/// The characters of an operation or a user in a row: engines need fewer.
const CELL: usize = 40;

/// A text as one cell of a row, whose cells two spaces divide: blanks follow each other in none, and it is not long enough to
/// look like the rest of a row.
pub fn cell(text: &str) -> String {
    let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
    shortened(&words.join(" "), CELL).into_owned()
}

/// A line of JSON, whose strings spell what cannot be seen as it is by JSON's own escapes: it means the same.
pub fn visible_json(line: &str) -> Cow<'_, str> {
    spelled(line, |c, spelled| {
        let mut units = [0; 2];
        let units = c.encode_utf16(&mut units).iter();
        spelled.extend(units.map(|unit| format!("\\u{unit:04x}")));
    })
}

/// Whether a character is shown as itself. Not: control and format characters, separators other than the space, and what
/// Unicode does not assign.
pub fn is_visible(c: char) -> bool {
    if c.is_ascii() {
        return matches!(c, ' '..='~');
    }
    if is_blank(c) {
        return false;
    }
    // The standard library keeps the table of what is printable to itself. A letter stands before the character because
    // a combining mark is only escaped where it begins a text.
    let mut pair = String::from("a");
    pair.push(c);
    pair.escape_debug().nth(1) == Some(c)
}

/// Whether a letter, a mark or a symbol shows nothing: Hangul fillers, the empty Braille pattern, Khmer vowels that are not
/// written, joiners and selectors of variants.
fn is_blank(c: char) -> bool {
    matches!(
        c,
        '\u{34f}'
            | '\u{115f}'
            | '\u{1160}'
            | '\u{17b4}'
            | '\u{17b5}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{ffa0}'
            | '\u{e0100}'..='\u{e01ef}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_of_json_shows_nothing_raw_and_means_the_same() {
        let word = "a\u{9b}31m\u{7f}\u{202e}\u{e0100}é日 \u{1f4a9}";
        let line = serde_json::to_string(word).unwrap();
        let shown = visible_json(&line);
        assert_eq!(visible(&shown), shown);
        assert!(shown.contains("é日"));
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), word);
    }

    #[test]
    fn cell_cannot_look_like_several() {
        assert_eq!(cell("CREATE TABLE AS SELECT"), "CREATE TABLE AS SELECT");
        let forged =
            cell("WRITE  +20 rows  +2 files  of 60 rows  snapshot 0bd7a7a4  NEWEST GOOD HELD");
        assert_eq!(forged, "WRITE +20 rows +2 files of 60 rows snaps…");
        assert_eq!(cell(&" ".repeat(3000)), "");
    }

    #[test]
    fn what_a_terminal_or_a_reader_could_be_fooled_with_is_spelled_out() {
        for (text, shown) in [
            ("a\u{1b}[2Jb", r"a\u{1b}[2Jb"),
            ("\u{1b}]0;owned\u{7}", r"\u{1b}]0;owned\u{7}"),
            ("row\nforged row", r"row\nforged row"),
            ("over\rwritten", r"over\rwritten"),
            ("tab\tbed", r"tab\tbed"),
            ("nul\0", r"nul\0"),
            ("del\u{7f}", r"del\u{7f}"),
            ("c1 \u{9b}31m", r"c1 \u{9b}31m"),
            ("next line\u{85}", r"next line\u{85}"),
            ("bidi \u{202e}gpj.exe", r"bidi \u{202e}gpj.exe"),
            ("isolate \u{2066}x\u{2069}", r"isolate \u{2066}x\u{2069}"),
            ("mark \u{200f}", r"mark \u{200f}"),
            (
                "zero\u{200b}width\u{200d}\u{feff}",
                r"zero\u{200b}width\u{200d}\u{feff}",
            ),
            ("soft\u{ad}hyphen", r"soft\u{ad}hyphen"),
            ("lines\u{2028}\u{2029}", r"lines\u{2028}\u{2029}"),
            ("no\u{a0}break", r"no\u{a0}break"),
            ("tag\u{e0041}", r"tag\u{e0041}"),
            (
                "filler\u{3164}\u{ffa0}\u{115f}",
                r"filler\u{3164}\u{ffa0}\u{115f}",
            ),
            (
                "blank\u{2800}\u{34f}\u{fe0f}",
                r"blank\u{2800}\u{34f}\u{fe0f}",
            ),
        ] {
            assert_eq!(visible(text), shown, "{text:?}");
            assert_eq!(visible(shown), shown, "spelled twice");
        }
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(shortened("äöü", 3), "äöü");
        assert_eq!(shortened("äöü", 2), "äö…");
        assert_eq!(shortened("", 0), "");
    }

    #[test]
    fn letters_of_every_script_quotes_and_backslashes_stay() {
        for text in [
            "plain",
            "",
            r#"it's "quoted" \n C:\temp"#,
            "ünï/漢字 ёж नमस्ते",
            "u\u{308}ber",
            "🦀 → …",
        ] {
            assert!(matches!(visible(text), Cow::Borrowed(_)), "{text:?}");
        }
    }
}
