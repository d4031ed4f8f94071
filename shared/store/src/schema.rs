//! The table and its indexes, as `template.yaml` has them; made here where there is no template.

use aws_sdk_dynamodb::{
    operation::create_table::CreateTableError,
    types::{
        AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection, ProjectionType,
        ScalarAttributeType, TimeToLiveSpecification,
    },
};

use crate::{
    Store,
    error::Error,
    item::TTL,
    key::{PK, SK},
};

/// An index. All hold keys only: what they find is read from the table, and so never stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Index {
    /// A user's jobs by time (the range key is the job's id, whose ULID begins with the time).
    ByUser,
    /// A user's jobs of one status by time.
    ByUserStatus,
    /// A user's jobs of one thread by time.
    ByUserThread,
    /// A user's jobs that answer one message.
    ByUserMessage,
    /// Heads and lanes of which something is due, by when; sharded.
    ByDue,
}

impl Index {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::ByUser, Self::ByUserStatus, Self::ByUserThread, Self::ByUserMessage, Self::ByDue];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::ByUser => "by_user",
            Self::ByUserStatus => "by_user_status",
            Self::ByUserThread => "by_user_thread",
            Self::ByUserMessage => "by_user_message",
            Self::ByDue => "by_due",
        }
    }

    /// Its hash key.
    pub fn hash(self) -> &'static str {
        match self {
            Self::ByUser => "user",
            Self::ByUserStatus => "user_status",
            Self::ByUserThread => "user_thread",
            Self::ByUserMessage => "user_message",
            Self::ByDue => "due_shard",
        }
    }

    /// Its range key.
    pub fn range(self) -> &'static str {
        match self {
            Self::ByDue => "due_at",
            _ => PK,
        }
    }
}

impl Store {
    /// Creates the table, unless it exists. For emulators; on AWS the template does it.
    ///
    /// # Errors
    /// When the table cannot be created.
    pub async fn create_table(&self) -> Result<(), Error> {
        let broken = |error: aws_sdk_dynamodb::error::BuildError| Error::Unavailable(Box::new(error));
        let mut names = vec![PK, SK];
        let mut request = self
            .client
            .create_table()
            .table_name(&self.table)
            .billing_mode(BillingMode::PayPerRequest)
            .set_key_schema(Some(keys(PK, SK).map_err(broken)?));
        for index in Index::ALL {
            names.extend([index.hash(), index.range()]);
            let projection = Projection::builder().projection_type(ProjectionType::KeysOnly).build();
            request = request.global_secondary_indexes(
                GlobalSecondaryIndex::builder()
                    .index_name(index.name())
                    .set_key_schema(Some(keys(index.hash(), index.range()).map_err(broken)?))
                    .projection(projection)
                    .build()
                    .map_err(broken)?,
            );
        }
        names.sort_unstable();
        names.dedup();
        for name in names {
            let definition =
                AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S).build();
            request = request.attribute_definitions(definition.map_err(broken)?);
        }
        match request.send().await {
            Ok(_) => {}
            Err(error) if error.as_service_error().is_some_and(CreateTableError::is_resource_in_use_exception) => {
                return Ok(());
            }
            Err(error) => return Err(Error::from_sdk(error)),
        }
        let ttl = TimeToLiveSpecification::builder().enabled(true).attribute_name(TTL).build().map_err(broken)?;
        let request = self.client.update_time_to_live().table_name(&self.table).time_to_live_specification(ttl);
        request.send().await.map(drop).map_err(Error::from_sdk)
    }
}

fn keys(hash: &str, range: &str) -> Result<Vec<KeySchemaElement>, aws_sdk_dynamodb::error::BuildError> {
    [(hash, KeyType::Hash), (range, KeyType::Range)]
        .into_iter()
        .map(|(name, kind)| KeySchemaElement::builder().attribute_name(name).key_type(kind).build())
        .collect()
}
