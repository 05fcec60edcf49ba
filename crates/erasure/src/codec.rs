//! Encoding stripes and bringing lost frames back.

use std::sync::Arc;

use types::ErrorKind;

use crate::matrix::{invert, parity_rows, row_times};
use crate::{Geometry, Matrix, gf};

/// Outputs are worked on in pieces of this size, so that they stay in the first-level cache while every
/// input is added to them.
const PIECE_BYTES: usize = 8 * 1024;

/// An encoder and decoder for one geometry and matrix. Cheap to clone and to share between threads; it works
/// on the calling thread alone.
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

    /// Computes the parity frames of one stripe. `data` are its data frames in order, zero-padded to the same
    /// length; every `parity` slice has that length too and is overwritten.
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

    /// Brings frames of one stripe back. `frames` has a place for every shard, data then parity, with the frames
    /// that are there (any `data` of them are enough); `wanted` names shards. Returns their frames in the
    /// order of `wanted`.
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

    /// As [`Self::reconstruct`], into buffers of the frames' length: `outputs[i]` gets the frame of shard
    /// `wanted[i]`.
    ///
    /// # Errors
    /// [`CodecError::TooFew`] when fewer than `data` frames are there; the other variants for slices that do
    /// not belong to the geometry.
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

    /// For each wanted shard the factors by which the frames of `sources` (ascending, `data` of them) add up to
    /// it. Only a matrix as large as the number of missing data shards has to be inverted.
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
