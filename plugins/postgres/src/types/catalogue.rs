//! The types of one database, as its catalogue tells.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tokio_postgres::Client;

use super::{Attribute, Kind, PgType, Scalar};

/// Rounds of asking for the parts of types; nesting deeper than this is refused.
const DEPTH_MAX: usize = 64;

/// Why the catalogue cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// A query failed.
    #[error("cannot read the types of the database")]
    Query(#[source] tokio_postgres::Error),
    /// Types are nested too deeply.
    #[error("cannot read the types of the database: type {oid} is nested more than {DEPTH_MAX} deep")]
    TooDeep {
        /// The type.
        oid: u32,
    },
}

/// The types of one database by their OID. Built-in scalars and their arrays are always there.
///
/// Loaded once; [`look_up`](Self::look_up) asks again when an OID turns up that it does not know, which is also how row
/// types of tables come in. A type that was altered since (a new enum label, a new attribute) needs a
/// [`load`](Self::load).
#[derive(Debug, Clone)]
pub struct TypeCatalogue {
    types: HashMap<u32, Arc<PgType>>,
}

/// One line of `pg_type`, before its parts are known.
struct Row {
    oid: u32,
    schema: String,
    name: String,
    typtype: u8,
    element: u32,
    base: u32,
    typmod: i32,
    relation: u32,
    subtype: u32,
    delimiter: u8,
    has_binary: bool,
    extension: Option<String>,
}

/// `$1` are the wanted OIDs; NULL asks for every type that is neither the row type of a table nor an array of one.
/// `typelem` alone does not make an array: `point` and `name` have one too.
const TYPES: &str = "\
SELECT t.oid, n.nspname::text, t.typname::text, t.typtype, \
  CASE WHEN a.typarray = t.oid THEN a.oid ELSE 0::oid END, \
  t.typbasetype, t.typtypmod, t.typrelid, \
  coalesce(r.rngsubtype, m.rngtypid, 0::oid), t.typdelim, t.typsend::oid <> 0, e.extname::text \
FROM pg_catalog.pg_type t \
JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace \
LEFT JOIN pg_catalog.pg_type a ON a.oid = t.typelem \
LEFT JOIN pg_catalog.pg_range r ON r.rngtypid = t.oid \
LEFT JOIN pg_catalog.pg_range m ON m.rngmultitypid = t.oid \
LEFT JOIN pg_catalog.pg_class c ON c.oid = coalesce(nullif(t.typrelid, 0), a.typrelid) \
LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.objid = t.oid \
  AND d.deptype = 'e' AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass \
LEFT JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid \
WHERE CASE WHEN $1::oid[] IS NULL THEN t.typtype <> 'p' AND (c.oid IS NULL OR c.relkind = 'c') \
  ELSE t.oid = ANY ($1) END";

const LABELS: &str = "\
SELECT enumtypid, enumlabel::text FROM pg_catalog.pg_enum WHERE enumtypid = ANY ($1::oid[]) \
ORDER BY enumtypid, enumsortorder";

const ATTRIBUTES: &str = "\
SELECT attrelid, attname::text, atttypid, atttypmod FROM pg_catalog.pg_attribute \
WHERE attrelid = ANY ($1::oid[]) AND attnum > 0 AND NOT attisdropped ORDER BY attrelid, attnum";

impl TypeCatalogue {
    /// The built-in scalars and their arrays, without asking a server.
    pub fn builtin() -> Self {
        let mut types = HashMap::new();
        for &scalar in Scalar::ALL.iter().filter(|scalar| scalar.oid() != 0) {
            types.insert(scalar.oid(), PgType::scalar(scalar));
            types.insert(scalar.array_oid(), PgType::array_of(scalar));
        }
        TypeCatalogue { types }
    }

    /// All types of the database.
    pub async fn load(client: &Client) -> Result<Self, CatalogueError> {
        let mut catalogue = Self::builtin();
        catalogue.fetch(client, None).await?;
        Ok(catalogue)
    }

    /// The type, if it is known.
    pub fn get(&self, oid: u32) -> Option<Arc<PgType>> {
        self.types.get(&oid).cloned()
    }

    /// The type by name; the first in the order of OIDs where `schema` is `None`.
    pub fn find(&self, schema: Option<&str>, name: &str) -> Option<Arc<PgType>> {
        self.types
            .values()
            .filter(|ty| ty.name == name && schema.is_none_or(|schema| ty.schema == schema))
            .min_by_key(|ty| ty.oid)
            .cloned()
    }

    /// The array of the type.
    pub fn array_of(&self, oid: u32) -> Option<Arc<PgType>> {
        let is_its_array = |ty: &&Arc<PgType>| matches!(&ty.kind, Kind::Array(item) if item.oid == oid);
        self.types.values().find(is_its_array).cloned()
    }

    /// The type, asking the server if it is not known yet. `None`: the database has no such type (any more).
    pub async fn look_up(&mut self, client: &Client, oid: u32) -> Result<Option<Arc<PgType>>, CatalogueError> {
        if !self.types.contains_key(&oid) {
            self.fetch(client, Some(vec![oid])).await?;
        }
        Ok(self.get(oid))
    }

