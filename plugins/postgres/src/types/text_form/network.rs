//! `inet`, `cidr`, `macaddr`, `macaddr8`.
//!
//! Binary form of the first two: `family u8 (2 or 3), prefix u8, is_cidr u8, length u8, address`.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use bytes::{BufMut, BytesMut};

use crate::types::Misfit;
use crate::types::wire_form::WireForm;

const FAMILY_4: u8 = 2;
const FAMILY_6: u8 = 3;

pub(crate) fn write_address(bytes: &[u8], is_cidr: bool, out: &mut String) -> Result<(), Misfit> {
    let mut form = WireForm::new(bytes, if is_cidr { "cidr" } else { "inet" });
    let (family, prefix, _, length) = (form.u8()?, form.u8()?, form.u8()?, form.u8()?);
    let address = form.take(usize::from(length))?;
    form.end()?;
    let bits = match (family, address.len()) {
        (FAMILY_4, 4) => {
            let address: [u8; 4] = address.try_into().unwrap_or_default();
            let _ = write!(out, "{}", Ipv4Addr::from(address));
            32
        }
        (FAMILY_6, 16) => {
            let address: [u8; 16] = address.try_into().unwrap_or_default();
            write_v6(address, out);
            128
        }
        _ => return Err(form.malformed()),
    };
    if is_cidr || prefix != bits {
        let _ = write!(out, "/{prefix}");
    }
    Ok(())
}

/// As the server does: the first longest run of at least two zero words as `::`, and more addresses with an IPv4 tail than
/// RFC 5952 has.
fn write_v6(address: [u8; 16], out: &mut String) {
    let mut words = [0_u16; 8];
    for (word, pair) in words.iter_mut().zip(address.chunks_exact(2)) {
        *word = u16::from_be_bytes([pair[0], pair[1]]);
    }
    let (mut run, mut best) = ((0, 0), (0, 0));
    for (i, word) in words.iter().enumerate() {
        if *word != 0 {
            run = (i + 1, 0);
            continue;
        }
        run.1 += 1;
        if run.1 > best.1 {
            best = run;
        }
    }
    if best.1 < 2 {
        best = (8, 0);
    }
    let (start, end) = (best.0, best.0 + best.1);
    let has_v4_tail =
        start == 0 && (best.1 == 6 || (best.1 == 7 && words[7] != 1) || (best.1 == 5 && words[5] == 0xffff));
    for (i, word) in words.iter().enumerate() {
        if (start..end).contains(&i) {
            if i == start {
                out.push(':');
            }
            continue;
        }
        if i != 0 {
            out.push(':');
        }
        if i == 6 && has_v4_tail {
            let _ = write!(out, "{}.{}.{}.{}", address[12], address[13], address[14], address[15]);
            return;
        }
        let _ = write!(out, "{word:x}");
    }
    if end == 8 && best.1 > 0 {
        out.push(':');
    }
}

pub(crate) fn address_to_binary(text: &str, is_cidr: bool, out: &mut BytesMut) -> Result<(), Misfit> {
    let malformed = || Misfit::malformed(if is_cidr { "cidr" } else { "inet" });
    let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
    let prefix = prefix.map(str::parse::<u8>).transpose().map_err(|_| malformed())?;
    let mut put = |family: u8, bits: u8, address: &[u8]| {
        let prefix = prefix.unwrap_or(bits);
        if prefix > bits {
            return Err(malformed());
        }
        if is_cidr && !is_network(address, prefix) {
            return Err(Misfit::new("an address with bits right of its prefix", "`cidr`"));
        }
        out.put_slice(&[family, prefix, u8::from(is_cidr), address.len() as u8]);
        out.put_slice(address);
        Ok(())
    };
    if let Ok(address) = address.parse::<Ipv4Addr>() {
        return put(FAMILY_4, 32, &address.octets());
    }
    let address: Ipv6Addr = address.parse().map_err(|_| malformed())?;
    put(FAMILY_6, 128, &address.octets())
}

fn is_network(address: &[u8], prefix: u8) -> bool {
    address.iter().enumerate().all(|(i, byte)| {
        let kept = usize::from(prefix).saturating_sub(8 * i).min(8);
        // All ones above, of which `kept` bits are shifted out.
        (u16::from(*byte) << kept) & 0xff == 0
    })
}

pub(crate) fn write_mac(bytes: &[u8], out: &mut String) {
    for (i, byte) in bytes.iter().enumerate() {
        let _ = write!(out, "{}{byte:02x}", if i == 0 { "" } else { ":" });
    }
}

/// `N` is 6 or 8. A `macaddr8` takes six bytes too: the server puts ff:fe in the middle.
pub(crate) fn mac_to_binary<const N: usize>(text: &str, out: &mut BytesMut) -> Result<(), Misfit> {
    let malformed = || Misfit::malformed(if N == 6 { "macaddr" } else { "macaddr8" });
    let mut bytes = Vec::with_capacity(N);
    for part in text.split([':', '-']) {
        let is_pair = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        let byte = is_pair.then(|| u8::from_str_radix(part, 16).ok()).flatten();
        bytes.push(byte.ok_or_else(malformed)?);
    }
    if N == 8 && bytes.len() == 6 {
        bytes.splice(3..3, [0xff, 0xfe]);
    }
    if bytes.len() != N {
        return Err(malformed());
    }
    out.put_slice(&bytes);
    Ok(())
}
