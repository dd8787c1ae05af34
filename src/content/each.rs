//! What is done once for each content, whoever needs it and however often.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OnceCell;

use super::{Error, Outcome};
use crate::digest::Digest;
use crate::manifest::Descriptor;

/// Contents in the order in which they were met, and what became of each: who meets one again waits for the first.
#[derive(Default)]
pub(super) struct Each(Mutex<State>);

#[derive(Default)]
struct State {
    order: Vec<Descriptor>,
    outcomes: HashMap<Digest, Arc<OnceCell<Outcome>>>,
}

impl Each {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets `work` be done for this content, unless it is done or under way: then its outcome is awaited.
    pub(super) async fn once<F>(&self, descriptor: &Descriptor, work: impl FnOnce() -> F) -> Result<Outcome, Error>
    where
        F: Future<Output = Result<Outcome, Error>>,
    {
        let cell = {
            let mut state = self.state();
            if !state.outcomes.contains_key(&descriptor.digest) {
                state.order.push(descriptor.clone());
            }
            Arc::clone(state.outcomes.entry(descriptor.digest).or_default())
        };
        cell.get_or_try_init(work).await.copied()
    }

    /// Takes note that something else has become of a content that was met before.
    pub(super) fn set(&self, digest: Digest, outcome: Outcome) {
        self.state().outcomes.insert(digest, Arc::new(OnceCell::new_with(Some(outcome))));
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.state().order.len()
    }

    /// Those that were met after the first `known`.
    pub(super) fn after(&self, known: usize) -> Vec<Digest> {
        self.state().order.iter().skip(known).map(|met| met.digest).collect()
    }

    /// Those that are done, in order.
    pub(super) fn outcomes(&self) -> Vec<(Descriptor, Outcome)> {
        let state = self.state();
        let outcome = |met: &Descriptor| state.outcomes.get(&met.digest)?.get().copied();
        state.order.iter().filter_map(|met| Some((met.clone(), outcome(met)?))).collect()
    }
}
