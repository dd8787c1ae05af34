//! Scopes: what a token is asked for and allows to do (the token authentication of CNCF Distribution, "Token scopes").

use std::fmt;
use std::ops::{BitAnd, BitOr};
use std::str::FromStr;

use crate::reference::Name;

/// Something that is done in a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Reading blobs, manifests, tags and referrers.
    Pull,
    /// Adding blobs and manifests, and moving tags.
    Push,
    /// Removing blobs, manifests and tags.
    Delete,
}

/// Why a word is no action.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no action: expected pull, push or delete")]
pub struct UnknownAction(String);

impl Action {
    const ALL: [Self; 3] = [Self::Pull, Self::Push, Self::Delete];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Action {
    type Err = UnknownAction;

    fn from_str(word: &str) -> Result<Self, UnknownAction> {
        let known = Self::ALL.into_iter().find(|action| action.as_str() == word);
        known.ok_or_else(|| UnknownAction(word.to_owned()))
    }
}

/// A set of actions. Who may push or delete may pull, too: neither can be done by somebody who cannot look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Actions(u8);

impl Actions {
    /// Nothing.
    pub const NONE: Self = Self(0);

    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Action::ALL.into_iter().collect()
    }

    /// Whether `action` is among them.
    #[must_use]
    pub fn contain(self, action: Action) -> bool {
        self.0 & (1 << action as u8) != 0
    }

    /// Whether there is none.
    #[must_use]
    pub fn are_none(self) -> bool {
        self == Self::NONE
    }
}

impl From<Action> for Actions {
    fn from(action: Action) -> Self {
        Self(1 << Action::Pull as u8 | 1 << action as u8)
    }
}

impl FromIterator<Action> for Actions {
    fn from_iter<T: IntoIterator<Item = Action>>(actions: T) -> Self {
        actions.into_iter().fold(Self::NONE, |all, action| all | action.into())
    }
}

impl BitOr for Actions {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for Actions {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl fmt::Display for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = Action::ALL.into_iter().filter(|action| self.contain(*action)).map(Action::as_str);
        f.write_str(&words.collect::<Vec<_>>().join(","))
    }
}

/// What a token allows to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// `repository:<name>:<actions>`
    Repository(Name, Actions),
    /// `registry:catalog:*`: listing repositories.
    Catalog,
}

impl Scope {
    const CATALOG: &str = "registry:catalog:*";

    /// Reading from a repository.
    #[must_use]
    pub fn pull(name: &Name) -> Self {
        Self::Repository(name.clone(), Action::Pull.into())
    }

    /// Writing to a repository.
    #[must_use]
    pub fn push(name: &Name) -> Self {
        Self::Repository(name.clone(), Action::Push.into())
    }

    /// Removing from a repository.
    #[must_use]
    pub fn delete(name: &Name) -> Self {
        Self::Repository(name.clone(), Action::Delete.into())
    }

    /// Reads one scope. What is not known here is none; an action that is not known is left out.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == Self::CATALOG {
            return Some(Self::Catalog);
        }
        let (name, actions) = text.strip_prefix("repository:")?.rsplit_once(':')?;
        let actions = actions.split(',').map(|word| match word {
            "*" => Actions::all(),
            word => word.parse().map_or(Actions::NONE, |action: Action| action.into()),
        });
        Some(Self::Repository(name.parse().ok()?, actions.fold(Actions::NONE, Actions::bitor)))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repository(name, actions) => write!(f, "repository:{name}:{actions}"),
            Self::Catalog => f.write_str(Self::CATALOG),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn scopes_are_read_as_clients_write_them() {
        for (text, expected) in [
            ("repository:a/b:pull", "repository:a/b:pull"),
            ("repository:a:push", "repository:a:pull,push"),
            ("repository:a:delete", "repository:a:pull,delete"),
            ("repository:a:*", "repository:a:pull,push,delete"),
            ("repository:a:push,fly,pull", "repository:a:pull,push"),
            ("repository:a:", "repository:a:"),
            ("registry:catalog:*", "registry:catalog:*"),
        ] {
            assert_eq!(Scope::parse(text).unwrap().to_string(), expected, "{text}");
        }
        for other in ["", "repository:a", "repository::pull", "repository:A:pull", "repository(plugin):a:pull", "a:b:c"]
        {
            assert_eq!(Scope::parse(other), None, "{other}");
        }
    }

    #[test]
    fn actions_are_those_that_were_given_and_pulling() {
        let actions = Actions::from(Action::Delete);
        assert!(actions.contain(Action::Pull) && actions.contain(Action::Delete) && !actions.contain(Action::Push));
        assert!((actions & Actions::from(Action::Push)) == Actions::from(Action::Pull));
        assert!(!Actions::NONE.contain(Action::Pull) && "fly".parse::<Action>().is_err());
    }

    proptest! {
        #[test]
        fn no_scope_is_too_strange(text in "(repository:|registry:)?.{0,40}") {
            if let Some(scope) = Scope::parse(&text) {
                prop_assert_eq!(Scope::parse(&scope.to_string()), Some(scope));
            }
        }
    }
}
