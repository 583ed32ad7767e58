//! The section of Celery: what stands in for what is not set, and every problem of a queue's arguments, routes and tasks.

use super::*;
use crate::envelope::Value;

/// What is wrong with a task that has a right command and these lines.
fn wrong(lines: &str) -> Vec<String> {
    problems(&with_file(&format!("[celery.tasks.\"garage.open\"]\ncommand = 'open'\n{lines}\n")))
}

#[test]
fn names_of_exchange_and_key_are_those_of_the_queue_unless_set() {
    let celery = load(&with_file("[celery]\nqueue = 'q'")).unwrap().celery;
    assert_eq!((celery.exchange.as_str(), celery.routing_key.as_str()), ("q", "q"));
    assert_eq!(
        (celery.exchange_type, celery.prefetch, celery.default_queue.as_str()),
        (ExchangeType::Direct, 1000, "celery")
    );
    assert_eq!((celery.result_expires, celery.result_key_prefix.as_str()), (Some(Duration::from_secs(86_400)), ""));
    assert_eq!((celery.beat_results, celery.task_events, celery.node_name), (false, false, None));
    let set = "[amqp]\nprefetch = 7\n[celery]\nexchange = 'e'\nrouting_key = 'k'\nexchange_type = 'topic'\n\
               result_expires = '0s'\nresult_backend = 'redis://h'\nresult_key_prefix = 'p'\nroutes = { 'a.*' = 'x' }\n\
               queue_arguments = { x-max-priority = 10, x-single-active-consumer = true, x-overflow = 'drop-head' }";
    let celery = load(&with_file(set)).unwrap().celery;
    assert_eq!((celery.exchange.as_str(), celery.routing_key.as_str(), celery.prefetch), ("e", "k", 7));
    assert_eq!((celery.exchange_type.as_str(), celery.result_expires), ("topic", None));
    assert_eq!(celery.routes.queue("a.b"), Some("x"));
    assert_eq!(celery.queue_arguments.get("x-single-active-consumer"), Some(&Value::Bool(true)));
    assert_eq!(celery.queue_arguments.text("x-overflow"), Some("drop-head"));
}

#[test]
fn arguments_of_the_queue_that_contradict_its_type_and_routes_to_no_queue_are_refused() {
    for (text, said) in [
        ("queue_arguments = { x = [1] }", "line 2: celery.queue_arguments.x is a list; right is a whole number, true"),
        ("queue_arguments = { x = 1.5 }", "celery.queue_arguments.x is the number 1.5; right is a whole number"),
        ("queue_arguments = { x-max-priority = 300 }", "is the number 300; right is a whole number from 1 to 255"),
        (
            "queue_type = 'quorum'\nqueue_arguments = { x-max-priority = 10 }",
            "line 3: celery.queue_arguments.x-max-priority contradicts: celery.queue_type is \"quorum\"",
        ),
        (
            "queue_arguments = { x-queue-type = 'quorum' }",
            "x-queue-type contradicts: it is \"quorum\" and celery.queue_type \"classic\"",
        ),
        ("routes = { 'a.*' = 7 }", "line 2: celery.routes.\"a.*\" is the number 7; right is a queue's name"),
        ("routes = { 'a.*' = 'amq.x' }", "celery.routes.\"a.*\" is \"amq.x\"; right is a queue's name"),
        ("exchange_type = 'fanout'", "celery.exchange_type is \"fanout\"; right is \"direct\" or \"topic\""),
        ("prefetch = 0", "celery.prefetch is the number 0; right is a whole number from 1 to 65535"),
        ("tasks = 1", "celery.tasks is the number 1; right is a table"),
        ("result_backend = 'http://h'", "redis://"),
    ] {
        let problem = problem(&format!("[celery]\n{text}"));
        assert!(problem.contains(said), "{problem}");
    }
    assert!(load(&with_file("[celery]\nqueue_type = 'quorum'\nqueue_arguments = { x-queue-type = 'quorum' }")).is_ok());
}

#[test]
fn a_mapping_as_the_documented_file_shows_it_is_right() {
    let example: String = commented_file()
        .lines()
        .skip_while(|line| !line.starts_with("# [celery.tasks"))
        .take_while(|line| !line.is_empty())
        .filter(|line| !line.starts_with("# bulk"))
        .map(|line| format!("{}\n", line.strip_prefix("# ").unwrap()))
        .collect();
    let config = load(&with_file(&example)).unwrap();
    assert_eq!(
        (config.celery.tasks[0].name(), config.celery.tasks[0].profile()),
        ("garage.tasks.open_door", "default")
    );
}

#[test]
fn every_problem_of_a_task_is_told_at_once_with_its_key_and_line() {
    let said = wrong(
        "agrs = ['door']\ntimeout = '5'\nprofile = 'deafult'\n[celery.tasks.\"garage.open\".payload]\nspeed = '{speed}'",
    );
    assert_eq!(
        said,
        [
            "sb.toml, line 3: celery.tasks.\"garage.open\".agrs is no key of a task; did you mean args?",
            "sb.toml, line 5: celery.tasks.\"garage.open\".profile is \"deafult\", and there is no such profile; did you mean \"default\"?",
            "sb.toml, line 4: celery.tasks.\"garage.open\".timeout is \"5\"; right is a duration, such as \"5s\", or \"{timeout}\" for an argument in seconds",
            "sb.toml, line 7: celery.tasks.\"garage.open\".payload.speed names the argument \"speed\", which is not there; there are device, payload=None",
        ]
    );
}

