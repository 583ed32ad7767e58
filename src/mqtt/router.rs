//! Which entries a topic reaches: filters without wildcards in a hash map, the others in a trie.
//!
//! A look-up costs one hash of the topic and a walk along its levels, whatever the number of filters, and allocates nothing.

use crate::table::Table;
use crate::topic::{TopicFilter, take_levels};

/// A map from topic filters to values that is read by topic.
#[derive(Debug)]
pub struct Router<T> {
    exact: Table<TopicFilterKey, T>,
    wild: Node<T>,
    wildcards: usize,
}

/// The text of a filter, so that a topic's text can be looked up without making a filter of it.
type TopicFilterKey = Box<str>;

#[derive(Debug)]
struct Node<T> {
    children: Table<Box<str>, Node<T>>,
    plus: Option<Box<Node<T>>>,
    /// The value of the filter that ends here.
    here: Option<T>,
    /// The value of the filter that goes on with `/#`.
    hash: Option<T>,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self { children: Table::default(), plus: None, here: None, hash: None }
    }
}

impl<T> Default for Router<T> {
    fn default() -> Self {
        Self { exact: Table::default(), wild: Node::default(), wildcards: 0 }
    }
}

impl<T> Router<T> {
    /// An empty router.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many filters it holds.
    pub fn len(&self) -> usize {
        self.exact.len() + self.wildcards
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sets the value of a filter; returns the one that it replaces.
    pub fn insert(&mut self, filter: &TopicFilter, value: T) -> Option<T> {
        if !filter.has_wildcard() {
            return self.exact.insert(filter.as_str().into(), value);
        }
        let mut node = &mut self.wild;
        let mut slot = None;
        for level in filter.as_str().split('/') {
            match level {
                "#" => {
                    slot = Some(());
                    break;
                }
                "+" => node = node.plus.get_or_insert_default(),
                level => node = node.children.entry(level.into()).or_default(),
            }
        }
        let place = if slot.is_some() { &mut node.hash } else { &mut node.here };
        let old = place.replace(value);
        self.wildcards += usize::from(old.is_none());
        old
    }

    /// Takes a filter out; returns its value.
    pub fn remove(&mut self, filter: &TopicFilter) -> Option<T> {
        if !filter.has_wildcard() {
            return self.exact.remove(filter.as_str());
        }
        let removed = self.wild.remove(filter.as_str());
        self.wildcards -= usize::from(removed.is_some());
        removed
    }

    /// The value of just this filter.
    pub fn get(&self, filter: &TopicFilter) -> Option<&T> {
        if !filter.has_wildcard() {
            return self.exact.get(filter.as_str());
        }
        let mut node = &self.wild;
        for level in filter.as_str().split('/') {
            node = match level {
                "#" => return node.hash.as_ref(),
                "+" => node.plus.as_deref()?,
                level => node.children.get(level)?,
            };
        }
        node.here.as_ref()
    }

    /// Calls `visit` with the value of each filter that matches the topic, once each, in no particular order.
    pub fn for_each_match<'a>(&'a self, topic: &str, mut visit: impl FnMut(&'a T)) {
        if let Some(value) = self.exact.get(topic) {
            visit(value);
        }
        if self.wildcards > 0 {
            // Wildcards in the first level do not see topics that begin with `$` (MQTT 5.0, section 4.7.2).
            self.wild.visit(Some(topic), !topic.starts_with('$'), &mut visit);
        }
    }
}

impl<T> Node<T> {
    fn visit<'a>(&'a self, rest: Option<&str>, wildcards_see_it: bool, visit: &mut impl FnMut(&'a T)) {
        // `a/#` matches `a` too: the value is taken whether or not a level is left.
        if let Some(value) = self.hash.as_ref().filter(|_| wildcards_see_it) {
            visit(value);
        }
        let Some(rest) = rest else {
            if let Some(value) = &self.here {
                visit(value);
            }
            return;
        };
        let (level, rest) = take_levels(rest, 1);
        if let Some(plus) = self.plus.as_ref().filter(|_| wildcards_see_it) {
            plus.visit(rest, true, visit);
        }
        if let Some(child) = self.children.get(level) {
            child.visit(rest, true, visit);
        }
    }

    fn remove(&mut self, filter: &str) -> Option<T> {
        let (level, rest) = take_levels(filter, 1);
        if level == "#" {
            return self.hash.take();
        }
        let child = match level {
            "+" => self.plus.as_deref_mut()?,
            level => self.children.get_mut(level)?,
        };
        let removed = match rest {
            Some(rest) => child.remove(rest),
            None => child.here.take(),
        };
        if child.is_empty() {
            match level {
                "+" => self.plus = None,
                level => drop(self.children.remove(level)),
            }
        }
        removed
    }

    fn is_empty(&self) -> bool {
        self.children.is_empty() && self.plus.is_none() && self.here.is_none() && self.hash.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn level() -> impl Strategy<Value = String> {
        prop_oneof![Just(String::new()), Just("$s".to_owned()), "[ab]", "é"]
    }

    fn topic() -> impl Strategy<Value = String> {
        prop::collection::vec(level(), 1..5)
            .prop_map(|levels| levels.join("/"))
            .prop_filter("not empty", |t| !t.is_empty())
    }

    fn filter() -> impl Strategy<Value = TopicFilter> {
        (prop::collection::vec(prop_oneof![3 => level(), 2 => Just("+".to_owned())], 1..5), any::<bool>())
            .prop_map(|(mut levels, hash)| {
                if hash {
                    levels.push("#".to_owned());
                }
                levels.join("/")
            })
            .prop_filter_map("a filter", |text| TopicFilter::new(text).ok())
    }

    proptest! {
        #[test]
        fn finds_what_the_plain_reading_of_the_standard_finds(
            inserted in prop::collection::vec(filter(), 0..20),
            removed in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
            topics in prop::collection::vec(topic(), 1..20),
        ) {
            let mut router = Router::new();
            let mut naive: Vec<TopicFilter> = Vec::new();
            for filter in &inserted {
                let known = naive.contains(filter);
                prop_assert_eq!(router.insert(filter, filter.clone()).is_some(), known);
                if !known {
                    naive.push(filter.clone());
                }
            }
            for index in removed {
                if inserted.is_empty() { break; }
                let filter = index.get(&inserted);
                let known = naive.iter().position(|f| f == filter);
                prop_assert_eq!(router.remove(filter).is_some(), known.is_some());
                if let Some(at) = known { naive.swap_remove(at); }
            }
            prop_assert_eq!(router.len(), naive.len());
            for filter in &naive {
                prop_assert_eq!(router.get(filter), Some(filter));
            }
            for topic in topics {
                let mut found = Vec::new();
                router.for_each_match(&topic, |filter| found.push(filter.clone()));
                let mut expected: Vec<_> = naive.iter().filter(|f| f.matches(&topic)).cloned().collect();
                found.sort();
                expected.sort();
                prop_assert_eq!(found, expected, "{}", topic);
            }
        }
    }

    #[test]
    fn an_emptied_router_keeps_no_nodes() {
        let mut router = Router::new();
        for text in ["a/+/c", "a/b/#", "+/+", "#"] {
            router.insert(&TopicFilter::new(text).unwrap(), ());
        }
        for text in ["a/+/c", "a/b/#", "+/+", "#"] {
            assert!(router.remove(&TopicFilter::new(text).unwrap()).is_some());
        }
        assert!(router.wild.is_empty() && router.is_empty());
    }
}
