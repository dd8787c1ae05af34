//! Text for people: numbers of bytes, and what strangers wrote.

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

/// `1 file`, `2 files`.
#[must_use]
pub fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// Whether a character is one that nobody sees: it could steer a terminal, or make a text look like another one. These
/// are control characters, line and paragraph separators, marks of direction, and what has no width.
#[must_use]
pub fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Text that somebody else wrote, with what is unseen in it escaped.
#[must_use]
pub fn printable(text: &str) -> String {
    let escape = |c: char| if is_unseen(c) { c.escape_default().collect() } else { vec![c] };
    text.chars().flat_map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn what_nobody_sees_is_shown() {
        assert_eq!(printable("a\u{202e}b\n\u{200b}\u{7f}"), "a\\u{202e}b\\n\\u{200b}\\u{7f}");
        assert_eq!(printable("Grüße, 世界 e\u{301} <&>"), "Grüße, 世界 e\u{301} <&>");
    }
}
