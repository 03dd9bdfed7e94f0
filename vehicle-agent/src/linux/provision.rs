//! `vehicle-agent provision`: writes the block that makes a board one vehicle.

use std::fs;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, bail, ensure};
use clap::Args;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use vinbus_protocol::id::{AppId, Uid, Vin};
use vinbus_transport_embedded::StaticAddress;
use vinbus_transport_std::Pem;

use crate::app_page::{APP_TITLE_BYTES_MAX, AppPage, AppTitle};
use crate::linux::args::{AccessArgs, VehicleArgs};
use crate::linux::{connection, inspect};
use crate::page_url::{PAGE_URL_BYTES_MAX, PageUrl};
use crate::provisioned::{
    APPS_MAX, BLOCK_BYTES_MAX, Broker, Login, Network, Provisioned, TimeServer, Tls,
};

/// Options of `provision`.
#[derive(Debug, Args)]
#[command(mut_arg("url", |url| url.help(BROKER_HELP)))]
pub struct ProvisionArgs {
    /// The vehicle and its apps, up to 8.
    #[command(flatten)]
    pub vehicle: VehicleArgs,

    /// The broker. With TLS its certificate has to name the host.
    #[command(flatten)]
    pub access: AccessArgs,

    /// Folder of the vehicle's credentials, as `host-server enroll vehicle` makes it: ca.pem,
    /// cert.pem and key.pem. Needed for mqtts://.
    #[arg(long, env = "VINBUS_AGENT_CREDENTIALS", value_name = "DIR")]
    pub dir: Option<PathBuf>,

    /// Where the pages of an app are, http:// or https://, for the portal's page that the board serves;
    /// may be repeated. `vehicle-agent pages` serves them beside the browser.
    #[arg(long, value_name = "IDAPP=URL")]
    pub app_url: Vec<String>,

    /// What the launcher of that page calls an app which has --app-url [default: its identifier]; may be
    /// repeated.
    #[arg(long, value_name = "IDAPP=TITLE")]
    pub app_title: Vec<String>,

    /// The board's address and the bits of its network's prefix [default: it asks a DHCP server].
    #[arg(long, value_name = "IPV4/BITS")]
    pub address: Option<AddressInNetwork>,

    /// The way to other networks: a host in the board's own.
    #[arg(long, value_name = "IPV4", requires = "address")]
    pub gateway: Option<Ipv4Addr>,

    /// Who resolves names. Without one, a board with --address reaches addresses only.
    #[arg(long, value_name = "IPV4", requires = "address")]
    pub name_server: Option<Ipv4Addr>,

    /// A server of SNTP that tells the time, which TLS needs [default: the board's own clock]. Its
    /// port is 123 if none is named.
    #[arg(long, value_name = "HOST[:PORT]")]
    pub time_server: Option<String>,

    /// The file to write. It holds the private key.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Boards speak less than the other commands that name a broker.
const BROKER_HELP: &str =
    "mqtts://host:8886 or mqtt://host:1883; not localhost, which is the board itself";

/// An address and the bits of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressInNetwork {
    address: Ipv4Addr,
    prefix_bits: u8,
}

impl FromStr for AddressInNetwork {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(address, bits)| {
            Some(Self {
                address: address.parse().ok()?,
                prefix_bits: bits.parse().ok().filter(|bits| *bits <= 32)?,
            })
        });
        parsed.ok_or_else(|| "write it as 192.168.1.20/24".into())
    }
}

/// Writes the block.
///
/// # Errors
/// When an option contradicts another one, or a file cannot be read or written.
pub fn run(args: &ProvisionArgs) -> anyhow::Result<()> {
    let block = block(args)?;
    let shown = args.out.display();
    // It holds a private key: for nobody else's eyes.
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&args.out)
        .with_context(|| format!("cannot write --out {shown}"))?;
    file.write_all(&block)
        .with_context(|| format!("cannot write --out {shown}"))?;
    println!(
        "{shown}: {} bytes for vehicle {}; `cargo xtask flash --board BOARD \
         --block {shown}` writes it to a board",
        block.len(),
        args.vehicle.vin
    );
    Ok(())
}

