//! The `path` template: a fixed root, and below it the directory that a row belongs to.
//!
//! Invariants, whatever a stream is called: the directory lies below the root and not in `_highwater/`; each of its
//! segments is one path segment of at most 200 bytes that every file system takes; equal names give equal segments.
//! Different streams may give segments that differ in case alone, or not at all (`{table}`); the destination tells those
//! apart by a tag (see `streams`).

use jiff::Timestamp;
use jiff::tz::TimeZone;
use model::StreamId;
use xxhash_rust::xxh3::xxh3_64;

/// Longest segment. File systems end at 255 bytes; tags and extensions come on top.
const SEGMENT_BYTES_MAX: usize = 200;

/// Names that Windows gives to devices, whatever the extension.
const DEVICES: [&str; 22] = [
    "con", "prn", "aux", "nul", "com1", "com2", "com3", "com4", "com5", "com6", "com7", "com8", "com9", "lpt1", "lpt2",
    "lpt3", "lpt4", "lpt5", "lpt6", "lpt7", "lpt8", "lpt9",
];

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Stream,
    Schema,
    Table,
    Date,
    Hour,
}

/// The directory of a row, relative to the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    segments: Vec<Vec<Piece>>,
}

/// Why a `path` is no template: what, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TemplateError {
    pub(crate) message: String,
    pub(crate) hint: &'static str,
}

const PLACEHOLDERS: &str = "the placeholders are `{stream}`, `{schema}`, `{table}`, `{date}` and `{hour}`";

impl Template {
    /// Splits a `path` into its fixed root and the template below it.
    pub(crate) fn parse(path: &str) -> Result<(String, Template), TemplateError> {
        let refuse = |message: String, hint| Err(TemplateError { message, hint });
        if path.contains('\0') {
            return refuse("`path` contains a NUL character".to_owned(), "remove the NUL character");
        }
        let first = path.find('{').unwrap_or(path.len());
        let root_end = path[..first].rfind('/').map_or(0, |slash| slash + 1);
        let (root, below) = path.split_at(root_end);
        let mut segments = Vec::new();
        for segment in below.split('/').filter(|segment| !segment.is_empty()) {
            segments.push(parse_segment(segment)?);
        }
        let has = |piece: &Piece| segments.iter().flatten().any(|p| p == piece);
        if !has(&Piece::Stream) && !has(&Piece::Table) {
            return refuse(
                format!("`path` is `{path}`, which puts the files of all streams together"),
                "put `{stream}` or `{table}` into it: `./out/{stream}/`",
            );
        }
        let root = match root.trim_end_matches('/') {
            "" if root.starts_with('/') => "/",
            "" => ".",
            root => root,
        };
        Ok((root.to_owned(), Template { segments }))
    }

    /// The directory of a row of `stream` whose transaction was committed at `time`, with `/` between segments.
    pub(crate) fn directory(&self, stream: &StreamId, tag: &str, time: model::Timestamp) -> String {
        self.render(stream, tag, Some(time))
    }

    /// What all directories of a stream have in common, folded in case: two streams must not have the same.
    pub(crate) fn identity(&self, stream: &StreamId, tag: &str) -> String {
        self.render(stream, tag, None).to_lowercase()
    }

    /// Whether two commit times belong into different directories.
    pub(crate) fn parts(&self, a: model::Timestamp, b: model::Timestamp) -> bool {
        let unit_us = match () {
            () if self.has(&Piece::Hour) => 3_600_000_000,
            () if self.has(&Piece::Date) => 86_400_000_000,
            () => return false,
        };
        a.micros().div_euclid(unit_us) != b.micros().div_euclid(unit_us)
    }

    fn has(&self, piece: &Piece) -> bool {
        self.segments.iter().flatten().any(|p| p == piece)
    }

    fn render(&self, stream: &StreamId, tag: &str, time: Option<model::Timestamp>) -> String {
        let segments: Vec<String> = self
            .segments
            .iter()
            .map(|pieces| {
                let text: String = pieces.iter().map(|piece| expand(piece, stream, tag, time)).collect();
                let is_ours = matches!(pieces.first(), Some(Piece::Literal(_)));
                finish_segment(text, is_ours)
            })
            .collect();
        segments.join("/")
    }
}

