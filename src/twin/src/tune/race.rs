//! The two phases of the search: dividing the headroom's range, then races of the rest.

use rand::RngExt;

use super::{BATCH, Outcome, Search, Setting, better};
use crate::policy::PolicySpec;

/// Share of the runs that the headroom alone may use while other knobs wait.
const HEADROOM_RUNS: f64 = 0.4;
/// Places of the headroom closer than this are not worth telling apart.
const HEADROOM_STEP_MIN: f64 = 1e-3;
/// Challengers of a race that get their headroom adjusted.
const FINALISTS: usize = 3;
/// First and last width of random changes, as shares of a knob's range.
const CHANGE: (f64, f64) = (0.35, 0.08);
/// Rounds over which changes narrow.
const NARROWING: f64 = 8.0;

impl<E> Search<'_, E>
where
    E: Fn(&PolicySpec) -> Outcome + Sync,
{
    /// Divides the headroom's range around its best place, all else at its default.
    pub(super) fn divide_headroom(&mut self) {
        let runs = self.effort.runs.max(1) as f64;
        let alone = self.knobs.len() == 1;
        let allowed = if alone { runs } else { (runs * HEADROOM_RUNS).max(BATCH as f64) } as usize;
        let rest: Setting = self.knobs.iter().skip(1).map(super::Knob::default_place).collect();
        let setting = |place: f64| [vec![place], rest.clone()].concat();
        let (mut low, mut high) = (0.0, 1.0);
        let mut places: Vec<f64> = Vec::new();
        loop {
            // Ends belong to the first round; later ones have them from the round before.
            let width = high - low;
            let round: Vec<f64> = if places.is_empty() {
                (0..BATCH).map(|step| step as f64 / (BATCH - 1) as f64).collect()
            } else {
                (1..=BATCH / 2)
                    .map(|step| low + width * step as f64 / (BATCH / 2 + 1) as f64)
                    .collect()
            };
            let before = self.points.len();
            self.run(round.iter().map(|&place| setting(place)).collect());
            places.extend(round);
            places.sort_by(f64::total_cmp);
            let known: Vec<(f64, usize)> = places
                .iter()
                .filter_map(|&place| {
                    let spec = self.spec(&setting(place)).to_string();
                    Some((place, *self.tried.get(&spec)?))
                })
                .collect();
            let Some(best) = (0..known.len()).reduce(|best, other| {
                let [one, two] = [other, best].map(|at| &self.points[known[at].1]);
                if better(one, two) { other } else { best }
            }) else {
                return;
            };
            // Places that came out as the same SPEC (whole numbers) are one place.
            let differs = |&&(_, point): &&(f64, usize)| point != known[best].1;
            low = known[..best].iter().rev().find(differs).map_or(known[best].0, |found| found.0);
            high = known[best..].iter().find(differs).map_or(known[best].0, |found| found.0);
            let nothing_new = self.points.len() == before;
            if nothing_new || high - low < HEADROOM_STEP_MIN || self.points.len() >= allowed {
                return;
            }
        }
    }

    /// Races random changes of the best setting until the budget is used.
    pub(super) fn race(&mut self) {
        if self.knobs.len() < 2 {
            return;
        }
        let mut lead = self.leading_setting();
        let mut round = 0_u32;
        // Rounds in which every change came out as a SPEC that had been run before.
        let mut idle = 0_u32;
        while self.left() > 0 && idle < 4 {
            let narrow = (f64::from(round) / NARROWING).min(1.0);
            let width = CHANGE.0 + (CHANGE.1 - CHANGE.0) * narrow;
            let before = self.points.len();
            let challengers: Vec<Setting> =
                (0..BATCH).map(|_| self.changed(&lead, width)).collect();
            let ran = self.run(challengers.clone());
            let slope = self.cost_per_margin();
            let mut ranked: Vec<(f64, &Setting, usize)> = challengers
                .iter()
                .zip(ran)
                .filter_map(|(setting, point)| {
                    let point = point?;
                    let Outcome { cost_usd, .. } = self.points[point].outcome;
                    let margin = self.points[point].margin.clamp(-20.0, 1.0);
                    let value = cost_usd - slope * margin;
                    value.is_finite().then_some((value, setting, point))
                })
                .collect();
            ranked.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.2.cmp(&b.2)));
            let finals: Vec<Setting> = ranked
                .iter()
                .take(FINALISTS)
                .flat_map(|(_, setting, point)| self.adjusted(setting, *point))
                .collect();
            self.run(finals.clone());
            let leader = self.best;
            let found = finals.iter().chain(&challengers).find(|setting| {
                let spec = self.spec(setting).to_string();
                self.tried.get(&spec).copied() == leader && leader.is_some()
            });
            if let Some(found) = found {
                lead.clone_from(found);
            }
            idle = if self.points.len() == before { idle + 1 } else { 0 };
            round += 1;
        }
    }

    /// The setting of the best point: its headroom, all else at its default.
    fn leading_setting(&self) -> Setting {
        let mut setting: Setting = self.knobs.iter().map(super::Knob::default_place).collect();
        let best = self.best.and_then(|best| self.points.get(best));
        let text = best.and_then(|best| best.spec.get(self.knobs[0].key()));
        if let Some(place) = text.and_then(|text| self.place_of_headroom(text)) {
            setting[0] = place;
        }
        setting
    }

    /// A place of the headroom that reads as `text`.
    fn place_of_headroom(&self, text: &str) -> Option<f64> {
        const STEPS: u32 = 20_000;
        let places = (0..=STEPS).map(|step| f64::from(step) / f64::from(STEPS));
        let value: f64 = text.trim_end_matches('s').parse().ok()?;
        let distance = |place: f64| {
            let read: f64 =
                self.knobs[0].text(place).trim_end_matches('s').parse().unwrap_or(f64::MAX);
            (read - value).abs()
        };
        places.min_by(|&a, &b| distance(a).total_cmp(&distance(b)))
    }

    /// One or two knobs besides the headroom, elsewhere.
    fn changed(&mut self, lead: &Setting, width: f64) -> Setting {
        let mut setting = lead.clone();
        let others = self.knobs.len() - 1;
        let count = if others > 1 && self.random.random_bool(0.5) { 2 } else { 1 };
        for _ in 0..count {
            let knob = 1 + self.random.random_range(0..others);
            let change = self.random.random_range(-width..width);
            // Reflected at the ends, so that they are not tried over and over.
            let place = (setting[knob] + change).abs();
            setting[knob] = if place > 1.0 { 2.0 - place } else { place };
        }
        setting
    }

    /// The challenger at headrooms nearer to where it would just attain: on the side to which the
    /// margin falls where it has some to spare, else on the other.
    fn adjusted(&self, setting: &Setting, point: usize) -> Vec<Setting> {
        let point = &self.points[point];
        let direction =
            if point.attains() { -self.margin_direction() } else { self.margin_direction() };
        let reach = (point.margin.abs() * 0.05).clamp(0.004, 0.08);
        [0.5, 1.5]
            .iter()
            .map(|factor| {
                let mut moved = setting.clone();
                moved[0] = (moved[0] + direction * reach * factor).clamp(0.0, 1.0);
                moved
            })
            .collect()
    }

    /// +1 where the margin rises with the headroom's place, -1 where it falls: from the first
    /// round, which covered the whole range.
    fn margin_direction(&self) -> f64 {
        let first = self.points.iter().take(BATCH);
        let margins: Vec<f64> = first.map(|point| point.margin).collect();
        let half = margins.len() / 2;
        let (low, high): (f64, f64) =
            (margins[..half].iter().sum(), margins[margins.len() - half..].iter().sum());
        if low > high { -1.0 } else { 1.0 }
    }

    /// USD that a unit of margin costs near the goal, from the frontier.
    fn cost_per_margin(&self) -> f64 {
        let frontier = super::Frontier::of(&self.points);
        let above = frontier.points.partition_point(|point| point.margin < 0.0);
        let pair = match above {
            0 => frontier.points.first().zip(frontier.points.get(1)),
            _ => frontier.points.get(above - 1).zip(frontier.points.get(above)),
        };
        pair.map_or(0.0, |(low, high)| {
            (high.outcome.cost_usd - low.outcome.cost_usd) / (high.margin - low.margin).max(1e-9)
        })
    }
}
