//! What no output of the program may show: whatever tests use as passwords, tokens and signatures.

use std::process::Command;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};

/// What is in every secret of a test: `bearer-secret`, `signature-secret`; or is one itself, or alice's in a header.
pub const MARKS: [&str; 6] =
    ["-secret", "correct-horse", "hunter2", "mistaken", "mistyped", "YWxpY2U6Y29ycmVjdC1ob3JzZQ"];

/// How a token of our own registry begins: as every JSON Web Token does.
const TOKEN: &str = "eyJ";

/// What one run of the program is told, beside what every test may tell it.
#[derive(Clone, Debug)]
pub struct Secrets {
    told: Arc<Vec<String>>,
    /// Whether its result is one.
    are_results: bool,
}

impl Secrets {
    /// What this command is told with its arguments and its environment.
    pub fn of(command: &Command) -> Self {
        let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy().into_owned()).collect();
        let values = command.get_envs().filter_map(|(_, value)| Some(value?.to_string_lossy().into_owned()));
        let words: Vec<_> = arguments.iter().flat_map(|argument| argument.split([' ', '\n'])).collect();
        let after = |flags: [&str; 2]| {
            let pairs = words.windows(2).filter(move |pair| flags.contains(&pair[0]));
            pairs.map(|pair| pair[1].to_owned()).collect::<Vec<_>>()
        };
        let users = after(["-u", "--username"]);
        let mut logins: Vec<_> = users.into_iter().zip(after(["-p", "--password"])).collect();
        logins.extend(values.chain(words.iter().map(|word| (*word).to_owned())).filter_map(|url| login_in(&url)));
        let told = logins.iter().flat_map(|(user, password)| forms(user, password)).collect();
        Self { told: Arc::new(told), are_results: words.contains(&"token") }
    }

    /// Fails if a secret is in what is on standard output. There, `bndlr token` prints what it was asked for.
    #[track_caller]
    pub fn assert_not_in_results(&self, stdout: &str) {
        if !self.are_results {
            self.assert_not_in(stdout);
        }
    }

    /// Fails if a secret is in `text`, and says which.
    #[track_caller]
    pub fn assert_not_in(&self, text: &str) {
        for secret in MARKS.into_iter().chain(self.told.iter().map(String::as_str)) {
            assert!(!text.contains(secret), "the program shows a secret ({secret}): {text}");
        }
        assert!(!has_token(text), "the program shows a token: {text}");
    }
}

/// `user` and `password` of `http://user:password@host`.
fn login_in(url: &str) -> Option<(String, String)> {
    let (_, rest) = url.split_once("://")?;
    let (user, password) = rest.split('/').next()?.rsplit_once('@')?.0.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// A password in the clear and as a header has it. What is a word as any other, as in `-p wrong`, may be one of a message.
fn forms(user: &str, password: &str) -> Vec<String> {
    let login = format!("{user}:{password}");
    let mut forms = vec![BASE64_STANDARD.encode(&login), BASE64_STANDARD_NO_PAD.encode(&login), login];
    if !password.chars().all(|c| c.is_ascii_lowercase()) {
        forms.push(password.to_owned());
    }
    forms
}

fn has_token(text: &str) -> bool {
    let is_of_token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    text.split(|c| !is_of_token(c)).any(|word| word.starts_with(TOKEN) && word.len() > 20)
}
