//! Enrolling vehicles and partners, and checking what they were given.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use vinbus_host_server::identity::{
    Existing, Identities, Identity, IdentityError, LoginError, Secret,
};
use vinbus_host_server::model::Principal;
use vinbus_protocol::id::{Uid, Vin};

const VIN: &str = "0123456789ABCDEFG";

struct Fixture {
    folder: tempfile::TempDir,
    identities: Identities,
}

fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let identities = Identities::open(&folder.path().join("data")).unwrap();
    Fixture { folder, identities }
}

fn uid(text: &str) -> Uid {
    Uid::parse(text).unwrap()
}

fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap()
}

impl Fixture {
    fn out(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    async fn login(&self, user: &str, password: &str) -> Result<Identity, LoginError> {
        let credentials = self.identities.credentials();
        let address = std::net::Ipv4Addr::LOCALHOST.into();
        credentials.login(user, password.as_bytes(), address).await
    }

    fn principal(&self, token: &str) -> Option<Principal> {
        self.identities.credentials().principal(token)
    }
}

#[test]
fn vehicle_gets_three_files_closed_to_others() {
    let it = fixture();
    let out = it.out("car");
    let vin = Vin::parse(VIN).unwrap();
    it.identities
        .enroll_vehicle(&vin, &out, Existing::Refuse)
        .unwrap();
    let mut names: Vec<_> = fs::read_dir(&out)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            assert_eq!(
                entry.metadata().unwrap().permissions().mode() & 0o777,
                0o600
            );
            entry.file_name().into_string().unwrap()
        })
        .collect();
    names.sort();
    assert_eq!(names, ["ca.pem", "cert.pem", "key.pem"]);
    assert!(read(&out, "key.pem").starts_with("-----BEGIN PRIVATE KEY-----"));
    assert_eq!(read(&out, "ca.pem"), read(&it.out("data"), "ca.pem"));
}

#[test]
fn enrolling_over_existing_files_is_refused_unless_asked_for() {
    let it = fixture();
    let out = it.out("car");
    let vin = Vin::parse(VIN).unwrap();
    let enroll = |existing| it.identities.enroll_vehicle(&vin, &out, existing);
    enroll(Existing::Refuse).unwrap();
    let first = read(&out, "cert.pem");
    let refused = enroll(Existing::Refuse);
    assert!(matches!(refused, Err(IdentityError::Exists { .. })));
    assert_eq!(read(&out, "cert.pem"), first);
    enroll(Existing::Replace).unwrap();
    assert_ne!(read(&out, "cert.pem"), first);
}

#[tokio::test]
async fn partner_logs_in_with_what_it_was_given_and_nothing_else() {
    let it = fixture();
    let out = it.out("partner");
    it.identities
        .enroll_partner(&uid("acme"), &out, Existing::Refuse)
        .unwrap();
    let password = read(&out, "password");
    for _ in 0..2 {
        let identity = it.login("acme", &password).await.unwrap();
        assert_eq!(identity, Identity::Partner(uid("acme")));
    }
    let check = async |user: &str, password: &str| it.login(user, password).await.unwrap_err();
    assert!(matches!(
        check("acme", "wrong").await,
        LoginError::WrongPassword
    ));
    assert!(matches!(
        check("acme", &password.to_uppercase()).await,
        LoginError::WrongPassword
    ));
    assert!(matches!(
        check("other", &password).await,
        LoginError::UnknownUser
    ));
    assert!(matches!(
        check("../acme", &password).await,
        LoginError::UnknownUser
    ));
    assert!(matches!(
        check("acme", &"x".repeat(1_000_000)).await,
        LoginError::WrongPassword
    ));
}

#[tokio::test]
async fn administrator_logs_in_with_its_token() {
    let it = fixture();
    let token = fs::read_to_string(it.identities.admin_token_path()).unwrap();
    assert_eq!(it.login("admin", &token).await.unwrap(), Identity::Admin);
    assert_eq!(it.principal(&token), Some(Principal::Admin));
    assert!(it.login("admin", "").await.is_err());
    assert_eq!(it.principal("vba."), None);
}

#[test]
fn token_names_its_partner_and_no_other_token_does() {
    let it = fixture();
    let odd = uid("Ac me.~é");
    for partner in [uid("acme"), odd.clone()] {
        let out = it.out("partner").join(partner.as_str());
        it.identities
            .enroll_partner(&partner, &out, Existing::Refuse)
            .unwrap();
        let token = read(&out, "token");
        assert_eq!(it.principal(&token), Some(Principal::Partner(partner)));
        assert_eq!(it.principal(&token[..token.len() - 1]), None);
    }
    let token = read(&it.out("partner").join(odd.as_str()), "token");
    let secret = token.rsplit('.').next().unwrap();
    for forged in [
        format!("vbp.acme.{secret}"),
        format!("vbp.%2e%2e.{secret}"),
        format!("vbp.~2e~2e~2fadmin.{secret}"),
        format!("vbp.~.{secret}"),
        format!("vbp.é.{secret}"),
        String::new(),
    ] {
        assert_eq!(it.principal(&forged), None, "{forged}");
    }
}

