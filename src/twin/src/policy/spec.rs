//! SPEC: how a policy and its tunables are written on one line.
//!
//! `name[:key=value,...]`, or `exec:COMMAND`. Lists inside a value are separated by `|`, so that
//! a comma always ends a value. Spans are written `15s`, `500ms`, `5m`, `1h` (or plain seconds).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use forebay_core::fleet::World;

use super::common::{Common, apply_bounds};
use super::error::{SpecError, did_you_mean};
use super::keys::Keys;
use super::registry;

/// A policy by name with the tunables that were given; everything else has its default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicySpec {
    name: String,
    settings: BTreeMap<String, String>,
}

/// The key whose value is the rest of the SPEC: a command may contain commas.
const COMMAND: &str = "command";

impl PolicySpec {
    /// Reads a SPEC. Only its form and its name are checked here; keys and values are checked
    /// against a world by [`PolicySpec::parameters`], [`PolicySpec::apply`] and
    /// [`super::build`].
    ///
    /// # Errors
    /// An unknown name, a key without value, a key given twice.
    pub fn parse(text: &str) -> Result<Self, SpecError> {
        let text = text.trim();
        let (name, rest) = text.split_once(':').unwrap_or((text, ""));
        let known = super::NAMES.iter().map(|(name, _)| *name);
        if !known.clone().any(|known| known == name) {
            let hint = did_you_mean(name, known.clone()).unwrap_or_else(|| {
                format!("known policies: {}", known.collect::<Vec<_>>().join(", "))
            });
            return Err(SpecError::new(text, format!("unknown policy `{name}`"), hint));
        }
        let mut spec = Self { name: name.to_owned(), settings: BTreeMap::new() };
        if name == "exec" {
            spec.parse_exec(text, rest)?;
        } else {
            for setting in rest.split(',').filter(|setting| !setting.trim().is_empty()) {
                spec.parse_setting(text, setting)?;
            }
        }
        Ok(spec)
    }

    fn parse_setting(&mut self, text: &str, setting: &str) -> Result<(), SpecError> {
        let (key, value) = setting.split_once('=').ok_or_else(|| {
            let what = format!("`{setting}` is not key=value");
            SpecError::new(text, what, "write for instance `hpa:metric=running,target=16`")
        })?;
        let (key, value) = (key.trim(), value.trim());
        if key.is_empty() || value.is_empty() {
            let what =
                format!("`{setting}` lacks its {}", if key.is_empty() { "key" } else { "value" });
            return Err(SpecError::new(text, what, "write key=value, or leave the key out"));
        }
        if self.settings.insert(key.to_owned(), value.to_owned()).is_some() {
            let what = format!("key `{key}` is given twice");
            return Err(SpecError::new(text, what, "keep one of them"));
        }
        Ok(())
    }

    /// `exec:python3 policy.py`, or settings that end with `command=` and the rest of the line.
    fn parse_exec(&mut self, text: &str, mut rest: &str) -> Result<(), SpecError> {
        while let Some((key, after)) = rest.split_once('=') {
            let key = key.trim();
            if key == COMMAND || !registry::is_exec_key(key) {
                break;
            }
            let (value, next) = after.split_once(',').unwrap_or((after, ""));
            self.parse_setting(text, &format!("{key}={value}"))?;
            rest = next;
        }
        let rest = rest.trim();
        let command = rest.strip_prefix("command=").unwrap_or(rest).trim();
        if command.is_empty() {
            let hint =
                "write `exec:python3 policy.py` or `exec:interval=30s,command=python3 policy.py`";
            return Err(SpecError::new(text, "no command", hint));
        }
        self.settings.insert(COMMAND.to_owned(), command.to_owned());
        Ok(())
    }

