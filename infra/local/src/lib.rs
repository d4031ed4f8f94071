//! local

pub mod emulator;
