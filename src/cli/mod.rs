//! The command line: one file per command; arguments, output, progress, exit codes.
//!
//! What a user typed is parsed into one struct per command, and each command turns that into what the rooms to the left
//! need. Everything that is said to a person is said here.

mod ahead;
mod annotations;
mod ask;
mod attach;
mod blob;
mod boater;
mod build;
mod cache;
mod cat;
mod catalog;
mod completion;
mod connect;
mod contract;
mod copy;
mod deliver;
mod diff;
mod digest_file;
mod duration;
mod error;
mod gc;
mod git;
mod github;
mod home;
mod inspect;
mod interrupt;
mod list;
mod location;
mod login;
mod logout;
mod lookup;
mod man;
mod manifest;
mod network;
mod options;
mod output;
mod place;
mod progress;
mod publish;
mod pull;
mod push;
mod quine;
mod referrers;
mod resolve;
mod save;
mod selected;
mod serve;
mod settings;
mod show_diff;
mod show_why;
mod signature;
mod storage;
mod tag;
mod tags;
mod terminal;
mod token;
mod trace;
mod validate;
mod verify;
mod version;
mod why;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand};

use error::{Error, Exit};
use interrupt::interrupted;
use output::{Format, Output};
use settings::Arguments;
use trace::Shown;

/// How long a thread that has nothing more to do for the command, as one that asks for an address, may keep the program
/// from ending.
const LAST_CALL: Duration = Duration::from_secs(5);

/// A paragraph is one line here, and as many as it takes on the terminal.
const AFTER_HELP: &str = "\
A reference is host[:port]/repository[:tag][@digest]. oci:DIR[:tag] is an OCI image layout, archive:FILE[:tag] the \
same in a tar file; every command that takes a reference takes these, too.

What is not said here may be said by the environment, as BNDLR_PUSH_EXCLUDE or BNDLR_TIMEOUT, or else by \
~/.config/bndlr/bndlr.toml.

Exit codes:
  0    done, or the same
  1    differs
  2    usage
  3    not found
  4    not allowed
  5    the content is wrong or unsafe
  6    the network or the registry failed
  7    conflict
  8    a file or the disk of this machine
  130  interrupted

Examples:
  bndlr serve --memory
  bndlr push ./manifests localhost:5000/demo:v1
  bndlr pull localhost:5000/demo:v1 -o ./copy";

/// Pack a directory into a deterministic OCI image, push it anywhere, and get it back.
#[derive(Debug, Parser)]
#[command(name = "bndlr", version, arg_required_else_help = true, max_term_width = 100)]
#[command(after_help = AFTER_HELP)]
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
    /// Show them with their headers, and with what they are about; never a password, a token or a signature
    #[arg(long, global = true)]
    debug: bool,
    /// Show nothing but results, warnings and errors
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Show no progress bars, even on a terminal
    #[arg(long, global = true)]
    no_tty: bool,
    /// How results are written to standard output; as JSON, errors are, too. What is there already, as a file, a blob or a
    /// manifest, is written as it is
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,
    /// Take settings from this file; otherwise from bndlr/bndlr.toml in $XDG_CONFIG_HOME or ~/.config, if there is one
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Push(push::Push),
    Pull(pull::Pull),
    Build(build::Build),
    Copy(copy::CopyCommand),
    Attach(attach::Attach),
    Referrers(referrers::Referrers),
    Ls(list::List),
    Cat(cat::Cat),
    Diff(diff::Diff),
    Verify(verify::Verify),
    Why(why::Why),
    Inspect(inspect::Inspect),
    Resolve(resolve::Resolve),
    Login(login::Login),
    Logout(logout::Logout),
    Token(token::Token),
    Validate(validate::Validate),
    Tags(tags::Tags),
    Tag(tag::TagCommand),
    Catalog(catalog::Catalog),
    Manifest(manifest::Manifest),
    Blob(blob::Blob),
    #[command(flatten)]
    Boater(boater::Word),
    Serve(serve::Serve),
    Quine(quine::Quine),
    Gc(gc::Collect),
    Cache(cache::CacheCommand),
    Completion(completion::Completion),
    Man(man::Man),
    Version(version::Version),
}

impl Command {
    /// Whether to be interrupted is how it ends when all goes well.
    fn runs_until_interrupted(&self) -> bool {
        match self {
            Self::Serve(_) => true,
            Self::Quine(quine) => quine.serves(),
            _ => false,
        }
    }

    /// How a server logs its requests.
    fn access_log(&self) -> Option<serve::AccessLog> {
        match self {
            Self::Serve(serve) => Some(serve.access_log()),
            _ => None,
        }
    }

    async fn run(self, output: &Output) -> Result<(), Error> {
        match self {
            Self::Push(push) => push.run(output).await,
            Self::Pull(pull) => pull.run(output).await,
            Self::Build(build) => build.run(output).await,
            Self::Copy(copy) => copy.run(output).await,
            Self::Attach(attach) => attach.run(output).await,
            Self::Referrers(referrers) => referrers.run(output).await,
            Self::Ls(list) => list.run(output).await,
            Self::Cat(cat) => cat.run().await,
            Self::Diff(diff) => diff.run(output).await,
            Self::Verify(verify) => verify.run(output).await,
            Self::Why(why) => Box::pin(why.run(output)).await,
            Self::Inspect(inspect) => inspect.run(output).await,
            Self::Resolve(resolve) => resolve.run(output).await,
            Self::Login(login) => login.run(output).await,
            Self::Logout(logout) => logout.run(output).await,
            Self::Token(token) => token.run(output).await,
            Self::Validate(validate) => validate.run(output).await,
            Self::Tags(tags) => tags.run(output).await,
            Self::Tag(tag) => tag.run(output).await,
            Self::Catalog(catalog) => catalog.run(output).await,
            Self::Manifest(manifest) => manifest.run(output).await,
            Self::Blob(blob) => blob.run(output).await,
            Self::Boater(word) => word.run(output).await,
            Self::Serve(serve) => serve.run(output).await,
            Self::Quine(quine) => quine.run(output).await,
            Self::Gc(collect) => collect.run(output).await,
            Self::Cache(cache) => cache.run(output),
            Self::Completion(completion) => completion.run(),
            Self::Man(man) => man.run(output),
            Self::Version(version) => version.run(output),
        }
    }
}

