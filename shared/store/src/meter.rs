//! What a client asks of the table, counted: requests by their kind, and the capacity units that the table reports for
//! them. Put on a client by `config.interceptor(meter.clone())`; without one nothing is counted and nothing costs.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use aws_sdk_dynamodb::{
    config::{
        ConfigBag, Intercept, RuntimeComponents,
        interceptors::{BeforeSerializationInterceptorContextMut, FinalizerInterceptorContextRef},
    },
    error::BoxError,
    operation::{
        batch_write_item::{BatchWriteItemInput, BatchWriteItemOutput},
        delete_item::{DeleteItemInput, DeleteItemOutput},
        get_item::{GetItemInput, GetItemOutput},
        put_item::{PutItemInput, PutItemOutput},
        query::{QueryInput, QueryOutput},
        transact_write_items::{TransactWriteItemsInput, TransactWriteItemsOutput},
        update_item::{UpdateItemInput, UpdateItemOutput},
    },
    types::{ConsumedCapacity, ReturnConsumedCapacity},
};
use aws_smithy_runtime_api::client::orchestrator::Metadata;

/// Counts what the clients ask that carry it. Cheap to clone: clones count together.
#[derive(Debug, Clone, Default)]
pub struct Meter(Arc<Mutex<Metered>>);

/// What was asked of the table.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metered {
    /// Requests by operation. A repetition by the SDK is a request of its own.
    pub requests: BTreeMap<String, u64>,
    /// Of them those that were not answered with a success: conditions that did not hold, conflicts, failures. The table
    /// reports no units for these, though it charges for the first two.
    pub refused: u64,
    /// Read units.
    pub read_units: f64,
    /// Write units, those of the indexes among them.
    pub write_units: f64,
}

impl Meter {
    /// What was counted so far.
    pub fn read(&self) -> Metered {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn count(&self, operation: &str, units: Option<f64>) {
        let mut metered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *metered.requests.entry(operation.to_owned()).or_default() += 1;
        match units {
            Some(units) if matches!(operation, "GetItem" | "Query") => metered.read_units += units,
            Some(units) => metered.write_units += units,
            None => metered.refused += 1,
        }
    }
}

impl Metered {
    /// What was asked since an earlier reading of the same meter.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let before = |operation: &String| earlier.requests.get(operation).copied().unwrap_or_default();
        let requests = self.requests.iter().map(|(operation, n)| (operation.clone(), n - before(operation)));
        Self {
            requests: requests.filter(|(_, n)| *n > 0).collect(),
            refused: self.refused - earlier.refused,
            read_units: self.read_units - earlier.read_units,
            write_units: self.write_units - earlier.write_units,
        }
    }
}

/// Has the table report capacity for the inputs of these types.
macro_rules! ask_for_units {
    ($input:ident, $($kind:ty),*) => {
        $(if let Some(input) = $input.downcast_mut::<$kind>() {
            input.return_consumed_capacity = Some(ReturnConsumedCapacity::Total);
        })*
    };
}

/// The capacity in an output of one of these types.
macro_rules! units_in {
    ($output:ident, one: $($one:ty),*; several: $($several:ty),*) => {{
        $(if let Some(output) = $output.downcast_ref::<$one>() {
            return units(output.consumed_capacity());
        })*
        $(if let Some(output) = $output.downcast_ref::<$several>() {
            return units(output.consumed_capacity());
        })*
        0.0
    }};
}

impl Intercept for Meter {
    fn name(&self) -> &'static str {
        "Meter"
    }

    fn modify_before_serialization(
        &self,
        context: &mut BeforeSerializationInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let input = context.input_mut();
        ask_for_units!(input, PutItemInput, UpdateItemInput, DeleteItemInput, GetItemInput, QueryInput);
        ask_for_units!(input, TransactWriteItemsInput, BatchWriteItemInput);
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let operation = config.load::<Metadata>().map_or("unknown", Metadata::name);
        let units = context.output_or_error().and_then(Result::ok).map(|output| {
            units_in!(
                output,
                one: PutItemOutput, UpdateItemOutput, DeleteItemOutput, GetItemOutput, QueryOutput;
                several: TransactWriteItemsOutput, BatchWriteItemOutput
            )
        });
        self.count(operation, units);
        Ok(())
    }
}

fn units<'a>(capacity: impl IntoIterator<Item = &'a ConsumedCapacity>) -> f64 {
    capacity.into_iter().filter_map(ConsumedCapacity::capacity_units).sum()
}
