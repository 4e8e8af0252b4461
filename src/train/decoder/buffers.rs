//! Memory that is used again: large allocations cost a page fault for every page, each time.

/// Buffers that are not in use.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    free: Vec<Vec<f32>>,
    /// Rows of the batch at work, and of the largest so far.
    n_rows: usize,
    max_rows: usize,
    /// Of a few rows, whatever the batch: it has no part in the others' sizes.
    pub(super) logits: Vec<f32>,
    /// Factors of a product in 16 bits.
    pub(super) panels: [Vec<u32>; 2],
    /// Weights of 16 bits in 32.
    pub(super) unpacked: Vec<f32>,
}

impl Buffers {
    /// Tells of a batch of so many rows. Where it is the largest so far, buffers of smaller ones
    /// go: kept beside new ones they would double the memory.
    pub(super) fn begin(&mut self, n_rows: usize) {
        self.n_rows = n_rows;
        if self.max_rows < n_rows {
            self.max_rows = n_rows;
            self.free.clear();
        }
    }

    /// A buffer of that length. What is in it is anything: whoever takes it overwrites all of it.
    ///
    /// A new one has room for the same part of the largest batch, so that a smaller batch leaves
    /// none that are too short for it.
    pub(super) fn take(&mut self, len: usize) -> Vec<f32> {
        let fitting = self.free.iter().enumerate().filter(|(_, buffer)| len <= buffer.capacity());
        let shortest = fitting.min_by_key(|(_, buffer)| buffer.capacity()).map(|(idx, _)| idx);
        let mut buffer = match shortest {
            Some(idx) => self.free.swap_remove(idx),
            None => Vec::with_capacity(len * self.max_rows / self.n_rows.max(1)),
        };
        buffer.resize(len, 0.0);
        buffer
    }

    /// A buffer of zeros.
    pub(super) fn zeros(&mut self, len: usize) -> Vec<f32> {
        let mut buffer = self.take(len);
        buffer.fill(0.0);
        buffer
    }

    pub(super) fn give(&mut self, buffer: Vec<f32>) {
        self.free.push(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_of_every_size_use_the_buffers_of_the_largest() {
        let mut buffers = Buffers::default();
        let mut largest = 0;
        for n_rows in [7, 3, 10, 1, 9, 2, 10, 4] {
            buffers.begin(n_rows);
            let taken: Vec<Vec<f32>> =
                [5, 2, 2, 8, 5].map(|width| buffers.take(width * n_rows)).into();
            taken.into_iter().for_each(|buffer| buffers.give(buffer));
            largest = largest.max(n_rows);
            let held: usize = buffers.free.iter().map(Vec::capacity).sum();
            assert_eq!((buffers.free.len(), held), (5, 22 * largest), "after {n_rows} rows");
        }
    }
}
