//! Taking secrets out of text that others wrote: log lines, error texts, reasons.
//!
//! It is a net, not a proof: it knows the shapes that secrets usually have. What is given to us as a secret
//! never gets this far in the first place.

/// What stands where something was taken out. It has no shape of a secret itself.
const HIDDEN: &str = "***";
/// No line is longer than this many characters.
pub const LINE_LIMIT: usize = 500;
/// What ends a line that was longer.
const CUT: &str = " [cut]";
/// What is looked at, in bytes; the rest is dropped, so that a huge line costs no more than a long one.
const TEXT_LIMIT: usize = 64 * 1024;

/// Key words: a value whose key contains one of these is hidden.
const SECRET_WORDS: [&str; 15] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "api-key",
    "api_key",
    "accesskey",
    "access_key",
    "privatekey",
    "credential",
    "signature",
    "authorization",
    "cookie",
];
/// And one whose key ends in one of these.
const SECRET_ENDS: [&str; 7] = ["pwd", "_pass", "_key", "-key", "_pat", "_auth", "dsn"];
/// Beginnings of tokens that tell what they are.
const TOKEN_STARTS: [&str; 16] = [
    "ghp_",
    "gho_",
    "ghs_",
    "ghu_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "xoxa-",
    "xapp-",
    "sk_live_",
    "rk_live_",
    "npm_",
    "hvs.",
    "AIza",
];

/// Text that is safe to show: without AWS keys and other tokens of known shape, bearer tokens, `password=...`
/// pairs, user names and passwords in URLs, PEM blocks, long random-looking runs, control characters and escape
/// sequences; and without lines of more than [`LINE_LIMIT`] characters. Lines stay lines.
#[must_use]
pub fn scrub(text: &str) -> String {
    scrubbed(capped(text)).join("\n")
}

fn scrubbed(text: &str) -> Vec<String> {
    let text = hide_pem(&printable(text));
    text.split('\n').map(|line| shortened(&hide_tokens(&hide_urls(&hide_pairs(line))))).collect()
}

/// As [`scrub`], and on one line.
#[must_use]
pub fn scrub_line(text: &str) -> String {
    let text = scrub(text);
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    shortened(&lines.join(" | "))
}

/// Scrubs lines that belong together, so that a key which spans several of them is seen as one. There may be
/// fewer of them afterwards.
pub fn scrub_lines<T: AsRef<str>>(lines: impl IntoIterator<Item = T>) -> Vec<String> {
    // A line break inside a line would make two of it.
    let one = |line: T| capped(line.as_ref()).replace(['\n', '\r'], " ");
    let lines: Vec<_> = lines.into_iter().map(one).collect();
    if lines.is_empty() {
        return lines;
    }
    scrubbed(&lines.join("\n"))
}

fn capped(text: &str) -> &str {
    let mut end = text.len().min(TEXT_LIMIT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    if end == text.len() {
        return text;
    }
    // Half a secret might not look like one, so the word that is cut in two goes as a whole.
    text[..end].rfind(char::is_whitespace).map_or("", |at| &text[..at])
}

/// Without escape sequences, control characters and those that turn the direction of writing around.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => match chars.next() {
                // Parameters up to one final byte. What does not fit in ends a broken sequence.
                Some('[') => {
                    while chars.next_if(|c| ('\u{20}'..='\u{3f}').contains(c)).is_some() {}
                    let _ = chars.next_if(|c| ('\u{40}'..='\u{7e}').contains(c));
                }
                // A title or a link: text up to a bell or the string terminator, but never past its line.
                Some(']' | 'P' | 'X' | '^' | '_') => {
                    while let Some(c) = chars.next_if(|c| *c != '\n') {
                        if c == '\u{7}' || c == '\u{1b}' && chars.next_if_eq(&'\\').is_some() {
                            break;
                        }
                    }
                }
                Some('\n') => out.push('\n'),
                _ => {}
            },
            '\n' => out.push('\n'),
            '\t' => out.push(' '),
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => {}
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

/// Without PEM blocks, those included whose beginning or end is not in the text.
fn hide_pem(text: &str) -> String {
    const BEGIN: &str = "-----BEGIN ";
    const END: &str = "-----END ";
    let (mut out, mut rest) = (String::new(), text);
    loop {
        let (begin, end) = (rest.find(BEGIN), rest.find(END));
        let from = match (begin, end) {
            (None, None) => return out + rest,
            (Some(begin), Some(end)) if begin < end => begin,
            (Some(begin), None) => begin,
            // Its beginning is missing: whatever before the end could be base64 is taken for its body.
            (_, Some(end)) => {
                let body = |c: char| c.is_ascii_alphanumeric() || "+/= \n".contains(c);
                rest[..end].trim_end_matches(body).len()
            }
        };
        out.push_str(&rest[..from]);
        out.push_str(HIDDEN);
        let Some(end) = rest[from..].find(END).map(|at| from + at + END.len()) else { return out };
        let Some(close) = rest[end..].find("-----") else { return out };
        rest = &rest[end + close + 5..];
    }
}

fn is_key_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')
}

fn names_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    matches!(key.trim_start_matches('-'), "pass" | "auth")
        || SECRET_WORDS.iter().any(|word| key.contains(word))
        || SECRET_ENDS.iter().any(|end| key.ends_with(end))
}

