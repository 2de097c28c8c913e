//! Credential helpers: programs that keep logins. <https://github.com/docker/docker-credential-helpers>

use std::{process::Stdio, time::Duration};

use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
};

use crate::{
    clock::Clock,
    error::{Error, ErrorKind, Result, Retry},
    image::logins::Login,
    model::Secret,
};

/// How long a helper may take: it may ask a cloud, or a person's key ring.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The most bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// What helpers print when they know no login: part of their protocol.
const NOT_FOUND: &str = "credentials not found in native keychain";
/// The name of a login that is an identity token.
const TOKEN: &str = "<token>";

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Username")]
    username: String,
    #[serde(rename = "Secret")]
    secret: String,
}

/// Asks the program `docker-credential-NAME` for a login. One process. `None` if it has none.
pub(super) async fn ask(name: &str, server: &str, clock: &dyn Clock) -> Result<Option<Login>> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !name.chars().all(plain) {
        let text = format!("`{}` cannot be a credential helper", name.escape_debug());
        return Err(Error::new(ErrorKind::Invalid, text)
            .next("correct credsStore or credHelpers of Docker's config.json"));
    }
    within(&format!("docker-credential-{name}"), server, clock).await
}

pub(super) async fn within(program: &str, server: &str, clock: &dyn Clock) -> Result<Option<Login>> {
    tokio::select! {
        answer = run(program, server) => answer,
        () = clock.sleep(TIMEOUT) => {
            let text = format!("{program} has not answered within {} s", TIMEOUT.as_secs());
            Err(Error::new(ErrorKind::TimedOut, text)
                .retry_as(Retry::Always)
                .next(format!("does it wait for a person? echo {server} | {program} get")))
        }
    }
}

async fn run(program: &str, server: &str) -> Result<Option<Login>> {
    let failed = |what: &str| {
        Error::new(ErrorKind::Unauthenticated, format!("{program} {what}, so there is no login to {server}"))
            .next(format!("echo {server} | {program} get shows why"))
    };
    let mut command = Command::new(program);
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| {
        let text = format!("{program} cannot be started: {error}");
        Error::new(ErrorKind::NotFound, text).next("install it, or correct Docker's config.json")
    })?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that knows the answer without reading the question may have closed its ears.
        let _ = stdin.write_all(format!("{server}\n").as_bytes()).await;
    }
    let mut said = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        let read = stdout.take(ANSWER_BYTES_MAX).read_to_end(&mut said).await;
        read.map_err(|_| failed("broke off"))?;
    }
    let status = child.wait().await.map_err(|_| failed("broke off"))?;
    if !status.success() {
        let none = String::from_utf8_lossy(&said).contains(NOT_FOUND);
        return if none { Ok(None) } else { Err(failed("failed")) };
    }
    let answer: Answer =
        serde_json::from_slice(&said).map_err(|_| failed("gave an answer that is not understood"))?;
    Ok(match (answer.username.as_str(), answer.secret.as_str()) {
        (_, "") => None,
        (TOKEN, token) => Some(Login::IdentityToken(Secret::new(token))),
        (username, secret) => Some(Login::password(username, secret)),
    })
}
