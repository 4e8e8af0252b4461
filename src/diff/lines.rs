//! The line diff: which runs of lines of a base text a new text replaces.
//!
//! Myers' algorithm in linear space over interned lines. The script is minimal, except where the
//! texts differ so much that a minimal one would take quadratic time: there the search for each
//! split is ended early. Equal inputs give equal changes on every machine.

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::Range;

/// A run of base lines and the run of new lines that stands in its place; 0-based, half-open.
///
/// One of both may be empty, never both: an insertion has an empty `base` whose start is the
/// index of the base line that follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineChange {
    pub base: Range<usize>,
    pub new: Range<usize>,
}

/// Differences on either side of a split point after which the search for a better one ends.
const MAX_COST: isize = 512;

/// Splits bytes after every `\n`; joined again, the lines give the bytes.
pub fn split_lines(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split_inclusive(|&byte| byte == b'\n').collect()
}

/// The changes that turn `base` into `new`, in order, with at least one equal line between two.
///
/// A run of only deleted or only inserted lines that could stand elsewhere (one of two equal
/// lines, say) stands as far up as it can.
pub fn diff_lines<T: Eq + Hash>(base: &[T], new: &[T]) -> Vec<LineChange> {
    let prefix = base.iter().zip(new).take_while(|(left, right)| left == right).count();
    let (base_rest, new_rest) = (&base[prefix..], &new[prefix..]);
    let suffix =
        base_rest.iter().rev().zip(new_rest.iter().rev()).take_while(|(l, r)| l == r).count();
    let base_rest = &base_rest[..base_rest.len() - suffix];
    let new_rest = &new_rest[..new_rest.len() - suffix];

    let (base_kept, new_kept) = kept_lines(base_rest, new_rest);
    let mut changes = Vec::new();
    // A sentinel match behind the last line closes the last change.
    let ends = (base_rest.len(), new_rest.len());
    let (mut base_at, mut new_at) = (0, 0);
    for (base_idx, new_idx) in base_kept.into_iter().zip(new_kept).chain([ends]) {
        if base_at < base_idx || new_at < new_idx {
            changes.push(LineChange {
                base: prefix + base_at..prefix + base_idx,
                new: prefix + new_at..prefix + new_idx,
            });
        }
        (base_at, new_at) = (base_idx + 1, new_idx + 1);
    }
    slide_up(base, new, changes)
}

/// The indices of the lines that both sides keep, pairwise.
fn kept_lines<T: Eq + Hash>(base: &[T], new: &[T]) -> (Vec<usize>, Vec<usize>) {
    let mut ids: HashMap<&T, u32> = HashMap::with_capacity(base.len());
    let mut intern = |line| {
        let next = ids.len() as u32;
        *ids.entry(line).or_insert(next)
    };
    let base_ids: Vec<u32> = base.iter().map(&mut intern).collect();
    let n_base_ids = base_ids.iter().max().map_or(0, |&id| id as usize + 1);
    let new_ids: Vec<u32> = new.iter().map(&mut intern).collect();

    // Lines that only one side has are no part of any common sequence: without them the search
    // is shorter and its result the same.
    let mut in_new = vec![false; n_base_ids];
    for &id in &new_ids {
        if let Some(seen) = in_new.get_mut(id as usize) {
            *seen = true;
        }
    }
    let base_shared: Vec<usize> =
        (0..base.len()).filter(|&idx| in_new[base_ids[idx] as usize]).collect();
    let new_shared: Vec<usize> =
        (0..new.len()).filter(|&idx| (new_ids[idx] as usize) < n_base_ids).collect();
    let base_seq: Vec<u32> = base_shared.iter().map(|&idx| base_ids[idx]).collect();
    let new_seq: Vec<u32> = new_shared.iter().map(|&idx| new_ids[idx]).collect();

    let matches = common_subsequence(&base_seq, &new_seq);
    matches.into_iter().map(|(b, n)| (base_shared[b], new_shared[n])).unzip()
}

/// Index pairs of a common subsequence, in order; a longest one unless the cost limit was met.
fn common_subsequence(base: &[u32], new: &[u32]) -> Vec<(usize, usize)> {
    let mut matches = Vec::new();
    let mut search = SplitSearch::default();
    // Boxes still to be done, the first on top: a split pushes its lower half below its upper.
    let mut boxes = vec![(0..base.len(), 0..new.len())];
    while let Some((mut b, mut n)) = boxes.pop() {
        while !b.is_empty() && !n.is_empty() && base[b.start] == new[n.start] {
            matches.push((b.start, n.start));
            b.start += 1;
            n.start += 1;
        }
        let (b_end, n_end) = (b.end, n.end);
        while !b.is_empty() && !n.is_empty() && base[b.end - 1] == new[n.end - 1] {
            b.end -= 1;
            n.end -= 1;
        }
        if b.end < b_end {
            // The equal tail is a box of its own; its start matches right away.
            boxes.push((b.end..b_end, n.end..n_end));
        }
        if b.is_empty() || n.is_empty() {
            continue;
        }
        let (x, y) = search.split(&base[b.clone()], &new[n.clone()]);
        boxes.push((b.start + x..b.end, n.start + y..n.end));
        boxes.push((b.start..b.start + x, n.start..n.start + y));
    }
    matches
}