/// `password=x`, `"token": "x"`, `'secret' => 'x'`, `--api-key x`, `Authorization: Bearer x`, `bearer x`.
fn hide_pairs(line: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(line.len()), line);
    while let Some(start) = rest.find(is_key_char) {
        let end = rest[start..].find(|c| !is_key_char(c)).map_or(rest.len(), |at| start + at);
        let (key, after) = (&rest[start..end], &rest[end..]);
        out.push_str(&rest[..end]);
        rest = after;
        if let Some((gap, length)) = value_after(key, after) {
            out.push_str(&after[..gap]);
            out.push_str(HIDDEN);
            rest = &after[gap + length..];
        }
    }
    out + rest
}

/// Where the value of a key that names a secret begins and how long it is, in the text after the key.
fn value_after(key: &str, after: &str) -> Option<(usize, usize)> {
    let skip = |text: &str, from: usize, what: fn(char) -> bool| {
        text[from..].find(|c| !what(c)).map_or(text.len(), |at| from + at)
    };
    let blank: fn(char) -> bool = |c| c == ' ';
    let word = |from: usize| {
        let ends = |c: char| c.is_whitespace() || ",;&)}]\"'<>|".contains(c);
        after[from..].find(ends).unwrap_or(after.len() - from)
    };
    if key.eq_ignore_ascii_case("bearer") {
        let at = skip(after, 0, blank);
        return (at > 0 && word(at) > 0).then(|| (at, word(at)));
    }
    if !names_secret(key) {
        return None;
    }
    let quoted = skip(after, 0, |c| matches!(c, '\\' | '"' | '\''));
    let sign = skip(after, quoted, blank);
    let mut at = skip(after, sign, |c| matches!(c, '=' | ':' | '>'));
    if at == sign && !(key.starts_with('-') && quoted == 0 && sign > 0) {
        return None;
    }
    at = skip(after, at, blank);
    let key = key.to_ascii_lowercase();
    if key.ends_with("authorization") || key.ends_with("cookie") {
        return (at < after.len()).then(|| (at, after.len() - at));
    }
    // A quoted value ends at the same kind of quote, which is itself escaped if the opening one is.
    let escaped = after[at..].starts_with('\\');
    let open = at + usize::from(escaped);
    if let Some(quote) = after[open..].chars().next().filter(|c| matches!(c, '"' | '\'')) {
        let mut slash = false;
        for (index, c) in after[open + 1..].char_indices() {
            if c == quote && slash == escaped {
                return Some((open + 1, index - usize::from(escaped)));
            }
            slash = c == '\\' && !slash;
        }
        return Some((open + 1, after.len() - open - 1));
    }
    let mut length = word(at);
    if ["bearer", "basic", "token", "digest"]
        .iter()
        .any(|scheme| after[at..at + length].eq_ignore_ascii_case(scheme))
    {
        let next = skip(after, at + length, blank);
        length = next - at + word(next);
    }
    (length > 0).then_some((at, length))
}

/// `scheme://user:password@host` without the user and the password.
fn hide_urls(line: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(line.len()), line);
    while let Some(at) = rest.find("://").map(|at| at + 3) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let url = rest.find(|c: char| c.is_whitespace() || "\"'<>|".contains(c)).unwrap_or(rest.len());
        let authority = rest[..url].find(['/', '?', '#']).unwrap_or(url);
        let user = rest[..authority].rfind('@').or_else(|| {
            // A password with an unescaped `/`: what follows the colon is then no port.
            let (_, port) = rest[..authority].split_once(':')?;
            let is_port = port.chars().all(|c| c.is_ascii_digit());
            if is_port { None } else { rest[..url].rfind('@') }
        });
        if let Some(user) = user {
            out.push_str(HIDDEN);
            rest = &rest[user..];
        }
    }
    out + rest
}

fn is_token_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '+' | '/' | '=')
}

/// Tokens that show by their own shape what they are.
fn hide_tokens(line: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(line.len()), line);
    while let Some(start) = rest.find(is_token_char) {
        let end = rest[start..].find(|c| !is_token_char(c)).map_or(rest.len(), |at| start + at);
        out.push_str(&rest[..start]);
        out.push_str(if is_token(&rest[start..end]) { HIDDEN } else { &rest[start..end] });
        rest = &rest[end..];
    }
    out + rest
}

fn is_token(run: &str) -> bool {
    let known = |piece: &str| {
        TOKEN_STARTS.iter().any(|start| piece.len() >= start.len() + 8 && piece.starts_with(start))
    };
    let pieces = || run.split(['=', '/']);
    pieces().any(known)
        || pieces().any(|piece| piece.len() >= 20 && piece.starts_with("eyJ"))
        || run.contains(".atlasv1.")
        || ["AKIA", "ASIA"]
            .iter()
            .any(|start| run.match_indices(start).any(|(at, _)| is_aws_key(&run[at + 4..])))
        || run.split('.').any(looks_random)
}

fn is_aws_key(after: &str) -> bool {
    after.bytes().take(16).filter(|b| b.is_ascii_uppercase() || b.is_ascii_digit()).count() == 16
}

/// Forty characters or more of mixed kinds and hardly a separator: no digest, path or name looks like that.
fn looks_random(run: &str) -> bool {
    let count = |what: fn(&u8) -> bool| run.bytes().filter(what).count();
    run.len() >= 40
        && count(u8::is_ascii_uppercase) >= 2
        && count(u8::is_ascii_lowercase) >= 2
        && count(u8::is_ascii_digit) >= 2
        && count(|b| matches!(b, b'/' | b'-' | b'_')) <= run.len() / 12
}

fn shortened(line: &str) -> String {
    if line.chars().nth(LINE_LIMIT).is_none() {
        return line.to_owned();
    }
    line.chars().take(LINE_LIMIT - CUT.len()).collect::<String>() + CUT
}

#[cfg(test)]
mod tests;
