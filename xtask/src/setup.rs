//! Sees to it that the tools which a chore needs are there.
//!
//! As root, or where `sudo` asks for no password, missing Debian packages are installed; otherwise
//! the chore stops and says exactly what to install. Nothing is ever removed or upgraded.

use anyhow::{Result, bail};

use crate::bare_metal;
use crate::command::{find, program, run, stdout, succeeds};
use crate::toolchain::{DEBIAN_PACKAGES, Toolchain};

/// Something that a chore needs and that may be missing.
pub(crate) struct Need {
    /// What it is for.
    pub(crate) purpose: &'static str,
    /// The Debian packages that bring it.
    pub(crate) packages: &'static [&'static str],
    /// What else would do.
    pub(crate) instead: &'static str,
    pub(crate) is_met: fn() -> bool,
}

const BROKER: Need = Need {
    purpose: "a real broker to test against, and a client that is not ours",
    packages: &["mosquitto", "mosquitto-clients"],
    instead: "mosquitto and mosquitto_pub 2.0 or newer on the PATH",
    is_met: || find("mosquitto").is_some() && find("mosquitto_pub").is_some(),
};

const BROWSER: Need = Need {
    purpose: "a browser for the portal's page and the console",
    packages: &["chromium"],
    instead: "Chromium 120 or newer as `chromium` on the PATH",
    is_met: || find("chromium").is_some(),
};

const HTTP_CLIENT: Need = Need {
    purpose: "the tour of the README",
    packages: &["curl"],
    instead: "curl 7.82 or newer on the PATH",
    is_met: || find("curl").is_some(),
};

const FUZZER: Need = Need {
    purpose: "libFuzzer, which is built from its sources",
    packages: &["g++"],
    instead: "a C++ compiler as `c++` on the PATH",
    is_met: || find("c++").is_some(),
};

const BARE_METAL: Need = Need {
    purpose: "a compiler for boards and WebAssembly",
    packages: DEBIAN_PACKAGES,
    instead: "`rustup target add thumbv7em-none-eabihf thumbv6m-none-eabi wasm32-unknown-unknown`, \
              or run `cargo xtask test --host-only`",
    is_met: || {
        bare_metal::targets()
            .iter()
            .all(|target| Toolchain::of(target).is_some())
    },
};

const QEMU: Need = Need {
    purpose: "a board to run the firmware on",
    packages: &["qemu-system-arm"],
    instead: "QEMU 7.2 or newer with the machine mps2-an500 on the PATH",
    is_met: || find("qemu-system-arm").is_some(),
};

/// Makes the tools that `cargo xtask test` needs available, or fails with what to install.
pub(crate) fn ensure(host_only: bool) -> Result<()> {
    if host_only {
        ensure_all(&[BROKER, BROWSER, HTTP_CLIENT, FUZZER])
    } else {
        ensure_all(&[BROKER, BROWSER, HTTP_CLIENT, FUZZER, BARE_METAL, QEMU])
    }
}

/// Makes what builds the fuzz targets available, or fails with what to install.
pub(crate) fn ensure_for_fuzz() -> Result<()> {
    ensure_all(&[FUZZER])
}

/// Makes a browser available, or fails with what to install.
pub(crate) fn ensure_browser() -> Result<()> {
    ensure_all(&[BROWSER])
}

/// Makes the tools that `cargo xtask qemu-test` needs available, or fails with what to install.
pub(crate) fn ensure_for_qemu() -> Result<()> {
    ensure_all(&[BROKER, BROWSER, BARE_METAL, QEMU])
}

/// Makes the tools that `cargo xtask soak` needs available, or fails with what to install.
pub(crate) fn ensure_for_soak(mosquitto: bool, boards: bool) -> Result<()> {
    let broker = mosquitto.then_some(BROKER);
    let boards = boards.then_some([BARE_METAL, QEMU]).into_iter().flatten();
    ensure_all(&broker.into_iter().chain(boards).collect::<Vec<_>>())
}

/// Makes what is needed available, or fails with what to install.
pub(crate) fn ensure_all(needs: &[Need]) -> Result<()> {
    let missing = || {
        needs
            .iter()
            .filter(|need| !(need.is_met)())
            .collect::<Vec<_>>()
    };
    let before = missing();
    if before.is_empty() {
        return Ok(());
    }
    let installed = install(&before);
    let after = missing();
    if after.is_empty() {
        return Ok(());
    }
    if let Err(error) = installed {
        eprintln!("\n{error:#}");
    }
    bail!("{}", advice(&after));
}

fn install(missing: &[&Need]) -> Result<()> {
    let Some(apt) = apt() else {
        return Ok(());
    };
    let packages = missing.iter().flat_map(|need| need.packages).copied();
    let mut arguments = apt.clone();
    arguments.extend(["install", "--yes", "--no-install-recommends"]);
    arguments.extend(packages);
    let mut update = apt;
    update.push("update");
    run(program(update[0], &update[1..]).env("DEBIAN_FRONTEND", "noninteractive"))?;
    run(program(arguments[0], &arguments[1..]).env("DEBIAN_FRONTEND", "noninteractive"))?;
    if missing
        .iter()
        .any(|need| need.packages.contains(&"mosquitto"))
    {
        stop_service(&arguments);
    }
    Ok(())
}

/// The tests start brokers of their own on free ports; the service that the package starts would
/// only occupy port 1883, which `host-server` wants.
fn stop_service(apt: &[&str]) {
    let mut disable = match apt[0] {
        "sudo" => program("sudo", &["--non-interactive", "systemctl"]),
        _ => program("systemctl", &[]),
    };
    if succeeds(disable.args(["disable", "--now", "mosquitto"])) {
        eprintln!("stopped and disabled the service that the package mosquitto brings");
    }
}

/// How to call `apt-get`, where we may.
fn apt() -> Option<Vec<&'static str>> {
    find("apt-get")?;
    if stdout(&mut program("id", &["--user"]))? == "0" {
        return Some(vec!["apt-get"]);
    }
    succeeds(&mut program("sudo", &["--non-interactive", "true"]))
        .then(|| vec!["sudo", "--non-interactive", "apt-get"])
}

fn advice(missing: &[&Need]) -> String {
    let mut text = String::from("some tools are missing and could not be installed from here:");
    for need in missing {
        text += &format!(
            "\n  - {}: `sudo apt-get update && sudo apt-get install {}`\n    (instead: {})",
            need.purpose,
            need.packages.join(" "),
            need.instead
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_names_what_is_missing_and_what_installs_it() {
        let text = advice(&[&BROKER, &BARE_METAL]);
        assert!(
            text.contains(
                "sudo apt-get update && sudo apt-get install mosquitto mosquitto-clients`"
            )
        );
        assert!(text.contains("install rustc-web cargo-web rust-web-src lld`"));
        assert!(text.contains("rustup target add thumbv7em-none-eabihf"));
    }
}
