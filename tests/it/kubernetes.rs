//! The Kubernetes and KEDA examples agree with themselves and with the program: keys, ports, paths, times, sizes and queues.

use crate::harness::source;
use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use switchboard::config::{Config, FILE_VARIABLE, File, Inputs, VARIABLE_PREFIX, load};

const FOLDERS: [&str; 2] = ["examples/kubernetes/", "examples/keda/"];

fn json_of(node: &Yaml) -> Value {
    match node {
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Value(Scalar::Boolean(it)) => (*it).into(),
        Yaml::Value(Scalar::Integer(it)) => (*it).into(),
        Yaml::Value(Scalar::FloatingPoint(it)) => it.into_inner().into(),
        Yaml::Value(Scalar::String(it)) => it.as_ref().into(),
        Yaml::Sequence(nodes) => nodes.iter().map(json_of).collect(),
        Yaml::Mapping(members) => {
            let member =
                |(key, value): (&Yaml, &Yaml)| (key.as_str().expect("a key that is a text").to_owned(), json_of(value));
            members.iter().map(member).collect::<serde_json::Map<_, _>>().into()
        }
        other => panic!("an alias, a tag or something wrong: {other:?}"),
    }
}

/// Every document of the examples, each with the file that it stands in.
fn documents() -> Vec<(String, Value)> {
    let is_manifest = |path: &String| FOLDERS.iter().any(|folder| path.starts_with(folder)) && !path.ends_with(".md");
    let mut documents = Vec::new();
    for path in source::project_files().into_iter().filter(is_manifest) {
        let text = source::read(&path);
        let nodes = Yaml::load_from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
        documents.extend(nodes.iter().map(|node| (path.clone(), json_of(node))));
    }
    documents
}

fn the(kind: &str, name: &str) -> Value {
    let found = documents().into_iter().map(|(_, document)| document);
    let mut found = found.filter(|document| document["kind"] == kind && document["metadata"]["name"] == name);
    found.next().unwrap_or_else(|| panic!("there is no {kind} {name}"))
}

fn deployment() -> Value {
    the("Deployment", "switchboard")
}

fn container(deployment: &Value) -> Value {
    let containers = deployment.pointer("/spec/template/spec/containers").and_then(Value::as_array).unwrap();
    assert_eq!(containers.len(), 1);
    containers[0].clone()
}

/// What the container finds under this path, by name and text: its configuration and its secrets, as they are mounted.
fn files(deployment: &Value, under: &str) -> Vec<(String, String)> {
    let pod = &deployment["spec"]["template"]["spec"];
    let mut files = Vec::new();
    for mount in container(deployment)["volumeMounts"].as_array().unwrap() {
        let volumes = pod["volumes"].as_array().unwrap();
        let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]);
        let volume = volume.unwrap_or_else(|| panic!("no volume {}", mount["name"]));
        let contents = match volume.get("configMap") {
            Some(of) => the("ConfigMap", of["name"].as_str().unwrap())["data"].clone(),
            None => the("Secret", volume["secret"]["secretName"].as_str().unwrap())["stringData"].clone(),
        };
        let items = volume.pointer("/secret/items").and_then(Value::as_array).cloned();
        let all = || contents.as_object().unwrap().keys().map(|key| json!({"key": key, "path": key})).collect();
        for item in items.unwrap_or_else(all) {
            let text = contents[item["key"].as_str().unwrap()].as_str().unwrap_or_else(|| panic!("nothing for {item}"));
            let path = format!("{}/{}", mount["mountPath"].as_str().unwrap(), item["path"].as_str().unwrap());
            files.push((path.strip_prefix(under).expect(&path).to_owned(), text.to_owned()));
        }
    }
    files
}

fn environment(deployment: &Value) -> Vec<(String, String)> {
    let variables = container(deployment)["env"].as_array().unwrap().clone();
    let value = |variable: &Value| match &variable["value"] {
        Value::String(text) => text.clone(),
        _ => {
            let reference = &variable["valueFrom"]["secretKeyRef"];
            let secret = the("Secret", reference["name"].as_str().unwrap());
            secret["stringData"][reference["key"].as_str().unwrap()].as_str().unwrap().to_owned()
        }
    };
    variables.iter().map(|variable| (variable["name"].as_str().unwrap().to_owned(), value(variable))).collect()
}

