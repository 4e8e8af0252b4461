//! Causal attention with grouped heads over shared segments of keys and values.
//!
//! Positions are taken in blocks that begin at multiples of [`BLOCK`], whatever segment they lie
//! in, with a running maximum and sum; no table of all scores exists. A query's result depends on
//! its position and on what stands before it alone.

use std::ptr;

use rayon::prelude::*;

use crate::model::kernels::Isa;
use crate::model::kernels::kv::{AttentionShape, GROUP, KvSegment};
use crate::model::kernels::lanes::{Kernel, LANES, Lanes, dispatch};

/// Positions between two updates of the running maximum.
const BLOCK: usize = 32;

/// Query rows that are multiplied with loaded keys or values at once.
const TILE_ROWS: usize = 4;

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

/// Computes `softmax(scale · q · kᵀ, causal) · v` of one layer for all `spans`, in parallel on the
/// current rayon pool. `queries` and `out` have rows of `n_heads * head_dim`, the rows of the
/// first span first.
///
/// # Panics
/// Where the lengths do not fit.
pub fn attend(
    isa: Isa,
    shape: &AttentionShape,
    layer: usize,
    spans: &[Span<'_>],
    (queries, out): (&[f32], &mut [f32]),
) {
    let n_rows: usize = spans.iter().map(|span| span.n_queries).sum();
    assert_eq!(queries.len(), n_rows * shape.n_heads * shape.head_dim, "a query per row and head");
    assert_eq!(out.len(), queries.len(), "a result for every query");
    let per_kv = shape.n_heads / shape.n_kv_heads;
    let wanted_tasks = 4 * rayon::current_num_threads();
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
    tasks.into_par_iter().with_max_len(1).for_each(|task| dispatch(isa, task));
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
        let mut running = Vec::with_capacity(self.out.len() + TILE_ROWS);
        let mut queries: Vec<&[f32]> = Vec::with_capacity(self.out.len() + TILE_ROWS);
        // Every member's rows are filled up to whole tiles; a filler sees nothing.
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
            while !queries.len().is_multiple_of(TILE_ROWS) {
                queries.push(queries[queries.len() - 1]);
                running.push(Running { n_seen: 0, largest: MASKED, sum: 0.0 });
            }
            first_of_member.push(queries.len());
        }
        let n_dims = head_dim / LANES;
        let mut totals = vec![[0.0; LANES]; queries.len() * n_dims];
        let mut keys = vec![[0.0; LANES]; BLOCK / GROUP * head_dim];
        let mut values = keys.clone();
        let longest = running.iter().map(|row| row.n_seen).max().unwrap_or(0);
        for block in (0..longest).step_by(BLOCK) {
            let mut loaded: [*const KvSegment; BLOCK / GROUP] = [ptr::null(); BLOCK / GROUP];
            for (member, rows) in self.members.iter().zip(first_of_member.windows(2)) {
                let span = &self.spans[member.span];
                let n_seen = (member.start + member.n_queries).saturating_sub(block).min(BLOCK);
                if n_seen == 0 {
                    continue;
                }
                for group in 0..n_seen.div_ceil(GROUP) {
                    let position = block + group * GROUP;
                    let segment = span.segment(position);
                    if !ptr::eq(loaded[group], segment) {
                        loaded[group] = segment;
                        let (from_keys, from_values) =
                            segment.group(self.layer, self.kv_head, position);
                        let at = group * head_dim;
                        for i in 0..head_dim {
                            lanes.store(lanes.halves(&from_keys[i]), &mut keys[at + i]);
                            lanes.store(lanes.halves(&from_values[i]), &mut values[at + i]);
                        }
                    }
                }
                for first in (rows[0]..rows[1]).step_by(TILE_ROWS) {
                    let tile = Tile {
                        queries: queries[first..].first_chunk().expect("rows are whole tiles"),
                        scale: self.shape.scale,
                        block,
                        n_groups: n_seen.div_ceil(GROUP),
                        keys: &keys,
                        values: &values,
                    };
                    let running = running[first..].first_chunk_mut().expect("rows are whole tiles");
                    let totals = &mut totals[first * n_dims..(first + TILE_ROWS) * n_dims];
                    tile.add(lanes, running, totals);
                }
            }
        }
        let mut out = self.out.iter_mut();
        let rows = running.iter().zip(totals.chunks(n_dims)).filter(|(row, _)| 0 < row.n_seen);
        for ((row, totals), out) in rows.zip(&mut out) {
            let inverse = lanes.splat(1.0 / row.sum);
            for (total, out) in totals.iter().zip(out.as_chunks_mut::<LANES>().0) {
                lanes.store(lanes.mul(lanes.floats(total), inverse), out);
            }
        }
    }
}