    /// Name of the policy.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value that was given for a key; `None` = its default is in force.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.settings.get(key).map(String::as_str)
    }

    /// The same policy with one tunable set.
    #[must_use]
    pub fn with(&self, key: &str, value: impl ToString) -> Self {
        let mut changed = self.clone();
        changed.settings.insert(key.to_owned(), value.to_string());
        changed
    }

    /// Keys that were given, in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.settings.keys().map(String::as_str)
    }

    /// Which gate to run it with: `gate=`, else the one that the policy's signals need.
    #[must_use]
    pub fn gate(&self) -> &str {
        self.get("gate").unwrap_or_else(|| registry::default_gate(self))
    }

    /// The gate's own tunables: every `gate.KEY`, without its prefix.
    #[must_use]
    pub fn gate_settings(&self) -> BTreeMap<String, String> {
        let settings = self.settings.iter();
        settings
            .filter_map(|(key, value)| Some((key.strip_prefix("gate.")?.to_owned(), value.clone())))
            .collect()
    }

    /// Every tunable of the policy with the value in force, defaults included. The gate's own
    /// tunables are reported by the gate.
    ///
    /// # Errors
    /// An unknown key, a value out of range, a variant that is not there.
    pub fn parameters(&self, world: &World) -> Result<BTreeMap<String, String>, SpecError> {
        registry::prepare(self, world).map(|(_, parameters)| parameters)
    }

    /// Changes the world as the SPEC says: engine limits (`engine.*`), which variants may be used
    /// (`variants=`), bounds and the starting fleet (`min=`, `max=`, `initial=`).
    ///
    /// # Errors
    /// As [`PolicySpec::parameters`].
    pub fn apply(&self, world: &mut World) -> Result<(), SpecError> {
        let mut keys = Keys::new(self);
        Common::read(&mut keys, world)?.apply(world);
        if self.get("file").is_some() {
            // The bounds of the user's own objects.
            for (group, settings, _) in registry::autoscalers_of(self, world)? {
                apply_bounds(&group, world, settings.min, settings.max, None);
            }
        }
        Ok(())
    }
}

impl FromStr for PolicySpec {
    type Err = SpecError;
    fn from_str(text: &str) -> Result<Self, SpecError> {
        Self::parse(text)
    }
}

impl fmt::Display for PolicySpec {
    /// The canonical SPEC: keys in order, a command last. It reads back as the same policy.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)?;
        let mut separator = ':';
        for (key, value) in self.settings.iter().filter(|(key, _)| *key != COMMAND) {
            write!(formatter, "{separator}{key}={value}")?;
            separator = ',';
        }
        match self.settings.get(COMMAND) {
            Some(command) if separator == ':' => write!(formatter, ":{command}"),
            Some(command) => write!(formatter, ",command={command}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reread(text: &str) -> String {
        let spec = PolicySpec::parse(text).unwrap();
        let printed = spec.to_string();
        assert_eq!(PolicySpec::parse(&printed).unwrap(), spec);
        printed
    }

    #[test]
    fn a_canonical_spec_reads_back_as_itself() {
        assert_eq!(reread("static"), "static");
        assert_eq!(reread(" hpa: target=16 ,metric=running"), "hpa:metric=running,target=16");
        assert_eq!(reread("exec:python3 a.py --x=1,2"), "exec:python3 a.py --x=1,2");
        let exec = "exec:interval=30s,timeout=5,command=python3 a.py --x=1,2";
        assert_eq!(reread(exec), exec);
    }

    #[test]
    fn errors_say_what_and_how_to_mend_it() {
        let message = |text| PolicySpec::parse(text).unwrap_err().to_string();
        assert_eq!(
            message("hpaa:target=1"),
            "policy `hpaa:target=1`: unknown policy `hpaa`; did you mean `hpa`?"
        );
        assert!(message("frobnicate").contains("known policies: static, hpa"));
        assert!(message("hpa:target").contains("`target` is not key=value"));
        assert!(message("hpa:target=").contains("lacks its value"));
        assert!(message("hpa:min=1,min=2").contains("`min` is given twice"));
        assert!(message("exec:interval=30").contains("no command"));
    }

    #[test]
    fn gate_settings_lose_their_prefix() {
        let spec = PolicySpec::parse("hpa:gate=stock-flow,gate.ttl=60s,target=3").unwrap();
        assert_eq!(spec.gate(), "stock-flow");
        assert_eq!(spec.gate_settings(), BTreeMap::from([("ttl".to_owned(), "60s".to_owned())]));
        assert_eq!(spec.with("target", 4).get("target"), Some("4"));
    }
}
