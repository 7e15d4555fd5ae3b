//! What every store must do. Each test runs against the store in memory and against the one on Redis.

mod index;
mod life;
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
    };
}

use both_stores;
