//! Messages that wait a moment for each other, so that many of them go to the broker as one group.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use super::flight::Flight;

/// How long a message waits for others.
const TOGETHER: Duration = Duration::from_millis(5);
/// With fewer under way nothing waits: who has few of them waits for each.
const MANY: usize = 64;

/// How many messages are under way that may wait for each other, from their sending to their confirm.
#[derive(Clone, Debug, Default)]
pub(super) struct UnderWay(Arc<AtomicUsize>);

/// One of them, until dropped.
pub(super) struct Counted(UnderWay);

impl UnderWay {
    pub(super) fn count(&self) -> Counted {
        self.0.fetch_add(1, Ordering::Relaxed);
        Counted(self.clone())
    }

    fn are_many(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= MANY
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Hands messages on in groups, until nobody sends or nobody takes them. What is held when the future is dropped is not sent.
///
/// Nothing wakes it while it waits: each wake-up saved is one less for the publisher, the broker, and whoever reads there.
pub(super) async fn gather(mut accepted: mpsc::Receiver<Flight>, onward: mpsc::Sender<Flight>, under_way: UnderWay) {
    let mut group = Vec::new();
    while accepted.recv_many(&mut group, accepted.max_capacity()).await > 0 {
        if under_way.are_many() {
            sleep(TOGETHER).await;
            while let Ok(flight) = accepted.try_recv() {
                group.push(flight);
            }
        }
        for flight in group.drain(..) {
            if onward.send(flight).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Address;
    use super::super::flight::{Message, Nacks};
    use super::*;
    use crate::envelope::Envelope;
    use tokio::sync::oneshot;

    fn flight(n: usize) -> Flight {
        let envelope = Envelope { message_id: Some(n.to_string()), ..Envelope::default() };
        let message = Message::new(Address::queue("q"), envelope, true).unwrap();
        Flight { message, done: oneshot::channel().0, nacks: Nacks::default() }
    }

    struct Gathered {
        inbox: mpsc::Sender<Flight>,
        came: mpsc::Receiver<Flight>,
        _counted: Vec<Counted>,
    }

    impl Gathered {
        /// With room for so many, and so many under way.
        fn start([held, handed]: [usize; 2], counted: usize) -> Self {
            let ((inbox, accepted), (onward, came)) = (mpsc::channel(held), mpsc::channel(handed));
            let under_way = UnderWay::default();
            let counted = (0..counted).map(|_| under_way.count()).collect();
            tokio::spawn(gather(accepted, onward, under_way));
            Self { inbox, came, _counted: counted }
        }

        /// Sends one, and waits until it was taken up.
        async fn first(&self) {
            self.inbox.send(flight(0)).await.unwrap();
            while self.inbox.capacity() < self.inbox.max_capacity() {
                tokio::task::yield_now().await;
            }
        }
    }

    #[tokio::test]
    async fn one_of_many_waits_and_goes_with_those_that_came_meanwhile_in_their_order() {
        let mut gathered = Gathered::start([8, 8], MANY);
        gathered.first().await;
        assert_eq!(gathered.came.len(), 0);
        for n in 1..5 {
            gathered.inbox.try_send(flight(n)).map_err(drop).unwrap();
        }
        for n in 0..5 {
            let came = gathered.came.recv().await.unwrap();
            assert_eq!(came.message.content().1.message_id, Some(n.to_string()));
            assert_eq!(gathered.came.len(), 4 - n, "all of them at once");
        }
    }

    #[tokio::test]
    async fn one_of_few_does_not_wait() {
        let gathered = Gathered::start([8, 8], MANY - 1);
        gathered.first().await;
        assert_eq!(gathered.came.len(), 1);
    }

    #[tokio::test]
    async fn more_than_it_may_hold_wait_and_none_is_lost() {
        let Gathered { inbox, mut came, _counted } = Gathered::start([2, 1], MANY);
        tokio::spawn(async move {
            for n in 0..9 {
                inbox.send(flight(n)).await.unwrap();
            }
        });
        let mut count = 0;
        while came.recv().await.is_some() {
            count += 1;
        }
        assert_eq!(count, 9);
    }

    #[test]
    fn what_is_dropped_is_no_longer_under_way() {
        let under_way = UnderWay::default();
        let mut counted: Vec<Counted> = (0..MANY).map(|_| under_way.count()).collect();
        assert!(under_way.are_many());
        counted.pop();
        assert!(!under_way.are_many());
    }
}
