//! Checksums inside other records: a code (algorithm and kind), the value, and the number of parts.

use crate::digest::{ChecksumAlgorithm, ChecksumKind, ChecksumValue};
use crate::model::StoredChecksum;

/// Algorithm in the low four bits (1 to 5), kind in the next (0 full object, 1 composite). 0 is none.
pub(crate) fn code(algorithm: ChecksumAlgorithm, kind: ChecksumKind) -> u32 {
    let algorithm = match algorithm {
        ChecksumAlgorithm::Crc32 => 1,
        ChecksumAlgorithm::Crc32c => 2,
        ChecksumAlgorithm::Crc64Nvme => 3,
        ChecksumAlgorithm::Sha1 => 4,
        ChecksumAlgorithm::Sha256 => 5,
    };
    match kind {
        ChecksumKind::FullObject => algorithm,
        ChecksumKind::Composite => algorithm | 0x10,
    }
}

/// Undoes [`code`]: `Ok(None)` for 0, `Err` for a code that is none.
pub(crate) fn from_code(code: u32) -> Result<Option<(ChecksumAlgorithm, ChecksumKind)>, ()> {
    let kind = match code >> 4 {
        0 => ChecksumKind::FullObject,
        1 => ChecksumKind::Composite,
        _ => return Err(()),
    };
    let algorithm = match code & 0x0f {
        0 if code == 0 => return Ok(None),
        1 => ChecksumAlgorithm::Crc32,
        2 => ChecksumAlgorithm::Crc32c,
        3 => ChecksumAlgorithm::Crc64Nvme,
        4 => ChecksumAlgorithm::Sha1,
        5 => ChecksumAlgorithm::Sha256,
        _ => return Err(()),
    };
    Ok(Some((algorithm, kind)))
}

/// The fields of a checksum that may be absent: code, value, parts.
pub(crate) fn to_fields(checksum: Option<&StoredChecksum>) -> (u32, Vec<u8>, u32) {
    match checksum {
        None => (0, Vec::new(), 0),
        Some(c) => {
            (code(c.value.algorithm(), c.kind), c.value.as_bytes().to_vec(), c.parts.unwrap_or(0))
        }
    }
}

/// Undoes [`to_fields`].
pub(crate) fn from_fields(
    code: u32,
    value: &[u8],
    parts: u32,
) -> Result<Option<StoredChecksum>, ()> {
    let Some((algorithm, kind)) = from_code(code)? else { return Ok(None) };
    let value = ChecksumValue::new(algorithm, value).ok_or(())?;
    Ok(Some(StoredChecksum { value, kind, parts: (parts > 0).then_some(parts) }))
}

/// As [`to_fields`], for a part's checksum, which is always of all its bytes.
pub(crate) fn part_to_fields(checksum: Option<&ChecksumValue>) -> (u32, Vec<u8>) {
    match checksum {
        None => (0, Vec::new()),
        Some(c) => (code(c.algorithm(), ChecksumKind::FullObject), c.as_bytes().to_vec()),
    }
}

/// Undoes [`part_to_fields`].
pub(crate) fn part_from_fields(code: u32, value: &[u8]) -> Result<Option<ChecksumValue>, ()> {
    Ok(from_fields(code, value, 0)?.map(|c| c.value))
}

#[cfg(test)]
pub(crate) mod testing {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn values() -> impl Strategy<Value = ChecksumValue> {
        let bytes = prop::collection::vec(any::<u8>(), 32);
        (1_u32..=5, bytes).prop_filter_map("a value", |(code, bytes)| {
            let (algorithm, _) = from_code(code).ok().flatten()?;
            ChecksumValue::new(algorithm, &bytes[..algorithm.len_bytes()])
        })
    }

    pub(crate) fn stored() -> impl Strategy<Value = StoredChecksum> {
        (values(), any::<bool>(), 1_u32..=10_000).prop_map(|(value, composite, parts)| {
            match composite {
                true => StoredChecksum { value, kind: ChecksumKind::Composite, parts: Some(parts) },
                false => StoredChecksum { value, kind: ChecksumKind::FullObject, parts: None },
            }
        })
    }

    #[test]
    fn codes_round_trip_and_no_other_passes() {
        let mut known = 0;
        for number in 0..0x200 {
            match from_code(number) {
                Ok(Some((algorithm, kind))) => {
                    assert_eq!(code(algorithm, kind), number);
                    known += 1;
                }
                Ok(None) => assert_eq!(number, 0),
                Err(()) => {}
            }
        }
        assert_eq!(known, 10);
        assert_eq!(from_fields(1, &[1, 2, 3], 0), Err(()));
    }
}
