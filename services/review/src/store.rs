//! The reviews in the database.

use std::sync::{Arc, OnceLock};

use shop_platform::database::{RowReader, configured_url, open_migrated};
use shop_platform::{Database, DatabaseError, Value, config};

use crate::migrations::MIGRATIONS;
use crate::review::{NewReview, Review, Summary, rfc3339};

/// The database URL if neither `REVIEW_DATABASE_URL` nor `PRODUCTMS_DB_CONNECTION_URL` is set:
/// a file in a volume, or else in the root of the container.
const URL_DEFAULT: &str = "sqlite:/data/reviews.db";

/// The maximum number of reviews in one response. A page shows no more, and authors must
/// not be able to fill a caller's memory.
const LISTED_MAX: i64 = 500;

/// The order of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    OldestFirst,
    NewestFirst,
}

/// The reviews. The database is opened at first use and kept open; if opening fails, the
/// next use tries again.
#[derive(Debug, Clone)]
pub(crate) struct Reviews(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    url: String,
    database: OnceLock<Database>,
}

impl Reviews {
    pub(crate) fn from_config() -> Self {
        let url = config("REVIEW_DATABASE_URL").or_else(|| configured_url("PRODUCTMS_DB"));
        Self::at(url.unwrap_or_else(|| URL_DEFAULT.to_owned()))
    }

    pub(crate) fn at(url: String) -> Self {
        Self(Arc::new(Inner {
            url,
            database: OnceLock::new(),
        }))
    }

    /// Whether the database responds.
    pub(crate) async fn check(&self) -> Result<(), DatabaseError> {
        self.database()
            .await?
            .query("SELECT id FROM review LIMIT 1", &[])
            .await?;
        Ok(())
    }

    /// The latest reviews of a product, at most [`LISTED_MAX`].
    pub(crate) async fn list(
        &self,
        product_id: i64,
        order: Order,
    ) -> Result<Vec<Review>, DatabaseError> {
        const STATEMENT: &str = "SELECT id, author, description, rating, written_at_ms \
             FROM review WHERE product_id = $1 ORDER BY id DESC LIMIT $2";
        let parameters = [product_id.into(), LISTED_MAX.into()];
        let found = self.database().await?.query(STATEMENT, &parameters).await?;
        let mut reviews = found
            .rows
            .into_iter()
            .map(read_review)
            .collect::<Result<Vec<_>, _>>()?;
        if order == Order::OldestFirst {
            reviews.reverse();
        }
        Ok(reviews)
    }

    pub(crate) async fn summary(&self, product_id: i64) -> Result<Summary, DatabaseError> {
        const STATEMENT: &str =
            "SELECT COUNT(*), COALESCE(SUM(rating), 0) FROM review WHERE product_id = $1";
        let found = self
            .database()
            .await?
            .query(STATEMENT, &[product_id.into()])
            .await?;
        let mut row = RowReader::new(found.rows.into_iter().next().unwrap_or_default());
        Ok(Summary::of(product_id, row.integer()?, row.integer()?))
    }

    pub(crate) async fn add(
        &self,
        product_id: i64,
        review: NewReview,
    ) -> Result<Review, DatabaseError> {
        const STATEMENT: &str = "INSERT INTO review (product_id, author, description, rating, written_at_ms) \
             VALUES ($1, $2, $3, $4, $5) RETURNING id";
        let written_at_ms = shop_platform::now_ms();
        let parameters = [
            product_id.into(),
            review.author.as_str().into(),
            review.desc.as_str().into(),
            review.rating.into(),
            written_at_ms.into(),
        ];
        let inserted = self.database().await?.query(STATEMENT, &parameters).await?;
        let row = inserted.rows.into_iter().next().unwrap_or_default();
        let id = RowReader::new(row).integer()?;
        let NewReview {
            author,
            desc,
            rating,
        } = review;
        Ok(Review {
            id,
            author,
            desc,
            rating,
            review_date: rfc3339(written_at_ms),
        })
    }

    pub(crate) async fn database(&self) -> Result<&Database, DatabaseError> {
        if let Some(database) = self.0.database.get() {
            return Ok(database);
        }
        // Two requests may get here at the same time; the second handle is dropped.
        let database = open_migrated(&self.0.url, MIGRATIONS).await?;
        Ok(self.0.database.get_or_init(|| database))
    }
}

fn read_review(row: Vec<Value>) -> Result<Review, DatabaseError> {
    let mut row = RowReader::new(row);
    Ok(Review {
        id: row.integer()?,
        author: row.text()?,
        desc: row.text()?,
        rating: row.integer()?,
        review_date: rfc3339(row.integer()?),
    })
}
