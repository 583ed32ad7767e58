//! A bulk through losses, crashes and repetitions: every device ends, and what may run once runs once.

use super::cells::Cell;
use super::course::{Course, Release, Rules};
use super::known::{Known, Purpose};
use super::log::{Out, Releases};
use super::plan::{ChunkLimits, Plan};
use crate::job::{Abort, Bulk, Guarantee, Job, Payload, Target, Targets};
use crate::outcome::Status;
use crate::wire::bulk::{Done, Ranges, Report, Stand, Start};
use crate::wire::native;
use proptest::prelude::*;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

pub(super) const RULES: Rules = Rules {
    chunk: ChunkLimits { devices: 4, bytes: 1000 },
    lease: Duration::from_secs(10),
    timeout: Duration::from_secs(5),
    max_timeout: Duration::from_secs(60),
    slack: Duration::from_secs(2),
    workers: 2,
};
/// After this a release is given up.
pub(super) const OVER: u64 = 22_000;

pub(super) fn plan(devices: u32, guarantee: Guarantee, change: impl FnOnce(&mut Bulk)) -> Plan {
    let target = |n: u32| Target { device: format!("d{n}").into(), payload: None };
    let mut bulk = Bulk::new((0..devices).map(target).collect());
    change(&mut bulk);
    let job = Job {
        expires_at: Some(1_800_000_000_000),
        guarantee: Some(guarantee),
        enqueued_at: Some(1),
        ..Job::new("b", Targets::Many(bulk), "go")
    };
    let start = Start {
        id: "b".into(),
        job: serde_json::from_slice(&native::encode(&job).body).unwrap(),
        made_at: Some(1),
        at: 1,
        reply_to: Some("r".into()),
        correlation_id: None,
        end: None,
    };
    Plan::read(&start, &BTreeSet::new()).unwrap()
}

pub(super) fn course(plan: Plan) -> Course {
    Course::new(plan, Known::default(), 0)
}

pub(super) fn report(release: &Release, done: &[(Status, Ranges)], back: Ranges) -> Report {
    let done = done.iter().map(|(status, at)| Done { status: *status, at: at.clone() }).collect();
    Report { id: "b".into(), release: release.number, done, back }
}

pub(super) fn all(release: &Release, status: Status) -> Report {
    report(release, &[(status, release.at.clone())], Ranges::default())
}

fn sizes(releases: &[Release]) -> Vec<usize> {
    releases.iter().map(|release| release.at.len()).collect()
}

#[test]
fn what_is_out_stays_within_the_window() {
    let mut course = course(plan(30, Guarantee::AtMostOnce, |bulk| bulk.concurrency = Some(12)));
    let first = course.release(0, 1000, 99, &RULES);
    assert_eq!(sizes(&first), [3, 3, 3, 3], "a quarter of the window each");
    assert!(course.release(0, 1000, 99, &RULES).is_empty());
    course.report(&all(&first[1], Status::Succeeded));
    assert_eq!(sizes(&course.release(0, 1000, 99, &RULES)), [3]);
    assert_eq!((course.outstanding(), course.ended()), (12, 3));
    let narrow = Course::new(course.plan.clone(), Known::default(), 0).release(0, 2, 99, &RULES);
    assert_eq!(sizes(&narrow), [1, 1], "no more than the workers have room for");
}

#[test]
fn a_chunk_has_room_for_so_many_payloads_or_for_one_that_is_larger() {
    let mut course = course(plan(6, Guarantee::AtMostOnce, |bulk| {
        for (n, target) in bulk.targets.iter_mut().enumerate() {
            let length = if n == 4 { 5000 } else { 400 };
            target.payload = Some(Payload::Json(format!("\"{}\"", "x".repeat(length)).into()));
        }
    }));
    assert_eq!(sizes(&course.release(0, 1000, 99, &RULES)), [2, 2, 1, 1]);
    let job = course.plan.chunk_job([4].into_iter());
    let Targets::Many(bulk) = job.targets else { panic!("a bulk") };
    assert!(matches!(&bulk.targets[..], [Target { payload: Some(Payload::Json(text)), .. }] if text.len() == 5002));
}

#[test]
fn a_rate_is_kept_and_a_pause_of_ours_is_caught_up_with_by_a_second_at_most() {
    let mut course = course(plan(100, Guarantee::AtMostOnce, |bulk| bulk.rate_per_second = Some(2.0)));
    let mut out = sizes(&course.release(0, 1000, 99, &RULES)).iter().sum::<usize>();
    assert_eq!(course.wakes_at(&RULES), Some(1000));
    for now in (0..10_000).step_by(50) {
        out += sizes(&course.release(now, 1000, 99, &RULES)).iter().sum::<usize>();
        assert!(out as f64 <= 2.0 * now as f64 / 1000.0 + 2.0, "{out} after {now} ms");
    }
    assert_eq!(out, 20);
    let late = sizes(&course.release(60_000, 1000, 99, &RULES)).iter().sum::<usize>();
    assert!(late <= 4, "{late}");
}

