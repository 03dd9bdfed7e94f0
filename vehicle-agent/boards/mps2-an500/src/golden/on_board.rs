//! Start and end of the program, and the files that it holds.

mod memory;

use core::panic::PanicInfo;

use semihosting::{eprintln, println, process};

use crate::vectors;

macro_rules! files {
    ($($name:literal),*) => {
        [$(($name, include_str!(concat!("../../../../../protocol/vectors/", $name, ".json")))),*]
    };
}

const FILES: &[(&str, &str)] = &vectors::every_file!(files);

#[cortex_m_rt::entry]
fn start() -> ! {
    memory::start();
    let mut same = true;
    for &(name, current) in FILES {
        match first_difference(current, &vectors::derived(name, current)) {
            None => println!("{name}.json: all {} bytes are the same", current.len()),
            Some(at) => {
                println!("{name}.json: differs from byte {at} on");
                same = false;
            }
        }
    }
    process::exit(i32::from(!same))
}

fn first_difference(current: &str, derived: &str) -> Option<usize> {
    let mut pairs = current.bytes().zip(derived.bytes());
    let shorter = current.len().min(derived.len());
    let at = pairs.position(|(a, b)| a != b).unwrap_or(shorter);
    (current != derived).then_some(at)
}

#[panic_handler]
fn panicked(info: &PanicInfo<'_>) -> ! {
    eprintln!("{info}");
    process::exit(1)
}
