//! Where the server listens, for programs: the file `addresses.json` in the data folder, which is
//! there from the moment the server is ready until it stops, and lines on standard output.

use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The file's name.
pub const ADDRESSES_FILE: &str = "addresses.json";

/// The bound addresses; a port that was given as 0 is the real one here.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Addresses {
    pub(crate) http: SocketAddr,
    pub(crate) mqtt: Option<SocketAddr>,
    pub(crate) mqtts: Option<SocketAddr>,
}

impl Addresses {
    /// Those of the server that runs on `data_dir`, if one does and they can be read.
    pub(crate) fn read(data_dir: &Path) -> Option<Self> {
        let json = fs::read(data_dir.join(ADDRESSES_FILE)).ok()?;
        serde_json::from_slice(&json).ok()
    }

    /// The HTTP address to connect to from this machine, also where the server listens on all of its
    /// addresses.
    pub(crate) fn reachable_http(&self) -> SocketAddr {
        if self.http.ip().is_unspecified() {
            SocketAddr::from(([127, 0, 0, 1], self.http.port()))
        } else {
            self.http
        }
    }
}

impl fmt::Display for Addresses {
    /// `http=ADDR mqtt=ADDR mqtts=ADDR`, without those that are off.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http={}", self.http)?;
        for (name, address) in [("mqtt", self.mqtt), ("mqtts", self.mqtts)] {
            if let Some(address) = address {
                write!(f, " {name}={address}")?;
            }
        }
        Ok(())
    }
}

/// The file while it is there; dropping this removes it.
#[derive(Debug)]
pub(super) struct AddressesFile(PathBuf);

impl AddressesFile {
    /// Writes the file. Where the disk takes none, as it is full, the server serves all the same: what it holds
    /// can be sent and read.
    pub(super) fn write_or_tell(data_dir: &Path, addresses: &Addresses) -> Option<Self> {
        match Self::write(data_dir, addresses) {
            Ok(file) => Some(file),
            Err(error) => {
                // One of a killed server would lead elsewhere.
                let _ = fs::remove_file(data_dir.join(ADDRESSES_FILE));
                tracing::error!(
                    %error, data_dir = %data_dir.display(),
                    "the file {ADDRESSES_FILE} cannot be written, so `send`, `listen` and others need --url: make room on the disk and start again"
                );
                None
            }
        }
    }

    /// Writes the file whole or not at all. One that a killed server left behind is replaced.
    fn write(data_dir: &Path, addresses: &Addresses) -> io::Result<Self> {
        let path = data_dir.join(ADDRESSES_FILE);
        let new = data_dir.join(format!("{ADDRESSES_FILE}.new"));
        let mut json = serde_json::to_vec(addresses).map_err(io::Error::other)?;
        json.push(b'\n');
        fs::write(&new, json)?;
        fs::rename(&new, &path)?;
        Ok(Self(path))
    }
}

impl Drop for AddressesFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!(%error, file = %self.0.display(), "the file could not be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_there_as_long_as_its_guard() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(ADDRESSES_FILE);
        let addresses = Addresses {
            http: "127.0.0.1:80".parse().unwrap(),
            mqtt: None,
            mqtts: "[::1]:8886".parse().ok(),
        };
        let file = AddressesFile::write(dir.path(), &addresses).unwrap();
        let expected = r#"{"http":"127.0.0.1:80","mqtt":null,"mqtts":"[::1]:8886"}"#;
        assert_eq!(fs::read_to_string(&path).unwrap().trim_end(), expected);
        assert_eq!(addresses.to_string(), "http=127.0.0.1:80 mqtts=[::1]:8886");
        assert_eq!(Addresses::read(dir.path()).unwrap().mqtts, addresses.mqtts);
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn one_of_a_killed_server_is_gone_where_no_other_can_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(ADDRESSES_FILE);
        fs::write(&path, "{}").unwrap();
        fs::create_dir(dir.path().join(format!("{ADDRESSES_FILE}.new"))).unwrap();
        let addresses = Addresses {
            http: "127.0.0.1:80".parse().unwrap(),
            mqtt: None,
            mqtts: None,
        };
        let file = AddressesFile::write_or_tell(dir.path(), &addresses);
        assert!(file.is_none() && !path.exists());
    }
}
