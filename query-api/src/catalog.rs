//! The catalogue, which any user may read.

use poem_openapi::{
    Object, OpenApi,
    param::{Header, Path, Query},
};
use serde::Serialize;
use service::http::{self, Caller, Page, Problem, Read};
use uuid::Uuid;

use crate::{
    Context,
    reading::{Placed, Reading, more_than, one},
    time::Time,
};

/// The projection that writes these tables.
pub const PROJECTION: &str = "catalog";

/// The queries about the catalogue.
pub struct Catalog(pub Reading);

/// A specialty, such as cardiology.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize)]
pub struct Specialty {
    #[oai(skip)]
    #[serde(skip)]
    at: i64,
    /// The specialty.
    id: Uuid,
    /// Unique in the catalogue.
    name: String,
    /// For people.
    description: String,
    /// Where its icon is.
    icon_url: Option<String>,
    /// How many sub-specialties it has.
    sub_specialty_count: i64,
    /// When it was made.
    created_at: Time,
    /// When it was last changed.
    updated_at: Time,
    /// How often it was written.
    version: i32,
    /// The place of its last event in the log.
    position: i64,
}

impl Placed for Specialty {
    fn at(&self) -> i64 {
        self.at
    }

    fn version(&self) -> Option<i32> {
        Some(self.version)
    }
}

/// A part of a specialty.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize)]
pub struct SubSpecialty {
    #[oai(skip)]
    #[serde(skip)]
    at: i64,
    /// The sub-specialty.
    id: Uuid,
    /// The specialty that it is part of.
    specialty_id: Uuid,
    /// Unique in its specialty.
    name: String,
    /// For people.
    description: String,
    /// When it was made.
    created_at: Time,
    /// When it was last changed.
    updated_at: Time,
    /// How often it was written.
    version: i32,
    /// The place of its last event in the log.
    position: i64,
}

impl Placed for SubSpecialty {
    fn at(&self) -> i64 {
        self.at
    }

    fn version(&self) -> Option<i32> {
        Some(self.version)
    }
}

#[OpenApi(tag = "Context::Catalog")]
impl Catalog {
    /// All specialties
    ///
    /// Newest first.
    #[oai(path = "/api/v1/specialties", method = "get", operation_id = "specialties")]
    async fn specialties(
        &self,
        _caller: Caller,
        /// How many at most.
        #[oai(validator(minimum(value = "1"), maximum(value = "100")))]
        limit: Query<Option<i64>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Waits until the read model has reached this position.
        min_position: Query<Option<i64>>,
        #[oai(name = "If-None-Match")] if_none_match: Header<Option<String>>,
    ) -> Result<Read<Page<Specialty>>, Problem> {
        let (limit, below) = (http::limit(limit.0)?, http::place::<Uuid>(cursor.as_deref())?);
        let floor = self.0.reach(PROJECTION, min_position.0).await?;
        let page = self.0.page(
            PROJECTION,
            floor,
            limit,
            |row: &Specialty| row.id,
            if_none_match.as_deref(),
            || async {
                sqlx::query_as!(
                    Specialty,
                    r#"select (select c.position from checkpoint c where c.name = 'catalog') as "at!",
                          s.id, s.name, s.description, s.icon_url,
                          (select count(*) from sub_specialty p where p.specialty_id = s.id) as "sub_specialty_count!",
                          s.created_at as "created_at: Time", s.updated_at as "updated_at: Time", s.version, s.position
                   from specialty s
                   where s.id < $1
                   order by s.id desc
                   limit $2"#,
                    below.unwrap_or(Uuid::max()),
                    more_than(limit)
                )
                .fetch_all(&self.0.pool)
                .await
            },
        );
        page.await
    }

    /// One specialty
    #[oai(path = "/api/v1/specialties/:id", method = "get", operation_id = "specialty")]
    async fn specialty(
        &self,
        _caller: Caller,
        id: Path<Uuid>,
        /// Waits until the read model has reached this position.
        min_position: Query<Option<i64>>,
        #[oai(name = "If-None-Match")] if_none_match: Header<Option<String>>,
    ) -> Result<Read<Specialty>, Problem> {
        let floor = self.0.reach(PROJECTION, min_position.0).await?;
        let row = sqlx::query_as!(
            Specialty,
            r#"select (select c.position from checkpoint c where c.name = 'catalog') as "at!",
                      s.id, s.name, s.description, s.icon_url,
                      (select count(*) from sub_specialty p where p.specialty_id = s.id) as "sub_specialty_count!",
                      s.created_at as "created_at: Time", s.updated_at as "updated_at: Time", s.version, s.position
               from specialty s where s.id = $1"#,
            id.0
        );
        one(row.fetch_optional(&self.0.pool).await?, floor, if_none_match.as_deref())
    }

    /// The sub-specialties, of one specialty or of all
    ///
    /// Newest first.
    #[oai(path = "/api/v1/sub-specialties", method = "get", operation_id = "sub_specialties")]
    async fn sub_specialties(
        &self,
        _caller: Caller,
        /// Only those of this specialty.
        specialty_id: Query<Option<Uuid>>,
        /// How many at most.
        #[oai(validator(minimum(value = "1"), maximum(value = "100")))]
        limit: Query<Option<i64>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Waits until the read model has reached this position.
        min_position: Query<Option<i64>>,
        #[oai(name = "If-None-Match")] if_none_match: Header<Option<String>>,
    ) -> Result<Read<Page<SubSpecialty>>, Problem> {
        let (limit, below) = (http::limit(limit.0)?, http::place::<Uuid>(cursor.as_deref())?);
        let floor = self.0.reach(PROJECTION, min_position.0).await?;
        let page = self.0.page(
            PROJECTION,
            floor,
            limit,
            |row: &SubSpecialty| row.id,
            if_none_match.as_deref(),
            || async {
                sqlx::query_as!(
                    SubSpecialty,
                    r#"select (select c.position from checkpoint c where c.name = 'catalog') as "at!",
                          id, specialty_id, name, description,
                          created_at as "created_at: Time", updated_at as "updated_at: Time", version, position
                   from sub_specialty
                   where id < $1 and ($3::uuid is null or specialty_id = $3)
                   order by id desc
                   limit $2"#,
                    below.unwrap_or(Uuid::max()),
                    more_than(limit),
                    specialty_id.0
                )
                .fetch_all(&self.0.pool)
                .await
            },
        );
        page.await
    }

    /// One sub-specialty
    #[oai(path = "/api/v1/sub-specialties/:id", method = "get", operation_id = "sub_specialty")]
    async fn sub_specialty(
        &self,
        _caller: Caller,
        id: Path<Uuid>,
        /// Waits until the read model has reached this position.
        min_position: Query<Option<i64>>,
        #[oai(name = "If-None-Match")] if_none_match: Header<Option<String>>,
    ) -> Result<Read<SubSpecialty>, Problem> {
        let floor = self.0.reach(PROJECTION, min_position.0).await?;
        let row = sqlx::query_as!(
            SubSpecialty,
            r#"select (select c.position from checkpoint c where c.name = 'catalog') as "at!",
                      id, specialty_id, name, description,
                      created_at as "created_at: Time", updated_at as "updated_at: Time", version, position
               from sub_specialty where id = $1"#,
            id.0
        );
        one(row.fetch_optional(&self.0.pool).await?, floor, if_none_match.as_deref())
    }
}
