//! Who may do what where: a small file of rules.
//!
//! ```text
//! # who          may           in
//! ci,alice       pull,push     team-a/**
//! *              pull          **
//! anonymous      pull          public/** mirror
//! ```
//!
//! A rule allows; there is none that forbids, so their order says nothing, and what no rule allows is not allowed.

use std::collections::HashMap;
use std::fmt;

use crate::bundle::Patterns;
use crate::protocol::{Action, Actions};
use crate::reference::Name;
use crate::server::watched::LineError;

/// The word for those who have not logged in.
pub(super) const ANONYMOUS: &str = "anonymous";
/// The word for all who have.
const USERS: &str = "*";

/// Rules about repositories.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    all: Vec<Rule>,
    /// Where in `all` the rules are that name somebody. [`ANONYMOUS`] and [`USERS`] are names like others here.
    about: HashMap<String, Vec<usize>>,
}

#[derive(Clone, Debug)]
struct Rule {
    actions: Actions,
    repositories: Patterns,
}

impl Rules {
    /// All users may do everything, and nobody else anything.
    #[must_use]
    pub fn for_users() -> Self {
        // A test has it that this can be read; if not, nothing is allowed.
        Self::parse("* pull,push,delete **").unwrap_or_default()
    }

    /// The same, and everybody may pull, also without having logged in.
    #[must_use]
    pub fn for_users_and_anonymous_pull() -> Self {
        Self::parse("* pull,push,delete **\nanonymous pull **").unwrap_or_default()
    }

    /// Reads rules, each on a line: names of users, separated by commas, or `*` for every user, or `anonymous`; then
    /// `pull`, `push` and `delete`, separated by commas; then patterns of repositories, separated by white space. `#`
    /// begins a comment. In a pattern, `*` stands for any part of a component, and `**` for any number of whole
    /// components: `team/**` is everything below `team`, and `**` is everything.
    ///
    /// Who may push or delete may pull, too.
    ///
    /// # Errors
    /// When a line is anything else.
    pub fn parse(text: &str) -> Result<Self, LineError> {
        let mut rules = Self::default();
        for (line, content) in (1..).zip(text.lines()) {
            let content = content.split('#').next().unwrap_or_default().trim();
            if !content.is_empty() {
                rules.add(content).map_err(|why| LineError { line, why, hint: None })?;
            }
        }
        Ok(rules)
    }

    fn add(&mut self, line: &str) -> Result<(), String> {
        let mut words = line.split_whitespace();
        let (Some(who), Some(actions)) = (words.next(), words.next()) else {
            return Err("expected who, actions and repositories, such as \"alice pull,push team/**\"".to_owned());
        };
        let who = who.split(',').map(user).collect::<Result<Vec<_>, _>>()?;
        let actions = actions.split(',').map(|word| word.parse::<Action>().map_err(|error| error.to_string()));
        let rule = Rule { actions: actions.collect::<Result<_, _>>()?, repositories: patterns(words)? };
        if rule.repositories.is_empty() {
            return Err("expected repositories after the actions; \"**\" is all of them".to_owned());
        }
        for name in who {
            self.about.entry(name).or_default().push(self.all.len());
        }
        self.all.push(rule);
        Ok(())
    }

    /// What `user`, or somebody without a name, may do in a repository.
    #[must_use]
    pub fn allow(&self, user: Option<&str>, repository: &Name) -> Actions {
        // What is for those without a name is for everybody.
        let names = [Some(ANONYMOUS), user.and(Some(USERS)), user].into_iter().flatten();
        let rules = names.filter_map(|name| self.about.get(name)).flatten().map(|&at| &self.all[at]);
        let matching = rules.filter(|rule| rule.repositories.decide(repository.as_str(), false).is_some());
        matching.fold(Actions::NONE, |all, rule| all | rule.actions)
    }

    /// Whether there is anything that may be done without having logged in.
    #[must_use]
    pub fn allow_anonymous(&self) -> bool {
        self.about.contains_key(ANONYMOUS)
    }
}

/// Patterns of whole names: a slash before them says so in git's syntax, of which [`check_pattern`] lets through only
/// what is the same here.
fn patterns<'a>(words: impl Iterator<Item = &'a str>) -> Result<Patterns, String> {
    let anchored = words.map(|word| check_pattern(word).map(|()| format!("/{word}"))).collect::<Result<Vec<_>, _>>()?;
    Patterns::read(anchored.iter().map(String::as_str)).map_err(|(_, error)| error.to_string())
}

fn user(name: &str) -> Result<String, String> {
    let is_odd = |c: char| c.is_control() || c == '*';
    if name != USERS && (name.is_empty() || name.contains(is_odd)) {
        return Err(format!("{name:?} is no user name: expected a name, \"*\" for every user, or \"anonymous\""));
    }
    Ok(name.to_owned())
}

