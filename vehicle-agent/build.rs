//! Compresses the portal's page, which the programs carry with them.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

fn main() -> io::Result<()> {
    let out = std::env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?;
    println!("cargo::rerun-if-changed=portal");
    for file in fs::read_dir("portal")? {
        let path = file?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let packed = File::create(Path::new(&out).join(format!("{name}.gz")))?;
        let mut packer = GzEncoder::new(packed, Compression::best());
        packer.write_all(&fs::read(&path)?)?;
        packer.finish()?;
    }
    Ok(())
}
