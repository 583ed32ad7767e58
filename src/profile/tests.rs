//! The built-in profiles as the contract has them, and what every profile must hold to.

use super::*;

fn profile(name: &str) -> Profile {
    let (_, table) = builtin().into_iter().find(|(known, _)| known == name).unwrap();
    Profile::compile(name, &table).unwrap()
}
