//! What the traffic needs over time, by variant: the demand that a plan with the future known is
//! made from. Unlike the bound this is an estimate, not a limit; the plan's headroom scales it.

use forebay_core::fleet::Role;

use super::physics::{Need, Rates};

/// Share of its TPOT objective at which a request is taken to decode, for where in time its work
/// lies.
pub(super) const PACE: f64 = 0.5;

/// Work of one variant by bucket of time, if it served everything alone, s.
#[derive(Clone, Debug, Default)]
pub(super) struct Needs {
    /// Work that cannot wait, when it is done.
    pub(super) urgent_s: Vec<f64>,
    /// Work that can, when it arrives.
    pub(super) patient_s: Vec<f64>,
    /// Buckets that patient work may wait; the shortest of all tiers.
    pub(super) patience: Option<u32>,
}

impl Needs {
    /// Adds a request that arrives in `bucket` and decodes until `last`.
    pub(super) fn add(&mut self, role: Role, rates: &Rates, need: &Need, bucket: u32, last: u32) {
        let (prompt, rest) = work_s(role, rates, need);
        let buckets = f64::from(last.saturating_sub(bucket) + 1);
        *slot(&mut self.urgent_s, bucket) += prompt;
        for at in bucket..=last.max(bucket) {
            *slot(&mut self.urgent_s, at) += rest / buckets;
        }
    }

    /// Adds a request that arrives in `bucket` and may wait for `patience` buckets.
    pub(super) fn add_patient(
        &mut self,
        role: Role,
        rates: &Rates,
        need: &Need,
        bucket: u32,
        patience: u32,
    ) {
        let (prompt, rest) = work_s(role, rates, need);
        *slot(&mut self.patient_s, bucket) += prompt + rest;
        self.patience = Some(self.patience.map_or(patience, |known| known.min(patience)));
    }

    /// The load by bucket when patient work is put where the load is lowest, or, without `defer`,
    /// where it arrives. `buckets` long.
    pub(super) fn load(&self, buckets: usize, defer: bool) -> Vec<f64> {
        let mut load = vec![0.0; buckets];
        for (sum, work) in load.iter_mut().zip(&self.urgent_s) {
            *sum += work;
        }
        let patience = if defer { self.patience.unwrap_or(0) as usize } else { 0 };
        // A bucket for the work itself and one for chance are kept of the patience.
        let patience = patience.saturating_sub(2);
        // What arrives last is not spread over the time after the traffic: replicas would be kept
        // for it alone.
        let traffic = self.urgent_s.len();
        for (bucket, &work) in self.patient_s.iter().enumerate().take(buckets) {
            let end = (bucket + patience + 1).min(traffic.max(bucket + 1)).min(buckets);
            fill(&mut load[bucket..end], work);
        }
        load
    }
}

/// Pours `work` over the lowest places until they are level.
fn fill(load: &mut [f64], work: f64) {
    if work <= 0.0 || load.is_empty() {
        return;
    }
    let mut sorted = load.to_vec();
    sorted.sort_by(f64::total_cmp);
    let mut below = 0.0;
    let mut level = 0.0;
    for (count, &height) in sorted.iter().enumerate() {
        if count > 0 && height * count as f64 - below >= work {
            break;
        }
        below += height;
        level = (work + below) / (count + 1) as f64;
    }
    for height in load {
        *height = height.max(level);
    }
}

/// What a request takes of a replica of that role: for its prompt, and for the rest.
fn work_s(role: Role, rates: &Rates, need: &Need) -> (f64, f64) {
    let prompt = rates.prefill_s(need).unwrap_or(0.0);
    let rest = rates.decode_s(need).unwrap_or(0.0);
    match role {
        Role::Both => (prompt, rest),
        Role::Prefill => (prompt, 0.0),
        Role::Decode => (0.0, rest),
    }
}

fn slot(series: &mut Vec<f64>, bucket: u32) -> &mut f64 {
    let bucket = bucket as usize;
    if series.len() <= bucket {
        series.resize(bucket + 1, 0.0);
    }
    &mut series[bucket]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patient_work_fills_the_valley() {
        let needs = Needs {
            urgent_s: vec![5.0, 1.0, 2.0, 5.0, 5.0],
            patient_s: vec![4.0],
            patience: Some(5),
        };
        assert_eq!(needs.load(5, true), [5.0, 3.5, 3.5, 5.0, 5.0]);
        assert_eq!(needs.load(5, false), [9.0, 1.0, 2.0, 5.0, 5.0]);
    }

    proptest! {
        #[test]
        fn pouring_keeps_the_amount(
            load in prop::collection::vec(0.0_f64..9.0, 1..30), work in 0.0_f64..50.0,
        ) {
            let mut poured = load.clone();
            fill(&mut poured, work);
            let added: f64 = poured.iter().sum::<f64>() - load.iter().sum::<f64>();
            prop_assert!((added - work).abs() < 1e-9);
            let level = poured.iter().zip(&load).filter(|(new, old)| new > old);
            let level = level.map(|(new, _)| *new).fold(f64::INFINITY, f64::min);
            prop_assert!(poured.iter().all(|height| *height >= level || level.is_infinite()));
        }
    }
}
