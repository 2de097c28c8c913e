//! Where the Engine is: `DOCKER_HOST`, contexts, TLS.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde::Deserialize;
use tower_service::Service;

use crate::{
    error::{Error, ErrorKind, Result},
    hash,
    image::{
        docker_config,
        wire::{Dial, Tcp, Wire},
    },
};

/// The socket of an Engine on this machine.
const SOCKET: &str = "unix:///var/run/docker.sock";

#[derive(Debug)]
pub(super) struct Address {
    pub(super) shown: String,
    pub(super) dial: Arc<dyn Dial>,
}

impl Address {
    pub(super) fn from_env() -> Result<Self> {
        if let Some(host) = variable("DOCKER_HOST") {
            return Self::parse(&host);
        }
        match variable("DOCKER_CONTEXT").or_else(docker_config::current_context) {
            Some(name) if name != "default" => Self::of_context(&docker_config::folder(), &name),
            _ => Self::parse(SOCKET),
        }
    }

    pub(super) fn parse(address: &str) -> Result<Self> {
        let certificates = variable("DOCKER_TLS_VERIFY")
            .map(|_| variable("DOCKER_CERT_PATH").map_or_else(docker_config::folder, PathBuf::from));
        Self::with(address, certificates.as_deref())
    }

    /// <https://docs.docker.com/engine/manage-resources/contexts/>: the file is named by the hash of the context's name.
    fn of_context(folder: &Path, name: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Meta {
            #[serde(rename = "Endpoints")]
            endpoints: Endpoints,
        }
        #[derive(Deserialize)]
        struct Endpoints {
            docker: Endpoint,
        }
        #[derive(Deserialize)]
        struct Endpoint {
            #[serde(rename = "Host")]
            host: String,
        }
        let id = hash::bytes(name.as_bytes());
        let path = folder.join("contexts/meta").join(&id).join("meta.json");
        let meta = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Meta>(&bytes).ok());
        let Some(meta) = meta else {
            let text = format!("the Docker context `{}` cannot be read", name.escape_debug());
            return Err(
                Error::new(ErrorKind::NotFound, text).next("docker context ls shows those that exist")
            );
        };
        let certificates = folder.join("contexts/tls").join(&id).join("docker");
        Self::with(&meta.endpoints.docker.host, certificates.is_dir().then_some(certificates.as_path()))
    }

    fn with(address: &str, certificates: Option<&Path>) -> Result<Self> {
        let shown = address.escape_debug().to_string();
        let invalid = || {
            Error::new(ErrorKind::Invalid, format!("`{shown}` is not the address of a Docker Engine"))
                .next("DOCKER_HOST is written as unix:///var/run/docker.sock or tcp://127.0.0.1:2375")
        };
        let (scheme, rest) = address.split_once("://").ok_or_else(invalid)?;
        let dial: Arc<dyn Dial> = match scheme {
            "unix" if rest.starts_with('/') => Arc::new(Socket(rest.into())),
            "tcp" | "http" | "https" => {
                let authority = rest.trim_end_matches('/');
                let secure = scheme == "https" || certificates.is_some();
                let to = format!("{}://{authority}", if secure { "https" } else { "http" });
                let to: Uri = to.parse().map_err(|_| invalid())?;
                if to.port_u16().is_none() || to.path() != "/" {
                    return Err(invalid());
                }
                if secure { Arc::new(Tls::new(to, certificates)?) } else { Arc::new(Plain(to, Tcp::new())) }
            }
            "ssh" | "npipe" | "fd" => {
                let text = format!("a Docker Engine at {scheme}:// cannot be used from here");
                let next = "make it reachable as a socket, for instance with ssh -L, and set DOCKER_HOST";
                return Err(Error::new(ErrorKind::Unsupported, text).next(next));
            }
            _ => return Err(invalid()),
        };
        Ok(Self { shown, dial })
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[derive(Debug)]
struct Socket(PathBuf);

#[async_trait]
impl Dial for Socket {
    #[cfg(unix)]
    async fn dial(&self, _to: &Uri) -> io::Result<Wire> {
        Ok(Wire::new(tokio::net::UnixStream::connect(&self.0).await?))
    }

    #[cfg(not(unix))]
    async fn dial(&self, _to: &Uri) -> io::Result<Wire> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "there are no such sockets here"))
    }
}

