//! start-job
