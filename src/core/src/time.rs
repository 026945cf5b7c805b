//! Time as an argument: instants and spans in nanoseconds, and the picoseconds of engine physics.
//!
//! Nothing in this crate reads a clock. The twin passes virtual time, the live binary passes a
//! monotonic clock measured from the start of the process.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};

use serde::{Deserialize, Serialize};

/// Picoseconds since the origin of a run: the unit in which engines step, so that a leap over
/// many steps equals stepping bit for bit. `u64` picoseconds hold 213 days.
pub type Picos = u64;

/// Picoseconds in one nanosecond.
pub const PICOS_PER_NANO: u64 = 1_000;
/// Picoseconds in one second.
pub const PICOS_PER_SECOND: u64 = 1_000_000_000_000;
/// The longest run that picoseconds can express, with a margin for the run-off.
pub const RUN_DAYS_MAX: u64 = 200;

/// An instant: nanoseconds since the origin of the run or of the process.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Time(pub u64);

/// An instant of the calendar: seconds since 1970-01-01 00:00 UTC.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct WallTime(pub i64);

impl WallTime {
    /// The wall time at an instant of a run that began at `self`, rounded down.
    #[must_use]
    pub const fn plus(self, since_start: Time) -> Self {
        Self(self.0.saturating_add((since_start.0 / 1_000_000_000) as i64))
    }
}

/// A span of time in nanoseconds; never negative.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Span(pub u64);

impl Time {
    /// The origin.
    pub const ZERO: Self = Self(0);
    /// Later than every instant of a run.
    pub const MAX: Self = Self(u64::MAX);

    /// The instant `seconds` after the origin; negative and NaN saturate at the origin.
    #[must_use]
    pub fn from_seconds(seconds: f64) -> Self {
        Self((seconds * 1e9).round() as u64)
    }

    /// The nanosecond that contains or follows `picos` (rounded up: an event never appears
    /// earlier than it happened).
    #[must_use]
    pub const fn from_picos(picos: Picos) -> Self {
        Self(picos.div_ceil(PICOS_PER_NANO))
    }

    /// This instant in picoseconds, saturating at 213 days.
    #[must_use]
    pub const fn as_picos(self) -> Picos {
        self.0.saturating_mul(PICOS_PER_NANO)
    }

    /// Seconds since the origin.
    #[must_use]
    pub fn as_seconds(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// The span since `earlier`; zero when `earlier` is later (clocks skew).
    #[must_use]
    pub const fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl Span {
    /// No time.
    pub const ZERO: Self = Self(0);

    /// A span of whole seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds * 1_000_000_000)
    }

    /// A span of whole milliseconds.
    #[must_use]
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(milliseconds * 1_000_000)
    }

    /// A span of `seconds`, rounded to the nanosecond; negative and NaN saturate at zero.
    #[must_use]
    pub fn from_seconds(seconds: f64) -> Self {
        Self((seconds * 1e9).round() as u64)
    }

    /// The span in seconds.
    #[must_use]
    pub fn as_seconds(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// The span in milliseconds.
    #[must_use]
    pub fn as_millis(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// The span in hours: what bills are made of.
    #[must_use]
    pub fn as_hours(self) -> f64 {
        self.0 as f64 / 3.6e12
    }

    /// The span in picoseconds, saturating at 213 days.
    #[must_use]
    pub const fn as_picos(self) -> Picos {
        self.0.saturating_mul(PICOS_PER_NANO)
    }
}

impl Add<Span> for Time {
    type Output = Self;
    fn add(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl AddAssign<Span> for Time {
    fn add_assign(&mut self, span: Span) {
        *self = *self + span;
    }
}

impl Sub<Span> for Time {
    type Output = Self;
    fn sub(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0))
    }
}

impl Add for Span {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl fmt::Display for Time {
    /// Hours, minutes and seconds since the origin, as `14:05:09.250`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0 / 1_000_000;
        let (hours, minutes) = (millis / 3_600_000, millis / 60_000 % 60);
        write!(formatter, "{hours:02}:{minutes:02}:{:06.3}", (millis % 60_000) as f64 / 1e3)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.as_seconds();
        if seconds < 1.0 {
            write!(formatter, "{}ms", self.0 as f64 / 1e6)
        } else if seconds < 120.0 {
            write!(formatter, "{seconds}s")
        } else if seconds < 7200.0 {
            write!(formatter, "{}m", seconds / 60.0)
        } else {
            write!(formatter, "{}h", seconds / 3600.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picoseconds_round_up_to_the_nanosecond_they_happen_in() {
        assert_eq!(Time::from_picos(0), Time(0));
        assert_eq!(Time::from_picos(1), Time(1));
        assert_eq!(Time::from_picos(1_000), Time(1));
        assert_eq!(Time::from_picos(1_001), Time(2));
    }

    #[test]
    fn negative_seconds_saturate() {
        assert_eq!(Span::from_seconds(-1.0), Span::ZERO);
        assert_eq!(Time::from_seconds(f64::NAN), Time::ZERO);
        assert_eq!(Time(5).since(Time(9)), Span::ZERO);
    }

    #[test]
    fn instants_read_as_clocks() {
        assert_eq!(Time::from_seconds(50_709.25).to_string(), "14:05:09.250");
    }
}
