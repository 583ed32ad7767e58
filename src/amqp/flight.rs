//! A message on its way to the broker: what is sent, what came back, and the book of what is not confirmed yet.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lapin::message::BasicReturnMessage;
use lapin::options::BasicPublishOptions;
use lapin::types::ShortString;
use lapin::{BasicProperties, Confirmation};
use tokio::sync::oneshot;

use super::properties::{Unsendable, properties, short};
use super::publisher::{Address, Confirm, PublishError};
use crate::envelope::Envelope;
use crate::table::Table;

/// Queues that are only names of waiting requesters: the broker returns every mandatory message to them, delivered or not.
const DIRECT_REPLY: &str = "amq.rabbitmq.reply-to.";

/// A message in lapin's terms. Converted once, since it may be sent several times; shared, since it is handed on so often that
/// moving it would cost more than anything that is done with it.
pub(super) struct Message {
    pub(super) exchange: ShortString,
    pub(super) routing_key: ShortString,
    properties: BasicProperties,
    body: Bytes,
    mandatory: bool,
}

impl Message {
    pub(super) fn new(to: Address, envelope: Envelope, mandatory: bool) -> Result<Arc<Self>, Unsendable> {
        let mandatory = mandatory && !to.routing_key.starts_with(DIRECT_REPLY);
        let (properties, body) = properties(envelope)?;
        let (exchange, routing_key) = (short("exchange", to.exchange)?, short("routing_key", to.routing_key)?);
        Ok(Arc::new(Self { exchange, routing_key, properties, body, mandatory }))
    }

    /// Sends it and waits for the confirm. The first poll hands it over whole, so futures that are first polled by one task
    /// cannot mix up their confirms; lapin does mix them up where several tasks share a channel.
    pub(super) fn send<'a>(
        self: &Arc<Self>,
        channel: &'a lapin::Channel,
    ) -> impl Future<Output = lapin::Result<Confirmation>> + Send + use<'a> {
        let message = self.clone();
        async move {
            let Self { exchange, routing_key, properties, body, mandatory } = &*message;
            let options = BasicPublishOptions { mandatory: *mandatory, immediate: false };
            let (exchange, routing_key) = (exchange.clone(), routing_key.clone());
            channel.basic_publish(exchange, routing_key, options, body, properties.clone()).await?.await
        }
    }

    /// The routing key, and the message as it was given.
    #[cfg(test)]
    pub(super) fn content(&self) -> (String, Envelope) {
        let envelope = super::properties::envelope(&self.properties, self.body.to_vec());
        (self.routing_key.to_string(), envelope)
    }

    /// Whether this is the message that came back. The broker repeats these three unchanged; lapin attaches a return to
    /// whichever confirm resolves next, so nothing else can be trusted.
    pub(super) fn is(&self, returned: &BasicReturnMessage) -> bool {
        self.mandatory
            && self.exchange == returned.delivery.exchange
            && self.routing_key == returned.delivery.routing_key
            && self.properties.message_id() == returned.delivery.properties.message_id()
    }
}

/// A message, and who waits for its confirm.
pub(super) struct Flight {
    pub(super) message: Arc<Message>,
    pub(super) done: oneshot::Sender<Result<Confirm, PublishError>>,
    pub(super) nacks: Nacks,
    /// Nobody wants two of it, rather none: where its confirm is lost it is not sent again.
    pub(super) once: bool,
}

impl Flight {
    /// Its confirm is lost; given back if it is to be sent again.
    pub(super) fn lost(self) -> Option<Self> {
        if !self.once {
            return Some(self);
        }
        let last = "its channel was lost before the confirm".to_owned();
        let _ = self.done.send(Err(PublishError::TimedOut { last }));
        None
    }
}

/// How often the broker refused to store a message, and since when.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Nacks {
    pub(super) count: u32,
    since: Option<Instant>,
}

impl Nacks {
    /// Notes one more, and says how long it may be until the message is tried once more; `None` where it is given up.
    ///
    /// A queue without its leader refuses too, and has one again within seconds, at worst within `patience`, at whose end it is
    /// asked for the last time. One that is known to be full is not waited for twice.
    pub(super) fn add(&mut self, now: Instant, patience: Duration, is_full: bool) -> Option<Duration> {
        let waited = now.saturating_duration_since(*self.since.get_or_insert(now));
        self.count += 1;
        let is_over = if is_full { self.count > 1 } else { waited >= patience };
        (!is_over).then(|| patience.saturating_sub(waited))
    }
}

