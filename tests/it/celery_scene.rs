//! What every test with the real Celery stands on: a worker of ours, its devices, and an application.

use crate::harness::celery::{App, Program};
use crate::harness::device::{Behaviour, Dialect};
use crate::harness::unique;
use crate::harness::worker::Worker;
use crate::worker_scene::Scene;
use serde_json::{Value, json};
use std::time::Duration;
use tempfile::TempDir;

/// A scene of a worker, with queues and an application of one test's own.
pub(crate) struct CeleryScene {
    pub(crate) scene: Scene,
    pub(crate) app: App,
    /// The queue that Celery tasks are taken from.
    pub(crate) queue: String,
    /// The queue of a Celery worker in Python.
    pub(crate) python_queue: String,
    /// The worker's name as a node.
    pub(crate) node: String,
    /// Lines of `[celery]` in the configuration, and tables after it.
    lines: Vec<String>,
    folder: TempDir,
}

impl CeleryScene {
    /// With results over rpc, and these devices besides those that echo: `silent`, `blocked` (which refuses), `slow` (which
    /// takes a second and a half), `binary` and `typed` (whose answers are bytes, and what kombu would stumble over).
    pub(crate) async fn start() -> Self {
        let scene = Scene::start(Dialect::Default).await;
        for (device, behaviour) in [
            ("silent", Behaviour::Silent),
            ("blocked", Behaviour::Reject),
            ("slow", Behaviour::Slow(Duration::from_millis(1_500))),
            ("binary", Behaviour::Garbage),
            ("typed", Behaviour::Answer(json!({"door": {"__type__": "nobody knows", "__value__": 1}}))),
        ] {
            scene.fleet.behave_as(device, behaviour);
        }
        let (queue, python_queue) = (unique("celery"), unique("python"));
        let node = format!("switchboard@{}", unique("node"));
        let folder = tempfile::tempdir().unwrap();
        let app = App::new([
            // As kombu writes it: the default virtual host is an empty path or a slash.
            ("BROKER", scene.options.amqp_url.replace("/%2f", "//")),
            ("BACKEND", "rpc://".to_owned()),
            ("QUEUE", queue.clone()),
            ("PYTHON_QUEUE", python_queue.clone()),
            ("NODE", node.clone()),
            ("NOTES", folder.path().join("notes").display().to_string()),
        ]);
        // By the environment, in which the harness gives every worker a queue of its own.
        let scene = scene.set("CELERY__QUEUE", &queue);
        let lines = vec![format!("node_name = {node:?}"), format!("default_queue = {python_queue:?}")];
        Self { scene, app, queue, python_queue, node, lines, folder }
    }

    /// One more line of `[celery]`, or a table after it.
    pub(crate) fn line(mut self, line: &str) -> Self {
        self.lines.push(line.to_owned());
        self
    }

    /// A key of another section of the configuration: `WORKER__HOLD`.
    pub(crate) fn set(self, key: &str, value: &str) -> Self {
        Self { scene: self.scene.set(key, value), ..self }
    }

    /// Results go to this Redis too, and the application reads them there.
    pub(crate) fn with_redis(self, url: &str) -> Self {
        let app = self.app.with("BACKEND", url);
        Self { app, ..self }.line(&format!("result_backend = {url:?}"))
    }

    /// Settings of the application's, as one object.
    pub(crate) fn settings(self, settings: &Value) -> Self {
        let app = self.app.with("SETTINGS", settings.to_string());
        Self { app, ..self }
    }

    /// A worker that is ready.
    pub(crate) async fn worker(&mut self) -> Worker {
        self.furnish();
        self.scene.worker().await
    }

    /// Writes the configuration of the workers that start from now on.
    pub(crate) fn furnish(&mut self) {
        let file = self.folder.path().join("switchboard.toml");
        std::fs::write(&file, format!("[celery]\n{}\n", self.lines.join("\n"))).unwrap();
        let arguments = &mut self.scene.options.arguments;
        if arguments.is_empty() {
            arguments.extend(["--config".to_owned(), file.display().to_string()]);
        }
    }

    /// A Celery worker for the tasks that are Python's own.
    pub(crate) async fn python_worker(&self) -> Program {
        self.app.python_worker(&self.python_queue).await
    }

    /// The payloads that this device was sent, as text, in their order.
    pub(crate) fn sent_to(&self, device: &str) -> Vec<String> {
        let executed = self.scene.fleet.executed().into_iter().filter(|executed| executed.device == device);
        executed.map(|executed| String::from_utf8_lossy(&executed.payload).into_owned()).collect()
    }
}
