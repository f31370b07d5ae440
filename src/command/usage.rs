//! Usage errors: clap's errors as one line that names the variable and the flag.

use std::error::Error;

use clap::{
    Args, CommandFactory,
    error::{ContextKind, ContextValue, ErrorKind},
};

use super::Cli;
use crate::config::{Config, SECRETS};

/// Formats a usage error as one line that names the variable and the flag.
pub fn explain(error: &clap::Error) -> String {
    let flag = flag(error);
    match error.kind() {
        ErrorKind::InvalidValue | ErrorKind::ValueValidation if !flag.is_empty() => {
            invalid_value(error, flag)
        }
        ErrorKind::InvalidSubcommand => unknown_command(text(error, ContextKind::InvalidSubcommand)),
        ErrorKind::UnknownArgument if flag.starts_with('-') => {
            let advice = match text(error, ContextKind::SuggestedArg) {
                "" => "see urlshort --help".into(),
                known => format!("did you mean {known}?"),
            };
            format!("unknown option '{flag}' ({advice})")
        }
        _ => {
            let text = error.to_string();
            let first: Vec<_> = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
            let first = first.join(" ");
            first.strip_prefix("error: ").unwrap_or(&first).into()
        }
    }
}

fn invalid_value(error: &clap::Error, flag: &str) -> String {
    let option = flag.trim_start_matches('-').replace('-', "_");
    let variable = option.to_uppercase();
    let options = Config::augment_args(clap::Command::default());
    let name = match options.get_arguments().any(|known| known.get_id() == option.as_str()) {
        true => format!("{variable} ({flag})"),
        false => flag.into(),
    };
    let value = text(error, ContextKind::InvalidValue);
    let reason = match error.source() {
        Some(reason) => reason.to_string(),
        None => accepted(error),
    };
    if error.kind() == ErrorKind::InvalidValue && value.is_empty() {
        return format!("{name}: the value is missing ({reason})");
    }
    if SECRETS.contains(&&*variable) {
        return format!("{name}: {reason}");
    }
    format!("{name}: '{value}': {reason}")
}

/// Describes the values or the syntax that an option accepts.
fn accepted(error: &clap::Error) -> String {
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) if !values.is_empty() => format!("takes {}", list(values)),
        _ => {
            let usage = text(error, ContextKind::InvalidArg).replace(['<', '>'], "");
            format!("write {usage}")
        }
    }
}

fn unknown_command(name: &str) -> String {
    let known = Cli::command();
    let known: Vec<_> = known.get_subcommands().map(clap::Command::get_name).collect();
    let known = list(&known);
    format!("unknown command '{name}' (use {known}; without a command, urlshort serves)")
}

/// Returns the flag that an error refers to, or an empty string.
fn flag(error: &clap::Error) -> &str {
    // clap reports the argument in the form "--port <NUMBER>".
    text(error, ContextKind::InvalidArg).split(' ').next().unwrap_or_default()
}

fn text(error: &clap::Error, kind: ContextKind) -> &str {
    match error.get(kind) {
        Some(ContextValue::String(text)) => text,
        _ => "",
    }
}

fn list(words: &[impl AsRef<str>]) -> String {
    let words: Vec<_> = words.iter().map(AsRef::as_ref).collect();
    match words.as_slice() {
        [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        words => words.join(""),
    }
}
