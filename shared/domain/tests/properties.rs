//! What holds of every job, whatever is asked of it and in whatever order. Each property is the sentence that it is
//! called by; a last test in each module shows that the random cases get to where the property could fail.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod properties {
    mod compaction;
    mod conversation;
    mod history;
    mod job;
    mod lane;
    mod log;
    mod stored;
    mod workflow;
}
