//! Whether a password is right: slow by design, so it is done on few threads at once, and what came of it is remembered.
//!
//! For a user that does not exist it takes as long, because the password is then checked against somebody else's.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use ring::hmac;
use tokio::sync::Semaphore;

use crate::protocol::Secret;

use super::passwords::Passwords;

/// How long the outcome of a check is remembered, unless the user's password changes.
const MEMORY: Duration = Duration::from_mins(2);
/// How many outcomes of each kind are remembered.
const MAX_REMEMBERED: usize = 4096;
/// How many checks may wait for their turn: some seconds' worth.
const MAX_WAITING: usize = 64;

/// A user name and a password.
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: Secret,
}

/// There are too many checks to wait for another.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Busy;

/// Checks passwords.
pub(super) struct Checks {
    /// So that what is remembered is worth nothing elsewhere.
    key: hmac::Key,
    running: Arc<Semaphore>,
    waiting: Semaphore,
    right: Mutex<Remembered>,
    wrong: Mutex<Remembered>,
}

impl Checks {
    /// # Errors
    /// When the operating system has no random numbers.
    pub(super) fn new() -> std::io::Result<Self> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|error| std::io::Error::other(error.to_string()))?;
        // Half of the processors stay with those who have a token already.
        let at_once = std::thread::available_parallelism().map_or(1, |processors| processors.get().div_ceil(2));
        Ok(Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &bytes),
            running: Arc::new(Semaphore::new(at_once)),
            waiting: Semaphore::new(MAX_WAITING),
            right: Mutex::default(),
            wrong: Mutex::default(),
        })
    }

    /// Whether this is the password of a user in `passwords`.
    pub(super) async fn check(&self, passwords: &Passwords, login: &Login, now: SystemTime) -> Result<bool, Busy> {
        let known = passwords.of(&login.user);
        let stored = known.cloned().unwrap_or_else(|| passwords.decoy(self.pick(&login.user)));
        let question = self.question(login, &stored);
        if let Some(remembered) = self.recall(&question, now) {
            return Ok(remembered);
        }
        let waiting = self.waiting.try_acquire().map_err(|_| Busy)?;
        // Neither semaphore is ever closed.
        let running = Arc::clone(&self.running).acquire_owned().await.map_err(|_| Busy)?;
        drop(waiting);
        // Whoever was first in line may have asked the same.
        if let Some(remembered) = self.recall(&question, now) {
            return Ok(remembered);
        }
        let password = login.password.clone();
        let checked = tokio::task::spawn_blocking(move || {
            // The place is taken until the work is done, also if the client does not wait for it.
            let _running = running;
            bcrypt::verify(password.expose(), stored.expose()).unwrap_or(false)
        });
        let is_right = checked.await.unwrap_or(false) && known.is_some();
        lock(if is_right { &self.right } else { &self.wrong }).add(question, now);
        Ok(is_right)
    }

    fn recall(&self, question: &Question, now: SystemTime) -> Option<bool> {
        if lock(&self.right).has(question, now) {
            return Some(true);
        }
        lock(&self.wrong).has(question, now).then_some(false)
    }

    /// What is asked, so that nobody who reads this memory learns a password.
    fn question(&self, login: &Login, stored: &Secret) -> Question {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [&login.user, login.password.expose(), stored.expose()] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        first_bytes(context.sign())
    }

    /// A number that is always the same for a name, and that nobody can know.
    fn pick(&self, user: &str) -> u64 {
        u64::from_be_bytes(first_bytes(hmac::sign(&self.key, user.as_bytes())))
    }
}

type Question = [u8; 32];

/// HMAC-SHA256 has 32 bytes, and no more are ever asked for.
fn first_bytes<const N: usize>(tag: hmac::Tag) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
    bytes
}

fn lock(remembered: &Mutex<Remembered>) -> std::sync::MutexGuard<'_, Remembered> {
    // What is remembered may be forgotten, so a panic elsewhere leaves nothing wrong.
    remembered.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Questions with the same answer, the oldest first.
#[derive(Default)]
struct Remembered {
    since: HashMap<Question, SystemTime>,
    order: VecDeque<Question>,
}

impl Remembered {
    fn has(&self, question: &Question, now: SystemTime) -> bool {
        let age = self.since.get(question).and_then(|since| now.duration_since(*since).ok());
        age.is_some_and(|age| age < MEMORY)
    }

    fn add(&mut self, question: Question, now: SystemTime) {
        if self.since.insert(question, now).is_none() {
            self.order.push_back(question);
        }
        if self.order.len() > MAX_REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.since.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    fn login(user: &str, password: &str) -> Login {
        Login { user: user.to_owned(), password: Secret::new(password) }
    }

    fn passwords(password: &str) -> Passwords {
        Passwords::parse(&format!("alice:{}", bcrypt::hash(password, 4).unwrap())).unwrap()
    }

    fn remembered(checks: &Checks) -> (usize, usize) {
        (lock(&checks.right).order.len(), lock(&checks.wrong).order.len())
    }

    #[tokio::test]
    async fn only_the_password_of_the_user_is_right() {
        let (checks, passwords, now) = (Checks::new().unwrap(), passwords("secret"), SystemTime::now());
        for _ in 0..2 {
            for (user, password, expected) in
                [("alice", "secret", true), ("alice", "Secret", false), ("bob", "secret", false), ("", "", false)]
            {
                assert_eq!(checks.check(&passwords, &login(user, password), now).await, Ok(expected), "{user}");
            }
        }
        assert_eq!(remembered(&checks), (1, 3), "each was checked once");
    }

    #[tokio::test]
    async fn what_is_remembered_ends_with_time_and_with_the_password() {
        let (checks, now) = (Checks::new().unwrap(), SystemTime::now());
        let (old, new) = (passwords("old"), passwords("new"));
        let right = login("alice", "old");
        assert_eq!(checks.check(&old, &right, now).await, Ok(true));
        assert_eq!(checks.check(&new, &right, now).await, Ok(false), "the password has changed");
        let question = checks.question(&right, old.of("alice").unwrap());
        assert_eq!(checks.recall(&question, now), Some(true));
        assert_eq!(checks.recall(&question, now + MEMORY), None);
    }

    #[tokio::test]
    async fn no_more_wait_than_may() {
        let (checks, passwords, now) = (Checks::new().unwrap(), passwords("secret"), SystemTime::now());
        let known = login("alice", "secret");
        assert_eq!(checks.check(&passwords, &known, now).await, Ok(true));
        let _all = checks.waiting.acquire_many(u32::try_from(MAX_WAITING).unwrap()).await.unwrap();
        let other = login("alice", "other");
        assert_eq!(checks.check(&passwords, &other, now).now_or_never(), Some(Err(Busy)));
        assert_eq!(checks.check(&passwords, &known, now).await, Ok(true), "who is known need not wait");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut remembered, now) = (Remembered::default(), SystemTime::now());
        for number in 0..=MAX_REMEMBERED {
            let mut question = [0; 32];
            question[..8].copy_from_slice(&number.to_be_bytes());
            remembered.add(question, now);
        }
        assert_eq!((remembered.since.len(), remembered.order.len()), (MAX_REMEMBERED, MAX_REMEMBERED));
        assert!(!remembered.has(&[0; 32], now));
    }
}
