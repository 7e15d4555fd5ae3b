//! Where Redis is and how to log in. Read again at each connect, so that a new password needs no restart.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::redis::io::tcp::TcpSettings;
use ::redis::{Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, TlsCertificates};

use crate::secrets::{SecretError, read_secret_file};

/// A Redis server. `Debug` and `Display` show neither user nor password.
#[derive(Clone)]
pub struct RedisEndpoint {
    url: UrlFrom,
    password_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
}

#[derive(Clone)]
enum UrlFrom {
    Text(Box<ConnectionInfo>),
    File(PathBuf),
}

/// Why an endpoint cannot be used. No variant holds the URL: it may contain a password.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EndpointError {
    /// The URL does not parse.
    #[error("not a Redis URL: expected redis[s]://[user:password@]host[:port][/db]")]
    Url,
    /// A file with URL, password or certificates cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why (shared because errors are kept for `/statusz`).
        #[source]
        source: Arc<SecretError>,
    },
    /// The password file is not UTF-8.
    #[error("{} is not UTF-8 text", .0.display())]
    Text(PathBuf),
    /// The certificates cannot be used: not PEM, or the URL is not `rediss`.
    #[error("cannot use the certificates in {}: PEM and a rediss:// URL are needed", .0.display())]
    Certificates(PathBuf),
}

impl RedisEndpoint {
    /// From a URL `redis[s]://[user:password@]host[:port][/db]`.
    pub fn from_url(url: &str) -> Result<Self, EndpointError> {
        let url = UrlFrom::Text(Box::new(parse(url)?));
        Ok(Self {
            url,
            password_file: None,
            ca_file: None,
        })
    }

    /// From a file that holds the URL (a mounted Secret).
    pub fn from_url_file(path: PathBuf) -> Self {
        Self {
            url: UrlFrom::File(path),
            password_file: None,
            ca_file: None,
        }
    }

    /// Takes the password from a file instead of the URL.
    #[must_use]
    pub fn with_password_file(mut self, path: PathBuf) -> Self {
        self.password_file = Some(path);
        self
    }

    /// Trusts the PEM certificates of this file instead of the system's (for `rediss`).
    #[must_use]
    pub fn with_ca_file(mut self, path: PathBuf) -> Self {
        self.ca_file = Some(path);
        self
    }

    /// A client with everything read from where it stands now.
    pub(super) async fn client(&self) -> Result<Client, EndpointError> {
        let info = match &self.url {
            UrlFrom::Text(info) => (**info).clone(),
            UrlFrom::File(path) => parse(&read_text(path).await?)?,
        };
        // RESP3 brings subscription messages and the news of a lost connection as pushes.
        let mut login = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        if let Some(path) = &self.password_file {
            login = login.set_password(read_text(path).await?);
        }
        let info = info
            .set_redis_settings(login.set_lib_name("berth", env!("CARGO_PKG_VERSION")))
            .set_tcp_settings(TcpSettings::default().set_nodelay(true));
        match &self.ca_file {
            None => Client::open(info).map_err(|_| EndpointError::Url),
            Some(path) => {
                let pem = read_text(path).await?.into_bytes();
                Client::build_with_tls(
                    info,
                    TlsCertificates {
                        client_tls: None,
                        root_cert: Some(pem),
                    },
                )
                .map_err(|_| EndpointError::Certificates(path.clone()))
            }
        }
    }
}

fn parse(url: &str) -> Result<ConnectionInfo, EndpointError> {
    url.trim().into_connection_info().map_err(|_| EndpointError::Url)
}

async fn read_text(path: &Path) -> Result<String, EndpointError> {
    let owned = path.to_owned();
    let read = tokio::task::spawn_blocking(move || read_secret_file(&owned)).await;
    let secret = match read {
        Ok(Ok(secret)) => secret,
        Ok(Err(source)) => {
            return Err(EndpointError::File {
                path: path.to_owned(),
                source: Arc::new(source),
            });
        }
        Err(_) => return Err(EndpointError::Text(path.to_owned())),
    };
    let text = secret
        .expose_str()
        .ok_or_else(|| EndpointError::Text(path.to_owned()))?;
    Ok(text.to_owned())
}

impl fmt::Display for RedisEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.url {
            UrlFrom::File(path) => write!(f, "as in {}", path.display()),
            UrlFrom::Text(info) => {
                let scheme = match info.addr() {
                    ConnectionAddr::TcpTls { .. } => "rediss://",
                    ConnectionAddr::Unix(_) => "redis+unix://",
                    _ => "redis://",
                };
                write!(f, "{scheme}{}/{}", info.addr(), info.redis_settings().db())
            }
        }
    }
}

impl fmt::Debug for RedisEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisEndpoint")
            .field("url", &format_args!("{self}"))
            .field("password_file", &self.password_file)
            .field("ca_file", &self.ca_file)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_shows_credentials() {
        let endpoint = RedisEndpoint::from_url("rediss://someone:hunter2@cache.example:6380/3").unwrap();
        let shown = format!("{endpoint} {endpoint:?}");
        assert!(shown.contains("rediss://cache.example:6380/3"), "{shown}");
        assert!(
            !shown.contains("hunter2") && !shown.contains("someone"),
            "{shown}"
        );
    }

    #[test]
    fn wrong_url_is_not_repeated() {
        let error = RedisEndpoint::from_url("http://:hunter2@cache.example").unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(shown.contains("redis[s]://"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[tokio::test]
    async fn url_and_password_files_are_read_at_each_connect() {
        let folder = tempfile::tempdir().unwrap();
        let (url, password) = (folder.path().join("url"), folder.path().join("password"));
        std::fs::write(&url, "redis://one:6379/1\n").unwrap();
        std::fs::write(&password, "first\n").unwrap();
        let endpoint = RedisEndpoint::from_url_file(url.clone()).with_password_file(password.clone());
        let client = endpoint.client().await.unwrap();
        let info = client.get_connection_info();
        assert_eq!(info.addr().to_string(), "one:6379");
        assert_eq!(info.redis_settings().password(), Some("first"));

        std::fs::write(&url, "redis://two:6379").unwrap();
        std::fs::write(&password, "second").unwrap();
        let client = endpoint.client().await.unwrap();
        assert_eq!(client.get_connection_info().addr().to_string(), "two:6379");
        assert_eq!(
            client.get_connection_info().redis_settings().password(),
            Some("second")
        );

        std::fs::remove_file(&password).unwrap();
        let error = endpoint.client().await.unwrap_err();
        assert!(error.to_string().contains("password"), "{error}");
    }
}