fn block(args: &ProvisionArgs) -> anyhow::Result<Vec<u8>> {
    let scheme = args.access.url.scheme();
    ensure!(
        !scheme.is_web_socket(),
        "boards speak MQTT over TCP or TLS: use a mqtt:// or mqtts:// URL"
    );
    let files = match &args.dir {
        Some(dir) if scheme.is_tls() => Some(Files::read(dir, &args.vehicle.vin)?),
        None if !scheme.is_tls() => None,
        Some(_) => bail!("--dir needs TLS: use a mqtts:// URL, or leave it out"),
        None => bail!("mqtts:// needs --dir, the folder with ca.pem, cert.pem and key.pem"),
    };
    let password = args.access.password()?;
    let user_name = args.access.username.as_deref();
    let user_name = user_name.map(|name| connection::user_name(name, &args.vehicle.vin));
    let mut provisioned = provisioned(args)?;
    provisioned.tls = files.as_ref().map(Files::tls);
    provisioned.login =
        user_name
            .as_deref()
            .zip(password.as_deref())
            .map(|(user_name, password)| Login {
                user_name,
                password: password.as_bytes(),
            });
    let mut block = vec![0; BLOCK_BYTES_MAX];
    let len = provisioned.encode(&mut block).with_context(|| {
        format!("a block has {BLOCK_BYTES_MAX} bytes at most; are the certificates this long?")
    })?;
    block.truncate(len);
    // Whatever is wrong is better told here than on the board.
    inspect::read(&block)?;
    Ok(block)
}

/// All but the secrets.
fn provisioned(args: &ProvisionArgs) -> anyhow::Result<Provisioned<'_>> {
    let given = &args.vehicle.apps;
    let apps = given.iter().map(|app| (app.app.clone(), app.uid.clone()));
    let apps: heapless::Vec<_, APPS_MAX> = apps.take(APPS_MAX).collect();
    ensure!(
        apps.len() == given.len(),
        "a board has at most {APPS_MAX} apps, {} were given",
        given.len()
    );
    for (at, (app, _)) in apps.iter().enumerate() {
        ensure!(
            apps[..at].iter().all(|(earlier, _)| earlier != app),
            "--app {app} is given twice; an app belongs to one partner"
        );
    }
    let mut pages = [None; APPS_MAX];
    for given in &args.app_url {
        add_page(&apps, &mut pages, given).with_context(|| format!("--app-url {given}"))?;
    }
    for given in &args.app_title {
        add_title(&apps, &mut pages, given).with_context(|| format!("--app-title {given}"))?;
    }
    let network = match args.address {
        None => Network::Dhcp,
        Some(AddressInNetwork {
            address,
            prefix_bits,
        }) => StaticAddress::new(
            address,
            prefix_bits,
            args.gateway,
            args.name_server.as_slice(),
        )
        .map(Network::Static)
        .context("--address, --gateway or --name-server")?,
    };
    let time_server = args
        .time_server
        .as_deref()
        .map(|text| {
            TimeServer::parse(text)
                .with_context(|| format!("--time-server {text:?}: write it as HOST or HOST:PORT, the port from 1 to 65535"))
        })
        .transpose()?;
    Ok(Provisioned {
        vin: args.vehicle.vin,
        apps,
        pages,
        scheme: args.access.scheme()?,
        subtree: args.access.subtree,
        broker: Broker {
            host: args.access.url.host(),
            port: args.access.url.port(),
        },
        tls: None,
        login: None,
        network,
        time_server,
    })
}

/// Notes where the pages of an app are, given as `IDAPP=URL`.
fn add_page<'a>(
    apps: &[(AppId, Uid)],
    pages: &mut [Option<AppPage<'a>>; APPS_MAX],
    given: &'a str,
) -> anyhow::Result<()> {
    let (app, url) = given.split_once('=').context("write it as IDAPP=URL")?;
    let place = place(apps, app)?;
    let url = PageUrl::parse(url).with_context(|| {
        format!(
            "write the address as http://HOST:PORT/PATH or https://…, at most \
             {PAGE_URL_BYTES_MAX} bytes; other than ASCII letters has to be escaped"
        )
    })?;
    let origin = url.origin();
    let taken = pages
        .iter()
        .flatten()
        .find(|other| other.url.origin() == origin);
    ensure!(
        taken.is_none(),
        "another app has the origin {origin}; each needs one of its own, or they could read each other"
    );
    pages[place] = Some(AppPage::at(url));
    Ok(())
}

/// Notes what an app with pages is called, given as `IDAPP=TITLE`.
fn add_title<'a>(
    apps: &[(AppId, Uid)],
    pages: &mut [Option<AppPage<'a>>; APPS_MAX],
    given: &'a str,
) -> anyhow::Result<()> {
    let (app, title) = given.split_once('=').context("write it as IDAPP=TITLE")?;
    let page = pages[place(apps, app)?].as_mut();
    let page = page
        .with_context(|| format!("the launcher shows apps with pages; add --app-url {app}=URL"))?;
    ensure!(page.title.is_none(), "the app has a title already");
    let title = AppTitle::parse(title).with_context(|| {
        format!(
            "a title is a line of 1 to {APP_TITLE_BYTES_MAX} bytes and does not begin or end with a space"
        )
    })?;
    page.title = Some(title);
    Ok(())
}

