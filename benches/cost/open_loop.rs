//! An open-loop load generator: requests are due at fixed times, even if earlier requests have no response yet.
//!
//! A closed loop, such as wrk's, sends its next request only after a response, so a stalled server delays only a few
//! requests ("coordinated omission"). Here, the latency of a request is measured from the time at which it was due.

use std::{
    cell::RefCell,
    collections::VecDeque,
    env,
    io::Write,
    process::{Command, Stdio},
    rc::Rc,
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
    task::LocalSet,
};

use super::load::{Answers, Load, USER_AGENT};

/// The environment variable in which [`run`] passes its arguments to [`generate`].
pub(crate) const VARIABLE: &str = "OPEN_LOOP";

/// Requests that are due but have not been sent yet.
#[derive(Default)]
struct Due {
    times: RefCell<VecDeque<Instant>>,
    more: Notify,
}

impl Due {
    async fn next(&self) -> Instant {
        loop {
            if let Some(time) = self.times.borrow_mut().pop_front() {
                return time;
            }
            self.more.notified().await;
        }
    }
}

/// Sends `rate` requests per second from a separate process on `cores`.
pub(crate) fn run(base: &str, load: Load, rate: u32, cores: &str, seconds: u32) -> Answers {
    let address = base.strip_prefix("http://").expect("a base URL");
    let this = env::current_exe().expect("this program");
    let mut command = Command::new("taskset");
    let links = if let Load::Uniform(links) = load { links } else { 0 };
    command.args(["-c", cores]).arg(this).env(VARIABLE, format!("{address} {links} {rate} {seconds}"));
    let output = command.stderr(Stdio::inherit()).output().expect("taskset is installed");
    assert!(output.status.success(), "the open loop fails");
    let text = String::from_utf8(output.stdout).expect("numbers");
    let numbers: Vec<f64> = text.split_whitespace().map(|word| word.parse().expect("a number")).collect();
    let [count, rate, p50, p99] = numbers.try_into().expect("four numbers");
    Answers { count, rate, p50, p99 }
}

/// Generates the load that `description` specifies, and prints the results for [`run`] to parse.
pub(crate) fn generate(description: &str) {
    let words: Vec<_> = description.split(' ').collect();
    let [address, links, rate, seconds] = words.try_into().expect("what `run` has written");
    let number = |word: &str| word.parse::<u32>().expect("a number");
    let load = if number(links) == 0 { Load::OneLink } else { Load::Uniform(number(links)) };
    let (rate, length) = (number(rate), Duration::from_secs(number(seconds).into()));
    // Poll I/O after every task, because the task that schedules the requests never sleeps.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().event_interval(1).build();
    let times = Rc::new(RefCell::new(Vec::new()));
    let local = LocalSet::new();
    local.block_on(&runtime.expect("a runtime"), async {
        let due = Rc::new(Due::default());
        for number in 0..64 {
            let (due, times) = (due.clone(), times.clone());
            let stream = TcpStream::connect(address).await.expect("a connection");
            stream.set_nodelay(true).expect("a socket option");
            tokio::task::spawn_local(connection(stream, load, number, due, times));
        }
        let start = Instant::now();
        let mut sent = 0;
        while start.elapsed() < length {
            let next = start + Duration::from_secs(1) * sent / rate;
            if Instant::now() >= next {
                due.times.borrow_mut().push_back(next);
                due.more.notify_one();
                sent += 1;
            }
            tokio::task::yield_now().await;
        }
    });
    let mut times = times.take();
    times.sort_unstable();
    let (count, at) =
        (times.len(), |part: f64| times[(times.len() as f64 * part) as usize].as_secs_f64() * 1e6);
    let per_second = count as f64 / length.as_secs_f64();
    let line = format!("{count} {per_second} {} {}", at(0.5), at(0.99));
    std::io::stdout().write_all(line.as_bytes()).expect("a reader");
}

/// Sends requests that are due over one connection, one at a time.
async fn connection(
    mut stream: TcpStream,
    load: Load,
    number: u64,
    due: Rc<Due>,
    times: Rc<RefCell<Vec<Duration>>>,
) {
    let mut rng = StdRng::seed_from_u64(number);
    let (mut request, mut response) = (Vec::new(), Vec::new());
    loop {
        let time = due.next().await;
        request.clear();
        let key = load.key(rng.random());
        write!(request, "GET /{key} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: {USER_AGENT}\r\n\r\n")
            .expect("memory");
        stream.write_all(&request).await.expect("an open connection");
        response.clear();
        while !is_complete(&response) {
            assert!(stream.read_buf(&mut response).await.expect("an open connection") > 0, "no answer");
        }
        assert!(response.starts_with(b"HTTP/1.1 302"), "{}", String::from_utf8_lossy(&response));
        times.borrow_mut().push(time.elapsed());
    }
}

/// Returns whether a response is complete, including its body.
fn is_complete(response: &[u8]) -> bool {
    let Some(head) = response.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let text = String::from_utf8_lossy(&response[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.map_or(0, |length| length.trim().parse().expect("a length"));
    response.len() >= head + 4 + length
}
