//! The command line: `run`, `check`, `explain`, `passwd`, `genpass`, `demo`, `healthcheck`.

use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::app::{App, Ended, block_on};
use crate::config::{Plan, Problems};
use crate::explain::Question;
use crate::policy::Version;
use crate::server::StartError;
use crate::{demo, diff, explain, health, logging, passwd, process};

/// A usage or configuration error, as clap's own.
const EXIT_USAGE: u8 = 2;
/// An address cannot be bound.
const EXIT_BIND: u8 = 5;

const AFTER_HELP: &str = "\
Exit codes: 0 done, 1 failed (explain: denied; check --diff: rights differ), 2 wrong usage or configuration, 3 something that is needed is missing, 5 an address \
cannot be bound.
Signals: SIGHUP reads the configuration and all files that it names again, as a change of them does by itself, \
and opens the audit log anew; SIGTERM and SIGINT end in order, a second one at once.";

const CHECK_HELP: &str = "\
Examples:
  redkeep check --config redkeep.yaml
  redkeep check --diff redkeep.yaml redkeep.yaml.new

Exit codes: 0 nothing is wrong (--diff: nobody's rights change), 1 --diff: rights change, and standard output says whose, \
2 something is wrong.";

const PASSWD_HELP: &str = "\
On a terminal it asks twice and shows nothing of what is typed. Otherwise it reads one line from standard input, whose end does \
not belong to the password. A password is never an argument: everybody on the machine could read it.

Examples:
  redkeep passwd
  redkeep genpass | tee app-password | redkeep passwd

The output, such as #9f86d081…, is a rule: `user app on #9f86d081… ~app:* +@all` in an ACL file, or \
`rules: \"on #9f86d081… ~app:* +@all\"` in the configuration. What is hashed is SHA-256 without a salt, as in Redis: it protects \
long random passwords (redkeep genpass), and short ones hardly.

Exit codes: 0 done, 1 no password was given, 2 wrong usage.";

const EXPLAIN_HELP: &str = "\
The verdict comes first, with the error that the client would get; then what the command is and which keys and channels \
it uses; then what the user's rules say to each of these, selector by selector, and by which rule; then the smallest \
rules that would turn the verdict. The upstream is not asked, so commands of its modules are not known here.

Examples:
  redkeep explain --config redkeep.yaml --user app -- GET other:1
  redkeep explain --config redkeep.yaml --user app -- CONFIG SET maxmemory 1gb && echo allowed

Exit codes: 0 allowed, 1 denied, 2 wrong usage or configuration.";

/// The authenticating, TLS-terminating proxy in front of a real Redis.
#[derive(Parser)]
#[command(name = "redkeep", version, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve clients as the configuration says
    Run(ConfigArgs),
    /// Say all that is wrong with a configuration, with file:line:column; binds no port
    #[command(after_help = CHECK_HELP)]
    Check(CheckArgs),
    /// Say whether a user may run a command, by which rule, and what would change that; connects to nothing
    #[command(after_help = EXPLAIN_HELP)]
    Explain(ExplainArgs),
    /// Read a password from a prompt or standard input, and print its hash for an ACL file
    #[command(after_help = PASSWD_HELP)]
    Passwd,
    /// Make a random password, in hexadecimal digits, and print it
    Genpass(GenpassArgs),
    /// Show the main job on this machine: a real, open Redis behind a guarded TLS port
    Demo(DemoArgs),
    /// Ask a running proxy whether it serves: for HEALTHCHECK in containers
    Healthcheck(ConfigArgs),
}

#[derive(Args)]
struct ConfigArgs {
    /// The configuration file
    #[arg(
        short,
        long,
        value_name = "FILE",
        default_value = "/etc/redkeep/redkeep.yaml",
        env = "REDKEEP_CONFIG"
    )]
    config: PathBuf,
}

