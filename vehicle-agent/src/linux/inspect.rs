//! `vehicle-agent inspect`: tells what the block of a board says, read as the board reads it.

mod reachable;

use std::fmt;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::Args;

use vinbus_protocol::topic::TopicProfile;
use vinbus_transport_embedded::Mqtt;
use vinbus_transport_embedded::tls::Credentials;

use crate::app_page::AppPage;
use crate::embedded_link;
use crate::identity::Identity;
use crate::presence;
use crate::provisioned::{APPS_MAX, BLOCK_BYTES_MAX, Network, Provisioned};

/// Options of `inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The block, as `provision` writes it.
    #[arg(value_name = "FILE")]
    pub block: PathBuf,

    /// The board has no clock that goes on without power: refuse a block that would need one.
    #[arg(long)]
    pub without_clock: bool,
}

/// Prints what the block says.
///
/// # Errors
/// When it cannot be read, or no board could use it.
pub fn run(args: &InspectArgs) -> anyhow::Result<()> {
    let shown = args.block.display();
    let bytes = fs::read(&args.block).with_context(|| format!("cannot read {shown}"))?;
    let block = read(&bytes).with_context(|| shown.to_string())?;
    ensure!(
        !args.without_clock || !needs_clock(&block),
        "{shown}: the board has no clock of its own, and this block names no time server, so no \
         certificate could be judged; write it again with --time-server"
    );
    print!("{}", Summary(&block));
    Ok(())
}

/// Reads a block, and tries all of it that a board refuses to begin with, or would try for ever.
pub(crate) fn read(bytes: &[u8]) -> anyhow::Result<Provisioned<'_>> {
    let place = &bytes[..bytes.len().min(BLOCK_BYTES_MAX)];
    let block = Provisioned::decode(place).context("the board would refuse the block")?;
    reachable::check(&block).context("the board would try in vain; provision it anew")?;
    if let Some(tls) = block.tls {
        Credentials::new(tls.authority, tls.certificate, tls.key, block.broker.host)
            .context("the board could not use the credentials")?;
    }
    check_session(&block)?;
    Ok(block)
}

/// Whether the board has to know the time by itself.
fn needs_clock(block: &Provisioned<'_>) -> bool {
    block.tls.is_some() && block.time_server.is_none()
}

/// Makes the session that the board will make, which has bounds of its own: of the will's topic, for
/// one.
fn check_session(block: &Provisioned<'_>) -> anyhow::Result<()> {
    let (vin, scheme) = (block.vin, block.scheme.clone());
    let mut identity: Identity<APPS_MAX> = Identity::new(vin, scheme, block.subtree);
    for (_, uid) in &block.apps {
        identity.add(uid);
    }
    let will = presence::will(&identity);
    let options = embedded_link::options(block, will.as_ref());
    Mqtt::new(&mut [0; 64], &mut [0; 64], &options)
        .map(drop)
        .with_context(|| match &will {
            Some((topic, _)) => format!("the board could not connect; its will's topic is {topic}"),
            None => "the board could not connect".to_owned(),
        })
}

