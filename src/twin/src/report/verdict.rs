//! The verdict: what somebody who reads one sentence should take away.

use super::format::{attained, difference, list, money, required, times};
use super::judge::{Shortfall, Standing, same_cost};
use super::{Report, Run};

/// Most policies named as equally cheap; more are counted.
const TIES_NAMED_MAX: usize = 3;

/// One sentence: which policy is the cheapest of those that keep every tier's SLO, how far from
/// the lower bound it is, and what a cheaper one misses.
///
/// A run that ended early does not count. Shares are rounded down, so none reads as a target that
/// it did not reach.
#[must_use]
pub fn verdict(report: &Report) -> String {
    let entries = entries(report);
    let finished: Vec<&Entry> =
        entries.iter().filter(|entry| entry.standing != Standing::Aborted).collect();
    let ended: Vec<&Entry> =
        entries.iter().filter(|entry| entry.standing == Standing::Aborted).collect();
    if finished.is_empty() {
        return nothing_finished(&ended);
    }
    let keepers: Vec<&Entry> =
        finished.iter().copied().filter(|entry| entry.standing == Standing::Keeps).collect();
    let main = if !keepers.is_empty() {
        with_keepers(report, &keepers, &finished)
    } else if finished.iter().all(|entry| entry.standing == Standing::Unjudged) {
        format!(
            "No request was scored against an SLO, so cost is all there is to compare: {} costs \
             least, {}",
            finished[0].label,
            bill(report, finished[0])
        )
    } else {
        without_keepers(report, &finished)
    };
    format!("{main}{}.", ended_clause(&ended))
}

/// A run with its label and standing.
struct Entry<'a> {
    label: String,
    run: &'a Run,
    standing: Standing,
}

impl Entry<'_> {
    fn shortfalls(&self) -> &[Shortfall] {
        match &self.standing {
            Standing::Misses(shortfalls) => shortfalls,
            _ => &[],
        }
    }
}

fn entries(report: &Report) -> Vec<Entry<'_>> {
    let labels = report.labels();
    let ranked = report.ranked().into_iter();
    ranked
        .map(|(index, run, standing)| Entry { label: labels[index].clone(), run, standing })
        .collect()
}

fn with_keepers(report: &Report, keepers: &[&Entry], finished: &[&Entry]) -> String {
    let best = keepers[0];
    let as_cheap = |entry: &&&Entry| same_cost(entry.run.cost_usd, best.run.cost_usd);
    let ties = keepers.iter().filter(as_cheap).count().max(1);
    let bill = bill(report, best);
    let head = match (keepers.len(), finished.len()) {
        (_, 1) => format!("{} keeps every tier's SLO: {bill}", best.label),
        (1, all) => {
            format!(
                "{} is the only policy of {all} that keeps every tier's SLO: {bill}",
                best.label
            )
        }
        _ if ties > 1 => {
            format!("{} keep every tier's SLO at the least cost: {bill}", tied(&keepers[..ties]))
        }
        (2, 2) => {
            format!("Both policies keep every tier's SLO; {} is the cheaper: {bill}", best.label)
        }
        (kept, all) if kept == all => {
            format!(
                "All {all} policies keep every tier's SLO; {} is the cheapest: {bill}",
                best.label
            )
        }
        _ => {
            format!("{} is the cheapest policy that keeps every tier's SLO: {bill}", best.label)
        }
    };
    let saving = |entry: &Entry| 1.0 - entry.run.cost_usd / best.run.cost_usd;
    let tempting = finished
        .iter()
        .filter(|entry| !entry.shortfalls().is_empty())
        .filter(|entry| entry.run.cost_usd < best.run.cost_usd)
        .filter(|entry| !same_cost(entry.run.cost_usd, best.run.cost_usd))
        .min_by(|left, right| left.standing.depth().total_cmp(&right.standing.depth()));
    if let Some(entry) = tempting {
        let (less, misses) = (difference(saving(entry)), missed(entry.shortfalls()));
        return format!("{head}; {} is {less} cheaper but {misses}", entry.label);
    }
    match keepers.get(ties) {
        Some(next) if best.run.cost_usd > 0.0 => {
            format!("{head}; next is {}, {} dearer", next.label, difference(saving(next)))
        }
        Some(next) => format!("{head}; next is {} at {}", next.label, money(next.run.cost_usd)),
        None => head,
    }
}

