//! Progress on stderr: a line for each thing that is settled, and on a terminal a moving line for
//! what is going on.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::commands::output::escape_controls;
use crate::model::Event;
use crate::pipeline::progress::{Progress, Topic};
use crate::stage::StageKind;

/// A bar for so many of something, with the time left.
pub fn bar(n: usize, what: &str, quiet: bool) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    let template = format!("{{pos}}/{{len}} {what} {{wide_bar}} {{msg}} {{eta}}");
    let bar = ProgressBar::new(n as u64);
    ProgressStyle::with_template(&template).map_or(bar.clone(), |style| bar.with_style(style))
}

/// Draws the progress of a pipeline; silent when asked to be.
pub struct ProgressView {
    bar: ProgressBar,
    quiet: bool,
    /// Seconds are shown to people, not to snapshots of a pipe.
    is_terminal: bool,
    /// Whether the line that moves is there.
    moves: AtomicBool,
    state: Mutex<State>,
}

struct State {
    stage_began: Instant,
    n_samples: usize,
    n_finished: usize,
    /// Of each sample.
    n_texts: BTreeMap<usize, usize>,
    first_text: Option<Instant>,
}

impl ProgressView {
    pub fn new(quiet: bool) -> Self {
        let target =
            if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_style(spinner_style());
        let is_terminal = !quiet && !bar.is_hidden();
        let state = State {
            stage_began: Instant::now(),
            n_samples: 0,
            n_finished: 0,
            n_texts: BTreeMap::new(),
            first_text: None,
        };
        Self { bar, quiet, is_terminal, moves: AtomicBool::new(false), state: Mutex::new(state) }
    }

    /// Prints a line that stays.
    pub fn say(&self, line: &str) {
        if !self.quiet {
            self.tell(line);
        }
    }

    /// Prints a line that stays, also to those who want to hear little: a verdict.
    pub fn tell(&self, line: &str) {
        let line = escape_controls(line);
        self.bar.suspend(|| anstream::eprintln!("{line}"));
    }

    /// Shows what is going on, where that can be seen.
    pub fn now(&self, what: &str) {
        // Not before there is something to show: the user may still be typing the issue.
        if self.is_terminal && !self.moves.swap(true, Ordering::SeqCst) {
            self.bar.reset();
            self.bar.enable_steady_tick(Duration::from_millis(120));
        }
        self.bar.set_message(escape_controls(what));
    }

    /// Takes the moving line away, until there is something to show again.
    pub fn clear(&self) {
        self.moves.store(false, Ordering::SeqCst);
        self.bar.disable_steady_tick();
        self.bar.finish_and_clear();
    }

    pub fn hear(&self, progress: Progress) {
        match progress {
            Progress::Reranking { n } => self.now(&format!("files: judging {n} of retrieval's")),
            Progress::Asking { topic, prompt_tokens, n } => {
                let mut state = self.state();
                *state = State {
                    stage_began: Instant::now(),
                    n_samples: n,
                    n_finished: 0,
                    n_texts: BTreeMap::new(),
                    first_text: None,
                };
                self.now(&format!("{}: reading {prompt_tokens} tokens", title(topic).trim_end()));
            }
            Progress::Model { topic, event } => self.hear_model(topic, &event),
            Progress::Answered { topic, summary } => {
                let took = self.took();
                self.say(&format!("{} {summary}{took}", title(topic)));
            }
            Progress::FellBack { topic, why } => self.say(&format!("{} {why}", title(topic))),
            Progress::Chosen { words } => self.say(&format!("tests      first: {words}")),
            Progress::Testing { what } => self.now(&format!("tests: {what}")),
            Progress::Unusable { topic, words } => self.say(&format!("{} {words}", title(topic))),
            Progress::Candidate { sample, votes, n_samples, verdict } => {
                self.say(&format!(
                    "candidate  of sample {sample}, {votes} of {n_samples} agree: {verdict}"
                ));
            }
        }
    }

    fn hear_model(&self, topic: Topic, event: &Event) {
        let mut state = self.state();
        let name = title(topic).trim_end();
        match event {
            Event::Prefill { done, total } => {
                drop(state);
                self.now(&format!("{name}: reading {done} of {total} tokens"));
            }
            Event::Text { sample, .. } => {
                *state.n_texts.entry(*sample).or_default() += 1;
                let n_texts: usize = state.n_texts.values().sum();
                let since = *state.first_text.get_or_insert_with(Instant::now);
                let seconds = since.elapsed().as_secs_f64();
                let speed = if 0.5 < seconds {
                    format!(", {:.0} tokens/s", n_texts as f64 / seconds)
                } else {
                    String::new()
                };
                let samples = if 1 < state.n_samples {
                    format!("{} of {} samples done, ", state.n_finished, state.n_samples)
                } else {
                    String::new()
                };
                let message = format!("{name}: {samples}{n_texts} tokens{speed}");
                drop(state);
                self.now(&message);
            }
            Event::Again { sample } => {
                state.n_texts.remove(sample);
            }
            Event::Finished { .. } => state.n_finished += 1,
            Event::Trouble { words } => {
                drop(state);
                self.say(words);
            }
        }
    }

    fn took(&self) -> String {
        if self.is_terminal {
            format!("  ({:.1} s)", self.state().stage_began.elapsed().as_secs_f64())
        } else {
            String::new()
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn title(topic: Topic) -> &'static str {
    match topic {
        Topic::Stage(StageKind::File) => "files     ",
        Topic::Stage(StageKind::Function) => "functions ",
        Topic::Stage(StageKind::Line) => "lines     ",
        Topic::Stage(StageKind::Edit) => "edits     ",
        Topic::Reproduction => "reproduce ",
    }
}

fn spinner_style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {wide_msg}  {elapsed}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
}
