//! Interruptions: at the first, the program ends in good order; at the second, at once.

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use super::error::Exit;

/// What ends when the user or the system asks the program to end, from now on. A second time, the program ends at once.
pub(super) fn interrupted() -> impl Future<Output = ()> + use<> {
    let first = asked();
    async {
        first.await;
        // On a thread of its own, since a runtime that waits for its threads to end hears no signals any more.
        std::thread::spawn(|| {
            let Ok(runtime) = Builder::new_current_thread().enable_all().build() else { return };
            runtime.block_on(async { asked().await });
            std::process::exit(Exit::Interrupted as i32);
        });
    }
}

fn asked() -> impl Future<Output = ()> + use<> {
    let signals = signal(SignalKind::interrupt()).and_then(|int| Ok((int, signal(SignalKind::terminate())?)));
    async {
        let Ok((mut interrupt, mut terminate)) = signals else { return std::future::pending().await };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
}
