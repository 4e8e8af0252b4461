//! Causal attention with grouped heads over shared segments of keys and values.
//!
//! Positions are taken in blocks that begin at multiples of [`BLOCK`], whatever segment they lie
//! in, with a running maximum and sum; no table of all scores exists. A query's result depends on
//! its position and on what stands before it alone.
//!
//! Both products are of bytes: queries with keys, a scale for every 32 dimensions of either, and
//! weights with values, a scale for the weights of a block.

mod block;
#[cfg(test)]
mod tests;

use std::f32::consts::LOG2_E;
use std::ptr;

use crate::model::kernels::activation::{load_part, quantize_part};
use crate::model::kernels::attention::block::{BLOCK, Block, Running};
use crate::model::kernels::kv::{AttentionShape, GROUP, HeadGroup, KvSegment};
use crate::model::kernels::lanes::{Kernel, LANES, Lanes, dispatch};
use crate::model::kernels::team::Team;

/// Queries of one task at most.
const TASK_QUERIES: usize = 32;

/// The new positions of one sequence.
#[derive(Debug, Clone)]
pub struct Span<'a> {
    /// Segments from position 0 on; the last holds the new positions' own keys and values.
    pub segments: Vec<&'a KvSegment>,
    /// The position of the first query.
    pub start: usize,
    /// How many rows of the queries are its own.
    pub n_queries: usize,
}

impl<'a> Span<'a> {
    /// The segment that holds `position` for this sequence.
    #[inline(always)]
    fn segment(&self, position: usize) -> &'a KvSegment {
        let later = self.segments.iter().rev();
        later.copied().find(|segment| segment.start() <= position).expect("position 0 is held")
    }
}

/// Computes `softmax(scale · q · kᵀ, causal) · v` of one layer for all `spans`, shared by the
/// team. `queries` and `out` have rows of `n_heads * head_dim`, the rows of the
/// first span first.
///
/// # Panics
/// Where the lengths do not fit.
pub fn attend(
    team: &Team,
    shape: &AttentionShape,
    layer: usize,
    spans: &[Span<'_>],
    (queries, out): (&[f32], &mut [f32]),
) {
    let n_rows: usize = spans.iter().map(|span| span.n_queries).sum();
    assert_eq!(queries.len(), n_rows * shape.n_heads * shape.head_dim, "a query per row and head");
    assert_eq!(out.len(), queries.len(), "a result for every query");
    let per_kv = shape.n_heads / shape.n_kv_heads;
    let wanted_tasks = 4 * team.n_threads();
    let n_queries = (n_rows * shape.n_kv_heads).div_ceil(wanted_tasks).clamp(1, TASK_QUERIES);
    let mut heads: Vec<&mut [f32]> = out.chunks_mut(shape.head_dim).rev().collect();
    let mut tasks = Vec::new();
    let mut row = 0;
    for (members, n_members) in members(spans, n_queries) {
        let mut of_kv_head: Vec<Vec<&mut [f32]>> =
            (0..shape.n_kv_heads).map(|_| Vec::new()).collect();
        for _ in 0..n_members {
            for out in &mut of_kv_head {
                out.extend((0..per_kv).filter_map(|_| heads.pop()));
            }
        }
        for (kv_head, out) in of_kv_head.into_iter().enumerate() {
            let members = members.clone();
            let task = Task { shape, layer, spans, kv_head, members, first_row: row, queries, out };
            tasks.push(task);
        }
        row += n_members;
    }
    // The longest first, so that the last to end is a short one.
    tasks.reverse();
    team.for_each(tasks, |task| dispatch(team.isa(), task));
}

/// Some neighbouring queries of one span.
#[derive(Debug, Clone)]
struct Member {
    span: usize,
    /// The position of its first query.
    start: usize,
    n_queries: usize,
}

/// Splits all queries into lists of at most `limit`, each with its length. Short spans that begin
/// with the same segment come together.
fn members(spans: &[Span<'_>], limit: usize) -> Vec<(Vec<Member>, usize)> {
    let mut lists: Vec<(Vec<Member>, usize)> = Vec::new();
    let mut first_segment: *const KvSegment = ptr::null();
    for (idx, span) in spans.iter().enumerate() {
        let mut done = 0;
        while done < span.n_queries {
            let own: *const KvSegment = span.segments[0];
            match lists.last_mut() {
                Some((members, len)) if *len < limit && ptr::eq(first_segment, own) => {
                    let n_queries = (limit - *len).min(span.n_queries - done);
                    members.push(Member { span: idx, start: span.start + done, n_queries });
                    *len += n_queries;
                    done += n_queries;
                }
                _ => lists.push((Vec::new(), 0)),
            }
            first_segment = own;
        }
    }
    lists
}

/// One key head's share of the attention of some queries.
struct Task<'a> {
    shape: &'a AttentionShape,
    layer: usize,
    spans: &'a [Span<'a>],
    kv_head: usize,
    members: Vec<Member>,
    /// The row of the first query.
    first_row: usize,
    queries: &'a [f32],
    /// One per query and head.
    out: Vec<&'a mut [f32]>,
}

