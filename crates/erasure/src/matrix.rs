//! The generator matrices, as this project defines them.
//!
//! A stripe is a column vector of `k` data bytes at each byte position. Shard `r` of `k + m` holds,
//! at that position, row `r` of the generator matrix times the vector. The first `k` rows are the
//! identity: data shards hold the data as it is. Row and column numbers stand for field elements
//! where a formula uses them.
//!
//! * `k = 1`: every row is `[1]`, whatever the matrix: mirroring.
//! * Cauchy: row `k + i`, column `j` is `1 / ((k + i) xor j)`.
//! * Vandermonde: `V * T^-1`, where `V` has `k + m` rows and `k` columns, row `r` and column `c` is `r^c`
//!   (`0^0 = 1`), and `T` is its first `k` rows.

use std::fmt;

use crate::{Geometry, gf};

/// Which generator matrix a blob was encoded with; recorded with every blob.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Matrix {
    /// Identity over a Cauchy matrix: what new blobs get.
    #[default]
    Cauchy,
    /// A Vandermonde matrix made systematic.
    Vandermonde,
}

/// A number that stands for no matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not the number of a generator matrix")]
pub struct UnknownMatrix(pub u8);

impl Matrix {
    /// The number that records store: 1 for Cauchy, 2 for Vandermonde. Zero is never used.
    pub const fn number(self) -> u8 {
        match self {
            Self::Cauchy => 1,
            Self::Vandermonde => 2,
        }
    }

    /// From the number that records store.
    ///
    /// # Errors
    /// For a number that this version does not know.
    pub const fn from_number(number: u8) -> Result<Self, UnknownMatrix> {
        match number {
            1 => Ok(Self::Cauchy),
            2 => Ok(Self::Vandermonde),
            _ => Err(UnknownMatrix(number)),
        }
    }
}

impl fmt::Display for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cauchy => "cauchy",
            Self::Vandermonde => "vandermonde",
        })
    }
}

/// The rows of a generator matrix below the identity: one row of `data` factors for each parity
/// shard.
pub(crate) fn parity_rows(geometry: Geometry, matrix: Matrix) -> Vec<Vec<u8>> {
    let (data, total) = (geometry.data() as u8, geometry.total() as u8);
    if data == 1 {
        return vec![vec![1]; geometry.parity()];
    }
    match matrix {
        // A row number is at least `data` and a column number less, so that their sum is never
        // zero.
        Matrix::Cauchy => (data..total)
            .map(|row| (0..data).map(|column| gf::inv(row ^ column).unwrap_or_default()).collect())
            .collect(),
        Matrix::Vandermonde => {
            let row = |r: u8| (0..data).map(|c| gf::pow(r, c)).collect::<Vec<u8>>();
            // Distinct elements make every square Vandermonde matrix invertible.
            let top = invert((0..data).map(row).collect()).unwrap_or_default();
            (data..total).map(|r| row_times(&row(r), &top)).collect()
        }
    }
}

/// A row vector times a square matrix.
pub(crate) fn row_times(row: &[u8], matrix: &[Vec<u8>]) -> Vec<u8> {
    let mut product = vec![0; row.len()];
    for (&factor, line) in row.iter().zip(matrix) {
        for (sum, &element) in product.iter_mut().zip(line) {
            *sum ^= gf::mul(factor, element);
        }
    }
    product
}

/// The inverse of a square matrix by Gauss and Jordan; `None` when it has none.
pub(crate) fn invert(mut matrix: Vec<Vec<u8>>) -> Option<Vec<Vec<u8>>> {
    let size = matrix.len();
    let unit = |i: usize| (0..size).map(|j| u8::from(i == j)).collect::<Vec<u8>>();
    let mut inverse: Vec<Vec<u8>> = (0..size).map(unit).collect();
    for step in 0..size {
        let pivot = (step..size).find(|&row| matrix[row][step] != 0)?;
        matrix.swap(step, pivot);
        inverse.swap(step, pivot);
        let scale = gf::inv(matrix[step][step])?;
        for element in matrix[step].iter_mut().chain(&mut inverse[step]) {
            *element = gf::mul(*element, scale);
        }
        let (left, right) = (matrix[step].clone(), inverse[step].clone());
        for row in (0..size).filter(|&row| row != step) {
            let factor = matrix[row][step];
            let pairs = matrix[row].iter_mut().zip(&left);
            for (element, &above) in pairs.chain(inverse[row].iter_mut().zip(&right)) {
                *element ^= gf::mul(factor, above);
            }
        }
    }
    Some(inverse)
}

