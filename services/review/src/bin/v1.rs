//! The review service's stable image.

shop_platform::serve!(shop_review::router(shop_review::Edition::V1));
