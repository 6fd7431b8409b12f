//! What a snapshot costs by the list: requests, and storage for as long as it is promised.
//!
//! List prices of us-east-1 in US dollars as they have stood for years; <https://aws.amazon.com/s3/pricing/> has
//! today's. An estimate: no volume discounts, no tax, no transfer between regions.

use std::fmt;

use jiff::SignedDuration;
use serde::{Serialize, Serializer};

/// Money in billionths of a dollar: one GET of S3 Standard costs 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct NanoUsd(pub u64);

impl fmt::Display for NanoUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Whole cents, rounded up, so that nothing is shown as free.
        let cents = self.0.div_ceil(10_000_000);
        write!(f, "{}.{:02}", cents / 100, cents % 100)
    }
}

impl Serialize for NanoUsd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl NanoUsd {
    /// Dollars with up to nine decimals: `12`, `0.05`.
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || decimals.len() > 9 || !digits(whole) || !digits(decimals) {
            return None;
        }
        let nanos: u64 = format!("{decimals:0<9}").parse().ok()?;
        let whole: u64 = whole.parse().ok()?;
        Some(Self(whole.checked_mul(1_000_000_000)?.checked_add(nanos)?))
    }
}

/// Requests by what they cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Requests {
    /// GET, HEAD and the like.
    pub reads: u64,
    /// PUT, COPY, POST, LIST.
    pub writes: u64,
}

/// The list prices that a snapshot meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prices {
    read: u64,
    write: u64,
    /// One GiB for a month of 30 days.
    month: u64,
}

impl Prices {
    /// The prices of a storage class; of S3 Standard where none is said or it is not known.
    pub fn of(class: Option<&str>) -> Self {
        let (write, month) = match class {
            Some("STANDARD_IA") => (10_000, 12_500_000),
            Some("ONEZONE_IA") => (10_000, 10_000_000),
            Some("GLACIER_IR") => (20_000, 4_000_000),
            Some("GLACIER") => (30_000, 3_600_000),
            Some("DEEP_ARCHIVE") => (50_000, 990_000),
            Some(_) | None => (5_000, 23_000_000),
        };
        // Sources are read from S3 Standard.
        Self {
            read: 400,
            write,
            month,
        }
    }

    /// The price of some requests, and of `bytes` kept for so many days.
    pub fn estimate(&self, requests: Requests, bytes: u64, days: u64) -> NanoUsd {
        const GIB_DAYS: u128 = 30 * 1024 * 1024 * 1024;
        let times = |a: u64, b: u64| u128::from(a) * u128::from(b);
        let calls = times(requests.reads, self.read) + times(requests.writes, self.write);
        let kept = times(bytes, days).saturating_mul(u128::from(self.month)) / GIB_DAYS;
        NanoUsd(u64::try_from(calls + kept).unwrap_or(u64::MAX))
    }
}

/// What a run binds its owner to, beside what was bound before: bytes that are kept, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Commitment {
    /// Bytes that the vault takes in.
    pub new_bytes: u64,
    /// Bytes that it has and that are kept for longer.
    pub longer_bytes: u64,
    /// The objects that those are: one request each.
    pub longer_objects: u64,
    #[serde(skip)]
    byte_seconds: u128,
}

impl Commitment {
    /// Adds bytes that are new.
    pub fn add_new(&mut self, bytes: u64, kept: SignedDuration) {
        self.new_bytes = self.new_bytes.saturating_add(bytes);
        self.add(bytes, kept);
    }

    /// Adds an object that is kept for longer.
    pub fn add_longer(&mut self, bytes: u64, longer: SignedDuration) {
        self.longer_bytes = self.longer_bytes.saturating_add(bytes);
        self.longer_objects = self.longer_objects.saturating_add(1);
        self.add(bytes, longer);
    }

    fn add(&mut self, bytes: u64, kept: SignedDuration) {
        let seconds = u64::try_from(kept.as_secs()).unwrap_or_default();
        let more = u128::from(bytes) * u128::from(seconds);
        self.byte_seconds = self.byte_seconds.saturating_add(more);
    }

