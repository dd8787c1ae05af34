//! Settings: what is not said on the command line may be said by the environment, and else by a file.
//!
//! Either is put among the arguments as if it had been typed, before they are parsed: so it is checked in the same way, and
//! no flag can be forgotten. What was typed, and whatever cannot stand beside that, is left as it is. `docs/configuration.md`
//! is for users.

mod file;

use std::any::TypeId;
use std::env;
use std::ffi::OsString;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{LazyLock, OnceLock};

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, Parser};

use super::Cli;
use super::connect::RegistryArgs;
use super::error::Error;
use super::home::base_directory;
pub(super) use file::RegistrySettings;
use file::{File, Setting};

/// Flags that neither the environment nor a file says.
const TYPED: [&str; 2] = ["help", "version"];
/// The flag that names the file.
const CONFIG: &str = "config";

/// What the file says that is about no flag.
static CURRENT: OnceLock<File> = OnceLock::new();

/// What the user typed, and what environment and file add to it.
pub(super) struct Arguments {
    pub(super) all: Vec<OsString>,
    added: Vec<Added>,
    /// What they mean, where that is known already.
    matches: Option<ArgMatches>,
}

/// Flags that nobody typed.
struct Added {
    /// With its dashes.
    flag: String,
    /// Where it was said.
    origin: String,
    /// Where it is among the arguments.
    at: Range<usize>,
}

/// What a variable or a key says, and where that is.
struct Said {
    setting: Setting,
    origin: String,
}

impl Arguments {
    /// Those that were typed, and nothing else.
    pub(super) fn typed() -> Self {
        Self { all: env::args_os().collect(), added: Vec::new(), matches: None }
    }

    /// Adds what the environment and the file say.
    pub(super) fn complete(self) -> Result<Self, Error> {
        // To know all commands takes longer than to parse: where nothing is wrong and nothing is added, one is enough.
        let parse = |mut root: Command| (root.try_get_matches_from_mut(&self.all).ok(), root);
        let alone = super::command_alone(&self.all).map(parse).filter(|(matches, _)| matches.is_some());
        let (strict, mut root) = alone.unwrap_or_else(|| parse(super::command()));
        let lenient = || super::command().ignore_errors(true).try_get_matches_from(&self.all).ok();
        let is_strict = strict.is_some();
        // Whoever asks for help gets it, whatever a file says.
        let Some(matches) = strict.or_else(lenient) else { return Ok(self) };
        if !is_strict {
            root.build();
        }
        let (path, command, typed) = meant(&root, &matches);
        if path.is_empty() {
            return Ok(self);
        }
        let of_environment = |arg: &Arg| {
            variables(&path, arg).find_map(|variable| {
                let value = env::var_os(&variable).filter(|value| !value.is_empty())?;
                Some(Said { setting: Setting::Text(value), origin: variable })
            })
        };
        let file = match config_file(command, &matches, &of_environment) {
            Some(place) => File::read(&place)?,
            None => File::default(),
        };
        let of_file = |arg: &Arg| file.setting(&path, arg.get_long()?, is_shared(arg));
        let (mut said, mut all, mut added) = (typed, self.all, Vec::new());
        // What comes after two dashes is no flag.
        let end = all.iter().position(|argument| argument == "--").unwrap_or(all.len());
        let mut new = Vec::new();
        for layer in [&of_environment as &dyn Fn(&Arg) -> Option<Said>, &of_file] {
            let here: Vec<_> = candidates(command, &said).filter_map(|arg| Some((arg, layer(arg)?))).collect();
            for (arg, Said { setting, origin }) in here {
                let flag = format!("--{}", arg.get_long().unwrap_or_default());
                let begin = end + new.len();
                new.extend(tokens(arg, &flag, setting, &origin)?);
                added.push(Added { flag, origin, at: begin..end + new.len() });
                said.push(arg.get_id().to_string());
            }
        }
        let matches = Some(matches).filter(|_| is_strict && new.is_empty());
        all.splice(end..end, new);
        // It is set here alone.
        let _ = CURRENT.set(file);
        Ok(Self { all, added, matches })
    }

