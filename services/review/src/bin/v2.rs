//! The canary image of the review service, which lists the newest reviews first and
//! summarizes them.

shop_platform::serve!(shop_review::router(shop_review::Edition::V2));
