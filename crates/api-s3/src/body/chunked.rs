//! aws-chunked framing (<https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html>,
//! …/sigv4-streaming-trailers.html): a decoder that holds no more than one line, and signs as it goes.

use std::collections::VecDeque;

use aws_lc_rs::{digest, hmac};
use bytes::{Buf, Bytes};
use objects::{ChecksumAlgorithm, ChecksumValue};

use super::{Fault, TrailerSlot};
use crate::error::Code;
use crate::headers::checksum_header;
use crate::query::hex_digit;

/// Longest line that announces a chunk: 16 digits, the signature, and room for more.
const LINE_MAX_BYTES: usize = 256;
/// All trailers together.
const TRAILERS_MAX_BYTES: usize = 4096;
/// A signed chunk that is not the last may not be smaller, as on AWS.
const SIGNED_CHUNK_MIN_BYTES: u64 = 8192;

const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// The framing's state.
pub(super) struct Chunked {
    step: Step,
    /// Decoded bytes still to come.
    left: u64,
    line: Vec<u8>,
    signer: Option<ChunkSigner>,
    trailer: Option<ChecksumAlgorithm>,
    slot: TrailerSlot,
    last_size: Option<u64>,
}

enum Step {
    /// In the line that announces a chunk.
    Size,
    /// In a chunk's data.
    Data { left: u64, signed: Option<(digest::Context, [u8; 32])> },
    /// Behind a chunk's data: at the CR, or at the LF.
    DataEnd { at_lf: bool },
    /// Behind the chunk of size zero.
    Trailer,
}

impl Chunked {
    pub(super) fn new(
        len: u64,
        signer: Option<ChunkSigner>,
        trailer: Option<ChecksumAlgorithm>,
        slot: TrailerSlot,
    ) -> Self {
        let (step, line, last_size) = (Step::Size, Vec::new(), None);
        Self { step, left: len, line, signer, trailer, slot, last_size }
    }

    /// Takes wire bytes in, gives body bytes out.
    pub(super) fn push(&mut self, mut data: Bytes, out: &mut VecDeque<Bytes>) -> Result<(), Fault> {
        while !data.is_empty() {
            match &mut self.step {
                Step::Size => self.take_line(&mut data)?,
                Step::Data { left, signed } => {
                    let take = usize::try_from(*left).unwrap_or(usize::MAX).min(data.len());
                    let piece = data.split_to(take);
                    if let Some((context, _)) = signed {
                        context.update(&piece);
                    }
                    *left -= take as u64;
                    let over = *left == 0;
                    out.push_back(piece);
                    if over {
                        self.end_chunk()?;
                    }
                }
                Step::DataEnd { at_lf } => {
                    let expected = if *at_lf { b'\n' } else { b'\r' };
                    if data.get_u8() != expected {
                        return Err(Fault::Refused(Code::InvalidRequest));
                    }
                    self.step = if *at_lf { Step::Size } else { Step::DataEnd { at_lf: true } };
                }
                Step::Trailer => {
                    if self.line.len() + data.len() > TRAILERS_MAX_BYTES {
                        return Err(Fault::Refused(Code::MalformedTrailer));
                    }
                    self.line.extend_from_slice(&data);
                    data.clear();
                }
            }
        }
        Ok(())
    }

    /// The wire has ended.
    pub(super) fn finish(&mut self) -> Result<(), Fault> {
        if !matches!(self.step, Step::Trailer) || self.left > 0 {
            return Err(Fault::Incomplete);
        }
        let malformed = Fault::Refused(Code::MalformedTrailer);
        let lines = std::mem::take(&mut self.line);
        let lines = std::str::from_utf8(&lines).map_err(|_| malformed)?;
        let (mut checksum, mut signature) = (None, None);
        for line in lines.split('\n').map(str::trim).filter(|l| !l.is_empty()) {
            let (name, value) = line.split_once(':').ok_or(malformed)?;
            let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
            let declared = self.trailer.map(checksum_header);
            let slot = match name.as_str() {
                "x-amz-trailer-signature" if self.signer.is_some() => &mut signature,
                name if declared == Some(name) => &mut checksum,
                _ => return Err(malformed),
            };
            if slot.replace(value.to_owned()).is_some() {
                return Err(malformed);
            }
        }
        let Some(algorithm) = self.trailer else {
            return if signature.is_none() { Ok(()) } else { Err(malformed) };
        };
        let value = checksum.ok_or(malformed)?;
        if let Some(signer) = &mut self.signer {
            let canonical = format!("{}:{value}\n", checksum_header(algorithm));
            signer.check_trailer(&canonical, &signature.ok_or(malformed)?)?;
        }
        let value = ChecksumValue::from_base64(algorithm, &value);
        self.slot.set(value.ok_or(Fault::Refused(Code::InvalidRequest))?);
        Ok(())
    }

