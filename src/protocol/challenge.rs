//! Challenges: what a registry asks for before it answers (RFC 9110, section 11.6.1, `WWW-Authenticate`).
//!
//! Which challenge to take up, and with what, is the client's to decide.

use std::fmt;

/// One challenge: a scheme and what it says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The scheme in lower case: `basic`, `bearer`, ….
    pub scheme: String,
    /// What stands after schemes such as Negotiate instead of parameters.
    pub token68: Option<String>,
    /// Names in lower case, with their values.
    pub parameters: Vec<(String, String)>,
}

impl Challenge {
    /// Reads the challenges of one header. There may be several headers, and several challenges in each. What does not
    /// follow the grammar is left out: a client can only take up what it understands.
    #[must_use]
    pub fn parse_all(header: &str) -> Vec<Self> {
        let mut cursor = Cursor { rest: header };
        let mut challenges = Vec::new();
        while cursor.next_element() {
            match cursor.challenge() {
                Some(challenge) => challenges.push(challenge),
                None => cursor.skip_element(),
            }
        }
        challenges
    }

    /// The value of a parameter: the first one, if it is there more than once.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

impl fmt::Display for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.scheme)?;
        if let Some(token68) = &self.token68 {
            write!(f, " {token68}")?;
        }
        for (at, (name, value)) in self.parameters.iter().enumerate() {
            let separator = if at == 0 { " " } else { "," };
            write!(f, "{separator}{name}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))?;
        }
        Ok(())
    }
}

/// What has not been read yet.
struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    /// Goes to the next element of the list, if there is one; elements may be empty.
    fn next_element(&mut self) -> bool {
        self.rest = self.rest.trim_start_matches([' ', '\t', ',']);
        !self.rest.is_empty()
    }

    /// Leaves out the rest of this element.
    fn skip_element(&mut self) {
        self.rest = self.rest.find(',').map_or("", |comma| &self.rest[comma..]);
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    /// The longest run, perhaps empty, of characters that `wanted` takes.
    fn run(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !wanted(c)).unwrap_or(self.rest.len());
        let (run, rest) = self.rest.split_at(end);
        self.rest = rest;
        run
    }

    fn challenge(&mut self) -> Option<Challenge> {
        let scheme = self.run(is_token);
        if scheme.is_empty() || !self.rest.is_empty() && !self.rest.starts_with([' ', '\t', ',']) {
            return None;
        }
        self.skip_space();
        let token68 = self.token68();
        let mut parameters = Vec::new();
        // What follows a comma is another parameter, or another challenge if no equals sign follows its name.
        while token68.is_none() && self.next_element() {
            let before = self.rest;
            let name = self.run(is_token);
            self.skip_space();
            if name.is_empty() || !self.rest.starts_with('=') {
                self.rest = before;
                break;
            }
            self.rest = &self.rest[1..];
            self.skip_space();
            match self.value() {
                Some(value) => parameters.push((name.to_ascii_lowercase(), value)),
                None => self.skip_element(),
            }
        }
        Some(Challenge { scheme: scheme.to_ascii_lowercase(), token68: token68.map(str::to_owned), parameters })
    }

    /// What stands alone up to the next comma, with nothing but equals signs at its end.
    fn token68(&mut self) -> Option<&'a str> {
        let element = self.rest.split(',').next().unwrap_or_default();
        let candidate = element.trim_end_matches([' ', '\t']);
        let value = candidate.trim_end_matches('=');
        let is_token68 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~' | '+' | '/');
        if value.is_empty() || !value.chars().all(is_token68) {
            return None;
        }
        self.rest = &self.rest[element.len()..];
        Some(candidate)
    }

    /// A token or a quoted string.
    fn value(&mut self) -> Option<String> {
        let Some(quoted) = self.rest.strip_prefix('"') else {
            return Some(self.run(is_token).to_owned()).filter(|value| !value.is_empty());
        };
        let mut value = String::new();
        let mut characters = quoted.char_indices();
        while let Some((at, c)) = characters.next() {
            match c {
                '"' => {
                    self.rest = &quoted[at + 1..];
                    return Some(value);
                }
                '\\' => value.push(characters.next()?.1),
                c => value.push(c),
            }
        }
        None
    }
}

/// A character of a token (RFC 9110, section 5.6.2).
fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(header: &str) -> Vec<String> {
        Challenge::parse_all(header).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        for (header, expected) in [
            (r#"Basic realm="Registry Realm""#, vec![r#"basic realm="Registry Realm""#]),
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
                vec![
                    r#"bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
                ],
            ),
            (r#"BEARER  Realm = "x" , Service=y"#, vec![r#"bearer realm="x",service="y""#]),
            (r#"Negotiate, Basic realm="a\"b\\c""#, vec!["negotiate", r#"basic realm="a\"b\\c""#]),
            (
                r#"Negotiate YWJj==, Digest nonce=1, , qop="a,b", Basic"#,
                vec!["negotiate YWJj==", r#"digest nonce="1",qop="a,b""#, "basic"],
            ),
            ("", vec![]),
            (" , ,", vec![]),
        ] {
            assert_eq!(parse(header), expected, "{header}");
        }
    }

    #[test]
    fn what_is_malformed_is_left_out_and_what_follows_is_read() {
        for (header, expected) in [
            (r#"="x", Basic realm="y""#, vec![r#"basic realm="y""#]),
            (r#"Bearer realm="never closed, Basic realm"#, vec!["bearer", "basic realm"]),
            (r#"Bearer realm="ends in an escape\"#, vec!["bearer"]),
            (r"Bearer realm=;,service=s", vec![r#"bearer service="s""#]),
            ("Bearer/1 realm=x", vec![]),
            ("\u{e9}, Basic", vec!["basic"]),
        ] {
            assert_eq!(parse(header), expected, "{header}");
        }
    }

    #[test]
    fn of_two_values_the_first_counts() {
        let challenges = Challenge::parse_all("Bearer realm=one,realm=two");
        assert_eq!(challenges[0].parameter("realm"), Some("one"));
        assert_eq!(challenges[0].parameter("service"), None);
    }

    proptest! {
        #[test]
        fn no_header_is_too_strange(header in ".{0,120}") {
            let _ = Challenge::parse_all(&header);
        }

        #[test]
        fn no_header_of_the_right_characters_is_too_strange(header in r#"[a-zB =,"\\/\t]{0,60}"#) {
            let _ = Challenge::parse_all(&header);
        }

        #[test]
        fn what_is_printed_is_read_again(
            schemes in prop::collection::vec(
                ("[a-z]{1,8}", prop::collection::vec(("[a-z]{1,8}", "[ -~]{0,20}"), 1..4)), 1..4,
            ),
        ) {
            let challenges: Vec<Challenge> = schemes
                .into_iter()
                .map(|(scheme, parameters)| Challenge { scheme, token68: None, parameters })
                .collect();
            let header = challenges.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            prop_assert_eq!(Challenge::parse_all(&header), challenges);
        }
    }
}
