//! What of an image is wanted: patterns, as `--exclude` has them.

use std::path::Path;

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::error::Error;

/// Patterns in git's syntax. What one of them matches is wanted, and if that is a directory, all that is in it; what a
/// later one takes back with `!` is not.
#[derive(Clone, Debug)]
pub struct Include(Gitignore);

impl Include {
    /// Reads patterns, which are relative to the top of the image.
    ///
    /// # Errors
    /// [`Error::Pattern`] when one cannot be read.
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, Error> {
        let mut builder = GitignoreBuilder::new("");
        for pattern in patterns {
            let wrong = |error: ignore::Error| Error::Pattern { pattern: pattern.to_owned(), why: error.to_string() };
            builder.add_line(None, pattern).map_err(wrong)?;
        }
        let wrong = |error: ignore::Error| Error::Pattern { pattern: String::new(), why: error.to_string() };
        Ok(Self(builder.build().map_err(wrong)?))
    }

    /// Whether what is at `path`, which is relative, is wanted.
    #[must_use]
    pub fn picks(&self, path: &Path, is_directory: bool) -> bool {
        self.0.matched_path_or_any_parents(path, is_directory).is_ignore()
    }
}