/// What was handed to a channel and is not confirmed yet, by number.
#[derive(Default)]
pub(super) struct Airborne {
    flights: Table<u64, (Flight, Instant)>,
    last: u64,
    /// Returned messages whose own confirm has not come yet.
    returned: Vec<BasicReturnMessage>,
}

impl Airborne {
    pub(super) fn take_off(&mut self, flight: Flight, now: Instant) -> u64 {
        self.last += 1;
        self.flights.insert(self.last, (flight, now));
        self.last
    }

    pub(super) fn len(&self) -> usize {
        self.flights.len()
    }

    /// Notes a message that came back. To be called for everything that resolved together, before any of it lands: the
    /// broker sends a return before the confirm of the same message, so by then none is missing.
    pub(super) fn came_back(&mut self, returned: BasicReturnMessage) {
        self.returned.push(returned);
    }

    /// The flight of that number, and whether its message reached a queue.
    pub(super) fn land(&mut self, number: u64) -> Option<(Flight, bool)> {
        let (flight, _) = self.flights.remove(&number)?;
        let at = self.returned.iter().position(|returned| flight.message.is(returned));
        if let Some(at) = at {
            self.returned.swap_remove(at);
        }
        Some((flight, at.is_none()))
    }

    /// Whether a confirm is later than `patience` allows.
    pub(super) fn overdue(&self, now: Instant, patience: Duration) -> bool {
        self.flights.values().any(|(_, since)| now.saturating_duration_since(*since) > patience)
    }

    /// Starts every wait anew: what the broker did not read it could not confirm.
    pub(super) fn forgive(&mut self, now: Instant) {
        self.flights.values_mut().for_each(|(_, since)| *since = now);
    }

    /// All that is not confirmed, in the order in which it was sent: its channel is gone.
    pub(super) fn ground(&mut self) -> Vec<Flight> {
        self.returned.clear();
        let mut flights: Vec<_> = self.flights.drain().collect();
        flights.sort_unstable_by_key(|(number, _)| *number);
        flights.into_iter().map(|(_, (flight, _))| flight).collect()
    }
}

/// What waits to be sent again, by when.
#[derive(Default)]
pub(super) struct Again {
    waiting: BTreeMap<(Instant, u64), Flight>,
    last: u64,
}

impl Again {
    pub(super) fn add(&mut self, flight: Flight, due: Instant) {
        self.last += 1;
        self.waiting.insert((due, self.last), flight);
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.waiting.keys().next().map(|(due, _)| *due)
    }

    /// Moves what is due into `batch`, up to `limit` of it.
    pub(super) fn take_due(&mut self, now: Instant, limit: usize, batch: &mut Vec<Flight>) {
        while batch.len() < limit && self.next_due().is_some_and(|due| due <= now) {
            batch.extend(self.waiting.pop_first().map(|(_, flight)| flight));
        }
    }

    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Flight> {
        std::mem::take(&mut self.waiting).into_values()
    }
}

