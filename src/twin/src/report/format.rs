//! Numbers and times as people write them, the same in every face of a report.

/// What is written for a figure that is not a number.
const UNKNOWN: &str = "unknown";

/// Money: two decimals below a hundred dollars, whole dollars with separators above.
pub(crate) fn money(usd: f64) -> String {
    if !usd.is_finite() {
        return UNKNOWN.to_owned();
    }
    let size = usd.abs();
    let sign = if usd < 0.0 { "-" } else { "" };
    if size == 0.0 {
        "$0".to_owned()
    } else if size < 0.095 {
        format!("{sign}${size:.3}")
    } else if size < 99.995 {
        format!("{sign}${size:.2}")
    } else {
        format!("{sign}${}", count(size.round() as u64))
    }
}

/// A whole number with thousands separators.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of about three significant digits, without trailing zeros.
pub(crate) fn number(value: f64) -> String {
    if !value.is_finite() {
        return UNKNOWN.to_owned();
    }
    let size = value.abs();
    let decimals = match size {
        _ if size >= 99.95 => 0,
        _ if size >= 9.995 => 1,
        _ => 2,
    };
    if size >= 999.5 {
        let sign = if value < 0.0 { "-" } else { "" };
        return format!("{sign}{}", count(size.round() as u64));
    }
    let text = format!("{value:.decimals$}");
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    };
    if text == "-0" { "0".to_owned() } else { text }
}

/// How many times as much, without the sign: `1.31`.
pub(crate) fn times(ratio: f64) -> String {
    match ratio {
        _ if !ratio.is_finite() => UNKNOWN.to_owned(),
        _ if ratio >= 99.95 => count(ratio.round() as u64),
        _ if ratio >= 9.995 => format!("{ratio:.1}"),
        _ => format!("{ratio:.2}"),
    }
}

/// How much less or more, in whole percent, or one decimal below ten: `12 %`.
pub(crate) fn difference(share: f64) -> String {
    let percent = share.abs() * 100.0;
    if percent < 9.95 { format!("{percent:.1} %") } else { format!("{percent:.0} %") }
}

/// Decimals that a required share of requests is written with: 0.99 has none, 0.9995 two.
fn decimals_of(required: f64) -> usize {
    let percent = required * 100.0;
    (0..4)
        .find(|&decimals| {
            let scaled = percent * 10f64.powi(decimals);
            (scaled - scaled.round()).abs() < 1e-6
        })
        .unwrap_or(4) as usize
}

/// A required share: `99 %`, `99.5 %`.
pub(crate) fn required(share: f64) -> String {
    let decimals = decimals_of(share);
    format!("{:.decimals$} %", share * 100.0)
}

/// A measured share, rounded down so that it never reads as a target it did not reach: 98.96 %
/// of a required 99 % is `98.9 %`, and `100 %` means every single request.
pub(crate) fn attained(share: f64, required: Option<f64>) -> String {
    if share >= 1.0 {
        return "100 %".to_owned();
    }
    let decimals = required.map_or(1, |share| decimals_of(share).max(1));
    let scale = 10f64.powi(decimals as i32);
    // The tolerance keeps 0.971 from reading as 97.0 % for want of a last bit.
    let percent = (share * 100.0 * scale + 1e-6).floor() / scale;
    format!("{:.decimals$} %", percent.max(0.0))
}

/// A latency in milliseconds, in the unit that suits it.
pub(crate) fn milliseconds(ms: f64) -> String {
    match ms {
        _ if !ms.is_finite() => UNKNOWN.to_owned(),
        _ if ms < 9.95 => format!("{ms:.1} ms"),
        _ if ms < 999.5 => format!("{ms:.0} ms"),
        _ if ms < 9_995.0 => format!("{} s", number(ms / 1e3)),
        _ => duration(ms / 1e3),
    }
}