#[test]
fn a_bulk_is_given_up_at_its_threshold_and_the_rest_is_told() {
    let abort = Some(Abort { failed_percent: 20.0, after: 8 });
    let mut course = course(plan(40, Guarantee::AtMostOnce, |bulk| bulk.abort = abort));
    let first = course.release(0, 1000, 99, &RULES);
    assert_eq!(sizes(&first), [2, 2, 2, 2], "until there is something to judge by");
    for (index, release) in first.iter().enumerate() {
        assert!(!course.judge());
        course.report(&all(release, if index == 0 { Status::TimedOut } else { Status::Succeeded }));
    }
    assert!(course.judge() && !course.judge(), "2 of 8, once");
    let told = course.release(0, 1000, 99, &RULES);
    assert_eq!((sizes(&told), told[0].sent.purpose), (vec![32], Purpose::GiveUp));
    assert_eq!(course.stand(), Stand::Aborting);
    course.report(&all(&told[0], Status::Cancelled));
    assert!(course.is_finished());
    assert_eq!(course.stand(), Stand::Aborted);
    assert_eq!(course.counts().iter().sum::<usize>(), 40);
}

#[test]
fn a_pause_holds_back_what_is_not_out_and_the_last_word_counts() {
    let mut course = course(plan(40, Guarantee::AtMostOnce, |_| {}));
    assert!(course.pause(5, true) && !course.pause(3, false));
    assert!(course.release(0, 1000, 99, &RULES).is_empty());
    assert_eq!(course.stand(), Stand::Paused);
    assert!(course.pause(6, false));
    assert!(!course.release(0, 1000, 99, &RULES).is_empty());
    assert!(course.cancel() && !course.cancel());
    assert_eq!(course.stand(), Stand::Cancelling);
}

#[test]
fn where_each_worker_has_its_part_more_is_out_than_may_be_under_way() {
    let out = |all, capacity, devices| {
        let mut course = course(plan(3000, Guarantee::AtMostOnce, |bulk| bulk.concurrency = Some(all)));
        let chunk = ChunkLimits { devices, ..RULES.chunk };
        let releases = course.release(0, capacity, 9000, &Rules { chunk, ..RULES });
        (sizes(&releases).iter().sum::<usize>(), course.part(releases[0].sent).is_some())
    };
    assert_eq!(out(600, 9000, 100), (2400, true));
    assert_eq!(out(400, 9000, 100), (400, false));
    assert_eq!(out(600, 700, 100), (700, true), "for no more have the workers room");
    assert_eq!(out(600, 9000, 4), (600, true), "so many small chunks are out as are needed");
}

#[test]
fn what_is_only_told_and_comes_back_is_told_and_never_commanded() {
    let mut course = course(plan(1, Guarantee::AtMostOnce, |_| {}));
    course.release(0, 1000, 99, &RULES);
    course.take_back(OVER, &RULES);
    let told = course.release(OVER, 1000, 99, &RULES);
    assert_eq!(told[0].sent.purpose, Purpose::TellUnknown);
    course.report(&report(&told[0], &[], told[0].at.clone()));
    let again = course.release(OVER + 1, 1000, 99, &RULES);
    assert_eq!(again[0].sent.purpose, Purpose::TellUnknown);
}

#[test]
fn whoever_comes_or_goes_waits_until_what_was_divided_otherwise_has_ended() {
    let plan = plan(9000, Guarantee::AtMostOnce, |bulk| bulk.concurrency = Some(1000));
    let mut course = course(plan.clone());
    let first = course.release(0, 9000, 2, &RULES);
    assert_eq!(first.len(), 2);
    let three = Rules { workers: 3, ..RULES };
    assert!(course.release(1, 9000, 2, &three).is_empty());
    assert_eq!(course.release(2, 9000, 1, &RULES).len(), 1, "it was a mistake");
    // Whoever takes over knows it too.
    let mut course = Course::new(plan, course.known, 3);
    course.report(&all(&first[0], Status::Succeeded));
    course.report(&report(&first[1], &[], first[1].at.clone()));
    assert!(course.release(4, 9000, 2, &three).is_empty(), "one is out still");
    course.report(&Report {
        release: 3,
        ..all(&Release { at: Ranges::of(8, 12), ..first[0].clone() }, Status::Succeeded)
    });
    let second = course.release(5, 9000, 2, &three);
    assert_eq!(second[0].at, first[1].at, "what came back goes out again");
    assert_eq!(course.part(second[0].sent).map(|part| (part.devices, part.workers)), Some((333, 3)));
    course.cancel();
    let told = course.release(6, 9000, 2, &RULES);
    assert_eq!(told[0].sent.purpose, Purpose::GiveUp, "what is only told waits for nobody");
    assert_eq!(course.part(told[0].sent), None);
}

