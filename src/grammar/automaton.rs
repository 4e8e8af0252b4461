//! A deterministic automaton over the bytes of a grammar's texts, built as far as it is used.
//!
//! A state is the set of places in the grammar's program where a text so far can stand. States
//! from which the end cannot be reached do not exist, so a text that follows the automaton can
//! always be completed.

use std::collections::HashMap;

use crate::grammar::Grammar;
use crate::grammar::free_lines::{
    LINE_START, byte_to_line_end, bytes_to_line_end, step_to_line_end,
};
use crate::grammar::program::{GrammarError, NEVER, Program, Step, StepId};

/// A state of the automaton.
pub(crate) type StateId = u32;

/// Free text must end with the line that it is on.
const CLOSING: u32 = 1 << 31;
const UNKNOWN: StateId = StateId::MAX;
const NOWHERE: StateId = StateId::MAX - 1;

/// A place in the program: the step, and how far into it: an offset into a text, or the phase of
/// free lines (with [`CLOSING`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Place {
    step: StepId,
    within: u32,
}

#[derive(Debug)]
struct State {
    places: Box<[Place]>,
    steps: Steps,
    bytes_to_end: u32,
    is_end: bool,
    /// The steps of free lines that the text may stand in.
    free: Box<[StepId]>,
}

/// Steps already taken from a state.
#[derive(Debug)]
enum Steps {
    /// By byte, for states with free text, which lead on for most bytes.
    Dense(Box<[StateId; 256]>),
    /// Sorted by byte.
    Sparse(Vec<(u8, StateId)>),
}

/// The automaton of one grammar.
#[derive(Debug)]
pub(crate) struct Automaton {
    program: Program,
    states: Vec<State>,
    ids: HashMap<Box<[Place]>, StateId>,
}

impl Automaton {
    pub(crate) fn new(grammar: &Grammar) -> Result<Self, GrammarError> {
        let program = Program::new(grammar)?;
        let mut automaton = Self { program, states: Vec::new(), ids: HashMap::new() };
        let mut closure = Closure::default();
        closure.enter(&automaton.program, automaton.program.start);
        let start = automaton.intern(closure.places);
        debug_assert_eq!(start, Some(Self::START));
        Ok(automaton)
    }

    pub(crate) const START: StateId = 0;

    /// The bytes that texts of the grammar need besides free text.
    pub(crate) fn literal_bytes(&self) -> [bool; 256] {
        let mut needed = [false; 256];
        for step in &self.program.steps {
            match step {
                Step::Text { bytes, .. } => {
                    for byte in bytes {
                        needed[usize::from(*byte)] = true;
                    }
                }
                Step::Lines { .. } => needed[usize::from(b'\n')] = true,
                Step::Class { class, .. } => needed[usize::from(class.first())] = true,
                Step::Accept | Step::Split(_) => {}
            }
        }
        needed
    }

    /// Whether a text may end in this state.
    pub(crate) fn is_end(&self, state: StateId) -> bool {
        self.states[state as usize].is_end
    }

    /// Bytes of the shortest text that completes what led to this state.
    pub(crate) fn bytes_to_end(&self, state: StateId) -> u32 {
        self.states[state as usize].bytes_to_end
    }

    /// The steps of free lines that a text in this state may stand in, each with its token limit.
    pub(crate) fn free_lines(&self, state: StateId) -> impl Iterator<Item = (StepId, u32)> {
        self.states[state as usize].free.iter().map(|id| {
            let limit = match &self.program.steps[*id as usize] {
                Step::Lines { lines, .. } => lines.max_tokens,
                _ => 0,
            };
            (*id, limit)
        })
    }

    pub(crate) fn has_free_lines(&self, state: StateId) -> bool {
        !self.states[state as usize].free.is_empty()
    }

    /// The state after one more byte; `None` where no text goes on with it.
    pub(crate) fn step(&mut self, state: StateId, byte: u8) -> Option<StateId> {
        let known = match &self.states[state as usize].steps {
            Steps::Dense(steps) => steps[usize::from(byte)],
            Steps::Sparse(steps) => match steps.binary_search_by_key(&byte, |(b, _)| *b) {
                Ok(at) => steps[at].1,
                Err(_) => UNKNOWN,
            },
        };
        match known {
            UNKNOWN => {
                let target = self.find_step(state, byte);
                self.remember(state, byte, target.unwrap_or(NOWHERE));
                target
            }
            NOWHERE => None,
            target => Some(target),
        }
    }

    /// The state after several bytes.
    pub(crate) fn walk(&mut self, state: StateId, bytes: &[u8]) -> Option<StateId> {
        bytes.iter().try_fold(state, |state, byte| self.step(state, *byte))
    }

    /// The only byte that can follow, where there is only one and the text may not end instead.
    pub(crate) fn forced_byte(&self, state: StateId) -> Option<u8> {
        let state = &self.states[state as usize];
        if state.is_end || !state.free.is_empty() {
            return None;
        }
        let mut forced = None;
        for place in &state.places {
            let byte = match &self.program.steps[place.step as usize] {
                Step::Text { bytes, .. } => bytes[place.within as usize],
                // Free text at its last line's end; a character that is cut off is not forced.
                Step::Lines { .. } if bytes_to_line_end(place.within & !CLOSING) == 1 => b'\n',
                _ => return None,
            };
            if forced.is_some_and(|other| other != byte) {
                return None;
            }
            forced = Some(byte);
        }
        forced
    }

