//! The binary: parses the command line, then runs the service or a subcommand.

use std::{env, process::ExitCode};

use clap::error::ErrorKind;
use urlshort::{
    command::{self, Cli, Command, terminal::Printable},
    observability::logging::Chain,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The exit status for an invalid command line or environment.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let cli = match Cli::read(env::args_os()) {
        Ok(cli) => cli,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            // Ignore the error: if standard output is closed, the text can't be shown.
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("urlshort: {}", Printable(command::usage::explain(&error)));
            return ExitCode::from(USAGE);
        }
    };
    let result = match cli.command {
        None => command::serve::run(cli.config).map(|()| ExitCode::SUCCESS),
        Some(Command::Healthcheck) => {
            command::healthcheck::run(&cli.config.server).map(|()| ExitCode::SUCCESS)
        }
        Some(Command::Export(options)) => {
            command::export::run(&cli.config, &options).map(|()| ExitCode::SUCCESS)
        }
        Some(Command::Purge(options)) => {
            command::purge::run(&cli.config, options).map(|()| ExitCode::SUCCESS)
        }
        Some(Command::Token(options)) => command::token::run(&options).map(|()| ExitCode::SUCCESS),
        Some(Command::Import(options)) => command::import::run(&cli.config, &options),
    };
    match result {
        Ok(status) => status,
        Err(error) => {
            eprintln!("urlshort: {}", Printable(Chain(&*error)));
            ExitCode::FAILURE
        }
    }
}
