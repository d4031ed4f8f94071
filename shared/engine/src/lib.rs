//! A turn, end to end: the only crate that composes the others. What may happen is decided in `domain`, how it is
//! written is known to `store`; here is in which order things are done, and what is stopped when.
//!
//! # The life of a turn
//!
//! 1. A message asks for a turn of a lane ([`Engine::handle`]). It is hidden for as long as a lease lasts, so that a dead
//!    worker's turn is picked up within seconds.
//! 2. The lane is claimed under a fresh name ([`store::Store::claim`]); if it cannot be, the message is disposed of
//!    ([`upkeep`]).
//! 3. From here on three futures run side by side in one task ([`turn`]): the work itself, the one writer of its events
//!    ([`emit`]), and the [`keeper`], which renews the lease and looks at the head. Whichever finds that the lease is
//!    lost or the job over ends all three: dropping the work drops the model's connection and the tools.
//! 4. An attempt after the first says so (`turn.restarted`). Then everything is read anew, consistently; this read is the
//!    go-ahead for the model call.
//! 5. Where the job allows it, a conversation that is too long is made shorter first, on record ([`compact`]). Then the
//!    model is asked and its answer streamed into the log; the whole answer is recorded (the checkpoint).
//! 6. Its tool calls run side by side, each recorded before and after.
//! 7. The turn is committed, the next one's continuation sent, and the message let go. The last commit ends the job;
//!    what is owed then is settled.
//!
//! A failure of the table or the queue ends the invocation without letting go of the message: it comes back.

mod ask;
mod clock;
mod compact;
mod emit;
mod engine;
mod keeper;
mod model_call;
mod questions;
mod sweep;
mod tool_calls;
mod turn;
mod upkeep;
mod workflow;

pub use self::{
    clock::{Clock, SystemClock},
    emit::Batching,
    engine::{Delivery, Engine, Handled, Settings},
    sweep::SweepReport,
    upkeep::{Told, Upkeep},
};
