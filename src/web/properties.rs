//! Property tests for request parsing: no input causes a panic, and valid input keeps its meaning.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderName, HeaderValue, Version, header};
use jiff::{SignedDuration, Timestamp};
use proptest::{collection::vec, prelude::*, sample::select};

use crate::{
    base_url::BaseUrl,
    clicks::Visitor,
    config::{InvalidRateLimit, RateLimit},
    link::{Link, time::whole_milliseconds},
    strategies::text,
    tokens::{Scope, Tokens},
    web::{
        extract::{
            accept::preferred,
            client::client_ip,
            conditional::{IfMatch, IfNoneMatch, etag},
            ids::{RequestIds, TraceId, X_REQUEST_ID},
            link_fields::{LinkFields, checked_timestamp, expiry_after},
            service_url::has_valid_host,
            token::identify,
            visitor::visitor,
        },
        routes::{
            links::{ListQuery, batch, body::LinkPatch, stats::StatsQuery},
            qr::QrQuery,
        },
    },
};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const X_AMZN_TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");

/// Generates valid header values, often with syntactically significant bytes.
fn value() -> impl Strategy<Value = HeaderValue> {
    const MEANINGFUL: &[u8] = b"\",;=*/:.-+%[]@ \t019afqrW";
    let allowed = |byte: u8| match byte {
        b' '..=b'~' | 0xc0.. => byte,
        other => MEANINGFUL[usize::from(other) % MEANINGFUL.len()],
    };
    vec(any::<u8>().prop_map(allowed), 0..60).prop_map(|bytes| HeaderValue::from_bytes(&bytes).unwrap())
}

fn headers(name: HeaderName) -> impl Strategy<Value = HeaderMap> {
    vec(value(), 0..4).prop_map(move |values| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(&name, value);
        }
        headers
    })
}

fn header(name: &HeaderName, value: impl AsRef<[u8]>) -> HeaderMap {
    HeaderMap::from_iter([(name.clone(), HeaderValue::from_bytes(value.as_ref()).unwrap())])
}

fn address() -> impl Strategy<Value = IpAddr> {
    any::<IpAddr>().prop_map(|address| address.to_canonical())
}

/// Generates timestamps, often near the minimum, the maximum or the Unix epoch.
fn timestamp() -> impl Strategy<Value = Timestamp> {
    let edge = select(vec![Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX, at_millisecond(0)]);
    let near = (edge, -10_000_000_000..10_000_000_000_i64).prop_map(|(edge, nanoseconds)| {
        edge.saturating_add(SignedDuration::from_nanos(nanoseconds)).unwrap()
    });
    let any = Timestamp::MIN.as_second()..=Timestamp::MAX.as_second();
    prop_oneof![near, any.prop_map(|second| Timestamp::from_second(second).unwrap())]
}

fn at_millisecond(millisecond: i64) -> Timestamp {
    Timestamp::from_millisecond(millisecond).unwrap()
}

fn link(created_at: Timestamp, version: u32) -> Link {
    let link = Link::new("k".parse().unwrap(), "https://a.example".parse().unwrap(), created_at);
    Link { version, ..link }
}

/// Generates JSON values, often with the names of link fields as keys.
fn json() -> impl Strategy<Value = serde_json::Value> {
    let word = prop_oneof![
        select(vec![
            "30d",
            "9999-12-30T22:00:00.999Z",
            "-009999-01-02T01:59:59Z",
            "https://a.example",
            "k",
            "a,b"
        ])
        .prop_map(str::to_owned),
        any::<String>(),
    ];
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        word.prop_map(Into::into),
    ];
    leaf.prop_recursive(2, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Into::into),
            vec((field(), inner), 0..6).prop_map(object)
        ]
    })
}

fn field() -> impl Strategy<Value = String> {
    const NAMES: [&str; 12] = [
        "url",
        "key",
        "expires_at",
        "expires_in",
        "max_visits",
        "redirect",
        "forward_query",
        "title",
        "tags",
        "password",
        "links",
        "other",
    ];
    select(NAMES.to_vec()).prop_map(str::to_owned)
}

