//! Products of matrices over flat slices: the one place that calls the matrix crate.

/// A matrix in memory: rows of `cols` numbers, `stride` apart; perhaps to be read transposed.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_step: usize,
    col_step: usize,
}

impl<'a> View<'a> {
    /// Rows of `cols` numbers, one behind the other.
    pub(super) fn new(data: &'a [f32], cols: usize) -> Self {
        Self { data, rows: data.len() / cols, cols, row_step: cols, col_step: 1 }
    }

    /// The transposed matrix.
    pub(super) fn t(self) -> Self {
        let Self { data, rows, cols, row_step, col_step } = self;
        Self { data, rows: cols, cols: rows, row_step: col_step, col_step: row_step }
    }

    /// Some of the rows.
    pub(super) fn rows(self, rows: std::ops::Range<usize>) -> Self {
        assert!(rows.end <= self.rows, "rows {rows:?} of {}", self.rows);
        Self { data: &self.data[rows.start * self.row_step..], rows: rows.len(), ..self }
    }

    /// Some of the columns.
    pub(super) fn columns(self, columns: std::ops::Range<usize>) -> Self {
        assert!(columns.end <= self.cols, "columns {columns:?} of {}", self.cols);
        Self { data: &self.data[columns.start * self.col_step..], cols: columns.len(), ..self }
    }

    fn last(&self) -> usize {
        (self.rows - 1) * self.row_step + (self.cols - 1) * self.col_step
    }
}

/// Whether what a product writes to is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Into {
    /// `out = scale · a · b`
    Overwrite,
    /// `out += scale · a · b`
    Add,
}

/// On how many threads a product runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Threads {
    /// The caller's alone: it is one of several.
    One,
    /// All of the pool.
    All,
}

/// Multiplies into the rows of `out`, which lie one behind the other.
///
/// # Panics
///
/// The shapes do not fit, which is an error of this program.
pub(super) fn product(
    out: &mut [f32],
    into: Into,
    a: View<'_>,
    b: View<'_>,
    scale: f32,
    threads: Threads,
) {
    assert!(out.len() == a.rows * b.cols, "{} numbers for {}×{}", out.len(), a.rows, b.cols);
    product_within((out, b.cols), into, a, b, scale, threads);
}

/// Multiplies into rows of `out` that begin `out_step` numbers after one another.
///
/// # Panics
///
/// The shapes do not fit, which is an error of this program.
pub(super) fn product_within(
    (out, out_step): (&mut [f32], usize),
    into: Into,
    a: View<'_>,
    b: View<'_>,
    scale: f32,
    threads: Threads,
) {
    assert!(a.cols == b.rows, "{}×{} times {}×{}", a.rows, a.cols, b.rows, b.cols);
    if a.rows == 0 || b.cols == 0 {
        return;
    }
    assert!(b.cols <= out_step, "rows of {} numbers, {out_step} apart", b.cols);
    let last = (a.rows - 1) * out_step + b.cols;
    assert!(last <= out.len(), "{} numbers for {}×{}", out.len(), a.rows, b.cols);
    if a.cols == 0 {
        if into == Into::Overwrite {
            out.chunks_mut(out_step).for_each(|row| row[..b.cols].fill(0.0));
        }
        return;
    }
    assert!(a.last() < a.data.len() && b.last() < b.data.len(), "a matrix within its memory");
    let parallelism = match threads {
        Threads::One => gemm::Parallelism::None,
        Threads::All => gemm::Parallelism::Rayon(0),
    };
    #[expect(unsafe_code, reason = "the matrix crate takes pointers")]
    // SAFETY: `out` holds a.rows rows of b.cols numbers, out_step apart, and the last number that
    // either view reaches lies in its slice; both are asserted above. No two overlap, since `out`
    // is borrowed alone.
    unsafe {
        gemm::gemm(
            a.rows,
            b.cols,
            a.cols,
            out.as_mut_ptr(),
            1,
            out_step as isize,
            into == Into::Add,
            a.data.as_ptr(),
            a.col_step as isize,
            a.row_step as isize,
            b.data.as_ptr(),
            b.col_step as isize,
            b.row_step as isize,
            1.0,
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}
