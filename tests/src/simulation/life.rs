//! An invocation's life: it may be stopped for a while, as a virtual machine is, and go on without having noticed.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tokio::time::{Sleep, sleep_until};

use super::Sim;

/// A future that does nothing while its process is asleep.
pub(super) struct Life<F> {
    sim: Sim,
    process: String,
    inner: Pin<Box<F>>,
    nap: Option<Pin<Box<Sleep>>>,
}

impl<F> Life<F> {
    pub(super) fn new(sim: &Sim, process: &str, inner: F) -> Self {
        Self { sim: sim.clone(), process: process.to_owned(), inner: Box::pin(inner), nap: None }
    }
}

impl<F: Future> Future for Life<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.get_mut();
        while let Some(until) = this.sim.asleep(&this.process) {
            let mut nap = Box::pin(sleep_until(until));
            if nap.as_mut().poll(context).is_pending() {
                this.nap = Some(nap);
                return Poll::Pending;
            }
        }
        this.nap = None;
        this.sim.wakes(&this.process);
        this.inner.as_mut().poll(context)
    }
}