#[test]
fn what_nobody_reports_is_lost_where_it_may_run_once_and_goes_out_again_where_it_may_run_twice() {
    for (guarantee, purpose) in [(Guarantee::AtMostOnce, Purpose::TellUnknown), (Guarantee::AtLeastOnce, Purpose::Run)]
    {
        let mut course = course(plan(4, guarantee, |_| {}));
        let first = course.release(0, 1000, 99, &RULES);
        assert_eq!(course.wakes_at(&RULES), Some(OVER));
        course.take_back(OVER - 1, &RULES);
        assert!(course.release(OVER - 1, 1000, 99, &RULES).is_empty());
        course.take_back(OVER, &RULES);
        let again = course.release(OVER, 1000, 99, &RULES);
        assert_eq!((again[0].sent.purpose, again[0].number), (purpose, 2));
        // A late word is a better one.
        course.report(&all(&first[0], Status::Succeeded));
        assert!(course.is_finished());
        // Whoever takes over waits for what is out as if it had gone out now, not longer than that.
        let mut known = course.known.clone();
        known.cells = Default::default();
        known.cells.release(0, 1);
        known.sent.insert(1, first[0].sent);
        let mut next = Course::new(course.plan.clone(), known, 1_000_000);
        next.take_back(1_000_000 + 11_999, &RULES);
        assert_eq!(next.outstanding(), 1);
        next.take_back(1_000_000 + 12_000, &RULES);
        let again = next.release(1_012_000, 1000, 1, &RULES);
        assert_eq!(again[0].at.iter().next(), Some(0));
    }
}

