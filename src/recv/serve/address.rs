//! The value of `--serve`: where to listen.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use rustix::system::uname;

/// Reads `[ADDRESS:]PORT`. Without an address, only this machine is served.
pub(in crate::recv) fn parse(text: &str) -> Result<SocketAddr, String> {
    let here = IpAddr::from(Ipv4Addr::LOCALHOST);
    let port = text.strip_prefix("localhost:").unwrap_or(text);
    if let Ok(port) = port.parse::<u16>() {
        return Ok(SocketAddr::new(here, port));
    }
    text.parse()
        .map_err(|_| "not [ADDRESS:]PORT, as in 8080, 0.0.0.0:8080 or [::]:8080".to_owned())
}

/// Whether nobody but this machine can reach an address.
pub(super) fn is_local(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// The address as browsers take it. One that means all of this machine's is told by its name.
pub(super) fn url(address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        let name = uname();
        let host = name.nodename().to_string_lossy();
        format!("http://{host}:{}/", address.port())
    } else {
        format!("http://{address}/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_of_this_machine_only() {
        for (text, address) in [
            ("8080", "127.0.0.1:8080"),
            ("0", "127.0.0.1:0"),
            ("localhost:1", "127.0.0.1:1"),
            ("127.0.0.2:80", "127.0.0.2:80"),
            ("[::1]:80", "[::1]:80"),
        ] {
            let parsed = parse(text).unwrap();
            assert_eq!(parsed.to_string(), address);
            assert!(is_local(parsed.ip()), "{text}");
        }
        for text in [
            "0.0.0.0:80",
            "[::]:80",
            "10.1.2.3:80",
            "[::ffff:10.1.2.3]:80",
        ] {
            assert!(!is_local(parse(text).unwrap().ip()), "{text}");
        }
        for text in ["", ":80", "65536", "robot:80", "::1:80", "1.2.3.4", "80 "] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_url_has_no_address_that_means_all_of_them() {
        assert_eq!(url("[::1]:80".parse().unwrap()), "http://[::1]:80/");
        let url = url("0.0.0.0:80".parse().unwrap());
        assert!(url.ends_with(":80/") && !url.contains("0.0.0.0"), "{url}");
    }
}
