//! The server's figures as Prometheus text (exposition format 0.0.4).
//!
//! A [`Metrics`] hands out counters, gauges and histograms that cost one atomic operation to move.
//! Asking twice for the same name and labels gives the same figure, so modules need not share
//! handles. A family keeps at most [`SERIES_MAX`] label sets; what comes after is added up under
//! the label value `other`, so that no peer can make the page grow.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Label sets that one family keeps.
pub const SERIES_MAX: usize = 64;

/// Upper bounds of the histograms of durations, in seconds: 0.1 ms to 10 s.
pub const DURATION_BOUNDS_S: [f64; 11] = [
    0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 10.0,
];

/// Upper bounds of the histograms of sizes and counts: 1 to 4,096.
pub const COUNT_BOUNDS: [f64; 7] = [1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0];

/// Labels of one figure: fixed names, values from a bounded set.
pub type Labels<'a> = &'a [(&'static str, &'a str)];

/// The registry; a handle that is cheap to clone.
#[derive(Clone, Default)]
pub struct Metrics {
    families: Arc<Mutex<BTreeMap<&'static str, Family>>>,
}

struct Family {
    help: &'static str,
    series: BTreeMap<String, Series>,
}

#[derive(Clone)]
enum Series {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
}

/// A figure that only grows.
#[derive(Clone, Default)]
pub struct Counter(Arc<AtomicU64>);

/// A figure that goes up and down.
#[derive(Clone, Default)]
pub struct Gauge(Arc<AtomicI64>);

/// How often values fell below each of some bounds.
#[derive(Clone)]
pub struct Histogram(Arc<HistogramCells>);

struct HistogramCells {
    bounds: &'static [f64],
    /// One cell per bound, and one for what is above all of them.
    cells: Vec<AtomicU64>,
    sum_bits: AtomicU64,
}

impl Metrics {
    /// An empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The counter of this name and these labels; names end in `_total`.
    pub fn counter(&self, name: &'static str, help: &'static str, labels: Labels<'_>) -> Counter {
        match self.series(name, help, labels, || Series::Counter(Counter::default())) {
            Series::Counter(counter) => counter,
            Series::Gauge(_) | Series::Histogram(_) => Counter::default(),
        }
    }

    /// The gauge of this name and these labels.
    pub fn gauge(&self, name: &'static str, help: &'static str, labels: Labels<'_>) -> Gauge {
        match self.series(name, help, labels, || Series::Gauge(Gauge::default())) {
            Series::Gauge(gauge) => gauge,
            Series::Counter(_) | Series::Histogram(_) => Gauge::default(),
        }
    }

    /// The histogram of this name and these labels over `bounds`, which grow.
    pub fn histogram(
        &self,
        name: &'static str,
        help: &'static str,
        bounds: &'static [f64],
        labels: Labels<'_>,
    ) -> Histogram {
        let new = || Histogram::new(bounds);
        match self.series(name, help, labels, || Series::Histogram(new())) {
            Series::Histogram(histogram) => histogram,
            Series::Counter(_) | Series::Gauge(_) => new(),
        }
    }

    /// All figures as the text that `/metrics` answers.
    #[must_use]
    pub fn render(&self) -> String {
        let mut page = String::new();
        for (name, family) in self.lock().iter() {
            let kind = match family.series.values().next() {
                Some(Series::Counter(_)) => "counter",
                Some(Series::Gauge(_)) => "gauge",
                Some(Series::Histogram(_)) => "histogram",
                None => continue,
            };
            // Writing to a String cannot fail.
            let _ = writeln!(page, "# HELP {name} {}\n# TYPE {name} {kind}", family.help);
            for (labels, series) in &family.series {
                series.render(&mut page, name, labels);
            }
        }
        page
    }

