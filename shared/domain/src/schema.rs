//! What holding a value against a JSON schema costs, counted before it is done.
//!
//! Callers and tool servers bring schemas, and a worker checks values against them between two renewals of its lease.
//! Each `$ref` of a schema may be taken twice, so that a kilobyte asks for more checks than there is time; a schema that
//! refers to itself does the same with a value that is deep enough, and a pattern with repetitions in repetitions with a
//! long text. So whoever compiles a schema asks [`SchemaCost::of`] first, and whoever applies it asks
//! [`SchemaCost::check`]. Nothing here says whether a value fits.

mod pattern;
mod places;

use std::collections::BTreeMap;

use serde_json::Value;

use self::places::Place;

/// Checks that one value may need for itself, those of what is in it not counted.
pub const CHECKS_OF_ONE_VALUE: u64 = 10_000;
/// Checks that a value may need with everything in it: a fraction of a second.
pub const CHECKS: u64 = 1_000_000;
/// Schemas within schemas on the way to one check. Each takes its part of the stack.
pub const LEVELS: usize = 1_000;
/// What all patterns of a schema may have together: characters, those in a repetition as often as it may repeat them.
pub const PATTERNS: u64 = 100_000;
/// Steps of a pattern that count as one check: a step is one of its characters against one of the text.
const STEPS_OF_A_CHECK: u64 = 64;

/// Why a schema is not used, or a value not held against it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TooCostly {
    /// A reference to what is not in the schema, so that nobody knows its cost.
    #[error("it refers to `{0}`, which is not a place in it (`#`, `#/…` and `#anchor` are)")]
    Reference(String),
    /// An address inside it gives references another meaning.
    #[error("a part of it has an `$id` or a `$schema` of its own, which only the whole may have")]
    Address,
    /// A reference that comes back to where it was, with the same value.
    #[error("it refers to itself without going deeper into the value")]
    Circle,
    /// Too much for one value.
    #[error("with its references followed it asks for more than {CHECKS_OF_ONE_VALUE} checks of one value")]
    OneValue,
    /// Patterns that are too long when repetitions are written out.
    #[error("its patterns have more than {PATTERNS} characters with their repetitions written out")]
    Patterns,
    /// Too many levels.
    #[error("it goes through more than {LEVELS} levels")]
    Levels,
    /// Too much for this value.
    #[error("this value takes more than {CHECKS} checks: it is too large or too deep for this schema")]
    Value,
}

/// What a schema costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaCost {
    /// What is applied to the same value as another place comes after it.
    places: Vec<Place>,
    root: usize,
}

/// How often a value is held against a place of the schema, and how far down that is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Reach {
    times: u64,
    levels: usize,
    /// Levels where one of several has to fit. What is below is gone through again at each, to say what is wrong.
    choices: u64,
}

type Reached = BTreeMap<usize, Reach>;

impl SchemaCost {
    /// The cost of a schema.
    ///
    /// # Errors
    /// When it is too much for any value.
    pub fn of(schema: &Value) -> Result<Self, TooCostly> {
        let (places, root) = places::read(schema)?;
        let mut checks = vec![0_u64; places.len()];
        for (at, place) in places.iter().enumerate().rev() {
            let same = place.same_value.iter().map(|same| same.times.saturating_mul(checks[same.place]));
            checks[at] = same.fold(place.checks, u64::saturating_add);
        }
        if checks.iter().any(|checks| *checks > CHECKS_OF_ONE_VALUE) {
            return Err(TooCostly::OneValue);
        }
        Ok(Self { places, root })
    }

    /// Whether `value` may be held against the schema. Finding out takes no more steps than it allows.
    ///
    /// # Errors
    /// When that would take too much.
    pub fn check(&self, value: &Value) -> Result<(), TooCostly> {
        let mut left = CHECKS;
        self.visit(value, start(self.root), &mut left)
    }

    fn visit(&self, value: &Value, reached: Reached, left: &mut u64) -> Result<(), TooCostly> {
        if reached.is_empty() {
            return Ok(());
        }
        let text = value.as_str().map_or(0, str::len);
        let here = self.here(reached, text, left)?;
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    self.here(below(&here, left, |place, add| place.name(add))?, name.len(), left)?;
                    spend(left, steps(here.iter().map(|(place, reach)| (place.name_patterns, reach)), name.len()))?;
                    self.visit(member, below(&here, left, |place, add| place.member(name, add))?, left)?;
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.visit(item, below(&here, left, |place, add| place.item(index, add))?, left)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Everything that one value is held against.
    fn here(&self, mut open: Reached, text: usize, left: &mut u64) -> Result<Vec<(&Place, Reach)>, TooCostly> {
        let mut here = Vec::new();
        while let Some((at, reach)) = open.pop_first() {
            let Some(place) = self.places.get(at) else { continue };
            spend(left, reach.times.saturating_mul(place.checks).saturating_mul(1 + reach.choices))?;
            spend(left, steps([(place.pattern, &reach)].into_iter(), text))?;
            for same in &place.same_value {
                let times = reach.times.saturating_mul(same.times);
                let choices = reach.choices + u64::from(same.is_choice);
                add(&mut open, same.place, Reach { times, levels: reach.levels + 1, choices })?;
            }
            here.push((place, reach));
        }
        Ok(here)
    }
}

fn start(place: usize) -> Reached {
    Reached::from([(place, Reach { times: 1, ..Reach::default() })])
}

/// What a value inside is held against.
fn below(
    here: &[(&Place, Reach)],
    left: &mut u64,
    each: impl Fn(&Place, &mut dyn FnMut(usize, u64)),
) -> Result<Reached, TooCostly> {
    let mut reached = Reached::new();
    for (place, reach) in here {
        spend(left, place.n_inside() as u64)?;
        let mut added = Ok(());
        each(place, &mut |next, times| {
            let below = Reach { times: reach.times.saturating_mul(times), levels: reach.levels + 1, ..*reach };
            added = added.clone().and(add(&mut reached, next, below));
        });
        added?;
    }
    Ok(reached)
}

fn add(reached: &mut Reached, place: usize, more: Reach) -> Result<(), TooCostly> {
    if more.levels > LEVELS {
        return Err(TooCostly::Levels);
    }
    let known = reached.entry(place).or_default();
    known.times = known.times.saturating_add(more.times);
    known.levels = known.levels.max(more.levels);
    known.choices = known.choices.max(more.choices);
    Ok(())
}

/// What patterns of these lengths take for a text, in checks.
fn steps<'a>(patterns: impl Iterator<Item = (u64, &'a Reach)>, text: usize) -> u64 {
    let one = |(pattern, reach): (u64, &Reach)| {
        reach.times.saturating_mul(1 + reach.choices).saturating_mul(pattern).saturating_mul(text as u64)
    };
    patterns.map(one).fold(0, u64::saturating_add) / STEPS_OF_A_CHECK
}

fn spend(left: &mut u64, checks: u64) -> Result<(), TooCostly> {
    *left = left.checked_sub(checks).ok_or(TooCostly::Value)?;
    Ok(())
}

#[cfg(test)]
mod tests;
