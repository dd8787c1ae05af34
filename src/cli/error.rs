//! Errors as the user meets them: words, a hint, an exit code.

use std::borrow::Cow;
use std::fmt::Display;

use serde_json::{Value, json};

use super::location::Location;
use crate::content::{self, ErrorKind};
use crate::{compare, pack, reference};

/// How the program ends when it does not do what was asked, or when what it compares differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Exit {
    Differs = 1,
    Usage = 2,
    NotFound = 3,
    Denied = 4,
    Content = 5,
    Remote = 6,
    Conflict = 7,
    Local = 8,
    Interrupted = 130,
}

impl Exit {
    /// The word for it in JSON.
    fn code(self) -> &'static str {
        match self {
            Self::Differs => "differs",
            Self::Usage => "usage",
            Self::NotFound => "not-found",
            Self::Denied => "denied",
            Self::Content => "content",
            Self::Remote => "remote",
            Self::Conflict => "conflict",
            Self::Local => "local",
            Self::Interrupted => "interrupted",
        }
    }
}

/// Why a command failed.
#[derive(Debug)]
pub(super) struct Error {
    pub(super) exit: Exit,
    pub(super) message: String,
    pub(super) hint: Option<String>,
    /// What was done nevertheless, as a JSON object.
    pub(super) done: Option<Value>,
}

impl Error {
    pub(super) fn new(exit: Exit, message: impl Display) -> Self {
        Self { exit, message: message.to_string(), hint: None, done: None }
    }

    /// Not what went wrong, but what was found out, and has been said.
    pub(super) fn differs() -> Self {
        Self::new(Exit::Differs, "it differs")
    }

    pub(super) fn usage(message: impl Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same about `location`: whoever writes the name of something here may not have meant a registry at all.
    pub(super) fn about(self, location: &Location) -> Self {
        match location.namesake() {
            Some(hint) if matches!(self.exit, Exit::NotFound | Exit::Denied | Exit::Remote) => self.hint(hint),
            _ => self,
        }
    }

    /// The same without passwords that somebody has written where none belongs.
    pub(super) fn without_passwords(&self) -> Self {
        let hint = self.hint.as_deref().map(without_passwords);
        Self { exit: self.exit, message: without_passwords(&self.message), hint, done: self.done.clone() }
    }

    /// The error as one JSON document.
    pub(super) fn to_json(&self) -> Value {
        let mut document = self.done.clone().unwrap_or_else(|| json!({}));
        document["error"] = json!({"code": self.exit.code(), "message": self.message, "hint": self.hint});
        document
    }
}

impl From<content::Error> for Error {
    fn from(error: content::Error) -> Self {
        let exit = match error.kind() {
            ErrorKind::NotFound => Exit::NotFound,
            ErrorKind::Denied => Exit::Denied,
            ErrorKind::Content => Exit::Content,
            ErrorKind::Remote => Exit::Remote,
            ErrorKind::Conflict => Exit::Conflict,
            ErrorKind::Local => Exit::Local,
        };
        Self { hint: error.hint().map(str::to_owned), ..Self::new(exit, error) }
    }
}

impl From<clap::Error> for Error {
    /// What is wrong, perhaps a tip, the usage, and where to read more: each is a paragraph of its own.
    fn from(error: clap::Error) -> Self {
        let text = error.to_string();
        let paragraphs: Vec<_> = text.split("\n\n").map(in_one_line).collect();
        let starting = |start| paragraphs.iter().find_map(|paragraph| paragraph.strip_prefix(start));
        let tip = starting("tip: ").filter(|tip| tip.contains("similar")).map(str::to_owned);
        // A command that can be used in several ways has a line for each.
        let usage = starting("Usage: ").map(|usage| usage.replace(" bndlr ", ", or bndlr "));
        let usage = usage.map(|usage| format!("the usage is {usage}; --help says more"));
        Self::usage(starting("error: ").unwrap_or(&text))
            .hint(tip.or(usage).unwrap_or_else(|| "--help shows what is expected".to_owned()))
    }
}

fn in_one_line(paragraph: &str) -> String {
    paragraph.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl From<pack::Error> for Error {
    fn from(error: pack::Error) -> Self {
        match error {
            pack::Error::Option(_) | pack::Error::Pattern { .. } => Self::usage(error),
            error => content::Error::from(error).into(),
        }
    }
}

impl From<compare::Error> for Error {
    fn from(error: compare::Error) -> Self {
        match error {
            compare::Error::Image(error) => error.into(),
            compare::Error::Directory(error) => error.into(),
        }
    }
}

impl From<reference::ParseError> for Error {
    fn from(error: reference::ParseError) -> Self {
        Self::usage(error).hint("a reference is host[:port]/repository[:tag][@digest], such as localhost:5000/demo:v1")
    }
}

/// `text` with `***` for what looks like the password in `user:password@host`.
pub(super) fn without_passwords(text: &str) -> String {
    let is_between = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`');
    text.split_inclusive(is_between).map(without_password).collect()
}

fn without_password(word: &str) -> Cow<'_, str> {
    // After another `@`, a reference has a digest.
    let at = word.rmatch_indices('@').map(|(at, _)| at).find(|at| !word[at + 1..].starts_with("sha"));
    let Some((head, tail)) = at.map(|at| word.split_at(at)) else { return word.into() };
    let start = head.find("//").map(|at| at + 2);
    match head[start.unwrap_or(0)..].split_once(':') {
        // Without a scheme, `host:port/repository` may stand before it, too.
        Some((_, password)) if start.is_some() || !password.contains('/') => {
            format!("{}***{tail}", &head[..head.len() - password.len()]).into()
        }
        _ => word.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_before_a_host_is_hidden_and_nothing_else_is() {
        for (text, expected) in [
            ("invalid value 'alice:pw@h.io' for X", "invalid value 'alice:***@h.io' for X"),
            ("\"https://alice:p/w@h.io/app:v1\" is", "\"https://alice:***@h.io/app:v1\" is"),
            ("//alice:p@w@h.io/a", "//alice:***@h.io/a"),
            ("alice:pw@h.io/a@sha256:12", "alice:***@h.io/a@sha256:12"),
        ] {
            assert_eq!(without_passwords(text), expected);
        }
        for text in ["h.io:5000/a:v1@sha256:12", "a:v1@sha512:12", "h.io:5000/a@b", "a@b", "error: b@c", "", "@:"] {
            assert_eq!(without_passwords(text), text);
        }
    }
}
