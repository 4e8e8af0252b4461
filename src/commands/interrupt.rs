//! Runs the asynchronous part of a command, until it ends or the user interrupts it.

use anyhow::Context;

use crate::commands::Interrupted;

/// Drives `work` to its end; Ctrl-C and a polite kill end it at once.
///
/// Work that blocks must run on threads of its own: what is dropped here is the future alone.
pub fn run_until_interrupted<T>(
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting the asynchronous runtime")?;
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = work => outcome,
            interrupt = wait_for_interrupt() => interrupt.and(Err(Interrupted.into())),
        }
    });
    // Threads that still compute or wait for a child must not hold the program back.
    runtime.shutdown_background();
    outcome
}

#[cfg(unix)]
async fn wait_for_interrupt() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("listening for signals")?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed.context("listening for Ctrl-C"),
        _ = terminate.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
async fn wait_for_interrupt() -> anyhow::Result<()> {
    tokio::signal::ctrl_c().await.context("listening for Ctrl-C")
}
