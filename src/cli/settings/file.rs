//! The file of settings, `bndlr.toml`: registries, aliases, and flags.
//!
//! All of it is checked when it is read, but for the values of flags, which are checked where they are used, as if they had
//! been typed.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{ErrorKind, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::Command;
use toml::de::{DeTable, DeValue};

use super::{CONFIG, Said, flags, is_shared};
use crate::cli::error::{Error, Exit};
use crate::cli::location::Location;
use crate::reference::Registry;

/// The largest file, in bytes.
const MAX_FILE: u64 = 1024 * 1024;
/// How many letters may be wrong in a key.
const MAX_TYPOS: usize = 3;
/// Flags that only a registry of its own can have.
const OF_A_REGISTRY: [&str; 4] = ["plain-http", "insecure", "cert-file", "key-file"];
/// Flags that are never in a file: what it is, and who the user is.
const NEVER: [&str; 6] = [CONFIG, "username", "password", "password-stdin", "password-file", "unix-socket"];
const REGISTRY_KEYS: [&str; 5] = ["plain-http", "insecure", "ca-file", "cert-file", "key-file"];

/// Where a file is, and whether somebody has named it: then it has to be there.
pub(in crate::cli) struct Place {
    pub(super) path: PathBuf,
    pub(super) is_named: bool,
}

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct File {
    path: PathBuf,
    aliases: BTreeMap<String, String>,
    registries: BTreeMap<String, RegistrySettings>,
    /// By the names that lead to a command, none for all commands, and the flag; each with its line.
    flags: BTreeMap<(Vec<String>, String), (Setting, usize)>,
}

/// What a flag is set to.
#[derive(Clone, Debug)]
pub(super) enum Setting {
    Switch(bool),
    Text(OsString),
    List(Vec<String>),
}

/// How to talk to a registry.
#[derive(Clone, Debug, Default)]
pub(in crate::cli) struct RegistrySettings {
    pub(in crate::cli) plain_http: Option<bool>,
    pub(in crate::cli) insecure: bool,
    pub(in crate::cli) ca_file: Option<PathBuf>,
    /// The certificate and its key.
    pub(in crate::cli) certificate: Option<(PathBuf, PathBuf)>,
}

impl File {
    /// Reads the file at `place`, which may set the flags of all commands.
    pub(super) fn read(place: &Place) -> Result<Self, Error> {
        let path = &place.path;
        let mut text = String::new();
        match std::fs::File::open(path).and_then(|file| file.take(MAX_FILE).read_to_string(&mut text)) {
            Ok(_) => {
                let mut root = crate::cli::command();
                root.build();
                Self::parse(path, &text, &root)
            }
            Err(error) if error.kind() == ErrorKind::NotFound && !place.is_named => Ok(Self::default()),
            Err(error) => {
                Err(Error::new(Exit::Local, format!("cannot read the settings in {}: {error}", path.display())))
            }
        }
    }

    fn parse(path: &Path, text: &str, root: &Command) -> Result<Self, Error> {
        let mut reader = Reader { text, file: Self { path: path.to_owned(), ..Self::default() } };
        let document = DeTable::parse(text).map_err(|error| {
            reader.error(error.span().unwrap_or_default(), error.message().lines().next().unwrap_or_default())
        })?;
        reader.commands(document.get_ref(), &mut Vec::new(), root)?;
        Ok(reader.file)
    }

    pub(super) fn alias(&self, name: &str) -> Option<&str> {
        self.aliases.get(name).map(String::as_str)
    }

    pub(super) fn registry(&self, registry: &Registry) -> Option<&RegistrySettings> {
        self.registries.get(registry.as_str())
    }

    /// What a flag of the command that these names lead to is set to: for that command, or for all.
    pub(super) fn setting(&self, command: &[String], flag: &str, is_shared: bool) -> Option<Said> {
        let of = |command: &[String]| self.flags.get(&(command.to_owned(), flag.to_owned()));
        let (setting, line) = of(command).or_else(|| is_shared.then(|| of(&[])).flatten())?;
        Some(Said { setting: setting.clone(), origin: format!("{} line {line}", self.path.display()) })
    }
}

/// Reads a file.
struct Reader<'a> {
    text: &'a str,
    file: File,
}

