//! Classification of visitors as people or bots, based on their headers.

use std::sync::LazyLock;

use aho_corasick::{Anchored, automaton::Automaton, dfa::DFA};
use axum::http::{HeaderMap, HeaderName, header};

use crate::clicks::{Device, Referrer, Visitor};

/// The headers that mark a prefetch, whose response may never be seen.
const PREFETCH: [HeaderName; 4] = [
    HeaderName::from_static("sec-purpose"),
    HeaderName::from_static("purpose"),
    HeaderName::from_static("x-purpose"),
    HeaderName::from_static("x-moz"),
];

#[derive(Clone, Copy)]
enum Sign {
    Bot,
    Mobile,
    Tablet,
    Desktop,
}

/// Substrings of user agents in lower case, and what they indicate.
///
/// Crawlers and services that fetch link previews usually identify themselves. Their substrings are based on the lists
/// in <https://github.com/monperrus/crawler-user-agents> and <https://github.com/omrilotan/isbot>. A user agent with
/// `Android` but without `Mobile` is a tablet, as recommended by Google.
const SIGNS: &[(&str, Sign)] = &[
    ("bot", Sign::Bot),
    ("crawl", Sign::Bot),
    ("spider", Sign::Bot),
    ("slurp", Sign::Bot),
    ("preview", Sign::Bot),
    ("prerender", Sign::Bot),
    ("fetch", Sign::Bot),
    ("scan", Sign::Bot),
    ("monitor", Sign::Bot),
    ("headless", Sign::Bot),
    ("lighthouse", Sign::Bot),
    ("facebookexternalhit", Sign::Bot),
    ("meta-external", Sign::Bot),
    ("whatsapp", Sign::Bot),
    ("skypeuri", Sign::Bot),
    ("embedly", Sign::Bot),
    ("iframely", Sign::Bot),
    ("vkshare", Sign::Bot),
    ("pinterest/", Sign::Bot),
    ("tumblr/", Sign::Bot),
    ("bitlybot", Sign::Bot),
    ("mastodon", Sign::Bot),
    ("pleroma", Sign::Bot),
    ("misskey", Sign::Bot),
    ("akkoma", Sign::Bot),
    ("mattermost", Sign::Bot),
    ("synapse (", Sign::Bot),
    ("google-", Sign::Bot),
    ("googleother", Sign::Bot),
    ("mediapartners", Sign::Bot),
    ("apis-google", Sign::Bot),
    ("feedburner", Sign::Bot),
    ("snippet", Sign::Bot),
    ("validator", Sign::Bot),
    ("archiver", Sign::Bot),
    ("uptime", Sign::Bot),
    ("pingdom", Sign::Bot),
    ("statuscake", Sign::Bot),
    ("ipad", Sign::Tablet),
    ("tablet", Sign::Tablet),
    ("kindle", Sign::Tablet),
    ("silk/", Sign::Tablet),
    ("mobile", Sign::Mobile),
    ("iphone", Sign::Mobile),
    ("ipod", Sign::Mobile),
    ("windows nt", Sign::Desktop),
    ("macintosh", Sign::Desktop),
    ("x11;", Sign::Desktop),
    ("cros ", Sign::Desktop),
    ("android", Sign::Tablet),
];

/// An automaton that matches all of [`SIGNS`] in one pass.
static AUTOMATON: LazyLock<DFA> = LazyLock::new(|| {
    DFA::builder()
        .ascii_case_insensitive(true)
        .build(SIGNS.iter().map(|(text, _)| text))
        .expect("a few dozen words make a small automaton")
});

/// Returns the visitor described by these headers.
pub fn visitor(headers: &HeaderMap) -> Visitor {
    // One pass over the header names is cheaper than looking up each name in `PREFETCH`.
    if headers.keys().any(|name| PREFETCH.contains(name)) {
        return Visitor::Bot;
    }
    let automaton = &*AUTOMATON;
    let agent = headers.get(header::USER_AGENT).map_or(&b""[..], |agent| agent.as_bytes());
    let (mut mobile, mut tablet, mut desktop) = (false, false, false);
    // This loop takes half as much work per byte as the library's overlapping search.
    let mut state = automaton.start_state(Anchored::No).expect("the automaton is not anchored");
    for byte in agent {
        state = automaton.next_state(Anchored::No, state, *byte);
        if !automaton.is_match(state) {
            continue;
        }
        for index in 0..automaton.match_len(state) {
            match SIGNS[automaton.match_pattern(state, index).as_usize()].1 {
                Sign::Bot => return Visitor::Bot,
                Sign::Mobile => mobile = true,
                Sign::Tablet => tablet = true,
                Sign::Desktop => desktop = true,
            }
        }
    }
    let is_ipad = || agent.windows(4).any(|window| window.eq_ignore_ascii_case(b"ipad"));
    let device = match (tablet, mobile, desktop) {
        (true, true, _) if is_ipad() => Device::Tablet,
        (_, true, _) => Device::Mobile,
        (true, false, _) => Device::Tablet,
        (false, false, true) => Device::Desktop,
        (false, false, false) => Device::Other,
    };
    Visitor::Person { device, referrer: referrer(headers) }
}