/// The exchange that the broker's words of refusal name, as a publish names it.
pub(super) fn refused_exchange(words: &str) -> Option<&str> {
    let (_, rest) = words.split_once("exchange '")?;
    let (name, _) = rest.split_once('\'')?;
    Some(if name == "amq.default" { "" } else { name })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flight(id: &str, key: &str) -> (Flight, oneshot::Receiver<Result<Confirm, PublishError>>) {
        let envelope = Envelope { message_id: Some(id.to_owned()), ..Envelope::default() };
        let message = Message::new(Address::queue(key), envelope, true).unwrap();
        let (done, answer) = oneshot::channel();
        (Flight { message, done, nacks: Nacks::default(), once: false }, answer)
    }

    fn id(flight: &Flight) -> &str {
        flight.message.properties.message_id().as_ref().unwrap().as_str()
    }

    #[test]
    fn what_is_grounded_comes_out_in_the_order_of_sending_and_once() {
        let (now, mut airborne) = (Instant::now(), Airborne::default());
        let numbers: Vec<u64> = (0..20).map(|n| airborne.take_off(flight(&n.to_string(), "q").0, now)).collect();
        assert!(airborne.land(numbers[7]).is_some_and(|(flight, routed)| id(&flight) == "7" && routed));
        assert!(airborne.land(numbers[7]).is_none());
        let grounded = airborne.ground();
        let expected: Vec<String> = (0..20).filter(|n| *n != 7).map(|n| n.to_string()).collect();
        assert_eq!(grounded.iter().map(id).collect::<Vec<_>>(), expected);
        assert_eq!(airborne.len(), 0);
    }

    #[test]
    fn what_must_not_be_there_twice_is_not_sent_again_and_whoever_waits_hears_that_nobody_knows() {
        let (usual, mut answer) = flight("a", "q");
        assert!(usual.lost().is_some() && answer.try_recv().is_err());
        let (once, mut answer) = flight("b", "q");
        assert!(Flight { once: true, ..once }.lost().is_none());
        assert!(matches!(answer.try_recv(), Ok(Err(PublishError::TimedOut { .. }))));
    }

    #[test]
    fn a_confirm_is_overdue_only_while_the_broker_could_have_read_the_message() {
        let (start, mut airborne) = (Instant::now(), Airborne::default());
        let patience = Duration::from_secs(30);
        airborne.take_off(flight("a", "q").0, start);
        assert!(!airborne.overdue(start + patience, patience));
        assert!(airborne.overdue(start + patience + Duration::from_millis(1), patience));
        airborne.forgive(start + patience);
        assert!(!airborne.overdue(start + patience * 2, patience));
    }

    #[test]
    fn what_waits_comes_back_when_it_is_due_and_not_before() {
        let (start, mut again, mut batch) = (Instant::now(), Again::default(), Vec::new());
        let second = Duration::from_secs(1);
        again.add(flight("late", "q").0, start + second * 2);
        again.add(flight("early", "q").0, start + second);
        again.add(flight("early too", "q").0, start + second);
        again.take_due(start, 10, &mut batch);
        assert!(batch.is_empty());
        again.take_due(start + second, 1, &mut batch);
        assert_eq!(batch.iter().map(id).collect::<Vec<_>>(), ["early"]);
        again.take_due(start + second * 5, 10, &mut batch);
        assert_eq!(batch.iter().map(id).collect::<Vec<_>>(), ["early", "early too", "late"]);
        assert_eq!((again.len(), again.next_due()), (0, None));
    }

    #[test]
    fn a_message_is_given_up_after_its_time_and_not_before_however_often_it_was_refused() {
        let (start, patience) = (Instant::now(), Duration::from_secs(30));
        let mut nacks = Nacks::default();
        for second in 0..30 {
            let left = nacks.add(start + Duration::from_secs(second), patience, false);
            assert_eq!(left, Some(Duration::from_secs(30 - second)));
        }
        assert_eq!(nacks.add(start + patience, patience, false), None);
        let mut full = Nacks::default();
        assert!(full.add(start, patience, true).is_some());
        assert_eq!(full.add(start, patience, true), None);
        assert!(Nacks::default().add(start, Duration::MAX, false).is_some());
    }

    #[test]
    fn the_words_of_a_refusal_name_the_exchange() {
        let cases = [
            ("NOT_FOUND - no exchange 'x' in vhost '/'", Some("x")),
            ("ACCESS_REFUSED - access to exchange 'amq.default' in vhost '/' refused for user 'u'", Some("")),
            ("ACCESS_REFUSED - access to topic 'k' in exchange 't' in vhost '/' refused for user 'u'", Some("t")),
            ("PRECONDITION_FAILED - invalid expiration 'soon': no_integer", None),
        ];
        for (words, exchange) in cases {
            assert_eq!(refused_exchange(words), exchange, "{words}");
        }
    }

    #[test]
    fn a_direct_reply_is_never_mandatory() {
        let message = |key: &str| Message::new(Address::queue(key), Envelope::default(), true).unwrap();
        assert!(!message("amq.rabbitmq.reply-to.g1h2").mandatory);
        assert!(message("amq.gen-x").mandatory);
    }
}
