//! The nightly job that computes the average ratings anew.

shop_platform::run!(shop_review::compute_ratings());
