//! Which manifests of a repository keep which others.

use crate::digest::Digest;
use crate::manifest::{Manifest, RawManifest};

/// The manifests of a repository, by their position in the order of their digests.
pub(super) struct Graph {
    digests: Vec<Digest>,
    /// What each image index lists. This has no cycles: a digest depends on those that it lists.
    listed: Vec<Vec<u32>>,
    /// What has each as its subject.
    referrers: Vec<Vec<u32>>,
}

impl Graph {
    /// A graph of these digests, which are in order, in which nobody keeps anybody yet.
    pub(super) fn new(digests: Vec<Digest>) -> Self {
        let none = vec![Vec::new(); digests.len()];
        Self { digests, listed: none.clone(), referrers: none }
    }

    /// Adds what a manifest says about others. Those that are not in the graph do not count.
    pub(super) fn add(&mut self, digest: Digest, manifest: &RawManifest) {
        let Some(here) = self.position(&digest) else { return };
        self.listed[here] = listed(manifest).filter_map(|digest| self.position(&digest)).map(|at| at as u32).collect();
        let subject = manifest.manifest().subject().and_then(|subject| self.position(&subject.digest));
        if let Some(subject) = subject {
            self.referrers[subject].push(here as u32);
        }
    }

    /// For each digest, whether it is among `roots` or one of them keeps it, perhaps through others.
    pub(super) fn reach(&self, roots: impl IntoIterator<Item = Digest>) -> Vec<bool> {
        let mut reached = vec![false; self.digests.len()];
        let mut open: Vec<usize> = roots.into_iter().filter_map(|root| self.position(&root)).collect();
        while let Some(at) = open.pop() {
            if !std::mem::replace(&mut reached[at], true) {
                open.extend(self.listed[at].iter().chain(&self.referrers[at]).map(|&next| next as usize));
            }
        }
        reached
    }

    /// The digests for which `is_alive` is false, each after the image indexes that list it.
    pub(super) fn dead(&self, is_alive: &[bool]) -> Vec<Digest> {
        let mut lists = vec![0_u32; self.digests.len()];
        let dead = || (0..self.digests.len()).filter(|&at| !is_alive[at]);
        for listed in dead().flat_map(|at| &self.listed[at]) {
            lists[*listed as usize] += 1;
        }
        let mut order: Vec<usize> = dead().filter(|&at| lists[at] == 0).collect();
        let mut done = 0;
        while let Some(&at) = order.get(done) {
            for &listed in &self.listed[at] {
                let listed = listed as usize;
                lists[listed] -= 1;
                if lists[listed] == 0 && !is_alive[listed] {
                    order.push(listed);
                }
            }
            done += 1;
        }
        order.into_iter().map(|at| self.digests[at]).collect()
    }

    pub(super) fn position(&self, digest: &Digest) -> Option<usize> {
        self.digests.binary_search(digest).ok()
    }
}

/// What a manifest lists, if it is an image index.
pub(super) fn listed(manifest: &RawManifest) -> impl Iterator<Item = Digest> {
    let manifests = match manifest.manifest() {
        Manifest::Index(index) => &index.manifests[..],
        Manifest::Image(_) => &[],
    };
    manifests.iter().map(|descriptor| descriptor.digest)
}
