//! The outcome for each combination of link state, fallback and kind of client.

use std::num::NonZeroU32;

use jiff::{Timestamp, ToSpan};
use reqwest::{Method, header};
use urlshort::{
    blocked_hosts::BlockedHost,
    link::{
        Creator, Link,
        options::{Options, PasswordHash},
    },
    store::History,
};

use super::{BROWSER, GLOBAL, GONE, NOT_FOUND, OWN, TARGET};
use crate::support::{TestApp, link, target, with};

/// A target whose host is blocked.
const BLOCKED: &str = "https://blocked.example/";

type State = (&'static str, fn(&mut Link, Timestamp));

/// The states of a link. A new state needs a row here and its own rows in [`TABLE`].
const STATES: [State; 7] = [
    ("scheduled", |link, now| link.doc.options.starts_at = Some(now + 1.hour())),
    ("active", |_, _| {}),
    ("expired", |link, now| link.doc.options.expires_at = Some(now - 1.hour())),
    // `put_states` uses up this link's only visit.
    ("used-up", |link, _| link.doc.options.max_visits = NonZeroU32::new(1)),
    ("taken-down", |link, now| {
        link.doc.options.expires_at = Some(now - 1.hour());
        link.doc.taken_down_at = Some(now);
    }),
    ("blocked", |link, now| {
        link.doc.options.expires_at = Some(now - 1.hour());
        link.doc.target = target(BLOCKED);
    }),
    ("locked", |link, _| {
        link.doc.options.password = Some(PasswordHash::from_phc("$argon2id$v=19$m=1,t=1,p=1$c2FsdA$aGFzaA"));
    }),
];

type ClientKind = (&'static str, Method, &'static [(&'static str, &'static str)]);

/// The name, method and headers of each kind of client.
const CLIENTS: [ClientKind; 6] = [
    ("browser", Method::GET, &[("accept", BROWSER)]),
    ("API", Method::GET, &[("accept", "*/*")]),
    ("HEAD", Method::HEAD, &[("accept", BROWSER)]),
    ("API HEAD", Method::HEAD, &[]),
    ("bot", Method::GET, &[("accept", BROWSER), ("user-agent", "Googlebot/2.1")]),
    ("prefetch", Method::GET, &[("accept", BROWSER), ("sec-purpose", "prefetch")]),
];

const TABLE: &str = "
state      fallback browser       API           HEAD          API HEAD      bot           prefetch
unknown    none     404           404           404           404           404           404
unknown    global   302 not-found 404           302 not-found 404           302 not-found 302 not-found
scheduled  none     404           404           404           404           404           404
scheduled  link     404           404           404           404           404           404
scheduled  global   302 not-found 404           302 not-found 404           302 not-found 302 not-found
scheduled  both     302 not-found 404           302 not-found 404           302 not-found 302 not-found
active     none     302 target    302 target    302 target    302 target    302 target    302 target
active     link     302 target    302 target    302 target    302 target    302 target    302 target
active     global   302 target    302 target    302 target    302 target    302 target    302 target
active     both     302 target    302 target    302 target    302 target    302 target    302 target
expired    none     410           410           410           410           410           410
expired    link     302 own       410           302 own       410           302 own       302 own
expired    global   302 gone      410           302 gone      410           302 gone      302 gone
expired    both     302 own       410           302 own       410           302 own       302 own
used-up    none     410           410           410           410           410           410
used-up    link     302 own       410           302 own       410           302 own       302 own
used-up    global   302 gone      410           302 gone      410           302 gone      302 gone
used-up    both     302 own       410           302 own       410           302 own       302 own
taken-down none     410           410           410           410           410           410
taken-down link     410           410           410           410           410           410
taken-down global   410           410           410           410           410           410
taken-down both     410           410           410           410           410           410
blocked    none     410           410           410           410           410           410
blocked    link     410           410           410           410           410           410
blocked    global   410           410           410           410           410           410
blocked    both     410           410           410           410           410           410
locked     none     403           403           403           403           403           403
locked     link     403           403           403           403           403           403
locked     global   403           403           403           403           403           403
locked     both     403           403           403           403           403           403
";

/// Creates two links per state, one of them with its own fallback.
pub(super) async fn put_states(app: &TestApp) {
    let entry = BlockedHost {
        host: "blocked.example".parse().unwrap(),
        reason: None,
        blocked_by: Creator::PUBLIC,
        blocked_at: app.now(),
    };
    assert!(app.links.block_host(entry).await.unwrap());
    for (name, set) in STATES {
        for own in [false, true] {
            let key = if own { format!("{name}-own") } else { name.to_owned() };
            let options = Options { gone_url: own.then(|| target(OWN)), ..Options::default() };
            let mut link = with(options, link(&key, TARGET));
            set(&mut link, app.now());
            let history = History { visits: u64::from(name == "used-up"), ..History::default() };
            assert!(app.links.put_if_absent(link, history).await.unwrap());
        }
    }
}

async fn outcome(app: &TestApp, key: &str, method: &Method, headers: &[(&str, &str)]) -> String {
    let request = app.client.request(method.clone(), app.url(&format!("/{key}")));
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let response = request.send().await.unwrap();
    let location = response.headers().get(header::LOCATION).map(|location| location.to_str().unwrap());
    assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store", "{key} {headers:?}");
    let name = match location {
        None => "",
        Some(TARGET) => " target",
        Some(NOT_FOUND) => " not-found",
        Some(GONE) => " gone",
        Some(OWN) => " own",
        Some(other) => panic!("{key} leads to {other}"),
    };
    if location.is_some_and(|location| location != TARGET) {
        assert_eq!(response.headers()[header::VARY], "Accept", "{key} {headers:?}");
        assert_eq!(response.content_length().unwrap_or(0), 0);
    }
    format!("{}{name}", response.status().as_u16())
}

#[tokio::test]
async fn every_combination_of_state_client_and_fallback_has_its_outcome() {
    let (plain, global) = (TestApp::start().await, TestApp::start_with(&GLOBAL).await);
    put_states(&plain).await;
    put_states(&global).await;
    let mut table = format!("\n{:<10} {:<8}", "state", "fallback");
    for (name, ..) in CLIENTS {
        table += &format!(" {name:<13}");
    }
    let states = ["unknown"].into_iter().chain(STATES.iter().map(|(name, _)| *name));
    for (app, fallback, suffix, state) in states.flat_map(|state| {
        let own = if state == "unknown" { None } else { Some("-own") };
        let rows = [
            Some((&plain, "none", "")),
            own.map(|own| (&plain, "link", own)),
            Some((&global, "global", "")),
            own.map(|own| (&global, "both", own)),
        ];
        rows.into_iter().flatten().map(move |(app, fallback, suffix)| (app, fallback, suffix, state))
    }) {
        table = format!("{}\n{state:<10} {fallback:<8}", table.trim_end());
        for (_, method, headers) in CLIENTS {
            table += &format!(" {:<13}", outcome(app, &format!("{state}{suffix}"), &method, headers).await);
        }
    }
    let table = format!("{}\n", table.trim_end());
    assert!(table == TABLE, "the table is\n{table}");
}