impl Kernel for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self, lanes: L) {
        let (head_dim, per_kv) = (self.shape.head_dim, self.shape.n_heads / self.shape.n_kv_heads);
        let (n_keys, n_dims) = (self.shape.n_keys(), self.shape.n_dims());
        let mut running = Vec::with_capacity(self.out.len());
        let mut queries = Vec::with_capacity(self.out.len() * n_keys);
        let mut first_of_member = vec![0];
        let mut row = self.first_row;
        for member in &self.members {
            for query in 0..member.n_queries {
                for head in 0..per_kv {
                    let head = row * self.shape.n_heads + self.kv_head * per_kv + head;
                    let query_row = &self.queries[head * head_dim..(head + 1) * head_dim];
                    let begin = queries.len();
                    for idx in 0..self.shape.n_parts() {
                        let mut part = quantize_part(lanes, load_part(lanes, query_row, idx));
                        // Weights are powers of two.
                        part.scale *= self.shape.scale * LOG2_E;
                        queries.push(part);
                    }
                    // Once more for what the first bytes of the keys lack.
                    for idx in begin..begin + n_keys - self.shape.n_parts() {
                        queries.push(queries[idx]);
                    }
                    let n_seen = member.start + query + 1;
                    running.push(Running::new(n_seen));
                }
                row += 1;
            }
            first_of_member.push(running.len());
        }
        let mut totals = vec![[0.0; LANES]; running.len() * n_dims];
        let longest = running.iter().map(|row| row.n_seen).max().unwrap_or(0);
        for first in (0..longest).step_by(BLOCK) {
            let mut next = 0;
            while next < self.members.len() {
                let begin = next;
                let (wanted, n_groups) = self.segments(begin, first);
                next += 1;
                if n_groups == 0 {
                    continue;
                }
                while next < self.members.len() && self.segments(next, first).0 == wanted {
                    next += 1;
                }
                let span = &self.spans[self.members[begin].span];
                let mut groups = [HeadGroup::EMPTY; BLOCK / GROUP];
                for group in 0..n_groups {
                    let position = first + group * GROUP;
                    let segment = span.segment(position);
                    groups[group] = segment.group(self.layer, self.kv_head, position);
                    // Of the next block, the same place.
                    let HeadGroup { keys, values, .. } = groups[group];
                    for key in keys {
                        lanes.prefetch(key, size_of_val(keys) * (BLOCK / GROUP));
                    }
                    for value in values {
                        lanes.prefetch(value, size_of_val(values) * (BLOCK / GROUP));
                    }
                }
                let block = Block { first, n_groups, groups };
                let mut row = first_of_member[begin];
                let end = first_of_member[next];
                while row < end {
                    let queries = &queries[row * n_keys..];
                    let (running, totals) = (&mut running[row..end], &mut totals[row * n_dims..]);
                    row += match running.len() {
                        4.. => block.add_first::<L, 4>(lanes, queries, running, totals),
                        3 => block.add_first::<L, 3>(lanes, queries, running, totals),
                        2 => block.add_first::<L, 2>(lanes, queries, running, totals),
                        _ => block.add_first::<L, 1>(lanes, queries, running, totals),
                    };
                }
            }
        }
        let rows = running.iter().zip(totals.chunks(n_dims));
        for ((row, totals), out) in rows.zip(&mut self.out) {
            let inverse = lanes.splat(1.0 / lanes.sum(lanes.floats(&row.sums)));
            for (total, out) in totals.iter().zip(out.as_chunks_mut::<LANES>().0) {
                lanes.store(lanes.mul(lanes.floats(total), inverse), out);
            }
        }
    }
}

/// The segments that hold the groups of a block, null after the last.
type Segments = [*const KvSegment; BLOCK / GROUP];

impl Task<'_> {
    /// Where the groups of positions from `first` on lie that a member sees, and how many.
    #[inline(always)]
    fn segments(&self, member: usize, first: usize) -> (Segments, usize) {
        let member = &self.members[member];
        let n_seen = (member.start + member.n_queries).saturating_sub(first).min(BLOCK);
        let n_groups = n_seen.div_ceil(GROUP);
        let mut segments = [ptr::null(); BLOCK / GROUP];
        for group in 0..n_groups {
            segments[group] = self.spans[member.span].segment(first + group * GROUP);
        }
        (segments, n_groups)
    }
}
