//! One column of each group within the shared limits: group by group, all partial choices side by
//! side, those that leave the same room merged, the least promising dropped beyond a width.
//!
//! Limits are whole accelerators, so thousands of partial choices leave the same room: that is
//! what makes this exact where branching would repeat itself.

use std::collections::BTreeMap;

use super::columns::Columns;
use super::search::slack;

/// What a sweep found.
#[derive(Debug)]
pub(super) struct Swept {
    /// The best choice below the cutoff: value, and the column of each group.
    pub(super) best: Option<(i64, Vec<usize>)>,
    /// No choice that was dropped has a lower value; infinite where none was.
    pub(super) dropped: f64,
    /// Partial choices looked at.
    pub(super) nodes: u64,
}

/// What a sweep is asked.
#[derive(Debug)]
pub(super) struct Question<'a> {
    pub(super) columns: &'a [Columns],
    pub(super) limits: &'a [i64],
    /// Prices of the limits: they order partial choices.
    pub(super) prices: &'a [f64],
    /// Only choices at or below this value count.
    pub(super) at_most: f64,
    /// Partial choices kept after each group.
    pub(super) width: usize,
    /// Partial choices that may be looked at.
    pub(super) nodes_max: u64,
}

/// A group's columns in order of their reduced value.
struct Stage {
    group: usize,
    /// Column, reduced value.
    columns: Vec<(usize, f64)>,
}

/// Partial choices after a group.
#[derive(Default)]
struct Layer {
    room: Vec<i64>,
    values: Vec<i64>,
    bounds: Vec<f64>,
    /// Choice before, and place in the stage's columns.
    from: Vec<(u32, u32)>,
}

/// Sweeps over all groups.
pub(super) fn sweep(question: &Question<'_>) -> Swept {
    let limits = question.limits.len();
    let mut swept = Swept { best: None, dropped: f64::INFINITY, nodes: 0 };
    let mut chosen: Vec<usize> = vec![0; question.columns.len()];
    let mut room = question.limits.to_vec();
    let mut value = 0;
    let mut stages: Vec<Stage> = Vec::new();
    for (group, columns) in question.columns.iter().enumerate() {
        match columns.len() {
            0 => return swept,
            1 => {
                value += columns.values[0];
                for (room, taken) in room.iter_mut().zip(columns.takes(0)) {
                    *room -= taken;
                }
            }
            count => {
                let reduced = (0..count).map(|c| (c, columns.reduced(c, question.prices)));
                let mut ordered: Vec<(usize, f64)> = reduced.collect();
                ordered.sort_by(|left, right| left.1.total_cmp(&right.1));
                stages.push(Stage { group, columns: ordered });
            }
        }
    }
    // Groups with many columns last: they then meet choices that were already thinned.
    stages.sort_by_key(|stage| stage.columns.len());
    let tails = Tails::new(question, &stages);
    if room.iter().zip(tails.least(0, limits)).any(|(room, least)| room < least) {
        return swept;
    }
    let mut layer = Layer::default();
    tails.clamp(0, &mut room);
    let first = value as f64 + tails.reduced[0] - priced(&room, question.prices);
    layer.push(&room, value, first, (0, 0));
    let mut history: Vec<Vec<(u32, u32)>> = Vec::new();
    for (depth, stage) in stages.iter().enumerate() {
        layer = step(question, stage, &tails, depth, &layer, &mut swept);
        layer.narrow(question.width, limits, &mut swept.dropped);
        history.push(std::mem::take(&mut layer.from));
    }
    let best = (0..layer.values.len()).min_by_key(|choice| layer.values[*choice]);
    if let Some(mut choice) = best {
        let value = layer.values[choice];
        for (stage, from) in stages.iter().zip(&history).rev() {
            let (before, place) = from[choice];
            chosen[stage.group] = stage.columns[place as usize].0;
            choice = before as usize;
        }
        swept.best = Some((value, chosen));
    }
    swept
}

fn priced(room: &[i64], prices: &[f64]) -> f64 {
    room.iter().zip(prices).map(|(room, price)| *room as f64 * price).sum()
}

/// What the groups from a stage on can do.
struct Tails {
    /// Least sum of reduced values, by stage.
    reduced: Vec<f64>,
    /// Least and most that they take, by stage and limit.
    least: Vec<i64>,
    most: Vec<i64>,
}