/// All commands and their arguments.
fn command() -> clap::Command {
    Cli::command()
}

/// The command that the first of these arguments names, as if there were no other, if it is one that is often run: to learn
/// them all takes longer than to find out that a directory has not changed.
fn command_alone(arguments: &[OsString]) -> Option<clap::Command> {
    let name = arguments.get(1)?.to_str()?;
    let augment = match name {
        "push" => push::Push::augment_args,
        "pull" => pull::Pull::augment_args,
        "build" => build::Build::augment_args,
        "copy" => copy::CopyCommand::augment_args,
        "ls" => list::List::augment_args,
        "cat" => cat::Cat::augment_args,
        "diff" => diff::Diff::augment_args,
        "verify" => verify::Verify::augment_args,
        "resolve" => resolve::Resolve::augment_args,
        "version" => version::Version::augment_args,
        _ => return None,
    };
    let command = augment(clap::Command::new(name.to_owned()));
    Some(Global::augment_args(clap::Command::new("bndlr")).subcommand(command))
}

/// Runs the program with the arguments of this process.
#[must_use]
pub fn run() -> ExitCode {
    let typed = Arguments::typed();
    let typed_format = asked_format(&typed.all);
    let mut arguments = match typed.complete() {
        Ok(arguments) => arguments,
        Err(error) => return report(typed_format, &error),
    };
    let cli = match arguments.parse() {
        Ok(cli) => cli,
        Err(error) => return report_usage(error, &arguments),
    };
    let Global { verbose, debug, quiet, no_tty, format, config: _ } = cli.global;
    let shown = Shown::of(verbose, debug);
    let output = Output::new(format, quiet, no_tty, shown > Shown::Warnings);
    let access_log = cli.command.access_log();
    if shown > Shown::Warnings || access_log.is_some() {
        trace::start(shown, access_log.unwrap_or_default());
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(format, &Error::new(Exit::Local, format!("cannot start threads: {error}"))),
    };
    let runs_until_interrupted = cli.command.runs_until_interrupted();
    let result = runtime.block_on(async {
        tokio::select! {
            // First the command: while it reads a password, nothing here could react, and the system ends the program.
            biased;
            result = cli.command.run(&output) => result,
            () = async { interrupted().await }, if !runs_until_interrupted => Err(Error::new(Exit::Interrupted, "interrupted")),
        }
    });
    // What goes on until the program ends draws nothing over what is said last.
    output.bars.close();
    if matches!(&result, Err(error) if error.exit == Exit::Interrupted) {
        // What was dropped above may have a thread that is still removing what it made. That takes as long as it takes:
        // who cannot wait interrupts once more.
        drop(runtime);
    } else {
        runtime.shutdown_timeout(LAST_CALL);
    }
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(format, &error),
    }
}

fn report(format: Format, error: &Error) -> ExitCode {
    if error.exit == Exit::Differs {
        return ExitCode::from(Exit::Differs as u8);
    }
    let error = &error.without_passwords();
    github::annotate(error);
    // Where the document cannot be written, that may be what is wrong.
    if format == Format::Text || output::write_stdout(&error.to_json().to_string()).is_err() {
        output::show_error(error);
    }
    ExitCode::from(error.exit as u8)
}

/// Shows help where it was asked for, and else what is wrong with the arguments.
fn report_usage(error: clap::Error, arguments: &Arguments) -> ExitCode {
    use clap::error::ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    match error.kind() {
        DisplayHelp | DisplayVersion | DisplayHelpOnMissingArgumentOrSubcommand => {
            if let Err(error) = output::unless_unread(error.print()) {
                return report(Format::Text, &error);
            }
            if error.use_stderr() { ExitCode::from(Exit::Usage as u8) } else { ExitCode::SUCCESS }
        }
        _ => {
            let format = asked_format(&arguments.all);
            report(format, &arguments.explain(error))
        }
    }
}

/// Which format is asked for among arguments that cannot be understood as a whole.
fn asked_format(arguments: &[OsString]) -> Format {
    let json = arguments.iter().any(|argument| argument == "--format=json")
        || arguments.windows(2).any(|pair| pair == ["--format", "json"]);
    if json { Format::Json } else { Format::Text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_alone_is_the_one_that_it_is_among_all() {
        let mut all = command();
        all.build();
        let mut found = 0;
        for known in all.get_subcommands() {
            let name = known.get_name();
            let Some(mut alone) = command_alone(&["bndlr".into(), name.into()]) else { continue };
            alone.build();
            let alone = alone.find_subcommand(name).unwrap();
            let help = |command: &clap::Command| command.clone().render_long_help().to_string();
            assert_eq!(help(alone), help(known));
            let parts = |command: &clap::Command| {
                let groups: Vec<_> = command.get_groups().collect();
                format!("{:?} {groups:?}", command.get_arguments().collect::<Vec<_>>())
            };
            assert_eq!(parts(alone), parts(known));
            found += 1;
        }
        assert_eq!(found, 10);
    }
}
