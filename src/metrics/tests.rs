//! The catalogue's own rules, and the indices that its arrays rely on.

use super::*;

#[test]
fn names_follow_their_kind_and_are_there_once() {
    for (index, Entry { name, kind, help }) in CATALOGUE.into_iter().enumerate() {
        assert!(name.starts_with("switchboard_"), "{name}");
        assert_eq!(name.ends_with("_total"), kind == Kind::Counter, "{name}");
        assert_eq!(name.ends_with("_seconds"), kind == Kind::Histogram, "{name}");
        assert!(help.ends_with('.'), "{name}: {help}");
        assert!(!NAMES[..index].contains(&name), "{name} twice");
    }
}

#[test]
fn the_index_of_each_label_is_its_place_in_the_array() {
    assert!(Protocol::ALL.iter().enumerate().all(|(index, label)| *label as usize == index));
    assert!(Refused::ALL.iter().enumerate().all(|(index, label)| *label as usize == index));
    assert!(Stage::ALL.iter().enumerate().all(|(index, label)| *label as usize == index));
    assert!(Status::ALL.iter().enumerate().all(|(index, label)| *label as usize == index));
    assert_eq!((Mode::Request as usize, Mode::Publish as usize), (0, 1));
}

#[test]
fn events_before_any_recorder_go_nowhere_and_harm_nobody() {
    metrics().job_finished(Protocol::Native, Mode::Request, Status::Succeeded, 0.1);
    metrics().dead_lettered("made up");
}

#[test]
fn buckets_rise_from_a_millisecond_to_a_minute() {
    assert!(BUCKETS.is_sorted());
    assert_eq!((BUCKETS[0], BUCKETS[BUCKETS.len() - 1]), (0.001, 60.0));
}
