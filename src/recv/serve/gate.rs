//! Who is served: the token, and the headers by which browsers keep other pages out.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};
use hyper::header::{
    AUTHORIZATION, COOKIE, HOST, HeaderMap, HeaderValue, LOCATION, REFRESH, SET_COOKIE,
    WWW_AUTHENTICATE,
};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::{Response, StatusCode};
use rustix::rand::{GetRandomFlags, getrandom};
use subtle::ConstantTimeEq;

use super::address;
use super::routes::{Answer, empty, query, refusal};

/// Decides about requests.
#[derive(Debug)]
pub(super) struct Gate {
    /// `None`: only this machine can connect.
    token: Option<String>,
    address: SocketAddr,
    /// Of the port too, since a browser sends a machine's cookies to all ports.
    cookie: String,
}

impl Gate {
    pub(super) fn new(address: SocketAddr) -> Result<Self> {
        let is_local = address::is_local(address.ip());
        Ok(Self {
            token: (!is_local).then(random).transpose()?,
            address,
            cookie: format!("shm-recv-{}", address.port()),
        })
    }

    pub(super) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Lets a request in, or answers it.
    pub(super) fn check(&self, request: &Parts) -> Result<(), Box<Answer>> {
        let headers = &request.headers;
        if is_of_another_page(headers) {
            return Err(Box::new(refusal(
                StatusCode::FORBIDDEN,
                "pages of other sites may not use this one",
            )));
        }
        let Some(token) = &self.token else {
            return self.check_host(request);
        };
        if let Some(given) = query(&request.uri, "token")
            && is_equal(&given, token)
        {
            // Other programs go on with the address as it is.
            return match request.uri.path() {
                "/" => Err(Box::new(self.admit(headers, token))),
                _ => Ok(()),
            };
        }
        let bearer = text(headers, AUTHORIZATION.as_str())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, given)| given.trim());
        let cookies = headers.get_all(COOKIE).into_iter();
        let mut cookies = cookies
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(name, _)| *name == self.cookie)
            .map(|(_, given)| given);
        if bearer
            .into_iter()
            .chain(&mut cookies)
            .any(|given| is_equal(given, token))
        {
            return Ok(());
        }
        let mut answer = refusal(
            StatusCode::UNAUTHORIZED,
            "wants the token: open the address that shm-recv printed, with ?token=",
        );
        let bearer = HeaderValue::from_static("Bearer");
        answer.headers_mut().insert(WWW_AUTHENTICATE, bearer);
        Err(Box::new(answer))
    }

    /// Keeps the token as a cookie, and goes on without it in the address.
    fn admit(&self, headers: &HeaderMap, token: &str) -> Answer {
        let cookie = format!("{}={token}; Path=/; HttpOnly; SameSite=Strict", self.cookie);
        // A browser that comes by a link of another site does not send a Strict cookie until the
        // request is of this page's own making.
        let is_by_link = text(headers, "sec-fetch-site").is_some_and(|site| site != "none");
        let answer = Response::builder().header(SET_COOKIE, cookie);
        let answer = if is_by_link {
            answer.header(REFRESH, "0; url=/")
        } else {
            answer.status(StatusCode::SEE_OTHER).header(LOCATION, "/")
        };
        answer
            .body(empty())
            .expect("a token is no control character")
    }

    /// Without a token, what is asked for must be this machine by one of its own names: a page of
    /// another site can give its own name this machine's address.
    fn check_host(&self, request: &Parts) -> Result<(), Box<Answer>> {
        let host = request.headers.get_all(HOST).into_iter();
        let mut hosts = host
            .map(|host| host.to_str().unwrap_or_default())
            .chain(request.uri.authority().map(Authority::as_str))
            .peekable();
        if hosts.peek().is_some() && hosts.all(is_own_name) {
            return Ok(());
        }
        let url = address::url(self.address);
        Err(Box::new(refusal(
            StatusCode::FORBIDDEN,
            &format!("is served as {url} and as localhost, and by no other name"),
        )))
    }
}

/// Whether a page of another site, or of another port, makes this request, and does not merely
/// link to it.
fn is_of_another_page(headers: &HeaderMap) -> bool {
    let site = text(headers, "sec-fetch-site");
    let is_other = matches!(site, Some("cross-site" | "same-site"));
    is_other && text(headers, "sec-fetch-mode") != Some("navigate")
}

fn is_own_name(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let ip = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || ip.parse::<IpAddr>().is_ok_and(address::is_local)
}

fn is_equal(given: &str, token: &str) -> bool {
    given.as_bytes().ct_eq(token.as_bytes()).into()
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// 128 bits that nobody can guess, in hexadecimal.
pub(super) fn random() -> Result<String> {
    let mut bytes = [0_u8; 16];
    // Never fewer than asked for, up to 256.
    getrandom(&mut bytes, GetRandomFlags::empty()).context("getrandom")?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_names_are_loopback_addresses_and_localhost_with_any_port() {
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "127.0.0.1:1",
            "127.9.9.9",
            "[::1]:8080",
            "[::1]",
        ] {
            assert!(is_own_name(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:80",
            "10.0.0.1",
            "0.0.0.0:80",
            "localhost:80@evil.example",
        ] {
            assert!(!is_own_name(host), "{host}");
        }
    }

    #[test]
    fn tokens_differ_and_have_128_bits() {
        let (one, other) = (random().unwrap(), random().unwrap());
        assert_ne!(one, other);
        assert_eq!((one.len(), other.len()), (32, 32));
    }
}