fn object(members: Vec<(String, serde_json::Value)>) -> serde_json::Value {
    serde_json::Value::Object(members.into_iter().collect())
}

/// Generates query strings and form bodies, often with known field names.
fn form() -> impl Strategy<Value = String> {
    const NAMES: [&str; 14] = [
        "url",
        "key",
        "expires_in",
        "tags",
        "cursor",
        "limit",
        "search",
        "tag",
        "sort",
        "from",
        "to",
        "size",
        "margin",
        "ecc",
    ];
    let pair = (
        select(NAMES.to_vec()),
        text("[ -~]{0,12}|[0-9]{1,25}|-?[0-9]{1,20}[.][a-z]{1,3}|[+-]?[0-9]{4,6}-[0-9]{2}-[0-9]{2}"),
    )
        .prop_map(|(name, value)| format!("{name}={value}"));
    prop_oneof![vec(pair, 0..5).prop_map(|pairs| pairs.join("&")), text("[ -~]{0,40}")]
}

proptest! {
    #[test]
    fn no_element_left_of_the_trusted_ones_changes_the_client(
        left in value(), trusted in vec(value(), 1..4), peer in address(), is_one_line in any::<bool>(),
    ) {
        // A header value with commas contains several elements, so count elements rather than values.
        let proxies: usize = trusted.iter().map(|value| value.as_bytes().split(|byte| *byte == b',').count()).sum();
        let right = trusted.iter().map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b',');
        let alone = header(&X_FORWARDED_FOR, &right);
        let mut both = header(&X_FORWARDED_FOR, &left);
        if is_one_line {
            both = header(&X_FORWARDED_FOR, [left.as_bytes(), &right].join(&b','));
        } else {
            both.append(X_FORWARDED_FOR, HeaderValue::from_bytes(&right).unwrap());
        }
        for proxies in 0..=proxies {
            prop_assert_eq!(client_ip(peer, &both, proxies), client_ip(peer, &alone, proxies));
        }
    }

    #[test]
    fn the_client_is_the_address_that_the_outermost_trusted_proxy_saw(
        before in value(), client in address(), after in vec(address(), 0..4), port in any::<u16>(), form in 0..2,
    ) {
        let client_text = if form == 0 { client.to_string() } else { SocketAddr::new(client, port).to_string() };
        let mut elements = vec![before.as_bytes().to_vec(), client_text.into_bytes()];
        elements.extend(after.iter().map(|address| address.to_string().into_bytes()));
        let headers = header(&X_FORWARDED_FOR, elements.join(&b','));
        let peer = IpAddr::from([192, 0, 2, 1]);
        prop_assert_eq!(client_ip(peer, &headers, after.len() + 1).0, client);
        prop_assert_eq!(client_ip(peer, &headers, 0).0, peer);
    }

    #[test]
    fn a_valid_host_stays_the_host_in_a_url(value in value()) {
        let headers = header(&header::HOST, &value);
        if has_valid_host(Version::HTTP_11, &headers)
            && let Ok(base) = format!("http://{}/", value.to_str().unwrap()).parse::<BaseUrl>()
        {
            prop_assert_eq!(base.to_string().matches('/').count(), 3, "{}", base);
        }
    }

    #[test]
    fn if_match_holds_only_for_the_tag_of_the_link(
        headers in headers(header::IF_MATCH), second in 0..100_000_000_000_i64, version in 1..u32::MAX,
    ) {
        let link = link(Timestamp::from_second(second).unwrap(), version);
        let lines: Vec<_> = headers.get_all(header::IF_MATCH).iter().map(HeaderValue::as_bytes).collect();
        let is_mentioned = lines.iter().any(|line| {
            let tag = etag(&link);
            line.windows(tag.len()).any(|window| window == tag.as_bytes()) || line.contains(&b'*')
        });
        prop_assert!(IfMatch::from_headers(&headers).check(&link).is_err() || is_mentioned || lines.is_empty());
    }

    #[test]
    fn an_issued_tag_is_recognised_among_others(
        second in 0..100_000_000_000_i64, version in 1..u32::MAX, before in text("([!#-+--~]{1,9},)?"), after in text("(,[!#-+--~]{1,9})?"),
    ) {
        let link = link(Timestamp::from_second(second).unwrap(), version);
        let tag = etag(&link).to_str().unwrap().to_owned();
        let list = format!("{before} {tag} {after}");
        prop_assert!(IfMatch::from_headers(&header(&header::IF_MATCH, &list)).check(&link).is_ok());
        prop_assert!(IfNoneMatch::from_headers(&header(&header::IF_NONE_MATCH, &list)).matches(&link));
        let newer = self::link(link.created_at, version + 1);
        prop_assert!(IfMatch::from_headers(&header(&header::IF_MATCH, tag)).check(&newer).is_err());
    }

    #[test]
    fn no_if_none_match_header_panics(headers in headers(header::IF_NONE_MATCH)) {
        IfNoneMatch::from_headers(&headers).matches(&link(Timestamp::UNIX_EPOCH, 1));
    }

    #[test]
    fn the_preferred_type_is_one_of_the_offers(headers in headers(header::ACCEPT)) {
        const OFFERS: [&str; 3] = ["application/json", "text/plain", "text/html"];
        prop_assert!(OFFERS.contains(&preferred(&headers, &OFFERS)));
    }

    #[test]
    fn only_the_exact_token_is_authorised(headers in headers(header::AUTHORIZATION), token in text("[!-+--9;-~]{16,40}")) {
        let tokens: Tokens = format!("name:{token}:read").parse().unwrap();
        let find = |headers| identify(&tokens, headers, Timestamp::UNIX_EPOCH).map(|token| (token.name.as_str(), token.scope));
        prop_assert!(find(&headers).is_err());
        let right = header(&header::AUTHORIZATION, format!("bEARER {token}"));
        prop_assert_eq!(find(&right).unwrap(), ("name", Scope::Read));
        let longer = header(&header::AUTHORIZATION, format!("Bearer {token}x"));
        prop_assert!(find(&longer).is_err());
    }

    #[test]
    fn a_trace_id_is_lower_case_hexadecimal(mut parent in headers(TRACEPARENT), root in value()) {
        parent.insert(X_AMZN_TRACE_ID, root);
        if let Some(id) = TraceId::of(&parent) {
            prop_assert!(id.as_str().bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
        }
    }

    #[test]
    fn a_trace_id_is_found_in_both_forms(id in text("[0-9a-f]{31}[1-9a-f]"), span in text("[0-9a-f]{15}[1-9a-f]"), noise in text("[a-z]{0,5}")) {
        let parent = header(&TRACEPARENT, format!("00-{id}-{span}-01"));
        prop_assert_eq!(TraceId::of(&parent).unwrap().as_str().to_owned(), id.clone());
        let root = format!("Self={noise};Root=1-{}-{};Lineage={noise}", &id[..8], &id[8..]);
        prop_assert_eq!(TraceId::of(&header(&X_AMZN_TRACE_ID, root)).unwrap().as_str().to_owned(), id);
    }

    #[test]
    fn a_request_id_is_visible_ascii_of_bounded_length(headers in headers(X_REQUEST_ID)) {
        let id = RequestIds::new([1, 2, 3, 4]).of(&headers);
        prop_assert!((1..=128).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic));
    }

    #[test]
    fn an_idempotency_key_is_visible_ascii_or_refused(value in value()) {
        let headers = header(&HeaderName::from_static("idempotency-key"), &value);
        let is_good = !value.is_empty() && value.as_bytes().iter().all(u8::is_ascii_graphic);
        prop_assert_eq!(batch::IdempotencyKey::from_headers(&headers).is_ok(), is_good);
    }

    #[test]
    fn a_user_agent_is_classified_without_regard_to_case(value in value(), referer in value()) {
        let agent = |bytes: &[u8]| {
            let mut headers = header(&header::USER_AGENT, bytes);
            headers.insert(header::REFERER, referer.clone());
            visitor(&headers)
        };
        let bytes = value.as_bytes();
        prop_assert_eq!(agent(bytes), agent(&bytes.to_ascii_uppercase()));
        prop_assert_eq!(agent(&[bytes, b"Googlebot/2.1"].concat()), Visitor::Bot);
        if let Visitor::Person { referrer: Some(referrer), .. } = agent(bytes) {
            let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
            prop_assert!(referrer.as_str().bytes().all(is_host), "{:?}", referrer);
        }
    }

    #[test]
    fn a_rate_limit_is_a_number_and_a_unit(text in text("[ -~]{0,10}|[0-9]{0,11}/(s|min|h|d)"), requests in 1..u32::MAX) {
        let _ = text.parse::<RateLimit>();
        for unit in ["s", "min", "h"] {
            let limit = format!("{requests}/{unit}");
            prop_assert!(limit.parse::<RateLimit>().unwrap().0.is_some());
            prop_assert_eq!(format!("0{unit}").parse::<RateLimit>(), Err(InvalidRateLimit));
        }
    }

    #[test]
    fn an_expiry_survives_storing_and_formatting(time in timestamp()) {
        if let Ok(kept) = checked_timestamp("expires_at", time) {
            prop_assert!(time.duration_since(kept).abs() < SignedDuration::from_millis(1));
            prop_assert_eq!(at_millisecond(kept.as_millisecond()), kept);
            prop_assert_eq!(kept.to_string().parse::<Timestamp>().unwrap(), kept);
        }
    }

    #[test]
    fn expires_in_never_leads_to_the_past(now in timestamp(), text in text("[0-9]{0,22}|([0-9]{1,12} ?(ns|ms|s|m|min|h|d|w|M|y) ?){1,3}|\\PC{0,10}")) {
        let now = whole_milliseconds(now).unwrap_or(Timestamp::UNIX_EPOCH);
        if let Ok(expiry) = expiry_after(now, &text) {
            prop_assert!(expiry >= now);
            prop_assert!(checked_timestamp("expires_in", expiry).is_ok());
        }
    }

    #[test]
    fn a_plain_number_in_expires_in_is_seconds(seconds in 0..10_000_000_000_u64) {
        let expiry = expiry_after(Timestamp::UNIX_EPOCH, &seconds.to_string()).unwrap();
        prop_assert_eq!(expiry.as_second(), i64::try_from(seconds).unwrap());
    }

    #[test]
    fn no_json_makes_link_fields_panic(value in vec((field(), json()), 0..6).prop_map(object), now in timestamp()) {
        let text = value.to_string();
        if let Ok(fields) = serde_json::from_str::<LinkFields>(&text) {
            let _ = fields.read(now);
        }
        if let Ok(patch) = serde_json::from_str::<LinkPatch>(&text) {
            let _ = patch.password();
            let _ = patch.apply(&link(Timestamp::UNIX_EPOCH, 1).doc, now);
        }
        let _ = serde_json::from_str::<batch::BatchFields>(&text);
    }

    #[test]
    fn no_bytes_make_link_fields_panic(bytes in vec(any::<u8>(), 0..60), form in form()) {
        let _ = serde_json::from_slice::<LinkFields>(&bytes);
        for text in [&bytes, form.as_bytes()] {
            if let Ok(fields) = serde_html_form::from_bytes::<LinkFields>(text) {
                let _ = fields.read(Timestamp::UNIX_EPOCH);
            }
        }
    }

    #[test]
    fn no_query_panics(query in form()) {
        let _ = serde_html_form::from_str::<ListQuery>(&query);
        let _ = serde_html_form::from_str::<StatsQuery>(&query);
        let _ = serde_html_form::from_str::<QrQuery>(&query);
    }
}
