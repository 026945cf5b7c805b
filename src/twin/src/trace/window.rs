//! Spans and windows as people write them: `90s`, `1h30m`, `0h..24h`, `6h..`.

use forebay_core::time::{Span, Time};

const UNITS: [(&str, u64); 7] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// Reads a span as Kubernetes writes durations (`800ms`, `1h30m`, `1.5h`), with `d` for days.
///
/// # Errors
/// A sentence that says what was expected.
pub fn parse_span(text: &str) -> Result<Span, String> {
    let wrong = || {
        format!(
            "`{text}` is not a span of time; expected numbers with units ns, us, ms, s, m, h or d, such as `30m` or `1h30m`"
        )
    };
    let mut rest = text.trim();
    if rest == "0" {
        return Ok(Span::ZERO);
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut nanos = 0.0_f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let unit_end = rest[digits..]
            .find(|c: char| !c.is_ascii_alphabetic())
            .map_or(rest.len(), |end| digits + end);
        let amount: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        let (_, unit_nanos) =
            UNITS.iter().find(|(unit, _)| *unit == &rest[digits..unit_end]).ok_or_else(wrong)?;
        nanos += amount * *unit_nanos as f64;
        rest = &rest[unit_end..];
    }
    Ok(Span(nanos.round() as u64))
}

/// Reads a window such as `0h..24h`, `30m..2h`, `6h..` (to the end) or `..2h`, measured from the
/// start of the trace.
///
/// # Errors
/// A sentence that says what was expected.
pub fn parse_window(text: &str) -> Result<(Time, Time), String> {
    let Some((from, to)) = text.split_once("..") else {
        return Err(format!("`{text}` is not a window; expected START..END, such as `0h..24h`"));
    };
    let start = if from.trim().is_empty() { Span::ZERO } else { parse_span(from)? };
    let end = if to.trim().is_empty() { Time::MAX } else { Time::ZERO + parse_span(to)? };
    let start = Time::ZERO + start;
    if end <= start {
        return Err(format!("window `{text}` is empty; its end must come after its start"));
    }
    Ok((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_kubernetes_writes_them() {
        assert_eq!(parse_span("800ms"), Ok(Span::from_millis(800)));
        assert_eq!(parse_span("1h30m"), Ok(Span::from_secs(5_400)));
        assert_eq!(parse_span("1.5h"), Ok(Span::from_secs(5_400)));
        assert_eq!(parse_span("7d"), Ok(Span::from_secs(604_800)));
        assert_eq!(parse_span("0"), Ok(Span::ZERO));
        for wrong in ["", "5", "h", "-1h", "1 h", "3w", "1..2s", "5µs"] {
            let error = parse_span(wrong).unwrap_err();
            assert!(error.contains("expected numbers with units"), "{wrong}: {error}");
        }
    }

    #[test]
    fn windows_have_a_start_an_end_or_both() {
        let at = |seconds| Time::ZERO + Span::from_secs(seconds);
        assert_eq!(parse_window("0h..24h"), Ok((at(0), at(86_400))));
        assert_eq!(parse_window("30m..2h"), Ok((at(1_800), at(7_200))));
        assert_eq!(parse_window("6h.."), Ok((at(21_600), Time::MAX)));
        assert_eq!(parse_window("..90s"), Ok((at(0), at(90))));
        assert!(parse_window("6h").unwrap_err().contains("START..END"));
        assert!(parse_window("2h..1h").unwrap_err().contains("empty"));
        assert!(parse_window("2h..x").unwrap_err().contains("`x`"));
    }
}