/// What a block says, a line for each thing, without its secrets.
struct Summary<'b>(&'b Provisioned<'b>);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let block = self.0;
        writeln!(f, "vehicle       {}", block.vin)?;
        for ((app, uid), page) in block.apps.iter().zip(&block.pages) {
            write!(f, "app           {app} of partner {uid}")?;
            if let Some(AppPage { url, title }) = page {
                write!(f, ", its pages at {}", url.as_str())?;
                if let Some(title) = title {
                    write!(f, ", called {:?}", title.as_str())?;
                }
            }
            writeln!(f)?;
        }
        let scheme = if block.tls.is_some() { "mqtts" } else { "mqtt" };
        let (host, port) = (block.broker.host, block.broker.port);
        writeln!(f, "broker        {scheme}://{host}:{port}")?;
        let profile = match block.scheme.profile() {
            TopicProfile::Table => "table",
            TopicProfile::Sample => "sample",
        };
        let subtree = if block.subtree { ", subtopics too" } else { "" };
        let prefix = block.scheme.prefix();
        writeln!(f, "topics        {prefix}, profile {profile}{subtree}")?;
        if let Some(login) = block.login {
            writeln!(f, "user          {}", login.user_name)?;
        }
        match block.network {
            Network::Dhcp => writeln!(f, "address       of a DHCP server")?,
            Network::Static(fixed) => {
                write!(
                    f,
                    "address       {}/{}",
                    fixed.address(),
                    fixed.prefix_len()
                )?;
                if let Some(gateway) = fixed.gateway() {
                    write!(f, ", gateway {gateway}")?;
                }
                for server in fixed.dns_servers() {
                    write!(f, ", names of {server}")?;
                }
                writeln!(f)?;
            }
        }
        match block.time_server {
            Some(server) => writeln!(f, "time          of {}:{}", server.host, server.port),
            None if needs_clock(block) => writeln!(f, "time          of the board's own clock"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use vinbus_protocol::id::{AppId, Uid, Vin};
    use vinbus_protocol::topic::TopicScheme;
    use vinbus_transport_embedded::StaticAddress;
    use vinbus_transport_std::conformance::{Authority, Validity};

    use super::*;
    use crate::app_page::AppTitle;
    use crate::page_url::PageUrl;
    use crate::provisioned::{Broker, Login, TimeServer, Tls};

    const VIN: &str = "0123456789ABCDEFG";

    fn der(pem: &str) -> Vec<u8> {
        use rustls_pki_types::pem::PemObject as _;
        let pem = pem.as_bytes();
        match rustls_pki_types::PrivatePkcs8KeyDer::from_pem_slice(pem) {
            Ok(key) => key.secret_pkcs8_der().to_vec(),
            Err(_) => {
                let certificate = rustls_pki_types::CertificateDer::from_pem_slice(pem);
                certificate.expect("it is a certificate").to_vec()
            }
        }
    }

    /// The block of a vehicle that has this key, or its own.
    fn block_with(key: Option<&[u8]>) -> Vec<u8> {
        let authority = Authority::new("ours");
        let car = authority.client(VIN, Validity::Now);
        let credentials = [&authority.certificate, &car.certificate, &car.key].map(|pem| der(pem));
        let app = (
            AppId::parse("demo").unwrap(),
            Uid::parse("demo-partner").unwrap(),
        );
        let gateway = Ipv4Addr::new(10, 0, 2, 2);
        let address = Ipv4Addr::new(10, 0, 2, 15);
        let fixed = StaticAddress::new(address, 24, Some(gateway), &[gateway]).unwrap();
        let mut pages = [None; APPS_MAX];
        pages[0] = Some(AppPage {
            url: PageUrl::parse("http://demo.localhost:8091/").unwrap(),
            title: AppTitle::parse("Démo"),
        });
        let block = Provisioned {
            vin: Vin::parse(VIN).unwrap(),
            apps: heapless::Vec::from_slice(&[app]).unwrap(),
            pages,
            scheme: TopicScheme::new("a/b", TopicProfile::Sample).unwrap(),
            subtree: true,
            broker: Broker {
                host: "broker.example",
                port: 8886,
            },
            tls: Some(Tls {
                authority: &credentials[0],
                certificate: &credentials[1],
                key: key.unwrap_or(&credentials[2]),
            }),
            login: Some(Login {
                user_name: "somebody",
                password: b"secret word",
            }),
            network: Network::Static(fixed),
            time_server: Some(TimeServer {
                host: "time.example",
                port: 123,
            }),
        };
        let mut bytes = vec![0; BLOCK_BYTES_MAX];
        let len = block.encode(&mut bytes).unwrap();
        bytes.truncate(len);
        bytes
    }

    fn refused(block: &[u8]) -> String {
        format!("{:#}", read(block).unwrap_err())
    }

    #[test]
    fn block_is_told_without_its_secrets() {
        let block = block_with(None);
        let told = Summary(&read(&block).unwrap()).to_string();
        let expected = "\
vehicle       0123456789ABCDEFG
app           demo of partner demo-partner, its pages at http://demo.localhost:8091/, called \"Démo\"
broker        mqtts://broker.example:8886
topics        a/b, profile sample, subtopics too
user          somebody
address       10.0.2.15/24, gateway 10.0.2.2, names of 10.0.2.2
time          of time.example:123
";
        assert_eq!(told, expected);
    }

    #[test]
    fn block_that_a_board_would_refuse_is_refused_with_the_reason() {
        let block = block_with(None);
        let check = |block: &[u8], reason: &str| {
            let said = refused(block);
            assert!(said.contains(reason), "{said}");
        };
        let changed = |at: usize, byte| {
            let mut block = block.clone();
            block[at] = byte;
            block
        };
        check(&changed(40, 0), "its checksum or its version is wrong");
        check(&changed(8, 4), "a newer program wrote it");
        check(&block[..100], "it is cut off");
        check(b"", "there is none");
        check(b"hello", "no block of vinbus");
        let other = Authority::new("theirs").client(VIN, Validity::Now);
        check(&block_with(Some(&der(&other.key))), "does not belong");
        check(&block_with(Some(b"RSA")), "is not a P-256 key");
    }

    #[test]
    fn block_whose_broker_the_board_could_not_reach_is_refused() {
        let block = block_with(None);
        let mut wrong = Provisioned::decode(&block).unwrap();
        wrong.broker.host = "127.0.0.1";
        let mut block = vec![0; BLOCK_BYTES_MAX];
        let len = wrong.encode(&mut block).unwrap();
        let said = refused(&block[..len]);
        assert!(said.contains("127.0.0.1 is the board itself"), "{said}");
    }

    #[test]
    fn board_without_a_clock_needs_a_time_server_for_tls() {
        let block = block_with(None);
        let mut block = read(&block).unwrap();
        assert!(!needs_clock(&block), "it has a time server");
        block.time_server = None;
        assert!(needs_clock(&block));
        block.tls = None;
        assert!(!needs_clock(&block), "without TLS no certificate is judged");
    }
}
