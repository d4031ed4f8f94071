//! The one HTTP client that tools have, and what it does not connect to.
//!
//! A name is resolved once, every address that it has is checked, and the connection is made to one of those that were
//! checked: a name that means something else a moment later (DNS rebinding) gains nothing. Addresses that are written
//! into a URL never reach a resolver and are checked on their own; so is every redirect. The environment's proxies are
//! not used, since a proxy would resolve names itself.

use std::{
    error::Error,
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures_util::future::BoxFuture;
use reqwest::{
    Client, ClientBuilder,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect::Policy,
};
use tools::{Sent, ToolError};
use url::{Host, Url};

use crate::address;

/// Redirects that are followed.
const REDIRECTS: usize = 5;
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// Resolves a name to its addresses.
pub type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;

/// What may be connected to.
#[derive(Clone)]
pub struct Guard {
    allow_private: bool,
    hosts: Option<Arc<[String]>>,
    lookup: Lookup,
}

/// What is not connected to, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is not an address at all.
    #[error("`{0}` is not an address; it must begin with https:// or http://")]
    NotAnAddress(String),
    /// Neither http nor https.
    #[error("{0}: addresses are not fetched, only https:// and http://")]
    Scheme(String),
    /// A name or a password in it.
    #[error("an address with a user's name or password in it is not fetched")]
    UserInfo,
    /// Not a host of the deployment's list.
    #[error("{0} is not one of the hosts that this deployment allows")]
    Host(String),
    /// An address that is not public.
    #[error("{ip} is {why}")]
    Address {
        /// The address.
        ip: IpAddr,
        /// What it is.
        why: &'static str,
    },
    /// A name that has an address that is not public. (The model need not know which.)
    #[error("{host} is at an address that is {why}")]
    Name {
        /// The name.
        host: String,
        /// What the address is.
        why: &'static str,
    },
    /// Too many redirects.
    #[error("it redirects more than {REDIRECTS} times")]
    Redirects,
}

impl Guard {
    /// Public addresses only.
    pub fn new() -> Self {
        Self { allow_private: false, hosts: None, lookup: Arc::new(|name| Box::pin(system(name))) }
    }

    /// Lets in loopback and private addresses, too.
    #[must_use]
    pub fn with_private(self, allow_private: bool) -> Self {
        Self { allow_private, ..self }
    }

    /// Lets in only these hosts: names, or `*.` and a name for everything below it.
    #[must_use]
    pub fn with_hosts(self, hosts: Option<&[String]>) -> Self {
        let hosts = hosts.map(|hosts| hosts.iter().map(|host| host.to_ascii_lowercase()).collect());
        Self { hosts, ..self }
    }

    /// Resolves names in another way than the system's.
    #[must_use]
    pub fn with_lookup(self, lookup: Lookup) -> Self {
        Self { lookup, ..self }
    }

    /// An address that may be asked, as far as can be told without resolving its name.
    ///
    /// # Errors
    /// Why it may not.
    pub fn address(&self, text: &str) -> Result<Url, Refused> {
        let url = Url::parse(text.trim()).map_err(|_| Refused::NotAnAddress(text.chars().take(200).collect()))?;
        self.check(&url)?;
        Ok(url)
    }

    fn check(&self, url: &Url) -> Result<(), Refused> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Refused::Scheme(url.scheme().to_owned()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refused::UserInfo);
        }
        let ip = match url.host() {
            None => return Err(Refused::NotAnAddress(url.to_string())),
            Some(Host::Domain(_)) => None,
            Some(Host::Ipv4(ip)) => Some(IpAddr::V4(ip)),
            Some(Host::Ipv6(ip)) => Some(IpAddr::V6(ip)),
        };
        if let Some(ip) = ip
            && let Some(why) = address::refusal(ip, self.allow_private)
        {
            return Err(Refused::Address { ip, why });
        }
        let host = url.host_str().unwrap_or_default();
        if self.hosts.as_ref().is_some_and(|hosts| !hosts.iter().any(|pattern| fits(pattern, host))) {
            return Err(Refused::Host(host.to_owned()));
        }
        Ok(())
    }

    /// A client that connects to nothing else. It follows redirects, each of them checked, when `follow` says so, and an
    /// answer of its may pause for `idle` between two reads; the whole of it ends with the call's time.
    ///
    /// # Errors
    /// When no client can be made.
    pub fn client(&self, follow: bool, idle: Option<Duration>) -> reqwest::Result<Client> {
        // Where the process has chosen already, its choice stands.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let policy = if follow { self.policy() } else { Policy::none() };
        let builder = builder().redirect(policy).dns_resolver(Arc::new(self.clone()));
        match idle {
            Some(idle) => builder.read_timeout(idle),
            None => builder,
        }
        .build()
    }

    fn policy(&self) -> Policy {
        let guard = self.clone();
        Policy::custom(move |attempt| {
            if attempt.previous().len() > REDIRECTS {
                return attempt.error(Refused::Redirects);
            }
            match guard.check(attempt.url()) {
                Ok(()) => attempt.follow(),
                Err(refused) => attempt.error(refused),
            }
        })
    }
}

impl Default for Guard {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("allow_private", &self.allow_private)
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found = (guard.lookup)(host.clone()).await?;
            if let Some(why) = found.iter().find_map(|ip| address::refusal(*ip, guard.allow_private)) {
                return Err(Refused::Name { host, why }.into());
            }
            Ok(Box::new(found.into_iter().map(|ip| SocketAddr::new(ip, 0))) as Addrs)
        })
    }
}

/// What every tool's client has in common.
fn builder() -> ClientBuilder {
    Client::builder()
        .user_agent(concat!("nightshift/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .referer(false)
        .connect_timeout(CONNECT)
}

async fn system(name: String) -> io::Result<Vec<IpAddr>> {
    Ok(tokio::net::lookup_host((name.as_str(), 0)).await?.map(|address| address.ip()).collect())
}

fn fits(pattern: &str, host: &str) -> bool {
    let host = host.trim_end_matches('.');
    match pattern.strip_prefix("*.") {
        Some(above) => host.strip_suffix(above).is_some_and(|below| below.ends_with('.')),
        None => pattern == host,
    }
}

/// What a request's failure means to the model. It names no address: that may hold a key.
pub(crate) fn failure(error: reqwest::Error) -> ToolError {
    let error = error.without_url();
    if let Some(refused) = refused(&error) {
        return ToolError::RespondToModel(format!("This address cannot be fetched: {refused}"));
    }
    let (message, sent) = if error.is_connect() {
        ("no connection could be made", Sent::Nothing)
    } else if error.is_timeout() {
        ("the answer did not come in time", Sent::Perhaps)
    } else {
        ("the connection was lost before the answer was whole", Sent::Perhaps)
    };
    ToolError::Network { message: message.to_owned(), sent, source: Some(error.into()) }
}

/// The guard's refusal among an error's causes.
fn refused<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Refused> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(refused) = error.downcast_ref() {
            return Some(refused);
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests;
