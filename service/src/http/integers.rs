//! Integers that no 64 bits hold. `serde_json` reads them as floats, which rounds them: they are refused instead, each with its
//! place. Whoever means such a number sends it as text.

use super::{Faults, pointer};

/// Fewer digits than these always fit.
const DIGITS: usize = 19;

/// Where in the text reading is.
enum At {
    Key(String),
    Index(usize),
}

/// Adds a fault for each integer of `json`, which is known to be JSON, that is below -2^63 or above 2^64 - 1. A number with a
/// fraction or an exponent is a float by its form.
pub fn check(json: &[u8], faults: &mut Faults) {
    if !json.split(|byte| !byte.is_ascii_digit()).any(|digits| digits.len() >= DIGITS) {
        return;
    }
    let mut path: Vec<At> = Vec::new();
    let mut rest = json;
    while let Some(byte) = rest.first() {
        let length = match byte {
            b'"' => {
                let length = text(rest);
                // Before a colon it is a key; a text that is a value changes nothing that is looked at.
                if rest[length..].trim_ascii_start().first() == Some(&b':')
                    && let Some(At::Key(key)) = path.last_mut()
                {
                    *key = serde_json::from_slice(&rest[..length]).unwrap_or_default();
                }
                length
            }
            b'-' | b'0'..=b'9' => {
                let length = rest.iter().position(|byte| !is_of_a_number(*byte)).unwrap_or(rest.len());
                let number = std::str::from_utf8(&rest[..length]).unwrap_or_default();
                let integer = !number.contains(['.', 'e', 'E']);
                if integer && number.parse::<u64>().is_err() && number.parse::<i64>().is_err() {
                    faults.push(
                        place(&path),
                        "is an integer of more than 64 bits, which would be rounded: send it as text",
                    );
                }
                length
            }
            b'{' => {
                path.push(At::Key(String::new()));
                1
            }
            b'[' => {
                path.push(At::Index(0));
                1
            }
            b'}' | b']' => {
                path.pop();
                1
            }
            b',' => {
                if let Some(At::Index(index)) = path.last_mut() {
                    *index += 1;
                }
                1
            }
            _ => 1,
        };
        rest = &rest[length..];
    }
}

/// How long the text is that begins here, with its quotes.
fn text(json: &[u8]) -> usize {
    let mut escaped = false;
    for (at, byte) in json.iter().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    json.len()
}

fn is_of_a_number(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E')
}

fn place(path: &[At]) -> String {
    path.iter().fold(String::new(), |parent, at| match at {
        At::Key(key) => pointer::child(&parent, key),
        At::Index(index) => pointer::child(&parent, &index.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(json: &str) -> Vec<String> {
        let mut faults = Faults::new();
        check(json.as_bytes(), &mut faults);
        faults.into_result().map_or_else(
            |problem| problem.errors().iter().map(|fault| fault.pointer.clone()).collect(),
            |()| Vec::new(),
        )
    }

    #[test]
    fn an_integer_that_would_be_rounded_is_found_with_its_place() {
        for (json, places) in [
            (r#"{"a":18446744073709551615,"b":-9223372036854775808}"#, &[][..]),
            (r#"{"a":18446744073709551616}"#, &["/a"]),
            (r#"{"a":-9223372036854775809,"b":[1, {"c/~": [[], 99999999999999999999 ]}]}"#, &["/a", "/b/1/c~1~0/1"]),
            (r#"{"variables":{"n":123456789012345678901234567890}}"#, &["/variables/n"]),
            (r#"{"a":{"b":"18446744073709551616\"","\"c\"":18446744073709551616},"d":1}"#, &["/a/\"c\""]),
            (r#"{"18446744073709551616":0,"b":18446744073709551616.0,"c":1e30,"d":18446744073709551616e0}"#, &[]),
            ("340282366920938463463374607431768211456", &[""]),
        ] {
            assert_eq!(found(json), places, "{json}");
        }
    }
}