/// The configuration that the container would run with, read and checked as the program does it. What the image sets counts too.
fn config() -> Config {
    const FOLDER: &str = "/etc/switchboard";
    let (deployment, place) = (deployment(), tempfile::tempdir().unwrap());
    for (path, text) in files(&deployment, FOLDER) {
        let file = place.path().join(path.trim_start_matches('/'));
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
    let here = |text: String| text.replace(FOLDER, place.path().to_str().unwrap());
    let image = source::read("docker/Dockerfile");
    let of_image = image.lines().filter_map(|line| line.strip_prefix("ENV ")?.split_once('='));
    let of_image = of_image.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut environment: Vec<(String, String)> = of_image.chain(environment(&deployment)).collect();
    let named = environment.iter().position(|(name, _)| name == FILE_VARIABLE).expect(FILE_VARIABLE);
    let path = here(environment.remove(named).1);
    let mut file = File::read(Path::new(&path)).unwrap_or_else(|problem| panic!("{problem}"));
    file.text = here(file.text);
    for (name, _) in &environment {
        assert!(name.starts_with(VARIABLE_PREFIX), "{name} is no variable of the program");
    }
    // What is no key is refused here, and so is a value that is none.
    load(&Inputs { file: Some(file), environment, ..Inputs::default() }).unwrap_or_else(|problem| panic!("{problem}"))
}

/// `768Mi` in bytes.
fn bytes(quantity: &Value) -> u64 {
    let number = quantity.as_str().and_then(|text| text.strip_suffix("Mi")).expect("so many Mi");
    number.parse::<u64>().unwrap() << 20
}

#[test]
fn every_document_is_of_a_kind_that_its_api_has_and_bears_the_common_label() {
    let kinds: BTreeSet<(String, String)> = documents()
        .into_iter()
        .map(|(path, document)| {
            assert_eq!(document["metadata"]["labels"]["app.kubernetes.io/name"], "switchboard", "{path}");
            (document["apiVersion"].as_str().unwrap().to_owned(), document["kind"].as_str().unwrap().to_owned())
        })
        .collect();
    let expected = [
        ("apps/v1", "Deployment"),
        ("keda.sh/v1alpha1", "ScaledObject"),
        ("keda.sh/v1alpha1", "TriggerAuthentication"),
        ("monitoring.coreos.com/v1", "PodMonitor"),
        ("policy/v1", "PodDisruptionBudget"),
        ("v1", "ConfigMap"),
        ("v1", "Secret"),
        ("v1", "Service"),
    ];
    assert_eq!(kinds, expected.map(|(api, kind)| (api.to_owned(), kind.to_owned())).into());
}

#[test]
fn the_program_takes_the_configuration_and_the_pod_outlives_its_drain() {
    let (config, deployment) = (config(), deployment());
    let pod = &deployment["spec"]["template"]["spec"];
    let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
    let pause = container(&deployment).pointer("/lifecycle/preStop/sleep/seconds").and_then(Value::as_u64).unwrap();
    // Above the pause and the grace: last words after the hard stop, the claim log, results on their way, the last acks.
    assert!(
        grace >= pause + config.worker.grace.as_secs() + 20,
        "{grace} s of the pod, {pause} s before the stop, {:?} of the worker",
        config.worker.grace
    );
    let resources = &container(&deployment)["resources"];
    let limit = bytes(&resources["limits"]["memory"]);
    assert!(
        config.memory().bytes() <= limit,
        "a worker needs up to {}, and is killed at {limit} bytes",
        config.memory()
    );
    assert_eq!(bytes(&resources["requests"]["memory"]), limit);
    let image = container(&deployment)["image"].as_str().unwrap().to_owned();
    assert_eq!(image.rsplit(':').next(), Some(env!("CARGO_PKG_VERSION")), "{image}");
    assert!(config.mqtt.password_file.is_some(), "the password comes from a file");
}

#[test]
fn probes_and_metrics_ask_where_the_program_listens() {
    let (config, deployment) = (config(), deployment());
    let container = container(&deployment);
    let listen = config.http.listen;
    assert!(listen.ip().is_unspecified(), "{listen} is out of reach from outside the container");
    let port = json!({"name": "http", "containerPort": listen.port()});
    assert_eq!(container["ports"], json!([port]));
    for (probe, path) in [("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")] {
        assert_eq!(container[probe]["httpGet"], json!({"path": path, "port": "http"}), "{probe}");
    }
    let endpoint = the("PodMonitor", "switchboard")["spec"]["podMetricsEndpoints"][0].clone();
    assert_eq!((&endpoint["port"], &endpoint["path"]), (&json!("http"), &json!("/metrics")));
    let service = the("Service", "switchboard");
    assert_eq!(service["spec"]["ports"][0]["port"], listen.port());
    assert_eq!(service["spec"]["ports"][0]["targetPort"], "http");
    let http = source::read("src/telemetry/http.rs");
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert!(http.contains(&format!("\"{path}\"")), "the program serves no {path}");
    }
}

