//! Connections that carry bytes of an unknown protocol. They are not pooled.

use galleria_mesh::{AddressRules, Cluster};
use http::uri::{PathAndQuery, Scheme, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower_service::Service;

use super::resolver::Resolver;
use super::{RemoteClient, RemoteError, authority, not_connected, unreachable};

impl RemoteClient {
    /// Connects to a server that is not part of the mesh, within the timeout of `cluster`.
    ///
    /// # Errors
    /// There is no connection, or no address that it may use.
    pub(crate) async fn connect(
        &self,
        cluster: &Cluster,
        (host, port): (&str, u16),
        addresses: &AddressRules,
    ) -> Result<TcpStream, RemoteError> {
        addresses.check_host(host).map_err(RemoteError::Address)?;
        let uri = Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(authority(host, port)?)
            .path_and_query(PathAndQuery::from_static("/"))
            .build()
            .map_err(unreachable)?;
        let mut connector = HttpConnector::new_with_resolver(Resolver::new(addresses));
        connector.set_nodelay(true);
        let limit = cluster.connect_timeout;
        match timeout(limit, connector.call(uri)).await {
            Ok(Ok(stream)) => Ok(stream.into_inner()),
            Ok(Err(error)) => Err(not_connected(error.into())),
            Err(_) => Err(RemoteError::Connect(
                format!("no connection within {limit:?}").into(),
            )),
        }
    }
}
