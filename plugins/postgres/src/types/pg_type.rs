//! A type of a database, with its parts.

use std::sync::Arc;

use super::Scalar;
use crate::identifier::Relation;

/// A type of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PgType {
    /// The OID. Those of user types differ between databases.
    pub oid: u32,
    /// The schema, unquoted.
    pub schema: String,
    /// The name in `pg_type`, unquoted.
    pub name: String,
    /// What it is made of.
    pub kind: Kind,
    /// What stands between the elements in the text form of an array of it.
    pub delimiter: u8,
    /// Whether the server can send it in binary form.
    pub has_binary: bool,
}

/// What a type is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// No parts.
    Scalar(Scalar),
    /// Elements; any number of dimensions.
    Array(Arc<PgType>),
    /// One of the labels, in their order.
    Enum(Arc<[String]>),
    /// Another type with conditions.
    Domain {
        /// The other type, perhaps a domain itself.
        base: Arc<PgType>,
        /// Its type modifier, -1 for none.
        typmod: i32,
    },
    /// Attributes.
    Composite(Arc<[Attribute]>),
    /// A range of the type.
    Range(Arc<PgType>),
    /// Several of these ranges.
    Multirange(Arc<PgType>),
    /// The name of an object of the database (`regclass` ...): in binary only its OID is sent, so it is read as text.
    ObjectName,
    /// A type of an extension whose binary form we do not know.
    Other,
}

/// A part of a composite type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// The name, unquoted.
    pub name: String,
    /// The type.
    pub ty: Arc<PgType>,
    /// Its type modifier, -1 for none.
    pub typmod: i32,
}

impl PgType {
    /// A built-in scalar, without asking a server.
    pub fn scalar(scalar: Scalar) -> Arc<Self> {
        Arc::new(PgType {
            oid: scalar.oid(),
            schema: "pg_catalog".to_owned(),
            name: scalar.name().to_owned(),
            kind: Kind::Scalar(scalar),
            delimiter: if scalar == Scalar::Box { b';' } else { b',' },
            has_binary: true,
        })
    }

    /// The array of a built-in scalar, without asking a server.
    pub fn array_of(scalar: Scalar) -> Arc<Self> {
        Arc::new(PgType {
            oid: scalar.array_oid(),
            schema: "pg_catalog".to_owned(),
            name: format!("_{}", scalar.name()),
            kind: Kind::Array(Self::scalar(scalar)),
            delimiter: b',',
            has_binary: true,
        })
    }

    /// What is below the domains, and the type modifier that counts there.
    pub fn resolve(self: &Arc<Self>, typmod: i32) -> (Arc<PgType>, i32) {
        let (mut ty, mut typmod) = (Arc::clone(self), typmod);
        while let Kind::Domain { base, typmod: inner } = &ty.kind {
            typmod = *inner;
            ty = Arc::clone(base);
        }
        (ty, typmod)
    }

    /// Whether we decode its binary form to the same value as its text. Where not, read it with
    /// [`Column::read_expression`](super::Column::read_expression), and replicate with `binary` off.
    pub fn decodes_binary(&self) -> bool {
        self.has_binary
            && match &self.kind {
                Kind::Scalar(_) | Kind::Enum(_) => true,
                Kind::Array(part) | Kind::Range(part) | Kind::Multirange(part) | Kind::Domain { base: part, .. } => {
                    part.decodes_binary()
                }
                Kind::Composite(attributes) => attributes.iter().all(|attribute| attribute.ty.decodes_binary()),
                Kind::ObjectName | Kind::Other => false,
            }
    }

    /// Whether `pg_catalog` has it, so that every server does.
    pub fn is_builtin(&self) -> bool {
        self.schema == "pg_catalog"
    }

    /// The type in DDL: built-ins as `format_type` spells them, others by their quoted full name.
    pub fn declared(&self, typmod: i32) -> String {
        match &self.kind {
            Kind::Array(item) => format!("{}[]", item.declared(typmod)),
            Kind::Scalar(scalar) if self.is_builtin() => declared_scalar(*scalar, typmod),
            Kind::Scalar(Scalar::Vector) if typmod > 0 => format!("{}({typmod})", self.relation()),
            _ if self.is_builtin() => self.name.clone(),
            _ => self.relation().to_string(),
        }
    }