    fn series(
        &self,
        name: &'static str,
        help: &'static str,
        labels: Labels<'_>,
        new: impl Fn() -> Series,
    ) -> Series {
        let mut families = self.lock();
        let family = families.entry(name).or_insert_with(|| Family {
            help,
            series: BTreeMap::new(),
        });
        let mut key = label_text(labels.iter().copied());
        if !family.series.contains_key(&key) && family.series.len() >= SERIES_MAX {
            key = label_text(labels.iter().map(|&(label, _)| (label, "other")));
        }
        family.series.entry(key).or_insert_with(new).clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Family>> {
        self.families.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counter {
    /// Adds 1.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The figure now.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Gauge {
    /// Sets the figure.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Adds `n`, which may be negative.
    pub fn add(&self, n: i64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Adds 1 for as long as the answer lives.
    pub fn hold(&self) -> Held {
        self.add(1);
        Held(self.clone())
    }

    /// The figure now.
    #[must_use]
    pub fn value(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts in a [`Gauge`] until it is dropped.
#[must_use]
pub struct Held(Gauge);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        Self(Arc::new(HistogramCells {
            bounds,
            cells: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum_bits: AtomicU64::new(0f64.to_bits()),
        }))
    }

    /// Notes a value.
    pub fn observe(&self, value: f64) {
        let at = self.0.bounds.partition_point(|bound| *bound < value);
        self.0.cells[at].fetch_add(1, Ordering::Relaxed);
        let add = |bits| Some((f64::from_bits(bits) + value).to_bits());
        // The closure never returns `None`, so the update cannot fail.
        let _ = self
            .0
            .sum_bits
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Notes a duration, in seconds.
    pub fn observe_duration(&self, duration: Duration) {
        self.observe(duration.as_secs_f64());
    }

    /// How many values were noted.
    #[must_use]
    pub fn count(&self) -> u64 {
        let cells = self.0.cells.iter();
        cells.map(|cell| cell.load(Ordering::Relaxed)).sum()
    }
}

impl Series {
    fn render(&self, page: &mut String, name: &str, labels: &str) {
        let braces = |labels: &str| match labels {
            "" => String::new(),
            labels => format!("{{{labels}}}"),
        };
        // Writing to a String cannot fail.
        let _ = match self {
            Self::Counter(counter) => {
                writeln!(page, "{name}{} {}", braces(labels), counter.value())
            }
            Self::Gauge(gauge) => writeln!(page, "{name}{} {}", braces(labels), gauge.value()),
            Self::Histogram(histogram) => {
                let comma = if labels.is_empty() { "" } else { "," };
                let mut count = 0;
                for (place, cell) in histogram.0.cells.iter().enumerate() {
                    count += cell.load(Ordering::Relaxed);
                    let bound = histogram.0.bounds.get(place);
                    let bound = bound.map_or("+Inf".to_owned(), f64::to_string);
                    let _ = writeln!(
                        page,
                        "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}"
                    );
                }
                let sum = f64::from_bits(histogram.0.sum_bits.load(Ordering::Relaxed));
                let labels = braces(labels);
                writeln!(
                    page,
                    "{name}_sum{labels} {sum}\n{name}_count{labels} {count}"
                )
            }
        };
    }
}

/// `name="value"` pairs, with the value's `\`, `"` and line feeds escaped.
fn label_text<'a>(labels: impl Iterator<Item = (&'static str, &'a str)>) -> String {
    let mut text = String::new();
    for (name, value) in labels {
        let value = value
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n");
        let comma = if text.is_empty() { "" } else { "," };
        // Writing to a String cannot fail.
        let _ = write!(text, "{comma}{name}=\"{value}\"");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_has_help_type_and_value_of_each_figure() {
        let metrics = Metrics::new();
        metrics
            .counter("vinbus_a_total", "As.", &[("reason", "x\"y")])
            .add(3);
        metrics.gauge("vinbus_b", "Bs.", &[]).set(-2);
        assert_eq!(
            metrics.render(),
            "# HELP vinbus_a_total As.\n# TYPE vinbus_a_total counter\n\
             vinbus_a_total{reason=\"x\\\"y\"} 3\n\
             # HELP vinbus_b Bs.\n# TYPE vinbus_b gauge\nvinbus_b -2\n"
        );
    }

    #[test]
    fn histogram_buckets_are_cumulative() {
        static BOUNDS: [f64; 2] = [0.5, 1.0];
        let metrics = Metrics::new();
        let histogram = metrics.histogram("vinbus_h", "Hs.", &BOUNDS, &[("k", "v")]);
        for value in [0.25, 1.0, 2.0] {
            histogram.observe(value);
        }
        let page = metrics.render();
        for line in [
            "vinbus_h_bucket{k=\"v\",le=\"0.5\"} 1",
            "vinbus_h_bucket{k=\"v\",le=\"1\"} 2",
            "vinbus_h_bucket{k=\"v\",le=\"+Inf\"} 3",
            "vinbus_h_sum{k=\"v\"} 3.25",
            "vinbus_h_count{k=\"v\"} 3",
        ] {
            assert!(page.lines().any(|l| l == line), "{line} is not in\n{page}");
        }
    }

    #[test]
    fn same_name_and_labels_are_the_same_figure() {
        let metrics = Metrics::new();
        metrics.counter("vinbus_a_total", "As.", &[]).increment();
        assert_eq!(metrics.counter("vinbus_a_total", "As.", &[]).value(), 1);
    }

    #[test]
    fn label_sets_beyond_the_limit_are_added_up_as_other() {
        let metrics = Metrics::new();
        for n in 0..SERIES_MAX + 10 {
            metrics
                .counter("vinbus_a_total", "As.", &[("peer", &n.to_string())])
                .increment();
        }
        let page = metrics.render();
        assert!(page.contains("vinbus_a_total{peer=\"other\"} 10\n"));
        assert_eq!(page.lines().count(), SERIES_MAX + 3);
    }
}
