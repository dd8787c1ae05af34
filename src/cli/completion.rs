//! `bndlr completion`

use clap::{Command, ValueEnum, ValueHint};
use clap_complete::{Shell, generate};

use super::error::Error;
use super::output::write_bytes;

/// Print what completes bndlr's commands, flags and files in a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bndlr completion bash > ~/.local/share/bash-completion/completions/bndlr
  bndlr completion zsh > /usr/local/share/zsh/site-functions/_bndlr
  bndlr completion fish > ~/.config/fish/completions/bndlr.fish")]
pub(super) struct Completion {
    /// Which shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: ShellArg,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ShellArg {
    Bash,
    Zsh,
    Fish,
}

impl Completion {
    pub(super) fn run(self) -> Result<(), Error> {
        let shell = match self.shell {
            ShellArg::Bash => Shell::Bash,
            ShellArg::Zsh => Shell::Zsh,
            ShellArg::Fish => Shell::Fish,
        };
        let mut script = Vec::new();
        generate(shell, &mut with_hints(super::command()), "bndlr", &mut script);
        write_bytes(&script)
    }
}

/// The same command, whose arguments say which of them are files and directories: by the names of their values.
fn with_hints(command: Command) -> Command {
    let with_hint = |arg: clap::Arg| {
        let hint = match arg.get_value_names().and_then(<[_]>::first).map(clap::builder::Str::as_str) {
            Some("DIR") => ValueHint::DirPath,
            Some("FILE" | "FILE[:TYPE]") => ValueHint::FilePath,
            // One may be a single file, and the other oci:DIR.
            Some("DIRECTORY" | "REFERENCE" | "SOURCE" | "DESTINATION" | "LOCATION" | "OLD" | "NEW") => {
                ValueHint::AnyPath
            }
            _ => return arg,
        };
        arg.value_hint(hint)
    };
    command.mut_args(with_hint).mut_subcommands(with_hints)
}
