//! Ctrl-C and polite kills: the program ends within a second, wherever it is.

use std::thread;
use std::time::Duration;

use anyhow::Context;

use crate::commands::{Interrupted, report_error};
use crate::train::new_folder::remove_unfinished;

/// How long interrupted work may clean up behind itself.
const GRACE: Duration = Duration::from_millis(600);

/// Ends the program soon after an interrupt, also while it does something that cannot be told to
/// stop: reading a repository, loading a model, waiting for a terminal.
///
/// Whatever is being written then is whole or put back by the next start, as after any kill.
pub fn watch_for_interrupts() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the asynchronous runtime")?;
    // Here and not on the thread: from now on a signal is not missed.
    let mut interrupts = {
        let _inside = runtime.enter();
        Interrupts::listen()?
    };
    let watch = move || {
        runtime.block_on(async {
            interrupts.wait().await;
            tokio::time::sleep(GRACE).await;
        });
        remove_unfinished();
        let _code = report_error(&Interrupted.into());
        #[expect(clippy::exit, reason = "other threads do what cannot be told to stop")]
        std::process::exit(INTERRUPTED_CODE.into());
    };
    thread::Builder::new()
        .name("interrupts".to_owned())
        .spawn(watch)
        .context("starting the thread that hears interrupts")?;
    Ok(())
}

/// What shells make of a program that SIGINT ended.
pub const INTERRUPTED_CODE: u8 = 130;

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
        let mut interrupts = Interrupts::listen()?;
        tokio::select! {
            outcome = work => outcome,
            () = interrupts.wait() => Err(Interrupted.into()),
        }
    });
    // Threads that still compute or wait for a child must not hold the program back.
    runtime.shutdown_background();
    outcome
}

/// Hears what asks the program to end, from the moment it is made.
#[cfg(unix)]
struct Interrupts {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Interrupts {
    /// Must be called inside an asynchronous runtime.
    fn listen() -> anyhow::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| signal(kind).context("listening for signals");
        let interrupt = listen(SignalKind::interrupt())?;
        Ok(Self { interrupt, terminate: listen(SignalKind::terminate())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Hears what asks the program to end, from the moment it is made.
#[cfg(windows)]
struct Interrupts {
    interrupt: tokio::signal::windows::CtrlC,
}

#[cfg(windows)]
impl Interrupts {
    /// Must be called inside an asynchronous runtime.
    fn listen() -> anyhow::Result<Self> {
        let interrupt = tokio::signal::windows::ctrl_c().context("listening for Ctrl-C")?;
        Ok(Self { interrupt })
    }

    async fn wait(&mut self) {
        self.interrupt.recv().await;
    }
}
