use serde_json::json;

use super::*;

/// `a0` asks for `a1` twice, that for `a2` twice, and so on.
fn doublings(n: usize) -> Value {
    let twice = |at: usize| {
        let next = json!({"$ref": format!("#/$defs/a{}", at + 1)});
        (format!("a{at}"), json!({"allOf": [next, next]}))
    };
    let mut places: serde_json::Map<String, Value> = (0..n).map(twice).collect();
    places.insert(format!("a{n}"), json!({"type": "string"}));
    json!({"type": "object", "properties": {"x": {"$ref": "#/$defs/a0"}}, "$defs": places})
}

fn nested(name: &str, levels: usize) -> Value {
    (0..levels).fold(json!({}), |inner, _| json!({name: inner}))
}

fn tree(levels: usize) -> Value {
    match levels {
        0 => json!({"name": "leaf"}),
        _ => json!({"name": "branch", "children": [tree(levels - 1), tree(levels - 1)]}),
    }
}

#[test]
fn references_that_double_are_refused() {
    assert!(SchemaCost::of(&doublings(10)).is_ok());
    for n in [26, 60, 200] {
        assert_eq!(SchemaCost::of(&doublings(n)), Err(TooCostly::OneValue), "{n}");
    }
}

#[test]
fn a_schema_that_asks_for_itself_twice_is_bound_by_the_depth_of_the_value() {
    let schema = json!({"type": "object", "properties": {"c": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}});
    let cost = SchemaCost::of(&schema).unwrap();
    assert_eq!(cost.check(&nested("c", 10)), Ok(()));
    assert_eq!(cost.check(&nested("c", 22)), Err(TooCostly::Value));
    assert_eq!(cost.check(&nested("c", 120)), Err(TooCostly::Value));
}

#[test]
fn other_ways_to_go_twice_are_bound_as_well() {
    let ways = [
        json!({"properties": {"c": {"$ref": "#"}}, "patternProperties": {"^c": {"$ref": "#"}}}),
        json!({"properties": {"c": {"$ref": "#"}}, "anyOf": [{"properties": {"c": {"$ref": "#"}}}]}),
        json!({"$anchor": "top", "properties": {"c": {"allOf": [{"$ref": "#top"}, {"$ref": "#top"}]}}}),
        json!({"$dynamicAnchor": "top",
            "properties": {"c": {"anyOf": [{"$dynamicRef": "#top"}, {"$dynamicRef": "#top"}]}}}),
        json!({"$recursiveAnchor": true,
            "properties": {"c": {"oneOf": [{"$recursiveRef": "#"}, {"$recursiveRef": "#"}]}}}),
        json!({"$id": "http://a/b",
            "properties": {"c": {"allOf": [{"$ref": "http://a/b"}, {"$ref": "http://a/b#"}]}}}),
        json!({"properties": {"c": {"allOf": [{"$ref": "#/a~1b/%63"}, {"$ref": "#/a~1%62/c"}]}},
            "a/b": {"c": {"$ref": "#"}}}),
        json!({"properties": {"c": {"if": {"$ref": "#"}, "then": {"$ref": "#"}, "else": {"not": {"$ref": "#"}}}}}),
        json!({"unevaluatedProperties": {"$ref": "#"}}),
        json!({"propertyNames": true, "dependencies": {"c": {"properties": {"c": {"$ref": "#"}}}},
            "dependentSchemas": {"c": {"properties": {"c": {"$ref": "#"}}}}}),
    ];
    for schema in ways {
        let costly = SchemaCost::of(&schema).and_then(|cost| cost.check(&nested("c", 60)));
        let refused = matches!(costly, Err(TooCostly::Value));
        assert!(refused, "{schema}: {costly:?}");
    }
    let pair = json!({"items": {"$ref": "#"}, "contains": {"$ref": "#"}});
    let deep = (0..60).fold(json!([]), |inner, _| json!([inner]));
    assert_eq!(SchemaCost::of(&pair).and_then(|cost| cost.check(&deep)), Err(TooCostly::Value));
}