impl Tails {
    fn new(question: &Question<'_>, stages: &[Stage]) -> Self {
        let limits = question.limits.len();
        let mut tails = Self {
            reduced: vec![0.0; stages.len() + 1],
            least: vec![0; (stages.len() + 1) * limits],
            most: vec![0; (stages.len() + 1) * limits],
        };
        for (depth, stage) in stages.iter().enumerate().rev() {
            tails.reduced[depth] = tails.reduced[depth + 1] + stage.columns[0].1;
            let columns = &question.columns[stage.group];
            for limit in 0..limits {
                let takes = || (0..columns.len()).map(|column| columns.takes(column)[limit]);
                let next = (depth + 1) * limits + limit;
                tails.least[depth * limits + limit] =
                    tails.least[next] + takes().min().unwrap_or(0);
                tails.most[depth * limits + limit] = tails.most[next] + takes().max().unwrap_or(0);
            }
        }
        tails
    }

    fn least(&self, depth: usize, limits: usize) -> &[i64] {
        &self.least[depth * limits..(depth + 1) * limits]
    }

    /// Room beyond what can still be taken is no better than just enough.
    fn clamp(&self, depth: usize, room: &mut [i64]) {
        let limits = room.len();
        for (room, most) in room.iter_mut().zip(&self.most[depth * limits..]) {
            *room = (*room).min(*most);
        }
    }
}

impl Layer {
    fn push(&mut self, room: &[i64], value: i64, bound: f64, from: (u32, u32)) {
        self.room.extend_from_slice(room);
        self.values.push(value);
        self.bounds.push(bound);
        self.from.push(from);
    }

    /// Keeps the most promising.
    fn narrow(&mut self, width: usize, limits: usize, dropped: &mut f64) {
        if self.values.len() <= width {
            return;
        }
        let mut order: Vec<usize> = (0..self.values.len()).collect();
        let key = |left: &usize, right: &usize| {
            self.bounds[*left].total_cmp(&self.bounds[*right]).then(left.cmp(right))
        };
        order.select_nth_unstable_by(width, key);
        for choice in &order[width..] {
            *dropped = dropped.min(self.bounds[*choice]);
        }
        order.truncate(width);
        order.sort_unstable();
        let mut kept = Self::default();
        for choice in order {
            let room = &self.room[choice * limits..(choice + 1) * limits];
            kept.push(room, self.values[choice], self.bounds[choice], self.from[choice]);
        }
        *self = kept;
    }
}

fn step(
    question: &Question<'_>,
    stage: &Stage,
    tails: &Tails,
    depth: usize,
    layer: &Layer,
    swept: &mut Swept,
) -> Layer {
    let limits = question.limits.len();
    let columns = &question.columns[stage.group];
    let cheapest = stage.columns[0].1;
    let least = tails.least(depth + 1, limits);
    let rest = tails.reduced[depth + 1];
    let mut next = Layer::default();
    let mut merged: BTreeMap<Vec<i64>, usize> = BTreeMap::new();
    let mut room = vec![0; limits];
    for choice in 0..layer.values.len() {
        let before = &layer.room[choice * limits..(choice + 1) * limits];
        let spent = swept.nodes >= question.nodes_max;
        if spent {
            swept.dropped = swept.dropped.min(layer.bounds[choice]);
            continue;
        }
        for (place, (column, reduced)) in stage.columns.iter().enumerate() {
            let bound = layer.bounds[choice] + (reduced - cheapest);
            if bound > question.at_most + slack(question.at_most) {
                break;
            }
            swept.nodes += 1;
            let takes = columns.takes(*column);
            let mut fits = true;
            for limit in 0..limits {
                room[limit] = before[limit] - takes[limit];
                fits &= room[limit] >= least[limit];
            }
            if !fits {
                continue;
            }
            tails.clamp(depth + 1, &mut room);
            let value = layer.values[choice] + columns.values[*column];
            let bound = value as f64 + rest - priced(&room, question.prices);
            if bound > question.at_most + slack(question.at_most) {
                continue;
            }
            let from = (choice as u32, place as u32);
            match merged.get(&room) {
                None => {
                    merged.insert(room.clone(), next.values.len());
                    next.push(&room, value, bound, from);
                }
                Some(same) if value < next.values[*same] => {
                    next.values[*same] = value;
                    next.bounds[*same] = bound;
                    next.from[*same] = from;
                }
                Some(_) => (),
            }
        }
    }
    next
}
