//! Wall clocks that can be set back while a program runs, by a library that is preloaded (`clock.c`).

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command as StdCommand;

use tokio::process::Command;

/// Certificates are valid from a day before they are made: no clock goes further back than half of it.
const BACK_S_MAX: i64 = 12 * 60 * 60;

/// Makes clocks.
pub(crate) struct Clocks {
    library: PathBuf,
}

impl Clocks {
    /// Builds the library, and sees that it does what it should.
    pub(crate) fn new(folder: &Path) -> Self {
        let library = folder.join("clock.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/soak/clock.c");
        let mut build = StdCommand::new("cc");
        build.args(["-O1", "-shared", "-fPIC", "-o"]);
        let built = build.arg(&library).arg(source).status();
        let why = "the C compiler that also links Rust's programs builds the clock";
        assert!(built.expect(why).success(), "{why}");
        let clocks = Self { library };
        let mut clock = clocks.clock(folder.join("tried.clock"));
        let before = clock.shown();
        clock.set_back(1_000);
        let back = before - clock.shown();
        assert!((900..=1_000).contains(&back), "it went back by {back} s");
        clocks
    }

    /// One that goes as this machine's, until it is set back. Its seconds stand in this file.
    pub(crate) fn clock(&self, file: PathBuf) -> Clock {
        let open = File::options()
            .create(true)
            .write(true)
            .truncate(true)
            .open(&file);
        let mut clock = Clock {
            library: self.library.clone(),
            written: open.unwrap(),
            file,
            back_s: 0,
        };
        clock.set_back(0);
        clock
    }
}

/// The wall clock of one program, over all of its lives.
pub(crate) struct Clock {
    library: PathBuf,
    file: PathBuf,
    written: File,
    back_s: i64,
}

impl Clock {
    /// Has a program that is started go by this clock.
    pub(crate) fn rule<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command
            .env("LD_PRELOAD", &self.library)
            .env("SOAK_CLOCK", &self.file)
    }

    /// Sets it back by so many seconds, if it is not as far back as it may be.
    pub(crate) fn set_back(&mut self, seconds: i64) {
        self.back_s = (self.back_s + seconds).min(BACK_S_MAX);
        let bytes = (-self.back_s).to_ne_bytes();
        self.written.write_all_at(&bytes, 0).unwrap();
    }

    /// The seconds that a program is told.
    fn shown(&self) -> i64 {
        let mut date = Command::new("date");
        let told = self.rule(date.arg("+%s")).as_std_mut().output().unwrap();
        String::from_utf8_lossy(&told.stdout)
            .trim()
            .parse()
            .unwrap()
    }
}
