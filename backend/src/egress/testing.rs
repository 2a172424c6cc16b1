//! A resolver that knows only what a test tells it, and counts how often it is asked. Not in release builds.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::ResolveName;

pub(crate) struct FakeResolver {
    answers: HashMap<String, Vec<Vec<IpAddr>>>,
    asked: Mutex<HashMap<String, usize>>,
}

impl FakeResolver {
    /// For each name its answers in turn, the last one for ever; an answer is addresses between spaces.
    #[cfg(test)]
    pub(crate) fn new(zone: &[(&str, &[&str])]) -> Arc<FakeResolver> {
        let answers =
            zone.iter().map(|(name, turns)| ((*name).to_owned(), turns.iter().copied().map(addresses).collect()));
        Arc::new(FakeResolver { answers: answers.collect(), asked: Mutex::default() })
    }

    /// The same as text: `name=answer|answer;name=answer`.
    #[cfg(debug_assertions)]
    pub(crate) fn from_text(zone: &str) -> Arc<FakeResolver> {
        let entries = zone.split(';').filter_map(|entry| entry.split_once('='));
        let answers = entries.map(|(name, turns)| (name.trim().to_owned(), turns.split('|').map(addresses).collect()));
        Arc::new(FakeResolver { answers: answers.collect(), asked: Mutex::default() })
    }

    #[cfg(test)]
    pub(crate) fn asked(&self, name: &str) -> usize {
        self.asked.lock().unwrap().get(name).copied().unwrap_or(0)
    }

    #[cfg(test)]
    pub(crate) fn total(&self) -> usize {
        self.asked.lock().unwrap().values().sum()
    }
}

fn addresses(answer: &str) -> Vec<IpAddr> {
    answer.split_whitespace().filter_map(|address| address.parse().ok()).collect()
}

#[async_trait]
impl ResolveName for FakeResolver {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let turns = self.answers.get(name).ok_or(io::ErrorKind::NotFound)?;
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = asked.entry(name.to_owned()).or_default();
        let answer = turns.get(*turn).or(turns.last()).cloned().unwrap_or_default();
        *turn += 1;
        Ok(answer)
    }
}