#[derive(Args)]
struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Compare two configurations instead, and print whose rights change from OLD to NEW
    #[arg(long, num_args = 2, value_names = ["OLD", "NEW"])]
    diff: Option<Vec<PathBuf>>,
}

#[derive(Args)]
struct GenpassArgs {
    /// Strength
    #[arg(long, value_name = "NUMBER", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=4096))]
    bits: u16,
    /// Print its hash, as a rule for an ACL file, in a second line
    #[arg(long)]
    hash: bool,
}

#[derive(Args)]
struct ExplainArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Whose rules
    #[arg(short, long, value_name = "NAME")]
    user: OsString,
    /// The database that the session has selected
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    db: u32,
    /// Order of checks and error texts of this Redis, for example 6.2 or 7.0; without it, those of the newest
    #[arg(long, value_name = "VERSION", value_parser = version)]
    upstream_version: Option<Version>,
    /// The command as a client sends it, with its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

#[derive(Args)]
struct DemoArgs {
    /// Stop after the scene, with exit code 0 only if every result was the expected one
    #[arg(long)]
    check: bool,
}

/// Runs the program and says how it ended.
pub fn main() -> ExitCode {
    process::forbid_dumps();
    match Cli::parse().command {
        Command::Run(args) => run(&args.config),
        Command::Check(args) => match args.diff.as_deref() {
            Some([old, new]) => compare(old, new),
            _ => check(&args.config.config),
        },
        Command::Passwd => passwd::passwd(),
        Command::Genpass(args) => passwd::genpass(args.bits, args.hash),
        Command::Explain(args) => {
            let command: Vec<&OsStr> = args.command.iter().map(OsString::as_os_str).collect();
            let version = args.upstream_version;
            let config = &args.config.config;
            let database = args.db;
            explain::main(&Question { config, user: &args.user, database, version, command: &command })
        }
        Command::Demo(args) => demo::main(args.check),
        Command::Healthcheck(args) => health::main(&args.config),
    }
}

fn run(path: &Path) -> ExitCode {
    let plan = match Plan::load(path) {
        Ok(plan) => plan,
        Err(problems) => return report(&problems),
    };
    if plan.core_dumps {
        process::allow_dumps();
    }
    let _log = match logging::start(plan.log_format, &plan.log_level) {
        Ok(log) => log,
        Err(error) => {
            eprintln!("redkeep: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ended = block_on(async {
        match App::run(path, plan).await {
            Ok(Ended::InOrder) => ExitCode::SUCCESS,
            Ok(Ended::CutOff) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("redkeep: {error}");
                ExitCode::from(if matches!(error, StartError::Bind(..)) { EXIT_BIND } else { 1 })
            }
        }
    });
    ended.unwrap_or_else(|error| {
        eprintln!("redkeep: cannot start: {error}");
        ExitCode::FAILURE
    })
}

fn check(path: &Path) -> ExitCode {
    match Plan::load(path) {
        Ok(plan) => {
            let users = plan.users.users.len();
            eprintln!("{}: ok, {} listener(s), {users} user(s)", path.display(), plan.server.listeners.len());
            ExitCode::SUCCESS
        }
        Err(problems) => report(&problems),
    }
}

fn compare(old: &Path, new: &Path) -> ExitCode {
    let (old, new) = match (Plan::load(old), Plan::load(new)) {
        (Ok(old), Ok(new)) => (old, new),
        (old, new) => {
            for problems in [old.err(), new.err()].into_iter().flatten() {
                eprintln!("{problems}");
            }
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let page = diff::page(&old.users.compile(None), &new.users.compile(None));
    // Whoever closed the pipe has read enough; the exit code tells in any case.
    let _ = std::io::stdout().write_all(page.as_bytes());
    if page.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn version(text: &str) -> Result<Version, &'static str> {
    Version::parse(text).ok_or("write two numbers, such as 7.0")
}

fn report(problems: &Problems) -> ExitCode {
    eprintln!("{problems}");
    ExitCode::from(EXIT_USAGE)
}
