//! The components: Engines, the registry, and what is built.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use deploy_core::{
    BoxError, Error, ErrorKind,
    clock::{Clock, SystemClock},
    context::Secrets,
    image::{Build, BuildContext, DockerConfig, Engine, ImageEvents, Registry, RegistryLogins, Repository},
    model::{Secret, SecretRef},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::Checked;

pub(crate) const USER: &str = "deployer";
/// Its base64 has both characters that base64 for URLs writes otherwise.
pub(crate) const PASSWORD: &str = "canary-password-~~~???>>>";
pub(crate) const BUILD_SECRET: &str = "canary-build-secret";
/// What a step of a build can do without a base image.
const TOOL: &str = include_str!("tool.c");

/// A program that ends with this process.
pub(crate) struct Component(Child);

impl Component {
    fn start(command: &mut Command, log: &Path) -> Result<Self, BoxError> {
        let log = fs::OpenOptions::new().create(true).append(true).open(log)?;
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        Ok(Self(child))
    }

    fn signal(&self, signal: Signal) {
        if let Ok(pid) = i32::try_from(self.0.id()) {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }
}

impl Drop for Component {
    fn drop(&mut self) {
        // The Engine ends its containerd by itself, if it is asked to end.
        self.signal(Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

/// A Docker Engine of our own.
pub(crate) struct Dockerd {
    folder: PathBuf,
    bridge: String,
    process: Option<Component>,
}

impl Dockerd {
    pub(crate) async fn start(folder: PathBuf, bridge: &str) -> Result<Self, BoxError> {
        fs::create_dir_all(&folder)?;
        let mut engine = Self { folder, bridge: bridge.to_owned(), process: None };
        engine.run().await?;
        Ok(engine)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("docker.sock")
    }

    pub(crate) fn engine(&self) -> Result<Engine, Error> {
        Engine::at(&format!("unix://{}", self.socket().display()))
    }

    pub(crate) async fn run(&mut self) -> Result<(), BoxError> {
        let mut command = Command::new("dockerd");
        let path = |name: &str| self.folder.join(name).display().to_string();
        command.args(["--data-root", &path("data"), "--exec-root", &path("exec"), "--pidfile", &path("pid")]);
        command.arg("--host").arg(format!("unix://{}", self.socket().display()));
        command.args(["--iptables=false", "--ip6tables=false", "--bridge", &self.bridge]);
        let log = self.folder.join("log");
        let process = Component::start(&mut command, &log)?;
        self.process = Some(process);
        for _ in 0..300 {
            if self.engine()?.builder().await.is_ok() {
                return Ok(());
            }
            SystemClock.sleep(Duration::from_millis(100)).await;
        }
        let said = fs::read_to_string(log).unwrap_or_default();
        Err(format!("a Docker Engine that starts here: {}", said.lines().last().unwrap_or_default()).into())
    }

    /// As kill -9 does it.
    pub(crate) fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.signal(Signal::SIGKILL);
        }
        // Its containerd goes with it. Where the first process of the machine reaps no orphans, the next Engine would take
        // what is left of it for a containerd that runs.
        let _ = fs::remove_file(self.folder.join("exec/containerd/containerd.pid"));
    }
}

/// A network bridge, which goes with this process.
struct Bridge(&'static str);

impl Bridge {
    fn make(name: &'static str) -> Result<Self, BoxError> {
        let _ = run("ip", &["link", "delete", name]);
        let bridge = Self(name);
        run("ip", &["link", "add", name, "type", "bridge"])?;
        run("ip", &["address", "add", "172.31.250.1/24", "dev", name])?;
        run("ip", &["link", "set", name, "up"])?;
        Ok(bridge)
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = run("ip", &["link", "delete", self.0]);
    }
}

/// Runs a program to its end.
pub(crate) fn run(program: &str, words: &[&str]) -> Result<Output, BoxError> {
    let output = Command::new(program).args(words).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{program}, which cannot be started: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(format!("{program} {} failed: {said}", words.first().unwrap_or(&"")).into());
    }
    Ok(output)
}

/// The secret of every build.
#[derive(Debug)]
struct Fixed;

#[async_trait]
impl Secrets for Fixed {
    async fn resolve(&self, _which: &SecretRef) -> Result<Secret, Error> {
        Ok(Secret::new(BUILD_SECRET))
    }
}

/// Everything that the parts need. What is first is dropped first.
pub(crate) struct Stage {
    pub(crate) dockerd: Dockerd,
    _registry: Component,
    _bridge: Bridge,
    pub(crate) folder: tempfile::TempDir,
    /// `127.0.0.1:PORT`, which wants a login.
    pub(crate) registry_host: String,
    said: Arc<Mutex<String>>,
}

impl Stage {
    /// Starts all of it.
    ///
    /// # Errors
    /// What cannot be had here.
    pub(crate) async fn set() -> Result<Self, BoxError> {
        let folder = tempfile::Builder::new().prefix("images-").tempdir()?;
        let tool = folder.path().join("tool");
        let source = folder.path().join("tool.c");
        fs::write(&source, TOOL)?;
        let [tool, source] = [&tool, &source].map(|path| path.display().to_string());
        run("cc", &["-static", "-O1", "-o", &tool, &source])?;
        run("skopeo", &["--version"])?;
        let bridge = Bridge::make("deploy-kit-e2e").map_err(|error| format!("a network bridge: {error}"))?;
        let (registry, registry_host) = start_registry(folder.path())?;
        let dockerd = Dockerd::start(folder.path().join("engine"), bridge.0).await?;
        let stage = Self {
            dockerd,
            _registry: registry,
            _bridge: bridge,
            folder,
            registry_host,
            said: Arc::default(),
        };
        stage.log_in(USER, PASSWORD, &[&stage.registry_host])?;
        Ok(stage)
    }