    /// The first byte of the shortest text to the end, the smallest where there are several.
    pub(crate) fn step_to_end(&mut self, state: StateId) -> Option<(u8, StateId)> {
        let wanted = self.bytes_to_end(state).checked_sub(1)?;
        // Only a place on a shortest way can give the byte.
        let mut bytes: Vec<u8> = Vec::new();
        for place in &self.states[state as usize].places {
            if place_bytes_to_end(&self.program, *place) == wanted + 1 {
                match &self.program.steps[place.step as usize] {
                    Step::Text { bytes: text, .. } => bytes.push(text[place.within as usize]),
                    Step::Lines { .. } => bytes.push(byte_to_line_end(place.within & !CLOSING)),
                    Step::Class { class, .. } => bytes.push(class.first()),
                    Step::Accept | Step::Split(_) => {}
                }
            }
        }
        bytes.sort_unstable();
        bytes.into_iter().find_map(|byte| {
            let target = self.step(state, byte)?;
            (self.bytes_to_end(target) == wanted).then_some((byte, target))
        })
    }

    /// The state in which these free lines end with the line they are on.
    pub(crate) fn close(&mut self, state: StateId, lines: StepId) -> Option<StateId> {
        let mut closure = Closure::default();
        for place in self.states[state as usize].places.clone() {
            if place.step != lines {
                closure.places.push(place);
            } else if place.within == LINE_START {
                if let Step::Lines { next, .. } = &self.program.steps[lines as usize] {
                    closure.enter(&self.program, *next);
                }
            } else {
                closure.places.push(Place { within: place.within | CLOSING, ..place });
            }
        }
        self.intern(closure.places)
    }

    fn find_step(&mut self, state: StateId, byte: u8) -> Option<StateId> {
        let mut closure = Closure::default();
        let program = &self.program;
        for place in &self.states[state as usize].places {
            match &program.steps[place.step as usize] {
                Step::Accept | Step::Split(_) => {}
                Step::Text { bytes, next } => {
                    if bytes[place.within as usize] != byte {
                        continue;
                    }
                    let within = place.within + 1;
                    if within as usize == bytes.len() {
                        closure.enter(program, *next);
                    } else {
                        closure.places.push(Place { within, ..*place });
                    }
                }
                Step::Class { class, next } => {
                    if class.contains(byte) {
                        closure.enter(program, *next);
                    }
                }
                Step::Lines { lines, next } => {
                    let is_closing = place.within & CLOSING != 0;
                    let phase = if is_closing {
                        step_to_line_end(place.within & !CLOSING, byte)
                    } else {
                        lines.step(place.within, byte)
                    };
                    match phase {
                        None => {}
                        Some(LINE_START) if is_closing => closure.enter(program, *next),
                        Some(LINE_START) => closure.enter(program, place.step),
                        Some(phase) => {
                            let closing = place.within & CLOSING;
                            closure.places.push(Place { within: phase | closing, ..*place });
                        }
                    }
                }
            }
        }
        self.intern(closure.places)
    }

    fn remember(&mut self, state: StateId, byte: u8, target: StateId) {
        match &mut self.states[state as usize].steps {
            Steps::Dense(steps) => steps[usize::from(byte)] = target,
            Steps::Sparse(steps) => {
                if let Err(at) = steps.binary_search_by_key(&byte, |(b, _)| *b) {
                    steps.insert(at, (byte, target));
                }
            }
        }
    }

    /// The state of these places; `None` where there are none.
    fn intern(&mut self, mut places: Vec<Place>) -> Option<StateId> {
        places.sort_unstable();
        places.dedup();
        if places.is_empty() {
            return None;
        }
        let places = places.into_boxed_slice();
        if let Some(id) = self.ids.get(&places) {
            return Some(*id);
        }
        let step_of = |place: &Place| &self.program.steps[place.step as usize];
        let bytes_to_end =
            places.iter().map(|place| place_bytes_to_end(&self.program, *place)).min()?;
        let mut free: Vec<StepId> = places
            .iter()
            .filter(|place| matches!(step_of(place), Step::Lines { .. }))
            .filter(|place| place.within & CLOSING == 0)
            .map(|place| place.step)
            .collect();
        free.dedup();
        let state = State {
            bytes_to_end,
            is_end: places.iter().any(|place| *step_of(place) == Step::Accept),
            steps: if free.is_empty() {
                Steps::Sparse(Vec::new())
            } else {
                Steps::Dense(Box::new([UNKNOWN; 256]))
            },
            free: free.into_boxed_slice(),
            places: places.clone(),
        };
        let id = self.states.len() as StateId;
        self.states.push(state);
        self.ids.insert(places, id);
        Some(id)
    }
}

fn place_bytes_to_end(program: &Program, place: Place) -> u32 {
    match &program.steps[place.step as usize] {
        Step::Text { bytes, next } => {
            program.bytes_to_end[*next as usize] + bytes.len() as u32 - place.within
        }
        Step::Lines { next, .. } => {
            program.bytes_to_end[*next as usize] + bytes_to_line_end(place.within & !CLOSING)
        }
        Step::Accept | Step::Split(_) | Step::Class { .. } => {
            program.bytes_to_end[place.step as usize]
        }
    }
}

/// Collects the places that are reached without reading a byte.
#[derive(Default)]
struct Closure {
    places: Vec<Place>,
    seen: std::collections::BTreeSet<StepId>,
}

impl Closure {
    fn enter(&mut self, program: &Program, first: StepId) {
        let mut open = vec![first];
        while let Some(id) = open.pop() {
            if program.bytes_to_end[id as usize] == NEVER || !self.seen.insert(id) {
                continue;
            }
            match &program.steps[id as usize] {
                Step::Split(targets) => open.extend(targets),
                Step::Lines { next, .. } => {
                    self.places.push(Place { step: id, within: LINE_START });
                    open.push(*next);
                }
                Step::Accept | Step::Text { .. } | Step::Class { .. } => {
                    self.places.push(Place { step: id, within: 0 });
                }
            }
        }
    }
}
