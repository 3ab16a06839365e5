//! Lists in pages, by an opaque cursor.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use poem_openapi::{
    Object,
    types::{ParseFromJSON, ToJSON, Type},
};
use serde::{Serialize, de::DeserializeOwned};

use super::Problem;

/// A part of a list.
#[derive(Debug, Clone, Object, Serialize)]
pub struct Page<T: Type + ParseFromJSON + ToJSON> {
    /// The items, newest first unless said otherwise.
    pub items: Vec<T>,
    /// To be given as `cursor` for the items after these; null at the end.
    pub next_cursor: Option<String>,
}

impl<T: Type + ParseFromJSON + ToJSON> Page<T> {
    /// A page out of `rows`, of which one more than `limit` was asked for: if it is there, the list goes on after the last
    /// item of the page, at what `place` says of it.
    pub fn of<C: Serialize>(mut rows: Vec<T>, limit: usize, place: impl Fn(&T) -> C) -> Result<Self, Problem> {
        let more = rows.len() > limit;
        rows.truncate(limit);
        let last = if more { rows.last() } else { None };
        let next_cursor = last.map(|row| cursor(&place(row))).transpose()?;
        Ok(Self { items: rows, next_cursor })
    }
}

/// An opaque cursor for a place in a list.
pub fn cursor(place: &impl Serialize) -> Result<String, Problem> {
    serde_json::to_vec(place).map(|json| BASE64_URL_SAFE_NO_PAD.encode(json)).map_err(Problem::internal)
}

/// The place that a cursor names; 422 for what we did not give out in this form.
pub fn place<C: DeserializeOwned>(cursor: Option<&str>) -> Result<Option<C>, Problem> {
    let Some(cursor) = cursor else { return Ok(None) };
    let place = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|json| serde_json::from_slice(&json).ok());
    place.map(Some).ok_or_else(|| Problem::invalid_parameter("cursor", "is not a cursor of this list"))
}

/// How many items a page may have: 1–100, by default 20.
pub fn limit(parameter: Option<i64>) -> Result<usize, Problem> {
    let limit = usize::try_from(parameter.unwrap_or(20)).ok().filter(|limit| (1..=100).contains(limit));
    limit.ok_or_else(|| Problem::invalid_parameter("limit", "must be 1 to 100"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_the_place_it_was_made_of() {
        let text = cursor(&(7, "id")).expect("a cursor");
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
        assert_eq!(place::<(i64, String)>(Some(&text)).expect("a place"), Some((7, "id".to_owned())));
        for wrong in ["", "e30", "!!", "eyJ4IjoxfQ=="] {
            assert_eq!(place::<(i64, String)>(Some(wrong)).expect_err("refused").status(), 422, "{wrong}");
        }
    }

    #[test]
    fn a_page_ends_with_a_cursor_only_if_there_is_more() {
        let page = Page::of(vec![3_i64, 2, 1], 2, |row| *row).expect("a page");
        assert_eq!((page.items, page.next_cursor), (vec![3, 2], Some(cursor(&2).expect("a cursor"))));
        let page = Page::of(vec![3_i64, 2], 2, |row| *row).expect("a page");
        assert_eq!(page.next_cursor, None);
    }

    #[test]
    fn a_page_has_1_to_100_items() {
        assert_eq!(limit(None).expect("default"), 20);
        for wrong in [0, -1, 101, i64::MAX] {
            assert_eq!(limit(Some(wrong)).expect_err("refused").status(), 422);
        }
    }
}
