//! The nightly job that recomputes the average ratings.

shop_platform::run!(shop_review::compute_ratings());
