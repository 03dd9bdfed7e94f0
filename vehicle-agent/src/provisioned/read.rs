//! Reading a block, of which any byte may be wrong.

use core::net::Ipv4Addr;

use heapless::Vec;

use vinbus_protocol::checksum::crc32;
use vinbus_protocol::id::{AppId, Uid, Vin};
use vinbus_protocol::topic::{TopicProfile, TopicScheme};
use vinbus_transport_embedded::StaticAddress;

use super::{
    APPS_MAX, Broker, Field, HEADER_BYTES, Login, MAGIC, Network, OLDEST_VERSION, Provisioned,
    ProvisionedError, TimeServer, Tls, VERSION,
};
use crate::app_page::{AppPage, AppTitle};
use crate::page_url::PageUrl;

impl<'b> Provisioned<'b> {
    /// Reads the block at the start of `memory`; what follows it does not matter.
    ///
    /// # Errors
    /// A [`ProvisionedError`].
    pub fn decode(memory: &'b [u8]) -> Result<Self, ProvisionedError> {
        let mut values = Values::default();
        let (version, mut rest) = body(memory)?;
        while !rest.is_empty() {
            let (field, value);
            (field, value, rest) = split_field(rest)?;
            values.take(field, value)?;
        }
        let provisioned = values.finish()?;
        // The checksum is not of the version.
        if provisioned.version() != version {
            return Err(ProvisionedError::Damaged);
        }
        Ok(provisioned)
    }
}

/// The version and the body of a block, once its header and its checksum are right.
fn body(memory: &[u8]) -> Result<(u32, &[u8]), ProvisionedError> {
    let found = memory.len();
    let Some((header, rest)) = memory.split_first_chunk::<HEADER_BYTES>() else {
        if memory.is_empty() {
            return Err(ProvisionedError::Missing);
        }
        let begins = memory.starts_with(&MAGIC) || MAGIC.starts_with(memory);
        let expected = HEADER_BYTES;
        return Err(if begins {
            ProvisionedError::Truncated { expected, found }
        } else {
            ProvisionedError::Foreign
        });
    };
    if !header.starts_with(&MAGIC) {
        let empty = |erased: u8| header.iter().all(|byte| *byte == erased);
        let missing = empty(0x00) || empty(0xFF);
        return Err(if missing {
            ProvisionedError::Missing
        } else {
            ProvisionedError::Foreign
        });
    }
    let [.., a, b, c, d, e, f, g, h, i, j, k, l] = *header;
    let [version, len, crc] = [[a, b, c, d], [e, f, g, h], [i, j, k, l]].map(u32::from_le_bytes);
    if version > VERSION {
        return Err(ProvisionedError::Newer { version });
    }
    if version < OLDEST_VERSION {
        return Err(ProvisionedError::Older { version });
    }
    let expected = len as usize;
    let found = rest.len();
    let body = rest
        .get(..expected)
        .ok_or(ProvisionedError::Truncated { expected, found })?;
    if crc32(body) != crc {
        return Err(ProvisionedError::Damaged);
    }
    Ok((version, body))
}

type Split<'b> = (Field, &'b [u8], &'b [u8]);

/// The first field, its value, and what follows.
fn split_field(bytes: &[u8]) -> Result<Split<'_>, ProvisionedError> {
    let (&[tag, low, high], rest) = bytes.split_first_chunk().ok_or(ProvisionedError::Damaged)?;
    let field = Field::of(tag).ok_or(ProvisionedError::UnknownField { tag })?;
    let len = usize::from(u16::from_le_bytes([low, high]));
    let (value, rest) = rest
        .split_at_checked(len)
        .ok_or(ProvisionedError::Field(field))?;
    Ok((field, value, rest))
}

/// The fields that were read so far.
#[derive(Default)]
struct Values<'b> {
    vin: Option<Vin>,
    apps: Vec<(AppId, Uid), APPS_MAX>,
    pages: [Option<AppPage<'b>>; APPS_MAX],
    scheme: Option<TopicScheme>,
    subtree: Option<()>,
    broker: Option<Broker<'b>>,
    authority: Option<&'b [u8]>,
    certificate: Option<&'b [u8]>,
    key: Option<&'b [u8]>,
    user_name: Option<&'b str>,
    password: Option<&'b [u8]>,
    network: Option<Network>,
    time_server: Option<TimeServer<'b>>,
}

impl<'b> Values<'b> {
    fn take(&mut self, field: Field, value: &'b [u8]) -> Result<(), ProvisionedError> {
        let taken = match field {
            Field::Vin => text(value).and_then(|vin| once(&mut self.vin, Vin::parse(vin).ok()?)),
            Field::App => app(value).and_then(|app| self.take_app(app)),
            Field::Scheme => scheme(value).and_then(|scheme| once(&mut self.scheme, scheme)),
            Field::Subtree => once(&mut self.subtree, ()),
            Field::Broker => broker(value).and_then(|broker| once(&mut self.broker, broker)),
            Field::Authority => once(&mut self.authority, value),
            Field::Certificate => once(&mut self.certificate, value),
            Field::Key => once(&mut self.key, value),
            Field::UserName => text(value).and_then(|name| once(&mut self.user_name, name)),
            Field::Password => once(&mut self.password, value),
            Field::StaticAddress => {
                let octets = value
                    .try_into()
                    .map_err(|_| ProvisionedError::Field(field))?;
                let fixed = static_address(octets)?;
                once(&mut self.network, Network::Static(fixed))
            }
            Field::TimeServer => text(value)
                .and_then(TimeServer::parse)
                .and_then(|server| once(&mut self.time_server, server)),
            Field::AppUrl => self.take_app_url(value),
        };
        taken.ok_or(ProvisionedError::Field(field))
    }

