//! Patterns of paths, in git's syntax (gitignore(5)): what goes into a bundle, and what is wanted of one.
//!
//! `tests/patterns.rs` holds them against git itself. They differ in two things: a pattern that git silently never
//! matches, for a bracket or an escape that does not end, is an error; and `?` is a character, not a byte.

use std::fmt;

/// Patterns, one a line. Of those that match, the last decides.
#[derive(Clone, Debug, Default)]
pub struct Patterns(Vec<Pattern>);

/// A pattern, as somebody has written it.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    line: usize,
    /// It begins with `!`: what it matches is not meant, whatever patterns before it say.
    negated: bool,
    /// It ends with `/`.
    directories_only: bool,
    /// Without a slash inside, it is about the last name of a path alone.
    anywhere: bool,
    names: Vec<Name>,
}

/// What stands between slashes.
#[derive(Clone, Debug)]
enum Name {
    /// `**`: any number of names.
    Any,
    /// What one name has to be.
    One(Vec<Part>),
}

#[derive(Clone, Debug)]
enum Part {
    Literal(char),
    /// `?`
    Character,
    /// `*`
    Star,
    /// `[…]`
    Class {
        negated: bool,
        items: Vec<Item>,
    },
}

#[derive(Clone, Debug)]
enum Item {
    /// From this to that.
    Range(char, char),
    /// `[:alpha:]` and its like.
    Posix(fn(&char) -> bool),
}

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// There is a `[` and no `]`.
    #[error("a [ without a ]; write \\[ for the character")]
    OpenBracket,
    /// The last character is a backslash that escapes nothing.
    #[error("a \\ with nothing after it; write \\\\ for the character")]
    Backslash,
    /// There is no such class.
    #[error("no class of characters that is known; they are [:alpha:], [:digit:] and so on")]
    Class,
}

impl Patterns {
    /// Reads patterns, each a line; empty ones and comments are left out.
    ///
    /// # Errors
    /// The number of the line, from 1, and what is wrong with it.
    pub fn read<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Self, (usize, PatternError)> {
        let numbered = lines.into_iter().enumerate();
        let parsed =
            numbered.filter_map(|(at, text)| Pattern::parse(text, at + 1).transpose().map(|parsed| (at, parsed)));
        parsed.map(|(at, parsed)| parsed.map_err(|error| (at + 1, error))).collect::<Result<_, _>>().map(Self)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The pattern that decides about `path`, which is relative, with `/` between names; nothing if none matches.
    #[must_use]
    pub fn decide(&self, path: &str, is_directory: bool) -> Option<&Pattern> {
        let last = path.rsplit('/').next().unwrap_or(path);
        let names: Vec<&str> =
            if self.0.iter().all(|pattern| pattern.anywhere) { Vec::new() } else { path.split('/').collect() };
        self.0.iter().rev().find(|pattern| {
            (is_directory || !pattern.directories_only)
                && if pattern.anywhere { matches(&pattern.names, &[last]) } else { matches(&pattern.names, &names) }
        })
    }

    /// Whether `path` is meant, or a directory that it is in: the nearest that a pattern matches decides.
    #[must_use]
    pub fn pick(&self, path: &str, is_directory: bool) -> bool {
        let above = path.rmatch_indices('/').map(|(at, _)| (&path[..at], true));
        let mut upwards = std::iter::once((path, is_directory)).chain(above);
        upwards.find_map(|(path, is_directory)| self.decide(path, is_directory)).is_some_and(|pattern| !pattern.negated)
    }
}

impl Pattern {
    fn parse(line: &str, number: usize) -> Result<Option<Self>, PatternError> {
        if line.starts_with('#') {
            return Ok(None);
        }
        let text = without_spaces_at_its_end(line);
        let (negated, pattern) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
        let (directories_only, pattern) = pattern.strip_suffix('/').map_or((false, pattern), |rest| (true, rest));
        if text.is_empty() {
            return Ok(None);
        }
        let anywhere = !pattern.contains('/');
        let pattern = pattern.strip_prefix('/').unwrap_or(pattern);
        // Between names, `**` is any number of them; alone, it is about one name, as `*` is.
        let name = |name| if name == "**" && !anywhere { Ok(Name::Any) } else { parse_name(name).map(Name::One) };
        let names = pattern.split('/').map(name).collect::<Result<_, _>>()?;
        Ok(Some(Self { text: text.to_owned(), line: number, negated, directories_only, anywhere, names }))
    }

