//! The built-in profiles as the contract has them, what the schema refuses, and what every profile must hold to.

mod builtin;
mod dialects;
mod properties;
mod schema;

use super::*;

/// A built-in profile with some keys set by a user.
fn with(name: &str, keys: &str) -> Result<Profile, Vec<Problem>> {
    let (_, mut table) = super::builtin().into_iter().find(|(known, _)| known == name).unwrap();
    table.extend(keys.parse::<toml::Table>().unwrap());
    Profile::compile(name, &table)
}

pub(super) fn profile(name: &str) -> Profile {
    with(name, "").unwrap()
}

pub(super) fn compile(keys: &str) -> Result<Profile, Vec<Problem>> {
    Profile::compile("mine", &keys.parse().unwrap())
}

pub(super) fn call<'a>(device: &'a str, command: &'a str, payload: &'a Payload) -> Call<'a> {
    Call { device, command, payload, inbox: "in", attempt: 7, job_id: "job-1", expires_at: Some(1_795_341_605_000) }
}

fn error(code: &str, message: &str) -> Reading {
    Reading::Error { code: code.to_owned(), message: message.to_owned() }
}
