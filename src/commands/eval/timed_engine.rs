//! An engine with a watch on one instance's requests.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;

use crate::model::{Completion, EngineInfo, Event, Generate, Request};
use crate::prompt::{CountTokens, Prompt};

/// Passes requests on, and knows how long any of them was waited for.
pub struct TimedEngine<'a> {
    engine: &'a dyn Generate,
    watch: Mutex<Watch>,
}

/// Requests overlap, so that their seconds cannot be added.
#[derive(Debug, Default)]
struct Watch {
    /// Since when some request is waited for, and how many are.
    waiting: Option<(Instant, usize)>,
    /// What went by before.
    took: Duration,
}

impl Watch {
    fn begin(&mut self, now: Instant) {
        let (since, n) = self.waiting.unwrap_or((now, 0));
        self.waiting = Some((since, n + 1));
    }

    fn end(&mut self, now: Instant) {
        let Some((since, n)) = self.waiting else { return };
        self.waiting = (1 < n).then_some((since, n - 1));
        if self.waiting.is_none() {
            self.took += now - since;
        }
    }
}

impl<'a> TimedEngine<'a> {
    pub fn new(engine: &'a dyn Generate) -> Self {
        Self { engine, watch: Mutex::default() }
    }

    /// How long the instance waited for its completions, those of other instances in the same
    /// batch included.
    pub fn busy(&self) -> Duration {
        self.watch().took
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn timed<T>(&self, work: BoxFuture<'_, T>) -> T {
        self.watch().begin(Instant::now());
        let result = work.await;
        self.watch().end(Instant::now());
        result
    }
}

impl Generate for TimedEngine<'_> {
    fn info(&self) -> &EngineInfo {
        self.engine.info()
    }

    fn counter(&self) -> &dyn CountTokens {
        self.engine.counter()
    }

    fn generate<'a>(
        &'a self,
        request: &'a Request,
        events: &'a (dyn Fn(Event) + Send + Sync),
    ) -> BoxFuture<'a, anyhow::Result<Vec<Completion>>> {
        Box::pin(self.timed(self.engine.generate(request, events)))
    }

    fn score<'a>(
        &'a self,
        prompt: &'a Prompt,
        continuations: &'a [String],
    ) -> Option<BoxFuture<'a, anyhow::Result<Vec<f64>>>> {
        let scores = self.engine.score(prompt, continuations)?;
        Some(Box::pin(self.timed(scores)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_that_overlap_count_once() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut watch = Watch::default();
        watch.begin(at(0));
        watch.begin(at(2));
        watch.end(at(3));
        watch.end(at(5));
        watch.begin(at(10));
        watch.end(at(11));
        assert_eq!(watch.took, Duration::from_secs(6));
    }
}
