//! Encoding stripes and bringing lost frames back.

use std::sync::Arc;

use types::ErrorKind;

use crate::matrix::{invert, parity_rows, row_times};
use crate::{Geometry, Matrix, gf};

/// Outputs are worked on in pieces of this size, so that they stay in the processor's cache while
/// every input is added to them. Measured: 8 to 32 KiB are alike, smaller is slower.
const PIECE_BYTES: usize = 16 * 1024;

/// An encoder and decoder for one geometry and matrix. Cheap to clone and to share between threads;
/// it works on the calling thread alone.
#[derive(Clone, Debug)]
pub struct Codec {
    geometry: Geometry,
    matrix: Matrix,
    /// `parity` rows of `data` factors.
    rows: Arc<[Vec<u8>]>,
}

/// Why frames could not be encoded or brought back. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The number of slices does not belong to the geometry: a fault of the caller.
    #[error("{got} frames where the geometry has {expected}")]
    WrongCount {
        /// What the geometry asks for.
        expected: usize,
        /// What was given.
        got: usize,
    },
    /// Frames of one stripe differ in length: a fault of the caller.
    #[error("the frames of a stripe differ in length: {expected} and {got} bytes")]
    UnequalLengths {
        /// Length of the first frame in bytes.
        expected: usize,
        /// Length of the one that differs in bytes.
        got: usize,
    },
    /// A shard number that the geometry does not have: a fault of the caller.
    #[error("there is no shard {0} in this geometry")]
    NoSuchShard(usize),
    /// Fewer frames are left than there are data shards: these bytes are lost.
    #[error("{have} frames are left and {needed} are needed")]
    TooFew {
        /// Number of data shards.
        needed: usize,
        /// Frames that are there.
        have: usize,
    },
}

impl CodecError {
    /// What the caller must do about it.
    pub const fn kind(self) -> ErrorKind {
        match self {
            Self::WrongCount { .. } | Self::UnequalLengths { .. } | Self::NoSuchShard(_) => {
                ErrorKind::Internal
            }
            Self::TooFew { .. } => ErrorKind::Corrupt,
        }
    }
}

impl Codec {
    /// For blobs of this geometry and matrix.
    pub fn new(geometry: Geometry, matrix: Matrix) -> Self {
        Self { geometry, matrix, rows: parity_rows(geometry, matrix).into() }
    }

    /// The geometry.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// The generator matrix.
    pub fn matrix(&self) -> Matrix {
        self.matrix
    }

    /// Computes the parity frames of one stripe. `data` are its data frames in order, zero-padded
    /// to the same length; every `parity` slice has that length too and is overwritten.
    ///
    /// # Errors
    /// [`CodecError::WrongCount`] and [`CodecError::UnequalLengths`].
    pub fn encode(&self, data: &[&[u8]], parity: &mut [&mut [u8]]) -> Result<(), CodecError> {
        check_count(self.geometry.data(), data.len())?;
        check_count(self.geometry.parity(), parity.len())?;
        let lens = data.iter().map(|frame| frame.len()).chain(parity.iter().map(|f| f.len()));
        common_len(lens)?;
        multiply(self.rows.iter().map(Vec::as_slice), data, parity);
        Ok(())
    }

    /// Brings frames of one stripe back. `frames` has a place for every shard, data then parity,
    /// with the frames that are there (any `data` of them are enough); `wanted` names shards.
    /// Returns their frames in the order of `wanted`.
    ///
    /// # Errors
    /// See [`Self::reconstruct_into`].
    pub fn reconstruct(
        &self,
        frames: &[Option<&[u8]>],
        wanted: &[usize],
    ) -> Result<Vec<Vec<u8>>, CodecError> {
        let len = common_len(frames.iter().flatten().map(|frame| frame.len()))?;
        let mut made = vec![vec![0; len]; wanted.len()];
        let mut outputs: Vec<&mut [u8]> = made.iter_mut().map(Vec::as_mut_slice).collect();
        self.reconstruct_into(frames, wanted, &mut outputs)?;
        Ok(made)
    }

