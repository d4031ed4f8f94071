//! The places of a schema: what is applied where. Where drafts differ, what costs more counts.

use std::collections::{BTreeMap, HashMap};

use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::{LEVELS, PATTERNS, TooCostly, pattern};

/// A schema in the schema.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// What it takes by itself: one, and one for each word that it lists.
    pub(super) checks: u64,
    /// Length of its pattern.
    pub(super) pattern: u64,
    /// Length of its patterns for names.
    pub(super) name_patterns: u64,
    pub(super) same_value: Vec<Same>,
    members: BTreeMap<String, usize>,
    inside: Vec<(Inside, usize)>,
}

/// A place that is applied to the same value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Same {
    pub(super) place: usize,
    pub(super) times: u64,
    pub(super) is_choice: bool,
}

/// What in a value a place is applied to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inside {
    Names,
    Members,
    /// Those that are not named in `properties`.
    OtherMembers,
    Items,
    Item(usize),
    /// Whatever nothing else has been applied to: found out once more for whoever asks the same further out.
    Unevaluated,
}

impl Place {
    /// How many places it is worth looking through for each value inside.
    pub(super) fn n_inside(&self) -> usize {
        self.inside.len() + usize::from(!self.members.is_empty())
    }

    pub(super) fn name(&self, add: &mut dyn FnMut(usize, u64)) {
        self.inside.iter().filter(|(inside, _)| *inside == Inside::Names).for_each(|(_, place)| add(*place, 1));
    }

    pub(super) fn member(&self, name: &str, add: &mut dyn FnMut(usize, u64)) {
        let named = self.members.get(name);
        named.into_iter().for_each(|place| add(*place, 1));
        for (inside, place) in &self.inside {
            match inside {
                Inside::Members => add(*place, 1),
                Inside::OtherMembers if named.is_none() => add(*place, 1),
                Inside::Unevaluated => add(*place, 2),
                _ => {}
            }
        }
    }

    pub(super) fn item(&self, index: usize, add: &mut dyn FnMut(usize, u64)) {
        for (inside, place) in &self.inside {
            match inside {
                Inside::Items => add(*place, 1),
                Inside::Item(at) if *at == index => add(*place, 1),
                Inside::Unevaluated => add(*place, 2),
                _ => {}
            }
        }
    }

    fn leads_to(&mut self) -> impl Iterator<Item = &mut usize> {
        let same = self.same_value.iter_mut().map(|same| &mut same.place);
        same.chain(self.members.values_mut()).chain(self.inside.iter_mut().map(|(_, place)| place))
    }
}

/// Every place that the whole schema leads to, and which of them is the whole.
pub(super) fn read(schema: &Value) -> Result<(Vec<Place>, usize), TooCostly> {
    let mut reader = Reader::new(schema)?;
    reader.place(schema);
    let mut places: Vec<Place> = Vec::new();
    while let Some(value) = reader.values.get(places.len()).copied() {
        places.push(reader.read(value)?);
    }
    let patterns = |place: &Place| place.pattern.saturating_add(place.name_patterns);
    if places.iter().map(patterns).fold(0, u64::saturating_add) > PATTERNS {
        return Err(TooCostly::Patterns);
    }
    // Compiling goes as deep as the references lead.
    let outwards =
        leaves_first(&places.iter_mut().map(|place| place.leads_to().map(|to| *to).collect()).collect::<Vec<_>>());
    if outwards.height + (places.len() - outwards.order.len()) > LEVELS {
        return Err(TooCostly::Levels);
    }
    in_order(places)
}

/// The places, each before what it applies to the same value.
fn in_order(places: Vec<Place>) -> Result<(Vec<Place>, usize), TooCostly> {
    let same = |place: &Place| place.same_value.iter().map(|same| same.place).collect();
    let order = leaves_first(&places.iter().map(same).collect::<Vec<_>>()).order;
    if order.len() < places.len() {
        return Err(TooCostly::Circle);
    }
    let mut at = vec![0; places.len()];
    for (new, old) in order.iter().rev().enumerate() {
        at[*old] = new;
    }
    let mut placed: Vec<(usize, Place)> = at.iter().copied().zip(places).collect();
    placed.sort_by_key(|(at, _)| *at);
    let moved = placed.into_iter().map(|(_, mut place)| {
        place.leads_to().for_each(|other| *other = at[*other]);
        place
    });
    Ok((moved.collect(), at[0]))
}

