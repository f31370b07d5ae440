//! The command line, with a module for each subcommand.

use std::ffi::OsString;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, error::ErrorKind};

use self::{export::ExportOptions, import::ImportOptions, purge::PurgeOptions, token::TokenOptions};
use crate::config::{Config, PolicyOptions, RetentionOptions, StoreOptions};

pub mod export;
pub mod healthcheck;
pub mod import;
mod memory;
pub mod purge;
pub mod serve;
pub mod terminal;
pub mod token;
mod transfer;
pub mod usage;

/// A URL shortener. Without a command, it runs the service until it receives SIGTERM or SIGINT.
///
/// Each option can be given as a flag or as an environment variable; the flag wins.
#[derive(Debug, Parser)]
#[command(name = "urlshort", version, max_term_width = 110, args_override_self = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub config: Config,
}

/// The subcommands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Checks /healthz on the instance with the same options; exits with 0 on success, otherwise with 1
    Healthcheck,
    /// Writes all links to a file or standard output
    Export(ExportOptions),
    /// Imports the links of a file that this or another service exported
    ///
    /// A link that is already in the store with the same key and target stays unchanged, so you can rerun an
    /// interrupted import. Exits with 0 if all links are in the store; with 1 if links were skipped, no links were
    /// found, or the import failed; with 2 on a usage error.
    Import(ImportOptions),
    /// Removes expired links and old statistics now, according to `PURGE_EXPIRED_AFTER` and `STATS_RETENTION`
    ///
    /// If these options are set, the service also does this periodically. Exits with 0 if everything was removed; with
    /// 1 if the store failed (run the command again); with 2 on a usage error.
    Purge(PurgeOptions),
    /// Generates a token for the API, and its line for `API_TOKENS_FILE`
    ///
    /// The first line of standard output is the token, and the second is the line for the file. The line contains only
    /// a digest of the token, so the token can't be recovered from the file or the service.
    Token(TokenOptions),
}

impl Cli {
    /// Returns clap's definition of the command line.
    pub fn definition() -> clap::Command {
        let mut command = Config::add_variables(Self::command());
        // Each command accepts all of the service's options, but its help shows only the ones it uses.
        command.build();
        let store = names(StoreOptions::augment_args(clap::Command::default()));
        let retention = names(RetentionOptions::augment_args(clap::Command::default()));
        let policy = names(PolicyOptions::augment_args(clap::Command::default()));
        let shown = [
            ("healthcheck", vec!["host".into(), "port".into()]),
            ("token", Vec::new()),
            ("export", store.clone()),
            ("purge", [store.clone(), retention].concat()),
            ("import", [store, policy, vec!["base_url".into()]].concat()),
        ];
        shown.into_iter().fold(command, |command, (name, shown)| {
            command.mut_subcommand(name, |command| hide_all_but(&shown, command))
        })
    }

    /// Reads the command line and the environment.
    ///
    /// # Errors
    /// A usage error, or the output of `--help` or `--version`, which clap also returns as an error. See
    /// [`usage::explain`].
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut cli = Self::from_arg_matches(&Self::definition().try_get_matches_from(arguments)?)?;
        let invalid = |reason: String| Self::command().error(ErrorKind::ValueValidation, reason);
        cli.config.complete().map_err(invalid)?;
        match &cli.command {
            None => cli.config.access.check_tokens().map_err(invalid)?,
            Some(Command::Purge(_)) if cli.config.retention.is_off() => {
                let reason = "purge removes nothing without PURGE_EXPIRED_AFTER (--purge-expired-after) or STATS_RETENTION \
                              (--stats-retention)";
                return Err(invalid(reason.into()));
            }
            Some(_) => {}
        }
        Ok(cli)
    }
}

fn names(group: clap::Command) -> Vec<clap::Id> {
    group.get_arguments().map(|option| option.get_id().clone()).collect()
}

/// Hides the service's options from a command's help, except for `shown`.
fn hide_all_but(shown: &[clap::Id], command: clap::Command) -> clap::Command {
    command.mut_args(|option| {
        let is_hidden = option.is_global_set() && !shown.contains(option.get_id());
        option.hide(is_hidden)
    })
}