    async fn fetch(&mut self, client: &Client, wanted: Option<Vec<u32>>) -> Result<(), CatalogueError> {
        let mut rows: HashMap<u32, Row> = HashMap::new();
        let mut labels: HashMap<u32, Vec<String>> = HashMap::new();
        let mut attributes: HashMap<u32, Vec<(String, u32, i32)>> = HashMap::new();
        let mut asked: BTreeSet<u32> = BTreeSet::new();
        let mut wanted = wanted;
        for round in 0.. {
            if round > DEPTH_MAX {
                let oid = wanted.and_then(|oids| oids.first().copied()).unwrap_or_default();
                return Err(CatalogueError::TooDeep { oid });
            }
            asked.extend(wanted.iter().flatten());
            let found = client.query(TYPES, &[&wanted]).await.map_err(CatalogueError::Query)?;
            let found: Vec<Row> = found.iter().map(Row::of).collect();
            let enums: Vec<u32> = found
                .iter()
                .filter(|row| row.typtype == b'e')
                .map(|row| row.oid)
                .collect();
            let relations: Vec<u32> = found
                .iter()
                .filter(|row| row.typtype == b'c')
                .map(|row| row.relation)
                .collect();
            if !enums.is_empty() {
                for row in client.query(LABELS, &[&enums]).await.map_err(CatalogueError::Query)? {
                    labels.entry(row.get(0)).or_default().push(row.get(1));
                }
            }
            if !relations.is_empty() {
                for row in client
                    .query(ATTRIBUTES, &[&relations])
                    .await
                    .map_err(CatalogueError::Query)?
                {
                    attributes
                        .entry(row.get(0))
                        .or_default()
                        .push((row.get(1), row.get(2), row.get(3)));
                }
            }
            rows.extend(found.into_iter().map(|row| (row.oid, row)));
            let missing: Vec<u32> = rows
                .values()
                .flat_map(|row| {
                    let parts = attributes
                        .get(&row.relation)
                        .into_iter()
                        .flatten()
                        .map(|(_, oid, _)| *oid);
                    parts.chain([row.element, row.base, row.subtype])
                })
                .filter(|oid| *oid != 0 && !rows.contains_key(oid) && !self.types.contains_key(oid))
                .filter(|oid| !asked.contains(oid))
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect();
            if missing.is_empty() {
                break;
            }
            wanted = Some(missing);
        }
        let mut assembly = Assembly {
            known: &self.types,
            rows: &rows,
            labels,
            attributes: &attributes,
            built: HashMap::new(),
        };
        for &oid in rows.keys() {
            assembly.build(oid, 0)?;
        }
        let built = assembly.built;
        self.types.extend(built);
        Ok(())
    }
}

impl Row {
    fn of(row: &tokio_postgres::Row) -> Self {
        Row {
            oid: row.get(0),
            schema: row.get(1),
            name: row.get(2),
            typtype: row.get::<_, i8>(3) as u8,
            element: row.get(4),
            base: row.get(5),
            typmod: row.get(6),
            relation: row.get(7),
            subtype: row.get(8),
            delimiter: row.get::<_, i8>(9) as u8,
            has_binary: row.get(10),
            extension: row.get(11),
        }
    }
}

/// Puts types together from their parts.
struct Assembly<'a> {
    known: &'a HashMap<u32, Arc<PgType>>,
    rows: &'a HashMap<u32, Row>,
    labels: HashMap<u32, Vec<String>>,
    attributes: &'a HashMap<u32, Vec<(String, u32, i32)>>,
    built: HashMap<u32, Arc<PgType>>,
}

impl Assembly<'_> {
    fn build(&mut self, oid: u32, depth: usize) -> Result<Arc<PgType>, CatalogueError> {
        if let Some(built) = self.built.get(&oid) {
            return Ok(Arc::clone(built));
        }
        if depth > DEPTH_MAX {
            return Err(CatalogueError::TooDeep { oid });
        }
        let Some(row) = self.rows.get(&oid) else {
            return Ok(self.known.get(&oid).cloned().unwrap_or_else(|| unknown(oid)));
        };
        let depth = depth + 1;
        let kind = match row.typtype {
            b'e' => Kind::Enum(self.labels.remove(&oid).unwrap_or_default().into()),
            b'd' => Kind::Domain {
                base: self.build(row.base, depth)?,
                typmod: row.typmod,
            },
            b'r' => Kind::Range(self.build(row.subtype, depth)?),
            b'm' => Kind::Multirange(self.build(row.subtype, depth)?),
            b'c' => {
                let mut parts = Vec::new();
                for (name, ty, typmod) in self.attributes.get(&row.relation).into_iter().flatten() {
                    parts.push(Attribute {
                        name: name.clone(),
                        ty: self.build(*ty, depth)?,
                        typmod: *typmod,
                    });
                }
                Kind::Composite(parts.into())
            }
            _ if row.element != 0 => Kind::Array(self.build(row.element, depth)?),
            _ => row.scalar(),
        };
        let ty = Arc::new(PgType {
            oid,
            schema: row.schema.clone(),
            name: row.name.clone(),
            kind,
            delimiter: row.delimiter,
            has_binary: row.has_binary,
        });
        self.built.insert(oid, Arc::clone(&ty));
        Ok(ty)
    }
}

impl Row {
    fn scalar(&self) -> Kind {
        let is_builtin = self.schema == "pg_catalog";
        let scalar = match &self.extension {
            Some(extension) => Scalar::of_extension(extension, &self.name),
            None if is_builtin => Scalar::of_builtin(&self.name),
            None => None,
        };
        match scalar {
            Some(scalar) => Kind::Scalar(scalar),
            None if is_builtin && self.name.starts_with("reg") => Kind::ObjectName,
            None => Kind::Other,
        }
    }
}

/// A part that was dropped between two queries.
fn unknown(oid: u32) -> Arc<PgType> {
    Arc::new(PgType {
        oid,
        schema: "pg_catalog".to_owned(),
        name: format!("unknown_{oid}"),
        kind: Kind::Other,
        delimiter: b',',
        has_binary: false,
    })
}
