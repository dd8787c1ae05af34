//! Trying again: only what can be repeated without harm, a few times, and later each time.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use http::header::RETRY_AFTER;
use reqwest::{Method, StatusCode};

use super::Error;
use super::answer::Answer;

/// How often something is tried again.
const RETRIES: usize = 2;
/// How long to wait before the second try; it doubles, and each wait is lengthened by chance by up to as much again.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// The longest wait that a registry may ask for. If it wants more, its answer stands.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// What an attempt came to, and may be better next time.
enum Unlucky {
    Answer(Answer),
    Error(Error),
}

/// Makes a request with `attempt`, again where the method and the failure allow it.
pub(super) async fn with_retries<F>(method: &Method, attempt: impl Fn() -> F) -> Result<Answer, Error>
where
    F: Future<Output = Result<Answer, Error>>,
{
    if !matches!(*method, Method::GET | Method::HEAD) {
        return attempt().await;
    }
    let fallible = || async {
        match attempt().await {
            Ok(answer) if is_transient(answer.status()) => Err(Unlucky::Answer(answer)),
            Ok(answer) => Ok(answer),
            Err(error) => Err(Unlucky::Error(error)),
        }
    };
    let delays = ExponentialBuilder::default().with_min_delay(FIRST_DELAY).with_max_times(RETRIES).with_jitter();
    let outcome = fallible
        .retry(delays)
        .when(|unlucky| match unlucky {
            Unlucky::Answer(_) => true,
            Unlucky::Error(error) => error.is_transient(),
        })
        .adjust(|unlucky, delay| match unlucky {
            Unlucky::Answer(answer) => wait(answer.header(RETRY_AFTER.as_str()), delay?),
            Unlucky::Error(_) => delay,
        })
        .await;
    match outcome {
        Ok(answer) | Err(Unlucky::Answer(answer)) => Ok(answer),
        Err(Unlucky::Error(error)) => Err(error),
    }
}

fn is_transient(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

/// How long to wait: at least as many seconds as the registry asks for, unless that is too long to wait for at all.
fn wait(retry_after: Option<&str>, delay: Duration) -> Option<Duration> {
    let asked = retry_after.and_then(|value| value.trim().parse().ok()).map_or(Duration::ZERO, Duration::from_secs);
    (asked <= LONGEST_WAIT).then(|| delay.max(asked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_decides_how_long_to_wait_within_a_bound() {
        let delay = Duration::from_millis(100);
        assert_eq!(wait(None, delay), Some(delay));
        assert_eq!(wait(Some("2"), delay), Some(Duration::from_secs(2)));
        assert_eq!(wait(Some("0"), delay), Some(delay));
        assert_eq!(wait(Some("3600"), delay), None);
        assert_eq!(wait(Some("18446744073709551615"), delay), None);
        assert_eq!(wait(Some("Wed, 21 Oct 2026 07:28:00 GMT"), delay), Some(delay));
    }
}
