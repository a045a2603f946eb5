//! The commands, one file each.

mod check;
mod explain;
mod hash_key;
mod log;
mod new_key;
mod run;
mod schema;
mod upgrade;
mod watch;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::log::say;
use crate::server::upgrade::hatch;

/// An API gateway: one binary, one YAML file.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, about, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway.
    Run {
        /// The config file.
        #[arg(short, long, default_value = "/etc/tidegate/tidegate.yaml")]
        config: PathBuf,
    },
    /// Say everything that is wrong with a config, or that nothing is. Just what `run` would say.
    Check {
        /// The config file.
        #[arg(short, long, default_value = "/etc/tidegate/tidegate.yaml")]
        config: PathBuf,
    },
    /// Say what would become of a request, and why: the route and what excluded the others, the version, the policies, the service.
    Explain {
        /// The config file.
        #[arg(short, long, default_value = "/etc/tidegate/tidegate.yaml")]
        config: PathBuf,
        #[command(flatten)]
        request: explain::Request,
    },
    /// Let another process take the running gateway's place, without a request lost: a new binary, a changed `server:`. Waits until that serves, or has
    /// failed and the old one serves on.
    #[command(
        after_help = "Exit status: 0 the new process serves; 1 it failed, and the old one serves on; 3 refused, for another upgrade is under way or \
                            the gateway is ending; 4 no gateway answers."
    )]
    Upgrade(upgrade::Upgrade),
    /// Run a command as its parent; the running gateway's own use, in an upgrade.
    #[command(hide = true)]
    Hatch {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<OsString>,
    },
    /// Make a new API key, and print it with its hash: the key is for its consumer alone, the hash for the config.
    NewKey(new_key::NewKey),
    /// Print the hash of an API key or a password, read from standard input.
    HashKey(hash_key::HashKey),
    /// Print the JSON Schema of the config file, by which editors complete and check it.
    Schema,
}

/// Runs the command. 0: done; 1: the config is wrong, or the gateway could not start; 2: wrong arguments. `upgrade` has more.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run { config } => run::run(&config),
        Command::Check { config } => check::check(&config),
        Command::Explain { config, request } => explain::explain(&config, &request),
        Command::Upgrade(asked) => upgrade::upgrade(&asked),
        Command::Hatch { command } => hatch(&command),
        Command::NewKey(asked) => new_key::new_key(&asked),
        Command::HashKey(asked) => hash_key::hash_key(&asked),
        Command::Schema => schema::schema(),
    }
}

/// Prints a result. Who reads it may have heard enough (`| head`).
fn print(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{text}");
}
