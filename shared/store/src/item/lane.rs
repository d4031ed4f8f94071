//! A lane: the attributes of [`Lane`], and its place in the due index.

use domain::{id::JobId, lane::Lane, time::Timestamp};

use super::{Item, check_format, place, s, stamped, without_nulls};
use crate::{
    error::Error,
    key::{Key, Sort, due_shard},
};

/// The lane as an item that lives until `ttl`.
pub(crate) fn lane_item(job: &JobId, lane: &Lane, ttl: Timestamp) -> Result<Item, Error> {
    let key = Key::of(job, &Sort::Lane(&lane.name));
    let item: Item = serde_dynamo::to_item(lane).map_err(|error| Error::corrupt(job.as_str(), error))?;
    let mut item = without_nulls(item);
    if lane.due_at.is_some() {
        item.insert("due_shard".to_owned(), s(due_shard(job)));
    }
    Ok(stamped(key, ttl, item))
}

/// The lane in an item.
pub(crate) fn lane_from_item(item: Item) -> Result<Lane, Error> {
    check_format(&item)?;
    let place = place(&item);
    serde_dynamo::from_item(item).map_err(|error| Error::corrupt(place, error))
}

#[cfg(test)]
mod tests {
    use domain::{
        id::LaneName,
        lane::{LeaseTimes, Take},
    };

    use super::*;

    #[test]
    fn a_lane_survives_storage_and_leaves_the_due_index_when_it_closes() {
        let job: JobId = "job_01JDA7Q3W5T8Z2K4M6N8P0R1S3".parse().unwrap();
        let free = Lane::new(LaneName::main(), Timestamp::from_millis(1000));
        let Take::Claim(held) =
            free.take(1, false, &"w".parse().unwrap(), Timestamp::from_millis(5), &LeaseTimes::default())
        else {
            panic!("it is free")
        };
        let closed = held.closed();
        for lane in [free, held, closed] {
            let item = lane_item(&job, &lane, Timestamp::from_millis(9000)).unwrap();
            assert_eq!(item.contains_key("due_shard"), lane.open);
            assert_eq!(crate::item::text(&item, "phase"), Some(lane.phase.as_str()));
            assert_eq!(lane_from_item(item).unwrap(), lane);
        }
    }
}