fn parse_segment(segment: &str) -> Result<Vec<Piece>, TemplateError> {
    let refuse = |message: String, hint| Err(TemplateError { message, hint });
    if segment.starts_with('.') || segment.eq_ignore_ascii_case("_highwater") {
        return refuse(
            format!("`path` has the segment `{segment}` after its first placeholder"),
            "segments there must not start with a dot, and `_highwater` is taken",
        );
    }
    let mut pieces = Vec::new();
    let mut rest = segment;
    while let Some(open) = rest.find(['{', '}']) {
        let (literal, from) = rest.split_at(open);
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal.to_owned()));
        }
        let Some(close) = from.find('}').filter(|_| from.starts_with('{')) else {
            return refuse(format!("`path` has a lone brace in `{segment}`"), PLACEHOLDERS);
        };
        pieces.push(match &from[1..close] {
            "stream" => Piece::Stream,
            "schema" => Piece::Schema,
            "table" => Piece::Table,
            "date" => Piece::Date,
            "hour" => Piece::Hour,
            unknown => {
                return refuse(
                    format!("`path` has the unknown placeholder `{{{unknown}}}`"),
                    PLACEHOLDERS,
                );
            }
        });
        rest = &from[close + 1..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Literal(rest.to_owned()));
    }
    Ok(pieces)
}

fn expand(piece: &Piece, stream: &StreamId, tag: &str, time: Option<model::Timestamp>) -> String {
    match piece {
        Piece::Literal(text) => text.clone(),
        Piece::Stream => match stream.schema() {
            Some(schema) => format!("{}.{}{tag}", encode(schema), encode(stream.name())),
            None => format!("{}{tag}", encode(stream.name())),
        },
        // No encoded name is `~~`, which leaves `~` for streams without a schema.
        Piece::Schema => match stream.schema() {
            None => "~".to_owned(),
            Some("") => "~~".to_owned(),
            Some(schema) => encode(schema),
        },
        Piece::Table => format!("{}{tag}", encode(stream.name())),
        Piece::Date => time.map_or_else(|| "{date}".to_owned(), |time| strftime(time, "%Y-%m-%d")),
        Piece::Hour => time.map_or_else(|| "{hour}".to_owned(), |time| strftime(time, "%H")),
    }
}

fn strftime(time: model::Timestamp, format: &str) -> String {
    // Beyond the year 9999 no calendar is agreed on; such a time is a mistake of the source's clock, not ours to refuse.
    let time = Timestamp::from_microsecond(time.micros()).unwrap_or(if time.micros() < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    });
    time.to_zoned(TimeZone::UTC).strftime(format).to_string()
}

