//! Spans that have ended wait in a queue of bounded length; whoever runs [`Queue::export`] sends
//! them on. Nobody who serves requests waits for that.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter, SpanProcessor};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

/// Spans that wait: two seconds of a busy gate, some 8 MiB. Beyond it they are dropped and
/// counted.
pub(super) const QUEUE_SPANS_MAX: usize = 4_096;
/// Spans in one message: OpenTelemetry's own default.
const BATCH_SPANS_MAX: usize = 512;
/// Between two exports: spans are looked at by people.
const EXPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Longest time that a collector may take for one message.
const EXPORT_MAX: Duration = Duration::from_secs(5);
/// Longest time for the last spans, when the process ends: it is not kept for a collector.
const FLUSH_MAX: Duration = Duration::from_secs(5);

/// What became of spans that ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpanMeters {
    /// Taken by the collector.
    pub exported: u64,
    /// Not taken, or not in time.
    pub failed: u64,
    /// Dropped, since too many waited.
    pub dropped: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    exported: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
}

impl Counts {
    pub(super) fn read(&self) -> SpanMeters {
        SpanMeters {
            exported: self.exported.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
        }
    }
}

/// Spans that have ended, on their way to a collector.
#[derive(Debug)]
pub struct Queue {
    spans: mpsc::Receiver<SpanData>,
    resource: Resource,
    counts: Arc<Counts>,
}

/// Puts spans that end into the queue.
#[derive(Debug)]
pub(super) struct Processor {
    queue: mpsc::Sender<SpanData>,
    counts: Arc<Counts>,
}

pub(super) fn queue(resource: Resource) -> (Queue, Processor, Arc<Counts>) {
    let (sender, spans) = mpsc::channel(QUEUE_SPANS_MAX);
    let counts = Arc::<Counts>::default();
    let queue = Queue { spans, resource, counts: Arc::clone(&counts) };
    (queue, Processor { queue: sender, counts: Arc::clone(&counts) }, counts)
}

impl SpanProcessor for Processor {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.queue.try_send(span).is_err() {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl Queue {
    /// Sends spans on until `stopped`, and then what is still there.
    pub async fn export(
        mut self,
        mut exporter: impl SpanExporter,
        stopped: impl Future<Output = ()>,
    ) {
        exporter.set_resource(&self.resource);
        let mut stopped = std::pin::pin!(stopped);
        let mut said = false;
        loop {
            tokio::select! {
                () = sleep(EXPORT_INTERVAL) => self.flush(&exporter, &mut said).await,
                () = &mut stopped => break,
            }
        }
        // Whether the last spans come through or not, this is the end.
        let _ended = timeout(FLUSH_MAX, self.flush(&exporter, &mut said)).await;
    }

    /// Sends what waits, until the collector fails. `said`: it fails, and that was said.
    async fn flush(&mut self, exporter: &impl SpanExporter, said: &mut bool) {
        while let Some((count, sent)) = self.send(exporter).await {
            let counter = if sent.is_ok() { &self.counts.exported } else { &self.counts.failed };
            counter.fetch_add(count as u64, Ordering::Relaxed);
            let Err(error) = sent else {
                *said = false;
                continue;
            };
            // Once per fault, not once per message; the others can wait a second.
            if !std::mem::replace(said, true) {
                tracing::warn!("spans are lost: {error}");
            }
            return;
        }
    }

    /// Sends one message of what waits: how many spans, and how it went.
    async fn send(&mut self, exporter: &impl SpanExporter) -> Option<(usize, Result<(), String>)> {
        let waiting = std::iter::from_fn(|| self.spans.try_recv().ok());
        let batch: Vec<SpanData> = waiting.take(BATCH_SPANS_MAX).collect();
        let count = batch.len();
        if count == 0 {
            return None;
        }
        let sent = match timeout(EXPORT_MAX, exporter.export(batch)).await {
            Ok(sent) => sent.map_err(|error| error.to_string()),
            Err(_) => Err(format!("the collector has not answered for {EXPORT_MAX:?}")),
        };
        Some((count, sent))
    }
}
