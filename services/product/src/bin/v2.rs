//! The canary image of the product service, with sorting and searching.

shop_platform::serve!(shop_product::router(shop_product::Edition::V2));