    fn take_line(&mut self, data: &mut Bytes) -> Result<(), Fault> {
        let framing = Fault::Refused(Code::InvalidRequest);
        let end = data.iter().position(|b| *b == b'\n');
        let part = data.split_to(end.map_or(data.len(), |at| at + 1));
        if self.line.len() + part.len() > LINE_MAX_BYTES {
            return Err(framing);
        }
        self.line.extend_from_slice(&part);
        if end.is_none() {
            return Ok(());
        }
        let line = std::mem::take(&mut self.line);
        let line = line.strip_suffix(b"\r\n").ok_or(framing)?;
        let line = std::str::from_utf8(line).map_err(|_| framing)?;
        let (size, signature) = match line.split_once(';') {
            Some((size, extension)) => (size, Some(extension)),
            None => (line, None),
        };
        let hex = (1..=16).contains(&size.len()) && size.bytes().all(|b| b.is_ascii_hexdigit());
        let size = u64::from_str_radix(size, 16).ok().filter(|_| hex).ok_or(framing)?;
        let signature = match (&self.signer, signature) {
            (None, None) => None,
            (Some(_), Some(extension)) => {
                let text = extension.strip_prefix("chunk-signature=").and_then(parse_signature);
                Some(text.ok_or(Fault::Refused(Code::SignatureDoesNotMatch))?)
            }
            (Some(_), None) => return Err(Fault::Refused(Code::SignatureDoesNotMatch)),
            (None, Some(_)) => return Err(framing),
        };
        self.begin_chunk(size, signature)
    }

    fn begin_chunk(&mut self, size: u64, signature: Option<[u8; 32]>) -> Result<(), Fault> {
        self.left = self.left.checked_sub(size).ok_or(Fault::TooLong)?;
        if size == 0 {
            if let (Some(signer), Some(signature)) = (&mut self.signer, signature) {
                signer.check_chunk(EMPTY_SHA256, &signature)?;
            }
            self.step = Step::Trailer;
            return Ok(());
        }
        if self.signer.is_some() && self.last_size.is_some_and(|s| s < SIGNED_CHUNK_MIN_BYTES) {
            return Err(Fault::Refused(Code::InvalidChunkSize));
        }
        self.last_size = Some(size);
        let context = |signature| (digest::Context::new(&digest::SHA256), signature);
        self.step = Step::Data { left: size, signed: signature.map(context) };
        Ok(())
    }

    fn end_chunk(&mut self) -> Result<(), Fault> {
        let step = std::mem::replace(&mut self.step, Step::DataEnd { at_lf: false });
        if let (Step::Data { signed: Some((context, signature)), .. }, Some(signer)) =
            (step, &mut self.signer)
        {
            signer.check_chunk(&hex(context.finish().as_ref()), &signature)?;
        }
        Ok(())
    }
}

/// Makes the signatures of the chunks behind a signed request, each over the one before.
pub(crate) struct ChunkSigner {
    key: hmac::Key,
    date: String,
    scope: String,
    previous: String,
}

impl ChunkSigner {
    /// `date` is `X-Amz-Date`, `seed` the request's own signature.
    pub(crate) fn new(
        secret: &str,
        scope_date: &str,
        region: &str,
        date: &str,
        seed: &str,
    ) -> Self {
        let mut key = format!("AWS4{secret}").into_bytes();
        for part in [scope_date, region, "s3", "aws4_request"] {
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), part.as_bytes());
            key.fill(0);
            key = tag.as_ref().to_vec();
        }
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            date: date.to_owned(),
            scope: format!("{scope_date}/{region}/s3/aws4_request"),
            previous: seed.to_owned(),
        }
    }

    fn check_chunk(&mut self, data_sha256: &str, signature: &[u8; 32]) -> Result<(), Fault> {
        let tail = format!("{EMPTY_SHA256}\n{data_sha256}");
        self.check("AWS4-HMAC-SHA256-PAYLOAD", &tail, signature)
    }

    fn check_trailer(&mut self, canonical: &str, signature: &str) -> Result<(), Fault> {
        let signature =
            parse_signature(signature).ok_or(Fault::Refused(Code::SignatureDoesNotMatch))?;
        let tail = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
        self.check("AWS4-HMAC-SHA256-TRAILER", &tail, &signature)
    }

    /// Compares in constant time.
    fn check(&mut self, algorithm: &str, tail: &str, signature: &[u8; 32]) -> Result<(), Fault> {
        let text = self.string_to_sign(algorithm, tail);
        hmac::verify(&self.key, text.as_bytes(), signature)
            .map_err(|_| Fault::Refused(Code::SignatureDoesNotMatch))?;
        self.previous = hex(signature);
        Ok(())
    }

    fn string_to_sign(&self, algorithm: &str, tail: &str) -> String {
        format!("{algorithm}\n{}\n{}\n{}\n{tail}", self.date, self.scope, self.previous)
    }

    /// Signs as a client does.
    #[cfg(test)]
    pub(crate) fn sign(&mut self, algorithm: &str, tail: &str) -> String {
        let text = self.string_to_sign(algorithm, tail);
        self.previous = hex(hmac::sign(&self.key, text.as_bytes()).as_ref());
        self.previous.clone()
    }

    /// The string behind the previous signature of a chunk with that data.
    #[cfg(test)]
    pub(crate) fn chunk_tail(data: &[u8]) -> String {
        format!("{EMPTY_SHA256}\n{}", hex(digest::digest(&digest::SHA256, data).as_ref()))
    }
}

fn parse_signature(text: &str) -> Option<[u8; 32]> {
    let mut signature = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (byte, pair) in signature.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = hex_digit(*high)? << 4 | hex_digit(*low)?;
    }
    Some(signature)
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
        }
    }
    text
}
