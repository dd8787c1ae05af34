//! PAX records (POSIX.1-2017, pax, "pax Extended Header"): `<length> <keyword>=<value>\n`, again and again. The length
//! counts the whole record, itself included, so a value may have anything in it.

/// Takes the first of some records off their front: its keyword and its value. Nothing, where there is no record.
pub fn take_record<'a>(records: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let space = records.iter().position(|&byte| byte == b' ')?;
    let length = usize::try_from(number(&records[..space])?).ok()?;
    let (record, rest) = records.split_at_checked(length)?;
    let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|&byte| byte == b'=')?;
    *records = rest;
    Some((&record[..equals], &record[equals + 1..]))
}

/// Appends a record.
pub fn write_record(records: &mut Vec<u8>, keyword: &str, value: &str) {
    let rest = keyword.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} {keyword}={value}\n").as_bytes());
}

/// A number in decimal digits and nothing else.
pub(super) fn number(digits: &[u8]) -> Option<u64> {
    let is_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    is_digits.then(|| std::str::from_utf8(digits).ok()?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_record_counts_the_digits_of_its_own_length() {
        for length in 1..1200 {
            let mut records = Vec::new();
            write_record(&mut records, "path", &"x".repeat(length));
            let text = String::from_utf8(records).unwrap();
            let (count, _) = text.split_once(' ').unwrap();
            assert_eq!(count.parse::<usize>().unwrap(), text.len());
        }
    }

    #[test]
    fn a_value_may_have_newlines_and_equal_signs_in_it() {
        let mut records = &b"14 path=a\nb=c\n13 mtime=1.2\n"[..];
        assert_eq!(take_record(&mut records), Some((&b"path"[..], &b"a\nb=c"[..])));
        assert_eq!(take_record(&mut records), Some((&b"mtime"[..], &b"1.2"[..])));
        assert!(records.is_empty());
    }

    #[test]
    fn what_breaks_off_or_lies_about_its_length_is_no_record() {
        for wrong in [
            &b""[..],
            b"11 path=a\n",
            b"9 path=a",
            b"-9 path=a\n",
            b"+9 path=a\n",
            b"99999999999999999999 path=a\n",
            b"3 \n",
            b"9 path a\n",
            b"path=a\n",
        ] {
            assert_eq!(take_record(&mut &wrong[..]), None, "{}", String::from_utf8_lossy(wrong));
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(keyword in "[a-zA-Z.]{1,20}", value: String) {
            let mut records = Vec::new();
            write_record(&mut records, &keyword, &value);
            prop_assert_eq!(take_record(&mut &records[..]), Some((keyword.as_bytes(), value.as_bytes())));
        }

        #[test]
        fn reading_never_panics(bytes: Vec<u8>) {
            let _ = take_record(&mut &bytes[..]);
        }
    }
}
