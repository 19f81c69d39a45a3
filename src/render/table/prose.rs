//! Sentences wrapped at the edge of the page. A word is never cut.

use unicode_width::UnicodeWidthStr;

/// How many columns the text takes on a terminal.
pub(super) fn width_of(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}

/// Joins pieces with `glue` into lines of at most `width` columns; no piece is broken.
fn fill<'a>(pieces: impl IntoIterator<Item = &'a str>, glue: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut column = 0;
    for piece in pieces {
        let wide = width_of(piece);
        match lines.last_mut() {
            Some(line) if column + glue.len() + wide <= width => {
                line.push_str(glue);
                line.push_str(piece);
                column += glue.len() + wide;
            }
            _ => {
                lines.push(piece.to_owned());
                column = wide;
            }
        }
    }
    lines
}

/// The sentence in lines of at most `width` columns. A number and its `%` stay together.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    /// Stands for a blank at which no line ends.
    const TIED: char = '\u{a0}';
    let tied = text.replace(" %", &format!("{TIED}%"));
    let pieces = tied.split([' ', '\n']).filter(|piece| !piece.is_empty());
    fill(pieces, " ", width).into_iter().map(|line| line.replace(TIED, " ")).collect()
}

/// The items in lines of at most `width` columns, three blanks apart.
pub(super) fn flow(items: &[String], width: usize) -> Vec<String> {
    fill(items.iter().map(String::as_str), "   ", width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_between_words_and_words_stay_whole() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("[2001:db8::1]:443 is long", 6), ["[2001:db8::1]:443", "is", "long"]);
        assert_eq!(wrap("now at 50 % of", 9), ["now at", "50 % of"]);
        assert_eq!(wrap("日本 語", 5), ["日本", "語"]);
        assert_eq!(wrap("", 5), Vec::<String>::new());
        assert_eq!(flow(&["A 1".to_owned(), "B 2".to_owned()], 9), ["A 1   B 2"]);
    }
}
