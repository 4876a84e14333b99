//! Quotes paths in commands that are printed for copying.

use std::path::Path;

/// A path as a shell argument: quoted where a space, a quote or the like needs it, and with a dot
/// before a leading dash, which would begin a flag.
///
/// A name that is not printable, or not text, is written as `$'…'`, which bash, zsh and ksh
/// understand.
#[must_use]
pub fn quoted(path: &Path) -> String {
    let dot = if path.as_os_str().as_encoded_bytes().starts_with(b"-") { "./" } else { "" };
    let bytes = [dot.as_bytes(), path.as_os_str().as_encoded_bytes()].concat();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+,:@%=".contains(c);
    match std::str::from_utf8(&bytes) {
        Ok(text) if !text.is_empty() && text.chars().all(is_plain) => text.to_owned(),
        Ok(text) if cfg!(windows) => {
            // Names there are not quoted.
            if text.chars().all(|c| is_plain(c) || c == '\\') {
                text.to_owned()
            } else {
                format!("\"{text}\"")
            }
        }
        Ok(text) if crate::human::printable(text) == text && !text.contains(['\n', '\t']) => {
            format!("'{}'", text.replace('\'', r"'\''"))
        }
        _ => {
            let escape = |&byte: &u8| match byte {
                b'\'' | b'\\' => format!("\\{}", byte as char),
                b' '..=b'~' => (byte as char).to_string(),
                _ => format!("\\x{byte:02x}"),
            };
            format!("$'{}'", bytes.iter().map(escape).collect::<String>())
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    use std::process::Command;

    use super::*;

    #[test]
    fn plain_paths_stay_as_they_are() {
        for plain in ["runs/00003-dcgan-set-64", "../a_b.safetensors", "Füße/猫.png", "a-b"] {
            assert_eq!(quoted(Path::new(plain)), plain);
        }
    }

    #[test]
    fn a_shell_reads_back_what_was_quoted() {
        let names: [&[u8]; 9] = [
            b"my runs/a b",
            b"it's",
            b"$HOME `id` \"x\" \\ !! ;&|<>()*?[]{}#~",
            b"~",
            b"-rf",
            b"",
            b"new\nline\ttab",
            b"\x1b]0;x\x07 and 'quotes' \\",
            b"not \xff\xfe text",
        ];
        for name in names {
            let path = Path::new(OsStr::from_bytes(name));
            let text = quoted(path);
            assert!(!text.contains(['\u{1b}', '\n']) && !text.starts_with('-'), "{text:?}");
            let script = format!("printf %s {text}");
            // Not every sh supports $'…'.
            let shell = if text.starts_with('$') { "bash" } else { "sh" };
            let Ok(output) = Command::new(shell).args(["-c", &script]).output() else { continue };
            let read = output.stdout.strip_prefix(b"./").filter(|_| name.starts_with(b"-"));
            assert_eq!(read.unwrap_or(&output.stdout), name, "{text}");
        }
        assert!(Command::new("sh").args(["-c", ":"]).status().unwrap().success());
    }
}
