//! Variants that must be decided together whatever the prices of the pools: they cover a common
//! row, stand in a ratio, or share a limit that no other group has part in. Prefill and decode of
//! one fleet fall apart into two groups where nothing but a shared pool joins them.

use super::instance::Instance;
use super::model::{Limit, Model};

/// Variants of one fleet that are decided together.
#[derive(Debug)]
pub(super) struct Group {
    /// Indices into [`Model::offers`].
    pub(super) offers: Vec<usize>,
    pub(super) rows: Vec<GroupRow>,
    /// Limits that are this group's alone.
    pub(super) limits: Vec<Linear>,
    /// Parts of a fixed ratio; `bound` is the part's replicas in one unit.
    pub(super) ratio: Vec<Linear>,
    /// What one replica takes of each of [`Model::shared`]: `takes[variant * shared + limit]`.
    pub(super) takes: Vec<i64>,
}

/// A row as its group sees it.
#[derive(Debug)]
pub(super) struct GroupRow {
    /// Index into [`Model::needs`].
    pub(super) row: usize,
    /// Coverage per replica, by variant of the group.
    pub(super) each: Vec<i64>,
}

/// A sum over the replicas of a group, and its bound.
#[derive(Debug)]
pub(super) struct Linear {
    /// By variant of the group.
    pub(super) each: Vec<i64>,
    pub(super) bound: i64,
}

/// Divides the model into groups, and its limits into those of one group and those shared.
pub(super) fn split(instance: &Instance, model: &mut Model) {
    let parent = joined(instance, model);
    let mut members: Vec<Vec<usize>> = vec![Vec::new(); model.offers.len()];
    for offer in 0..model.offers.len() {
        members[root(&parent, offer)].push(offer);
    }
    members.retain(|group| !group.is_empty());
    let mut group_of = vec![0; model.offers.len()];
    for (group, offers) in members.iter().enumerate() {
        for offer in offers {
            group_of[*offer] = group;
        }
    }
    let groups_of = |limit: &Limit| {
        let mut groups: Vec<usize> =
            limit.takes.iter().map(|(offer, _)| group_of[*offer]).collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    };
    let touched: Vec<Vec<usize>> = model.limits.iter().map(groups_of).collect();
    model.shared = (0..model.limits.len()).filter(|limit| touched[*limit].len() > 1).collect();
    // Rows that nobody covers go with the first variant of their fleet.
    let mut row_groups =
        model.needs.iter().map(|need| group_of[model.first_offer[need.fleet]]).collect::<Vec<_>>();
    for (index, offer) in model.offers.iter().enumerate() {
        for (row, _) in &offer.covers {
            row_groups[*row] = group_of[index];
        }
    }
    let mut groups: Vec<Group> = members
        .into_iter()
        .map(|offers| {
            let shared =
                model.shared.iter().map(|limit| Linear::new(&model.limits[*limit], &offers));
            let shared: Vec<Linear> = shared.collect();
            let takes =
                (0..offers.len()).flat_map(|v| shared.iter().map(move |limit| limit.each[v]));
            Group {
                takes: takes.collect(),
                offers,
                rows: Vec::new(),
                limits: Vec::new(),
                ratio: Vec::new(),
            }
        })
        .collect();
    for (row, group) in row_groups.iter().enumerate() {
        let row = GroupRow::new(row, &groups[*group].offers, model);
        groups[*group].rows.push(row);
    }
    for (limit, touched) in model.limits.iter().zip(&touched) {
        if let [group] = touched.as_slice() {
            let limit = Linear::new(limit, &groups[*group].offers);
            groups[*group].limits.push(limit);
        }
    }
    for (index, fleet) in instance.fleets.iter().enumerate() {
        for part in &fleet.ratio {
            let named = |offer: usize| {
                let variant = &fleet.variants[offer - model.first_offer[index]];
                i64::from(part.variants.contains(&variant.name))
            };
            let Some(offer) = (model.first_offer[index]..model.first_offer[index + 1])
                .find(|offer| named(*offer) > 0)
            else {
                continue;
            };
            let group = &mut groups[group_of[offer]];
            let each = group.offers.iter().map(|offer| named(*offer)).collect();
            group.ratio.push(Linear { each, bound: i64::from(part.replicas) });
        }
    }
    model.groups = groups;
}

/// Which variants are decided together, as a forest.
fn joined(instance: &Instance, model: &Model) -> Vec<usize> {
    let mut parent: Vec<usize> = (0..model.offers.len()).collect();
    let mut by_row: Vec<Option<usize>> = vec![None; model.needs.len()];
    for (index, offer) in model.offers.iter().enumerate() {
        for (row, _) in &offer.covers {
            let first = *by_row[*row].get_or_insert(index);
            join(&mut parent, first, index);
        }
    }
    for (index, fleet) in instance.fleets.iter().enumerate() {
        let named = |name: &String| fleet.variants.iter().position(|variant| variant.name == *name);
        let offers = fleet.ratio.iter().flat_map(|part| part.variants.iter().filter_map(named));
        let offers: Vec<usize> = offers.map(|offset| model.first_offer[index] + offset).collect();
        for offer in &offers {
            join(&mut parent, offers[0], *offer);
        }
    }
    for limit in &model.limits {
        let fleet = |(offer, _): &(usize, i64)| model.offers[*offer].fleet;
        let Some(first) = limit.takes.first() else { continue };
        if limit.takes.iter().all(|take| fleet(take) == fleet(first)) {
            for (offer, _) in &limit.takes {
                join(&mut parent, first.0, *offer);
            }
        }
    }
    parent
}

fn root(parent: &[usize], mut offer: usize) -> usize {
    while parent[offer] != offer {
        offer = parent[offer];
    }
    offer
}

/// The smaller index becomes the root, so that groups keep the order of the instance.
fn join(parent: &mut [usize], left: usize, right: usize) {
    let (left, right) = (root(parent, left), root(parent, right));
    parent[left.max(right)] = left.min(right);
}
