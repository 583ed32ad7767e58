//! Which delivery tags of a channel are settled, and the fewest acks that say so: a pure book, without a runtime.

use std::collections::BTreeMap;

/// One `basic.ack`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ack {
    pub(super) tag: u64,
    /// Whether it covers every unsettled tag below it as well.
    pub(super) multiple: bool,
}

/// The settled tags of one channel, as ranges: their number is bounded by the gaps between them, which are unsettled
/// deliveries, however long one slow job keeps the first gap open.
///
/// Tags of a channel count from 1 without holes, so a range that starts at 1 is a contiguous prefix.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// First to last tag, neither overlapping nor touching.
    ranges: BTreeMap<u64, u64>,
}

impl Ledger {
    /// Books tags that were given back or rejected, each by a frame of its own that precedes the acks of this batch.
    pub(super) fn book(&mut self, tag: u64) {
        let mut first = tag;
        let mut last = tag;
        if let Some((&start, &end)) = self.ranges.range(..=tag).next_back() {
            if end >= tag {
                return;
            }
            if end + 1 == tag {
                first = start;
            }
        }
        if let Some(end) = self.ranges.remove(&(tag + 1)) {
            last = end;
        }
        self.ranges.insert(first, last);
    }

    /// Whether that tag was booked.
    pub(super) fn is_settled(&self, tag: u64) -> bool {
        self.ranges.range(..=tag).next_back().is_some_and(|(_, &last)| last >= tag)
    }

    /// Books `tags` as acked and says which acks to send: one with `multiple` for those in the settled prefix, one each for
    /// the rest. Sorts `tags`.
    ///
    /// The prefix ack names a tag of this batch, not the end of the prefix: RabbitMQ closes the channel with 406 when the
    /// tag of a multiple ack is itself settled already.
    pub(super) fn acks(&mut self, tags: &mut Vec<u64>) -> Vec<Ack> {
        tags.sort_unstable();
        tags.dedup();
        for &tag in tags.iter() {
            self.book(tag);
        }
        let prefix_end = self.ranges.get(&1).copied().unwrap_or(0);
        let in_prefix = tags.partition_point(|&tag| tag <= prefix_end);
        let mut acks = Vec::with_capacity(1 + tags.len() - in_prefix);
        if let Some(&tag) = tags[..in_prefix].last() {
            acks.push(Ack { tag, multiple: in_prefix > 1 });
        }
        acks.extend(tags[in_prefix..].iter().map(|&tag| Ack { tag, multiple: false }));
        acks
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// The broker's side of a channel, by RabbitMQ's rules.
    #[derive(Default)]
    struct Broker {
        unsettled: BTreeSet<u64>,
        acked: Vec<u64>,
    }

    impl Broker {
        fn ack(&mut self, ack: Ack) -> Result<(), String> {
            if !self.unsettled.contains(&ack.tag) {
                return Err(format!("406 unknown delivery tag {}", ack.tag));
            }
            let covered: Vec<u64> = match ack.multiple {
                true => self.unsettled.range(..=ack.tag).copied().collect(),
                false => vec![ack.tag],
            };
            for tag in covered {
                self.unsettled.remove(&tag);
                self.acked.push(tag);
            }
            Ok(())
        }
    }

    proptest! {
        /// Deliveries, settlements in any order, batches of any size, some given back instead of acked.
        #[test]
        fn every_settled_tag_is_acked_once_and_no_unsettled_one_ever(
            order in (1..120u64).prop_flat_map(|n| Just((1..=n).collect::<Vec<_>>()).prop_shuffle()),
            kept in 0..20usize,
            batches in prop::collection::vec((1..9usize, prop::collection::vec(any::<bool>(), 9)), 1..200),
        ) {
            let mut broker = Broker { unsettled: order.iter().copied().collect(), acked: Vec::new() };
            let mut ledger = Ledger::default();
            let mut settled = order[kept.min(order.len())..].iter().copied();
            let (mut acked, mut returned) = (BTreeSet::new(), BTreeSet::new());
            for (size, give_back) in batches {
                let batch: Vec<u64> = settled.by_ref().take(size).collect();
                let mut tags = Vec::new();
                for (tag, back) in batch.into_iter().zip(give_back) {
                    if back {
                        prop_assert!(broker.unsettled.remove(&tag), "given back what is not unsettled: {tag}");
                        ledger.book(tag);
                        returned.insert(tag);
                    } else {
                        tags.push(tag);
                        acked.insert(tag);
                    }
                }
                for ack in ledger.acks(&mut tags) {
                    prop_assert_eq!(broker.ack(ack), Ok(()));
                }
                prop_assert_eq!(&broker.acked.iter().copied().collect::<BTreeSet<_>>(), &acked);
            }
            prop_assert_eq!(broker.acked.len(), acked.len(), "a tag was acked twice");
            let open: BTreeSet<u64> = order.iter().copied().filter(|tag| !acked.contains(tag) && !returned.contains(tag)).collect();
            prop_assert_eq!(&broker.unsettled, &open);
            prop_assert!(ledger.ranges.len() <= open.len() + 1, "{} ranges for {} gaps", ledger.ranges.len(), open.len());
        }
    }

    #[test]
    fn a_prefix_is_one_ack_and_the_rest_are_single() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.acks(&mut vec![3]), [Ack { tag: 3, multiple: false }]);
        assert_eq!(
            ledger.acks(&mut vec![5, 2, 1]),
            [Ack { tag: 2, multiple: true }, Ack { tag: 5, multiple: false }],
            "3 was acked before, so the prefix ack must not name it"
        );
        assert_eq!(ledger.acks(&mut vec![4]), [Ack { tag: 4, multiple: false }]);
        assert_eq!(ledger.acks(&mut vec![]), []);
    }

    #[test]
    fn one_slow_job_does_not_let_the_book_grow() {
        let mut ledger = Ledger::default();
        for tag in 2..100_000 {
            ledger.acks(&mut vec![tag]);
        }
        assert_eq!(ledger.ranges.len(), 1);
    }
}
