//! Entries: a path and what it is. As which blocks an entry stands in the archive is left to `header`.

use std::io;

/// The longest path and the longest target of a link, in bytes: what Linux can open, whose limit counts a NUL.
pub const MAX_PATH: usize = 4095;

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// How many bytes its contents have.
        size: u64,
        /// Whether its mode is 0755, and not 0644.
        executable: bool,
    },
    /// A symbolic link.
    Symlink {
        /// What it points to, verbatim.
        target: String,
    },
}

/// Why something is no entry of a bundle.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// The path is not one.
    #[error(
        "{0:?} is not a path within a bundle: expected names of 1 byte or more, joined by '/', without '.' or '..'"
    )]
    Path(String),
    /// A name is one by which the layers of an image hide what is in those below them (image-spec v1.1.1, layer.md,
    /// "Whiteouts"): other readers would not see a file.
    #[error("{0:?} has a name that begins with \".wh.\", which in an image means that a file is removed")]
    Whiteout(String),
    /// The path or the target is too long.
    #[error("{0:?} is longer than {MAX_PATH} bytes")]
    TooLong(String),
    /// The target of a link is empty or has a NUL in it.
    #[error("symbolic link {path:?} has target {target:?}, which is not one")]
    Target {
        /// The link.
        path: String,
        /// What it points to.
        target: String,
    },
    /// The header blocks are not what they have to be for this entry.
    #[error("tar header of {0:?} is not as the bundle format has it")]
    Header(String),
    /// The archive does not end with exactly two zero blocks.
    #[error("tar archive does not end with two zero blocks")]
    End,
    /// The archive cannot be read.
    #[error(transparent)]
    Read(#[from] io::Error),
}

/// A path and what is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    // There are very many of them: no room is left for a path to grow.
    path: Box<str>,
    kind: Kind,
}

impl Entry {
    /// An entry at `path`, relative to the top of the bundle, without a slash at either end.
    ///
    /// # Errors
    /// When `path` or a link's target cannot be in a bundle.
    pub fn new(path: impl Into<String>, kind: Kind) -> Result<Self, EntryError> {
        let path = path.into();
        let is_name = |name: &str| !matches!(name, "" | "." | "..") && !name.contains('\0');
        if !path.split('/').all(is_name) {
            return Err(EntryError::Path(path));
        }
        if path.split('/').any(|name| name.starts_with(".wh.")) {
            return Err(EntryError::Whiteout(path));
        }
        if path.len() > MAX_PATH {
            return Err(EntryError::TooLong(path));
        }
        if let Kind::Symlink { target } = &kind {
            if target.is_empty() || target.contains('\0') {
                return Err(EntryError::Target { path, target: target.clone() });
            }
            if target.len() > MAX_PATH {
                return Err(EntryError::TooLong(target.clone()));
            }
        }
        Ok(Self { path: path.into_boxed_str(), kind })
    }

    /// The path, relative to the top of the bundle.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What is there.
    #[must_use]
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// How many bytes the contents have: of anything but a file, none.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self.kind {
            Kind::File { size, .. } => size,
            Kind::Directory | Kind::Symlink { .. } => 0,
        }
    }

    /// The permission bits: 0755, 0644, or 0777 of a link.
    #[must_use]
    pub fn mode(&self) -> u32 {
        match self.kind {
            Kind::Directory | Kind::File { executable: true, .. } => 0o755,
            Kind::File { executable: false, .. } => 0o644,
            Kind::Symlink { .. } => 0o777,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_lead_elsewhere_are_no_entries() {
        let file = Kind::File { size: 0, executable: false };
        for path in ["", "/", "/a", "a/", "a//b", ".", "..", "./a", "a/../b", "a/.", "a\0b"] {
            assert!(Entry::new(path, file.clone()).is_err(), "{path:?}");
        }
        for path in [".wh.a", "a/.wh..wh..opq", ".wh.a/b"] {
            assert!(matches!(Entry::new(path, file.clone()), Err(EntryError::Whiteout(_))), "{path:?}");
        }
        assert!(Entry::new("a".repeat(MAX_PATH + 1), file.clone()).is_err());
        assert!(Entry::new("a", Kind::Symlink { target: String::new() }).is_err());
    }
}
