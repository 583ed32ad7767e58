//! `switchboard check`: would a worker run here?

use super::findings::Findings;
use super::round_trip::{self, RoundTrip};
use super::settings::{Settings, Work};
use super::{INTERRUPTED, requester, runtime, signals};
use crate::amqp::{self, Comparison, Connection, Difference, QueueReport, QueueSpec, Route, Topology};
use crate::app;
use crate::backend::{self, Backend};
use crate::commander::Commander;
use crate::config::Config;
use crate::mqtt::{Agent, Protocol};
use crate::profile::Profile;
use std::process::ExitCode;
use std::time::Duration;

/// How long an answer may take to come back.
const PROVE_WITHIN: Duration = Duration::from_secs(5);
/// The profile on whose topics the round trip is measured.
const MEASURED: &str = "default";

/// Options of `check`: those of the worker that is asked about.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How the worker would work.
    #[command(flatten)]
    pub work: Work,
}

/// Says what it found, line by line. It makes and changes nothing on either broker.
pub fn run(settings: &Settings, args: Args) -> anyhow::Result<ExitCode> {
    let config = settings.load(args.work.flags())?;
    let mut findings = Findings::default();
    findings.ok(format_args!("configuration: {} profiles", config.profiles.len()));
    findings.ok(format_args!(
        "memory: at most {}, if every job and every answer is as large as it may be; docs/limits.md has the formula",
        config.memory()
    ));
    let ended = runtime()?.block_on(async {
        let looking = async {
            amqp(&config, &mut findings).await;
            results(&config, &mut findings).await;
            mqtt(&config, &mut findings).await;
        };
        tokio::select! {
            biased;
            () = signals::interrupt() => None,
            () = looking => Some(()),
        }
    });
    Ok(ended.map_or(INTERRUPTED.into(), |()| findings.code()))
}

async fn amqp(config: &Config, findings: &mut Findings) {
    let connection = match requester::connect(config).await {
        Ok(connection) => connection,
        Err(error) => return findings.failed(format_args!("AMQP: {error:#}")),
    };
    // Of several brokers, those that were asked before one took us: they are missed only when that one goes.
    let route = connection.route().filter(|_| config.amqp.url.is_list());
    for failure in route.iter().flat_map(|route| &route.failures) {
        findings.warning(format_args!("AMQP: {failure}"));
    }
    match route {
        Some(Route { node, .. }) => findings.ok(format_args!("AMQP: connected to {node}, one of {}", config.amqp.url)),
        None => findings.ok(format_args!("AMQP: connected to {}", config.amqp.url)),
    }
    let mut queues = app::topology(config).queues;
    queues.extend(app::bulk_topology(config).queues);
    if config.celery.enabled && config.celery.queue != config.amqp.queue {
        queues.extend(app::celery_topology(config).queues);
    }
    for spec in queues {
        queue(config, &connection, spec, findings).await;
    }
    connection.close().await;
}

/// Whether the store of Celery's results answers, where there is one.
async fn results(config: &Config, findings: &mut Findings) {
    let Some(url) = config.celery.result_backend.as_ref().filter(|_| config.celery.enabled) else { return };
    let options = backend::Options { url: url.expose().to_owned(), deadline: PROVE_WITHIN, ..Default::default() };
    let answered = match Backend::connect(options) {
        Ok(backend) => backend.ping().await,
        Err(error) => Err(error),
    };
    match answered {
        Ok(()) => findings.ok(format_args!("Redis: {url} answers; Celery's results are stored there")),
        Err(error) => findings.failed(format_args!("Redis: {error}")),
    }
}

