use proptest::prelude::*;

use super::*;

#[test]
fn secrets_of_known_shape_are_taken_out() {
    let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U";
    let table = [
        ("id AKIAIOSFODNN7EXAMPLE, again", "id ***, again"),
        ("xASIAIOSFODNN7EXAMPLEx", "***"),
        ("Authorization: Bearer abc.def", "Authorization: ***"),
        ("sent bearer abc.def, got 401", "sent bearer ***, got 401"),
        ("token: Bearer abc def", "token: *** def"),
        ("DB_PASSWORD=hunter2 LOG_LEVEL=debug", "DB_PASSWORD=*** LOG_LEVEL=debug"),
        (r#"{"password": "hun\"ter2", "user": "x"}"#, r#"{"password": "***", "user": "x"}"#),
        (r#"{\"token\":\"abc\",\"n\":1}"#, r#"{\"token\":\"***\",\"n\":1}"#),
        ("'secret' => 'abc', 'x' => 'y'", "'secret' => '***', 'x' => 'y'"),
        ("mysql --password hunter2 -h db", "mysql --password *** -h db"),
        ("GET /cb?access_token=abc&state=x", "GET /cb?access_token=***&state=x"),
        ("X-Amz-Signature=0123&x=1", "X-Amz-Signature=***&x=1"),
        ("APP_KEY=base64:abc=", "APP_KEY=***"),
        ("Set-Cookie: a=b; Path=/", "Set-Cookie: ***"),
        ("postgres://user:pw@db/shop", "postgres://***@db/shop"),
        ("postgres://user:p/w@db/shop", "postgres://***@db/shop"),
        ("two https://a@x and https://b:c@y.", "two https://***@x and https://***@y."),
        ("ghp_0123456789abcdef and x", "*** and x"),
        ("TF abc.atlasv1.def", "TF ***"),
        (jwt, "***"),
        ("key wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY1", "key ***"),
    ];
    for (text, clean) in table {
        assert_eq!(scrub(text), clean);
        assert_eq!(scrub(clean), clean, "what is clean stays as it is");
    }
}

#[test]
fn what_people_need_stays() {
    for line in [
        "Error: Cannot find module './chat/router'",
        "pulled 123456789012.dkr.ecr.us-east-1.amazonaws.com/shop-api@sha256:77ab09c177ab09c177ab09c177ab09c177ab09c1",
        "GET https://www.example.com:8443/@scope/pkg@1.2.3?x=1 500",
        "at /usr/local/lib/node_modules/Express4/lib/router/Layer2/index.js:12:3",
        "arn:aws:ecs:us-east-1:123456789012:task-definition/prod-api-task:41",
        "SyntaxError: Unexpected token } in JSON",
        "the secret prod/db was not found",
        "AKIA is how such keys begin",
    ] {
        assert_eq!(scrub(line), line);
    }
}

#[test]
fn pem_blocks_go_as_a_whole_and_broken_ones_too() {
    let body = "MIIEvQIBADANBgkq\nhkiG9w0BAQ==";
    let whole = format!("a\n-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY-----\nb");
    assert_eq!(scrub(&whole), "a\n***\nb");
    assert_eq!(scrub(&format!("a -----BEGIN PRIVATE KEY-----\n{body}")), "a ***");
    assert_eq!(scrub(&format!("a:\n{body}\n-----END PRIVATE KEY----- b")), "a:*** b");
    let lines = scrub_lines(whole.lines());
    assert_eq!(lines, ["a", "***", "b"]);
    assert!(scrub_lines::<&str>([]).is_empty());
}

#[test]
fn terminals_are_not_spoken_to() {
    assert_eq!(scrub("\u{1b}[31;1mred\u{1b}[0m\u{7} a\tb\r\u{8}"), "red a b");
    assert_eq!(scrub("\u{1b}]0;title\u{7}x \u{1b}]8;;http://x\u{1b}\\link"), "x link");
    assert_eq!(scrub("\u{1b}]0;open\nnext\u{202e}\u{9b}2J"), "\nnext2J");
    assert_eq!(scrub("pass\u{1b}[0mword=x"), "password=***");
}

#[test]
fn long_lines_are_cut_and_huge_ones_cost_little() {
    let long = scrub(&"é ".repeat(400));
    assert_eq!(long.chars().count(), LINE_LIMIT);
    assert!(long.ends_with(CUT));
    assert_eq!(scrub(&"x".repeat(TEXT_LIMIT + 1)), "", "one word of more than is looked at");
    assert_eq!(scrub_line(" a \n\n b\n"), "a | b");
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(text in "(?s).{0,300}") {
        check(&scrub(&text));
        prop_assert!(!scrub_line(&text).contains('\n'));
    }

    #[test]
    fn no_mix_of_what_it_looks_for_makes_it_panic(parts in prop::collection::vec(
        prop::sample::select(vec![
            "password", "=", ":", "\"", "'", "\\", " ", "\n", "--", "bearer", "://", "@", "/", "é", "\u{1b}", "[",
            "]", "-----BEGIN ", "-----END ", "-----", "AKIA", "ABCDEFGHIJKLMNOP", "eyJ", "authorization", "=>",
            "\u{7}", "x", "***", "&", ".atlasv1.", "7", "#", "ghp_",
        ]), 0..40))
    {
        check(&scrub(&parts.concat()));
    }

    #[test]
    fn a_planted_secret_does_not_come_out(
        before in "[ a-z\n]{0,30}",
        key in prop::sample::select(vec!["DB_PASSWORD=", "\"secret\": \"", "api_key: ", "Bearer ", "x://u:"]),
        secret in "[A-Z]{3}[0-9a-f]{12}",
        after in "(@|\"|,| )[ a-z\n]{0,30}",
    ) {
        let at = if key == "x://u:" { "@h" } else { "" };
        let out = scrub(&format!("{before} {key}{secret}{at}{after}"));
        prop_assert!(!out.contains(&secret), "{out}");
    }
}

fn check(clean: &str) {
    assert!(!clean.chars().any(|c| c.is_control() && c != '\n'), "{clean:?}");
    assert!(clean.lines().all(|line| line.chars().count() <= LINE_LIMIT));
}
