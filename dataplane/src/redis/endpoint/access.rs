//! An endpoint with everything read: makes clients.

use std::path::PathBuf;

use ::redis::io::tcp::TcpSettings;
use ::redis::{
    Client, ConnectionAddr, IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo, TlsCertificates,
};
use berth_crds::settings::{RedisAddress, RedisLogin, RedisUrl};

use super::EndpointError;

/// What a connection needs, as it was when it was read.
pub(in crate::redis) struct Access {
    url: RedisUrl,
    /// Certificates, and the file to name if they cannot be used.
    certificates: Option<(TlsCertificates, PathBuf)>,
}

impl Access {
    pub(super) fn new(url: RedisUrl, certificates: Option<(TlsCertificates, PathBuf)>) -> Self {
        Self { url, certificates }
    }

    pub(in crate::redis) fn url(&self) -> &RedisUrl {
        &self.url
    }

    /// A client of a server.
    pub(in crate::redis) fn server(&self, address: &RedisAddress) -> Result<Client, EndpointError> {
        self.client(address, &self.url.login, self.url.database)
    }

    /// A client of a Sentinel.
    pub(in crate::redis) fn sentinel(&self, address: &RedisAddress) -> Result<Client, EndpointError> {
        self.client(address, &self.url.sentinel_login, 0)
    }

    fn client(
        &self,
        RedisAddress { host, port }: &RedisAddress,
        login: &RedisLogin,
        database: u32,
    ) -> Result<Client, EndpointError> {
        // RESP3 brings subscription messages and the news of a lost connection as pushes.
        let mut settings = RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP3)
            .set_lib_name("berth", env!("CARGO_PKG_VERSION"))
            .set_db(database.into());
        if let Some(user) = &login.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &login.password {
            settings = settings.set_password(password);
        }
        let address = if self.url.tls {
            ConnectionAddr::TcpTls {
                host: host.clone(),
                port: *port,
                insecure: false,
                tls_params: None,
            }
        } else {
            ConnectionAddr::Tcp(host.clone(), *port)
        };
        let info = address
            .into_connection_info()
            .map_err(EndpointError::Client)?
            .set_redis_settings(settings)
            .set_tcp_settings(TcpSettings::default().set_nodelay(true));
        match &self.certificates {
            None => Client::open(info).map_err(EndpointError::Client),
            Some((certificates, path)) => Client::build_with_tls(info, certificates.clone())
                .map_err(|_| EndpointError::Certificates(path.clone())),
        }
    }
}
