//! Route strings, in one place for routers, tests and documents. Parameters are written as axum writes them.

use domain::id::JobId;

/// Start (`POST`) and list (`GET`).
pub const JOBS: &str = "/jobs";
/// Read (`GET`) and delete (`DELETE`).
pub const JOB: &str = "/jobs/{id}";
/// The log as JSON.
pub const JOB_EVENTS: &str = "/jobs/{id}/events";
/// The log as server-sent events.
pub const JOB_STREAM: &str = "/jobs/{id}/stream";
/// One call with its whole result.
pub const TOOL_CALL: &str = "/jobs/{id}/tool_calls/{call_id}";
/// Cancel.
pub const CANCEL: &str = "/jobs/{id}/cancel";
/// Cancel what was, or will be, started under an `Idempotency-Key`.
pub const CANCEL_KEY: &str = "/jobs/cancel";
/// Answer an input request.
pub const INPUT_REQUEST: &str = "/jobs/{id}/input_requests/{request_id}";
/// Say something to a running job.
pub const MESSAGES: &str = "/jobs/{id}/messages";
/// Start again from what failed.
pub const RETRY: &str = "/jobs/{id}/retry";
/// Get a fresh address of the stream.
pub const STREAM_TOKEN: &str = "/jobs/{id}/stream_token";
/// The catalogue of workflows.
pub const WORKFLOWS: &str = "/workflows";
/// One of them.
pub const WORKFLOW: &str = "/workflows/{id}";
/// Check one without storing it.
pub const VALIDATE_WORKFLOW: &str = "/workflows/validate";
/// The registered tools.
pub const TOOLS: &str = "/tools";
/// The API's description for machines.
pub const OPENAPI: &str = "/openapi.json";
/// Whether the process lives.
pub const HEALTH: &str = "/health";
/// Counters (local runner).
pub const METRICS: &str = "/metrics";

/// The path of a job: what `Location` says.
pub fn job(id: &JobId) -> String {
    JOB.replace("{id}", id.as_str())
}

/// The path of one of a job's routes, such as [`CANCEL`].
pub fn of_job(route: &str, id: &JobId) -> String {
    route.replace("{id}", id.as_str())
}

/// The address of a job's stream under `origin`, a URL without a path (a trailing slash does not matter). Tokens consist
/// of characters that need no escaping.
pub fn stream_url(origin: &str, id: &JobId, token: &str) -> String {
    format!("{}{}?token={token}", origin.trim_end_matches('/'), of_job(JOB_STREAM, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_made_from_the_routes() {
        let id: JobId = "job_01JDA7Q3W5T8Z2K4M6N8P0R1S3".parse().unwrap();
        assert_eq!(job(&id), "/jobs/job_01JDA7Q3W5T8Z2K4M6N8P0R1S3");
        assert_eq!(of_job(CANCEL, &id), "/jobs/job_01JDA7Q3W5T8Z2K4M6N8P0R1S3/cancel");
        assert_eq!(
            stream_url("https://x.lambda-url.example/", &id, "v1.a.b"),
            "https://x.lambda-url.example/jobs/job_01JDA7Q3W5T8Z2K4M6N8P0R1S3/stream?token=v1.a.b"
        );
    }
}
