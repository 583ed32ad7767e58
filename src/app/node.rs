//! The worker's place among an application's Celery nodes: what it says of itself, and what it does when it is told to.

use super::celery::celery_queue;
use super::intakes::{self, Intakes};
use crate::amqp::{Connection, Place};
use crate::backend::Backend;
use crate::config::Config;
use crate::deadline::Now;
use crate::node::{self, Command, Node, Order};
use crate::shutdown::Shutdown;
use crate::wire::celery::info::Broker;
use crate::wire::celery::{End, Exception, Head, result};
use crate::worker::{CeleryOptions, Change};
use serde_json::json;
use std::collections::HashSet;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Requests to call tasks off whose results wait to be stored.
const REVOKES: usize = 64;
/// Orders that wait to be carried out.
const ORDERS: usize = 16;

/// Starts the node, and carries out what it is told for as long as it lives. `changes` is what the worker listens to.
pub(super) fn start(
    config: &Config,
    options: &CeleryOptions,
    connection: Connection,
    intakes: Intakes,
    shutdown: Shutdown,
    changes: mpsc::Sender<Change>,
) -> Node {
    let (orders, ordered) = mpsc::channel(ORDERS);
    tokio::spawn(carry_out(ordered, intakes, config.clone(), shutdown, changes));
    if let Some(backend) = options.backend.clone() {
        let (tell, revoked) = mpsc::channel(REVOKES);
        options.book.on_revoked(tell);
        tokio::spawn(store_revoked(backend, revoked));
    }
    if config.celery.task_events {
        options.book.enable_events();
    }
    Node::start(connection, about(config, options), options.book.clone(), orders)
}

/// Stores a result for each id that is called off, as Celery does: whoever waits need not wait for the message to be reached.
/// That is only sooner, so where it cannot be stored nothing is lost.
async fn store_revoked(backend: Backend, mut revoked: mpsc::Receiver<Vec<Arc<str>>>) {
    while let Some(ids) = revoked.recv().await {
        for id in ids {
            let head = Head { id: id.clone(), ..Head::default() };
            let told = result(&head, &End::Revoked(Exception::revoked("revoked")), &[], Now::read().unix_ms);
            if let Err(error) = backend.store_revoked(&id, &told).await {
                tracing::warn!(job_id = &*id, "that it is revoked could not be stored: {error}");
            }
        }
    }
}

fn about(config: &Config, options: &CeleryOptions) -> node::Options {
    // An address that cannot be read makes no connection either, and says so there.
    let place = Place::of(config.amqp.url.expose()).ok();
    let broker = place.map(|place| Broker {
        hostname: place.host,
        port: place.port,
        userid: place.user,
        virtual_host: place.vhost,
        ssl: place.tls,
    });
    node::Options {
        queues: vec![celery_queue(config)],
        conf: settings(config, options),
        broker: broker.unwrap_or_default(),
        concurrency: config.worker.concurrency,
        prefetch: config.celery.prefetch.into(),
        events: config.celery.events,
        control: config.celery.control,
        ..node::Options::new(options.node.clone())
    }
}

/// What `celery inspect conf` shows, under Celery's names. No secret is among it.
fn settings(config: &Config, options: &CeleryOptions) -> Vec<(String, serde_json::Value)> {
    let section = &config.celery;
    let backend = section.result_backend.as_ref().map_or_else(|| "rpc://".to_owned(), ToString::to_string);
    let expires = section.result_expires.map(|time| time.as_secs());
    [
        ("broker_url", json!(config.amqp.url.to_string())),
        ("result_backend", json!(backend)),
        ("result_expires", json!(expires)),
        ("task_default_queue", json!(section.default_queue)),
        ("task_acks_late", json!(true)),
        ("task_serializer", json!("json")),
        ("result_serializer", json!("json")),
        ("accept_content", json!(["json", "msgpack"])),
        ("timezone", json!("UTC")),
        ("enable_utc", json!(true)),
        ("worker_concurrency", json!(config.worker.concurrency)),
        ("worker_send_task_events", json!(section.task_events)),
        ("imports", json!(options.calls.names().collect::<Vec<_>>())),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

async fn carry_out(
    mut ordered: mpsc::Receiver<Order>,
    intakes: Intakes,
    config: Config,
    shutdown: Shutdown,
    changes: mpsc::Sender<Change>,
) {
    let own = intakes::own(&config);
    let mut consumed: HashSet<String> = own.iter().map(|own| own.queue.clone()).collect();
    while let Some(Order { what, answer }) = ordered.recv().await {
        let done = match what {
            // Celery's own nodes say the same to both.
            Command::AddConsumer { queue, .. } if consumed.contains(&queue) => Ok(()),
            Command::AddConsumer { queue, .. } if queue == config.amqp.dead_letter_queue => Err(format!(
                "{queue:?} holds jobs that nobody is to take again by themselves; `switchboard dead-letters replay` sends them again"
            )),
            Command::AddConsumer { queue, exchange, exchange_type, routing_key } => {
                let intake = match own.iter().find(|own| own.queue == queue) {
                    // As it was before it was cancelled, whatever the command says of it.
                    Some(own) => Ok(intakes.start(&config, own)),
                    None => {
                        let to = (queue.as_str(), exchange.as_str(), exchange_type.as_str(), routing_key.as_str());
                        intakes.further(to, config.celery.prefetch, config.amqp.declare).await
                    }
                };
                match intake {
                    Ok(intake) => {
                        consumed.insert(queue);
                        changes.send(Change::Take(intake)).await.map_err(|_| "the worker stops".to_owned())
                    }
                    Err(reason) => Err(reason),
                }
            }
            Command::CancelConsumer { queue } => {
                consumed.remove(&queue);
                let (answer, left) = oneshot::channel();
                let sent = changes.send(Change::Leave(queue.clone(), answer)).await.is_ok();
                match sent && left.await.unwrap_or(false) {
                    true => Ok(()),
                    false => Err(format!("no tasks are taken from {queue:?}")),
                }
            }
            Command::Shutdown => {
                tracing::info!("told to stop by Celery's remote control");
                shutdown.begin();
                Ok(())
            }
        };
        // Whoever asked may have given up waiting.
        let _ = answer.send(done.map(|()| String::new()));
    }
}
