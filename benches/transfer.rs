//! Measures the speed and memory use of imports and exports with SQLite.
//!
//! `cargo bench --bench transfer` runs the program with ten thousand and with a million links of about 300 bytes. It
//! prints the links per second and the peak memory of the process (`VmHWM`).

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, BufWriter, Write},
    path::Path,
    process::{Child, Command, Stdio},
    time::Instant,
};

const LINKS: [usize; 2] = [10_000, 1_000_000];

/// A number of lines that is too large for a pipe's buffer.
///
/// While this many lines are unread, the program is still running.
const MARGIN: usize = 2_000;

#[expect(clippy::print_stdout, reason = "the table is what the benchmark is for")]
fn main() {
    println!(
        "{:>9} {:>17} {:>11} {:>17} {:>11}",
        "links", "import, links/s", "peak, MiB", "export, links/s", "peak, MiB"
    );
    for links in LINKS {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("links.jsonl");
        write_links(&file, links);
        let (import_rate, import_peak) = import(directory.path(), &file, links);
        let (export_rate, export_peak) = export(directory.path(), links);
        println!(
            "{links:>9} {import_rate:>17.0} {import_peak:>11.1} {export_rate:>17.0} {export_peak:>11.1}"
        );
    }
}

fn write_links(file: &Path, links: usize) {
    let mut file = BufWriter::new(File::create(file).expect("a file"));
    for number in 0..links {
        // Scatter the keys, as in a real store.
        let key = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        writeln!(
            file,
            r#"{{"key":"{key:016x}","target":"https://example.com/some/path/{number}","created_at":"2026-01-02T03:04:05.678Z","title":"The title of link {number}","tags":["one","two"],"undated_clicks":7,"days":{{"2026-06-01":{{"people":3,"bots":1,"devices":{{"mobile":3}}}}}}}}"#
        )
        .expect("a line");
    }
    file.flush().expect("a file");
}

fn program(directory: &Path, command: &str) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_urlshort"));
    program.arg(command).env("STORE_URL", format!("sqlite:{}", directory.join("links.db").display()));
    program
}

fn import(directory: &Path, file: &Path, links: usize) -> (f64, f64) {
    let start = Instant::now();
    let mut child = program(directory, "import")
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("a process");
    let mut input = child.stdin.take().expect("a pipe");
    std::io::copy(&mut File::open(file).expect("a file"), &mut input).expect("a program that reads");
    // The program has read everything except what is still in the pipe.
    let peak = peak(&child);
    drop(input);
    assert!(child.wait().expect("an exit status").success());
    (links as f64 / start.elapsed().as_secs_f64(), peak)
}

fn export(directory: &Path, links: usize) -> (f64, f64) {
    let start = Instant::now();
    let mut child = program(directory, "export").stdout(Stdio::piped()).spawn().expect("a process");
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    let (mut line, mut last_peak) = (Vec::new(), 0.0);
    for number in 0..links {
        if number == links - MARGIN {
            last_peak = peak(&child);
        }
        line.clear();
        assert!(output.read_until(b'\n', &mut line).expect("a line") > 0);
    }
    assert!(child.wait().expect("an exit status").success());
    (links as f64 / start.elapsed().as_secs_f64(), last_peak)
}

/// Returns the peak memory of the process, in MiB.
fn peak(child: &Child) -> f64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a running process");
    let kib: f64 = line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number");
    kib / 1024.0
}
