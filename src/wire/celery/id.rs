//! Ids that we give: the same for the same place, so that what is sent again after a crash is known by its receivers.

/// The id of a task that is sent without one, from its sender's id and its place in what the sender sends; like a UUID.
pub(super) fn task(parent: &str, place: &str) -> String {
    // Version 8: bits of one's own making. Variant 1, as all UUIDs of today.
    let bits = hash(&["task", parent, place]) & !(0xF << 76) & !(0x3 << 62) | 0x8 << 76 | 0x2 << 62;
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// The `message_id` of a task's result. The last word about a task has one id, however often it is said.
pub fn message_id(task_id: &str) -> String {
    format!("{:032x}", hash(&["result", task_id]))
}

/// The 128-bit FNV-1a hash of texts, each followed by a byte that no UTF-8 has; written out here, because every version of
/// the program must come to the same one.
fn hash(parts: &[&str]) -> u128 {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0xFF]));
    bytes.fold(OFFSET, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_uuid_that_depends_on_parent_and_place_alone() {
        let id = task("parent", "chain");
        assert_eq!(id, task("parent", "chain"));
        assert_eq!(id.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert_eq!(&id[14..15], "8");
        assert!(matches!(&id[19..20], "8" | "9" | "a" | "b"), "{id}");
        for other in [task("parent", "chain/0"), task("parentc", "hain"), task("", "parentchain")] {
            assert_ne!(id, other);
        }
        // Under way while the program is replaced by its next version.
        assert_eq!(id, "fb929467-3f25-8efe-a2be-8788af548d60");
        assert_eq!(message_id("a"), message_id("a"));
        assert_ne!(message_id("a"), message_id("b"));
    }
}