impl Reader<'_> {
    fn line(&self, span: &Range<usize>) -> usize {
        self.text.as_bytes().iter().take(span.start).filter(|byte| **byte == b'\n').count() + 1
    }

    fn error(&self, span: Range<usize>, what: &str) -> Error {
        Error::usage(format!("{} line {}: {what}", self.file.path.display(), self.line(&span)))
    }

    /// The key at `span` is none of `known`, where these belong.
    fn unknown(&self, span: Range<usize>, key: &str, of: &str, known: &[&str]) -> Error {
        let error = self.error(span, &format!("{key:?} is no {of}"));
        let ranked = known.iter().map(|other| (strsim::osa_distance(key, other), *other));
        match ranked.filter(|(typos, _)| *typos <= MAX_TYPOS.min(key.len() / 2)).min() {
            Some((_, near)) => error.hint(format!("did you mean {near:?}?")),
            None => error.hint("docs/configuration.md has all that there are"),
        }
    }

    /// The settings of a command, and of those below it; `path` leads there.
    fn commands(&mut self, table: &DeTable<'_>, path: &mut Vec<String>, command: &Command) -> Result<(), Error> {
        for (key, value) in table {
            let (name, span) = (key.get_ref().as_ref(), key.span());
            match value.get_ref() {
                DeValue::Table(aliases) if path.is_empty() && name == "aliases" => self.aliases(aliases)?,
                DeValue::Table(registries) if path.is_empty() && name == "registries" => self.registries(registries)?,
                DeValue::Table(below) => {
                    let Some(command) = command.find_subcommand(name).filter(|found| found.get_name() == name) else {
                        let mut known: Vec<_> = command.get_subcommands().map(Command::get_name).collect();
                        known.extend(["aliases", "registries"].iter().filter(|_| path.is_empty()));
                        return Err(self.unknown(span, name, "command", &known));
                    };
                    path.push(name.to_owned());
                    self.commands(below, path, command)?;
                    path.pop();
                }
                value => self.flag(name, span, value, path, command)?,
            }
        }
        Ok(())
    }

    fn flag(
        &mut self,
        name: &str,
        span: Range<usize>,
        value: &DeValue<'_>,
        path: &[String],
        command: &Command,
    ) -> Result<(), Error> {
        if OF_A_REGISTRY.contains(&name) {
            let error = self.error(span, &format!("{name} is for one registry"));
            return Err(error.hint("put it under [registries.\"host:port\"]"));
        }
        let known = known_flags(command, path.is_empty());
        if !known.iter().any(|flag| flag == name) {
            let of = if path.is_empty() {
                "flag of all commands".to_owned()
            } else {
                format!("flag of bndlr {}", path.join(" "))
            };
            let known: Vec<_> = known.iter().map(String::as_str).collect();
            return Err(self.unknown(span, name, &of, &known));
        }
        let Some(setting) = setting(value) else {
            return Err(self.error(
                span,
                &format!(
                    "{name} is a {}: expected a text, a number, true, false, or a list of texts",
                    value.type_str()
                ),
            ));
        };
        let line = self.line(&span);
        self.file.flags.insert((path.to_owned(), name.to_owned()), (setting, line));
        Ok(())
    }

    fn aliases(&mut self, table: &DeTable<'_>) -> Result<(), Error> {
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            let is_name =
                !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
            if !is_name || ["localhost", "oci", "archive", "dir"].contains(&name) {
                let what = format!(
                    "{name:?} cannot be an alias: expected letters, digits, - and _, and no word that has a meaning"
                );
                return Err(self.error(key.span(), &what));
            }
            let Some(target) = value.get_ref().as_str() else {
                return Err(self.error(
                    value.span(),
                    &format!("alias {name} is a {}: expected a reference", value.get_ref().type_str()),
                ));
            };
            Location::parse_whole(target).map_err(|error| self.error(value.span(), &error.message))?;
            self.file.aliases.insert(name.to_owned(), target.to_owned());
        }
        Ok(())
    }

    fn registries(&mut self, table: &DeTable<'_>) -> Result<(), Error> {
        for (key, value) in table {
            let registry: Registry = key
                .get_ref()
                .parse()
                .map_err(|error: crate::reference::ParseError| self.error(key.span(), &error.to_string()))?;
            let DeValue::Table(table) = value.get_ref() else {
                return Err(self.error(
                    value.span(),
                    &format!("registry {registry} is a {}: expected a table", value.get_ref().type_str()),
                ));
            };
            let settings = self.registry(table, key.span())?;
            self.file.registries.insert(registry.as_str().to_owned(), settings);
        }
        Ok(())
    }

    fn registry(&self, table: &DeTable<'_>, span: Range<usize>) -> Result<RegistrySettings, Error> {
        let mut settings = RegistrySettings::default();
        let (mut certificate, mut key) = (None, None);
        for (name, value) in table {
            let wrong = |expected: &str| {
                let found = value.get_ref().type_str();
                self.error(value.span(), &format!("{} is a {found}: expected {expected}", name.get_ref()))
            };
            let switch = || value.get_ref().as_bool().ok_or_else(|| wrong("true or false"));
            // Beside the file is where a path in it is looked for.
            let beside = self.file.path.parent().unwrap_or(Path::new(""));
            let path =
                || value.get_ref().as_str().map(|path| beside.join(path)).ok_or_else(|| wrong("the path of a file"));
            match name.get_ref().as_ref() {
                "plain-http" => settings.plain_http = Some(switch()?),
                "insecure" => settings.insecure = switch()?,
                "ca-file" => settings.ca_file = Some(path()?),
                "cert-file" => certificate = Some(path()?),
                "key-file" => key = Some(path()?),
                other => return Err(self.unknown(name.span(), other, "setting of a registry", &REGISTRY_KEYS)),
            }
        }
        if certificate.is_some() != key.is_some() {
            return Err(self.error(span, "cert-file and key-file need each other"));
        }
        settings.certificate = certificate.zip(key);
        Ok(settings)
    }
}

