//! For tests: servers on loopback, and what a call needs.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use domain::time::Timestamp;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tools::{ToolContext, builtin::Clock};

/// A second of November 2025.
pub(crate) const NOW: i64 = 1_763_800_000;

pub(crate) fn clock() -> Clock {
    Arc::new(|| Timestamp::from_millis(NOW * 1000))
}

/// Serves a router.
pub(crate) async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

/// Answers every connection's first request with these bytes, and leaves the connection open.
pub(crate) async fn answer(bytes: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut open = vec![];
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = connection.read(&mut request).await;
            connection.write_all(&bytes).await.unwrap();
            open.push(connection);
        }
    });
    address
}

/// A call's context with a minute.
pub(crate) fn context() -> ToolContext {
    context_for(Duration::from_secs(60))
}

pub(crate) fn context_for(time: Duration) -> ToolContext {
    ToolContext {
        user: "user".parse().unwrap(),
        thread: None,
        job: "job_01M839RBJ60QB9X3PRWCTHDWN3".parse().unwrap(),
        lane: domain::id::LaneName::main(),
        turn: 2,
        call: "call_7".parse().unwrap(),
        cancel: CancellationToken::new(),
        deadline: Instant::now() + time,
    }
}