struct Order {
    order: Vec<usize>,
    /// The longest way along what is in the order.
    height: usize,
}

/// Those that lead to nothing that is not in the order before them. Whatever leads into a circle is not in it.
fn leaves_first(leads_to: &[Vec<usize>]) -> Order {
    let mut comes_from = vec![Vec::new(); leads_to.len()];
    let mut n_open: Vec<usize> = leads_to.iter().map(Vec::len).collect();
    for (from, to) in leads_to.iter().enumerate() {
        to.iter().for_each(|to| comes_from[*to].push(from));
    }
    let mut heights = vec![1; leads_to.len()];
    let mut order: Vec<usize> = (0..leads_to.len()).filter(|place| n_open[*place] == 0).collect();
    let mut next = 0;
    while let Some(place) = order.get(next).copied() {
        next += 1;
        for from in &comes_from[place] {
            heights[*from] = heights[*from].max(heights[place] + 1);
            n_open[*from] -= 1;
            if n_open[*from] == 0 {
                order.push(*from);
            }
        }
    }
    let height = order.iter().map(|place| heights[*place]).max().unwrap_or(0);
    Order { order, height }
}

struct Reader<'a> {
    root: &'a Value,
    /// What references may call the whole.
    address: Option<&'a str>,
    anchors: HashMap<&'a str, Vec<&'a Value>>,
    /// Numbers of values, by where they are in memory.
    known: HashMap<*const Value, usize>,
    values: Vec<&'a Value>,
    /// How often alternatives are gone through: finding out what they leave unevaluated does it once more.
    times: u64,
}

impl<'a> Reader<'a> {
    fn new(root: &'a Value) -> Result<Self, TooCostly> {
        let address = root.get("$id").or_else(|| root.get("id")).and_then(Value::as_str);
        // What the validator knows by itself stays what it is.
        let address = address.map(|id| id.trim_end_matches('#')).filter(|id| !id.contains("json-schema.org"));
        let mut reader =
            Self { root, address, anchors: HashMap::new(), known: HashMap::new(), values: Vec::new(), times: 1 };
        reader.survey(root)?;
        Ok(reader)
    }

