//! Routing keys, as they were before the broker delayed a message.

/// Binary digits of the seconds that a message waits, in front of its routing key.
const DIGITS: usize = 28;

/// The routing key without what Celery's native delayed delivery puts in front of it: 28 binary digits, most significant
/// first, each with a dot behind it.
pub fn routing_key(text: &str) -> &str {
    let prefix = text.as_bytes().chunks_exact(2).take(DIGITS);
    let digits = prefix.take_while(|pair| matches!(*pair, b"0." | b"1.")).count();
    // What was compared is ASCII, so the rest begins at a character.
    if digits == DIGITS { &text[2 * DIGITS..] } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::celery::vectors;

    #[test]
    fn the_seconds_of_a_delay_are_taken_off() {
        assert_eq!(routing_key(&vectors::load("delayed-cd5").routing_key), "qcommands");
        assert_eq!(routing_key(&vectors::load("delayed-plain").routing_key), "qcommands");
        let digits = "0.".repeat(27);
        let short = format!("{digits}x");
        assert_eq!(routing_key(&short), short);
        let other = format!("{digits}2.x");
        assert_eq!(routing_key(&other), other);
        assert_eq!(routing_key(&format!("{digits}1.0.x")), "0.x", "28 digits and no more");
        assert_eq!(routing_key(&format!("{digits}1.")), "");
        assert_eq!(routing_key("ü"), "ü");
    }
}
