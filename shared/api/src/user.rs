//! Who asks. The one source is the gateway's authorizer; the local runner puts the same context into its requests, so
//! that every router runs as it does behind the gateway. No header is ever believed here.

use std::{collections::HashMap, convert::Infallible};

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use domain::id::UserId;
use http::request::Parts;
use lambda_http::{
    aws_lambda_events::apigw::{
        ApiGatewayRequestAuthorizer, ApiGatewayRequestAuthorizerJwtDescription, ApiGatewayV2httpRequestContext,
    },
    request::RequestContext,
};

use crate::error::ApiError;

/// The signed-in user; without one the answer is 401.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User(pub UserId);

impl<S: Send + Sync> FromRequestParts<S> for User {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        signed_in(parts).map(User).ok_or(ApiError::Unauthorized)
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for User {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(signed_in(parts).map(User))
    }
}

fn signed_in(parts: &Parts) -> Option<UserId> {
    match parts.extensions.get::<RequestContext>()? {
        RequestContext::ApiGatewayV2(context) => {
            context.authorizer.as_ref()?.jwt.as_ref()?.claims.get("sub")?.parse().ok()
        }
        _ => None,
    }
}

/// The context of a request by `user`, as the gateway's authorizer would have made it: for the local runner and tests.
pub fn claims_for(user: &UserId) -> RequestContext {
    let mut jwt = ApiGatewayRequestAuthorizerJwtDescription::default();
    jwt.claims = HashMap::from([("sub".to_owned(), user.to_string())]);
    let mut authorizer = ApiGatewayRequestAuthorizer::default();
    authorizer.jwt = Some(jwt);
    let mut context = ApiGatewayV2httpRequestContext::default();
    context.authorizer = Some(authorizer);
    RequestContext::ApiGatewayV2(context)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    async fn user_of(request: Request<()>) -> Result<User, u16> {
        let (mut parts, ()) = request.into_parts();
        <User as FromRequestParts<()>>::from_request_parts(&mut parts, &()).await.map_err(|e| e.status().as_u16())
    }

    fn request(context: Option<RequestContext>) -> Request<()> {
        let mut request = Request::builder()
            .header("x-nightshift-user", "mallory")
            .header("authorization", "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJtYWxsb3J5In0.")
            .body(())
            .unwrap();
        if let Some(context) = context {
            request.extensions_mut().insert(context);
        }
        request
    }

    #[tokio::test]
    async fn the_user_is_the_authorizers_subject() {
        let ann: UserId = "ann@example".parse().unwrap();
        assert_eq!(user_of(request(Some(claims_for(&ann)))).await, Ok(User(ann)));
    }

    #[tokio::test]
    async fn without_an_authorizer_there_is_no_user_whatever_the_headers_say() {
        assert_eq!(user_of(request(None)).await, Err(401));
        let anonymous = RequestContext::ApiGatewayV2(ApiGatewayV2httpRequestContext::default());
        assert_eq!(user_of(request(Some(anonymous))).await, Err(401));
    }

    #[tokio::test]
    async fn a_subject_that_cannot_be_a_user_is_nobody() {
        for sub in ["", "a\nb"] {
            let RequestContext::ApiGatewayV2(mut context) = claims_for(&"ann".parse().unwrap()) else { panic!() };
            let jwt = context.authorizer.as_mut().unwrap().jwt.as_mut().unwrap();
            jwt.claims.insert("sub".to_owned(), sub.to_owned());
            assert_eq!(user_of(request(Some(RequestContext::ApiGatewayV2(context)))).await, Err(401));
        }
    }
}
