use api::SpecError;

/// The name of a table, made of its old one: Go's template language, of which `{{.OldName}}` is all that can be of use.
pub(super) struct Template(Vec<Part>);

enum Part {
    Text(String),
    OldName,
}

impl Template {
    pub(super) fn parse(text: &str) -> Result<Template, SpecError> {
        let refuse = |what: &str| {
            SpecError::at("/new_table_name_template", format!("cannot read `{text}`: {what}"))
                .hint("use `{{.OldName}}` for the old name, as in `prod_{{.OldName}}`")
        };
        if text.is_empty() {
            return Err(refuse("it is empty"));
        }
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some((before, after)) = rest.split_once("{{") {
            let (action, behind) = after.split_once("}}").ok_or_else(|| refuse("`{{` is not closed"))?;
            if action.trim() != ".OldName" {
                return Err(refuse("only `.OldName` can stand in braces"));
            }
            parts.extend([Part::Text(before.to_owned()), Part::OldName]);
            rest = behind;
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Template(parts))
    }

    pub(super) fn render(&self, old: &str) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::OldName => old.to_owned(),
        };
        self.0.iter().map(part).collect()
    }
}
