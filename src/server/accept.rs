//! What a client would rather have (RFC 9110, section 12.5.1).

use http::header::{ACCEPT, HeaderMap};

/// How much a media type is wanted that is asked for by its name: from 0, not at all or not by name, to 1.
pub(super) fn weight(headers: &HeaderMap, wanted: &str) -> f32 {
    let values = headers.get_all(ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    let weights = values.flat_map(|value| value.split(',')).filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let matches = parts.next()?.eq_ignore_ascii_case(wanted);
        let q = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        matches.then(|| q.map_or(Some(1.0), |q| q.parse::<f32>().ok()))?
    });
    weights.fold(0.0, f32::max)
}