#[test]
fn what_comes_back_goes_out_again_first_and_what_expired_is_told() {
    let mut course = course(plan(12, Guarantee::AtMostOnce, |_| {}));
    let first = course.release(0, 16, 1, &RULES);
    course.report(&report(&first[0], &[(Status::Succeeded, Ranges::of(0, 1))], Ranges::of(1, 4)));
    let second = course.release(1, 16, 1, &RULES);
    assert_eq!(second[0].at.iter().collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert!(!course.report(&report(&first[0], &[], Ranges::of(1, 4))), "said before");
    let told = course.release(1_800_000_000_000, 16, 99, &RULES);
    assert!(told.iter().all(|release| release.sent.purpose == Purpose::GiveUp));
}

/// What becomes of a chunk that went out.
#[derive(Clone, Debug)]
enum Fate {
    /// It is run, and all of it reported.
    Run,
    /// It is run; nothing is reported, and its messages tell the next worker so.
    Killed,
    /// It is run, and reported twice.
    Twice,
    /// Half of it is run, the rest comes back.
    Half,
    /// It comes back.
    Back,
    /// It never went out.
    Never,
}

fn fates() -> impl Strategy<Value = Vec<(Fate, bool)>> {
    let fate = prop_oneof![
        4 => Just(Fate::Run), 1 => Just(Fate::Killed), 1 => Just(Fate::Twice),
        1 => Just(Fate::Half), 1 => Just(Fate::Back), 1 => Just(Fate::Never),
    ];
    prop::collection::vec((fate, prop::bool::weighted(0.2)), 1..60)
}

proptest! {
    #[test]
    fn every_device_ends_once_and_what_may_run_once_does(
        fates in fates(), devices in 1u32..60, is_once: bool, shuffle: u64,
    ) {
        let guarantee = if is_once { Guarantee::AtMostOnce } else { Guarantee::AtLeastOnce };
        let plan = plan(devices, guarantee, |bulk| bulk.concurrency = Some(20));
        let mut course = course(plan.clone());
        // What a queue holds: everything, in any order, some of it twice.
        let mut log: Vec<Known> = Vec::new();
        let mut ran: HashMap<u32, usize> = HashMap::new();
        let (mut now, mut fates) = (0, fates.into_iter());
        for round in 0.. {
            prop_assert!(round < 400, "it ends: {:?}", course.counts());
            if course.is_finished() {
                break;
            }
            now += 1000;
            course.take_back(now, &RULES);
            for release in course.release(now, 1000, 2, &RULES) {
                let out = Out { number: release.number, sent: release.sent, at: release.at.clone() };
                let mut written = Known::default();
                written.went_out(&Releases { id: "b".into(), releases: vec![out] });
                log.push(written);
                let (fate, crash) = fates.next().unwrap_or((Fate::Run, false));
                let places: Vec<u32> = release.at.iter().collect();
                let told = match release.sent.purpose {
                    Purpose::Run => None,
                    Purpose::GiveUp => Some(Status::Expired),
                    Purpose::TellUnknown => Some(Status::Unknown),
                };
                let half = match fate {
                    Fate::Run | Fate::Killed | Fate::Twice => places.len(),
                    Fate::Half => places.len() / 2,
                    Fate::Back | Fate::Never => 0,
                };
                if told.is_none() {
                    places[..half].iter().for_each(|place| *ran.entry(*place).or_default() += 1);
                }
                let status = told.unwrap_or(Status::Succeeded);
                let done = (status, places[..half].iter().copied().collect());
                let back = places[half..].iter().copied().collect();
                let reports = match fate {
                    Fate::Run | Fate::Half | Fate::Back => vec![report(&release, &[done], back)],
                    Fate::Twice => vec![report(&release, &[done], back); 2],
                    Fate::Killed if is_once => vec![all(&release, Status::Unknown)],
                    Fate::Killed | Fate::Never => vec![],
                };
                for report in &reports {
                    let mut written = Known::default();
                    written.report(report, u32::MAX);
                    log.push(written);
                    course.report(report);
                }
                if crash {
                    // Read again in another order.
                    let mut known = Known::default();
                    let count = log.len();
                    for index in 0..count {
                        known.merge(log[(index * 7 + shuffle as usize % count) % count].clone());
                    }
                    if count.is_multiple_of(7) {
                        log.iter().for_each(|piece| known.merge(piece.clone()));
                    }
                    course = Course::new(plan.clone(), known, now);
                    prop_assert_eq!(course.counts(), course.known.counts(devices));
                    break;
                }
            }
            let open = (0..devices).filter(|place| matches!(course.known.cells.get(*place), Cell::Out(_))).count();
            prop_assert_eq!(course.outstanding(), open);
            prop_assert!(open <= 20);
        }
        prop_assert_eq!(course.counts().iter().sum::<usize>(), devices as usize);
        for place in 0..devices {
            let times = ran.get(&place).copied().unwrap_or(0);
            let Cell::Ended(status) = course.known.cells.get(place) else { panic!("{place} has not ended") };
            prop_assert!(!is_once || times <= 1, "device {} ran {} times", place, times);
            prop_assert!(is_once || times >= 1, "device {} never ran", place);
            prop_assert!(status != Status::Succeeded || times >= 1);
        }
    }

    #[test]
    fn known_pieces_add_up_in_any_order(
        words in prop::collection::vec((0u32..9, 1u32..5, 0usize..8, 0u8..4), 0..30), cut in 0usize..30,
    ) {
        let piece = |words: &[(u32, u32, usize, u8)]| {
            let mut known = Known::default();
            for (place, release, status, what) in words {
                let release_of = Release {
                    number: *release,
                    sent: super::known::Sent { at: u64::from(*release), purpose: Purpose::Run, workers: 0, perhaps: false },
                    at: Ranges::of(*place, place + 1),
                };
                match what {
                    0 => known.went_out(&Releases {
                        id: "b".into(),
                        releases: vec![Out { number: *release, sent: release_of.sent, at: release_of.at }],
                    }),
                    1 => known.report(&report(&release_of, &[], release_of.at.clone()), u32::MAX),
                    2 => known.report(&all(&release_of, Status::ALL[*status]), u32::MAX),
                    _ => known.merge(Known {
                        cancelled: *status == 1,
                        aborted: *status == 2,
                        paused: (u64::from(*place), *status > 4),
                        ..Known::default()
                    }),
                }
            }
            known
        };
        let (a, b) = words.split_at(cut.min(words.len()));
        let (mut ab, mut ba, mut twice) = (piece(a), piece(b), piece(&words));
        ab.merge(piece(b));
        ba.merge(piece(a));
        twice.merge(piece(&words));
        prop_assert_eq!(&ab, &ba);
        prop_assert_eq!(&ab, &piece(&words));
        prop_assert_eq!(&twice, &piece(&words));
        let again: Known = serde_json::from_str(&serde_json::to_string(&ab).unwrap()).unwrap();
        prop_assert_eq!(again, ab);
    }
}
