//! When somebody wants the process to end.

/// Waits for SIGTERM or SIGINT.
pub(crate) async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    let interrupted = tokio::signal::ctrl_c();
    // Where a handler cannot be installed, only the default action is left: the process ends.
    let Ok(mut terminated) = signal(SignalKind::terminate()) else {
        let _ended = interrupted.await;
        return;
    };
    tokio::select! {
        _ended = interrupted => {}
        _ended = terminated.recv() => {}
    }
}
