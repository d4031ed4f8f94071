use std::io::Read as _;

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;

fn local() -> Console {
    Console::new(Settings { sign_in: SignIn::None, stream_url: None, embedders: vec![], version: "1.2.3" })
}

async fn get_with(console: Console, path: &str, asked: &[(HeaderName, &str)]) -> (StatusCode, HeaderMap, Vec<u8>) {
    let mut request = Request::get(path);
    for (name, value) in asked {
        request = request.header(name, *value);
    }
    let answer = router(console).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (status, headers) = (answer.status(), answer.headers().clone());
    (status, headers, answer.into_body().collect().await.unwrap().to_bytes().to_vec())
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

/// What the index names of this origin.
fn named(index: &str) -> Vec<&str> {
    let values = index.split("=\"").skip(1).filter_map(|rest| rest.split('"').next());
    values.filter(|value| value.starts_with("console/")).collect()
}

#[tokio::test]
async fn everything_that_the_page_names_is_served_and_nothing_of_it_is_inline_or_elsewhere() {
    let (status, headers, body) = get_with(local(), PAGE, &[]).await;
    let index = String::from_utf8(body).unwrap();
    assert_eq!((status, text(&headers, "content-type")), (StatusCode::OK, "text/html; charset=utf-8"));
    assert!(!index.contains("://") && !index.contains("style=") && !index.contains("<style"), "{index}");
    for script in index.split("<script").skip(1) {
        assert!(script.contains("></script>"), "nothing between the tags: {script}");
    }
    let named = named(&index);
    assert_eq!(named, ["console/icon.svg", "console/app.css", "console/app.js"]);
    for name in named {
        let (status, headers, body) = get_with(local(), &format!("/{name}"), &[]).await;
        assert_eq!((status, text(&headers, "x-content-type-options")), (StatusCode::OK, "nosniff"), "{name}");
        assert!(!body.is_empty());
    }
    assert_eq!(get_with(local(), "/console/Cargo.toml", &[]).await.0, StatusCode::NOT_FOUND);
    assert_eq!(get_with(local(), "/console/..%2Fapp.js", &[]).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_is_compressed_is_the_file_and_all_of_it_is_under_150_kb() {
    let mut total = 0;
    for path in [PAGE, "/console/app.js", "/console/app.css", "/console/icon.svg"] {
        let (_, plain_headers, plain) = get_with(local(), path, &[]).await;
        assert_eq!(text(&plain_headers, "content-encoding"), "");
        let gzip = get_with(local(), path, &[(header::ACCEPT_ENCODING, "deflate, gzip;q=0.5")]).await;
        assert_eq!((text(&gzip.1, "content-encoding"), text(&gzip.1, "vary")), ("gzip", "accept-encoding"));
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&gzip.2[..]).read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked, plain, "{path}");
        let built = concat!(env!("CARGO_MANIFEST_DIR"), "/dist");
        let name = if path == PAGE { "index.html" } else { path.trim_start_matches("/console/") };
        assert_eq!(plain, std::fs::read(format!("{built}/{name}")).unwrap(), "{path}");
        let refused = get_with(local(), path, &[(header::ACCEPT_ENCODING, "br, gzip;q=0")]).await;
        assert_eq!(refused.2, plain);
        total += gzip.2.len();
    }
    assert!(total < 150_000, "{total} bytes");
}

#[tokio::test]
async fn who_has_a_file_is_not_sent_it_again() {
    let (_, headers, _) = get_with(local(), "/console/app.js", &[(header::ACCEPT_ENCODING, "gzip, br")]).await;
    let tag = text(&headers, "etag").to_owned();
    let asked = [(header::ACCEPT_ENCODING, "gzip"), (header::IF_NONE_MATCH, tag.as_str())];
    let (status, headers, body) = get_with(local(), "/console/app.js", &asked).await;
    assert_eq!((status, body.len(), text(&headers, "etag")), (StatusCode::NOT_MODIFIED, 0, tag.as_str()));
    // The same content in another form is another entity.
    let asked = [(header::ACCEPT_ENCODING, "identity"), (header::IF_NONE_MATCH, tag.as_str())];
    assert_eq!(get_with(local(), "/console/app.js", &asked).await.0, StatusCode::OK);
}

#[tokio::test]
async fn the_policy_lets_in_this_origin_the_streams_and_the_embedders_and_nothing_else() {
    let (_, headers, body) = get_with(local(), CONFIG, &[]).await;
    assert_eq!(
        text(&headers, "content-security-policy"),
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    );
    assert_eq!(text(&headers, "referrer-policy"), "no-referrer");
    let told: Value = serde_json::from_slice(&body).unwrap();
    let local = json!({"api": "", "sign_in": "none", "streams_at_api": true, "embedders": [], "version": "1.2.3"});
    assert_eq!(told, local);

    let cloud = Console::new(Settings {
        sign_in: SignIn::Bearer,
        stream_url: Some("https://abc.lambda-url.eu-west-1.on.aws/".to_owned()),
        embedders: ["*", "https://app.example/path", "https://a.example; script-src *", "null", ""]
            .map(str::to_owned)
            .into(),
        version: "1.2.3",
    });
    let (_, headers, body) = get_with(cloud, CONFIG, &[]).await;
    let policy = text(&headers, "content-security-policy");
    assert!(policy.contains("connect-src 'self' https://abc.lambda-url.eu-west-1.on.aws;"), "{policy}");
    assert!(policy.contains("frame-ancestors https://app.example;"), "{policy}");
    let told: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(told["embedders"], json!(["https://app.example"]));
    assert_eq!((&told["sign_in"], &told["streams_at_api"]), (&json!("bearer"), &json!(false)));
}
