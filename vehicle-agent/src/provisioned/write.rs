//! Writing a block.

use core::fmt::Write as _;
use core::net::Ipv4Addr;

use vinbus_protocol::checksum::crc32;
use vinbus_protocol::topic::TopicProfile;

use super::{
    Field, HEADER_BYTES, MAGIC, Network, NoRoom, OLDEST_VERSION, Provisioned, TimeServer, VERSION,
    VERSION_WITHOUT_TITLES,
};
use crate::app_page::AppPage;

impl Provisioned<'_> {
    /// Writes the block to the start of `block`; its length. Reading it gives the same again if there is an app.
    ///
    /// # Errors
    /// [`NoRoom`], when `block` is too short, a value is longer than 65,535 bytes, or there is more than
    /// one DNS server.
    pub fn encode(&self, block: &mut [u8]) -> Result<usize, NoRoom> {
        let (header, body) = block.split_at_mut_checked(HEADER_BYTES).ok_or(NoRoom)?;
        let mut out = Body {
            bytes: body,
            len: 0,
        };
        self.write_topics(&mut out)?;
        self.write_link(&mut out)?;
        let len = out.len;
        let body = body.get(..len).ok_or(NoRoom)?;
        let bytes = u32::try_from(len).map_err(|_| NoRoom)?;
        header[..8].copy_from_slice(&MAGIC);
        header[8..12].copy_from_slice(&self.version().to_le_bytes());
        header[12..16].copy_from_slice(&bytes.to_le_bytes());
        header[16..20].copy_from_slice(&crc32(body).to_le_bytes());
        Ok(HEADER_BYTES + len)
    }

    /// The oldest version that says all of it: firmware that knows no titles, or no pages, reads what has
    /// none.
    pub(super) fn version(&self) -> u32 {
        let version = |page: &AppPage<'_>| match page.title {
            Some(_) => VERSION,
            None => VERSION_WITHOUT_TITLES,
        };
        let pages = self.pages.iter().flatten();
        pages.map(version).max().unwrap_or(OLDEST_VERSION)
    }

    fn write_topics(&self, out: &mut Body<'_>) -> Result<(), NoRoom> {
        out.field(Field::Vin, &[self.vin.as_str().as_bytes()])?;
        for ((app, uid), page) in self.apps.iter().zip(&self.pages) {
            let app = app.as_str().as_bytes();
            // An identifier has at most 64 bytes.
            let len = [app.len() as u8];
            out.field(Field::App, &[&len, app, uid.as_str().as_bytes()])?;
            if let Some(page) = page {
                let (space, title) = match &page.title {
                    Some(title) => (" ", title.as_str()),
                    None => ("", ""),
                };
                let [url, space, title] = [page.url.as_str(), space, title].map(str::as_bytes);
                out.field(Field::AppUrl, &[&len, app, url, space, title])?;
            }
        }
        let profile = match self.scheme.profile() {
            TopicProfile::Table => 0,
            TopicProfile::Sample => 1,
        };
        out.field(
            Field::Scheme,
            &[&[profile], self.scheme.prefix().as_bytes()],
        )?;
        if self.subtree {
            out.field(Field::Subtree, &[])?;
        }
        Ok(())
    }

    fn write_link(&self, out: &mut Body<'_>) -> Result<(), NoRoom> {
        let port = self.broker.port.to_le_bytes();
        out.field(Field::Broker, &[&port, self.broker.host.as_bytes()])?;
        if let Some(tls) = self.tls {
            out.field(Field::Authority, &[tls.authority])?;
            out.field(Field::Certificate, &[tls.certificate])?;
            out.field(Field::Key, &[tls.key])?;
        }
        if let Some(login) = self.login {
            out.field(Field::UserName, &[login.user_name.as_bytes()])?;
            out.field(Field::Password, &[login.password])?;
        }
        if let Network::Static(fixed) = self.network {
            let mut name_servers = fixed.dns_servers();
            let name_server = octets(name_servers.next());
            if name_servers.next().is_some() {
                return Err(NoRoom);
            }
            let parts = [
                &fixed.address().octets()[..],
                &[fixed.prefix_len()],
                &octets(fixed.gateway()),
                &name_server,
            ];
            out.field(Field::StaticAddress, &parts)?;
        }
        if let Some(TimeServer { host, port }) = self.time_server {
            let mut suffix = heapless::String::<6>::new();
            if port != TimeServer::PORT {
                write!(suffix, ":{port}").map_err(|_| NoRoom)?;
            }
            out.field(Field::TimeServer, &[host.as_bytes(), suffix.as_bytes()])?;
        }
        Ok(())
    }
}

/// An address, or what stands for none.
fn octets(address: Option<Ipv4Addr>) -> [u8; 4] {
    address.unwrap_or(Ipv4Addr::UNSPECIFIED).octets()
}

struct Body<'b> {
    bytes: &'b mut [u8],
    len: usize,
}

impl Body<'_> {
    fn field(&mut self, field: Field, value: &[&[u8]]) -> Result<(), NoRoom> {
        let len: usize = value.iter().map(|part| part.len()).sum();
        let len = u16::try_from(len).map_err(|_| NoRoom)?;
        self.put(&[field as u8])?;
        self.put(&len.to_le_bytes())?;
        value.iter().try_for_each(|part| self.put(part))
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), NoRoom> {
        let room = self
            .bytes
            .get_mut(self.len..)
            .and_then(|rest| rest.get_mut(..bytes.len()));
        room.ok_or(NoRoom)?.copy_from_slice(bytes);
        self.len += bytes.len();
        Ok(())
    }
}
