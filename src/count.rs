//! Numbers of things, in words.

/// `1 file`, `2 files`: for nouns with a plural in "s".
pub(crate) fn counted(count: u64, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        count => format!("{count} {noun}s"),
    }
}

/// `1 file is`, `2 files are`.
pub(crate) fn counted_are(count: u64, noun: &str) -> String {
    format!("{} {}", counted(count, noun), are(count))
}

/// `is` for one, `are` for more.
pub(crate) fn are(count: u64) -> &'static str {
    if count == 1 { "is" } else { "are" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_and_more_are() {
        assert_eq!(counted(0, "file"), "0 files");
        assert_eq!(counted_are(1, "delete marker"), "1 delete marker is");
        assert_eq!(counted_are(2, "object version"), "2 object versions are");
    }
}
