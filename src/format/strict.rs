//! Refuses JSON that says a thing in another way than the format does: what one reader takes and another refuses would
//! tear a ledger in two.
//!
//! What was read is written again, and each field of the bytes must have the very same value there. Only fields that this tool
//! does not know may stand beside them; that none is missing was found when they were read. Wherever they stand, no key is there twice, nothing is `null`, strings are
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

/// A list that may be too long to be written again at once: its key in the outermost object, and each of its elements.
pub(super) type Long<'a> = (&'a str, &'a dyn Fn(usize) -> Option<Value>);

/// Checks that `bytes` say what `read` does, unknown fields aside.
///
/// # Errors
/// What is said twice, in another way, or not at all.
pub(super) fn check<T: Serialize>(bytes: &[u8], read: &T) -> Result<(), serde_json::Error> {
    if is_same(bytes, read) {
        return Ok(());
    }
    walk(bytes, Known::Is(&serde_json::to_value(read)?))
}

/// As [`check`], element by element of some lists: `rest` is what was read without them.
///
/// # Errors
/// As [`check`].
pub(super) fn check_long<T: Serialize>(
    bytes: &[u8],
    read: &T,
    rest: &T,
    lists: &[Long<'_>],
) -> Result<(), serde_json::Error> {
    if is_same(bytes, read) {
        return Ok(());
    }
    let mut rest = serde_json::to_value(rest)?;
    if let Value::Object(fields) = &mut rest {
        for (key, _) in lists {
            fields.remove(*key);
        }
    }
    walk(bytes, Known::Long(&rest, lists))
}

/// Whether bytes are as this tool writes them: nearly all are.
fn is_same<T: Serialize>(bytes: &[u8], read: &T) -> bool {
    let mut same = Same { rest: bytes };
    serde_json::to_writer(&mut same, read).is_ok() && same.rest.is_empty()
}

fn walk(bytes: &[u8], known: Known<'_>) -> Result<(), serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    Node { known, depth: 0 }.deserialize(&mut deserializer)?;
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

/// What a value of the bytes has to be.
#[derive(Clone, Copy)]
enum Known<'k> {
    /// Anything: it is in a field that is not known.
    Any,
    Is(&'k Value),
    /// An object without some lists, and these.
    Long(&'k Value, &'k [Long<'k>]),
    /// A list of these elements.
    Each(&'k dyn Fn(usize) -> Option<Value>),
}

#[derive(Clone, Copy)]
struct Node<'k> {
    known: Known<'k>,
    depth: usize,
}

impl<'k> Node<'k> {
    fn within(self, known: Known<'k>) -> Self {
        let depth = self.depth + 1;
        Self { known, depth }
    }

    fn is<E: Error>(self, value: &Value) -> Result<(), E> {
        match self.known {
            Known::Any => Ok(()),
            Known::Is(known) if known == value => Ok(()),
            Known::Is(known) => {
                let known = known.to_string();
                let known: String = known.chars().take(80).collect();
                Err(E::custom(format_args!("the format spells it {known}")))
            }
            Known::Long(..) | Known::Each(_) => Err(E::custom("it is of another type")),
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
            Known::Is(Value::String(known)) if known == value => Ok(()),
            Known::Any => Ok(()),
            Known::Is(_) | Known::Long(..) | Known::Each(_) => self.is(&value.into()),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        self.enter()?;
        let each: &dyn Fn(usize) -> Option<Value>;
        let of_known;
        match self.known {
            Known::Any => {
                while seq.next_element_seed(self.within(Known::Any))?.is_some() {}
                return Ok(());
            }
            Known::Is(Value::Array(known)) => {
                of_known = |at| known.get(at).cloned();
                each = &of_known;
            }
            Known::Each(elements) => each = elements,
            Known::Is(_) | Known::Long(..) => return self.is(&Value::Array(Vec::new())),
        }
        let other_number = || A::Error::custom("a list has another number of elements");
        let mut at = 0;
        loop {
            let element = each(at);
            let known = element.as_ref().map_or(Known::Any, Known::Is);
            let depth = self.depth + 1;
            let found = seq.next_element_seed(Node { known, depth })?;
            match (found, element) {
                (Some(()), Some(_)) => at += 1,
                (None, None) => return Ok(()),
                (Some(()), None) | (None, Some(_)) => return Err(other_number()),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.enter()?;
        let (known, lists): (Option<&serde_json::Map<String, Value>>, &[Long<'_>]) =
            match self.known {
                Known::Any => (None, &[]),
                Known::Is(Value::Object(known)) => (Some(known), &[]),
                Known::Long(Value::Object(known), lists) => (Some(known), lists),
                Known::Is(_) | Known::Long(..) | Known::Each(_) => {
                    return self.is(&Value::Object(serde_json::Map::new()));
                }
            };
        let mut keys: HashSet<Cow<'de, str>> = HashSet::new();
        while let Some(key) = map.next_key_seed(Key)? {
            let list = lists.iter().find(|(list, _)| *list == key);
            let field = known.and_then(|known| known.get(key.as_ref()));
            if !keys.insert(key.clone()) {
                return Err(A::Error::custom(format_args!("{key:?} is there twice")));
            }
            let field = match list {
                Some((_, each)) => Known::Each(*each),
                None => field.map_or(Known::Any, Known::Is),
            };
            map.next_value_seed(self.within(field))?;
        }
        Ok(())
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
