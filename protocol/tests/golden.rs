//! Holds the crate against the golden vectors in `protocol/vectors/`.

extern crate alloc;

mod vectors;

#[test]
fn golden_vectors_are_what_the_crate_says() {
    for file in vectors::files::compare_all() {
        assert!(
            file.current == file.derived,
            "{} differs from what the crate does; if the change is wanted, run `cargo xtask golden` \
             and review the diff\n{}",
            file.path.display(),
            first_difference(&file.current, &file.derived)
        );
    }
}

fn first_difference(current: &str, derived: &str) -> String {
    let line = current
        .lines()
        .zip(derived.lines())
        .position(|(current, derived)| current != derived)
        .unwrap_or_else(|| current.lines().count().min(derived.lines().count()));
    let show = |text: &str| text.lines().nth(line).unwrap_or("(end)").to_owned();
    format!(
        "line {}\n  file:  {}\n  crate: {}",
        line + 1,
        show(current),
        show(derived)
    )
}
