//! Where Redis is and how to log in. Read again at each connect, so that a new password needs no restart.

mod access;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::redis::{ClientTlsConfig, TlsCertificates};
use berth_crds::settings::{RedisLogin, RedisMode, RedisUrl, RedisUrlError};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::secrets::{Secret, SecretError, read_secret_file};

pub(super) use access::Access;

/// A Redis: one server, the servers behind Sentinels, or a Redis Cluster. `Debug` and `Display` show neither
/// users nor passwords.
#[derive(Clone)]
pub struct RedisEndpoint {
    url: UrlFrom,
    mode: RedisMode,
    password_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    client_certificate: Option<CertificateFiles>,
}

#[derive(Clone)]
enum UrlFrom {
    Text(Box<RedisUrl>),
    File(PathBuf),
}

#[derive(Clone, Debug)]
struct CertificateFiles {
    certificate: PathBuf,
    key: PathBuf,
}

/// Why an endpoint cannot be used. No variant holds the URL: it may contain a password.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EndpointError {
    /// The URL does not parse.
    #[error(transparent)]
    Url(#[from] RedisUrlError),
    /// The URL in a file does not parse.
    #[error("{}", path.display())]
    UrlIn {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: RedisUrlError,
    },
    /// The file holds another kind of URL than at the start.
    #[error("{} was of the kind {was:?} at the start and now is {is:?}: restart this process", path.display())]
    Kind {
        /// The file.
        path: PathBuf,
        /// What it was.
        was: RedisMode,
        /// What it is.
        is: RedisMode,
    },
    /// A file with URL, password or certificates cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why (shared because errors are kept for `/statusz`).
        #[source]
        source: Arc<SecretError>,
    },
    /// A file is not UTF-8.
    #[error("{} is not UTF-8 text", .0.display())]
    Text(PathBuf),
    /// Certificates are given and the URL is one without TLS.
    #[error("certificates in {} need a URL with TLS: rediss, rediss+sentinel or rediss+cluster", .0.display())]
    CertificatesWithoutTls(PathBuf),
    /// The certificates cannot be used.
    #[error("cannot use the certificates or the key in {}: PEM is needed", .0.display())]
    Certificates(PathBuf),
    /// The crate refuses what the endpoint says.
    #[error("no connection can be made so")]
    Client(#[source] ::redis::RedisError),
    /// The process is ending.
    #[error("interrupted while the files of the endpoint were read")]
    Interrupted,
}

impl RedisEndpoint {
    /// From a URL; see [`RedisUrl`] for the forms.
    pub fn from_url(url: &str) -> Result<Self, EndpointError> {
        let url: RedisUrl = url.parse()?;
        Ok(Self::new(url.mode(), UrlFrom::Text(Box::new(url))))
    }

    /// From a file that holds the URL (a mounted Secret). It is read now, to know the kind of Redis, and again
    /// at each connect.
    pub fn from_url_file(path: PathBuf) -> Result<Self, EndpointError> {
        let url = parse_file(&path, &read(&path)?)?;
        Ok(Self::new(url.mode(), UrlFrom::File(path)))
    }

    fn new(mode: RedisMode, url: UrlFrom) -> Self {
        Self {
            url,
            mode,
            password_file: None,
            ca_file: None,
            client_certificate: None,
        }
    }

    /// Takes the password of the servers from a file instead of the URL.
    #[must_use]
    pub fn with_password_file(mut self, path: PathBuf) -> Self {
        self.password_file = Some(path);
        self
    }

    /// Trusts the PEM certificates of this file instead of the system's.
    #[must_use]
    pub fn with_ca_file(mut self, path: PathBuf) -> Self {
        self.ca_file = Some(path);
        self
    }

    /// Shows a certificate to servers that ask for one: PEM files of the certificate with its chain, and of its key.
    #[must_use]
    pub fn with_client_certificate(mut self, certificate: PathBuf, key: PathBuf) -> Self {
        self.client_certificate = Some(CertificateFiles { certificate, key });
        self
    }

    /// What kind of Redis it is.
    pub fn mode(&self) -> RedisMode {
        self.mode
    }

    /// Everything as it stands now.
    pub(super) async fn access(&self) -> Result<Access, EndpointError> {
        let this = self.clone();
        tokio::task::spawn_blocking(move || this.read())
            .await
            .unwrap_or(Err(EndpointError::Interrupted))
    }

    fn read(&self) -> Result<Access, EndpointError> {
        let mut url = match &self.url {
            UrlFrom::Text(url) => (**url).clone(),
            UrlFrom::File(path) => parse_file(path, &read(path)?)?,
        };
        if let UrlFrom::File(path) = &self.url
            && url.mode() != self.mode
        {
            return Err(EndpointError::Kind {
                path: path.clone(),
                was: self.mode,
                is: url.mode(),
            });
        }
        if let Some(path) = &self.password_file {
            url.login = RedisLogin {
                password: Some(text(path, &read(path)?)?.to_owned()),
                ..url.login
            };
        }
        let certificates = self.certificates(url.tls)?;
        Ok(Access::new(url, certificates))
    }

    /// Certificates, and the file to name if they cannot be used.
    fn certificates(&self, tls: bool) -> Result<Option<(TlsCertificates, PathBuf)>, EndpointError> {
        let named = self
            .client_certificate
            .as_ref()
            .map(|files| &files.certificate)
            .or(self.ca_file.as_ref());
        let Some(named) = named else { return Ok(None) };
        if !tls {
            return Err(EndpointError::CertificatesWithoutTls(named.clone()));
        }
        let bytes = |path: &PathBuf| read(path).map(|secret| secret.expose().to_vec());
        let client_tls = match &self.client_certificate {
            Some(files) => Some(ClientTlsConfig {
                client_cert: bytes(&files.certificate)?,
                client_key: bytes(&files.key)?,
            }),
            None => None,
        };
        let root_cert = self.ca_file.as_ref().map(bytes).transpose()?;
        if let (Some(path), Some(pem)) = (&self.ca_file, &root_cert)
            && CertificateDer::pem_slice_iter(pem).next().is_none()
        {
            return Err(EndpointError::Certificates(path.clone()));
        }
        let certificates = TlsCertificates {
            client_tls,
            root_cert,
        };
        Ok(Some((certificates, named.clone())))
    }
}

fn read(path: &Path) -> Result<Secret, EndpointError> {
    read_secret_file(path).map_err(|source| EndpointError::File {
        path: path.to_owned(),
        source: Arc::new(source),
    })
}

fn text<'a>(path: &Path, secret: &'a Secret) -> Result<&'a str, EndpointError> {
    secret
        .expose_str()
        .ok_or_else(|| EndpointError::Text(path.to_owned()))
}

fn parse_file(path: &Path, secret: &Secret) -> Result<RedisUrl, EndpointError> {
    text(path, secret)?
        .parse()
        .map_err(|source| EndpointError::UrlIn {
            path: path.to_owned(),
            source,
        })
}

impl fmt::Display for RedisEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.url {
            UrlFrom::File(path) => write!(f, "as in {}", path.display()),
            UrlFrom::Text(url) => url.fmt(f),
        }
    }
}

impl fmt::Debug for RedisEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisEndpoint")
            .field("url", &format_args!("{self}"))
            .field("mode", &self.mode)
            .field("password_file", &self.password_file)
            .field("ca_file", &self.ca_file)
            .field("client_certificate", &self.client_certificate)
            .finish()
    }
}

#[cfg(test)]
mod tests;