    /// What all of them mean.
    pub(super) fn parse(&mut self) -> Result<Cli, clap::Error> {
        match self.matches.take() {
            Some(mut matches) => Cli::from_arg_matches_mut(&mut matches),
            None => Cli::try_parse_from(&self.all),
        }
    }

    /// The same error, which says where the flag that it is due to comes from if nobody typed it: without that, the error
    /// would be another one, or none.
    pub(super) fn explain(&self, found: clap::Error) -> Error {
        let error = Error::from(found);
        let is_due_to = |added: &&Added| {
            let mut without = self.all.clone();
            without.drain(added.at.clone());
            let other = Cli::try_parse_from(without).err().map(Error::from);
            other.is_none_or(|other| other.message != error.message)
        };
        match self.added.iter().find(is_due_to) {
            Some(Added { flag, origin, .. }) => error.hint(format!("{flag} is set by {origin}")),
            None => error,
        }
    }
}

/// The command that is meant, the names that lead to it, and what was typed for it.
fn meant<'a>(root: &'a Command, matches: &ArgMatches) -> (Vec<String>, &'a Command, Vec<String>) {
    let (mut path, mut command, mut matches) = (Vec::new(), root, matches);
    let mut typed = typed_in(matches);
    while let Some((name, below)) = matches.subcommand()
        && let Some(found) = command.find_subcommand(name)
    {
        path.push(name.to_owned());
        (command, matches) = (found, below);
        typed.extend(typed_in(below));
    }
    (path, command, typed)
}

fn typed_in(matches: &ArgMatches) -> Vec<String> {
    let is_typed = |id: &&str| matches.value_source(id) == Some(ValueSource::CommandLine);
    matches.ids().map(clap::Id::as_str).filter(is_typed).map(str::to_owned).collect()
}

/// The flags that have not been said, and can stand beside what has been.
fn candidates<'a>(command: &'a Command, said: &[String]) -> impl Iterator<Item = &'a Arg> {
    let is_said = |arg: &Arg| said.iter().any(|id| arg.get_id() == id);
    let fits = |arg: &Arg| !command.get_arguments().any(|other| is_said(other) && excludes(command, arg, other));
    let open: Vec<_> = flags(command).filter(|arg| !is_said(arg) && fits(arg)).collect();
    open.into_iter()
}

/// The flags of a command that can be set elsewhere.
pub(super) fn flags(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|arg| arg.get_long().is_some_and(|long| !TYPED.contains(&long)))
}

/// Whether only one of two arguments can be there.
fn excludes(command: &Command, one: &Arg, other: &Arg) -> bool {
    let conflicts =
        |one, other: &Arg| command.get_arg_conflicts_with(one).iter().any(|arg| arg.get_id() == other.get_id());
    let is_group_of_both = |group: &clap::ArgGroup| {
        let mut group = group.clone();
        let has = |arg: &Arg| group.get_args().any(|id| id == arg.get_id());
        let has_both = has(one) && has(other);
        has_both && !group.is_multiple()
    };
    conflicts(one, other) || conflicts(other, one) || command.get_groups().any(is_group_of_both)
}

/// Whether a flag is the same for every command that has it, so that its variable names none.
fn is_shared(arg: &Arg) -> bool {
    static OF_REGISTRIES: LazyLock<Command> = LazyLock::new(|| RegistryArgs::augment_args(Command::new("")));
    arg.is_global_set() || OF_REGISTRIES.get_arguments().any(|shared| shared.get_id() == arg.get_id())
}

