//! The stable image of the product service.

shop_platform::serve!(shop_product::router(shop_product::Edition::V1));
