//! What a host tells of itself, as a heartbeat brings it.
//!
//! The names that hosts of the field send to the Node matchmaker, which drops them, must not make a heartbeat fail: what does not fit
//! under them is left out. The others came with Berth, and what does not fit under them is an issue.

use std::collections::BTreeMap;
use std::net::IpAddr;

use rustls::pki_types::DnsName;
use serde_json::{Map, Value};

use crate::api::issue::Fields;
use crate::host::{HostInfo, HostLocation, HostPort, Protocol};

/// Largest `gameInfo`, in bytes of its JSON without blanks.
pub(in crate::api) const LARGEST_GAME_INFO: usize = 4096;
/// Longest name in DNS (RFC 1035, section 2.3.4, without the length bytes).
pub(in crate::api) const LONGEST_FQDN: usize = 253;
/// Most ports.
pub(in crate::api) const MOST_PORTS: usize = 16;
/// Longest name of a port, in characters.
pub(in crate::api) const LONGEST_PORT_NAME: usize = 64;
/// Longest text of a location, in characters.
pub(in crate::api) const LONGEST_PLACE: usize = 64;
/// Most degrees north or south.
pub(in crate::api) const LARGEST_LATITUDE: f64 = 90.0;
/// Most degrees east or west.
pub(in crate::api) const LARGEST_LONGITUDE: f64 = 180.0;

/// What a heartbeat tells, and the names of what was left out.
pub(super) fn read(fields: &mut Fields<'_>) -> (HostInfo, Vec<&'static str>) {
    let mut dropped = Vec::new();
    let mut info = HostInfo {
        public_ip: kept("publicIp", public_ip, fields, &mut dropped),
        game_info: kept("gameInfo", game_info, fields, &mut dropped),
        ..HostInfo::default()
    };
    info.fqdn = fqdn(fields);
    info.ports = fields.object("ports", ports).unwrap_or_default();
    info.location = fields
        .object("location", location)
        .filter(|location| *location != HostLocation::default());
    (info, dropped)
}

/// A field that is left out where it does not fit.
fn kept<T>(
    name: &'static str,
    read: fn(&Value) -> Option<T>,
    fields: &Fields<'_>,
    dropped: &mut Vec<&'static str>,
) -> Option<T> {
    // Who sends null has nothing to say.
    let value = fields.raw(name).filter(|value| !value.is_null())?;
    let read = read(value);
    if read.is_none() {
        dropped.push(name);
    }
    read
}

fn public_ip(value: &Value) -> Option<IpAddr> {
    value.as_str()?.trim().parse().ok()
}

fn game_info(value: &Value) -> Option<Map<String, Value>> {
    let fits = serde_json::to_string(value).is_ok_and(|text| text.len() <= LARGEST_GAME_INFO);
    value.as_object().filter(|_| fits).cloned()
}

fn fqdn(fields: &mut Fields<'_>) -> Option<String> {
    let text = fields
        .optional_text("fqdn", LONGEST_FQDN)
        .filter(|text| !text.is_empty())?;
    if DnsName::try_from(text).is_err() {
        let message =
            "Invalid name: expected a name in DNS, such as host-1.example.com; an address goes into publicIp";
        fields.refuse("fqdn", "invalid_format", message);
        return None;
    }
    Some(text.to_owned())
}

fn ports(fields: &mut Fields<'_>) -> BTreeMap<String, HostPort> {
    let names = fields.names();
    if names.len() > MOST_PORTS {
        let message = format!("Too big: expected object to have <={MOST_PORTS} ports");
        fields.refuse_all("too_big", message);
        return BTreeMap::new();
    }
    let mut ports = BTreeMap::new();
    for name in names {
        if !(1..=LONGEST_PORT_NAME).contains(&name.chars().count()) {
            let message =
                format!("Invalid key: expected names of ports to have 1 to {LONGEST_PORT_NAME} characters");
            fields.refuse_all("invalid_key", message);
        } else if let Some(Some(port)) = fields.object(name, port) {
            ports.insert(name.clone(), port);
        }
    }
    ports
}

fn port(fields: &mut Fields<'_>) -> Option<HostPort> {
    let port = port_number(fields, "port");
    let internal = fields.raw("internal").is_some();
    let internal = internal.then(|| port_number(fields, "internal")).flatten();
    let protocol = fields.required_word("protocol", &Protocol::WORDS);
    Some(HostPort {
        port: port?,
        internal,
        protocol: protocol?,
    })
}

fn port_number(fields: &mut Fields<'_>, name: &str) -> Option<u16> {
    let number = fields.required_integer(name, 1)?;
    let port = u16::try_from(number).ok();
    if port.is_none() {
        fields.refuse(name, "too_big", "Too big: expected number to be <=65535");
    }
    port
}

fn location(fields: &mut Fields<'_>) -> HostLocation {
    let mut place = |name| {
        let text = fields.optional_text(name, LONGEST_PLACE)?;
        (!text.is_empty()).then(|| text.to_owned())
    };
    HostLocation {
        city: place("city"),
        administrative_division: place("administrativeDivision"),
        country: place("country"),
        continent: place("continent"),
        timezone: place("timezone"),
        latitude: fields.degrees("latitude", LARGEST_LATITUDE),
        longitude: fields.degrees("longitude", LARGEST_LONGITUDE),
    }
}

#[cfg(test)]
mod tests;