fn without_keepers(report: &Report, finished: &[&Entry]) -> String {
    let missing = finished.iter().filter(|entry| !entry.shortfalls().is_empty());
    // `min_by` keeps the first of equals, and the cheaper ones come first.
    let Some(closest) =
        missing.min_by(|left, right| left.standing.depth().total_cmp(&right.standing.depth()))
    else {
        return "No request was scored against an SLO".to_owned();
    };
    let bill = bill(report, closest);
    if finished.len() == 1 {
        return format!("{} {}, at {bill}", closest.label, missed(closest.shortfalls()));
    }
    format!(
        "No policy keeps every tier's SLO; {} comes closest, at {bill}, and {}",
        closest.label,
        missed(closest.shortfalls())
    )
}

fn nothing_finished(ended: &[&Entry]) -> String {
    match ended {
        [] => "No policy was simulated.".to_owned(),
        [only] => format!("{} ended early: {}.", only.label, reason(only)),
        [first, ..] => format!(
            "None of {} runs finished; {} ended early: {}.",
            ended.len(),
            first.label,
            reason(first)
        ),
    }
}

fn reason(entry: &Entry) -> String {
    let reason = entry.run.aborted.as_deref().unwrap_or("no reason given");
    let reason: String = reason.chars().filter(|letter| !letter.is_control()).collect();
    reason.trim_end_matches('.').to_owned()
}

fn ended_clause(ended: &[&Entry]) -> String {
    let labels: Vec<String> = ended.iter().map(|entry| entry.label.clone()).collect();
    match labels.len() {
        0 => String::new(),
        1 => format!("; {} ended early and does not count", labels[0]),
        _ => format!("; {} ended early and do not count", list(&labels)),
    }
}

fn tied(entries: &[&Entry]) -> String {
    let mut labels: Vec<String> =
        entries.iter().take(TIES_NAMED_MAX).map(|entry| entry.label.clone()).collect();
    if entries.len() > TIES_NAMED_MAX {
        labels.push(format!("{} more", entries.len() - TIES_NAMED_MAX));
    }
    list(&labels)
}

/// `misses interactive: 97.1 % < 99 %`, and how many others.
fn missed(shortfalls: &[Shortfall]) -> String {
    let Some(worst) = shortfalls.first() else { return "misses nothing".to_owned() };
    let others = match shortfalls.len() - 1 {
        0 => String::new(),
        1 => " and one other tier".to_owned(),
        more => format!(" and {more} other tiers"),
    };
    let share = attained(worst.attainment, Some(worst.required));
    format!("misses {}: {share} < {}{others}", worst.whose(), required(worst.required))
}

