//! How the kernel schedules the program's threads.

use crate::config::Scheduling;

/// Has the kernel schedule this thread, and those that it starts from now on, as the configuration says.
///
/// As a batch: a thread that is woken runs as soon as a processor is free, but does not interrupt what runs there (sched(7),
/// `SCHED_BATCH`). A worker has a thread that works and one that speaks AMQP, which wake each other, and the broker, many times for
/// each command; where all processors are busy, each of those would be a switch for a handful of bytes.
///
/// Where it cannot be, the program runs as before, and says so. Whoever gave the program another nice value has settled how it is to
/// be scheduled: then it stays so.
#[cfg(target_os = "linux")]
pub(super) fn adopt(scheduling: Scheduling) {
    use rustix::process::getpriority_process;
    use thread_priority::{
        NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy,
        thread_native_id,
    };
    if scheduling == Scheduling::Other || getpriority_process(None) != Ok(0) {
        return;
    }
    // The middle of a scale from 0 to 99, at which the crate sets the nice value to the 0 that it is.
    let nice_0 = 48u8.try_into().map(ThreadPriority::Crossplatform);
    let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Batch);
    let set = nice_0.map(|priority| set_thread_priority_and_policy(thread_native_id(), priority, policy));
    if !matches!(set, Ok(Ok(()))) {
        tracing::info!(
            "the kernel does not schedule this worker as a batch: {set:?}; worker.scheduling = \"other\" asks for none"
        );
    }
}

/// Only Linux has it.
#[cfg(not(target_os = "linux"))]
pub(super) fn adopt(_: Scheduling) {}
