//! Texts as literals of other languages. What a reader could not see or would take for something else is escaped, and so is
//! all that a language would not take as it stands.

/// A literal in double quotes. `unicode` writes a character by its number; `more` are those that need a backslash too.
fn double(text: &str, more: &[char], unicode: fn(u32) -> String) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '"' | '\\' => quoted.extend(['\\', character]),
            _ if more.contains(&character) => quoted.extend(['\\', character]),
            _ if is_hidden(character) => quoted.push_str(&unicode(character.into())),
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

/// Control characters, ends of line that only some languages know, marks that turn the order of what follows, and the byte
/// order mark, which Go refuses. All of them have numbers of four hexadecimal digits.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// JSON, and with it JavaScript, Python and Go, which know all of its escapes.
pub(super) fn json(text: &str) -> String {
    double(text, &[], |number| format!("\\u{number:04x}"))
}

/// PHP looks for variables in double quotes.
pub(super) fn php(text: &str) -> String {
    double(text, &['$'], |number| format!("\\u{{{number:x}}}"))
}

/// A word for a POSIX shell.
pub(super) fn shell(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Texts that have come out wrong somewhere.
    pub(in crate::dashboard::playground) const NASTY: &[&str] = &[
        "it's \"quoted\" 'twice'",
        "back\\slash \\n \\u0041 \\",
        "$HOME ${HOME} $(id) `id` {$x} #{x} %s %n 100%25",
        "two\nlines\tand a tab",
        "!history !! ~ * ? [a] {a,b} ; & | < > # \\$",
        "é ü ☃ 👩‍👩‍👧 漢字 \u{202e}turned \u{2028} \u{feff} \u{0} \u{7f} \u{1b}[0m",
        "</script><!-- ?> <?php --> JSON EOF",
        "@/etc/passwd",
    ];

    #[test]
    fn what_is_json_can_be_read_as_it() {
        for nasty in NASTY {
            let read: String = serde_json::from_str(&json(nasty)).unwrap();
            assert_eq!(&read, nasty);
            assert!(!json(nasty).contains(is_hidden), "{nasty:?}");
        }
    }

    #[test]
    fn each_language_has_its_escapes() {
        assert_eq!(json("a\"b\\c\n\u{0}\u{202e}$`é"), r#""a\"b\\c\n\u0000\u202e$`é""#);
        assert_eq!(php("a\"b\\c\n\u{0}\u{202e}$x{$y}é"), r#""a\"b\\c\n\u{0}\u{202e}\$x{\$y}é""#);
        assert_eq!(shell("it's $HOME `id` \\ \"x\""), r#"'it'\''s $HOME `id` \ "x"'"#);
    }

    #[test]
    fn a_shell_takes_a_word_for_what_it_is() {
        for nasty in NASTY.iter().map(|nasty| nasty.replace('\0', "")) {
            let script = format!("printf %s {}", shell(&nasty));
            let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), nasty);
        }
    }
}
