//! The keys that every policy understands, and what they do to the world.
//!
//! With `fill=order` the variants of a role count as one pool: a Deployment whose pods fall back
//! from accelerator to accelerator. With `fill=each` each is scaled on its own, as by one HPA per
//! Deployment; metrics of the router are then those of the whole fleet, for each of them.

use forebay_core::fleet::{Role, World};
use forebay_core::ids::{FleetId, VariantId};

use super::error::{SpecError, did_you_mean};
use super::group::Group;
use super::keys::Keys;
use super::objects::Object;

/// What the common keys say, resolved against a world.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Common {
    pub(crate) groups: Vec<Group>,
    /// Variants that `variants=` leaves out.
    excluded: Vec<VariantId>,
    max_num_batched_tokens: Option<u32>,
    max_num_seqs: Option<u32>,
    min: Option<u32>,
    max: Option<u32>,
    initial: Option<u32>,
    /// Prefill and decode replicas of one unit.
    pub(crate) split: Option<(u32, u32)>,
}

impl Common {
    pub(crate) fn read(keys: &mut Keys<'_>, world: &World) -> Result<Self, SpecError> {
        keys.pass("gate.");
        let _ = keys.text("gate");
        keys.report("gate", keys.spec().gate());
        let fill = keys.choice("fill", "order", &["order", "cheapest", "each", "first"])?;
        let named = keys.list("variants", "", |name| find_variants(world, name))?;
        let named: Vec<VariantId> = named.into_iter().flatten().collect();
        let min = keys.count("min", None)?;
        let max = keys.count("max", None)?;
        let initial = keys.count("initial", None)?;
        if let (Some(min), Some(max)) = (min, max)
            && min > max
        {
            return Err(keys.error(format!("min={min} exceeds max={max}"), "swap them"));
        }
        let max_num_batched_tokens = keys.count("engine.max_num_batched_tokens", None)?;
        let max_num_seqs = keys.count("engine.max_num_seqs", None)?;
        if max_num_batched_tokens == Some(0) || max_num_seqs == Some(0) {
            return Err(keys.error("an engine limit of 0", "an engine needs at least 1"));
        }
        let split = read_split(keys)?;
        let mut common = Self {
            groups: Vec::new(),
            excluded: Vec::new(),
            max_num_batched_tokens,
            max_num_seqs,
            min,
            max,
            initial,
            split,
        };
        for index in 0..world.fleets.len() {
            for role in [Role::Both, Role::Prefill, Role::Decode] {
                common.add_groups(world, FleetId(index as u16), role, &named, fill);
            }
        }
        Ok(common)
    }

    fn add_groups(
        &mut self,
        world: &World,
        fleet: FleetId,
        role: Role,
        named: &[VariantId],
        fill: &str,
    ) {
        let own: Vec<VariantId> = world
            .variants_of(fleet)
            .filter(|(_, variant)| variant.role == role)
            .map(|(id, _)| id)
            .collect();
        let mut used: Vec<VariantId> =
            named.iter().copied().filter(|id| own.contains(id)).collect();
        if used.is_empty() {
            used.clone_from(&own);
        }
        self.excluded.extend(own.iter().filter(|id| !used.contains(id)));
        if fill == "cheapest" {
            let price =
                |id: &VariantId| world.replica_price(*id).map_or(f64::INFINITY, |price| price.0);
            used.sort_by(|left, right| price(left).total_cmp(&price(right)));
        }
        let pools: Vec<Vec<VariantId>> = match fill {
            _ if used.is_empty() => Vec::new(),
            "each" => used.into_iter().map(|id| vec![id]).collect(),
            "first" => vec![used[..1].to_vec()],
            _ => vec![used],
        };
        for variants in pools {
            let sum = |bound: fn(&forebay_core::fleet::Variant) -> u32| -> u32 {
                variants.iter().map(|id| bound(&world.variants[id.index()])).sum()
            };
            let max = self.max.unwrap_or_else(|| sum(|variant| variant.replicas_max));
            let min = self.min.unwrap_or_else(|| sum(|variant| variant.replicas_min)).min(max);
            self.groups.push(Group { fleet, role, variants, min, max });
        }
    }

