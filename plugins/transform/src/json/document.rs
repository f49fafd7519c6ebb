/// How deep documents may be nested. Each level is a call.
const DEPTH_MAX: usize = 256;

/// A JSON text as a tree whose leaves are spelled as they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Document {
    /// A text, a number, `true`, `false` or `null`.
    Leaf(String),
    /// Its elements.
    Array(Vec<Document>),
    /// Its members, in their order.
    Object(Vec<Member>),
}

/// A member of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    /// With its quotes, as it came.
    raw_name: String,
    /// What it says.
    pub(crate) name: String,
    pub(crate) value: Document,
}

impl Document {
    /// Reads a text; `None` if it is not JSON, or nested too deep.
    pub(crate) fn parse(text: &str) -> Option<Document> {
        let mut reader = Reader { text, at: 0 };
        let document = reader.value(DEPTH_MAX)?;
        reader.blanks();
        (reader.at == text.len()).then_some(document)
    }

    /// A text as a leaf.
    pub(crate) fn text(text: &str) -> Document {
        Document::Leaf(quoted(text))
    }

    /// What a leaf says if it is a text.
    pub(crate) fn as_text(&self) -> Option<String> {
        match self {
            Document::Leaf(raw) if raw.starts_with('"') => serde_json::from_str(raw).ok(),
            _ => None,
        }
    }

    /// Whether it is `null`.
    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Document::Leaf(raw) if raw == "null")
    }

    /// The text, without blanks between its parts.
    pub(crate) fn render(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) {
        match self {
            Document::Leaf(raw) => out.push_str(raw),
            Document::Array(elements) => {
                out.push('[');
                for (at, element) in elements.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    element.write(out);
                }
                out.push(']');
            }
            Document::Object(members) => {
                out.push('{');
                for (at, member) in members.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    out.push_str(&member.raw_name);
                    out.push(':');
                    member.value.write(out);
                }
                out.push('}');
            }
        }
    }
}

/// `{"name":value}`.
impl From<(&str, Document)> for Document {
    fn from((name, value): (&str, Document)) -> Self {
        Document::Object(vec![Member {
            raw_name: quoted(name),
            name: name.to_owned(),
            value,
        }])
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        self.blanks();
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn value(&mut self, depth: usize) -> Option<Document> {
        let below = depth.checked_sub(1)?;
        self.blanks();
        match self.peek()? {
            b'{' => self.object(below),
            b'[' => self.array(below),
            b'"' => self.text().map(|(raw, _)| Document::Leaf(raw)),
            _ => self.bare(),
        }
    }

    fn object(&mut self, depth: usize) -> Option<Document> {
        self.take(b'{')?;
        let mut members = Vec::new();
        if self.take(b'}').is_some() {
            return Some(Document::Object(members));
        }
        loop {
            self.blanks();
            let (raw_name, name) = self.text()?;
            self.take(b':')?;
            let value = self.value(depth)?;
            members.push(Member { raw_name, name, value });
            if self.take(b'}').is_some() {
                return Some(Document::Object(members));
            }
            self.take(b',')?;
        }
    }

    fn array(&mut self, depth: usize) -> Option<Document> {
        self.take(b'[')?;
        let mut elements = Vec::new();
        if self.take(b']').is_some() {
            return Some(Document::Array(elements));
        }
        loop {
            elements.push(self.value(depth)?);
            if self.take(b']').is_some() {
                return Some(Document::Array(elements));
            }
            self.take(b',')?;
        }
    }

    /// A quoted text: as it came, and what it says.
    fn text(&mut self) -> Option<(String, String)> {
        let from = self.at;
        if self.peek()? != b'"' {
            return None;
        }
        self.at += 1;
        loop {
            match self.peek()? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        let raw = self.text.get(from..self.at)?;
        Some((raw.to_owned(), serde_json::from_str(raw).ok()?))
    }

    /// A number or a word; `serde_json` says whether it is one.
    fn bare(&mut self) -> Option<Document> {
        let from = self.at;
        while self
            .peek()
            .is_some_and(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        {
            self.at += 1;
        }
        let raw = &self.text[from..self.at];
        let is_valid = match raw {
            "true" | "false" | "null" => true,
            number => is_number(number),
        };
        is_valid.then(|| Document::Leaf(raw.to_owned()))
    }
}

/// The grammar of JSON's numbers, of any size.
fn is_number(text: &str) -> bool {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let text = text.strip_prefix('-').unwrap_or(text);
    let whole = digits(text);
    if whole == 0 || (whole > 1 && text.starts_with('0')) {
        return false;
    }
    let mut rest = &text[whole..];
    if let Some(fraction) = rest.strip_prefix('.') {
        let count = digits(fraction);
        if count == 0 {
            return false;
        }
        rest = &fraction[count..];
    }
    match rest.strip_prefix(['e', 'E']) {
        None => rest.is_empty(),
        Some(exponent) => {
            let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            !exponent.is_empty() && digits(exponent) == exponent.len()
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn values_keep_their_spelling_and_blanks_go() {
        let text = " { \"a\" : [ 1.50e+3 , -0, 123456789012345678901234567890 ],\n\"\\u0062\":\"x\\n\",\"c\":{},\"d\":[],\"e\":null } ";
        assert_eq!(
            Document::parse(text).unwrap().render(),
            r#"{"a":[1.50e+3,-0,123456789012345678901234567890],"\u0062":"x\n","c":{},"d":[],"e":null}"#
        );
    }

    #[test]
    fn what_serde_json_refuses_is_refused() {
        let texts = [
            "",
            "{",
            "[1,]",
            "{\"a\":}",
            "{a:1}",
            "01",
            "1.",
            "-",
            "+1",
            "1e",
            "tru",
            "nul",
            "\"a",
            "\"\\x\"",
            "[1 2]",
            "{} {}",
            "\"\t\"",
            "NaN",
            "'a'",
            "é",
            "[",
            "\"\\",
            "{\"a\" 1}",
            "--1",
            "1.e3",
            "true",
            "0",
            "-0.0e-1",
            "\"é\"",
            "[[],{}]",
        ];
        for text in texts {
            let is_json = serde_json::from_str::<serde_json::Value>(text).is_ok();
            assert_eq!(Document::parse(text).is_some(), is_json, "{text}");
        }
    }

    #[test]
    fn depth_has_a_limit() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(Document::parse(&nested(DEPTH_MAX)).is_some());
        assert!(Document::parse(&nested(DEPTH_MAX + 1)).is_none());
        assert!(Document::parse(&nested(1_000_000)).is_none());
    }
}
