//! Symbolic links: does one leave the directory that it is in?

use std::collections::HashMap;

/// How many links are followed on the way from one; what takes more is a loop, as it is to a kernel.
const MAX_FOLLOWED: usize = 40;
/// How many components are looked at for each link, on average, and how many more in all. Links of honest trees take far
/// fewer; chains of long links, which compress to next to nothing, would take hours.
const STEPS_PER_LINK: u64 = 64;
const MORE_STEPS: u64 = 1_000_000;

/// A symbolic link that leads out of its bundle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("symbolic link {path:?} -> {target:?} leads out of the directory")]
pub struct Escape {
    /// The link.
    pub path: String,
    /// Where it points.
    pub target: String,
}

/// All symbolic links of a bundle, by path.
#[derive(Debug, Default)]
pub struct Links(HashMap<String, String>);

impl Links {
    /// Adds the link at `path`.
    pub fn insert(&mut self, path: &str, target: &str) {
        self.0.insert(path.to_owned(), target.to_owned());
    }

    /// Whether every link stays inside, resolved component by component as a kernel does it: `..` after a link goes up
    /// from where the link leads. A link that leads to nothing, or in a circle, leads nowhere outside.
    ///
    /// # Errors
    /// Names the first link, in byte order, that leads out. Where it takes too long to find out, they all count as such.
    pub fn check(&self) -> Result<(), Escape> {
        let mut steps = self.0.len() as u64 * STEPS_PER_LINK + MORE_STEPS;
        let escaping = self.0.iter().filter(|(path, target)| !self.stays_inside(path, target, &mut steps)).min();
        escaping.map_or(Ok(()), |(path, target)| Err(Escape { path: path.clone(), target: target.clone() }))
    }

    fn stays_inside(&self, path: &str, target: &str, steps: &mut u64) -> bool {
        let mut at: Vec<&str> = path.split('/').collect();
        at.pop();
        let mut ahead: Vec<&str> = target.split('/').rev().collect();
        if target.starts_with('/') {
            return false;
        }
        let mut followed = 0;
        while let Some(component) = ahead.pop() {
            if *steps == 0 {
                return false;
            }
            *steps -= 1;
            match component {
                "" | "." => {}
                ".." => {
                    if at.pop().is_none() {
                        return false;
                    }
                }
                name => {
                    at.push(name);
                    if let Some(target) = self.0.get(&at.join("/")) {
                        followed += 1;
                        if followed > MAX_FOLLOWED {
                            return true;
                        }
                        if target.starts_with('/') {
                            return false;
                        }
                        at.pop();
                        ahead.extend(target.split('/').rev());
                    }
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaping(links: &[(&str, &str)]) -> Option<String> {
        let mut all = Links::default();
        for (path, target) in links {
            all.insert(path, target);
        }
        all.check().err().map(|escape| escape.path)
    }

    #[test]
    fn links_are_resolved_one_component_at_a_time() {
        assert_eq!(escaping(&[("a", "b"), ("x/y", "../b"), ("x/z", "./../x//y"), ("dangling", "no/such")]), None);
        assert_eq!(escaping(&[("a", "/etc/passwd")]), Some("a".into()));
        assert_eq!(escaping(&[("a", "..")]), Some("a".into()));
        assert_eq!(escaping(&[("x/y", "../../b")]), Some("x/y".into()));
        // Read as text, this stays inside; but `x/y/up` leads to the top, and `..` from there leads out.
        assert_eq!(escaping(&[("x/y/up", "../.."), ("out", "x/y/up/..")]), Some("out".into()));
        // Read as text, this leaves; but `down` leads two levels deep.
        assert_eq!(escaping(&[("down", "x/y"), ("in", "down/../..")]), None);
        assert_eq!(escaping(&[("a", "b"), ("b", "c/../../..")]), Some("a".into()));
    }

    #[test]
    fn chains_that_would_take_for_ever_are_refused() {
        let mut all = Links::default();
        for n in 0..2000 {
            all.insert(&format!("l{n:05}"), &format!("{}l{:05}", "./".repeat(2000), n + 1));
        }
        assert!(all.check().is_err());
    }

    #[test]
    fn circles_lead_nowhere() {
        assert_eq!(escaping(&[("a", "b"), ("b", "a"), ("self", "self/x")]), None);
    }
}
