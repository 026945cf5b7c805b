//! What no decision about a fleet may leave: limits, schedules, pauses; and the calendar that they
//! go by.

use super::Resolver;
use crate::api::cron::Cron;
use crate::api::fleet::{ANNOTATION_PAUSED as PAUSED, ScheduleSpec};
use crate::api::{InferenceFleetSpec, ScenarioSpec};
use crate::fleet::{FleetRails, Limits, Pause, Schedule, time_zone};
use crate::ids::VariantId;
use crate::manifest::{Located, suggest};
use crate::time::{Span, WallTime};
use crate::units::UsdPerHour;

/// Zone of a schedule that names none.
const UTC: &str = "UTC";

impl Resolver<'_> {
    /// The rails of a fleet whose variants begin at `first`.
    pub(super) fn rails(
        &mut self,
        fleet: &Located<InferenceFleetSpec>,
        first: VariantId,
    ) -> FleetRails {
        let mut schedules = Vec::new();
        for (index, schedule) in fleet.spec().schedules.iter().enumerate() {
            let path = format!("spec.schedules[{index}]");
            schedules.extend(self.schedule(fleet, &path, schedule, first));
        }
        FleetRails { limits: self.limits(fleet), schedules, paused: self.pause(fleet) }
    }

    fn limits(&mut self, fleet: &Located<InferenceFleetSpec>) -> Limits {
        let Some(spec) = &fleet.spec().limits else { return Limits::default() };
        let mut limits = Limits {
            cost_per_hour_max: spec.max_cost_per_hour.map(|amount| UsdPerHour(amount.0)),
            accelerators_max: Vec::new(),
            replicas_added_max: spec.replicas_added_per10_minutes,
            replicas_removed_max: spec.replicas_removed_per10_minutes,
        };
        for (index, limit) in spec.accelerators.iter().enumerate() {
            let path = format!("spec.limits.accelerators[{index}].acceleratorClass");
            let name = &limit.accelerator_class;
            let Some(class) = self.accelerator(name) else {
                let used = self.world.accelerators.iter().map(|class| class.name.as_str());
                let hint = suggest::hint(name, used);
                let what = format!("no variant uses `{name}`");
                self.problems.push(fleet.problem(&path, what).hint(hint));
                continue;
            };
            if limits.accelerators_max.iter().any(|(known, _)| *known == class) {
                let what = format!("`{name}` has a limit already");
                self.problems.push(fleet.problem(&path, what));
            }
            limits.accelerators_max.push((class, limit.max));
        }
        limits
    }

    fn schedule(
        &mut self,
        fleet: &Located<InferenceFleetSpec>,
        path: &str,
        spec: &ScheduleSpec,
        first: VariantId,
    ) -> Option<Schedule> {
        let zone = spec.time_zone.as_deref().unwrap_or(UTC);
        let time_zone = time_zone(zone);
        if time_zone.is_none() {
            self.problems.push(
                fleet
                    .problem(&format!("{path}.timeZone"), format!("there is no time zone `{zone}`"))
                    .expected("an IANA name such as Europe/Berlin; absent = UTC"),
            );
        }
        if spec.duration.0 == Span::ZERO {
            self.problems.push(
                fleet
                    .problem(&format!("{path}.duration"), "it ends when it begins")
                    .expected("more than 0s"),
            );
        }
        let mut minimums = Vec::new();
        let variants = || fleet.spec().variants.iter().map(|variant| variant.name.as_str());
        for (place, minimum) in spec.minimums.iter().enumerate() {
            let Some(index) = variants().position(|name| name == minimum.variant) else {
                let path = format!("{path}.minimums[{place}].variant");
                self.problems.push(
                    fleet
                        .problem(&path, format!("there is no variant `{}`", minimum.variant))
                        .hint(suggest::hint(&minimum.variant, variants())),
                );
                continue;
            };
            let id = VariantId(first.0 + index as u16);
            // Where a variant is wrong in itself its place in the table is another's.
            if let Some(max) = self.world.variants.get(id.index()).map(|known| known.replicas_max)
                && minimum.min > max
            {
                let what = format!("{} are more than the variant's `max` of {max}", minimum.min);
                let path = format!("{path}.minimums[{place}].min");
                self.problems.push(fleet.problem(&path, what).hint("raise `max` or lower this"));
            }
            minimums.push((id, minimum.min));
        }
        Some(Schedule {
            name: format!("{} {zone}", spec.cron),
            // The check of formats has said what is wrong with it.
            begins: Cron::parse(&spec.cron).ok()?,
            time_zone: time_zone?,
            duration: spec.duration.0,
            minimums,
            no_scale_in: spec.no_scale_in,
        })
    }

    fn pause(&mut self, fleet: &Located<InferenceFleetSpec>) -> Option<Pause> {
        let forever = Pause { until: None };
        let written = fleet.object.metadata.annotations.get(PAUSED).map(String::as_str);
        let by_annotation = match written {
            None | Some("false") => None,
            Some("true") => Some(forever),
            Some(text) => {
                let until = wall_time(text);
                if until.is_none() {
                    let what = format!("annotation `{PAUSED}` says `{text}`");
                    self.problems.push(
                        fleet
                            .problem("metadata.annotations", what)
                            .expected("`true`, `false`, or a time such as 2026-07-06T18:00:00Z"),
                    );
                }
                until.map(|until| Pause { until: Some(until) })
            }
        };
        if fleet.spec().paused { Some(forever) } else { by_annotation }
    }

    /// When a run begins by the calendar.
    pub(super) fn starts_at(&mut self, scenario: Option<&Located<ScenarioSpec>>) -> WallTime {
        let written = scenario.and_then(|found| Some((found, found.spec().starts_at.as_deref()?)));
        let Some((scenario, text)) = written else { return WallTime::default() };
        wall_time(text).unwrap_or_else(|| {
            let what = format!("`{text}` is not a time");
            self.problems.push(
                scenario
                    .problem("spec.startsAt", what)
                    .expected("a time with its zone, such as 2026-07-06T00:00:00Z"),
            );
            WallTime::default()
        })
    }
}

/// A time as RFC 3339 writes it.
fn wall_time(text: &str) -> Option<WallTime> {
    text.parse::<jiff::Timestamp>().ok().map(|time| WallTime(time.as_second()))
}
