//! The name in a certificate.
//!
//! The first URI among its alternative names (as SPIFFE has it), else the first DNS name, else the
//! common name of its subject, which private authorities still use for clients.

use rustls_pki_types::CertificateDer;
use webpki::EndEntityCert;

const TAG_SET: u8 = 0x31;
const TAG_SEQUENCE: u8 = 0x30;
const TAG_OID: u8 = 0x06;
const TAG_UTF8: u8 = 0x0c;
const TAG_PRINTABLE: u8 = 0x13;
/// `id-at-commonName`, 2.5.4.3.
const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];

/// The name of a client, if its certificate has one. The certificate must have been verified.
pub(super) fn of(certificate: &CertificateDer<'_>) -> Option<String> {
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    let alternative = certificate.valid_uri_names().next();
    let alternative = alternative.or_else(|| certificate.valid_dns_names().next());
    alternative.or_else(|| common_name(certificate.subject())).map(str::to_owned)
}

/// The common name of a subject (the content of an X.501 `RDNSequence`). Of two, nobody knows
/// which one counts.
fn common_name(mut subject: &[u8]) -> Option<&str> {
    let mut found = None;
    while let Some((TAG_SET, mut set, rest)) = element(subject) {
        subject = rest;
        while let Some((TAG_SEQUENCE, pair, rest)) = element(set) {
            set = rest;
            let Some((TAG_OID, oid, value)) = element(pair) else { return None };
            if oid != COMMON_NAME {
                continue;
            }
            let Some((TAG_UTF8 | TAG_PRINTABLE, text, _)) = element(value) else { return None };
            if found.replace(text).is_some() {
                return None;
            }
        }
    }
    std::str::from_utf8(found?).ok().filter(|name| !name.is_empty())
}

/// The first element of some DER: its tag, its content, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (length, content) = match der.get(1..)? {
        [short @ 0..=0x7f, content @ ..] => (usize::from(*short), content),
        [0x81, length, content @ ..] => (usize::from(*length), content),
        [0x82, high, low, content @ ..] => {
            (usize::from(u16::from_be_bytes([*high, *low])), content)
        }
        // A name of 64 KiB is none.
        _ => return None,
    };
    let (content, rest) = content.split_at_checked(length)?;
    Some((der[0], content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    fn name(alternatives: Vec<SanType>, common: &[&str]) -> Option<String> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = alternatives;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Org");
        for name in common {
            params.distinguished_name.push(DnType::CommonName, *name);
        }
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        of(made.der())
    }

    #[test]
    fn a_uri_goes_before_a_dns_name_before_the_common_name() {
        let uri = || SanType::URI("spiffe://prod/worker".try_into().unwrap());
        let dns = || SanType::DnsName("worker.example".try_into().unwrap());
        let is = |name: Option<String>, expected: &str| assert_eq!(name.as_deref(), Some(expected));
        is(name(vec![dns(), uri()], &["worker"]), "spiffe://prod/worker");
        is(name(vec![dns()], &["worker"]), "worker.example");
        is(name(Vec::new(), &["worker"]), "worker");
        assert_eq!(name(Vec::new(), &[]), None);
    }

    #[test]
    fn what_is_no_subject_has_no_name() {
        for nonsense in [&[][..], &[0x31], &[0x31, 0x05, 0x30], &[0x31, 0x84, 1, 1, 1, 1]] {
            assert_eq!(common_name(nonsense), None);
        }
        let pair = [0x30, 0x0a, 0x06, 0x03, 0x55, 0x04, 0x03, 0x0c, 0x03, b'o', b'n', b'e'];
        let one: Vec<u8> = [&[0x31, 0x0c][..], &pair].concat();
        assert_eq!(common_name(&one), Some("one"));
        assert_eq!(common_name(&[one.clone(), one].concat()), None, "two count as none");
    }
}
