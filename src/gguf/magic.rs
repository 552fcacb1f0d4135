//! What a file that is no GGUF is instead, told by its first bytes: people give what lies beside a model, or what a failed
//! download left.

/// What the first bytes of a file say it is, and what to do; `None` when they are of no known kind.
pub(super) fn name(start: &[u8]) -> Option<&'static str> {
    let text = start.trim_ascii_start();
    let begins = |with: &[u8]| text.len() >= with.len() && text[..with.len()].eq_ignore_ascii_case(with);
    // A length of eight bytes, then a JSON object.
    let safetensors = || start.get(8) == Some(&b'{') && start[4..8] == [0; 4];
    Some(match start {
        [] => "it is empty: the download did not begin, or the disk was full",
        [b'P', b'K', 3 | 5 | 7, ..] => {
            "it is a ZIP archive: unpack it if a GGUF file is inside; a PyTorch checkpoint must be converted to GGUF"
        }
        [0x1f, 0x8b, ..] => "it is packed with gzip: unpack it first (gunzip)",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "it is packed with zstd: unpack it first (unzstd)",
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => "it is packed with xz: unpack it first (unxz)",
        [b'7', b'z', 0xbc, 0xaf, ..] => "it is a 7z archive: unpack it first",
        [0x7f, b'E', b'L', b'F', ..] | [b'M', b'Z', ..] => "it is a program",
        [0x80, 2..=5, ..] => "it is a Python pickle, an old PyTorch checkpoint: it must be converted to GGUF",
        _ if matches!(start.first_chunk(), Some(b"lmgg" | b"fmgg" | b"tjgg" | b"algg")) => {
            "it is a GGML file, the format before GGUF: get the model as GGUF, or convert it again"
        }
        _ if matches!(start.first_chunk(), Some(b"FUGG")) => "it is a GGUF file whose bytes are in the wrong order",
        _ if begins(b"version https://git-lfs") => {
            "it is a Git LFS pointer, which stands for the file: fetch the file itself with git lfs pull"
        }
        _ if begins(b"<!doctype") || begins(b"<html") || begins(b"<head") => {
            "it is a web page: the download got a page in place of the file, for example one that asks to log in"
        }
        _ if begins(b"<?xml") => "it is an XML document: the download got a message in place of the file",
        _ if safetensors() => "it is a safetensors file: it must be converted to GGUF",
        _ if begins(b"{") || begins(b"[{") => {
            "it is a JSON text: a configuration or manifest, or a server's message in place of the file"
        }
        _ if start.len() >= 4 && start.iter().all(|&byte| byte == 0) => {
            "it begins with zeros: a download that is not finished, or was interrupted"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn what_people_give_in_place_of_a_model_is_named() {
        let safetensors = [&200u64.to_le_bytes()[..], b"{\"__metadata__\":{}}"].concat();
        for (start, word) in [
            (&b""[..], "empty"),
            (b"PK\x03\x04\x14\0\0\0", "ZIP"),
            (b"\x1f\x8b\x08\0", "gzip"),
            (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
            (b"\n\n  <!DOCTYPE html><html>", "web page"),
            (b"<HTML><HEAD>", "web page"),
            (&safetensors, "safetensors"),
            (b"{\"error\":\"Invalid username or password.\"}", "JSON"),
            (b"tjgg\x01\0\0\0", "before GGUF"),
            (b"\x80\x02\x8a\x0al\xfc", "pickle"),
            (&[0; 64], "not finished"),
        ] {
            let found = name(start).unwrap_or_default();
            assert!(found.contains(word), "{}: {found:?}", start.escape_ascii());
        }
        assert_eq!(name(b"hello, world"), None);
        assert_eq!(name(b"\x01\x02"), None);
    }
}
