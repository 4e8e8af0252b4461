//! Causal attention with grouped heads over shared segments of keys and values.
//!
//! Positions are taken in blocks that begin at multiples of [`BLOCK`], whatever segment they lie
//! in, with a running maximum and sum; no table of all scores exists. A query's result depends on
//! its position and on what stands before it alone.

use std::ptr;

use crate::model::kernels::kv::{AttentionShape, GROUP, KvSegment};
use crate::model::kernels::lanes::{Kernel, LANES, Lanes, dispatch};
use crate::model::kernels::team::Team;

/// Positions between two updates of the running maximum.
const BLOCK: usize = 64;

/// Queries of one task at most; keys and values are converted once for all of them.
const TASK_QUERIES: usize = 32;

/// A score that no softmax sees.
const MASKED: f32 = -1e30;

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

/// A query of one head while its softmax runs.
#[derive(Clone, Copy)]
struct Running {
    /// Positions that it sees.
    n_seen: usize,
    largest: f32,
    sum: f32,
}

impl Kernel for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self, lanes: L) {
        let (head_dim, per_kv) = (self.shape.head_dim, self.shape.n_heads / self.shape.n_kv_heads);
        let mut running = Vec::with_capacity(self.out.len());
        let mut queries: Vec<&[f32]> = Vec::with_capacity(self.out.len());
        let mut first_of_member = vec![0];
        let mut row = self.first_row;
        for member in &self.members {
            for query in 0..member.n_queries {
                for head in 0..per_kv {
                    let head = row * self.shape.n_heads + self.kv_head * per_kv + head;
                    queries.push(&self.queries[head * head_dim..(head + 1) * head_dim]);
                    let n_seen = member.start + query + 1;
                    running.push(Running { n_seen, largest: MASKED, sum: 0.0 });
                }
                row += 1;
            }
            first_of_member.push(queries.len());
        }
        let n_dims = head_dim / LANES;
        let mut totals = vec![[0.0; LANES]; queries.len() * n_dims];
        let mut keys = vec![[0.0; LANES]; BLOCK / GROUP * head_dim];
        let mut values = keys.clone();
        let longest = running.iter().map(|row| row.n_seen).max().unwrap_or(0);
        for first in (0..longest).step_by(BLOCK) {
            let mut loaded: Segments = [ptr::null(); BLOCK / GROUP];
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
                for group in 0..n_groups {
                    if !ptr::eq(loaded[group], wanted[group]) {
                        loaded[group] = wanted[group];
                        let position = first + group * GROUP;
                        let (from_keys, from_values) =
                            span.segment(position).group(self.layer, self.kv_head, position);
                        let at = group * head_dim;
                        for i in 0..head_dim {
                            // Of the next block, the same place.
                            if i.is_multiple_of(2) {
                                let ahead = size_of_val(from_keys) * (BLOCK / GROUP);
                                lanes.prefetch(&from_keys[i], ahead);
                                lanes.prefetch(&from_values[i], ahead);
                            }
                            lanes.store(lanes.halves(&from_keys[i]), &mut keys[at + i]);
                            lanes.store(lanes.halves(&from_values[i]), &mut values[at + i]);
                        }
                    }
                }
                let scale = self.shape.scale;
                let block = Block { scale, first, n_groups, keys: &keys, values: &values };
                let mut row = first_of_member[begin];
                let end = first_of_member[next];
                while row < end {
                    let queries = &queries[row..end];
                    let (running, totals) = (&mut running[row..end], &mut totals[row * n_dims..]);
                    row += match queries.len() {
                        8.. if L::HAS_ROOM_FOR_TWO => {
                            block.add_first::<L, 8>(lanes, queries, running, totals)
                        }
                        4.. => block.add_first::<L, 4>(lanes, queries, running, totals),
                        2.. => block.add_first::<L, 2>(lanes, queries, running, totals),
                        _ => block.add_first::<L, 1>(lanes, queries, running, totals),
                    };
                }
            }
        }
        let rows = running.iter().zip(totals.chunks(n_dims));
        for ((row, totals), out) in rows.zip(&mut self.out) {
            let inverse = lanes.splat(1.0 / row.sum);
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

/// The keys and values of one block of positions.
struct Block<'a> {
    scale: f32,
    /// The first position.
    first: usize,
    n_groups: usize,
    keys: &'a [[f32; LANES]],
    values: &'a [[f32; LANES]],
}

