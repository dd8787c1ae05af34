//! Unsigned numbers in as few bytes as they need: LEB128, seven bits a byte, the lowest first.

/// Appends `value` to `out`.
pub(super) fn write(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes a number from the front of `input`. Numbers that are longer than need be are none.
pub(super) fn read(input: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = input.split_first()?;
        *input = rest;
        let bits = u64::from(byte & 0x7f);
        if (bits << shift) >> shift != bits || (byte == 0 && shift > 0) {
            return None;
        }
        value |= bits << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_number_has_one_spelling() {
        for wrong in [
            &[0x80, 0x00][..],
            &[0x80],
            &[],
            &[0xff; 11],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
        ] {
            assert_eq!(read(&mut &*wrong), None, "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value: u64, rest: Vec<u8>) {
            let mut bytes = Vec::new();
            write(&mut bytes, value);
            bytes.extend(&rest);
            let mut input = &bytes[..];
            prop_assert_eq!(read(&mut input), Some(value));
            prop_assert_eq!(input, &rest[..]);
        }
    }
}
