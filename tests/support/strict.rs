//! Whether a JSON Schema says all that there is to a document.

use jsonschema::Validator;
use serde_json::{Map, Value};

/// Takes each field of each object away, and adds one to each: the schema must refuse both.
pub fn assert_every_field_is_needed_and_known(validator: &Validator, document: &Value, at: &str) {
    let children: Vec<String> = match document.pointer(at).expect("a path into the document") {
        Value::Object(fields) => {
            let names: Vec<String> = fields.keys().cloned().collect();
            let edit = |change: &dyn Fn(&mut Map<String, Value>)| {
                let mut changed = document.clone();
                let object = changed.pointer_mut(at).and_then(Value::as_object_mut).expect("an object");
                change(object);
                validator.is_valid(&changed)
            };
            assert!(
                !edit(&|object| drop(object.insert("x_unknown".into(), 1.into()))),
                "{at}: an unknown field passes"
            );
            for name in &names {
                assert!(!edit(&|object| drop(object.remove(name))), "{at}/{name} may be missing");
            }
            names
        }
        // The rows of a list are alike: the first two stand for all.
        Value::Array(rows) => (0..rows.len().min(2)).map(|nth| nth.to_string()).collect(),
        _ => return,
    };
    for child in children {
        assert_every_field_is_needed_and_known(validator, document, &format!("{at}/{child}"));
    }
}