impl Block<'_> {
    /// Adds the block to the running softmax of the first `ROWS` rows, and gives their number.
    #[inline(always)]
    fn add_first<L: Lanes, const ROWS: usize>(
        &self,
        lanes: L,
        queries: &[&[f32]],
        running: &mut [Running],
        totals: &mut [[f32; LANES]],
    ) -> usize {
        const ENOUGH: &str = "there are as many rows";
        let queries = queries.first_chunk::<ROWS>().expect(ENOUGH);
        self.add::<L, ROWS>(lanes, queries, running.first_chunk_mut().expect(ENOUGH), totals);
        ROWS
    }

    /// Adds the block to the running softmax of some rows; `totals` are the rows' weighted values.
    #[inline(always)]
    fn add<L: Lanes, const ROWS: usize>(
        &self,
        lanes: L,
        queries: &[&[f32]; ROWS],
        running: &mut [Running; ROWS],
        totals: &mut [[f32; LANES]],
    ) {
        let mut scores = [[MASKED; BLOCK]; ROWS];
        let head_dim = queries[0].len();
        for group in 0..self.n_groups / 2 {
            self.score::<L, 2, ROWS>(lanes, queries, 2 * group, &mut scores);
        }
        if !self.n_groups.is_multiple_of(2) {
            self.score::<L, 1, ROWS>(lanes, queries, self.n_groups - 1, &mut scores);
        }
        let shrinks = self.weigh(lanes, running, &mut scores);
        let n_dims = head_dim / LANES;
        for pair in 0..n_dims / 2 {
            self.collect::<L, 2, ROWS>(lanes, &scores, &shrinks, (2 * pair, n_dims), totals);
        }
        if !n_dims.is_multiple_of(2) {
            self.collect::<L, 1, ROWS>(lanes, &scores, &shrinks, (n_dims - 1, n_dims), totals);
        }
    }

    /// The scores of `GROUPS` groups of positions, from group `first` on.
    #[inline(always)]
    fn score<L: Lanes, const GROUPS: usize, const ROWS: usize>(
        &self,
        lanes: L,
        queries: &[&[f32]; ROWS],
        first: usize,
        scores: &mut [[f32; BLOCK]; ROWS],
    ) {
        let head_dim = queries[0].len();
        let mut rows = [queries[0]; ROWS];
        for row in 0..ROWS {
            rows[row] = &queries[row][..head_dim];
        }
        let mut keys = [self.keys; GROUPS];
        for group in 0..GROUPS {
            keys[group] = &self.keys[(first + group) * head_dim..][..head_dim];
        }
        let mut sums = [[lanes.splat(0.0); GROUPS]; ROWS];
        for i in 0..head_dim {
            for group in 0..GROUPS {
                let keys = lanes.floats(&keys[group][i]);
                for row in 0..ROWS {
                    let query = lanes.splat(rows[row][i]);
                    sums[row][group] = lanes.mul_add(keys, query, sums[row][group]);
                }
            }
        }
        for row in 0..ROWS {
            let scores = scores[row].as_chunks_mut::<LANES>().0;
            for group in 0..GROUPS {
                let scaled = lanes.mul(sums[row][group], lanes.splat(self.scale));
                lanes.store(scaled, &mut scores[first + group]);
            }
        }
    }

    /// Turns scores into weights, and gives what earlier totals shrink by.
    #[inline(always)]
    fn weigh<L: Lanes, const ROWS: usize>(
        &self,
        lanes: L,
        running: &mut [Running; ROWS],
        scores: &mut [[f32; BLOCK]; ROWS],
    ) -> [f32; ROWS] {
        let n_groups = self.n_groups;
        let mut differences = [0.0; LANES];
        for row in 0..ROWS {
            let state = &mut running[row];
            let n_seen = state.n_seen.saturating_sub(self.first).min(BLOCK);
            for score in &mut scores[row][n_seen..n_groups * GROUP] {
                *score = MASKED;
            }
            let mut largest = lanes.splat(state.largest);
            for scores in &scores[row].as_chunks::<LANES>().0[..n_groups] {
                largest = lanes.max(largest, lanes.floats(scores));
            }
            let largest = lanes.largest(largest);
            differences[row] = state.largest - largest;
            state.largest = largest;
        }
        let mut shrinks = [0.0; LANES];
        lanes.store(lanes.exp(lanes.floats(&differences)), &mut shrinks);
        for row in 0..ROWS {
            let state = &mut running[row];
            let largest = lanes.splat(state.largest);
            let mut sum = lanes.splat(0.0);
            for scores in &mut scores[row].as_chunks_mut::<LANES>().0[..n_groups] {
                let own = lanes.floats(scores);
                // A row that has seen nothing yet has no maximum to compare with.
                let weights =
                    lanes.zero_below(lanes.exp(lanes.sub(own, largest)), own, MASKED / 2.0);
                sum = lanes.add(sum, weights);
                lanes.store(weights, scores);
            }
            state.sum = state.sum.mul_add(shrinks[row], lanes.sum(sum));
        }
        *shrinks.first_chunk().expect("a tile has at most sixteen rows")
    }

    /// Adds the weighted values of `DIMS` sixteens of dimensions, from `first` of `n_dims` on.
    #[inline(always)]
    fn collect<L: Lanes, const DIMS: usize, const ROWS: usize>(
        &self,
        lanes: L,
        weights: &[[f32; BLOCK]; ROWS],
        shrinks: &[f32; ROWS],
        (first, n_dims): (usize, usize),
        totals: &mut [[f32; LANES]],
    ) {
        let mut sums = [[lanes.splat(0.0); DIMS]; ROWS];
        for row in 0..ROWS {
            for dim in 0..DIMS {
                let total = lanes.floats(&totals[row * n_dims + first + dim]);
                sums[row][dim] = lanes.mul(total, lanes.splat(shrinks[row]));
            }
        }
        let values = self.values.chunks_exact(n_dims);
        for (position, values) in values.enumerate().take(self.n_groups * GROUP) {
            for dim in 0..DIMS {
                let values = lanes.floats(&values[first + dim]);
                for row in 0..ROWS {
                    let weight = lanes.splat(weights[row][position]);
                    sums[row][dim] = lanes.mul_add(values, weight, sums[row][dim]);
                }
            }
        }
        for row in 0..ROWS {
            for dim in 0..DIMS {
                lanes.store(sums[row][dim], &mut totals[row * n_dims + first + dim]);
            }
        }
    }
}
