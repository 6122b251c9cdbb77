//! SHA-256 digests: the only algorithm by which content is checked here.

use oci_spec::image::{Digest, DigestAlgorithm};
use sha2::{Digest as _, Sha256};

/// `None` if `text` is not `sha256:` and 64 lower-case hexadecimal digits.
pub(super) fn parse(text: &str) -> Option<Digest> {
    Digest::try_from(text).ok().filter(is_supported)
}

pub(super) fn is_supported(digest: &Digest) -> bool {
    *digest.algorithm() == DigestAlgorithm::Sha256
}

/// The digest of `bytes`.
pub(super) fn of(bytes: &[u8]) -> Digest {
    from_hash(&Sha256::digest(bytes))
}

/// The digest whose 32 bytes are `hash`.
pub(super) fn from_hash(hash: &[u8]) -> Digest {
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    Digest::try_from(format!("sha256:{hex}")).expect("a SHA-256 hash has 64 hexadecimal digits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sha256_digests_are_supported() {
        assert_eq!(parse(of(b"a").as_ref()), Some(of(b"a")));
        let upper = of(b"a").to_string().to_uppercase();
        let sha512 = format!("sha512:{}", "ab".repeat(64));
        for bad in ["", "sha256:abc", "md5:abc", "../../etc", &upper, &sha512] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