    /// The full name.
    pub fn relation(&self) -> Relation {
        Relation::new(self.schema.clone(), self.name.clone())
    }
}

/// Precision and scale of a `numeric`; the scale may be negative, and larger than the precision.
pub(crate) fn numeric_typmod(typmod: i32) -> Option<(u16, i16)> {
    let packed = u32::try_from(typmod.checked_sub(4)?).ok()?;
    // Eleven bits, signed.
    let scale = ((packed & 0x7ff) ^ 1024) as i16 - 1024;
    Some(((packed >> 16) as u16, scale))
}

fn declared_scalar(scalar: Scalar, typmod: i32) -> String {
    let name = scalar.declared();
    if typmod < 0 {
        return match scalar {
            // Without a length `character` and `bit` mean a length of one.
            Scalar::Bpchar => "bpchar".to_owned(),
            Scalar::Bit => "bit varying".to_owned(),
            _ => name.to_owned(),
        };
    }
    match scalar {
        Scalar::Numeric => match numeric_typmod(typmod) {
            Some((precision, scale)) => format!("numeric({precision},{scale})"),
            None => name.to_owned(),
        },
        Scalar::Varchar | Scalar::Bpchar => format!("{name}({})", typmod - 4),
        Scalar::Bit | Scalar::Varbit => format!("{name}({typmod})"),
        Scalar::Time | Scalar::Timetz | Scalar::Timestamp | Scalar::Timestamptz => {
            let (word, zone) = name.split_once(' ').unwrap_or((name, ""));
            format!("{word}({typmod}) {zone}")
        }
        Scalar::Interval => declared_interval(typmod),
        _ => name.to_owned(),
    }
}

/// The fields are a bit mask above, the precision below; 0xffff is none.
fn declared_interval(typmod: i32) -> String {
    let bit = |n: u32| 1_i32 << n;
    let (month, year, day, hour, minute, second) = (bit(1), bit(2), bit(3), bit(10), bit(11), bit(12));
    let fields = match (typmod >> 16) & 0x7fff {
        mask if mask == year => " year",
        mask if mask == month => " month",
        mask if mask == day => " day",
        mask if mask == hour => " hour",
        mask if mask == minute => " minute",
        mask if mask == second => " second",
        mask if mask == year | month => " year to month",
        mask if mask == day | hour => " day to hour",
        mask if mask == day | hour | minute => " day to minute",
        mask if mask == day | hour | minute | second => " day to second",
        mask if mask == hour | minute => " hour to minute",
        mask if mask == hour | minute | second => " hour to second",
        mask if mask == minute | second => " minute to second",
        _ => "",
    };
    match typmod & 0xffff {
        0xffff => format!("interval{fields}"),
        precision => format!("interval{fields}({precision})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_declared_with_their_modifiers() {
        for (scalar, typmod, expected) in [
            (Scalar::Numeric, ((10 << 16) | 2) + 4, "numeric(10,2)"),
            (Scalar::Numeric, ((5 << 16) | (-2_i32 & 0x7ff)) + 4, "numeric(5,-2)"),
            (Scalar::Numeric, -1, "numeric"),
            (Scalar::Varchar, 24, "character varying(20)"),
            (Scalar::Bpchar, 5, "character(1)"),
            (Scalar::Timestamptz, 3, "timestamp(3) with time zone"),
            (Scalar::Interval, 0x7fff_0003, "interval(3)"),
            (Scalar::Interval, (0x6 << 16) | 0xffff, "interval year to month"),
            (Scalar::Char, -1, "\"char\""),
        ] {
            assert_eq!(PgType::scalar(scalar).declared(typmod), expected);
        }
        assert_eq!(PgType::array_of(Scalar::Int4).declared(-1), "integer[]");
    }
}
