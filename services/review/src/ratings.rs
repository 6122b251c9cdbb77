//! The average ratings of all products, computed by a job.
//!
//! They are as old as the last run of the job. The summary of a single product is always
//! current.

use serde::Serialize;
use shop_platform::database::{Database, RowReader};
use shop_platform::{DatabaseError, Value};

use crate::review::{Summary, rfc3339};
use crate::store::Reviews;

/// Products in one response.
const LISTED_MAX: i64 = 10_000;

/// The result of the job's last run.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Ratings {
    /// RFC 3339, UTC; null before the first run, or if there are no reviews.
    pub(crate) computed_at: Option<String>,
    /// By product id; only products with reviews.
    pub(crate) ratings: Vec<Summary>,
}

/// The work of the job: replaces all averages in one transaction.
///
/// # Errors
/// The database cannot be opened or refuses a statement; nothing has changed in that
/// case.
pub async fn compute_ratings() -> Result<(), DatabaseError> {
    let products = compute(&Reviews::from_config()).await?;
    shop_platform::log(format_args!("ratings of {products} products computed"));
    Ok(())
}

pub(crate) async fn compute(reviews: &Reviews) -> Result<u64, DatabaseError> {
    const COMPUTE: &str = "INSERT INTO product_rating (product_id, reviews, rating_sum, computed_at_ms) \
         SELECT product_id, COUNT(*), SUM(rating), CAST($1 AS BIGINT) FROM review GROUP BY product_id";
    let mut transaction = reviews.database().await?.transaction().await?;
    transaction
        .execute("DELETE FROM product_rating", &[])
        .await?;
    let now = shop_platform::now_ms().into();
    let products = transaction.execute(COMPUTE, &[now]).await?;
    transaction.commit().await?;
    Ok(products)
}

pub(crate) async fn list(database: &Database) -> Result<Ratings, DatabaseError> {
    const STATEMENT: &str = "SELECT computed_at_ms, product_id, reviews, rating_sum \
         FROM product_rating ORDER BY product_id LIMIT $1";
    let found = database.query(STATEMENT, &[LISTED_MAX.into()]).await?;
    let mut ratings = Ratings {
        computed_at: None,
        ratings: Vec::with_capacity(found.rows.len()),
    };
    for row in found.rows {
        let (computed_at_ms, summary) = read(row)?;
        ratings.computed_at = Some(rfc3339(computed_at_ms));
        ratings.ratings.push(summary);
    }
    Ok(ratings)
}

fn read(row: Vec<Value>) -> Result<(i64, Summary), DatabaseError> {
    let mut row = RowReader::new(row);
    let computed_at_ms = row.integer()?;
    let summary = Summary::of(row.integer()?, row.integer()?, row.integer()?);
    Ok((computed_at_ms, summary))
}