    /// As [`Self::reconstruct`], into buffers of the frames' length: `outputs[i]` gets the frame of
    /// shard `wanted[i]`.
    ///
    /// # Errors
    /// [`CodecError::TooFew`] when fewer than `data` frames are there; the other variants for
    /// slices that do not belong to the geometry.
    pub fn reconstruct_into(
        &self,
        frames: &[Option<&[u8]>],
        wanted: &[usize],
        outputs: &mut [&mut [u8]],
    ) -> Result<(), CodecError> {
        check_count(self.geometry.total(), frames.len())?;
        check_count(wanted.len(), outputs.len())?;
        if let Some(&shard) = wanted.iter().find(|&&shard| shard >= self.geometry.total()) {
            return Err(CodecError::NoSuchShard(shard));
        }
        let lens = frames.iter().flatten().map(|frame| frame.len());
        common_len(lens.chain(outputs.iter().map(|f| f.len())))?;
        let sources: Vec<(usize, &[u8])> = frames
            .iter()
            .enumerate()
            .filter_map(|(shard, frame)| frame.map(|frame| (shard, frame)))
            .take(self.geometry.data())
            .collect();
        let needed = self.geometry.data();
        let too_few = CodecError::TooFew { needed, have: sources.len() };
        if sources.len() < needed {
            return Err(too_few);
        }
        let shards: Vec<usize> = sources.iter().map(|&(shard, _)| shard).collect();
        // Any `data` rows of the generator are independent, so that there always is a solution.
        let rows = self.decode_rows(&shards, wanted).ok_or(too_few)?;
        let inputs: Vec<&[u8]> = sources.iter().map(|&(_, frame)| frame).collect();
        multiply(rows.iter().map(Vec::as_slice), &inputs, outputs);
        Ok(())
    }

    /// For each wanted shard the factors by which the frames of `sources` (ascending, `data` of
    /// them) add up to it. Only a matrix as large as the number of missing data shards has to be
    /// inverted.
    fn decode_rows(&self, sources: &[usize], wanted: &[usize]) -> Option<Vec<Vec<u8>>> {
        let data = self.geometry.data();
        let kept = sources.iter().filter(|&&shard| shard < data).count();
        let missing: Vec<usize> = (0..data).filter(|shard| !sources.contains(shard)).collect();
        let parity: Vec<&[u8]> = sources
            .iter()
            .skip(kept)
            .filter_map(|&shard| self.rows.get(shard - data))
            .map(Vec::as_slice)
            .collect();
        // parity = K * kept + M * missing, hence missing = M^-1 * K * kept + M^-1 * parity.
        let square = parity.iter().map(|row| pick(row, &missing)).collect();
        let inverse = invert(square)?;
        let solve = |over_missing: &[u8]| row_times(over_missing, &inverse);
        let row_of = |shard: usize| {
            let unit: Vec<u8>;
            let row = match shard.checked_sub(data).and_then(|parity| self.rows.get(parity)) {
                Some(row) => row,
                None => {
                    unit = (0..data).map(|column| u8::from(column == shard)).collect();
                    &unit
                }
            };
            let over_parity = solve(&pick(row, &missing));
            let mut factors = pick(row, &sources[..kept]);
            for (&factor, parity_row) in over_parity.iter().zip(&parity) {
                for (sum, element) in factors.iter_mut().zip(pick(parity_row, &sources[..kept])) {
                    *sum ^= gf::mul(factor, element);
                }
            }
            factors.extend(over_parity);
            factors
        };
        Some(wanted.iter().map(|&shard| row_of(shard)).collect())
    }
}

/// The elements of `row` in these columns.
fn pick(row: &[u8], columns: &[usize]) -> Vec<u8> {
    columns.iter().filter_map(|&column| row.get(column).copied()).collect()
}

/// `outputs[i] = sum over j of rows[i][j] * inputs[j]`; all slices have the same length.
fn multiply<'a>(
    rows: impl Iterator<Item = &'a [u8]> + Clone,
    inputs: &[&[u8]],
    outputs: &mut [&mut [u8]],
) {
    let len = outputs.first().map_or(0, |output| output.len());
    for start in (0..len).step_by(PIECE_BYTES) {
        let piece = start..len.min(start + PIECE_BYTES);
        for (row, output) in rows.clone().zip(outputs.iter_mut()) {
            let output = &mut output[piece.clone()];
            for (column, (&factor, input)) in row.iter().zip(inputs).enumerate() {
                match column {
                    0 => gf::mul_slice(factor, &input[piece.clone()], output),
                    _ => gf::mul_add_slice(factor, &input[piece.clone()], output),
                }
            }
        }
    }
}

fn check_count(expected: usize, got: usize) -> Result<(), CodecError> {
    if expected == got { Ok(()) } else { Err(CodecError::WrongCount { expected, got }) }
}

