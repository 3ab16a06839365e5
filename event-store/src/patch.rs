//! A field of a change: left out it stays, otherwise it is set (RFC 7396, JSON Merge Patch). One type for the request's body, the
//! command and the event.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a change says of a field.
///
/// Fields of this type are `#[serde(default, skip_serializing_if = "Patch::stays")]`. A field that may be empty is a
/// `Patch<Option<T>>`: null empties it. In a `Patch<T>` null is refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Patch<T> {
    /// It was left out.
    #[default]
    Stays,
    /// This.
    Set(T),
}

impl<T> Patch<T> {
    /// Whether the field stays as it is.
    pub fn stays(&self) -> bool {
        matches!(self, Self::Stays)
    }

    /// The field after the change.
    pub fn apply(self, field: &mut T) {
        if let Self::Set(value) = self {
            *field = value;
        }
    }

    /// The change that is left of this one where the field is `now`: none if it says what is so already.
    #[must_use]
    pub fn unless(self, now: &T) -> Self
    where
        T: PartialEq,
    {
        match self {
            Self::Set(value) if value != *now => Self::Set(value),
            _ => Self::Stays,
        }
    }

    /// What it is set to.
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Stays => None,
            Self::Set(value) => Some(value),
        }
    }

    /// The same with another value.
    pub fn map<U>(self, with: impl FnOnce(T) -> U) -> Patch<U> {
        match self {
            Self::Stays => Patch::Stays,
            Self::Set(value) => Patch::Set(with(value)),
        }
    }
}

impl<T: Serialize> Serialize for Patch<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value().serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self::Set)
    }
}

impl<T: JsonSchema> JsonSchema for Patch<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Change {
        #[serde(default, skip_serializing_if = "Patch::stays")]
        name: Patch<String>,
        #[serde(default, skip_serializing_if = "Patch::stays")]
        note: Patch<Option<String>>,
    }

    #[test]
    fn left_out_stays_null_empties_and_both_come_back() {
        let set = |text: &str| Patch::Set(text.to_owned());
        for (json, name, note) in [
            ("{}", Patch::Stays, Patch::Stays),
            (r#"{"note":null}"#, Patch::Stays, Patch::Set(None)),
            (r#"{"name":"a","note":"b"}"#, set("a"), set("b").map(Some)),
        ] {
            let change = Change { name, note };
            assert_eq!(serde_json::from_str::<Change>(json).unwrap(), change, "{json}");
            assert_eq!(serde_json::to_string(&change).unwrap(), json);
        }
        assert!(serde_json::from_str::<Change>(r#"{"name":null}"#).is_err(), "it cannot be empty");
    }

    #[test]
    fn what_is_so_already_is_no_change() {
        assert_eq!(Patch::Set(1).unless(&1), Patch::Stays);
        assert_eq!(Patch::Set(2).unless(&1), Patch::Set(2));
        let mut field = Some(1);
        Patch::Set(None).apply(&mut field);
        Patch::Stays.apply(&mut field);
        assert_eq!(field, None);
    }
}
