//! Where a directory comes from, as git says it.
//!
//! The program `git` is asked, which knows every form that a repository can have, and refuses those of other users. What
//! it would start because the repository's own settings say so is turned off.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Output as Ended, Stdio};

use tokio::process::Command;

use super::error::{Error, Exit};
use super::output::{Output, printable};

const REVISION: &str = "org.opencontainers.image.revision";
const SOURCE: &str = "org.opencontainers.image.source";
const VERSION: &str = "org.opencontainers.image.version";

/// Settings that take the place of the repository's.
const SETTINGS: [&str; 3] = ["core.fsmonitor=false", "core.hooksPath=/dev/null", "core.untrackedCache=false"];

/// Annotations (image-spec, "Pre-Defined Annotation Keys") that say where what is at `path` comes from. A warning says
/// when it is not what was committed.
pub(super) async fn annotations(path: &Path, output: &Output) -> Result<BTreeMap<String, String>, Error> {
    let git = Git::around(path);
    let mut annotations = BTreeMap::new();
    let mut revision = git.say(&["rev-parse", "--verify", "HEAD^{commit}"]).await?;
    let is_dirty =
        !git.say(&["status", "--porcelain", "--untracked-files=normal", "--", git.pathspec]).await?.is_empty();
    if is_dirty {
        output.warn(format!("{} is not what was committed: its revision is annotated as dirty", path.display()));
        revision += "-dirty";
    } else if let Some(tag) = git.say_if_any(&["describe", "--tags", "--exact-match", "HEAD"]).await? {
        annotations.insert(VERSION.to_owned(), tag);
    }
    annotations.insert(REVISION.to_owned(), revision);
    let url = git.say_if_any(&["config", "--get", "remote.origin.url"]).await?;
    if let Some(source) = url.as_deref().and_then(public) {
        annotations.insert(SOURCE.to_owned(), source);
    }
    Ok(annotations)
}

/// The program, and what it is asked about.
struct Git<'a> {
    directory: &'a Path,
    pathspec: &'a str,
    path: &'a Path,
}

impl<'a> Git<'a> {
    fn around(path: &'a Path) -> Self {
        let parent = path.parent().map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent });
        match (path.is_dir(), parent, path.file_name().and_then(|name| name.to_str())) {
            (false, Some(directory), Some(pathspec)) => Self { directory, pathspec, path },
            _ => Self { directory: path, pathspec: ".", path },
        }
    }

    async fn run(&self, arguments: &[&str]) -> Result<Ended, Error> {
        let mut command = Command::new("git");
        // What a hook or another git has set is about another repository.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GIT_")) {
            command.env_remove(name);
        }
        let quiet = [("GIT_OPTIONAL_LOCKS", "0"), ("GIT_TERMINAL_PROMPT", "0"), ("GIT_NO_LAZY_FETCH", "1")];
        command.envs(quiet).env("GIT_LITERAL_PATHSPECS", "1").env("LC_ALL", "C");
        command.args(SETTINGS.iter().flat_map(|setting| ["-c", setting])).arg("-C").arg(self.directory);
        command.arg("--no-pager").args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        command.output().await.map_err(|error| {
            Error::new(Exit::Local, format!("cannot run git for --annotate-git: {error}"))
                .hint(format!("install git, or say it yourself with -a {REVISION}=…"))
        })
    }

    /// What git says to this.
    async fn say(&self, arguments: &[&str]) -> Result<String, Error> {
        let ended = self.run(arguments).await?;
        if ended.status.success() {
            return Ok(text(&ended.stdout));
        }
        let why = text(&ended.stderr);
        let why = why.lines().next().unwrap_or("it does not say why");
        let why = printable(why.strip_prefix("fatal: ").unwrap_or(why));
        Err(Error::new(Exit::Local, format!("git has no commit for {}: {why}", self.path.display()))
            .hint("leave out --annotate-git where there is no repository, or commit first"))
    }

    /// The same; nothing if there is no answer.
    async fn say_if_any(&self, arguments: &[&str]) -> Result<Option<String>, Error> {
        let ended = self.run(arguments).await?;
        Ok(Some(text(&ended.stdout)).filter(|text| ended.status.success() && !text.is_empty()))
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end().to_owned()
}

/// The URL of a repository as it may be shown to everybody: no password and no token. A path on this machine is nobody's
/// business.
fn public(url: &str) -> Option<String> {
    let url = url.split(['?', '#']).next().unwrap_or(url);
    if let Some((scheme, rest)) = url.split_once("://") {
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        return (scheme != "file" && !host.is_empty()).then(|| format!("{scheme}://{}{host}/{path}", shown(user)));
    }
    // As scp has it: a colon before any slash. A password has a colon, too, and an `@` after it.
    let (first, _) = url.split_once('/').unwrap_or((url, ""));
    let (user, rest) = first.rfind('@').map_or((None, url), |at| (Some(&url[..at]), &url[at + 1..]));
    let (host, path) = rest.split_once(':').filter(|(host, _)| !host.contains('/') && host.len() > 1)?;
    Some(format!("{}{host}:{path}", shown(user)))
}

/// The user that everybody is to Git's own way over SSH, and no other.
fn shown(user: Option<&str>) -> &'static str {
    if user == Some("git") { "git@" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_of_a_repository_has_no_password_and_no_token() {
        for (url, expected) in [
            ("https://github.com/team/app.git", Some("https://github.com/team/app.git")),
            ("https://alice:correct-horse@github.com/team/app.git", Some("https://github.com/team/app.git")),
            ("https://ghp_token@github.com/team/app", Some("https://github.com/team/app")),
            ("https://a:p@ss@h.io:8443/x.git?private_token=t#f", Some("https://h.io:8443/x.git")),
            ("ssh://git@h.io:22/team/app.git", Some("ssh://git@h.io:22/team/app.git")),
            ("ssh://git:pw@h.io/app", Some("ssh://h.io/app")),
            ("ssh://alice@h.io/app", Some("ssh://h.io/app")),
            ("git@github.com:team/app.git", Some("git@github.com:team/app.git")),
            ("alice:pw@h.io:team/app.git", Some("h.io:team/app.git")),
            ("token@h.io:team/app.git", Some("h.io:team/app.git")),
            ("/srv/git/app.git", None),
            ("../app.git", None),
            ("file:///srv/git/app.git", None),
            ("C:/git/app", None),
        ] {
            assert_eq!(public(url).as_deref(), expected, "{url}");
        }
    }
}
