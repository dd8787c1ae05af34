//! The command line: one file per command; arguments, output, progress, exit codes.
//!
//! What a user typed is parsed into one struct per command, and each command turns that into what the rooms to the left
//! need. Everything that is said to a person is said here.

mod build;
mod connect;
mod deliver;
mod error;
mod inspect;
mod list;
mod location;
mod options;
mod output;
mod progress;
mod pull;
mod push;
mod resolve;
mod serve;
mod trace;
mod version;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use error::{Error, Exit};
use output::{Format, Output};

/// How long what is under way may take to clean up after an interruption.
const CLEAN_UP: Duration = Duration::from_secs(5);

/// Pack a directory into a deterministic OCI image, push it anywhere, and get it back.
#[derive(Debug, Parser)]
#[command(name = "bndlr", version, arg_required_else_help = true, max_term_width = 100)]
#[command(after_help = "\
A reference is host[:port]/repository[:tag][@digest]. oci:DIR[:tag] is an OCI image layout, archive:FILE[:tag] the same
in a tar file; every command that takes a reference takes these, too.

Exit codes: 0 done; 2 usage; 3 not found; 4 not allowed; 5 content is wrong or unsafe; 6 network or registry failed;
7 conflict; 8 a file or disk of this machine; 130 interrupted.")]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Args, Debug)]
#[command(next_help_heading = "Output")]
struct Global {
    /// Show every request and answer
    #[arg(short, long, global = true)]
    verbose: bool,
    /// Show nothing but results, warnings and errors
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Show no progress bars, even on a terminal
    #[arg(long, global = true)]
    no_tty: bool,
    /// How results and errors are written to standard output
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,
}

#[derive(Debug, Subcommand)]
enum Command {
    Push(push::Push),
    Pull(pull::Pull),
    Build(build::Build),
    Ls(list::List),
    Inspect(inspect::Inspect),
    Resolve(resolve::Resolve),
    Serve(serve::Serve),
    Version(version::Version),
}

impl Command {
    async fn run(self, output: &Output) -> Result<(), Error> {
        match self {
            Self::Push(push) => push.run(output).await,
            Self::Pull(pull) => pull.run(output).await,
            Self::Build(build) => build.run(output).await,
            Self::Ls(list) => list.run(output).await,
            Self::Inspect(inspect) => inspect.run(output).await,
            Self::Resolve(resolve) => resolve.run(output).await,
            Self::Serve(serve) => serve.run(output).await,
            Self::Version(version) => version.run(output),
        }
    }
}

/// Runs the program with the arguments of this process.
#[must_use]
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return report_usage(&error),
    };
    let Global { verbose, quiet, no_tty, format } = cli.global;
    let output = Output::new(format, quiet, no_tty, verbose);
    if verbose {
        trace::start();
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&output, &Error::new(Exit::Local, format!("cannot start threads: {error}"))),
    };
    let result = runtime.block_on(async {
        tokio::select! {
            result = cli.command.run(&output) => result,
            () = interrupted() => Err(Error::new(Exit::Interrupted, "interrupted")),
        }
    });
    // What was dropped above may have a thread that is still removing what it made.
    runtime.shutdown_timeout(CLEAN_UP);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&output, &error),
    }
}

/// Ends when the user or the system asks the program to end. A second time, the program ends at once.
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        std::process::exit(Exit::Interrupted as i32);
    });
}

fn report(output: &Output, error: &Error) -> ExitCode {
    if output.format == Format::Json {
        // The exit code says it, too.
        let _ = output::write_stdout(&error.to_json().to_string());
    } else {
        output::show_error(error);
    }
    ExitCode::from(error.exit as u8)
}

/// Shows help where it was asked for, and else what is wrong with the arguments.
fn report_usage(error: &clap::Error) -> ExitCode {
    let wants_json = std::env::args().any(|argument| argument == "--format=json")
        || std::env::args().zip(std::env::args().skip(1)).any(|pair| pair == ("--format".into(), "json".into()));
    if wants_json && error.use_stderr() {
        let message = error.to_string();
        let message = message.lines().next().unwrap_or_default().trim_start_matches("error: ");
        let error = Error::usage(message).hint("bndlr --help shows all commands and flags");
        let _ = output::write_stdout(&error.to_json().to_string());
    } else {
        let _ = error.print();
    }
    if error.use_stderr() { ExitCode::from(Exit::Usage as u8) } else { ExitCode::SUCCESS }
}
