//! Trying again: only what can be repeated without harm, a few times, later each time, and not while a host asks to be
//! left alone.
//!
//! Waits are as long as chance says, up to a bound that doubles ("full jitter"), so that many clients that failed
//! together do not come back together.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::header::RETRY_AFTER;
use jiff::Timestamp;
use reqwest::{Method, StatusCode, Url};
use tokio::time::Instant;

use super::answer::Answer;
use super::{Error, trace};

/// The longest wait that a registry may ask for. If it wants more, its answer stands.
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// How many bytes of something large have to come between two failures, so that the first is not counted any more. With
/// fewer, somebody could keep a client busy forever who lets a byte through each time.
const PROGRESS: u64 = 64 * 1024;
/// The longest wait that nobody asked for.
const LONGEST_DELAY: Duration = Duration::from_secs(10);

/// When a request may be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Whatever became of it: once more does no harm.
    Freely,
    /// If the registry cannot have begun to do what it says.
    IfRefused,
    /// Never by itself: whoever makes it knows better how to go on.
    Never,
}

impl Repeat {
    /// What is known of a method alone. To delete twice does no harm, but the second time nothing is there, which
    /// would be told as a failure.
    pub(super) fn of(method: &Method) -> Self {
        match *method {
            Method::GET | Method::HEAD | Method::PUT => Self::Freely,
            _ => Self::IfRefused,
        }
    }

    fn allows(self, outcome: &Result<Answer, Error>) -> bool {
        let (is_transient, is_refused) = match outcome {
            Ok(answer) => (answer.is_transient(), is_refused(answer.status())),
            Err(error) => (error.is_transient(), error.was_never_sent()),
        };
        is_transient && (self == Self::Freely || self == Self::IfRefused && is_refused)
    }
}

/// How often something is tried again, and how patiently.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy {
    /// How often, after the first time.
    pub(super) times: u32,
    /// How long to wait at most before the first of these; it doubles.
    pub(super) first_delay: Duration,
}

impl Policy {
    pub(super) fn tries(self) -> Tries {
        Tries { policy: self, failed: 0, reached: 0 }
    }

    /// How long to wait at most after so many failures.
    fn longest_delay(self, failed: u32) -> Duration {
        self.first_delay.saturating_mul(2_u32.saturating_pow(failed)).min(LONGEST_DELAY)
    }
}

/// How often something has failed.
#[derive(Debug)]
pub(super) struct Tries {
    policy: Policy,
    failed: u32,
    /// How many bytes there were at the last failure that counts.
    reached: u64,
}

impl Tries {
    /// Waits until it may be tried again, and says whether it may be at all.
    pub(super) async fn wait(&mut self) -> bool {
        if self.failed >= self.policy.times {
            return false;
        }
        let delay = by_chance(self.policy.longest_delay(self.failed));
        trace::again(delay);
        tokio::time::sleep(delay).await;
        self.failed += 1;
        true
    }

    /// The same for a request that came to `outcome`.
    pub(super) async fn wait_after(&mut self, outcome: &Result<Answer, Error>, repeat: Repeat) -> bool {
        repeat.allows(outcome) && self.wait().await
    }

    /// Whether this is the last one of several.
    pub(super) fn is_last(&self) -> bool {
        self.policy.times > 1 && self.failed == self.policy.times
    }

    /// Takes note of how many bytes there are, and forgets the failures before them if they are enough.
    pub(super) fn reach(&mut self, bytes: u64) {
        if is_progress(self.reached, bytes) {
            self.failed = 0;
            self.reached = bytes;
        }
    }
}

/// Whether something large has got on, from so many bytes to so many.
pub(super) fn is_progress(before: u64, now: u64) -> bool {
    now >= before.saturating_add(PROGRESS)
}

/// Anything from no time to this long. If the system has no random numbers, this long.
fn by_chance(longest: Duration) -> Duration {
    let nanos = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX);
    getrandom::u64().map_or(longest, |number| Duration::from_nanos(number % nanos.saturating_add(1)))
}

/// What nginx and CNCF Distribution answer to somebody who went away in the middle of a request. Whoever gets to see
/// it did not: a proxy between did.
const CUT_SHORT: u16 = 499;

