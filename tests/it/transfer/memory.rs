//! The memory use of imports and exports must not grow with the number of links.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Stdio},
};

use rustix::process::Pid;

use super::{import, program, sqlite_in};
use crate::support::memory;

/// The number of links after which one-time allocations are complete.
///
/// These are allocations for buffers, caches and threads.
const WARM: usize = 20_000;

/// The total number of links. Keeping all links after the first [`WARM`] in memory would take at least 30 MB.
const LINKS: usize = 60_000;

/// The allowed growth, in bytes.
///
/// It leaves room for the store's page cache, which has its own limit.
const SLACK: u64 = 10_000 << 10;

fn line(number: usize) -> String {
    let path = "x".repeat(800);
    format!(
        "{{\"key\":\"k{number}\",\"target\":\"https://example.com/{path}\",\"undated_clicks\":{number}}}\n"
    )
}

/// Returns the process's peak memory use, in bytes.
///
/// The kernel updates its counters in batches, so a later result may be slightly smaller.
fn peak(child: &Child) -> u64 {
    memory(Pid::from_child(child), "VmHWM")
}

#[test]
fn an_import_of_more_links_uses_no_more_memory() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = program(&sqlite_in(directory.path()), &["import", "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    // The pipe holds only a few lines, so at each measurement, the program has read nearly all of the lines written.
    (0..WARM).for_each(|number| input.write_all(line(number).as_bytes()).unwrap());
    let warm = peak(&child);
    (WARM..LINKS).for_each(|number| input.write_all(line(number).as_bytes()).unwrap());
    let grown = peak(&child).saturating_sub(warm);
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!("{LINKS} added, 0 already there, 0 skipped\n")
    );
    assert!(grown < SLACK, "{grown} bytes for {} links", LINKS - WARM);
}

#[test]
fn an_export_of_more_links_uses_no_more_memory() {
    let directory = tempfile::tempdir().unwrap();
    let url = sqlite_in(directory.path());
    let file: String = (0..LINKS).map(line).collect();
    assert_eq!(import(&url, file.as_bytes(), &[]).0, 0);
    let mut child = program(&url, &["export"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut read = |count| assert_eq!(lines.by_ref().take(count).map(Result::unwrap).count(), count);
    read(WARM);
    let warm = peak(&child);
    // The remaining lines don't fit into the pipe, so the program is still running at the next measurement.
    read(LINKS - WARM - 5000);
    let grown = peak(&child).saturating_sub(warm);
    read(5000);
    assert!(child.wait().unwrap().success());
    assert!(grown < SLACK, "{grown} bytes for {} links", LINKS - WARM - 5000);
}
