//! What the program does: the command line, and a module for each command.

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

/// A URL shortener. Without a command it serves until it receives SIGTERM or SIGINT.
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

/// The commands besides serving.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Asks the instance that runs with the same options for its /healthz; exits with 0 or 1
    Healthcheck,
    /// Writes all links to a file or standard output
    Export(ExportOptions),
    /// Takes over the links of a file, be it of this or of another service
    ///
    /// A link whose key is in the store with the same target stays as it is there, so an import that was stopped can be
    /// run again. Exits with 0 when all links are in the store, 1 when some were skipped, none were found or it had to
    /// stop, 2 when it was called wrongly.
    Import(ImportOptions),
    /// Removes expired links and old statistics now, by `PURGE_EXPIRED_AFTER` and `STATS_RETENTION`
    ///
    /// The service does the same by itself if it runs with these options. Exits with 0 when everything is removed, 1 when the
    /// store failed (then run it again), 2 when it was called wrongly.
    Purge(PurgeOptions),
    /// Makes a token for the API, and its line for the file of tokens
    ///
    /// The first line of standard output is the token, the second one is the line for the file. The line has only a digest of
    /// the token, so nobody can read the token again, neither there nor from the service.
    Token(TokenOptions),
}

impl Cli {
    /// Returns the definition of the command line.
    pub fn definition() -> clap::Command {
        let mut command = Config::add_variables(Self::command());
        // This gives each command the options of the service, of which its help shows those that it goes by.
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
    /// The output of `--help` and `--version` is an error as well, as in clap; see [`usage::explain`].
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

/// Hides the service's options from the help of a command, except those that it goes by.
fn hide_all_but(shown: &[clap::Id], command: clap::Command) -> clap::Command {
    command.mut_args(|option| {
        let is_hidden = option.is_global_set() && !shown.contains(option.get_id());
        option.hide(is_hidden)
    })
}
