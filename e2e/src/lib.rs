//! Tests of Berth against a real Kubernetes API, a real Redis and real peers, and the machinery that
//! gives them these parts on a machine without Docker.
//!
//! ```text
//! binaries   Kubernetes, etcd, CoreDNS and metrics-server, built from pinned Go modules, cached
//!    |  \
//!    |   images      what pods need before the first one starts: pause, DNS, metrics, a Debian base, Redis
//!    |    |
//! apiserver  node    the API alone in 3 s, on free loopback ports | a whole node in its own namespaces
//!             |
//!          cluster   that node, or kind where Docker runs, or the one of a given kubeconfig
//! ```
//!
//! [`ApiServer`](apiserver::ApiServer) is for suites that need no pods; any crate may use it as a
//! dev-dependency. [`Node`](node::Node) runs pods and needs root; `cargo xtask cluster` is the command line of
//! [`Cluster`](cluster::Cluster).

pub mod apiserver;
pub mod binaries;
pub mod cache;
mod children;
pub mod cluster;
pub mod images;
pub mod node;
pub mod pki;
pub mod process;
pub mod workspace;
