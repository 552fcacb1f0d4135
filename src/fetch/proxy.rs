//! Whether a server is to be reached through a proxy, as the environment says it to most programs.

use super::url::Origin;
use std::env;

/// The proxy for a server that speaks TLS: `HTTPS_PROXY`, else `ALL_PROXY`, unless `NO_PROXY` has the server's name or the end
/// of it. Small letters come first.
pub fn of(origin: &Origin) -> Option<String> {
    of_variables(origin, |name| env::var(name).ok())
}

fn of_variables(origin: &Origin, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let value = |name: &str| {
        let set = |name: &str| variable(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        set(name).or_else(|| set(&name.to_ascii_uppercase()))
    };
    let excepted = value("no_proxy").is_some_and(|names| {
        names.split(',').map(|name| name.trim().trim_start_matches('.').to_ascii_lowercase()).any(|name| {
            let ends = || origin.host.strip_suffix(&name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
            name == "*" || (!name.is_empty() && ends())
        })
    });
    // What is no text of one line is no address of a proxy either.
    let proxy = value("https_proxy").or_else(|| value("all_proxy"));
    proxy.filter(|proxy| origin.secure && !excepted && proxy.bytes().all(|byte| byte.is_ascii_graphic()))
}

#[cfg(test)]
mod tests {
    use super::super::url::Url;
    use super::*;

    #[test]
    fn a_proxy_is_for_what_is_not_excepted() {
        let of = |url: &str, variables: &[(&str, &str)]| {
            let variable =
                |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
            of_variables(&Url::parse(url).unwrap().origin, variable)
        };
        let proxy = ("HTTPS_PROXY", "http://proxy:3128");
        assert_eq!(of("https://hub.example", &[proxy]).as_deref(), Some(proxy.1));
        assert_eq!(
            of("https://hub.example", &[proxy, ("https_proxy", "http://other:1")]).as_deref(),
            Some("http://other:1")
        );
        assert_eq!(of("http://hub.example", &[proxy]), None);
        for (names, excepted) in [
            ("hub.example", true),
            (".example", true),
            ("a, example", true),
            ("*", true),
            ("b.example,ub.example", false),
        ] {
            assert_eq!(of("https://hub.example", &[proxy, ("no_proxy", names)]).is_none(), excepted, "{names}");
        }
    }
}
