//! The text of a value as the server's output functions write it, from the binary form and back.
//!
//! The settings that change text are those that our connections pin: `DateStyle` ISO, `IntervalStyle` iso_8601, `TimeZone`
//! UTC, `extra_float_digits` above 0, `bytea_output` hex, `lc_monetary` C.

pub(crate) mod bits;
pub(crate) mod float;
mod geometric;
pub(crate) mod literal;
mod network;
mod text_search;

use std::fmt::Write;
use std::sync::Arc;

use bytes::{BufMut, BytesMut};

use self::literal::{Literal, read_array, read_hstore, read_row, write_element, write_part};
use super::date_time::{self, write_clock, write_date, write_timestamp, write_timetz};
use super::interval::Span;
use super::numeric;
use super::pg_type::numeric_typmod;
use super::wire_form::WireForm;
use super::{Kind, Misfit, PgType, Scalar};

/// Nesting of values; the server's own stack ends somewhere above.
const DEPTH_MAX: usize = 100;

const ROW_SPECIAL: &[u8] = b"(),";
const RANGE_SPECIAL: &[u8] = b"()[],";

const RANGE_EMPTY: u8 = 0x01;
const LOWER_INCLUSIVE: u8 = 0x02;
const UPPER_INCLUSIVE: u8 = 0x04;
const LOWER_INFINITE: u8 = 0x08;
const UPPER_INFINITE: u8 = 0x10;

fn utf8<'a>(bytes: &'a [u8], type_name: &str) -> Result<&'a str, Misfit> {
    std::str::from_utf8(bytes).map_err(|_| Misfit::new("text that is not UTF-8", format!("`{type_name}`")))
}

/// Writes the text of a value in binary form.
pub(crate) fn write_text(ty: &PgType, bytes: &[u8], out: &mut String) -> Result<(), Misfit> {
    write_nested(ty, bytes, out, 0)
}

fn write_nested(ty: &PgType, bytes: &[u8], out: &mut String, depth: usize) -> Result<(), Misfit> {
    if depth > DEPTH_MAX {
        return Err(Misfit::new("a value of more than 100 levels", "a column"));
    }
    match &ty.kind {
        Kind::Scalar(scalar) => write_scalar(*scalar, bytes, out),
        Kind::Enum(_) => {
            out.push_str(utf8(bytes, "enum")?);
            Ok(())
        }
        Kind::Domain { base, .. } => write_nested(base, bytes, out, depth + 1),
        Kind::Array(item) => write_array(item, bytes, out, depth),
        Kind::Composite(attributes) => {
            let mut form = WireForm::new(bytes, "record");
            let count = form.count(8)?;
            if count != attributes.len() {
                return Err(altered());
            }
            out.push('(');
            let mut part = String::new();
            for (i, attribute) in attributes.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                if form.u32()? != attribute.ty.oid {
                    return Err(altered());
                }
                if let Some(value) = form.value()? {
                    part.clear();
                    write_nested(&attribute.ty, value, &mut part, depth + 1)?;
                    write_part(&part, ROW_SPECIAL, out);
                }
            }
            out.push(')');
            form.end()
        }
        Kind::Range(subtype) => write_range(subtype, bytes, out, depth),
        Kind::Multirange(range) => {
            let Kind::Range(subtype) = &range.kind else {
                return Err(Misfit::malformed("multirange"));
            };
            let mut form = WireForm::new(bytes, "multirange");
            out.push('{');
            for i in 0..form.count(5)? {
                if i > 0 {
                    out.push(',');
                }
                let value = form.value()?.ok_or_else(|| form.malformed())?;
                write_range(subtype, value, out, depth + 1)?;
            }
            out.push('}');
            form.end()
        }
        Kind::ObjectName | Kind::Other => Err(Misfit::new(
            "a binary form that Highwater does not know",
            "text; read it as text",
        )),
    }
}

/// A composite type has other attributes than when the catalogue was read.
pub(crate) fn altered() -> Misfit {
    Misfit::new(
        "a row with other attributes",
        "the composite type as it was when the run began",
    )
}

