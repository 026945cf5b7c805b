//! From values to places on an axis (0..1), with ticks where people expect them.

use super::super::format::clock;

const MINUTE_S: f64 = 60.0;
const HOUR_S: f64 = 3_600.0;
const DAY_S: f64 = 86_400.0;
/// A day with its run-off is still one day.
const DAY_AND_RUN_OFF_S: f64 = 30.0 * HOUR_S;
/// Steps between ticks of time, s.
const TIME_STEPS_S: [f64; 14] = [
    MINUTE_S,
    2.0 * MINUTE_S,
    5.0 * MINUTE_S,
    10.0 * MINUTE_S,
    15.0 * MINUTE_S,
    30.0 * MINUTE_S,
    HOUR_S,
    2.0 * HOUR_S,
    3.0 * HOUR_S,
    6.0 * HOUR_S,
    12.0 * HOUR_S,
    DAY_S,
    2.0 * DAY_S,
    7.0 * DAY_S,
];
/// Most steps between ticks of time: labels of five letters in 300 pixels.
const TIME_INTERVALS_MAX: f64 = 5.0;
/// Least share of an axis of logarithms between two ticks: a label of six letters in 300 pixels.
const LOG_TICK_GAP: f64 = 0.14;

/// The same on an axis of shares, where labels are short or below each other.
const NINES_TICK_GAP: f64 = 0.1;

/// A tick: place and label.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tick {
    /// 0 at the start of the axis, 1 at its end.
    pub(super) at: f64,
    /// What it stands for.
    pub(super) label: String,
}

/// From zero to a maximum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Linear {
    max: f64,
    step: f64,
}

impl Linear {
    /// An axis that holds `max`, in about `intervals` steps of 1, 2 or 5 times a power of ten. An
    /// axis of nothing ends at 1.
    pub(super) fn up_to(max: f64, intervals: f64) -> Self {
        let max = if max.is_finite() && max > 0.0 { max } else { 1.0 };
        let rough = max / intervals;
        let power = 10f64.powf(rough.log10().floor());
        let away = |step: &f64| (step / rough).ln().abs();
        let step = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .map(|factor| factor * power)
            .min_by(|left, right| away(left).total_cmp(&away(right)))
            .unwrap_or(power);
        Self { max, step }
    }

    /// The place of a value.
    pub(super) fn at(self, value: f64) -> f64 {
        (value / self.max).clamp(0.0, 1.0)
    }

    /// Values of the ticks, zero first.
    pub(super) fn ticks(self) -> impl Iterator<Item = f64> {
        let count = (self.max / self.step + 1e-9).floor() as u32;
        (0..=count).map(move |index| f64::from(index) * self.step)
    }
}

/// Latencies: logarithmic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Log {
    /// Value at the start.
    pub(super) low: f64,
    /// Value at the end.
    pub(super) high: f64,
}

impl Log {
    /// An axis that holds all positive values, with a margin; `None` without any.
    pub(super) fn around(values: impl Iterator<Item = f64>) -> Option<Self> {
        let range = values.filter(|value| value.is_finite() && *value > 0.0).fold(
            None,
            |range: Option<(f64, f64)>, value| {
                let (low, high) = range.unwrap_or((value, value));
                Some((low.min(value), high.max(value)))
            },
        );
        range.map(|(low, high)| Self { low: low / 1.15, high: high * 1.15 })
    }

    /// The place of a value; below the start for zero and less.
    pub(super) fn at(self, value: f64) -> f64 {
        if value <= 0.0 {
            return 0.0;
        }
        ((value / self.low).ln() / (self.high / self.low).ln()).clamp(0.0, 1.0)
    }