/// The definition again, written as slowly and plainly as possible and sharing no code with the
/// above.
#[cfg(test)]
pub(crate) mod reference {
    /// Schoolbook multiplication: shift, add, reduce by 0x11D.
    pub(crate) fn slow_mul(a: u8, b: u8) -> u8 {
        let mut product: u16 = 0;
        for bit in 0..8 {
            if b >> bit & 1 == 1 {
                product ^= u16::from(a) << bit;
            }
        }
        for bit in (8..16).rev() {
            if product >> bit & 1 == 1 {
                product ^= 0x11d << (bit - 8);
            }
        }
        product as u8
    }

    /// By trying every element.
    fn slow_inv(a: u8) -> u8 {
        (1..=255).find(|&b| slow_mul(a, b) == 1).expect("every element but zero has an inverse")
    }

    /// The factors of the parity rows of a Cauchy matrix.
    pub(crate) fn cauchy(data: u8, parity: u8) -> Vec<Vec<u8>> {
        let factor = |i: u8, j: u8| if data == 1 { 1 } else { slow_inv((data + i) ^ j) };
        (0..parity).map(|i| (0..data).map(|j| factor(i, j)).collect()).collect()
    }

    /// The factors of the parity rows of a Vandermonde matrix: the shards are the values, at their
    /// own numbers, of the polynomial of degree below `data` through the data shards (Lagrange).
    pub(crate) fn vandermonde(data: u8, parity: u8) -> Vec<Vec<u8>> {
        let factor = |x: u8, j: u8| {
            let others = (0..data).filter(|&other| other != j);
            others.fold(1, |sum, other| slow_mul(slow_mul(sum, x ^ other), slow_inv(j ^ other)))
        };
        (data..data + parity).map(|x| (0..data).map(|j| factor(x, j)).collect()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str, matrix: Matrix) -> Vec<Vec<u8>> {
        parity_rows(text.parse().expect("a geometry"), matrix)
    }

    /// Written down from the definition; stored blobs depend on every number.
    #[test]
    fn golden_matrices() {
        assert_eq!(rows("3+2", Matrix::Cauchy), [[244, 142, 1], [71, 167, 122]]);
        assert_eq!(rows("3+2", Matrix::Vandermonde), [[1, 1, 1], [15, 8, 6]]);
        assert_eq!(rows("1+3", Matrix::Cauchy), [[1], [1], [1]]);
        assert_eq!(rows("1+3", Matrix::Vandermonde), [[1], [1], [1]]);
        assert!(rows("4+0", Matrix::Cauchy).is_empty());
    }

    #[test]
    fn every_geometry_agrees_with_the_reference() {
        for data in 1..=32 {
            for parity in 0..=(32 - data).min(8) {
                let geometry = Geometry::new(data, parity).expect("in range");
                let cauchy = parity_rows(geometry, Matrix::Cauchy);
                assert_eq!(cauchy, reference::cauchy(data, parity), "{geometry}");
                let vandermonde = parity_rows(geometry, Matrix::Vandermonde);
                assert_eq!(vandermonde, reference::vandermonde(data, parity), "{geometry}");
            }
        }
    }

    #[test]
    fn numbers_of_matrices_are_fixed() {
        for (matrix, number) in [(Matrix::Cauchy, 1), (Matrix::Vandermonde, 2)] {
            assert_eq!(matrix.number(), number);
            assert_eq!(Matrix::from_number(number), Ok(matrix));
        }
        assert_eq!(Matrix::from_number(0), Err(UnknownMatrix(0)));
    }

    #[test]
    fn a_singular_matrix_has_no_inverse() {
        assert_eq!(invert(vec![vec![1, 2], vec![1, 2]]), None);
        assert_eq!(invert(vec![vec![0]]), None);
        assert_eq!(invert(vec![vec![0, 1], vec![1, 0]]), Some(vec![vec![0, 1], vec![1, 0]]));
    }
}