#[test]
fn each_problem_of_a_task_says_what_would_be_right() {
    for (lines, said) in [
        ("args = 'door'", ".args is \"door\"; right is a list of arguments' names"),
        ("args = ['device', 1]", ".args is a list; right is a list of arguments' names"),
        ("args = ['device', 'device']", ".args has the argument \"device\" twice; once is right"),
        ("args = ['device']\nkwargs = ['device']", ".kwargs has the argument \"device\" twice"),
        ("args = ['device', '{x}']", ".args has \"{x}\", which is no argument's name"),
        ("defaults = 1", ".defaults is the number 1; right is a table"),
        ("defaults = { x = nan }", ".defaults.x is the number NaN; right is a number that JSON has"),
        ("args = ['door']", ".device names the argument \"device\", which is not there; there are door"),
        ("device = ''", ".device is \"\"; right is a text in quotes"),
        ("device = 'garage-{door}'", ".device names the argument \"door\", which is not there; there are device"),
        ("device = 'garage-{device'", ".device is \"garage-{device\" with a single \"{\""),
        ("device = 'garage}'", ".device is \"garage}\" with a single \"}\""),
        ("device = 'd'\ndevices = '{device}'", ".devices is there together with device; right is one of the two"),
        ("devices = 'a-{device}'", ".devices is \"a-{device}\"; right is one argument that holds a list"),
        ("devices = '{device}'\nresult = 'answer'", ".result is \"answer\" for many devices; right is \"summary\" or"),
        ("result = 'summary'", ".result is \"summary\" for one device; right is \"answer\" or \"none\""),
        ("result = 'answer'\nmode = 'publish'", ".result is \"answer\" with mode \"publish\", which awaits none"),
        ("result = 'all'", ".result is \"all\"; right is \"answer\" or \"none\" or \"summary\""),
        ("mode = 'call'", ".mode is \"call\"; right is \"request\" or \"publish\""),
        ("guarantee = 'exactly_once'", ".guarantee is \"exactly_once\"; right is \"at_most_once\" or"),
        ("timeout = 5", ".timeout is the number 5; right is a duration"),
        ("timeout = '0s'", ".timeout is \"0s\"; right is a duration"),
        ("timeout = '10m'", ".timeout is \"10m\"; right is at most worker.max_timeout, 5m"),
        ("timeout = '{wait}'", ".timeout names the argument \"wait\", which is not there"),
        ("timeout = '{device}s'", ".timeout is \"{device}s\"; right is a duration"),
        ("timeout = '{device}{device}'", ".timeout is \"{device}{device}\"; right is one argument, \"{timeout}\""),
        ("profile = 'none-such'", ".profile is \"none-such\", and there is no such profile; there are default, json"),
        ("payload = { a = [1, '{b}'] }", ".payload.a[1] names the argument \"b\", which is not there"),
        ("payload = inf", ".payload is the number inf; right is a number that JSON has"),
        ("bulk = 1", ".bulk is the number 1; right is a table"),
        ("bulk = { rate = 1 }", ".bulk.rate is for many devices, and there is one; right is devices, or no bulk"),
        ("devices = '{device}'\nbulk = { rat = 1 }", ".bulk.rat is no key of bulk; did you mean bulk.rate?"),
        (
            "devices = '{device}'\nbulk = { rate = 0 }",
            ".bulk.rate is the number 0; right is a number of devices a second",
        ),
        (
            "devices = '{device}'\nbulk = { concurrency = 0 }",
            ".bulk.concurrency is the number 0; right is a whole number",
        ),
        ("devices = '{device}'\nbulk = { abort = '20' }", ".bulk.abort is \"20\"; right is \"20%:100\""),
    ] {
        let problems = wrong(lines);
        assert_eq!(problems.len(), 1, "{lines}: {problems:?}");
        assert!(problems[0].contains(said), "{problems:?}");
    }
    for (text, said) in [
        (
            "[celery.tasks.\"a.b\"]\ndevice = 'd'",
            "celery.tasks.\"a.b\".command is missing; right is the command's name",
        ),
        ("[celery.tasks.\"a.b\"]\ncommand = 7", ".command is the number 7; right is a text in quotes"),
        (
            "[celery.tasks.\"switchboard.bulk\"]\ncommand = 'c'",
            "\"switchboard.bulk\" is a task of Switchboard's own; right",
        ),
        ("[celery.tasks.\"celery.group\"]\ncommand = 'c'", "\"celery.group\" is no name that a task can have here"),
        (
            "[celery.tasks]\na = 1",
            "line 2: celery.tasks.\"a\" is the number 1; right is a table: { command = \"open\" }",
        ),
    ] {
        let problem = problem(text);
        assert!(problem.contains(said), "{problem}");
    }
    let secret = wrong("device = 'amqp://u:canary@h/{x}'").concat();
    assert!(!secret.contains("canary"), "{secret}");
}

#[test]
fn a_profile_with_a_problem_of_its_own_is_there_all_the_same() {
    let said = wrong("profile = 'mine'\n[profiles.mine]\nqos = 3");
    assert!(!said.is_empty() && said.iter().all(|problem| problem.contains("profiles.mine")), "{said:?}");
}