    /// Ticks at powers of ten, then at 2 and 5 times, then at more, as far as labels have room.
    pub(super) fn ticks(self, label: impl Fn(f64) -> String) -> Vec<Tick> {
        let first = self.low.log10().floor() as i32;
        let last = self.high.log10().ceil() as i32;
        let mut chosen = Vec::<f64>::new();
        for (factors, enough) in
            [(&[1.0][..], usize::MAX), (&[2.0, 5.0], usize::MAX), (&[3.0, 7.0], 3)]
        {
            if chosen.len() >= enough {
                break;
            }
            for value in (first..=last)
                .flat_map(|power| factors.iter().map(move |factor| factor * 10f64.powi(power)))
                .filter(|value| (self.low..=self.high).contains(value))
            {
                // Labels at the ends are drawn inwards.
                let middle =
                    |value: f64| self.at(value).clamp(LOG_TICK_GAP / 2.0, 1.0 - LOG_TICK_GAP / 2.0);
                let near = |other: &f64| (middle(*other) - middle(value)).abs() < LOG_TICK_GAP;
                if !chosen.iter().any(near) {
                    chosen.push(value);
                }
            }
        }
        chosen.sort_by(f64::total_cmp);
        chosen.into_iter().map(|value| Tick { at: self.at(value), label: label(value) }).collect()
    }
}

/// Shares near one: every decade of misses is as wide as the next, so 99 % and 99.9 % are told
/// apart as easily as 0 % and 90 %.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Nines {
    low: f64,
    high: f64,
}

impl Nines {
    /// An axis from at most 90 % that holds the smallest of `shares` and goes past every one of
    /// `required`; all that is beyond its end, 100 % too, is drawn at the end.
    pub(super) fn around(
        shares: impl Iterator<Item = f64>,
        required: impl Iterator<Item = f64>,
    ) -> Self {
        let smallest = shares.filter(|share| share.is_finite()).fold(1.0, f64::min);
        let low = [0.9, 0.5].into_iter().find(|&low| smallest >= low).unwrap_or(0.0);
        let strictest = required.filter(|&share| share < 1.0).fold(0.99, f64::max);
        let high = nines(strictest) + 1.3;
        Self { low: nines(low), high }
    }

    /// An axis from 0 to 99.9 %, for distributions.
    pub(super) const fn whole() -> Self {
        Self { low: 0.0, high: 3.0 }
    }

