//! Who kept what was promised: the one place that decides it, for every face of a report.

use std::collections::BTreeMap;

use super::{Report, Run, TierSummary, TierTarget};

/// Longest label of a policy, in characters; a SPEC may be a whole command line.
const LABEL_CHARS_MAX: usize = 32;
/// Costs closer than this share of each other are the same: below what a seed moves.
const TIE_SHARE: f64 = 0.001;

/// How a run stands to what was promised.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Standing {
    /// Every tier with requests attained at its percentile.
    Keeps,
    /// Some did not, the largest shortfall first.
    Misses(Vec<Shortfall>),
    /// Nothing was promised, or nothing was scored.
    Unjudged,
    /// The run ended early.
    Aborted,
}

/// A tier that attained too little.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Shortfall {
    /// The tier.
    pub(crate) tier: String,
    /// The fleet, where there are several.
    pub(crate) fleet: Option<String>,
    /// Share that attained.
    pub(crate) attainment: f64,
    /// Share that had to.
    pub(crate) required: f64,
}

impl Shortfall {
    /// `interactive`, or `interactive on chat-8b`.
    pub(crate) fn whose(&self) -> String {
        match &self.fleet {
            Some(fleet) => format!("{} on {fleet}", self.tier),
            None => self.tier.clone(),
        }
    }

    fn depth(&self) -> f64 {
        self.required - self.attainment
    }
}

impl Standing {
    /// The deepest shortfall; 0 for a run that keeps everything.
    pub(crate) fn depth(&self) -> f64 {
        match self {
            Self::Misses(shortfalls) => shortfalls.first().map_or(0.0, Shortfall::depth),
            _ => 0.0,
        }
    }

    /// Whether that tier attained too little, on any fleet.
    pub(crate) fn misses(&self, tier: &str) -> bool {
        match self {
            Self::Misses(shortfalls) => shortfalls.iter().any(|short| short.tier == tier),
            _ => false,
        }
    }

    /// Rank in a table: those that keep, those that cannot be judged, those that miss, and those
    /// that ended early.
    pub(crate) const fn rank(&self) -> u8 {
        match self {
            Self::Keeps => 0,
            Self::Unjudged => 1,
            Self::Misses(_) => 2,
            Self::Aborted => 3,
        }
    }
}

impl TierTarget {
    /// The largest share that any fleet requires; `None` where nothing is promised.
    pub(crate) fn required(&self) -> Option<f64> {
        self.objectives.iter().map(|objective| objective.percentile).reduce(f64::max)
    }

    fn required_on(&self, fleet: &str) -> Option<f64> {
        self.objectives
            .iter()
            .find(|objective| objective.fleet == fleet)
            .map(|objective| objective.percentile)
    }

    fn shortfalls(&self, outcome: &TierSummary) -> Vec<Shortfall> {
        let short =
            |fleet: Option<&String>, requests: u64, attained: u64, required: Option<f64>| {
                let required: f64 = required?;
                let attainment = (requests > 0).then(|| attained as f64 / requests as f64)?;
                // Counts are exact; the tolerance is for the division alone.
                (attainment < required - 1e-12).then(|| Shortfall {
                    tier: self.name.clone(),
                    fleet: fleet.cloned(),
                    attainment,
                    required,
                })
            };
        if outcome.fleets.is_empty() {
            return short(None, outcome.requests, outcome.attained, self.required())
                .into_iter()
                .collect();
        }
        let by_fleet = outcome.fleets.iter();
        by_fleet
            .filter_map(|(fleet, counts)| {
                short(Some(fleet), counts.requests, counts.attained, self.required_on(fleet))
            })
            .collect()
    }
}

impl Report {
    /// Whether a run kept what was promised.
    pub(crate) fn standing(&self, run: &Run) -> Standing {
        if run.aborted.is_some() {
            return Standing::Aborted;
        }
        let judged: Vec<(&TierTarget, &TierSummary)> = self
            .tiers
            .iter()
            .filter(|tier| !tier.objectives.is_empty())
            .filter_map(|tier| run.tiers.get(&tier.name).map(|outcome| (tier, outcome)))
            .filter(|(_, outcome)| outcome.requests > 0)
            .collect();
        if judged.is_empty() {
            return Standing::Unjudged;
        }
        let mut shortfalls: Vec<Shortfall> =
            judged.iter().flat_map(|(tier, outcome)| tier.shortfalls(outcome)).collect();
        if shortfalls.is_empty() {
            return Standing::Keeps;
        }
        shortfalls.sort_by(|left, right| right.depth().total_cmp(&left.depth()));
        Standing::Misses(shortfalls)
    }

    /// Runs in the order of a table: by [`Standing::rank`], the cheapest first.
    pub(crate) fn ranked(&self) -> Vec<(usize, &Run, Standing)> {
        let mut ranked: Vec<_> = self
            .runs
            .iter()
            .enumerate()
            .map(|(index, run)| (index, run, self.standing(run)))
            .collect();
        ranked.sort_by(|(_, left, left_standing), (_, right, right_standing)| {
            let rank = left_standing.rank().cmp(&right_standing.rank());
            rank.then(left.cost_usd.total_cmp(&right.cost_usd))
        });
        ranked
    }

