//! Every chore of the workspace, so that nobody needs to remember a command line.
//!
//! Run it as `cargo xtask CHORE`. It calls cargo and a few well-known tools, prints each command
//! before it runs, and imports none of the workspace's crates: it must build when they do not.
//! Begin at [`Chore`].

mod command;
mod toolchain;

mod setup;

mod bare_metal;
mod dist;
mod examples;
mod fuzz;
mod golden;
mod lint;
mod no_panic;
mod screenshots;
mod simulate;
mod soak;
mod test;

mod firmware;
mod flash;
mod provision;
mod qemu_test;
mod size;

mod bench;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Every chore of the workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Run all tests; installs what they need through apt when it may, else says what to install.
    ///
    /// In this order: bare-metal and WebAssembly checks, the proof that the protocol cannot panic,
    /// golden files, documentation tests, the firmware (`size`, `qemu-test`), the agent for ARM Linux,
    /// 64 and 32 bits (`dist --test`), then every other test of the workspace. The last lines are the test runner's
    /// own summary.
    Test {
        /// Leave out what needs more than this machine's own compile target, and install nothing
        /// for it.
        #[arg(long)]
        host_only: bool,
    },
    /// Check formatting, lints, dependency policy and documentation.
    Lint,
    /// All that continuous integration runs: `lint`, then `test`.
    Ci,
    /// Install what tests need from npm and PyPI: what the programs in `docs/examples/` import, and
    /// axe-core for the console.
    Examples,
    /// Measure, and print tables with ratios.
    Bench {
        /// What to measure; everything but the firmware by default.
        what: Vec<bench::Bench>,
        /// Measure the firmware in QEMU, beside the agent for Linux.
        #[arg(long, conflicts_with = "what")]
        qemu: bool,
    },
    /// Feed generated input to the fuzz targets and stop at the first failure.
    Fuzz {
        /// One target, as named in `fuzz/fuzz_targets/`; all of them by default.
        target: Option<String>,
        /// Seconds for each target.
        #[arg(long, default_value_t = 60)]
        seconds: u32,
    },
    /// Rewrite the golden files from the code; review their diff before you commit it.
    Golden {
        /// Change nothing; fail if a golden file differs from what the code says.
        #[arg(long)]
        check: bool,
    },
    /// Photograph the portal's page and the console, for the README, into `docs/images/`.
    Screenshots,
    /// Prove that nothing public in the protocol crate can panic, here and on a board.
    NoPanic {
        /// Prove it for this machine only.
        #[arg(long)]
        host_only: bool,
    },
    /// Simulate delivery and requests between a host and vehicles over a bad network, with one seed after another.
    ///
    /// A seed that fails prints which simulation failed and what went wrong, and does the same each time that
    /// it is run.
    Simulate {
        /// The seeds, the last one left out.
        #[arg(long, default_value = "0..1000000", value_name = "A..B", value_parser = simulate::seeds)]
        seeds: std::ops::Range<u64>,
        /// End after this time, with as many seeds as were done.
        #[arg(long, default_value_t = 10, value_name = "M", value_parser = clap::value_parser!(u64).range(1..))]
        minutes: u64,
    },
    /// Let faults befall the real programs, and balance the books.
    ///
    /// A host server, agents for Linux and boards in QEMU, each with an app, send messages with receipts both
    /// ways, and a fleet of 1,000 vehicles gets some. Server, agents and broker are killed, boards lose their power or are
    /// reset, connections are cut, cables pulled, messages lost, disks full, clocks set back, apps away, and the
    /// whole fleet is cut off at once. Then there is calm, and every message that was accepted must be
    /// confirmed, still held for an app that is away, or told as lost; none may have come twice, or changed.
    /// It prints the books. If they do not balance, it names the messages, with all their steps, and the seed, keeps what
    /// the programs wrote and printed, and the status is 1. The seed decides what happens and when, though not how
    /// the programs meet it.
    Soak(soak::Soak),
    /// Compile what must run on a board or in a browser for its targets.
    BareMetal,
    /// Build `vehicle-agent` for boards that run Linux, small, into `target/dist/TARGET/`.
    ///
    /// Installs Debian's cross compiler through apt when it may, else says what to install.
    Dist {
        /// What to build for.
        #[arg(long, default_value = dist::DEFAULT,
            value_parser = clap::builder::PossibleValuesParser::new(dist::targets()))]
        target: String,
        /// Run it in an emulator: one message down and one up, against the host server.
        #[arg(long)]
        test: bool,
    },
    /// Build the images of boards, and print where they are.
    Firmware {
        /// The boards; all of them by default.
        boards: Vec<firmware::Board>,
    },
    /// Write the block of memory that makes a board one vehicle, as `vehicle-agent provision` does.
    // What it takes, `vehicle-agent provision --help` tells.
    #[command(disable_help_flag = true)]
    Provision {
        /// The options of `vehicle-agent provision`; `--help` lists them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// Tell what the images of boards take, step by step, and fail if one takes more than its budget.
    Size {
        /// The boards; all of them by default.
        boards: Vec<firmware::Board>,
    },
    /// Write firmware, and the block that makes the board one vehicle, through a debugger; needs
    /// `probe-rs`.
    Flash(flash::Flash),
    /// Run the firmware in QEMU against the real host server and a real broker; the last line counts.
    QemuTest {
        /// Only the cases whose names contain this.
        filter: Option<String>,
        /// Run none: print their names.
        #[arg(long, conflicts_with = "filter")]
        list: bool,
    },
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().chore {
        Chore::Test { host_only } => test::all(host_only),
        Chore::Lint => lint::all(),
        Chore::Ci => lint::all().and_then(|()| test::all(false)),
        Chore::Examples => examples::prepare(),
        Chore::Bench { qemu: true, .. } => qemu_test::bench(),
        Chore::Bench { what, .. } => bench::run(&what),
        Chore::Fuzz { target, seconds } => fuzz::run_targets(target.as_deref(), seconds),
        Chore::Golden { check } => golden::all(check),
        Chore::Screenshots => screenshots::take(),
        Chore::NoPanic { host_only } => no_panic::prove(host_only),
        Chore::Simulate { seeds, minutes } => simulate::run_seeds(&seeds, minutes),
        Chore::Soak(soak) => soak.run(),
        Chore::BareMetal => bare_metal::check(),
        Chore::Dist { target, test } => dist::agent(&target, test),
        Chore::Firmware { boards } => firmware::build_all(&boards),
        Chore::Provision { options } => provision::provision(&options),
        Chore::Size { boards } => size::check(&boards),
        Chore::Flash(flash) => flash.run(),
        Chore::QemuTest { list: true, .. } => qemu_test::list(),
        Chore::QemuTest { filter, .. } => qemu_test::run_cases(filter.as_deref()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn command_line_has_no_contradictions() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_of_another_program_are_handed_on_its_help_among_them() {
        let cli = Cli::try_parse_from(["xtask", "provision", "--help", "--vin", "x"]);
        let Ok(Chore::Provision { options }) = cli.map(|cli| cli.chore) else {
            panic!("it is taken for something else");
        };
        assert_eq!(options, ["--help", "--vin", "x"]);
    }
}
