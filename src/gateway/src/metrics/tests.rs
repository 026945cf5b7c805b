use super::families::Families;
use super::*;
use forebay_core::observe::{Buckets, Histogram};

#[derive(Debug)]
struct Some3;

impl Collector for Some3 {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut families = Families::default();
        let labels = |tier: &str| vec![("tier", tier.to_owned())];
        families.counter("c", "Counted", labels("a\"b"), 2.0);
        families.counter("c", "Counted", labels("z"), 3.0);
        families.gauge("g", "Known", labels("a"), Some(1.5));
        families.gauge("g", "Known", labels("b"), None);
        families.gauge("g", "Known", labels("c"), Some(f64::NAN));
        let mut histogram = Histogram::new(Buckets::IterationTokens);
        histogram.observe(3.0, 2.0);
        histogram.observe(1e9, 1.0);
        families.histogram("h", "Seen", labels("a"), histogram);
        families.encode(&mut encoder)
    }
}

#[test]
fn families_are_written_once_and_the_unknown_is_left_out() {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Some3));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    insta::assert_snapshot!(text);
}
