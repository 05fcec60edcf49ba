//! How many data and parity shards a blob has.

use std::fmt;
use std::str::FromStr;

use types::limits::SHARDS_MAX;

/// `data` data shards and `parity` parity shards: any `data` of all `data + parity` give the blob
/// back.
///
/// At least one data shard; no more than [`SHARDS_MAX`] together. One data shard means mirroring:
/// every parity shard equals it. No parity means plain striping.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Geometry {
    data: u8,
    parity: u8,
}

/// Text or numbers that are no geometry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a geometry is written DATA+PARITY, with at least one data shard and at most {SHARDS_MAX} shards together"
)]
pub struct InvalidGeometry;

impl Geometry {
    /// From its numbers; `None` when `data` is zero or there are more than [`SHARDS_MAX`] shards.
    pub const fn new(data: u8, parity: u8) -> Option<Self> {
        if data == 0 || data as usize + parity as usize > SHARDS_MAX {
            return None;
        }
        Some(Self { data, parity })
    }

    /// The geometry that a cluster of this many drives gets when nobody chooses one. No drives
    /// count as one.
    pub const fn default_for(drives: usize) -> Self {
        let (data, parity) = match drives {
            0 | 1 => (1, 0),
            2 => (1, 1),
            3 => (2, 1),
            4 => (3, 1),
            5 => (3, 2),
            6 => (4, 2),
            7 => (5, 2),
            8 | 9 => (6, 2),
            _ => (8, 2),
        };
        Self { data, parity }
    }

    /// Data shards, 1 to 32.
    pub const fn data(self) -> usize {
        self.data as usize
    }

    /// Parity shards, 0 to 31.
    pub const fn parity(self) -> usize {
        self.parity as usize
    }

    /// All shards, 1 to 32.
    pub const fn total(self) -> usize {
        self.data() + self.parity()
    }

    /// How many shards must be durable before a write is acknowledged: `data + max(1, parity - 1)`,
    /// but never more than there are.
    pub const fn write_quorum(self) -> usize {
        let spare = if self.parity > 1 { self.parity() - 1 } else { 1 };
        if self.data() + spare < self.total() { self.data() + spare } else { self.total() }
    }

    /// The geometry for a write while only `drives` drives are up: this one if it fits, else the
    /// widest that fits and keeps at least one parity shard. `None` when nothing fits.
    pub fn fitting(self, drives: usize) -> Option<Self> {
        if drives >= self.total() {
            return Some(self);
        }
        let parity = match self.parity() {
            0 => 0,
            parity => parity.min(Self::default_for(drives).parity()).max(1),
        };
        let data = self.data().min(drives.checked_sub(parity)?);
        Self::new(u8::try_from(data).ok()?, u8::try_from(parity).ok()?)
    }
}

impl fmt::Display for Geometry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.data, self.parity)
    }
}

impl fmt::Debug for Geometry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Geometry({self})")
    }
}

impl FromStr for Geometry {
    type Err = InvalidGeometry;

    fn from_str(text: &str) -> Result<Self, InvalidGeometry> {
        let (data, parity) = text.split_once('+').ok_or(InvalidGeometry)?;
        let number = |text: &str| match text.bytes().all(|b| b.is_ascii_digit()) {
            true => text.parse().map_err(|_| InvalidGeometry),
            false => Err(InvalidGeometry),
        };
        Self::new(number(data)?, number(parity)?).ok_or(InvalidGeometry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geometry(text: &str) -> Geometry {
        text.parse().expect("a geometry")
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        assert_eq!(Geometry::new(0, 1), None);
        assert_eq!(Geometry::new(31, 2), None);
        assert_eq!(Geometry::new(255, 255), None);
        assert!(Geometry::new(32, 0).is_some() && Geometry::new(1, 31).is_some());
        for text in ["", "+", "3", "3+", "+2", "3+2+1", "+3+2", "3+-2", " 3+2", "0+1", "256+1"] {
            assert_eq!(text.parse::<Geometry>(), Err(InvalidGeometry), "{text}");
        }
        assert_eq!(geometry("3+2").to_string(), "3+2");
    }

    #[test]
    fn defaults_use_every_drive_up_to_ten() {
        let table = ["1+0", "1+0", "1+1", "2+1", "3+1", "3+2", "4+2", "5+2", "6+2", "6+2", "8+2"];
        for (drives, text) in table.iter().enumerate() {
            assert_eq!(Geometry::default_for(drives), geometry(text), "{drives}");
        }
        assert_eq!(Geometry::default_for(1000), geometry("8+2"));
    }

    #[test]
    fn quorums() {
        for (text, quorum) in
            [("1+0", 1), ("4+0", 4), ("1+1", 2), ("3+1", 4), ("3+2", 4), ("8+2", 9), ("8+4", 11)]
        {
            assert_eq!(geometry(text).write_quorum(), quorum, "{text}");
        }
    }

    #[test]
    fn fewer_drives_get_the_widest_geometry_that_fits() {
        for (text, drives, fits) in [
            ("3+2", 9, Some("3+2")),
            ("3+2", 5, Some("3+2")),
            ("3+2", 4, Some("3+1")),
            ("3+2", 3, Some("2+1")),
            ("3+2", 2, Some("1+1")),
            ("3+2", 1, None),
            ("3+2", 0, None),
            ("8+2", 7, Some("5+2")),
            ("8+4", 11, Some("8+2")),
            ("1+3", 3, Some("1+1")),
            ("4+0", 2, Some("2+0")),
            ("1+0", 0, None),
        ] {
            assert_eq!(geometry(text).fitting(drives), fits.map(geometry), "{text} on {drives}");
        }
    }

    #[test]
    fn what_fits_never_needs_more_drives_than_there_are() {
        for data in 1..=32 {
            for parity in 0..=32 - data {
                let Some(whole) = Geometry::new(data, parity) else { panic!("{data}+{parity}") };
                for drives in 0..=34 {
                    if let Some(fits) = whole.fitting(drives) {
                        assert!(fits.total() <= drives && fits.data() <= whole.data());
                        assert!(fits.parity() <= whole.parity());
                        assert_eq!(fits.parity() == 0, whole.parity() == 0);
                    }
                }
            }
        }
    }
}
