//! The small grid, each time; the full one on demand.

use super::*;
use crate::profiles;

#[test]
fn a_small_grid_is_within_bounds() {
    let profiles = profiles::built_in().unwrap();
    let report = run(Grid::Small, &profiles, 1, 2, &|_| {}).unwrap();
    assert_eq!(report.points.len(), 12);
    let all: Vec<&Compared> = report.points.iter().filter(|one| one.rate_matters()).collect();
    let errors = Errors::of(&all, |one| one.sized_per_s);
    let text = render(&report);
    assert!(errors.points >= 5, "{text}");
    // Runs are short, hence wider than what the full grid is held to.
    assert!(errors.median.unwrap() < 0.08, "{text}");
    assert!(errors.unsafe_p95.unwrap() < 0.2, "{text}");
    assert!(errors.median < Errors::of(&all, |one| one.guess_per_s).median, "{text}");
}

#[test]
#[ignore = "minutes: what `forebay capacity --grid full` prints, held to its figures"]
fn the_full_grid_is_within_bounds() {
    let profiles = profiles::built_in().unwrap();
    let report = run(Grid::Full, &profiles, 1, 2, &|_| {}).unwrap();
    let text = render(&report);
    println!("{text}");
    assert!(report.held_out.median.unwrap() < 0.05, "{text}");
}
