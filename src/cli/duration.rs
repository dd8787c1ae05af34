//! Durations as they are typed, `90s`, `15m`, `24h`, `7d`, and as they are shown: `5s`, `3m 20s`, `2h 5m`.

use std::time::Duration;

/// A number and a unit.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let unit = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let seconds = match &text[unit..] {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return Err("expected a number and a unit, such as 90s, 15m, 24h or 7d".to_owned()),
    };
    let number: u64 = text[..unit].parse().map_err(|_| "expected a number before the unit".to_owned())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(|| "that is longer than time lasts".to_owned())
}

/// The same for something that is done again and again.
pub(super) fn interval(text: &str) -> Result<Duration, String> {
    match parse(text)? {
        Duration::ZERO => Err("expected one second at least".to_owned()),
        interval => Ok(interval),
    }
}

/// A duration for people, with two units at most.
pub(super) fn shown(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        ..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_two_units_at_most() {
        for (seconds, expected) in [(0, "0s"), (59, "59s"), (200, "3m 20s"), (7500, "2h 5m"), (180_000, "2d 2h")] {
            assert_eq!(shown(Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        for (text, seconds) in [("0s", 0), ("90s", 90), ("15m", 900), ("24h", 86_400), ("7d", 604_800)] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for wrong in [
            "",
            "s",
            "10",
            "1.5h",
            "-1s",
            "+1s",
            "1 h",
            "1w",
            "1hh",
            "1h30m",
            "99999999999999999999s",
            "9999999999999999999d",
            "١s",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
