//! Who may log in: a file as `htpasswd -B` writes it, with a line `user:bcrypt` for each.

use std::collections::HashMap;
use std::fmt;

use bcrypt::HashParts;

use crate::protocol::Secret;
use crate::server::watched::LineError;

use super::rules::ANONYMOUS;

/// The costs that are taken. A password at cost 16 is checked in about four seconds, and each more doubles that.
const COSTS: std::ops::RangeInclusive<u32> = 4..=16;

/// What is checked when nobody is known at all. Nobody has the password to it.
const NOBODYS: &str = "$2b$10$uk5yWnFd7ytcPyxv8Kmw..WX8.Qt6RsMoCTtT5kirwflb6/bNa8Um";

/// Users and what their passwords are checked against.
#[derive(Clone, Default)]
pub struct Passwords {
    stored: HashMap<String, Secret>,
    /// The values of `stored`, in the order of the file.
    decoys: Vec<Secret>,
}

impl Passwords {
    /// Reads lines `user:bcrypt`. Empty lines and those that begin with `#` are left out.
    ///
    /// # Errors
    /// When a line is something else, a password is not stored as bcrypt, or a user is there twice.
    pub fn parse(text: &str) -> Result<Self, LineError> {
        let mut passwords = Self::default();
        for (line, content) in (1..).zip(text.lines().map(str::trim)) {
            if !content.is_empty() && !content.starts_with('#') {
                passwords.add(content).map_err(|(why, hint)| LineError { line, why, hint })?;
            }
        }
        Ok(passwords)
    }

    fn add(&mut self, line: &str) -> Result<(), (String, Option<String>)> {
        // What is not understood is not repeated: it may be a password.
        let (user, stored) = line.split_once(':').ok_or_else(|| ("expected user:bcrypt".to_owned(), None))?;
        check_name(user).map_err(|why| (why, None))?;
        check_stored(stored).map_err(|what| {
            let hint = format!("\"htpasswd -B FILE {user}\" asks for the password and stores it as bcrypt");
            (format!("the password of {user:?} is {what}, and only bcrypt is taken"), Some(hint))
        })?;
        if self.stored.insert(user.to_owned(), Secret::new(stored)).is_some() {
            return Err((format!("{user:?} is there twice"), None));
        }
        self.decoys.push(Secret::new(stored));
        Ok(())
    }

    /// Whether there is such a user.
    #[must_use]
    pub fn has(&self, user: &str) -> bool {
        self.stored.contains_key(user)
    }

    /// What the user's password is checked against.
    pub(super) fn of(&self, user: &str) -> Option<&Secret> {
        self.stored.get(user)
    }

    /// What the password of somebody unknown is checked against, so that it takes as long: one of those that are
    /// there, since they may differ in cost, always the same for the same `pick`.
    pub(super) fn decoy(&self, pick: u64) -> Secret {
        let at = pick.checked_rem(self.decoys.len() as u64).unwrap_or_default();
        self.decoys.get(usize::try_from(at).unwrap_or_default()).cloned().unwrap_or_else(|| Secret::new(NOBODYS))
    }
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passwords").field("users", &self.stored.len()).finish_non_exhaustive()
    }
}

/// Names that rules can name, and nobody confuses with something else.
fn check_name(user: &str) -> Result<(), String> {
    if user == ANONYMOUS {
        return Err(format!("{user:?} is what users without a name are called"));
    }
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, ',' | '*');
    if user.is_empty() || user.contains(is_odd) {
        return Err(format!("{user:?} is no user name: expected no white space, no ',' and no '*'"));
    }
    Ok(())
}

/// # Errors
/// What it is, if it is not bcrypt.
fn check_stored(stored: &str) -> Result<(), String> {
    let other = match stored {
        _ if stored.starts_with("$2x$") => "bcrypt of a kind that has a known flaw ($2x$)",
        _ if stored.starts_with("$2") => {
            let parts: HashParts = stored.parse().map_err(|_| "bcrypt that is not complete".to_owned())?;
            let cost = parts.get_cost();
            let (least, most) = COSTS.into_inner();
            let is_in = (least..=most).contains(&cost);
            return if is_in { Ok(()) } else { Err(format!("bcrypt of cost {cost}, not from {least} to {most}")) };
        }
        _ if stored.starts_with("$apr1$") => "MD5 (apr1)",
        _ if stored.starts_with("{SHA}") => "SHA-1",
        _ if stored.starts_with("$5$") => "SHA-256",
        _ if stored.starts_with("$6$") => "SHA-512",
        _ => "plain text, crypt or something unknown",
    };
    Err(other.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// "alice", at cost 4, as `htpasswd -nbB -C 4` made it.
    const ALICE: &str = "$2y$04$U8Qe0GX6VZc3r5YTtP.5ieHvc5gHVGCm5Zq1fEKjniKWk5A3bEbh.";

    #[test]
    fn users_are_read_as_htpasswd_writes_them() {
        let text = format!("# people\n\nalice:{ALICE}\r\n  bob:{}  \n", ALICE.replace("2y", "2b"));
        let passwords = Passwords::parse(&text).unwrap();
        assert!(
            passwords.has("alice") && passwords.has("bob") && !passwords.has("carol") && !passwords.has("# people")
        );
        assert_eq!(format!("{passwords:?}"), "Passwords { users: 2, .. }");
        assert!(Passwords::parse("").unwrap().decoy(7).expose().starts_with("$2b$10$"));
        assert!(NOBODYS.parse::<HashParts>().is_ok());
    }

    #[test]
    fn what_is_not_bcrypt_is_named_and_not_shown() {
        for (stored, expected) in [
            ("$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/", "MD5"),
            ("{SHA}fEqNCco3Yq9h5ZUglD3CZJT4lBs=", "SHA-1"),
            ("$5$salt$x", "SHA-256"),
            ("$6$salt$x", "SHA-512"),
            ("hunter2", "plain text"),
            ("$2y$04$short", "not complete"),
            (&ALICE.replace("$2y$", "$2x$"), "flaw"),
            (&ALICE.replace("$04$", "$31$"), "cost 31"),
            (&ALICE.replace("$04$", "$03$"), "cost 3"),
        ] {
            let error = Passwords::parse(&format!("alice:{ALICE}\n\nbob:{stored}")).unwrap_err();
            assert!(error.to_string().starts_with("line 3: the password of \"bob\" is "), "{error}");
            assert!(error.why.contains(expected) && !error.why.contains(stored), "{error}");
            assert!(error.hint.as_ref().unwrap().contains("htpasswd -B FILE bob"), "{error:?}");
        }
    }

    #[test]
    fn lines_that_are_none_and_names_that_are_none_are_errors() {
        let twice = format!("alice:{ALICE}\nalice:{ALICE}");
        let named = |name: &str| format!("{name}:{ALICE}");
        for (text, line) in [
            ("hunter2", 1),
            (&twice, 2),
            (&named(""), 1),
            (&named("anonymous"), 1),
            (&named("*"), 1),
            (&named("a,b"), 1),
            (&named("a b"), 1),
        ] {
            let error = Passwords::parse(text).unwrap_err();
            assert_eq!(error.line, line, "{text}");
            assert!(!error.why.contains("hunter2"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_file_is_too_strange(text in ".{0,80}", stored in "\\$2[ay]\\$[0-9]{2}\\$.{0,60}") {
            let _ = Passwords::parse(&text);
            let _ = Passwords::parse(&format!("a:{stored}"));
        }
    }
}