/// The flags that may be set for `command`, or for all commands.
fn known_flags(command: &Command, is_root: bool) -> Vec<String> {
    let mut known = Vec::new();
    let of = |command: &Command, known: &mut Vec<String>| {
        let fitting = flags(command).filter(|arg| !is_root || is_shared(arg)).filter_map(clap::Arg::get_long);
        known.extend(fitting.filter(|long| !NEVER.contains(long) && !OF_A_REGISTRY.contains(long)).map(str::to_owned));
    };
    of(command, &mut known);
    if is_root {
        command.get_subcommands().for_each(|below| of(below, &mut known));
    }
    known
}

fn setting(value: &DeValue<'_>) -> Option<Setting> {
    let text = |value: &DeValue<'_>| match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        _ => None,
    };
    match value {
        DeValue::Boolean(value) => Some(Setting::Switch(*value)),
        DeValue::Array(values) => {
            values.iter().map(|value| text(value.get_ref())).collect::<Option<_>>().map(Setting::List)
        }
        value => text(value).map(|text| Setting::Text(text.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<File, Error> {
        let mut root = crate::cli::command();
        root.build();
        File::parse(Path::new("/etc/bndlr.toml"), text, &root)
    }

    #[test]
    fn a_file_has_registries_aliases_and_flags() {
        let file = parse(
            "timeout = 2.5\n[push]\nexclude = ['*.md']\nsymlinks = 'follow'\n[manifest.get]\ntimeout = 9\n\
             [aliases]\nprod = 'ghcr.io/team/app'\n[registries.'h.io:5000']\nca-file = 'ca.pem'\nplain-http = false\n",
        )
        .unwrap();
        let said = |path: &[&str], flag, shared| {
            let path: Vec<_> = path.iter().map(|&name| name.to_owned()).collect();
            file.setting(&path, flag, shared).map(|said| format!("{:?} {}", said.setting, said.origin))
        };
        assert_eq!(said(&["push"], "exclude", false).unwrap(), "List([\"*.md\"]) /etc/bndlr.toml line 3");
        assert_eq!(said(&["pull"], "timeout", true).unwrap(), "Text(\"2.5\") /etc/bndlr.toml line 1");
        assert_eq!(said(&["manifest", "get"], "timeout", true).unwrap(), "Text(\"9\") /etc/bndlr.toml line 6");
        assert!(said(&["build"], "exclude", false).is_none());
        assert_eq!(file.alias("prod"), Some("ghcr.io/team/app"));
        let registry = file.registry(&"h.io:5000".parse().unwrap()).unwrap();
        assert_eq!((registry.plain_http, registry.ca_file.as_deref()), (Some(false), Some(Path::new("/etc/ca.pem"))));
    }

    #[test]
    fn what_cannot_be_set_is_named_with_its_line_and_what_is_near() {
        for (text, message, hint) in [
            ("a =", "line 1: ", ""),
            ("\ntimeot = 3", "line 2: \"timeot\" is no flag of all commands", "did you mean \"timeout\"?"),
            ("exclude = ['a']", "line 1: \"exclude\" is no flag of all commands", ""),
            ("[push]\nexclud = 'a'", "line 2: \"exclud\" is no flag of bndlr push", "did you mean \"exclude\"?"),
            ("[psh]\n", "line 1: \"psh\" is no command", "did you mean \"push\"?"),
            ("[alias]\n", "line 1: \"alias\" is no command", "did you mean \"aliases\"?"),
            ("[push]\npassword = 'x'", "line 2: \"password\" is no flag of bndlr push", ""),
            ("[push]\ninsecure = true", "line 2: insecure is for one registry", "[registries."),
            ("config = 'x'", "line 1: \"config\" is no flag", ""),
            ("timeout = 2020-01-01", "line 1: timeout is a datetime", ""),
            ("[aliases]\n'a/b' = 'x'", "line 2: \"a/b\" cannot be an alias", ""),
            ("[aliases]\noci = 'x'", "line 2: \"oci\" cannot be an alias", ""),
            ("[aliases]\na = 'Foo'", "line 2: ", ""),
            ("[aliases]\na = 1", "line 2: alias a is a integer", ""),
            (
                "[registries.'h.io']\ninsecur = true",
                "line 2: \"insecur\" is no setting of a registry",
                "did you mean \"insecure\"?",
            ),
            ("[registries.'h.io']\ninsecure = 'yes'", "line 2: insecure is a string: expected true or false", ""),
            ("[registries.'h.io']\ncert-file = 'x'", "line 1: cert-file and key-file need each other", ""),
            ("[registries.'a b']\n", "line 1: ", ""),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.exit, Exit::Usage);
            assert!(
                error.message.starts_with("/etc/bndlr.toml ") && error.message.contains(message),
                "{text}: {}",
                error.message
            );
            assert!(error.hint.unwrap_or_default().contains(hint), "{text}");
        }
    }
}