/// The length that all have; 0 when there are none.
fn common_len(mut lens: impl Iterator<Item = usize>) -> Result<usize, CodecError> {
    let expected = lens.next().unwrap_or(0);
    match lens.find(|&len| len != expected) {
        Some(got) => Err(CodecError::UnequalLengths { expected, got }),
        None => Ok(expected),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::matrix::reference;

    /// The parity frames of a stripe according to the slow reference.
    fn reference_parity(data: &[Vec<u8>], parity: usize, matrix: Matrix) -> Vec<Vec<u8>> {
        let rows = match matrix {
            Matrix::Cauchy => reference::cauchy(data.len() as u8, parity as u8),
            Matrix::Vandermonde => reference::vandermonde(data.len() as u8, parity as u8),
        };
        let at = |row: &[u8], position: usize| {
            let terms =
                row.iter().zip(data).map(|(&f, frame)| reference::slow_mul(f, frame[position]));
            terms.fold(0, |sum, term| sum ^ term)
        };
        rows.iter().map(|row| (0..data[0].len()).map(|p| at(row, p)).collect()).collect()
    }

    fn encode(codec: &Codec, data: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let len = data[0].len();
        // Whatever stood in the buffers must not show.
        let mut parity = vec![vec![0xee; len]; codec.geometry().parity()];
        let inputs: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
        let mut outputs: Vec<&mut [u8]> = parity.iter_mut().map(Vec::as_mut_slice).collect();
        codec.encode(&inputs, &mut outputs).expect("well-formed");
        parity
    }

    fn bytes(len: usize, seed: u64) -> Vec<u8> {
        let mut state = seed | 1;
        let mut next = || {
            state =
                state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(0x1405_7b7e_f767_814f);
            (state >> 56) as u8
        };
        (0..len).map(|_| next()).collect()
    }

    /// The committed vectors: data byte `p` of shard `j` is `31 p + 17 j + 7` modulo 256, 20 bytes
    /// a frame. Each line of the file is geometry, matrix, shard number and the parity frame.
    #[test]
    fn golden_vectors() {
        let mut lines = 0;
        for line in include_str!("../tests/golden.txt").lines() {
            let [geometry, matrix, shard, hex] = line.split(' ').collect::<Vec<_>>()[..] else {
                panic!("four words: {line}");
            };
            let geometry: Geometry = geometry.parse().expect("a geometry");
            let matrix = match matrix {
                "cauchy" => Matrix::Cauchy,
                "vandermonde" => Matrix::Vandermonde,
                other => panic!("no such matrix: {other}"),
            };
            let data: Vec<Vec<u8>> = (0..geometry.data())
                .map(|j| (0..20).map(|p| (31 * p + 17 * j + 7) as u8).collect())
                .collect();
            let parity = encode(&Codec::new(geometry, matrix), &data);
            let shard: usize = shard.parse().expect("a shard number");
            let text: String =
                parity[shard - geometry.data()].iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(text, hex, "{line}");
            lines += 1;
        }
        assert_eq!(lines, 52);
    }

    #[test]
    fn every_small_geometry_survives_every_loss_it_promises_to() {
        for matrix in [Matrix::Cauchy, Matrix::Vandermonde] {
            for (data, parity) in (1..=8u8).flat_map(|k| (0..=(10 - k).min(4)).map(move |m| (k, m)))
            {
                let geometry = Geometry::new(data, parity).expect("small");
                let codec = Codec::new(geometry, matrix);
                let frames: Vec<Vec<u8>> =
                    (0..data).map(|shard| bytes(37, u64::from(shard) + 99)).collect();
                let parity = encode(&codec, &frames);
                let all: Vec<Vec<u8>> = frames.into_iter().chain(parity).collect();
                let every: Vec<usize> = (0..geometry.total()).collect();
                for mask in 0u32..1 << geometry.total() {
                    let left: Vec<Option<&[u8]>> = all
                        .iter()
                        .enumerate()
                        .map(|(shard, frame)| (mask >> shard & 1 == 1).then_some(frame.as_slice()))
                        .collect();
                    let have = mask.count_ones() as usize;
                    match codec.reconstruct(&left, &every) {
                        Ok(made) => assert_eq!(made, all, "{geometry} {matrix} {mask:b}"),
                        Err(error) => {
                            let needed = geometry.data();
                            assert_eq!(error, CodecError::TooFew { needed, have });
                            assert!(have < needed);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn mirrors_and_stripes() {
        for matrix in [Matrix::Cauchy, Matrix::Vandermonde] {
            let mirror = Codec::new("1+3".parse().expect("a geometry"), matrix);
            let frame = bytes(100_000, 5);
            assert!(
                encode(&mirror, std::slice::from_ref(&frame)).iter().all(|copy| *copy == frame)
            );
            let left = [None, None, None, Some(frame.as_slice())];
            assert_eq!(mirror.reconstruct(&left, &[0, 2]), Ok(vec![frame.clone(), frame.clone()]));
            let stripe = Codec::new("2+0".parse().expect("a geometry"), matrix);
            assert_eq!(stripe.encode(&[&[1], &[2]], &mut []), Ok(()));
            let left = [Some([1].as_slice()), None];
            let lost = CodecError::TooFew { needed: 2, have: 1 };
            assert_eq!(stripe.reconstruct(&left, &[0]), Err(lost));
        }
    }

    #[test]
    fn what_does_not_belong_to_the_geometry_is_refused() {
        let codec = Codec::new("2+1".parse().expect("a geometry"), Matrix::Cauchy);
        let (a, b, mut c) = ([1u8; 4], [2u8; 4], [9u8; 4]);
        let count = |expected, got| Err(CodecError::WrongCount { expected, got });
        let lens = |expected, got| Err(CodecError::UnequalLengths { expected, got });
        assert_eq!(codec.encode(&[&a], &mut [&mut c]), count(2, 1));
        assert_eq!(codec.encode(&[&a, &b], &mut []), count(1, 0));
        assert_eq!(codec.encode(&[&a, &b[..3]], &mut [&mut c]), lens(4, 3));
        assert_eq!(codec.encode(&[&a, &b], &mut [&mut c[..2]]), lens(4, 2));
        assert_eq!(c, [9; 4]);
        let all: [Option<&[u8]>; 3] = [Some(&a), Some(&b), None];
        assert_eq!(codec.reconstruct(&all, &[3]), Err(CodecError::NoSuchShard(3)));
        assert_eq!(codec.reconstruct(&all[..2], &[0]).map(drop), count(3, 2));
        assert_eq!(codec.reconstruct_into(&all, &[2], &mut []), count(1, 0));
        assert_eq!(codec.reconstruct_into(&all, &[2], &mut [&mut c[..1]]), lens(4, 1));
        let uneven: [Option<&[u8]>; 3] = [Some(&a), Some(&b[..1]), None];
        assert_eq!(codec.reconstruct(&uneven, &[2]).map(drop), lens(4, 1));
        let nothing: [Option<&[u8]>; 3] = [Some(&[]), Some(&[]), None];
        assert_eq!(codec.reconstruct(&nothing, &[2]), Ok(vec![vec![]]));
        assert_eq!(codec.reconstruct(&all, &[]), Ok(vec![]));
    }

    fn stripe() -> impl Strategy<Value = (Geometry, usize, u64)> {
        (
            1u8..=16,
            0u8..=15,
            prop_oneof![1usize..300, 8_100usize..8_300, 65_500usize..65_540],
            any::<u64>(),
        )
            .prop_map(|(data, parity, len, seed)| {
                let geometry = Geometry::new(data, parity.min(16 - data)).expect("in range");
                (geometry, len, seed)
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        #[test]
        fn the_fast_path_equals_the_slow_reference(
            (geometry, len, seed) in stripe(), vandermonde in any::<bool>()
        ) {
            let matrix = if vandermonde { Matrix::Vandermonde } else { Matrix::Cauchy };
            let codec = Codec::new(geometry, matrix);
            let data: Vec<Vec<u8>> =
                (0..geometry.data()).map(|shard| bytes(len, seed ^ ((shard as u64) << 1))).collect();
            let parity = encode(&codec, &data);
            // The reference is slow: compare all of a short frame, and both ends of a long one.
            let cut = |frame: &Vec<u8>| -> Vec<u8> {
                let head = frame.iter().take(40);
                head.chain(frame.iter().skip(40).rev().take(40)).copied().collect()
            };
            let ends: Vec<Vec<u8>> = data.iter().map(cut).collect();
            let expected = reference_parity(&ends, geometry.parity(), matrix);
            prop_assert_eq!(parity.iter().map(cut).collect::<Vec<_>>(), expected);
            // Lose as many as the geometry bears, chosen by the seed, and ask for them and for one
            // that is left.
            let all: Vec<Vec<u8>> = data.into_iter().chain(parity).collect();
            let mut order: Vec<usize> = (0..geometry.total()).collect();
            order.sort_by_key(|&shard| bytes(8, seed.wrapping_add(shard as u64 * 7919)));
            let lost = &order[..geometry.parity()];
            let left: Vec<Option<&[u8]>> = (0..all.len())
                .map(|shard| (!lost.contains(&shard)).then(|| all[shard].as_slice()))
                .collect();
            let wanted = &order[..(geometry.parity() + 1).min(all.len())];
            let made = codec.reconstruct(&left, wanted);
            let expected: Vec<Vec<u8>> = wanted.iter().map(|&shard| all[shard].clone()).collect();
            prop_assert!(made == Ok(expected), "{} {} {:?}", geometry, matrix, lost);
        }
    }
}
