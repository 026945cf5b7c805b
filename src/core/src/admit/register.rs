//! A bounded table of things that are known by an unguessable name, belong to somebody, and end
//! at a time.

use std::collections::{BTreeMap, BTreeSet};

use crate::time::Time;

/// Things by name.
#[derive(Debug)]
pub(super) struct Register<T> {
    entries: BTreeMap<u128, Entry<T>>,
    /// How many each holder has; none of them 0.
    held: BTreeMap<u64, usize>,
    /// When each ends.
    ends: BTreeSet<(Time, u128)>,
    entries_max: usize,
    held_max: usize,
}

#[derive(Debug)]
struct Entry<T> {
    holder: u64,
    until: Time,
    value: T,
}

/// Why nothing more is taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// The holder has as many as one may have.
    #[error("the caller holds {0} already, the most that one may hold; give some back first")]
    Holder(usize),
    /// There are as many as there may be.
    #[error("all {0} are held; come back later")]
    All(usize),
}

impl<T> Register<T> {
    /// At most `entries_max` in all, `held_max` for one holder.
    pub(super) const fn new(entries_max: usize, held_max: usize) -> Self {
        Self {
            entries: BTreeMap::new(),
            held: BTreeMap::new(),
            ends: BTreeSet::new(),
            entries_max,
            held_max,
        }
    }

    /// Whether there is room for one more of `holder`.
    pub(super) fn room(&self, holder: u64) -> Result<(), Full> {
        if self.entries.len() >= self.entries_max {
            return Err(Full::All(self.entries_max));
        }
        let held = self.held.get(&holder).copied().unwrap_or(0);
        if held >= self.held_max { Err(Full::Holder(self.held_max)) } else { Ok(()) }
    }

    /// Takes in something under `id`, 128 random bits.
    ///
    /// # Errors
    /// The value back, and which bound it would pass.
    pub(super) fn insert(
        &mut self,
        id: u128,
        holder: u64,
        until: Time,
        value: T,
    ) -> Result<(), (Full, T)> {
        if let Err(full) = self.room(holder) {
            return Err((full, value));
        }
        // Two equal draws of 128 bits do not happen; a broken source of them must not lose a lease.
        if self.entries.contains_key(&id) {
            return Err((Full::All(self.entries_max), value));
        }
        *self.held.entry(holder).or_insert(0) += 1;
        self.ends.insert((until, id));
        self.entries.insert(id, Entry { holder, until, value });
        Ok(())
    }

    /// What `holder` has under `id`.
    pub(super) fn get(&self, id: u128, holder: u64) -> Option<&T> {
        self.entries.get(&id).filter(|entry| entry.holder == holder).map(|entry| &entry.value)
    }

    /// The same, to be changed.
    pub(super) fn get_mut(&mut self, id: u128, holder: u64) -> Option<&mut T> {
        let entry = self.entries.get_mut(&id).filter(|entry| entry.holder == holder);
        entry.map(|entry| &mut entry.value)
    }

    /// Takes out what `holder` has under `id`, and when it would have ended.
    pub(super) fn take(&mut self, id: u128, holder: u64) -> Option<(Time, T)> {
        self.get(id, holder)?;
        self.remove(id).map(|entry| (entry.until, entry.value))
    }

    /// Takes out one thing that ended by `now`: its name, its holder, itself.
    pub(super) fn pop_ended(&mut self, now: Time) -> Option<(u128, u64, T)> {
        let &(until, id) = self.ends.first()?;
        if until > now {
            return None;
        }
        self.remove(id).map(|entry| (id, entry.holder, entry.value))
    }

    fn remove(&mut self, id: u128) -> Option<Entry<T>> {
        let entry = self.entries.remove(&id)?;
        self.ends.remove(&(entry.until, id));
        if let Some(held) = self.held.get_mut(&entry.holder) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(&entry.holder);
            }
        }
        Some(entry)
    }

    /// When the next thing ends.
    pub(super) fn next_end(&self) -> Option<Time> {
        self.ends.first().map(|(until, _)| *until)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}
