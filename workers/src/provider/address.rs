//! Where a provider answers: base URLs as people write them, with or without a slash at the end, with or without the path
//! that the provider's own clients append.

use reqwest::Url;

/// How the base URL of a kind of provider is completed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form {
    /// A URL without a path gets this one; any other path is meant (`https://gateway/openai`).
    Default(&'static str),
    /// It ends with this, which the provider's own clients append to every base URL.
    Suffix(&'static str),
    /// The server's root: these ends are not part of it.
    Root(&'static [&'static str]),
}

/// The base URL that paths can be appended to: it ends with a slash. None if it is not an http or https URL.
pub(super) fn base(url: &str, form: Form) -> Option<String> {
    let url = Url::parse(url.trim()).ok()?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() || url.query().is_some() {
        return None;
    }
    let url = url.as_str().split('#').next()?.trim_end_matches('/').to_owned();
    let bare = Url::parse(&url).ok()?.path() == "/";
    Some(match form {
        Form::Default(path) if bare => format!("{url}{path}/"),
        Form::Suffix(path) if !url.ends_with(path) => format!("{url}{path}/"),
        Form::Root(ends) => {
            let root = ends.iter().find_map(|end| url.strip_suffix(end)).unwrap_or(&url);
            format!("{}/", root.trim_end_matches('/'))
        }
        Form::Default(_) | Form::Suffix(_) => format!("{url}/"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_it_is_the_same_address() {
        let (openai, anthropic, ollama) = (Form::Default("/v1"), Form::Suffix("/v1"), Form::Root(&["/v1", "/api"]));
        for (written, form, meant) in [
            ("http://h:1", openai, "http://h:1/v1/"),
            ("http://h:1/", openai, "http://h:1/v1/"),
            ("http://h:1/v1", openai, "http://h:1/v1/"),
            (" http://h:1/v1/ ", openai, "http://h:1/v1/"),
            ("https://h/gateway/openai", openai, "https://h/gateway/openai/"),
            ("https://h", anthropic, "https://h/v1/"),
            ("https://h/v1/", anthropic, "https://h/v1/"),
            ("https://h/anthropic", anthropic, "https://h/anthropic/v1/"),
            ("http://h:11434", ollama, "http://h:11434/"),
            ("http://h:11434/v1", ollama, "http://h:11434/"),
            ("http://h:11434/api/", ollama, "http://h:11434/"),
        ] {
            assert_eq!(base(written, form).as_deref(), Some(meant), "{written}");
        }
        for written in ["", "h:1", "ftp://h", "http://", "http://h/?key=1"] {
            assert_eq!(base(written, openai), None, "{written}");
        }
    }
}
