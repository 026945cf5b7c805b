//! What is known of each endpoint, dense and in order of identity.

use crate::ids::EndpointId;

/// Values of endpoints in ascending order of [`EndpointId`], so that scans are sequential and ties
/// that fall to the first slot fall to the oldest endpoint.
///
/// A *slot* is a place in that order; it is valid until the next insertion or removal.
#[derive(Clone, Debug)]
pub struct EndpointTable<T> {
    ids: Vec<EndpointId>,
    values: Vec<T>,
}

impl<T> Default for EndpointTable<T> {
    fn default() -> Self {
        Self { ids: Vec::new(), values: Vec::new() }
    }
}

impl<T> EndpointTable<T> {
    /// Adds an endpoint, or replaces the value of one that is there. Returns its slot and whether
    /// it is new: then later slots have moved by one.
    pub fn insert(&mut self, endpoint: EndpointId, value: T) -> (usize, bool) {
        match self.ids.binary_search(&endpoint) {
            Ok(slot) => {
                self.values[slot] = value;
                (slot, false)
            }
            Err(slot) => {
                self.ids.insert(slot, endpoint);
                self.values.insert(slot, value);
                (slot, true)
            }
        }
    }

    /// Takes an endpoint out; `None` when it was not there. Later slots move by one.
    pub fn remove(&mut self, endpoint: EndpointId) -> Option<T> {
        let slot = self.slot(endpoint)?;
        self.ids.remove(slot);
        Some(self.values.remove(slot))
    }

    /// The slot of an endpoint; `None` when it is not there.
    #[must_use]
    pub fn slot(&self, endpoint: EndpointId) -> Option<usize> {
        self.ids.binary_search(&endpoint).ok()
    }

    /// The endpoint in a slot.
    #[must_use]
    pub fn id(&self, slot: usize) -> EndpointId {
        self.ids[slot]
    }

    /// The value of an endpoint; `None` when it is not there.
    #[must_use]
    pub fn get(&self, endpoint: EndpointId) -> Option<&T> {
        self.slot(endpoint).map(|slot| &self.values[slot])
    }

    /// See [`EndpointTable::get`].
    pub fn get_mut(&mut self, endpoint: EndpointId) -> Option<&mut T> {
        self.slot(endpoint).map(|slot| &mut self.values[slot])
    }

    /// Endpoints in order of slot.
    #[must_use]
    pub fn ids(&self) -> &[EndpointId] {
        &self.ids
    }

    /// Values in order of slot.
    #[must_use]
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// See [`EndpointTable::values`].
    pub fn values_mut(&mut self) -> &mut [T] {
        &mut self.values
    }

    /// How many endpoints there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_follow_identities_whatever_the_order_of_arrival() {
        let mut table = EndpointTable::default();
        for id in [5, 1, 9, 3] {
            assert!(table.insert(EndpointId(id), id).1);
        }
        assert_eq!(table.values(), [1, 3, 5, 9]);
        assert_eq!(table.remove(EndpointId(3)), Some(3));
        assert_eq!(table.remove(EndpointId(3)), None);
        assert_eq!(table.slot(EndpointId(5)), Some(1));
        assert_eq!(table.insert(EndpointId(5), 7), (1, false));
        assert_eq!(table.get(EndpointId(5)), Some(&7));
        assert_eq!(table.get(EndpointId(4)), None);
    }
}
