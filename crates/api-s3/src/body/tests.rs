//! Tests of bodies: AWS's published examples, every way to cut the wire, every way to damage it.

use std::convert::Infallible;

use futures::StreamExt;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use runtime::{RealClock, SimClock};

use super::*;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const SEED: &str = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9";
const TRAILER_SEED: &str = "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e";

const CHUNKED: Payload = Payload::Chunked { signed: true, trailer: Trailer::None };
const SIGNED_TRAILER: Payload =
    Payload::Chunked { signed: true, trailer: Trailer::Checksum(ChecksumAlgorithm::Crc32c) };
const UNSIGNED_TRAILER: Payload =
    Payload::Chunked { signed: false, trailer: Trailer::Checksum(ChecksumAlgorithm::Crc32c) };

pub(crate) fn signer(seed: &str) -> ChunkSigner {
    ChunkSigner::new(SECRET, "20130524", "us-east-1", "20130524T000000Z", seed)
}

fn wire(pieces: Vec<Vec<u8>>) -> Wire {
    let frames = pieces.into_iter().map(|p| Ok::<_, Infallible>(Frame::data(Bytes::from(p))));
    StreamBody::new(futures::stream::iter(frames)).map_err(|_| Broken).boxed_unsync()
}

fn idle() -> Idle {
    Idle::new(Arc::new(RealClock::new()), Duration::from_secs(60))
}

/// Reads a body to its end: its bytes, and the trailer's checksum.
async fn read_pieces(
    payload: Payload,
    seed: &str,
    len: u64,
    pieces: Vec<Vec<u8>>,
) -> Result<(Vec<u8>, Option<ChecksumValue>), BodyError> {
    let body = RequestBody::new(wire(pieces), payload, len, || signer(seed), idle());
    let trailer = body.trailer();
    let mut stream = body.into_stream().await?;
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await {
        bytes.extend_from_slice(&piece?);
    }
    Ok((bytes, trailer.and_then(|(_, slot)| slot.take())))
}

async fn read(
    payload: Payload,
    seed: &str,
    len: u64,
    wire: &[u8],
) -> Result<(Vec<u8>, Option<ChecksumValue>), BodyError> {
    read_pieces(payload, seed, len, vec![wire.to_vec()]).await
}

fn refused(code: Code) -> BodyError {
    BodyError::Refused(code.as_str().to_owned())
}