#[derive(Debug)]
struct Plain(Uri, Tcp);

#[async_trait]
impl Dial for Plain {
    async fn dial(&self, _to: &Uri) -> io::Result<Wire> {
        self.1.dial(&self.0).await
    }
}

struct Tls(Uri, HttpsConnector<HttpConnector>);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tls({})", self.0)
    }
}

impl Tls {
    /// With `ca.pem`, `cert.pem` and `key.pem` of the folder, as the `docker` command names them.
    fn new(to: Uri, certificates: Option<&Path>) -> Result<Self> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let unusable = |what: &str| {
            let shown = certificates.map_or_else(String::new, |folder| format!(" in {}", folder.display()));
            Error::new(
                ErrorKind::NotFound,
                format!("{what} for the Docker Engine at {to} cannot be used{shown}"),
            )
            .next("DOCKER_CERT_PATH names the folder with ca.pem, cert.pem and key.pem")
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable("TLS").because(error))?;
        let mut roots = RootCertStore::empty();
        let folder = certificates.ok_or_else(|| unusable("no certificates"))?;
        let pem = |name: &str| -> Result<Vec<CertificateDer<'static>>> {
            let found = CertificateDer::pem_file_iter(folder.join(name)).and_then(Iterator::collect);
            found.map_err(|error| unusable(name).because(error))
        };
        for certificate in pem("ca.pem")? {
            roots.add(certificate).map_err(|error| unusable("ca.pem").because(error))?;
        }
        let builder = builder.with_root_certificates(roots);
        let config = if folder.join("cert.pem").exists() {
            let key = PrivateKeyDer::from_pem_file(folder.join("key.pem"));
            // The error of a key may quote it.
            let key = key.map_err(|_| unusable("key.pem"))?;
            builder
                .with_client_auth_cert(pem("cert.pem")?, key)
                .map_err(|_| unusable("cert.pem and key.pem"))?
        } else {
            builder.with_no_client_auth()
        };
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_only()
            .enable_http1()
            .wrap_connector(tcp);
        Ok(Self(to, connector))
    }
}

#[async_trait]
impl Dial for Tls {
    async fn dial(&self, _to: &Uri) -> io::Result<Wire> {
        let stream = self.1.clone().call(self.0.clone()).await.map_err(io::Error::other)?;
        Ok(Wire::new(TokioIo::new(stream)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(address: &str) -> Result<String> {
        Address::with(address, None).map(|address| format!("{:?}", address.dial))
    }

    #[test]
    fn addresses_are_those_of_the_docker_command() {
        assert_eq!(kind_of("unix:///run/docker.sock").unwrap(), "Socket(\"/run/docker.sock\")");
        assert!(kind_of("tcp://127.0.0.1:2375").unwrap().starts_with("Plain(http://127.0.0.1:2375/"));
        for bad in
            ["", "docker", "unix://relative", "tcp://host", "tcp://host:1/path", "ftp://x:1", "tcp://:"]
        {
            assert_eq!(kind_of(bad).unwrap_err().kind(), ErrorKind::Invalid, "{bad}");
        }
        assert_eq!(kind_of("ssh://deploy@host").unwrap_err().kind(), ErrorKind::Unsupported);
        assert_eq!(kind_of("https://host:2376").unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_context_is_found_by_the_hash_of_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let meta = dir.path().join("contexts/meta").join(hash::bytes(b"remote"));
        fs::create_dir_all(&meta).unwrap();
        let text = r#"{"Name":"remote","Endpoints":{"docker":{"Host":"tcp://10.0.0.1:2375","SkipTLSVerify":false}}}"#;
        fs::write(meta.join("meta.json"), text).unwrap();
        assert_eq!(Address::of_context(dir.path(), "remote").unwrap().shown, "tcp://10.0.0.1:2375");
        let error = Address::of_context(dir.path(), "other").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("docker context ls"), "{error}");
    }

    #[test]
    fn a_bad_key_is_not_quoted() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["ca.pem", "cert.pem", "key.pem"] {
            fs::write(dir.path().join(name), "canary").unwrap();
        }
        let error = Address::with("tcp://127.0.0.1:2376", Some(dir.path())).unwrap_err();
        assert!(!format!("{error:?}").contains("canary"), "{error:?}");
    }
}
