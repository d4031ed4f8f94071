//! Workflows: documents, and runs of them with a played model, played people and any order of settling.

mod checking;
mod driver;
mod four_documents;
mod limits;
mod nodes;
mod people;
mod random_graphs;
mod retrying;