/// The furthest positions per diagonal, forward and backward; kept to spare allocations.
#[derive(Default)]
struct SplitSearch {
    forward: Vec<isize>,
    backward: Vec<isize>,
}

/// A diagonal that no path has reached.
const UNREACHED: isize = isize::MIN / 2;

impl SplitSearch {
    /// A point on an optimal path (or a far-reaching one, past the cost limit) through the box
    /// `a` × `b`, whose first lines differ and whose last lines differ. Never a corner of the box
    /// that would leave one part as large as the whole.
    fn split(&mut self, a: &[u32], b: &[u32]) -> (usize, usize) {
        let (n, m) = (a.len() as isize, b.len() as isize);
        let delta = n - m;
        let is_odd = delta % 2 != 0;
        let limit = MAX_COST.min((n + m + 1) / 2);
        // Diagonal k is at index k + origin; neighbours of the outermost ones are read.
        let origin = limit + 1;
        for reach in [&mut self.forward, &mut self.backward] {
            reach.clear();
            reach.resize(2 * origin as usize + 1, UNREACHED);
            // The step before the first: moving down from here arrives at (0, 0).
            reach[(origin + 1) as usize] = 0;
        }
        for d in 0..=limit {
            for k in (-d..=d).step_by(2).filter(|&k| -m <= k && k <= n) {
                let Some(start) = step(&self.forward, origin, k, (n, m)) else { continue };
                let mut x = start;
                while x < n && x - k < m && a[x as usize] == b[(x - k) as usize] {
                    x += 1;
                }
                self.forward[(k + origin) as usize] = x;
                let facing = delta - k;
                if is_odd && facing.abs() < d && n <= x + self.backward[(facing + origin) as usize]
                {
                    return (start as usize, (start - k) as usize);
                }
            }
            for k in (-d..=d).step_by(2).filter(|&k| -m <= k && k <= n) {
                let Some(start) = step(&self.backward, origin, k, (n, m)) else { continue };
                let mut x = start;
                while x < n && x - k < m && a[(n - 1 - x) as usize] == b[(m - 1 - x + k) as usize] {
                    x += 1;
                }
                self.backward[(k + origin) as usize] = x;
                let facing = delta - k;
                if !is_odd && facing.abs() <= d && n <= x + self.forward[(facing + origin) as usize]
                {
                    return ((n - x) as usize, (m - x + k) as usize);
                }
            }
        }
        self.furthest(limit, (n, m))
    }

    /// The point that got furthest within the cost limit, from either corner.
    fn furthest(&self, limit: isize, (n, m): (isize, isize)) -> (usize, usize) {
        let origin = limit + 1;
        let best = |reach: &[isize]| {
            // Only diagonals of the last step; the others hold older, shorter reaches.
            let ends = (-limit..=limit).step_by(2).filter(|&k| -m <= k && k <= n);
            let points = ends.map(|k| (reach[(k + origin) as usize], k)).filter(|&(x, _)| 0 <= x);
            points.max_by_key(|&(x, k)| (2 * x - k, k)).unwrap_or((0, 0))
        };
        let (forward, backward) = (best(&self.forward), best(&self.backward));
        let progress = |(x, k): (isize, isize)| 2 * x - k;
        let (x, k) = if progress(backward) <= progress(forward) {
            forward
        } else {
            (n - backward.0, n - m - backward.1)
        };
        (x as usize, (x - k) as usize)
    }
}

/// The furthest start on diagonal `k` that one difference leads to, within the box.
fn step(reach: &[isize], origin: isize, k: isize, (n, m): (isize, isize)) -> Option<isize> {
    let down = reach[(k + 1 + origin) as usize];
    let right = reach[(k - 1 + origin) as usize] + 1;
    let fits = |x: isize| 0 <= x && x <= n && 0 <= x - k && x - k <= m;
    [down, right].into_iter().filter(|&x| fits(x)).max()
}

/// Moves runs that could stand elsewhere as far up as they go, joining those that meet.
fn slide_up<T: Eq>(base: &[T], new: &[T], changes: Vec<LineChange>) -> Vec<LineChange> {
    let mut done: Vec<LineChange> = Vec::with_capacity(changes.len());
    for mut change in changes {
        trim_equal_ends(base, new, &mut change);
        loop {
            let floor = done.last().map_or(0, |previous| previous.base.end);
            while floor < change.base.start && can_slide(base, new, &change) {
                change.base = change.base.start - 1..change.base.end - 1;
                change.new = change.new.start - 1..change.new.end - 1;
            }
            match done.pop_if(|previous| previous.base.end == change.base.start) {
                Some(previous) => {
                    change.base.start = previous.base.start;
                    change.new.start = previous.new.start;
                    trim_equal_ends(base, new, &mut change);
                }
                None => break,
            }
        }
        if !change.base.is_empty() || !change.new.is_empty() {
            done.push(change);
        }
    }
    done
}

