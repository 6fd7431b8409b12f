//! The size of the parts of large objects.

/// Parts of a large object have at least this many bytes: fewer requests, and two of them fit the byte budget.
const PART_SIZE: u64 = 64 * 1024 * 1024;

/// An object has at most this many parts; <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>.
const PARTS_MAX: u64 = 10_000;

/// The size of the parts of an object of `size` bytes, a whole number of mebibytes; the last part may be smaller.
pub fn part_size(size: u64) -> u64 {
    const MIB: u64 = 1024 * 1024;
    PART_SIZE.max(size.div_ceil(PARTS_MAX).div_ceil(MIB) * MIB)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;
    const GIB: u64 = 1024 * MIB;

    #[test]
    fn parts_are_large_enough_for_ten_thousand_of_them() {
        assert_eq!(part_size(6 * GIB), 64 * MIB);
        assert_eq!(part_size(625 * GIB), 64 * MIB);
        let largest = 5 * 1024 * GIB;
        let part = part_size(largest);
        assert!(
            largest.div_ceil(part) <= 10_000 && part.is_multiple_of(MIB),
            "{part}"
        );
    }
}
