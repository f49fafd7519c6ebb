//! What has to be read out of a certificate beyond what the TLS library tells: how it was signed (for channel binding), its
//! validity, its common name and whether it has alternative names.
//!
//! Format: DER of X.509 (RFC 5280). Only what is needed is walked; what is not as expected is `None`.

use std::time::Duration;

use ring::digest;

/// A tag and what it encloses.
#[derive(Clone, Copy)]
struct Node<'a> {
    tag: u8,
    body: &'a [u8],
}

const SEQUENCE: u8 = 0x30;
const OBJECT_ID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;

const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
/// `1.2.840.113549.1.1`, the signatures with RSA.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
/// `1.2.840.10045.4.3`, the signatures with ECDSA and a hash of the SHA-2 family.
const ECDSA_SHA2: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03];
/// `1.2.840.10045.4.1`.
const ECDSA_SHA1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01];

/// The first node of some bytes, and what follows it.
fn node(bytes: &[u8]) -> Option<(Node<'_>, &[u8])> {
    let (&[tag, first], rest) = bytes.split_first_chunk::<2>()?;
    let (length, rest) = match first {
        short @ 0..0x80 => (usize::from(short), rest),
        long => {
            let count = usize::from(long & 0x7f);
            // A certificate is no longer than 4 bytes can say; 0x80 alone is no DER.
            if !(1..=4).contains(&count) {
                return None;
            }
            let (digits, rest) = rest.split_at_checked(count)?;
            let length = digits.iter().fold(0_usize, |sum, digit| sum << 8 | usize::from(*digit));
            (length, rest)
        }
    };
    let (body, rest) = rest.split_at_checked(length)?;
    Some((Node { tag, body }, rest))
}

impl<'a> Node<'a> {
    fn children(self) -> impl Iterator<Item = Node<'a>> {
        let mut rest = self.body;
        std::iter::from_fn(move || {
            let (child, after) = node(rest)?;
            rest = after;
            Some(child)
        })
    }
}

/// A certificate, opened.
pub(super) struct Certificate<'a> {
    der: &'a [u8],
    signature_algorithm: &'a [u8],
    validity: Node<'a>,
    subject: Node<'a>,
    extensions: Option<Node<'a>>,
}

impl<'a> Certificate<'a> {
    pub(super) fn open(der: &'a [u8]) -> Option<Self> {
        let (whole, _) = node(der)?;
        let mut parts = whole.children();
        let body = parts.next().filter(|node| node.tag == SEQUENCE)?;
        let algorithm = parts.next()?.children().next().filter(|node| node.tag == OBJECT_ID)?;
        let mut fields = body.children().filter(|node| node.tag != VERSION);
        // Serial number, signature, issuer.
        let validity = fields.nth(3)?;
        let subject = fields.next()?;
        Some(Certificate {
            der,
            signature_algorithm: algorithm.body,
            validity,
            subject,
            extensions: fields.find(|node| node.tag == EXTENSIONS),
        })
    }

    /// `tls-server-end-point` of RFC 5929: the certificate's hash, by the hash of its signature, but SHA-256 for the weak ones.
    ///
    /// `None` where that RFC says nothing (Ed25519) or the hash is in parameters (RSA-PSS).
    pub(super) fn end_point(&self) -> Option<Vec<u8>> {
        let algorithm = self.signature_algorithm;
        let (family, last) = algorithm.split_at_checked(algorithm.len().checked_sub(1)?)?;
        let hash = match (family, last) {
            (RSA, [4 | 5 | 11]) | (ECDSA_SHA2, [2]) => &digest::SHA256,
            (RSA, [12]) | (ECDSA_SHA2, [3]) => &digest::SHA384,
            (RSA, [13]) | (ECDSA_SHA2, [4]) => &digest::SHA512,
            _ if algorithm == ECDSA_SHA1 => &digest::SHA256,
            _ => return None,
        };
        Some(digest::digest(hash, self.der).as_ref().to_vec())
    }

    /// Whether the moment, as time since 1970, lies within the validity.
    pub(super) fn is_valid_at(&self, now: Duration) -> bool {
        let Ok(now) = jiff::Timestamp::from_second(i64::try_from(now.as_secs()).unwrap_or(i64::MAX)) else {
            return false;
        };
        let now = now.strftime("%Y%m%d%H%M%S").to_string();
        let mut bounds = self.validity.children().map(moment);
        match (bounds.next().flatten(), bounds.next().flatten()) {
            (Some(from), Some(until)) => from <= now && now <= until,
            _ => false,
        }
    }

    /// The last common name of the subject.
    pub(super) fn common_name(&self) -> Option<&'a str> {
        let named = self
            .subject
            .children()
            .flat_map(Node::children)
            .filter_map(|attribute| {
                let mut parts = attribute.children();
                parts.next().filter(|oid| oid.body == COMMON_NAME)?;
                std::str::from_utf8(parts.next()?.body).ok()
            });
        named.last()
    }

    /// Whether it lists names of its own, beside which the common name does not count.
    pub(super) fn has_alternative_names(&self) -> bool {
        let extensions = self
            .extensions
            .into_iter()
            .flat_map(Node::children)
            .flat_map(Node::children);
        extensions
            .filter_map(|extension| extension.children().next())
            .any(|oid| oid.body == SUBJECT_ALT_NAME)
    }
}

/// `YYYYMMDDHHMMSS`, which compares as it is.
fn moment(time: Node<'_>) -> Option<String> {
    let text = std::str::from_utf8(time.body).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    match (time.tag, text.len()) {
        (GENERALIZED_TIME, 14) => Some(text.to_owned()),
        // Two digits of the year: 50 and later are of the last century.
        (UTC_TIME, 12) => Some(format!("{}{text}", if text >= "50" { "19" } else { "20" })),
        _ => None,
    }
}

/// Whether a common name covers a host: exactly, or `*.` for one label.
pub(super) fn name_covers(name: &str, host: &str) -> bool {
    let same = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
    match name.strip_prefix("*.") {
        Some(domain) => host
            .split_once('.')
            .is_some_and(|(label, rest)| !label.is_empty() && same(rest, domain)),
        None => same(name, host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_name_covers_itself_and_one_label_of_a_wildcard() {
        assert!(name_covers("db.example.org", "DB.example.org"));
        assert!(name_covers("*.example.org", "db.example.org"));
        for host in ["example.org", "a.db.example.org", ".example.org", "db.example.com"] {
            assert!(!name_covers("*.example.org", host), "{host}");
        }
        assert!(!name_covers("db.example.org", "db"));
    }

    #[test]
    fn damaged_certificates_are_none_and_never_panic() {
        for length in 0..40 {
            for first in [0x30, 0x00, 0xff] {
                let bytes: Vec<u8> = (0..length)
                    .map(|i| if i % 2 == 0 { first } else { 0x80 + i as u8 })
                    .collect();
                assert!(Certificate::open(&bytes).is_none());
            }
        }
    }
}
