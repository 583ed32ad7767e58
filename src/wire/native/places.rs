//! The devices of a list, each once: what is named again is the same device, and has no second payload.

use super::job::Limits;
use crate::excerpt::Excerpt;
use crate::job::Target;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

/// Where in a list each of its devices stands.
#[derive(Debug, Default)]
pub struct Places(HashMap<Arc<str>, usize>);

impl Places {
    /// Puts a device at the end of the list. False where it stands there already, with the same payload or as much without one.
    ///
    /// # Errors
    ///
    /// Its place, where it stands there with another payload.
    pub fn put(&mut self, list: &mut Vec<Target>, target: Target) -> Result<bool, usize> {
        match self.0.entry(target.device.clone()) {
            Entry::Occupied(place) if list[*place.get()].payload == target.payload => Ok(false),
            Entry::Occupied(place) => Err(*place.get()),
            Entry::Vacant(place) => {
                place.insert(list.len());
                list.push(target);
                Ok(true)
            }
        }
    }
}

/// The devices that a field lists, in the order in which it names them first.
pub(in crate::wire) fn each_once<E: From<String>>(
    field: &str,
    listed: impl ExactSizeIterator<Item = Result<Target, E>>,
    limits: &Limits,
) -> Result<Vec<Target>, E> {
    if limits.repeats {
        return listed.collect();
    }
    let mut list = Vec::with_capacity(listed.len());
    let mut places = Places(HashMap::with_capacity(listed.len()));
    for (index, target) in listed.enumerate() {
        places.put(&mut list, target?).map_err(|first| {
            let device = Excerpt(&list[first].device);
            format!("{field}[{index}] names the device {device} once more, with another payload; once is right")
        })?;
    }
    Ok(list)
}
