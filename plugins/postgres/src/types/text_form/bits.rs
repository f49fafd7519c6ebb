//! `bit` and `varbit` (digits 0 and 1), `bytea` (`\x` and hexadecimal digits), `"char"`.

use bytes::{BufMut, BytesMut};

use crate::types::Misfit;
use crate::types::wire_form::WireForm;

pub(crate) fn write_bits(bytes: &[u8], out: &mut String) -> Result<(), Misfit> {
    let mut form = WireForm::new(bytes, "bit");
    let count = usize::try_from(form.i32()?).map_err(|_| form.malformed())?;
    let packed = form.take(count.div_ceil(8))?;
    form.end()?;
    out.extend((0..count).map(|i| {
        if packed[i / 8] >> (7 - i % 8) & 1 == 1 {
            '1'
        } else {
            '0'
        }
    }));
    Ok(())
}

pub(crate) fn bits_to_binary(text: &str, out: &mut BytesMut) -> Result<(), Misfit> {
    let count = i32::try_from(text.len()).map_err(|_| Misfit::malformed("bit"))?;
    out.put_i32(count);
    for eight in text.as_bytes().chunks(8) {
        let mut packed = 0;
        for (i, digit) in eight.iter().enumerate() {
            match digit {
                b'0' => {}
                b'1' => packed |= 0x80 >> i,
                _ => return Err(Misfit::malformed("bit")),
            }
        }
        out.put_u8(packed);
    }
    Ok(())
}

const HEX: &[u8; 16] = b"0123456789abcdef";

pub(crate) fn write_hex(bytes: &[u8], out: &mut String) {
    out.reserve(2 + 2 * bytes.len());
    out.push_str("\\x");
    for byte in bytes {
        out.push(char::from(HEX[usize::from(byte >> 4)]));
        out.push(char::from(HEX[usize::from(byte & 15)]));
    }
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// Takes what `bytea_output = hex` writes.
pub(crate) fn hex_to_bytes(text: &[u8], out: &mut Vec<u8>) -> Result<(), Misfit> {
    let malformed = || Misfit::malformed("bytea");
    let digits = text.strip_prefix(b"\\x").ok_or_else(malformed)?;
    if digits.len() % 2 != 0 {
        return Err(malformed());
    }
    out.reserve(digits.len() / 2);
    for pair in digits.chunks_exact(2) {
        let (high, low) = (hex_digit(pair[0]), hex_digit(pair[1]));
        let (Some(high), Some(low)) = (high, low) else {
            return Err(malformed());
        };
        out.push(high << 4 | low);
    }
    Ok(())
}

/// One byte: zero is empty text, those beyond ASCII are `\ooo` (before version 16 the server writes the byte itself,
/// which is no UTF-8).
pub(crate) fn write_char(bytes: &[u8], out: &mut String) -> Result<(), Misfit> {
    match bytes {
        [] | [0] => {}
        [byte] if !byte.is_ascii() => {
            out.push('\\');
            for shift in [6, 3, 0] {
                out.push(char::from(b'0' + (byte >> shift & 7)));
            }
        }
        [byte] => out.push(char::from(*byte)),
        // Already as newer servers write it.
        [b'\\', octal @ ..] if octal.len() == 3 && octal.iter().all(|digit| (b'0'..=b'7').contains(digit)) => {
            out.push('\\');
            out.extend(octal.iter().map(|digit| char::from(*digit)));
        }
        _ => return Err(Misfit::malformed("char")),
    }
    Ok(())
}

pub(crate) fn char_to_binary(text: &str, out: &mut BytesMut) -> Result<(), Misfit> {
    let byte = match text.as_bytes() {
        [] => 0,
        [byte] => *byte,
        [b'\\', octal @ ..] if octal.len() == 3 => {
            let text = std::str::from_utf8(octal).unwrap_or_default();
            u8::from_str_radix(text, 8).map_err(|_| Misfit::malformed("char"))?
        }
        _ => return Err(Misfit::new("more than one byte", "`\"char\"`")),
    };
    out.put_u8(byte);
    Ok(())
}
