//! What all pages have in common: head, way back, style.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::StatusCode;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::address::Address;
use crate::digest::Digest;
use crate::reference::{Identifier, Name};

/// All that a browser is to apply. It stands in each page, so that a page is one request.
const STYLE: &str = include_str!("style.css");

/// A page, but for its frame.
pub(super) struct Page {
    pub(super) title: String,
    /// What the page is about, from the widest to the narrowest.
    pub(super) path: Vec<Crumb>,
    pub(super) content: Markup,
}

/// A step on the way to a page.
pub(super) struct Crumb {
    text: String,
    address: Address,
}

impl Crumb {
    pub(super) fn repositories() -> Self {
        Self { text: "Repositories".to_owned(), address: Address::Repositories }
    }

    pub(super) fn repository(name: &Name) -> Self {
        Self { text: name.to_string(), address: Address::Repository(name.clone()) }
    }

    pub(super) fn manifest(name: &Name, identifier: &Identifier) -> Self {
        let text = match identifier {
            Identifier::Tag(tag) => tag.to_string(),
            Identifier::Digest(digest) => digest.short(),
        };
        Self { text, address: Address::Manifest(name.clone(), identifier.clone()) }
    }
}

impl Page {
    /// The page as HTML, and what the browser has to be told so that it applies the style.
    pub(super) fn render(&self) -> (String, String) {
        let html = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (self.title) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    header {
                        nav aria-label="Where this is" {
                            a.home href="/" { "bndlr" }
                            @for (at, crumb) in self.path.iter().enumerate() {
                                span.step aria-hidden="true" { "/" }
                                a href=(crumb.address) aria-current=[(at + 1 == self.path.len()).then_some("page")] {
                                    (crumb.text)
                                }
                            }
                        }
                    }
                    main { (self.content) }
                    footer { p { "A registry served by bndlr." } }
                }
            }
        };
        let digest = BASE64_STANDARD.encode(Digest::sha256(STYLE.as_bytes()).as_bytes());
        (html.into_string(), format!("'sha256-{digest}'"))
    }
}

/// What is shown instead of a page. It says nothing but what the status says.
pub(super) fn refusal(status: StatusCode) -> Page {
    let (title, text) = match status {
        StatusCode::UNAUTHORIZED => ("Log in first", "A user name and a password are needed to see this."),
        StatusCode::NOT_FOUND => ("Not found", "There is nothing here, or nothing that you may see."),
        StatusCode::TOO_MANY_REQUESTS => ("Too many at once", "Too many are logging in. Try again in a moment."),
        status if status.is_server_error() => ("The registry failed", "Its log says why. Try again in a moment."),
        _ => ("Refused", "The registry does not answer this."),
    };
    let content = html! {
        h1 { (title) }
        p { (text) }
        p { a href=(Address::Repositories) { "Repositories" } }
    };
    Page { title: title.to_owned(), path: Vec::new(), content }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_style_ends_where_it_ends_and_fetches_nothing() {
        for forbidden in ["<", "url(", "@import"] {
            assert!(!STYLE.contains(forbidden), "{forbidden}");
        }
    }
}
