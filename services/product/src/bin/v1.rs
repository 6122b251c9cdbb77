//! The product service's stable image.

shop_platform::serve!(shop_product::router(shop_product::Edition::V1));