    /// Writes Docker's own configuration, as `docker login` does it.
    pub(crate) fn log_in(&self, user: &str, password: &str, hosts: &[&str]) -> Result<(), BoxError> {
        let perl = "use MIME::Base64; print encode_base64(join(':', @ARGV), '')";
        let auth = String::from_utf8(run("perl", &["-e", perl, user, password])?.stdout)?;
        let auths: serde_json::Map<_, _> =
            hosts.iter().map(|host| ((*host).to_owned(), serde_json::json!({ "auth": auth }))).collect();
        let config = serde_json::json!({ "auths": auths }).to_string();
        fs::create_dir_all(self.config())?;
        Ok(fs::write(self.config().join("config.json"), config)?)
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("config")
    }

    pub(crate) fn logins(&self) -> Arc<dyn RegistryLogins> {
        Arc::new(DockerConfig::in_folder(self.config()))
    }

    pub(crate) fn client(&self) -> Registry {
        Registry::new(self.logins())
    }

    /// What a build may ask for. All of its events are kept, for the search for secrets.
    pub(crate) fn cx(&self) -> BuildContext {
        let (events, mut stream) = ImageEvents::channel();
        let said = Arc::clone(&self.said);
        tokio::spawn(async move {
            while let Some(event) = stream.next().await {
                if let Ok(mut said) = said.lock() {
                    said.push_str(&format!("{event:?}\n"));
                }
            }
        });
        BuildContext { logins: self.logins(), secrets: Arc::new(Fixed), events }
    }

    /// What was said so far.
    pub(crate) fn said(&self) -> String {
        self.said.lock().map(|said| said.clone()).unwrap_or_default()
    }

    /// Waits until something was said, at most 30 s.
    pub(crate) async fn until_said(&self, text: &str) -> Checked {
        for _ in 0..300 {
            if self.said().contains(text) {
                return Ok(());
            }
            SystemClock.sleep(Duration::from_millis(100)).await;
        }
        Err(format!("never said: {text}").into())
    }

    /// A failure of this kind, with this line in its step's log. Its text is kept, too.
    pub(crate) fn failed<T: std::fmt::Debug>(
        &self,
        result: Result<T, Error>,
        kind: ErrorKind,
        line: Option<&str>,
    ) -> Checked {
        let Err(error) = result else { return Err(format!("it did not fail: {result:?}").into()) };
        if let Ok(mut said) = self.said.lock() {
            said.push_str(&format!("{error:?}\n"));
        }
        crate::expect(error.kind() == kind, &error)?;
        let Some(line) = line else { return Ok(()) };
        let step = std::error::Error::source(&error)
            .and_then(|source| source.downcast_ref::<deploy_core::image::FailedStep>());
        crate::expect(step.is_some_and(|step| step.log.iter().any(|said| said == line)), &error)
    }

    /// The engine keeps its promise: no password and no secret in events and errors.
    pub(crate) fn clean(&self) -> Checked {
        let said = self.said();
        crate::expect(said.len() > 1000 && !said.contains("canary"), said.len())
    }

    /// A folder to build, with the tool in it.
    pub(crate) fn context(&self, name: &str, dockerfile: &str) -> Result<PathBuf, BoxError> {
        let context = self.folder.path().join("contexts").join(name);
        fs::create_dir_all(&context)?;
        fs::copy(self.folder.path().join("tool"), context.join("tool"))?;
        let text = dockerfile.replace("REGISTRY", &self.registry_host);
        fs::write(context.join("Dockerfile"), text)?;
        Ok(context)
    }

    pub(crate) fn repository(&self, name: &str) -> Result<Repository, Error> {
        Repository::parse(&format!("{}/{name}", self.registry_host))
    }

    /// A build of a folder of its own, at a commit that is the name's.
    pub(crate) fn build(&self, name: &str, dockerfile: &str) -> Result<Build, BoxError> {
        Ok(Build::new(self.repository(name)?, self.context(name, dockerfile)?, commit(name)))
    }
}

/// A commit id for a name.
pub(crate) fn commit(name: &str) -> String {
    deploy_core::hash::bytes(name.as_bytes())[..40].to_owned()
}

fn start_registry(folder: &Path) -> Result<(Component, String), BoxError> {
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let host = format!("127.0.0.1:{port}");
    let hash = run("perl", &["-e", "print crypt($ARGV[0], '$2b$05$abcdefghijklmnopqrstuu')", PASSWORD])?;
    let users = folder.join("htpasswd");
    fs::write(&users, format!("{USER}:{}\n", String::from_utf8(hash.stdout)?))?;
    let config = serde_json::json!({
        "version": "0.1",
        "log": { "level": "warn" },
        "storage": { "filesystem": { "rootdirectory": folder.join("registry") }, "delete": { "enabled": true } },
        "http": { "addr": host },
        "auth": { "htpasswd": { "realm": "e2e", "path": users } },
    });
    let path = folder.join("registry.yml");
    // JSON is YAML.
    fs::write(&path, config.to_string())?;
    let mut command = Command::new("docker-registry");
    let component = Component::start(command.arg("serve").arg(path), &folder.join("registry.log"));
    let component =
        component.map_err(|error| format!("docker-registry, which cannot be started: {error}"))?;
    for _ in 0..100 {
        if std::net::TcpStream::connect(&host).is_ok() {
            return Ok((component, host));
        }
        std::thread::yield_now();
        run("sleep", &["0.1"])?;
    }
    Err("a registry that starts here".into())
}
