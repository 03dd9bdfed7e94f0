//! A vehicle, whatever its agent runs on, its app and its books; and what may befall it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use crate::board::Board;
use crate::books::Book;
use crate::broker::Broker;
use crate::cable::Cable;
use crate::car::Car;
use crate::clock::{Clock, Clocks};

pub(crate) struct Vehicle {
    pub(crate) vin: String,
    pub(crate) book: Arc<Mutex<Book>>,
    pub(crate) cable: Cable,
    clock: Clock,
    unit: Unit,
    /// Whether its app is there.
    app: watch::Sender<bool>,
    /// Whether its app confirms what it gets.
    pub(crate) confirms: bool,
    /// Whether its messages pass where single ones can be lost.
    pub(crate) can_lose: bool,
}

enum Unit {
    Car(Car),
    Board(Board),
}

impl Vehicle {
    /// Starts a car that is enrolled in this folder, which its VIN names.
    pub(crate) async fn car(
        folder: &Path,
        broker: &Broker,
        clocks: &Clocks,
        confirms: bool,
    ) -> Self {
        let cable = Cable::to(&broker.clear(folder).await).await;
        let car = Car::new(folder, cable.lossy_port, &broker.login());
        Self::start(folder, cable, clocks, Unit::Car(car), confirms, true)
    }

    /// Starts a board that speaks in the clear, or as the broker wants it.
    pub(crate) async fn board(
        folder: &Path,
        broker: &Broker,
        clocks: &Clocks,
        image: &Path,
        clear: bool,
    ) -> Self {
        let url = match clear {
            true => broker.clear(folder).await,
            false => broker.url(),
        };
        let (cable, tls) = (Cable::to(&url).await, url.to_string().starts_with("mqtts"));
        let port = [cable.port, cable.lossy_port][usize::from(!tls)];
        let board = Board::new(image, folder, port, tls, &broker.login()).await;
        Self::start(folder, cable, clocks, Unit::Board(board), true, !tls)
    }

    fn start(
        folder: &Path,
        cable: Cable,
        clocks: &Clocks,
        unit: Unit,
        confirms: bool,
        can_lose: bool,
    ) -> Self {
        let clock = clocks.clock(folder.with_extension("clock"));
        let vin = folder.file_name().unwrap().to_string_lossy().into_owned();
        let mut vehicle = Self {
            vin,
            book: Arc::default(),
            cable,
            clock,
            unit,
            app: watch::Sender::new(true),
            confirms,
            can_lose,
        };
        vehicle.switch_on();
        vehicle
    }

    pub(crate) fn is_board(&self) -> bool {
        matches!(self.unit, Unit::Board(_))
    }

    pub(crate) fn portal(&self) -> SocketAddr {
        match &self.unit {
            Unit::Car(car) => car.portal,
            Unit::Board(board) => board.portal,
        }
    }

    /// Whether the app is to be there.
    pub(crate) fn app(&self) -> watch::Receiver<bool> {
        self.app.subscribe()
    }

    pub(crate) fn books(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap()
    }

    fn switch_on(&mut self) {
        match &mut self.unit {
            Unit::Car(car) => car.start(&self.clock),
            Unit::Board(board) => board.start(&self.clock),
        }
    }

    /// It ends by a fault alone.
    pub(crate) fn lives(&mut self) {
        let process = match &mut self.unit {
            Unit::Car(car) => &mut car.process,
            Unit::Board(board) => &mut board.process,
        };
        if let Some(process) = process {
            process.lives();
        }
    }

    /// Its agent is killed; on a board, its power goes. After this time it is started again.
    pub(crate) async fn kill(&mut self, away: Duration) {
        match &mut self.unit {
            Unit::Car(car) => car.kill().await,
            Unit::Board(board) => board.kill().await,
        }
        sleep(away).await;
        self.switch_on();
    }

    /// It begins anew at once.
    pub(crate) async fn reset(&mut self) {
        match &mut self.unit {
            Unit::Car(_) => self.kill(Duration::ZERO).await,
            Unit::Board(board) => board.reset().await,
        }
    }

    /// There is no way to the broker for this time. A board's cable is pulled, so that nobody is told.
    pub(crate) async fn unplug(&self, time: Duration) {
        match &self.unit {
            Unit::Car(_) => self.cable.unplug(time),
            Unit::Board(board) => {
                board.network(false).await;
                sleep(time).await;
                board.network(true).await;
            }
        }
    }

    /// The agent's disk is full for this time.
    pub(crate) async fn fill_disk(&self, time: Duration) {
        if let Unit::Car(car) = &self.unit {
            car.disk_is_full(true);
            sleep(time).await;
            car.disk_is_full(false);
        }
    }

    pub(crate) fn set_clock_back(&mut self, seconds: i64) {
        self.clock.set_back(seconds);
    }

    /// The app ends, or comes.
    pub(crate) fn set_app(&self, there: bool) {
        self.app.send_replace(there);
    }

    pub(crate) fn has_app(&self) -> bool {
        *self.app.borrow()
    }
}
