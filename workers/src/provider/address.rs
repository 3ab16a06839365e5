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

/// Where `path` is under a base URL, with the query that this may have. None if it is not an http or https URL. A base URL that
/// has the path already is taken as it is.
pub(super) fn of(base: &str, form: Form, path: &str) -> Option<String> {
    let mut url = Url::parse(base.trim()).ok()?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return None;
    }
    url.set_fragment(None);
    let query = url.query().filter(|query| !query.is_empty()).map(|query| format!("?{query}")).unwrap_or_default();
    url.set_query(None);
    let url = url.as_str().trim_end_matches('/');
    if url.strip_suffix(path).is_some_and(|rest| rest.ends_with('/')) {
        return Some(format!("{url}{query}"));
    }
    let rootless = Url::parse(url).ok()?.path() == "/";
    let base = match form {
        Form::Default(path) if rootless => format!("{url}{path}"),
        Form::Suffix(path) if !url.ends_with(path) => format!("{url}{path}"),
        Form::Root(ends) => {
            let root = ends.iter().find_map(|end| url.strip_suffix(end)).unwrap_or(url);
            root.trim_end_matches('/').to_owned()
        }
        Form::Default(_) | Form::Suffix(_) => url.to_owned(),
    };
    Some(format!("{base}/{path}{query}"))
}

/// Whether Azure answers there, or something that is asked like it: these have keys in a header of their own.
pub(super) fn is_azure(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
    let domains = [".azure.com", ".azure.us", ".azure.cn", ".azure-api.net"];
    domains.iter().any(|domain| host.ends_with(domain)) || url.query_pairs().any(|(name, _)| name == "api-version")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_it_is_the_same_address() {
        let (openai, anthropic, ollama) = (Form::Default("/v1"), Form::Suffix("/v1"), Form::Root(&["/v1", "/api"]));
        let azure = "https://r.openai.azure.com/openai/deployments/d";
        for (written, form, meant) in [
            ("http://h:1", openai, "http://h:1/v1/x/y"),
            ("http://h:1/", openai, "http://h:1/v1/x/y"),
            ("http://h:1/v1", openai, "http://h:1/v1/x/y"),
            (" http://h:1/v1/ ", openai, "http://h:1/v1/x/y"),
            ("http://h:1/v1/x/y", openai, "http://h:1/v1/x/y"),
            ("http://h:1/v1/x/y/?a=b", openai, "http://h:1/v1/x/y?a=b"),
            ("https://h/gateway/openai", openai, "https://h/gateway/openai/x/y"),
            ("https://h", anthropic, "https://h/v1/x/y"),
            ("https://h/v1/", anthropic, "https://h/v1/x/y"),
            ("https://h/anthropic", anthropic, "https://h/anthropic/v1/x/y"),
            ("http://h:11434", ollama, "http://h:11434/x/y"),
            ("http://h:11434/v1", ollama, "http://h:11434/x/y"),
            ("http://h:11434/api/", ollama, "http://h:11434/x/y"),
            ("http://h/?key=1", openai, "http://h/v1/x/y?key=1"),
            ("http://h?a=/v1&b=%20#c", openai, "http://h/v1/x/y?a=/v1&b=%20"),
            (&format!("{azure}?api-version=2024-10-21"), openai, &format!("{azure}/x/y?api-version=2024-10-21")),
            (&format!("{azure}/?"), openai, &format!("{azure}/x/y")),
        ] {
            assert_eq!(of(written, form, "x/y").as_deref(), Some(meant), "{written}");
        }
        for written in ["", "h:1", "ftp://h", "http://"] {
            assert_eq!(of(written, openai, "x/y"), None, "{written}");
        }
    }

    #[test]
    fn azure_is_known_by_its_hosts_and_its_query() {
        for url in ["https://r.openai.azure.com/openai/v1/x", "https://R.Azure-API.net", "http://h/x?a=b&api-version=1"]
        {
            assert!(is_azure(url), "{url}");
        }
        for url in ["https://api.openai.com/v1", "https://azure.com.example", "http://h/api-version"] {
            assert!(!is_azure(url), "{url}");
        }
    }
}
