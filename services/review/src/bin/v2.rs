//! The review service's canary image: newest first, and summaries.

shop_platform::serve!(shop_review::router(shop_review::Edition::V2));
