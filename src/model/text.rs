//! Names that strangers chose, made safe to print.

use std::borrow::Cow;
use std::fmt::Write;

/// The text with everything that a terminal could act on or that would not be seen written out: control characters,
/// line ends, direction marks and other invisible characters become `\u{1b}`, `\n` and the like, a backslash becomes `\\`.
///
/// A process chooses its own name, and a name may hold an escape sequence that repaints the report.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_harmless) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_harmless(c) {
            out.push(c);
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "{}", c.escape_debug());
        }
    }
    Cow::Owned(out)
}

/// The text as one word of a POSIX shell, for commands that are meant to be pasted.
///
/// A word with characters that are not harmless is written with `$'...'`-free quoting only: the caller must not offer a
/// command for a name that [`printable`] would change.
#[must_use]
pub fn shell_word(text: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("'{}'", text.replace('\'', r"'\''")))
}

fn is_harmless(c: char) -> bool {
    match c {
        '\'' | '"' => true,
        '\\' => false,
        _ => c.escape_debug().len() == 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_acts_on_passes() {
        assert_eq!(printable(") \u{1b}[31m\n"), ") \\u{1b}[31m\\n");
        assert_eq!(printable("a\u{202e}b\\"), "a\\u{202e}b\\\\");
        assert_eq!(printable("it's \"fine\" größer 日本"), "it's \"fine\" größer 日本");
    }

    #[test]
    fn a_pasted_word_stays_one_word() {
        assert_eq!(shell_word("telegraf.service"), "telegraf.service");
        assert_eq!(shell_word("a b; rm 'x'"), r"'a b; rm '\''x'\'''");
        assert_eq!(shell_word(""), "''");
    }
}
