//! API keys, known by their hashes.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use crate::api::TrafficPolicySpec;
use crate::api::policy::IdentitySource;
use crate::manifest::{Located, Manifests, Problem, suggest};

/// SHA-256 of a key.
type Hash = [u8; 32];

/// The tenants that keys belong to, by secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiKeys {
    secrets: BTreeMap<String, BTreeMap<Hash, String>>,
}

impl ApiKeys {
    /// The secrets that `policy` refers to.
    pub(in crate::admit) fn read(
        manifests: &Manifests,
        policy: &Located<TrafficPolicySpec>,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let mut keys = Self::default();
        let Some(identity) = &policy.spec().identity else { return keys };
        let lists =
            [("tenant", &identity.tenant), ("tier", &identity.tier), ("user", &identity.user)];
        for (field, sources) in lists {
            for (index, source) in sources.iter().enumerate() {
                let IdentitySource::ApiKey { secret_name, .. } = source else { continue };
                let path = format!("spec.identity.{field}[{index}].secretName");
                let secrets = &manifests.secrets;
                let Some(secret) = secrets.iter().find(|secret| secret.name == *secret_name) else {
                    let known = secrets.iter().map(|secret| secret.name.as_str());
                    let what = format!("there is no Secret `{secret_name}`");
                    let hint = suggest::hint(secret_name, known);
                    problems.push(policy.problem(&path, what).hint(hint));
                    continue;
                };
                let entries =
                    secret.entries.iter().map(|(key, text)| (key.as_str(), text.as_str()));
                for error in keys.add(secret_name, entries) {
                    let problem = policy.problem(&path, format!("Secret `{secret_name}`: {error}"));
                    let hint = "make it with: printf %s KEY | sha256sum";
                    problems.push(problem.expected("64 hexadecimal digits per line").hint(hint));
                }
            }
        }
        keys
    }

    /// Takes in a secret: under each tenant's name the SHA-256 of its keys in hexadecimal, one
    /// per line. Answers with what could not be read.
    pub fn add<'a>(
        &mut self,
        secret: &str,
        entries: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        let keys = self.secrets.entry(secret.to_owned()).or_default();
        for (tenant, text) in entries {
            for (line, written) in text.lines().map(str::trim).enumerate() {
                match hash_of(written) {
                    _ if written.is_empty() => (),
                    Some(hash) => {
                        keys.insert(hash, tenant.to_owned());
                    }
                    None => wrong.push(format!("`{tenant}`, line {}, is no SHA-256", line + 1)),
                }
            }
        }
        wrong
    }

    /// The tenant that a key belongs to; `key` may be a bearer token. Looking the hash up tells
    /// nobody how near a guess was.
    pub(super) fn owner(&self, secret: &str, key: &str) -> Option<&str> {
        let bearer = key.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("bearer "));
        let key = key[bearer.map_or(0, str::len)..].trim();
        let hash: Hash = Sha256::digest(key.as_bytes()).into();
        self.secrets.get(secret)?.get(&hash).map(String::as_str)
    }
}

/// Reads 64 hexadecimal digits.
fn hash_of(text: &str) -> Option<Hash> {
    let mut hash = [0; 32];
    let right = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !right {
        return None;
    }
    for (index, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(hash)
}
