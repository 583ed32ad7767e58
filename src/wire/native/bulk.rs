//! Many devices in one job, and how to go through them.

use super::job::Limits;
use super::members::Members;
use super::payload::payload;
use super::places::each_once;
use super::value::{list, number, text, whole, word};
use crate::job::{Abort, Bulk, BulkResults, Target};
use bytes::Bytes;
use serde_json::value::RawValue;

const BULK: &[&str; 4] = &["rate_per_second", "concurrency", "abort", "results"];
const ABORT: &[&str; 2] = &["failed_percent", "after"];
const TARGET: &[&str; 2] = &["device", "payload"];

/// The lowest rate, in devices a second: below it the pause between two devices is longer than a job is kept.
const MIN_RATE: f64 = 0.001;

/// `devices`: a list of ids.
pub(super) fn devices(value: &RawValue, limits: &Limits) -> Result<Vec<Target>, String> {
    let items = list("devices", value, limits)?;
    let device =
        |(index, item)| Ok(Target { device: text(format_args!("devices[{index}]"), item)?.into(), payload: None });
    each_once("devices", items.into_iter().enumerate().map(device), limits)
}

/// `targets`: a list of ids, each with a payload of its own where it has one.
pub(super) fn targets(value: &RawValue, body: &Bytes, limits: &Limits) -> Result<Vec<Target>, String> {
    let items = list("targets", value, limits)?;
    let target = |(index, item): (usize, &RawValue)| {
        let here = format_args!("targets[{index}]");
        let mut members = Members::read(here, item.get(), TARGET);
        members.check()?;
        let device =
            members.get("device").ok_or_else(|| format!("{here}.device is missing; a device's id is right"))?;
        let own = members.get("payload");
        Ok(Target {
            device: text(format_args!("{here}.device"), device)?.into(),
            payload: own
                .map(|own| payload(format_args!("{here}.payload"), own, body, limits.max_payload_bytes))
                .transpose()?,
        })
    };
    each_once("targets", items.into_iter().enumerate().map(target), limits)
}

/// `bulk`: rate, concurrency, when to give up, and what to answer.
pub(super) fn bulk(options: Option<&RawValue>, targets: Vec<Target>) -> Result<Bulk, String> {
    let mut bulk =
        Bulk { targets, rate_per_second: None, concurrency: None, abort: None, results: BulkResults::default() };
    let Some(options) = options else { return Ok(bulk) };
    let mut members = Members::read("bulk", options.get(), BULK);
    members.check()?;
    bulk.rate_per_second = members
        .get("rate_per_second")
        .map(|value| number("bulk.rate_per_second", value, "a number from 0.001", |rate| rate >= MIN_RATE))
        .transpose()?;
    bulk.concurrency = members
        .get("concurrency")
        .map(|value| whole("bulk.concurrency", value, 1, u32::MAX.into(), "").map(|number| number as usize))
        .transpose()?;
    bulk.abort = members.get("abort").map(abort).transpose()?;
    if let Some(value) = members.get("results") {
        let words = [("stream", BulkResults::Stream), ("summary", BulkResults::Summary)];
        bulk.results = word("bulk.results", value, &words)?;
    }
    Ok(bulk)
}

fn abort(value: &RawValue) -> Result<Abort, String> {
    let mut members = Members::read("bulk.abort", value.get(), ABORT);
    members.check()?;
    let missing =
        |name: &str| format!("bulk.abort.{name} is missing; {{\"failed_percent\": 20, \"after\": 100}} is right");
    let percent = members.get("failed_percent").ok_or_else(|| missing("failed_percent"))?;
    let after = members.get("after").ok_or_else(|| missing("after"))?;
    Ok(Abort {
        failed_percent: number("bulk.abort.failed_percent", percent, "a number above 0 and up to 100", |percent| {
            percent > 0.0 && percent <= 100.0
        })?,
        after: whole("bulk.abort.after", after, 1, u32::MAX.into(), " of devices")? as usize,
    })
}
