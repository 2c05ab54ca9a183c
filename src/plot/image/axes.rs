//! Where axes have their numbers.

/// Positions of numbers in a range, about as many as wanted: multiples of 1, 2 or 5 times a power of ten; with the numbers as text.
pub(super) fn ticks(low: f64, high: f64, wanted: f64) -> Vec<(f64, String)> {
    let (from, to) = (low.min(high), low.max(high));
    let span = to - from;
    if !(span > 0.0 && span.is_finite()) {
        return Vec::new();
    }
    let step = nice_step(span / wanted.max(1.0));
    let digits = decimals(step);
    let first = (from / step - 1e-9).ceil();
    let mut found = Vec::new();
    // At most a few more than wanted: steps are nice_step of it.
    for n in 0..200 {
        let value = (first + f64::from(n)) * step;
        if value > to + 1e-9 * span {
            break;
        }
        let text = format!("{value:.digits$}");
        let is_zero = text.bytes().all(|byte| b"-0.".contains(&byte));
        let text = if is_zero { "0".to_owned() } else { text };
        found.push((value, text.replace('-', "\u{2212}")));
    }
    found
}

/// Powers of ten in a range of logarithms.
pub(super) fn decades(low: f64, high: f64) -> Vec<(f64, String)> {
    let (from, to) = (low.min(high), low.max(high));
    let step = ((to - from) / 8.0).ceil().max(1.0);
    let mut found = Vec::new();
    let mut power = from.ceil();
    while power <= to && found.len() < 50 {
        let text = if (-3.0..=4.0).contains(&power) {
            format!("{}", 10_f64.powf(power))
        } else {
            format!("1e{power}")
        };
        found.push((power, text));
        power += step;
    }
    found
}

fn nice_step(rough: f64) -> f64 {
    let power = 10_f64.powf(rough.log10().floor());
    let factor = rough / power;
    let nice = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|&n| n >= factor * (1.0 - 1e-9));
    nice.unwrap_or(10.0) * power
}

/// Digits after the point that a step needs.
fn decimals(step: f64) -> usize {
    let digits = (-step.log10() - 1e-9).ceil().clamp(0.0, 12.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped"
    )]
    {
        digits as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within() {
        let texts = |low, high, wanted| {
            let ticks = ticks(low, high, wanted);
            ticks.into_iter().map(|(_, text)| text).collect::<Vec<_>>()
        };
        assert_eq!(
            texts(-1.0, 1.0, 4.0),
            ["\u{2212}1.0", "\u{2212}0.5", "0", "0.5", "1.0"]
        );
        assert_eq!(texts(0.0, 712.0, 4.0), ["0", "200", "400", "600"]);
        assert_eq!(texts(3.0, 0.0, 3.0), ["0", "1", "2", "3"]);
        assert_eq!(texts(0.12, 0.131, 5.0), ["0.120", "0.125", "0.130"]);
        assert!(texts(1.0, 1.0, 5.0).is_empty());
        assert_eq!(decades(0.0, 2.0).len(), 3);
    }
}
