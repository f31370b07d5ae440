//! Content negotiation with the `Accept` header (RFC 9110, section 12.5.1).

use axum::http::{HeaderMap, header};

/// Returns the offer that the `Accept` header ranks highest.
///
/// Ties go to the earlier offer. If there is no header, or no offer matches it, the first offer is returned, because an
/// unrequested representation is more helpful than a 406.
pub(crate) fn preferred(headers: &HeaderMap, offers: &[&'static str]) -> &'static str {
    if !headers.contains_key(header::ACCEPT) {
        return offers[0];
    }
    let accepted: Vec<_> = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(parse_range)
        .collect();
    let mut best = (offers[0], 0.0);
    for offer in offers {
        let quality = quality(&accepted, offer);
        if quality > best.1 {
            best = (offer, quality);
        }
    }
    best.0
}

/// Parses a media range and its weight.
fn parse_range(text: &str) -> (&str, f32) {
    let mut parts = text.split(';').map(str::trim);
    let range = parts.next().unwrap_or_default();
    let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    (range, weight.map_or(1.0, |weight| weight.parse().unwrap_or(0.0)))
}

/// Returns the weight of the most specific range that matches `offer`.
fn quality(accepted: &[(&str, f32)], offer: &str) -> f32 {
    let main_type = offer.split('/').next().unwrap_or_default();
    let weight_of = |matches: &dyn Fn(&str) -> bool| {
        accepted.iter().find(|(range, _)| matches(range)).map(|(_, weight)| *weight)
    };
    let is_main_type =
        |range: &str| range.strip_suffix("/*").is_some_and(|wanted| wanted.eq_ignore_ascii_case(main_type));
    weight_of(&|range| range.eq_ignore_ascii_case(offer))
        .or_else(|| weight_of(&is_main_type))
        .or_else(|| weight_of(&|range| range == "*/*"))
        .unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_weight_wins_and_the_first_offer_breaks_ties() {
        for (accept, chosen) in [
            ("", "application/json"),
            ("*/*", "application/json"),
            ("text/plain", "text/plain"),
            ("TEXT/plain; charset=utf-8", "text/plain"),
            ("text/html,application/xhtml+xml,*/*;q=0.8", "application/json"),
            ("text/*;q=0.5, application/json;q=0.4", "text/plain"),
            ("application/json;q=0, */*;q=0.1", "text/plain"),
            ("image/png", "application/json"),
            ("text/plain;q=nonsense", "application/json"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            assert_eq!(preferred(&headers, &["application/json", "text/plain"]), chosen, "{accept:?}");
        }
    }
}
