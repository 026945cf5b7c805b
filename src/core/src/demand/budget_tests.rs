use super::*;

/// A fleet whose misses fall with the level, harder at busy hours; each hour 36,000 requests.
struct Plant {
    budget: Budget,
    now: Time,
    state: u64,
    requests: f64,
    missed: f64,
}

impl Plant {
    fn new() -> Self {
        let budget = Budget::new(0.99);
        Self { budget, now: Time::ZERO, state: 3, requests: 0.0, missed: 0.0 }
    }

    fn noise(&mut self) -> f64 {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.state >> 33) as f64 / (1_u64 << 31) as f64
    }

    /// One minute at `trouble`: misses are 1 % at a level of 0.7 + ln(trouble), come in spells,
    /// and change by a factor e per unit of level... times 1.5.
    fn minute(&mut self, trouble: f64, level_delayed: f64) -> Verdict {
        self.now += Span::from_secs(60);
        let share = 0.01 * (1.5 * (0.7 + trouble.ln() - level_delayed)).exp();
        // One minute in five misses five times as much, the others nothing.
        let burst = if self.noise() < 0.2 { 5.0 } else { 0.0 };
        let judged = Judged {
            requests: 600.0,
            missed: (600.0 * share * burst).min(600.0),
            ..Judged::default()
        };
        self.requests += judged.requests;
        self.missed += judged.missed;
        self.budget.observe(self.now, Some(&judged), false)
    }

    /// A day; the level takes ten minutes to act. Highest and lowest level of its second half.
    fn day(&mut self, trouble: impl Fn(f64) -> f64) -> (f64, f64) {
        let mut levels = VecDeque::from([LEVEL_START; 10]);
        let (mut high, mut low) = (f64::MIN, f64::MAX);
        for minute in 0..1_440 {
            levels.push_back(self.budget.level());
            let acting = levels.pop_front().unwrap();
            self.minute(trouble(f64::from(minute) / 60.0), acting);
            if minute > 720 {
                high = high.max(self.budget.level());
                low = low.min(self.budget.level());
            }
        }
        (high, low)
    }
}

#[test]
fn it_follows_the_weather_of_days_and_lands_at_its_percentile() {
    for (trouble, settles) in [(1.0, 0.7), (1.9, 1.34)] {
        let mut plant = Plant::new();
        for _ in 0..6 {
            let (high, low) = plant.day(|_| trouble);
            assert!(high - low < 0.4, "{low}..{high}");
        }
        // The week's last day, from where the others ended.
        (plant.requests, plant.missed) = (0.0, 0.0);
        plant.day(|_| trouble);
        let attained = 1.0 - plant.missed / plant.requests;
        assert!((0.987..0.994).contains(&attained), "{attained} at trouble {trouble}");
        let level = plant.budget.level();
        assert!((level - settles).abs() < 0.4, "{level} at trouble {trouble}");
    }
}

#[test]
fn one_day_moves_it_little() {
    let mut plant = Plant::new();
    plant.day(|_| 0.1);
    assert!((LEVEL_START - plant.budget.level()) < 0.5, "{}", plant.budget.level());
}

#[test]
fn nothing_moves_without_a_reason() {
    let mut budget = Budget::new(0.99);
    assert!((budget.quantile() - 0.9).abs() < 1e-3, "{}", budget.quantile());
    let minute = |n: u64| Time::ZERO + Span::from_secs(60 * n);
    let all_missed = Judged { requests: 1_000.0, missed: 1_000.0, ..Judged::default() };
    // Stale data, capacity that cannot be had, and NaN say nothing.
    for n in 0..400 {
        assert_eq!(budget.observe(minute(n), None, false), Verdict::Frozen);
        assert_eq!(budget.observe(minute(n), Some(&all_missed), true), Verdict::Frozen);
        let broken = Judged { requests: f64::NAN, ..all_missed };
        assert_eq!(budget.observe(minute(n), Some(&broken), false), Verdict::Frozen);
    }
    assert_eq!((budget.level(), budget.missed_share()), (LEVEL_START, None));
    // Ten requests a minute, none missed, are not enough for an hour; then they are.
    let few = Judged { requests: 10.0, ..Judged::default() };
    for n in 400..459 {
        assert_eq!(budget.observe(minute(n), Some(&few), false), Verdict::Held, "{n}");
    }
    assert_eq!(budget.observe(minute(459), Some(&few), false), Verdict::Spent);
    assert!((budget.level() - (LEVEL_START - SPEND)).abs() < 1e-12);
}

#[test]
fn one_bad_spell_is_answered_once_and_not_for_six_hours() {
    let mut budget = Budget::new(0.99);
    let good = Judged { requests: 600.0, ..Judged::default() };
    let bad = Judged { missed: 300.0, ..good };
    let mut risen = 0;
    for n in 0..600_u64 {
        let judged = if (120..125).contains(&n) { &bad } else { &good };
        let at = Time::ZERO + Span::from_secs(60 * n);
        risen += u32::from(budget.observe(at, Some(judged), false) == Verdict::Protected);
    }
    // Five bad minutes stay in sight of a spell for twenty.
    assert!((1..=2).contains(&risen), "{risen}");
    assert!(budget.level() <= LEVEL_MAX);
}

#[test]
fn state_survives_a_restart() {
    let mut plant = Plant::new();
    plant.day(|_| 1.0);
    let text = serde_json::to_string(&plant.budget).unwrap();
    assert!(text.len() < 8_192, "{}", text.len());
    assert_eq!(serde_json::from_str::<Budget>(&text).unwrap(), plant.budget);
}

#[test]
fn the_normal_distribution_is_right() {
    for (z, p) in [(0.0, 0.5), (1.645, 0.950_015), (-1.0, 0.158_655), (2.326_35, 0.99)] {
        assert!((normal_cdf(z) - p).abs() < 1e-6, "{z}: {}", normal_cdf(z));
    }
}
