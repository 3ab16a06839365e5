//! How long a provider wants to be left alone, wherever it says so.

use std::time::Duration;

use chrono::{DateTime, Utc};
use events::clock;
use reqwest::header::{HeaderMap, RETRY_AFTER};

/// As its headers say: `retry-after-ms`, else `Retry-After` (RFC 9110, 10.2.3) in seconds, of which it may say parts, or as a date.
pub(super) fn of(headers: &HeaderMap) -> Option<Duration> {
    let text = |value: Option<&reqwest::header::HeaderValue>| value?.to_str().ok().map(|text| text.trim().to_owned());
    let milliseconds = text(headers.get("retry-after-ms")).and_then(|text| seconds(&text, 1e-3));
    milliseconds.or_else(|| {
        let text = text(headers.get(RETRY_AFTER))?;
        seconds(&text, 1.0).or_else(|| until(&text, clock::now()))
    })
}

/// As its words say: `try again in 5.898s`, `1m2.5s`, `350ms` or `20 seconds`; or Google's `"retryDelay": "5s"`.
pub(super) fn told(words: &str) -> Option<Duration> {
    let words = words.to_ascii_lowercase();
    let begins =
        ["try again in ", "retry in ", "retry after ", "again after ", "\"retrydelay\": \"", "\"retrydelay\":\""];
    begins.iter().find_map(|begin| span(words.split_once(begin)?.1))
}

/// Numbers with their units, one after another; none where the text does not begin with one.
fn span(text: &str) -> Option<Duration> {
    let (mut rest, mut sum) = (text, None);
    loop {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, more) = rest.split_at(digits);
        let unit_of = more.trim_start();
        let letters = unit_of.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(unit_of.len());
        let (unit, after) = unit_of.split_at(letters);
        let scale = match unit {
            "ms" | "millisecond" | "milliseconds" => 1e-3,
            "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
            "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
            "h" | "hour" | "hours" => 3_600.0,
            _ => return sum,
        };
        let Some(part) = seconds(number.trim_end_matches('.'), scale) else { return sum };
        sum = Some(sum.unwrap_or_default() + part);
        rest = after.trim_start();
    }
}

/// So many of this unit.
fn seconds(number: &str, unit: f64) -> Option<Duration> {
    let number: f64 = number.parse().ok()?;
    // Rounded to a millisecond, as what is written in decimals is no sum of powers of two.
    let milliseconds = (number * unit * 1e3).round();
    Duration::try_from_secs_f64(milliseconds / 1e3).ok().filter(|wait| *wait <= Duration::from_hours(24 * 365))
}

/// How long from `now` until an HTTP date (RFC 9110, 5.6.7); nothing for one that is past.
fn until(date: &str, now: DateTime<Utc>) -> Option<Duration> {
    let date = DateTime::parse_from_rfc2822(date).ok()?;
    Some((date.to_utc() - now).to_std().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(named: &[(&'static str, &str)]) -> HeaderMap {
        named.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn headers_say_it_in_seconds_milliseconds_or_as_a_date() {
        for (named, milliseconds) in [
            (&[("retry-after", "7")][..], Some(7_000)),
            (&[("retry-after", "5.5")], Some(5_500)),
            (&[("retry-after-ms", "1250")], Some(1_250)),
            (&[("retry-after-ms", "250.4"), ("retry-after", "1")], Some(250)),
            (&[("retry-after-ms", "x"), ("retry-after", "1")], Some(1_000)),
            (&[("retry-after", "-7")], None),
            (&[("retry-after", "1e300")], None),
            (&[("retry-after", "NaN")], None),
            (&[], None),
        ] {
            assert_eq!(of(&headers(named)), milliseconds.map(Duration::from_millis), "{named:?}");
        }
        let now = DateTime::parse_from_rfc3339("2026-11-27T08:00:00Z").unwrap().to_utc();
        for (date, seconds) in
            [("Fri, 27 Nov 2026 08:00:09 GMT", Some(9)), ("Fri, 27 Nov 2026 07:59:00 GMT", Some(0)), ("soon", None)]
        {
            assert_eq!(until(date, now), seconds.map(Duration::from_secs), "{date}");
        }
    }

    #[test]
    fn words_say_it_as_people_do() {
        for (words, milliseconds) in [
            ("Rate limit reached. Please try again in 5.898s. Visit", Some(5_898)),
            ("Please try again in 1m2.5s.", Some(62_500)),
            ("Try again in 350ms", Some(350)),
            ("retry after 20 seconds.", Some(20_000)),
            ("Please retry in 1 minute 3 seconds", Some(63_000)),
            ("{\"retryDelay\": \"5s\"}", Some(5_000)),
            ("try again in a while", None),
            ("try again later", None),
            ("try again in 5 apples", None),
        ] {
            assert_eq!(told(words), milliseconds.map(Duration::from_millis), "{words}");
        }
    }
}
