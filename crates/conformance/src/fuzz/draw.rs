//! Draws values from a fuzzer's bytes.

/// What is left of the bytes; zeroes behind their end.
pub(super) struct Draw<'a>(pub(super) &'a [u8]);

impl<'a> Draw<'a> {
    pub(super) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        let taken = self.0.len().min(N);
        let (head, rest) = self.0.split_at(taken);
        bytes[..taken].copy_from_slice(head);
        self.0 = rest;
        bytes
    }

    pub(super) fn u8(&mut self) -> u8 {
        u8::from_le_bytes(self.bytes())
    }

    pub(super) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.bytes())
    }

    pub(super) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.bytes())
    }

    pub(super) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.bytes())
    }

    pub(super) fn u128(&mut self) -> u128 {
        u128::from_le_bytes(self.bytes())
    }

    /// Text of up to 255 bytes of input.
    pub(super) fn text(&mut self) -> String {
        let len = usize::from(self.u8()).min(self.0.len());
        let (head, rest) = self.0.split_at(len);
        self.0 = rest;
        String::from_utf8_lossy(head).into_owned()
    }
}
