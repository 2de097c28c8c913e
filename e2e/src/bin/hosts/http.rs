//! Fetching over http from git's own server (`git http-backend`), which wants a login.

use std::{
    convert::Infallible,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use deploy_core::BoxError;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{
    Checked, Tally, expect,
    person::{Person, Told},
    processes::contains,
    remote::{Remote, is_whole},
    stage::{Stage, git, run},
};

const USER: &str = "x-access-token";
const TOKEN: &str = "canary-of-http";
const WITHIN: Duration = Duration::from_secs(20);

pub(crate) async fn all(stage: &Stage, tally: &Tally) {
    match Server::start(stage).await {
        Ok(server) => {
            tally.count("over http with a token", token(stage, &server).await);
            tally.count("over http with what git's credential helper has", helper(stage, &server).await);
            tally.count("over http with a wrong token", wrong(stage, &server).await);
            tally.count("over http, a repository that is not there", missing(stage, &server).await);
        }
        Err(error) => tally.count("a server of git's over http", Err(error)),
    }
}

/// Serves every repository below a folder.
struct Server {
    port: u16,
    /// The login of each request.
    asked: Asked,
    root: PathBuf,
    task: JoinHandle<()>,
}

type Asked = Arc<Mutex<Vec<Option<String>>>>;

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start(stage: &Stage) -> Result<Self, BoxError> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (port, root) = (listener.local_addr()?.port(), stage.path().to_owned());
        let login = format!("{USER}:{TOKEN}");
        let encoded = run(Command::new("sh").args(["-c", "printf %s \"$1\" | base64", "sh", &login]))?;
        let (asked, right, folder) = (Asked::default(), format!("Basic {encoded}"), root.clone());
        let seen = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, right, folder) = (Arc::clone(&seen), right.clone(), folder.clone());
                let service = service_fn(move |request| {
                    answer(request, Arc::clone(&seen), right.clone(), folder.clone())
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Ok(Self { port, asked, root, task })
    }

    fn url(&self, repository: &Path) -> String {
        let path = repository.strip_prefix(&self.root).unwrap_or(repository);
        format!("http://127.0.0.1:{}/{}", self.port, path.display())
    }

    /// The logins of the requests since it was asked for last.
    fn asked(&self) -> Vec<Option<String>> {
        std::mem::take(&mut *self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn answer(
    request: Request<Incoming>,
    asked: Asked,
    right: String,
    root: PathBuf,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let header = |name: &str| {
        let value = request.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let login = Some(header("authorization")).filter(|login| !login.is_empty());
    let may = login.as_deref() == Some(&*right);
    asked.lock().unwrap_or_else(PoisonError::into_inner).push(login);
    if !may {
        let no = Response::builder().status(401).header("www-authenticate", "Basic realm=\"e2e\"");
        return Ok(no.body(Full::default()).unwrap_or_default());
    }
    let mut backend = git(&root, &root);
    backend.arg("http-backend").env("GIT_PROJECT_ROOT", &root).env("GIT_HTTP_EXPORT_ALL", "1");
    backend.env("REQUEST_METHOD", request.method().as_str()).env("PATH_INFO", request.uri().path());
    backend.env("QUERY_STRING", request.uri().query().unwrap_or_default()).env("REMOTE_USER", USER);
    backend.env("CONTENT_TYPE", header("content-type")).env("GIT_PROTOCOL", header("git-protocol"));
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    backend.env("CONTENT_LENGTH", body.len().to_string());
    let said = tokio::task::spawn_blocking(move || converse(backend, &body)).await;
    Ok(said.ok().and_then(|said| parse(&said)).unwrap_or_else(|| {
        let mut broken = Response::default();
        *broken.status_mut() = hyper::StatusCode::BAD_GATEWAY;
        broken
    }))
}

/// What it says to this.
fn converse(mut backend: Command, body: &[u8]) -> Vec<u8> {
    let child = backend.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let Ok(mut child) = child else { return Vec::new() };
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(body);
    }
    child.wait_with_output().map(|output| output.stdout).unwrap_or_default()
}

/// The answer of a program as the Common Gateway Interface has it.
fn parse(said: &[u8]) -> Option<Response<Full<Bytes>>> {
    let end = said.windows(4).position(|part| part == b"\r\n\r\n")?;
    let (head, body) = (std::str::from_utf8(said.get(..end)?).ok()?, said.get(end + 4..)?.to_vec());
    let mut response = Response::builder();
    for (name, value) in head.lines().filter_map(|line| line.split_once(": ")) {
        response = match name {
            "Status" => response.status(value.split(' ').next()?),
            _ => response.header(name, value),
        };
    }
    response.body(Full::from(body)).ok()
}

async fn fetch(who: &Person, clone: &Path, token: Option<&str>) -> Result<Told, BoxError> {
    let file = clone.join(".git/token");
    if let Some(token) = token {
        fs::write(&file, token)?;
    }
    let told = who.fetch_within(clone, "main", WITHIN, token.map(|_| &*file)).await?;
    expect(!contains(told.0.to_string().as_bytes(), TOKEN), "the token was told")?;
    Ok(told)
}

fn fetched(stage: &Stage, remote: &Remote, clone: &Path, told: &Told) -> Checked {
    expect(told.tip()? == remote.tip()?, told)?;
    is_whole(stage, clone, told.tip()?)
}

async fn token(stage: &Stage, server: &Server) -> Checked {
    let remote = Remote::make(stage, "remote")?;
    let clone = remote.empty_clone(stage, &server.url(&remote.bare))?;
    for text in ["second", "third"] {
        let told = fetch(&stage.operator, &clone, Some(TOKEN)).await?;
        fetched(stage, &remote, &clone, &told)?;
        remote.commit(text)?;
        remote.push()?;
    }
    expect(server.asked().iter().any(Option::is_some), "nobody logged in")
}

async fn helper(stage: &Stage, server: &Server) -> Checked {
    let remote = Remote::make(stage, "remote")?;
    let clone = remote.empty_clone(stage, &server.url(&remote.bare))?;
    let store = clone.join(".git/credentials");
    fs::write(&store, format!("http://{USER}:{TOKEN}@127.0.0.1:{}\n", server.port))?;
    stage.git(&clone, &["config", "credential.helper", &format!("store --file {}", store.display())])?;
    let told = fetch(&stage.operator, &clone, None).await?;
    fetched(stage, &remote, &clone, &told)
}

async fn wrong(stage: &Stage, server: &Server) -> Checked {
    let remote = Remote::make(stage, "remote")?;
    let clone = remote.empty_clone(stage, &server.url(&remote.bare))?;
    server.asked();
    let told = fetch(&stage.operator, &clone, Some("another")).await?;
    told.is("Unauthenticated", &["tried the token"])?;
    let logins = server.asked().iter().flatten().count();
    expect(logins == 1, logins)
}

async fn missing(stage: &Stage, server: &Server) -> Checked {
    let remote = Remote::make(stage, "remote")?;
    let clone = remote.empty_clone(stage, &server.url(&stage.path().join("nowhere.git")))?;
    server.asked();
    let told = fetch(&stage.operator, &clone, Some(TOKEN)).await?;
    told.is("NotFound", &["no repository", "nowhere.git"])?;
    let asked = server.asked().len();
    expect(asked <= 3, asked)
}