/// The cost, and what it is to the lower bound where there is one.
fn bill(report: &Report, entry: &Entry) -> String {
    let cost = entry.run.cost_usd;
    let keeps = entry.standing == Standing::Keeps;
    match (report.over_bound(cost), report.oracle.lower_bound_cost_usd) {
        // Only a policy that keeps its SLOs must not undercut the bound: missing more is cheaper.
        (Some(ratio), Some(bound)) if keeps && ratio < 1.0 && !same_cost(cost, bound) => {
            format!(
                "{}, below the lower bound of {}, so the bound is wrong",
                money(cost),
                money(bound)
            )
        }
        (Some(ratio), _) => format!("{}, {}x the lower bound", money(cost), times(ratio)),
        (None, _) => money(cost),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::{Objective, OracleSummary, TierSummary, TierTarget};
    use super::*;

    /// Name, cost, attained of 1,000 in `interactive` (99 %) and in `standard` (95 %).
    fn report(bound: Option<f64>, runs: &[(&str, f64, u64, u64)]) -> Report {
        let tier = |name: &str, percentile| TierTarget {
            name: name.into(),
            deferrable: false,
            objectives: vec![Objective {
                fleet: "chat".into(),
                percentile,
                ..Objective::default()
            }],
        };
        let outcome = |attained: u64| TierSummary {
            requests: 1_000,
            attained,
            attainment: attained as f64 / 1_000.0,
            ..TierSummary::default()
        };
        let run = |&(policy, cost_usd, interactive, standard): &(&str, f64, u64, u64)| Run {
            policy: policy.into(),
            cost_usd,
            tiers: BTreeMap::from([
                ("interactive".into(), outcome(interactive)),
                ("standard".into(), outcome(standard)),
            ]),
            ..Run::default()
        };
        Report {
            tiers: vec![tier("interactive", 0.99), tier("standard", 0.95)],
            oracle: OracleSummary { lower_bound_cost_usd: bound, clairvoyant_cost_usd: None },
            runs: runs.iter().map(run).collect(),
            ..Report::default()
        }
    }

    #[track_caller]
    fn says(report: &Report, sentence: &str) {
        assert_eq!(verdict(report), sentence);
    }

    #[test]
    fn one_keeps_and_a_cheaper_one_misses() {
        says(
            &report(
                Some(314.5),
                &[("hpa:target=32", 362.0, 971, 990), ("llmd-slo", 412.0, 995, 990)],
            ),
            "llmd-slo is the only policy of 2 that keeps every tier's SLO: $412, 1.31x the lower \
             bound; hpa is 12 % cheaper but misses interactive: 97.1 % < 99 %.",
        );
    }

    #[test]
    fn several_keep_and_a_cheaper_one_misses() {
        says(
            &report(
                Some(314.5),
                &[
                    ("static", 700.0, 1_000, 1_000),
                    ("hpa", 362.0, 971, 900),
                    ("keda", 300.0, 900, 990),
                    ("llmd-slo", 412.0, 990, 950),
                ],
            ),
            "llmd-slo is the cheapest policy that keeps every tier's SLO: $412, 1.31x the lower \
             bound; hpa is 12 % cheaper but misses standard: 90.0 % < 95 % and one other tier.",
        );
    }

    #[test]
    fn all_keep() {
        says(
            &report(None, &[("static", 440.0, 1_000, 1_000), ("hpa", 400.0, 999, 999)]),
            "Both policies keep every tier's SLO; hpa is the cheaper: $400; next is static, 10 % \
             dearer.",
        );
        says(
            &report(
                Some(400.0),
                &[("a", 440.0, 999, 999), ("b", 500.0, 999, 999), ("c", 480.0, 999, 999)],
            ),
            "All 3 policies keep every tier's SLO; a is the cheapest: $440, 1.10x the lower bound; \
             next is c, 9.1 % dearer.",
        );
    }

    #[test]
    fn nobody_keeps() {
        says(
            &report(Some(200.0), &[("static", 700.0, 989, 1_000), ("hpa", 362.0, 971, 900)]),
            "No policy keeps every tier's SLO; static comes closest, at $700, 3.50x the lower \
             bound, and misses interactive: 98.9 % < 99 %.",
        );
    }

    #[test]
    fn one_alone() {
        says(
            &report(None, &[("static", 41.2, 1_000, 1_000)]),
            "static keeps every tier's SLO: $41.20.",
        );
        says(
            &report(None, &[("static", 41.2, 500, 1_000)]),
            "static misses interactive: 50.0 % < 99 %, at $41.20.",
        );
    }

    #[test]
    fn ties_share_the_verdict() {
        says(
            &report(
                Some(400.0),
                &[
                    ("a", 400.1, 999, 999),
                    ("b", 400.0, 999, 999),
                    ("c", 400.2, 999, 999),
                    ("d", 399.9, 999, 999),
                    ("e", 480.0, 999, 999),
                ],
            ),
            "d, b, a and 1 more keep every tier's SLO at the least cost: $400, 1.00x the lower \
             bound; next is e, 20 % dearer.",
        );
    }

    #[test]
    fn a_run_that_ended_early_does_not_count() {
        let mut cut =
            report(None, &[("exec:./mine", 10.0, 1_000, 1_000), ("hpa", 400.0, 999, 999)]);
        cut.runs[0].aborted = Some("the command exited with status 1.".into());
        says(&cut, "hpa keeps every tier's SLO: $400; exec:./mine ended early and does not count.");
        cut.runs.truncate(1);
        says(&cut, "exec:./mine ended early: the command exited with status 1.");
    }

    #[test]
    fn cheaper_than_the_bound_blames_the_bound() {
        says(
            &report(Some(450.0), &[("hpa", 400.0, 999, 999)]),
            "hpa keeps every tier's SLO: $400, below the lower bound of $450, so the bound is wrong.",
        );
        says(
            &report(Some(450.0), &[("hpa", 400.0, 900, 999)]),
            "hpa misses interactive: 90.0 % < 99 %, at $400, 0.89x the lower bound.",
        );
    }

    #[test]
    fn nothing_to_judge() {
        says(&Report::default(), "No policy was simulated.");
        let mut bare = report(None, &[("a", 4.0, 0, 0), ("b", 3.0, 0, 0)]);
        bare.tiers.clear();
        says(
            &bare,
            "No request was scored against an SLO, so cost is all there is to compare: b costs \
             least, $3.00.",
        );
    }

    #[test]
    fn free_capacity_has_no_percentages() {
        says(
            &report(Some(0.0), &[("a", 0.0, 999, 999), ("b", 3.0, 999, 999)]),
            "Both policies keep every tier's SLO; a is the cheaper: $0; next is b at $3.00.",
        );
    }
}
