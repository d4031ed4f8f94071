//! local

pub mod cli;
pub mod demo_model;
pub mod emulator;
pub mod terminal;
