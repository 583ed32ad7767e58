//! The book, without a broker.

use super::*;
use crate::wire::celery::Exception;
use serde_json::value::RawValue;

fn task(id: &str, stamps: &[(&str, &str)]) -> Arc<Task> {
    let head = Head { id: id.into(), name: "demo.add".into(), ..Head::default() };
    let stamps = stamps.iter().map(|(name, value)| ((*name).to_owned(), vec![(*value).to_owned()])).collect();
    Arc::new(Task { head, stamps, ..crate::node::tests::task() })
}

fn ids(ids: &[&str]) -> Vec<Arc<str>> {
    ids.iter().map(|id| Arc::from(*id)).collect()
}

fn states(book: &Book) -> Vec<(String, u8)> {
    book.records().iter().map(|record| (record.task.head.id.to_string(), record.state())).collect()
}

#[test]
fn a_task_is_in_the_book_from_its_coming_to_its_end() {
    let book = Book::new(["demo.add"]);
    let (first, second) =
        (book.receive(&task("a", &[]), Via::default()), book.receive(&task("b", &[]), Via::default()));
    first.schedule();
    assert_eq!(states(&book), [("a".to_owned(), SCHEDULED), ("b".to_owned(), RESERVED)]);
    first.due();
    first.start();
    first.start();
    first.schedule();
    assert_eq!((book.active(), book.begun(), first.record.state()), (1, 1, ACTIVE), "what runs does not wait");
    first.end(&End::Success(RawValue::from_string("1".to_owned()).unwrap()), Duration::from_millis(5));
    assert_eq!((book.active(), states(&book).len()), (0, 1));
    drop(second);
    assert!(states(&book).is_empty(), "what was given back is forgotten");
    let third = book.receive(&task("c", &[]), Via::default());
    assert_eq!(third.place, 1, "places are used again");
    assert_eq!(book.register().totals().collect::<Vec<_>>(), [("demo.add", 1)]);
}

#[test]
fn what_is_called_off_is_so_before_it_comes_and_what_runs_only_when_that_is_wanted() {
    let book = Book::new(["demo.add"]);
    assert!(!book.is_revoked(&task("a", &[])));
    let running = book.receive(&task("a", &[]), Via::default());
    running.start();
    let waiting = book.receive(&task("b", &[]), Via::default());
    assert!(book.revoke(&ids(&["a", "b", "c"]), None).is_empty());
    assert!(!running.terminated().is_cancelled() && !waiting.terminated().is_cancelled());
    assert!(waiting.called_off().is_cancelled(), "what waits for its time need not wait");
    assert!(book.is_revoked(&task("b", &[])) && book.is_revoked(&task("c", &[])) && !book.is_revoked(&task("d", &[])));
    let found = book.revoke(&ids(&["a", "x"]), Some(Terminate { signum: 9 }));
    assert_eq!((found, running.terminated().is_cancelled()), (ids(&["a"]), true));
    assert_eq!(book.revoked_ids(), ids(&["b", "c", "a", "x"]));
}

#[test]
fn a_stamp_calls_off_what_has_it() {
    let book = Book::new(["demo.add"]);
    let running = book.receive(&task("a", &[("tenant", "acme")]), Via::default());
    let stamps = [("tenant".to_owned(), vec!["acme".to_owned(), "other".to_owned()])];
    assert!(book.revoke_stamped(&stamps, None).is_empty());
    assert!(book.is_revoked(&task("x", &[("tenant", "other")])));
    assert!(
        !book.is_revoked(&task("x", &[("tenant", "third")])) && !book.is_revoked(&task("x", &[("acme", "tenant")]))
    );
    assert_eq!(book.revoke_stamped(&stamps, Some(Terminate { signum: 15 })), ids(&["a"]));
    assert!(running.terminated().is_cancelled());
}

#[test]
fn who_hears_of_revokes_hears_of_all_ids_known_or_not() {
    let (book, (listener, mut heard)) = (Book::new(["demo.add"]), mpsc::channel(1));
    book.on_revoked(listener);
    book.revoke(&ids(&["a", "b"]), None);
    book.merge(&ids(&["c"]));
    book.revoke(&ids(&["d"]), None);
    assert_eq!(heard.try_recv().unwrap(), ids(&["a", "b"]), "and nobody waits for a listener that does not listen");
    assert!(heard.try_recv().is_err());
}

#[test]
fn events_are_told_only_when_somebody_wants_them_and_dropped_when_nobody_takes_them() {
    let book = Book::new(["demo.add"]);
    let mut happenings = book.happenings().unwrap();
    assert!(book.happenings().is_none(), "one reader");
    drop(book.receive(&task("a", &[]), Via::default()));
    assert!(happenings.try_recv().is_err());
    assert!(!book.set_events(true));
    let entry = book.receive(&task("b", &[]), Via::default());
    entry.start();
    book.revoke(&ids(&["b"]), Some(Terminate { signum: 15 }));
    entry.end(&End::Revoked(Exception::revoked("terminated")), Duration::ZERO);
    let told: Vec<_> = std::iter::from_fn(|| happenings.try_recv().ok()).collect();
    assert!(matches!(told[0].what, What::Received(_)) && matches!(told[1].what, What::Started));
    assert!(matches!(told[2].what, What::Revoked { terminated: true, signum: Some(15), expired: false }));
    assert!(told.windows(2).all(|pair| pair[0].clock < pair[1].clock));
    for _ in 0..EVENTS + 7 {
        drop(book.receive(&task("c", &[]), Via::default()));
    }
    assert_eq!(book.events_missed(), 7);
}

#[test]
fn limits_and_rates_hold_for_the_names_we_serve() {
    let book = Book::new(["demo.add"]);
    assert_eq!((book.limits("demo.add"), book.turn("demo.add")), ((None, None), None));
    assert!(book.change("demo.other", |_| ()).is_none());
    book.change("demo.add", |terms| (terms.soft, terms.hard) = (Some(5.0), Some(10.0)));
    book.change("demo.add", |terms| terms.set_rate("1/h", 1.0 / 3600.0, Instant::now()));
    assert_eq!(book.limits("demo.add"), (Some(5.0), Some(10.0)));
    assert_eq!(book.turn("demo.add"), None);
    assert!(book.turn("demo.add").is_some_and(|wait| wait > Duration::from_secs(3590)));
}
