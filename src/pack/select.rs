//! What goes in: exclusions, `.bndlrignore` files, version control, symbolic links.

use std::fmt;
use std::sync::Arc;

use super::Error;
use crate::bundle::Patterns;

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
    /// Patterns of what alone does, if there are any: what they match, and all that is in a directory which they match.
    /// What is excluded stays so.
    pub include: Vec<String>,
    /// Whether `.git`, `.hg` and `.svn` do.
    pub include_vcs: bool,
    /// What becomes of symbolic links.
    pub symlinks: Symlinks,
}

/// Something that does not go in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Its path from the top. Of a directory, nothing goes in.
    pub path: String,
    /// Whether it is a directory.
    pub is_directory: bool,
    /// Why it does not.
    pub why: Why,
}

/// Why something does not go in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is where version control keeps its own data.
    VersionControl,
    /// It is a `.bndlrignore`.
    IgnoreFile,
    /// It is a cache of this program's, or has nothing else in it.
    Cache,
    /// No pattern of [`Selection::include`] matches it.
    NotIncluded,
    /// This pattern of [`Selection::exclude`] matches it.
    Excluded(String),
    /// A pattern in a `.bndlrignore` matches it.
    Ignored {
        /// The file, as the user would write it.
        file: Arc<str>,
        /// The number of the line, from 1.
        line: usize,
        /// What it says.
        pattern: String,
    },
}

impl Why {
    /// The word for it in JSON.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::VersionControl => "version-control",
            Self::IgnoreFile => "ignore-file",
            Self::Cache => "cache",
            Self::NotIncluded => "not-included",
            Self::Excluded(_) => "excluded",
            Self::Ignored { .. } => "ignored",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::VersionControl => f.write_str("version control; --include-vcs packs it"),
            Self::IgnoreFile => f.write_str("says itself what does not go in"),
            Self::Cache => f.write_str("bndlr's own cache"),
            Self::NotIncluded => f.write_str("no --include matches it"),
            Self::Excluded(pattern) => write!(f, "excluded by --exclude '{pattern}'"),
            Self::Ignored { file, line, pattern } => write!(f, "excluded by {file} line {line}: {pattern}"),
        }
    }
}

impl Selection {
    /// Whether a file or directory of this name is version control's, and not wanted.
    pub(super) fn is_left_out(&self, name: &str) -> bool {
        !self.include_vcs && VERSION_CONTROL.contains(&name)
    }
}

/// The patterns of a flag.
pub(super) fn patterns_of(flag: &str, patterns: &[String]) -> Result<Patterns, Error> {
    Patterns::read(patterns.iter().map(String::as_str)).map_err(|(line, why)| {
        let place = format!("{flag} {:?}", patterns[line - 1]);
        Error::Pattern { place, why: why.to_string() }
    })
}

/// The patterns of a `.bndlrignore`, which are about what is in its directory.
pub(super) struct IgnoreFile {
    /// The path of the directory, with a slash at its end unless it is the top.
    prefix: String,
    /// Where it is, for the user.
    file: Arc<str>,
    patterns: Patterns,
}

impl IgnoreFile {
    pub(super) fn new(prefix: String, file: &str, text: &str) -> Result<Self, Error> {
        let place = |line| format!("{file} line {line}");
        // As git has it, also where the last line does not end.
        let lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
        let patterns =
            Patterns::read(lines).map_err(|(line, why)| Error::Pattern { place: place(line), why: why.to_string() })?;
        Ok(Self { prefix, file: file.into(), patterns })
    }

    /// Whether `path`, from the top, goes in, and else why not; nothing if these patterns do not say.
    pub(super) fn decide(&self, path: &str, is_directory: bool) -> Option<Result<(), Why>> {
        let pattern = self.patterns.decide(path.strip_prefix(&self.prefix)?, is_directory)?;
        Some(if pattern.is_negated() {
            Ok(())
        } else {
            let (file, line, pattern) = (Arc::clone(&self.file), pattern.line(), pattern.to_string());
            Err(Why::Ignored { file, line, pattern })
        })
    }
}