fn write_array(item: &PgType, bytes: &[u8], out: &mut String, depth: usize) -> Result<(), Misfit> {
    let mut form = WireForm::new(bytes, "array");
    let header = ArrayHeader::read(&mut form)?;
    if header.lens.is_empty() {
        out.push_str("{}");
        return form.end();
    }
    if header.lower_bounds.iter().any(|bound| *bound != 1) {
        for (len, lower) in header.lens.iter().zip(&header.lower_bounds) {
            let upper = i64::from(*lower) + i64::from(*len) - 1;
            let _ = write!(out, "[{lower}:{upper}]");
        }
        out.push('=');
    }
    let mut part = String::new();
    // Elements are in row-major order: brackets open and close where an index of a dimension starts again.
    let total = header.total();
    for i in 0..total {
        if i > 0 {
            out.push(char::from(item.delimiter));
        }
        let mut size = 1;
        let opening = header
            .lens
            .iter()
            .rev()
            .take_while(|len| {
                size *= **len as usize;
                i % size == 0
            })
            .count();
        out.extend(std::iter::repeat_n('{', opening));
        match form.value()? {
            None => out.push_str("NULL"),
            Some(value) => {
                part.clear();
                write_nested(item, value, &mut part, depth + 1)?;
                write_element(&part, item.delimiter, out);
            }
        }
        let mut size = 1;
        let closing = header
            .lens
            .iter()
            .rev()
            .take_while(|len| {
                size *= **len as usize;
                (i + 1) % size == 0
            })
            .count();
        out.extend(std::iter::repeat_n('}', closing));
    }
    form.end()
}

/// The head of the binary form of an array: `dimensions i32, has_null i32, element oid, (length i32, lower bound i32) *`.
#[derive(Debug, Default)]
pub(crate) struct ArrayHeader {
    pub(crate) lens: Vec<i32>,
    pub(crate) lower_bounds: Vec<i32>,
}

impl ArrayHeader {
    pub(crate) fn read(form: &mut WireForm<'_>) -> Result<Self, Misfit> {
        let dimensions = form.i32()?;
        if !(0..=6).contains(&dimensions) {
            return Err(form.malformed());
        }
        form.i32()?;
        form.u32()?;
        let mut header = ArrayHeader::default();
        for _ in 0..dimensions {
            header.lens.push(form.i32()?);
            header.lower_bounds.push(form.i32()?);
        }
        // The server's own limit of elements; it also keeps the product from overflowing.
        let mut total = 1_i64;
        for len in &header.lens {
            total *= i64::from(*len);
            if *len < 0 || total > 1 << 28 {
                return Err(form.malformed());
            }
        }
        if total == 0 {
            header.lens.clear();
            header.lower_bounds.clear();
        }
        Ok(header)
    }

    pub(crate) fn total(&self) -> usize {
        if self.lens.is_empty() {
            return 0;
        }
        self.lens.iter().map(|len| *len as usize).product()
    }
}

fn write_range(subtype: &PgType, bytes: &[u8], out: &mut String, depth: usize) -> Result<(), Misfit> {
    let mut form = WireForm::new(bytes, "range");
    let flags = form.u8()?;
    if flags & RANGE_EMPTY != 0 {
        out.push_str("empty");
        return form.end();
    }
    let mut part = String::new();
    let mut bound = |form: &mut WireForm<'_>, out: &mut String| -> Result<(), Misfit> {
        let value = form.value()?.ok_or_else(|| form.malformed())?;
        part.clear();
        write_nested(subtype, value, &mut part, depth + 1)?;
        write_part(&part, RANGE_SPECIAL, out);
        Ok(())
    };
    out.push(if flags & LOWER_INCLUSIVE != 0 { '[' } else { '(' });
    if flags & LOWER_INFINITE == 0 {
        bound(&mut form, out)?;
    }
    out.push(',');
    if flags & UPPER_INFINITE == 0 {
        bound(&mut form, out)?;
    }
    out.push(if flags & UPPER_INCLUSIVE != 0 { ']' } else { ')' });
    form.end()
}

