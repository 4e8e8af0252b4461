//! A grammar as a flat program of steps over bytes.
//!
//! Only right recursion is allowed, so a grammar describes a regular language and its program
//! needs no stack: a rule used in two places is laid out twice, one used at the end of itself leads
//! back to its own start. Equal steps with equal continuations are one step.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};

use crate::grammar::free_lines::FreeLines;
use crate::grammar::{Grammar, Node};

/// The place of a step in a program.
pub(crate) type StepId = u32;

/// A grammar that cannot be obeyed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrammarError {
    #[error("wanted the grammar rule `{name}`, found no such rule")]
    UnknownRule { name: String },
    #[error("the grammar rule `{name}` recurs elsewhere than at its end")]
    NotRightRecursive { name: String },
    #[error("the grammar takes more than {MAX_STEPS} steps")]
    TooLarge,
    #[error("no text satisfies the grammar")]
    NoText,
    #[error("the vocabulary has no token for the byte {byte:#04x}, which the grammar needs")]
    MissingByte { byte: u8 },
    #[error("the shortest text of the grammar takes {wanted} tokens, and {found} are allowed")]
    TooFewTokens { wanted: usize, found: usize },
}

const MAX_STEPS: usize = 1 << 22;
/// A repetition allowed more often than this may go on for ever.
const MAX_COPIES: u32 = 64;
/// Bytes to the end from where no end can be reached.
pub(crate) const NEVER: u32 = u32::MAX;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    Accept,
    Text {
        bytes: Box<[u8]>,
        next: StepId,
    },
    /// One byte of this class.
    Class {
        class: ByteClass,
        next: StepId,
    },
    /// Goes on at any of these, reading nothing.
    Split(Vec<StepId>),
    Lines {
        lines: FreeLines,
        next: StepId,
    },
}

/// The bytes of a file's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum ByteClass {
    NameStart,
    Name,
}

impl ByteClass {
    pub(crate) fn contains(self, byte: u8) -> bool {
        let is_start = byte.is_ascii_alphanumeric() || byte == b'_';
        is_start || (self == Self::Name && matches!(byte, b'-' | b'.'))
    }

    /// The smallest byte of the class.
    pub(crate) fn first(self) -> u8 {
        match self {
            Self::NameStart => b'0',
            Self::Name => b'-',
        }
    }
}

/// The steps, and for each the fewest bytes from it to the end of a text.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) steps: Vec<Step>,
    pub(crate) start: StepId,
    /// [`NEVER`] where the end cannot be reached.
    pub(crate) bytes_to_end: Vec<u32>,
}

impl Program {
    pub(crate) fn new(grammar: &Grammar) -> Result<Self, GrammarError> {
        check_recursion(grammar)?;
        let mut builder = Builder {
            grammar,
            steps: vec![Step::Accept],
            known: HashMap::new(),
            rules: BTreeMap::new(),
            open: Vec::new(),
        };
        let start = builder.lay_out(&grammar.start, 0)?;
        while let Some((node, id, next)) = builder.open.pop() {
            let target = builder.lay_out(node, next)?;
            builder.steps[id as usize] = Step::Split(vec![target]);
        }
        let steps = builder.steps;
        let bytes_to_end = measure(&steps);
        if bytes_to_end[start as usize] == NEVER {
            return Err(GrammarError::NoText);
        }
        Ok(Self { steps, start, bytes_to_end })
    }
}

/// Refuses grammars in which a rule leads back to itself from elsewhere than its end.
fn check_recursion(grammar: &Grammar) -> Result<(), GrammarError> {
    let mut uses: BTreeMap<&str, Vec<(&str, bool)>> = BTreeMap::new();
    for (name, node) in &grammar.rules {
        collect_uses(node, true, uses.entry(name).or_default());
    }
    for (name, used) in &uses {
        for (inner, _) in used.iter().filter(|(_, is_last)| !is_last) {
            let (mut open, mut seen) = (vec![*inner], BTreeSet::new());
            while let Some(at) = open.pop() {
                if at == *name {
                    return Err(GrammarError::NotRightRecursive { name: (*name).to_owned() });
                }
                if seen.insert(at) {
                    open.extend(uses.get(at).into_iter().flatten().map(|(next, _)| *next));
                }
            }
        }
    }
    Ok(())
}

/// The rules that `node` uses, and whether each use is the last thing in it.
fn collect_uses<'a>(node: &'a Node, is_last: bool, uses: &mut Vec<(&'a str, bool)>) {
    match node {
        Node::Text(_) | Node::FreeLines { .. } | Node::FileName { .. } => {}
        Node::Rule(name) => uses.push((name, is_last)),
        Node::Choice(nodes) => nodes.iter().for_each(|node| collect_uses(node, is_last, uses)),
        Node::Repeat { node, .. } => collect_uses(node, false, uses),
        Node::Sequence(nodes) => {
            for (at, node) in nodes.iter().enumerate() {
                collect_uses(node, is_last && at + 1 == nodes.len(), uses);
            }
        }
    }
}

