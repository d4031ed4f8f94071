//! local

pub mod demo_model;
pub mod emulator;
