//! How likely it is that one of `k` answers is right, estimated from more answers than that.

/// The numbers of answers that LiveCodeBench tells, where every problem has as many.
pub const KS: [usize; 13] = [1, 5, 10, 20, 40, 50, 75, 100, 125, 150, 200, 500, 1000];

/// 1 − C(n − c, k) / C(n, k), for `n` answers of which `c` are right: what drawing `k` of them
/// without putting any back would give on average.
pub fn pass_at_k(n: usize, c: usize, k: usize) -> f64 {
    if n < c + k {
        return 1.0;
    }
    let all_wrong: f64 = (n - c + 1..=n).map(|i| 1.0 - k as f64 / i as f64).product();
    1.0 - all_wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_is_the_mean_over_all_ways_to_draw() {
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        near(pass_at_k(10, 3, 1), 0.3);
        near(pass_at_k(4, 2, 2), 1.0 - 1.0 / 6.0);
        near(pass_at_k(5, 0, 5), 0.0);
        near(pass_at_k(5, 1, 5), 1.0);
        near(pass_at_k(1, 1, 1), 1.0);
    }
}
