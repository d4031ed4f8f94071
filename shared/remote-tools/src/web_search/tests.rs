use std::sync::{Arc, Mutex};

use axum::{
    Router,
    extract::Request,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::*;
use crate::far_side::{context, context_for, serve};

type Asked = Arc<Mutex<Vec<(String, HeaderMap, String)>>>;

/// A provider that keeps what it is asked and gives these answers in turn.
async fn provider(answers: Vec<fn() -> Response>) -> (String, Asked) {
    let asked = Asked::default();
    let kept = Arc::clone(&asked);
    let router = Router::new().fallback(move |request: Request| async move {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let mut kept = kept.lock().unwrap();
        let answer = answers[kept.len().min(answers.len() - 1)];
        kept.push((parts.uri.to_string(), parts.headers, String::from_utf8(body.to_vec()).unwrap()));
        answer()
    });
    (format!("http://{}/search", serve(router).await), asked)
}

fn search(provider: SearchProvider, url: &str) -> WebSearch {
    let config = WebSearchConfig {
        url: Some(url.to_owned()),
        allow_private: true,
        calls_per_second: 1000.0,
        ..WebSearchConfig::of(provider)
    };
    let secrets = Secrets::new(Some(r#"{"BRAVE_API_KEY": "BSA1", "TAVILY_API_KEY": "tvly-1"}"#), |_| None).unwrap();
    WebSearch::new(&config, &secrets).unwrap()
}

async fn found(search: &WebSearch, context: &ToolContext) -> Result<String, ToolError> {
    let arguments = Arguments { query: "rain & sun".to_owned(), count: Some(2) };
    TypedTool::call(search, arguments, context).await.map(ToolReply::into_text)
}

fn brave() -> Response {
    let hit = json!({"title": "Rain", "url": "https://r.test/", "description": "It <strong>rains</strong>.", "age": "1 day ago"});
    axum::Json(json!({"type": "search", "web": {"results": [hit]}})).into_response()
}

fn tavily() -> Response {
    axum::Json(json!({"query": "x", "results": [{"title": "Sun", "url": "https://s.test/", "content": "It shines.", "score": 0.9}]}))
        .into_response()
}

fn busy_for_no_time() -> Response {
    (StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, "0")]).into_response()
}

fn busy_for_a_minute() -> Response {
    (StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, "60")]).into_response()
}

#[tokio::test]
async fn brave_is_asked_as_it_wants_to_be() {
    let (url, asked) = provider(vec![brave]).await;
    let found = found(&search(SearchProvider::Brave, &url), &context()).await.unwrap();
    assert_eq!(found, r#"{"results":[{"title":"Rain","url":"https://r.test/","text":"It rains.","age":"1 day ago"}]}"#);
    let (uri, headers, _) = asked.lock().unwrap()[0].clone();
    assert_eq!(uri, "/search?q=rain+%26+sun&count=2");
    assert_eq!(headers["x-subscription-token"], "BSA1");
}

#[tokio::test]
async fn tavily_is_asked_as_it_wants_to_be() {
    let (url, asked) = provider(vec![tavily]).await;
    let found = found(&search(SearchProvider::Tavily, &url), &context()).await.unwrap();
    assert_eq!(found, r#"{"results":[{"title":"Sun","url":"https://s.test/","text":"It shines."}]}"#);
    let (_, headers, body) = asked.lock().unwrap()[0].clone();
    assert_eq!(headers["authorization"], "Bearer tvly-1");
    assert_eq!(
        serde_json::from_str::<Value>(&body).unwrap(),
        json!({"query": "rain & sun", "max_results": 2, "search_depth": "basic"})
    );
}

#[tokio::test]
async fn a_refusal_for_now_is_waited_out_when_it_fits_r105() {
    let (url, asked) = provider(vec![busy_for_no_time, brave]).await;
    assert!(found(&search(SearchProvider::Brave, &url), &context()).await.unwrap().contains("It rains."));
    assert_eq!(asked.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_refusal_for_longer_than_the_call_has_is_told_and_keeps_the_next_call_back_r105() {
    let (url, asked) = provider(vec![busy_for_a_minute]).await;
    let search = search(SearchProvider::Brave, &url);
    let ten_seconds = context_for(Duration::from_secs(10));
    for _ in 0..2 {
        let error = found(&search, &ten_seconds).await.unwrap_err();
        let ToolError::RespondToModel(message) = error else { panic!("{error:?}") };
        assert_eq!(message, "Too many searches at once; try again in 60 s, or go on without");
    }
    assert_eq!(asked.lock().unwrap().len(), 1, "asked again within the minute");
}

#[tokio::test]
async fn a_wrong_key_and_a_broken_provider_do_not_show_the_key() {
    let refuse = || (StatusCode::UNAUTHORIZED, "bad token BSA1").into_response();
    let broken = || StatusCode::INTERNAL_SERVER_ERROR.into_response();
    let garbage = || "<html>".into_response();
    let (url, _) = provider(vec![refuse, broken, garbage]).await;
    let search = search(SearchProvider::Brave, &url);
    let refused = found(&search, &context()).await.unwrap_err();
    assert_eq!(refused.to_string(), "Searching is not possible now: the provider refuses the key");
    assert!(matches!(found(&search, &context()).await, Err(ToolError::Network { sent: Sent::Perhaps, .. })));
    assert!(matches!(found(&search, &context()).await, Err(ToolError::RespondToModel(_))));
}

#[test]
fn without_its_key_there_is_no_search() {
    let secrets = Secrets::new(None, |_| None).unwrap();
    let error = WebSearch::new(&WebSearchConfig::of(SearchProvider::Tavily), &secrets).err().unwrap();
    assert_eq!(
        error.to_string(),
        "there is no secret `TAVILY_API_KEY`: put it into NIGHTSHIFT_TOOL_SECRETS, or set the variable of this name"
    );
}
