//! Windows as people write them: `0h..24h`, `30m..2h`, `6h..`.

use forebay_core::api::scalar::Duration;
use forebay_core::time::{Span, Time};

/// Reads a window such as `0h..24h`, `30m..2h`, `6h..` (to the end) or `..2h`, measured from the
/// start of the trace.
///
/// # Errors
/// A sentence that says what was expected.
pub fn parse_window(text: &str) -> Result<(Time, Time), String> {
    let Some((from, to)) = text.split_once("..") else {
        return Err(format!("`{text}` is not a window; expected START..END, such as `0h..24h`"));
    };
    let start = if from.trim().is_empty() { Span::ZERO } else { span(from)? };
    let end = if to.trim().is_empty() { Time::MAX } else { Time::ZERO + span(to)? };
    let start = Time::ZERO + start;
    if end <= start {
        return Err(format!("window `{text}` is empty; its end must come after its start"));
    }
    Ok((start, end))
}

fn span(text: &str) -> Result<Span, String> {
    Duration::parse(text.trim()).map(|duration| duration.0).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_have_a_start_an_end_or_both() {
        let at = |seconds| Time::ZERO + Span::from_secs(seconds);
        assert_eq!(parse_window("0h..24h"), Ok((at(0), at(86_400))));
        assert_eq!(parse_window("30m..2h"), Ok((at(1_800), at(7_200))));
        assert_eq!(parse_window("1h30m .. 1.75h"), Ok((at(5_400), at(6_300))));
        assert_eq!(parse_window("6h.."), Ok((at(21_600), Time::MAX)));
        assert_eq!(parse_window("..90s"), Ok((at(0), at(90))));
        assert!(parse_window("6h").unwrap_err().contains("START..END"));
        assert!(parse_window("2h..1h").unwrap_err().contains("empty"));
        assert!(parse_window("2..3").unwrap_err().contains("`2` has no unit; expected a duration"));
        assert!(parse_window("-2h..3h").unwrap_err().contains("expected a duration"));
    }
}
