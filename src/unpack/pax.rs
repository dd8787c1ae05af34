//! PAX records (POSIX.1-2017, pax, "pax Extended Header"), as far as they say where an entry goes and how long it is.

/// What the records of one entry say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) linkpath: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    /// The file is sparse, in one of the three ways that GNU tar has for PAX.
    pub(super) is_sparse: bool,
}

impl Pax {
    /// Reads `<length> <keyword>=<value>\n` again and again; a value may have anything in it, because the length counts.
    /// A keyword that matters and stands there twice is refused, because readers differ in which one they take.
    // By value, because the other extension headers keep what they are given.
    #[allow(clippy::needless_pass_by_value)]
    pub(super) fn parse(records: Vec<u8>) -> Option<Self> {
        let mut pax = Self::default();
        let mut rest = &records[..];
        while !rest.is_empty() {
            let space = rest.iter().position(|&byte| byte == b' ')?;
            let length = number(&rest[..space])?;
            let (record, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
            let equals = record.iter().position(|&byte| byte == b'=')?;
            pax.set(&record[..equals], &record[equals + 1..])?;
            rest = after;
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

/// A number in decimal digits and nothing else.
fn number(digits: &[u8]) -> Option<u64> {
    let is_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    is_digits.then(|| std::str::from_utf8(digits).ok()?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_value_may_have_newlines_and_equal_signs_in_it() {
        let pax = Pax::parse(b"14 path=a\nb=c\n13 mtime=1.2\n10 size=7\n".to_vec()).unwrap();
        assert_eq!(pax, Pax { path: Some(b"a\nb=c".to_vec()), size: Some(7), ..Pax::default() });
        assert!(Pax::parse(b"22 GNU.sparse.major=1\n".to_vec()).unwrap().is_sparse);
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
            assert_eq!(Pax::parse(wrong.to_vec()), None, "{}", String::from_utf8_lossy(wrong));
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(bytes: Vec<u8>) {
            let _ = Pax::parse(bytes);
        }
    }
}
