//! Text that somebody else wrote, fit to be shown to a person.
//!
//! Names in archives, tags in layouts and a registry's words come from anywhere. Shown as they are, they could move a
//! terminal's cursor and rewrite what stands there, look like another name, or fill the screen. Whatever is put in an
//! error goes through [`excerpt`], whatever `cli` writes to a terminal through [`printable`], which leaves what has been
//! through either as it is.

use std::fmt::Write as _;

/// How many characters of somebody else's an error has in it at one place.
const LONGEST: usize = 300;

/// `text`, with every character that does not show itself written as an escape of Rust: `\n`, `\u{1b}`.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || steers(c) {
            // Writing to a string does not fail.
            let _ = write!(printable, "{}", c.escape_default());
        } else {
            printable.push(c);
        }
    }
    printable
}

/// No more of `text` than can be read, [`printable`], with `…` at its end if there is more of it.
#[must_use]
pub fn excerpt(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => printable(&text[..end]) + "…",
        None => printable(text),
    }
}

/// Whether a character changes in which direction others are written (Unicode's `Bidi_Control`), so that one name looks
/// like another, or begins a line.
fn steers(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_that_steers_a_terminal_gets_through() {
        assert_eq!(printable("A\u{1b}[2J\r\n\u{7}\u{9b}0m"), r"A\u{1b}[2J\r\n\u{7}\u{9b}0m");
        assert_eq!(
            printable("one\u{202e}two\u{2066}\u{200f}\u{61c}\u{2028}"),
            r"one\u{202e}two\u{2066}\u{200f}\u{61c}\u{2028}"
        );
    }

    #[test]
    fn what_people_write_is_left_as_it_is() {
        for text in ["", "é ü 漢字 עברית", "e\u{301}", "🏳\u{fe0f}\u{200d}🌈", r#"a\b "c" 'd'"#] {
            assert_eq!(printable(text), text);
            assert_eq!(excerpt(text), text);
        }
    }

    #[test]
    fn an_excerpt_has_an_end_and_says_when_there_is_more() {
        assert_eq!(excerpt(&"é".repeat(LONGEST)), "é".repeat(LONGEST));
        assert_eq!(excerpt(&"é".repeat(LONGEST + 1)), "é".repeat(LONGEST) + "…");
    }

    proptest! {
        #[test]
        fn what_has_been_made_printable_stays_as_it_is(text: String) {
            let once = printable(&text);
            prop_assert!(!once.chars().any(|c| c.is_control() || steers(c)));
            prop_assert_eq!(printable(&once), once);
        }
    }
}
