//! The ladder of queues for delays, held against what a Celery worker declared.

use super::*;
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;

/// Every declaration of a Celery 5.7 worker with one queue behind a topic exchange, as it went over the wire.
const CELERYS: &str = include_str!("../../celery/delay-topology.json");

type Facts = BTreeSet<String>;

fn is_ladder(name: &Json) -> bool {
    name.as_str().is_some_and(|name| name.starts_with("celery_delayed_"))
}

/// Arguments by name; the broker's list tells a type beside each value.
fn arguments(found: &Json) -> Json {
    let of_list =
        |list: &Vec<Json>| list.iter().map(|each| (each[0].as_str().unwrap().to_owned(), each[2].clone())).collect();
    match found {
        Json::Array(list) => Json::Object(of_list(list)),
        other => other.clone(),
    }
}

async fn listed(what: &[&str]) -> Vec<Json> {
    let text = ctl(&[&["-q"], what, &["--formatter", "json"]].concat()).await;
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// What is on the broker: exchanges, queues, and bindings between them.
async fn found() -> [Facts; 3] {
    let exchanges = listed(&["list_exchanges", "name", "type", "durable", "auto_delete", "arguments"]).await;
    let exchanges = exchanges
        .iter()
        .filter(|each| is_ladder(&each["name"]))
        .map(|each| json!([each["name"], each["type"], each["durable"], each["auto_delete"]]).to_string());
    let queues = listed(&["list_queues", "name", "durable", "auto_delete", "exclusive", "arguments"]).await;
    let queues = queues.iter().filter(|each| is_ladder(&each["name"])).map(|each| {
        json!([each["name"], each["durable"], each["auto_delete"], arguments(&each["arguments"])]).to_string()
    });
    let bindings =
        listed(&["list_bindings", "source_name", "destination_name", "destination_kind", "routing_key"]).await;
    let bindings =
        bindings.iter().filter(|each| is_ladder(&each["source_name"]) && is_ladder(&each["destination_name"]));
    let bindings = bindings.map(|each| {
        json!([each["source_name"], each["destination_kind"], each["destination_name"], each["routing_key"]])
            .to_string()
    });
    [exchanges.collect(), queues.collect(), bindings.collect()]
}

/// What Celery declared, in the same words.
fn wanted() -> [Facts; 3] {
    let mut facts = [Facts::new(), Facts::new(), Facts::new()];
    let captured: Vec<Json> = serde_json::from_str(CELERYS).unwrap();
    for each in captured {
        let [exchanges, queues, bindings] = &mut facts;
        match each["op"].as_str().unwrap() {
            "Exchange.Declare" => {
                exchanges
                    .insert(json!([each["exchange"], each["type"], each["durable"], each["auto_delete"]]).to_string());
            }
            "Queue.Declare" => {
                let typed = each["arguments"].as_object().unwrap();
                let arguments: serde_json::Map<String, Json> =
                    typed.iter().map(|(name, value)| (name.clone(), value["v"].clone())).collect();
                queues.insert(json!([each["queue"], each["durable"], each["auto_delete"], arguments]).to_string());
            }
            "Queue.Bind" if is_ladder(&each["queue"]) => {
                bindings.insert(json!([each["exchange"], "queue", each["queue"], each["routing_key"]]).to_string());
            }
            "Exchange.Bind" if is_ladder(&each["destination"]) => {
                bindings
                    .insert(json!([each["source"], "exchange", each["destination"], each["routing_key"]]).to_string());
            }
            _ => {}
        }
    }
    facts
}

#[tokio::test]
async fn the_ladder_is_that_of_a_celery_worker_to_the_letter() {
    let (connection, name) = connect("publish").await;
    queue(&name, QueueKind::Classic, &[]).apply(&connection).await.unwrap();
    ChannelPool::new(connection).ensure_ladder(&name).await.unwrap();
    let [exchanges, queues, bindings] = wanted();
    assert_eq!((exchanges.len(), queues.len(), bindings.len()), (29, 28, 56));
    let found = found().await;
    assert_eq!(found[0], exchanges);
    assert_eq!(found[1], queues);
    assert_eq!(found[2], bindings);
}
