//! What goes in: exclusions, `.bndlrignore` files, version control, symbolic links.

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::Error;

/// The file that says what does not go in, in git's syntax. It is left out itself.
pub(super) const IGNORE_FILE: &str = ".bndlrignore";
/// Where version control keeps its own data, tokens among it.
const VERSION_CONTROL: [&str; 3] = [".git", ".hg", ".svn"];

/// What becomes of symbolic links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Symlinks {
    /// They are packed as they are; one that leads out of the directory is an error.
    #[default]
    Keep,
    /// What they point to is packed in their place; it has to be inside, and not above them.
    Follow,
    /// They are an error.
    Error,
}

/// What of a directory goes in.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Patterns of what does not, in git's syntax, relative to the directory. They come before any `.bndlrignore`.
    pub exclude: Vec<String>,
    /// Whether `.git`, `.hg` and `.svn` do.
    pub include_vcs: bool,
    /// What becomes of symbolic links.
    pub symlinks: Symlinks,
}

impl Selection {
    /// Whether a file or directory of this name is version control's, and not wanted.
    pub(super) fn is_left_out(&self, name: &str) -> bool {
        !self.include_vcs && VERSION_CONTROL.contains(&name)
    }

    /// The patterns of `exclude`.
    pub(super) fn patterns(&self) -> Result<Patterns, Error> {
        let place = |_| "--exclude".to_owned();
        Patterns::new(String::new(), self.exclude.iter().map(String::as_str), place)
    }
}

/// Patterns in git's syntax, and the directory that they are relative to.
pub(super) struct Patterns {
    /// The path of the directory, with a slash at its end unless it is the top.
    prefix: String,
    matcher: Gitignore,
}

impl Patterns {
    /// Reads patterns, one a line. `place` names the line with this number for an error.
    pub(super) fn new<'a>(
        prefix: String,
        lines: impl Iterator<Item = &'a str>,
        place: impl Fn(usize) -> String,
    ) -> Result<Self, Error> {
        let mut builder = GitignoreBuilder::new("");
        for (number, line) in lines.enumerate() {
            let pattern = |error: ignore::Error| Error::Pattern { place: place(number + 1), why: error.to_string() };
            builder.add_line(None, line).map_err(pattern)?;
        }
        let built = |error: ignore::Error| Error::Pattern { place: place(0), why: error.to_string() };
        Ok(Self { prefix, matcher: builder.build().map_err(built)? })
    }

    /// Whether `path`, from the top, goes in; nothing if these patterns do not say.
    pub(super) fn decide(&self, path: &str, is_directory: bool) -> Option<bool> {
        let relative = path.strip_prefix(&self.prefix)?;
        match self.matcher.matched(relative, is_directory) {
            Match::None => None,
            Match::Ignore(_) => Some(false),
            Match::Whitelist(_) => Some(true),
        }
    }
}