#[test]
fn every_selector_selects_the_workers() {
    let deployment = deployment();
    let labels = deployment["spec"]["template"]["metadata"]["labels"].as_object().unwrap().clone();
    let spread = deployment["spec"]["template"]["spec"]["topologySpreadConstraints"].as_array().unwrap().clone();
    assert_eq!(spread.len(), 2);
    let selectors = spread.iter().map(|constraint| constraint["labelSelector"]["matchLabels"].clone());
    let selectors = selectors.chain([
        deployment["spec"]["selector"]["matchLabels"].clone(),
        the("PodDisruptionBudget", "switchboard")["spec"]["selector"]["matchLabels"].clone(),
        the("PodMonitor", "switchboard")["spec"]["selector"]["matchLabels"].clone(),
        the("Service", "switchboard")["spec"]["selector"].clone(),
    ]);
    for selector in selectors {
        let selector = selector.as_object().expect("a selector");
        assert!(!selector.is_empty() && selector.iter().all(|(key, value)| labels.get(key) == Some(value)));
    }
}

#[test]
fn the_container_can_do_nothing_but_its_work() {
    let deployment = deployment();
    let (pod, container) = (&deployment["spec"]["template"]["spec"], container(&deployment));
    for (pointer, wanted) in [
        ("/automountServiceAccountToken", json!(false)),
        ("/securityContext/runAsNonRoot", json!(true)),
        ("/securityContext/seccompProfile/type", json!("RuntimeDefault")),
    ] {
        assert_eq!(pod.pointer(pointer), Some(&wanted), "{pointer}");
    }
    for (pointer, wanted) in [
        ("/securityContext/allowPrivilegeEscalation", json!(false)),
        ("/securityContext/readOnlyRootFilesystem", json!(true)),
        ("/securityContext/capabilities/drop", json!(["ALL"])),
    ] {
        assert_eq!(container.pointer(pointer), Some(&wanted), "{pointer}");
    }
    let user = pod["securityContext"]["runAsUser"].as_u64().unwrap();
    assert!(
        source::read("docker/Dockerfile").contains(&format!("USER {user}:{user}")),
        "{user} is not the image's user"
    );
    for mount in container["volumeMounts"].as_array().unwrap() {
        assert_eq!(mount["readOnly"], true, "{mount}");
    }
}

#[test]
fn keda_looks_at_the_queues_that_workers_take_jobs_from_and_counts_what_they_hold() {
    let (config, scaled) = (config(), the("ScaledObject", "switchboard")["spec"].clone());
    assert_eq!(scaled["scaleTargetRef"]["name"], deployment()["metadata"]["name"]);
    let minimum = scaled["minReplicaCount"].as_u64().unwrap();
    assert!(minimum >= 2 && minimum <= scaled["fallback"]["replicas"].as_u64().unwrap());
    let mut looked_at = BTreeSet::new();
    for trigger in scaled["triggers"].as_array().unwrap() {
        assert_eq!(trigger["type"], "rabbitmq");
        let metadata = trigger["metadata"].as_object().unwrap();
        // KEDA takes texts only, and over AMQP nobody says what is not acked.
        assert!(metadata.values().all(Value::is_string), "{metadata:?}");
        let keys: Vec<&str> = metadata.keys().map(String::as_str).collect();
        assert_eq!(keys, ["mode", "protocol", "queueName", "value", "vhostName"]);
        assert_eq!((&metadata["mode"], &metadata["protocol"]), (&json!("QueueLength"), &json!("http")));
        let queue = metadata["queueName"].as_str().unwrap().to_owned();
        let value: u64 = metadata["value"].as_str().unwrap().parse().unwrap();
        // A worker never holds more than its prefetch: above that nothing would ever ask for a second one.
        let most = if queue == config.celery.queue { config.celery.prefetch } else { config.amqp.prefetch };
        assert!(value > 0 && value < most.into(), "{queue}: {value}");
        let authentication = the("TriggerAuthentication", trigger["authenticationRef"]["name"].as_str().unwrap());
        for reference in authentication["spec"]["secretTargetRef"].as_array().unwrap() {
            let parameter = reference["parameter"].as_str().unwrap();
            assert!(["host", "username", "password"].contains(&parameter), "{parameter}");
            let secret = the("Secret", reference["name"].as_str().unwrap());
            assert!(secret["stringData"][reference["key"].as_str().unwrap()].is_string(), "{reference}");
        }
        looked_at.insert(queue);
    }
    let queues = [config.amqp.queue.clone(), config.amqp.bulk_queue.clone(), config.celery.queue.clone()];
    assert_eq!(looked_at, queues.into());
}

#[test]
fn the_page_names_every_file() {
    let page = source::read("examples/kubernetes/README.md");
    for (path, _) in documents() {
        let name = path.rsplit('/').next().unwrap();
        let named =
            if path.starts_with(FOLDERS[0]) { page.contains(&format!("`{name}`")) } else { page.contains("../keda/") };
        assert!(named, "examples/kubernetes/README.md does not name {path}");
    }
}