/// A few query rows and the keys and values of one block of positions.
struct Tile<'a> {
    queries: &'a [&'a [f32]; TILE_ROWS],
    scale: f32,
    /// The first position.
    block: usize,
    n_groups: usize,
    keys: &'a [[f32; LANES]],
    values: &'a [[f32; LANES]],
}

impl Tile<'_> {
    /// Adds the block to the rows' running softmax; `totals` are the rows' weighted values.
    #[inline(always)]
    fn add<L: Lanes>(
        &self,
        lanes: L,
        running: &mut [Running; TILE_ROWS],
        totals: &mut [[f32; LANES]],
    ) {
        let head_dim = self.queries[0].len();
        let mut scores = [[MASKED; BLOCK]; TILE_ROWS];
        for group in 0..self.n_groups {
            let keys = &self.keys[group * head_dim..(group + 1) * head_dim];
            let mut sums = [lanes.splat(0.0); TILE_ROWS];
            let queries: [&[f32]; TILE_ROWS] = [
                &self.queries[0][..keys.len()],
                &self.queries[1][..keys.len()],
                &self.queries[2][..keys.len()],
                &self.queries[3][..keys.len()],
            ];
            for (i, keys) in keys.iter().enumerate() {
                let keys = lanes.floats(keys);
                for row in 0..TILE_ROWS {
                    sums[row] = lanes.mul_add(keys, lanes.splat(queries[row][i]), sums[row]);
                }
            }
            for row in 0..TILE_ROWS {
                let scaled = lanes.mul(sums[row], lanes.splat(self.scale));
                lanes.store(scaled, &mut scores[row].as_chunks_mut::<LANES>().0[group]);
            }
        }
        let mut shrinks = [1.0; TILE_ROWS];
        for row in 0..TILE_ROWS {
            let state = &mut running[row];
            let n_seen = state.n_seen.saturating_sub(self.block).min(BLOCK);
            let scores = &mut scores[row];
            for score in &mut scores[n_seen..] {
                *score = MASKED;
            }
            let scores = scores.as_chunks_mut::<LANES>().0;
            let mut largest = lanes.splat(state.largest);
            for scores in scores.iter() {
                largest = lanes.max(largest, lanes.floats(scores));
            }
            let largest = lanes.largest(largest);
            let mut sum = lanes.splat(0.0);
            for scores in scores.iter_mut() {
                let difference = lanes.sub(lanes.floats(scores), lanes.splat(largest));
                // A row that has seen nothing yet has no maximum to compare with.
                let weights =
                    lanes.zero_below(lanes.exp(difference), lanes.floats(scores), MASKED / 2.0);
                sum = lanes.add(sum, weights);
                lanes.store(weights, scores);
            }
            let mut shrunk = [0.0; LANES];
            lanes.store(lanes.exp(lanes.splat(state.largest - largest)), &mut shrunk);
            shrinks[row] = shrunk[0];
            state.sum = state.sum.mul_add(shrunk[0], lanes.sum(sum));
            state.largest = largest;
        }
        let n_dims = head_dim / LANES;
        let n_positions = self.n_groups * GROUP;
        for dim in 0..n_dims {
            let mut sums = [lanes.splat(0.0); TILE_ROWS];
            for row in 0..TILE_ROWS {
                let total = lanes.floats(&totals[row * n_dims + dim]);
                sums[row] = lanes.mul(total, lanes.splat(shrinks[row]));
            }
            for position in 0..n_positions {
                let values = lanes.floats(&self.values[position * n_dims + dim]);
                for row in 0..TILE_ROWS {
                    let weight = lanes.splat(scores[row][position]);
                    sums[row] = lanes.mul_add(values, weight, sums[row]);
                }
            }
            for row in 0..TILE_ROWS {
                lanes.store(sums[row], &mut totals[row * n_dims + dim]);
            }
        }
    }
}
