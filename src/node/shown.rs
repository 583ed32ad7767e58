//! The book and the process as control commands show them.

use super::panel::Panel;
use super::record::{ACTIVE, RESERVED, Record, SCHEDULED};
use crate::wire::celery::Json;
use crate::wire::celery::info::{Info, Progress, Stats, Usage, raw};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;

/// Bytes of tasks in one answer; those beyond are left out, since whoever asks has a second to read it.
const LONGEST: usize = 16 * 1024 * 1024;
/// Clock ticks per second in what Linux tells of a process; the same on every system it runs on.
const TICKS: f64 = 100.0;

pub(super) fn active(panel: &Panel, safe: bool) -> Json {
    list(panel.records(ACTIVE), |record| raw(&info(panel, record, safe)))
}

pub(super) fn reserved(panel: &Panel) -> Json {
    list(panel.records(RESERVED), |record| raw(&info(panel, record, false)))
}

pub(super) fn scheduled(panel: &Panel) -> Json {
    list(panel.records(SCHEDULED), |record| raw(&info(panel, record, false).scheduled(&record.task)))
}

/// Each of these tasks that we have, with its state.
pub(super) fn query(panel: &Panel, ids: &[String]) -> Json {
    let records = panel.book.records();
    let known: HashMap<&str, &Arc<Record>> = records.iter().map(|record| (&*record.task.head.id, record)).collect();
    let mut found: HashMap<&str, (&str, Json)> = HashMap::new();
    let mut length = 0;
    for record in ids.iter().filter_map(|id| known.get(id.as_str())) {
        let state = match record.state() {
            ACTIVE => "active",
            SCHEDULED => "scheduled",
            _ => "reserved",
        };
        let info = raw(&info(panel, record, false));
        length += info.get().len();
        if length > LONGEST {
            break;
        }
        found.insert(&record.task.head.id, (state, info));
    }
    raw(&found)
}

fn list(records: impl Iterator<Item = Arc<Record>>, shown: impl Fn(&Record) -> Json) -> Json {
    let mut length = 0;
    let mut fits = |json: &Json| {
        length += json.get().len();
        length <= LONGEST
    };
    raw(&records.map(|record| shown(&record)).take_while(|json| fits(json)).collect::<Vec<_>>())
}

fn info<'a>(panel: &'a Panel, record: &'a Record, safe: bool) -> Info<'a> {
    let begun = record.begun();
    let progress = Progress {
        node: &panel.options.name,
        pid: begun.map(|_| std::process::id()),
        begun,
        acknowledged: record.is_acknowledged(),
        exchange: &record.via.exchange,
        routing_key: &record.via.routing_key,
        priority: record.via.priority,
        redelivered: record.via.redelivered,
    };
    Info::new(&record.task, progress, safe)
}

/// Ids as JSON takes them.
pub(super) fn ids(ids: &[Arc<str>]) -> Vec<&str> {
    ids.iter().map(|id| &**id).collect()
}

pub(super) fn stats(panel: &Panel) -> Value {
    let options = &panel.options;
    let stats = Stats {
        total: panel.book.register().totals().collect(),
        pid: std::process::id(),
        clock: panel.book.clock(),
        uptime: panel.started.elapsed().as_secs(),
        concurrency: options.concurrency,
        prefetch: options.prefetch,
        broker: &options.broker,
        usage: usage(),
    };
    stats.shown()
}

/// What Linux tells of this process; zeros elsewhere.
fn usage() -> Usage {
    let read = |file| std::fs::read_to_string(file).unwrap_or_default();
    let stat = read("/proc/self/stat");
    // The fields behind the program's name, which may have anything in it but a bracket after the last one.
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks = |place: usize| fields.get(place).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0) / TICKS;
    let status = read("/proc/self/status");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok());
    Usage { utime: ticks(11), stime: ticks(12), maxrss: peak.unwrap_or(0) }
}

/// The machine's load over 1, 5 and 15 minutes, where the system tells.
pub(super) fn load() -> [f64; 3] {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let mut fields = text.split_whitespace().map(|field| field.parse().unwrap_or(0.0));
    [(); 3].map(|()| fields.next().unwrap_or(0.0))
}
