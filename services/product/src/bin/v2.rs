//! The product service's canary image: sorts and searches.

shop_platform::serve!(shop_product::router(shop_product::Edition::V2));
