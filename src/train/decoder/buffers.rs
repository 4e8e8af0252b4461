//! Memory that is used again: large allocations cost a page fault for every page, each time.

/// Buffers that are not in use.
#[derive(Debug, Default)]
pub(super) struct Buffers(Vec<Vec<f32>>);

impl Buffers {
    /// A buffer of that length. What is in it is anything: whoever takes it overwrites all of it.
    pub(super) fn take(&mut self, len: usize) -> Vec<f32> {
        let fits = |buffer: &Vec<f32>| len <= buffer.capacity();
        let smallest = self.0.iter().enumerate().filter(|(_, buffer)| fits(buffer));
        let smallest = smallest.min_by_key(|(_, buffer)| buffer.capacity()).map(|(idx, _)| idx);
        let mut buffer = smallest.map(|idx| self.0.swap_remove(idx)).unwrap_or_default();
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
        self.0.push(buffer);
    }
}
