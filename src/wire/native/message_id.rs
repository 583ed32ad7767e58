//! The stable `message_id` of an answer, by which a requester knows a repeated one.

/// Which answer to a job it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// The first thing said about a device.
    Final,
    /// The correction of a `timed_out` or `unknown`.
    Late,
    /// The end of a bulk.
    Summary,
}

/// 32 hex digits: the 128-bit FNV-1a hash of job id, device and class, each followed by a byte that no UTF-8 has.
///
/// A hash, because job id and device together can be longer than the 255 bytes that AMQP gives a `message_id`; written out
/// here, because every version of the program must come to the same one.
pub(super) fn message_id(job: &str, device: &str, class: Class) -> String {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let class: &str = match class {
        Class::Final => "final",
        Class::Late => "late",
        Class::Summary => "summary",
    };
    let mut hash = OFFSET;
    for part in [job, device, class] {
        for byte in part.bytes().chain([0xFF]) {
            hash = (hash ^ u128::from(byte)).wrapping_mul(PRIME);
        }
    }
    format!("{hash:032x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_differs_where_the_answers_do_and_only_there() {
        let id = message_id("job", "a", Class::Final);
        assert_eq!(id, message_id("job", "a", Class::Final));
        assert_eq!(id.len(), 32);
        for (job, device, class) in [("job", "a", Class::Late), ("job", "b", Class::Final), ("joba", "", Class::Final)]
        {
            assert_ne!(id, message_id(job, device, class));
        }
        // Written into results in flight while the program is replaced by its next version.
        assert_eq!(message_id("01J", "garage-7", Class::Final), "2a4eff950a4685148726ee241d0a985c");
    }
}
