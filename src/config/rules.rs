//! What is wrong only in company: contradictions between keys, files that cannot be read, features not served.

use super::celery;
use super::duration;
use super::problem::Source;
use super::schedules;
use super::sections::{Config, MqttSection, TlsSection};
use super::settings::Settings;
use super::url::{Secret, Url, redact};
use std::fs;
use std::path::Path;

/// Checks a configuration whose keys are each right by themselves, and fills in the password from its file.
///
/// A rule is left out where one of its keys has a problem already: its default would only add a second, puzzling one.
pub(super) fn check(config: &mut Config, settings: &mut Settings) {
    let mut rules = Rules { settings };
    rules.timeouts(config);
    rules.bulks(config);
    rules.own_bulk_queue(config);
    rules.queues(config);
    rules.claims(config);
    rules.tls("amqp", &config.amqp.url, &config.amqp.tls);
    rules.tls("mqtt", &config.mqtt.url, &config.mqtt.tls);
    rules.mqtt(&mut config.mqtt);
    rules.unserved(config);
    celery::check(config, settings);
    schedules::check(config, settings);
}

/// The queue of jobs where none is named.
const DEFAULT_QUEUE: &str = "switchboard.commands";

struct Rules<'s> {
    settings: &'s mut Settings,
}

impl Rules<'_> {
    /// Reports at the first of these keys that somebody set, if all of them are right by themselves.
    fn contradiction(&mut self, paths: &[&str], problem: impl Into<String>) {
        if paths.iter().any(|path| self.settings.problems.iter().any(|problem| problem.key == *path)) {
            return;
        }
        let key = paths.iter().copied().find(|path| self.settings.values.contains_key(path)).unwrap_or(paths[0]);
        self.settings.report(self.source(key), key, problem);
    }

    fn source(&self, path: &str) -> Source {
        self.settings.values.get(path).map_or(Source::Default, |given| given.source.clone())
    }

    fn timeouts(&mut self, config: &Config) {
        let (default, max) = (config.worker.default_timeout, config.worker.max_timeout);
        if default > max {
            let (default, max) = (duration::format(default), duration::format(max));
            self.contradiction(
                &["worker.default_timeout", "worker.max_timeout"],
                format!("contradicts: worker.default_timeout is {default} and worker.max_timeout {max}; the default may not be longer"),
            );
        }
    }

    fn bulks(&mut self, config: &Config) {
        let (one, all) = (config.worker.max_devices, config.worker.bulk_devices);
        if one > all {
            self.contradiction(
                &["worker.max_devices", "worker.bulk_devices"],
                format!("contradicts: worker.max_devices is {one} and worker.bulk_devices {all}; one job may not have more devices than all together"),
            );
        }
    }

    /// Workers of another queue are another group, perhaps with other devices: they must not take each other's chunks.
    fn own_bulk_queue(&mut self, config: &mut Config) {
        let is_set = |path: &str| self.settings.values.contains_key(path);
        if is_set("amqp.queue") && !is_set("amqp.bulk_queue") && config.amqp.queue != DEFAULT_QUEUE {
            config.amqp.bulk_queue = format!("{}.bulk", config.amqp.queue);
        }
    }

    fn queues(&mut self, config: &Config) {
        let mut all = vec![
            ("amqp.queue", &config.amqp.queue),
            ("amqp.bulk_queue", &config.amqp.bulk_queue),
            ("amqp.dead_letter_queue", &config.amqp.dead_letter_queue),
        ];
        if config.celery.enabled {
            all.push(("celery.queue", &config.celery.queue));
        }
        for (index, (path, name)) in all.iter().enumerate() {
            for (other, other_name) in &all[..index] {
                // Jobs and tasks are told apart by their headers, so these two may share a queue.
                if name == other_name && (*other, *path) != ("amqp.queue", "celery.queue") {
                    self.contradiction(
                        &[path, other],
                        format!("contradicts: {other} and {path} are both {name:?}; each needs a queue of its own"),
                    );
                }
            }
        }
        let types = ["celery.queue_type", "amqp.queue_type"];
        let both_set = types.iter().all(|path| self.settings.values.contains_key(path));
        let shared = config.celery.enabled && config.celery.queue == config.amqp.queue;
        if shared && both_set && config.celery.queue_type != config.amqp.queue_type {
            self.contradiction(&types, "contradicts: amqp.queue and celery.queue are one queue, and it has one type");
        }
    }

    fn tls(&mut self, section: &str, url: &Url, tls: &TlsSection) {
        let url_path = format!("{section}.url");
        let files = [("ca_file", &tls.ca_file), ("cert_file", &tls.cert_file), ("key_file", &tls.key_file)];
        let paths = files.map(|(name, file)| file.as_ref().map(|file| (format!("{section}.tls.{name}"), file)));
        for (path, file) in paths.iter().flatten() {
            self.readable(path, file);
        }
        if let (false, Some((path, _))) = (url.is_tls(), paths.iter().flatten().next()) {
            let right = if section == "amqp" { "amqps://" } else { "mqtts:// or wss://" };
            self.contradiction(&[path, &url_path], format!("contradicts: {section}.url is {url}, which does not go over TLS; right is {right}, or no [{section}.tls]"));
        }
        let (alone, missing) = match &paths {
            [_, Some((cert, _)), None] => (cert, "key_file"),
            [_, None, Some((key, _))] => (key, "cert_file"),
            _ => return,
        };
        self.contradiction(&[alone], format!("needs {section}.tls.{missing} as well; right are both or neither"));
    }

    /// A claim has to be remembered for longer than its command can be under way.
    fn claims(&mut self, config: &Config) {
        let (window, most) = (config.worker.claim_window, config.worker.max_timeout);
        if config.worker.claims && window < 2 * most {
            self.contradiction(
                &["worker.claim_window", "worker.max_timeout"],
                format!(
                    "contradicts: commands are to be remembered for {}, and one may take {}; right is twice that or more",
                    duration::format(window),
                    duration::format(most)
                ),
            );
        }
    }

    /// Whether a file can be opened now; it is opened again for every connection.
    fn readable(&mut self, path: &str, file: &Path) {
        if let Err(error) = fs::File::open(file) {
            self.contradiction(&[path], format!("names {}, which cannot be read: {error}", shown(file)));
        }
    }

    fn mqtt(&mut self, mqtt: &mut MqttSection) {
        if !mqtt.url.scheme().starts_with("ws") && !matches!(mqtt.url.path(), "" | "/") {
            let problem = format!("is {}, with a path; only ws:// and wss:// have one", mqtt.url);
            self.contradiction(&["mqtt.url"], problem);
        }
        let in_url = mqtt.url.user().is_some_and(|user| mqtt.username.as_ref() != Some(&user));
        if in_url {
            self.contradiction(
                &["mqtt.username", "mqtt.url"],
                "contradicts: mqtt.url names another user; right is one of the two",
            );
        }
        let Some(file) = mqtt.password_file.clone() else { return };
        if mqtt.password.is_some() {
            self.contradiction(
                &["mqtt.password_file", "mqtt.url"],
                "contradicts: mqtt.url has a password in it; right is one of the two",
            );
        }
        if mqtt.username.is_none() {
            self.contradiction(
                &["mqtt.password_file"],
                "needs mqtt.username as well: MQTT takes no password without a user",
            );
        }
        match fs::read_to_string(&file) {
            Ok(text) => {
                let password = text.trim_end_matches(['\r', '\n']);
                if password.is_empty() {
                    self.contradiction(&["mqtt.password_file"], format!("names {}, which is empty", shown(&file)));
                }
                mqtt.password = Some(Secret::new(password));
            }
            Err(error) => self.contradiction(
                &["mqtt.password_file"],
                format!("names {}, which cannot be read: {error}", shown(&file)),
            ),
        }
    }

    /// Known keys that ask for what this version cannot do: said aloud, rather than taken and not heeded.
    fn unserved(&mut self, config: &Config) {
        if config.log.otlp_endpoint.is_some() {
            self.contradiction(
                &["log.otlp_endpoint"],
                "is not served: this build cannot export traces; right is to leave it out",
            );
        }
    }
}

/// A path for an error message: somebody may have put an address there.
pub(super) fn shown(file: &Path) -> String {
    redact(&file.display().to_string())
}
