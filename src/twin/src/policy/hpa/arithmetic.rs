//! From one metric to a number of replicas (`replica_calculator.go`).

/// How a target is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TargetKind {
    /// External or Object metric with `AverageValue`: a total, divided over the pods.
    AverageValue,
    /// External or Object metric with `Value`: a ratio, applied to the ready pods.
    Value,
    /// Pods metric: an average over the pods that show one.
    Pods,
}

/// Deviation from 1 within which nothing changes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Tolerance {
    pub(crate) up: f64,
    pub(crate) down: f64,
}

impl Tolerance {
    /// NaN (nothing over nothing) is not within.
    fn holds(self, ratio: f64) -> bool {
        1.0 - self.down <= ratio && ratio <= 1.0 + self.up
    }
}

/// `GetExternalPerPodMetricReplicas`: `ceil(total / target)`, unless `total / (target * status)`
/// is within the tolerance. `status` counts pods that exist, ready or not.
pub(crate) fn average_value(total: f64, target: f64, status: u32, tolerance: Tolerance) -> u32 {
    if tolerance.holds(total / (target * f64::from(status))) {
        status
    } else {
        ceil(total / target)
    }
}

/// `GetExternalMetricReplicas`: `ceil(value / target * ready)`, unless the ratio is within the
/// tolerance; from zero, `ceil(ratio)`.
pub(crate) fn value(value: f64, target: f64, spec: u32, ready: u32, tolerance: Tolerance) -> u32 {
    let ratio = value / target;
    if spec == 0 {
        ceil(ratio)
    } else if tolerance.holds(ratio) {
        spec
    } else {
        ceil(ratio * f64::from(ready))
    }
}

/// What the pods of a Pods metric show.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PodValues {
    /// Values of pods that show one.
    pub(crate) shown: Vec<f64>,
    /// Pods in phase Pending.
    pub(crate) unready: u32,
    /// Running pods without a value: their model is still loading, or their scrape failed.
    pub(crate) missing: u32,
}

/// `calcPlainMetricReplicas`: the mean over the pods that show a value; on the way down missing
/// pods count as at target, on the way up missing and pending pods count as zero, and a change of
/// direction by that cancels the decision. `None` = no pod shows a value.
pub(crate) fn pods(
    values: &PodValues,
    target: f64,
    spec: u32,
    tolerance: Tolerance,
) -> Option<u32> {
    if values.shown.is_empty() {
        return None;
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let ratio = mean(&values.shown) / target;
    let up_with_unready = values.unready > 0 && ratio > 1.0;
    if !up_with_unready && values.missing == 0 {
        let ready = values.shown.len() as f64;
        return Some(if tolerance.holds(ratio) { spec } else { ceil(ratio * ready) });
    }
    let mut padded = values.shown.clone();
    let filler = if ratio < 1.0 { target } else { 0.0 };
    padded.extend(std::iter::repeat_n(filler, values.missing as usize));
    if up_with_unready {
        padded.extend(std::iter::repeat_n(0.0, values.unready as usize));
    }
    let new_ratio = mean(&padded) / target;
    let turned = (ratio < 1.0 && new_ratio > 1.0) || (ratio > 1.0 && new_ratio < 1.0);
    if tolerance.holds(new_ratio) || turned {
        return Some(spec);
    }
    let replicas = ceil(new_ratio * padded.len() as f64);
    let against = (new_ratio < 1.0 && replicas > spec) || (new_ratio > 1.0 && replicas < spec);
    Some(if against { spec } else { replicas })
}

/// Rounds up, except for the last digits of floating point: 3.0000000001 stays 3. The API itself
/// carries values in thousandths.
fn ceil(replicas: f64) -> u32 {
    (replicas - 1e-9).ceil().max(0.0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENTH: Tolerance = Tolerance { up: 0.1, down: 0.1 };
    const NONE: Tolerance = Tolerance { up: 0.0, down: 0.0 };

    #[test]
    fn average_value_divides_the_total() {
        // 100 running, 16 per pod: 100 / 16 = 6.25.
        assert_eq!(average_value(100.0, 16.0, 4, TENTH), 7);
        // 4 pods at 16: ratio 1.09 holds, 1.11 does not: ceil(71 / 16) = 5.
        assert_eq!(average_value(70.0, 16.0, 4, TENTH), 4);
        assert_eq!(average_value(71.0, 16.0, 4, TENTH), 5);
        // At zero pods the ratio is infinite, or NaN without load.
        assert_eq!(average_value(5.0, 16.0, 0, TENTH), 1);
        assert_eq!(average_value(0.0, 16.0, 0, TENTH), 0);
    }

    #[test]
    fn a_desired_replicas_metric_loses_steps_of_one_from_eleven_pods_on() {
        // target 1: 11 wanted with 10 pods is a ratio of 1.1, within; 12 with 11 is 1.09.
        assert_eq!(average_value(11.0, 1.0, 10, TENTH), 10);
        assert_eq!(average_value(12.0, 1.0, 11, TENTH), 11);
        assert_eq!(average_value(10.0, 1.0, 11, TENTH), 11);
        assert_eq!(average_value(12.0, 1.0, 11, NONE), 12);
        // With nine pods a step of one still counts: 10 / 9 = 1.11.
        assert_eq!(average_value(10.0, 1.0, 9, TENTH), 10);
    }

    #[test]
    fn value_multiplies_the_ready_pods() {
        // Ratio 1.5 on 3 ready of 5 pods: ceil(4.5) = 5.
        assert_eq!(value(30.0, 20.0, 5, 3, TENTH), 5);
        assert_eq!(value(21.0, 20.0, 5, 3, TENTH), 5);
        assert_eq!(value(50.0, 20.0, 0, 0, TENTH), 3);
    }

    #[test]
    fn missing_and_pending_pods_damp_a_pods_metric() {
        let all = PodValues { shown: vec![30.0, 30.0], ..PodValues::default() };
        // Ratio 1.5 on 2 pods: 3.
        assert_eq!(pods(&all, 20.0, 2, TENTH), Some(3));
        // Two more still load: (30 + 30 + 0 + 0) / 4 = 15, ratio 0.75: direction turned, hold.
        let loading = PodValues { missing: 2, ..all.clone() };
        assert_eq!(pods(&loading, 20.0, 4, TENTH), Some(4));
        // One pending: (30 + 30 + 0) / 3 = 20, ratio 1: hold.
        let pending = PodValues { unready: 1, ..all };
        assert_eq!(pods(&pending, 20.0, 3, TENTH), Some(3));
        // On the way down a pod without a value counts as at target: (5 + 5 + 20) / 3 = 10,
        // ratio 0.5 of 3 pods: 2 instead of ceil(0.25 * 2) = 1.
        let down = PodValues { shown: vec![5.0, 5.0], unready: 0, missing: 1 };
        assert_eq!(pods(&down, 20.0, 3, TENTH), Some(2));
        assert_eq!(pods(&PodValues::default(), 20.0, 3, TENTH), None);
    }
}
