//! The five fields of a crontab line, checked so that a schedule that never begins is found when
//! it is read.

/// Format of a cron expression in our schemas.
pub const FORMAT_CRON: &str = "cron";
/// What a cron expression looks like.
pub const EXPECTED: &str =
    "five fields as in crontab, such as `0 8 * * 1-5` (minute hour day month weekday)";

/// Name, lowest and highest value of each field.
const FIELDS: [(&str, u32, u32); 5] =
    [("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 7)];

/// Checks a cron expression: lists, ranges and steps of numbers.
///
/// # Errors
/// What is wrong with it, in words.
pub fn check(text: &str) -> Result<(), String> {
    let parts: Vec<&str> = text.split_whitespace().collect();
    if parts.len() != FIELDS.len() {
        return Err(format!("`{text}` has {} fields, not five", parts.len()));
    }
    for (part, field) in parts.iter().zip(FIELDS) {
        for item in part.split(',') {
            check_item(item, field)?;
        }
    }
    Ok(())
}

fn check_item(item: &str, (name, low, high): (&str, u32, u32)) -> Result<(), String> {
    let number = |text: &str| {
        text.parse::<u32>()
            .ok()
            .filter(|value| (low..=high).contains(value))
            .ok_or_else(|| format!("`{text}` is not a {name} between {low} and {high}"))
    };
    let (range, step) = item.split_once('/').map_or((item, None), |(a, b)| (a, Some(b)));
    if let Some(step) = step
        && !step.parse::<u32>().is_ok_and(|step| (1..=high).contains(&step))
    {
        return Err(format!("`{step}` is not a step between 1 and {high}"));
    }
    if range == "*" {
        return Ok(());
    }
    match range.split_once('-') {
        Some((first, last)) if number(first)? > number(last)? => {
            Err(format!("the {name}s `{range}` run backwards"))
        }
        Some(_) => Ok(()),
        None => number(range).map(|_| ()),
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn what_crontab_takes_is_taken() {
        for right in ["0 8 * * 1-5", "*/15 * * * *", "0,30 9-17/2 1 1,7 0"] {
            assert_eq!(check(right), Ok(()), "{right}");
        }
        for wrong in ["", "0 8 * *", "60 8 * * *", "0 8 * * mon", "0 9-8 * * *", "*/0 * * * *"] {
            assert!(check(wrong).is_err(), "{wrong}");
        }
    }
}
