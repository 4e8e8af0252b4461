//! How alike two functions are: BLEU over words, smoothed.
//!
//! Sentence BLEU of NLTK with one reference, four orders and the fourth smoothing of Chen and
//! Cherry (2014), in the order of its floating-point operations, so that thresholds are passed by
//! the same answers.

use std::collections::BTreeMap;

use crate::general::python_text::{strip, words};

const N_ORDERS: usize = 4;

/// Chen and Cherry's K.
const SMOOTHING: f64 = 5.0;

/// From 0 to 1; equal texts of two or three words are below 1, for they have no longer runs.
pub fn similarity(candidate: &str, reference: &str) -> f64 {
    let (candidate, reference) = (tokens(candidate), tokens(reference));
    let precisions: [(usize, usize); N_ORDERS] =
        std::array::from_fn(|order| precision(&candidate, &reference, order + 1));
    if precisions[0].0 == 0 {
        return 0.0;
    }
    let n_words = candidate.len();
    let mut n_smoothed = 0;
    let logs = precisions.map(|(matched, n)| {
        let share = if matched == 0 && 1 < n_words {
            n_smoothed += 1;
            let of_length = f64::from(1 << n_smoothed) * SMOOTHING / (n_words as f64).ln();
            1.0 / of_length / n as f64
        } else {
            matched as f64 / n as f64
        };
        // An answer of one word has no longer runs, and they do not count.
        if 0.0 < share { share.ln() / N_ORDERS as f64 } else { 0.0 }
    });
    brevity_penalty(reference.len(), n_words) * exact_sum(&logs).exp()
}

/// Words between white space; a text without any is one empty word.
fn tokens(text: &str) -> Vec<&str> {
    match strip(text) {
        "" => vec![""],
        text => words(text).collect(),
    }
}

/// How many of the candidate's runs of `order` words the reference has too, each as often as there
/// at most; and of how many, at least one.
fn precision(candidate: &[&str], reference: &[&str], order: usize) -> (usize, usize) {
    let in_reference = runs(reference, order);
    let of_candidate = runs(candidate, order);
    let clipped = |(run, n): (&&[&str], &usize)| {
        in_reference.get(run).map_or(0, |in_reference: &usize| *n.min(in_reference))
    };
    let n: usize = of_candidate.values().sum();
    (of_candidate.iter().map(clipped).sum(), n.max(1))
}

fn runs<'a, 'b>(words: &'b [&'a str], order: usize) -> BTreeMap<&'b [&'a str], usize> {
    let mut runs = BTreeMap::new();
    for run in words.windows(order) {
        *runs.entry(run).or_default() += 1;
    }
    runs
}

fn brevity_penalty(n_reference: usize, n_candidate: usize) -> f64 {
    if n_reference < n_candidate {
        1.0
    } else {
        (1.0 - n_reference as f64 / n_candidate as f64).exp()
    }
}

/// The sum, rounded once: partial sums that do not overlap, after Shewchuk.
fn exact_sum(numbers: &[f64]) -> f64 {
    let mut partials: Vec<f64> = Vec::new();
    for &number in numbers {
        let (mut sum, mut kept) = (number, Vec::new());
        for &partial in &partials {
            let (large, small) =
                if sum.abs() < partial.abs() { (partial, sum) } else { (sum, partial) };
            sum = large + small;
            let rest = small - (sum - large);
            if rest != 0.0 {
                kept.push(rest);
            }
        }
        kept.push(sum);
        partials = kept;
    }
    let mut below = partials.into_iter().rev();
    let mut sum = below.next().unwrap_or(0.0);
    while let Some(partial) = below.next() {
        let total = sum + partial;
        let rest = partial - (total - sum);
        sum = total;
        if rest != 0.0 {
            // Half a unit of the last place is rounded towards what lies below it.
            let doubled = 2.0 * rest;
            let is_tie = (sum + doubled) - sum == doubled;
            if is_tie && below.next().is_some_and(|next| 0.0 < next * rest) {
                sum += doubled;
            }
            break;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of NLTK 3.9.1.
    #[test]
    fn similarities_are_those_of_the_reference() {
        for (candidate, reference, expected) in CASES {
            assert_eq!(similarity(candidate, reference), *expected, "{candidate:?} {reference:?}");
        }
    }

    const FUNCTION: &str =
        "def area(w, h):\n    if w < 0 or h < 0:\n        raise ValueError(w)\n    return w * h\n";

    #[expect(clippy::unreadable_literal, reason = "as the reference prints them")]
    const CASES: &[(&str, &str, f64)] = &[
        (FUNCTION, FUNCTION, 1.0),
        (
            "def area(width, h):\n    if width < 0 or h < 0:\n        raise ValueError(width)\n    return width * h\n",
            FUNCTION,
            0.43683636444615426,
        ),
        ("def area(w, h): return w * h", FUNCTION, 0.1424973588271681),
        (
            "def area(w, h):\n    if w < 0 or h < 0:\n        raise ValueError(w)\n    return w * h\n\n\nprint(area(1, 2))",
            FUNCTION,
            0.8852140475440834,
        ),
        ("return w * h", FUNCTION, 0.03877420783172201),
        ("return", FUNCTION, 1.1253517471925912e-07),
        ("w h", FUNCTION, 4.442607902180051e-05),
        ("nothing alike here", FUNCTION, 0.0),
        ("", FUNCTION, 0.0),
        (FUNCTION, "", 0.0),
        ("", "", 1.0),
        ("a", "a", 1.0),
        ("a b", "a b", 0.2213885886251307),
        ("a b c", "a b c", 0.5757197301274735),
        ("a b c d", "a b c d", 1.0),
        ("a a a a", "a a", 0.16821895003341453),
        (
            "def area(w, h):\n    if w <= 0 or h <= 0:\n        raise ValueError(w)\n    return w * h\n",
            FUNCTION,
            0.6422727797927412,
        ),
        ("h w or def\u{1c}if", FUNCTION, 0.006192608247973924),
    ];

    #[test]
    fn a_sum_is_rounded_once() {
        assert_eq!(exact_sum(&[0.1; 10]), 1.0);
        assert_eq!(exact_sum(&[1e16, 1.0, -1e16]), 1.0);
        assert_eq!(exact_sum(&[]), 0.0);
    }
}