    /// Every tier that was promised something or had requests: the report's order, then by name.
    pub(crate) fn tier_targets(&self) -> Vec<TierTarget> {
        let mut tiers = self.tiers.clone();
        for name in self.runs.iter().flat_map(|run| run.tiers.keys()) {
            if tiers.iter().all(|tier| tier.name != *name) {
                tiers.push(TierTarget { name: name.clone(), ..TierTarget::default() });
            }
        }
        tiers
    }

    /// A short name per run, in the order of [`Report::runs`]; unique, without control characters.
    pub(crate) fn labels(&self) -> Vec<String> {
        let parts: Vec<(String, Vec<String>)> =
            self.runs.iter().map(|run| split_spec(&run.policy)).collect();
        let mut used = BTreeMap::<String, u32>::new();
        let labels: Vec<String> = parts
            .iter()
            .map(|(name, keys)| {
                let same: Vec<_> = parts.iter().filter(|(other, _)| other == name).collect();
                let own: Vec<&str> = keys
                    .iter()
                    .filter(|key| !same.iter().all(|(_, others)| others.contains(key)))
                    .map(String::as_str)
                    .collect();
                if own.is_empty() { name.clone() } else { format!("{name} {}", own.join(",")) }
            })
            .map(|label| shortened(&label, LABEL_CHARS_MAX))
            .collect();
        labels
            .into_iter()
            .map(|label| {
                let seen = used.entry(label.clone()).or_default();
                *seen += 1;
                if *seen == 1 { label } else { format!("{label} ({seen})") }
            })
            .collect()
    }

    /// Cost over the lower bound; `None` without a bound above zero.
    pub(crate) fn over_bound(&self, cost_usd: f64) -> Option<f64> {
        self.oracle.lower_bound_cost_usd.filter(|&bound| bound > 0.0).map(|bound| cost_usd / bound)
    }
}

/// Whether two bills are the same to anybody who reads them.
pub(crate) fn same_cost(left: f64, right: f64) -> bool {
    (left - right).abs() <= TIE_SHARE * left.abs().max(right.abs())
}

/// The name and the keys of a SPEC. What follows `exec:` is a command, not keys.
fn split_spec(spec: &str) -> (String, Vec<String>) {
    let spec: String = spec.chars().filter(|letter| !letter.is_control()).collect();
    match spec.split_once(':') {
        Some(("exec", _)) | None => (spec, Vec::new()),
        Some((name, keys)) => {
            (name.to_owned(), keys.split(',').map(|key| key.trim().to_owned()).collect())
        }
    }
}

/// At most `chars_max` characters, the last an ellipsis where something is missing.
pub(crate) fn shortened(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    let kept: String = text.chars().take(chars_max.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

#[cfg(test)]
mod tests {
    use super::super::{FleetOutcome, Objective};
    use super::*;

    fn tier(percentile: f64) -> TierTarget {
        let objective =
            |fleet: &str| Objective { fleet: fleet.into(), percentile, ..Objective::default() };
        TierTarget {
            name: "interactive".into(),
            deferrable: false,
            objectives: vec![objective("a"), objective("b")],
        }
    }

    fn report(outcome: TierSummary) -> Report {
        let tiers = BTreeMap::from([("interactive".to_owned(), outcome)]);
        Report {
            tiers: vec![tier(0.99)],
            runs: vec![Run { policy: "hpa".into(), tiers, ..Run::default() }],
            ..Report::default()
        }
    }

    #[test]
    fn exactly_the_percentile_is_kept() {
        let outcome = |attained| TierSummary { requests: 100, attained, ..TierSummary::default() };
        let kept = report(outcome(99));
        assert_eq!(kept.standing(&kept.runs[0]), Standing::Keeps);
        let missed = report(outcome(98));
        assert!((missed.standing(&missed.runs[0]).depth() - 0.01).abs() < 1e-12);
    }

    #[test]
    fn one_fleet_cannot_hide_behind_another() {
        let counts = |attained| FleetOutcome { requests: 1_000, attained };
        let fleets = BTreeMap::from([("a".into(), counts(1_000)), ("b".into(), counts(985))]);
        let report =
            report(TierSummary { requests: 2_000, attained: 1_985, fleets, ..Default::default() });
        let Standing::Misses(shortfalls) = report.standing(&report.runs[0]) else {
            panic!("99.25 % over both fleets hides 98.5 % on one")
        };
        assert_eq!(shortfalls[0].whose(), "interactive on b");
    }

    #[test]
    fn nothing_scored_is_not_kept() {
        let report = report(TierSummary::default());
        assert_eq!(report.standing(&report.runs[0]), Standing::Unjudged);
    }

    #[test]
    fn labels_are_short_and_tell_runs_apart() {
        let specs = [
            "static",
            "hpa:target=32,gate=stock",
            "hpa:target=48,gate=stock",
            "exec:python3 my policy.py --with a --very=long,list of arguments",
            "keda",
            "keda",
            "bad\u{1b}[31m",
        ];
        let runs = specs.map(|spec| Run { policy: spec.into(), ..Run::default() });
        let report = Report { runs: runs.to_vec(), ..Report::default() };
        assert_eq!(
            report.labels(),
            [
                "static",
                "hpa target=32",
                "hpa target=48",
                "exec:python3 my policy.py --wit…",
                "keda",
                "keda (2)",
                "bad[31m"
            ]
        );
    }
}
