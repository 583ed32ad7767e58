//! The keys of `[celery]`.

use super::{DAY_MS, Key, PORTS, QUEUE_TYPES, key, optional};
use crate::config::kind::Kind;

/// A name of AMQP's, or of a node.
const NAME: Kind = Kind::Text { min: 1, max: 255 };

/// The keys of `[celery]`.
pub(super) const KEYS: &[Key] = &[
    key("celery.enabled", Kind::Flag, "true", "Whether Celery tasks are taken."),
    key("celery.queue", Kind::Queue, r#""switchboard.celery""#, "The queue that Celery tasks are taken from."),
    key(
        "celery.queue_type",
        QUEUE_TYPES,
        r#""classic""#,
        "Its type: \"classic\" as a Celery client declares it by default, or \"quorum\".",
    ),
    optional(
        "celery.queue_arguments",
        Kind::Table,
        "Further arguments that the Celery application declares the queue with: { x-max-priority = 10 }. None where it is not set.",
    ),
    key(
        "celery.exchange_type",
        Kind::OneOf(&["direct", "topic"]),
        r#""direct""#,
        "The type of the exchange that the queue is bound to: \"direct\" as a Celery client declares it by default, or \"topic\",\n\
         which Celery's native delayed delivery needs.",
    ),
    optional("celery.exchange", NAME, "The exchange that the queue is bound to. celery.queue where it is not set."),
    optional(
        "celery.routing_key",
        NAME,
        "The routing key that the queue is bound by. celery.queue where it is not set.",
    ),
    optional(
        "celery.prefetch",
        Kind::Count { min: 1, max: PORTS },
        "How many tasks may be delivered and not yet acked. amqp.prefetch where it is not set.",
    ),
    key(
        "celery.default_queue",
        Kind::Queue,
        r#""celery""#,
        "Where tasks go that follow on the end of another one and name no queue: task_default_queue of the application.",
    ),
    optional(
        "celery.routes",
        Kind::Table,
        "Queues of such tasks by their names, where * stands for any letters: { \"mail.*\" = \"mail\" }. An exact name counts\n\
         before a pattern, a longer pattern before a shorter one. None where it is not set.",
    ),
    key("celery.events", Kind::Flag, "true", "Whether events are sent for celery events and Flower."),
    key("celery.control", Kind::Flag, "true", "Whether celery inspect and celery control are answered."),
    key(
        "celery.task_events",
        Kind::Flag,
        "false",
        "Whether task events are sent from the start, as celery worker -E does; else from celery control enable_events on.",
    ),
    optional(
        "celery.node_name",
        NAME,
        "The worker's name as a Celery node; switchboard@ and its host and process where it is not set. Each worker needs its own.",
    ),
    optional(
        "celery.result_backend",
        Kind::Url(&["redis", "rediss"]),
        "A Redis to store results in besides; the rpc backend is always served.",
    ),
    key(
        "celery.result_expires",
        Kind::Time { min: 0, max: 365 * DAY_MS },
        r#""1d""#,
        "How long a result is kept in the Redis; \"0s\" keeps it for ever.",
    ),
    key(
        "celery.result_key_prefix",
        Kind::Text { min: 0, max: 255 },
        r#""""#,
        "What the names of its keys there begin with: global_keyprefix of the application's transport options.",
    ),
    key(
        "celery.beat_results",
        Kind::Flag,
        "false",
        "Whether tasks that celery beat sends are answered by rpc too. beat reads no results: they would pile up in its queue.",
    ),
    optional(
        "celery.tasks",
        Kind::Table,
        "Names of tasks of the application's own, each with the command it stands for; see the end of this file.\n\
         None where it is not set.",
    ),
];
