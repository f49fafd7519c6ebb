//! `GET /`: is it fine, and what do I do? One page without scripts.

use axum::extract::State;
use axum::response::Html;

use super::Api;
use crate::status;
use crate::terminal::figures;

const STYLE: &str = "\
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.3rem; } pre { overflow-x: auto; padding: 1rem; border: 1px solid #8884; border-radius: .4rem; }
a { color: inherit; } footer { opacity: .7; }
";

/// The page.
pub(super) async fn show(State(api): State<Api>) -> Html<String> {
    let pipelines = api.running.status();
    let text = status::render(&pipelines, crate::terminal::Paint::default(), false);
    let (version, up) = (crate::build::VERSION, figures::uptime(api.running.up_seconds()));
    let hash = api.running.config_hash();
    Html(format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta http-equiv=refresh content=5>\
         <meta name=viewport content='width=device-width'><title>Highwater</title><style>{STYLE}</style>\
         <h1>Highwater {version}</h1><p>up {up}, configuration {hash}</p><pre>{}</pre>\
         <footer><a href=/metrics>metrics</a> · <a href=/readyz>readyz</a> · \
         <a href=/api/v1/pipelines>api/v1/pipelines</a></footer></html>\n",
        escape(&text)
    ))
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            c => escaped.push(c),
        }
    }
    escaped
}
