//! Numbers that are the same for the same seed.
#![allow(dead_code)] // each test binary uses a part of it

use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// The seed that the variable gives, else a new one. It is shown when the test fails.
pub fn seed(variable: &str) -> u64 {
    let given = std::env::var(variable).ok().map(|seed| seed.parse().unwrap());
    let seed = given.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64);
    println!("{variable}={seed}");
    seed
}
