//! Checks that the README matches the program.

use std::{path::Path, process::Command};

use urlshort::command::Cli;

use crate::support::{Process, sqlite_in};

pub(crate) const README: &str = include_str!("../../README.md");

/// The value of `$TOKEN` in the README's commands.
const TOKEN: &str = "0123456789abcdef";

/// Returns the commands in the README's console blocks.
///
/// Each command comes with its documented output.
fn transcript() -> Vec<(String, String)> {
    let blocks = README.split("```console\n").skip(1).filter_map(|block| block.split("```").next());
    let steps = blocks.flat_map(|block| block.split("$ ").skip(1)).map(|step| {
        let (command, output) = step.split_once('\n').unwrap();
        (command.to_owned(), output.to_owned())
    });
    steps.collect()
}

#[test]
fn its_commands_print_the_documented_output() {
    let directory = tempfile::tempdir().unwrap();
    let store = sqlite_in(directory.path());
    let process = Process::start(&[("STORE_URL", &store), ("API_TOKENS", &format!("admin:{TOKEN}"))]);
    let program = Path::new(env!("CARGO_BIN_EXE_urlshort")).parent().unwrap().to_str().unwrap();
    let path = format!("{program}:{}", std::env::var("PATH").unwrap());
    // Keys are random, so read the actual key from the first response.
    let shown_key = "q0V8fYz";
    let mut drawn_key = shown_key.to_owned();
    for (command, expected) in transcript() {
        let command = command.replace("localhost:8080", &process.address).replace(shown_key, &drawn_key);
        let mut shell = Command::new("bash");
        shell.args(["-o", "pipefail", "-c", &command]).current_dir(directory.path());
        let output = shell.env("PATH", &path).env("STORE_URL", &store).env("TOKEN", TOKEN).output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        let printed = String::from_utf8(output.stdout).unwrap().replace(&process.address, "localhost:8080");
        if drawn_key == shown_key {
            let (_, rest) = printed.split_once("\"key\":\"").unwrap();
            drawn_key = rest[..shown_key.len()].to_owned();
        }
        let printed = printed.replace(&drawn_key, shown_key);
        assert_eq!(printed, expected, "{command}");
    }
}

#[test]
fn its_table_of_options_matches_the_program() {
    let mut table = String::new();
    for option in Cli::definition().get_arguments().filter(|option| option.get_env().is_some()) {
        let variable = option.get_env().unwrap().to_str().unwrap();
        let default =
            option.get_default_values().first().map(|value| format!("`{}`", value.to_str().unwrap()));
        // An unescaped `|` would end the table cell.
        let help = option.get_help().unwrap().to_string().replace('|', "\\|");
        table += &format!("| `{variable}` | {} | {help} |\n", default.unwrap_or_default());
    }
    assert!(README.contains(&table), "the README's table should be\n{table}");
}
