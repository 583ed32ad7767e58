//! The definition of the command line, without running anything.

use super::*;
use clap::CommandFactory;
use std::time::Duration;

fn parsed(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

#[test]
fn the_definition_holds_together() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_of_the_contract_is_understood() {
    for line in [
        "switchboard worker --amqp-url amqp://h --mqtt-url mqtt://h --queue q --concurrency 10 --http 127.0.0.1:0",
        "switchboard --config f worker",
        "switchboard send d c {} --one-way --timeout 5s --profile p --guarantee at_least_once --queue q --json",
        "switchboard send d c --no-wait",
        "switchboard send d c -5",
        "switchboard send d c -",
        "switchboard bulk c --devices - --rate 10 --concurrency 5 --abort-at 20%:100 --json",
        "switchboard bulk c {} --device a --device b",
        "switchboard bulk c --device a --id nightly-7",
        "switchboard bulk-status id --json --watch",
        "switchboard bulk-pause id --json",
        "switchboard bulk-resume id",
        "switchboard call d c {} --timeout 250ms --mqtt-url mqtt://h",
        "switchboard simulate --devices 10 --prefix x- --latency 20ms..200ms --silent 1% --reject 1% --duplicate 1% --late 1% --profile p",
        "switchboard demo",
        "switchboard demo --scale 1,2,4 --jobs 100",
        "switchboard check --config f",
        "switchboard cancel id --wait 1s --queue q --json",
        "switchboard schedule list",
        "switchboard schedule next",
        "switchboard schedule run nightly --json",
        "switchboard dead-letters list",
        "switchboard dead-letters list --reason invalid --limit 10 --json",
        "switchboard dead-letters show id --json",
        "switchboard dead-letters replay",
        "switchboard dead-letters replay a ~b --force --expires-in 5m --to q --rate 10 --dry-run --reason r --yes --json",
        "switchboard dead-letters discard a",
        "switchboard dead-letters discard --reason r --limit 5 --dry-run --yes --json",
        "switchboard schema job",
        "switchboard schema result",
        "switchboard schema config",
        "switchboard completions bash",
    ] {
        assert!(parsed(line).is_ok(), "{line}: {}", parsed(line).unwrap_err());
    }
    let Command::Send(send) = parsed("switchboard send d c --timeout 5s").unwrap().command else { panic!("no send") };
    assert_eq!(
        (send.request.timeout, send.request.one_way, send.request.payload),
        (Some(Duration::from_secs(5)), false, None)
    );
}

#[test]
fn a_wrong_line_is_refused() {
    for line in [
        "switchboard",
        "switchboard dance",
        "switchboard send d",
        "switchboard send d c nojson",
        "switchboard send d c --timeout 5",
        "switchboard send d c --guarantee exactly_once",
        "switchboard bulk c",
        "switchboard bulk c --device a --abort-at 20",
        "switchboard bulk-status",
        "switchboard bulk-pause id --watch",
        "switchboard schema cake",
        "switchboard worker --loud",
        "switchboard dead-letters",
        "switchboard dead-letters show",
        "switchboard dead-letters replay --expires-in 5",
        "switchboard dead-letters list --limit 0",
    ] {
        assert!(parsed(line).is_err(), "{line}");
    }
}
