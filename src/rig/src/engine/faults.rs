//! Faults on demand.
//!
//! For one request by the header [`FAULT_HEADER`], for all requests of an engine until changed by
//! `PUT /test/faults` with `{"answers": FAULT, "metrics": FAULT}` (either may be null or left out:
//! none). Faults of answers: `refuse` (503 at once), `die` (the connection breaks before the
//! answer's head), `die:N` (it breaks after N events of a stream, or in the middle of a JSON
//! answer), `hang` (nothing ever comes). Faults of the metrics page: `refuse` (503), `hang`,
//! `stall` (the page of the moment of the fault, for ever), `nonsense` (not a page at all).

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

/// Request header with a fault of this answer.
pub const FAULT_HEADER: &str = "x-forebay-test-fault";

/// What goes wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnswerFault {
    Refuse,
    Die,
    DieAfter(u32),
    Hang,
}

/// What goes wrong with the metrics page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PageFault {
    Refuse,
    Hang,
    /// With the page that is shown from now on.
    Stall(String),
    Nonsense,
}

/// Faults of one engine.
#[derive(Debug, Default)]
pub(super) struct Faults(Mutex<Set>);

#[derive(Clone, Debug, Default)]
struct Set {
    answers: Option<AnswerFault>,
    page: Option<PageFault>,
}

/// The body of `PUT /test/faults`.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    #[serde(default)]
    answers: Option<String>,
    #[serde(default)]
    metrics: Option<String>,
}

impl Faults {
    fn locked(&self) -> MutexGuard<'_, Set> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fault of an answer: the request's own before the engine's.
    ///
    /// # Errors
    /// What is wrong with `header`.
    pub(super) fn of_answer(&self, header: Option<&str>) -> Result<Option<AnswerFault>, String> {
        match header {
            Some(text) => answer_fault(text).map(Some),
            None => Ok(self.locked().answers),
        }
    }

    pub(super) fn of_page(&self) -> Option<PageFault> {
        self.locked().page.clone()
    }

    /// Replaces what is set; `page` is shown by a stalled page.
    ///
    /// # Errors
    /// What is wrong with `wanted`; nothing has changed then.
    pub(super) fn set(&self, wanted: &Wanted, page: impl FnOnce() -> String) -> Result<(), String> {
        let answers = wanted.answers.as_deref().map(answer_fault).transpose()?;
        let page = match wanted.metrics.as_deref() {
            None => None,
            Some("refuse") => Some(PageFault::Refuse),
            Some("hang") => Some(PageFault::Hang),
            Some("stall") => Some(PageFault::Stall(page())),
            Some("nonsense") => Some(PageFault::Nonsense),
            Some(other) => {
                return Err(format!(
                    "metrics: `{other}`; expected refuse, hang, stall or nonsense"
                ));
            }
        };
        *self.locked() = Set { answers, page };
        Ok(())
    }
}

fn answer_fault(text: &str) -> Result<AnswerFault, String> {
    let wrong = || format!("fault `{text}`; expected refuse, die, die:N or hang");
    match text {
        "refuse" => Ok(AnswerFault::Refuse),
        "die" => Ok(AnswerFault::Die),
        "hang" => Ok(AnswerFault::Hang),
        _ => {
            let events = text.strip_prefix("die:").ok_or_else(wrong)?;
            events.parse().map(AnswerFault::DieAfter).map_err(|_| wrong())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_s_own_fault_goes_before_the_engine_s() {
        let faults = Faults::default();
        let wanted = |text: &str| serde_json::from_str::<Wanted>(text).unwrap();
        faults
            .set(&wanted(r#"{"answers": "hang", "metrics": "stall"}"#), || "then".into())
            .unwrap();
        assert_eq!(faults.of_answer(None), Ok(Some(AnswerFault::Hang)));
        assert_eq!(faults.of_answer(Some("die:3")), Ok(Some(AnswerFault::DieAfter(3))));
        assert_eq!(faults.of_page(), Some(PageFault::Stall("then".into())));
        assert!(faults.of_answer(Some("die:x")).is_err());
        assert!(faults.set(&wanted(r#"{"answers": "sulk"}"#), String::new).is_err());
        faults.set(&wanted("{}"), String::new).unwrap();
        assert_eq!((faults.of_answer(None), faults.of_page()), (Ok(None), None));
    }
}
