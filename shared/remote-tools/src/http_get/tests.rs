use std::io::Write as _;

use axum::{
    Router,
    http::{HeaderMap, header},
    response::IntoResponse,
    routing::get,
};
use flate2::{Compression, write::GzEncoder};
use tools::Tool;

use super::*;
use crate::far_side::{answer, context, serve};

fn tool() -> HttpGet {
    HttpGet::new(Guard::new().with_private(true), Duration::from_secs(10))
}

async fn fetched(url: String, start: Option<u32>) -> Result<String, ToolError> {
    TypedTool::call(&tool(), Arguments { url, start }, &context()).await.map(ToolReply::into_text)
}

async fn told(url: String) -> String {
    match fetched(url, None).await.unwrap_err() {
        ToolError::RespondToModel(message) | ToolError::InvalidArguments(message) => message,
        other => panic!("{other:?}"),
    }
}

fn of_type(kind: &'static str, body: impl Into<Vec<u8>>) -> axum::routing::MethodRouter {
    let body: Vec<u8> = body.into();
    get(move || async move { ([(header::CONTENT_TYPE, kind)], body) })
}

#[tokio::test]
async fn pages_json_and_text_are_read() {
    let router = Router::new()
        .route(
            "/page",
            of_type("text/html; charset=utf-8", "<h1>Rates</h1><p>One <b>euro</b>.</p><script>x()</script>"),
        )
        .route("/json", of_type("application/problem+json", r#"{"a": 1}"#))
        .route("/latin", of_type("text/plain; charset=iso-8859-1", vec![b'c', b'a', b'f', 0xe9]))
        .route("/meta", of_type("text/html", b"<meta charset='shift_jis'><p>\x93\xfa\x96{".to_vec()));
    let address = serve(router).await;
    let page = fetched(format!("http://{address}/page"), None).await.unwrap();
    assert!(page.starts_with(&format!("URL: http://{address}/page\nType: text/html\n\n# Rates")), "{page}");
    assert!(page.contains("euro") && !page.contains("x()"), "{page}");
    let json = fetched(format!("http://{address}/json"), None).await.unwrap();
    assert!(json.ends_with("Type: application/problem+json\n\n{\"a\": 1}"), "{json}");
    assert!(fetched(format!("http://{address}/latin"), None).await.unwrap().ends_with("café"));
    assert!(fetched(format!("http://{address}/meta"), None).await.unwrap().ends_with("日本"));
}

#[tokio::test]
async fn what_is_no_text_is_refused_politely() {
    let router = Router::new()
        .route("/image", of_type("image/png", "x"))
        .route("/pdf", of_type("application/pdf", "x"))
        .route("/unnamed", get(async || axum::body::Body::from(vec![1, 0, 2])));
    let address = serve(router).await;
    let told = async |path: &str| told(format!("http://{address}{path}")).await;
    assert_eq!(told("/image").await, "The answer is image/png, not text, and is not shown");
    assert_eq!(told("/pdf").await, "The answer is application/pdf, not text, and is not shown");
    assert_eq!(told("/unnamed").await, "The answer is binary, not text, and is not shown");
}

#[tokio::test]
async fn a_long_text_is_read_in_parts() {
    let text = format!("{}{}", "a".repeat(40_000), "é".repeat(5));
    let address = serve(Router::new().route("/", of_type("text/plain", text))).await;
    let first = fetched(format!("http://{address}/"), None).await.unwrap();
    assert!(
        first.contains("(characters 0 to 40000 of 40005; ask again with \"start\": 40000 for more)"),
        "{}",
        &first[..200]
    );
    let rest = fetched(format!("http://{address}/"), Some(40_000)).await.unwrap();
    assert!(rest.ends_with("(characters 40000 to 40005 of 40005)\n\nééééé"), "{rest}");
}

#[tokio::test]
async fn two_mebibytes_are_read_and_no_more_also_of_a_decompression_bomb() {
    let mut bomb = GzEncoder::new(vec![], Compression::best());
    for _ in 0..64 {
        bomb.write_all(&vec![b'a'; 1024 * 1024]).unwrap();
    }
    let bomb = bomb.finish().unwrap();
    assert!(bomb.len() < 100_000, "64 MiB in {} bytes", bomb.len());
    let packed = get(move |headers: HeaderMap| async move {
        assert!(headers[header::ACCEPT_ENCODING].to_str().unwrap().contains("gzip"));
        ([(header::CONTENT_TYPE, "text/plain"), (header::CONTENT_ENCODING, "gzip")], bomb).into_response()
    });
    let router = Router::new()
        .route("/bomb", packed)
        .route("/long", of_type("text/plain", "a".repeat(3 * 1024 * 1024)))
        .route("/brotli", get(async || ([(header::CONTENT_ENCODING, "br")], "x")));
    let address = serve(router).await;
    for path in ["bomb", "long"] {
        let text = fetched(format!("http://{address}/{path}"), None).await.unwrap();
        assert!(text.contains("of 2097152; ask again"), "{path}: {}", &text[..300]);
        assert!(text.contains("(the body is longer than the 2097152 bytes that are read; its rest is missing)"));
    }
    assert_eq!(
        told(format!("http://{address}/brotli")).await,
        "The answer is packed as `br`, which cannot be unpacked"
    );
}

#[tokio::test]
async fn a_server_that_stops_in_the_middle_of_its_answer_is_left() {
    let headers = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 1000\r\n\r\nand then";
    let address = answer(headers.as_bytes().to_vec()).await;
    let impatient = HttpGet {
        http: OnceCell::new_with(Some(
            Guard::new().with_private(true).client(true, Some(Duration::from_millis(50))).unwrap(),
        )),
        ..tool()
    };
    let arguments = Arguments { url: format!("http://{address}/"), start: None };
    let error = TypedTool::call(&impatient, arguments, &context()).await.unwrap_err();
    assert!(matches!(error, ToolError::Network { sent: Sent::Perhaps, .. }), "{error:?}");
}

#[tokio::test]
async fn an_error_page_is_told_to_the_model_and_a_passing_one_is_tried_again() {
    let router = Router::new()
        .route("/gone", get(async || (StatusCode::GONE, "It moved.")))
        .route("/busy", get(async || StatusCode::SERVICE_UNAVAILABLE));
    let address = serve(router).await;
    assert_eq!(told(format!("http://{address}/gone")).await, "The server answered 410 Gone\n\nIt moved.");
    let error = fetched(format!("http://{address}/busy"), None).await.unwrap_err();
    assert!(matches!(error, ToolError::Network { sent: Sent::Perhaps, .. }), "{error:?}");
}

#[tokio::test]
async fn a_refused_address_is_the_models_to_correct() {
    assert_eq!(
        told("http://169.254.169.254/latest/meta-data/".to_owned()).await,
        "This address cannot be fetched: 169.254.169.254 is link-local"
    );
}

#[tokio::test]
async fn nobody_listening_is_a_network_failure_that_sent_nothing() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = fetched(format!("http://{address}/key=secret"), None).await.unwrap_err();
    assert!(matches!(&error, ToolError::Network { sent: Sent::Nothing, .. }), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
}

#[test]
fn it_is_what_it_is_declared_to_be() {
    assert_eq!(Tool::spec(&tool()), tools::builtin::http_get::spec());
}
