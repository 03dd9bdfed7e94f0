//! The log: defmt over RTT, read by `probe-rs attach` and the like through the debugger's wire.

use defmt_rtt as _;
use embassy_time::Instant;
use log::{LevelFilter, Log, Metadata, Record};
use vinbus_board_bring_up::clipped;

/// Longer lines lose their end.
const LINE_BYTES_MAX: usize = 256;

defmt::timestamp!("{=u64:ms}", Instant::now().as_millis());

/// Sends what the crate `log` is told to defmt.
pub(crate) fn start() {
    // Fails only if there is a sink already, and then that one does.
    let _ = log::set_logger(&Sink);
    log::set_max_level(LevelFilter::Info);
}

struct Sink;

impl Log for Sink {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= LevelFilter::Info
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let line = clipped::<LINE_BYTES_MAX>(*record.args());
        match record.level() {
            log::Level::Error => defmt::error!("{=str}", line.as_str()),
            log::Level::Warn => defmt::warn!("{=str}", line.as_str()),
            log::Level::Info | log::Level::Debug | log::Level::Trace => {
                defmt::info!("{=str}", line.as_str());
            }
        }
    }

    fn flush(&self) {}
}