/// The variables for a flag of the command that these names lead to, one for each of its names: `BNDLR_TIMEOUT`,
/// `BNDLR_PUSH_EXCLUDE`.
fn variables(path: &[String], arg: &Arg) -> impl Iterator<Item = String> {
    let command: &[String] = if is_shared(arg) { &[] } else { path };
    let flags = arg.get_long().into_iter().chain(arg.get_visible_aliases().unwrap_or_default());
    flags.map(move |flag| {
        let names = ["bndlr"].into_iter().chain(command.iter().map(String::as_str)).chain([flag]);
        names.collect::<Vec<_>>().join("_").replace('-', "_").to_uppercase()
    })
}

/// Where the file is: where it is said to be, or where there is one.
fn config_file(
    command: &Command,
    matches: &ArgMatches,
    environment: &dyn Fn(&Arg) -> Option<Said>,
) -> Option<file::Place> {
    let mut deepest = matches;
    while let Some((_, below)) = deepest.subcommand() {
        deepest = below;
    }
    let typed =
        [deepest, matches].into_iter().find_map(|matches| matches.try_get_one::<PathBuf>(CONFIG).ok().flatten());
    let named = || {
        let arg = command.get_arguments().find(|arg| arg.get_id() == CONFIG)?;
        match environment(arg)?.setting {
            Setting::Text(path) => Some(PathBuf::from(path)),
            _ => None,
        }
    };
    if let Some(path) = typed.cloned().or_else(named) {
        return Some(file::Place { path, is_named: true });
    }
    let base = base_directory("XDG_CONFIG_HOME", &[".config"])?;
    Some(file::Place { path: base.join("bndlr.toml"), is_named: false })
}

/// A flag as it would be typed.
fn tokens(arg: &Arg, flag: &str, setting: Setting, origin: &str) -> Result<Vec<OsString>, Error> {
    let with = |value: OsString| {
        let mut token = OsString::from(format!("{flag}="));
        token.push(value);
        token
    };
    // One that may have a value and need not can be switched on and off, too.
    let is_optional = arg.get_num_args().is_some_and(|range| range.min_values() == 0)
        && arg.get_value_parser().type_id() != TypeId::of::<bool>();
    Ok(match (arg.get_action(), setting) {
        (ArgAction::SetTrue, setting) => {
            if is_true(&setting, origin)? {
                vec![flag.into()]
            } else {
                Vec::new()
            }
        }
        (ArgAction::Append, Setting::Text(lines)) => match lines.to_str() {
            Some(lines) => lines.lines().filter(|line| !line.is_empty()).map(|line| with(line.into())).collect(),
            None => vec![with(lines)],
        },
        (_, Setting::List(values)) => values.into_iter().map(|value| with(value.into())).collect(),
        (_, Setting::Switch(true)) if is_optional => vec![flag.into()],
        (_, Setting::Switch(false)) if is_optional => Vec::new(),
        (_, Setting::Switch(value)) => vec![with(value.to_string().into())],
        // Here, a number is a value.
        (_, Setting::Text(value)) if is_optional && value.to_str().is_some_and(is_word) => {
            if is_true(&Setting::Text(value), origin)? { vec![flag.into()] } else { Vec::new() }
        }
        (_, Setting::Text(value)) => vec![with(value)],
    })
}

/// Whether a text says yes or no in letters.
fn is_word(text: &str) -> bool {
    ["true", "yes", "on", "false", "no", "off"].contains(&&*text.to_ascii_lowercase())
}

fn is_true(setting: &Setting, origin: &str) -> Result<bool, Error> {
    let shown = match setting {
        Setting::Switch(value) => return Ok(*value),
        Setting::Text(text) => text.to_string_lossy().into_owned(),
        Setting::List(_) => "a list".to_owned(),
    };
    match shown.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err(Error::usage(format!("{origin} is {shown:?}: expected true or false"))),
    }
}

/// What a reference means where its first part is an alias: `prod:v1`, `prod@sha256:…`, `prod/web`.
pub(super) fn expand(text: &str) -> Option<String> {
    let (name, rest) = text.split_at(text.find([':', '@', '/']).unwrap_or(text.len()));
    // With a slash after it, what follows the colon is the port of a host.
    let is_host = rest.starts_with(':') && rest.contains('/');
    let target = CURRENT.get()?.alias(name).filter(|_| !is_host)?;
    Some(format!("{target}{rest}"))
}

