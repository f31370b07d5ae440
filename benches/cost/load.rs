//! What servers are asked for, and how: by wrk, on a core of its own.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::json;

use super::{
    contenders::{Contender, TARGET},
    server::Server,
};

const KEY: &str = "q0V8fYz";

/// How many unknown keys there are.
const UNKNOWN: u32 = 100_000;

/// How many links a store has whose links are asked for without any having been asked for before.
const COLD: u32 = 10_000_000;

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Load {
    /// One link again and again.
    OneLink,
    /// One of the first so many links, each as likely.
    HotLinks(u32),
    /// One of all links, each as likely, and no warming up.
    ColdLinks,
    /// What is not there.
    Misses,
    /// New links.
    Creates,
}

impl Load {
    /// What wrk runs for each request, in Lua; nothing where all requests are the same.
    fn script(self) -> Option<String> {
        let get = |key: &str, count: u32| {
            format!("return wrk.format('GET', string.format('/{key}%08d', math.random(0, {count} - 1)))")
        };
        let request = match self {
            Self::OneLink => return None,
            Self::HotLinks(count) => get("k", count),
            Self::ColdLinks => get("k", COLD),
            Self::Misses => get("none", UNKNOWN),
            Self::Creates => format!(
                "return wrk.format('POST', '/shorten', \
                 {{ ['Content-Type'] = 'application/x-www-form-urlencoded' }}, 'url={TARGET}')"
            ),
        };
        Some(format!("math.randomseed(os.time())\nrequest = function() {request} end\n"))
    }
}

/// Waits for the server, and makes the link that all ask for, where it needs one. Returns the milliseconds from the
/// start of the server to its first answer.
pub(crate) fn prepare(server: &Server, contender: &Contender) -> f64 {
    let base = &server.base;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client =
            reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
        while client.get(format!("{base}/healthz")).send().await.is_err() {
            assert!(server.start.elapsed() < Duration::from_secs(20), "{} does not start", contender.name);
            // It may need the core.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let ready = server.start.elapsed();
        if contender.needs_link() && contender.load == Load::OneLink {
            let link = json!({ "url": TARGET, "key": KEY });
            // The store keeps it from one round to the next.
            client.post(format!("{base}/shorten")).json(&link).send().await.expect("an answer");
        }
        ready.as_secs_f64() * 1e3
    })
}

/// What wrk has seen. Times in microseconds.
#[derive(Default)]
pub(crate) struct Answers {
    pub(crate) count: f64,
    /// Per second.
    pub(crate) rate: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// Asks for so many seconds.
pub(crate) fn run(base: &str, contender: &Contender, directory: &Path, seconds: u32) -> Answers {
    let mut wrk = Command::new("taskset");
    let (cores, threads) = (contender.cores.load, contender.cores.load.split(',').count().to_string());
    wrk.args(["-c", cores, "wrk", "-t", &threads, "--latency", "-d", &seconds.to_string()]);
    wrk.args(["-c", &contender.connections.to_string()]);
    wrk.args(["-H", "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"]);
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
            ["Non-2xx", ..] if contender.load != Load::Misses => give_up(&line),
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

/// A time as wrk writes it, such as `1.23ms`.
fn micros(text: &str) -> f64 {
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "us" => 1.0,
        "ms" => 1e3,
        _ => 1e6,
    };
    digits.parse::<f64>().expect("a number") * factor
}
