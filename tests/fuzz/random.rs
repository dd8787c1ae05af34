//! Random choices that a seed repeats.

/// SplitMix64.
pub struct Random(u64);

/// What is likely to be taken for something else somewhere.
const ODD: &[u8] = b"\0\n\r\t \"%&+,-./:;<=>?@[\\]_{}~\x7f\xc3\xa4\xff09azAZ";

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).unwrap()
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// Small numbers, those around powers of two, and any.
    pub fn number(&mut self) -> u64 {
        match self.below(4) {
            0 => self.next() % 4,
            1 => self.next() % 300,
            2 => (1_u64 << self.below(64)).wrapping_add(self.next() % 3).wrapping_sub(1),
            _ => self.next(),
        }
    }

    pub fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most + 1)).map(|_| (self.next() >> 56) as u8).collect()
    }

    /// Letters, digits and what is likely to matter.
    pub fn text(&mut self, most: usize) -> String {
        let odd: Vec<u8> = (0..self.below(most + 1)).map(|_| *self.pick(ODD)).collect();
        String::from_utf8_lossy(&odd).into_owned()
    }

    /// Parts of a grammar, one after the other.
    pub fn parts(&mut self, parts: &[&str], most: usize) -> String {
        (0..self.below(most + 1)).map(|_| *self.pick(parts)).collect()
    }

    /// Changes a few bytes, or moves, repeats or removes some of them.
    pub fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(3) {
            let (at, end) = (self.below(bytes.len() + 1), self.below(bytes.len() + 1));
            let (at, end) = (at.min(end), at.max(end));
            match self.below(5) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 => bytes.insert(at, *self.pick(ODD)),
                2 => drop(bytes.drain(at..end)),
                3 if end - at < 4096 => {
                    let copied = bytes[at..end].to_vec();
                    let to = self.below(bytes.len() + 1);
                    bytes.splice(to..to, copied);
                }
                _ => bytes.truncate(end),
            }
        }
    }

    /// The same of a text, which stays one.
    pub fn mutated(&mut self, text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        self.mutate(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
