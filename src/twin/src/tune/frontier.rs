//! Cost over attainment: the settings that no other beats in both.

use super::Point;

/// Undominated settings, dearer and better ones later.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Frontier {
    /// Rising in cost and in margin.
    pub points: Vec<Point>,
}

impl Frontier {
    /// The frontier of all that was run; runs that broke off do not count.
    #[must_use]
    pub fn of(points: &[Point]) -> Self {
        let mut sorted: Vec<&Point> =
            points.iter().filter(|point| point.outcome.cost_usd.is_finite()).collect();
        sorted.sort_by(|a, b| {
            let cost = a.outcome.cost_usd.total_cmp(&b.outcome.cost_usd);
            cost.then(b.margin.total_cmp(&a.margin))
        });
        let mut frontier: Vec<Point> = Vec::new();
        for point in sorted {
            if frontier.last().is_none_or(|best| point.margin > best.margin) {
                frontier.push(point.clone());
            }
        }
        Self { points: frontier }
    }

    /// Cost at exactly `margin`, on the line between its neighbours; the cheapest setting's where
    /// all are better than that; `None` where none reaches it.
    #[must_use]
    pub fn cost_at(&self, margin: f64) -> Option<f64> {
        let above = self.points.partition_point(|point| point.margin < margin);
        let reached = self.points.get(above)?;
        let Some(short) = above.checked_sub(1).and_then(|below| self.points.get(below)) else {
            return Some(reached.outcome.cost_usd);
        };
        let share = (margin - short.margin) / (reached.margin - short.margin);
        let (low, high) = (short.outcome.cost_usd, reached.outcome.cost_usd);
        Some(low + (high - low) * share)
    }
}
