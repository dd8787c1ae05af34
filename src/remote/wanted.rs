//! What a request needs a token for: one scope as a rule, two for a mount, none to say no more than who asks.

use std::fmt;

use crate::protocol::{Action, Actions, Scope};
use crate::reference::Name;

/// The scopes of one token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Wanted {
    /// What is needed, the repository that is worked in first.
    scopes: Vec<Scope>,
    /// What somebody else says is needed, in their words.
    beside: Vec<String>,
}

impl Wanted {
    /// Nothing but to be known.
    pub(super) fn nothing() -> Self {
        Self::default()
    }

    /// These scopes, in the words of whoever asks.
    pub(super) fn in_words(beside: Vec<String>) -> Self {
        Self { scopes: Vec::new(), beside }
    }

    /// The same, and this as well.
    pub(super) fn and(mut self, beside: &[String]) -> Self {
        self.beside.extend_from_slice(beside);
        self
    }

    /// The repository whose credentials are to be used.
    pub(super) fn repository(&self) -> Option<&Name> {
        self.scopes.iter().find_map(|scope| match scope {
            Scope::Repository(name, _) => Some(name),
            Scope::Catalog => None,
        })
    }

    /// The scope that allows to push to the one repository that this is about.
    pub(super) fn with_push(&self) -> Option<Self> {
        let [Scope::Repository(name, actions)] = &self.scopes[..] else { return None };
        let push = Scope::Repository(name.clone(), *actions | Actions::from(Action::Push));
        self.beside.is_empty().then(|| Self::from(&push))
    }

    /// Whether a token for this is one for `scope`, too.
    pub(super) fn covers(&self, scope: &str) -> bool {
        let covers = |wanted: &Scope, asked: &Scope| match (wanted, asked) {
            (Scope::Repository(name, actions), Scope::Repository(of, needed)) => {
                name == of && *actions & *needed == *needed
            }
            (wanted, asked) => wanted == asked,
        };
        let asked = Scope::parse(scope);
        asked.is_some_and(|asked| self.scopes.iter().any(|wanted| covers(wanted, &asked)))
            || self.beside.iter().any(|wanted| wanted == scope)
    }

    /// The scopes as a token service reads them.
    pub(super) fn texts(&self) -> impl Iterator<Item = String> + '_ {
        self.scopes.iter().map(ToString::to_string).chain(self.beside.iter().cloned())
    }
}

impl From<&Scope> for Wanted {
    fn from(scope: &Scope) -> Self {
        Self { scopes: vec![scope.clone()], beside: Vec::new() }
    }
}

/// Several at once: the repository that is worked in comes first.
impl<const N: usize> From<[Scope; N]> for Wanted {
    fn from(scopes: [Scope; N]) -> Self {
        Self { scopes: scopes.into(), beside: Vec::new() }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.texts().collect::<Vec<_>>().join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(scopes: &[&str]) -> Wanted {
        Wanted { scopes: scopes.iter().map(|text| Scope::parse(text).unwrap()).collect(), beside: Vec::new() }
    }

    #[test]
    fn what_is_needed_already_is_not_asked_for_beside() {
        let push = wanted(&["repository:a:pull,push"]);
        for (scope, expected) in [
            ("repository:a:pull", true),
            ("repository:a:push,pull", true),
            ("repository:a:delete", false),
            ("repository:b:pull", false),
            ("registry:catalog:*", false),
            ("plugin:x", false),
        ] {
            assert_eq!(push.covers(scope), expected, "{scope}");
        }
        let more = push.and(&["plugin:x".to_owned()]);
        assert!(more.covers("plugin:x"));
        assert_eq!(more.to_string(), "repository:a:pull,push plugin:x");
    }

    #[test]
    fn a_mount_is_about_the_repository_that_gets_something() {
        let mount = wanted(&["repository:to:pull,push", "repository:from:pull"]);
        assert_eq!(mount.repository().unwrap().as_str(), "to");
        assert_eq!(mount.with_push(), None);
        assert_eq!(wanted(&["repository:a:pull"]).with_push(), Some(wanted(&["repository:a:pull,push"])));
        assert_eq!((Wanted::nothing().repository(), wanted(&["registry:catalog:*"]).repository()), (None, None));
    }
}
