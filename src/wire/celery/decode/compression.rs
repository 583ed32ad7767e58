//! Bodies that kombu compressed, inflated up to a bound.

use super::refusal::{disallowed, undecodable};
use crate::excerpt::Excerpt;
use crate::wire::celery::Exception;
use std::io::{self, Read};

/// The largest window of a zstd frame that is set aside: what RFC 8878 recommends every decoder to have. zstd's own
/// levels up to 19 stay within it.
const ZSTD_WINDOW: u64 = 8 * 1024 * 1024;

/// What a body is compressed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    /// Called gzip by kombu, but without gzip's header: RFC 1950.
    Zlib,
    Bzip2,
    /// In the container `.xz`.
    Lzma,
    Brotli,
    Zstd,
}

impl Compression {
    /// By its name in the header `compression`: kombu's media type or one of its aliases, and nothing that only resembles
    /// one.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "application/x-gzip" | "gzip" | "zlib" => Self::Zlib,
            "application/x-bz2" | "bzip2" | "bzip" => Self::Bzip2,
            "application/x-lzma" | "lzma" | "xz" => Self::Lzma,
            "application/x-brotli" | "brotli" => Self::Brotli,
            "application/zstd" | "zstd" | "zstandard" => Self::Zstd,
            _ => return None,
        })
    }

    /// The same, or the refusal of a name that is not known.
    pub(super) fn required(name: &str) -> Result<Self, Exception> {
        Self::named(name).ok_or_else(|| {
            disallowed(format!(
                "the header compression is {}; application/x-gzip, application/x-bz2, application/x-lzma, \
                 application/x-brotli or application/zstd is right",
                Excerpt(name)
            ))
        })
    }

    /// The body as it was before.
    ///
    /// Holds at most twice `max_bytes` at a time, and the decoder's window, which is never larger than 16 MiB.
    ///
    /// # Errors
    ///
    /// `DecodeError` where it is not compressed so, not whole, or larger than `max_bytes`.
    pub(super) fn inflate(self, body: &[u8], max_bytes: usize) -> Result<Vec<u8>, Exception> {
        let inflated = match self {
            Self::Zlib => read(flate2::read::ZlibDecoder::new(body), max_bytes),
            Self::Bzip2 => read(bzip2::read::BzDecoder::new(body), max_bytes),
            // Its dictionary grows with what was read, whatever the stream announces.
            Self::Lzma => read(lzma_rust2::XzReader::new(body, true), max_bytes),
            Self::Brotli => read(brotli_decompressor::Decompressor::new(body, 4096), max_bytes),
            Self::Zstd => ruzstd::decoding::StreamingDecoder::new_with_max_window_size(body, ZSTD_WINDOW)
                .map_err(io::Error::other)
                .and_then(|decoder| read(decoder, max_bytes)),
        };
        let inflated = inflated
            .map_err(|problem| undecodable(format!("the body cannot be inflated as {self:?}: {problem}; {RIGHT}")))?;
        if inflated.len() > max_bytes {
            return Err(undecodable(format!(
                "the body inflates to more than {max_bytes} bytes; at most those are right"
            )));
        }
        Ok(inflated)
    }
}

const RIGHT: &str = "a body compressed as its header compression says is right";

/// Reads one byte more than is right, so that what is too large shows; it is never all read.
fn read(decoder: impl Read, max_bytes: usize) -> io::Result<Vec<u8>> {
    let mut inflated = Vec::new();
    decoder.take(max_bytes as u64 + 1).read_to_end(&mut inflated)?;
    Ok(inflated)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::celery::vectors;
    use proptest::prelude::*;
    use std::io::Write;

    const BODY: &[u8] = b"[[], {\"device\": \"dev-1\", \"topic\": \"dev/1/cmd\", ";

    fn captured() -> Vec<(Compression, Vec<u8>)> {
        let names = ["v2-gzip", "v2-lzma", "v2-brotli", "v2-zstd", "v2-msgpack-zstd", "v1-pickle-gzip"];
        let mut all: Vec<_> = names
            .iter()
            .map(|name| {
                let envelope = vectors::load(name).envelope;
                let compression = Compression::named(envelope.headers.text("compression").unwrap()).unwrap();
                (compression, envelope.body.to_vec())
            })
            .collect();
        let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
        bzip2.write_all(BODY).unwrap();
        all.push((Compression::Bzip2, bzip2.finish().unwrap()));
        all
    }

    fn kind(body: &[u8], compression: Compression, max_bytes: usize) -> String {
        compression.inflate(body, max_bytes).unwrap_err().kind.into_owned()
    }

    #[test]
    fn what_celery_compressed_is_read_and_bounded() {
        for (compression, body) in captured() {
            let inflated = compression.inflate(&body, 100_000).unwrap();
            assert!(inflated.len() > 40, "{compression:?}");
            assert_eq!(compression.inflate(&body, inflated.len()).unwrap(), inflated);
            assert_eq!(kind(&body, compression, inflated.len() - 1), "DecodeError", "{compression:?}");
            assert_eq!(kind(&body[..body.len() / 2], compression, 100_000), "DecodeError", "{compression:?} cut");
            assert_eq!(kind(BODY, compression, 100_000), "DecodeError", "{compression:?} that is none");
            assert_eq!(kind(b"", compression, 100_000), "DecodeError", "{compression:?} of nothing");
        }
    }

    #[test]
    fn a_bomb_is_refused() {
        let zeros = vec![0; 50_000_000];
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        zlib.write_all(&zeros).unwrap();
        let zlib = zlib.finish().unwrap();
        assert!(zlib.len() < 100_000);
        assert_eq!(kind(&zlib, Compression::Zlib, 1000), "DecodeError");
        let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
        bzip2.write_all(&zeros).unwrap();
        assert_eq!(kind(&bzip2.finish().unwrap(), Compression::Bzip2, 1000), "DecodeError");
        // A frame of zstd that announces a window of 2 GiB, and one block of the same byte, repeated.
        let zstd = [0x28, 0xb5, 0x2f, 0xfd, 0, 21 << 3, 0x03, 0xff, 0xff, 0];
        assert_eq!(kind(&zstd, Compression::Zstd, 1000), "DecodeError");
    }

    #[test]
    fn only_the_names_that_kombu_has() {
        for name in ["", "GZIP", "application/gzip", "deflate", "br", "x-gzip"] {
            let refused = Compression::required(name).unwrap_err();
            assert_eq!((&*refused.module, &*refused.kind), ("kombu.exceptions", "ContentDisallowed"));
        }
        for name in ["zlib", "bzip", "xz", "brotli", "zstandard"] {
            assert!(Compression::required(name).is_ok(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_arrives_breaks_a_decoder(
            which in 0_usize..7,
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            max_bytes in 0_usize..5000,
        ) {
            let (compression, mut body) = captured().swap_remove(which);
            for (index, byte) in changes {
                let at = index.index(body.len());
                body[at] = byte;
            }
            if let Ok(inflated) = compression.inflate(&body, max_bytes) {
                prop_assert!(inflated.len() <= max_bytes);
            }
        }

        #[test]
        fn nor_do_bytes_of_any_kind(body in prop::collection::vec(any::<u8>(), 0..200)) {
            use Compression::*;
            for compression in [Zlib, Bzip2, Lzma, Brotli, Zstd] {
                if let Ok(inflated) = compression.inflate(&body, 1000) {
                    prop_assert!(inflated.len() <= 1000);
                }
            }
        }
    }
}
