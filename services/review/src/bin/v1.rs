//! The stable image of the review service.

shop_platform::serve!(shop_review::router(shop_review::Edition::V1));
