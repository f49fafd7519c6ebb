//! Why a value or a column cannot be carried. Never the value itself.

use std::borrow::Cow;

use model::Code;

/// A value does not fit its type.
pub const MISFIT: Code = Code {
    id: "E0340",
    title: "a PostgreSQL value does not fit its type",
    explain: "Every column becomes one Arrow type (the table is in the reference of the PostgreSQL types). Some values have no \
              place there: `infinity` in a `date`, `NaN` in a `numeric(10,2)`, an array of two dimensions in an `int[]`. \
              Highwater stops instead of writing something else.\n\nSet `overrides` for the column to `text`: then every \
              value travels as PostgreSQL writes it, and a PostgreSQL destination still makes the original type of it.\n",
};
/// A column of one type cannot be written into a column of another.
pub const UNSUITED: Code = Code {
    id: "E0341",
    title: "a column cannot be written into a column of this type",
    explain: "The target table exists, and its column has a type that cannot hold the values of the stream exactly. Change \
              the type of the column, or let Highwater make the table.\n",
};
/// A word in `overrides` is no type, or none for this column.
pub const BAD_OVERRIDE: Code = Code {
    id: "E0342",
    title: "an override does not suit its column",
    explain: "`overrides` takes `text` for any column, `decimal(p, s)` for a `numeric` column without a scale, and \
              `array(n)` for an array column whose values have n dimensions.\n",
};
/// The catalogue of types cannot be read.
pub const NO_CATALOGUE: Code = Code {
    id: "E0343",
    title: "the types of a PostgreSQL database cannot be read",
    explain: "Highwater reads `pg_type` and its companions, which every role may. The cause says what failed.\n",
};
/// The bytes of a COPY are not in the binary format.
pub const BAD_COPY: Code = Code {
    id: "E0344",
    title: "the server sent a COPY that is not in the binary format",
    explain: "Something between Highwater and the server changes bytes, or the server is not PostgreSQL. Nothing was \
              written.\n",
};

/// The stable codes of this module.
pub const CODES: &[Code] = &[MISFIT, UNSUITED, BAD_OVERRIDE, NO_CATALOGUE, BAD_COPY];

/// Why one value does not fit. The caller adds stream, column and key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found} does not fit {wanted}")]
pub struct Misfit {
    found: Cow<'static, str>,
    wanted: Cow<'static, str>,
}

impl Misfit {
    pub(crate) fn new(found: impl Into<Cow<'static, str>>, wanted: impl Into<Cow<'static, str>>) -> Self {
        Misfit {
            found: found.into(),
            wanted: wanted.into(),
        }
    }

    /// Bytes that are not what the server sends for this type.
    pub(crate) fn malformed(type_name: &str) -> Self {
        Misfit::new("a value in an unknown form", format!("`{type_name}`"))
    }

    /// What the value is, without showing it.
    pub fn found(&self) -> &str {
        &self.found
    }

    /// What it should have fitted.
    pub fn wanted(&self) -> &str {
        &self.wanted
    }

    /// What a user can do about a value that a source cannot carry.
    pub fn hint(&self, column: &str) -> String {
        format!("set `overrides: {{{column}: text}}` to carry every value as PostgreSQL writes it")
    }
}

/// Why a column cannot be decoded into, or encoded from, an Arrow type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot turn {from} into {into}")]
pub struct Unsuited {
    /// The type that is there.
    pub from: String,
    /// The type that was wanted.
    pub into: String,
}

impl Unsuited {
    pub(crate) fn new(from: impl Into<String>, into: impl Into<String>) -> Self {
        Unsuited {
            from: from.into(),
            into: into.into(),
        }
    }
}