#[test]
fn ordinary_schemas_that_refer_to_themselves_are_allowed() {
    let node = json!({"type": "object", "required": ["name"], "properties": {
        "name": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#"}}}});
    assert_eq!(SchemaCost::of(&node).and_then(|cost| cost.check(&tree(10))), Ok(()));
    let cost = SchemaCost::of(&json!({"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}})).unwrap();
    assert_eq!(cost.check(&nested("left", 120)), Ok(()));
    let value = json!({"$defs": {"value": {"anyOf": [
        {"type": "string"}, {"type": "array", "items": {"$ref": "#/$defs/value"}},
        {"type": "object", "additionalProperties": {"$ref": "#/$defs/value"}}]}}, "$ref": "#/$defs/value"});
    let cost = SchemaCost::of(&value).unwrap();
    assert_eq!(cost.check(&tree(8)), Ok(()));
    assert_eq!(cost.check(&nested("a", 120)), Ok(()));
}

#[test]
fn a_circle_without_a_value_between_is_refused() {
    for schema in [
        json!({"$ref": "#"}),
        json!({"properties": {"a": {"$ref": "#/properties/b"}, "b": {"not": {"$ref": "#/properties/a"}}}}),
    ] {
        assert_eq!(SchemaCost::of(&schema), Err(TooCostly::Circle), "{schema}");
    }
}

#[test]
fn references_and_addresses_that_lead_elsewhere_are_refused() {
    for reference in
        ["http://a/b", "json-schema:///#", "#nowhere", "#/$defs/none", "http://json-schema.org/draft-07/schema#"]
    {
        let found = SchemaCost::of(&json!({"$ref": reference}));
        assert_eq!(found, Err(TooCostly::Reference(reference.to_owned())));
    }
    let inner = json!({"$id": "http://a/b", "properties": {"c": {"$defs": {"d": {"$id": "http://a/b"}}}}});
    assert_eq!(SchemaCost::of(&inner), Err(TooCostly::Address));
    let draft_4 = json!({"$schema": "http://json-schema.org/draft-04/schema#", "not": {"id": "http://a/b"}});
    assert_eq!(SchemaCost::of(&draft_4), Err(TooCostly::Address));
    assert!(SchemaCost::of(&json!({"properties": {"id": {"type": "string"}}, "default": {"id": "b"}})).is_ok());
}

#[test]
fn long_ways_are_refused_since_each_level_takes_stack() {
    let step = |at: usize| (format!("a{at}"), json!({"properties": {"x": {"$ref": format!("#/$defs/a{}", at + 1)}}}));
    let mut places: serde_json::Map<String, Value> = (0..2_000).map(step).collect();
    places.insert("a2000".to_owned(), json!(true));
    assert_eq!(SchemaCost::of(&json!({"$ref": "#/$defs/a0", "$defs": places})), Err(TooCostly::Levels));
    let deep = (0..50).fold(json!({"$ref": "#"}), |inner, _| json!({"allOf": [inner]}));
    let cost = SchemaCost::of(&json!({"properties": {"c": deep}})).unwrap();
    assert_eq!(cost.check(&nested("c", 10)), Ok(()));
    assert_eq!(cost.check(&nested("c", 100)), Err(TooCostly::Levels));
}

#[test]
fn large_values_lists_and_patterns_are_counted() {
    let words: Vec<String> = (0..5_000).map(|n| n.to_string()).collect();
    let cost = SchemaCost::of(&json!({"items": {"enum": words}})).unwrap();
    assert_eq!(cost.check(&json!(["1", "2"])), Ok(()));
    assert_eq!(cost.check(&Value::from(vec!["x"; 1_000])), Err(TooCostly::Value));

    let pattern = |pattern: &str| SchemaCost::of(&json!({"pattern": pattern, "patternProperties": {pattern: true}}));
    assert_eq!(pattern("^([a-z]{1,300}){1,300}x$"), Err(TooCostly::Patterns));
    let cost = pattern("^([a-z]{1,100}){1,100}x$").unwrap();
    assert_eq!(cost.check(&json!("a".repeat(64))), Ok(()));
    assert_eq!(cost.check(&json!("a".repeat(65_000))), Err(TooCostly::Value));
    assert_eq!(cost.check(&json!({"a".repeat(65_000): 1})), Err(TooCostly::Value));
    assert_eq!(
        pattern("^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$").and_then(|cost| cost.check(&json!("f".repeat(36)))),
        Ok(())
    );
}