/// Where an app is among the others.
fn place(apps: &[(AppId, Uid)], app: &str) -> anyhow::Result<usize> {
    let place = apps.iter().position(|(known, _)| known.as_str() == app);
    place.with_context(|| format!("no such app; add --app {app}=UID"))
}

/// The credentials, as DER.
struct Files {
    authority: CertificateDer<'static>,
    certificate: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
}

impl Files {
    /// Reads those of the vehicle `vin`.
    fn read(dir: &Path, vin: &Vin) -> anyhow::Result<Self> {
        let certificate = |name: &str| {
            let path = dir.join(name);
            CertificateDer::from_pem_file(&path)
                .with_context(|| format!("cannot read a certificate from {}", path.display()))
        };
        let path = dir.join("key.pem");
        let key = PrivateKeyDer::from_pem_file(&path)
            .with_context(|| format!("cannot read a private key from {}", path.display()))?;
        let PrivateKeyDer::Pkcs8(key) = key else {
            bail!(
                "{} is not of the form PKCS #8; convert it with `openssl pkcs8 -topk8 -nocrypt`",
                path.display()
            );
        };
        let files = Self {
            authority: certificate("ca.pem")?,
            certificate: certificate("cert.pem")?,
            key,
        };
        let identity = vinbus_transport_std::Identity {
            certificate: Pem::File(dir.join("cert.pem")),
            key: Pem::File(path),
        };
        connection::check_name(&identity, vin)?;
        Ok(files)
    }

