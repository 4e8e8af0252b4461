//! The exponential function in a form that compiles to vector instructions.

/// e to the power of x, to within a few units in the last place; of less than −87.3 next to 0, of
/// more than 88 what e^88 is.
#[inline]
pub(super) fn exp(x: f32) -> f32 {
    // 1.5 · 2^23: a number added to it is rounded to a whole one, which stands in its lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.3, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    // The logarithm of 2 in two parts, so that what is left is exact.
    let rest = (x - n * 0.693_359_4) - n * -2.121_944_4e-4;
    let mut sum = 1.987_569_2e-4;
    for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5] {
        sum = sum * rest + coefficient;
    }
    let power_of_two = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0_f32.to_bits()));
    (sum * rest * rest + rest + 1.0) * power_of_two
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_exponential_function() {
        for step in 0..4000 {
            let x = (step as f32 - 2000.0) * 0.043;
            let wanted = f64::from(x).exp();
            let error = (f64::from(exp(x)) - wanted).abs() / wanted;
            assert!(error < 3e-7, "{x}: {error}");
        }
        assert!(exp(f32::NEG_INFINITY) < 2e-38);
        assert_eq!(exp(0.0), 1.0);
    }
}
