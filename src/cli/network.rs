//! How patiently to talk to a registry, and how much at once.

use std::time::Duration;

use clap::Args;

use crate::content::DEFAULT_CONCURRENCY;
use crate::remote::ClientOptions;

/// The longest time that nothing may happen, in seconds: a day.
const LONGEST_TIMEOUT: f64 = 86_400.0;

/// What to do about a bad network.
#[derive(Args, Debug)]
#[command(next_help_heading = "Network")]
pub(super) struct NetworkArgs {
    /// How many blobs are under way at once, where several are sent
    #[arg(long, value_name = "N", default_value_t = DEFAULT_CONCURRENCY, value_parser = concurrency)]
    pub(super) concurrency: usize,
    /// How often to try again what may pass: a registry that is busy, a connection that breaks. As long as a transfer
    /// gets on, it is not counted
    #[arg(long, value_name = "N", default_value_t = ClientOptions::default().retry_times)]
    retry_times: u32,
    /// How many seconds nothing may move before the connection counts as broken. There is no limit for the whole
    #[arg(long, value_name = "SECONDS", default_value_t = ClientOptions::default().stall_timeout.into(), value_parser = timeout)]
    timeout: Seconds,
}

impl NetworkArgs {
    /// Options that say this, and nothing else.
    pub(super) fn options(&self) -> ClientOptions {
        let defaults = ClientOptions::default();
        let Seconds(stall_timeout) = self.timeout;
        let connect_timeout = defaults.connect_timeout.min(stall_timeout);
        ClientOptions { stall_timeout, connect_timeout, retry_times: self.retry_times, ..defaults }
    }
}

/// A time that is typed and shown in seconds.
#[derive(Clone, Copy, Debug)]
struct Seconds(Duration);

impl From<Duration> for Seconds {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.as_secs_f64().fmt(f)
    }
}

fn timeout(text: &str) -> Result<Seconds, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.001..=LONGEST_TIMEOUT).contains(&seconds) => Ok(Seconds(Duration::from_secs_f64(seconds))),
        _ => Err("expected a number of seconds, from 0.001 to 86400".to_owned()),
    }
}

fn concurrency(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=256) => Ok(number),
        _ => Err("expected a number from 1 to 256".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_a_number_of_seconds() {
        assert_eq!(timeout("2.5").unwrap().0, Duration::from_millis(2500));
        assert_eq!(timeout("86400").unwrap().to_string(), "86400");
        for text in ["0", "-1", "1e300", "NaN", "inf", "", "5s"] {
            assert!(timeout(text).is_err(), "{text}");
        }
    }
}
