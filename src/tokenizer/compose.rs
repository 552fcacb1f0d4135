//! Unicode's composed form (NFC), as the model's texts were composed in training.
//!
//! The normaliser of that time knows Unicode 9. Characters that came later have no order among combining marks and no
//! part in compositions for it, so they are left where they are and end what comes before them.

use std::borrow::Cow;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// First and last of the ranges of characters that Unicode 10 to 18 made combining marks with an order, or parts or
/// results of a composition; ascending. Ranges may hold characters that no version changed.
#[rustfmt::skip]
const NEWER: &[(u32, u32)] = &[
    (0x5c8, 0x5c9), (0x7fd, 0x7fd), (0x897, 0x89f), (0x8ca, 0x8d3), (0x9fe, 0x9fe), (0xc3c, 0xc3c), (0xd3b, 0xd3c), (0xeba, 0xeba), (0x1715, 0x1715), (0x1abf, 0x1af0), (0x1df6, 0x1dfa), (0xa82c, 0xa82c), (0x105c9, 0x105c9), (0x105d2, 0x105d2), (0x105da, 0x105da), (0x105e4, 0x105e4), (0x10d24, 0x10d27), (0x10d69, 0x10d6d), (0x10eab, 0x10eac), (0x10ecb, 0x10ecf), (0x10ef0, 0x10efb), (0x10efd, 0x10eff), (0x10f46, 0x10f50), (0x10f82, 0x10f85), (0x11070, 0x11070), (0x1133b, 0x1133b), (0x11382, 0x11385), (0x1138b, 0x1138b), (0x1138e, 0x1138e), (0x11390, 0x11391), (0x113b8, 0x113b8), (0x113bb, 0x113bb), (0x113c2, 0x113c2), (0x113c5, 0x113c5), (0x113c7, 0x113c9), (0x113ce, 0x113d0), (0x1145e, 0x1145e), (0x11839, 0x1183a), (0x11930, 0x11930), (0x11935, 0x11935), (0x11938, 0x11938), (0x1193d, 0x1193e), (0x11943, 0x11943), (0x119e0, 0x119e0), (0x11a34, 0x11a34), (0x11a47, 0x11a47), (0x11a99, 0x11a99), (0x11d42, 0x11d42), (0x11d44, 0x11d45), (0x11d97, 0x11d97), (0x11f41, 0x11f42), (0x1611e, 0x16129), (0x1612f, 0x1612f), (0x16d63, 0x16d63), (0x16d67, 0x16d6a), (0x16ff0, 0x16ff1), (0x1d127, 0x1d128), (0x1d250, 0x1d252), (0x1d25b, 0x1d25c), (0x1d25f, 0x1d25f), (0x1d280, 0x1d281), (0x1e08f, 0x1e08f), (0x1e130, 0x1e136), (0x1e2ae, 0x1e2ae), (0x1e2ec, 0x1e2ef), (0x1e4ec, 0x1e4ef), (0x1e5ee, 0x1e5ef), (0x1e6e3, 0x1e6e3), (0x1e6e6, 0x1e6e6), (0x1e6ee, 0x1e6ef), (0x1e6f5, 0x1e6f5),
];

fn is_newer(c: char) -> bool {
    let c = c as u32;
    let at = NEWER.partition_point(|&(_, last)| last < c);
    NEWER.get(at).is_some_and(|&(first, _)| first <= c)
}

/// The composed form of a text; nothing is copied where it is composed already.
pub fn compose(text: &str) -> Cow<'_, str> {
    // A text that is composed by today's rules is by the old ones: these move and join less.
    if text.is_ascii() || is_nfc_quick(text.chars()) == IsNormalized::Yes {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((at, newer)) = rest.char_indices().find(|&(_, c)| is_newer(c)) {
        out.extend(rest[..at].nfc());
        out.push(newer);
        rest = &rest[at + newer.len_utf8()..];
    }
    out.extend(rest.nfc());
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_composed_and_what_is_composed_is_not_copied() {
        assert_eq!(compose("e\u{301}"), "é");
        assert_eq!(compose("q\u{301}\u{323}"), "q\u{323}\u{301}");
        assert_eq!(compose("\u{1112}\u{1161}\u{11ab}"), "한");
        assert_eq!(compose("\u{212b}"), "Å");
        for text in ["", "ascii", "déjà 世界 한국어", "нет"] {
            assert!(matches!(compose(text), Cow::Borrowed(_)), "{text}");
        }
    }

    #[test]
    fn characters_younger_than_the_normaliser_stay_where_they_are() {
        // A Telugu mark of Unicode 14, which would go before the accent; a composition of Unicode 16.
        assert_eq!(compose("a\u{300}\u{301}\u{c3c}\u{300}"), "à\u{301}\u{c3c}\u{300}");
        assert_eq!(compose("\u{16d63}\u{16d67}e\u{301}"), "\u{16d63}\u{16d67}é");
        assert!(NEWER.is_sorted() && NEWER.iter().all(|(first, last)| first <= last));
    }
}