fn write_scalar(scalar: Scalar, bytes: &[u8], out: &mut String) -> Result<(), Misfit> {
    let mut form = WireForm::new(bytes, scalar.name());
    match scalar {
        scalar if scalar.is_plain_text() => out.push_str(utf8(form.rest(), scalar.name())?),
        scalar if scalar.is_versioned_text() => {
            if form.u8()? != 1 {
                return Err(form.malformed());
            }
            out.push_str(utf8(form.rest(), scalar.name())?);
        }
        Scalar::Bool => out.push(if form.u8()? != 0 { 't' } else { 'f' }),
        Scalar::Int2 => write_number(out, form.i16()?),
        Scalar::Int4 => write_number(out, form.i32()?),
        Scalar::Int8 => write_number(out, form.i64()?),
        Scalar::Oid | Scalar::Xid | Scalar::Cid => write_number(out, form.u32()?),
        Scalar::Xid8 => write_number(out, form.u64()?),
        Scalar::Float4 => float::write_f32(form.f32()?, out),
        Scalar::Float8 => float::write_f64(form.f64()?, out),
        Scalar::Numeric => return numeric::binary_to_text(form.rest(), out),
        Scalar::Money => write_money(form.i64()?, out),
        Scalar::Bytea => bits::write_hex(form.rest(), out),
        Scalar::Char => return bits::write_char(form.rest(), out),
        Scalar::Bit | Scalar::Varbit => return bits::write_bits(form.rest(), out),
        Scalar::Uuid => {
            let bytes = form.take(16)?.try_into().unwrap_or_default();
            let _ = write!(out, "{}", uuid::Uuid::from_bytes(bytes));
        }
        Scalar::Date => write_date(form.i32()?, out),
        Scalar::Time => write_clock(form.i64()?, out),
        Scalar::Timetz => write_timetz(form.i64()?, form.i32()?, out),
        Scalar::Timestamp => write_timestamp(form.i64()?, false, out),
        Scalar::Timestamptz => write_timestamp(form.i64()?, true, out),
        Scalar::Interval => Span::from_binary(form.rest())?.write(out),
        Scalar::Inet => return network::write_address(form.rest(), false, out),
        Scalar::Cidr => return network::write_address(form.rest(), true, out),
        Scalar::Macaddr | Scalar::Macaddr8 => {
            network::write_mac(form.take(if scalar == Scalar::Macaddr { 6 } else { 8 })?, out);
        }
        Scalar::PgLsn => {
            let lsn = form.u64()?;
            let _ = write!(out, "{:X}/{:X}", lsn >> 32, lsn & 0xffff_ffff);
        }
        Scalar::Tid => {
            let (block, offset) = (form.u32()?, form.u16()?);
            let _ = write!(out, "({block},{offset})");
        }
        Scalar::Point | Scalar::Line | Scalar::Lseg | Scalar::Box | Scalar::Path | Scalar::Polygon | Scalar::Circle => {
            return geometric::write(scalar, form.rest(), out);
        }
        Scalar::Tsvector => return text_search::write_vector(form.rest(), out),
        Scalar::Tsquery => return text_search::write_query(form.rest(), out),
        Scalar::TxidSnapshot | Scalar::PgSnapshot => {
            let count = form.count(8)?;
            let (xmin, xmax) = (form.u64()?, form.u64()?);
            let _ = write!(out, "{xmin}:{xmax}:");
            for i in 0..count {
                let _ = write!(out, "{}{}", if i == 0 { "" } else { "," }, form.u64()?);
            }
        }
        Scalar::Int2Vector | Scalar::OidVector => {
            let header = ArrayHeader::read(&mut form)?;
            for i in 0..header.total() {
                let value = form.value()?.ok_or_else(|| form.malformed())?;
                let mut value = WireForm::new(value, scalar.name());
                out.push_str(if i == 0 { "" } else { " " });
                if scalar == Scalar::OidVector {
                    write_number(out, value.u32()?);
                } else {
                    write_number(out, value.i16()?);
                }
            }
        }
        Scalar::Hstore => {
            for i in 0..form.count(8)? {
                let key = form.value()?.ok_or_else(|| form.malformed())?;
                out.push_str(if i == 0 { "" } else { ", " });
                write_hstore_text(utf8(key, "hstore")?, out);
                out.push_str("=>");
                match form.value()? {
                    None => out.push_str("NULL"),
                    Some(value) => write_hstore_text(utf8(value, "hstore")?, out),
                }
            }
        }
        Scalar::Vector => {
            let dimensions = form.u16()?;
            form.u16()?;
            out.push('[');
            for i in 0..dimensions {
                out.push_str(if i == 0 { "" } else { "," });
                float::write_f32(form.f32()?, out);
            }
            out.push(']');
        }
        _ => return Err(form.malformed()),
    }
    form.end()
}

