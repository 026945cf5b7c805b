//! Schedules: hours of the calendar that need more than the minimum, or that must not scale in.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use crate::api::cron::Cron;
use crate::ids::VariantId;
use crate::time::{Span, WallTime};

/// Hours that need more than the minimum, or that must not scale in.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// As written, for people: the crontab line and the time zone.
    pub name: String,
    /// When it begins, by the clock of `time_zone`.
    pub begins: Cron,
    /// Whose clock.
    pub time_zone: TimeZone,
    /// How long it lasts.
    pub duration: Span,
    /// Fewest replicas while it lasts.
    pub minimums: Vec<(VariantId, u32)>,
    /// Remove nothing while it lasts.
    pub no_scale_in: bool,
}

/// Where an instant lies to a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Not near it.
    Outside,
    /// It begins soon enough that what it needs must be asked for now.
    Ahead {
        /// When it begins.
        begins: WallTime,
    },
    /// It lasts.
    Inside {
        /// When it ends.
        ends: WallTime,
    },
}

impl Schedule {
    /// Where `now` lies, for replicas that take `lead` to get ready.
    #[must_use]
    pub fn moment(&self, now: WallTime, lead: Span) -> Moment {
        let duration_s = self.duration.as_seconds().ceil() as i64;
        if let Some(began) = self.last_begin(now, duration_s)
            && now.0 < began.0.saturating_add(duration_s)
        {
            return Moment::Inside { ends: WallTime(began.0.saturating_add(duration_s)) };
        }
        let lead_s = lead.as_seconds().ceil() as i64;
        match self.last_begin(WallTime(now.0.saturating_add(lead_s)), lead_s) {
            Some(begins) if begins > now => Moment::Ahead { begins },
            _ => Moment::Outside,
        }
    }

    /// The last begin at or before `at`, looking back `back_s` seconds and a little.
    ///
    /// A begin that the clocks skip in spring is when they go on again; one that they show twice
    /// in autumn is the first.
    fn last_begin(&self, at: WallTime, back_s: i64) -> Option<WallTime> {
        let local = |seconds: i64| {
            let instant = Timestamp::from_second(seconds).ok()?;
            Some(instant.to_zoned(self.time_zone.clone()).datetime())
        };
        let latest = local(at.0)?;
        // A day more at each end: the clocks may have been put back or forward meanwhile.
        let first: Date = local(at.0.saturating_sub(back_s))?.date().saturating_sub(1.day());
        let mut date = latest.date().saturating_add(1.day());
        while date >= first {
            let weekday = date.weekday().to_sunday_zero_offset() as u32;
            let mut before = (23, 59);
            while self.begins.has_date(date.month() as u32, date.day() as u32, weekday) {
                let Some((hour, minute)) = self.begins.latest_at(before.0, before.1) else { break };
                let begin = date.at(hour as i8, minute as i8, 0, 0);
                let begin = self.time_zone.to_timestamp(begin).ok()?.as_second();
                if begin <= at.0 {
                    return Some(WallTime(begin));
                }
                let Some(earlier) = (hour * 60 + minute).checked_sub(1) else { break };
                before = (earlier / 60, earlier % 60);
            }
            date = date.saturating_sub(1.day());
        }
        None
    }
}

/// The time zone of that IANA name, from the tables that come with the binary.
#[must_use]
pub fn time_zone(name: &str) -> Option<TimeZone> {
    jiff::tz::TimeZoneDatabase::bundled().get(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(cron: &str, zone: &str, hours: u64) -> Schedule {
        Schedule {
            name: cron.to_owned(),
            begins: Cron::parse(cron).unwrap(),
            time_zone: time_zone(zone).unwrap(),
            duration: Span::from_secs(hours * 3_600),
            minimums: Vec::new(),
            no_scale_in: false,
        }
    }

    fn at(text: &str) -> WallTime {
        WallTime(text.parse::<Timestamp>().unwrap().as_second())
    }

    const LEAD: Span = Span::from_secs(600);

    #[test]
    fn a_schedule_is_outside_then_ahead_then_inside() {
        // Berlin is two hours ahead of UTC in July: 08:00 there is 06:00Z. Monday is the 6th.
        let office = schedule("0 8 * * 1-5", "Europe/Berlin", 10);
        let moment = |text| office.moment(at(text), LEAD);
        assert_eq!(moment("2026-07-06T05:49:59Z"), Moment::Outside);
        let begins = at("2026-07-06T06:00:00Z");
        assert_eq!(moment("2026-07-06T05:50:00Z"), Moment::Ahead { begins });
        assert_eq!(moment("2026-07-06T05:59:59Z"), Moment::Ahead { begins });
        let ends = at("2026-07-06T16:00:00Z");
        assert_eq!(moment("2026-07-06T06:00:00Z"), Moment::Inside { ends });
        assert_eq!(moment("2026-07-06T15:59:59Z"), Moment::Inside { ends });
        assert_eq!(moment("2026-07-06T16:00:00Z"), Moment::Outside);
        // Saturday and Sunday.
        assert_eq!(moment("2026-07-11T08:00:00Z"), Moment::Outside);
        // In winter 08:00 there is 07:00Z.
        assert_eq!(moment("2026-12-07T06:30:00Z"), Moment::Outside);
        assert!(matches!(moment("2026-12-07T07:00:00Z"), Moment::Inside { .. }));
    }

    #[test]
    fn a_schedule_may_last_over_midnight_and_overlap_itself() {
        let night = schedule("30 22 * * 5", "UTC", 48);
        assert!(matches!(night.moment(at("2026-07-12T22:29:59Z"), LEAD), Moment::Inside { .. }));
        assert_eq!(night.moment(at("2026-07-12T22:30:00Z"), LEAD), Moment::Outside);
        let always = schedule("0 * * * *", "UTC", 2);
        let ends = at("2026-07-12T12:00:00Z");
        assert_eq!(always.moment(at("2026-07-12T10:59:00Z"), LEAD), Moment::Inside { ends });
    }

    #[test]
    fn clocks_that_are_put_forward_and_back() {
        // Berlin skips 02:00 to 03:00 on 2026-03-29 (01:00Z) and has it twice on 2026-10-25.
        let early = schedule("30 2 * * *", "Europe/Berlin", 1);
        let ends = at("2026-03-29T02:30:00Z");
        assert_eq!(early.moment(at("2026-03-29T01:30:00Z"), LEAD), Moment::Inside { ends });
        let ends = at("2026-10-25T01:30:00Z");
        assert_eq!(early.moment(at("2026-10-25T00:30:00Z"), LEAD), Moment::Inside { ends });
        assert_eq!(early.moment(at("2026-10-25T01:30:00Z"), LEAD), Moment::Outside);
    }

    #[test]
    fn a_zone_that_nobody_knows_is_none() {
        assert!(time_zone("Europe/Berlim").is_none());
        assert_eq!(time_zone("UTC"), Some(TimeZone::UTC));
    }
}
