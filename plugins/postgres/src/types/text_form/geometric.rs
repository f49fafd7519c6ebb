//! Points and what is made of them. Binary: `float8` coordinates in the order of the text, with a count where it varies.

use bytes::{BufMut, BytesMut};

use super::float::write_f64;
use crate::types::wire_form::WireForm;
use crate::types::{Misfit, Scalar};

fn point(form: &mut WireForm<'_>, out: &mut String) -> Result<(), Misfit> {
    let (x, y) = (form.f64()?, form.f64()?);
    out.push('(');
    write_f64(x, out);
    out.push(',');
    write_f64(y, out);
    out.push(')');
    Ok(())
}

fn points(form: &mut WireForm<'_>, count: usize, out: &mut String) -> Result<(), Misfit> {
    for i in 0..count {
        if i > 0 {
            out.push(',');
        }
        point(form, out)?;
    }
    Ok(())
}

pub(crate) fn write(scalar: Scalar, bytes: &[u8], out: &mut String) -> Result<(), Misfit> {
    let mut form = WireForm::new(bytes, scalar.name());
    match scalar {
        Scalar::Point => point(&mut form, out)?,
        Scalar::Box => points(&mut form, 2, out)?,
        Scalar::Lseg => {
            out.push('[');
            points(&mut form, 2, out)?;
            out.push(']');
        }
        Scalar::Line => {
            for (i, end) in [",", ",", "}"].into_iter().enumerate() {
                if i == 0 {
                    out.push('{');
                }
                write_f64(form.f64()?, out);
                out.push_str(end);
            }
        }
        Scalar::Circle => {
            out.push('<');
            point(&mut form, out)?;
            out.push(',');
            write_f64(form.f64()?, out);
            out.push('>');
        }
        Scalar::Path => {
            let is_closed = form.u8()? != 0;
            let count = form.count(16)?;
            out.push(if is_closed { '(' } else { '[' });
            points(&mut form, count, out)?;
            out.push(if is_closed { ')' } else { ']' });
        }
        Scalar::Polygon => {
            let count = form.count(16)?;
            out.push('(');
            points(&mut form, count, out)?;
            out.push(')');
        }
        _ => return Err(form.malformed()),
    }
    form.end()
}

/// Takes the form that the server writes; the shapes differ in their brackets, not in the order of their numbers.
pub(crate) fn to_binary(scalar: Scalar, text: &str, out: &mut BytesMut) -> Result<(), Misfit> {
    let malformed = || Misfit::malformed(scalar.name());
    let mut numbers = Vec::new();
    for part in text.split(|c: char| "()[]{}<>,".contains(c)) {
        let part = part.trim();
        if !part.is_empty() {
            numbers.push(part.parse::<f64>().map_err(|_| malformed())?);
        }
    }
    let pairs = numbers.len() / 2;
    let is_whole = match scalar {
        Scalar::Point => numbers.len() == 2,
        Scalar::Box | Scalar::Lseg => numbers.len() == 4,
        Scalar::Line | Scalar::Circle => numbers.len() == 3,
        Scalar::Path => {
            out.put_u8(u8::from(!text.trim_start().starts_with('[')));
            out.put_i32(pairs as i32);
            numbers.len() % 2 == 0 && pairs > 0
        }
        Scalar::Polygon => {
            out.put_i32(pairs as i32);
            numbers.len() % 2 == 0 && pairs > 0
        }
        _ => false,
    };
    if !is_whole {
        return Err(malformed());
    }
    for number in numbers {
        out.put_f64(number);
    }
    Ok(())
}
