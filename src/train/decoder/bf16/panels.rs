//! Factors of a product, rounded to 16 bits and cut into panels.

use half::bf16;
use rayon::prelude::*;

/// Rows of a panel of the first factor.
pub(super) const ROWS: usize = 12;

/// Columns of a panel of the second factor.
pub(super) const COLS: usize = 32;

/// Pairs along the inner dimension in one block: a panel of columns is 32 KiB.
pub(super) const DEPTH: usize = 256;

/// A factor in panels of `WIDTH` rows or columns: of each block along the inner dimension its
/// panels, of each panel its pairs, of each pair one word for each row or column, in which the
/// lower half comes first. What lies beyond the matrix is 0.
pub(super) struct Panels<'a, const WIDTH: usize> {
    words: &'a [u32],
    n_pairs: usize,
    n_across: usize,
}

impl<'a, const WIDTH: usize> Panels<'a, WIDTH> {
    /// Cuts up a factor of `len` rows or columns, on all threads: `fill` writes a panel's words,
    /// told of its first row or column and its first pair.
    fn cut(
        (len, depth): (usize, usize),
        words: &'a mut Vec<u32>,
        fill: impl Fn(&mut [[u32; WIDTH]], usize, usize) + Sync,
    ) -> Self {
        let (n_across, n_pairs) = (len.div_ceil(WIDTH), depth.div_ceil(2));
        words.resize(n_across * WIDTH * n_pairs, 0);
        for first_pair in (0..n_pairs).step_by(DEPTH) {
            let n_in_block = DEPTH.min(n_pairs - first_pair);
            let block =
                &mut words[first_pair * n_across * WIDTH..][..n_in_block * n_across * WIDTH];
            block.par_chunks_exact_mut(n_in_block * WIDTH).enumerate().with_min_len(4).for_each(
                |(idx, panel)| {
                    let (pairs, _) = panel.as_chunks_mut::<WIDTH>();
                    fill(pairs, idx * WIDTH, first_pair);
                },
            );
        }
        Self { words, n_pairs, n_across }
    }

    /// As [`Panels::cut`] where each lane of a panel is a row of `depth` numbers: `fill` writes the
    /// lane of the panel's pairs, told of what the row has from the first pair on.
    fn of_lanes<T: Sync>(
        (numbers, depth): (&[T], usize),
        words: &'a mut Vec<u32>,
        fill: impl Fn(&mut [[u32; WIDTH]], usize, &[T]) + Sync,
    ) -> Self {
        let n_rows = numbers.len() / depth;
        Self::cut((n_rows, depth), words, |pairs, first_row, first_pair| {
            for lane in 0..WIDTH {
                match first_row + lane {
                    row if row < n_rows => {
                        fill(pairs, lane, &numbers[row * depth..][..depth][first_pair * 2..]);
                    }
                    _ => pairs.iter_mut().for_each(|pair| pair[lane] = 0),
                }
            }
        })
    }

    pub(super) fn n_blocks(&self) -> usize {
        self.n_pairs.div_ceil(DEPTH)
    }

    /// The pairs of a panel within a block.
    pub(super) fn panel(&self, block: usize, panel: usize) -> &[[u32; WIDTH]] {
        let first_pair = block * DEPTH;
        let n_in_block = DEPTH.min(self.n_pairs - first_pair);
        let start = (first_pair * self.n_across + panel * n_in_block) * WIDTH;
        self.words[start..][..n_in_block * WIDTH].as_chunks().0
    }
}

impl<'a> Panels<'a, ROWS> {
    /// Rows of `depth` numbers, which are rounded.
    pub(super) fn of_rows(rows: &[f32], depth: usize, words: &'a mut Vec<u32>) -> Self {
        Self::of_lanes((rows, depth), words, |pairs, lane, row| {
            let row = &row[..row.len().min(pairs.len() * 2)];
            // Rounded together, which vectorizes, and then dealt out.
            let mut rounded = [0_u32; 2 * DEPTH];
            rounded.iter_mut().zip(row).for_each(|(to, from)| *to = round(*from));
            let (twos, _) = rounded.as_chunks::<2>();
            for (pair, [low, high]) in pairs.iter_mut().zip(twos) {
                pair[lane] = low | high << 16;
            }
        })
    }
}

impl<'a> Panels<'a, COLS> {
    /// The matrix transposed: its rows are the columns, and its inner dimension is `n_in`.
    pub(super) fn of_weight_rows(weight: &[bf16], n_in: usize, words: &'a mut Vec<u32>) -> Self {
        Self::of_lanes((weight, n_in), words, |pairs, lane, row| {
            let (twos, rest) = row.as_chunks::<2>();
            for (pair, [low, high]) in pairs.iter_mut().zip(twos) {
                pair[lane] = word(*low, *high);
            }
            if let ([last], Some(pair)) = (rest, pairs.get_mut(twos.len())) {
                pair[lane] = word(*last, bf16::ZERO);
            }
        })
    }

    /// The matrix as it is: its columns are the columns, and its rows the inner dimension.
    pub(super) fn of_weight_columns(weight: &[bf16], n_in: usize, words: &'a mut Vec<u32>) -> Self {
        let n_out = weight.len() / n_in;
        Self::cut((n_in, n_out), words, |pairs, first_col, first_pair| {
            let n_cols = COLS.min(n_in - first_col);
            for (idx, pair) in pairs.iter_mut().enumerate() {
                let first = (first_pair + idx) * 2;
                let low = &weight[first * n_in + first_col..][..n_cols];
                pair.fill(0);
                if first + 1 < n_out {
                    let high = &weight[(first + 1) * n_in + first_col..][..n_cols];
                    for (pair, (low, high)) in pair.iter_mut().zip(low.iter().zip(high)) {
                        *pair = word(*low, *high);
                    }
                } else {
                    pair.iter_mut().zip(low).for_each(|(pair, low)| *pair = word(*low, bf16::ZERO));
                }
            }
        })
    }
}

fn word(low: bf16, high: bf16) -> u32 {
    u32::from(low.to_bits()) | u32::from(high.to_bits()) << 16
}

/// The upper half of a number, rounded to the nearest, of two to the even one.
fn round(number: f32) -> u32 {
    let bits = number.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    // What is no number would lose the bits that say so.
    if number.is_nan() { bits >> 16 | 0x40 } else { rounded }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_as_the_type_rounds_them() {
        let special = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN_POSITIVE];
        let drawn = (0..100_000_u32).map(|n| f32::from_bits(n.wrapping_mul(2_654_435_761)));
        for number in special.into_iter().chain(drawn) {
            let wanted = bf16::from_f32(number);
            let found = bf16::from_bits(round(number) as u16);
            assert!(found == wanted || found.is_nan() && wanted.is_nan(), "{number}");
        }
    }
}