async fn queue(config: &Config, connection: &Connection, spec: QueueSpec, findings: &mut Findings) {
    let name = spec.name.clone();
    // First only a look: what is missing stays so.
    let look = Topology { queues: vec![spec], declare: false, ..Topology::default() };
    let found = match look.apply(connection).await {
        Ok(_) => Topology { declare: config.amqp.declare, ..look }.apply(connection).await,
        Err(missing) => Err(missing),
    };
    match found.map(|report| report.queues) {
        Err(amqp::Error::MissingQueue(_)) if config.amqp.declare => {
            findings.ok(format_args!("queue {name}: does not exist yet; a worker makes it"));
        }
        Err(error) => findings.failed(error),
        Ok(reports) => {
            for QueueReport { comparison, consumers, .. } in reports {
                match comparison {
                    Comparison::Same | Comparison::Created => {
                        findings.ok(format_args!("queue {name}: as it should be, {consumers} consumers"));
                    }
                    Comparison::Differs(Difference { argument, wanted, found }) => findings.warning(format_args!(
                        "queue {name}: {argument} is {found}, and would be declared as {wanted}; it is used as it is, \
                         {consumers} consumers"
                    )),
                    Comparison::NotCompared(reason) => {
                        findings
                            .ok(format_args!("queue {name}: exists, not compared ({reason}), {consumers} consumers"));
                    }
                }
            }
        }
    }
}

async fn mqtt(config: &Config, findings: &mut Findings) {
    let options = match app::mqtt_options(&config.mqtt) {
        Ok(options) => options,
        Err(error) => return findings.failed(format_args!("MQTT: {error:#}")),
    };
    let agent = match Agent::connect(options).await {
        Ok(agent) => agent,
        Err(error) => return findings.failed(format_args!("MQTT: {}: {error}", config.mqtt.url)),
    };
    match agent.protocol() {
        Protocol::V5 => findings.ok(format_args!("MQTT: connected to {} with MQTT 5", config.mqtt.url)),
        Protocol::V311 => findings.warning(format_args!(
            "MQTT: connected to {} with MQTT 3.1.1, which does not tell when nobody is subscribed; \
             mqtt.protocol = \"5\" is better where the broker has it",
            config.mqtt.url
        )),
    }
    answers(config, &agent, findings).await;
    if let Some(profile) = config.profiles.get(MEASURED) {
        round_trip(config, &agent, profile, findings).await;
    }
    agent.close().await;
}

async fn answers(config: &Config, agent: &Agent, findings: &mut Findings) {
    let profiles = config.profiles.values().cloned();
    let commander = Commander::new(agent.clone(), profiles, app::commander_options(config));
    for (name, profile) in &config.profiles {
        if profile.needs_mqtt5() && agent.protocol() == Protocol::V311 {
            findings.warning(format_args!("profile {name}: needs MQTT 5, its jobs are refused"));
            continue;
        }
        match commander.prove(name, PROVE_WITHIN).await {
            Ok(Some(time)) => {
                let ms = time.as_secs_f64() * 1000.0;
                findings.ok(format_args!("profile {name}: an answer comes back, {ms:.1} ms"));
            }
            Ok(None) => findings.ok(format_args!(
                "profile {name}: has a filter for each device, which its first command proves or not"
            )),
            Err(failure) => findings.failed(format_args!("profile {name}: {}", failure.message)),
        }
    }
}

async fn round_trip(config: &Config, agent: &Agent, profile: &Profile, findings: &mut Findings) {
    let measured = match app::mqtt_options(&config.mqtt) {
        Ok(device) => round_trip::measure(agent, device, profile).await,
        Err(error) => Err(error),
    };
    match measured {
        Ok(Some(RoundTrip { median, delayed })) => {
            let ms = median.as_secs_f64() * 1000.0;
            match delayed {
                false => findings.ok(format_args!("MQTT: a round trip at QoS 1 takes {ms:.1} ms")),
                true => findings.warning(format_args!(
                    "MQTT: a round trip at QoS 1 takes {ms:.1} ms, because the broker's end of the connection lacks \
                     TCP_NODELAY; every command waits for that. In mosquitto.conf: set_tcp_nodelay true"
                )),
            }
        }
        Ok(None) => {}
        Err(error) => findings.warning(format_args!("MQTT: the round trip at QoS 1 could not be measured: {error:#}")),
    }
}
