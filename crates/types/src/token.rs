//! The 32-bit token that every data key begins with.

/// Murmur3 (x86, 32 bit) of what must stay together: all records of one bucket share a token, and an
/// engine that splits the key space by token never separates them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u32);

impl Token {
    /// Length of the binary form in bytes.
    pub const LEN: usize = 4;

    /// The token of `bytes`: MurmurHash3_x86_32 with seed 0 (Austin Appleby, public domain, SMHasher).
    pub fn of(bytes: &[u8]) -> Self {
        let mut hash: u32 = 0;
        let mut chunks = bytes.chunks_exact(4);
        for chunk in &mut chunks {
            let word = chunk.iter().rev().fold(0u32, |word, &byte| (word << 8) | u32::from(byte));
            hash = (hash ^ scramble(word)).rotate_left(13);
            hash = hash.wrapping_mul(5).wrapping_add(0xe654_6b64);
        }
        let tail = chunks.remainder();
        if !tail.is_empty() {
            hash ^=
                scramble(tail.iter().rev().fold(0u32, |word, &byte| (word << 8) | u32::from(byte)));
        }
        hash ^= bytes.len() as u32;
        hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
        hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
        Self(hash ^ (hash >> 16))
    }

    /// The binary form: big-endian.
    pub const fn to_bytes(self) -> [u8; 4] {
        self.0.to_be_bytes()
    }
}

fn scramble(word: u32) -> u32 {
    word.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Published vectors of MurmurHash3_x86_32 with seed 0.
    #[test]
    fn published_vectors() {
        for (text, hash) in [
            ("", 0),
            ("test", 0xba6b_d213),
            ("Hello, world!", 0xc036_3e43),
            ("The quick brown fox jumps over the lazy dog", 0x2e4f_f723),
        ] {
            assert_eq!(Token::of(text.as_bytes()).0, hash, "{text}");
        }
    }
}
