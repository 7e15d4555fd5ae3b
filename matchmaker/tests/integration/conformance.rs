//! What every store must do. Each test runs against the store in memory, and against the one on Redis: on one server, on
//! a cluster, and for a user who may do what Berth needs and nothing else.

mod demand;
mod hosts;
mod index;
mod labels;
mod life;
mod matches;
mod picking;
mod sessions;

/// Runs an async function `(World)` against both stores.
macro_rules! both_stores {
    ($($name:ident),+ $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $name() {
                super::$name($crate::support::world::World::new($crate::support::world::Kind::Memory).await).await;
            })+
        }
        mod redis {
            $(#[tokio::test]
            async fn $name() {
                super::$name($crate::support::world::World::new($crate::support::world::Kind::Redis).await).await;
            })+
        }
        #[tokio::test]
        async fn on_a_cluster() {
            let cluster = berth_dataplane::testing::RedisCluster::start();
            let link = $crate::support::world::connect(&cluster).await;
            $(
                // The replies of nodes that hold nothing are of no interest.
                cluster.nodes().iter().for_each(|node| drop(node.command("FLUSHALL")));
                $name($crate::support::world::World::over(&link).await).await;
            )+
        }
        #[tokio::test]
        async fn for_a_user_with_no_further_rights() {
            let server = berth_dataplane::testing::RedisServer::start();
            let link = $crate::support::world::connect_narrowly(&server).await;
            $(
                server.command("FLUSHALL");
                $name($crate::support::world::World::over(&link).await).await;
            )+
            let log = server.command("ACL LOG");
            assert!(log.starts_with("*0\r\n"), "{log}");
        }
    };
}

use both_stores;
