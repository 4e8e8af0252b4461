//! Memory that is used again: large allocations cost a page fault for every page, each time.

/// Buffers that are not in use.
#[derive(Debug, Default)]
pub(super) struct Buffers(Vec<Vec<f32>>);

impl Buffers {
    /// A buffer of that length. What is in it is anything: whoever takes it overwrites all of it.
    ///
    /// Of those that are long enough the shortest is taken. Where none is, the longest goes, so
    /// that lengths which grow from step to step do not leave all their buffers behind.
    pub(super) fn take(&mut self, len: usize) -> Vec<f32> {
        let buffers = self.0.iter().enumerate();
        let fitting = buffers.clone().filter(|(_, buffer)| len <= buffer.capacity());
        if let Some((idx, _)) = fitting.min_by_key(|(_, buffer)| buffer.capacity()) {
            let mut buffer = self.0.swap_remove(idx);
            buffer.resize(len, 0.0);
            return buffer;
        }
        if let Some((idx, _)) = buffers.max_by_key(|(_, buffer)| buffer.capacity()) {
            self.0.swap_remove(idx);
        }
        vec![0.0; len]
    }

    /// A buffer of zeros.
    pub(super) fn zeros(&mut self, len: usize) -> Vec<f32> {
        let mut buffer = self.take(len);
        buffer.fill(0.0);
        buffer
    }

    pub(super) fn give(&mut self, buffer: Vec<f32>) {
        self.0.push(buffer);
    }
}