/// A pattern is a name in which parts may be left open.
fn check_pattern(pattern: &str) -> Result<(), String> {
    let invalid = |what: &dyn fmt::Display| Err(format!("{pattern:?} matches no repository: {what}"));
    for component in pattern.split('/') {
        let is_character = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' | b'*');
        match component {
            "**" => {}
            _ if component.contains("**") => return invalid(&"\"**\" stands for whole components"),
            _ if component.contains('*') && component.bytes().all(is_character) => {}
            _ => match component.parse::<Name>() {
                Ok(_) => {}
                Err(error) => return invalid(&error),
            },
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn allowed(rules: &str, user: Option<&str>, repository: &str) -> String {
        Rules::parse(rules).unwrap().allow(user, &repository.parse().unwrap()).to_string()
    }

    #[test]
    fn what_is_allowed_is_the_union_of_the_rules_and_nothing_else() {
        let rules = "# the teams\n\nalice,ci push team-a/**  shared # here\nalice delete team-a/old\n* pull team-a/**\n\
                     anonymous pull public/*\n";
        for (user, repository, expected) in [
            (Some("alice"), "team-a/app", "pull,push"),
            (Some("alice"), "team-a/old", "pull,push,delete"),
            (Some("ci"), "team-a/old", "pull,push"),
            (Some("ci"), "shared", "pull,push"),
            (Some("bob"), "team-a/app", "pull"),
            (Some("bob"), "shared", ""),
            (Some("bob"), "public/a", "pull"),
            (None, "public/a", "pull"),
            (None, "team-a/app", ""),
            (Some("*"), "shared", ""),
        ] {
            assert_eq!(allowed(rules, user, repository), expected, "{user:?} {repository}");
        }
        assert!(
            Rules::parse(rules).unwrap().allow_anonymous() && !Rules::parse("* pull **").unwrap().allow_anonymous()
        );
        assert_eq!(allowed("", Some("alice"), "a"), "");
    }

    #[test]
    fn stars_stay_within_components_and_two_of_them_do_not() {
        for (pattern, matching, others) in [
            ("team/**", &["team/a", "team/a/b"][..], &["team", "team-b/a", "a/team/b"][..]),
            ("**", &["a", "a/b/c"], &[]),
            ("*", &["a"], &["a/b"]),
            ("team-*/app", &["team-a/app"], &["team-a/b/app", "team-a/app2", "team/app"]),
            ("team/**/prod", &["team/prod", "team/a/b/prod"], &["team/prod/a", "prod"]),
            ("**/base", &["base", "a/b/base"], &["a/base/b"]),
            ("**/b/**", &["b/c", "a/b/c"], &["b", "a/b"]),
            ("app", &["app"], &["team/app", "app/team"]),
            ("a.b", &["a.b"], &["axb", "a-b"]),
        ] {
            let rules = format!("* pull {pattern}");
            for name in matching {
                assert_eq!(allowed(&rules, Some("u"), name), "pull", "{pattern} {name}");
            }
            for name in others {
                assert_eq!(allowed(&rules, Some("u"), name), "", "{pattern} {name}");
            }
        }
    }

    #[test]
    fn rules_without_a_file_are_for_all_repositories() {
        let (name, closed, open) = ("a/b".parse().unwrap(), Rules::for_users(), Rules::for_users_and_anonymous_pull());
        for rules in [&closed, &open] {
            assert_eq!(rules.allow(Some("alice"), &name), Actions::all());
        }
        assert_eq!((closed.allow(None, &name), open.allow(None, &name)), (Actions::NONE, Action::Pull.into()));
    }

    #[test]
    fn what_is_not_understood_is_an_error_with_its_line() {
        for (line, expected) in [
            ("alice", "expected who"),
            ("alice pull", "expected repositories"),
            ("alice read a", "\"read\" is no action"),
            ("alice pull,,push a", "\"\" is no action"),
            ("alice pull A", "capital"),
            ("alice pull a b//c", "\"b//c\" matches no repository"),
            ("alice pull a**", "whole components"),
            ("alice pull [a]", "matches no repository"),
            ("alice pull a?*", "matches no repository"),
            ("alice pull {a,b}", "matches no repository"),
            ("alice pull !a", "matches no repository"),
            ("alice pull /a", "matches no repository"),
            ("alice, pull a", "\"\" is no user name"),
            ("al* pull a", "\"al*\" is no user name"),
        ] {
            let error = Rules::parse(&format!("* pull a\n\n{line}\n")).unwrap_err().to_string();
            assert!(error.starts_with("line 3: ") && error.contains(expected), "{line}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_file_is_too_strange(text in ".{0,60}", pattern in "[a-z*/.{}\\[\\]!\\\\?-]{0,20}", name in "[a-z]/[a-z]") {
            let _ = Rules::parse(&text);
            if let Ok(rules) = Rules::parse(&format!("* pull {pattern}")) {
                let _ = rules.allow(Some("alice"), &name.parse().unwrap());
            }
        }
    }
}
