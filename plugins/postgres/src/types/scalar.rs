//! The scalars that we know by heart: what `pg_type` calls them, and what DDL calls them.

/// One line for each scalar: its name here, its OID and its array's, its name in `pg_type`, and how DDL spells it.
macro_rules! scalars {
    ($($(#[$doc:meta])* $scalar:ident $oid:literal $array_oid:literal $name:literal $declared:literal;)+) => {
        /// A type without parts.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Scalar { $($(#[$doc])* $scalar,)+ }

        impl Scalar {
            /// All of them.
            pub const ALL: &[Scalar] = &[$(Scalar::$scalar,)+];

            /// The OID, which is the same in every server; 0 for types of extensions.
            pub const fn oid(self) -> u32 {
                match self { $(Scalar::$scalar => $oid,)+ }
            }

            /// The OID of the array of it; 0 for types of extensions.
            pub const fn array_oid(self) -> u32 {
                match self { $(Scalar::$scalar => $array_oid,)+ }
            }

            /// The name in `pg_type`.
            pub const fn name(self) -> &'static str {
                match self { $(Scalar::$scalar => $name,)+ }
            }

            /// The name in DDL, without a type modifier.
            pub const fn declared(self) -> &'static str {
                match self { $(Scalar::$scalar => $declared,)+ }
            }
        }
    };
}

scalars! {
    /// `boolean`
    Bool 16 1000 "bool" "boolean";
    /// `bytea`
    Bytea 17 1001 "bytea" "bytea";
    /// `"char"`, one byte
    Char 18 1002 "char" "\"char\"";
    /// `name`
    Name 19 1003 "name" "name";
    /// `bigint`
    Int8 20 1016 "int8" "bigint";
    /// `smallint`
    Int2 21 1005 "int2" "smallint";
    /// `int2vector`
    Int2Vector 22 1006 "int2vector" "int2vector";
    /// `integer`
    Int4 23 1007 "int4" "integer";
    /// `text`
    Text 25 1009 "text" "text";
    /// `oid`
    Oid 26 1028 "oid" "oid";
    /// `tid`
    Tid 27 1010 "tid" "tid";
    /// `xid`
    Xid 28 1011 "xid" "xid";
    /// `cid`
    Cid 29 1012 "cid" "cid";
    /// `oidvector`
    OidVector 30 1013 "oidvector" "oidvector";
    /// `json`
    Json 114 199 "json" "json";
    /// `xml`
    Xml 142 143 "xml" "xml";
    /// `point`
    Point 600 1017 "point" "point";
    /// `lseg`
    Lseg 601 1018 "lseg" "lseg";
    /// `path`
    Path 602 1019 "path" "path";
    /// `box`
    Box 603 1020 "box" "box";
    /// `polygon`
    Polygon 604 1027 "polygon" "polygon";
    /// `line`
    Line 628 629 "line" "line";
    /// `cidr`
    Cidr 650 651 "cidr" "cidr";
    /// `real`
    Float4 700 1021 "float4" "real";
    /// `double precision`
    Float8 701 1022 "float8" "double precision";
    /// `circle`
    Circle 718 719 "circle" "circle";
    /// `macaddr8`
    Macaddr8 774 775 "macaddr8" "macaddr8";
    /// `money`
    Money 790 791 "money" "money";
    /// `macaddr`
    Macaddr 829 1040 "macaddr" "macaddr";
    /// `inet`
    Inet 869 1041 "inet" "inet";
    /// `character(n)`
    Bpchar 1042 1014 "bpchar" "character";
    /// `character varying(n)`
    Varchar 1043 1015 "varchar" "character varying";
    /// `date`
    Date 1082 1182 "date" "date";
    /// `time without time zone`
    Time 1083 1183 "time" "time without time zone";
    /// `timestamp without time zone`
    Timestamp 1114 1115 "timestamp" "timestamp without time zone";
    /// `timestamp with time zone`
    Timestamptz 1184 1185 "timestamptz" "timestamp with time zone";
    /// `interval`
    Interval 1186 1187 "interval" "interval";
    /// `time with time zone`
    Timetz 1266 1270 "timetz" "time with time zone";
    /// `bit(n)`
    Bit 1560 1561 "bit" "bit";
    /// `bit varying(n)`
    Varbit 1562 1563 "varbit" "bit varying";
    /// `numeric`
    Numeric 1700 1231 "numeric" "numeric";
    /// `refcursor`
    Refcursor 1790 2201 "refcursor" "refcursor";
    /// `uuid`
    Uuid 2950 2951 "uuid" "uuid";
    /// `txid_snapshot`
    TxidSnapshot 2970 2949 "txid_snapshot" "txid_snapshot";
    /// `pg_lsn`
    PgLsn 3220 3221 "pg_lsn" "pg_lsn";
    /// `tsvector`
    Tsvector 3614 3643 "tsvector" "tsvector";
    /// `tsquery`
    Tsquery 3615 3645 "tsquery" "tsquery";
    /// `jsonb`
    Jsonb 3802 3807 "jsonb" "jsonb";
    /// `jsonpath`
    Jsonpath 4072 4073 "jsonpath" "jsonpath";
    /// `pg_snapshot`
    PgSnapshot 5038 5039 "pg_snapshot" "pg_snapshot";
    /// `xid8`
    Xid8 5069 271 "xid8" "xid8";
    /// `citext` of the extension
    Citext 0 0 "citext" "citext";
    /// `hstore` of the extension
    Hstore 0 0 "hstore" "hstore";
    /// `ltree` of the extension
    Ltree 0 0 "ltree" "ltree";
    /// `lquery` of the extension ltree
    Lquery 0 0 "lquery" "lquery";
    /// `ltxtquery` of the extension ltree
    Ltxtquery 0 0 "ltxtquery" "ltxtquery";
    /// `vector` of the extension pgvector
    Vector 0 0 "vector" "vector";
}

impl Scalar {
    /// The scalar that `pg_catalog` has under this name.
    pub fn of_builtin(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|scalar| scalar.oid() != 0 && scalar.name() == name)
    }

    /// The scalar that an extension brings under this name.
    pub fn of_extension(extension: &str, name: &str) -> Option<Self> {
        let scalar = Self::ALL
            .iter()
            .copied()
            .find(|scalar| scalar.oid() == 0 && scalar.name() == name)?;
        let home = match scalar {
            Scalar::Lquery | Scalar::Ltxtquery => "ltree",
            other => other.name(),
        };
        (home == extension).then_some(scalar)
    }

    /// Whether the binary form is the text itself.
    pub(crate) fn is_plain_text(self) -> bool {
        matches!(
            self,
            Scalar::Text
                | Scalar::Varchar
                | Scalar::Bpchar
                | Scalar::Name
                | Scalar::Json
                | Scalar::Xml
                | Scalar::Refcursor
                | Scalar::Citext
        )
    }

    /// Whether the binary form is a version byte 1 and the text.
    pub(crate) fn is_versioned_text(self) -> bool {
        matches!(
            self,
            Scalar::Jsonb | Scalar::Jsonpath | Scalar::Ltree | Scalar::Lquery | Scalar::Ltxtquery
        )
    }
}
