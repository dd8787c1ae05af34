//! What of an image is wanted: patterns, as `--exclude` has them.

use std::path::Path;

use super::error::Error;
use crate::bundle::Patterns;

/// Patterns in git's syntax. What one of them matches is wanted, and if that is a directory, all that is in it; what a
/// later one takes back with `!` is not.
#[derive(Clone, Debug)]
pub struct Include(Patterns);

impl Include {
    /// Reads patterns, which are relative to the top of the image.
    ///
    /// # Errors
    /// [`Error::Pattern`] when one cannot be read.
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, Error> {
        let patterns: Vec<_> = patterns.into_iter().collect();
        let read = Patterns::read(patterns.iter().copied());
        let wrong = |(line, why): (usize, _)| Error::Pattern { pattern: patterns[line - 1].to_owned(), why };
        Ok(Self(read.map_err(wrong)?))
    }

    /// Whether what is at `path`, which is relative, is wanted.
    #[must_use]
    pub fn picks(&self, path: &Path, is_directory: bool) -> bool {
        self.0.pick(&path.to_string_lossy(), is_directory)
    }
}
