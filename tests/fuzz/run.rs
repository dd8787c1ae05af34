//! Runs a target for a while.

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::str::FromStr;
use std::time::{Duration, Instant};

use crate::random::Random;

/// Runs one case after the other until the time is over, and says how many there were. `BNDLR_FUZZ_FIRST` is the seed of
/// the first; without it, it is 0, and with `BNDLR_FUZZ_SECONDS` any number.
pub fn fuzz(mut case: impl FnMut(&mut Random)) -> u64 {
    if let Some(seed) = variable("BNDLR_FUZZ_SEED") {
        case(&mut Random::new(seed));
        return 1;
    }
    let seconds = variable("BNDLR_FUZZ_SECONDS");
    let any = || seconds.map_or(0, |_| getrandom::u64().unwrap());
    let first = variable("BNDLR_FUZZ_FIRST").unwrap_or_else(any);
    let (begun, time) = (Instant::now(), Duration::from_secs(seconds.unwrap_or(1)));
    let mut cases = 0;
    while begun.elapsed() < time {
        let seed = first.wrapping_add(cases);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| case(&mut Random::new(seed)))) {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or_default();
            eprintln!("this case again: BNDLR_FUZZ_SEED={seed} cargo test --test fuzz {name}");
            resume_unwind(panic);
        }
        cases += 1;
    }
    println!("{cases} cases");
    cases
}

fn variable<T: FromStr>(name: &str) -> Option<T> {
    let value = env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is {value:?}, expected a number")))
}
