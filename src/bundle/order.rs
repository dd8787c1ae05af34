//! The order of entries: depth-first, siblings in byte order of their names, every parent a directory before them.

use std::cmp::Ordering;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::entry::{Entry, Kind};

/// Compares two paths in the order of entries: component by component, each in byte order.
#[must_use]
pub fn compare_paths(a: impl AsRef<[u8]>, b: impl AsRef<[u8]>) -> Ordering {
    let (a, b) = (a.as_ref(), b.as_ref());
    // Most begin alike, and eight bytes are held against eight as fast as one against one.
    let alike = a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0).take_while(|(a, b)| a == b).count() * 8;
    // No name has a NUL in it, so a slash that counts as NUL ends a component before any longer one.
    let rank = |&byte: &u8| if byte == b'/' { 0 } else { byte };
    a[alike..].iter().map(rank).cmp(b[alike..].iter().map(rank))
}

/// Where in a list of paths, which is in this order, one was looked for last: who looks for many looks for one after the
/// other, as a rule.
#[derive(Debug, Default)]
pub struct Last(AtomicUsize);

impl Last {
    /// The number of what has this path in the list, which is in order and has no path twice; `path_of` says which path
    /// something in it has.
    pub fn find<'a, T>(&self, path: &[u8], list: &'a [T], path_of: impl Fn(&'a T) -> &'a [u8]) -> Option<usize> {
        let compare = |other: &'a T| compare_paths(path_of(other), path);
        let near = self.0.load(Relaxed);
        match list.get(near).map(compare) {
            Some(Ordering::Equal) => return Some(near),
            Some(Ordering::Less) => match list.get(near + 1).map(compare) {
                Some(Ordering::Less) => {}
                Some(Ordering::Equal) => {
                    self.0.store(near + 1, Relaxed);
                    return Some(near + 1);
                }
                // Nothing comes between one and the next.
                Some(Ordering::Greater) | None => return None,
            },
            Some(Ordering::Greater) | None => {}
        }
        let found = list.binary_search_by(compare);
        self.0.store(found.unwrap_or_else(|next| next.saturating_sub(1)), Relaxed);
        found.ok()
    }
}

/// Why an entry cannot stand where it stands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// The entry before it should come after it, or is the same.
    #[error("entry {path:?} comes after {previous:?}: entries have to be unique and in order")]
    NotInOrder {
        /// The entry.
        path: String,
        /// The entry before it.
        previous: String,
    },
    /// The entry is in nothing, or in something that is no directory.
    #[error("entry {0:?} is not in a directory of the bundle")]
    NoParent(String),
}

/// Holds a sequence of entries against the order.
#[derive(Debug, Default)]
pub struct Order {
    previous: Option<String>,
    directories: Vec<String>,
}

impl Order {
    /// Takes the next entry.
    ///
    /// # Errors
    /// When it is out of order, stands there twice, or its parent is not a directory of the bundle.
    pub fn next(&mut self, entry: &Entry) -> Result<(), OrderError> {
        let path = entry.path();
        if let Some(previous) = &self.previous
            && compare_paths(previous, path) != Ordering::Less
        {
            return Err(OrderError::NotInOrder { path: path.to_owned(), previous: previous.clone() });
        }
        let parent = path.rsplit_once('/').map(|(parent, _)| parent);
        while self.directories.last().is_some_and(|open| Some(open.as_str()) != parent) {
            self.directories.pop();
        }
        if parent.is_some() && self.directories.is_empty() {
            return Err(OrderError::NoParent(path.to_owned()));
        }
        if matches!(entry.kind(), Kind::Directory) {
            self.directories.push(path.to_owned());
        }
        self.previous = Some(path.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(entries: &[(&str, Kind)]) -> Result<(), OrderError> {
        let mut order = Order::default();
        entries.iter().try_for_each(|(path, kind)| order.next(&Entry::new(*path, kind.clone()).unwrap()))
    }

    const FILE: Kind = Kind::File { size: 0, executable: false };

    #[test]
    fn a_directory_comes_before_what_is_in_it_and_before_longer_names() {
        check(&[("a", Kind::Directory), ("a/b", FILE), ("a-b", FILE), ("a.b", FILE), ("é", FILE)]).unwrap();
        let swapped = check(&[("a-b", FILE), ("a", Kind::Directory)]);
        assert!(matches!(swapped, Err(OrderError::NotInOrder { .. })));
        assert!(matches!(check(&[("a", FILE), ("a", FILE)]), Err(OrderError::NotInOrder { .. })));
    }

    #[test]
    fn paths_compare_name_by_name_wherever_they_differ() {
        let long = "apps/warehouse-inventory/base.d/é.yaml";
        let ends = ["", "-", "/a", "a", "/", ".a/b"];
        let starts = (0..=long.len()).filter_map(|length| long.get(..length));
        let paths: Vec<String> = starts.flat_map(|start| ends.map(|end| format!("{start}{end}"))).collect();
        for a in &paths {
            for b in &paths {
                assert_eq!(compare_paths(a, b), a.split('/').cmp(b.split('/')), "{a} and {b}");
            }
        }
    }

    #[test]
    fn a_path_is_found_wherever_another_was_looked_for_before() {
        let paths = ["a", "a/b", "a-b", "c/d", "c/d/e", "f"];
        let others = ["", "a/a", "a/c", "c", "c/e", "g"];
        for count in 0..=paths.len() {
            for (first, second) in
                paths.iter().chain(&others).flat_map(|a| paths.iter().chain(&others).map(move |b| (a, b)))
            {
                let last = Last::default();
                for path in [first, second] {
                    let found = last.find(path.as_bytes(), &paths[..count], |path| path.as_bytes());
                    let expected = paths[..count].iter().position(|other| other == path);
                    assert_eq!(found, expected, "{path} in {:?}, after {first}", &paths[..count]);
                }
            }
        }
    }

    #[test]
    fn nothing_is_in_a_file_or_a_link_or_in_nothing() {
        let link = Kind::Symlink { target: "b".into() };
        for (entries, path) in [
            (&[("a", FILE), ("a/b", FILE)][..], "a/b"),
            (&[("a", link), ("a/b", FILE)], "a/b"),
            (&[("a/b", FILE)], "a/b"),
            (&[("a", Kind::Directory), ("a/b", FILE), ("a/b/c", FILE)], "a/b/c"),
            (&[("a", Kind::Directory), ("b", Kind::Directory), ("b/c/d", FILE)], "b/c/d"),
        ] {
            assert_eq!(check(entries), Err(OrderError::NoParent(path.into())));
        }
    }
}