/// The example of AWS's page on chunked uploads: 65 KiB of `a`.
fn published() -> Vec<u8> {
    let mut wire = Vec::new();
    for (size, signature) in [
        (0x10000, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
        (0x400, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
        (0, "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
    ] {
        wire.extend_from_slice(format!("{size:x};chunk-signature={signature}\r\n").as_bytes());
        wire.extend(std::iter::repeat_n(b'a', size));
        wire.extend_from_slice(b"\r\n");
    }
    wire
}

/// The example of AWS's page on trailing headers.
fn published_trailer() -> Vec<u8> {
    let mut wire = Vec::new();
    for (size, signature) in [
        (0x10000, "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2"),
        (0x400, "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7"),
    ] {
        wire.extend_from_slice(format!("{size:x};chunk-signature={signature}\r\n").as_bytes());
        wire.extend(std::iter::repeat_n(b'a', size));
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(
        b"0;chunk-signature=2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992\r\n\
          x-amz-checksum-crc32c:sOO8/Q==\r\n\
          x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n",
    );
    wire
}

/// A small body as a client would frame it, in chunks of the sizes given.
pub(crate) fn framed(data: &[u8], sizes: &[usize], signed: Option<&str>, trailer: bool) -> Vec<u8> {
    let mut signer = signed.map(signer);
    let mut wire = Vec::new();
    let mut rest = data;
    for size in sizes.iter().copied().chain([0]) {
        let (chunk, tail) = rest.split_at(size);
        rest = tail;
        let extension = signer.as_mut().map(|s| {
            let tail = ChunkSigner::chunk_tail(chunk);
            format!(";chunk-signature={}", s.sign("AWS4-HMAC-SHA256-PAYLOAD", &tail))
        });
        wire.extend_from_slice(format!("{size:X}{}\r\n", extension.unwrap_or_default()).as_bytes());
        wire.extend_from_slice(chunk);
        if size > 0 {
            wire.extend_from_slice(b"\r\n");
        }
    }
    assert!(rest.is_empty(), "the sizes cover the data");
    if trailer {
        wire.extend_from_slice(b"x-amz-checksum-crc32c:AAAAAA==\r\n");
        if let Some(signer) = &mut signer {
            let canonical = digest::digest(&digest::SHA256, b"x-amz-checksum-crc32c:AAAAAA==\n");
            let tail = chunked::hex(canonical.as_ref());
            let signature = signer.sign("AWS4-HMAC-SHA256-TRAILER", &tail);
            wire.extend_from_slice(format!("x-amz-trailer-signature:{signature}\r\n").as_bytes());
        }
    }
    wire.extend_from_slice(b"\r\n");
    wire
}

#[tokio::test]
async fn the_published_examples_verify() {
    let (bytes, _) = read(CHUNKED, SEED, 66_560, &published()).await.expect("verified");
    assert_eq!(bytes, vec![b'a'; 66_560]);
    let read = read(SIGNED_TRAILER, TRAILER_SEED, 66_560, &published_trailer()).await;
    let (bytes, checksum) = read.expect("verified");
    assert_eq!(bytes, vec![b'a'; 66_560]);
    assert_eq!(checksum.map(|c| c.to_base64()).as_deref(), Some("sOO8/Q=="));
}

#[tokio::test]
async fn the_cut_of_the_wire_does_not_matter() {
    let data = b"hello, chunked world";
    for (payload, wire) in [
        (UNSIGNED_TRAILER, framed(data, &[7, 1, 12], None, true)),
        (CHUNKED, framed(data, &[20], Some(SEED), false)),
        (SIGNED_TRAILER, framed(data, &[20], Some(SEED), true)),
    ] {
        for at in 0..=wire.len() {
            let pieces = vec![wire[..at].to_vec(), wire[at..].to_vec()];
            let (bytes, _) = read_pieces(payload, SEED, 20, pieces).await.expect("verified");
            assert_eq!(bytes, data);
        }
        let single = wire.iter().map(|b| vec![*b]).collect();
        let (bytes, _) = read_pieces(payload, SEED, 20, single).await.expect("verified");
        assert_eq!(bytes, data);
    }
}

/// Whoever got all the bytes that were promised got verified bytes.
#[tokio::test]
async fn no_truncation_is_taken_for_a_whole_body() {
    let data = b"hello, chunked world";
    for (payload, wire) in [
        (UNSIGNED_TRAILER, framed(data, &[7, 1, 12], None, true)),
        (CHUNKED, framed(data, &[20], Some(SEED), false)),
        (SIGNED_TRAILER, framed(data, &[20], Some(SEED), true)),
    ] {
        let text = String::from_utf8(wire.clone()).expect("ASCII");
        // Without the very last line ends the body is complete all the same.
        for at in 0..text.trim_end().len() {
            let body = RequestBody::new(
                super::tests::wire(vec![wire[..at].to_vec()]),
                payload,
                20,
                || signer(SEED),
                idle(),
            );
            let mut stream = body.into_stream().await.expect("not empty");
            let mut got = 0;
            let mut failed = false;
            while let Some(piece) = stream.next().await {
                match piece {
                    Ok(piece) => got += piece.len(),
                    Err(_) => failed = true,
                }
            }
            assert!(failed && got < data.len(), "cut at {at} of {text:?}");
        }
    }
}

#[tokio::test]
async fn no_damage_passes_a_signed_body() {
    let data = b"hello, chunked world";
    for (payload, wire) in [
        (CHUNKED, framed(data, &[20], Some(SEED), false)),
        (SIGNED_TRAILER, framed(data, &[20], Some(SEED), true)),
    ] {
        for at in 0..wire.len() {
            let mut damaged = wire.clone();
            damaged[at] ^= 1;
            if let Ok((bytes, checksum)) = read(payload, SEED, 20, &damaged).await {
                // Only what is between the lines may change.
                assert_eq!(bytes, data, "damage at {at}");
                let expected = read(payload, SEED, 20, &wire).await.expect("verified").1;
                assert_eq!(checksum, expected, "damage at {at}");
            }
        }
    }
}

#[tokio::test]
async fn framing_has_its_errors() {
    let signature = "0".repeat(64);
    let long = "0".repeat(300);
    let cases: Vec<(Payload, u64, String, BodyError)> = vec![
        (UNSIGNED_TRAILER, 3, "x\r\n".into(), refused(Code::InvalidRequest)),
        (UNSIGNED_TRAILER, 3, "-1\r\n".into(), refused(Code::InvalidRequest)),
        (UNSIGNED_TRAILER, 3, "3\nabc".into(), refused(Code::InvalidRequest)),
        (UNSIGNED_TRAILER, 3, "3;a=b\r\nabc\r\n".into(), refused(Code::InvalidRequest)),
        (UNSIGNED_TRAILER, 3, "3\r\nabcd".into(), refused(Code::InvalidRequest)),
        (UNSIGNED_TRAILER, 3, long, refused(Code::InvalidRequest)),
        (UNSIGNED_TRAILER, 3, "4\r\nabcd\r\n0\r\n\r\n".into(), BodyError::TooLong),
        (UNSIGNED_TRAILER, 3, "ffffffffffffffff\r\n".into(), BodyError::TooLong),
        (UNSIGNED_TRAILER, 3, "11111111111111111\r\n".into(), refused(Code::InvalidRequest)),
        (UNSIGNED_TRAILER, 3, "2\r\nab\r\n0\r\n\r\n".into(), BodyError::Incomplete),
        (UNSIGNED_TRAILER, 3, "3\r\nabc\r\n0\r\n\r\n".into(), refused(Code::MalformedTrailer)),
        (
            UNSIGNED_TRAILER,
            3,
            "3\r\nabc\r\n0\r\nx-amz-checksum-crc32c\r\n\r\n".into(),
            refused(Code::MalformedTrailer),
        ),
        (
            UNSIGNED_TRAILER,
            3,
            "3\r\nabc\r\n0\r\nx-amz-checksum-sha1:AAAAAA==\r\n\r\n".into(),
            refused(Code::MalformedTrailer),
        ),
        (
            UNSIGNED_TRAILER,
            3,
            "3\r\nabc\r\n0\r\nx-amz-checksum-crc32c:AAAA\r\n\r\n".into(),
            refused(Code::InvalidRequest),
        ),
        (
            UNSIGNED_TRAILER,
            3,
            format!("3\r\nabc\r\n0\r\n{}\r\n", "x".repeat(5000)),
            refused(Code::MalformedTrailer),
        ),
        (CHUNKED, 3, "3\r\nabc\r\n".into(), refused(Code::SignatureDoesNotMatch)),
        (CHUNKED, 3, "3;chunk-signature=0\r\n".into(), refused(Code::SignatureDoesNotMatch)),
        (
            CHUNKED,
            3,
            format!("3;chunk-signature={signature}\r\nabc\r\n"),
            refused(Code::SignatureDoesNotMatch),
        ),
        (
            CHUNKED,
            0,
            format!("0;chunk-signature={signature}\r\n\r\n"),
            refused(Code::SignatureDoesNotMatch),
        ),
    ];
    for (payload, len, wire, expected) in cases {
        let result = read(payload, SEED, len, wire.as_bytes()).await;
        assert_eq!(result.err(), Some(expected), "{wire:?}");
    }
}

#[tokio::test]
async fn small_signed_chunks_are_refused_as_on_aws() {
    let data = [b'x'; 9000];
    let fine = framed(&data, &[8192, 808], Some(SEED), false);
    assert!(read(CHUNKED, SEED, 9000, &fine).await.is_ok());
    let small = framed(&data, &[8191, 809], Some(SEED), false);
    let error = read(CHUNKED, SEED, 9000, &small).await.err();
    assert_eq!(error, Some(refused(Code::InvalidChunkSize)));
    let unsigned = framed(&data, &[1, 2, 8997], None, true);
    assert!(read(UNSIGNED_TRAILER, SEED, 9000, &unsigned).await.is_ok());
}

#[tokio::test]
async fn plain_bodies() {
    let hash: [u8; 32] =
        digest::digest(&digest::SHA256, b"abc").as_ref().try_into().expect("32 bytes");
    let empty: [u8; 32] =
        digest::digest(&digest::SHA256, b"").as_ref().try_into().expect("32 bytes");
    let mismatch = refused(Code::XAmzContentSha256Mismatch);
    for (payload, len, wire, expected) in [
        (Payload::Unsigned, 3, "abc", Ok(())),
        (Payload::Unsigned, 0, "", Ok(())),
        (Payload::Unsigned, 4, "abc", Err(BodyError::Incomplete)),
        (Payload::Unsigned, 2, "abc", Err(BodyError::TooLong)),
        (Payload::Hash(hash), 3, "abc", Ok(())),
        (Payload::Hash(hash), 3, "abd", Err(mismatch.clone())),
        (Payload::Hash(hash), 2, "ab", Err(mismatch.clone())),
        (Payload::Hash(empty), 0, "", Ok(())),
        (Payload::Hash(hash), 0, "", Err(mismatch)),
    ] {
        let result = read(payload, SEED, len, wire.as_bytes()).await.map(|_| ());
        assert_eq!(result, expected, "{payload:?} {wire}");
    }
}

#[tokio::test]
async fn the_last_piece_waits_for_the_verdict() {
    let hash = Payload::Hash([0; 32]);
    let body = RequestBody::new(
        wire(vec![b"abc".to_vec(), b"def".to_vec()]),
        hash,
        6,
        || signer(SEED),
        idle(),
    );
    let mut stream = body.into_stream().await.expect("not empty");
    assert_eq!(stream.next().await, Some(Ok(Bytes::from_static(b"abc"))));
    assert_eq!(stream.next().await, Some(Err(refused(Code::XAmzContentSha256Mismatch))));
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn silence_is_noticed() {
    let clock = Arc::new(SimClock::default());
    let frames = futures::stream::once(async {
        Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"ab")))
    })
    .chain(futures::stream::pending());
    let wire = StreamBody::new(frames).map_err(|_| Broken).boxed_unsync();
    let idle = Idle::new(clock.clone(), Duration::from_secs(60));
    let body = RequestBody::new(wire, Payload::Unsigned, 3, || signer(SEED), idle);
    let mut stream = body.into_stream().await.expect("not empty");
    let reader = tokio::spawn(async move { stream.next().await });
    tokio::task::yield_now().await;
    clock.advance(Duration::from_secs(59));
    tokio::task::yield_now().await;
    assert!(!reader.is_finished());
    clock.advance(Duration::from_secs(2));
    let got = reader.await.expect("the task ends");
    assert_eq!(got, Some(Err(refused(Code::RequestTimeout))));
}

proptest::proptest! {
    #[test]
    fn any_wire_is_survived(
        bytes in proptest::collection::vec(0u8.., 0..300),
        len in 0u64..100,
        kind in 0usize..3,
    ) {
        let payload = [CHUNKED, SIGNED_TRAILER, UNSIGNED_TRAILER][kind];
        let result = futures::executor::block_on(read(payload, SEED, len, &bytes));
        proptest::prop_assert!(result.is_err() || kind == 2);
    }

    #[test]
    fn what_is_framed_is_read_back(
        sizes in proptest::collection::vec(1usize..40, 0..6),
        cut in 0usize..400,
    ) {
        let data: Vec<u8> = (0..sizes.iter().sum()).map(|i| i as u8).collect();
        let framed = framed(&data, &sizes, None, true);
        let (head, tail) = framed.split_at(cut.min(framed.len()));
        let pieces = vec![head.to_vec(), tail.to_vec()];
        let read = read_pieces(UNSIGNED_TRAILER, SEED, data.len() as u64, pieces);
        let (bytes, _) = futures::executor::block_on(read).expect("verified");
        proptest::prop_assert_eq!(bytes, data);
    }
}
