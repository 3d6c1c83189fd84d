//! A pause that others can be raced against.

use std::time::Duration;

/// Waits for `duration`, on a thread of its own: the holder needs a timer only when something
/// has gone wrong, and the executor of the D-Bus connection lends it none.
pub async fn sleep(duration: Duration) {
    let (sender, receiver) = async_channel::bounded::<()>(1);
    let thread = std::thread::Builder::new().spawn(move || {
        std::thread::sleep(duration);
        drop(sender);
    });
    if let Err(error) = thread {
        log::debug!("cannot start a thread: {error}");
    }
    // It is closed, never sent to.
    let _ = receiver.recv().await;
}
