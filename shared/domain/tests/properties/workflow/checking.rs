//! What is found in documents.