/// A span of seconds in one or two units: `45 s`, `1 h 30 min`, `24 h`, `7 d`.
pub(crate) fn duration(seconds: f64) -> String {
    if !seconds.is_finite() {
        return UNKNOWN.to_owned();
    }
    if seconds < 99.5 {
        return if seconds < 9.95 && (seconds - seconds.round()).abs() > 1e-9 {
            format!("{seconds:.1} s")
        } else {
            format!("{seconds:.0} s")
        };
    }
    let minutes = (seconds / 60.0).round() as u64;
    let (hours, rest) = (minutes / 60, minutes % 60);
    match (hours, rest) {
        (0, _) => format!("{minutes} min"),
        (1..48, 0) => format!("{hours} h"),
        (1..48, _) => format!("{hours} h {rest} min"),
        _ if hours.is_multiple_of(24) => format!("{} d", hours / 24),
        _ => format!("{} d {} h", hours / 24, hours % 24),
    }
}

/// A time of day, with the day in front once a window spans more than one: `14:05`, `day 3 14:05`.
pub(crate) fn clock(seconds: f64, days: bool) -> String {
    let minutes = (seconds / 60.0).floor().max(0.0) as u64;
    let (day, hour, minute) = (minutes / 1440, minutes / 60 % 24, minutes % 60);
    if days {
        format!("day {} {hour:02}:{minute:02}", day + 1)
    } else {
        format!("{hour:02}:{minute:02}")
    }
}

/// `one`, `one and two`, `one, two and three`.
pub(crate) fn list(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_has_the_digits_that_matter() {
        let cases = [
            (0.0, "$0"),
            (0.0416, "$0.042"),
            (4.1, "$4.10"),
            (99.994, "$99.99"),
            (99.996, "$100"),
            (411.9, "$412"),
            (1_234_567.4, "$1,234,567"),
            (-12.5, "-$12.50"),
        ];
        for (usd, text) in cases {
            assert_eq!(money(usd), text);
        }
    }

    #[test]
    fn a_share_never_reads_as_a_target_it_missed() {
        assert_eq!(attained(0.9896, Some(0.99)), "98.9 %");
        assert_eq!(attained(0.99999, Some(0.99)), "99.9 %");
        assert_eq!(attained(0.971, Some(0.99)), "97.1 %");
        assert_eq!(attained(0.99948, Some(0.9995)), "99.94 %");
        assert_eq!(attained(1.0, None), "100 %");
        assert_eq!(required(0.99), "99 %");
        assert_eq!(required(0.995), "99.5 %");
    }

    #[test]
    fn spans_and_latencies_choose_their_unit() {
        assert_eq!(duration(86_400.0), "24 h");
        assert_eq!(duration(604_800.0), "7 d");
        assert_eq!(duration(5_400.0), "1 h 30 min");
        assert_eq!(duration(600.0), "10 min");
        assert_eq!(milliseconds(8.26), "8.3 ms");
        assert_eq!(milliseconds(412.4), "412 ms");
        assert_eq!(milliseconds(1_234.0), "1.23 s");
        assert_eq!(milliseconds(4_000.0), "4 s");
        assert_eq!(milliseconds(45_000.0), "45 s");
    }

    #[test]
    fn numbers_keep_three_digits() {
        assert_eq!(number(6.204), "6.2");
        assert_eq!(number(12.34), "12.3");
        assert_eq!(number(1_234.0), "1,234");
        assert_eq!(number(100.0), "100");
        assert_eq!(number(-0.001), "0");
        assert_eq!(count(1_000), "1,000");
        assert_eq!(times(1.3149), "1.31");
    }

    #[test]
    fn what_is_not_a_number_is_not_zero() {
        for text in [money(f64::NAN), number(f64::INFINITY), times(f64::NAN), duration(f64::NAN)] {
            assert_eq!(text, "unknown");
        }
    }

    #[test]
    fn times_of_day() {
        assert_eq!(clock(50_709.0, false), "14:05");
        assert_eq!(clock(2.0 * 86_400.0 + 3_600.0, true), "day 3 01:00");
    }
}
