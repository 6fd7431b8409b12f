//! Refuses JSON that says a thing in another way than the format does: what one reader takes and another refuses would
//! tear a ledger in two.
//!
//! What was read is written again, and must be what the bytes say: each of its fields with the very same value. Only fields
//! that this tool does not know may stand beside them. Wherever they stand, no key is there twice, nothing is `null`, strings are
//! Unicode, and nothing is nested deeper than [`DEPTH_MAX`].

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::io;

use serde::Serialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// Objects and lists may be nested this deep. The format's own are nested 9 deep at most.
const DEPTH_MAX: usize = 64;

/// Checks that `bytes` say what `read` does, unknown fields aside.
///
/// # Errors
/// What is said twice, in another way, or not at all.
pub(super) fn check<T: Serialize>(bytes: &[u8], read: &T) -> Result<(), serde_json::Error> {
    // Nearly everything is as this tool writes it.
    let mut same = Same { rest: bytes };
    if serde_json::to_writer(&mut same, read).is_ok() && same.rest.is_empty() {
        return Ok(());
    }
    let known = serde_json::to_value(read)?;
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let node = Node {
        known: Some(&known),
        depth: 0,
    };
    node.deserialize(&mut deserializer)?;
    deserializer.end()
}

/// Takes what is written as long as it is what `rest` begins with.
struct Same<'a> {
    rest: &'a [u8],
}

impl io::Write for Same<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.rest = self
            .rest
            .strip_prefix(bytes)
            .ok_or(io::ErrorKind::InvalidData)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A value of the bytes, and what it has to be; `None` in a field that is not known.
#[derive(Clone, Copy)]
struct Node<'k> {
    known: Option<&'k Value>,
    depth: usize,
}

impl<'k> Node<'k> {
    fn within(self, known: Option<&'k Value>) -> Self {
        let depth = self.depth + 1;
        Self { known, depth }
    }

    fn is<E: Error>(self, value: &Value) -> Result<(), E> {
        match self.known {
            Some(known) if known != value => {
                let known = known.to_string();
                let known: String = known.chars().take(80).collect();
                Err(E::custom(format_args!("the format spells it {known}")))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn enter<E: Error>(self) -> Result<(), E> {
        if self.depth >= DEPTH_MAX {
            return Err(E::custom("it is nested more than 64 deep"));
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, and not null")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.is(&value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.is(&value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.is(&value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.is(&value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        match self.known {
            Some(Value::String(known)) if known == value => Ok(()),
            Some(_) => self.is(&value.into()),
            None => Ok(()),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        self.enter()?;
        let known = match self.known {
            None => None,
            Some(Value::Array(known)) => Some(known),
            Some(_) => return self.is(&Value::Array(Vec::new())),
        };
        let mut at = 0;
        loop {
            let element = known.map(|known| known.get(at));
            if element == Some(None) {
                break;
            }
            if seq
                .next_element_seed(self.within(element.flatten()))?
                .is_none()
            {
                break;
            }
            at += 1;
        }
        if known.is_some_and(|known| known.len() != at)
            || seq.next_element_seed(self.within(None))?.is_some()
        {
            return Err(A::Error::custom("a list has another number of elements"));
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.enter()?;
        let known = match self.known {
            None => None,
            Some(Value::Object(known)) => Some(known),
            Some(_) => return self.is(&Value::Object(serde_json::Map::new())),
        };
        let mut keys: HashSet<Cow<'de, str>> = HashSet::new();
        let mut found = 0;
        while let Some(key) = map.next_key_seed(Key)? {
            let field = known.and_then(|known| known.get(key.as_ref()));
            found += usize::from(field.is_some());
            if !keys.insert(key.clone()) {
                return Err(A::Error::custom(format_args!("{key:?} is there twice")));
            }
            map.next_value_seed(self.within(field))?;
        }
        match known {
            Some(known) if known.len() != found => {
                let mut missing = known.keys().filter(|key| !keys.contains(key.as_str()));
                let missing = missing.next().cloned().unwrap_or_default();
                Err(A::Error::custom(format_args!("{missing:?} is missing")))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// A key, as it stands where it has no escapes.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E: Error>(self, key: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}
