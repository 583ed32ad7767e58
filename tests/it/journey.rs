//! A job's whole way through the real program: from RabbitMQ to a device and back, and over the death of a worker.

use crate::harness::caller::{Caller, Reply};
use crate::harness::checker::{Answer, Execution, Run, Submitted, Violation, violations};
use crate::harness::device::{Behaviour, Dialect, Executed, Fleet};
use crate::harness::eventually::eventually;
use crate::harness::worker::{Options, Worker};
use crate::harness::{mosquitto, rabbitmq, unique};
use serde_json::json;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);

/// What a run left behind, for the checker: jobs of one device each, at most once.
fn found(jobs: &[(&str, &str)], executed: Vec<Executed>, replies: &[Reply]) -> Vec<Violation> {
    let submitted = jobs.iter().map(|(id, device)| Submitted {
        id: (*id).to_owned(),
        devices: vec![(*device).to_owned()],
        confirmed: true,
        at_most_once: true,
        expires_at: None,
    });
    let executions = executed.into_iter().filter_map(|executed| {
        let Executed { device, job, at, .. } = executed;
        job.map(|id| Execution { id, device, at })
    });
    let answers = replies.iter().map(|reply| Answer { message_id: reply.message_id.clone(), body: reply.body.clone() });
    violations(&Run {
        submitted: submitted.collect(),
        executed: executions.collect(),
        answers: answers.collect(),
        ..Run::default()
    })
}

#[tokio::test]
async fn a_job_goes_to_its_device_and_its_result_to_the_caller() {
    let (amqp, mqtt) = (rabbitmq::shared().await, mosquitto::start());
    let fleet = Fleet::start(mqtt.port(), Dialect::Default).await;
    let options =
        Options { amqp_url: amqp.url(), mqtt_url: mqtt.url(), queue: unique("commands"), ..Options::default() };
    let mut worker = Worker::start_ready(&options, SOON).await;
    let caller = Caller::connect(&amqp.url()).await;
    let payload = json!({"job": "j1", "speed": 2});
    let job = json!({"id": "j1", "device": "garage-7", "command": "open", "payload": payload});
    caller.send(&options.queue, &job).await;
    let replies = caller.wait_for(1, SOON).await;
    let result = &replies[0].body;
    assert_eq!((&result["status"], &result["executed"]), (&json!("succeeded"), &json!("yes")), "{result}");
    assert_eq!(result["response"], json!({"ok": true, "echo": payload}));
    assert_eq!(
        (replies[0].kind.as_deref(), replies[0].correlation_id.as_deref()),
        (Some("switchboard.result"), Some("j1"))
    );
    assert_eq!(found(&[("j1", "garage-7")], fleet.executed(), &replies), []);
    eventually("the job is counted", SOON, async || {
        worker.metric("switchboard_jobs_total", &[("status", "succeeded")]).await == 1.0
    })
    .await;
    assert_eq!(worker.get("/healthz").await.map(|(status, _)| status), Some(200));
    worker.terminate();
    assert!(worker.wait(SOON).await.success(), "{}", worker.log());
}

#[tokio::test]
async fn a_job_whose_worker_was_killed_is_answered_by_the_next_and_not_run_again() {
    let (amqp, mqtt) = (rabbitmq::shared().await, mosquitto::start());
    let fleet = Fleet::start(mqtt.port(), Dialect::Default).await;
    fleet.behave(Behaviour::Silent);
    let options =
        Options { amqp_url: amqp.url(), mqtt_url: mqtt.url(), queue: unique("commands"), ..Options::default() };
    let mut first = Worker::start_ready(&options, SOON).await;
    let caller = Caller::connect(&amqp.url()).await;
    let job = json!({"id": "j1", "device": "d", "command": "open", "payload": {"job": "j1"}, "timeout_ms": 60_000});
    caller.send(&options.queue, &job).await;
    fleet.wait_for(1, SOON).await;
    first.kill();
    let _second = Worker::start_ready(&options, SOON).await;
    let replies = caller.wait_for(1, SOON).await;
    let result = &replies[0].body;
    assert_eq!((&result["status"], &result["redelivered"]), (&json!("unknown"), &json!(true)), "{result}");
    assert_eq!(found(&[("j1", "d")], fleet.executed(), &replies), []);
    assert_eq!(fleet.executed().len(), 1);
}

#[tokio::test]
async fn a_worker_that_was_suspended_for_a_moment_goes_on() {
    let (amqp, mqtt) = (rabbitmq::shared().await, mosquitto::start());
    let _fleet = Fleet::start(mqtt.port(), Dialect::Default).await;
    let options =
        Options { amqp_url: amqp.url(), mqtt_url: mqtt.url(), queue: unique("commands"), ..Options::default() };
    let mut worker = Worker::start_ready(&options, SOON).await;
    worker.stop_cont(Duration::from_millis(500)).await;
    let caller = Caller::connect(&amqp.url()).await;
    caller.send(&options.queue, &json!({"id": "j1", "device": "d", "command": "open"})).await;
    assert_eq!(caller.wait_for(1, SOON).await[0].body["status"], "succeeded");
}