/// Everything but `[A-Za-z0-9_-]` as `%XX`; nothing at all as `~`.
pub(crate) fn encode(name: &str) -> String {
    if name.is_empty() {
        return "~".to_owned();
    }
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => encoded.push(byte as char),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// Names that some reader passes over or some system refuses get their first character encoded; long ones end in a hash.
pub(crate) fn finish_segment(mut segment: String, starts_with_literal: bool) -> String {
    let stem = segment.split('.').next().unwrap_or_default().to_lowercase();
    let is_hidden = segment.starts_with('_') && !starts_with_literal;
    if is_hidden || DEVICES.contains(&stem.as_str()) {
        let first = segment.remove(0);
        segment.insert_str(0, &format!("%{:02X}", first as u32));
    }
    if segment.len() > SEGMENT_BYTES_MAX {
        let hash = xxh3_64(segment.as_bytes());
        let mut end = SEGMENT_BYTES_MAX - 17;
        while !segment.is_char_boundary(end) || segment.as_bytes()[end - 2..end].contains(&b'%') {
            end -= 1;
        }
        segment.truncate(end);
        segment.push_str(&format!("~{hash:016x}"));
    }
    segment
}

/// What tells a stream apart from one whose directories would be the same.
pub(crate) fn distinguishing_tag(stream: &StreamId) -> String {
    format!("~{:08x}", xxh3_64(stream.to_string().as_bytes()) as u32)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::{Component, Path};

    use proptest::prelude::*;

    use super::*;

    fn render(path: &str, stream: &StreamId) -> String {
        let (_, template) = Template::parse(path).unwrap();
        // 2026-11-25T23:59:59.999999Z
        template.directory(stream, "", model::Timestamp(1_795_651_199_999_999))
    }

    #[test]
    fn template_splits_into_root_and_directories() {
        let orders = StreamId::in_schema("public", "orders");
        for (path, root, directory) in [
            ("./out/{stream}/date={date}/", "./out", "public.orders/date=2026-11-25"),
            ("out/{schema}/{table}", "out", "public/orders"),
            (
                "/data/lake/shop-{table}/x/{date}T{hour}",
                "/data/lake",
                "shop-orders/x/2026-11-25T23",
            ),
            ("{stream}", ".", "public.orders"),
            ("/{stream}", "/", "public.orders"),
        ] {
            assert_eq!(Template::parse(path).unwrap().0, root);
            assert_eq!(render(path, &orders), directory);
        }
    }

    #[test]
    fn template_refuses_what_is_none() {
        for (path, message) in [
            (
                "./out/",
                "`path` is `./out/`, which puts the files of all streams together",
            ),
            (
                "./out/{date}/",
                "`path` is `./out/{date}/`, which puts the files of all streams together",
            ),
            ("./{stream}/{day}", "`path` has the unknown placeholder `{day}`"),
            ("./{stream", "`path` has a lone brace in `{stream`"),
            ("./{stream}}", "`path` has a lone brace in `{stream}}`"),
            (
                "./{stream}/../x",
                "`path` has the segment `..` after its first placeholder",
            ),
            ("./_highwater/{stream}\0", "`path` contains a NUL character"),
        ] {
            assert_eq!(Template::parse(path).unwrap_err().message, message);
        }
    }

    #[test]
    fn hostile_names_stay_one_segment() {
        for (name, segment) in [
            ("../../etc/passwd", "%2E%2E%2F%2E%2E%2Fetc%2Fpasswd"),
            ("..", "%2E%2E"),
            ("/abs", "%2Fabs"),
            ("CON", "%43ON"),
            ("nul\0", "nul%00"),
            ("", "~"),
            ("_highwater", "%5Fhighwater"),
            ("Größe", "Gr%C3%B6%C3%9Fe"),
        ] {
            assert_eq!(render("x/{stream}", &StreamId::new(name)), segment);
        }
        let long = render("x/{stream}", &StreamId::new("é".repeat(300)));
        assert!(
            long.len() <= SEGMENT_BYTES_MAX && !long.contains("%~") && !long.contains("%C~"),
            "{long}"
        );
    }

    #[test]
    fn schema_without_a_name_is_not_no_schema() {
        let path = "x/{schema}/{table}";
        assert_eq!(render(path, &StreamId::new("t")), "~/t");
        assert_eq!(render(path, &StreamId::in_schema("", "t")), "~~/t");
        assert_eq!(render(path, &StreamId::in_schema("~", "t")), "%7E/t");
    }

    #[test]
    fn rows_of_two_days_belong_apart() {
        let (_, by_day) = Template::parse("{stream}/{date}").unwrap();
        let (_, flat) = Template::parse("{stream}").unwrap();
        let (before, after) = (model::Timestamp(-1), model::Timestamp(0));
        assert!(by_day.parts(before, after) && !by_day.parts(after, model::Timestamp(86_399_999_999)));
        assert!(!flat.parts(before, after));
    }

    proptest! {
        #[test]
        fn every_stream_has_a_directory_of_its_own_below_the_root(
            a in stream(), b in stream(), path in prop::sample::select(vec!["r/{stream}/d={date}", "r/{schema}/{table}"]),
        ) {
            let (_, template) = Template::parse(path).unwrap();
            let (left, right) = (render(path, &a), render(path, &b));
            for directory in [&left, &right] {
                prop_assert!(Path::new(directory).components().all(|c| matches!(c, Component::Normal(_))));
                prop_assert!(directory.split('/').all(|s| !s.is_empty() && s.len() <= SEGMENT_BYTES_MAX));
                prop_assert!(!directory.starts_with(['.', '_']) && directory.is_ascii());
                prop_assert!(object_store::path::Path::parse(directory).is_ok());
            }
            prop_assert_eq!(left == right, a == b);
            if a != b {
                // The tag decides where names differ in case alone.
                prop_assert!(template.identity(&a, "") != template.identity(&b, &distinguishing_tag(&b)));
            }
        }
    }

    fn stream() -> impl Strategy<Value = StreamId> {
        let part = prop_oneof![
            "\\PC{0,8}",
            "[aA._/~%]{0,4}",
            "[a-z]{150,260}",
            prop::sample::select(vec!["CON", "con", "..", "_highwater", "", "a.b"]).prop_map(str::to_owned),
        ];
        (prop::option::of(part.clone()), part).prop_map(|(schema, name)| match schema {
            Some(schema) => StreamId::in_schema(schema, name),
            None => StreamId::new(name),
        })
    }
}