/// Whether the same request may well have another answer a moment later.
fn is_transient(status: StatusCode) -> bool {
    let is_final = matches!(status, StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED);
    is_refused(status) || status == CUT_SHORT || status.is_server_error() && !is_final
}

/// Whether nothing was done, and may be a moment later.
fn is_refused(status: StatusCode) -> bool {
    matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
}

impl Answer {
    /// Whether the same request may well have another answer, at the latest when [`LONGEST_WAIT`] is over.
    pub(super) fn is_transient(&self) -> bool {
        is_transient(self.status()) && self.asked_wait().is_none_or(|asked| asked <= LONGEST_WAIT)
    }

    /// How long the registry asks to be left alone.
    fn asked_wait(&self) -> Option<Duration> {
        retry_after(self.header(RETRY_AFTER.as_str())?, Timestamp::now())
    }
}

/// What `Retry-After` says: seconds, or a date (RFC 9110, section 10.2.3).
fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(value.parse().map_or(Duration::MAX, Duration::from_secs));
    }
    let date = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    Some(Duration::try_from(date.duration_since(now)).unwrap_or(Duration::ZERO))
}

/// Hosts that asked to be left alone. One for all that is under way, so that what one request is told slows down all
/// to the same host, and once, however many are told.
#[derive(Debug, Default)]
pub(super) struct Hosts(Mutex<HashMap<String, Pause>>);

#[derive(Clone, Copy, Debug)]
struct Pause {
    until: Instant,
    /// How often in a row the host has asked.
    asked: u32,
}

impl Hosts {
    /// Returns once a request may be made.
    pub(super) async fn admit(&self, url: &Url) {
        while let Some(until) = self.paused_until(url) {
            tokio::time::sleep_until(until).await;
        }
    }

    /// Takes note of an answer.
    pub(super) fn heed(&self, url: &Url, answer: &Answer, policy: Policy) {
        let (asked, now) = (answer.asked_wait(), Instant::now());
        let mut hosts = self.lock();
        if answer.status() == StatusCode::TOO_MANY_REQUESTS || answer.is_transient() && asked.is_some() {
            let pause = hosts.entry(host(url)).or_insert(Pause { until: now, asked: 0 });
            *pause = pause.longer(now, asked, policy);
            trace::pause(&host(url), pause.until - now);
        } else if !hosts.is_empty() {
            // What was under way when a pause began does not end it.
            hosts.retain(|paused, pause| pause.until > now || *paused != host(url));
        }
    }