    /// `None` if it is there already, or too many are.
    fn take_app(&mut self, app: (AppId, Uid)) -> Option<()> {
        let is_new = self.apps.iter().all(|(known, _)| *known != app.0);
        is_new.then(|| self.apps.push(app).ok()).flatten()
    }

    /// `None` if the app is not there, has one already, or it is none.
    fn take_app_url(&mut self, value: &'b [u8]) -> Option<()> {
        let (app, page_text) = named(value)?;
        let place = self.apps.iter().position(|(known, _)| *known == app)?;
        once(self.pages.get_mut(place)?, page(text(page_text)?)?)
    }

    fn finish(self) -> Result<Provisioned<'b>, ProvisionedError> {
        let tls = self.tls()?;
        let login = self.login()?;
        if self.apps.is_empty() {
            return Err(ProvisionedError::Field(Field::App));
        }
        Ok(Provisioned {
            vin: self.vin.ok_or(ProvisionedError::Field(Field::Vin))?,
            apps: self.apps,
            pages: self.pages,
            scheme: self.scheme.ok_or(ProvisionedError::Field(Field::Scheme))?,
            subtree: self.subtree.is_some(),
            broker: self.broker.ok_or(ProvisionedError::Field(Field::Broker))?,
            tls,
            login,
            network: self.network.unwrap_or(Network::Dhcp),
            time_server: self.time_server,
        })
    }

    fn tls(&self) -> Result<Option<Tls<'b>>, ProvisionedError> {
        match (self.authority, self.certificate, self.key) {
            (None, None, None) => Ok(None),
            (Some(authority), Some(certificate), Some(key)) => Ok(Some(Tls {
                authority,
                certificate,
                key,
            })),
            (None, ..) => Err(ProvisionedError::Field(Field::Authority)),
            (_, None, _) => Err(ProvisionedError::Field(Field::Certificate)),
            (.., None) => Err(ProvisionedError::Field(Field::Key)),
        }
    }

    fn login(&self) -> Result<Option<Login<'b>>, ProvisionedError> {
        match (self.user_name, self.password) {
            (None, None) => Ok(None),
            (Some(user_name), Some(password)) => Ok(Some(Login {
                user_name,
                password,
            })),
            (None, Some(_)) => Err(ProvisionedError::Field(Field::UserName)),
            (Some(_), None) => Err(ProvisionedError::Field(Field::Password)),
        }
    }
}

/// `None` if there is one already.
fn once<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

/// A text that is not empty.
fn text(value: &[u8]) -> Option<&str> {
    core::str::from_utf8(value)
        .ok()
        .filter(|text| !text.is_empty())
}

fn app(value: &[u8]) -> Option<(AppId, Uid)> {
    let (app, uid) = named(value)?;
    Some((app, Uid::parse(text(uid)?).ok()?))
}

/// An app, and what follows its identifier.
fn named(value: &[u8]) -> Option<(AppId, &[u8])> {
    let (len, rest) = value.split_first()?;
    let (app, rest) = rest.split_at_checked(usize::from(*len))?;
    Some((AppId::parse(text(app)?).ok()?, rest))
}

/// The address of a page; and a space and its title, if it has one.
fn page(text: &str) -> Option<AppPage<'_>> {
    let Some((url, title)) = text.split_once(' ') else {
        return PageUrl::parse(text).map(AppPage::at);
    };
    Some(AppPage {
        url: PageUrl::parse(url)?,
        title: Some(AppTitle::parse(title)?),
    })
}

fn scheme(value: &[u8]) -> Option<TopicScheme> {
    let (profile, prefix) = value.split_first()?;
    let profile = match profile {
        0 => TopicProfile::Table,
        1 => TopicProfile::Sample,
        _ => return None,
    };
    TopicScheme::new(text(prefix)?, profile).ok()
}

fn broker(value: &[u8]) -> Option<Broker<'_>> {
    let (port, host) = value.split_first_chunk()?;
    Some(Broker {
        host: text(host)?,
        port: u16::from_le_bytes(*port),
    })
}

fn static_address(octets: [u8; 13]) -> Result<StaticAddress, ProvisionedError> {
    let [a, b, c, d, prefix_bits, e, f, g, h, i, j, k, l] = octets;
    let some = |address: Ipv4Addr| (!address.is_unspecified()).then_some(address);
    let gateway = some(Ipv4Addr::new(e, f, g, h));
    let name_server = some(Ipv4Addr::new(i, j, k, l));
    let address = Ipv4Addr::new(a, b, c, d);
    StaticAddress::new(address, prefix_bits, gateway, name_server.as_slice())
        .map_err(ProvisionedError::Address)
}