fn write_number(out: &mut String, number: impl std::fmt::Display) {
    // Writing to a string does not fail.
    let _ = write!(out, "{number}");
}

fn write_hstore_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
}

/// As in the locale C: `-$1,234.56`.
fn write_money(cents: i64, out: &mut String) {
    out.push_str(if cents < 0 { "-$" } else { "$" });
    let cents = cents.unsigned_abs();
    let whole = (cents / 100).to_string();
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    let _ = write!(out, ".{:02}", cents % 100);
}

/// Cents of a `money` text; also takes a plain decimal.
pub(crate) fn money_from_text(text: &str) -> Result<i64, Misfit> {
    let malformed = || Misfit::new("a value that is not written as in the locale C", "`money`");
    let (is_negative, unsigned) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let unsigned = unsigned.strip_prefix('$').unwrap_or(unsigned);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "00"));
    let mut cents = 0_i128;
    let digits = whole.bytes().filter(|byte| *byte != b',').chain(fraction.bytes());
    for digit in digits {
        let digit = digit.is_ascii_digit().then(|| digit - b'0').ok_or_else(malformed)?;
        cents = cents
            .checked_mul(10)
            .and_then(|cents| cents.checked_add(i128::from(digit)))
            .ok_or_else(malformed)?;
    }
    if fraction.len() != 2 || whole.is_empty() {
        return Err(malformed());
    }
    i64::try_from(if is_negative { -cents } else { cents }).map_err(|_| malformed())
}

/// Writes the binary form of a value in text, without its length. Takes what the server writes, and for scalars the usual
/// other spellings.
pub(crate) fn write_binary(ty: &Arc<PgType>, typmod: i32, text: &str, out: &mut BytesMut) -> Result<(), Misfit> {
    match &ty.kind {
        Kind::Scalar(scalar) => scalar_to_binary(*scalar, typmod, text, out),
        Kind::Enum(labels) => {
            if !labels.iter().any(|label| label == text) {
                return Err(Misfit::new(
                    "a value that is none of the labels",
                    format!("enum `{}`", ty.name),
                ));
            }
            out.put_slice(text.as_bytes());
            Ok(())
        }
        Kind::Domain { .. } => {
            let (base, typmod) = ty.resolve(typmod);
            write_binary(&base, typmod, text, out)
        }
        Kind::Array(item) => array_to_binary(item, typmod, text, out),
        Kind::Composite(attributes) => {
            out.put_i32(attributes.len() as i32);
            let count = read_row(text, |i, part| {
                let attribute = attributes.get(i).ok_or_else(altered)?;
                out.put_u32(attribute.ty.oid);
                put_value(out, part, |part, out| {
                    write_binary(&attribute.ty, attribute.typmod, part, out)
                })
            })?;
            if count == attributes.len() {
                Ok(())
            } else {
                Err(altered())
            }
        }
        Kind::Range(subtype) => {
            let mut literal = Literal::new(text, "range");
            range_to_binary(subtype, &mut literal, out)?;
            if literal.is_at_end() {
                Ok(())
            } else {
                Err(literal.malformed())
            }
        }
        Kind::Multirange(range) => multirange_to_binary(range, text, out),
        Kind::ObjectName | Kind::Other => Err(Misfit::new(
            "a binary form that Highwater does not know",
            format!("`{}`", ty.name),
        )),
    }
}

/// Writes a length and what `write` writes; -1 for NULL.
pub(crate) fn put_value<T: ?Sized>(
    out: &mut BytesMut,
    value: Option<&T>,
    write: impl FnOnce(&T, &mut BytesMut) -> Result<(), Misfit>,
) -> Result<(), Misfit> {
    let start = out.len();
    out.put_i32(-1);
    if let Some(value) = value {
        write(value, out)?;
        set_len(out, start);
    }
    Ok(())
}

/// Puts the length of what follows into the four bytes at `start`.
pub(crate) fn set_len(out: &mut BytesMut, start: usize) {
    let len = (out.len() - start - 4) as i32;
    out[start..start + 4].copy_from_slice(&len.to_be_bytes());
}

