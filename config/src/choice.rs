//! Fields with a fixed set of words: one definition from which the type, the reading, the suggestions and the schema follow.

/// A word that a field may hold, as the schema and the documentation show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// As it is written.
    pub name: &'static str,
    /// What it means.
    pub doc: &'static str,
}

/// A type whose values are words.
pub trait Choices: Copy + PartialEq + 'static {
    /// All of them with their words.
    const ALL: &'static [(Self, Choice)];
    /// Words that the format knows and this version cannot do, with what they would need.
    const LATER: &'static [(&'static str, &'static str)];

    /// The word.
    fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(value, _)| *value == self)
            .map_or("", |(_, choice)| choice.name)
    }

    /// The value of a word.
    fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(_, choice)| choice.name == text)
            .map(|(value, _)| *value)
    }
}

/// Defines an enum and its [`Choices`]: the doc comment of a variant is what the user reads about the word.
macro_rules! choices {
    (
        $(#[doc = $doc:literal])+
        pub enum $name:ident {
            $( $(#[doc = $variant_doc:literal])+ $variant:ident = $word:literal, )+
        }
        $( later { $( $later:literal => $why:literal, )+ } )?
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
        pub enum $name {
            $( $(#[doc = $variant_doc])+ #[serde(rename = $word)] $variant, )+
        }

        impl $crate::choice::Choices for $name {
            const ALL: &'static [(Self, $crate::choice::Choice)] = &[
                $( (Self::$variant, $crate::choice::Choice { name: $word, doc: concat!($($variant_doc),+).trim_ascii() }), )+
            ];
            const LATER: &'static [(&'static str, &'static str)] = &[ $( $( ($later, $why), )+ )? ];
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str($crate::choice::Choices::name(*self))
            }
        }
    };
}

pub(crate) use choices;