    /// Whether nothing is bound that was not before.
    pub fn is_none(&self) -> bool {
        self.byte_seconds == 0
    }

    /// Terabytes (10^12 bytes) times months (30 days), in thousandths, rounded up.
    pub fn terabyte_months(&self) -> TerabyteMonths {
        const UNIT: u128 = 1_000_000_000 * 30 * 24 * 60 * 60;
        let thousandths = self.byte_seconds.div_ceil(UNIT);
        TerabyteMonths(u64::try_from(thousandths).unwrap_or(u64::MAX))
    }

    /// The price of it: storage, and one request for each object that is locked for longer.
    pub fn estimate(&self, prices: &Prices) -> NanoUsd {
        const GIB_MONTH: u128 = 1024 * 1024 * 1024 * 30 * 24 * 60 * 60;
        let kept = self.byte_seconds / GIB_MONTH * u128::from(prices.month)
            + self.byte_seconds % GIB_MONTH * u128::from(prices.month) / GIB_MONTH;
        let calls = u128::from(self.longer_objects) * u128::from(prices.write);
        NanoUsd(u64::try_from(kept.saturating_add(calls)).unwrap_or(u64::MAX))
    }
}

/// A volume that is kept for a time, in thousandths of a terabyte-month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TerabyteMonths(pub u64);

impl fmt::Display for TerabyteMonths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_bound_is_a_volume_times_its_time_and_a_request_an_object() {
        let mut bound = Commitment::default();
        assert!(bound.is_none());
        assert_eq!(bound.terabyte_months().to_string(), "0.000");
        let days = |days: i64| SignedDuration::from_hours(24 * days);
        bound.add_new(1 << 40, days(30));
        assert_eq!(bound.estimate(&Prices::of(None)).to_string(), "23.56");
        assert_eq!(bound.terabyte_months().to_string(), "1.100");
        for _ in 0..1000 {
            bound.add_longer(1_000_000_000, days(60));
        }
        assert_eq!(bound.terabyte_months().to_string(), "3.100");
        // 46 dollars are 2 TB-months of 931.32 GiB, and half a cent for the requests.
        assert_eq!(bound.estimate(&Prices::of(None)).to_string(), "66.40");
        assert_eq!(
            (bound.longer_objects, bound.longer_bytes),
            (1000, 1_000_000_000_000)
        );
        bound.add_longer(5, days(-3));
        assert_eq!(bound.terabyte_months().to_string(), "3.100");
        for _ in 0..3 {
            bound.add_new(u64::MAX, SignedDuration::MAX);
        }
        assert_eq!(bound.estimate(&Prices::of(None)).0, u64::MAX, "no overflow");
    }

    #[test]
    fn a_terabyte_for_a_year_and_a_million_requests_cost_what_the_list_says() {
        const TIB: u64 = 1 << 40;
        let standard = Prices::of(None);
        let month = standard.estimate(Requests::default(), TIB, 30);
        assert_eq!(month.to_string(), "23.56", "1,024 GiB at 0.023, rounded up");
        let requests = Requests {
            reads: 1_000_000,
            writes: 1_000_000,
        };
        assert_eq!(standard.estimate(requests, 0, 0).to_string(), "5.40");
        let deep = Prices::of(Some("DEEP_ARCHIVE"));
        assert_eq!(deep.estimate(requests, TIB, 360).to_string(), "62.57");
        assert_eq!(NanoUsd(1).to_string(), "0.01");
        assert_eq!(
            standard.estimate(requests, u64::MAX, u64::MAX).0,
            u64::MAX,
            "no overflow"
        );
    }

    #[test]
    fn dollars_are_read_exactly() {
        assert_eq!(NanoUsd::parse("12"), Some(NanoUsd(12_000_000_000)));
        assert_eq!(NanoUsd::parse("0.05"), Some(NanoUsd(50_000_000)));
        for wrong in [
            "",
            ".5",
            "-1",
            "1e3",
            "1.0000000001",
            "$5",
            "99999999999999",
        ] {
            assert_eq!(NanoUsd::parse(wrong), None, "{wrong}");
        }
    }
}
