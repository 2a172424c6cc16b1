//! Decimal numbers, read with integers as far as they go: the standard library's way to read any number to its last bit
//! brings a table of powers that weighs 10 KB (gzipped) in a Worker. What is asked for here has few digits.

/// Powers of ten that are exact.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];
/// Whatever is smaller has room for one more digit, and is exact with it.
const ROOM: u64 = (1 << f64::MANTISSA_DIGITS) / 10;
/// Behind it is nothing but zero and infinity.
const EXPONENT_MAX: i32 = 400;

/// Reads `-12`, `48.`, `.5` or `1e3`; None for all else, and for what is too large. Of up to 15 digits, with up to 22 places
/// behind the point, it is the nearest number there is; of more, one next to it.
pub(super) fn read(text: &str) -> Option<f64> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    let (digits, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let mut exponent = exponent.parse::<i32>().ok()?.clamp(-EXPONENT_MAX, EXPONENT_MAX);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut mantissa = 0_u64;
    for (part, places) in [(whole, 0), (fraction, -1)] {
        for digit in part.chars() {
            let digit = digit.to_digit(10)?;
            if mantissa < ROOM {
                mantissa = mantissa * 10 + u64::from(digit);
                exponent = exponent.saturating_add(places);
            } else {
                exponent = exponent.saturating_add(places + 1);
            }
        }
    }
    let mut number = mantissa as f64;
    while exponent != 0 && number != 0.0 && number.is_finite() {
        let step = exponent.clamp(-22, 22);
        let power = POWERS.get(step.unsigned_abs() as usize)?;
        number = if step < 0 { number / power } else { number * power };
        exponent -= step;
    }
    Some(sign * number).filter(|number| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn what_has_few_digits_is_read_to_the_last_bit() {
        let texts = [
            "0",
            "-0",
            "1",
            "-1",
            "+7",
            "48.",
            ".5",
            "0.5",
            "1.50",
            "52.52000659999999",
            "-179.999999",
            "1e3",
            "1E3",
            "1e+3",
            "25e-1",
            "0.1",
            "0.2",
            "0.3",
            "1000000.123456789",
            "900719925474099",
            "1e22",
            "1e-22",
            "0.000001",
            "00012",
            "1e-400",
        ];
        for text in texts {
            let (ours, theirs) = (read(text), text.parse::<f64>().unwrap());
            assert_eq!(ours.map(f64::to_bits), Some(theirs.to_bits()), "{text}: {ours:?}");
        }
        for thousandth in -200_000..200_000 {
            let text = format!("{}.{:03}", thousandth / 1000, i32::abs(thousandth % 1000));
            assert_eq!(read(&text), text.parse().ok(), "{text}");
        }
    }

    #[test]
    fn what_has_many_is_read_nearly_so() {
        for text in [
            "3.14159265358979323846264338327950288",
            "123456789012345678901234567890",
            "1.7976931348623157e308",
            "2.5e-300",
        ] {
            let (ours, theirs) = (read(text).unwrap(), text.parse::<f64>().unwrap());
            assert!((ours - theirs).abs() <= theirs.abs() * 1e-14, "{text}: {ours}");
        }
    }

    #[test]
    fn nothing_else_is_a_number() {
        for text in [
            "", "-", "+", ".", "e3", "1e", "1e1.5", "--1", "+-1", "1_000", "1,5", "0x10", "NaN", "inf", "1e999", "1 ",
            "١",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
