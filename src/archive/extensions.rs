//! What stands before an entry's header and speaks of it: PAX records, and GNU's long names.

use tar::{EntryType, Header};

use super::headers::{Head, HeaderError};
use super::pax::{number, take_record};

/// What the headers before an entry say of it.
#[derive(Default)]
pub(super) struct Extensions {
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    pax: Option<Pax>,
}

impl Extensions {
    pub(super) fn is_empty(&self) -> bool {
        self.long_name.is_none() && self.long_link.is_none() && self.pax.is_none()
    }

    /// Adds what a header of this type carries.
    pub(super) fn add(&mut self, kind: EntryType, bytes: Vec<u8>) -> Result<(), HeaderError> {
        let is_first = match kind {
            EntryType::GNULongName => truncated(bytes).map(|name| self.long_name.replace(name).is_none()),
            EntryType::GNULongLink => truncated(bytes).map(|link| self.long_link.replace(link).is_none()),
            _ => Pax::parse(&bytes).map(|pax| self.pax.replace(pax).is_none()),
        };
        match is_first {
            Some(true) => Ok(()),
            Some(false) => Err(HeaderError::Invalid("two extension headers say the same of one entry")),
            None => Err(HeaderError::Invalid("an extension header is not one")),
        }
    }

    /// Puts together what is said of an entry whose own header is this one, and says `size`.
    pub(super) fn head(self, header: Header, size: u64) -> Result<Head, HeaderError> {
        let pax = self.pax.unwrap_or_default();
        let is_twice = |long: &Option<Vec<u8>>, pax: &Option<Vec<u8>>| long.is_some() && pax.is_some();
        if is_twice(&self.long_name, &pax.path) || is_twice(&self.long_link, &pax.linkpath) {
            return Err(HeaderError::Invalid("an entry has two names"));
        }
        let link = self.long_link.or(pax.linkpath);
        Ok(Head {
            path: self.long_name.or(pax.path).unwrap_or_else(|| header.path_bytes().into_owned()),
            link: link.unwrap_or_else(|| header.link_name_bytes().unwrap_or_default().into_owned()),
            size: pax.size.unwrap_or(size),
            is_sparse_in_pax: pax.is_sparse,
            header,
        })
    }
}

/// A long name, up to its first NUL. There may be nothing but NULs after that.
fn truncated(mut name: Vec<u8>) -> Option<Vec<u8>> {
    let length = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
    let is_clean = name[length..].iter().all(|&byte| byte == 0);
    name.truncate(length);
    is_clean.then_some(name)
}

/// What PAX records say of where an entry goes and how long it is.
#[derive(Debug, Default, PartialEq, Eq)]
struct Pax {
    path: Option<Vec<u8>>,
    linkpath: Option<Vec<u8>>,
    size: Option<u64>,
    /// The file is sparse, in one of the three ways that GNU tar has for PAX.
    is_sparse: bool,
}

impl Pax {
    /// A keyword that matters and stands there twice is refused, because readers differ in which one they take.
    fn parse(mut records: &[u8]) -> Option<Self> {
        let mut pax = Self::default();
        while !records.is_empty() {
            let (keyword, value) = take_record(&mut records)?;
            pax.set(keyword, value)?;
        }
        Some(pax)
    }

    fn set(&mut self, keyword: &[u8], value: &[u8]) -> Option<()> {
        // An empty value takes back what was said before, which here is nothing.
        let once = |field: &mut Option<Vec<u8>>| match value {
            b"" => Some(()),
            _ => field.replace(value.to_vec()).is_none().then_some(()),
        };
        match keyword {
            b"path" => once(&mut self.path),
            b"linkpath" => once(&mut self.linkpath),
            b"size" => self.size.replace(number(value)?).is_none().then_some(()),
            _ => {
                self.is_sparse |= keyword.starts_with(b"GNU.sparse.");
                Some(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn records_that_do_not_matter_here_are_passed_over() {
        let pax = Pax::parse(b"14 path=a\nb=c\n13 mtime=1.2\n10 size=7\n").unwrap();
        assert_eq!(pax, Pax { path: Some(b"a\nb=c".to_vec()), size: Some(7), ..Pax::default() });
        assert!(Pax::parse(b"22 GNU.sparse.major=1\n").unwrap().is_sparse);
    }

    #[test]
    fn records_that_readers_could_differ_on_are_refused() {
        for wrong in [
            &b"11 path=a\n"[..],
            b"9 path=a",
            b"9 path=a\n9 path=b\n",
            b"-9 path=a\n",
            b"99999999999999999999 path=a\n",
            b"3 \n",
            b"9 path a\n",
            b"11 size=-1\n",
            b"path=a\n",
        ] {
            assert_eq!(Pax::parse(wrong), None, "{}", String::from_utf8_lossy(wrong));
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(bytes: Vec<u8>) {
            let _ = Pax::parse(&bytes);
        }
    }
}
