//! Properties of values parsed from text.

use std::collections::HashSet;

use jiff::Timestamp;
use proptest::{
    collection::vec,
    prelude::*,
    sample::select,
    string::{RegexGeneratorStrategy, string_regex},
};
use urlshort::{
    base_url::BaseUrl,
    clicks::{DayCounts, Device, Referrer, Visitor},
    config::StoreUrl,
    link::{
        Key, Target,
        options::{Tag, Tags, Title},
    },
    store::listing::Cursor,
    tokens::{Scope, Tokens},
};

/// Returns a strategy for text that matches `pattern`.
///
/// If a pattern is used directly as a strategy, proptest parses it again for each case.
fn text(pattern: &str) -> RegexGeneratorStrategy<String> {
    string_regex(pattern).unwrap()
}

/// Returns a strategy for targets in many spellings, valid and invalid.
fn target() -> impl Strategy<Value = String> {
    text(
        "[hH]ttps?:/{1,3}([a-z0-9ä.-]{1,20}|[0-9.]{1,15}|\\[[0-9a-f:]{2,20}\\])(:[0-9]{0,6})?(/[!-~é ]{0,20})?([?#][!-~]{0,10})?",
    )
}

proptest! {
    #[test]
    fn a_cursor_survives_a_round_trip(position in any::<i64>(), key in text("[A-Za-z0-9_-]{1,64}")) {
        let cursor = Cursor { position, key: key.parse().unwrap() };
        prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
    }

    #[test]
    fn a_parsed_cursor_survives_a_round_trip(text in text("[+-]?[0-9]{0,20}\\.?[A-Za-z0-9_. -]{0,10}|\\PC{0,10}")) {
        if let Ok(cursor) = text.parse::<Cursor>() {
            prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
    }

    #[test]
    fn a_store_url_reveals_only_its_kind(
        text in text("(memory|sqlite|postgres|postgresql|redis|rediss|mysql):(//)?[!-~]{0,30}|\\PC{0,20}"),
    ) {
        match text.parse::<StoreUrl>() {
            Ok(url) => {
                let shown = format!("{url:?}");
                prop_assert!(["memory", "sqlite", "postgres", "redis"].contains(&&*shown));
            }
            Err(error) => prop_assert_eq!(error.to_string(), "takes memory:, sqlite:PATH, postgres://… or redis://…"),
        }
    }

    #[test]
    fn every_listed_token_is_found_with_its_scope(
        tokens in vec((text("[!-+.-9;-~]{16,30}"), any::<bool>()), 1..5), separator in select(vec![",", "\n", " ,\n# note\n\n"]),
    ) {
        let entry = |(number, (token, reads)): (usize, &(String, bool))| {
            format!("n{number}:{token}{}", if *reads { ":read" } else { "" })
        };
        let text = tokens.iter().enumerate().map(entry).collect::<Vec<_>>().join(separator);
        prop_assume!(tokens.iter().map(|(token, _)| token).collect::<HashSet<_>>().len() == tokens.len());
        let list: Tokens = text.parse().unwrap();
        for (number, (token, reads)) in tokens.iter().enumerate() {
            let found = list.find(token, Timestamp::MAX).unwrap();
            prop_assert_eq!(found.name.as_str(), format!("n{number}"));
            prop_assert_eq!(found.scope == Scope::Read, *reads);
            prop_assert!(list.find(&token[1..], Timestamp::MIN).is_err());
            let shown = format!("{list:?}");
            prop_assert!(!shown.contains(token.as_str()));
        }
    }

    #[test]
    fn an_invalid_list_of_tokens_is_not_echoed(name in text("[a-z]{1,5}"), secret in text("[A-Z0-9]{10,30}"), end in text("[ -~\n]{0,10}")) {
        let text = format!("{name}:{secret}:{end}");
        if let Err(error) = text.parse::<Tokens>() {
            prop_assert!(!error.to_string().contains(&secret), "{}", error);
        }
    }

    #[test]
    fn a_base_url_covers_its_short_urls_and_survives_a_round_trip(text in target(), key in text("[A-Za-z0-9_-]{1,64}")) {
        if let Ok(base) = text.parse::<BaseUrl>() {
            prop_assert_eq!(&base.to_string().parse::<BaseUrl>().unwrap(), &base);
            let key: Key = key.parse().unwrap();
            let short: Target = base.short_url(&key).parse().unwrap();
            prop_assert!(base.covers(&short), "{} and {}", base, short);
            let short = base.short_url(&key);
            prop_assert_eq!(short.rsplit('/').next(), Some(key.as_str()));
        }
    }

    #[test]
    fn a_forwarded_query_never_changes_where_a_link_leads(text in target(), query in text("[!-~]{0,30}|\\PC{0,20}")) {
        if let Ok(target) = text.parse::<Target>() {
            let (before, after) = (target.to_url(), target.with_query(&query).parse::<Target>().unwrap().to_url());
            prop_assert_eq!((before.host(), before.port(), before.path()), (after.host(), after.port(), after.path()));
            prop_assert_eq!(before.fragment(), after.fragment());
            prop_assert!(target.with_query(&query).bytes().all(|byte| byte.is_ascii_graphic()));
        }
    }

    #[test]
    fn titles_and_tags_survive_a_round_trip(text in any::<String>(), words in vec(text("\\PC{0,8}"), 0..25)) {
        if let Ok(title) = text.parse::<Title>() {
            prop_assert_eq!(title.as_str().parse::<Title>(), Ok(title.clone()));
            prop_assert!(!title.as_str().contains(char::is_control));
        }
        if let Ok(tags) = Tags::parse(words.iter().map(String::as_str)) {
            prop_assert_eq!(Tags::parse(tags.iter().map(Tag::as_str)), Ok(tags.clone()));
            prop_assert!(tags.iter().zip(tags.iter().skip(1)).all(|(tag, next)| tag < next));
        }
    }

    #[test]
    fn counts_survive_a_round_trip(host in text("[!-~]{1,253}"), number in any::<u64>()) {
        let mut counts = DayCounts::default();
        for device in [Device::Desktop, Device::Mobile, Device::Tablet, Device::Other] {
            let referrer = Some(host.parse::<Referrer>().unwrap());
            counts.count(Visitor::Person { device, referrer }, number);
        }
        counts.count(Visitor::Bot, number);
        let text = serde_json::to_string(&counts).unwrap();
        prop_assert_eq!(serde_json::from_str::<DayCounts>(&text).unwrap(), counts);
    }
}
