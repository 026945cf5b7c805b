//! Calendar timestamps of trace files, as nanoseconds since 1970.

/// The form that is accepted, for messages.
pub(super) const EXPECTED: &str =
    "a timestamp such as 2023-11-16 18:15:46.6805900 or 2024-05-10 00:00:00.009930+00:00";

/// Reads `YYYY-MM-DD HH:MM:SS[.fraction][Z|+HH:MM|-HH:MM]` (or with `T`); without a zone, UTC.
/// `None` when it is anything else.
pub(super) fn parse(text: &[u8]) -> Option<i64> {
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = text.get(from..to)?;
        digits.iter().try_fold(0_i64, |value, digit| {
            digit.is_ascii_digit().then(|| value * 10 + i64::from(digit - b'0'))
        })
    };
    let is =
        |index: usize, allowed: &[u8]| text.get(index).is_some_and(|byte| allowed.contains(byte));
    if !(is(4, b"-") && is(7, b"-") && is(10, b" T") && is(13, b":") && is(16, b":")) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    let mut position = 19;
    let mut nanos = 0;
    if is(position, b".") {
        let start = position + 1;
        let end = start + text[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let digits = end - start;
        if digits == 0 || digits > 9 {
            return None;
        }
        nanos = number(start, end)? * 10_i64.pow(9 - digits as u32);
        position = end;
    }
    let zone_seconds = match text.get(position) {
        None => 0,
        Some(b'Z') if text.len() == position + 1 => 0,
        Some(sign @ (b'+' | b'-')) if text.len() == position + 6 && is(position + 3, b":") => {
            let offset = number(position + 1, position + 3)? * 3_600
                + number(position + 4, position + 6)? * 60;
            if *sign == b'+' { offset } else { -offset }
        }
        Some(_) => return None,
    };
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some((seconds - zone_seconds) * 1_000_000_000 + nanos)
}

/// Days from 1970-01-01 in the Gregorian calendar, by counting from 1 March of the year 0.
const fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year / 4 - year / 100 + year / 400;
    year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_azure_forms_are_read() {
        assert_eq!(parse(b"1970-01-01 00:00:00"), Some(0));
        assert_eq!(parse(b"2023-11-16 18:15:46.6805900"), Some(1_700_158_546_680_590_000));
        assert_eq!(parse(b"2024-05-10 00:00:00.009930+00:00"), Some(1_715_299_200_009_930_000));
        assert_eq!(parse(b"2024-05-10T02:00:00+02:00"), Some(1_715_299_200_000_000_000));
        assert_eq!(parse(b"2024-03-01 00:00:00Z"), Some(1_709_251_200_000_000_000));
    }

    #[test]
    fn anything_else_is_refused() {
        for wrong in [
            "",
            "2023-11-16",
            "2023-11-16 18:15",
            "2023-13-16 18:15:46",
            "2023-11-16 18:15:46.",
            "2023-11-16 18:15:46+0000",
            "16.11.2023 18:15:46",
            "2023-11-16 18:15:4x",
            "12",
        ] {
            assert_eq!(parse(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