/// What the file says about a registry.
pub(super) fn of_registry(registry: &crate::reference::Registry) -> Option<&'static RegistrySettings> {
    CURRENT.get()?.registry(registry)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Calls this for each flag of each command, with the names that lead there.
    fn each(command: &Command, path: &[String], visit: &mut dyn FnMut(&[String], &Arg)) {
        for arg in flags(command) {
            visit(path, arg);
        }
        for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
            let path: Vec<_> = path.iter().cloned().chain([below.get_name().to_owned()]).collect();
            each(below, &path, visit);
        }
    }

    #[test]
    fn every_flag_has_a_variable_of_its_own() {
        let mut command = crate::cli::command();
        command.build();
        let mut variables: BTreeMap<String, String> = BTreeMap::new();
        each(&command, &[], &mut |path, arg| {
            for variable in super::variables(path, arg) {
                let is_free = !["BNDLR_CACHE_DIR", "BNDLR_CACHE_SIZE"].contains(&&*variable);
                assert!(
                    is_free && variable.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'),
                    "{variable}"
                );
                let what = if is_shared(arg) { arg.get_help().unwrap().to_string() } else { path.join(" ") };
                let other = variables.insert(variable.clone(), what.clone());
                assert!(other.is_none_or(|other| other == what), "{variable} is for two flags");
            }
        });
        for variable in [
            "BNDLR_PUSH_DRY_RUN",
            "BNDLR_FORMAT",
            "BNDLR_TIMEOUT",
            "BNDLR_PASSWORD",
            "BNDLR_PUSH_EXCLUDE",
            "BNDLR_MANIFEST_PUT_CONTENT_TYPE",
        ] {
            assert!(variables.contains_key(variable), "{variable}: {variables:?}");
        }
    }

    #[test]
    fn a_setting_becomes_what_would_be_typed() {
        let mut command = crate::cli::command();
        command.build();
        let push = command.find_subcommand("push").unwrap();
        let typed = |long: &str, setting: Setting| {
            let arg = flags(push).find(|arg| arg.get_long() == Some(long)).unwrap();
            let tokens = tokens(arg, &format!("--{long}"), setting, "X").map_err(|error| error.message)?;
            Ok::<_, String>(tokens.into_iter().map(|token| token.into_string().unwrap()).collect::<Vec<_>>())
        };
        let text = |text: &str| Setting::Text(text.into());
        let none: [String; 0] = [];
        assert_eq!(typed("exclude", text("*.md\n\na b")).unwrap(), ["--exclude=*.md", "--exclude=a b"]);
        assert_eq!(
            typed("exclude", Setting::List(vec!["x".into(), "-y".into()])).unwrap(),
            ["--exclude=x", "--exclude=-y"]
        );
        assert_eq!(typed("insecure", text("Yes")).unwrap(), ["--insecure"]);
        assert_eq!(typed("insecure", Setting::Switch(false)).unwrap(), none);
        assert_eq!(typed("insecure", text("maybe")).unwrap_err(), "X is \"maybe\": expected true or false");
        assert_eq!(typed("plain-http", text("false")).unwrap(), ["--plain-http=false"]);
        assert_eq!(typed("split", Setting::Switch(true)).unwrap(), ["--split"]);
        assert_eq!(typed("split", text("Yes")).unwrap(), ["--split"]);
        assert_eq!(typed("split", text("4MiB")).unwrap(), ["--split=4MiB"]);
        assert_eq!(typed("split", text("1")).unwrap(), ["--split=1"]);
        for off in [Setting::Switch(false), text("false"), text("OFF")] {
            assert_eq!(typed("split", off).unwrap(), none);
        }
    }
}
