//! Digests of a multipart object from those of its parts.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use md5::{Digest as _, Md5};

use super::hasher::{crc_of, crc_value};
use super::{ChecksumAlgorithm, ChecksumValue};

/// The checksum of parts laid end to end, from the checksum and length in bytes of each. `None` for the SHAs,
/// which cannot be put together, and when a part's checksum is of another algorithm.
pub(crate) fn combine(
    algorithm: ChecksumAlgorithm,
    parts: &[(ChecksumValue, u64)],
) -> Option<ChecksumValue> {
    let crc = crc_of(algorithm)?;
    let mut whole = crc_fast::checksum(crc, b"");
    for (part, len) in parts {
        if part.algorithm() != algorithm {
            return None;
        }
        let value = part.as_bytes().iter().fold(0, |value, &byte| (value << 8) | u64::from(byte));
        if *len > 0 {
            whole = crc_fast::checksum_combine(crc, whole, value, *len);
        }
    }
    Some(crc_value(algorithm, whole))
}

/// The checksum of the parts' raw checksums, one behind the other. `None` when one of them is of another
/// algorithm.
pub(crate) fn composite(
    algorithm: ChecksumAlgorithm,
    parts: &[ChecksumValue],
) -> Option<ChecksumValue> {
    if parts.iter().any(|part| part.algorithm() != algorithm) {
        return None;
    }
    let raw: Vec<u8> = parts.iter().flat_map(|part| part.as_bytes()).copied().collect();
    match (algorithm, crc_of(algorithm)) {
        (_, Some(crc)) => Some(crc_value(algorithm, crc_fast::checksum(crc, &raw))),
        (ChecksumAlgorithm::Sha1, None) => {
            ChecksumValue::new(algorithm, digest(&SHA1_FOR_LEGACY_USE_ONLY, &raw).as_ref())
        }
        (_, None) => ChecksumValue::new(algorithm, digest(&SHA256, &raw).as_ref()),
    }
}

/// The ETag of a multipart object, without quotes: the hex MD5 of the parts' MD5s, `-` and their number.
pub(crate) fn multipart_etag(parts: &[[u8; 16]]) -> String {
    use std::fmt::Write as _;
    let mut md5 = Md5::new();
    parts.iter().for_each(|part| md5.update(part));
    let mut etag = String::with_capacity(38);
    for byte in md5.finalize() {
        let _ = write!(etag, "{byte:02x}");
    }
    let _ = write!(etag, "-{}", parts.len());
    etag
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CRCS: [ChecksumAlgorithm; 3] =
        [ChecksumAlgorithm::Crc32, ChecksumAlgorithm::Crc32c, ChecksumAlgorithm::Crc64Nvme];

    fn crc(algorithm: ChecksumAlgorithm, bytes: &[u8]) -> ChecksumValue {
        crc_value(algorithm, crc_fast::checksum(crc_of(algorithm).expect("a CRC"), bytes))
    }

    proptest! {
        #[test]
        fn a_combined_crc_is_that_of_the_whole(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8)
        ) {
            for algorithm in CRCS {
                let pieces: Vec<_> =
                    parts.iter().map(|p| (crc(algorithm, p), p.len() as u64)).collect();
                prop_assert_eq!(combine(algorithm, &pieces), Some(crc(algorithm, &parts.concat())));
            }
        }
    }

    #[test]
    fn a_crc_of_more_than_four_gib_combines() {
        // 2^33 zero bytes: doubling a run of zeroes 13 times from 1 MiB.
        let algorithm = ChecksumAlgorithm::Crc64Nvme;
        let zeroes = vec![0; 1 << 20];
        let by_parts = vec![(crc(algorithm, &zeroes), 1_u64 << 20); 1 << 13];
        let mut doubled = (crc(algorithm, &zeroes), 1_u64 << 20);
        for _ in 0..13 {
            let twice = combine(algorithm, &[doubled.clone(), doubled.clone()]).expect("a CRC");
            doubled = (twice, doubled.1 * 2);
        }
        assert_eq!(combine(algorithm, &by_parts), Some(doubled.0));
    }

    #[test]
    fn other_algorithms_do_not_combine() {
        let sha = ChecksumValue::new(ChecksumAlgorithm::Sha256, &[0; 32]).expect("32 bytes");
        assert_eq!(combine(ChecksumAlgorithm::Sha256, &[(sha.clone(), 1)]), None);
        assert_eq!(combine(ChecksumAlgorithm::Crc32, &[(sha.clone(), 1)]), None);
        assert_eq!(composite(ChecksumAlgorithm::Sha1, &[sha]), None);
    }

    /// From AWS's own example of a multipart object: MD5 of the two binary MD5s.
    #[test]
    fn composites_are_over_raw_values() {
        let value = |bytes: &[u8]| {
            ChecksumValue::new(ChecksumAlgorithm::Sha256, digest(&SHA256, bytes).as_ref())
                .expect("32 bytes")
        };
        let raw = [digest(&SHA256, b"a").as_ref(), digest(&SHA256, b"b").as_ref()].concat();
        assert_eq!(
            composite(ChecksumAlgorithm::Sha256, &[value(b"a"), value(b"b")]),
            Some(value(&raw))
        );
        let empty: [u8; 16] = Md5::digest(b"").into();
        assert_eq!(multipart_etag(&[empty]), "59adb24ef3cdbe0297f05b395827453f-1");
    }
}
