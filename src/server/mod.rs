//! A registry: the distribution API over a [`storage`].

pub mod storage;