struct Builder<'a> {
    grammar: &'a Grammar,
    steps: Vec<Step>,
    known: HashMap<Step, StepId>,
    /// Where a rule that goes on at some step is laid out.
    rules: BTreeMap<(&'a str, StepId), StepId>,
    /// Rules whose place is taken but not yet filled: chains of rules can be as long as a file,
    /// so they are not followed by recursion.
    open: Vec<(&'a Node, StepId, StepId)>,
}

impl<'a> Builder<'a> {
    /// Lays out `node` so that it goes on at `next`; gives its first step.
    fn lay_out(&mut self, node: &'a Node, next: StepId) -> Result<StepId, GrammarError> {
        match node {
            Node::Text(text) if text.is_empty() => Ok(next),
            Node::Text(text) => self.intern(Step::Text { bytes: text.as_bytes().into(), next }),
            Node::Sequence(nodes) => {
                nodes.iter().rev().try_fold(next, |next, node| self.lay_out(node, next))
            }
            Node::Choice(nodes) => {
                let mut targets = Vec::with_capacity(nodes.len());
                for node in nodes {
                    targets.push(self.lay_out(node, next)?);
                }
                targets.sort_unstable();
                targets.dedup();
                if let [only] = targets.as_slice() {
                    return Ok(*only);
                }
                self.intern(Step::Split(targets))
            }
            Node::Repeat { node, min, max } => self.lay_out_repeat(node, (*min, *max), next),
            Node::Rule(name) => {
                if let Some(id) = self.rules.get(&(name.as_str(), next)) {
                    return Ok(*id);
                }
                let Some((name, node)) = self.grammar.rules.get_key_value(name) else {
                    return Err(GrammarError::UnknownRule { name: name.clone() });
                };
                let id = self.push(Step::Split(Vec::new()))?;
                self.rules.insert((name, next), id);
                self.open.push((node, id, next));
                Ok(id)
            }
            Node::FileName { max_chars } => {
                let mut at = next;
                for _ in 1..*max_chars {
                    let class = self.intern(Step::Class { class: ByteClass::Name, next: at })?;
                    at = self.intern(Step::Split(vec![class, next]))?;
                }
                self.intern(Step::Class { class: ByteClass::NameStart, next: at })
            }
            Node::FreeLines { max_tokens: 0, .. } => Ok(next),
            Node::FreeLines { never_starts, max_tokens } => {
                let lines = FreeLines::new(never_starts, *max_tokens);
                self.intern(Step::Lines { lines, next })
            }
        }
    }

    fn lay_out_repeat(
        &mut self,
        node: &'a Node,
        (min, max): (u32, u32),
        next: StepId,
    ) -> Result<StepId, GrammarError> {
        let mut at = next;
        if max.saturating_sub(min) <= MAX_COPIES {
            for _ in min..max {
                let once = self.lay_out(node, at)?;
                at = self.intern(Step::Split(vec![once, next]))?;
            }
        } else {
            let turn = self.push(Step::Split(Vec::new()))?;
            let once = self.lay_out(node, turn)?;
            self.steps[turn as usize] = Step::Split(vec![once, next]);
            at = turn;
        }
        (0..min).try_fold(at, |at, _| self.lay_out(node, at))
    }

    fn intern(&mut self, step: Step) -> Result<StepId, GrammarError> {
        if let Some(id) = self.known.get(&step) {
            return Ok(*id);
        }
        let id = self.push(step.clone())?;
        self.known.insert(step, id);
        Ok(id)
    }

    fn push(&mut self, step: Step) -> Result<StepId, GrammarError> {
        if MAX_STEPS <= self.steps.len() {
            return Err(GrammarError::TooLarge);
        }
        self.steps.push(step);
        Ok(self.steps.len() as StepId - 1)
    }
}

/// The fewest bytes from each step to the end: shortest paths, walked backwards.
fn measure(steps: &[Step]) -> Vec<u32> {
    let mut leads_from: Vec<Vec<(u32, StepId)>> = vec![Vec::new(); steps.len()];
    for (id, step) in steps.iter().enumerate() {
        let id = id as StepId;
        match step {
            Step::Accept => {}
            Step::Text { bytes, next } => {
                leads_from[*next as usize].push((bytes.len() as u32, id));
            }
            Step::Split(targets) => {
                for target in targets {
                    leads_from[*target as usize].push((0, id));
                }
            }
            Step::Class { next, .. } => leads_from[*next as usize].push((1, id)),
            Step::Lines { next, .. } => leads_from[*next as usize].push((0, id)),
        }
    }
    let mut bytes_to_end = vec![NEVER; steps.len()];
    let mut queue = BinaryHeap::new();
    for (id, step) in steps.iter().enumerate() {
        if *step == Step::Accept {
            queue.push(Reverse((0, id as StepId)));
        }
    }
    while let Some(Reverse((bytes, id))) = queue.pop() {
        if bytes_to_end[id as usize] <= bytes {
            continue;
        }
        bytes_to_end[id as usize] = bytes;
        for (length, from) in &leads_from[id as usize] {
            let bytes = bytes.saturating_add(*length);
            if bytes < bytes_to_end[*from as usize] {
                queue.push(Reverse((bytes, *from)));
            }
        }
    }
    bytes_to_end
}
