//! `host-server enroll`: whom it serves, what it refuses, and what it leaves behind.

mod cli_support;

use std::fs;
use std::path::Path;

use cli_support::{Server, VIN, done, failed, run};

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_folder_without_an_authority_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let [out, data] = ["car", "mistyped"].map(|name| path(dir.path(), name));
    let enroll = ["enroll", "vehicle", VIN, "--out", &out, "--data-dir", &data];
    let shown = failed(&run(&enroll).await, 2);
    assert!(
        shown.contains(&data) && shown.contains("--new-authority"),
        "{shown}"
    );
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn an_authority_is_founded_before_the_first_start_when_asked_for_and_the_server_keeps_it() {
    let dir = tempfile::tempdir().unwrap();
    let [out, data] = ["car", "data"].map(|name| path(dir.path(), name));
    let enroll = ["enroll", "vehicle", VIN, "--out", &out, "--data-dir", &data];
    let output = run(&[&enroll[..], &["--new-authority"]].concat()).await;
    done(&output);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("vinbus development CA ") && said.contains(&data),
        "{said}"
    );

    let authority = fs::read(Path::new(&out).join("ca.pem")).unwrap();
    let _server = Server::start(Path::new(&data)).await;
    assert_eq!(
        fs::read(Path::new(&data).join("ca.pem")).unwrap(),
        authority
    );
}

#[tokio::test]
async fn what_is_in_the_way_is_told_before_an_authority_is_founded() {
    let dir = tempfile::tempdir().unwrap();
    let [out, data] = ["car", "data"].map(|name| path(dir.path(), name));
    fs::create_dir(&out).unwrap();
    fs::write(Path::new(&out).join("key.pem"), "precious").unwrap();
    let enroll = ["enroll", "vehicle", VIN, "--out", &out, "--data-dir", &data];
    let shown = failed(&run(&[&enroll[..], &["--new-authority"]].concat()).await, 1);
    assert!(
        shown.contains("key.pem exists already") && shown.contains("--replace"),
        "{shown}"
    );
    assert!(!Path::new(&data).exists());
}

#[tokio::test]
async fn many_vehicles_are_enrolled_into_a_folder_each() {
    let dir = tempfile::tempdir().unwrap();
    let [out, data] = ["fleet", "data"].map(|name| path(dir.path(), name));
    let to = ["--out", &out, "--data-dir", &data, "--new-authority"];
    let enroll = [&["enroll", "vehicles", "--count", "3"], &to[..]].concat();
    let said = done(&run(&enroll).await);
    assert!(
        said.contains(&format!(
            "simulate --count 3 --vin-prefix SIM --certs {out}"
        )),
        "{said}"
    );
    for number in 0..3 {
        let folder = Path::new(&out).join(format!("SIM0000000000000{number}"));
        for name in ["ca.pem", "cert.pem", "key.pem"] {
            assert!(folder.join(name).is_file(), "{number}: {name}");
        }
    }
    let issued = fs::read_to_string(Path::new(&data).join("issued")).unwrap();
    let names: Vec<_> = issued
        .lines()
        .map(|line| line.rsplit(' ').next().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "SIM00000000000000",
            "SIM00000000000001",
            "SIM00000000000002"
        ]
    );
}

#[tokio::test]
async fn a_file_in_place_of_a_folder_is_a_mistake_in_the_options() {
    let dir = tempfile::tempdir().unwrap();
    let [file, below, other] = ["file", "file/below", "other"].map(|name| path(dir.path(), name));
    fs::write(&file, "").unwrap();
    let vehicle = ["enroll", "vehicle", VIN, "--new-authority"];
    let vehicles = ["enroll", "vehicles", "--count", "1", "--new-authority"];
    let told = format!("{file} is a file; name a folder");
    for (command, out, data) in [
        (&vehicle[..], Some(&file), &other),
        (&vehicle[..], Some(&below), &other),
        (&vehicle[..], Some(&other), &file),
        (&vehicles[..], Some(&file), &other),
        (&["serve"][..], None, &file),
        (&["serve"][..], None, &below),
    ] {
        let out = out.map(|out| ["--out", out]);
        let args = [
            command,
            out.as_slice().as_flattened(),
            &["--data-dir", data],
        ]
        .concat();
        let shown = failed(&run(&args).await, 2);
        assert!(shown.contains(&told), "{args:?}: {shown}");
    }
}

#[tokio::test]
async fn a_partner_whose_uid_is_the_administrators_is_a_mistake_on_the_command_line() {
    let dir = tempfile::tempdir().unwrap();
    let [out, data] = ["out", "data"].map(|name| path(dir.path(), name));
    let to = ["--out", &out, "--data-dir", &data, "--new-authority"];
    let enroll = [&["enroll", "partner", "admin"], &to[..]].concat();
    let shown = failed(&run(&enroll).await, 2);
    assert!(shown.contains("`admin` cannot be the UID"), "{shown}");
}
