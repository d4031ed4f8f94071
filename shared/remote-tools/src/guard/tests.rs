use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use axum::{Router, http::header::LOCATION, response::IntoResponse, routing::get};
use reqwest::StatusCode;

use super::*;
use crate::far_side::serve;

/// A resolver that answers with these in turn (the last one again and again), and how often it was asked.
fn lookup(answers: &[&[&str]]) -> (Lookup, Arc<AtomicUsize>) {
    let answers: Vec<Vec<IpAddr>> =
        answers.iter().map(|ips| ips.iter().map(|ip| ip.parse().unwrap()).collect()).collect();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let answer = move |_: String| -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let n = count.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1);
        let answer = answers[n].clone();
        Box::pin(async move { Ok(answer) })
    };
    (Arc::new(answer), asked)
}

async fn told(guard: &Guard, url: &str) -> String {
    let error = guard.client(true, None).unwrap().get(url).send().await.unwrap_err();
    match failure(error) {
        ToolError::RespondToModel(message) => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_address_in_a_url_is_checked_however_it_is_written() {
    for url in [
        "http://127.0.0.1/",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0177.0.0.1/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://10.0.0.1/",
        "http://192.168.0.1:8080/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[fd00:ec2::254]/latest/",
        "http://0/",
        "http://0.0.0.0/",
        "http://[::]/",
        "https://100.64.0.1/",
        "http://１２７.0.0.1/",
        "http://127.0.0.1./",
    ] {
        let refused = Guard::new().address(url).unwrap_err();
        assert!(matches!(refused, Refused::Address { .. }), "{url}: {refused:?}");
    }
    assert!(Guard::new().address("http://93.184.215.14/").is_ok());
}

#[test]
fn metadata_is_refused_where_private_addresses_are_not() {
    let guard = Guard::new().with_private(true);
    assert!(guard.address("http://127.0.0.1/").is_ok());
    for url in ["http://169.254.169.254/", "http://[fd00:ec2::254]/", "http://[::ffff:a9fe:a9fe]/"] {
        assert!(matches!(guard.address(url), Err(Refused::Address { .. })), "{url}");
    }
}

#[test]
fn only_http_without_users_is_fetched() {
    let refused = |url: &str| Guard::new().address(url).unwrap_err();
    assert_eq!(refused("file:///etc/passwd"), Refused::Scheme("file".to_owned()));
    assert_eq!(refused("gopher://example.com/"), Refused::Scheme("gopher".to_owned()));
    assert_eq!(refused("https://example.com@127.0.0.1/"), Refused::UserInfo);
    assert_eq!(refused("https://user:pass@example.com/"), Refused::UserInfo);
    assert_eq!(refused("example.com"), Refused::NotAnAddress("example.com".to_owned()));
    // A line's end does not get into the request: it is dropped or written as %0D%0A, as browsers do.
    let url = Guard::new().address("http://example.com/a\r\nX-Evil: 1?b=\r\nc").unwrap();
    assert!(!url.as_str().contains(['\r', '\n', ' ']), "{url}");
}

#[test]
fn an_allow_list_is_kept_to() {
    let guard = Guard::new().with_hosts(Some(&["docs.rs".to_owned(), "*.Example.com".to_owned()]));
    for url in ["https://docs.rs/x", "https://DOCS.rs./", "http://a.example.com/", "http://a.b.example.com:81/"] {
        assert!(guard.address(url).is_ok(), "{url}");
    }
    for url in ["https://example.com/", "https://evildocs.rs/", "https://docs.rs.evil/", "https://badexample.com/"] {
        assert!(matches!(guard.address(url), Err(Refused::Host(_))), "{url}");
    }
}

#[tokio::test]
async fn a_name_with_one_private_address_is_not_connected_to() {
    for ips in [&["127.0.0.1"][..], &["1.1.1.1", "10.0.0.1"], &["::ffff:169.254.169.254"], &["fd00:ec2::254"]] {
        let (lookup, asked) = lookup(&[ips]);
        let message = told(&Guard::new().with_lookup(lookup), "http://innocent.test/").await;
        assert!(
            message.starts_with("This address cannot be fetched: innocent.test is at an address that is"),
            "{message}"
        );
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn a_name_is_resolved_once_and_the_address_that_was_checked_is_the_one_connected_to() {
    let address = serve(Router::new().route("/", get(async || "here"))).await;
    // Rebinding: what was checked first is loopback (let in), what the name means later would be metadata.
    let (lookup, asked) = lookup(&[&["127.0.0.1"], &["169.254.169.254"]]);
    let guard = Guard::new().with_private(true).with_lookup(lookup);
    let url = format!("http://rebinding.test:{}/", address.port());
    let answer = guard.client(true, None).unwrap().get(&url).send().await.unwrap();
    assert_eq!(answer.remote_addr(), Some(address));
    assert_eq!(answer.text().await.unwrap(), "here");
    assert_eq!(asked.load(Ordering::SeqCst), 1, "resolved again between the check and the connection");
    // A client of its own resolves anew, and is refused.
    assert!(told(&guard, &url).await.contains("link-local"));
}

#[tokio::test]
async fn each_redirect_is_checked() {
    let to = |location: &'static str| get(move || async move { (StatusCode::FOUND, [(LOCATION, location)]) });
    let router = Router::new()
        .route("/metadata", to("http://169.254.169.254/latest/meta-data/"))
        .route("/file", to("file:///etc/passwd"))
        .route("/user", to("http://a:b@example.com/"))
        .route("/elsewhere", to("http://elsewhere.test/"))
        .route("/by-name", to("http://metadata.test/"))
        .route("/round", to("/round"))
        .route("/once", to("/end"))
        .route("/end", get(async || "end"));
    let address = serve(router).await;
    let (lookup, _) = lookup(&[&["169.254.169.254"]]);
    let guard = Guard::new().with_private(true).with_lookup(lookup);
    let at = |path: &str| format!("http://{address}{path}");
    assert!(told(&guard, &at("/metadata")).await.ends_with("169.254.169.254 is link-local"));
    let unfollowed = guard.client(true, None).unwrap().get(at("/file")).send().await.unwrap();
    assert_eq!(unfollowed.status(), StatusCode::FOUND, "what is not http is no place to go to");
    assert!(told(&guard, &at("/user")).await.contains("user's name or password"));
    assert!(told(&guard, &at("/by-name")).await.ends_with("metadata.test is at an address that is link-local"));
    assert!(told(&guard, &at("/round")).await.ends_with("it redirects more than 5 times"));
    let listed = guard.clone().with_hosts(Some(&["127.0.0.1".to_owned()]));
    assert!(told(&listed, &at("/elsewhere")).await.contains("elsewhere.test is not one of the hosts"));
    let answer = listed.client(true, None).unwrap().get(at("/once")).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "end");
}

#[tokio::test]
async fn loopback_is_refused_by_default() {
    let hits = Arc::new(Mutex::new(0));
    let count = Arc::clone(&hits);
    let router = Router::new().fallback(move || {
        *count.lock().unwrap() += 1;
        async { "secret".into_response() }
    });
    let address = serve(router).await;
    let url = format!("http://localhost:{}/", address.port());
    assert!(told(&Guard::new(), &url).await.contains("loopback"));
    assert_eq!(*hits.lock().unwrap(), 0);
}
