//! The console in a real Chromium while messages arrive: how long its longest task keeps whoever uses
//! it waiting, from a trace of the browser's.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;
use vinbus_chromium::{Page, Task};

use crate::load::{PUBLISHERS, packets};
use crate::programs::HostServer;
use crate::table::Table;
use crate::wire::{self, Login, Publish};

/// Load before the trace begins: the list is full by then at the higher rates.
const WARM_UP: Duration = Duration::from_secs(12);

/// Messages arrive in bursts this far apart, spread over the publishers.
const BURST: Duration = Duration::from_millis(10);

/// Measures a page that nothing happens in, and one in which `rate` messages a second arrive.
pub(crate) fn measure(rate: u64, time: Duration) -> Result<()> {
    // reqwest wants one, plain HTTP or not; only a second one is refused.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new()?;
    println!("\nThe console in Chromium, {} s each:", time.as_secs());
    let mut table = Table::new(&[
        "messages/s",
        "shown/s",
        "longest task ms",
        "p99.9",
        "tasks over 50 ms",
        "busy",
    ]);
    for rate in [0, rate] {
        let sample = runtime.block_on(sample(rate, time))?;
        let mut took: Vec<Duration> = sample.tasks.iter().map(|task| task.took).collect();
        took.sort();
        let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
        let long = took.iter().filter(|it| **it > Duration::from_millis(50));
        let busy: Duration = took.iter().sum();
        table.row([
            rate.to_string(),
            format!("{:.0}", sample.shown),
            format!("{:.1}", at(1.0)),
            format!("{:.1}", at(0.999)),
            long.count().to_string(),
            format!("{:.0} %", 100.0 * busy.as_secs_f64() / time.as_secs_f64()),
        ]);
    }
    table.print();
    Ok(())
}

struct Sample {
    tasks: Vec<Task>,
    /// Messages that the page took in, in a second.
    shown: f64,
}

async fn sample(rate: u64, time: Duration) -> Result<Sample> {
    let server = HostServer::embedded()?;
    let link = link(&server).await?;
    let address = format!("http://{}/#sign-in={link}", server.http);
    let mut page = Page::open(&address, (1440, 900)).await;
    page.until("document.querySelector('#link').dataset.state === 'live'")
        .await;
    let load = (rate > 0).then(|| Load::start(&server, rate)).transpose()?;
    tokio::time::sleep(WARM_UP).await;
    let (before, begin) = (newest(&mut page).await, Instant::now());
    page.start_trace().await;
    tokio::time::sleep(time).await;
    let tasks = page.end_trace().await;
    let shown = (newest(&mut page).await - before) / begin.elapsed().as_secs_f64();
    if let Some(load) = load {
        load.end()?;
    }
    ensure!(!tasks.is_empty(), "the trace holds no task");
    Ok(Sample { tasks, shown })
}

/// The number of the newest message that the page shows.
async fn newest(page: &mut Page) -> f64 {
    let number = "Number(document.querySelector('#message-list [data-place=\"0\"] .text')\
                  ?.textContent.match(/\"n\":\"(\\d+)\"/)?.[1] ?? 0)";
    let of_one = page.eval(number).await.as_f64().unwrap_or_default();
    of_one * PUBLISHERS as f64
}

async fn link(server: &HostServer) -> Result<String> {
    let url = format!("http://{}/api/v1/console/links", server.http);
    let request = reqwest::Client::new().post(url).bearer_auth(&server.token);
    let made: Value = request.send().await?.error_for_status()?.json().await?;
    let link = made["link"].as_str().context("a link")?;
    Ok(link.to_owned())
}

/// Publishers that keep a rate.
struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<()>>,
}

impl Load {
    fn start(server: &HostServer, rate: u64) -> Result<Self> {
        let broker = server.mqtt.context("no plain listener")?;
        let login = Login {
            user: "admin".to_owned(),
            password: server.token.clone(),
        };
        let mut publishers = Vec::new();
        for index in 0..PUBLISHERS {
            let client = format!("bench-publisher-{index}");
            let stream = wire::connect(broker, &client, Some(&login))?;
            publishers.push((stream, packets(index, 0)));
        }
        let stop = Arc::<AtomicBool>::default();
        let ended = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (begin, mut sent) = (Instant::now(), 0);
            while !ended.load(Ordering::Relaxed) {
                let due = (begin.elapsed().as_secs_f64() * rate as f64) as u64;
                while sent < due {
                    publish(&mut publishers, sent)?;
                    sent += 1;
                }
                std::thread::sleep(BURST);
            }
            Ok(())
        });
        Ok(Self { stop, thread })
    }

    fn end(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.join();
        ended.map_err(|_| anyhow!("the publisher panicked"))?
    }
}

/// Publishes one message, by each publisher in turn, of each of its vehicles in turn.
fn publish(publishers: &mut [(TcpStream, Vec<Publish>)], number: u64) -> Result<()> {
    let count = publishers.len() as u64;
    let (stream, packets) = &mut publishers[(number % count) as usize];
    let of_one = number / count;
    let vehicle = (of_one % packets.len() as u64) as usize;
    let mut out = Vec::new();
    packets[vehicle].write(&mut out, of_one);
    Ok(stream.write_all(&out)?)
}
