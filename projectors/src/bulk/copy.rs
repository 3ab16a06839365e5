//! Rows as PostgreSQL takes them fastest: the binary format of `COPY` (PostgreSQL documentation, COPY, "Binary Format"; the
//! forms of values are those of the types' `recv` functions).

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use uuid::Uuid;

/// 2000-01-01 UTC, from which PostgreSQL counts, in microseconds since 1970.
const EPOCH_MICROS: i64 = 946_684_800_000_000;
/// The type `text`, as the elements of an array are announced.
const TEXT_OID: i32 = 25;
/// Each row begins with its number of columns, and a value with its length, -1 for null.
const NULL: i32 = -1;

/// Rows of one table.
#[derive(Debug, Default)]
pub struct Copy {
    bytes: Vec<u8>,
}

impl Copy {
    /// Begins a row of so many columns; their values follow.
    pub fn row(&mut self, columns: usize) -> Line<'_> {
        // No table has more than 1,600 columns.
        self.bytes.extend_from_slice(&i16::try_from(columns).unwrap_or(i16::MAX).to_be_bytes());
        Line { bytes: &mut self.bytes }
    }

    /// The rows, without what stands before and after all of them; and none are left.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// The values of the only row, each as it is written.
    pub fn values(&self) -> Vec<Option<&[u8]>> {
        let mut values = Vec::new();
        let mut rest = self.bytes.get(size_of::<i16>()..).unwrap_or_default();
        while let Some((length, after)) = rest.split_first_chunk() {
            let value =
                usize::try_from(i32::from_be_bytes(*length)).ok().and_then(|length| after.split_at_checked(length));
            values.push(value.map(|(value, _)| value));
            rest = value.map_or(after, |(_, rest)| rest);
        }
        values
    }

    /// How many bytes they are.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// What stands before all rows: signature, flags, no extension.
pub const HEAD: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What stands after them.
pub const TAIL: &[u8] = &[0xff, 0xff];

/// The values of one row, in the order of the columns.
#[derive(Debug)]
pub struct Line<'a> {
    bytes: &'a mut Vec<u8>,
}

impl Line<'_> {
    /// `uuid`
    pub fn uuid(&mut self, value: Uuid) -> &mut Self {
        self.value(value.as_bytes())
    }

    /// `uuid`, or null
    pub fn maybe_uuid(&mut self, value: Option<Uuid>) -> &mut Self {
        match value {
            Some(value) => self.uuid(value),
            None => self.null(),
        }
    }

    /// `text` and `json`
    pub fn text(&mut self, value: &str) -> &mut Self {
        self.value(value.as_bytes())
    }

    /// The same, or null.
    pub fn maybe_text(&mut self, value: Option<&str>) -> &mut Self {
        match value {
            Some(value) => self.text(value),
            None => self.null(),
        }
    }

    /// `text[]`
    pub fn texts(&mut self, values: &[String]) -> &mut Self {
        let mut array = Vec::new();
        let mut put = |number: i32| array.extend_from_slice(&number.to_be_bytes());
        // Dimensions, whether there are nulls, the elements' type, and for the one dimension its length and its first index.
        put(i32::from(!values.is_empty()));
        put(0);
        put(TEXT_OID);
        if !values.is_empty() {
            put(length(values.len()));
            put(1);
        }
        for value in values {
            array.extend_from_slice(&length(value.len()).to_be_bytes());
            array.extend_from_slice(value.as_bytes());
        }
        self.value(&array)
    }

    /// `boolean`
    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.value(&[u8::from(value)])
    }

    /// `integer`
    pub fn int(&mut self, value: i32) -> &mut Self {
        self.value(&value.to_be_bytes())
    }

    /// `bigint`
    pub fn long(&mut self, value: i64) -> &mut Self {
        self.value(&value.to_be_bytes())
    }

    /// `bigint`, or null
    pub fn maybe_long(&mut self, value: Option<i64>) -> &mut Self {
        match value {
            Some(value) => self.long(value),
            None => self.null(),
        }
    }

    /// `timestamptz`
    pub fn time(&mut self, value: DateTime<Utc>) -> &mut Self {
        self.long(value.timestamp_micros() - EPOCH_MICROS)
    }

    /// `date`, which PostgreSQL counts in days since 2000.
    pub fn date(&mut self, value: chrono::NaiveDate) -> &mut Self {
        let days =
            value.signed_duration_since(chrono::NaiveDate::from_ymd_opt(2000, 1, 1).unwrap_or_default()).num_days();
        self.int(i32::try_from(days).unwrap_or(i32::MAX))
    }

    /// `timestamptz`, or null
    pub fn maybe_time(&mut self, value: Option<DateTime<Utc>>) -> &mut Self {
        match value {
            Some(value) => self.time(value),
            None => self.null(),
        }
    }

    /// `numeric`, or null
    pub fn maybe_numeric(&mut self, value: Option<Decimal>) -> &mut Self {
        match value {
            Some(value) => self.value(&numeric(value)),
            None => self.null(),
        }
    }

    /// Null, of any type.
    pub fn null(&mut self) -> &mut Self {
        self.bytes.extend_from_slice(&NULL.to_be_bytes());
        self
    }

    fn value(&mut self, value: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(&length(value.len()).to_be_bytes());
        self.bytes.extend_from_slice(value);
        self
    }
}

/// A length as it is written; what is longer PostgreSQL does not take anyway.
fn length(length: usize) -> i32 {
    i32::try_from(length).unwrap_or(i32::MAX)
}

/// Number of digits to the base 10,000, weight of the first, sign, digits after the point, then the digits.
fn numeric(value: Decimal) -> Vec<u8> {
    let scale = value.scale();
    // Whole groups of four digits after the point.
    let padding = (4 - scale % 4) % 4;
    let mut rest = value.mantissa().unsigned_abs();
    let mut digits: Vec<u16> = Vec::new();
    // The last group takes fewer of the mantissa's digits, so that nothing overflows.
    let first = 10_u128.pow(4 - padding);
    let group = |digits: u128| u16::try_from(digits).unwrap_or(0);
    digits.push(group(rest % first * 10_u128.pow(padding)));
    rest /= first;
    while rest > 0 {
        digits.push(group(rest % 10_000));
        rest /= 10_000;
    }
    digits.reverse();
    let after_point = (scale + padding) / 4;
    let weight = i32::try_from(digits.len()).unwrap_or(0) - 1 - i32::try_from(after_point).unwrap_or(0);
    let skip = digits.iter().take_while(|digit| **digit == 0).count();
    let kept = &digits[skip..];
    let weight = if kept.is_empty() { 0 } else { weight - i32::try_from(skip).unwrap_or(0) };
    let short = |number: i32| i16::try_from(number).unwrap_or(0).to_be_bytes();
    let sign: u16 = if value.is_sign_negative() && !value.is_zero() { 0x4000 } else { 0 };
    let mut bytes = Vec::with_capacity(8 + kept.len() * 2);
    bytes.extend_from_slice(&short(length(kept.len())));
    bytes.extend_from_slice(&short(weight));
    bytes.extend_from_slice(&sign.to_be_bytes());
    bytes.extend_from_slice(&u16::try_from(scale).unwrap_or(0).to_be_bytes());
    for digit in kept {
        bytes.extend_from_slice(&digit.to_be_bytes());
    }
    bytes
}
