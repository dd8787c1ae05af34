//! What strangers wrote, so that it can only be read.

use maud::{Markup, Render, html};

use crate::text;

/// How many characters of a text are shown.
const LONGEST: usize = 500;

/// Text that a stranger wrote: what is unseen in it is shown, its direction ends where it ends, and a long one is cut.
pub(super) struct Shown<'a>(pub(super) &'a str);

/// A part of a text.
enum Piece<'a> {
    Plain(&'a str),
    Unseen(char),
}

impl Render for Shown<'_> {
    fn render(&self) -> Markup {
        let Self(text) = *self;
        let end = text.char_indices().nth(LONGEST).map_or(text.len(), |(end, _)| end);
        html! {
            bdi {
                @for piece in pieces(&text[..end]) {
                    @match piece {
                        Piece::Plain(text) => (text),
                        Piece::Unseen(c) => mark { (c.escape_default()) },
                    }
                }
            }
            @if end < text.len() {
                " " span.quiet { "… and " (text::size((text.len() - end) as u64)) " more" }
            }
        }
    }
}

fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        if text::is_unseen(first) {
            rest = &rest[first.len_utf8()..];
            return Some(Piece::Unseen(first));
        }
        let end = rest.find(text::is_unseen).unwrap_or(rest.len());
        let (plain, after) = rest.split_at(end);
        rest = after;
        Some(Piece::Plain(plain))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        Shown(text).render().into_string()
    }

    #[test]
    fn nothing_in_a_text_is_markup_or_stays_unseen() {
        assert_eq!(shown("a"), "<bdi>a</bdi>");
        assert_eq!(shown("<b>&\"'"), "<bdi>&lt;b&gt;&amp;&quot;'</bdi>");
        assert_eq!(shown("a\u{202e}txt.exe\n"), "<bdi>a<mark>\\u{202e}</mark>txt.exe<mark>\\n</mark></bdi>");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let long = shown(&"é".repeat(LONGEST + 1));
        assert!(long.contains(&format!("<bdi>{}</bdi>", "é".repeat(LONGEST))), "{long}");
        assert!(long.ends_with("… and 2 B more</span>"), "{long}");
    }
}
