//! Text for people: numbers of bytes, and what strangers wrote.
//!
//! Names in archives, tags in layouts and a registry's words come from anywhere. Shown as they are, they could move a
//! terminal's cursor and rewrite what stands there, look like another name, or fill the screen. Whatever is put in an
//! error goes through [`excerpt`], whatever `cli` writes to a terminal through [`printable`], which leaves what has been
//! through either as it is.

use std::fmt::Write as _;
use std::time::Duration;

/// How many characters of somebody else's an error has in it at one place.
const LONGEST: usize = 300;

/// A number of bytes for people, with three digits at most: `312 B`, `541 kB`, `5.7 MB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut tenths = bytes / 100 + u64::from(bytes % 100 >= 50);
    let mut unit = 0;
    while tenths >= 9995 && unit + 1 < UNITS.len() {
        tenths = (tenths + 500) / 1000;
        unit += 1;
    }
    match tenths {
        ..100 => format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit]),
        _ => format!("{} {}", (tenths + 5) / 10, UNITS[unit]),
    }
}

/// A number of bytes as people type it: `500`, `64KiB`, `100MB`, `1 GiB`; a space may stand before the unit.
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    let unit = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let factor = match text[unit..].trim_start() {
        "" | "B" => 1,
        "kB" | "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    text[..unit].parse::<u64>().ok()?.checked_mul(factor)
}

/// `1 file`, `2 files`.
#[must_use]
pub fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// `1 byte`, `65536 bytes`: all of them, where [`size`] would hide by how many two numbers differ.
#[must_use]
pub fn bytes(number: u64) -> String {
    count(number as usize, "byte")
}

/// `1 second`, `60 seconds`, `0.5 seconds`: as long as the user may have said.
#[must_use]
pub fn seconds(duration: Duration) -> String {
    let plural = if duration == Duration::from_secs(1) { "" } else { "s" };
    format!("{} second{plural}", duration.as_secs_f64())
}

/// Whether a character is one that nobody sees: it could steer a terminal, or make a text look like another one. These
/// are control characters, line and paragraph separators, marks of direction, and what has no width, but for the two
/// that join letters and emoji.
#[must_use]
pub fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Text that somebody else wrote, with what is unseen in it written as an escape of Rust: `\n`, `\u{1b}`.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unseen(c) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_of_anything_is_not_several() {
        assert_eq!([0, 1, 2].map(|number| count(number, "file")), ["0 files", "1 file", "2 files"]);
        assert_eq!([0, 1, 2].map(bytes), ["0 bytes", "1 byte", "2 bytes"]);
        let shown = [1000, 60_000, 500].map(|milliseconds| seconds(Duration::from_millis(milliseconds)));
        assert_eq!(shown, ["1 second", "60 seconds", "0.5 seconds"]);
    }

    #[test]
    fn sizes_have_three_digits_at_most() {
        for (bytes, expected) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (9_949, "9.9 kB"),
            (9_950, "10 kB"),
            (541_300, "541 kB"),
            (999_449, "999 kB"),
            (999_500, "1.0 MB"),
            (5_700_000, "5.7 MB"),
            (1_073_741_824, "1.1 GB"),
            (u64::MAX, "18447 PB"),
        ] {
            assert_eq!(size(bytes), expected, "{bytes}");
        }
    }

    #[test]
    fn a_size_is_a_number_and_perhaps_a_unit() {
        for (text, bytes) in
            [("0", 0), ("512", 512), ("10 B", 10), ("3kB", 3000), ("64KiB", 65_536), ("2 GiB", 2 << 30)]
        {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for wrong in
            ["", "B", "-1", "+1", "1.5GB", "1 XB", "1MBs", "1kib", " 1", "99999999999GiB", "99999999999999999999"]
        {
            assert_eq!(parse_size(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_nobody_sees_is_shown() {
        assert_eq!(printable("a\u{202e}b\n\u{200b}\u{7f}"), "a\\u{202e}b\\n\\u{200b}\\u{7f}");
        assert_eq!(printable("Grüße, 世界 e\u{301} <&>"), "Grüße, 世界 e\u{301} <&>");
    }

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
            prop_assert!(!once.chars().any(is_unseen));
            prop_assert_eq!(printable(&once), once);
        }
    }
}