    /// The place of a share.
    pub(super) fn at(self, share: f64) -> f64 {
        ((nines(share) - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    /// Ticks at the whole nines, and at 0 and 50 % where they are on the axis and have room.
    pub(super) fn ticks(self) -> Vec<Tick> {
        let mut last = f64::NEG_INFINITY;
        [(0.0, "0 %"), (0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %")]
            .into_iter()
            .chain([(0.9999, "99.99 %"), (0.99999, "99.999 %")])
            .filter(|(share, _)| (self.low - 1e-9..=self.high + 1e-9).contains(&nines(*share)))
            .map(|(share, label)| Tick { at: self.at(share), label: label.to_owned() })
            .filter(|tick| {
                let room = tick.at - last >= NINES_TICK_GAP;
                last = if room { tick.at } else { last };
                room
            })
            .collect()
    }
}

/// Powers of ten by which misses are fewer than all; bounded where nothing is missed.
fn nines(share: f64) -> f64 {
    -(1.0 - share).max(1e-9).log10()
}

/// Times of day over a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Clock {
    /// Start of the window, in seconds since midnight of the first day.
    pub(super) start_s: f64,
    /// Its length, s; never zero.
    pub(super) duration_s: f64,
}

impl Clock {
    pub(super) fn new(start_s: f64, duration_s: f64) -> Self {
        let duration_s = if duration_s.is_finite() { duration_s.max(1.0) } else { 1.0 };
        Self { start_s: if start_s.is_finite() { start_s.max(0.0) } else { 0.0 }, duration_s }
    }

    /// Whether times need their day to be told apart.
    pub(super) fn days(self) -> bool {
        self.duration_s > DAY_AND_RUN_OFF_S
    }

    /// Ticks at round times: hours of the day, or days where the window is long.
    pub(super) fn ticks(self) -> Vec<Tick> {
        let fits = |step: &f64| self.duration_s / step <= TIME_INTERVALS_MAX;
        let weeks = (self.duration_s / (7.0 * DAY_S) / TIME_INTERVALS_MAX).ceil().max(1.0);
        let step = TIME_STEPS_S.into_iter().find(fits).unwrap_or(7.0 * DAY_S * weeks);
        let first = (self.start_s / step).ceil();
        let count = ((self.start_s + self.duration_s) / step + 1e-9).floor() - first;
        (0..=count.max(0.0) as u32)
            .map(|index| (first + f64::from(index)) * step)
            .filter(|seconds| *seconds >= self.start_s)
            .map(|seconds| Tick {
                at: (seconds - self.start_s) / self.duration_s,
                label: self.label(seconds),
            })
            .collect()
    }

    /// A day at its midnight where the window spans several, else the time; the end of a single
    /// day is 24:00.
    fn label(self, seconds: f64) -> String {
        let midnight = seconds % DAY_S < 1e-6;
        if self.days() && midnight {
            return format!("day {}", (seconds / DAY_S).round() as u64 + 1);
        }
        if midnight && seconds > self.start_s && self.start_s < DAY_S {
            return "24:00".to_owned();
        }
        clock(seconds, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(ticks: &[Tick]) -> Vec<&str> {
        ticks.iter().map(|tick| tick.label.as_str()).collect()
    }

    #[test]
    fn linear_ticks_are_round() {
        let ticks = |max| Linear::up_to(max, 3.0).ticks().collect::<Vec<_>>();
        assert_eq!(ticks(23.0), [0.0, 10.0, 20.0]);
        assert_eq!(ticks(6.0), [0.0, 2.0, 4.0, 6.0]);
        assert_eq!(ticks(0.0), [0.0, 0.5, 1.0]);
        assert_eq!(ticks(f64::NAN).len(), 3);
        assert!((Linear::up_to(20.0, 3.0).at(5.0) - 0.25).abs() < 1e-12);
    }

    #[test]
    fn time_ticks_adapt_to_the_window() {
        let ticks = |start_s, duration_s| Clock::new(start_s, duration_s).ticks();
        assert_eq!(labels(&ticks(0.0, DAY_S)), ["00:00", "06:00", "12:00", "18:00", "24:00"]);
        assert_eq!(
            labels(&ticks(8.0 * HOUR_S, HOUR_S)),
            ["08:00", "08:15", "08:30", "08:45", "09:00"]
        );
        assert_eq!(labels(&ticks(0.0, 7.0 * DAY_S)), ["day 1", "day 3", "day 5", "day 7"]);
        assert_eq!(labels(&ticks(0.0, 1.5 * DAY_S)), ["day 1", "12:00", "day 2", "12:00"]);
        let run_off = ticks(0.0, 25.5 * HOUR_S);
        assert_eq!(labels(&run_off), ["00:00", "06:00", "12:00", "18:00", "24:00"]);
        assert!(ticks(0.0, 200.0 * DAY_S).len() <= 6);
        let odd = ticks(100.0, 3.0 * HOUR_S);
        assert_eq!(odd[0].label, "01:00");
        assert!((odd[0].at - 3_500.0 / (3.0 * HOUR_S)).abs() < 1e-12);
    }

    #[test]
    fn nines_give_every_decade_its_room() {
        let axis = Nines::whole();
        assert!((axis.at(0.9) - 1.0 / 3.0).abs() < 1e-9);
        assert!((axis.at(0.99) - 2.0 / 3.0).abs() < 1e-9);
        assert!((axis.at(1.0) - 1.0).abs() < 1e-12);
        assert!(axis.at(-1.0).abs() < 1e-12);
        let attainment = Nines::around([0.97, 0.999].into_iter(), [0.99].into_iter());
        assert_eq!(labels(&attainment.ticks()), ["90 %", "99 %", "99.9 %"]);
        let bad = Nines::around([0.2].into_iter(), [0.99].into_iter());
        assert_eq!(labels(&bad.ticks()), ["0 %", "90 %", "99 %", "99.9 %"]);
        assert_eq!(labels(&axis.ticks()), ["0 %", "50 %", "90 %", "99 %", "99.9 %"]);
    }

    #[test]
    fn log_ticks_thin_out() {
        let ticks = |low, high| Log { low, high }.ticks(|value| format!("{value}"));
        assert_eq!(labels(&ticks(15.0, 120.0)), ["20", "50", "100"]);
        assert_eq!(labels(&ticks(9.0, 20_000.0)), ["10", "100", "1000", "10000"]);
        assert_eq!(labels(&ticks(15.0, 60.0)), ["20", "30", "50"]);
        assert!(ticks(1e-3, 1e9).len() <= 8);
        assert!(Log::around([f64::NAN, 0.0].into_iter()).is_none());
        let one = Log::around([50.0].into_iter()).unwrap();
        assert!((one.at(50.0) - 0.5).abs() < 1e-9);
    }
}
