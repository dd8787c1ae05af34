//! `Range` and `Content-Range`, beside a reader that is as plain as can be.

use bndlr::protocol::{ByteRanges, ChunkRange, Selection};

use crate::random::Random;
use crate::run::fuzz;

const PARTS: &[&str] =
    &["bytes", "=", "bytes=", "-", ",", ", ", " ", "0", "1", "9", "10", "00", "*", "/", "+1", "x", "bytes "];

/// A number as the grammar has it: digits. What no integer can hold is very large.
fn number(text: &str) -> Option<u128> {
    let is_number = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u128::MAX))
}

/// Which bytes each element asks for; nothing, if the header means nothing.
fn plain(text: &str, size: u64) -> Option<Vec<Vec<u64>>> {
    let (unit, ranges) = text.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let elements: Vec<&str> = ranges.split(',').map(str::trim).filter(|element| !element.is_empty()).collect();
    if elements.is_empty() || elements.len() > 64 {
        return None;
    }
    let select = |element: &&str| {
        let (first, last) = element.split_once('-')?;
        let is_in: Box<dyn Fn(u128) -> bool> = match (first, last) {
            ("", length) => {
                let length = number(length)?;
                Box::new(move |at| u128::from(size) - at <= length)
            }
            (first, "") => {
                let first = number(first)?;
                Box::new(move |at| at >= first)
            }
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                Box::new(move |at| at >= first && at <= last)
            }
        };
        Some((0..size).filter(|at| is_in(u128::from(*at))).collect())
    };
    elements.iter().map(select).collect()
}

/// The same as the answer that it comes to.
fn expected(parts: Vec<Vec<u64>>) -> Selection {
    let ends = |part: &Vec<u64>| Some(*part.first()?..part.last()? + 1);
    let mut ranges: Vec<_> = parts.iter().filter_map(ends).collect();
    let mut all: Vec<u64> = parts.into_iter().flatten().collect();
    let asked = all.len();
    all.sort_unstable();
    all.dedup();
    match ranges.len() {
        0 => Selection::Nothing,
        1 => Selection::Part(ranges.remove(0)),
        _ if all.len() < asked => Selection::Whole,
        _ => Selection::Parts(ranges),
    }
}

fn header(random: &mut Random) -> String {
    if random.once_in(3) {
        return random.parts(PARTS, 9);
    }
    let position =
        |random: &mut Random| if random.once_in(4) { String::new() } else { (random.next() % 40).to_string() };
    let range = |random: &mut Random| {
        let last = if random.once_in(8) { random.number().to_string() } else { position(random) };
        format!("{}-{last}", position(random))
    };
    let ranges: Vec<String> = (0..=random.below(4)).map(|_| range(random)).collect();
    let header = format!("bytes={}", ranges.join(","));
    if random.once_in(4) { random.mutated(&header) } else { header }
}

#[test]
fn a_range_selects_what_a_plain_reader_selects() {
    fuzz(|random| {
        let (text, size) = (header(random), random.next() % 40);
        let found = text.parse::<ByteRanges>().ok().map(|ranges| ranges.select(size));
        assert_eq!(found, plain(&text, size).map(expected), "{text:?} of {size} bytes");
    });
}

#[test]
fn a_chunk_belongs_where_a_plain_reader_puts_it() {
    fuzz(|random| {
        let (first, last) = (random.number(), random.number());
        let valid = format!("{}{first}-{last}{}", random.pick(&["", "bytes "]), random.pick(&["", "/*", "/10"]));
        let text = if random.once_in(2) { random.mutated(&valid) } else { valid };
        let range = text.strip_prefix("bytes ").map_or(&*text, |rest| rest.split('/').next().unwrap());
        let plain = range.split_once('-').and_then(|(first, last)| Some((number(first)?, number(last)?)));
        let plain = plain.filter(|(first, last)| first <= last && *last <= u128::from(u64::MAX));
        let found = text.parse::<ChunkRange>().ok();
        assert_eq!(found.map(|range| (range.first.into(), range.last.into())), plain, "{text:?}");
        if let Some(range) = found {
            assert_eq!(range.to_string().parse(), Ok(range));
        }
    });
}