/// Returns the host of the referring page, without its port.
fn referrer(headers: &HeaderMap) -> Option<Referrer> {
    let url = headers.get(header::REFERER)?.to_str().ok()?;
    let rest = url.split_once(':')?.1.strip_prefix("//")?;
    let end = rest.bytes().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
    let authority = &rest[..end.unwrap_or(rest.len())];
    let start = authority.bytes().rposition(|byte| byte == b'@').map_or(0, |at| at + 1);
    let end = authority.bytes().skip(start).position(|byte| byte == b':');
    let host = &authority[start..end.map_or(authority.len(), |length| start + length)];
    let is_host = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    if is_host { host.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visitor_with(headers: &[(&str, &str)]) -> Visitor {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap()));
        visitor(&headers.collect())
    }

    fn person(device: Device) -> Visitor {
        Visitor::Person { device, referrer: None }
    }

    #[test]
    fn people_are_classified_by_device() {
        for (agent, device) in [
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36",
                Device::Desktop,
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_0) AppleWebKit/605.1.15 Version/18.0 Safari/605.1.15",
                Device::Desktop,
            ),
            ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", Device::Desktop),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Mobile/15E148 Safari/604.1",
                Device::Mobile,
            ),
            ("Mozilla/5.0 (Linux; Android 15; Pixel 9) Chrome/140.0 Mobile Safari/537.36", Device::Mobile),
            ("Mozilla/5.0 (Linux; Android 15; SM-X910) Chrome/140.0 Safari/537.36", Device::Tablet),
            (
                "Mozilla/5.0 (iPad; CPU OS 18_0 like Mac OS X) Version/18.0 Mobile/15E148 Safari/604.1",
                Device::Tablet,
            ),
            ("curl/8.5.0", Device::Other),
            ("", Device::Other),
        ] {
            assert_eq!(visitor_with(&[("user-agent", agent)]), person(device), "{agent}");
        }
        assert_eq!(visitor_with(&[]), person(Device::Other));
    }

    #[test]
    fn bots_previews_and_prefetches_are_not_people() {
        for agent in [
            "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
            "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
            "WhatsApp/2.23.20.0",
            "TelegramBot (like TwitterBot)",
            "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
            "Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)",
            "LinkedInBot/1.0 (compatible; Mozilla/5.0; Apache-HttpClient)",
            "Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5",
            "Mastodon/4.3.0 (http.rb/5.2.0; +https://mastodon.example/)",
            "Mozilla/5.0 (X11; Linux x86_64) HeadlessChrome/140.0",
        ] {
            assert_eq!(visitor_with(&[("user-agent", agent)]), Visitor::Bot, "{agent}");
        }
        for (name, value) in
            [("purpose", "prefetch"), ("sec-purpose", "prefetch;prerender"), ("x-moz", "prefetch")]
        {
            assert_eq!(
                visitor_with(&[("user-agent", "Mozilla/5.0 (Windows NT 10.0)"), (name, value)]),
                Visitor::Bot
            );
        }
    }

    #[test]
    fn the_referrer_is_only_the_host_of_the_page() {
        for (url, host) in [
            ("https://News.example/secret/path?q=1", Some("news.example")),
            ("http://user:pw@a.example:8080/", Some("a.example")),
            ("https://a.example", Some("a.example")),
            ("about:blank", None),
            ("https://", None),
            ("https://=cmd|x/", None),
            ("", None),
        ] {
            let expected =
                Visitor::Person { device: Device::Other, referrer: host.map(|host| host.parse().unwrap()) };
            assert_eq!(visitor_with(&[("referer", url)]), expected, "{url}");
        }
    }
}