/// Whether the run is pure and its last line equals the line before it.
fn can_slide<T: Eq>(base: &[T], new: &[T], change: &LineChange) -> bool {
    let repeats = |lines: &[T], run: &Range<usize>| lines[run.start - 1] == lines[run.end - 1];
    match (change.base.is_empty(), change.new.is_empty()) {
        (false, true) => repeats(base, &change.base),
        (true, false) => repeats(new, &change.new),
        _ => false,
    }
}

/// Takes lines out of a change that are equal at both of its starts or ends. Minimal scripts hold
/// none, ones past the cost limit may.
fn trim_equal_ends<T: Eq>(base: &[T], new: &[T], change: &mut LineChange) {
    let (b, n) = (&mut change.base, &mut change.new);
    while b.start < b.end && n.start < n.end && base[b.end - 1] == new[n.end - 1] {
        b.end -= 1;
        n.end -= 1;
    }
    while b.start < b.end && n.start < n.end && base[b.start] == new[n.start] {
        b.start += 1;
        n.start += 1;
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    use super::*;

    /// Letters are lines.
    #[track_caller]
    fn check(base: &str, new: &str, expect: Expect) {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        let changes = diff_lines(&chars(base), &chars(new));
        let texts = changes.iter().map(|change| {
            let LineChange { base: b, new: n } = change;
            format!("{}..{} {} -> {}", b.start, b.end, &base[b.clone()], &new[n.clone()])
        });
        expect.assert_eq(&texts.collect::<Vec<_>>().join("; "));
    }

    #[test]
    fn equal_texts_have_no_changes() {
        check("", "", expect![""]);
        check("abc", "abc", expect![""]);
    }

    #[test]
    fn changes_are_minimal() {
        check("", "ab", expect!["0..0  -> ab"]);
        check("ab", "", expect!["0..2 ab -> "]);
        check("abc", "axc", expect!["1..2 b -> x"]);
        check("abcdef", "abXdYf", expect!["2..3 c -> X; 4..5 e -> Y"]);
        check("abcabba", "cbabac", expect!["0..1 a -> c; 2..3 c -> ; 4..5 b -> ; 7..7  -> c"]);
    }

    #[test]
    fn runs_slide_up_and_join() {
        check("abb", "abbb", expect!["1..1  -> b"]);
        check("xababab", "xabab", expect!["1..3 ab -> "]);
        check("f.g.", "f.h.g.", expect!["1..1  -> .h"]);
        check("aXbbbYc", "abbbbc", expect!["1..2 X -> ; 5..6 Y -> b"]);
        check("axx", "ayxxx", expect!["1..1  -> yx"]);
    }

    #[test]
    fn two_large_unlike_texts_take_no_quadratic_time() {
        let n = 50_000_u64;
        // The same lines in another order: nothing can be set aside beforehand.
        let base: Vec<u64> = (0..n).collect();
        let new: Vec<u64> = (0..n).map(|i| i * 31_337 % n).collect();
        let changes = diff_lines(&base, &new);
        assert_eq!(rebuild(&base, &new, &changes), new);
        assert!(!changes.is_empty());
    }

    fn rebuild<T: Clone>(base: &[T], new: &[T], changes: &[LineChange]) -> Vec<T> {
        let (mut out, mut at) = (Vec::new(), 0);
        for change in changes {
            out.extend_from_slice(&base[at..change.base.start]);
            out.extend_from_slice(&new[change.new.clone()]);
            at = change.base.end;
        }
        out.extend_from_slice(&base[at..]);
        out
    }

    /// Length of a longest common subsequence, by the textbook table.
    fn longest_common(a: &[u8], b: &[u8]) -> usize {
        let mut row = vec![0; b.len() + 1];
        for &x in a {
            let mut diagonal = 0;
            for (j, &y) in b.iter().enumerate() {
                let above = row[j + 1];
                row[j + 1] = if x == y { diagonal + 1 } else { above.max(row[j]) };
                diagonal = above;
            }
        }
        row[b.len()]
    }

    proptest! {
        #[test]
        fn changes_rebuild_the_new_text_minimally(
            base in prop::collection::vec(0_u8..5, 0..40),
            new in prop::collection::vec(0_u8..5, 0..40),
        ) {
            let changes = diff_lines(&base, &new);
            prop_assert_eq!(&rebuild(&base, &new, &changes), &new);
            let n_deleted: usize = changes.iter().map(|change| change.base.len()).sum();
            prop_assert_eq!(base.len() - n_deleted, longest_common(&base, &new));
            let mut previous_end = None;
            for change in &changes {
                prop_assert!(previous_end < Some(change.base.start), "{changes:?}");
                previous_end = Some(change.base.end);
                prop_assert!(change.base.start == 0 || !can_slide(&base, &new, change)
                    || changes.iter().any(|other| other.base.end == change.base.start - 1
                        && other != change));
            }
        }
    }
}
