//! Runs a state machine on tokio: what it is told, and its deadlines.

use forebay_core::sync::LinkId;
use forebay_core::time::Time;
use tokio::sync::mpsc;
use tokio::time::sleep_until;

use super::Outbox;
use crate::clock::Clock;

/// One of our ends, as it is driven.
pub(super) trait End {
    /// What it is told.
    type Input;

    /// When [`End::due`] is wanted; `None` while only what it is told matters.
    fn next_deadline(&self) -> Option<Time>;

    /// Takes in what it is told.
    fn take(&mut self, input: Self::Input);

    /// Its deadline has come.
    fn due(&mut self);

    /// Links whose other side is gone without anybody telling.
    fn closed(&self) -> Vec<LinkId>;

    /// A link is gone.
    fn lost(&mut self, link: LinkId);
}

/// Runs until everybody who could tell it anything is gone.
pub(super) async fn run<E: End>(mut end: E, clock: Clock, mut inbox: mpsc::Receiver<E::Input>) {
    loop {
        let due = end.next_deadline().map(|at| clock.instant(at));
        let wait = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            input = inbox.recv() => match input {
                Some(input) => end.take(input),
                None => return,
            },
            () = wait => {
                end.closed().into_iter().for_each(|link| end.lost(link));
                end.due();
            }
        }
    }
}

/// Those whose other side is gone.
pub(super) fn closed<'a, T: 'a>(
    outboxes: impl Iterator<Item = (&'a LinkId, &'a Outbox<T>)>,
) -> Vec<LinkId> {
    outboxes.filter(|(_, outbox)| outbox.is_closed()).map(|(link, _)| *link).collect()
}
