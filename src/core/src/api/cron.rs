//! The five fields of a crontab line, read so that a schedule that never begins is found when it
//! is read.

/// Format of a cron expression in our schemas.
pub const FORMAT_CRON: &str = "cron";
/// What a cron expression looks like.
pub const EXPECTED: &str =
    "five fields as in crontab, such as `0 8 * * 1-5` (minute hour day month weekday)";

/// Name, lowest and highest value of each field.
const FIELDS: [(&str, u32, u32); 5] =
    [("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 7)];

/// Most days that each month can have.
const DAYS_OF_MONTH: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// The minutes that a crontab line names, each field as a set of bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Day and weekday are both restricted: either suffices, as in crontab.
    either_day: bool,
}

impl Cron {
    /// Reads lists, ranges and steps of numbers.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split_whitespace().collect();
        let &[minute, hour, day, month, weekday] = parts.as_slice() else {
            return Err(format!("`{text}` has {} fields, not five", parts.len()));
        };
        let [minutes, hours, days, months, weekdays] = FIELDS;
        let weekdays = field(weekday, weekdays)?;
        let cron = Self {
            minutes: field(minute, minutes)?,
            hours: field(hour, hours)?,
            days: field(day, days)?,
            months: field(month, months)?,
            // Seven is Sunday too.
            weekdays: (weekdays | weekdays >> 7) & 0x7f,
            either_day: !day.starts_with('*') && !weekday.starts_with('*'),
        };
        if cron.has_a_day() {
            Ok(cron)
        } else {
            Err(format!("`{text}` names a day that no month has"))
        }
    }

    /// Whether a day is named: month 1..=12, day 1..=31, weekday 0 (Sunday) to 6.
    #[must_use]
    pub const fn has_date(&self, month: u32, day: u32, weekday: u32) -> bool {
        let (by_day, by_weekday) = (bit(self.days, day), bit(self.weekdays, weekday));
        let named = if self.either_day { by_day || by_weekday } else { by_day && by_weekday };
        bit(self.months, month) && named
    }

    /// The latest hour and minute of a named day that is not after the one given.
    #[must_use]
    pub fn latest_at(&self, hour: u32, minute: u32) -> Option<(u32, u32)> {
        let same_hour = bit(self.hours, hour).then(|| highest(self.minutes, minute + 1)).flatten();
        if let Some(minute) = same_hour {
            return Some((hour, minute));
        }
        Some((highest(self.hours, hour)?, highest(self.minutes, 60)?))
    }

    fn has_a_day(&self) -> bool {
        self.either_day
            || (1..=12).zip(DAYS_OF_MONTH).any(|(month, days)| {
                bit(self.months, month) && (1..=days).any(|day| bit(self.days, day))
            })
    }
}

const fn bit(set: u64, at: u32) -> bool {
    set >> at & 1 == 1
}

/// The highest member of a set below `end`.
const fn highest(set: u64, end: u32) -> Option<u32> {
    (set & ((1 << end) - 1)).checked_ilog2()
}

fn field(text: &str, of: (&str, u32, u32)) -> Result<u64, String> {
    text.split(',').try_fold(0, |set, item| Ok(set | item_of(item, of)?))
}

fn item_of(item: &str, (name, low, high): (&str, u32, u32)) -> Result<u64, String> {
    let number = |text: &str| {
        text.parse::<u32>()
            .ok()
            .filter(|value| (low..=high).contains(value))
            .ok_or_else(|| format!("`{text}` is not a {name} between {low} and {high}"))
    };
    let (range, step) = item.split_once('/').map_or((item, None), |(a, b)| (a, Some(b)));
    let stride = match step {
        None => 1,
        Some(step) => step
            .parse::<u32>()
            .ok()
            .filter(|step| (1..=high).contains(step))
            .ok_or_else(|| format!("`{step}` is not a step between 1 and {high}"))?,
    };
    let (first, last) = match range.split_once('-') {
        _ if range == "*" => (low, high),
        Some((first, last)) => (number(first)?, number(last)?),
        // A step from one number on runs to the end.
        None if step.is_some() => (number(range)?, high),
        None => (number(range)?, number(range)?),
    };
    if first > last {
        return Err(format!("the {name}s `{range}` run backwards"));
    }
    Ok((first..=last).step_by(stride as usize).fold(0, |set, value| set | 1 << value))
}

#[cfg(test)]
mod tests {
    use super::Cron;

    #[test]
    fn what_crontab_takes_is_taken() {
        for right in ["0 8 * * 1-5", "*/15 * * * *", "0,30 9-17/2 1 1,7 0", "0 0 29 2 *"] {
            assert!(Cron::parse(right).is_ok(), "{right}");
        }
        for wrong in ["", "0 8 * *", "60 8 * * *", "0 8 * * mon", "0 9-8 * * *", "*/0 * * * *"] {
            assert!(Cron::parse(wrong).is_err(), "{wrong}");
        }
        let never = Cron::parse("0 0 31 2,4 *").unwrap_err();
        assert!(never.contains("no month has"), "{never}");
    }

    #[test]
    fn days_and_weekdays_combine_as_in_crontab() {
        let workdays = Cron::parse("0 8 * * 1-5").unwrap();
        assert!(workdays.has_date(3, 2, 1) && !workdays.has_date(3, 1, 0));
        // Both restricted: either suffices; seven is Sunday.
        let either = Cron::parse("0 8 1 * 7").unwrap();
        assert!(either.has_date(3, 1, 4) && either.has_date(3, 9, 0) && !either.has_date(3, 9, 1));
    }

    #[test]
    fn the_latest_time_of_a_day() {
        let cron = Cron::parse("*/20 9-17/4 * * *").unwrap();
        assert_eq!(cron.latest_at(23, 59), Some((17, 40)));
        assert_eq!(cron.latest_at(13, 39), Some((13, 20)));
        assert_eq!(cron.latest_at(12, 0), Some((9, 40)));
        assert_eq!(cron.latest_at(8, 59), None);
        assert_eq!(Cron::parse("5/30 * * * *").unwrap().latest_at(0, 59), Some((0, 35)));
    }
}