    /// The pool that a scaling object scales: the variant that its annotation names, the one
    /// that its target is called as, or the only pool there is.
    pub(crate) fn group_of(&self, object: &Object, world: &World) -> Result<Group, String> {
        let named = object.variant.as_deref().unwrap_or(&object.target);
        let found = find_variants(world, named).ok();
        let mut group = match found.as_deref() {
            Some([id]) => {
                let holds = |group: &&Group| group.variants.contains(id);
                let group = self.groups.iter().find(holds);
                let group = group.ok_or(format!("variant {named} is not in use"))?;
                // An object that names the first of a pool means the pool.
                let variants =
                    if group.first() == *id { group.variants.clone() } else { vec![*id] };
                Group { variants, ..group.clone() }
            }
            _ => match self.groups.as_slice() {
                [only] => only.clone(),
                _ => {
                    let names = self.groups.iter().map(|group| group.name(world));
                    let names = names.collect::<Vec<_>>().join(", ");
                    let Object { name, target, .. } = object;
                    return Err(format!("{name}: which of {names} is its target `{target}`?"));
                }
            },
        };
        group.min = object.settings.min.unwrap_or(group.min);
        group.max = object.settings.max.unwrap_or(group.max);
        Ok(group)
    }

    /// Changes the world as the keys say.
    pub(crate) fn apply(&self, world: &mut World) {
        for variant in &mut world.variants {
            let limits = &mut variant.profile.limits;
            limits.max_num_batched_tokens =
                self.max_num_batched_tokens.unwrap_or(limits.max_num_batched_tokens);
            limits.max_num_seqs = self.max_num_seqs.unwrap_or(limits.max_num_seqs);
        }
        for id in &self.excluded {
            let variant = &mut world.variants[id.index()];
            (variant.replicas_min, variant.replicas_max, variant.replicas_initial) = (0, 0, 0);
        }
        for group in &self.groups {
            self.apply_bounds(group, world);
        }
    }

    fn apply_bounds(&self, group: &Group, world: &mut World) {
        apply_bounds(group, world, self.min, self.max, self.initial);
    }
}

/// Sets the bounds and the start of a pool's variants.
pub(crate) fn apply_bounds(
    group: &Group,
    world: &mut World,
    min: Option<u32>,
    max: Option<u32>,
    initial: Option<u32>,
) {
    if let Some(max) = max {
        let alone = group.variants.len() == 1;
        for id in &group.variants {
            let variant = &mut world.variants[id.index()];
            variant.replicas_max = if alone { max } else { variant.replicas_max.min(max) };
            variant.replicas_min = variant.replicas_min.min(variant.replicas_max);
        }
    }
    if let Some(min) = min {
        hand_out(group, world, min, |variant| &mut variant.replicas_min);
    }
    if let Some(initial) = initial {
        hand_out(group, world, initial, |variant| &mut variant.replicas_initial);
    }
    for id in &group.variants {
        let variant = &mut world.variants[id.index()];
        variant.replicas_initial =
            variant.replicas_initial.clamp(variant.replicas_min, variant.replicas_max);
    }
}

/// Sets one field of a group's variants so that the values add up to `total`, in order of
/// preference and each up to its maximum.
fn hand_out(
    group: &Group,
    world: &mut World,
    mut total: u32,
    field: fn(&mut forebay_core::fleet::Variant) -> &mut u32,
) {
    for id in &group.variants {
        let variant = &mut world.variants[id.index()];
        let part = total.min(variant.replicas_max);
        total -= part;
        *field(variant) = part;
    }
}

/// Variants of that name in any fleet (`variant`), or in one (`fleet/variant`).
pub(crate) fn find_variants(world: &World, name: &str) -> Result<Vec<VariantId>, String> {
    let (fleet, variant) = match name.split_once('/') {
        Some((fleet, variant)) => (Some(fleet), variant),
        None => (None, name),
    };
    let found: Vec<VariantId> = world
        .variants
        .iter()
        .enumerate()
        .filter(|(_, known)| known.name == variant)
        .filter(|(_, known)| {
            fleet.is_none_or(|name| world.fleets[known.fleet.index()].name == name)
        })
        .map(|(index, _)| VariantId(index as u16))
        .collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let names = world.variants.iter().map(|variant| variant.name.as_str());
    Err(did_you_mean(variant, names.clone())
        .unwrap_or_else(|| format!("variants there are: {}", names.collect::<Vec<_>>().join(", "))))
}

fn read_split(keys: &mut Keys<'_>) -> Result<Option<(u32, u32)>, SpecError> {
    let Some(text) = keys.text("pd_split") else {
        return Ok(None);
    };
    let parts = text.split_once(':').and_then(|(prefill, decode)| {
        Some((prefill.trim().parse::<u32>().ok()?, decode.trim().parse::<u32>().ok()?))
    });
    match parts {
        Some((prefill, decode)) if prefill > 0 && decode > 0 => Ok(Some((prefill, decode))),
        _ => Err(keys.error(
            format!("pd_split={text}"),
            "expected prefill:decode replicas of one unit, for instance 1:2",
        )),
    }
}
