//! What a difference is to who wants a directory to be what an image says.

use super::{Contents, Difference};
use crate::unpack::{Listed, ListedKind};

/// How what is at a path of a directory has drifted from what an image has there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drift {
    /// A file has other contents, and perhaps another mode.
    Changed,
    /// It is in the image alone.
    Missing,
    /// It is in the directory alone.
    Added,
    /// A file may be executed by its owner in one of them alone.
    Mode,
    /// It is a file in one of them, and a directory or a link in the other.
    Type,
    /// A link points elsewhere.
    Target,
}

impl Difference {
    /// What it is, if the old side is an image and the new one a directory. Of a file's mode it counts alone whether the
    /// owner may execute it, and of a directory's nothing, because that is all that packing keeps of them: of an image
    /// that somebody else made, too.
    #[must_use]
    pub fn drift(&self) -> Option<Drift> {
        let (image, directory) = match (&self.old, &self.new) {
            (Some(image), Some(directory)) => (image, directory),
            (Some(_), None) => return Some(Drift::Missing),
            (None, Some(_)) => return Some(Drift::Added),
            (None, None) => return None,
        };
        match (&image.kind, &directory.kind) {
            (ListedKind::File { .. }, ListedKind::File { .. }) if self.contents != Contents::Same => {
                Some(Drift::Changed)
            }
            (ListedKind::File { .. }, ListedKind::File { .. }) => {
                (is_executable(image) != is_executable(directory)).then_some(Drift::Mode)
            }
            (ListedKind::Symlink { target: a }, ListedKind::Symlink { target: b }) => (a != b).then_some(Drift::Target),
            (ListedKind::Directory, ListedKind::Directory) => None,
            _ => Some(Drift::Type),
        }
    }
}

fn is_executable(file: &Listed) -> bool {
    file.mode & 0o100 != 0
}
