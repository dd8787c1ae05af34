//! Where something is below the target: a path without links, `.` or `..` in it.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::error::{Fault, shown};
use crate::bundle::MAX_PATH;

/// The longest name that file systems have, in bytes.
const MAX_NAME: usize = 255;

/// Names from the target down, joined by NUL bytes. No name has one in it, so places sort by name after name, and all
/// that is below a place follows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(Box<[u8]>);

impl Place {
    /// The target itself.
    pub(super) fn top() -> Self {
        Self::default()
    }

    pub(super) fn is_top(&self) -> bool {
        self.0.is_empty()
    }

    /// Goes down to `name`, which [`names`] has found fit.
    pub(super) fn push(&mut self, name: &[u8]) {
        // Many places are kept, and few grow further.
        let mut names = std::mem::take(&mut self.0).into_vec();
        names.reserve_exact(name.len() + 1);
        if !names.is_empty() {
            names.push(0);
        }
        names.extend_from_slice(name);
        self.0 = names.into_boxed_slice();
    }

    /// Goes up, and stays where it is at the top.
    pub(super) fn pop(&mut self) {
        *self = self.parent();
    }

    pub(super) fn parent(&self) -> Self {
        Self(self.above().into())
    }

    /// The names of the directory that it is in.
    fn above(&self) -> &[u8] {
        &self.0[..self.0.iter().rposition(|&byte| byte == 0).unwrap_or(0)]
    }

    /// Whether both are in the same directory.
    pub(super) fn is_beside(&self, other: &Self) -> bool {
        self.above() == other.above()
    }

    /// The last name; of the top, an empty one.
    pub(super) fn name(&self) -> &OsStr {
        OsStr::from_bytes(self.0.rsplit(|&byte| byte == 0).next().unwrap_or_default())
    }

    /// The first place that is neither this one nor below it.
    pub(super) fn after(&self) -> Self {
        Self([&self.0[..], &[1]].concat().into())
    }

    /// This place and all those on the way to it, the top not among them, the deepest first.
    pub(super) fn upwards(&self) -> impl Iterator<Item = Self> + use<> {
        let up = |place: Self| (!place.is_top()).then_some(place);
        std::iter::successors(up(self.clone()), move |place| up(place.parent()))
    }

    /// How many bytes the path has.
    pub(super) fn length(&self) -> usize {
        self.0.len()
    }

    /// The path, relative to the target.
    pub(super) fn to_path(&self) -> PathBuf {
        let bytes: Vec<u8> = self.0.iter().map(|&byte| if byte == 0 { b'/' } else { byte }).collect();
        PathBuf::from(OsStr::from_bytes(&bytes))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(self.to_path().as_os_str().as_bytes()))
    }
}

/// The names of an entry's path. A `./` in front or in the middle says nothing, nor does a second slash; whatever could
/// lead elsewhere is an error.
pub(super) fn names(path: &[u8]) -> Result<Vec<&[u8]>, Fault> {
    let wrong = |problem| Err(Fault::Name { path: shown(path), problem });
    if path.starts_with(b"/") {
        return wrong("is absolute");
    }
    if path.contains(&0) {
        return wrong("has a NUL in its name");
    }
    if path.len() > MAX_PATH {
        return wrong("has a path that is too long");
    }
    let mut names = Vec::new();
    for name in path.split(|&byte| byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => return wrong("has '..' in its path"),
            name if name.len() > MAX_NAME => return wrong("has a name that is too long"),
            name => names.push(name),
        }
    }
    Ok(names)
}

/// A path, byte for byte.
pub(super) fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}
