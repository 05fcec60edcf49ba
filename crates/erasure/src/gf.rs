//! Arithmetic in GF(2^8) with the polynomial x^8 + x^4 + x^3 + x^2 + 1 (0x11D) and the generator 2.
//!
//! Single elements go through tables made here at compile time; slices go through the library,
//! which picks vector instructions at run time. Only its two slice functions are used: they start
//! no threads. (Its whole codec would read the environment, may use a thread pool, and has an
//! encoder for common geometries that takes AVX2 for granted.)

use rustfs_erasure_codec::galois_8;

/// The polynomial without its x^8 term.
const REDUCTION: u8 = 0x1d;

const fn exp_table() -> [u8; 255] {
    let (mut table, mut value, mut i) = ([0u8; 255], 1u8, 0);
    while i < 255 {
        table[i] = value;
        let carry = value & 0x80 != 0;
        value <<= 1;
        if carry {
            value ^= REDUCTION;
        }
        i += 1;
    }
    table
}

const fn log_table() -> [u8; 256] {
    let (exp, mut table, mut i) = (exp_table(), [0u8; 256], 0);
    while i < 255 {
        table[exp[i] as usize] = i as u8;
        i += 1;
    }
    table
}

/// Powers of two: `EXP[i] = 2^i`.
static EXP: [u8; 255] = exp_table();
/// Logarithms to base two; `LOG[0]` is unused.
static LOG: [u8; 256] = log_table();

/// The product of two elements.
pub(crate) fn mul(a: u8, b: u8) -> u8 {
    if a == 0 || b == 0 {
        return 0;
    }
    EXP[(usize::from(LOG[usize::from(a)]) + usize::from(LOG[usize::from(b)])) % 255]
}

/// The inverse of an element; `None` for zero.
pub(crate) fn inv(a: u8) -> Option<u8> {
    (a != 0).then(|| EXP[(255 - usize::from(LOG[usize::from(a)])) % 255])
}

/// `base` to the power of `exponent`; zero to the power of zero is one.
pub(crate) fn pow(base: u8, exponent: u8) -> u8 {
    match (base, exponent) {
        (_, 0) => 1,
        (0, _) => 0,
        _ => EXP[usize::from(LOG[usize::from(base)]) * usize::from(exponent) % 255],
    }
}

/// `output = factor * input`. The slices have the same length.
pub(crate) fn mul_slice(factor: u8, input: &[u8], output: &mut [u8]) {
    match factor {
        0 => output.fill(0),
        1 => output.copy_from_slice(input),
        _ => galois_8::mul_slice(factor, input, output),
    }
}

/// `output += factor * input`. The slices have the same length.
pub(crate) fn mul_add_slice(factor: u8, input: &[u8], output: &mut [u8]) {
    if factor != 0 {
        galois_8::mul_slice_xor(factor, input, output);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::reference::slow_mul;

    #[test]
    fn tables_agree_with_shift_and_add() {
        for a in 0..=255u8 {
            for b in 0..=255u8 {
                assert_eq!(mul(a, b), slow_mul(a, b), "{a} * {b}");
            }
            assert_eq!(inv(a).map(|i| slow_mul(a, i)), (a != 0).then_some(1));
            let mut power = 1;
            for exponent in 0..=32 {
                assert_eq!(pow(a, exponent), power, "{a} ^ {exponent}");
                power = slow_mul(power, a);
            }
        }
    }

    #[test]
    fn slices_agree_with_shift_and_add_at_every_alignment() {
        let input: Vec<u8> = (0..400u32).map(|i| (i * 7 + i / 256) as u8).collect();
        for factor in 0..=255u8 {
            for (from, to) in [(0, 0), (0, 1), (1, 16), (3, 66), (5, 133), (0, 256), (7, 400)] {
                let part = &input[from..to];
                let mut output = vec![0xa5; part.len()];
                mul_slice(factor, part, &mut output);
                assert!(part.iter().zip(&output).all(|(&i, &o)| o == slow_mul(factor, i)));
                let before = output.clone();
                mul_add_slice(factor ^ 0x3c, part, &mut output);
                for ((&i, &o), &b) in part.iter().zip(&output).zip(&before) {
                    assert_eq!(o, b ^ slow_mul(factor ^ 0x3c, i));
                }
            }
        }
    }
}