fn array_to_binary(item: &Arc<PgType>, typmod: i32, text: &str, out: &mut BytesMut) -> Result<(), Misfit> {
    let mut body = BytesMut::new();
    let mut has_null = false;
    let shape = read_array(text, item.delimiter, |element| {
        has_null |= element.is_none();
        put_value(&mut body, element, |element, out| {
            write_binary(item, typmod, element, out)
        })
    })?;
    put_array_header(item.oid, has_null, &shape.lens, &shape.lower_bounds, out);
    out.put_slice(&body);
    Ok(())
}

pub(crate) fn put_array_header(item: u32, has_null: bool, lens: &[i32], lower_bounds: &[i32], out: &mut BytesMut) {
    out.put_i32(lens.len() as i32);
    out.put_i32(i32::from(has_null));
    out.put_u32(item);
    for (len, lower) in lens.iter().zip(lower_bounds) {
        out.put_i32(*len);
        out.put_i32(*lower);
    }
}

fn range_to_binary(subtype: &Arc<PgType>, literal: &mut Literal<'_>, out: &mut BytesMut) -> Result<(), Misfit> {
    let at = out.len();
    out.put_u8(RANGE_EMPTY);
    let mut scratch = String::new();
    let mut flags = match literal.peek() {
        Some(b'[') => LOWER_INCLUSIVE,
        Some(b'(') => 0,
        _ => {
            literal.part(b",}", &mut scratch)?;
            return if scratch == "empty" {
                Ok(())
            } else {
                Err(literal.malformed())
            };
        }
    };
    literal.next();
    let mut bound = |literal: &mut Literal<'_>, out: &mut BytesMut, ends: &[u8]| -> Result<bool, Misfit> {
        let was_quoted = literal.part(ends, &mut scratch)?;
        let is_infinite = scratch.is_empty() && !was_quoted;
        if !is_infinite {
            put_value(out, Some(scratch.as_str()), |text, out| {
                write_binary(subtype, -1, text, out)
            })?;
        }
        Ok(is_infinite)
    };
    if bound(literal, out, b",")? {
        flags |= LOWER_INFINITE;
    }
    literal.expect(b',')?;
    if bound(literal, out, b")]")? {
        flags |= UPPER_INFINITE;
    }
    match literal.next() {
        Some(b']') => flags |= UPPER_INCLUSIVE,
        Some(b')') => {}
        _ => return Err(literal.malformed()),
    }
    out[at] = flags;
    Ok(())
}

fn multirange_to_binary(range: &PgType, text: &str, out: &mut BytesMut) -> Result<(), Misfit> {
    let Kind::Range(subtype) = &range.kind else {
        return Err(Misfit::malformed("multirange"));
    };
    let mut literal = Literal::new(text, "multirange");
    let at = out.len();
    out.put_i32(0);
    literal.expect(b'{')?;
    let mut count = 0_i32;
    while !literal.eat(b'}') {
        if count > 0 {
            literal.expect(b',')?;
        }
        let start = out.len();
        out.put_i32(0);
        range_to_binary(subtype, &mut literal, out)?;
        set_len(out, start);
        count += 1;
    }
    if !literal.is_at_end() {
        return Err(literal.malformed());
    }
    out[at..at + 4].copy_from_slice(&count.to_be_bytes());
    Ok(())
}

/// Microseconds in one unit of the last digit that `time(p)` and its kind keep.
pub(crate) fn tick_micros(typmod: i32) -> i64 {
    match typmod {
        0..=6 => 10_i64.pow(6 - typmod as u32),
        _ => 1,
    }
}

/// The server rounds to the declared precision in silence; we refuse.
pub(crate) fn check_tick(micros: i64, typmod: i32) -> Result<i64, Misfit> {
    if micros % tick_micros(typmod) == 0 {
        Ok(micros)
    } else {
        Err(Misfit::new(
            "a time with more digits",
            format!("a column of {typmod} digits of a second"),
        ))
    }
}

/// The fields of an interval are bits in the upper half of its type modifier, the precision is the lower half. The server
/// cuts what is below the smallest field in silence; we refuse.
pub(crate) fn check_span(span: Span, typmod: i32) -> Result<Span, Misfit> {
    if typmod < 0 || span.is_infinite() {
        return Ok(span);
    }
    let (year, month, day, hour, minute, second) = (2, 1, 3, 10, 11, 12);
    let fields = (typmod >> 16) & 0x7fff;
    let has = |bit: i32| fields >> bit & 1 == 1;
    let fits = if has(second) {
        check_tick(span.micros, typmod & 0xffff)?;
        true
    } else if has(minute) {
        span.micros % 60_000_000 == 0
    } else if has(hour) {
        span.micros % 3_600_000_000 == 0
    } else if has(day) {
        span.micros == 0
    } else if has(month) {
        span.micros == 0 && span.days == 0
    } else {
        !has(year) || (span.micros == 0 && span.days == 0 && span.months % 12 == 0)
    };
    if fits {
        Ok(span)
    } else {
        Err(Misfit::new("an interval of more fields", "the fields of the column"))
    }
}