    /// Whether it takes back what patterns before it say.
    #[must_use]
    pub fn is_negated(&self) -> bool {
        self.negated
    }

    /// The number of its line, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.line
    }
}

/// As it was written.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Spaces at the end of a line do not count, unless a backslash says so.
fn without_spaces_at_its_end(line: &str) -> &str {
    let (mut end, mut is_escaped) = (0, false);
    for (at, c) in line.char_indices() {
        if c != ' ' || is_escaped {
            end = at + c.len_utf8();
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    &line[..end]
}

fn parse_name(name: &str) -> Result<Vec<Part>, PatternError> {
    let (mut parts, mut rest) = (Vec::new(), name.chars());
    while let Some(c) = rest.next() {
        parts.push(match c {
            '*' if matches!(parts.last(), Some(Part::Star)) => continue,
            '*' => Part::Star,
            '?' => Part::Character,
            '[' => parse_class(&mut rest)?,
            '\\' => Part::Literal(rest.next().ok_or(PatternError::Backslash)?),
            c => Part::Literal(c),
        });
    }
    Ok(parts)
}

/// What comes after a `[`, up to its `]`.
fn parse_class(rest: &mut std::str::Chars<'_>) -> Result<Part, PatternError> {
    let negated = rest.as_str().starts_with(['!', '^']);
    if negated {
        rest.next();
    }
    let (mut items, mut is_first) = (Vec::new(), true);
    loop {
        let item = match rest.next().ok_or(PatternError::OpenBracket)? {
            ']' if !is_first => return Ok(Part::Class { negated, items }),
            '[' if rest.as_str().starts_with(':') => {
                let (name, after) = rest.as_str()[1..].split_once(":]").ok_or(PatternError::OpenBracket)?;
                *rest = after.chars();
                Item::Posix(posix(name).ok_or(PatternError::Class)?)
            }
            c => {
                let from = unescaped(c, rest)?;
                let is_range = rest.as_str().starts_with('-') && !rest.as_str().starts_with("-]");
                let to = if is_range { rest.nth(1).map(|c| unescaped(c, rest)).transpose()? } else { Some(from) };
                Item::Range(from, to.ok_or(PatternError::OpenBracket)?)
            }
        };
        items.push(item);
        is_first = false;
    }
}

/// The character that is meant by `c` and what follows.
fn unescaped(c: char, rest: &mut std::str::Chars<'_>) -> Result<char, PatternError> {
    if c == '\\' { rest.next().ok_or(PatternError::OpenBracket) } else { Ok(c) }
}

fn posix(name: &str) -> Option<fn(&char) -> bool> {
    Some(match name {
        "alnum" => char::is_ascii_alphanumeric,
        "alpha" => char::is_ascii_alphabetic,
        "blank" => |c| matches!(c, ' ' | '\t'),
        "cntrl" => char::is_ascii_control,
        "digit" => char::is_ascii_digit,
        "graph" => char::is_ascii_graphic,
        "lower" => char::is_ascii_lowercase,
        "print" => |c| c.is_ascii_graphic() || *c == ' ',
        "punct" => char::is_ascii_punctuation,
        "space" => |c| c.is_ascii_whitespace() || *c == '\u{b}',
        "upper" => char::is_ascii_uppercase,
        "xdigit" => char::is_ascii_hexdigit,
        _ => return None,
    })
}

impl Part {
    fn fits(&self, c: char) -> bool {
        match self {
            Self::Literal(literal) => *literal == c,
            Self::Character | Self::Star => true,
            Self::Class { negated, items } => {
                let has = items.iter().any(|item| match item {
                    Item::Range(from, to) => (*from..=*to).contains(&c),
                    Item::Posix(is) => is(&c),
                });
                has != *negated
            }
        }
    }
}

/// Whether `pattern` matches all of `names`. Where it can go on in several ways, the last `**` takes one name more: it is
/// never necessary to go back further, so this takes no more than the product of both lengths.
fn matches(pattern: &[Name], names: &[&str]) -> bool {
    let (mut at, mut name, mut retry) = (0, 0, None);
    while name < names.len() {
        match pattern.get(at) {
            // At the end, it is what is in a directory, and not the directory itself.
            Some(Name::Any) if at + 1 == pattern.len() => return true,
            Some(Name::Any) => {
                at += 1;
                retry = Some((at, name));
                continue;
            }
            Some(Name::One(parts)) if matches_name(parts, names[name]) => {
                (at, name) = (at + 1, name + 1);
                continue;
            }
            _ => {}
        }
        let Some((after, from)) = retry else { return false };
        retry = Some((after, from + 1));
        (at, name) = (after, from + 1);
    }
    at == pattern.len()
}

/// Whether `parts` match all of `name`; in the same manner, with `*`.
fn matches_name(parts: &[Part], name: &str) -> bool {
    let (mut at, mut rest, mut retry) = (0, name.chars(), None);
    loop {
        let mut next = rest.clone();
        match (parts.get(at), next.next()) {
            (None, None) => return true,
            (Some(Part::Star), _) => {
                at += 1;
                retry = Some((at, rest.clone()));
                continue;
            }
            (Some(part), Some(c)) if part.fits(c) => {
                (at, rest) = (at + 1, next);
                continue;
            }
            _ => {}
        }
        let Some((after, from)) = &mut retry else { return false };
        if from.next().is_none() {
            return false;
        }
        (at, rest) = (*after, from.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(patterns: &[&str], path: &str) -> Option<bool> {
        let (path, is_directory) = path.strip_suffix('/').map_or((path, false), |path| (path, true));
        let patterns = Patterns::read(patterns.iter().copied()).unwrap();
        patterns.decide(path, is_directory).map(|pattern| !pattern.is_negated())
    }

    #[test]
    fn patterns_mean_what_they_mean_to_git() {
        for (pattern, matched, others) in [
            ("*.md", &["a.md", "sub/a.md", ".md"][..], &["a.mdx", "a.md/b"][..]),
            ("/a", &["a", "a/"], &["sub/a"]),
            ("a/", &["a/", "sub/a/"], &["a"]),
            ("a/b", &["a/b"], &["sub/a/b", "a/b/c"]),
            ("**/a/b", &["a/b", "x/a/b", "x/y/a/b"], &["a/x/b"]),
            ("a/**", &["a/b", "a/b/c"], &["a/", "a"]),
            ("a/**/b", &["a/b", "a/x/b", "a/x/y/b"], &["ab", "a/bc"]),
            ("a/*", &["a/b"], &["a/b/c"]),
            ("a**b", &["ab", "axxb"], &["a/b"]),
            ("[a-c]?[!x]", &["ayy", "sub/bxz"], &["dyy", "axx"]),
            ("[]a-]", &["]", "a", "-"], &["b"]),
            (r"\#a\ ", &["#a "], &["#a"]),
            (r"\!a  ", &["!a"], &["a"]),
            ("{a,b}", &["{a,b}"], &["a", "b"]),
            ("{{name}}", &["{{name}}"], &["name"]),
            ("[[:digit:]x]", &["1", "x"], &["a"]),
            ("/", &[], &["a", "a/"]),
            ("*a*a*a*a*a*b", &["aaaaaab"], &[&"a".repeat(200)]),
        ] {
            for path in matched {
                assert_eq!(decide(&[pattern], path), Some(true), "{pattern} {path}");
            }
            for path in others {
                assert_eq!(decide(&[pattern], path), None, "{pattern} {path}");
            }
        }
    }

    #[test]
    fn the_last_pattern_that_matches_decides() {
        let patterns = ["# all but one", "", "*.md", "!keep.md", "  "];
        assert_eq!(decide(&patterns, "a.md"), Some(true));
        assert_eq!(decide(&patterns, "sub/keep.md"), Some(false));
        let patterns = Patterns::read(patterns).unwrap();
        let pattern = patterns.decide("keep.md", false).unwrap();
        assert_eq!((pattern.to_string().as_str(), pattern.line()), ("!keep.md", 4));
    }

    #[test]
    fn what_is_in_a_directory_that_is_meant_is_meant() {
        let patterns = Patterns::read(["/base", "!*.md"]).unwrap();
        for (path, picked) in [("base", true), ("base/a/b", true), ("base/a.md", false), ("other/base", false)] {
            assert_eq!(patterns.pick(path, path == "base"), picked, "{path}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_its_line() {
        for (pattern, error) in [
            ("a[b", PatternError::OpenBracket),
            ("[a-", PatternError::OpenBracket),
            ("[", PatternError::OpenBracket),
            ("[]", PatternError::OpenBracket),
            ("[[:alpha]", PatternError::OpenBracket),
            ("[[:letter:]]", PatternError::Class),
            ("a\\", PatternError::Backslash),
        ] {
            assert_eq!(Patterns::read(["fine", pattern]).unwrap_err(), (2, error), "{pattern}");
        }
    }
}
