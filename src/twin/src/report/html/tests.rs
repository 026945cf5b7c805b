//! What must hold of every page, whatever the report.

use super::super::example::{example, tiny, two_fleets};
use super::super::{OracleSummary, TierSummary};
use super::*;

/// Largest page of ten policies: small enough to mail.
const PAGE_BYTES_MAX: usize = 1_500_000;

/// Reports that differ in what is missing.
fn reports() -> Vec<(&'static str, Report)> {
    let mut week = example();
    week.trace.duration_s = 7.0 * 86_400.0;
    for run in &mut week.runs {
        run.timeline.step_s *= 7.0;
    }
    let mut run_off = example();
    for run in &mut run_off.runs {
        run.timeline.step_s *= 25.0 / 24.0;
    }
    let mut free = tiny();
    free.oracle = OracleSummary { lower_bound_cost_usd: Some(0.0), clairvoyant_cost_usd: None };
    for run in &mut free.runs {
        run.cost_usd = 0.0;
        run.cost_committed_usd = 0.0;
    }
    let mut broken = tiny();
    broken.trace.duration_s = 0.0;
    broken.runs[0].cost_usd = f64::NAN;
    broken.runs[0].goodput_rps = f64::INFINITY;
    for run in &mut broken.runs {
        run.timeline.step_s = f64::NAN;
        run.timeline.demand.values_mut().for_each(|column| column[0] = f64::NAN);
        run.tiers.insert("unheard-of".into(), TierSummary { requests: 3, ..Default::default() });
    }
    let mut ten = example();
    let first = ten.runs[..4].to_vec();
    ten.runs.extend(first);
    let mut one = example();
    one.runs.truncate(1);
    let mut gone = example();
    gone.runs.iter_mut().for_each(|run| run.aborted = Some("out of memory".into()));
    vec![
        ("empty", Report::default()),
        ("tiny", tiny()),
        ("example", example()),
        ("two fleets", two_fleets()),
        ("week", week),
        ("run-off", run_off),
        ("free", free),
        ("broken", broken),
        ("ten", ten),
        ("one", one),
        ("all ended early", gone),
    ]
}

#[test]
fn every_tag_is_closed() {
    for (name, report) in reports() {
        let page = render(&report);
        let page = without(&without(&page, "style"), "script");
        let mut open = Vec::new();
        let mut rest = page.strip_prefix("<!doctype html>").unwrap();
        while let Some(start) = rest.find('<') {
            assert!(!rest[..start].contains('>'), "{name}: stray > in {}", &rest[..start]);
            let end = start + rest[start..].find('>').expect("a tag ends");
            let tag = &rest[start + 1..end];
            let word = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
            if tag.starts_with('/') {
                assert_eq!(open.pop(), Some(word), "{name}: {tag}");
            } else if !tag.ends_with('/') {
                open.push(word);
            }
            rest = &rest[end + 1..];
        }
        assert!(open.is_empty(), "{name}: {open:?} stay open");
    }
}

/// The page without an element's content, which is not markup.
fn without(page: &str, element: &str) -> String {
    let (mut kept, mut rest) = (String::new(), page);
    while let Some(start) = rest.find(&format!("<{element}")) {
        let close = format!("</{element}>");
        let end = start + rest[start..].find(&close).unwrap() + close.len();
        kept.push_str(&rest[..start]);
        rest = &rest[end..];
    }
    kept + rest
}

#[test]
fn no_figure_is_not_a_number() {
    for (name, report) in reports() {
        let page = without(&render(&report), "script");
        for word in ["NaN", "inf", "nan"] {
            let found =
                page.match_indices(word).map(|(at, _)| &page[at.saturating_sub(30)..at + 12]);
            let wrong: Vec<_> = found.filter(|near| !near.contains("inferred")).collect();
            assert!(wrong.is_empty(), "{name}: {wrong:?}");
        }
    }
}

#[test]
fn nothing_is_fetched() {
    for (name, report) in reports() {
        let page = render(&report);
        for word in ["http:", "https:", "//cdn", "src=", "@import", "<link", "href="] {
            assert!(!page.contains(word), "{name}: {word}");
        }
    }
}

#[test]
fn the_page_is_small_enough_to_mail() {
    for (name, report) in reports() {
        let size = render(&report).len();
        assert!(size < PAGE_BYTES_MAX, "{name}: {size} bytes");
    }
}

#[test]
fn what_others_wrote_is_only_text() {
    let evil = "</script><script>alert(1)</script>\"'&";
    let mut report = tiny();
    report.scenario = evil.into();
    report.trace.path = evil.into();
    report.fleets = vec![evil.into()];
    report.tiers[0].name = evil.into();
    let run = &mut report.runs[0];
    run.policy = format!("exec:{evil}");
    run.parameters.insert(evil.into(), evil.into());
    let tier = run.tiers.remove("interactive").unwrap();
    run.tiers.insert(evil.into(), tier);
    for columns in [&mut run.timeline.demand, &mut run.timeline.accelerators] {
        columns.insert(evil.into(), vec![1.0; 12]);
    }
    let page = render(&report);
    assert!(!page.contains("alert(1)</script>") && !page.contains("<script>alert"));
    assert!(page.contains("&lt;script&gt;alert(1)"));
}

#[test]
fn the_data_of_the_script_is_json() {
    for (name, report) in reports() {
        let page = render(&report);
        let start = page.find("id=\"data\">").unwrap() + "id=\"data\">".len();
        let end = start + page[start..].find("</script>").unwrap();
        let data: serde_json::Value = serde_json::from_str(&page[start..end]).unwrap();
        assert_eq!(data["runs"].as_array().unwrap().len(), report.runs.len(), "{name}");
    }
}

#[test]
fn the_run_off_is_drawn_and_marked() {
    let mark = "class=\"traffic-end\"";
    let (_, run_off) = reports().into_iter().find(|(name, _)| *name == "run-off").unwrap();
    let page = render(&run_off);
    // One line in each card, and one in the legend, at 24 of 25 hours.
    assert_eq!(page.matches(mark).count(), run_off.runs.len() + 1);
    assert!(page.contains("class=\"traffic-end\" x1=\"96%\""));
    assert!(!render(&example()).contains(mark));
}

#[test]
fn every_figure_says_in_words_what_it_shows() {
    let page = render(&example());
    let described = page.matches("role=\"img\" aria-label=\"").count();
    assert!(described > 6 && !page.contains("aria-label=\"\""));
    assert_eq!(page.matches("role=\"img\"").count(), described);
    for policy in example().labels() {
        assert!(page.contains(&format!("aria-label=\"{policy} over time: ")), "{policy}");
    }
}

#[test]
fn the_small_page() {
    let page = without(&without(&render(&tiny()), "style"), "script");
    insta::assert_snapshot!(page.replace("><", ">\n<"));
}

/// Writes pages to look at: `FOREBAY_PAGES=dir cargo test -p forebay-twin pages -- --ignored`.
#[test]
#[ignore = "writes files to look at"]
fn pages_to_look_at() {
    let folder = std::path::PathBuf::from(std::env::var("FOREBAY_PAGES").unwrap());
    for (name, report) in reports() {
        std::fs::write(folder.join(format!("{name}.html")), render(&report)).unwrap();
    }
}