#[tokio::test]
async fn enrolling_again_is_refused_and_replacing_makes_the_old_secrets_invalid() {
    let it = fixture();
    let partner = uid("acme");
    let enroll = |out: &str, existing| {
        it.identities
            .enroll_partner(&partner, &it.out(out), existing)
    };
    enroll("one", Existing::Refuse).unwrap();
    let (password, token) = (
        read(&it.out("one"), "password"),
        read(&it.out("one"), "token"),
    );
    it.login("acme", &password).await.unwrap();
    let refused = enroll("two", Existing::Refuse);
    assert!(matches!(refused, Err(IdentityError::Enrolled { .. })));
    assert!(!it.out("two").exists());
    enroll("two", Existing::Replace).unwrap();
    assert!(it.login("acme", &password).await.is_err());
    assert_eq!(it.principal(&token), None);
    let password = read(&it.out("two"), "password");
    assert!(it.login("acme", &password).await.is_ok());
}

#[tokio::test]
async fn partner_enrolled_by_another_program_is_known_at_once() {
    let it = fixture();
    let other = Identities::open(&it.out("data")).unwrap();
    let out = it.out("partner");
    other
        .enroll_partner(&uid("acme"), &out, Existing::Refuse)
        .unwrap();
    assert!(it.login("acme", &read(&out, "password")).await.is_ok());
}

#[test]
fn uid_that_can_be_taken_for_another_identity_is_refused() {
    let it = fixture();
    for reserved in [VIN, "admin", "Admin", " acme", "acme "] {
        let refused =
            it.identities
                .enroll_partner(&uid(reserved), &it.out("partner"), Existing::Refuse);
        assert!(
            matches!(refused, Err(IdentityError::ReservedUid { .. })),
            "{reserved}"
        );
    }
    assert!(!it.out("partner").exists());
}

#[test]
fn no_secret_is_kept_in_the_clear_among_the_credentials() {
    let it = fixture();
    let out = it.out("partner");
    it.identities
        .enroll_partner(&uid("acme"), &out, Existing::Refuse)
        .unwrap();
    let record = read(&it.out("data/credentials/partners"), "acme.json");
    assert!(record.contains("$argon2id$"));
    for name in ["password", "token"] {
        let secret = read(&out, name);
        assert!(
            !record.contains(secret.rsplit('.').next().unwrap()),
            "{name}"
        );
    }
    let admin = read(&it.out("data/credentials"), "admin.json");
    let token = fs::read_to_string(it.identities.admin_token_path()).unwrap();
    assert!(!admin.contains(&token[4..]));
}

#[test]
fn damaged_record_refuses_and_is_named() {
    let it = fixture();
    it.identities.ensure_partner(&uid("acme")).unwrap();
    let path = it.out("data/credentials/partners/acme.json");
    fs::write(&path, "{\n \"uid\":").unwrap();
    let refused = it.identities.ensure_partner(&uid("acme")).unwrap_err();
    let text = refused.to_string();
    assert!(
        text.contains("acme.json") && text.contains("line 2"),
        "{text}"
    );
}

#[test]
fn damaged_admin_token_says_what_to_do() {
    let it = fixture();
    fs::write(it.identities.admin_token_path(), "oops").unwrap();
    let refused = Identities::open(&it.out("data")).unwrap_err().to_string();
    assert!(refused.contains("remove"), "{refused}");
    assert!(!refused.contains("oops"), "{refused}");
}

#[test]
fn first_starts_at_once_end_up_with_one_authority() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let certificates: Vec<String> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let it = Identities::open(&data).unwrap();
                    let token = fs::read_to_string(it.admin_token_path()).unwrap();
                    assert_eq!(it.credentials().principal(&token), Some(Principal::Admin));
                    it.authority().certificate().to_owned()
                })
            })
            .collect();
        starts
            .into_iter()
            .map(|start| start.join().unwrap())
            .collect()
    });
    assert!(certificates.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(certificates[0], read(&data, "ca.pem"));
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    let it = fixture();
    let certificate = it.identities.server_certificate(&[]).unwrap();
    let shown = format!(
        "{:?} {:?} {certificate:?}",
        it.identities,
        it.identities.credentials()
    );
    assert!(!shown.contains("PRIVATE KEY"), "{shown}");
    assert_eq!(format!("{:?}", Secret::new("x".into())), "Secret(…)");
}