pub(crate) fn put_span(span: Span, out: &mut BytesMut) {
    out.put_i64(span.micros);
    out.put_i32(span.days);
    out.put_i32(span.months);
}

/// Text may be cut by the server only where that takes nothing but spaces, and zero bytes it refuses.
pub(crate) fn check_text(text: &str, scalar: Scalar, typmod: i32) -> Result<(), Misfit> {
    if text.as_bytes().contains(&0) {
        return Err(Misfit::new("text with a zero byte", format!("`{}`", scalar.declared())));
    }
    let chars_max = match scalar {
        Scalar::Varchar | Scalar::Bpchar if typmod >= 4 => (typmod - 4) as usize,
        Scalar::Name => 63,
        _ => return Ok(()),
    };
    if text.len() > chars_max {
        let len = match scalar {
            Scalar::Name => text.len(),
            Scalar::Bpchar => text.trim_end_matches(' ').chars().count(),
            _ => text.chars().count(),
        };
        if len > chars_max {
            return Err(Misfit::new(
                format!("text of {len}"),
                format!("`{}({chars_max})`", scalar.declared()),
            ));
        }
    }
    Ok(())
}

fn scalar_to_binary(scalar: Scalar, typmod: i32, text: &str, out: &mut BytesMut) -> Result<(), Misfit> {
    let malformed = || Misfit::malformed(scalar.name());
    match scalar {
        scalar if scalar.is_plain_text() => {
            check_text(text, scalar, typmod)?;
            out.put_slice(text.as_bytes());
        }
        scalar if scalar.is_versioned_text() => {
            check_text(text, scalar, typmod)?;
            if scalar == Scalar::Jsonb && text.contains("\\u0000") {
                return Err(Misfit::new("JSON with an escaped zero character", "`jsonb`"));
            }
            out.put_u8(1);
            out.put_slice(text.as_bytes());
        }
        Scalar::Bool => out.put_u8(match text {
            "t" | "true" => 1,
            "f" | "false" => 0,
            _ => return Err(malformed()),
        }),
        Scalar::Int2 => out.put_i16(text.parse().map_err(|_| malformed())?),
        Scalar::Int4 => out.put_i32(text.parse().map_err(|_| malformed())?),
        Scalar::Int8 => out.put_i64(text.parse().map_err(|_| malformed())?),
        Scalar::Oid | Scalar::Xid | Scalar::Cid => out.put_u32(text.parse().map_err(|_| malformed())?),
        Scalar::Xid8 => out.put_u64(text.parse().map_err(|_| malformed())?),
        Scalar::Float4 => out.put_f32(text.parse().map_err(|_| malformed())?),
        Scalar::Float8 => out.put_f64(text.parse().map_err(|_| malformed())?),
        Scalar::Numeric => return numeric::text_to_binary(text, numeric_typmod(typmod), out),
        Scalar::Money => out.put_i64(money_from_text(text)?),
        Scalar::Bytea => {
            let mut bytes = Vec::new();
            bits::hex_to_bytes(text.as_bytes(), &mut bytes)?;
            out.put_slice(&bytes);
        }
        Scalar::Char => return bits::char_to_binary(text, out),
        Scalar::Bit | Scalar::Varbit => return bits::bits_to_binary(text, out),
        Scalar::Uuid => out.put_slice(uuid::Uuid::parse_str(text).map_err(|_| malformed())?.as_bytes()),
        Scalar::Date => out.put_i32(date_time::date_text_to_wire(text)?),
        Scalar::Time => out.put_i64(check_tick(date_time::time_from_text(text)?, typmod)?),
        Scalar::Timetz => {
            let (micros, west) = date_time::timetz_from_text(text)?;
            out.put_i64(check_tick(micros, typmod)?);
            out.put_i32(west);
        }
        Scalar::Timestamp | Scalar::Timestamptz => {
            let micros = date_time::timestamp_text_to_wire(text, scalar == Scalar::Timestamptz)?;
            if !matches!(micros, i64::MIN | i64::MAX) {
                check_tick(micros, typmod)?;
            }
            out.put_i64(micros);
        }
        Scalar::Interval => put_span(check_span(Span::from_text(text)?, typmod)?, out),
        Scalar::Inet => return network::address_to_binary(text, false, out),
        Scalar::Cidr => return network::address_to_binary(text, true, out),
        Scalar::Macaddr => return network::mac_to_binary::<6>(text, out),
        Scalar::Macaddr8 => return network::mac_to_binary::<8>(text, out),
        Scalar::PgLsn => {
            let parts = text.split_once('/').ok_or_else(malformed)?;
            let half = |part: &str| u32::from_str_radix(part, 16).map_err(|_| malformed());
            out.put_u64(u64::from(half(parts.0)?) << 32 | u64::from(half(parts.1)?));
        }
        Scalar::Tid => {
            let inner = text.strip_prefix('(').and_then(|text| text.strip_suffix(')'));
            let (block, offset) = inner.and_then(|inner| inner.split_once(',')).ok_or_else(malformed)?;
            out.put_u32(block.parse().map_err(|_| malformed())?);
            out.put_u16(offset.parse().map_err(|_| malformed())?);
        }
        Scalar::Point | Scalar::Line | Scalar::Lseg | Scalar::Box | Scalar::Path | Scalar::Polygon | Scalar::Circle => {
            return geometric::to_binary(scalar, text, out);
        }
        Scalar::Tsvector => return text_search::vector_to_binary(text, out),
        Scalar::Tsquery => return text_search::query_to_binary(text, out),
        Scalar::TxidSnapshot | Scalar::PgSnapshot => {
            let mut parts = text.splitn(3, ':');
            let mut next = || parts.next().ok_or_else(malformed);
            let (xmin, xmax, running) = (next()?, next()?, next()?);
            let number = |part: &str| part.parse::<u64>().map_err(|_| malformed());
            let running: Vec<&str> = running.split(',').filter(|part| !part.is_empty()).collect();
            out.put_i32(running.len() as i32);
            out.put_u64(number(xmin)?);
            out.put_u64(number(xmax)?);
            for part in running {
                out.put_u64(number(part)?);
            }
        }
        Scalar::Int2Vector | Scalar::OidVector => {
            let parts: Vec<&str> = text.split_ascii_whitespace().collect();
            if parts.is_empty() {
                // It sends one, but calls it invalid when it gets one.
                return Err(Misfit::new(
                    "an empty vector",
                    "a vector that a server takes in binary form",
                ));
            }
            let item = if scalar == Scalar::OidVector {
                Scalar::Oid
            } else {
                Scalar::Int2
            };
            put_array_header(item.oid(), false, &[parts.len() as i32], &[0], out);
            for part in parts {
                put_value(out, Some(part), |part, out| scalar_to_binary(item, -1, part, out))?;
            }
        }
        Scalar::Hstore => {
            let at = out.len();
            out.put_i32(0);
            let mut count = 0_i32;
            read_hstore(text, |key, value| {
                count += 1;
                let plain = |text: &str, out: &mut BytesMut| {
                    out.put_slice(text.as_bytes());
                    Ok(())
                };
                put_value(out, Some(key), plain)?;
                put_value(out, value, plain)
            })?;
            out[at..at + 4].copy_from_slice(&count.to_be_bytes());
        }
        Scalar::Vector => {
            let numbers = vector_from_text(text)?;
            out.put_u16(u16::try_from(numbers.len()).map_err(|_| malformed())?);
            out.put_u16(0);
            for number in numbers {
                out.put_f32(number);
            }
        }
        _ => return Err(malformed()),
    }
    Ok(())
}

/// The numbers of `[1,2.5]`.
pub(crate) fn vector_from_text(text: &str) -> Result<Vec<f32>, Misfit> {
    let malformed = || Misfit::malformed("vector");
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    inner
        .ok_or_else(malformed)?
        .split(',')
        .filter(|part| !part.is_empty())
        .map(|part| part.trim().parse().map_err(|_| malformed()))
        .collect()
}
