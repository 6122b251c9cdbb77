//! The products in the database.

use std::sync::{Arc, OnceLock};

use shop_platform::database::{RowReader, configured_url, open_migrated};
use shop_platform::{Database, DatabaseError, config};

use crate::catalogue::Selection;
use crate::migrations::MIGRATIONS;
use crate::money::Money;
use crate::product::{NewProduct, Product};

/// The database URL if neither `PRODUCT_DATABASE_URL` nor `PRODUCTMS_DB_CONNECTION_URL` is set:
/// a file in a volume, or else in the root of the container.
const URL_DEFAULT: &str = "sqlite:/data/products.db";

/// The products. The database is opened at first use and kept open; if opening fails, the
/// next use tries again.
#[derive(Debug, Clone)]
pub(crate) struct Products(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    url: String,
    database: OnceLock<Database>,
}

impl Products {
    pub(crate) fn from_config() -> Self {
        let url = config("PRODUCT_DATABASE_URL").or_else(|| configured_url("PRODUCTMS_DB"));
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
            .query("SELECT id FROM product LIMIT 1", &[])
            .await?;
        Ok(())
    }

    pub(crate) async fn list(&self, selection: &Selection) -> Result<Vec<Product>, DatabaseError> {
        let (condition, order, parameters) = selection.clauses();
        let statement = format!(
            "SELECT id, category, name, description, price_minor_units FROM product {condition} {order}"
        );
        let found = self
            .database()
            .await?
            .query(&statement, &parameters)
            .await?;
        found.rows.into_iter().map(read_product).collect()
    }

    pub(crate) async fn find(&self, product_id: i64) -> Result<Option<Product>, DatabaseError> {
        const STATEMENT: &str = "SELECT id, category, name, description, price_minor_units \
             FROM product WHERE id = $1";
        let found = self
            .database()
            .await?
            .query(STATEMENT, &[product_id.into()])
            .await?;
        found.rows.into_iter().next().map(read_product).transpose()
    }

    pub(crate) async fn add(&self, product: NewProduct) -> Result<Product, DatabaseError> {
        const STATEMENT: &str = "INSERT INTO product (category, name, description, price_minor_units) \
             VALUES ($1, $2, $3, $4) RETURNING id";
        let parameters = [
            product.category.as_str().into(),
            product.name.as_str().into(),
            product.description.as_str().into(),
            product.price.minor_units().into(),
        ];
        let inserted = self.database().await?.query(STATEMENT, &parameters).await?;
        let row = inserted.rows.into_iter().next().unwrap_or_default();
        let product_id = RowReader::new(row).integer()?;
        Ok(product.with_id(product_id))
    }

    async fn database(&self) -> Result<&Database, DatabaseError> {
        if let Some(database) = self.0.database.get() {
            return Ok(database);
        }
        // Two requests may get here at the same time; the second handle is dropped.
        let database = open_migrated(&self.0.url, MIGRATIONS).await?;
        Ok(self.0.database.get_or_init(|| database))
    }
}

fn read_product(row: Vec<shop_platform::Value>) -> Result<Product, DatabaseError> {
    let mut row = RowReader::new(row);
    Ok(Product {
        product_id: row.integer()?,
        category: row.text()?,
        name: row.text()?,
        description: row.text()?,
        price: Money::from_minor_units(row.integer()?),
    })
}