    fn tls(&self) -> Tls<'_> {
        Tls {
            authority: &self.authority,
            certificate: &self.certificate,
            key: self.key.secret_pkcs8_der(),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use clap::Parser as _;
    use vinbus_protocol::topic::TopicProfile;
    use vinbus_transport_std::conformance::{Authority, Validity};

    use super::*;
    use crate::linux::args::{Cli, Command};

    const VIN: &str = "0123456789ABCDEFG";

    /// The block for these options, or what is wrong with them.
    pub(in crate::linux) fn block_of(options: &[&str]) -> Result<Vec<u8>, String> {
        let command = ["vehicle-agent", "provision", "--vin", VIN, "--out", "x"];
        let cli = Cli::try_parse_from([&command[..], options].concat());
        let Command::Provision(args) = cli.map_err(|error| error.to_string())?.command else {
            return Err("another command".into());
        };
        block(&args).map_err(|error| format!("{error:#}"))
    }

    pub(in crate::linux) fn refused(options: &[&str]) -> String {
        block_of(options).unwrap_err()
    }

    const PLAIN: [&str; 4] = [
        "--broker",
        "mqtt://10.0.2.2:1884",
        "--app",
        "demo=demo-partner",
    ];

    #[test]
    fn board_reads_what_was_asked_for() {
        let more = [
            "--profile",
            "sample",
            "--address",
            "10.0.2.15/24",
            "--name-server",
            "10.0.2.3",
            "--time-server",
            "time.example:1123",
            "--app-url",
            "demo=http://demo.localhost:8091/",
            "--app-title",
            "demo=Prochain arrêt",
        ];
        let block = block_of(&[&PLAIN[..], &more].concat()).unwrap();
        let read = Provisioned::decode(&block).unwrap();
        assert_eq!(
            read.broker,
            Broker {
                host: "10.0.2.2",
                port: 1884
            }
        );
        assert_eq!(read.scheme.profile(), TopicProfile::Sample);
        let url = PageUrl::parse("http://demo.localhost:8091/").unwrap();
        let title = AppTitle::parse("Prochain arrêt");
        assert_eq!(read.pages[0], Some(AppPage { url, title }));
        let (host, port) = ("time.example", 1123);
        assert_eq!(read.time_server, Some(TimeServer { host, port }));
        assert!(read.tls.is_none() && read.login.is_none());
        let address = StaticAddress::new([10, 0, 2, 15].into(), 24, None, &[[10, 0, 2, 3].into()]);
        assert_eq!(read.network, Network::Static(address.unwrap()));
    }

    #[test]
    fn options_that_no_board_could_use_say_what_is_right() {
        let app = ["--app", "demo=demo-partner"];
        let with = |broker| refused(&[&["--broker", broker], &app[..]].concat());
        assert!(with("mqtts://h").contains("--dir"));
        assert!(with("ws://h/mqtt").contains("mqtts://"));
        assert!(refused(&[&PLAIN[..], &["--dir", "car"]].concat()).contains("mqtts://"));
        assert!(refused(&[&PLAIN[..], &["--address", "10.0.2.15"]].concat()).contains("/24"));
        for wrong in [
            ["--address=10.0.2.255/24", "--gateway=10.0.2.2"],
            ["--address=10.0.2.15/24", "--gateway=0.0.0.0"],
        ] {
            let said = refused(&[&PLAIN[..], &wrong].concat());
            assert!(said.contains("is not the address of a host"), "{said}");
        }
        let page = |options: &[&str]| refused(&[&PLAIN[..], options].concat());
        let url = "--app-url";
        assert!(page(&[url, "demo"]).contains("IDAPP=URL"));
        assert!(page(&[url, "nobody=http://h/"]).contains("--app nobody=UID"));
        assert!(page(&[url, "demo=h"]).contains("http://HOST"));
        let same = [url, "demo=http://h/a", "--app=b=p", url, "b=http://h/b"];
        assert!(page(&same).contains("origin http://h;"));
        let (title, with_url) = ("--app-title", [url, "demo=http://h/"]);
        let titled = |more: &[&str]| page(&[&with_url[..], more].concat());
        assert!(titled(&[title, "Demo"]).contains("IDAPP=TITLE"));
        assert!(titled(&[title, "nobody=N"]).contains("--app nobody=UID"));
        assert!(titled(&[title, "demo="]).contains("1 to 64 bytes"));
        assert!(titled(&[title, "demo=a", title, "demo=b"]).contains("a title already"));
        assert!(page(&[title, "demo=Demo"]).contains("--app-url demo=URL"));
        for server in ["time.example:", "time.example:99999"] {
            let said = refused(&[&PLAIN[..], &["--time-server", server]].concat());
            assert!(
                said.contains("HOST:PORT, the port from 1 to 65535"),
                "{said}"
            );
        }
        assert!(refused(&[&PLAIN[..], &["--gateway", "10.0.2.2"]].concat()).contains("--address"));
        let apps: Vec<_> = (0..9).map(|n| format!("--app=app{n}=p")).collect();
        let mut options = vec!["--broker", "mqtt://h"];
        options.extend(apps.iter().map(String::as_str));
        assert!(refused(&options).contains("at most 8 apps"));
        let twice = ["--app=demo=a", "--app=demo=b"];
        assert!(refused(&[&PLAIN[..], &twice].concat()).contains("demo is given twice"));
    }

    #[test]
    fn help_offers_no_broker_that_a_board_cannot_speak_to() {
        let help = refused(&["--help"]);
        assert!(
            help.contains("mqtts://host:8886 or mqtt://host:1883"),
            "{help}"
        );
        assert!(!help.contains("ws://"), "{help}");
    }

    #[test]
    fn topic_that_is_too_long_for_the_boards_will_is_refused_with_what_to_shorten() {
        let of = |bytes: usize| {
            let app = format!("--app=demo={}", "u".repeat(bytes));
            block_of(&["--broker", "mqtt://h", &app])
        };
        // psa/OVIPPartners-Dev/from/uid/…/opa/0123456789ABCDEFG/vinbus/presence
        let room = 128 - (20 + 10 + 5 + 17 + 1 + 15);
        assert!(of(room).is_ok());
        let error = of(room + 1).unwrap_err();
        assert!(
            error.contains("128 bytes") && error.contains("UID"),
            "{error}"
        );
    }

    #[test]
    fn credentials_that_no_broker_would_take_from_the_board_are_refused() {
        let authority = Authority::new("ours");
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().display().to_string();
        let write = |name, text: &str| fs::write(folder.path().join(name), text).unwrap();
        let [own, other] =
            [VIN, "1123456789ABCDEFG"].map(|vin| authority.client(vin, Validity::Now));
        let options = ["--broker", "mqtts://h", "--app", "demo=p", "--dir", &dir];
        write("ca.pem", &authority.certificate);
        write("cert.pem", &own.certificate);
        write("key.pem", &own.key);
        assert_eq!(block_of(&options).err(), None);
        write("key.pem", &other.key);
        let said = refused(&options);
        assert!(
            said.contains("does not belong to its certificate"),
            "{said}"
        );
        write("cert.pem", &other.certificate);
        let said = refused(&options);
        assert!(
            said.contains(VIN) && said.contains("1123456789ABCDEFG"),
            "{said}"
        );
    }

    #[test]
    fn missing_credentials_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().display().to_string();
        let options = ["--broker", "mqtts://h", "--app", "demo=p", "--dir", &dir];
        let error = refused(&options);
        assert!(error.contains("key.pem"), "{error}");
    }
}
