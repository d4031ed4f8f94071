//! The record of a conversation that was made shorter: once, under the turn's lease, before a model reads it so.

use domain::compaction::Shortened;

use crate::{
    Fenced, Held, Store,
    claim::fenced,
    error::{Error, Verdict},
    item::{Item, Payload, Unpacked, place, stamped, unpack},
    key::{Key, Sort},
    write::Write,
};

impl Store {
    /// Records how the conversation of the turn was made shorter, the `n`-th time in this turn. What comes back is what
    /// is on record: the turn goes on with that.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn shorten(&self, held: &Held, n: usize, shortened: &Shortened) -> Result<Fenced<Shortened>, Error> {
        let lane = fenced(Write::check(Key::of(held.id(), &Sort::Lane(&held.fence.lane))), &held.fence);
        let key = Key::of(held.id(), &Sort::Compaction(&held.fence.lane, held.lane().turn, n));
        let (item, parts) = Payload::pack(shortened)?.into_items();
        if !parts.is_empty() {
            return Err(Error::corrupt(held.id().as_str(), "what stands for a conversation is too large"));
        }
        let record = Write::put_new(stamped(key, held.ttl(), item));
        let token = format!("{}-k{n}", held.fence.owner);
        Ok(match self.transact(&token, vec![lane, record]).await? {
            Ok(()) => Fenced::Done(shortened.clone()),
            Err(verdicts) => match verdicts.as_slice() {
                // Ours, whose answer was lost: nobody else writes while the lease is ours.
                [Verdict::Fine, Verdict::Refused(Some(item))] => Fenced::Done(shortened_from_item(item)?),
                _ => Fenced::LeaseLost,
            },
        })
    }
}

/// The record in an item.
pub(crate) fn shortened_from_item(item: &Item) -> Result<Shortened, Error> {
    match unpack(item)? {
        Unpacked::Whole(shortened) => Ok(shortened),
        Unpacked::Parts(_) => Err(Error::corrupt(place(item), "it has no parts")),
    }
}
