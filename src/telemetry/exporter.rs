//! The Prometheus recorder: installed once, drained by a task, rendered as text for `/metrics`.

use crate::metrics;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// How often samples are moved from the histograms' append-only lists into their buckets.
///
/// The lists grow by 16 bytes a sample until then: at 10,000 jobs a second, some megabytes.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// The way to the recorded numbers; clones share them.
#[derive(Clone)]
pub struct Exporter {
    handle: PrometheusHandle,
}

/// Another recorder was installed in this process before.
#[derive(Debug, thiserror::Error)]
#[error("the metrics recorder cannot be installed: this process has one already")]
pub struct AlreadyInstalled;

impl Exporter {
    /// Makes the recorder that every metric of this process goes to, and registers them all.
    ///
    /// To be called before anything else uses [`metrics::metrics`]: handles taken earlier stay no-ops.
    pub fn install() -> Result<Self, AlreadyInstalled> {
        let handle = builder().install_recorder().map_err(|_| AlreadyInstalled)?;
        metrics::describe();
        metrics::metrics();
        Ok(Self { handle })
    }

    /// A recorder that is not installed, and the way to its numbers: for tests, which share one process.
    pub fn detached() -> (PrometheusRecorder, Self) {
        let recorder = builder().build_recorder();
        let handle = recorder.handle();
        (recorder, Self { handle })
    }

    /// Every metric in the Prometheus text format, made on a thread that may block: it takes milliseconds.
    pub async fn render(&self) -> String {
        let handle = self.handle.clone();
        tokio::task::spawn_blocking(move || handle.render()).await.unwrap_or_default()
    }

    /// Drains the histograms until `stop`; without it they grow until somebody scrapes.
    pub async fn upkeep(self, stop: CancellationToken) {
        let mut tick = interval(UPKEEP_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            let handle = self.handle.clone();
            // A panic in the recorder costs one drain, not the task; the next scrape drains too.
            let _ = tokio::task::spawn_blocking(move || handle.run_upkeep()).await;
        }
    }
}

// No idle timeout: it would detach the handles that are kept for the life of the process, and their numbers with them.
fn builder() -> PrometheusBuilder {
    PrometheusBuilder::new().set_buckets(&metrics::BUCKETS).expect("the list of buckets is not empty")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Mode;
    use crate::metrics::{CATALOGUE, Kind, Metrics, Protocol, describe, with_local_recorder};
    use crate::outcome::Status;

    fn rendered(events: impl Fn(&Metrics)) -> String {
        let (recorder, exporter) = Exporter::detached();
        with_local_recorder(&recorder, || {
            describe();
            events(&Metrics::register());
        });
        exporter.handle.render()
    }

    #[test]
    fn every_metric_of_the_catalogue_is_there_from_the_start_and_no_other() {
        let text = rendered(|metrics| drop(metrics.device_histogram("default")));
        let mut types: Vec<(&str, &str)> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .map(|line| line.split_once(' ').unwrap())
            .collect();
        let mut expected: Vec<(&str, &str)> = CATALOGUE
            .iter()
            .map(|entry| match entry.kind {
                Kind::Counter => (entry.name, "counter"),
                Kind::Gauge => (entry.name, "gauge"),
                Kind::Histogram => (entry.name, "histogram"),
            })
            .collect();
        types.sort_unstable();
        expected.sort_unstable();
        assert_eq!(types, expected);
        for entry in CATALOGUE {
            assert!(text.contains(&format!("# HELP {} {}", entry.name, entry.help)), "{}", entry.name);
        }
    }

    #[test]
    fn every_label_value_has_a_rate_before_its_first_event() {
        let text = rendered(|_| ());
        for line in [
            "switchboard_jobs_total{protocol=\"celery\",status=\"timed_out\"} 0",
            "switchboard_job_seconds_count{mode=\"publish\",status=\"invalid\"} 0",
            "switchboard_stage_seconds_bucket{stage=\"reply\",le=\"0.001\"} 0",
            "switchboard_dead_lettered_total{reason=\"poison\"} 0",
            "switchboard_bulk_devices_total{status=\"undeliverable\"} 0",
            "switchboard_mqtt_up 0",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn an_event_moves_its_own_numbers() {
        let text = rendered(|metrics| {
            metrics.job_finished(Protocol::Native, Mode::Request, Status::Rejected, 0.003);
            metrics.dead_lettered("made up");
            metrics.amqp_up(true);
            metrics.bulk_active(2);
            metrics.bulk_active(-1);
        });
        for line in [
            "switchboard_jobs_total{protocol=\"native\",status=\"rejected\"} 1",
            "switchboard_job_seconds_bucket{mode=\"request\",status=\"rejected\",le=\"0.002\"} 0",
            "switchboard_job_seconds_bucket{mode=\"request\",status=\"rejected\",le=\"0.005\"} 1",
            "switchboard_dead_lettered_total{reason=\"other\"} 1",
            "switchboard_amqp_up 1",
            "switchboard_bulk_active 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
