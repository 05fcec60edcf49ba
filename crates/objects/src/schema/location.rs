//! Where a blob's shards are: in blob records as the truth, in objects and parts as a hint.

use erasure::{Geometry, Matrix};
use types::{BlobId, CopyId, DriveId, SessionId};

use crate::blob::{ShardCopy, StoredBlob};

/// One physical copy of one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyPlace {
    /// Which shard: `0..k` data, `k..k+m` parity.
    pub index: u8,
    /// The drive it is on.
    pub drive: DriveId,
    /// Which physical copy.
    pub copy: CopyId,
}

/// What a read needs to know of a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobLocation {
    /// Its id.
    pub id: BlobId,
    /// How it is cut.
    pub geometry: Geometry,
    /// How its parity is computed.
    pub matrix: Matrix,
    /// Length in bytes.
    pub len: u64,
    /// Its durable copies, by index.
    pub copies: Vec<CopyPlace>,
}

/// Packed length of one copy: index (1), drive (8), copy (8), big-endian.
const COPY_LEN: usize = 17;

/// Copies one behind the other, in a few bytes each.
pub(crate) fn pack(copies: &[CopyPlace]) -> Vec<u8> {
    let mut packed = Vec::with_capacity(copies.len() * COPY_LEN);
    for place in copies {
        packed.push(place.index);
        packed.extend_from_slice(&place.drive.to_bytes());
        packed.extend_from_slice(&place.copy.to_bytes());
    }
    packed
}

/// Undoes [`pack`].
pub(crate) fn unpack(packed: &[u8]) -> Option<Vec<CopyPlace>> {
    if !packed.len().is_multiple_of(COPY_LEN) {
        return None;
    }
    let place = |packed: &[u8]| {
        let (&index, ids) = packed.split_first()?;
        let (drive, copy) = ids.split_at_checked(DriveId::LEN)?;
        let (drive, copy) = (DriveId::from_slice(drive)?, CopyId::from_slice(copy)?);
        Some(CopyPlace { index, drive, copy })
    };
    packed.chunks_exact(COPY_LEN).map(place).collect()
}

/// The message.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Wire {
    #[prost(fixed64, tag = "1")]
    session: u64,
    #[prost(uint64, tag = "2")]
    sequence: u64,
    #[prost(uint32, tag = "3")]
    data: u32,
    #[prost(uint32, tag = "4")]
    parity: u32,
    #[prost(uint32, tag = "5")]
    matrix: u32,
    #[prost(uint64, tag = "6")]
    len: u64,
    #[prost(bytes = "vec", tag = "7")]
    copies: Vec<u8>,
}

impl BlobLocation {
    pub(crate) fn to_wire(&self) -> Wire {
        Wire {
            session: self.id.session.get(),
            sequence: self.id.sequence,
            data: self.geometry.data() as u32,
            parity: self.geometry.parity() as u32,
            matrix: u32::from(self.matrix.number()),
            len: self.len,
            copies: pack(&self.copies),
        }
    }

    /// `None` when the numbers make no sense together.
    pub(crate) fn from_wire(wire: &Wire) -> Option<Self> {
        let small = |number: u32| u8::try_from(number).ok();
        let geometry = Geometry::new(small(wire.data)?, small(wire.parity)?)?;
        let matrix = Matrix::from_number(small(wire.matrix)?).ok()?;
        let copies = unpack(&wire.copies)?;
        if copies.iter().any(|place| usize::from(place.index) >= geometry.total()) {
            return None;
        }
        let id = BlobId { session: SessionId::new(wire.session), sequence: wire.sequence };
        Some(Self { id, geometry, matrix, len: wire.len, copies })
    }

    /// Of a blob just written.
    pub(crate) fn of(blob: &StoredBlob) -> Self {
        let place = |c: &ShardCopy| CopyPlace { index: c.index, drive: c.drive, copy: c.copy };
        Self {
            id: blob.id,
            geometry: blob.geometry,
            matrix: blob.matrix,
            len: blob.len,
            copies: blob.copies.iter().map(place).collect(),
        }
    }

    /// For reading.
    pub(crate) fn to_stored(&self) -> StoredBlob {
        StoredBlob {
            id: self.id,
            geometry: self.geometry,
            matrix: self.matrix,
            len: self.len,
            copies: self.shard_copies(),
            missing: Vec::new(),
        }
    }

    /// Its copies, as the blob store names them.
    pub(crate) fn shard_copies(&self) -> Vec<ShardCopy> {
        let copy = |c: &CopyPlace| ShardCopy { index: c.index, drive: c.drive, copy: c.copy };
        self.copies.iter().map(copy).collect()
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use proptest::prelude::*;

    use super::*;

    /// A blob in three shards, as golden records carry it.
    pub(crate) fn sample() -> BlobLocation {
        let place = |index: u8| CopyPlace {
            index,
            drive: DriveId::new(0xd0 + u64::from(index)),
            copy: CopyId::new(0xc0 + u64::from(index)),
        };
        BlobLocation {
            id: BlobId { session: SessionId::new(0x1122), sequence: 7 },
            geometry: Geometry::new(2, 1).expect("a geometry"),
            matrix: Matrix::Cauchy,
            len: 100_000,
            copies: (0..3).map(place).collect(),
        }
    }

    pub(crate) fn locations() -> impl Strategy<Value = BlobLocation> {
        let numbers = (1_u8..=20, 0_u8..=12, any::<bool>());
        let copies = prop::collection::vec((any::<u8>(), any::<u64>(), any::<u64>()), 0..16);
        (any::<u64>(), any::<u64>(), numbers, any::<u64>(), copies).prop_map(
            |(session, sequence, (data, parity, cauchy), len, copies)| BlobLocation {
                id: BlobId { session: SessionId::new(session), sequence },
                geometry: Geometry::new(data, parity).expect("a geometry"),
                matrix: if cauchy { Matrix::Cauchy } else { Matrix::Vandermonde },
                len,
                copies: copies
                    .into_iter()
                    .map(|(index, drive, copy)| CopyPlace {
                        index: index % (data + parity),
                        drive: DriveId::new(drive),
                        copy: CopyId::new(copy),
                    })
                    .collect(),
            },
        )
    }

    proptest! {
        #[test]
        fn locations_round_trip(location in locations()) {
            prop_assert_eq!(BlobLocation::from_wire(&location.to_wire()), Some(location));
        }
    }

    #[test]
    fn impossible_locations_are_refused() {
        let good = sample().to_wire();
        for bad in [
            Wire { data: 0, ..good.clone() },
            Wire { data: 300, ..good.clone() },
            Wire { parity: 31, ..good.clone() },
            Wire { matrix: 9, ..good.clone() },
            Wire { copies: vec![0; 16], ..good.clone() },
            Wire { copies: vec![3; 17], ..good.clone() },
        ] {
            assert_eq!(BlobLocation::from_wire(&bad), None);
        }
        assert!(BlobLocation::from_wire(&good).is_some());
    }
}