    fn paused_until(&self, url: &Url) -> Option<Instant> {
        let hosts = self.lock();
        if hosts.is_empty() {
            return None;
        }
        hosts.get(&host(url)).map(|pause| pause.until).filter(|until| *until > Instant::now())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Pause>> {
        // Insertions and removals only: a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pause {
    /// The pause after the host has asked for one. Who was under way when it began learns nothing new from being asked
    /// once more, unless it is to wait longer.
    fn longer(self, now: Instant, asked: Option<Duration>, policy: Policy) -> Self {
        // Whoever wants more is not asked again by the request that it was said to; others may be luckier.
        let wanted = asked.unwrap_or_default().min(LONGEST_WAIT);
        if now < self.until {
            return Self { until: self.until.max(now + wanted), ..self };
        }
        let delay = policy.longest_delay(self.asked).max(wanted);
        Self { until: now + delay, asked: self.asked.saturating_add(1) }
    }
}

/// `https://registry.example`
fn host(url: &Url) -> String {
    url.origin().ascii_serialization()
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy { times: 3, first_delay: Duration::from_millis(100) };

    #[test]
    fn a_registry_says_how_long_to_wait_in_seconds_or_as_a_date() {
        let now: Timestamp = "2026-10-21T07:28:00Z".parse().unwrap();
        for (value, expected) in [
            ("2", Some(Duration::from_secs(2))),
            (" 0 ", Some(Duration::ZERO)),
            ("99999999999999999999999", Some(Duration::MAX)),
            ("Wed, 21 Oct 2026 07:28:30 GMT", Some(Duration::from_secs(30))),
            ("Wed, 21 Oct 2026 07:27:30 GMT", Some(Duration::ZERO)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
        ] {
            assert_eq!(retry_after(value, now), expected, "{value}");
        }
    }

    #[test]
    fn what_may_have_been_done_is_repeated_only_where_that_does_no_harm() {
        let answer = |status: u16| {
            let response = http::Response::builder().status(status).body("").unwrap();
            Ok(Answer::new(String::new(), response.into(), false, Duration::MAX))
        };
        for (method, allowed, not_allowed) in [
            (Method::GET, &[408, 429, 500, 502, 503][..], &[200, 404][..]),
            (Method::PUT, &[408, 429, 500, 502, 503], &[201, 412]),
            (Method::DELETE, &[408, 429, 503], &[202, 404, 499, 500, 502, 504]),
            (Method::POST, &[408, 429, 503], &[202, 499, 500, 502, 504]),
        ] {
            let repeat = Repeat::of(&method);
            assert!(allowed.iter().all(|status| repeat.allows(&answer(*status))), "{method}");
            assert!(!not_allowed.iter().any(|status| repeat.allows(&answer(*status))), "{method}");
        }
        assert!(!Repeat::Never.allows(&answer(503)));
        let stalled = || Err(Error::Stalled { request: String::new(), after: Duration::ZERO, hint: None });
        assert!(Repeat::Freely.allows(&stalled()) && !Repeat::IfRefused.allows(&stalled()));
    }

    #[test]
    fn what_cannot_get_better_is_not_tried_again() {
        for status in [408, 429, 499, 500, 502, 503, 504] {
            assert!(is_transient(StatusCode::from_u16(status).unwrap()), "{status}");
        }
        for status in [200, 302, 400, 401, 403, 404, 409, 413, 416, 501, 505] {
            assert!(!is_transient(StatusCode::from_u16(status).unwrap()), "{status}");
        }
    }

    #[test]
    fn waits_double_up_to_a_bound_and_chance_shortens_them() {
        let bounds: Vec<_> = (0..4).map(|failed| POLICY.longest_delay(failed).as_millis()).collect();
        assert_eq!(bounds, [100, 200, 400, 800]);
        assert_eq!(POLICY.longest_delay(u32::MAX), LONGEST_DELAY);
        let second = Duration::from_secs(1);
        assert!((0..100).all(|_| by_chance(second) <= second));
        assert_eq!(by_chance(Duration::ZERO), Duration::ZERO);
    }

    #[tokio::test]
    async fn tries_are_counted_until_something_gets_on() {
        let mut tries = Policy { times: 2, first_delay: Duration::ZERO }.tries();
        assert!(tries.wait().await && tries.wait().await && !tries.wait().await);
        tries.reach(PROGRESS - 1);
        assert!(!tries.wait().await, "a byte now and then is no progress");
        tries.reach(PROGRESS);
        assert!(tries.wait().await && !tries.is_last() && tries.wait().await && tries.is_last());
        tries.reach(0);
        tries.reach(PROGRESS + 1);
        assert!(!tries.wait().await, "nor is the same once more");
    }

    #[test]
    fn a_host_that_says_to_many_requests_to_slow_down_is_left_alone_once() {
        let now = Instant::now();
        let ms = Duration::from_millis;
        let first = Pause { until: now, asked: 0 }.longer(now, None, POLICY);
        assert_eq!(first.until, now + ms(100));
        let again = first.longer(now + ms(50), None, POLICY);
        assert_eq!((again.until, again.asked), (first.until, 1), "the same pause, for who was under way");
        let more = first.longer(now + ms(50), Some(ms(500)), POLICY);
        assert_eq!((more.until, more.asked), (now + ms(550), 1), "the one who is to wait longest counts");
        let later = first.longer(now + ms(150), None, POLICY);
        assert_eq!((later.until, later.asked), (now + ms(350), 2), "a second pause is longer");
        let bounded = first.longer(now + ms(150), Some(Duration::MAX), POLICY);
        assert_eq!(bounded.until, now + ms(150) + LONGEST_WAIT);
    }
}
