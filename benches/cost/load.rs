//! The loads, and the wrk scripts that generate them.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

use serde_json::json;

use super::{
    contenders::{Contender, TARGET},
    open_loop,
    server::Server,
};

/// The key for [`Load::OneLink`]. It is as long as a random key.
pub(crate) const KEY: &str = "q0V8fYz";

/// The user agent of a browser. The service would record fewer details of a visit by a bot.
pub(crate) const USER_AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";

/// The number of keys with seven characters from `A-Z a-z 0-9`.
const KEYS: u64 = 62_u64.pow(7);

/// The factor that spreads numbers over all keys. It is coprime with [`KEYS`].
///
/// Multiplied by ten million, the highest number of a link, it still fits into 53 bits. Lua represents such integers
/// exactly.
const SPREAD: u64 = 800_000_011;

/// Returns a key that looks random and is different for each number.
pub(crate) fn key(number: u32) -> String {
    const DIGITS: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut rest = u64::from(number) * SPREAD % KEYS;
    let digit = |_| {
        let digit = char::from(DIGITS[(rest % 62) as usize]);
        rest /= 62;
        digit
    };
    (0..7).map(digit).collect()
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Load {
    /// The same link for all requests.
    OneLink,
    /// One of the first `n` links. All of them are equally likely.
    Uniform(u32),
    /// One of the first `n` links, chosen by Zipf's law with exponent 1. The first link is k times as likely as the
    /// k-th.
    Zipf(u32),
    /// Keys without a link.
    Unknown,
    /// Requests that create links.
    Creates,
}

impl Load {
    /// Returns the key to request. `random` is uniform in 0..1.
    pub(crate) fn key(self, random: f64) -> String {
        match self {
            Self::Uniform(links) => key((random * f64::from(links)) as u32),
            Self::Zipf(links) => key(f64::from(links).powf(random) as u32 - 1),
            Self::OneLink | Self::Unknown | Self::Creates => KEY.into(),
        }
    }

    /// Returns the Lua script that generates wrk's requests.
    ///
    /// Returns `None` if all requests are the same.
    fn script(self) -> Option<String> {
        let request = match self {
            Self::OneLink => return None,
            Self::Uniform(links) => get("", &format!("math.floor(math.random() * {links})")),
            // By Zipf's law, the logarithm of the rank is uniformly distributed.
            Self::Zipf(links) => get("", &format!("math.floor({links} ^ math.random()) - 1")),
            Self::Unknown => get("x", "math.floor(math.random() * 1e7)"),
            Self::Creates => format!(
                "return wrk.format('POST', '/shorten', \
                 {{ ['Content-Type'] = 'application/x-www-form-urlencoded' }}, 'url={TARGET}')"
            ),
        };
        Some(format!("math.randomseed(1)\nrequest = function() {request} end\n"))
    }
}

/// Returns Lua code that requests the key of `number`.
///
/// The code computes the same key as [`key`].
fn get(prefix: &str, number: &str) -> String {
    format!(
        "local rest, digits, set = ({number}) * {SPREAD} % {KEYS}, {{}}, \
         '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
         for place = 1, 7 do
             local digit = rest % 62
             digits[place] = set:sub(digit + 1, digit + 1)
             rest = (rest - digit) / 62
         end
         return wrk.format('GET', '/{prefix}' .. table.concat(digits))"
    )
}

/// Creates the link for [`Load::OneLink`] if the contender needs it.
pub(crate) fn prepare(server: &Server, contender: &Contender) {
    if !contender.needs_link() || contender.load != Load::OneLink {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let link = json!({ "url": TARGET, "key": KEY });
        let create = reqwest::Client::new().post(format!("{}/shorten", server.base)).json(&link);
        // Ignore the status: after the first round, the store already has the link.
        create.send().await.expect("an answer");
    });
}

/// The results of a load.
///
/// Times are in microseconds.
#[derive(Default)]
pub(crate) struct Answers {
    pub(crate) count: f64,
    /// Responses per second.
    pub(crate) rate: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// Generates the contender's load for `seconds`.
pub(crate) fn run(base: &str, contender: &Contender, directory: &Path, seconds: u32) -> Answers {
    if let Some(rate) = contender.rate {
        return open_loop::run(base, contender.load, rate, contender.cores.load, seconds);
    }
    let mut wrk = Command::new("taskset");
    let (cores, threads) = (contender.cores.load, contender.cores.load.split(',').count().to_string());
    wrk.args(["-c", cores, "wrk", "-t", &threads, "--latency", "-d", &seconds.to_string()]);
    wrk.args(["-c", &contender.connections.to_string()]);
    wrk.args(["-H", &format!("User-Agent: {USER_AGENT}")]);
    if let Some(script) = contender.load.script() {
        let file = directory.join("load.lua");
        fs::write(&file, script).expect("a script");
        wrk.arg("-s").arg(file);
    }
    let mut wrk = wrk.arg(format!("{base}/{KEY}")).stdout(Stdio::piped()).spawn().expect("wrk is installed");
    let mut answers = Answers::default();
    for line in BufReader::new(wrk.stdout.take().expect("a pipe")).lines().map_while(Result::ok) {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            ["50%", time] => answers.p50 = micros(time),
            ["99%", time] => answers.p99 = micros(time),
            [count, "requests", "in", ..] => answers.count = count.parse().expect("a number"),
            ["Requests/sec:", number] => answers.rate = number.parse().expect("a number"),
            ["Socket", "errors:", ..] => give_up(&line),
            ["Non-2xx", ..] if contender.load != Load::Unknown => give_up(&line),
            _ => {}
        }
    }
    assert!(wrk.wait().is_ok_and(|status| status.success()) && answers.count > 0.0);
    answers
}

fn give_up(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
    std::process::exit(1);
}

/// Parses a time in wrk's format, such as `1.23ms`, into microseconds.
fn micros(text: &str) -> f64 {
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "us" => 1.0,
        "ms" => 1e3,
        _ => 1e6,
    };
    digits.parse::<f64>().expect("a number") * factor
}