    /// Names in the schema, wherever they are: what is reached by a reference need not look like a schema from outside.
    fn survey(&mut self, value: &'a Value) -> Result<(), TooCostly> {
        match value {
            Value::Array(items) => items.iter().try_for_each(|item| self.survey(item)),
            Value::Object(members) => {
                for (name, member) in members {
                    self.name(value, name, member)?;
                    self.survey(member)?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn name(&mut self, of: &'a Value, name: &str, value: &'a Value) -> Result<(), TooCostly> {
        let is_whole = std::ptr::eq(of, self.root);
        match (name, value) {
            ("$anchor" | "$dynamicAnchor", Value::String(anchor)) => self.anchors.entry(anchor).or_default().push(of),
            ("$id" | "id", Value::String(id)) => match id.strip_prefix('#') {
                Some(anchor) => self.anchors.entry(anchor).or_default().push(of),
                // Only draft 4 calls it `id`.
                None if !is_whole && (name == "$id" || is_draft_4(self.root)) => return Err(TooCostly::Address),
                None => {}
            },
            ("$schema", Value::String(_)) if !is_whole && is_draft_4(of) != is_draft_4(self.root) => {
                return Err(TooCostly::Address);
            }
            ("unevaluatedProperties" | "unevaluatedItems", _) => self.times = 2,
            _ => {}
        }
        Ok(())
    }

    fn place(&mut self, value: &'a Value) -> usize {
        *self.known.entry(std::ptr::from_ref(value)).or_insert_with(|| {
            self.values.push(value);
            self.values.len() - 1
        })
    }

    fn read(&mut self, schema: &'a Value) -> Result<Place, TooCostly> {
        let mut place = Place { checks: 1, ..Place::default() };
        for (keyword, value) in schema.as_object().into_iter().flatten() {
            match keyword.as_str() {
                "enum" | "const" | "required" | "dependentRequired" => place.checks += n_values(value),
                "pattern" => place.pattern = value.as_str().map_or(0, pattern::length),
                "$ref" | "$dynamicRef" | "$recursiveRef" => self.reference(&mut place, value)?,
                "if" | "then" | "else" | "not" => self.same(&mut place, [value], false),
                "allOf" => self.same(&mut place, items(value), false),
                "anyOf" | "oneOf" => self.same(&mut place, items(value), true),
                "dependentSchemas" | "dependencies" => {
                    place.checks += n_values(value);
                    self.same(&mut place, members(value).map(|(_, schema)| schema), false);
                }
                _ => self.inside(&mut place, keyword, value),
            }
        }
        Ok(place)
    }

    fn inside(&mut self, place: &mut Place, keyword: &str, value: &'a Value) {
        let (inside, schemas): (Inside, Vec<&Value>) = match keyword {
            "properties" => {
                place.members = members(value).map(|(name, schema)| (name.clone(), self.place(schema))).collect();
                return;
            }
            "patternProperties" => {
                let lengths = members(value).map(|(name, _)| pattern::length(name));
                place.name_patterns = lengths.fold(0, u64::saturating_add);
                (Inside::Members, members(value).map(|(_, schema)| schema).collect())
            }
            "additionalProperties" => (Inside::OtherMembers, vec![value]),
            "propertyNames" => (Inside::Names, vec![value]),
            "unevaluatedProperties" | "unevaluatedItems" => (Inside::Unevaluated, vec![value]),
            "prefixItems" | "items" if value.is_array() => {
                let found = items(value).enumerate().map(|(index, schema)| (Inside::Item(index), self.place(schema)));
                place.inside.extend(found);
                return;
            }
            "items" | "additionalItems" | "contains" => (Inside::Items, vec![value]),
            _ => return,
        };
        place.inside.extend(schemas.into_iter().map(|schema| (inside, self.place(schema))));
    }

    fn same(&mut self, place: &mut Place, schemas: impl IntoIterator<Item = &'a Value>, is_choice: bool) {
        let times = self.times;
        place.same_value.extend(schemas.into_iter().map(|schema| Same { place: self.place(schema), times, is_choice }));
    }

    /// A dynamic reference leads to one of several: all of them count.
    fn reference(&mut self, place: &mut Place, reference: &'a Value) -> Result<(), TooCostly> {
        let Some(reference) = reference.as_str() else { return Ok(()) };
        let targets = self.targets(reference);
        if targets.is_empty() {
            return Err(TooCostly::Reference(reference.chars().take(200).collect()));
        }
        place.same_value.extend(targets.into_iter().map(|target| Same {
            place: self.place(target),
            times: 1,
            is_choice: false,
        }));
        Ok(())
    }

    fn targets(&self, reference: &str) -> Vec<&'a Value> {
        let (address, fragment) = reference.rsplit_once('#').unwrap_or((reference, ""));
        if !address.is_empty() && self.address != Some(address) {
            return Vec::new();
        }
        if fragment.is_empty() {
            return vec![self.root];
        }
        match fragment.strip_prefix('/') {
            Some(pointer) => pointed_at(self.root, pointer).into_iter().collect(),
            None => self.anchors.get(fragment).cloned().unwrap_or_default(),
        }
    }
}

fn is_draft_4(schema: &Value) -> bool {
    schema.get("$schema").and_then(Value::as_str).is_some_and(|draft| draft.contains("draft-04"))
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn n_values(value: &Value) -> u64 {
    let inside: u64 = items(value).chain(members(value).map(|(_, member)| member)).map(n_values).sum();
    1 + inside
}

/// What a JSON pointer, without its first slash and as a reference's fragment writes it, leads to.
fn pointed_at<'a>(root: &'a Value, pointer: &str) -> Option<&'a Value> {
    let pointer = percent_decode_str(pointer).decode_utf8().ok()?;
    root.pointer(&format!("/{pointer}"))
}
